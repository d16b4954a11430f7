"""Windows on images that do not fit in memory: parts of all bands, read as an image of their own."""

import os
from collections.abc import Mapping
from contextlib import nullcontext
from copy import copy

import numpy as np
from astropy.io import fits
from astropy.nddata import NDData
from astropy.wcs.utils import pixel_to_pixel
from astropy.wcs.wcsapi import BaseHighLevelWCS, HighLevelWCSWrapper, SlicedLowLevelWCS

from astro_galtrans.bands import parse_band, parse_bands
from astro_galtrans.exceptions import EmptyImageError
from astro_galtrans.geometry import check_celestial, same_grid

from ._companions import IMAGE_HDUS, image_hdus
from ._layers import bands_of
from ._opening import split_extension
from ._stack import read
from ._trust import check_layout
from ._wcs import celestial_wcs, wcs_from_header

__all__ = ["Windows"]

MARGIN = 4  # pixels around the window of a band on a grid of its own: alignment interpolates from three on each side
PROBE = 16  # pixels a side that are read to see which bands there are
OUTLINE = 33  # points on each edge of a window whose places on other grids are found


class Windows:
    """
    An image of any accepted kind, read window by window.

    A window is cut from each object or file before it is read, so that all conventions of units, masks and noise hold
    for it as for a whole image. FITS files are mapped into memory, and of compressed ones only the tiles that a window
    needs are unpacked; their checksums are not looked at, for which all of them would be read.

    Parameters
    ----------
    image : object
        As for `read`; the arrays of NDData may be numpy memory maps, zarr or dask arrays.
    bands : sequence of str
        Bands to take. Windows are given on the grid of the middle one, as translations are.
    named : str or iterable of str, optional
        Bands of the planes, where the image does not say.

    Raises
    ------
    ValueError
        If a band is missing or there is no celestial WCS, or a file is packed as a whole (``.gz``, ``.bz2``).
    """

    def __init__(self, image, bands, named=None):
        self._container = type(image) if _is_container(image) else None
        items = list(image.values()) if isinstance(image, Mapping) else list(image) if self._container else [image]
        self._keys = list(image) if isinstance(image, Mapping) else None
        self._items = [_NDData(item) if isinstance(item, NDData) else _Fits(item) for item in items]
        self.named = named
        holder = self._holder(bands[len(bands) // 2])
        #: rows and columns, and world coordinates, of the middle band
        self.shape, self.wcs = self._items[holder].shape, self._items[holder].wcs
        # windows of bands on one grid are the same pixels: a margin around them would have them resampled
        self._on_grid = [item.shape == self.shape and same_grid(item.wcs, self.wcs, self.shape) for item in self._items]

    def _holder(self, band):
        """Number of the item that holds a band."""
        if self._keys is not None:
            names = [(parse_band(key),) for key in self._keys]
        else:
            probes = [item.cut(*(slice(0, min(PROBE, n)) for n in item.shape)) for item in self._items]
            names = [bands_of(probe) for probe in probes]
            if self.named is not None and all(name is None for found in names for name in found):
                given = iter(parse_bands(self.named))
                names = [tuple(next(given, None) for _ in found) for found in names]
        for number, found in enumerate(names):
            if band in found:
                return number
        msg = f"missing bands: {band}; the image has {', '.join(str(name) for found in names for name in found)}"
        raise ValueError(msg)

    def read(self, rows, columns, **options):
        """
        Read a window.

        Parameters
        ----------
        rows, columns : slice
            Pixels of the middle band, with start and stop inside of the image.
        **options
            As for `astro_galtrans.bandstack.read`.

        Returns
        -------
        `BandStack`

        Raises
        ------
        EmptyImageError
            If a band has no pixel there, or none that can be used.
        """
        return self.assemble(self.pieces(rows, columns), **options)

    def pieces(self, rows, columns):
        """Return the window of each object on its own grid, and its arrays there, which dask has not computed yet."""
        found = []
        for number, item in enumerate(self._items):
            window = (rows, columns) if self._on_grid[number] else item.window(self.wcs, rows, columns)
            found.append((window, item.pieces(*window)))
        return found

    def assemble(self, pieces, **options):
        """Read what `pieces` returned, as `read` does."""
        if any(part.start >= part.stop for window, _ in pieces for part in window):
            msg = "the window lies off the image of a band"
            raise EmptyImageError(msg)
        parts = [item.assemble(arrays, *window) for item, (window, arrays) in zip(self._items, pieces, strict=True)]
        if self._container is None:
            whole = parts[0]
        else:
            whole = dict(zip(self._keys, parts, strict=True)) if self._keys is not None else parts
        return read(whole, self.named, **options)

    def without_arrays(self):
        """Return a copy that can assemble pieces, and not make them: small enough to be sent to other processes."""
        light = copy(self)
        light._items = [item.without_arrays() for item in self._items]
        return light

    @property
    def identity(self):
        """What tells this image from another: names, sizes and times of files, names of dask arrays, else shapes."""
        return [item.identity for item in self._items]


def _is_container(image):
    return isinstance(image, Mapping | list | tuple) and not isinstance(image, fits.HDUList)


class _Item:
    """An object or file that holds one band or more on one grid, of ``shape`` and ``wcs``."""

    def cut(self, rows, columns):
        """Return an object of the same sort with the pixels of a window."""
        return self.assemble(self.pieces(rows, columns), rows, columns)

    def without_arrays(self):
        """Return what `assemble` needs."""
        return self

    def window(self, wcs, rows, columns):
        """Rows and columns that show the sky of a window on another grid, and a margin."""
        y, x = (np.linspace(part.start - 0.5, part.stop - 0.5, OUTLINE) for part in (rows, columns))
        grid = (axis.ravel() for axis in np.meshgrid(x, y))
        found = [np.asarray(place, float) for place in pixel_to_pixel(wcs, self.wcs, *grid)]
        sides = []
        for place, n in zip(found[::-1], self.shape, strict=True):
            place = place[np.isfinite(place)]
            low, high = (place.min(), place.max()) if place.size else (0, -1)
            start, stop = int(np.floor(low)) - MARGIN, int(np.ceil(high)) + MARGIN + 1
            sides.append(slice(max(0, start), min(n, stop)))
        return tuple(sides)


class _NDData(_Item):
    def __init__(self, nddata):
        shape, noise = np.shape(nddata.data), nddata.uncertainty
        self._arrays = nddata.data, None if noise is None else noise.array, nddata.mask
        self._noise = None if noise is None else (type(noise), noise.unit)
        self._rest, self.shape = (nddata.meta, nddata.unit), shape[-2:]
        header = nddata.meta if isinstance(nddata.meta, fits.Header) else fits.Header()
        self.wcs = wcs_from_header(header) if nddata.wcs is None else celestial_wcs(nddata.wcs, len(shape))

    def pieces(self, rows, columns):
        return [array if array is None or np.ndim(array) < 2 else array[..., rows, columns] for array in self._arrays]

    def assemble(self, arrays, rows, columns):
        data, noise, mask = (None if array is None else np.asarray(array) for array in arrays)
        if noise is not None:
            kind, unit = self._noise
            noise = kind(noise, unit=unit)
        low = self.wcs.low_level_wcs if isinstance(self.wcs, BaseHighLevelWCS) else self.wcs
        wcs = check_celestial(HighLevelWCSWrapper(SlicedLowLevelWCS(low, (rows, columns))))
        return NDData(data, noise, mask, wcs, *self._rest)

    def without_arrays(self):
        light = copy(self)
        light._arrays = None
        return light

    @property
    def identity(self):
        return getattr(self._arrays[0], "name", None), self._arrays[0].shape


class _Fits(_Item):
    def __init__(self, item):
        self._item = item
        if isinstance(item, str | os.PathLike):
            _check_file(item)
        with self._opened() as hdulist:
            images = image_hdus(hdulist)[0]
            if not images:
                msg = f"{item} holds no image"
                raise ValueError(msg)
            self.shape = tuple(images[0].shape[-2:])
            self.wcs = wcs_from_header(images[0].header, hdulist)

    def _opened(self):
        """The HDUs, in a context that closes a file, and nothing that the caller opened."""
        if isinstance(self._item, str | os.PathLike):
            # mapped by default; asked for explicitly, astropy refuses integers that are scaled
            return fits.open(split_extension(self._item)[0], lazy_load_hdus=False)
        return nullcontext(fits.HDUList([self._item]) if isinstance(self._item, IMAGE_HDUS) else self._item)

    def pieces(self, rows, columns):
        return None

    def assemble(self, arrays, rows, columns):
        with self._opened() as hdulist:
            return fits.HDUList([self._part(hdu, rows, columns) for hdu in hdulist])

    def _part(self, hdu, rows, columns):
        """An HDU, or the part of it that belongs to a window."""
        if not isinstance(hdu, IMAGE_HDUS) or hdu.shape[-2:] != self.shape:
            return hdu.copy()
        key = (*(slice(None),) * (len(hdu.shape) - 2), rows, columns)
        # sections are read row by row, in Python; of a memory map of floats, without scaling, numpy copies the window
        mapped = isinstance(self._item, str | os.PathLike) and not isinstance(hdu, fits.CompImageHDU)
        mapped &= hdu.header["BITPIX"] < 0 and not {"BSCALE", "BZERO"} & set(hdu.header)
        data = np.array(hdu.data[key] if mapped or not hdu.fileinfo() else hdu.section[key])
        header = hdu.header.copy()
        for name in ("BSCALE", "BZERO", "BLANK"):
            if data.dtype.kind == "f":
                header.remove(name, ignore_missing=True)
        for axis, start in (("1", columns.start), ("2", rows.start)):
            for name in [name for name in header if name[:-1] == f"CRPIX{axis}" or name == f"CRPIX{axis}"]:
                header[name] -= start
            if header.get(f"CPDIS{axis}") or header.get(f"D2IMDIS{axis}"):
                msg = f"{self._item} has lookup tables of distortions, which cannot be cut; resample it to a plain WCS"
                raise ValueError(msg)
        kind = fits.PrimaryHDU if isinstance(hdu, fits.PrimaryHDU) else fits.ImageHDU
        return kind(data, header)

    @property
    def identity(self):
        if isinstance(self._item, str | os.PathLike):
            found = split_extension(self._item)[0].stat()
            return os.fspath(self._item), found.st_size, found.st_mtime_ns
        return "HDUs", self.shape


def _check_file(name):
    """Raise unless a file is FITS from which windows can be read."""
    path, extension = split_extension(name)
    if extension is not None:
        msg = f"windows are read of whole files: leave out the extension in {name!r}, or pass the HDU"
        raise ValueError(msg)
    with path.open("rb") as file:
        if file.read(3) in {b"\x1f\x8b\x08", b"BZh"}:
            msg = f"{path} is packed as a whole: unpack it with gunzip or bunzip2 to read windows of it"
            raise ValueError(msg)
        try:
            check_layout(file)
        except Exception as err:
            msg = f"{path} cannot be read; it is truncated, damaged or not FITS: {' '.join(str(err).split())}"
            raise OSError(msg) from err
