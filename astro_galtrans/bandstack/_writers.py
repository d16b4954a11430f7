"""Writers of the door out: a stack to an object of the kind that came in, or to a file."""

import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.wcs import WCS

from astro_galtrans._files import CheckedFile, whole_file
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.geometry import copy_wcs

from ._cards import set_card, to_header
from ._stack import BandStack, read
from ._wcs import wcs_to_header

__all__ = ["check_writable", "write_fits", "write_hdulist", "write_like"]

#: Endings of names for which astropy compresses; it then writes through Python itself.
PACKED = {".gz", ".bz2", ".xz", ".zip"}
TABLES = "the WCS has lookup tables: read the file with astro_galtrans.bandstack.read or WCS(header, hdulist)"
FITS_KINDS = (fits.HDUList, fits.PrimaryHDU, fits.ImageHDU)


def write_like(stack, origin=None):
    """
    Make an object of the kind that came in.

    Parameters
    ----------
    stack : `BandStack`
        On one grid.
    origin : `Origin`, optional
        The kind wanted; by default that of the stack.

    Returns
    -------
    object
        CCDData, NDData or a subclass, HDU, HDUList, or a list or dict of them with one item per band; an HDUList for
        what was read from files. It shares no array with the stack. A single HDU has no room for mask and
        uncertainty: bad pixels are NaN in it.
    """
    origin = stack.origin if origin is None else origin
    if not stack.on_one_grid:
        msg = "the bands lie on different grids; align them before writing"
        raise ValueError(msg)
    if origin.container is None:
        return _make(stack, origin.kind, flat=_is_flat(stack, origin))
    items = {band: _make(_single(stack, index), origin.kind, flat=True) for index, band in enumerate(stack.bands)}
    return items if origin.container is dict else origin.container(items.values())


def _is_flat(stack, origin):
    return not origin.cube and len(stack.bands) == 1


def to_hdulist(stack, flat=None):
    """
    `~astropy.io.fits.HDUList` of a stack on one grid: primary image, then ``MASK`` and ``UNCERT`` as CCDData has them.

    ``flat`` leaves the band axis out; by default where there is one band and it came without.
    """
    return _hdulist(stack, *_arrays(stack, _is_flat(stack, stack.origin) if flat is None else flat))


def blank_hdulist(stack, shape):
    """HDUs of a stack, as `to_hdulist` makes them, whose arrays of ``shape`` are zeros that take no memory."""
    blank = (np.broadcast_to(np.zeros((), dtype), shape) for dtype in (np.float32, np.float32, np.uint8))
    return _hdulist(stack, *blank)


def _hdulist(stack, data, deviation, mask):
    header, tables = _header(stack, data.ndim)
    if tables:
        _warn_of_tables(stack.wcs, data.shape[-2:])
        header.add_comment(TABLES)
    hdulist = fits.HDUList([fits.PrimaryHDU(data, header)])
    if mask is not None:
        # ESO's word for a mask in which 1 is bad: whoever reads it need not guess
        kind = fits.Header([("HDUCLAS3", "MASKONE")])
        hdulist.append(fits.ImageHDU(mask.astype(np.uint8, copy=False), kind, name="MASK"))
    if deviation is not None:
        kind = fits.Header([("UTYPE", StdDevUncertainty.__name__), ("BUNIT", stack.unit.to_string())])
        hdulist.append(fits.ImageHDU(deviation, kind, name="UNCERT"))
    hdulist.extend(tables)
    hdulist.verify("silentfix+exception")  # old headers bring cards that are legible but not quite standard
    return hdulist


