"""Stamps in files and objects of whatever kind, as lazy arrays."""

import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from astro_galtrans._files import FITS_SUFFIXES, files_in
from astro_galtrans._optional import require
from astro_galtrans.bandstack import read_pixels
from astro_galtrans.geometry import fill_masked
from astro_galtrans.psf import MoffatPSF, profile_fwhm
from astro_galtrans.units import flux_factor

from .lazy import CHUNK, as_array, joined, middle, rows_of
from .translated import SETTINGS_FILE, open_translated

__all__ = ["SHARDS_FILE", "from_cutouts", "from_files", "from_pairs", "image_column"]

SHARDS_FILE = "survey.json"  #: what a folder of shards is known by, which `astro_galtrans.survey` writes
FILL = {"mask": (False, bool), "variance": (np.nan, np.float32)}  # of stamps that have no such plane, and its dtype


def from_pairs(store, side, crop=None):
    """Arguments of `Stamps` for a side ("source", "target") of a store; ``crop`` is as for `Stamps.from_pairs`."""
    header = store.header
    size, factor = header.size, 1 if side == "source" else header.scale
    if crop is not None and not (0 < crop <= size and (size - crop) % 2 == 0):
        msg = f"crop must be {size} (the source stamps' pixels) or less by an even number, got {crop}"
        raise ValueError(msg)
    survey, scale = getattr(header, side), header.source.pixel_scale if side == "source" else header.target_pixel_scale
    shape = (len(survey.bands), factor * size, factor * size)
    read, read_mask = getattr(store, side), getattr(store, f"{side}_mask")

    def image(row):
        stamp, mask = read(row), read_mask(row)
        bad = ~np.isfinite(stamp) if mask is None else mask | ~np.isfinite(stamp)
        return fill_masked(stamp, bad) if bad.any() else stamp

    found = {"images": rows_of(image, len(store), shape)}
    for what in ("mask", "variance"):
        plane = getattr(store, f"{side}_{what}")
        first = plane(0) if len(store) else None
        found[what] = None if first is None else rows_of(plane, len(store), first.shape, first.dtype)
    cut = factor * (crop or size)
    found = {name: None if plane is None else middle(plane, cut) for name, plane in found.items()}
    sky = _columns(store, "noise_", survey.sky_rms()) if side == "source" else None
    return found | {"survey": survey, "pixel_scale": scale, "psf": _psf(store, side), "sky_rms": sky, "name": side}


def _columns(store, prefix, typical):
    """Columns of the table that begin so, a number per pair and band, typical ones where a row has none; or None."""
    columns = [f"{prefix}{band}" for band in store.header.source.band_names]
    if prefix.startswith("target"):
        columns = [f"{prefix}{band}" for band in store.header.target.band_names]
    if not set(columns) <= set(store.table.colnames):
        return None
    values = np.array([np.ma.filled(np.ma.asarray(store.table[column], float), np.nan) for column in columns]).T
    return np.where(np.isfinite(values), values, typical)


def _psf(store, side):
    """PSFs of one side: images where the store has them, FWHMs of its table, typical ones where a row has none."""
    k, prefix = (0, "fwhm_") if side == "source" else (1, "target_fwhm_")
    stored = store.psf(0) if len(store) else None
    if stored is not None:
        return rows_of(lambda row: store.psf(row)[k], len(store), stored[k].shape, stored[k].dtype)
    typical = [band.fwhm for band in getattr(store.header, side).bands]
    stars = _columns(store, "star_fwhm_", np.nan) if side == "source" else None
    if stars is not None and np.isfinite(stars).all():  # PSFs with wings, as profiles that look as wide
        return profile_fwhm(stars, pixel_scale=store.header.source.pixel_scale)
    fwhm = _columns(store, prefix, typical)
    if side == "source" and fwhm is not None and "beta" in store.table.colnames:
        return MoffatPSF(fwhm, np.asarray(store.table["beta"], float)[:, None])
    return fwhm


