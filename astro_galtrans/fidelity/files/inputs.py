"""What is compared, whatever it came from: stamps of both surveys, translations, and what is known of them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from astro_galtrans.fidelity.anomaly.residuals import Tolerance
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.stamps._old_files import PairImages, open_stamps
from astro_galtrans.stamps._old_lazy import Joined, Middle, View
from astro_galtrans.surveys import Survey, get_survey
from astro_galtrans.translate import Translator, load_translator

from .translating import translate_pairs

__all__ = ["Images", "from_stamps", "from_store", "named_paths", "opened"]

# what is not known exactly of pairs cut from frames: PSFs of few stars, registration, sky
OBSERVED = Tolerance(width=0.05, ellipticity=0.03, wings=0.2, shift=0.05, sky=0.2)
SEEING_SPREAD = 0.13  # of the FWHM of exposures about a survey's typical one, as the simulation has it
KINDS_LEFT_OUT = "star", "blank"


@dataclass(eq=False)
class Images:
    """Stamps of the same galaxies in two surveys, and translations."""

    source: object  #: array-like ``[N, C, H, W]``
    target: object  #: array-like ``[N, C', sH, sW]``
    translated: dict  #: name to array-like ``[N, C', sH, sW]`` or ``[N, S, C', sH, sW]``
    surveys: tuple  #: source and target `~astro_galtrans.surveys.Survey`, limited to the bands of the stamps
    target_pixel_scale: float  #: arcsec
    psf: object = None  #: of source and target, as `~astro_galtrans.fidelity.anomaly.measure.anomalies` takes them
    target_psf: object = None
    masks: tuple = (None, None)  #: bad pixels of source and target
    variances: tuple = (None, None)
    tolerance: Tolerance = field(default_factory=Tolerance)
    noise: str = "stated"  #: or "measured", as `~astro_galtrans.fidelity.anomaly.measure.anomalies` takes it
    by: dict = field(default_factory=dict)  #: what to bin by: name to ``[N]``
    about: dict = field(default_factory=dict)  #: where it came from

    def __len__(self):
        return len(self.source)

    @property
    def target_sky_rms(self):
        """Sky noise of a pixel of the target, per band."""
        return self.surveys[1].sky_rms(self.target_pixel_scale)


def from_store(pairs, translated=None, models=(), *, number=None, n_samples=None, seed=0, stamps, progress=True):
    """
    Take the pairs of a store.

    Parameters
    ----------
    pairs : path-like or `~astro_galtrans.pairs.store.PairStore`
    translated : dict of str to path-like or list of path-like, optional
        Stamps that are already translated, of all pairs, or of all galaxies among them; with ``number``, of the first.
    models : sequence, optional
        Translators: names, files or `~astro_galtrans.Translator`.
    number : int, optional
        Only the first so many galaxies.
    n_samples, seed : int, optional
        Of translators that sample.
    stamps : path-like
        Folder where translated stamps are kept.
    progress : bool, optional
        Show progress on a terminal.

    Returns
    -------
    `Images`

    Raises
    ------
    ValueError
        If translators or stamps do not fit the pairs.
    """
    whole = pairs if isinstance(pairs, PairStore) else PairStore(pairs)
    rows = _galaxies(whole)[:number]
    store, header = whole.subset(rows), whole.header
    given = {name: opened(paths) for name, paths in (translated or {}).items()}
    given = {name: _of_rows(name, images, rows, len(whole), first=number is not None) for name, images in given.items()}
    crop = _crop(given, header)
    for model in models:
        translator = model if isinstance(model, Translator) else load_translator(model)
        given[translator.name] = translate_pairs(
            store, translator, stamps, n_samples=n_samples, seed=seed, crop=crop, progress=progress
        )
    side = crop or header.size
    planes = [
        [_Plane.of(store, f"{end}_{what}", side * factor) for end, factor in (("source", 1), ("target", header.scale))]
        for what in ("mask", "variance")
    ]
    psf, target_psf, tolerance = _psfs(store)
    return Images(
        PairImages(store, "source", crop), PairImages(store, "target", crop),
        {name: Middle(images, side * header.scale) for name, images in given.items()},
        (header.source, header.target), header.target_pixel_scale, psf, target_psf, tuple(planes[0]), tuple(planes[1]),
        *((tolerance, "stated") if header.observation is None else (OBSERVED, "measured")), _known(store),
        {"pairs": str(store.directory), "crop": crop},
    )  # fmt: skip


def _galaxies(store):
    if "kind" not in store.table.colnames:
        return np.arange(len(store))
    return np.flatnonzero(~np.isin(store.table["kind"], KINDS_LEFT_OUT))


def _of_rows(name, images, rows, number, first):
    """Stamps of some galaxies, from those of all pairs or of all galaxies, or of the first of these."""
    if len(images) == number:
        return View(images, rows, sample=slice(None))
    if first and len(images) > len(rows):  # those of more galaxies than are wanted
        return View(images, np.arange(len(rows)), sample=slice(None))
    if len(images) != len(rows):
        msg = (
            f"{name} has {len(images)} stamps; there are {len(rows)} galaxies to compare (number={len(images)} takes "
            f"the first {len(images)} only)"
        )
        raise ValueError(msg)
    return images


def _crop(given, header):
    """Side of the middle of the source stamps that all translations show, or None for all of it."""
    sides = {name: np.shape(images[:1])[-1] for name, images in given.items()}
    wrong = [name for name, side in sides.items() if side % header.scale or side > header.target_size]
    if wrong:
        msg = (
            f"stamps of {wrong[0]} have {sides[wrong[0]]} pixels along a side, not {header.target_size}, or "
            f"{header.scale} for each of a part of the source's"
        )
        raise ValueError(msg)
    least = min(sides.values(), default=header.target_size)
    return None if least == header.target_size else least // header.scale


class _Plane:
    """Masks or variances of the middle of a store's stamps as a lazy array."""

    def __init__(self, read, number, first, side):
        self._read = read
        edge = (first.shape[-1] - side) // 2
        self._cut = ..., slice(edge, edge + side), slice(edge, edge + side)
        self.shape, self.ndim, self.dtype = (number, len(first), side, side), 4, first.dtype

    @classmethod
    def of(cls, store, what, side):
        """Those of a store, or None if it has none."""
        first = getattr(store, what)(0)
        return None if first is None else cls(getattr(store, what), len(store), first, side)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return self._read(rows)[self._cut]
        rows = np.arange(len(self))[rows]
        return np.array([self._read(row)[self._cut] for row in rows]).reshape(len(rows), *self.shape[1:])


