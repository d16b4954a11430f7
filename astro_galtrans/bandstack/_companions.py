"""Extensions beside an image: which are its mask, its noise and its weights, and which say nothing of its pixels."""

import re
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty

from astro_galtrans._warn import warn
from astro_galtrans.bands import band_from_header, known_band
from astro_galtrans.exceptions import EmptyImageError
from astro_galtrans.units import parse_unit

from ._conventions import CARD_ROLES, CHIP_CARDS, EXTENSION_ROLES, IMAGE_WORDS
from ._masks import bad_pixels

__all__ = ["IMAGE_HDUS", "Beside", "beside", "card_band", "image_hdus", "name_of"]

IMAGE_HDUS = (fits.PrimaryHDU, fits.ImageHDU)  # tile-compressed images are ImageHDUs too
_NOISE = {"std": StdDevUncertainty, "variance": VarianceUncertainty, "ivar": InverseVariance}
_UTYPES = {kind.__name__: kind for kind in _NOISE.values()}  # as CCDData writes them


class Beside(NamedTuple):
    """What a file says of an image in other extensions."""

    mask: np.ndarray | None = None
    uncertainty: object = None
    notes: dict = {}  #: of `astro_galtrans.bandstack.BandStack.notes`


def image_hdus(hdulist):
    """
    Images of a file, and other HDUs with pixels that are neither that nor mask, noise or weights of one.

    Images are the HDUs whose extensions have the name of one, or all if none has.
    """
    candidates = [hdu for hdu in hdulist if _has_pixels(hdu) and role(hdu) is None]
    named = [hdu for hdu in candidates if set(_words(hdu.name)) & IMAGE_WORDS or not hdu.name]
    if not named or len(named) == len(candidates):
        return candidates, []
    bands = [hdu for hdu in candidates if hdu not in named and _band(hdu)]
    images = [hdu for hdu in candidates if hdu in named or hdu in bands]
    return images, [hdu for hdu in candidates if hdu not in images]


def _has_pixels(hdu):
    return isinstance(hdu, IMAGE_HDUS) and len(hdu.shape) >= 2 and 0 not in hdu.shape


def name_of(hdulist, hdu):
    """Number and name of an extension, as in ``file.fits[NAME,VERSION]``."""
    version = f",{hdu.ver}" if hdu.ver != 1 or [other.name for other in hdulist].count(hdu.name) > 1 else ""
    return f"{hdulist.index(hdu)} {hdu.name}{version if hdu.name else ''}".rstrip()


def role(hdu):
    """Role of an extension beside an image, of `EXTENSION_ROLES`; None for what may be an image itself."""
    for (card, value), kind in CARD_ROLES.items():
        if str(hdu.header.get(card, "")).strip().upper() == value:
            return kind
    for name in (hdu.name, str(hdu.header.get("EXTTYPE", ""))):
        squeezed = re.sub(r"[^a-z0-9]", "", name.lower())
        for word in (squeezed, *_words(name)):
            if word in EXTENSION_ROLES:
                return EXTENSION_ROLES[word]
    return None


def _words(name):
    """Words of an extension's name without the numbers at their ends: DQ1, IVAR_G, sci-err."""
    return [word.rstrip("0123456789") or word for word in re.findall("[a-z0-9]+", name.lower())]


def _rest(name):
    """What a name has beside the words for a role or an image: a band or the number of a chip."""
    words = re.findall("[a-z0-9]+", name.lower())
    kinds = IMAGE_WORDS | EXTENSION_ROLES.keys()
    rest = [re.sub(r"^[a-z]+", "", word) if word.rstrip("0123456789") in kinds else word for word in words]
    return {word for word in rest if word}


def _band(hdu):
    return known_band(hdu.name.lower()) or card_band(hdu.header)


def card_band(header):
    """Band that the cards of one HDU name, or None; also where they contradict, which is told where a band is asked."""
    with suppress(ValueError):
        return band_from_header(header)
    return None


def beside(hdu, hdulist, label, bad_planes=None):
    """
    `Beside` of an image: mask and noise from the other extensions of its file.

    The file is called ``label`` in messages. An extension as large as the image that is not understood, or that does
    not fit it, gives a warning.
    """
    images, others = image_hdus(hdulist)
    label = re.sub(r"\[[^\]]*\]$", "", label)
    if hdu not in images:  # a companion that was asked for by name has none itself
        return Beside()
    found = {}
    for other in hdulist:
        kind = role(other) if _has_pixels(other) else None
        if kind is not None and kind != "other" and _belongs(other, kind, hdu, images, hdulist):
            if _fits(other, hdu):
                found.setdefault(kind, []).append(other)
            else:
                _warn(f"{label}[{name_of(hdulist, other)}] has shape {other.shape}, the image {hdu.shape}: not used")
    for other in others:
        if _fits(other, hdu):
            how = "as mask= or uncertainty= of a CCDData if it says which pixels are bad or how noisy they are"
            name = name_of(hdulist, other)
            _warn(f"extension {name} of {label} is not understood and not used; pass it {how}, or as '[{other.name}]'")
    return _collect(found, hdu, hdulist, label, bad_planes)


