"""
Morphology of stacks of stamps, with statmorph's names, definitions and flags, in batches on a CPU or a GPU.

Galaxies are sorted by the size of their cutouts and measured in groups, so that small ones are not padded to the
largest. What cannot be measured is NaN, with statmorph's flags: 0 good, 1 suspect, 2 bad, 4 nothing could be measured.
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from astropy.table import QTable
from statmorph.statmorph import _quantity_names as QUANTITIES
from tqdm.auto import tqdm

from ._inputs import per_galaxy, point_spread, same_shape, stack_shape
from .core import measure_core
from .cutouts import BAD, CATASTROPHIC, SUSPECT, cut_out
from .mid import measure_mid, segmap_mid
from .segmentation import segment_tensor
from .sersic import measure_sersic
from .shape import measure_shape

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
    device="cpu",
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
    device : str, optional
        Where the batched engine computes, such as ``"cuda"``.
    batch_size : int, optional
        Galaxies at a time.
    threads : int, optional
        Batches that are measured side by side on a CPU; as many as torch has threads (`torch.get_num_threads`) by
        default.
    progress : bool, optional
        Show a progress bar?
    **settings
        Of `~astro_galtrans.measure.morphology.reference.measure_reference`: ``directory`` and ``processes``.

    Returns
    -------
    `~astropy.table.QTable`
        A row per stamp: statmorph's quantities by its names, lengths in pixels, angles in radians; ``flag`` and
        ``flag_sersic``. What could not be measured is NaN.

    Raises
    ------
    ValueError
        If shapes do not agree, or there is no such engine.
    """
    shape = stack_shape("images", images)
    for name, values in {"segmap": segmap, "mask": mask, "variance": variance}.items():
        same_shape(name, values, shape)
    given = {"gain": per_galaxy("gain", gain, shape[0]), "sky_rms": per_galaxy("sky_rms", sky_rms, shape[0])}
    given |= {"psf": point_spread(psf, shape[0]), "segmap": segmap, "mask": mask, "variance": variance}
    if engine not in ENGINES:
        msg = f"there is no engine {engine!r}; choose from {', '.join(ENGINES)}"
        raise ValueError(msg)
    batches = _batches(images, given, batch_size, device)
    if engine == "statmorph":
        return _reference(images, given, batches, {"sersic": sersic, "progress": progress, **settings})
    if settings:
        msg = f"the batched engine has no setting {', '.join(settings)}; they are of engine='statmorph'"
        raise ValueError(msg)
    columns = {name: np.full(shape[0], np.nan) for name in QUANTITIES}
    columns |= {name: np.full(shape[0], CATASTROPHIC) for name in ("flag", "flag_sersic")}
    bar = tqdm(total=shape[0], desc="morphology", unit="galaxy", disable=None if progress else True)
    threads = threads or torch.get_num_threads() if device == "cpu" else 1
    with bar:
        for rows, groups in _side_by_side(partial(_measure, sersic=sersic), batches, threads):
            for row, found in groups:
                for name, values in found.items():
                    columns[name][rows.start + row] = values
            bar.update(rows.stop - rows.start)
    return QTable(columns)


def _side_by_side(function, batches, threads):
    """Results of a function of each batch, in order; no more batches are read ahead than there are threads."""
    if threads == 1:
        for batch in batches:
            yield function(*batch)
        return
    before, waiting = torch.get_num_threads(), deque()
    try:
        # one thread of torch in each of ours: more would wait for one another
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for batch in batches:
                waiting.append(pool.submit(function, *batch))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(before)


def _batches(images, given, size, device):
    """The input in batches of tensors, with segmentation maps."""
    for start in range(0, len(images), size):
        rows = slice(start, min(start + size, len(images)))
        batch = {"image": torch.as_tensor(_native(np.asarray(images[rows], dtype=np.float64)), device=device)}
        for name, values in given.items():
            part = values if name == "psf" and values is not None and len(values) == 1 else None
            part = values[rows] if part is None and values is not None else part
            batch[name] = None if part is None else torch.as_tensor(_native(part), device=device)
        yield rows, batch


def _segmap(batch):
    return segment_tensor(batch["image"], batch["sky_rms"]) if batch["segmap"] is None else batch["segmap"]


def _native(values):
    """An array as torch takes it: labels may be unsigned or of the other byte order, mirrored images run backwards."""
    values = np.asarray(values)
    if values.dtype != bool:
        values = values.astype(np.int64 if values.dtype.kind in "ui" else np.float64, copy=False)
    return np.ascontiguousarray(values)


def _measure(rows, batch, *, sersic):
    """Measure a batch: its rows, and for each group in it the rows of the batch and their values by name."""
    with torch.inference_mode():
        return rows, list(_groups(batch, sersic=sersic))


def _groups(batch, *, sersic):
    """Measure a batch in groups of similar size."""
    sigma = batch["variance"].double().sqrt() if batch["variance"] is not None else None
    if sigma is None and batch["gain"] is None and batch["sky_rms"] is not None:
        sigma = batch["sky_rms"][:, None, None].expand_as(batch["image"])
    mask = None if batch["mask"] is None else batch["mask"].bool()
    gain = torch.full_like(batch["image"][:, 0, 0], torch.inf) if batch["gain"] is None else batch["gain"]
    stamps, _ = cut_out(batch["image"], _segmap(batch), mask=mask, sigma=sigma, gain=gain)
    key = torch.maximum(stamps.ny, stamps.nx).div(STEP, rounding_mode="floor")
    for group in key.unique().tolist():
        part = stamps.select(torch.nonzero(key == group).ravel())
        psf = batch["psf"]
        found = _everything(part, psf if psf is None or len(psf) == 1 else psf[part.row], sersic=sersic)
        yield part.row.cpu().numpy(), {name: v.cpu().numpy() for name, v in _finished(found, part).items()}


def _everything(stamps, psf, *, sersic):
    """All quantities of a group of cutouts, and ``flag_sersic``."""
    found, geometry = measure_core(stamps)
    segmap = segmap_mid(stamps, geometry.segment)
    found |= measure_mid(stamps, segmap) | measure_shape(stamps, geometry)
    both, larger = (
        (segmap & geometry.segment).sum((1, 2)),
        torch.maximum(*(t.sum((1, 2)) for t in (segmap, geometry.segment))),
    )
    stamps.raise_flag(both < OVERLAP * larger, SUSPECT)
    stamps.raise_flag(larger == 0, BAD)
    return found | (measure_sersic(stamps, geometry, found, psf) if sersic else {})


def _finished(found, stamps):
    """The values with flags; what is infinite could not be measured."""
    flags = {name: found.pop(name) for name in ("flag_sersic",) if name in found}
    found = {name: torch.where(torch.isfinite(v), v, torch.nan) for name, v in found.items()}
    return found | {"flag": stamps.flag} | flags


def _reference(images, given, batches, settings):
    """Statmorph itself, with the same segmentation maps."""
    from .reference import measure_reference

    if given["segmap"] is None:
        given = given | {"segmap": np.concatenate([_segmap(batch).cpu().numpy() for _, batch in batches])}
    if all(given[name] is None for name in ("variance", "gain", "sky_rms")):
        given = given | {"gain": np.full(len(images), np.inf)}  # the noise is that of the sky box alone
    psf = given["psf"]
    given = given | {"psf": psf if psf is None or len(psf) > 1 else psf[0]}
    return measure_reference(images, **given, **settings)
