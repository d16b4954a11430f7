"""Fidelity of images on all levels, from whatever files they are in."""

from pathlib import Path

import numpy as np

from astro_galtrans.bandstack import open_fits
from astro_galtrans.fidelity.anomaly.residuals import Tolerance
from astro_galtrans.pairs.store import HEADER_FILE, PairStore

from .frames import cut_pairs, cut_translated, open_translated
from .inputs import from_stamps, from_store, named_paths
from .levels import LEVELS, compare_images

__all__ = ["fidelity_from_files", "is_store"]


def fidelity_from_files(
    source, target=None, translated=None, output="fidelity", *, levels=LEVELS, models=(), catalogue=None, detect=False,
    source_survey=None, target_survey=None, source_bands=None, target_bands=None, pixel_scale=None, size=None,
    scale=None, faint=None, source_psf=None, target_psf=None, by=None, bins=5, number=None, n_samples=None,
    take="first", resamples=1000, colour_terms="fit", tolerance=None, degrade_source=False, morphology=None, seed=0,
    stamps=None, progress=True, format="ecsv",  # noqa: A002 - astropy's word
):  # fmt: skip
    """
    Compare translated with real images on all levels, from files to a folder of reports.

    Parameters
    ----------
    source : path-like or array-like
        A store of pairs; or stamps of the source survey; or its frames (images with world coordinates), one path or
        several.
    target : path-like or array-like, optional
        Stamps, or frames, of the target survey; none with a store, which holds them.
    translated : dict of str to path-like or array-like, path-like or list of path-like, optional
        Translations by name: stamps as `~astro_galtrans.fidelity.open_stamps` takes them, or frames. Without a dict
        they are called by their file.
    output : path-like, optional
        Folder of the reports, one folder per level and ``index.html``. What is costly, translated and cut stamps, is
        kept there and found again.
    levels : sequence of str, optional
        Some of `~astro_galtrans.fidelity.LEVELS`.
    models : sequence, optional
        With a store: translators to judge, names or files.
    catalogue : path-like or `~astropy.table.Table`, optional
        Objects to cut out of frames. Source, target and translations are then taken for frames.
    detect : bool, optional
        Take them for frames, and find the objects in the source.
    source_survey, target_survey : str or path-like, optional
        Names or files of the surveys: needed with stamps.
    source_bands, target_bands : str or sequence of str, optional
        Bands of the stamps, or those of the frames to use; all of the survey by default.
    pixel_scale : float, optional
        Of the source's stamps (arcsec); the survey's by default.
    size, scale, faint : optional
        Of stamps cut out of frames, as for `~astro_galtrans.pairs.observed.build_pairs`.
    source_psf, target_psf : float or array-like, optional
        PSFs, see `~astro_galtrans.fidelity.anomaly.measure.anomalies`; by default those of the store or measured in the
        frames, and the surveys' typical ones for stamps.
    by : dict of str to array-like, optional
        What to bin by, beside the magnitude, size and redshift of a store's table.
    bins : int, optional
        Bins of equally many galaxies.
    number : int, optional
        Only the first so many galaxies.
    n_samples : int, optional
        Samples of translators that sample.
    take : {"first", "mean", "both"}, optional
        Of several samples, what to compare; anomalies are of the first.
    resamples : int, optional
        Bootstrap resamples.
    colour_terms, tolerance, degrade_source
        As for `~astro_galtrans.fidelity.anomaly.measure.anomalies`.
    morphology : dict, optional
        More options for `~astro_galtrans.measure.morphology.measure_morphology`.
    seed : int, optional
        Of samples, bootstrap and blank sky.
    stamps : path-like, optional
        Folder of translated stamps, to share them between runs; ``translated/`` in the output by default.
    format : {"ecsv", "fits", "parquet"}, optional
        Kind of the tables.
    progress : bool, optional
        Show progress on a terminal.

    Returns
    -------
    dict of str to `~astro_galtrans.fidelity.result.Result`
        One per level.

    Raises
    ------
    ValueError
        If there is nothing to judge, a level is unknown, or bands, shapes or numbers do not fit; before long work
        starts.
    """
    output, translated = Path(output), named_paths(translated)
    _check(levels, models, translated, source, target)
    if is_store(source):
        images = from_store(
            source, translated, models, number=number, n_samples=n_samples, seed=seed,
            stamps=stamps or output / "translated", progress=progress,
        )  # fmt: skip
    elif catalogue is not None or detect or _are_frames(source):
        images = _from_frames(
            source, target, translated, output, catalogue, number=number, progress=progress,
            cutting=dict(
                source_survey=source_survey, target_survey=target_survey, source_bands=source_bands,
                target_bands=target_bands, size=size, scale=scale, faint=faint,
            ),
        )  # fmt: skip
    else:
        if source_survey is None or target_survey is None:
            msg = "stamps do not say whose they are: give source_survey and target_survey, names or .ecsv files"
            raise ValueError(msg)
        images = from_stamps(
            source, target, translated, source_survey=source_survey, target_survey=target_survey,
            source_bands=source_bands, target_bands=target_bands, number=number, pixel_scale=pixel_scale,
        )  # fmt: skip
    images.by |= by or {}
    _know(images, source_psf, target_psf, tolerance)
    if {"morphology", "anomaly"} & set(levels):
        _check_seeing(images)
    settings = dict(bins=bins, resamples=resamples, seed=seed, progress=progress, take=take)
    judging = dict(colour_terms=colour_terms, degrade_source=degrade_source)
    return compare_images(
        images, output, levels=levels, morphology=morphology, anomaly=judging, format=format, **settings
    )