def check_writable(path, overwrite=False):
    """
    Raise unless a file can be written; for callers to ask before the long work.

    Parameters
    ----------
    path : str or path-like
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OSError
        If the file exists and ``overwrite`` is false, or its folder does not exist or cannot be written to.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        msg = f"the output {path} is a directory; expected the name of a file"
        raise IsADirectoryError(msg)
    if path.exists() and not overwrite:
        msg = f"the output {path} exists; choose another name, or overwrite=True to replace it"
        raise FileExistsError(msg)
    if not path.parent.is_dir():
        msg = f"the folder of the output {path} does not exist"
        raise FileNotFoundError(msg)
    if not os.access(path.parent, os.W_OK):
        msg = f"the folder of the output {path} cannot be written to"
        raise PermissionError(msg)


def write_fits(image, path, overwrite=False):
    """
    Write a FITS file that `astropy.nddata.CCDData.read` reads.

    Parameters
    ----------
    image : `BandStack`, `~astropy.nddata.NDData`, HDU, `~astropy.io.fits.HDUList`, or list or dict of them
        What `write_like` returns, or a stack.
    path : str or path-like
        The file appears whole or not at all.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OSError
        If the file exists and ``overwrite`` is false, or its folder does not exist or cannot be written to.
    ValueError
        If FITS has no keywords for the WCS.
    """
    if not isinstance(image, FITS_KINDS):
        image = to_hdulist(image if isinstance(image, BandStack) else read(image))
    write_hdulist(image, path, overwrite)


def write_hdulist(hdus, path, overwrite=False):
    """
    Write HDUs to a FITS file, whole or not at all.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList` or HDU
    path : str or path-like
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OSError
        If the file exists and ``overwrite`` is false, or its folder does not exist or cannot be written to.
    """
    check_writable(path, overwrite)
    with whole_file(Path(path).expanduser()) as place:
        if place.suffix in PACKED:
            hdus.writeto(place, output_verify="exception")
        else:
            with CheckedFile(place) as file:
                hdus.writeto(file, output_verify="exception")


def _make(stack, kind, flat):
    """One object of a kind."""
    if issubclass(kind, fits.HDUList):
        return to_hdulist(stack, flat)
    if issubclass(kind, FITS_KINDS):
        return _hdu(stack, kind, flat)
    return _nddata(stack, kind, flat)


def _nddata(stack, kind, flat):
    data, deviation, mask = _arrays(stack, flat)
    wcs = copy_wcs(stack.wcs) if isinstance(stack.wcs, WCS) else stack.wcs
    parts = {"unit": stack.unit, "mask": mask, "wcs": wcs, "meta": described_meta(stack)}
    # from the class itself to the plainest, for subclasses whose constructors ask for something else
    candidates = [kind, *(base for base in (CCDData, NDData) if issubclass(kind, base) and base is not kind)]
    for candidate in candidates:
        uncertainty = None if deviation is None else StdDevUncertainty(deviation)
        if stack.psf is not None and issubclass(candidate, CCDData):
            parts["psf"] = stack.psf[0 if flat else slice(None)].copy()
        try:
            return candidate(data, uncertainty=uncertainty, **parts)
        except (TypeError, ValueError):
            if candidate is candidates[-1]:
                raise
    return None


def _hdu(stack, kind, flat):
    data, _, mask = _arrays(stack, flat)
    header, tables = _header(stack, data.ndim)
    if tables:
        msg = "a single HDU cannot hold lookup-table distortions; pass the HDUList or the path instead"
        raise ValueError(msg)
    if mask is not None:
        data[mask] = np.nan  # there is no other room for it
    # tile compression rounds floats to a fraction of the noise unless told not to
    lossless = {"compression_type": "GZIP_2", "quantize_level": 0} if issubclass(kind, fits.CompImageHDU) else {}
    hdu = kind(data, header, **lossless)
    hdu.verify("silentfix+exception")
    return hdu


def _arrays(stack, flat):
    """Copies of data, standard deviation and mask: what goes out shares nothing with the stack."""
    plane = 0 if flat else slice(None)
    deviation = None if stack.variance is None else np.sqrt(stack.variance[plane]).astype(stack.data.dtype, copy=False)
    return stack.data[plane].copy(), deviation, None if stack.mask is None else stack.mask[plane].copy()


def _single(stack, index):
    arrays = {name: getattr(stack, name) for name in ("data", "variance", "mask", "psf")}
    parts = {name: None if array is None else array[index : index + 1] for name, array in arrays.items()}
    return replace(stack, bands=(stack.bands[index],), **parts)


def described_meta(stack):
    """Copy of the stack's meta, with what its own reader needs to read the object again."""
    meta = stack.meta.copy()
    if len(stack.bands) == 1:
        set_card(meta, "FILTER", stack.bands[0])
    else:
        set_card(meta, "BANDS", ",".join(stack.bands))
    set_card(meta, "MAGZERO", float(stack.zeropoint))
    return meta


def _warn_of_tables(wcs, shape):
    """Say that a distortion by lookup tables is not read by everyone, and by how much positions are off without it."""
    y, x = (np.linspace(0, n - 1, 20) for n in shape)
    x, y = np.meshgrid(x, y)
    without = copy_wcs(wcs)
    without.cpdis1 = without.cpdis2 = without.det2im1 = without.det2im2 = None
    off = wcs.pixel_to_world(x, y).separation(without.pixel_to_world(x, y)).arcsec
    msg = f"{TABLES}; CCDData.read leaves them out: positions are off by up to {np.nanmax(off):.2g} arcsec, or missing"
    warnings.warn(msg, GaltransWarning, stacklevel=4)


def header_of(stack):
    """FITS header of a cube of a stack's bands; ValueError if its WCS needs tables in other extensions."""
    header, tables = _header(stack, 3)
    if tables:
        msg = "a single header cannot hold lookup-table distortions; write FITS, or resample to a plain WCS"
        raise ValueError(msg)
    return header


def _header(stack, ndim):
    """FITS header of an image, and the extensions that its WCS needs."""
    described = described_meta(stack)
    header = described if isinstance(described, fits.Header) else to_header(described)
    set_card(header, "BUNIT", stack.unit.to_string())
    wcs_header, tables = wcs_to_header(stack.wcs, ndim)
    for card in wcs_header.cards:
        header.append(card, end=True)  # one by one: a distortion record has several cards of one name
    return header, tables
