"""Header cards at the door: which of them a translation leaves true, and those that say how an image was made."""

import re
from copy import deepcopy

import numpy as np
from astropy.io import fits

from ._wcs import is_wcs_card

__all__ = ["PROVENANCE_CARDS", "add_provenance", "common_meta", "set_card"]

#: How an output was made: name of the statement, and the card that holds it with its comment. The cards are the same in
#: FITS headers and in ``meta``, so that ``CCDData.write`` needs no keyword longer than FITS allows.
PROVENANCE_CARDS = {
    "translator": ("GTMODEL", "translator that made this image"),
    "weights_hash": ("GTHASH", "sha256 of its weights"),
    "version": ("GTVERS", "version of astro_galtrans"),
    "seed": ("GTSEED", "seed of the random numbers"),
    "samples": ("GTNSAMP", "number of samples drawn"),
    "sample": ("GTSAMPLE", "index of this sample"),
    "date": ("GTDATE", "UTC date of the translation"),
    "alignment": ("GTALIGN", "bands that were resampled to one grid"),
    "source": ("GTSRC", "survey of the input"),
    "target": ("GTTARGET", "survey of this image"),
    "source_bands": ("GTBANDS", "bands of the input"),
    "scale": ("GTSCALE", "output pixels per input pixel, on an axis"),
    "calibration": ("GTCALIB", "factors on the standard deviation"),
    "filled": ("GTFILLED", "bad input pixels filled in, over all bands"),
    "domain": ("GTDOMAIN", "what lies outside the training range"),
}

_COMMENTS = dict(PROVENANCE_CARDS.values()) | {
    "FILTER": "band",
    "BANDS": "bands, in the order of the planes",
    "MAGZERO": "AB magnitude of one flux unit",
    "BUNIT": "unit of the pixels",
}

# Cards that a translation makes wrong, by what they speak of. Comments go too: they explain the cards around them.
_STALE_CARD = re.compile(
    r"""(
    # layout and date of the file
    SIMPLE | XTENSION | BITPIX | NAXIS\d* | EXTEND | PCOUNT | GCOUNT | GROUPS | BSCALE | BZERO | BLANK | DATA(MIN|MAX)
    | EXTNAME | EXTVER | EXTLEVEL | INHERIT | NEXTEND | CHECKSUM | DATASUM | ZHECKSUM | ZDATASUM
    | UTYPE | DATE | COMMENT
    | Z(IMAGE|TENSION|CMPTYPE|BITPIX|NAXIS\d*|TILE\d+|NAME\d+|VAL\d+|QUANTIZ|DITHER0|BLANK|SCALE|ZERO|SIMPLE|EXTEND)
    | Z[PG]COUNT | FZ[AQ].*
    # bands
    | BANDS?\d* | FILT(ER|N|\d).* | INSFILTE | FPA\.FILTER.* | ESO\ INS\ FILT\d.*
    # flux scale
    | BUNIT | MZP_.* | MAGZ.* | PHOTZ.* | PHOT(FLAM|PLAM|FNU|BW) | ZP\w* | ZEROPOINT\w* | FLUXMAG0.* | FLUX20 | VEGA_AB
    | ABMAG.* | NMGY\w* | L99\w* | SOFTBIAS
    # noise, depth, saturation
    | GAIN\w* | EGAIN | CCDGAIN | ATODGAIN | RDNOISE\w* | READNOI\w* | SKY\w* | BKG\w* | BACKGR\w* | NOISE\w*
    | MAGLIM\w* | LIMMAG\w* | DEPTH\w* | SATUR\w* | SATLEV\w* | MAXLIN
    # seeing and sampling
    | IQ\w* | SEEING\w* | PSF.* | FWHM.* | PIXSCA\w* | SECPIX\w*
    )""",
    re.VERBOSE,
)


def common_meta(metas):
    """
    Cards that all bands share and that a translation leaves true.

    Parameters
    ----------
    metas : list of mapping

    Returns
    -------
    `~astropy.io.fits.Header` or dict
        New; a header if the first is one.
    """
    first, *others = metas
    kept = first.copy() if isinstance(first, fits.Header) else deepcopy(dict(first))
    for key in dict.fromkeys(first):
        shared = all(key in other and repr(other[key]) == repr(first[key]) for other in others)
        if key and (_is_stale(str(key).upper()) or not shared):  # the empty key stands for blank lines
            kept.remove(key, remove_all=True) if isinstance(kept, fits.Header) else kept.pop(key)
    return kept


def _is_stale(key):
    return is_wcs_card(key) or _STALE_CARD.fullmatch(key) is not None


def add_provenance(meta, provenance):
    """
    Copy of ``meta`` that says how the image was made.

    Parameters
    ----------
    meta : `~astropy.io.fits.Header` or dict
    provenance : mapping of str to object
        Statements by their names in `PROVENANCE_CARDS`; sequences are joined by commas, and None is left out.

    Returns
    -------
    `~astropy.io.fits.Header` or dict
        Of the same kind, without statements about an earlier translation.

    Raises
    ------
    ValueError
        If a name is not one of `PROVENANCE_CARDS`.
    """
    unknown = [name for name in provenance if name not in PROVENANCE_CARDS]
    if unknown:
        msg = f"no header card for {', '.join(unknown)}; known are {', '.join(PROVENANCE_CARDS)}"
        raise ValueError(msg)
    meta = meta.copy()
    for name, (card, _) in PROVENANCE_CARDS.items():
        meta.pop(card, None)
        if provenance.get(name) is not None:
            set_card(meta, card, _plain(provenance[name]))
    return meta


def _plain(value):
    """Value that a FITS card can hold."""
    if isinstance(value, list | tuple | np.ndarray):
        value = ",".join(map(str, value))
    if isinstance(value, str):
        return " ".join(value.encode("ascii", "replace").decode().split())
    return value.item() if isinstance(value, np.generic) else value


def set_card(meta, key, value):
    """Set a card in a header, with the comment that this package has for it, or in a dict."""
    comment = _COMMENTS.get(key, "")
    # a card has 80 characters: 10 for its name, 5 for quotes and slash
    room = comment and len(str(value)) + len(comment) <= 65
    meta[key] = (value, comment) if room and isinstance(meta, fits.Header) else value
