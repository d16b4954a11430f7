"""Second step of the door in: settle which band each plane is, check every plane and make plain arrays of it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.nddata import VarianceUncertainty

from astro_galtrans.bands import band_from_header, bands_from_header, parse_bands
from astro_galtrans.units import flux_zeropoint, parse_unit
from ._opening import UNCERTAINTIES, take_apart

__all__ = ["Layer", "load"]


class Layer(NamedTuple):
    """One band, checked: plain arrays and what they mean."""

    band: str
    data: np.ndarray  # [H, W]
    variance: np.ndarray | None
    mask: np.ndarray | None
    wcs: object
    unit: u.UnitBase
    zeropoint: float
    meta: object


def load(image, bands=None, *, unit=None, zeropoint=None):
    """
    Take any accepted object apart.

    Parameters
    ----------
    image, bands, unit, zeropoint
        See `astro_galtrans.bandstack.read`.

    Returns
    -------
    layers : list of `Layer`
    origin : `Origin`
    """
    bands = None if bands is None else parse_bands(bands)
    images, origin = take_apart(image, bands or ())
    named = _named(images, bands)
    parse_bands([band for _, names in named for band in names])  # one image per band: raises where one comes twice
    return [layer for item, names in named for layer in _layers(item, names, unit, zeropoint)], origin


def _named(images, bands):
    """Pairs of an image and the names of its planes, in the order asked for."""
    if all(image.key is not None for image in images):
        return _picked(images, bands)
    if bands is None:
        return [(image, _own_names(image)) for image in images]
    count = sum(image.planes for image in images)
    if len(bands) != count:
        msg = (
            f"{len(bands)} bands were named ({', '.join(bands)}) for {count} image planes; name one per plane, in order"
        )
        raise ValueError(msg)
    given = iter(bands)
    named = [(image, tuple(next(given) for _ in range(image.planes))) for image in images]
    for image, names in named:
        _check_names(image, names)
    return named


def _picked(images, bands):
    """Images that come with names of their own: all, or those asked for, in that order."""
    if bands is None:
        return [(image, (image.key,)) for image in images]
    by_key = {image.key: image for image in images}
    missing = [band for band in bands if band not in by_key]
    if missing:
        msg = f"missing bands: {', '.join(missing)}; the image has {', '.join(by_key)}"
        raise ValueError(msg)
    return [(by_key[band], (band,)) for band in bands]


def _own_names(image):
    """Names that the header gives the planes of an image."""
    if image.planes > 1 or image.data.ndim == 3:
        names = bands_from_header(image.meta)
        if names is not None and len(names) != image.planes:
            msg = f"{image.label} has {image.planes} planes but its header names {len(names)} bands ({', '.join(names)}); pass bands="
            raise ValueError(msg)
        if names is not None:
            return names
    band = band_from_header(image.meta) if image.planes == 1 else None
    if band is None:
        cards = "FILTER card" if image.planes == 1 else "BANDS card"
        msg = f"{image.label} does not say its band{'s'[: image.planes > 1]} (no {cards}); pass bands=, e.g. bands=['g', 'r']"
        raise ValueError(msg)
    return (band,)


def _check_names(image, names):
    """Raise where the header of an image contradicts the names given: a list in the wrong order, most likely."""
    says = (band_from_header(image.meta),) if image.data.ndim == 2 else bands_from_header(image.meta)
    if says in (None, (None,)) or tuple(map(str.lower, says)) == tuple(map(str.lower, names)):
        return
    msg = (
        f"{image.label} was named {', '.join(names)} but its header says {', '.join(says)}; "
        "give images and bands in the same order, or leave bands out"
    )
    raise ValueError(msg)


def _layers(image, names, unit, zeropoint):
    """One checked `Layer` per plane of an image."""
    label = image.label if len(names) > 1 else f"{image.label} (band {names[0]})"
    try:
        return _plane_layers(image, names, unit, zeropoint)
    except ValueError as err:
        msg = f"{label}: {err}"
        raise ValueError(msg) from err


def _plane_layers(image, names, unit, zeropoint):
    data = _native(image.data)
    # an uncertainty has the unit that the image claims to have, whatever the caller knows better
    claimed, unit = (
        _unit(first if first is not None else second) for first, second in ((image.unit, unit), (unit, image.unit))
    )
    variance, useless = _variance(image.uncertainty, data, claimed)
    mask = _mask(image.mask, useless, data.shape)
    wcs = image.wcs()
    layers = []
    for index, band in enumerate(names):
        plane = (index,) if data.ndim == 3 else ()
        v, m = (None if array is None else array[plane] for array in (variance, mask))
        _check_usable(data[plane], m, band)
        zp = zeropoint.get(band) if isinstance(zeropoint, Mapping) else zeropoint
        layers.append(Layer(band, data[plane], v, m, wcs, unit, flux_zeropoint(unit, image.meta, zp), image.meta))
    return layers


def _native(data):
    """Own copy of the pixels, in the machine's byte order: float64 where it was that, else float32."""
    data = np.asarray(data)
    if data.dtype.kind not in "fiu":
        msg = f"the pixels are of type {data.dtype}; expected real numbers"
        raise ValueError(msg)
    if data.ndim < 2 or 0 in data.shape:
        msg = f"the image has shape {data.shape}; expected (rows, columns) or (bands, rows, columns), none of them zero"
        raise ValueError(msg)
    data = data.reshape(_shape(data.shape))
    wide = data.dtype.kind == "f" and data.dtype.itemsize >= 8
    return np.array(data, dtype=np.float64 if wide else np.float32, order="C")