def from_cutouts(cutouts, survey, column=None):
    """Arguments ``images``, ``mask`` and ``variance`` of `Stamps`, of cutouts as `Stamps.from_cutouts` takes them."""
    parts = [_Planes.of(cutout, survey) for cutout in _column(cutouts, column)]
    if not parts:
        msg = "there are no cutouts"
        raise ValueError(msg)
    shapes = {part.images.shape for part in parts}
    if len(shapes) > 1:
        msg = f"cutouts have different shapes: {', '.join(map(str, sorted(shapes)))}; cut all to one size"
        raise ValueError(msg)
    planes = {name: np.stack([part.plane(name) for part in parts]) for name in _known(parts)}
    return planes | {"images": np.stack([part.images for part in parts])}


def _known(parts):
    """Which of mask and variance some of the parts have."""
    return [name for name in FILL if any(getattr(part, name) is not None for part in parts)]


class _Planes(NamedTuple):
    """Images ``[..., C, H, W]`` of one or more galaxies, float32 in the flux unit of a survey, mask and variance."""

    images: np.ndarray
    mask: np.ndarray | None = None
    variance: np.ndarray | None = None

    @classmethod
    def of(cls, image, survey):
        """Read a FITS file, an NDData, a cutout or an array; what states no unit is in the survey's."""
        found = read_pixels(image, survey.band_names, default=(survey.flux_unit, survey.zeropoint))
        factor = flux_factor(found.zeropoint, survey.zeropoint)
        images = (found.data if factor == 1 else factor * found.data).astype(np.float32)
        variance = None if found.variance is None else (factor**2 * found.variance).astype(np.float32)
        if images.ndim == 2:
            return cls(*(None if plane is None else plane[None] for plane in (images, found.mask, variance)))
        return cls(images, found.mask, variance)

    def of_samples(self, axis):
        """Return these with one mask and one variance for all samples, which are along an axis."""
        mask = None if self.mask is None else self.mask.any(axis=axis)
        return _Planes(self.images, mask, None if self.variance is None else self.variance.mean(axis=axis))

    def plane(self, name):
        """Mask or variance; where there is none, False or NaN everywhere."""
        found = getattr(self, name)
        return np.full(self.images.shape[-3:], *FILL[name]) if found is None else found


def _column(cutouts, column):
    """The column of a table that holds images, or the cutouts themselves."""
    return list(cutouts[image_column(cutouts, column)] if hasattr(cutouts, "colnames") else cutouts)


def image_column(table, column=None):
    """
    Return the name of the column of a table that holds images: the only one of objects or arrays by default.

    Parameters
    ----------
    table : `~astropy.table.Table`
    column : str, optional
        The name, to check it.

    Raises
    ------
    ValueError
        If there is no such column, or none or several hold images.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from astro_galtrans.stamps import image_column
    >>> image_column(Table({"id": [1, 2], "image": np.zeros((2, 8, 8))}))
    'image'
    """
    columns = {name: table[name] for name in table.colnames}
    kinds = {name: getattr(getattr(c, "dtype", None), "kind", "") for name, c in columns.items()}  # a SkyCoord has none
    found = [name for name, c in columns.items() if kinds[name] == "O" or getattr(c, "ndim", 1) > 2]
    if column is None and len(found) != 1:
        msg = f"say which column holds the images, column=: {', '.join(found) or 'none of arrays or objects is there'}"
        raise ValueError(msg)
    column = column or found[0]
    if column not in table.colnames:
        msg = f"the table has no column {column!r}; its columns are {', '.join(table.colnames)}"
        raise ValueError(msg)
    return column


def from_files(paths, survey):
    """
    Arguments ``images``, ``mask`` and ``variance`` of `Stamps`, of files as `Stamps.from_files` takes them.

    Files of ``.npy`` and folders of translated stamps are in the survey's unit; FITS files where they state none.
    """
    paths = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    parts = [_opened(path, survey) for path in paths]
    found = {"images": joined([part.images for part in parts])}
    scales = {scale for path in paths if (scale := _shard_scale(path))}
    if len(scales) == 1:  # as they are made: finer than the survey's own
        found["pixel_scale"] = scales.pop()
    return found | {name: joined([_rows(part, name) for part in parts]) for name in _known(parts)}


