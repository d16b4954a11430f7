"""Masks as surveys write them: bit planes with names, and masks in which nonzero means good."""

import re

import numpy as np
from astropy.io import fits

from astro_galtrans._warn import warn

from ._conventions import (
    CODED_PLANES,
    KNOWN_PLANES,
    NUMBERED_PLANE_CARD,
    PLANE_CARD,
    PLANE_COMMENT,
    SAYS_VALUE,
    UNNAMED_PLANES,
    harmless,
    has_codes,
    states_good,
)

__all__ = ["bad_pixels", "plane_names"]

_MOSTLY = 0.9  # share of pixels that no usable image has masked while they hold structure
_LISTED = 8  # values of a mask that a message lists


def bad_pixels(flags, header, bad_planes=None, *, label="of the image", hdulist=(), guess=True, image=None):
    """
    Pixels that a mask of bits, of codes, or of zero and one, calls bad; and what was taken as bad.

    Without ``bad_planes`` (see `astro_galtrans.bandstack.read`) the convention decides; unexplained planes are taken as
    bad, with a warning that calls the mask ``label``. ``hdulist`` is the mask's file, whose tables and first header may
    name the planes. With ``guess`` a mask without names that calls most of an ``image`` bad is refused: in it 1 may
    mean good.
    """
    try:
        bad, note, unknown = _bad_pixels(np.asarray(flags), header, bad_planes, hdulist, guess, image)
    except ValueError as err:
        msg = f"the mask {label}: {err}"
        raise ValueError(msg) from err
    if unknown:
        planes = ", ".join(unknown)
        msg = f"the mask {label} has planes that nothing explains, taken as bad: {planes}; choose with bad_planes="
        warn(msg, stacklevel=9)
    return bad, note


def _bad_pixels(flags, header, bad_planes, hdulist, guess, image):
    """Bad pixels, what was taken as bad, and planes or values that nothing explains."""
    primary = hdulist[0].header if len(hdulist) else {}
    if flags.dtype.kind in "iu" and has_codes(header, primary):
        planes = CODED_PLANES
        # a code becomes the bit of that number, so that planes are chosen as those of other masks
        flags = np.where((flags > 0) & (flags < 63), np.int64(1) << np.clip(flags, 0, 62).astype(np.int64), 0)
    else:
        planes = _planes_of_table(hdulist) or plane_names(header, primary)
    if bad_planes is not None:
        return *_chosen(flags, planes, bad_planes), []
    if flags.dtype.kind in "iu" and planes:
        return _by_name(flags, planes)
    good = states_good(header)
    bad = flags == 0 if good else flags != 0  # NaN differs from zero
    if guess and good is None and bad.mean() > _MOSTLY and _has_structure(image, bad):
        share = "all" if bad.all() else f"{100 * bad.mean():.4g} % of the"
        msg = (
            f"it calls {share} pixels bad, though they hold an image; if nonzero means good in it, pass "
            "bad_planes='zero'; if they are bad, bad_planes='nonzero'"
        )
        raise ValueError(msg)
    return bad, "zero" if good else "nonzero", [] if good is not None else _several(flags)


def _several(flags):
    """Values of a mask that may be bits or codes: some of one that does not name its planes may be harmless."""
    values = np.unique(flags[np.isfinite(flags) & (flags != 0)])
    listed = ", ".join(f"{value:g}" for value in values[:_LISTED]) + (", ..." if len(values) > _LISTED else "")
    return [f"the values {listed}"] if len(values) > 1 and not np.isin(values, [-1, 1]).all() else []


def plane_names(header, primary=None):
    """
    Planes of a mask by name (upper case) with their bits, as its header names them; empty if it does not.

    The primary header tells the survey: some define the bits in documents only. A number that is no bit names none.
    """
    return {name: bit for name, bit in _named(header, primary or {}).items() if bit < 64}


def _named(header, primary):
    cards = [(str(key).upper(), header[key], _comment(header, key)) for key in header if key]
    named, sure = {}, False
    for key, value, comment in cards:
        match, bit = PLANE_CARD.fullmatch(key), _whole(value)
        plain = key in KNOWN_PLANES and SAYS_VALUE.search(comment)  # NPRIMARY = 1 / Mask value for ...
        if bit is not None and (match or plain) and not NUMBERED_PLANE_CARD.fullmatch(key):
            named[_upper(key if plain else match[1])] = bit
            sure |= harmless(_upper(key if plain else match[1])) is not None
    if any(key.startswith("MP_") for key, *_ in cards):  # bits, by definition
        return named
    if sure:  # and not only MASK_VER = 2 or the like
        return _as_bits(named)
    if found := _numbered(cards) or _in_comments(header):
        return found
    for card, pattern, planes in UNNAMED_PLANES:
        value = header.get(card) or primary.get(card, "")
        if re.fullmatch(pattern, str(value).strip(), re.IGNORECASE):
            return planes
    return {}


def _comment(header, key):
    return str(header.comments[key]) if isinstance(header, fits.Header) and key not in {"COMMENT", "HISTORY"} else ""


