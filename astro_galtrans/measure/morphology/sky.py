"""
The sky of each cutout, measured in a box without sources, as statmorph does.

The box is the first, row by row, of 32 x 32 pixels in which no pixel belongs to a source or to the user's mask; where
there is none, of half that size, down to 2 x 2. The box never touches the upper and right edge (statmorph's range).
"""

from dataclasses import dataclass

import numpy as np

from .cutouts import BAD
from .filters import box_filter

__all__ = ["Sky", "sky_boxes"]

LARGEST, SMALLEST = 32, 2  # statmorph's skybox_size, and the smallest that it tries


@dataclass
class Sky:
    """Boxes of sky and what is measured in them, ``[N]``."""

    x: np.ndarray  # int64, as the next two: lower left pixel and side of each box; side 0 where there is none
    y: np.ndarray
    size: np.ndarray
    mean: np.ndarray  # of the pixels, as the next two; NaN where there is no box
    median: np.ndarray
    sigma: np.ndarray
    asymmetry: np.ndarray  # mean absolute difference from the box turned by 180 degrees; 0 where there is none
    boxes: dict  # for each side, the rows of the batch and their pixels

    def smoothness(self, width):
        """
        Return the mean positive difference ``[N]`` of each box from itself smoothed over ``width`` pixels; 0 where
        there is none.
        """
        found = np.zeros_like(self.asymmetry)
        for size, (rows, pixels) in self.boxes.items():
            length = np.full_like(rows, size)
            rest = pixels - box_filter(pixels, width[rows], length, length)
            found[rows] = rest.clip(min=0).mean((1, 2))
        return found


def sky_boxes(cutouts):
    """Find and measure a box of sky in each cutout; none at all raises flag 2."""
    x, y, size = _free_boxes(cutouts)
    mean, median, sigma = np.full((3, len(cutouts)), np.nan)
    asymmetry, boxes = np.zeros_like(mean), {}
    for side in np.unique(size[size > 0]).tolist():
        rows, steps = np.flatnonzero(size == side), np.arange(side)
        iy, ix = y[rows, None] + steps, x[rows, None] + steps
        pixels = cutouts.image[rows[:, None, None], iy[:, :, None], ix[:, None, :]]
        boxes[side] = rows, pixels
        mean[rows], median[rows], sigma[rows] = (of(pixels, (1, 2)) for of in (np.mean, np.median, np.std))
        asymmetry[rows] = np.abs(pixels - pixels[:, ::-1, ::-1]).mean((1, 2))
    cutouts.raise_flag(size == 0, BAD)
    return Sky(x, y, size, mean, median, sigma, asymmetry, boxes)


def _free_boxes(cutouts):
    """The lower left pixel and the side of each cutout's box; zeros where there is none."""
    x, y, size = np.zeros((3, len(cutouts)), np.int64)
    taken = (~cutouts.empty).cumsum(1, dtype=np.int32).cumsum(2, dtype=np.int32)
    taken = np.pad(taken, ((0, 0), (1, 0), (1, 0)))
    left, side = np.arange(len(cutouts)), LARGEST
    while len(left) and side >= SMALLEST:
        hit, by, bx = _first_box(taken[left], cutouts.ny[left] - side, cutouts.nx[left] - side, side)
        x[left[hit]], y[left[hit]], size[left[hit]] = bx[hit], by[hit], side
        left, side = left[~hit], side // 2
    return x, y, size


def _first_box(taken, ny, nx, side):
    """Is there a free box of this side that begins before row ny and column nx, and where is the first?"""
    height, width = (max(n - side, 0) for n in taken.shape[1:])
    # Sums over boxes are differences of the running sums at their corners.
    count = taken[:, side:, side:] - taken[:, :height, side:] - taken[:, side:, :width] + taken[:, :height, :width]
    free = (count == 0) & (np.arange(height)[:, None] < ny[:, None, None]) & (np.arange(width) < nx[:, None, None])
    free = np.pad(free.reshape(len(taken), -1), ((0, 0), (0, 1)))  # there may be no box of this side in the canvas
    index = free.argmax(1)
    return free.any(1), index // max(width, 1), index % max(width, 1)
