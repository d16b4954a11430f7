"""Second step of the door in: settle which band each plane is, check every plane and make plain arrays of it."""

from collections.abc import Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.nddata import VarianceUncertainty

from astro_galtrans.bands import band_from_header, bands_from_header, parse_band, parse_bands
from astro_galtrans.units import flux_zeropoint, parse_unit

from ._numbers import mask_marks, worthless
from ._opening import UNCERTAINTIES, take_apart

__all__ = ["Layer", "load", "narrowed"]


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


class _Arrays(NamedTuple):
    """Plain arrays of an image, [planes, H, W]."""

    data: np.ndarray
    variance: np.ndarray | None
    mask: np.ndarray | None
    wcs: object
    unit: u.UnitBase


def load(image, bands=None, *, unit=None, zeropoint=None):
    """
    Make one `Layer` per band of an object of any accepted kind.

    Parameters
    ----------
    image, bands, unit, zeropoint
        See `astro_galtrans.bandstack.read`.

    Returns
    -------
    layers : list of `Layer`
    origin : `~astro_galtrans.bandstack.Origin`
    """
    bands = None if bands is None else parse_bands(bands)
    if isinstance(zeropoint, Mapping):
        zeropoint = {parse_band(band): value for band, value in zeropoint.items()}
    images, origin = take_apart(image, bands or ())
    slots = _named(images, bands)
    arrays = {id(image): _checked_arrays(image, unit) for image, _, _ in slots}
    return [_layer(image, arrays[id(image)], plane, band, zeropoint) for image, plane, band in slots], origin


# Bands: a slot is one plane of an image, and its name.


def _named(images, bands):
    """
    Name the planes: by what they say of themselves where that is possible, else in the order of ``bands``.

    Names of their own make ``bands`` a choice, and a list of files in any order comes out right.
    """
    slots = [(image, plane, name) for image in images for plane, name in enumerate(_own_names(image))]
    if bands is not None:
        names = {name for *_, name in slots}
        slots = _chosen(slots, bands) if names.issuperset(bands) or images[0].key else _counted(slots, bands)
    unnamed = [image.label for image, _, name in slots if name is None]
    if unnamed:
        msg = (
            f"{unnamed[0]} does not say which band it is (no FILTER or BANDS card); pass bands=, e.g. bands=['g', 'r']"
        )
        raise ValueError(msg)
    _check_unique(slots)
    return slots


def _own_names(image):
    """Names that an image gives its planes, or None for each."""
    if image.key is not None:
        return (image.key,)
    names = bands_from_header(image.meta) if image.data.ndim > 2 else None
    if names is not None and len(names) != image.planes:
        msg = f"{image.label} has {image.planes} planes but its header names {len(names)} bands: {', '.join(names)}"
        raise ValueError(msg)
    if names is None and image.planes == 1:
        return (band_from_header(image.meta),)
    return names or (None,) * image.planes


def _chosen(slots, bands):
    """Slots of the bands asked for, in that order."""
    missing = [band for band in bands if band not in [name for *_, name in slots]]
    if missing:
        msg = f"missing bands: {', '.join(missing)}; the image has {', '.join(name for *_, name in slots)}"
        raise ValueError(msg)
    return [slot for band in bands for slot in slots if slot[2] == band]


def _counted(slots, bands):
    """Slots that take their names from the order of the bands; a header that says otherwise is an error."""
    if len(slots) != len(bands):
        msg = (
            f"{len(bands)} bands ({', '.join(bands)}) for {len(slots)} image planes; name one band per plane, in order"
        )
        raise ValueError(msg)
    for (image, _, says), band in zip(slots, bands, strict=True):
        if says is not None and says.lower() != band.lower():
            msg = (
                f"{image.label} was named {band!r} but its header says {says!r}; name the images by the keys of a dict"
            )
            raise ValueError(msg)
    return [(image, plane, band) for (image, plane, _), band in zip(slots, bands, strict=True)]


def _check_unique(slots):
    seen = {}
    for image, _, band in slots:
        if band in seen:
            msg = f"band {band!r} comes twice, in {seen[band]} and {image.label}; each band may come once"
            raise ValueError(msg)
        seen[band] = image.label


# Planes: every check of an image is made here, once, with the name of the image in its message.


