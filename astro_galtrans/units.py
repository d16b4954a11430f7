r"""
Flux units as surveys spell them, and AB zero points.

The AB magnitude of a flux ``f`` is ``zeropoint - 2.5 log10(f)`` (Oke & Gunn 1983, ApJ 266, 713): the zero point is the
AB magnitude of one flux unit. A maggy is the flux of an object of AB magnitude zero, so that nanomaggies have the zero
point 22.5; for a spectral flux density the definition :math:`m = -2.5 \log_{10} f_\nu - 48.60` (cgs) gives one jansky
8.90. Counts have the zero point that their calibration says.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from astropy import units as u

__all__ = [
    "EXPOSURE_CARDS", "NANOMAGGY_ZEROPOINT", "ZEROPOINT_CARDS", "Zeropoint", "ZeropointCard", "card_number",
    "find_zeropoint", "flux_factor", "flux_zeropoint", "parse_unit",
]  # fmt: skip

NANOMAGGY_ZEROPOINT = 22.5  #: AB magnitude of one nanomaggy


class ZeropointCard(NamedTuple):
    """A header card with a zero point: what it means where it is defined."""

    key: str
    per_second: bool = False  #: magnitude of one count per second, not of one count of the exposure
    fallback: bool = False  #: looked up only where none of the others is there, since stacks carry it along
    vega_with: tuple[str, ...] = ()  #: cards of a pipeline that means Vega magnitudes by it


#: Header cards that hold the magnitude of one count, in the order they are looked up. AB unless a card says otherwise.
ZEROPOINT_CARDS = (
    ZeropointCard("MZP_AB"),  # TERAPIX: stacks of CFHTLS and WIRDS
    ZeropointCard("MAGZERO"),  # SWarp, DES, Legacy Surveys, DECam community pipeline, Euclid MER
    # CASU (casu.ast.cam.ac.uk, "FITS header keywords"), also in the DECam community pipeline: of one count per second;
    # CASU's own, known by the extinction or the scatter beside it, in Vega magnitudes
    ZeropointCard("MAGZPT", per_second=True, vega_with=("MAGZRR", "EXTINCT", "NUMZPT")),
    ZeropointCard("PHOTZP"),  # ESO science data products, KiDS, MegaPipe
    ZeropointCard("ZEROPOINT"),
    ZeropointCard("ZP"),
    ZeropointCard("FPA.ZP", per_second=True, fallback=True),  # Pan-STARRS: 25 + 2.5 log10 EXPTIME is that of a stack
    ZeropointCard("PHOT_C", per_second=True, fallback=True),  # CFHT Elixir, with PHOT_K for the airmass
)
_FLUX_CARD = "FLUXMAG0"  # counts of an object of AB magnitude zero (LSST and HSC pipelines)
EXPOSURE_CARDS = ("EXPTIME", "EXPOSURE", "TEXPTIME", "XPOSURE")  #: exposure time (s), in the order they are looked up
_SYSTEM_CARDS = ("PHOTSYS", "MAGSYS", "PHOT_SYS", "ZPSYS", "MAGSYST")  # ESO: photometric system of PHOTZP
_SAYS_PER_SECOND = re.compile(r"per sec|\b(adu|dn|counts?|e-?|electrons?)/s|\b1 ?s(ec)? exp", re.IGNORECASE)  # comments
_ANGSTROM_LIGHT = 2.99792458e18  # speed of light in Angstrom/s, for PHOTFLAM in erg/s/cm2/Angstrom
_JANSKY_ZEROPOINT = 2.5 * 23 - 48.60
LARGEST_ZEROPOINT = 100.0  # magnitudes: a photon per second from the brightest star is nearer to zero
_TOLERANCE = 1e-3  # magnitudes; zero points closer than this are the same
_COUNTS = (u.adu, u.DN, u.ct, u.electron, u.ph)

# Spellings found in headers that astropy does not read; lower case, without a trailing "per second".
_SPELLINGS = {
    name: unit
    for unit, names in (
        (u.nmgy, "nanomaggy nanomaggies nmaggy nmgy"), (u.mgy, "maggy maggies"), (u.uJy, "microjy microjansky"),
        (u.nJy, "nanojy nanojansky"), (u.adu, "adu adus"), (u.DN, "dn"), (u.ct, "count counts cts"),
        (u.electron, "e e- electron electrons"),
    )
    for name in names.split()
}  # fmt: skip
_PER_PIXEL = re.compile(r"\s*(/\s*|per )pix(el)?s?$", re.IGNORECASE)
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
    text = _PER_PIXEL.sub("", text)  # what all images hold
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


class Zeropoint(NamedTuple):
    """AB magnitude of one flux unit, and where it is from."""

    magnitude: float
    source: str = ""  #: the card, its system and its time base; empty where the unit or the caller says it all


def flux_zeropoint(unit, meta=None, zeropoint=None):
    """
    AB magnitude of one flux unit.

    Parameters
    ----------
    unit, meta, zeropoint
        See `find_zeropoint`.

    Returns
    -------
    float
    """
    return find_zeropoint(unit, meta, zeropoint).magnitude


def find_zeropoint(unit, meta=None, zeropoint=None, default=None):
    """
    AB magnitude of one flux unit, and where it is from.

    Parameters
    ----------
    unit : str or `~astropy.units.UnitBase`
        Unit of the flux in a pixel: maggies or a spectral flux density with any prefix, or counts
        (``adu``, ``DN``, ``count``, ``electron``, ``photon``), also per second.
    meta : mapping, optional
        Header where the zero point of counts is looked up: `ZEROPOINT_CARDS`, ``FLUXMAG0`` (the counts of an object of
        AB magnitude zero), and ``PHOTFLAM`` with ``PHOTPLAM`` of Hubble. A card that is for one count per second is
        brought to the exposure with ``EXPTIME``, unless the pixels are per second, too.
    zeropoint : float, optional
        AB magnitude of one count. It takes precedence over the header.
    default : float, optional
        Taken for counts whose header has none.

    Returns
    -------
    `Zeropoint`

    Raises
    ------
    ValueError
        If the unit is not one of flux per pixel, if counts come without a zero point, if it is not in the AB system or
        lacks the exposure time, or if two statements disagree.
    """
    unit = parse_unit(unit)
    if zeropoint is not None:
        zeropoint = _finite(zeropoint, "zeropoint=")
    known = _physical_zeropoint(unit)
    if known is not None:
        if zeropoint is not None and abs(zeropoint - known) > _TOLERANCE:
            msg = f"zeropoint={zeropoint} contradicts the unit {unit}, which has {known:.3f} (AB); leave zeropoint= out"
            raise ValueError(msg)
        return Zeropoint(known)
    _check_counts(unit)
    if zeropoint is not None:
        return Zeropoint(zeropoint)
    return _header_zeropoint(unit, meta, default)


def card_number(header, key):
    """
    Number that a header card holds, be it as text.

    Parameters
    ----------
    header : mapping
    key : str

    Returns
    -------
    float or None
        None if the card is absent or empty.

    Raises
    ------
    ValueError
        If it holds something else: a logical value, a word, a sexagesimal number.
    """
    value = header.get(key)
    if not _given(value):
        return None
    number = _float(value)
    if not np.isfinite(number):
        msg = f"the header card {key} must hold a number, got {value!r}"
        raise ValueError(msg)
    return number


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


@lru_cache(maxsize=64)
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
        hint = (
            "it is a surface brightness, and the area of a pixel is not known (no PIXAR_SR or PIXAR_A2 card): multiply "
            "the image by the area of its pixels first"
        )
    elif isinstance(unit, u.function.FunctionUnitBase) or unit.is_equivalent(u.mag) or unit.is_equivalent(u.mag / u.sr):
        hint = "magnitudes cannot hold the negative pixels of the sky: convert the image to flux first"
    else:
        hint = "expected nanomaggies, Jy with any prefix, or counts (adu, DN, count, electron) with a zero point"
    name = unit.to_string() or "dimensionless"
    msg = f"the unit {name!r} is not a flux per pixel; {hint}, or pass unit= if the image states a wrong one"
    raise ValueError(msg)


def _header_zeropoint(unit, meta, default):
    """Zero point of counts from header cards that agree with each other."""
    cards = {str(key).upper(): value for key, value in (meta or {}).items()}
    found = {}
    for fallback in (False, True):
        present = [c for c in ZEROPOINT_CARDS if c.fallback == fallback and _given(cards.get(c.key))]
        found = found or {card.key: _of_card(card, cards, meta, unit) for card in present}
        if not fallback and _given(cards.get(_FLUX_CARD)):
            _check_system(_FLUX_CARD, cards, meta)
            found[_FLUX_CARD] = Zeropoint(_zeropoint_of_flux(cards[_FLUX_CARD]), f"{_FLUX_CARD} (AB)")
    found = found or _hubble(cards, unit)
    if not found and default is not None:
        return Zeropoint(default)
    if not found:
        known = ", ".join((*(card.key for card in ZEROPOINT_CARDS), _FLUX_CARD))
        msg = (
            f"no zero point for {unit}: pass zeropoint= (AB magnitude of one {unit}), or give the header one of {known}"
        )
        raise ValueError(msg)
    values = [zeropoint.magnitude for zeropoint in found.values()]
    if max(values) - min(values) > _TOLERANCE:
        listed = ", ".join(f"{key} = {zeropoint.magnitude:g}" for key, zeropoint in found.items())
        msg = f"the header's zero points disagree ({listed}): pass zeropoint= (AB magnitude of one {unit})"
        raise ValueError(msg)
    return next(iter(found.values()))


def _of_card(card, cards, meta, unit):
    """Zero point of one card, for the pixels as they are."""
    value = _finite(cards[card.key], card.key)
    _check_system(card.key, cards, meta, vega=any(key in cards for key in card.vega_with))
    if not (card.per_second or _SAYS_PER_SECOND.search(_comment(meta, card.key))):
        return Zeropoint(value, f"{card.key} (AB)")
    if card.key == "PHOT_C":  # Elixir: magnitude = PHOT_C + PHOT_K (airmass - 1) - 2.5 log10(counts per second)
        value += (card_number(cards, "PHOT_K") or 0) * ((card_number(cards, "AIRMASS") or 1) - 1)
    seconds, source = _exposure(card.key, cards, unit)
    return Zeropoint(value + 2.5 * np.log10(seconds).item(), source)


def _exposure(key, cards, unit):
    """Exposure time by which a zero point per second has to be multiplied in flux, and the account of it."""
    if any(unit.is_equivalent(base / u.s) for base in _COUNTS):
        return 1.0, f"{key} (AB, per second)"
    for card in EXPOSURE_CARDS:
        seconds = card_number(cards, card)
        if seconds is not None and seconds > 0:
            return seconds, f"{key} (AB, per second; {card} = {seconds:g} s)"
    msg = (
        f"the zero point {key} is for one {unit} per second, and the exposure time is not known "
        f"({', '.join(EXPOSURE_CARDS)}); pass zeropoint= (AB magnitude of one {unit})"
    )
    raise ValueError(msg)


def _check_system(key, cards, meta, *, vega=False):
    """Raise unless a zero point is in the AB system, as far as the header says."""
    stated = {card: str(cards[card]).strip().upper() for card in _SYSTEM_CARDS if _given(cards.get(card))}
    other = {card: text for card, text in stated.items() if "VEGA" in text or text in {"ST", "STMAG"}}
    if not stated and (vega or "vega" in _comment(meta, key).lower()):
        other = {key: "VEGA, as its pipeline writes it"}
    for card, text in other.items():
        msg = f"the zero point {key} is not in the AB system ({card} is {text}); pass zeropoint= in AB magnitudes"
        raise ValueError(msg)


def _comment(meta, key):
    comments = getattr(meta, "comments", None)
    return str(comments[key]) if comments is not None and key in meta else ""


def _hubble(cards, unit):
    """Zero point of PHOTFLAM and PHOTPLAM (HST data handbooks), the flux density of one electron per second."""
    flam, wavelength = (card_number(cards, key) for key in ("PHOTFLAM", "PHOTPLAM"))
    if not flam or not wavelength:
        return {}
    seconds, source = _exposure("PHOTFLAM", cards, unit)
    magnitude = -2.5 * np.log10(flam * wavelength**2 / _ANGSTROM_LIGHT / seconds) - 48.60
    return {"PHOTFLAM": Zeropoint(magnitude.item(), source)}


def _given(value):
    # a FITS card without a value reads as astropy's Undefined, an empty one as ""
    return value is not None and str(value).strip() != "" and type(value).__name__ != "Undefined"


def _float(value):
    """Number that a value is, or its text in FITS's way; NaN for anything else, logical values among it."""
    if isinstance(value, str):
        value = re.sub(r"(?<=[\d.])[dD](?=[+-]?\d)", "E", value)  # Fortran's double precision exponent
    try:
        return np.nan if isinstance(value, bool | np.bool_) else float(value)
    except (TypeError, ValueError):
        return np.nan


def _finite(value, name):
    number = _float(value)
    if not np.isfinite(number):
        msg = f"{name} must be a finite AB magnitude, got {value!r}; pass zeropoint="
        raise ValueError(msg)
    return _sensible(number, name)


def _sensible(magnitude, name):
    """Raise for a zero point that no image has: the conversion of its fluxes would leave the range of numbers."""
    if abs(magnitude) > LARGEST_ZEROPOINT:
        msg = f"{name} gives the zero point {magnitude:g}, which no image has; pass zeropoint="
        raise ValueError(msg)
    return magnitude


def _zeropoint_of_flux(value):
    flux = _float(value)
    if not (np.isfinite(flux) and flux > 0):
        msg = f"{_FLUX_CARD} must be positive, got {value!r}; pass zeropoint="
        raise ValueError(msg)
    return _sensible(2.5 * np.log10(flux).item(), _FLUX_CARD)
