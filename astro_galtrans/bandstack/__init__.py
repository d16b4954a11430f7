"""
The one door in and out: images of any accepted kind to a `BandStack` of plain arrays, and back to the same kind.

Between the doors nothing knows where an image came from. `read` takes CCDData, NDData, HDUs, FITS paths, and lists and
dicts of them; `write_like` gives back what came in, new, in the unit and on the grid of the stack; `write_fits` writes
a file that `astropy.nddata.CCDData.read` reads.
"""

from ._cards import PROVENANCE_CARDS
from ._cutout import cut_stack, cutout, cutouts, psf_by_band
from ._layers import Pixels, bands_of, read_pixels
from ._numbers import mask_marks
from ._opening import Origin, find_files, split_extension
from ._stack import BandStack, Plane, read, select, to_unit
from ._streams import FitsStream, ZarrStream
from ._trust import check_layout, is_fits, open_fits
from ._windows import Windows
from ._writers import check_writable, described_meta, write_fits, write_hdulist, write_like

__all__ = [
    "PROVENANCE_CARDS", "BandStack", "FitsStream", "Origin", "Pixels", "Plane", "Windows", "ZarrStream", "bands_of",
    "check_layout", "check_writable", "cut_stack", "cutout", "cutouts", "described_meta", "find_files", "is_fits",
    "mask_marks", "open_fits", "psf_by_band", "read", "read_pixels", "select", "split_extension", "to_unit",
    "write_fits", "write_hdulist", "write_like",
]  # fmt: skip
