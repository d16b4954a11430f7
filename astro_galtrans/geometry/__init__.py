"""
Positions of pixels on the sky, and the change from one pixel grid to another.

`grids` holds what is exact (world coordinates of a finer grid, pixel areas, comparison of grids), `masks` the treatment
of masked pixels, `alignment` what needs interpolation (bands on one grid, the result on a grid of choice).
"""

from ._interpolation import interpolate_plane
from ._quiet import quiet
from .alignment import align_planes, resample
from .grids import (
    ResampledLowLevelWCS,
    check_celestial,
    copy_wcs,
    move_origin,
    pixel_area,
    pixel_scale,
    rescale_wcs,
    same_grid,
)  # fmt: skip
from .masks import fill_masked, output_mask

__all__ = [
    "ResampledLowLevelWCS", "align_planes", "check_celestial", "copy_wcs", "fill_masked", "interpolate_plane",
    "move_origin", "output_mask", "pixel_area", "pixel_scale", "quiet", "resample", "rescale_wcs", "same_grid",
]  # fmt: skip
