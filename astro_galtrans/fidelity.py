"""
Fidelity of translations from files: a store of pairs, and translators or stamps that are already translated.

What is costly, translated stamps and trained estimators, is kept in the output folder and found again, so that a run
that was interrupted, or is repeated with one more translator, does not repeat what is done.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from astropy.io import fits
from tqdm.auto import tqdm

from .diagnostics.arrays import Joined, Middle
from .diagnostics.peaks import peak_fidelity, signal_to_noise
from .diagnostics.redshift import redshift_fidelity
from .geometry import fill_masked
from .pairstore import PairStore
from .translate import Translator, load_translator
from .units import flux_factor

__all__ = ["PairImages", "TranslatedStamps", "open_stamps", "redshift_from_files", "translate_pairs"]

CHUNK = 64  # stamps translated, and written, at once
SETTINGS_FILE = "translation.json"


class PairImages:
    """
    The source or target stamps of a store as a lazy array ``[N, C, H, W]``, bad pixels filled from their surroundings.

    Parameters
    ----------
    store : `~astro_galtrans.pairstore.PairStore`
    plane : str
        ``"source"`` or ``"target"``.
    crop : int, optional
        Side of the middle part to take (source pixels); all by default.

    Raises
    ------
    ValueError
        If the part is larger than the stamps, or not in their middle to the pixel.
    """

    def __init__(self, store, plane, crop=None):
        size = store.header.size
        if crop is not None and not (0 < crop <= size and (size - crop) % 2 == 0):
            msg = f"crop must be {size} (the source stamps' pixels) or less by an even number, got {crop}"
            raise ValueError(msg)
        self._read, self._mask = getattr(store, plane), getattr(store, f"{plane}_mask")
        scale = 1 if plane == "source" else store.header.scale
        side, whole = scale * (crop or size), scale * size
        self._cut = slice((whole - side) // 2, (whole + side) // 2)
        bands = store.header.source_bands if plane == "source" else store.header.target_bands
        self.shape, self.dtype, self.ndim = (len(store), len(bands), side, side), np.dtype(np.float32), 4

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return self._stamp(rows)
        rows = np.arange(len(self))[rows]
        stamps = np.empty((len(rows), *self.shape[1:]), np.float32)
        for stamp, row in zip(stamps, rows, strict=True):
            stamp[:] = self._stamp(row)
        return stamps

    def _stamp(self, row):
        stamp, mask = self._read(row), self._mask(row)
        bad = ~np.isfinite(stamp) if mask is None else mask | ~np.isfinite(stamp)
        return (fill_masked(stamp, bad) if bad.any() else stamp)[:, self._cut, self._cut]


class TranslatedStamps:
    """
    Stamps that `translate_pairs` wrote, as a lazy array ``[N, S, C, H, W]``.

    Parameters
    ----------
    directory : path-like
        Their folder.

    Raises
    ------
    FileNotFoundError
        If it is no such folder, or not all stamps are there yet.
    """

    def __init__(self, directory):
        directory = Path(directory)
        if not (directory / SETTINGS_FILE).exists():
            msg = f"{directory} holds no translated stamps (no {SETTINGS_FILE})"
            raise FileNotFoundError(msg)
        settings = json.loads((directory / SETTINGS_FILE).read_text(encoding="utf8"))
        self.chunk, number = settings["chunk"], settings["number"]
        self._files = [_chunk_file(directory, k) for k in range(-(-number // self.chunk))]
        missing = [file.name for file in self._files if not file.exists()]
        if missing:
            msg = (
                f"{directory} is not complete: {len(missing)} of {len(self._files)} files are missing; translate again"
            )
            raise FileNotFoundError(msg)
        first = np.load(self._files[0], mmap_mode="r")
        self.shape, self.dtype, self.ndim = (number, *first.shape[1:]), first.dtype, first.ndim

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return self[[rows]][0]
        rows = np.arange(len(self))[rows]
        stamps = np.empty((len(rows), *self.shape[1:]), self.dtype)
        chunk = rows // self.chunk
        for k in np.unique(chunk):
            stamps[chunk == k] = np.load(self._files[k], mmap_mode="r")[rows[chunk == k] % self.chunk]
        return stamps


def translate_pairs(pairs, translator, directory, *, n_samples=None, seed=0, crop=None, progress=True):
    """
    Translate the source stamps of a store, samples apart, into a folder; what is there already is kept.

    Parameters
    ----------
    pairs : `~astro_galtrans.pairstore.PairStore`
        Pairs of the translator's two surveys.
    translator : str, path-like or `~astro_galtrans.Translator`
        Name, file or translator.
    directory : path-like
        Where to: a folder of its own is made there for these pairs, this translator and these settings.
    n_samples : int, optional
        Samples of a translator that samples, by default what its card recommends; others have one answer.
    seed : int, optional
        Seed of the samples.
    crop : int, optional
        Side of the middle part of the stamps to translate (source pixels).
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    `TranslatedStamps`
        In the target survey's flux unit and bands, as the target stamps of the store.

    Raises
    ------
    ValueError
        If the translator is for other bands, pixels or scale than the pairs.
    """
    if not isinstance(translator, Translator):
        translator = load_translator(translator)
    images, number = PairImages(pairs, "source", crop), len(pairs)
    convert = _Conversion(pairs.header, translator)
    n_samples = n_samples if translator.spec.stochastic else 1
    settings = {
        "translator": translator.name, "weights": translator.checkpoint.sha256, "n_samples": n_samples, "seed": seed,
        "crop": crop, "chunk": CHUNK, "number": number, "pairs": _identity(pairs, images),
    }  # fmt: skip
    folder = Path(directory) / f"{translator.name}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / SETTINGS_FILE, lambda file: file.write(json.dumps(settings, indent=1).encode()))
    with tqdm(total=number, desc=translator.name, unit="stamp", disable=None if progress else True) as bar:
        for k, start in enumerate(range(0, number, CHUNK)):
            file, rows = _chunk_file(folder, k), slice(start, min(start + CHUNK, number))
            if not file.exists():
                source = convert.source(images[rows])
                stamps = convert.target(translator.stamps(source, n_samples=n_samples, seed=seed + k))
                _write(file, lambda place, stamps=stamps: np.save(place, stamps))
            bar.update(rows.stop - rows.start)
    return TranslatedStamps(folder)


class _Conversion:
    """Bands and zero points of a store to those of a translator, and back."""

    def __init__(self, header, translator):
        names = translator.name, header.source.name, header.target.name
        self._bands_in = _chosen(
            translator.bands_in, header.source_bands, f"{names[0]} needs", f"the source ({names[1]})"
        )
        self._bands_out = _chosen(header.target_bands, translator.bands_out, f"the target ({names[2]}) has", names[0])
        scales = (translator.source["pixel_scale"], header.source.pixel_scale)
        if not np.isclose(*scales, rtol=0.01) or translator.spec.scale != header.scale:
            msg = (
                f'{names[0]} is for pixels of {scales[0]:.4g}" and scale {translator.spec.scale}, '
                f'the pairs have {scales[1]:.4g}" and scale {header.scale}'
            )
            raise ValueError(msg)
        self._factor_in = np.float32(flux_factor(header.source.zeropoint, translator.source["zeropoint"]))
        self._factor_out = np.float32(flux_factor(translator.target["zeropoint"], header.target.zeropoint))

    def source(self, stamps):
        return self._factor_in * stamps[:, self._bands_in]

    def target(self, stamps):
        return self._factor_out * stamps[:, :, self._bands_out]


def _chosen(wanted, available, who, whose):
    missing = [band for band in wanted if band not in available]
    if missing:
        msg = f"{who} {', '.join(wanted)}, but {whose} has {', '.join(available)}: {', '.join(missing)} missing"
        raise ValueError(msg)
    return [available.index(band) for band in wanted]


def _identity(pairs, images):
    """What tells one set of pairs from another: the header, which pairs, and some pixels."""
    digest = hashlib.sha256(json.dumps(pairs.header.to_dict(), sort_keys=True, default=str).encode())
    for row in np.unique(np.linspace(0, len(images) - 1, 16).astype(int)):
        digest.update(images[int(row)].tobytes())
    return digest.hexdigest()[:16]


def _chunk_file(folder, k):
    return folder / f"{k:05d}.npy"


def _write(path, write):
    """Write a file beside its place and rename it."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def open_stamps(path):
    """
    Open stamps that are already translated, in whatever they are kept.

    Parameters
    ----------
    path : path-like
        A ``.npy`` file or a FITS image ``[N, C, H, W]`` or ``[N, S, C, H, W]``; a folder of `translate_pairs`; or a
        folder of one FITS or ``.npy`` file per galaxy, ``[C, H, W]`` or ``[S, C, H, W]``, in the order of their names.

    Returns
    -------
    array-like

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ValueError
        If a file holds no stamps.
    """
    path = Path(path)
    if path.is_dir():
        return TranslatedStamps(path) if (path / SETTINGS_FILE).exists() else _FileStamps(path)
    if not path.exists():
        msg = f"there are no translated stamps {path}"
        raise FileNotFoundError(msg)
    return _read_array(path)


