"""Redshift fidelity from files: a store of pairs, and translators or stamps that are already translated."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from astro_galtrans._columns import plain
from astro_galtrans._locks import held
from astro_galtrans._optional import require_report
from astro_galtrans.fidelity.compare import BOOTSTRAP, check_bins
from astro_galtrans.fidelity.redshift.measure import redshift_fidelity
from astro_galtrans.fidelity.redshift.peaks import peak_fidelity, signal_to_noise
from astro_galtrans.fidelity.redshift.selection import redshift_grid, split, usable_redshifts
from astro_galtrans.fidelity.result import clear_report
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.stamps import Stamps
from astro_galtrans.stamps.lazy import joined
from astro_galtrans.stamps.stamps import as_stamps
from astro_galtrans.translate import Translator

from .inputs import by_name, galaxies

__all__ = ["joined_stamps", "redshift_from_files"]

COLUMNS = {"z_spec": "z", "magnitude": "r", "ebv": None}


def redshift_from_files(
    pairs, translated, output, *, training_pairs=None, columns=None, number=(None, None), crop=None, peaks=True,
    translate=None, bootstrap=BOOTSTRAP, format="ecsv", progress=True, **options,  # noqa: A002 - astropy's word
):  # fmt: skip
    """
    Measure what translations keep of the redshift, from a store of pairs to a folder with tables, figures and a page.

    Parameters
    ----------
    pairs : path-like or `~astro_galtrans.pairs.store.PairStore`
        Pairs with redshifts in their table. Without ``training_pairs`` their split says which train and which test; a
        quarter tests where they are not split.
    translated : dict of str to object, object or list of object
        Translations by name: a `~astro_galtrans.Translator`; or stamps that are already translated, an array or paths
        as `~astro_galtrans.stamps.Stamps.from_files` takes them, of all galaxies with a redshift, those of
        ``training_pairs`` first. Several paths are taken one after the other.
    output : path-like
        Folder of the report; translated stamps (``translated/``) and estimators (``estimators/``) are kept there too.
        The report of an earlier run is removed.
    training_pairs : path-like or `~astro_galtrans.pairs.store.PairStore`, optional
        Other pairs, to train the estimators on; then all of ``pairs`` test.
    columns : dict of str to str, optional
        Columns of the table by what they are: ``"z_spec"`` (``"z"`` by default), ``"ebv"``, the Galactic reddening
        E(B-V) that the estimators are told (none), and properties to bin by, such as ``"magnitude"`` (``"r"``, left
        out if there is none).
    number : tuple of int, optional
        At most so many galaxies that test and that train, the first ones; with two stores only.
    crop : int, optional
        Side of the middle part of the stamps to look at (source pixels).
    peaks : bool, optional
        Measure peak fluxes too, in ``peaks/``.
    translate : dict, optional
        Options of `~astro_galtrans.stamps.Stamps.from_translator`: ``n_samples`` of each test galaxy (of galaxies that
        only train one sample is made), ``directory`` to share translated stamps between runs.
    bootstrap : `~astro_galtrans.statistics.bootstrap.Bootstrap`, optional
        How intervals are made. Its seed is that of samples, split and estimators too.
    format : {"ecsv", "fits"}, optional
        Kind of the tables.
    progress : bool, optional
        Show progress on a terminal.
    **options
        Of `~astro_galtrans.fidelity.redshift.measure.redshift_fidelity`: ``estimator``, ``bins``, ``floor``, ...

    Returns
    -------
    fidelity : `~astro_galtrans.fidelity.redshift.result.RedshiftFidelity`
    peaks : `~astro_galtrans.fidelity.redshift.peaks.PeakFidelity` or None

    Raises
    ------
    ValueError
        If there is nothing to judge, a column is missing, or translators or stamps do not fit the pairs.
    OSError
        If another process writes to the folder.

    Examples
    --------
    >>> import tempfile
    >>> from astro_galtrans import load_translator
    >>> from astro_galtrans.fidelity import redshift_from_files
    >>> from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pairs = simulate_pairs(
    ...         f"{folder}/pairs", 128, PairSettings(kind="galaxy", size=32), workers=1, progress=False
    ...     )
    ...     found, peaks = redshift_from_files(
    ...         pairs, load_translator("srgan-sdss-cfhtls"), f"{folder}/report", estimator="photometric", epochs=1,
    ...         bins=1, peaks=False, progress=False
    ...     )
    >>> found.models
    ['srgan-sdss-cfhtls']
    """
    named, output, translated = COLUMNS | (columns or {}), Path(output), by_name(translated)
    _check_settings(number, training_pairs, translate or {}, **options)
    stores, train, test = _parts(pairs, training_pairs, named["z_spec"], number)
    if not translated:
        msg = "there is nothing to judge: give translators, or stamps that are already translated"
        raise ValueError(msg)
    known = {name: _column(stores, column, name in (columns or {})) for name, column in named.items() if column}
    known = {name: values for name, values in known.items() if values is not None}
    z_spec, ebv = known.pop("z_spec"), known.pop("ebv", None)
    _check_numbers(z_spec, train, test, bootstrap.seed, **options)
    sources, targets = ([Stamps.from_pairs(s, side, crop=crop) for s in stores] for side in ("source", "target"))
    source, target = joined_stamps(sources, "source"), joined_stamps(targets, "target")
    making = {"directory": output / "translated", "seed": bootstrap.seed, "progress": progress} | (translate or {})
    with held(output):
        found = {}
        for name, item in translated.items():
            if isinstance(item, Translator):
                # estimators look at one sample in training
                numbers = [1] * (len(stores) - 1) + [making.get("n_samples")]
                parts = zip(sources, targets, numbers, strict=True)
                found[name] = joined_stamps(
                    [Stamps.from_translator(item, a, b, **making | {"n_samples": n}) for a, b, n in parts], name
                )
            else:
                stamps = as_stamps(item, target, name)
                found[name] = stamps.middle(target.shape[0])
        by, shared = known | {"snr": signal_to_noise(source)}, {"bootstrap": bootstrap, "progress": progress}
        fidelity = redshift_fidelity(
            source, target, found, z_spec, train=train, test=test, ebv=ebv, by=by, directory=output / "estimators",
            **shared, **options,
        )  # fmt: skip
        fidelity.meta |= {"pairs": [str(store.directory) for store in stores], "crop": crop}
        clear_report(output / "peaks")
        fidelity.report(output, format=format, overwrite=True)
        if not peaks:
            return fidelity, None
        rows = {"train": train, "test": np.asarray(fidelity["galaxies"]["row"])} if train is not None else {}
        measured = peak_fidelity(source, target, found, z_spec, **rows, **shared)
        measured.report(output / "peaks", format=format, overwrite=True)
        return fidelity, measured


def _check_settings(number, training_pairs, translate, bins=5, floor=0.0, **options):
    """Raise ValueError for settings without sense; before any image is read."""
    require_report()
    check_bins(bins)
    counts = {"number": number[0], "the number of training pairs": number[1], "n_samples": translate.get("n_samples")}
    counts |= {name: options.get(name) for name in ("epochs", "members")}
    for name, value in counts.items():
        if value is not None and value < 1:
            msg = f"{name} must be 1 or more, got {value}"
            raise ValueError(msg)
    if training_pairs is None and any(number):
        msg = "number= limits two stores, one to test on and one to train on; give training_pairs=, or leave it out"
        raise ValueError(msg)
    if not 0 <= floor < 1:
        msg = f"floor, the weight of the prior in a mixture, must be from 0 to less than 1, got {floor}"
        raise ValueError(msg)


def _check_numbers(z_spec, train, test, seed, estimator="image", grid=None, **_options):
    """Raise ValueError if too few galaxies are left to train and test; before images are translated."""
    usable, _ = usable_redshifts(z_spec, redshift_grid(grid, z_spec, estimator), warn=False)
    split(train, test, usable, seed, trains=not isinstance(estimator, dict))


def joined_stamps(parts, name):
    """Return stamps of several stores, one after the other, with the sky noise of each; PSFs and masks are not kept."""
    if len(parts) == 1:
        return parts[0]
    sky = np.concatenate([np.broadcast_to(part.sky_rms, (len(part), len(part.bands))) for part in parts])
    images = joined([part.images for part in parts])
    return replace(parts[0], images=images, sky_rms=sky, psf=None, mask=None, variance=None, name=name)


def _parts(pairs, training_pairs, z, number):
    """The stores, limited to pairs with a redshift, and the rows that train and that test, or None to draw them."""
    if training_pairs is None:
        store = _with_redshift(pairs, z)
        split = store.table["split"] if "split" in store.table.colnames else np.array([])
        if not {"train", "test"} <= set(split):
            return [store], None, None
        return [store], np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    stores = [_with_redshift(store, z, most) for store, most in ((training_pairs, number[1]), (pairs, number[0]))]
    _same_surveys(*(store.header for store in stores))
    train, test = map(len, stores)
    return stores, np.arange(train), np.arange(train, train + test)


def _with_redshift(pairs, z, limit=None):
    store = pairs if isinstance(pairs, PairStore) else PairStore(pairs)
    rows = galaxies(store)
    rows = rows[np.isfinite(_column([store], z))[rows]]
    if not len(rows):
        msg = f"none of the {len(store)} pairs in {store.directory} has a redshift in its column {z!r}"
        raise ValueError(msg)
    store.check_images()
    return store.subset(rows[:limit])


def _same_surveys(first, second):
    def kind(header):
        ends = [(survey.name, survey.band_names, survey.zeropoint) for survey in (header.source, header.target)]
        return ends, header.scale, header.size

    if kind(first) != kind(second):
        msg = f"training and test pairs are of different surveys, bands or sizes: {kind(first)} and {kind(second)}"
        raise ValueError(msg)


def _column(stores, name, needed=True):
    """A column of all stores; None if one of them lacks it and it is not needed."""
    missing = [store for store in stores if name not in store.table.colnames]
    if missing and needed:
        msg = f"{missing[0].directory} has no column {name!r}; there are {', '.join(missing[0].table.colnames)}"
        raise ValueError(msg)
    if missing:
        return None
    return np.concatenate([plain(store.table[name]) for store in stores])
