"""Files that are written part by part: images that are larger than the memory."""

import os
from pathlib import Path

import numpy as np

from astro_galtrans._optional import require

from ._writers import blank_hdulist, header_of

__all__ = ["FitsStream", "ZarrStream"]

BLOCK = 2880  # bytes of a FITS record
CHUNK = 1024  # pixels a side of a chunk of zarr, at most: 4 MB of floats, which one request to a disk or store reads


class FitsStream:
    """
    A FITS file of flux, ``MASK`` and ``UNCERT``, as `write_fits` lays them out, of which parts are written in any
    order.

    Parts are written as bytes at their place, and not into a memory map: on a full disk that is an error and not the
    end of the process.

    Parameters
    ----------
    path : path-like
    stack : `BandStack`
        What is known of the image: bands, unit, WCS, meta; its arrays do not matter.
    shape : tuple of int
        Bands, rows and columns.
    """

    def __init__(self, path, stack, shape):
        self.path, self.shape, self._layout = Path(path), shape, {}
        hdus, end, headers = blank_hdulist(stack, shape), 0, []
        for hdu in hdus:
            text = hdu.header.tostring().encode("ascii")
            dtype = np.dtype({-32: ">f4", 8: "u1"}[hdu.header["BITPIX"]])
            name = {"MASK": "mask", "UNCERT": "std"}.get(hdu.name, "flux")
            headers.append((end, text))
            self._layout[name] = end + len(text), dtype
            size = dtype.itemsize * int(np.prod(shape))
            end += len(text) + -(-size // BLOCK) * BLOCK
        if not self.path.exists():
            with self.path.open("wb") as file:
                file.truncate(end)  # sparse where the file system can
                for start, text in headers:
                    file.seek(start)
                    file.write(text)

    def write(self, top, left, **parts):
        """Write parts ``[C, h, w]`` of ``flux``, ``std`` and ``mask``, whose first pixels have these coordinates."""
        with self.path.open("r+b") as file:
            for name, part in parts.items():
                start, dtype = self._layout[name]
                for band, plane in enumerate(part.astype(dtype, order="C")):
                    for row, line in enumerate(plane, top):
                        place = (band * self.shape[1] + row) * self.shape[2] + left
                        file.seek(start + dtype.itemsize * place)
                        file.write(line)

    def close(self):
        """Bring what was written to the disk."""
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())


class ZarrStream:
    """
    A zarr group (version 3) of ``flux``, ``std`` and ``mask``, ``[band, y, x]``, of which parts are written in any
    order.

    Its attributes are the bands, the unit, the zero point and, as ``header``, the FITS header with the WCS. Parameters
    are those of `FitsStream`, and the sides of the parts that will be written, which are whole chunks.
    """

    def __init__(self, path, stack, shape, sides):
        zarr = require("zarr", "scale")
        self.path = Path(path)
        if self.path.exists():
            self._group = zarr.open_group(self.path, mode="r+")
            return
        self._group = zarr.create_group(self.path)
        chunks = (1, *(_divisor(side) for side in sides))
        for name, dtype in (("flux", "f4"), ("std", "f4"), ("mask", "u1")):
            self._group.create_array(
                name, shape=shape, chunks=chunks, dtype=dtype, dimension_names=("band", "y", "x"), fill_value=0
            )
        self._group.attrs.update(
            bands=list(stack.bands), unit=stack.unit.to_string(), zeropoint=float(stack.zeropoint),
            header=header_of(stack).tostring(sep="\n"),
        )  # fmt: skip

    def write(self, top, left, **parts):
        """Write parts as `FitsStream.write` does."""
        for name, part in parts.items():
            self._group[name][:, top : top + part.shape[1], left : left + part.shape[2]] = part

    def close(self):
        """Do nothing: chunks are written whole."""


def _divisor(side):
    """Largest side of a chunk, of at most `CHUNK` pixels, of which parts have a whole number."""
    count = -(-side // CHUNK)
    while side % count:
        count += 1
    return side // count
