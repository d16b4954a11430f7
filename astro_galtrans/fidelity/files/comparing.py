"""Fidelity of images on all levels, from whatever files they are in."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from astro_galtrans._locks import held
from astro_galtrans._optional import require, require_report
from astro_galtrans.bandstack import find_files
from astro_galtrans.fidelity.anomaly.degrade import Degrader
from astro_galtrans.fidelity.anomaly.residuals import Tolerance
from astro_galtrans.fidelity.compare import BOOTSTRAP, check_bins, sides
from astro_galtrans.pairs.store import HEADER_FILE
from astro_galtrans.stamps import Stamps
from astro_galtrans.translate import Translator

from .frames import are_frames, from_frames
from .inputs import by_name, from_stamps, from_store, is_store
from .levels import LEVELS, compare_levels

__all__ = ["fidelity_from_files"]

OPTIONS = *LEVELS, "translate"


def fidelity_from_files(
    source, target=None, translated=None, output="fidelity", *, frames=None, psf=None, levels=LEVELS, by=None, bins=5,
    number=None, bootstrap=BOOTSTRAP, options=None, format="ecsv", progress=True,  # noqa: A002 - astropy's word
):  # fmt: skip
    """
    Compare translated with real images on all levels, from files to a folder of reports.

    Parameters
    ----------
    source : path-like, `~astro_galtrans.pairs.store.PairStore`, `~astro_galtrans.stamps.Stamps` or list of path-like
        A store of pairs; or stamps of the source survey; or its frames (images with world coordinates).
    target : `~astro_galtrans.stamps.Stamps`, path-like or list of path-like, optional
        Stamps, or frames, of the target survey; none with a store, which holds them. For the level "anomaly" alone,
        stamps need none.
    translated : dict of str to object, object or list of object
        Translations by name: a `~astro_galtrans.Translator`, which translates the source; stamps, as
        `~astro_galtrans.stamps.Stamps`, array or path; or, where the source is frames, frames. Without a dict they are
        called by their translator or file. With a store, stamps are those of all pairs, or of all galaxies among them;
        with ``number``, of the first galaxies.
    output : path-like, optional
        Folder of the reports, one folder per level and ``index.html``. Those of an earlier run are removed.
    frames : dict, optional
        Options of `~astro_galtrans.pairs.observed.build_pairs`, which cuts stamps out of frames, such as ``catalogue``
        (objects are found in the source without it), ``size`` and ``source_survey``. If given, even empty, the files
        are taken for frames; so they are if they have two axes and world coordinates.
    psf : dict, optional
        PSFs of ``"source"`` and ``"target"``, as `~astro_galtrans.stamps.Stamps` takes them, where the store or the
        survey does not know them as well.
    levels : sequence of str, optional
        Some of `~astro_galtrans.fidelity.files.LEVELS`.
    by : dict of str to array-like, optional
        Properties of the galaxies to bin by, beside the magnitude, size and redshift of a store's table.
    bins : int, optional
        Bins of equally many galaxies.
    number : int, optional
        Only the first so many galaxies.
    bootstrap : `~astro_galtrans.statistics.bootstrap.Bootstrap`, optional
        How intervals are made. Its seed is that of samples and of simulated blank sky too.
    options : dict of str to dict, optional
        More options of a level, such as ``{"anomaly": {"worst": 30}, "pixel": {"take": "mean"}}``, and of
        ``"translate"``, `~astro_galtrans.stamps.Stamps.from_translator`: ``n_samples``, ``directory`` (to share
        translated stamps between runs; ``translated/`` in the output by default).
    format : {"ecsv", "fits"}, optional
        Kind of the tables.
    progress : bool, optional
        Show progress on a terminal.

    Returns
    -------
    dict of str to `~astro_galtrans.fidelity.result.Result`
        One per level.

    Raises
    ------
    TypeError
        If stamps do not say of which survey they are.
    ValueError
        If there is nothing to judge, a level is unknown, or bands, shapes or numbers do not fit; before long work
        starts.
    OSError
        If another process writes to the folder.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.stamps import Stamps
    >>> from astro_galtrans.surveys import Band, Survey
    >>> rng = np.random.default_rng(1)
    >>> axis = 0.2 * (np.arange(48) - 23.5)  # arcsec
    >>> clean = rng.uniform(50, 200, (40, 1, 1, 1)) * np.exp(-0.5 * (axis**2 + axis[:, None] ** 2) / 0.6**2)
    >>> survey = Survey("mine", "", 0.2, "adu", 30.0, [Band("r", fwhm=0.7, sky_rms=1.0)])
    >>> target = Stamps(clean + rng.normal(0, 1, clean.shape), survey)
    >>> import tempfile
    >>> from astro_galtrans.fidelity import fidelity_from_files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = fidelity_from_files(
    ...         target, target, {"brighter": 1.1 * clean}, folder, levels=["pixel"], progress=False
    ...     )
    >>> found["pixel"].models
    ['brighter']
    """
    output, translated, options = Path(output), by_name(translated), options or {}
    if number is not None and number < 1:
        msg = f"number must be 1 or more galaxies, got {number}"
        raise ValueError(msg)
    check_bins(bins)
    _check(source, target, translated, levels, options)
    making = {"directory": output / "translated", "seed": bootstrap.seed, "progress": progress}
    making |= options.get("translate", {})
    making["check"] = partial(_check_sides, psf or {}, levels)
    with held(output):
        if is_store(source):
            found = from_store(source, translated, making, number)
        elif frames is not None or are_frames(source):
            found = from_frames(source, target, translated, output, frames or {}, making, number)
        else:
            found = from_stamps(source, target, translated, making, number)
        return _compared(
            *found, output, psf or {}, options, levels=levels, by=by, bins=bins, bootstrap=bootstrap, format=format,
            progress=progress,
        )  # fmt: skip


def _compared(stamps, judging, known, about, output, psf, options, *, levels, by, bootstrap, **more):
    """Compare stamps, with PSFs and options that the caller knows better."""
    for side, better in psf.items():  # without a target its PSF is that of the translations
        whose = [side] if stamps[side] is not None else [name for name in stamps if name not in {"source", "target"}]
        stamps |= {name: replace(stamps[name], psf=better) for name in whose}
    judging |= {"tolerance": Tolerance()} if "source" in psf else {}
    stamps = sides(stamps.pop("source"), stamps.pop("target"), stamps)
    options = options | {"anomaly": {"seed": bootstrap.seed} | judging | options.get("anomaly", {})}
    return compare_levels(
        stamps, output, levels=levels, options=options, by=known | (by or {}), bootstrap=bootstrap, about=about, **more
    )  # fmt: skip


def _check(source, target, translated, levels, options):
    """Raise an error for mistakes in the arguments, before any image is read."""
    for what, given, known in (("levels", levels, LEVELS), ("options", options, OPTIONS)):
        unknown = [name for name in given if name not in known]
        if unknown or not (len(given) or what == "options"):
            msg = f"{what} must be some of {', '.join(known)}, got {', '.join(map(str, unknown)) or 'none'}"
            raise ValueError(msg)
    if isinstance(source, str | Path) and not Path(source).exists() and not Path(find_files(source)[0]).exists():
        msg = f"there is no {source}"
        raise FileNotFoundError(msg)
    require_report()
    if "morphology" in levels:
        require("numba", extra="morphology")
    if not translated:
        msg = "there is nothing to judge: give translators or translated images as translated"
        raise ValueError(msg)
    if is_store(source) and target is not None:
        msg = f"{source} is a store of pairs, which holds the target's images too; leave the target out"
        raise ValueError(msg)
    alone = isinstance(source, Stamps) and set(levels) == {"anomaly"}
    if not is_store(source) and target is None and not alone:
        msg = f"{source} is no store of pairs (no {HEADER_FILE}), so the target's images are needed too"
        raise ValueError(msg)
    bare = [name for name, item in translated.items() if not isinstance(item, Stamps | Translator)]
    if alone and target is None and bare:
        msg = f"nothing says of which survey {bare[0]} is: give target= (real images), or translators, or Stamps"
        raise ValueError(msg)


def _check_sides(psf, levels, **stamps):
    """Raise an error where the PSFs or pixels of source and target are none that a level can use; before long work."""
    stamps = {side: replace(each, psf=psf[side]) if side in psf else each for side, each in stamps.items()}
    if {"morphology", "anomaly"} & set(levels):
        _check_seeing(stamps)
    if "anomaly" in levels:
        Degrader(*stamps.values())


def _check_seeing(stamps):
    """Raise an error where the seeing of source or target is not known, which morphology and anomalies need."""
    for name in ("source", "target"):
        psf, bands = stamps[name].psf, np.array(stamps[name].bands)
        if not hasattr(psf, "transform") and np.ndim(psf) < 3 and not np.isfinite(psf).all():
            unknown = ", ".join(bands[~np.isfinite(np.broadcast_to(psf, (len(stamps[name]), len(bands)))).all(axis=0)])
            which = f"the seeing of {stamps[name].survey.name} is not known in {unknown}"
            msg = f"{which}; give psf={{{name!r}: ...}}, FWHM (arcsec) or images"
            raise ValueError(msg)