class _FileStamps:
    """One file per galaxy as a lazy array."""

    def __init__(self, folder):
        self._files = sorted(p for p in folder.iterdir() if p.suffix in {".npy", ".fits", ".fz"} and p.name[0] != ".")
        if not self._files:
            msg = f"{folder} holds no stamps (.npy or .fits)"
            raise FileNotFoundError(msg)
        first = _read_array(self._files[0])
        self.shape, self.dtype, self.ndim = (len(self._files), *first.shape), first.dtype, first.ndim + 1

    def __len__(self):
        return len(self._files)

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return _read_array(self._files[rows])
        files = [self._files[row] for row in np.arange(len(self))[rows]]
        if not files:
            return np.empty((0, *self.shape[1:]), self.dtype)
        stamps = [_read_array(file) for file in files]
        other = [file.name for file, stamp in zip(files, stamps, strict=True) if stamp.shape != self.shape[1:]]
        if other:
            msg = f"stamps of different shapes: {other[0]} is not {self.shape[1:]} as {self._files[0].name}"
            raise ValueError(msg)
        return np.array(stamps)


def _read_array(path):
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    with fits.open(path) as hdus:
        data = next((hdu.data for hdu in hdus if hdu.is_image and hdu.header["NAXIS"] >= 3), None)
    if data is None:
        msg = f"{path} holds no image of three or more axes"
        raise ValueError(msg)
    return data.astype(np.float32, copy=False)


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
        As for `~astro_galtrans.diagnostics.redshift.redshift_fidelity`.
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
    fidelity : `~astro_galtrans.diagnostics.redshift.RedshiftFidelity`
    peaks : `~astro_galtrans.diagnostics.peaks.PeakFidelity` or None

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
    compared = {name: Middle(_opened(paths), target.shape[-1]) for name, paths in (translated or {}).items()}
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


def _opened(paths):
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    parts = [open_stamps(path) for path in paths]
    return parts[0] if len(parts) == 1 else Joined(parts)


def _column(stores, name, *, needed=True):
    missing = [store.directory for store in stores if name not in store.table.colnames]
    if missing:
        if not needed:
            return None
        msg = f"{missing[0]} has no column {name!r}"
        raise ValueError(msg)
    return np.concatenate([np.ma.filled(np.ma.asarray(s.table[name], dtype=float), np.nan) for s in stores])
