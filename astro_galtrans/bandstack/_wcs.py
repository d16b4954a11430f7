"""
World coordinates at the door: out of headers and objects, and back into headers.

Everything behind the door sees one kind of WCS: celestial, with the two axes of an image. FITS WCS of cubes are reduced
to it, and written back in a form that a cube's header can hold.
"""

import re
from functools import reduce

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, DistortionLookupTable
from astropy.wcs.utils import wcs_to_celestial_frame
from astropy.wcs.wcsapi import SlicedLowLevelWCS

from astro_galtrans.geometry import check_celestial, copy_wcs
from astro_galtrans.units import card_number

__all__ = ["celestial_wcs", "is_wcs_card", "wcs_from_header", "wcs_to_header"]

_WCS_CARD = re.compile(
    r"""(
    # axes; matrix and parameters, modern and old; frame
    (CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA|CNAME|CRDER|CSYER)\d+[A-Z]?
    | (PC|CD|PV|PS)\d+_\d+[A-Z]? | (PC|CD)\d{6} | CNPIX\d
    | (WCSAXES|WCSNAME|LONPOLE|LATPOLE|RADESYS|EQUINOX)[A-Z]? | RADECSYS | EPOCH | WCSDIM | MJDREF[IF]?
    # distortions: SIP, lookup tables
    | (A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)
    | (CPDIS|CPERR|CQDIS|CQERR|DP|DQ)\d+(\..*)? | DVERR\d* | D2IM(DIS|ERR)?\d+(\..*)? | D2IM(EXT|ERR) | AXISCORR
    # IRAF
    | LT[MV]\d(_\d)? | AT[MV]\d(_\d)? | WAT\d_\d+ | WAXMAP\d+
    )""",
    re.VERBOSE,
)
# cards whose values are numbers; EQUINOX may be a text such as J2000, too
_NUMBER_CARD = re.compile(
    r"(CRVAL|CRPIX|CDELT|CROTA)\d+[A-Z]?|EQUINOX[A-Z]?|(PC|CD|PV)\d+_\d+[A-Z]?|(PC|CD)\d{6}|(LON|LAT)POLE[A-Z]?"
    r"|(A|B|AP|BP)_(ORDER|\d+_\d+)"
)
# cards that speak of a third or later axis
_EXTRA_AXIS_CARD = re.compile(
    r"(NAXIS|CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA|CNAME|CRDER|CSYER)([3-9]|\d\d)[A-Z]?"
    r"|(PC|CD)(([3-9]|\d\d)_\d+|\d+_([3-9]|\d\d))[A-Z]?|(PV|PS)([3-9]|\d\d)_\d+[A-Z]?"
)
# the terms of a TPV polynomial in x and y, by total degree; the numbers left out stand for powers of the radius
_TPV_FIRST_TERM = (0, 1, 4, 7, 12, 17, 24, 31)


def is_wcs_card(key):
    """Whether a header keyword belongs to a WCS."""
    return _WCS_CARD.fullmatch(key.upper()) is not None


def wcs_from_header(header, hdulist=None):
    """
    Celestial `~astropy.wcs.WCS` of the first two axes of an image or cube.

    The file is needed where the header refers to distortion or coordinate tables in other extensions. ValueError if
    there is no celestial WCS on these axes, or it cannot be read.
    """
    header = _with_numbers(_first_two_axes(header))
    try:
        # wcslib's own repairs of old spellings (RADECSYS, dates), which astropy's would warn of: they leave the
        # transformation as it is, and a filter for warnings would be one for all threads
        wcs = WCS(header, fobj=hdulist, fix=False, _do_set=False)
        wcs.wcs.fix()
        wcs.wcs.set()
    except Exception as err:  # wcslib raises many kinds, MemoryError among them
        msg = f"the WCS in the header cannot be read: {' '.join(str(err).split())}"
        if "HDUList is required" in str(err):
            msg += "; pass the HDUList or the path instead of the single HDU"
        raise ValueError(msg) from err
    return _checked(wcs)


def celestial_wcs(wcs, ndim):
    """
    Celestial WCS with two pixel axes, of the last two of the ``ndim`` axes of an array.

    FITS and APE 14 WCS may have two axes or as many as the array. ValueError if the image axes are not on the sky.
    """
    wcs = getattr(wcs, "low_level_wcs", wcs)  # a SlicedLowLevelWCS has no such attribute
    if isinstance(wcs, SlicedLowLevelWCS) and wcs.pixel_n_dim == 2:
        return _checked(check_celestial(wcs))  # slicing an NDData wraps its WCS: a FITS WCS is one again
    if wcs.pixel_n_dim == 2:
        return _checked(wcs)
    if isinstance(wcs, WCS):
        _checked(wcs)
        # by way of a header: WCS.celestial cannot take a TPV distortion along (wcslib's wcssub, astropy 8.0)
        return wcs_from_header(wcs.to_header(relax=True))
    if wcs.pixel_n_dim == ndim:
        return check_celestial(_checked(SlicedLowLevelWCS(wcs, (0,) * (ndim - 2) + (slice(None), slice(None)))))
    msg = f"the WCS has {wcs.pixel_n_dim} pixel axes and the image {ndim}; expected two, or as many as the image"
    raise ValueError(msg)


