"""Second step of the door in: settle which band each plane is, check every plane and make plain arrays of it."""

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from os import PathLike
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance, NDData, StdDevUncertainty, VarianceUncertainty

from astro_galtrans._warn import warn
from astro_galtrans.bands import OPTICAL_BANDS, band_from_header, bands_from_header, parse_band, parse_bands
from astro_galtrans.exceptions import EmptyImageError
from astro_galtrans.units import find_zeropoint, flux_factor, flux_zeropoint, parse_unit

from ._conventions import SATURATION_CARDS
from ._numbers import mask_marks, worthless
from ._opening import take_apart
from ._pixels import blank, implied_unit, linear, pixel_area

__all__ = ["Layer", "Pixels", "bands_of", "load", "narrowed", "read_pixels"]

UNCERTAINTIES = (StdDevUncertainty, VarianceUncertainty, InverseVariance)


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
    notes: dict  # see BandStack.notes
    label: str  # what it was read from, for messages


class _Arrays(NamedTuple):
    """Plain arrays of an image, [planes, H, W]."""

    data: np.ndarray
    variance: np.ndarray | None
    mask: np.ndarray | None
    unit: u.UnitBase
    notes: dict


class Pixels(NamedTuple):
    """Arrays of an image whose place on the sky does not matter, of the shape that they have in its file."""

    data: np.ndarray  #: flux per pixel, [..., H, W], float32 or float64
    variance: np.ndarray | None  #: in the unit of the flux squared
    mask: np.ndarray | None  #: bool, True where a pixel is bad
    unit: u.UnitBase
    zeropoint: float  #: AB magnitude of one flux unit


def load(image, bands=None, *, unit=None, zeropoint=None, bad_planes=None, strict=False):
    """One `Layer` per band of an object of any accepted kind, and its `Origin`; arguments as for `bandstack.read`."""
    bands = None if bands is None else parse_bands(bands)
    if isinstance(zeropoint, Mapping):
        zeropoint = {parse_band(band): value for band, value in zeropoint.items()}
    images, origin = take_apart(image, bands or (), bad_planes, strict)
    slots = _named(images, bands)
    used = {id(image): image for image, _, _ in slots}  # a cube has a slot for each of its planes
    arrays = {key: (_checked_arrays(image, unit), _wcs(image)) for key, image in used.items()}
    return [_layer(image, *arrays[id(image)], plane, band, zeropoint) for image, plane, band in slots], origin


def bands_of(image, bands=None):
    """
    Return the names of the bands that an object of any accepted kind holds; None for those that nothing names.

    Parameters
    ----------
    image : object
        As for `astro_galtrans.bandstack.read`.
    bands : str or iterable of str, optional
        Their names in order, where the image does not say.
    """
    bands = () if bands is None else parse_bands(bands)
    images, _ = take_apart(image, bands)
    names = [name for image in images for name in _own_names(image, bands or None)]
    return bands if names == [None] * len(bands) else tuple(names)


def read_pixels(image, bands=(), *, unit=None, zeropoint=None, default=(None, None)):
    """
    Read images that need no world coordinates, such as stamps, with the checks and conversions of `read`.

    Parameters
    ----------
    image : object
        As for `astro_galtrans.bandstack.read`, or an array, `~astropy.units.Quantity` or
        `~astropy.nddata.Cutout2D`; ``[H, W]`` or, with any axes in front, ``[C, H, W]``.
    bands : tuple of str, optional
        Names that extensions of a file may have. Bands in extensions, or files, of their own come out as
        ``[C, H, W]``, in the unit and zero point of the first one.
    unit, zeropoint : optional
        As for `astro_galtrans.bandstack.read`.
    default : tuple of (str, float or None), optional
        Unit of images that state none, and the zero point of images in that unit that state none.

    Returns
    -------
    `Pixels`

    Raises
    ------
    ValueError
        If the unit is none of flux per pixel, counts have no zero point, or a mask or noise does not fit its image.
    OSError
        If a file cannot be read.
    """
    if not isinstance(image, NDData | Mapping | str | PathLike) and not hasattr(image, "fileinfo"):  # which HDUs have
        array, own = getattr(image, "value", getattr(image, "data", image)), getattr(image, "unit", None)
        own = own if str(own or "") else None  # a Quantity without a unit states none
        image = NDData(np.asarray(array), unit=own, mask=getattr(image, "mask", None))
    images, _ = take_apart(image, bands)
    parts = [_pixels(part, unit, zeropoint, default) for part in images]
    if len(parts) == 1:
        return parts[0]
    if len({part.variance is None for part in parts}) > 1:
        msg = f"of {images[0].label} and the other bands some say how noisy they are and some do not; give all or none"
        raise ValueError(msg)
    first, masked = parts[0], any(part.mask is not None for part in parts)
    factors = [flux_factor(part.zeropoint, first.zeropoint) for part in parts]
    return Pixels(
        np.vstack([_cube(f * part.data) for f, part in zip(factors, parts, strict=True)]),
        first.variance if first.variance is None else np.vstack(
            [_cube(f**2 * part.variance) for f, part in zip(factors, parts, strict=True)]
        ),
        np.vstack([_cube(np.isnan(p.data) if p.mask is None else p.mask) for p in parts]) if masked else None,
        first.unit, first.zeropoint,
    )  # fmt: skip


