r"""
Flux units as surveys spell them, and AB zero points.

The AB magnitude of a flux ``f`` is ``zeropoint - 2.5 log10(f)`` (Oke & Gunn 1983, ApJ 266, 713): the zero point is the
AB magnitude of one flux unit. A maggy is the flux of an object of AB magnitude zero, so that nanomaggies have the zero
point 22.5; for a spectral flux density the definition :math:`m = -2.5 \log_{10} f_\nu - 48.60` (cgs) gives one jansky
8.90. Counts have the zero point that their calibration says.
"""

import re

import numpy as np
from astropy import units as u

__all__ = ["NANOMAGGY_ZEROPOINT", "ZEROPOINT_CARDS", "flux_factor", "flux_zeropoint", "parse_unit"]

NANOMAGGY_ZEROPOINT = 22.5  #: AB magnitude of one nanomaggy

#: Header cards that hold the AB magnitude of one count, in the order they are looked up.
ZEROPOINT_CARDS = ("MZP_AB", "MAGZERO", "MAGZPT", "PHOTZP", "ZEROPOINT", "ZP")

_FLUX_CARD = "FLUXMAG0"  # counts of an object of AB magnitude zero (LSST and HSC pipelines)
_JANSKY_ZEROPOINT = 2.5 * 23 - 48.60
_TOLERANCE = 1e-3  # magnitudes; zero points closer than this are the same
_COUNTS = (u.adu, u.DN, u.ct, u.electron, u.ph)

# Spellings found in headers that astropy does not read; lower case, without a trailing "per second".
_SPELLINGS = {
    "nanomaggies": u.nmgy,
    "nmaggy": u.nmgy,
    "nmgy": u.nmgy,
    "maggies": u.mgy,
    "adu": u.adu,
    "adus": u.adu,
    "dn": u.DN,
    "count": u.ct,
    "counts": u.ct,
    "cts": u.ct,
    "e": u.electron,
    "e-": u.electron,
    "electron": u.electron,
    "electrons": u.electron,
    "microjy": u.uJy,
    "microjansky": u.uJy,
    "nanojy": u.nJy,
    "nanojansky": u.nJy,
}
_PER_SECOND = re.compile(r"\s*(/\s*s(ec(ond)?)?|[\s.*]s(\*\*|\^)?\(?-1\)?)$", re.IGNORECASE)


def parse_unit(unit):
    """
    Read a flux unit, in astropy's or a survey's spelling.

    Parameters
    ----------
    unit : str or `~astropy.units.UnitBase`
        For instance ``"nanomaggies"``, ``"ADU"``, ``"e-/s"`` or ``u.uJy``.

    Returns
    -------
    `~astropy.units.UnitBase`

    Raises
    ------
    ValueError
        If the text is not a unit.
    """
    if not isinstance(unit, str):
        return u.Unit(unit)
    text = unit.strip("'\"[] ")
    base = _PER_SECOND.sub("", text)
    if base.lower() in _SPELLINGS:
        count = _SPELLINGS[base.lower()]
        return count if base == text else count / u.s
    # headers of every age come through here: an odd spelling that can be read is not the user's concern; astropy
    # would warn of erg/s/cm2/Hz, which is erg/(s cm2 Hz)
    first, *below = text.split("/")
    if len(below) > 1 and "(" not in text:
        text = f"{first}/({' '.join(below)})"
    parsed = u.Unit(text, parse_strict="silent")
    if isinstance(parsed, u.UnrecognizedUnit):
        msg = f"{unit!r} is not a known unit; pass unit=, e.g. unit='nanomaggy', 'uJy', 'adu' or 'electron / s'"
        raise ValueError(msg)
    return parsed