@contextmanager
def _blaming(label):
    """Put the name of an image before what is wrong with it."""
    try:
        yield
    except ValueError as err:
        msg = f"{label}: {err}"
        raise ValueError(msg) from err


def _layer(image, arrays, plane, band, zeropoint):
    """One plane of an image."""
    data, variance, mask = (None if array is None else array[plane] for array in arrays[:3])
    with _blaming(f"{image.label} (band {band})"):
        _check_usable(data, mask)
        given = zeropoint.get(band) if isinstance(zeropoint, Mapping) else zeropoint
        zeropoint = flux_zeropoint(arrays.unit, image.meta, given)
    return Layer(band, data, variance, mask, arrays.wcs, arrays.unit, zeropoint, image.meta)


def _checked_arrays(image, unit):
    """Own arrays of all planes of an image."""
    with _blaming(image.label):
        data = _native(image.data)
        # an uncertainty is in the unit that the image claims to have, whatever the caller knows better
        claimed = _unit(unit if image.unit is None else image.unit)
        unit = _unit(image.unit if unit is None else unit)
        variance, useless = _variance(image.uncertainty, data, claimed)
        mask = mask_marks(data, _mask(image.mask, useless, data.shape), image.label)
        return _Arrays(data, variance, mask, image.wcs(), unit)


def _native(data):
    """Own copy of the pixels in the machine's byte order, [planes, H, W]: float64 if they were that, else float32."""
    data = np.asarray(data)
    if data.dtype.kind not in "fiu":
        msg = f"the pixels are of type {data.dtype}; expected real numbers"
        raise ValueError(msg)
    extra = data.shape[:-3]  # radio images have leading axes of length one
    if data.ndim < 2 or 0 in data.shape or set(extra) - {1}:
        msg = f"the shape is {data.shape}; expected (rows, columns) or (bands, rows, columns), none of them zero"
        raise ValueError(msg)
    wide = data.dtype.kind == "f" and data.dtype.itemsize >= 8
    return np.array(data.reshape((-1, *data.shape[-2:])), dtype=np.float64 if wide else np.float32, order="C")


def _unit(unit):
    if unit is None or (isinstance(unit, str) and not unit.strip()):
        msg = "no unit; pass unit=, e.g. unit='nanomaggy', or unit='adu' with zeropoint="
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
    array = _of_shape(uncertainty.array, data.shape, "uncertainty").astype(
        np.float64
    )  # float32 squares leave its range
    with np.errstate(divide="ignore"):
        wide = type(uncertainty)(array, unit=uncertainty.unit).represent_as(VarianceUncertainty)
    variance = wide.array if wide.unit is None else wide.array * wide.unit.to(unit**2)
    useless = worthless(array, variance, "uncertainty")
    variance[useless] = 0  # masked from here on; an infinity or NaN would spread when bands are resampled
    return narrowed(variance, data.dtype), (useless if useless.any() else None)


def narrowed(variance, dtype):
    """
    Variance in the dtype of its data, unless the squares leave the range of that (fluxes in erg/s/cm2/Hz).

    Parameters
    ----------
    variance : `~numpy.ndarray`
        In float64.
    dtype : dtype

    Returns
    -------
    `~numpy.ndarray`
    """
    with np.errstate(over="ignore", under="ignore"):
        narrow = variance.astype(dtype, copy=False)
    lost = (np.isinf(narrow) & ~np.isinf(variance)) | ((narrow == 0) & (variance > 0))
    return variance if lost.any() else narrow


def _mask(mask, useless, shape):
    """Own boolean mask, or None."""
    if mask is None or mask is np.ma.nomask:
        return useless
    mask = _of_shape(mask, shape, "mask").astype(bool)
    return mask if useless is None else mask | useless


def _of_shape(array, shape, name):
    array = np.asarray(array)
    if array.size != np.prod(shape) or array.shape[-2:] != shape[-2:]:
        msg = f"the {name} has shape {array.shape} and the image {shape[shape[0] == 1 :]}; they must be the same"
        raise ValueError(msg)
    return array.reshape(shape)


def _check_usable(data, mask):
    """Raise unless some pixel of a plane can be used."""
    finite = np.isfinite(data)
    if not finite.any():
        msg = "no pixel is finite"
        raise ValueError(msg)
    if mask is not None and not (finite & ~mask).any():
        msg = "no pixel is usable: all that are finite are masked"
        raise ValueError(msg)