class _StoredPSFs:
    """PSFs of a store as a lazy array."""

    def __init__(self, store, side):
        self._store, self._side = store, side
        self.shape, self.ndim = (len(store), *store.psf(0)[side].shape), 4

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return self._store.psf(rows)[self._side]
        return np.array([self._store.psf(row)[self._side] for row in np.arange(len(self))[rows]])


def _psfs(store):
    """PSFs of both surveys: images, or FWHM from the table, or typical ones; and how well they are known."""
    if store.psf(0) is not None:
        return _StoredPSFs(store, 0), _StoredPSFs(store, 1), Tolerance()
    header, table, found, known = store.header, store.table, [], []
    for survey, name in ((header.source, "fwhm_"), (header.target, "target_fwhm_")):
        typical = [band.fwhm for band in survey.bands]
        columns = [f"{name}{band}" for band in survey.band_names]
        if not set(columns) <= set(table.colnames):
            known.append(False)
            found.append(typical)
            continue
        values = np.array([np.ma.filled(np.ma.asarray(table[column], float), np.nan) for column in columns]).T
        known.append(bool(np.isfinite(values).all()))
        found.append(np.where(np.isfinite(values), values, typical))
    return *found, Tolerance() if known[0] else Tolerance(width=SEEING_SPREAD)


def _known(store):
    """Magnitude, size and redshift, as far as the table has them."""
    names = {"magnitude": "r", "size": "half_light_radius", "redshift": "z"}
    found = {name: store.table[column] for name, column in names.items() if column in store.table.colnames}
    found = {name: np.ma.filled(np.ma.asarray(column, dtype=float), np.nan) for name, column in found.items()}
    return {name: values for name, values in found.items() if np.isfinite(values).any()}