def _shape(shape):
    """Shape without the leading axes of length one that radio images have."""
    extra = len(shape) - 3
    if extra > 0 and any(n != 1 for n in shape[:extra]):
        msg = f"the image has shape {shape}; expected (rows, columns) or (bands, rows, columns)"
        raise ValueError(msg)
    return shape[max(extra, 0) :]


def _unit(unit):
    if unit is None or (isinstance(unit, str) and not unit.strip()):
        msg = "the image has no unit; pass unit=, e.g. unit='nanomaggy', or unit='adu' with zeropoint="
        raise ValueError(msg)
    return parse_unit(unit)


def _variance(uncertainty, data, unit):
    """Variance of the data, and where it says that a pixel is worth nothing."""
    if uncertainty is None:
        return None, None
    if not isinstance(uncertainty, UNCERTAINTIES):
        kinds = ", ".join(kind.__name__ for kind in UNCERTAINTIES)
        msg = f"an uncertainty of kind {type(uncertainty).__name__} is not understood; expected {kinds}"
        raise ValueError(msg)
    wide = type(uncertainty)(
        _of_shape(uncertainty.array, data.shape, "uncertainty").astype(np.float64), unit=uncertainty.unit
    )
    with np.errstate(divide="ignore"):
        wide = wide.represent_as(VarianceUncertainty)
    variance = wide.array if wide.unit is None else wide.array * wide.unit.to(unit**2)
    useless = ~(variance >= 0) | np.isinf(variance)  # an inverse variance of zero marks a bad pixel
    with np.errstate(over="ignore", under="ignore"):
        narrow = variance.astype(data.dtype)
    # float32 as the data, unless the squares leave its range (fluxes in erg/s/cm2/Hz)
    lost = (np.isinf(narrow) & ~np.isinf(variance)) | ((narrow == 0) & (variance > 0))
    return (variance if lost.any() else narrow), (useless if useless.any() else None)


def _mask(mask, useless, shape):
    """Own boolean mask, or None."""
    if mask is None or mask is np.ma.nomask:
        return useless
    mask = _of_shape(mask, shape, "mask").astype(bool)
    return mask if useless is None else mask | useless


def _of_shape(array, shape, name):
    array = np.asarray(array)
    if array.size != np.prod(shape) or array.shape[-len(shape) :] != shape:
        msg = f"the {name} has shape {array.shape} and the image {shape}; they must be the same"
        raise ValueError(msg)
    return array.reshape(shape)


def _check_usable(data, mask, band):
    """Raise unless some pixel of a plane can be used."""
    finite = np.isfinite(data)
    if not finite.any():
        msg = f"band {band!r} has no finite pixel"
        raise ValueError(msg)
    if mask is not None and not (finite & ~mask).any():
        msg = f"band {band!r} has no usable pixel: all that are finite are masked"
        raise ValueError(msg)
