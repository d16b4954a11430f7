"""
Band names: from the many spellings of filters in headers, catalogues and filter collections to one short name.

The canonical names are ``u g r i z y`` for the optical bands of the SDSS system and its relatives (MegaCam, HSC, DECam,
LSST...), and the filter's own name for anything else: ``VIS`` and the infrared ``Y J H`` of Euclid, ``F814W`` of
Hubble, ``NB921``, Johnson's ``R``.
"""

import re

__all__ = ["OPTICAL_BANDS", "band_from_header", "bands_from_header", "known_band", "parse_band", "parse_bands"]

OPTICAL_BANDS = ("u", "g", "r", "i", "z", "y")  #: by increasing wavelength

# CFHT's codes: MP9702 is the second i filter, which replaced the broken first one in 2007 (some catalogues call it "y")
_MEGACAM = {
    "MP9301": "u", "MP9302": "u", "MP9401": "g", "MP9402": "g", "MP9601": "r", "MP9602": "r",
    "MP9701": "i", "MP9702": "i", "MP9703": "i", "MP9801": "z", "MP9901": "z",
}  # fmt: skip

# Surveys and cameras whose filters are all of the SDSS kind: with one of these words, "R" means r and not Johnson's R.
_SDSS_LIKE = frozenset({
    "sdss", "sdss2010", "sdssdr7", "sloan", "cfht", "cfhtls", "megacam", "megaprime", "unions", "hsc", "des", "decam",
    "decals", "legacy", "ps1", "panstarrs", "gpc1", "lsst", "lsst2016", "lsst2023", "lsstcam", "comcam", "kids",
    "omegacam", "ocam", "skymapper", "ztf",
})  # fmt: skip

# u*, u', up, ustar, i2: marks that tell filters of one band apart; CFHTLS, SDSS (u'g'r'i'z') and HSC use them
_MARKED = re.compile(r"([ugrizy])(\*|'|’|p|prime|star|2)?", re.IGNORECASE)
_GLUED = re.compile(r"(?:sdss|sloan|cfht|hsc|decam|des|ps1|lsst|kids)([ugrizy])", re.IGNORECASE)

# what Euclid, infrared cameras and Hubble write around the name of a filter
_VIS = frozenset({"vis", "ie"})
_INFRARED = frozenset(
    {"euclid", "nisp", "nir", "vista", "vircam", "viking", "video", "uvista", "ukidss", "wfcam", "wircam"}
)
_INFRARED_BAND = re.compile(r"([ZYJHK]|Ks)(?:E)?")
_HUBBLE = re.compile(r"F\d{3,4}(?:W|LP|X|M|N)", re.IGNORECASE)

_CARDS = (
    "FILTER", "BAND", "FILTNAM", "FILTNAM1", "FILTNAME", "FILTERS", "FILTERN", "INSFILTE", "FILTER1", "FILTER2",
    "FILTER01", "FILT1", "FILT2", "ESO INS FILT1 NAME", "FPA.FILTERID", "FPA.FILTER",
)  # fmt: skip
_EMPTY_WHEEL = re.compile(r"(clear(\d?[ls])?|none|open|blank|empty|n/?a|air|unknown)?", re.IGNORECASE)


def parse_band(text):
    """
    Short name of the band that a text names.

    Parameters
    ----------
    text : str
        For instance ``"g.MP9401"``, ``"sdss_g"``, ``"cfht_megacam-g"``, ``"g'"``, ``"MP9401"`` or ``"HSC-G"``; or
        ``"NIR_Y"``, ``"Euclid-VIS"``, ``"ACS_WFC_F814W"``.

    Returns
    -------
    str
        One of `OPTICAL_BANDS`, or ``VIS``, an infrared letter or Hubble's name where the text is recognised, else the
        text without the spaces around it.

    Raises
    ------
    ValueError
        If the text is empty or names several bands.
    TypeError
        If it is not a text.
    """
    if not isinstance(text, str):
        msg = f"a band is named by a str such as 'g', got {text!r}"
        raise TypeError(msg)
    if not text.strip():
        msg = "a band name is empty; expected one such as 'g'"
        raise ValueError(msg)
    return known_band(text) or _other_band(text) or text.strip()


def known_band(text):
    """
    Return the one of `OPTICAL_BANDS` that a text names, or None.

    Parameters
    ----------
    text : str
        See `parse_band`.

    Returns
    -------
    str or None

    Raises
    ------
    ValueError
        If the text names several bands.
    """
    tokens = _tokens(text)
    sdss_like = any(token.lower() in _SDSS_LIKE for token in tokens)
    named = dict.fromkeys(band for band in (_token_band(token, sdss_like) for token in tokens) if band)
    if len(named) > 1:
        msg = f"{text!r} names several bands ({', '.join(named)}); give one name per band"
        raise ValueError(msg)
    return next(iter(named), None)


