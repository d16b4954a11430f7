"""Boxes of sky: the first free square of each cutout."""

import numpy as np

from astro_galtrans.measure.morphology.compiled import compile_loop, part_of_loop

__all__ = ["free_boxes"]


@compile_loop
def free_boxes(empty, ny, nx, largest, smallest):
    """
    Find the first box, row by row, in which all pixels are empty: of the largest side, or of half that, and so on.

    Parameters
    ----------
    empty : `numpy.ndarray`
        ``[N, H, W]``, bool.
    ny, nx : `numpy.ndarray`
        ``[N]``: size of each cutout, whose upper and right edges no box touches.
    largest, smallest : int
        Sides in pixels.

    Returns
    -------
    x, y, size : `numpy.ndarray`
        ``[N]``: lower left pixel and side, all 0 where there is none.
    """
    number, height, width = empty.shape
    x, y, size = np.zeros(number, np.int64), np.zeros(number, np.int64), np.zeros(number, np.int64)
    free = np.zeros((height + 1, width + 1), np.int64)
    for n in range(number):
        _squares(empty[n], free)
        side = largest
        while side >= smallest and size[n] == 0:
            y[n], x[n], size[n] = _first(free, side, ny[n] - side, nx[n] - side)
            side //= 2
    return x, y, size


@part_of_loop
def _squares(empty, free):
    """The side of the largest empty square of which a pixel is the lower left: one more than its neighbours' least."""
    height, width = empty.shape
    for y in range(height - 1, -1, -1):
        for x in range(width - 1, -1, -1):
            least = min(free[y + 1, x], free[y, x + 1], free[y + 1, x + 1])
            free[y, x] = least + 1 if empty[y, x] else 0


@part_of_loop
def _first(free, side, height, width):
    """The first pixel that begins a large enough square, and its side; zeros where there is none."""
    for y in range(height):
        for x in range(width):
            if free[y, x] >= side:
                return y, x, side
    return 0, 0, 0