def _fits(other, hdu):
    """Whether a companion is as large as an image, as one plane of it, or as what the bands of stamps share."""
    same = np.prod(other.shape) == np.prod(hdu.shape)
    return other.shape[-2:] == hdu.shape[-2:] and (len(other.shape) == 2 or same or _shared(other.shape, hdu.shape))


def _shared(shape, full):
    """Whether this is the shape of something that all bands or all samples of each stamp share."""
    return 3 <= len(shape) < len(full) and shape == full[:1] + full[-len(shape) + 1 :]


def _spread(array, full):
    """Copy-free companion of the shape of its image."""
    if array.ndim >= len(full):
        return array
    if _shared(array.shape, full):
        array = array.reshape(array.shape[0], *(1,) * (len(full) - array.ndim), *array.shape[1:])
    return np.broadcast_to(array, full)


def _warn(text):
    warn(text, stacklevel=8)


def _belongs(other, kind, hdu, images, hdulist):
    """Whether an extension goes with an image, among several: by version, by a band or chip it names, or by order."""
    if len(images) == 1:
        return True
    versions = [image.ver for image in images]
    if len(set(versions)) == len(images):
        return other.ver == hdu.ver
    named = _named(other, images)
    if named:
        return hdu in named
    alike = [o for o in hdulist if _has_pixels(o) and role(o) == kind and not _named(o, images)]
    if len(alike) == 1:  # one for all
        return True
    if len(alike) == len(images):
        return alike.index(other) == images.index(hdu)
    places = [hdulist.index(image) for image in images]
    before = [place for place in places if place < hdulist.index(other)]
    return hdulist.index(hdu) == (max(before) if before else min(places))


def _named(other, images):
    """Images whose band or detector an extension names; a filter that all of them have names none."""
    named = [image for image in images if _same_place(other, image)]
    return named if len(named) < len(images) else []


def _same_place(other, image):
    """Whether two extensions name the same band or detector."""
    rest = _rest(other.name)
    if rest:
        band = next((known for word in rest if (known := known_band(word))), None)
        return bool(rest & _rest(image.name)) or (band is not None and band == _band(image))
    chips = [card for card in CHIP_CARDS[1:] if card in other.header and card in image.header]
    if chips:
        return all(other.header[card] == image.header[card] for card in chips)
    own = card_band(other.header)
    return own is not None and own == _band(image)


def _collect(found, hdu, hdulist, label, bad_planes):
    """One mask and one uncertainty of the extensions found."""
    notes, mask = {}, None
    for kind in ("flags", "good", "weight"):
        for other in found.get(kind, ()):
            bad, note = _bad(other, kind, hdu, hdulist, f"{label}[{name_of(hdulist, other)}]", bad_planes)
            bad = _spread(bad, hdu.data.shape)
            mask = bad if mask is None else mask | bad
            notes.setdefault("bad_planes", []).append(f"{other.name}: {note}")
    uncertainty = None
    for kind in _NOISE:  # the first of them: a file with ERR and VAR has one noise in two forms
        if uncertainty is None and kind in found:
            other = found[kind][0]
            uncertainty = _uncertainty(other, kind, hdu)
            notes["noise"] = [f"{other.name}: {kind}"]
            uncertainty.array = _spread(uncertainty.array, hdu.data.shape)
    return Beside(mask, uncertainty, {name: "; ".join(parts) for name, parts in notes.items()})


def _bad(other, kind, hdu, hdulist, label, bad_planes):
    """Bad pixels of one extension, and what was taken as bad."""
    flags = np.asarray(other.data)
    flags = flags if flags.ndim == 2 else _spread(flags, hdu.data.shape)
    if kind == "flags":
        image = np.asarray(hdu.data)
        bad, note = bad_pixels(flags, other.header, bad_planes, label=label, hdulist=hdulist, image=image)
    else:
        bad, note = ~(flags > 0), "zero" if kind == "good" else "weight 0"
    if bad.all():
        msg = f"the mask {label} calls all pixels bad ({note}); choose others with bad_planes=, e.g. 'none' or 'zero'"
        if kind != "flags":
            msg = f"{label} calls all pixels bad ({note}); remove this extension if it is wrong"
        raise EmptyImageError(msg)
    return bad, note


def _uncertainty(other, kind, hdu):
    """Noise of one extension, in its own unit if it states one that can be read."""
    stated = other.header.get("UTYPE")
    if stated is not None and stated not in _UTYPES:
        known = ", ".join(_UTYPES)
        msg = f"the uncertainty {other.name} is of kind {stated!r}, which is not understood; expected {known}"
        raise ValueError(msg)
    kind = _UTYPES.get(stated, _NOISE[kind])
    text, own = other.header.get("BUNIT"), hdu.header.get("BUNIT")
    unit = None
    if isinstance(text, str) and text.strip() and text.strip() != str(own).strip():
        try:
            unit = parse_unit(text)
        except ValueError:  # "nanomaggies^-2" and other spellings: the image's unit is meant
            unit = None
    return kind(np.asarray(other.data), unit=unit)