def wcs_to_header(wcs, ndim=2):
    """
    Header with the cards of a celestial WCS, and a list of extensions with its lookup-table distortions.

    For a cube, too, the header has two axes (``WCSAXES = 2``): that is what `~astropy.nddata.CCDData.write` makes of a
    cube with a two-axis WCS, astropy completes it with a linear third axis on reading, and no world coordinate is made
    up for the bands. With three axes astropy refuses SIP, so in a cube SIP is written as the equal TPV. Tables are read
    by `astro_galtrans.bandstack.read` and ``WCS(header, hdulist)``, but not by `~astropy.nddata.CCDData.read`, which
    leaves the WCS None. ValueError if FITS has no keywords for the WCS.
    """
    if not isinstance(wcs, WCS) or wcs.wcs.tab:
        kind = type(wcs)
        msg = f"{kind.__module__}.{kind.__name__} has no FITS keywords; keep the object, or resample to a FITS WCS"
        raise ValueError(msg)
    if ndim > 2 and wcs.sip is not None and not any((wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        wcs = _sip_as_tpv(wcs)  # not beside tables, which astropy refuses in a cube anyway
    if wcs.cpdis1 is not None and wcs.cpdis2 is None:
        wcs = _with_second_table(wcs)
    primary, *tables = wcs.to_fits(relax=True)
    header = fits.Header([card for card in primary.header.cards if is_wcs_card(card.keyword)])
    return header, tables


def _first_two_axes(header):
    """Copy of a header as if it were that of one plane."""
    header = _spelt_today(header)
    coupled = [key for key in header if re.fullmatch(r"(PC|CD)[12]_[3-9]", key) and header[key] != 0]
    if coupled:
        msg = f"the sky position depends on a third axis ({', '.join(coupled)}); pass one image per band"
        raise ValueError(msg)
    for key in [key for key in header if _EXTRA_AXIS_CARD.fullmatch(key)]:
        header.remove(key, ignore_missing=True)
    for key in ("NAXIS", "WCSAXES"):
        if header.get(key, 2) > 2:
            header[key] = 2
    return header


def _spelt_today(header):
    """Copy of a header with WCS keywords as the standard has them; wcslib reads the older ones (PC001001) and warns."""
    header = header.copy()  # cards are shared between headers that are built of them
    old = {key: re.sub(r"^(PC|CD)00(\d)00(\d)$", r"\1\2_\3", key) for key in header if key.startswith(("PC00", "CD00"))}
    if isinstance(header.get("RADESYS"), str):
        header["RADESYS"] = header["RADESYS"].strip().upper()
    for key, new in (old | {"RADECSYS": "RADESYS", "EPOCH": "EQUINOX"}).items():
        if key in header and key != new:
            header.set(new, header.get(new, header[key]))
            header.remove(key, ignore_missing=True, remove_all=True)
    return header


def _with_numbers(plane):
    """Turn text into numbers where a card of the WCS must hold one: wcslib would take it for zero, in silence."""
    year = str(plane.get("EQUINOX", "")).strip()
    if re.fullmatch(r"[JB] ?\d{4}(\.\d*)?", year):
        plane["EQUINOX"] = float(year[1:])
    for key in [key for key in plane if _NUMBER_CARD.fullmatch(key)]:
        if isinstance(plane[key], str | bool):
            number = card_number(plane, key)
            if number is None:
                plane.remove(key)
            else:
                plane[key] = number
    return plane


def _checked(wcs):
    """Return the WCS if its first two axes are on the sky."""
    if isinstance(wcs, WCS):
        celestial = wcs.has_celestial and sorted((wcs.wcs.lng, wcs.wcs.lat)) == [0, 1]
    else:
        frames = [kind for kind, *_ in getattr(wcs, "low_level_wcs", wcs).world_axis_object_classes.values()]
        celestial = any(isinstance(kind, type) and issubclass(kind, SkyCoord) for kind in frames)
    if celestial:
        if isinstance(wcs, WCS):
            _check_frame(wcs)
        return wcs
    axes = ", ".join(repr(str(name)) for name in wcs.world_axis_physical_types)
    msg = f"no celestial WCS on the image axes (found {axes}); add one, e.g. with astropy.wcs.WCS"
    raise ValueError(msg)


def _check_frame(wcs):
    """Raise if the place is none on the sky, or in no frame that astropy knows, which it finds out only when asked."""
    if not (np.abs(wcs.wcs.crval) <= 720).all():  # twice around: a longitude may be counted from anywhere
        msg = f"the reference position of the WCS, CRVAL = {wcs.wcs.crval.tolist()}, is none on the sky (deg)"
        raise ValueError(msg)
    try:
        wcs_to_celestial_frame(wcs)
    except ValueError as err:
        cards = f"RADESYS = {wcs.wcs.radesys!r}, CTYPE1 = {wcs.wcs.ctype[0]!r}, EQUINOX = {wcs.wcs.equinox:g}"
        msg = f"the celestial frame of the WCS is not known ({cards}); expected ICRS, FK5 or FK4, or galactic axes"
        raise ValueError(msg) from err


def _with_second_table(wcs):
    """Give the second axis a table of zeros: astropy (8.0) cannot read a header with one for the first axis alone."""
    first = wcs.cpdis1
    wcs = copy_wcs(wcs)
    wcs.cpdis2 = DistortionLookupTable(np.zeros_like(first.data), first.crpix, first.crval, first.cdelt)
    return wcs


def _sip_as_tpv(wcs):
    """
    Return the TPV equal to a TAN-SIP.

    SIP adds polynomials A, B to pixel offsets u, v and then applies the CD matrix (Shupe et al. 2005, ASPC 347, 491);
    TPV applies the matrix first. With (u, v) = CD^-1 (x, y) one turns into the other exactly, up to TPV's degree 7
    (Shupe et al. 2012, Proc. SPIE 8451, 84511M).
    """
    wcs = _longitude_first(wcs)  # wcslib's TPV takes the first axis for the longitude
    degree = max(wcs.sip.a_order, wcs.sip.b_order)
    # SIP cards beside a plain TAN are used by astropy, and by the programs that write them so (Spitzer, astrometry.net)
    tan = [ctype.removesuffix("-SIP") for ctype in wcs.wcs.ctype] == ["RA---TAN", "DEC--TAN"]
    if degree >= len(_TPV_FIRST_TERM) or not tan:
        return wcs  # no such form: the header keeps SIP, which this package reads from a cube though astropy does not
    matrix = wcs.pixel_scale_matrix  # [x; y] = matrix [u; v]
    by_degree = [np.zeros((2, n + 1)) for n in range(degree + 1)]  # [axis, power of v], before the matrix
    for axis, coefficients in enumerate((wcs.sip.a, wcs.sip.b)):
        for p, q in np.argwhere(coefficients):
            by_degree[p + q][axis, q] += coefficients[p, q]
    by_degree[1] += np.eye(2)  # u itself, and v
    pv = []
    for n, terms in enumerate(by_degree):
        in_xy = matrix @ terms @ _powers(np.linalg.inv(matrix), n)  # [axis, power of y]
        # the second axis has its own variable first: PV2_4 stands for yy
        rows = (in_xy[0], in_xy[1][::-1])
        pv += [(i + 1, _TPV_FIRST_TERM[n] + k, value) for i, row in enumerate(rows) for k, value in enumerate(row)]
    tpv = _with_matrix(wcs, matrix)
    tpv.sip = None
    tpv.wcs.ctype = ["RA---TPV", "DEC--TPV"]
    tpv.wcs.set_pv([*wcs.wcs.get_pv(), *pv])
    tpv.wcs.set()
    return tpv


def _with_matrix(wcs, matrix):
    """Copy of a WCS with a matrix and unit CDELT, before which wcslib applies the polynomials of a TPV."""
    wcs = copy_wcs(wcs)
    if wcs.wcs.has_cd():
        wcs.wcs.cd = matrix
    else:
        wcs.wcs.cdelt, wcs.wcs.pc = (1, 1), matrix
    return wcs


def _longitude_first(wcs):
    """Return a WCS of the same sky whose first world axis is the longitude: the order of world axes is free."""
    if wcs.wcs.lng == 0:
        return wcs
    swapped = _with_matrix(wcs, wcs.pixel_scale_matrix[::-1])
    swapped.wcs.ctype, swapped.wcs.crval = list(wcs.wcs.ctype)[::-1], wcs.wcs.crval[::-1]
    swapped.wcs.cunit = list(wcs.wcs.cunit)[::-1]
    swapped.wcs.set()
    return swapped


def _powers(inverse, degree):
    """Matrix that writes u^(n-q) v^q as polynomials in x and y: row q, columns by power of y."""
    u, v = inverse
    rows = [reduce(np.convolve, [u] * (degree - q) + [v] * q, np.ones(1)) for q in range(degree + 1)]
    return np.array(rows)