def _numbered(cards):
    """Planes of cards with a number in the keyword and the name as value, in a comment, or in another card."""
    names, values, commented = {}, {}, {}
    for key, value, comment in cards:
        if not (match := NUMBERED_PLANE_CARD.fullmatch(key)):
            continue
        number, bit = int(match[2]), _whole(value)
        if isinstance(value, str) and re.match(r"[A-Za-z]", value.strip()):
            names[number] = _upper(value)
        elif bit is not None and re.match(r"[A-Za-z]{3}", comment):  # BIT08 = 8 / SATURATED
            commented[number] = bit, _upper(re.split(r"[(;,*]", comment)[0])
    for key, value, _ in cards:  # MSKNAM05 = 'SAT' and MSKVAL05 = 32, of Pan-STARRS
        if (match := re.fullmatch(r"[A-Z]+_?VAL(?:UE)?_?(\d{1,5})", key)) and int(match[1]) in names:
            values[names[int(match[1])]] = _whole(value) or 0
    if values:  # a value of several bits sums up other planes
        return {name: value.bit_length() - 1 for name, value in values.items() if value and not value & (value - 1)}
    if names:
        return _as_bits({name: number for number, name in names.items()})
    counted = all(bit == number for number, (bit, _) in commented.items())
    powers = all(bit > 0 and not bit & (bit - 1) for bit, _ in commented.values())
    if counted == powers:  # 1 and 2 alone may be numbers or values of bits
        return {}
    return {name: bit if counted else bit.bit_length() - 1 for bit, name in commented.values()}


def _in_comments(header):
    """Planes that lines of ``COMMENT`` name, as ``bit 3: saturated``."""
    lines = header.get("COMMENT", ()) if isinstance(header, fits.Header) else ()
    found = (PLANE_COMMENT.match(str(line)) for line in lines)
    return {_upper(match[2]): int(match[1]) for match in found if match}


def _planes_of_table(hdulist):
    """Planes by name with their bits, of a table in the file (DQ_DEF of JWST's reference files), or None."""
    for hdu in hdulist:
        if isinstance(hdu, fits.BinTableHDU) and {"BIT", "NAME"} <= {name.upper() for name in hdu.columns.names}:
            return {_upper(name): int(bit) for bit, name in zip(hdu.data["BIT"], hdu.data["NAME"], strict=True)}
    return None


def _upper(name):
    return re.sub(r"[^A-Z0-9]+", "_", name.strip().upper()).strip("_")


def _whole(value):
    """Whole number that a card holds, be it as text; else None."""
    if isinstance(value, bool | np.bool_):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if 0 <= number < 2**62 and number == int(number) else None  # NaN and infinity are not


def _as_bits(named):
    """Bits of planes whose cards may hold 2**bit instead: powers of two only, and no zero."""
    values = list(named.values())
    powers = len(values) > 1 and all(value > 0 and value & (value - 1) == 0 for value in values)
    # 1, 2, 4 and 8 could be bits, too; the lowest value 1 and neighbours that double cannot
    doubling = powers and min(values) == 1 and (len(values) == 2 or max(values) > 2 ** (len(values) - 2))
    if doubling or (powers and max(values) > 62):
        return {name: value.bit_length() - 1 for name, value in named.items()}
    return named


def _by_name(flags, planes):
    """Bad pixels by the default of each named plane."""
    names = dict(sorted(planes.items(), key=lambda item: item[1]))
    used = np.bitwise_or.reduce(flags, axis=None).item()
    left = used & ~sum({1 << bit for bit in names.values()}) if used >= 0 else 0
    names |= {f"bit {bit}": bit for bit in range(left.bit_length()) if left >> bit & 1}
    unknown = [name for name, bit in names.items() if harmless(name) is None and used >> bit & 1]
    bad = [name for name in names if not harmless(name)]
    return _planes(flags, [names[name] for name in bad]), " ".join(bad) or "none", unknown


def _planes(flags, bits):
    value = sum({1 << bit for bit in bits})
    return (flags.astype(np.int64) & np.int64(value - (1 << 64) if value >> 63 else value)) != 0


def _chosen(flags, planes, bad_planes):
    """Bad pixels of the planes that the caller chose."""
    wanted = _wanted(bad_planes)
    if wanted in (["ZERO"], ["NONZERO"]):
        return (flags == 0) == (wanted == ["ZERO"]), wanted[0].lower()
    if flags.dtype.kind == "b":
        flags = flags.astype(np.uint8)
    if wanted and flags.dtype.kind not in "iu":
        msg = f"bad_planes={bad_planes!r} names bits, and the mask is of type {flags.dtype}"
        raise ValueError(msg)
    missing = [name for name in wanted if isinstance(name, str) and name not in planes and not _known(name, planes)]
    if missing:
        has = ", ".join(planes) or "no names: give bit numbers"
        msg = f"the mask has no plane {', '.join(missing)}; it has {has}"
        raise ValueError(msg)
    bits = [planes[name] if isinstance(name, str) else name for name in wanted if name in planes or name in range(64)]
    return _planes(flags, bits), " ".join(map(str, wanted)) or "none"


def _wanted(bad_planes):
    if isinstance(bad_planes, str):
        bad_planes = re.split(r"[\s,]+", bad_planes.strip())
    elif isinstance(bad_planes, int | np.integer):
        bad_planes = [bad_planes]
    wanted = [int(item) if re.fullmatch(r"\s*-?\d+\s*", str(item)) else _upper(str(item)) for item in bad_planes]
    if bad := [item for item in wanted if isinstance(item, int) and item not in range(64)]:
        msg = f"bad_planes are names, or bit numbers from 0 to 63; got {bad[0]}"
        raise ValueError(msg)
    return [item for item in wanted if item not in {"NONE", ""}]


def _known(name, planes):
    """Whether a mask with named planes may lack this one: no exposure of the band set it."""
    return bool(planes) and name in KNOWN_PLANES


def _has_structure(image, bad):
    """Whether the pixels under a mask hold an image: regions without data are constant or NaN."""
    if image is None:
        return True
    values = np.asarray(image)[..., bad] if bad.ndim == 2 else np.asarray(image).reshape(bad.shape)[bad]
    values = values[np.isfinite(values)]
    return bool(values.size and np.ptp(values) > 0)
