"""Stamps in files and objects of whatever kind, as lazy arrays."""

from pathlib import Path

import numpy as np

from astro_galtrans.bandstack import open_fits
from astro_galtrans.geometry import fill_masked
from astro_galtrans.units import flux_factor, flux_zeropoint

from .lazy import as_array, joined, middle, rows_of
from .translated import SETTINGS_FILE, open_translated

__all__ = ["from_cutouts", "from_pairs", "open_stamps", "opened"]

KINDS = {".npy", ".fits", ".fz"}


def from_pairs(store, side, crop=None):
    """
    Return the arguments of `Stamps` for one side of a store of pairs.

    Parameters
    ----------
    store : `~astro_galtrans.pairs.store.PairStore`
    side : {"source", "target"}
    crop : int, optional
        Side of the middle part, in source pixels.
    """
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
    return found | {"survey": survey, "pixel_scale": scale, "psf": _psf(store, side), "name": side}


def _psf(store, side):
    """PSFs of one side: images where the store has them, FWHMs of its table, typical ones where a row has none."""
    k, prefix = (0, "fwhm_") if side == "source" else (1, "target_fwhm_")
    stored = store.psf(0) if len(store) else None
    if stored is not None:
        return rows_of(lambda row: store.psf(row)[k], len(store), stored[k].shape, stored[k].dtype)
    survey, table = getattr(store.header, side), store.table
    columns = [f"{prefix}{band}" for band in survey.band_names]
    if not set(columns) <= set(table.colnames):
        return None
    values = np.array([np.ma.filled(np.ma.asarray(table[column], float), np.nan) for column in columns]).T
    return np.where(np.isfinite(values), values, [band.fwhm for band in survey.bands])


def from_cutouts(cutouts, survey, column=None):
    """
    Return images, mask and variance of cutouts, in the flux unit of a survey.

    Parameters
    ----------
    cutouts : sequence or `~astropy.table.Table`
        See `Stamps.from_cutouts`.
    survey : `~astro_galtrans.surveys.Survey`
    column : str, optional
        Of the table.
    """
    parts = [_cutout(cutout, survey) for cutout in _column(cutouts, column)]
    if not parts:
        msg = "there are no cutouts"
        raise ValueError(msg)
    shapes = {images.shape for images, *_ in parts}
    if len(shapes) > 1:
        msg = f"cutouts have different shapes: {', '.join(map(str, sorted(shapes)))}; cut all to one size"
        raise ValueError(msg)
    images, mask, variance = zip(*parts, strict=True)
    return {
        "images": np.stack(images),
        "mask": None if all(plane is None for plane in mask) else _stacked(mask, images, fill=False),
        "variance": None if all(plane is None for plane in variance) else _stacked(variance, images, fill=np.nan),
    }


def _stacked(planes, images, fill):
    """Planes of all cutouts; those that a cutout lacks are of one value."""
    return np.stack([np.full(i.shape, fill) if p is None else p for p, i in zip(planes, images, strict=True)])


def _column(cutouts, column):
    """The column of a table that holds images, or the cutouts themselves."""
    if not hasattr(cutouts, "colnames"):
        return list(cutouts)
    found = [
        name for name in cutouts.colnames if getattr(cutouts[name], "ndim", 1) > 2 or cutouts[name].dtype == object
    ]
    if column is None and len(found) != 1:
        msg = f"say which column holds the cutouts: {', '.join(found) or 'none holds images'}"
        raise ValueError(msg)
    column = column or found[0]
    if column not in cutouts.colnames:
        msg = f"the table has no column {column!r}; there are {', '.join(cutouts.colnames)}"
        raise ValueError(msg)
    return list(cutouts[column])


def _cutout(cutout, survey):
    """Image, mask and variance ``[C, H, W]`` of one cutout."""
    data = np.asarray(getattr(cutout, "value", getattr(cutout, "data", cutout)), dtype=np.float32)
    unit, mask = getattr(cutout, "unit", None), getattr(cutout, "mask", None)
    factor = 1.0
    if unit is not None and str(unit):
        meta = getattr(cutout, "meta", None)
        known = survey.zeropoint if str(unit) == survey.flux_unit else flux_zeropoint(unit, meta)
        factor = flux_factor(known, survey.zeropoint)
    uncertainty = getattr(cutout, "uncertainty", None)
    variance = None if uncertainty is None else factor**2 * _variance(uncertainty)
    planes = [np.float32(factor) * data, None if mask is None else np.broadcast_to(mask, data.shape), variance]
    return [plane if plane is None or plane.ndim == 3 else plane[None] for plane in planes]


def _variance(uncertainty):
    from astropy.nddata import VarianceUncertainty

    return np.asarray(uncertainty.represent_as(VarianceUncertainty).array, dtype=np.float32)


def opened(paths):
    """
    Open stamps: a path, several that follow one another, or an array, which is returned as it is.

    Parameters
    ----------
    paths : path-like, list of path-like, or array-like
    """
    if hasattr(paths, "shape"):
        return as_array(paths)
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    return joined([open_stamps(path) for path in paths])


def open_stamps(path):
    """
    Open stamps in whatever they are kept.

    Parameters
    ----------
    path : path-like
        A ``.npy`` file or a FITS image ``[N, C, H, W]`` or ``[N, S, C, H, W]``; a folder of stamps that were translated
        by `Stamps.from_translator`; or a folder of one FITS or ``.npy`` file per galaxy, ``[C, H, W]`` or
        ``[S, C, H, W]``, in the order of their names.

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
        return open_translated(path) if (path / SETTINGS_FILE).exists() else _open_files(path)
    if not path.exists():
        msg = f"there are no stamps {path}"
        raise FileNotFoundError(msg)
    return as_array(_read_array(path))


def _open_files(folder):
    """One file per galaxy as a lazy array."""
    files = sorted(path for path in folder.iterdir() if path.suffix in KINDS and path.name[0] != ".")
    if not files:
        msg = f"{folder} holds no stamps (.npy or .fits)"
        raise FileNotFoundError(msg)
    first = _read_array(files[0])

    def read(row):
        stamp = _read_array(files[row])
        if stamp.shape != first.shape:
            msg = f"stamps of different shapes: {files[row].name} is not {first.shape} as {files[0].name}"
            raise ValueError(msg)
        return stamp

    return rows_of(read, len(files), first.shape, first.dtype)


def _read_array(path):
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    data = next((hdu.data for hdu in open_fits(path) if hdu.is_image and hdu.header["NAXIS"] >= 3), None)
    if data is None:
        msg = f"{path} holds no image of three or more axes"
        raise ValueError(msg)
    return data.astype(np.float32, copy=False)
