"""Masks as surveys write them: bit planes with names, and masks in which nonzero means good."""

import re

import numpy as np
from astropy.io import fits

from ._conventions import KNOWN_PLANES, NUMBERED_PLANE_CARD, PLANE_CARD, UNNAMED_PLANES, harmless, states_good

__all__ = ["bad_pixels", "plane_names", "planes_of_table"]

_MOSTLY = 0.9  # share of pixels that no usable image has masked while they hold structure


def bad_pixels(flags, header, bad_planes=None, *, named=None, guess=True, image=None):
    """
    Pixels that a mask of bits, or of zero and one, calls bad; what was taken as bad; and planes that nobody explains.

    Without ``bad_planes`` (see `astro_galtrans.bandstack.read`) the convention decides; unexplained planes are taken as
    bad. ``named`` are planes by name where a table of the file has them. With ``guess`` a mask without names that calls
    most of an ``image`` bad is refused: in it 1 may mean good.
    """
    flags = np.asarray(flags)
    if bad_planes is not None:
        return *_chosen(flags, header, bad_planes, named), []
    if flags.dtype.kind in "iu":
        planes = plane_names(header) if named is None else named
        if planes:
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
    return bad, "zero" if good else "nonzero", []


def plane_names(header, primary=None):
    """
    Planes of a mask by name (upper case) with their bits, as its header names them; empty if it does not.

    The primary header tells the survey: some define the bits in documents only.
    """
    named, numbered, sure = {}, {}, False
    for key, value in header.items():
        key = str(key).upper()
        if match := NUMBERED_PLANE_CARD.fullmatch(key):
            if isinstance(value, str) and re.match(r"[A-Za-z]", value.strip()):
                numbered[_upper(value)] = int(match[1])
        elif (match := PLANE_CARD.fullmatch(key)) and (bit := _whole(value)) is not None:
            named[_upper(match[1])] = bit
            sure |= harmless(_upper(match[1])) is not None
    if any(str(key).upper().startswith("MP_") for key in header):  # bits, by definition
        return named
    if sure:  # and not only MASK_VER = 2 or the like
        return _as_bits(named)
    if numbered:
        return _as_bits(numbered)
    for card, pattern, planes in UNNAMED_PLANES:
        value = header.get(card) or (primary or {}).get(card, "")
        if re.fullmatch(pattern, str(value).strip(), re.IGNORECASE):
            return planes
    return {}


def planes_of_table(hdulist):
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
    return {name: bit for name, bit in named.items() if bit < 64}  # a number that is no bit names none


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


def _chosen(flags, header, bad_planes, named):
    """Bad pixels of the planes that the caller chose."""
    wanted = _wanted(bad_planes)
    if wanted in (["ZERO"], ["NONZERO"]):
        return (flags == 0) == (wanted == ["ZERO"]), wanted[0].lower()
    if flags.dtype.kind == "b":
        flags = flags.astype(np.uint8)
    if wanted and flags.dtype.kind not in "iu":
        msg = f"bad_planes={bad_planes!r} names bits, and the mask is of type {flags.dtype}"
        raise ValueError(msg)
    planes = plane_names(header) if named is None else named
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
    wanted = [
        int(item) if isinstance(item, int | np.integer) or str(item).isdigit() else _upper(item) for item in bad_planes
    ]
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