def _check(levels, models, translated, source, target):
    unknown = [level for level in levels if level not in LEVELS]
    if unknown or not len(levels):
        msg = f"levels must be some of {', '.join(LEVELS)}, got {', '.join(map(str, levels)) or 'none'}"
        raise ValueError(msg)
    if not (models or translated):
        msg = "there is nothing to judge: give translated images, or translators with a store of pairs"
        raise ValueError(msg)
    store = is_store(source)
    if models and not store:
        msg = "translators are applied to stores of pairs only; translate the images first and give the translations"
        raise ValueError(msg)
    if store and target is not None:
        msg = f"{source} is a store of pairs, which holds the target's images too; leave the target out"
        raise ValueError(msg)
    if not store and target is None:
        msg = f"{source} is no store of pairs (no {HEADER_FILE}), so the target's images are needed too"
        raise ValueError(msg)


def is_store(source):
    """
    Whether this is a store of pairs.

    Parameters
    ----------
    source : path-like, list of path-like, array-like or `~astro_galtrans.pairs.store.PairStore`
    """
    return isinstance(source, PairStore) or (isinstance(source, str | Path) and (Path(source) / HEADER_FILE).exists())


def _are_frames(source):
    """Whether files are images of the sky: two-dimensional, or with world coordinates; stamps have neither."""
    paths = [source] if isinstance(source, str | Path) else source if isinstance(source, list | tuple) else []
    if not paths or Path(paths[0]).suffix in {".npy", ""} or not Path(paths[0]).is_file():
        return False
    headers = [hdu.header for hdu in open_fits(Path(paths[0])) if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
    return any(header["NAXIS"] < 4 and "CTYPE1" in header for header in headers)


def _know(images, source_psf, target_psf, tolerance):
    """What the user says of PSFs takes precedence."""
    if source_psf is not None:
        images.psf, images.tolerance = source_psf, Tolerance()
    images.target_psf = images.target_psf if target_psf is None else target_psf
    images.tolerance = tolerance or images.tolerance


def _check_seeing(images):
    """Seeing must be known where PSFs matter."""
    for name, psf, survey in zip(("source", "target"), (images.psf, images.target_psf), images.surveys, strict=True):
        if np.ndim(psf) < 2 and not np.isfinite(psf).all():
            unknown = ", ".join(np.array(survey.band_names)[~np.isfinite(np.broadcast_to(psf, len(survey.bands)))])
            msg = f"the seeing of {survey.name} is not known in {unknown}; give {name}_psf, FWHM (arcsec) or images"
            raise ValueError(msg)


def _from_frames(source, target, translated, output, catalogue, *, number, progress, cutting):
    frames = open_translated(translated, target, cutting["target_bands"], progress=progress)
    store = cut_pairs(source, target, output / "pairs", catalogue, progress=progress, **cutting)
    stamps = {
        name: cut_translated(store, source, images, output / "cut" / f"{name}.npy", progress=progress)
        for name, images in frames.items()
    }
    covered = np.all([np.isfinite(images).all(axis=(1, 2, 3)) for images in stamps.values()], axis=0)
    whole = store.subset(np.flatnonzero(covered))
    stamps = {name: images[covered] for name, images in stamps.items()}
    images = from_store(whole, stamps, number=number, stamps=None)
    images.about |= {"not covered by all translations": int((~covered).sum())}
    return images
