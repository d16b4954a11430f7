"""Header cards at the door: which of them a translation leaves true, and those that say how an image was made."""

import re
from copy import deepcopy

import numpy as np
from astropy.io import fits

from ._conventions import KEPT_CARDS
from ._wcs import is_wcs_card

__all__ = ["PROVENANCE_CARDS", "add_provenance", "common_meta", "set_card", "stated_seeing", "to_header"]

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
    "saturation": ("GTSATUR", "pixels masked as saturated"),
    "covariance": ("GTCOVAR", "how errors of pixels are correlated"),
    "filled": ("GTFILLED", "bad input pixels filled in, over all bands"),
    "bad_planes": ("GTMASKED", "what was taken as bad in masks"),
    "noise": ("GTNOISE", "what the variance was read from"),
    "zeropoint": ("GTZPFROM", "where the zero point is from"),
    "pixels": ("GTPIXELS", "what was done to pixel values"),
    "background": ("GTSKY", "sky subtracted before translation"),
    "psf": ("GTPSF", "FWHM in the input (arcsec), and its origin"),
    "fluxes": ("GTFLUXES", "bands whose fluxes follow the input"),
    "stars": ("GTSTARS", "bright stars drawn with the target's PSF"),
    "domain": ("GTDOMAIN", "what lies outside the training range"),
}

_COMMENTS = dict(PROVENANCE_CARDS.values()) | {
    "FILTER": "band",
    "BANDS": "bands, in the order of the planes",
    "MAGZERO": "AB magnitude of one flux unit",
    "BUNIT": "unit of the pixels",
}

# Layout of a file: nothing to keep, not even as history. World coordinates are left out likewise.
_LAYOUT_CARD = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|EXTNAME|EXTVER|EXTLEVEL|INHERIT"
    r"|NEXTEND|Z?CHECKSUM|Z?DATASUM|COMMENT|HISTORY|END|BANDS?\d*"
    r"|Z(IMAGE|TENSION|CMPTYPE|BITPIX|NAXIS\d*|TILE\d+|NAME\d+|VAL\d+|QUANTIZ|DITHER0|BLANK|SCALE|ZERO|SIMPLE|EXTEND)"
    r"|Z[PG]COUNT|FZ[AQ].*|"
)
#: Cards for the FWHM of an image's stars, where their comment says arcsec.
SEEING_CARDS = "SEEING", "PSF_FWHM", "PSFFWHM", "FWHM"
_OWN_CARDS = {card for card, _ in PROVENANCE_CARDS.values()}
_HISTORY_TITLE = "cards of the input, which need not hold for this image:"


def stated_seeing(meta):
    """FWHM of stars (arcsec) that a header states in one of `SEEING_CARDS`, with arcsec in its comment; or None."""
    for card in SEEING_CARDS:
        # cards of these names are in pixels, or of another measure of the width, where no unit stands beside them
        if card in meta and "arcsec" in getattr(meta, "comments", {card: ""})[card].lower():
            value = meta[card]
            if isinstance(value, int | float) and 0 < value < 20:
                return float(value)
    return None


def common_meta(metas, bands):
    """
    Header or dict, as the first of one per band, of the cards that all bands share and that hold for a translation.

    Instrument, exposure, pixels and processing of the input are not those of the result, so that only the cards of the
    object and the place stay (`KEPT_CARDS`); the others go to ``HISTORY``. In a dict that is one text, its lines joined
    by semicolons, which ``CCDData.write`` can write.
    """
    sources = {id(meta): (meta, band) for meta, band in zip(reversed(metas), reversed(bands), strict=True)}
    different = list(reversed(sources.values()))
    first, as_header = metas[0], isinstance(metas[0], fits.Header)
    kept, past = {}, []
    for key in dict.fromkeys(key for meta, _ in different for key in meta):
        name, values = str(key).upper(), [(meta[key], band) for meta, band in different if key in meta]
        texts = [repr(value) for value, _ in values]
        shared = len(set(texts)) == 1 and len(texts) == len(different)
        if shared and (
            KEPT_CARDS.fullmatch(name) or name in _OWN_CARDS or (not as_header and not _fits_value(first[key]))
        ):
            kept[key] = deepcopy(first[key])
        elif not (_LAYOUT_CARD.fullmatch(name) or is_wcs_card(name)):
            listed = ", ".join(f"{text} ({band})" for text, (_, band) in zip(texts, values, strict=True))
            past.append(f"{key} = {texts[0] if shared else listed}")
    earlier = _history(first) if all(_history(meta) == _history(first) for meta, _ in different) else []
    lines = earlier + ([_HISTORY_TITLE, *past] if past else [])
    if not as_header:
        return kept | ({"HISTORY": "; ".join(map(_plain, lines))} if lines else {})
    return fits.Header([*(first.cards[key] for key in kept), *_history_cards(lines)])


def _history(meta):
    lines = meta.get("HISTORY", ())
    return lines.split("; ") if isinstance(lines, str) else list(map(str, lines))


def _history_cards(lines):
    """Cards of a history, as many as the 72 characters of each need."""
    plain = [_plain(line) for line in lines]  # all at once: Header.add_history looks for the last line every time
    return [("HISTORY", line[start : start + 72]) for line in plain for start in range(0, max(len(line), 1), 72)]


def _fits_value(value):
    """Whether a value of a dict is one that a FITS card could hold; others (lists, objects) are the user's own."""
    return isinstance(value, str | bool | int | float | complex | np.generic) or value is None


def add_provenance(meta, provenance):
    """
    Copy of a header or dict with statements on how the image was made, by their names in `PROVENANCE_CARDS`.

    Those on an earlier translation are removed; sequences are joined by commas, and None is left out.
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


def to_header(meta):
    """Header with what of a dict FITS can hold."""
    header = fits.Header(_history_cards(_history(meta)))
    for key, value in meta.items():
        name = str(key) if len(str(key)) <= 8 else f"HIERARCH {key}"
        if key == "HISTORY" or not isinstance(value, str | bool | int | float | complex | np.generic):
            continue
        try:
            fits.Card(name, value).verify("exception")
            set_card(header, name, value)
        except (ValueError, fits.VerifyError):  # NaN, text that is not ASCII or too long
            continue
    return header
