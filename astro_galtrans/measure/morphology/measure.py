"""
Morphology of stacks of stamps, with statmorph's names, definitions and flags.

Galaxies are sorted by the size of their cutouts and measured in groups, so that small ones are not padded to the
largest. What cannot be measured is NaN, with statmorph's flags: 0 good, 1 suspect, 2 bad, 4 nothing could be measured.
Modules with loops are imported where they are needed: the import takes numba, and a second.
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
from astropy.table import QTable
from statmorph.statmorph import _quantity_names as QUANTITIES

from astro_galtrans._optional import require
from astro_galtrans._progress import tqdm

from ._inputs import per_galaxy, point_spread, same_shape, stack_shape
from .cutouts import BAD, CATASTROPHIC, SUSPECT, cut_out
from .segmentation import segment

__all__ = ["BATCH", "measure_morphology"]

BATCH = 512
STEP = 24  # pixels by which the sides of a group's cutouts may differ
OVERLAP = 0.25  # statmorph's segmap_overlap_ratio, of Gini's and the MID segmentation map
ENGINES = "batched", "statmorph"


def measure_morphology(
    images,
    *,
    segmap=None,
    mask=None,
    variance=None,
    gain=None,
    psf=None,
    sky_rms=None,
    sersic=True,
    engine="batched",
    batch_size=BATCH,
    threads=None,
    progress=True,
    **settings,
):
    """
    Measure the morphology of galaxies in stamps of one band.

    Parameters
    ----------
    images : array-like
        ``[N, H, W]``, background-subtracted flux per pixel, the galaxy in the middle.
    segmap : array-like, optional
        ``[N, H, W]``: bool (the galaxy), or labels, of which that in the centre is the galaxy; others are neighbours
        to ignore. By default that of `~astro_galtrans.measure.morphology.segment`.
    mask : array-like, optional
        ``[N, H, W]``, bool: pixels to ignore.
    variance : array-like, optional
        ``[N, H, W]``: of each pixel, sky and source, for signal-to-noise ratios and Sersic fits.
    gain : float or array-like, optional
        Electrons per unit of flux, of all or each galaxy: makes the variance where it is not given.
    psf : array-like, optional
        ``[h, w]`` or ``[N, h, w]``: with it the Sersic models are convolved.
    sky_rms : float or array-like, optional
        Sky noise of a pixel, of all or each galaxy: for the segmentation map, and as the noise where neither variance
        nor gain is given. Measured in each stamp by default.
    sersic : bool, optional
        Fit Sersic models?
    engine : str, optional
        ``"batched"``, or ``"statmorph"`` for that package itself, over processes: slow, and the arbiter.
    batch_size : int, optional
        Galaxies at a time.
    threads : int, optional
        Batches that are measured side by side; as many as numba has threads (``NUMBA_NUM_THREADS``, else the processor
        cores that are free to be used) by default.
    progress : bool, optional
        Show progress bars, one of them while loops are compiled, which takes some seconds the first time?
    **settings
        Of ``engine="statmorph"``: ``directory``, where finished chunks of 16 galaxies are kept and found again, and
        ``processes``, how many at once; all cores by default, and 1 measures in this one.

    Returns
    -------
    `~astropy.table.QTable`
        A row per stamp: statmorph's quantities by its names, lengths in pixels, angles in radians; ``flag`` and
        ``flag_sersic``. What could not be measured is NaN.

    Raises
    ------
    ImportError
        If numba is not installed, which only the engine ``"statmorph"`` does without where ``segmap`` is given.
    ValueError
        If shapes do not agree, or there is no such engine.
    """
    if engine not in ENGINES:
        msg = f"there is no engine {engine!r}; choose from {', '.join(ENGINES)}"
        raise ValueError(msg)
    if engine == "batched":
        numba = require("numba", extra="morphology")
    shape = stack_shape("images", images)
    for name, values in {"segmap": segmap, "mask": mask, "variance": variance}.items():
        same_shape(name, values, shape)
    given = {"gain": per_galaxy("gain", gain, shape[0]), "sky_rms": per_galaxy("sky_rms", sky_rms, shape[0])}
    given |= {"psf": point_spread(psf, shape[0]), "segmap": segmap, "mask": mask, "variance": variance}
    if engine == "statmorph":
        return _reference(images, given, {"sersic": sersic, "progress": progress, **settings})
    if settings:
        msg = f"the batched engine has no setting {', '.join(settings)}; they are of engine='statmorph'"
        raise ValueError(msg)
    columns = {name: np.full(shape[0], np.nan) for name in QUANTITIES}
    columns |= {name: np.full(shape[0], CATASTROPHIC) for name in ("flag", "flag_sersic")}
    measure = partial(_measure, quantities=_quantities(sersic=sersic))
    batches, threads = _batches(images, given, batch_size), threads or numba.config.NUMBA_NUM_THREADS
    with _progress(shape[0], progress) as bar:
        for rows, groups in _side_by_side(measure, batches, threads):
            for row, found in groups:
                for name, values in found.items():
                    columns[name][rows.start + row] = values
            bar.update(rows.stop - rows.start)
    return QTable(columns)


@contextmanager
def _progress(number, progress):
    """A bar of galaxies, and one of loops if these have to be compiled."""
    from ._jit import compiling

    hidden = None if progress else True
    with (
        compiling(progress),
        tqdm(total=number, desc="morphology", unit="galaxy", leave=None, disable=hidden) as bar,  # gone below another
    ):
        yield bar


def _side_by_side(function, batches, threads):
    """Results of a function of each batch, in order; no more batches are read ahead than there are threads."""
    if threads == 1:
        for batch in batches:
            yield function(*batch)
        return
    with ThreadPoolExecutor(threads) as pool:  # loops release the lock of the interpreter
        waiting = deque()
        for batch in batches:
            waiting.append(pool.submit(function, *batch))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _batches(images, given, size):
    """The input in batches of arrays."""
    for start in range(0, len(images), size):
        rows = slice(start, min(start + size, len(images)))
        batch = {"image": _native(np.asarray(images[rows], dtype=np.float64))}
        for name, values in given.items():
            whole = values is None or (name == "psf" and len(values) == 1)
            part = values if whole else values[rows]
            batch[name] = None if part is None else _native(part)
        yield rows, batch


def _native(values):
    """An array as loops take it: labels may be unsigned or of the other byte order, mirrored images run backwards."""
    values = np.asarray(values)
    if values.dtype != bool:
        values = values.astype(np.int64 if values.dtype.kind in "ui" else np.float64, copy=False)
    return np.ascontiguousarray(values)


def _quantities(*, sersic):
    """The functions that measure a group of cutouts; importing them does not compile them yet."""
    from .core import measure_core
    from .mid import measure_mid, segmap_mid
    from .shape import measure_shape

    fit = None
    if sersic:
        from .sersic import measure_sersic as fit
    return measure_core, segmap_mid, measure_mid, measure_shape, fit


def _measure(rows, batch, *, quantities):
    """Measure a batch: its rows, and for each group in it the rows of the batch and their values by name."""
    with np.errstate(all="ignore"):  # what is not finite is NaN in the table, and flagged
        return rows, list(_groups(batch, quantities))


def _groups(batch, quantities):
    """Measure a batch in groups of similar size."""
    sigma = None if batch["variance"] is None else np.sqrt(batch["variance"])
    if sigma is None and batch["gain"] is None and batch["sky_rms"] is not None:
        sigma = np.broadcast_to(batch["sky_rms"][:, None, None], batch["image"].shape)
    mask = None if batch["mask"] is None else batch["mask"].astype(bool)
    gain = np.full(len(batch["image"]), np.inf) if batch["gain"] is None else batch["gain"]
    segmap = segment(batch["image"], sky_rms=batch["sky_rms"]) if batch["segmap"] is None else batch["segmap"]
    cutouts = cut_out(batch["image"], segmap, mask=mask, sigma=sigma, gain=gain)
    size = np.maximum(cutouts.ny, cutouts.nx) // STEP
    for one in np.unique(size):
        part = cutouts.select(np.flatnonzero(size == one))
        psf = batch["psf"]
        found = _everything(part, psf if psf is None or len(psf) == 1 else psf[part.row], *quantities)
        yield part.row, _finished(found, part)


def _everything(cutouts, psf, measure_core, segmap_mid, measure_mid, measure_shape, fit):
    """All quantities of a group of cutouts, and ``flag_sersic``."""
    found, geometry = measure_core(cutouts)
    segmap = segmap_mid(cutouts, geometry.segment)
    found |= measure_mid(cutouts, segmap) | measure_shape(cutouts, geometry)
    both, larger = (segmap & geometry.segment).sum((1, 2)), np.maximum(segmap.sum((1, 2)), geometry.segment.sum((1, 2)))
    cutouts.raise_flag(both < OVERLAP * larger, SUSPECT)
    cutouts.raise_flag(larger == 0, BAD)
    return found if fit is None else found | fit(cutouts, geometry, found, psf)


def _finished(found, cutouts):
    """The values with flags; what is infinite could not be measured."""
    found = {name: np.where(np.isfinite(values), values, np.nan) for name, values in found.items()}
    return found | {"flag": cutouts.flag}


def _reference(images, given, settings):
    """Statmorph itself, with the same segmentation maps."""
    from .reference import measure_reference

    if given["segmap"] is None:
        given = given | {"segmap": segment(images, sky_rms=given["sky_rms"])}
    if all(given[name] is None for name in ("variance", "gain", "sky_rms")):
        given = given | {"gain": np.full(len(images), np.inf)}  # the noise is that of the sky box alone
    psf = given["psf"]
    given = given | {"psf": psf if psf is None or len(psf) > 1 else psf[0]}
    return measure_reference(images, **given, **settings)