def _tokens(text):
    return [token for token in re.split(r"[\s._\-:/,+;]+", text.strip()) if token]


def _other_band(text):
    """Name of a filter of Euclid, Hubble or an infrared camera in a longer text, else None."""
    tokens = _tokens(text)
    words = {token.lower() for token in tokens}
    named = {token.upper() for token in tokens if _HUBBLE.fullmatch(token)}
    if words & _VIS or {"i", "e"} <= words:
        named.add("VIS")
    if words & _INFRARED:
        named |= {match[1] for match in map(_INFRARED_BAND.fullmatch, tokens) if match}
    if len(named) > 1:
        msg = f"{text!r} names several bands ({', '.join(sorted(named))}); give one name per band"
        raise ValueError(msg)
    return next(iter(named), None)


def _token_band(token, sdss_like):
    """Band that one word of a filter's name stands for, else None."""
    if token.upper() in _MEGACAM:
        return _MEGACAM[token.upper()]
    glued = _GLUED.fullmatch(token)
    if glued:
        return glued[1].lower()
    marked = _MARKED.fullmatch(token)
    # without a survey's name a capital is Johnson's or VISTA's filter, not the SDSS one
    return marked[1].lower() if marked and (sdss_like or marked[1].islower()) else None


def parse_bands(bands):
    """
    Short names of several bands.

    Parameters
    ----------
    bands : str or iterable of str
        Names in order, ``["u", "g", "r"]``, ``"u,g,r"`` or, for one-letter names, ``"ugr"``.

    Returns
    -------
    tuple of str

    Raises
    ------
    ValueError
        If there are none, or one is named twice.
    """
    if isinstance(bands, str):
        letters = len(bands.strip()) > 1 and set(bands.strip()) <= set(OPTICAL_BANDS)
        bands = list(bands.strip()) if letters else [name for name in re.split(r"\s*,\s*", bands.strip()) if name]
    names = tuple(parse_band(band) for band in bands)
    if not names:
        msg = "no band is named; expected names such as ['u', 'g', 'r', 'i', 'z']"
        raise ValueError(msg)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"bands are named twice: {', '.join(twice)} (from {', '.join(map(repr, bands))}); each band may come once"
        raise ValueError(msg)
    return names


def band_from_header(header):
    """
    Name of the band of a single image.

    Parameters
    ----------
    header : mapping
        Header or ``meta``; ``FILTER`` and its relatives are looked up, empty positions of filter wheels passed over.

    Returns
    -------
    str or None
        Short name, or None if no card names a band.

    Raises
    ------
    ValueError
        If cards name different bands, as two wheels with a filter each, or the only one names several.
    """
    cards = {str(key).upper(): value for key, value in header.items()}
    texts = {key: cards[key] for key in _CARDS if isinstance(cards.get(key), str)}
    texts = {key: text for key, text in texts.items() if not _EMPTY_WHEEL.fullmatch(text.strip())}
    known = {key: name for key, text in texts.items() if (name := _single(text))}
    if len(set(known.values())) > 1:
        told = ", ".join(f"{key} = {texts[key]!r}" for key in known)
        msg = f"header cards name different bands ({told}); say which it is, with bands= or a dict"
        raise ValueError(msg)
    if known:  # a second wheel may hold a polariser
        return next(iter(known.values()))
    return parse_band(next(iter(texts.values()))) if texts else None


def _single(text):
    """Name of a known filter that a text names, or None; also where it names several, as a list of an observation."""
    try:
        return known_band(text) or _other_band(text)
    except ValueError:
        return None


def bands_from_header(header):
    """
    Names of the bands of a cube.

    Parameters
    ----------
    header : mapping
        Header or ``meta`` with ``BANDS`` (``'u,g,r,i,z'``, or a sequence of names) or ``BAND1``, ``BAND2``, ...

    Returns
    -------
    tuple of str or None
        Short names in the order of the planes, or None if no card names them.
    """
    cards = {str(key).upper(): value for key, value in header.items()}
    if cards.get("BANDS"):
        return parse_bands(cards["BANDS"])
    numbered = [cards[key] for key in (f"BAND{n}" for n in range(1, 1 + len(cards))) if key in cards]
    return parse_bands(numbered) if numbered else None
