"""Redshift fidelity from files: a store of pairs, and translators or stamps that are already translated."""

from pathlib import Path

import numpy as np

from astro_galtrans.fidelity.redshift.measure import redshift_fidelity
from astro_galtrans.fidelity.redshift.peaks import peak_fidelity, signal_to_noise
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.stamps._old_files import PairImages
from astro_galtrans.stamps._old_lazy import Joined, Middle
from astro_galtrans.translate import Translator, load_translator

from .inputs import opened
from .translating import translate_pairs

__all__ = ["redshift_from_files"]


def redshift_from_files(
    pairs, output, *, training_pairs=None, models=(), translated=None, estimator="image", number=None,
    training_number=None, n_samples=None, crop=None, stamps=None, z="z", magnitude="r", ebv=None, bins=5,
    floor=0.0, peaks=True, resamples=1000, seed=0, format="ecsv", progress=True, **options,  # noqa: A002 - astropy's word
):  # fmt: skip
    """
    Measure what translations keep of the redshift, from a store of pairs to a folder with tables, figures and a page.

    Parameters
    ----------
    pairs : path-like
        A store of pairs with redshifts in its table. Without ``training_pairs`` its split says which train and which
        test; a quarter tests where it is not split.
    output : path-like
        Folder of the report; translated stamps (``translated/``) and estimators (``estimators/``) are kept there too.
    training_pairs : path-like, optional
        Another store, to train the estimators on; then all of ``pairs`` test.
    models : sequence, optional
        Translators: names, files or `~astro_galtrans.Translator`.
    translated : dict of str to path-like or list of path-like, optional
        Stamps that are already translated, by name, see `open_stamps`: of all galaxies with a redshift, those of
        ``training_pairs`` first; several files are taken one after the other.
    estimator, bins, floor, resamples, seed, progress, **options
        As for `~astro_galtrans.fidelity.redshift.measure.redshift_fidelity`.
    number, training_number : int, optional
        At most so many test and training galaxies, the first ones; with two stores only.
    n_samples : int, optional
        Samples of each test galaxy, for translators that sample; one is made of each training galaxy.
    crop : int, optional
        Side of the middle part of the stamps to look at (source pixels).
    stamps : path-like, optional
        Folder of the translated stamps, to share them between runs; ``translated/`` in the output by default.
    z, magnitude, ebv : str, optional
        Columns with the redshift, the magnitude to bin by (left out if there is none of that name) and the Galactic
        reddening E(B-V) that the estimators are told.
    peaks : bool, optional
        Measure peak fluxes too, in ``peaks/``.
    format : str, optional
        Kind of the tables: ``"ecsv"``, ``"fits"`` or ``"parquet"``.

    Returns
    -------
    fidelity : `~astro_galtrans.fidelity.redshift.measure.RedshiftFidelity`
    peaks : `~astro_galtrans.fidelity.redshift.peaks.PeakFidelity` or None

    Raises
    ------
    ValueError
        If there is nothing to judge, a column is missing, or translators or stamps do not fit the pairs.
    """
    stores, train, test = _parts(pairs, training_pairs, z, number, training_number)
    header, output = stores[-1].header, Path(output)
    if not (models or translated):
        msg = "there is nothing to judge: name translators, or stamps that are already translated"
        raise ValueError(msg)
    source, target = (Joined([PairImages(store, plane, crop) for store in stores]) for plane in ("source", "target"))
    compared = {name: Middle(opened(paths), target.shape[-1]) for name, paths in (translated or {}).items()}
    making = dict(seed=seed, crop=crop, progress=progress)
    compared |= dict(_translations(stores, models, stamps or output / "translated", n_samples, making))
    imaging, redshifts = _imaging(header), _column(stores, z)
    known = {
        "magnitudes": _column(stores, magnitude, needed=False),
        "snr": signal_to_noise(source, **{name: imaging[name] for name in ("bands", "pixel_scale", "sky_rms")}),
        "ebv": None if ebv is None else _column(stores, ebv),
    }
    fidelity = redshift_fidelity(
        source, target, compared, redshifts, estimator=estimator, train=train, test=test, bins=bins, floor=floor,
        resamples=resamples, seed=seed, directory=output / "estimators", progress=progress, **known, **imaging,
        **options,
    )  # fmt: skip
    fidelity.meta |= {"pairs": [str(store.directory) for store in stores], "crop": crop}
    fidelity.report(output, format=format, overwrite=True)
    if not peaks:
        return fidelity, None
    rows = {"train": train, "test": np.asarray(fidelity["galaxies"]["row"])} if train is not None else {}
    found = peak_fidelity(source, target, compared, redshifts, seed=seed, progress=progress, **rows, **imaging)
    found.report(output / "peaks", format=format, overwrite=True)
    return fidelity, found


def _translations(stores, models, directory, n_samples, making):
    """Yield name and stamps of each translator: one sample of galaxies that only train."""
    numbers = [n_samples] if len(stores) == 1 else [1, n_samples]
    for model in models:
        translator = model if isinstance(model, Translator) else load_translator(model)
        parts = zip(stores, numbers, strict=True)
        yield (
            translator.name,
            Joined([translate_pairs(s, translator, directory, n_samples=n, **making) for s, n in parts]),
        )


def _imaging(header):
    """What the diagnostics ask about the images of a store."""
    return dict(
        bands=header.source_bands, target_bands=header.target_bands, pixel_scale=header.source.pixel_scale,
        target_pixel_scale=header.target_pixel_scale, sky_rms=header.source.sky_rms(),
        target_sky_rms=header.target.sky_rms(header.target_pixel_scale),
    )  # fmt: skip


def _parts(pairs, training_pairs, z, number, training_number):
    """The stores, limited to pairs with a redshift, and the rows that train and that test, or None to draw them."""
    if training_pairs is None:
        store = _with_redshift(PairStore(pairs), z)
        split = store.table["split"] if "split" in store.table.colnames else np.array([])
        if not {"train", "test"} <= set(split):
            return [store], None, None
        return [store], np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    sets = (training_pairs, training_number), (pairs, number)
    stores = [_with_redshift(PairStore(path), z, limit) for path, limit in sets]
    _same_surveys(*(store.header for store in stores))
    train, test = map(len, stores)
    return stores, np.arange(train), np.arange(train, train + test)


def _with_redshift(store, z, limit=None):
    if z not in store.table.colnames:
        msg = f"{store.directory} has no column {z!r}; there are {', '.join(store.table.colnames)}"
        raise ValueError(msg)
    usable = np.isfinite(np.ma.filled(np.ma.asarray(store.table[z], dtype=float), np.nan))
    if "kind" in store.table.colnames:
        usable &= ~np.isin(store.table["kind"], ["star", "blank"])
    return store.subset(np.flatnonzero(usable)[:limit])


def _same_surveys(first, second):
    def kind(header):
        ends = [(survey.name, survey.band_names, survey.zeropoint) for survey in (header.source, header.target)]
        return ends, header.scale, header.size

    if kind(first) != kind(second):
        msg = f"training and test pairs are of different surveys, bands or sizes: {kind(first)} and {kind(second)}"
        raise ValueError(msg)


def _column(stores, name, *, needed=True):
    missing = [store.directory for store in stores if name not in store.table.colnames]
    if missing:
        if not needed:
            return None
        msg = f"{missing[0]} has no column {name!r}"
        raise ValueError(msg)
    return np.concatenate([np.ma.filled(np.ma.asarray(s.table[name], dtype=float), np.nan) for s in stores])
