"""Header cards at the door: which of them a translation leaves true, and those that say how an image was made."""

import re

import numpy as np
from astropy.io import fits

from ._wcs import is_wcs_card

__all__ = ["PROVENANCE_CARDS", "add_provenance", "common_meta", "set_card"]

#: How an output was made: name of the statement, and the card that holds it with its comment. In FITS headers and in ``meta``
#: alike, so that ``CCDData.write`` needs no keyword longer than FITS allows.
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
    "scale": ("GTSCALE", "output pixels per input pixel along an axis"),
    "calibration": ("GTCALIB", "factors on the standard deviation"),
    "domain": ("GTDOMAIN", "what lies outside the training range"),
}

# Cards that a translation makes wrong: the layout and date of the file, the flux scale, and the noise, depth and seeing of the
# source. Comments go too: they head and explain the cards around them.
_STALE_CARD = re.compile(
    r"""(
    SIMPLE | XTENSION | BITPIX | NAXIS\d* | EXTEND | PCOUNT | GCOUNT | GROUPS | BSCALE | BZERO | BLANK | DATAMIN | DATAMAX
    | DATE | COMMENT
    | EXTNAME | EXTVER | EXTLEVEL | INHERIT | NEXTEND | CHECKSUM | DATASUM | ZHECKSUM | ZDATASUM | FZ[AQ].* | UTYPE
    | Z(IMAGE|TENSION|CMPTYPE|BITPIX|NAXIS\d*|TILE\d+|NAME\d+|VAL\d+|QUANTIZ|DITHER0|BLANK|SCALE|ZERO|SIMPLE|EXTEND|PCOUNT|GCOUNT)
    | BUNIT | BANDS?\d* | FILTER\w* | FILT\d.* | FILTNAM\w* | INSFILTE | FPA\.FILTER.* | ESO\ INS\ FILT\d.*
    | MZP_.* | MAGZ.* | PHOTZ.* | PHOT(FLAM|PLAM|FNU|BW) | ZP\w* | ZEROPOINT\w* | FLUXMAG0.* | FLUX20 | VEGA_AB | ABMAG.*
    | NMGY\w* | L99\w* | SATUR\w* | SATLEV\w* | MAXLIN | GAIN\w* | EGAIN | CCDGAIN | ATODGAIN | RDNOISE\w* | READNOI\w* | SOFTBIAS
    | SKY\w* | BKG\w* | BACKGR\w* | NOISE\w* | MAGLIM\w* | LIMMAG\w* | DEPTH\w* | IQ\w* | SEEING\w* | PSF.* | FWHM.* | PIXSCA\w* | SECPIX\w*
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
    mapping
        New, of the kind of the first.
    """
    first, *others = metas
    kept = first.copy()
    for key in list(dict.fromkeys(first)):
        shared = all(key in other and repr(other[key]) == repr(first[key]) for other in others)
        if key and (_is_stale(key) or not shared):  # the empty key stands for blank cards
            kept.remove(key, remove_all=True) if isinstance(kept, fits.Header) else kept.pop(key)
    return kept


def _is_stale(key):
    key = str(key).upper()
    return is_wcs_card(key) or _STALE_CARD.fullmatch(key) is not None


def add_provenance(meta, provenance):
    """
    Copy of ``meta`` that says how the image was made.

    Parameters
    ----------
    meta : mapping
        `~astropy.io.fits.Header` or dict.
    provenance : mapping of str to object
        Statements by their names in `PROVENANCE_CARDS`; sequences are joined by commas, and None is left out.

    Returns
    -------
    mapping
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
    for name, (card, comment) in PROVENANCE_CARDS.items():
        meta.pop(card, None)
        value = provenance.get(name)
        if value is not None:
            value = ",".join(map(str, value)) if isinstance(value, list | tuple | np.ndarray) else value
            set_card(meta, card, value, comment)
    return meta


def set_card(meta, key, value, comment):
    """Set a statement in a header, with its comment, or in a dict."""
    meta[key] = (value, comment) if isinstance(meta, fits.Header) else value