def flux_zeropoint(unit, meta=None, zeropoint=None):
    """
    AB magnitude of one flux unit.

    Parameters
    ----------
    unit : str or `~astropy.units.UnitBase`
        Unit of the flux in a pixel: maggies or a spectral flux density with any prefix, or counts
        (``adu``, ``DN``, ``count``, ``electron``, ``photon``), also per second.
    meta : mapping, optional
        Header where the zero point of counts is looked up: `ZEROPOINT_CARDS` and ``FLUXMAG0``, the counts of an object
        of AB magnitude zero. Exposure times are not applied: a zero point belongs to the pixel values as they are.
    zeropoint : float, optional
        AB magnitude of one count. It takes precedence over the header.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the unit is not one of flux per pixel, if counts come without a zero point, or if two statements disagree.
    """
    unit = parse_unit(unit)
    if zeropoint is not None:
        zeropoint = _finite(zeropoint, "zeropoint=")
    known = _physical_zeropoint(unit)
    if known is not None:
        if zeropoint is not None and abs(zeropoint - known) > _TOLERANCE:
            msg = f"zeropoint={zeropoint} contradicts the unit {unit}, which has {known:.3f} (AB); leave zeropoint= out"
            raise ValueError(msg)
        return known
    _check_counts(unit)
    if zeropoint is not None:
        return zeropoint
    return _header_zeropoint(unit, meta)


def flux_factor(zp_from, zp_to):
    """
    Factor that brings a flux from one zero point to another.

    Parameters
    ----------
    zp_from, zp_to : float
        AB magnitude of one flux unit, before and after.

    Returns
    -------
    float
        ``10**(0.4 * (zp_to - zp_from))``; the magnitude of the source stays what it is.
    """
    return 10.0 ** (0.4 * (zp_to - zp_from))


def _physical_zeropoint(unit):
    """Zero point of a unit that carries its own calibration, else None."""
    if isinstance(unit, u.function.FunctionUnitBase):
        return None
    unit = unit * u.pix if u.pix in unit.bases else unit  # "Jy / pix" is what a flux per pixel is
    if unit.is_equivalent(u.mgy):
        return -2.5 * np.log10(unit.to(u.mgy)).item()
    if unit.is_equivalent(u.Jy):
        return _JANSKY_ZEROPOINT - 2.5 * np.log10(unit.to(u.Jy)).item()
    return None


def _check_counts(unit):
    """Raise unless the unit is one of counts, per second or not."""
    if any(unit.is_equivalent(base) or unit.is_equivalent(base / u.s) for base in _COUNTS):
        return
    if unit.is_equivalent(u.Jy / u.sr) or unit.is_equivalent(u.mgy / u.sr):
        hint = "it is a surface brightness: multiply the image by the area of its pixels first"
    elif isinstance(unit, u.function.FunctionUnitBase) or unit.is_equivalent(u.mag):
        hint = "magnitudes cannot hold the negative pixels of the sky: convert the image to flux first"
    else:
        hint = "expected nanomaggies, Jy with any prefix, or counts (adu, DN, count, electron) with a zero point"
    name = unit.to_string() or "dimensionless"
    msg = f"the unit {name!r} is not a flux per pixel; {hint}, or pass unit= if the image states a wrong one"
    raise ValueError(msg)


def _header_zeropoint(unit, meta):
    """Zero point of counts from header cards that agree with each other."""
    cards = {str(key).upper(): value for key, value in (meta or {}).items()}
    found = {key: _finite(cards[key], key) for key in ZEROPOINT_CARDS if _given(cards.get(key))}
    if _given(cards.get(_FLUX_CARD)):
        found[_FLUX_CARD] = _zeropoint_of_flux(cards[_FLUX_CARD])
    if not found:
        cards = ", ".join((*ZEROPOINT_CARDS, _FLUX_CARD))
        msg = (
            f"no zero point for {unit}: pass zeropoint= (AB magnitude of one {unit}), or give the header one of {cards}"
        )
        raise ValueError(msg)
    if max(found.values()) - min(found.values()) > _TOLERANCE:
        listed = ", ".join(f"{key} = {value:g}" for key, value in found.items())
        msg = f"the header's zero points disagree ({listed}): pass zeropoint= (AB magnitude of one {unit})"
        raise ValueError(msg)
    return next(iter(found.values()))


def _given(value):
    # a FITS card without a value reads as astropy's Undefined, an empty one as ""
    return value is not None and str(value).strip() != "" and type(value).__name__ != "Undefined"


def _finite(value, name):
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        msg = f"{name} must be a finite AB magnitude, got {value!r}; pass zeropoint="
        raise ValueError(msg)
    return number


def _zeropoint_of_flux(value):
    flux = _finite(value, _FLUX_CARD)
    if flux <= 0:
        msg = f"{_FLUX_CARD} must be positive, got {value!r}; pass zeropoint="
        raise ValueError(msg)
    return 2.5 * np.log10(flux).item()