def from_stamps(
    source, target, translated, *, source_survey, target_survey, source_bands=None, target_bands=None, number=None,
    pixel_scale=None,
):  # fmt: skip
    """
    Take stamps in files or memory.

    Parameters
    ----------
    source, target : path-like or array-like
        ``[N, C, H, W]`` and ``[N, C', sH, sW]``: what `~astro_galtrans.fidelity.open_stamps` opens, or arrays.
    translated : dict of str to path-like, list of path-like or array-like
    source_survey, target_survey : str, path-like or `~astro_galtrans.surveys.Survey`
        Tell pixel scale, noise, seeing and zero point.
    source_bands, target_bands : str or sequence of str, optional
        Bands of the stamps, in the order of the survey; all of it by default.
    number : int, optional
        Only the first so many galaxies.
    pixel_scale : float, optional
        Of the source's stamps (arcsec); the survey's by default.

    Returns
    -------
    `Images`

    Raises
    ------
    ValueError
        If numbers, bands or shapes do not fit; the message names the argument.
    """
    surveys = [
        (get_survey(survey) if not isinstance(survey, Survey) else survey).select(bands)
        for survey, bands in ((source_survey, source_bands), (target_survey, target_bands))
    ]
    stacks = {"source": opened(source), "target": opened(target)} | {k: opened(v) for k, v in translated.items()}
    lengths = {name: len(images) for name, images in stacks.items()}
    if len(set(lengths.values())) > 1 and (number is None or min(lengths.values()) < number):
        numbers = ", ".join(f"{name} {length}" for name, length in lengths.items())
        msg = f"numbers of stamps differ: {numbers}; give those of the same galaxies"
        raise ValueError(msg)
    for name, images in stacks.items():
        _check_bands(name, np.shape(images[:1]), surveys[name != "source"])
    rows = np.arange(min(lengths["source"], number or lengths["source"]))
    stacks = {name: View(images, rows, sample=slice(None)) for name, images in stacks.items()}
    shapes = [stacks[name].shape[-2:] for name in ("source", "target")]
    scale = surveys[0].pixel_scale if pixel_scale is None else float(pixel_scale)
    typical = [[band.fwhm for band in survey.bands] for survey in surveys]
    target_scale = scale * shapes[0][0] / shapes[1][0]
    about = {"source": _label(source), "target": _label(target)}
    return Images(
        stacks.pop("source"), stacks.pop("target"), stacks, tuple(surveys), target_scale, *typical,
        tolerance=Tolerance(width=SEEING_SPREAD), about=about,
    )  # fmt: skip


def _check_bands(name, shape, survey):
    """Axes and bands of a set of stamps."""
    if len(shape) not in {4, 5} or (name == "source" and len(shape) == 5):
        msg = f"{name} must be [N, C, H, W] (translations may be [N, S, C, H, W]), got {len(shape)} axes"
        raise ValueError(msg)
    if shape[-3] != len(survey.bands):
        msg = (
            f"{name} has {shape[-3]} bands, the survey {survey.name} {len(survey.bands)}: "
            f"{', '.join(survey.band_names)}; say which with source_bands or target_bands"
        )
        raise ValueError(msg)


def _label(images):
    return str(images) if isinstance(images, str | Path) else "array"


def opened(paths):
    """
    Open stamps: a path, several that follow one another, or an array, which is returned as it is.

    Parameters
    ----------
    paths : path-like, list of path-like, or array-like
    """
    if hasattr(paths, "shape"):
        return paths
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    parts = [open_stamps(path) for path in paths]
    return parts[0] if len(parts) == 1 else Joined(parts)


def named_paths(translated):
    """
    Return translations by name: of a dict, or of paths, which are called by their file or folder.

    Parameters
    ----------
    translated : dict, path-like, array-like, list of path-like or None

    Raises
    ------
    ValueError
        If two would have the same name.
    """
    if translated is None or isinstance(translated, dict):
        return dict(translated or {})
    if hasattr(translated, "shape"):
        return {"translated": translated}
    paths = [translated] if isinstance(translated, str | Path) else list(translated)
    found = {Path(path).name.split(".")[0]: path for path in paths}
    if len(found) < len(paths):
        msg = (
            f"two translations have the same name; give a dict of name to path instead of {', '.join(map(str, paths))}"
        )
        raise ValueError(msg)
    return found
