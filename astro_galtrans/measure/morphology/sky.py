"""
The sky of each cutout, measured in a box without sources, as statmorph does.

The box is the first, row by row, of 32 x 32 pixels in which no pixel belongs to a source or to the user's mask; where
there is none, of half that size, down to 2 x 2. The box never touches the upper and right edge (statmorph's range).
"""

from dataclasses import dataclass

import torch

from .compiled import kernels
from .cutouts import BAD
from .filters import box_filter
from .kernels import on_arrays

__all__ = ["Sky", "sky_boxes"]

LARGEST, SMALLEST = 32, 2
INVALID = -99.0


@dataclass
class Sky:
    """
    Boxes of sky.

    Parameters
    ----------
    x, y, size : `torch.Tensor`
        ``[N]``, int64: lower left pixel and side of each box; side 0 where there is none.
    mean, median, sigma : `torch.Tensor`
        ``[N]``: of the pixels in them; NaN where there is none.
    asymmetry : `torch.Tensor`
        ``[N]``: mean absolute difference from the box turned by 180 degrees; 0 where there is none.
    boxes : dict of int to tuple of `torch.Tensor`
        For each side, the rows of the batch and their pixels.
    """

    x: torch.Tensor
    y: torch.Tensor
    size: torch.Tensor
    mean: torch.Tensor
    median: torch.Tensor
    sigma: torch.Tensor
    asymmetry: torch.Tensor
    boxes: dict

    def smoothness(self, width):
        """
        Return the mean positive difference of each box from itself smoothed; 0 where there is none.

        Parameters
        ----------
        width : `torch.Tensor`
            ``[N]``, int64: side of the smoothing box.
        """
        found = torch.zeros_like(self.asymmetry)
        for size, (rows, pixels) in self.boxes.items():
            length = torch.full_like(rows, size)
            rest = pixels - box_filter(pixels, width[rows], length, length)
            found[rows] = rest.clamp(min=0).mean((1, 2))
        return found


def sky_boxes(stamps):
    """
    Find and measure a box of sky in each cutout; none at all raises flag 2.

    Parameters
    ----------
    stamps : Stamps
        The cutouts.
    """
    x, y, size = _free_boxes(stamps)
    mean, median, sigma = (torch.full_like(stamps.image[:, 0, 0], torch.nan) for _ in range(3))
    asymmetry, boxes = torch.zeros_like(mean), {}
    for side in size[size > 0].unique().tolist():
        rows = torch.nonzero(size == side).ravel()
        pixels = _box(stamps.image, rows, x[rows], y[rows], side)
        boxes[side], values = (rows, pixels), pixels.flatten(1)
        mean[rows], sigma[rows] = values.mean(1), values.std(1, correction=0)
        median[rows] = values.kthvalue(side**2 // 2).values / 2 + values.kthvalue(side**2 // 2 + 1).values / 2
        asymmetry[rows] = (pixels - pixels.flip(1, 2)).abs().mean((1, 2))
    stamps.raise_flag(size == 0, BAD)
    return Sky(x, y, size, mean, median, sigma, asymmetry, boxes)


def _free_boxes(stamps):
    """The lower left pixel and the side of each cutout's box; zeros where there is none."""
    loops = kernels("sky", stamps.image)
    if loops is not None:
        return on_arrays(loops.free_boxes, stamps.empty, stamps.ny, stamps.nx, LARGEST, SMALLEST)
    x, y, size = (torch.zeros_like(stamps.nx) for _ in range(3))
    taken = torch.nn.functional.pad((~stamps.empty).float().cumsum(1).cumsum(2), (1, 0, 1, 0))
    left, side = torch.arange(len(stamps), device=x.device), LARGEST
    while len(left) and side >= SMALLEST:
        hit, by, bx = _first_box(taken[left], stamps.ny[left], stamps.nx[left], side)
        x[left[hit]], y[left[hit]], size[left[hit]] = bx[hit], by[hit], side
        left, side = left[~hit], side // 2
    return x, y, size


def _first_box(taken, ny, nx, side):
    """Is there a free box of this side, and where is the first?"""
    height, width = (n - side for n in taken.shape[1:])
    if min(height, width) < 1:
        nothing = torch.zeros_like(ny)
        return nothing.bool(), nothing, nothing
    count = taken[:, side:, side:] - taken[:, :-side, side:] - taken[:, side:, :-side] + taken[:, :-side, :-side]
    y, x = (torch.arange(n, device=ny.device) for n in (height, width))
    allowed = (y < (ny - side)[:, None])[:, :, None] & (x < (nx - side)[:, None])[:, None, :]
    free = ((count < 0.5) & allowed).flatten(1)
    index = free.to(torch.uint8).argmax(1)
    return free.any(1), index // width, index % width


def _box(image, rows, x, y, side):
    steps = torch.arange(side, device=image.device)
    return image[rows[:, None, None], (y[:, None] + steps)[:, :, None], (x[:, None] + steps)[:, None, :]]
