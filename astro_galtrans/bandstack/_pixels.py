"""Pixel values as surveys write them: undefined integers, asinh compression, surface brightness, units left unsaid."""

import re
from functools import lru_cache

import numpy as np
from astropy import units as u
from astropy.wcs import WCS

from astro_galtrans.units import card_number

from ._conventions import IMPLIED_UNITS

__all__ = ["blank", "implied_unit", "linear", "pixel_area"]

_AREA_CARDS = (("PIXAR_SR", u.sr), ("PIXAR_A2", u.arcsec**2))  # JWST, Roman; both are the nominal area
_AREA_TOLERANCE = 0.05  # distortions change the area of a pixel by less across an instrument
_ASINH_SCALE = 2.5 * np.log10(np.e)  # of Pan-STARRS: "magnitudes" far from zero


def blank(data, meta):
    """
    Pixels of an integer image with those of the value ``BLANK`` as NaN; other images as they are.

    The card holds the value before ``BZERO`` is added (FITS standard 4.0, section 4.4.2.5). astropy applies it on
    reading, but not to unsigned integers, nor to an image made in memory.
    """
    data = np.asarray(data)
    if data.dtype.kind not in "iu":
        return data
    value = card_number(meta, "BLANK")
    if value is None:
        return data
    zero = card_number(meta, "BZERO") or 0 if data.dtype.kind == "u" else 0
    return np.where(data == value + zero, np.nan, data)


def implied_unit(meta):
    """Unit that a survey's images have though their header does not say so, or None."""
    for card, pattern, unit in IMPLIED_UNITS:
        if str(meta.get(card, "")).strip() and re.fullmatch(pattern, str(meta[card]).strip(), re.IGNORECASE):
            return unit
    return None


def linear(data, variance, meta, notes):
    """
    Linear flux and its variance of pixels that Pan-STARRS compressed with an asinh; others as they are.

    A header with ``BSOFTEN`` and ``BOFFSET`` says that pixels are ``a asinh((flux - BOFFSET) / (2 BSOFTEN))`` (Waters
    et al. 2020, ApJS 251, 4, section 4; STScI's pages on Pan-STARRS stack images). ``notes`` receives an account of it.
    """
    soften, offset = (card_number(meta, key) for key in ("BSOFTEN", "BOFFSET"))
    if soften is None and offset is None:
        return data, variance
    if not soften or soften < 0 or offset is None:
        msg = (
            f"the pixels are asinh-compressed, but BSOFTEN = {soften} and BOFFSET = {offset} do not say how; linearise "
            "them and remove these cards"
        )
        raise ValueError(msg)
    argument = data.astype(np.float64) / _ASINH_SCALE
    with np.errstate(over="ignore"):  # of a value that no compressed image has: infinite, and so masked
        flux = offset + 2 * soften * np.sinh(argument)
        if variance is not None:
            variance = variance * (2 * soften * np.cosh(argument) / _ASINH_SCALE) ** 2
    notes["pixels"] = f"linearised from asinh (BSOFTEN = {soften:g}, BOFFSET = {offset:g})"
    return flux.astype(data.dtype), variance


def pixel_area(unit, meta, wcs, shape, notes):
    """
    Flux unit of a surface brightness, and the factor that brings it there with ``PIXAR_SR`` or ``PIXAR_A2``.

    Other units, and surface brightness without such a card, stay as they are, with the factor 1. ``wcs`` is called for
    the WCS, whose pixels must be as large as the card says: that of an image that was resampled since is not true.
    ``notes`` receives an account of it.
    """
    if not _per_area(unit):
        return unit, 1.0
    for card, area_unit in _AREA_CARDS:
        area = card_number(meta, card)
        if area is None:
            continue
        true = _area(wcs(), shape)
        if abs(area * area_unit.to(u.sr) / true - 1) > _AREA_TOLERANCE:
            msg = (
                f"{card} = {area:g} contradicts the WCS, whose pixels have {true * u.sr.to(area_unit):g} {area_unit}: "
                "correct the card, or multiply the image by the area of its pixels"
            )
            raise ValueError(msg)
        notes["pixels"] = f"surface brightness times {card}"
        flux = u.Jy if unit.is_equivalent(u.Jy / u.sr) else u.nmgy
        return flux, unit.to(flux / area_unit) * area
    return unit, 1.0


@lru_cache(maxsize=64)
def _per_area(unit):
    # asked for each band of each stamp, of few units
    return any(unit.is_equivalent(flux / u.sr) for flux in (u.Jy, u.mgy))


def _area(wcs, shape):
    """Area of the pixel in the middle of an image (sr)."""
    if isinstance(wcs, WCS) and not wcs.has_distortion:
        return np.abs(np.linalg.det(wcs.pixel_scale_matrix)) * u.deg.to(u.rad) ** 2
    y, x = ((n - 1) / 2 for n in shape)
    lon, lat = np.radians(wcs.pixel_to_world_values(x + np.array([-0.5, 0.5, 0, 0]), y + np.array([0, 0, -0.5, 0.5])))
    lon = np.mod(lon - lon[0] + np.pi, 2 * np.pi) - np.pi
    east, north = lon[1::2] - lon[::2], lat[1::2] - lat[::2]
    return float(abs(east[0] * north[1] - east[1] * north[0]) * np.cos(lat.mean()))
