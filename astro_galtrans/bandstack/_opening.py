"""First step of the door in: take an object or file of any accepted kind apart into `Image`, what it says of itself."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from glob import glob
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData, NDData

from astro_galtrans._files import FITS_SUFFIXES, files_in
from astro_galtrans._warn import warn
from astro_galtrans.bands import known_band, parse_band

from ._companions import IMAGE_HDUS, beside, card_band, image_hdus, name_of
from ._masks import bad_pixels
from ._trust import open_fits
from ._wcs import celestial_wcs, wcs_from_header

__all__ = ["Image", "Origin", "find_files", "split_extension", "take_apart"]

ACCEPTED = "a CCDData, NDData, HDU, HDUList or FITS path, or a list or dict of one per band"


@dataclass(frozen=True)
class Origin:
    """The kind of object that came in, for the door out."""

    kind: type = CCDData  #: class of the object, or of the items of a list or dict; HDUList for files
    container: type | None = None  #: list, tuple or dict where each band came in its own object
    cube: bool = True  #: whether one object held all bands, along an axis of their own


@dataclass
class Image:
    """An image as its container describes it: 2-D, or 3-D with one plane per band."""

    data: np.ndarray
    uncertainty: object
    mask: np.ndarray | None
    wcs: Callable  # gives the celestial WCS, or raises
    unit: object
    meta: object
    label: str  # for messages
    key: str | None = None  # band by dict key or extension name
    notes: dict = field(default_factory=dict)  # see BandStack.notes

    @property
    def planes(self):
        """Number of planes."""
        return self.data.shape[-3] if self.data.ndim > 2 else 1


def take_apart(image, wanted=(), bad_planes=None, strict=False):
    """
    List of `Image`, and the `Origin`, of an object of any accepted kind.

    ``wanted`` are names of bands that extensions of a file may have; ``bad_planes`` and ``strict`` are as for
    `bandstack.read`.
    """
    if isinstance(image, Mapping) and not isinstance(image, fits.Header):
        return _from_items(list(image.values()), dict, (wanted, bad_planes, strict), keys=list(image))
    if isinstance(image, list | tuple) and not isinstance(image, fits.HDUList):
        return _from_items(image, tuple if isinstance(image, tuple) else list, (wanted, bad_planes, strict))
    images, kind = _open_one(image, "the image", wanted, bad_planes, strict)
    return images, Origin(kind, cube=_is_cube(images))


def _is_cube(images):
    return len(images) > 1 or images[0].data.ndim > 2


def _open_one(image, label, wanted, bad_planes, strict):
    """List of `Image` of one object or file, and the kind to give back."""
    if isinstance(image, NDData):
        return [_from_nddata(image, label, bad_planes)], type(image)
    if isinstance(image, IMAGE_HDUS):
        _check_open([image], label)
        return [_from_hdu(image, None, label)], type(image)
    if isinstance(image, fits.HDUList):
        _check_open(image, label)
        return _from_hdulist(image, label, wanted, bad_planes), fits.HDUList
    if isinstance(image, str | os.PathLike):
        return _from_path(image, wanted, bad_planes, strict), fits.HDUList
    hint = "; wrap the array: CCDData(array, unit=..., wcs=...)" if isinstance(image, np.ndarray) else ""
    msg = f"{label} is of type {type(image).__name__}; expected {ACCEPTED}{hint}"
    raise TypeError(msg)


def _from_items(items, container, settings, keys=None):
    """Images of a list or dict; what was read from files only is given back as one file."""
    if not items:
        msg = f"the {container.__name__} of images is empty; expected {ACCEPTED}"
        raise ValueError(msg)
    labels = [f"image {index}" for index in range(len(items))] if keys is None else [f"image {key!r}" for key in keys]
    opened = [_open_one(item, label, *settings) for item, label in zip(items, labels, strict=True)]
    if keys is not None:
        _name_by_keys([images for images, _ in opened], keys)
    images = [image for images, _ in opened for image in images]
    if all(isinstance(item, str | os.PathLike) for item in items):
        return images, Origin(fits.HDUList, cube=_is_cube(images))
    return images, Origin(opened[0][1], container, cube=False)


def _name_by_keys(opened, keys):
    for images, key in zip(opened, keys, strict=True):
        if len(images) != 1 or images[0].planes != 1:
            msg = f"image {key!r} holds several bands; expected one image per key of the dict"
            raise ValueError(msg)
        images[0].key = parse_band(key)


def _from_nddata(nddata, label, bad_planes):
    if nddata.wcs is not None:
        wcs = partial(celestial_wcs, nddata.wcs, np.ndim(nddata.data))
    else:
        # a CCDData read from a cube with a WCS that astropy cannot handle in three axes has it in its header still
        wcs = partial(wcs_from_header, nddata.meta) if isinstance(nddata.meta, fits.Header) else _no_wcs
    mask, notes = nddata.mask, {}
    # astropy's own masks are bool, whose True is bad
    if mask is not None and (np.asarray(mask).dtype.kind in "iu" or bad_planes in {"zero", "none"}):
        mask, note = bad_pixels(mask, nddata.meta, bad_planes, label=f"of {label}", guess=False)
        notes["bad_planes"] = f"mask: {note}"
    if np.any(getattr(nddata, "flags", None)):
        msg = f"{label} has flags, which are not used; pass them as its mask if they tell what is bad"
        warn(msg, stacklevel=7)
    data = np.asarray(nddata.data)
    return Image(data, nddata.uncertainty, mask, wcs, nddata.unit, nddata.meta, label, notes=notes)


def _no_wcs():
    msg = "no celestial WCS; add one: CCDData(..., wcs=astropy.wcs.WCS(header))"
    raise ValueError(msg)


def _from_hdu(hdu, hdulist, label, bad_planes=None):
    """Image of one HDU, with what the file says of it elsewhere."""
    if hdu.data is None or hdu.data.ndim < 2:
        msg = f"{label} holds no image (shape {hdu.shape}); expected two axes, or three with the bands first"
        raise ValueError(msg)
    header = hdu.header.copy(strip=False)
    mask = uncertainty = None
    notes = {}
    if hdulist is not None:
        if hdu is not hdulist[0]:
            header.extend(hdulist[0].header, unique=True, useblanks=False)  # as CCDData.read does
        mask, uncertainty, notes = beside(hdu, hdulist, label, bad_planes)
    # the WCS of this HDU alone: the primary header's may be that of another image
    wcs = partial(wcs_from_header, hdu.header, hdulist)
    return Image(hdu.data, uncertainty, mask, wcs, header.get("BUNIT"), header, label, notes=notes)


def _from_hdulist(hdulist, label, wanted, bad_planes, extension=None):
    """Images of a FITS file: the extension asked for, one per band, or else the only one."""
    if extension is not None:
        name = f"{extension[0]},{extension[1]}" if isinstance(extension, tuple) else extension
        image = _from_hdu(_extension(hdulist, extension, label), hdulist, f"{label}[{name}]", bad_planes)
        word = extension[0] if isinstance(extension, tuple) else extension
        image.key = known_band(word.lower()) if isinstance(word, str) and image.planes == 1 else None
        return [image]
    # SDSS frames have sky vectors and tables behind the image
    candidates, _ = image_hdus(hdulist)
    if not candidates:
        msg = f"{label} holds no image; its extensions are {', '.join(_extension_names(hdulist))}"
        raise ValueError(msg)
    by_band = [(band, hdu) for hdu in candidates if (band := _extension_band(hdu, wanted)) is not None]
    if len(by_band) < 2 and len(candidates) > 1 and (by_band or len(wanted) != len(candidates)):
        _raise_several(candidates, hdulist, label)
    if len(candidates) == 1:
        return [_from_hdu(candidates[0], hdulist, label, bad_planes)]
    by_band = by_band or [(None, hdu) for hdu in candidates]  # named in order by the bands asked for
    images = [_from_hdu(hdu, hdulist, f"{label}[{hdulist.index(hdu)}]", bad_planes) for _, hdu in by_band]
    for image, (band, _) in zip(images, by_band, strict=True):
        image.key = band
    return images


def _raise_several(candidates, hdulist, label):
    names = "; ".join(name_of(hdulist, hdu) for hdu in candidates)
    number = hdulist.index(candidates[0])
    which = f"{candidates[0].name},{candidates[0].ver}" if candidates[0].name else number
    msg = (
        f"{label} holds {len(candidates)} images, such as one per detector, and does not say that they are bands: "
        f"{names}; pass one at a time, as 'file.fits[{which}]' or 'file.fits[{number}]', or bands= for all"
    )
    raise ValueError(msg)


def _check_open(hdus, label):
    """Read the pixels, or say that the file was closed before."""
    if not len(hdus):
        msg = f"{label} is an HDUList without HDUs"
        raise ValueError(msg)
    file = hdus[0].fileinfo() or {}
    file = file.get("file")
    closed = file is not None and file.closed
    try:
        for hdu in hdus:
            hdu.data  # noqa: B018
    except (ValueError, AttributeError, OSError, TypeError):
        if not closed:
            raise
    else:
        if not (closed and getattr(hdus, "_read_all", True) is False):  # extensions that were never looked at
            return
    msg = f"the file of {label} was closed before its pixels were read; pass its path, {file.name!r}"
    raise ValueError(msg)


def _extension(hdulist, extension, label):
    try:
        hdu = hdulist[extension]
    except (KeyError, IndexError):
        msg = f"{label} has no extension {extension!r}; it has {', '.join(_extension_names(hdulist))}"
        raise ValueError(msg) from None
    if not isinstance(hdu, IMAGE_HDUS):
        msg = f"extension {extension!r} of {label} is a {type(hdu).__name__}, not an image"
        raise ValueError(msg)
    return hdu


def _extension_names(hdulist):
    return [f"{index} {hdu.name}".rstrip() for index, hdu in enumerate(hdulist)]


def _extension_band(hdu, wanted):
    """Band that a 2-D extension is for, by its name (astropy makes these upper case) or its own FILTER card."""
    if len(hdu.shape) != 2:
        return None
    by_name = {band.lower(): band for band in wanted}.get(hdu.name.lower()) or known_band(hdu.name.lower())
    return by_name or card_band(hdu.header)


def _from_path(path, wanted, bad_planes, strict):
    if re.match(r"[a-z][a-z0-9]+:/", str(path), re.IGNORECASE):
        msg = f"{path} is a URL; download the file first, e.g. with astropy.utils.data.download_file, and pass its path"
        raise ValueError(msg)
    path, extension = split_extension(path)
    return _from_hdulist(open_fits(path, strict=strict), str(path), wanted, bad_planes, extension)


def split_extension(path):
    """
    Path and extension of ``file.fits[SCI]``, ``file.fits[1]`` or ``file.fits[SCI,2]``.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    path : `~pathlib.Path`
    extension : str, int, tuple of (str, int), or None
        None where the whole name is that of a file, or has none in brackets.
    """
    text = os.fspath(path)
    match = re.fullmatch(r"(.+)\[([^\[\]]+)\]", text)
    if match is None or Path(text).expanduser().exists():
        return Path(text).expanduser(), None
    name, _, version = (part.strip() for part in match[2].partition(","))
    extension = int(name) if name.isdigit() else (name, int(version)) if version.isdigit() else name
    return Path(match[1]).expanduser(), extension


def find_files(pattern):
    """
    List files of a name, a glob that a shell has not expanded, or a folder.

    Parameters
    ----------
    pattern : str or path-like
        File, with or without an extension in brackets; glob, where there is no such file; or folder, for the FITS files
        in it. A tilde stands for the home directory.

    Returns
    -------
    list of str
        Sorted; a single name as it is, which its reader will look for.

    Raises
    ------
    FileNotFoundError
        If a glob or folder matches nothing.
    """
    text = os.path.expanduser(os.fspath(pattern))  # noqa: PTH111 - a Path would normalise the pattern
    if Path(text).is_dir():
        found = list(map(str, files_in(text)))
        nothing = f"holds no FITS file (names ending in {', '.join(FITS_SUFFIXES)})"
    elif Path(text).exists() or split_extension(text)[0].exists() or not re.search(r"[*?\[]", text):
        return [text]
    else:
        found = sorted(glob(text, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
        nothing = "matches no file; expected FITS files"
    if not found:
        msg = f"{text} {nothing}"
        raise FileNotFoundError(msg)
    return found