def _rows(part, name):
    """Mask or variance ``[N, C, H, W]`` of stamps; where they have none, False or NaN everywhere."""
    number, shape, (fill, dtype) = len(part.images), part.images.shape[-3:], FILL[name]
    plane = getattr(part, name)
    return rows_of(lambda _: fill, number, shape, dtype) if plane is None else as_array(plane)


def _opened(path, survey):
    """`_Planes` of all stamps in a file or folder."""
    if (path / SHARDS_FILE).exists():
        return _open_shards(path, survey)
    if (path.parent / SHARDS_FILE).exists() and path.suffix == ".zarr":
        return _open_shards(path.parent, survey, [path])
    if path.is_dir():
        if not (path / SETTINGS_FILE).exists():
            return _open_folder(path, survey)
        images, variance = open_translated(path)
        return _Planes(images, variance=variance)
    if not path.exists():
        msg = f"there are no stamps {path}"
        raise FileNotFoundError(msg)
    planes = _read(path, survey)
    planes = planes.of_samples(1) if planes.images.ndim == 5 else planes
    return planes._replace(images=as_array(planes.images))


def _shard_scale(path):
    """Pixel scale of a folder of shards, or of one of them (arcsec); None of anything else."""
    place = (path.parent if path.suffix == ".zarr" and not (path / SHARDS_FILE).exists() else path) / SHARDS_FILE
    return json.loads(place.read_text(encoding="utf8"))["pixel_scale"] if place.exists() else None


def _open_shards(folder, survey, shards=None):
    """Shards of a survey that was translated, all or some, one after the other, as lazy arrays."""
    zarr = require("zarr", "scale")
    settings = json.loads((folder / SHARDS_FILE).read_text(encoding="utf8"))
    shards = shards or [folder / f"shard-{number:06d}.zarr" for number in range(settings["shards"])]
    missing = [shard.name for shard in shards if not shard.exists()]
    if missing:
        msg = f"{folder} is not complete: {len(missing)} of {len(shards)} shards are missing; translate again"
        raise FileNotFoundError(msg)
    groups = [zarr.open_group(shard, mode="r") for shard in shards]
    flux, std, mask = (joined([group[name] for group in groups]) for name in ("flux", "std", "mask"))
    factor = flux_factor(settings["survey"]["zeropoint"], survey.zeropoint)
    return _Planes(flux * np.float32(factor), mask.astype(bool), (std * np.float32(factor)) ** 2)


def _open_folder(folder, survey):
    """One file per galaxy as lazy arrays; files of FITS may have a mask each, so that there is one of all."""
    files = files_in(folder, (".npy", *FITS_SUFFIXES))
    if not files:
        msg = f"{folder} holds no stamps (.npy or .fits)"
        raise FileNotFoundError(msg)
    first = _read(files[0], survey)
    shape = first.images.shape

    @lru_cache(CHUNK)  # images, masks and noise of a block are asked for one after the other
    def read(row):
        planes, name = _read(files[row], survey), files[row].name
        if planes.images.shape != shape:
            msg = f"stamps of different shapes: {name} is not {shape} as {files[0].name}"
            raise ValueError(msg)
        if planes.variance is not None and first.variance is None:
            msg = f"{name} says how noisy it is and {files[0].name} does not; give all of them a noise, or none"
            raise ValueError(msg)
        return planes.of_samples(0) if len(shape) == 4 else planes

    def rows(name):
        return rows_of(lambda row: read(row).plane(name), len(files), shape[-3:], FILL[name][1])

    return _Planes(
        rows_of(lambda row: read(row).images, len(files), shape, first.images.dtype),
        None if all(file.suffix == ".npy" for file in files) else rows("mask"),
        None if first.variance is None else rows("variance"),
    )


def _read(path, survey):
    """Planes of a file; those of ``.npy`` stay on disk."""
    if path.suffix == ".npy":
        return _Planes(np.load(path, mmap_mode="r"))
    planes = _Planes.of(path, survey)
    if planes.images.ndim < 3:
        msg = f"{path} holds no image of three or more axes"
        raise ValueError(msg)
    return planes