def _cube(plane):
    return plane[None] if plane.ndim == 2 else plane


def _pixels(image, unit, zeropoint, default):
    """`Pixels` of one image: read as one image per band, ``[C, N H, W]``, of all stamps below each other.

    So the sky and the noise that tell marks for "no data" from flux are those of all stamps.
    """
    shape, own = np.shape(image.data), image.unit
    if len(shape) < 2 or 0 in shape:
        msg = f"{image.label} has the shape {shape}; expected [..., H, W]"
        raise ValueError(msg)
    planes = shape[-3] if len(shape) > 2 else 1

    def joined(array, name="image"):
        stamps = _of_shape(array, shape, name).reshape(-1, planes, *shape[-2:])
        return stamps.swapaxes(0, 1).reshape(planes, -1, shape[-1])

    def apart(array):
        return array if array is None else array.reshape(planes, -1, *shape[-2:]).swapaxes(0, 1).reshape(shape)

    with _blaming(image.label):
        noise = image.uncertainty
        if isinstance(noise, UNCERTAINTIES):
            noise = type(noise)(joined(noise.array, "uncertainty"), unit=noise.unit)
        mask = None if image.mask is None else joined(image.mask, "mask")
        own = default[0] if _no_unit(own) and implied_unit(image.meta) is None else own
    arrays = _checked_arrays(replace(image, data=joined(image.data), mask=mask, uncertainty=noise, unit=own), unit)
    with _blaming(image.label):
        fallback = default[1] if default[0] is not None and arrays.unit == parse_unit(default[0]) else None
        found = find_zeropoint(arrays.unit, image.meta, zeropoint, default=fallback)
    return Pixels(*map(apart, arrays[:3]), arrays.unit, found.magnitude)


# Bands: a slot is one plane of an image, and its name.


def _named(images, bands):
    """
    Name the planes: by what they say of themselves where that is possible, else in the order of ``bands``.

    Names of their own make ``bands`` a choice, and a list of files in any order comes out right.
    """
    slots = [(image, plane, name) for image in images for plane, name in enumerate(_own_names(image, bands))]
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


def _own_names(image, bands):
    """Names that an image gives its planes, or None for each; where ``bands`` are given, cards may contradict."""
    if image.key is not None:
        _warn_of_other_band(image)
        return (image.key,)
    names = bands_from_header(image.meta) if image.data.ndim > 2 else None
    if names is not None and len(names) != image.planes:
        msg = f"{image.label} has {image.planes} planes but its header names {len(names)} bands: {', '.join(names)}"
        raise ValueError(msg)
    if names is None and image.planes == 1:
        try:
            with _blaming(image.label):
                return (band_from_header(image.meta),)
        except ValueError as err:
            if bands is None:
                raise
            warn(f"{err}; taken as one of {', '.join(bands)}", stacklevel=6)
    return names or (None,) * image.planes


def _warn_of_other_band(image):
    """Warn of a header that names another band than the key: the key holds, since headers err, but so do typists."""
    try:
        says = band_from_header(image.meta)
    except ValueError:  # it names several: the key is there to choose
        return
    if {says, image.key} <= set(OPTICAL_BANDS) and says != image.key:
        msg = f"{image.label} is taken as band {image.key} after its key or extension, but its header says {says}"
        warn(msg, stacklevel=6)


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
            msg = (
                f"band {band!r} comes twice, in {seen[band]} and {image.label}; each band may come once: of several "
                "detectors pass one at a time, as 'file.fits[1]'"
            )
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
        raise (EmptyImageError if isinstance(err, EmptyImageError) else ValueError)(msg) from err


def _wcs(image):
    with _blaming(image.label):
        return image.wcs()


def _layer(image, arrays, wcs, plane, band, zeropoint):
    """One plane of an image."""
    data, variance, mask = (None if array is None else array[plane] for array in arrays[:3])
    with _blaming(f"{image.label} (band {band})"):
        _check_usable(data, mask)
        given = zeropoint.get(band) if isinstance(zeropoint, Mapping) else zeropoint
        found = find_zeropoint(arrays.unit, image.meta, given)
    notes = arrays.notes | ({"zeropoint": found.source} if found.source else {})
    return Layer(band, data, variance, mask, wcs, arrays.unit, found.magnitude, image.meta, notes, image.label)


def _checked_arrays(image, unit):
    """Own arrays of all planes of an image."""
    with _blaming(image.label):
        data = _native(blank(image.data, image.meta))
        # an uncertainty is in the unit that the image claims to have, whatever the caller knows better
        own = implied_unit(image.meta) if _no_unit(image.unit) else image.unit
        claimed = _unit(unit if _no_unit(own) else own)
        unit = _unit(own if unit is None else unit)
        variance, useless = _variance(image.uncertainty, data, claimed)
        # marks for "no data" are what the file holds, before it is linearised or scaled
        mask = mask_marks(data, _mask(image.mask, useless, data.shape), image.label)
        notes = dict(image.notes)
        mask = _saturated(data, mask, image.meta, notes)
        data, variance = linear(data, variance, image.meta, notes)
        unit, area = pixel_area(unit, image.meta, image.wcs, data.shape[-2:], notes)
        if area != 1:
            data *= data.dtype.type(area)
            variance = None if variance is None else narrowed(variance.astype(np.float64) * area**2, data.dtype)
        return _Arrays(data, variance, mask, unit, notes)


def _saturated(data, mask, meta, notes):
    """Mask with the pixels that a card says are saturated; ``notes`` tell how many."""
    for card in SATURATION_CARDS:
        level = meta.get(card)
        if isinstance(level, int | float) and not isinstance(level, bool) and level > 0:
            full = data >= level
            if full.any():
                notes["saturation"] = f"{np.count_nonzero(full)} at or above {card} = {level:.6g}"
                return full if mask is None else mask | full
            break
    return mask


def _no_unit(unit):
    return unit is None or (isinstance(unit, str) and not unit.strip())


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
    if _no_unit(unit):
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
        wide = type(uncertainty)(array, unit=uncertainty.unit, copy=False).represent_as(VarianceUncertainty)
    variance = wide.array if wide.unit is None else wide.array * _square_factor(wide.unit, unit)
    useless = worthless(None if isinstance(uncertainty, InverseVariance) else array, variance, "uncertainty")
    variance[useless] = 0  # masked from here on; an infinity or NaN would spread when bands are resampled
    return narrowed(variance, data.dtype), (useless if useless.any() else None)


@lru_cache(maxsize=64)
def _square_factor(own, unit):
    """Factor from the unit of a variance to the square of the image's; maggies and janskys go by their zero points."""
    try:
        return own.to(unit**2)
    except u.UnitConversionError as err:
        try:
            return flux_factor(flux_zeropoint(own**0.5), flux_zeropoint(unit)) ** 2
        except ValueError:
            msg = f"the uncertainty is in {own**0.5} and the image in {unit}; convert one, or remove its unit if wrong"
            raise ValueError(msg) from err


def narrowed(variance, dtype):
    """Variance in the dtype of its data, unless it leaves the range of that (squares of erg/s/cm2/Hz)."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = variance.astype(dtype, copy=False)
    lost = (np.isinf(narrow) & ~np.isinf(variance)) | ((narrow == 0) & (variance > 0))
    return variance if lost.any() else narrow


def _mask(mask, useless, shape):
    """Own boolean mask, or None."""
    if mask is None or mask is np.ma.nomask:
        return useless
    mask = _of_shape(mask, shape, "mask")
    if mask.dtype.kind not in "biuf":  # a text "F" would be true
        msg = f"the mask is of type {mask.dtype}; expected bool, True where a pixel is bad, or numbers"
        raise ValueError(msg)
    mask = mask.astype(bool)
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
        raise EmptyImageError(msg)
    if mask is not None and not (finite & ~mask).any():
        msg = "no pixel is usable: all that are finite are masked"
        raise EmptyImageError(msg)
