"""The detection mask and what is farthest in it; see `..shape`."""

import math

import numpy as np

from astro_galtrans.measure.morphology.compiled import compile_loop, part_of_loop
from astro_galtrans.measure.morphology.shape import BOXCAR, CLIP, INNER_ITERATIONS, LEAST_SKY

from .filters import blur
from .order import falling
from .regions import ALLOWED, flood, taken

__all__ = ["clipped_sky", "farthest", "segmap_shape"]


@compile_loop
def segmap_shape(image, mask, ny, nx, x, y, radius, box):
    """
    Make the detection masks.

    Parameters
    ----------
    image, mask : `numpy.ndarray`
        ``[N, H, W]``.
    ny, nx : `numpy.ndarray`
        ``[N]``: the sizes of the cutouts.
    x, y, radius : `numpy.ndarray`
        ``[N]``: the centres, and the inner radii of the rings of sky.
    box : `numpy.ndarray`
        ``[N, 3]``, int64: corner in x and y, and side of the sky box.

    Returns
    -------
    region : `numpy.ndarray`
        ``[N, H, W]``, bool.
    undefined, alone : `numpy.ndarray`
        ``[N]``, bool: there is no sky; the brightest pixel is not above it.
    """
    number, height, width = image.shape
    region = np.zeros(image.shape, np.bool_)
    undefined, alone = np.zeros(number, np.bool_), np.zeros(number, np.bool_)
    smooth, weights = np.zeros((height, width)), np.full(BOXCAR, 1 / BOXCAR)
    for k in range(number):
        sky = _ring(image[k], mask[k], ny[k], nx[k], x[k], y[k], radius[k])
        if len(sky) < LEAST_SKY:
            sky = _box(image[k], box[k, 0], box[k, 1], box[k, 2])
        undefined[k] = len(sky) == 0
        mode, sigma = clipped_sky(sky)
        for row in range(ny[k]):
            for column in range(nx[k]):
                smooth[row, column] = 0
        blur(image[k], ny[k], nx[k], weights, -(BOXCAR // 2), True, smooth)
        step, highest, brightest = nx[k] + 2, -np.inf, 0
        state = np.zeros((ny[k] + 2) * step, np.uint8)
        for row in range(ny[k]):
            for column in range(nx[k]):
                pixel = (row + 1) * step + column + 1
                state[pixel] = smooth[row, column] >= mode + sigma
                if smooth[row, column] > highest:
                    highest, brightest = smooth[row, column], pixel
        alone[k] = not state[brightest]
        state[brightest] = ALLOWED
        flood(state, step, brightest)
        taken(state, step, region[k], ny[k], nx[k])
    return region, undefined, alone


@part_of_loop
def _ring(image, mask, height, width, x, y, radius):
    """The unmasked pixels from one radius to twice that."""
    values, number = np.empty(height * width), 0
    for row in range(height):
        for column in range(width):
            distance2 = (row - y) ** 2 + (column - x) ** 2
            if radius**2 <= distance2 < 4 * radius**2 and not mask[row, column]:
                values[number] = image[row, column]
                number += 1
    return values[:number]


@part_of_loop
def _box(image, x, y, side):
    values = np.empty(side * side)
    for i in range(side * side):
        values[i] = image[y + i // side, x + i % side]
    return values


@compile_loop
def clipped_sky(sky):
    """
    Estimate the level and noise of the sky as `..shape.clipped_sky` does, and say there why so.

    Parameters
    ----------
    sky : `numpy.ndarray`
        ``[M]``.

    Returns
    -------
    mode, sigma : float
        NaN where there are no pixels.
    """
    order, number = falling(sky), len(sky)
    values, sums, squares = np.empty(number), np.zeros(number + 1), np.zeros(number + 1)
    for i in range(number):
        values[i] = sky[order[number - 1 - i]]
        sums[i + 1], squares[i + 1] = sums[i] + values[i], squares[i] + values[i] ** 2
    low, high = 0, number
    while True:
        first, last = low, high
        for _ in range(INNER_ITERATIONS):
            _, median, sigma = _moments(first, last, values, sums, squares)
            before = first, last
            first, last = _within(first, last, median, sigma, values)
            if before == (first, last):
                break
        mean, median, _ = _moments(first, last, values, sums, squares)
        centre = 2.5 * median - 1.5 * mean
        mean, median, sigma = _moments(low, high, values, sums, squares)
        first, last = _within(low, high, centre, sigma, values)
        if (first, last) == (low, high):
            return 2.5 * median - 1.5 * mean, sigma
        low, high = first, last


@compile_loop
def _moments(low, high, values, sums, squares):
    """Mean, median and standard deviation of a stretch of sorted values."""
    if high <= low:
        return np.nan, np.nan, np.nan
    mean = (sums[high] - sums[low]) / (high - low)
    median = (values[(low + high - 1) // 2] + values[(low + high) // 2]) / 2
    variance = (squares[high] - squares[low]) / (high - low) - mean**2
    return mean, median, math.sqrt(max(variance, 0.0))


@compile_loop
def _within(low, high, centre, sigma, values):
    """The part of a stretch that is not farther than three sigma from a centre."""
    while low < high and not values[low] >= centre - CLIP * sigma:
        low += 1
    while low < high and not values[high - 1] <= centre + CLIP * sigma:
        high -= 1
    return low, high


@compile_loop
def farthest(segmap, ellipses):
    """
    Find how large circles and ellipses have to be that hold all pixels of segments.

    Parameters
    ----------
    segmap : `numpy.ndarray`
        ``[N, H, W]``, bool.
    ellipses : `numpy.ndarray`
        ``[N, 5]``: centres and shapes (``Ellipses.packed``).

    Returns
    -------
    circular, elliptical : `numpy.ndarray`
        ``[N]``: radii and semimajor axes.
    """
    circular, elliptical = np.zeros(len(segmap)), np.zeros(len(segmap))
    for k in range(len(segmap)):
        q, cos, sin = ellipses[k, 2], ellipses[k, 3], ellipses[k, 4]
        for row in range(segmap.shape[1]):
            dy = row - ellipses[k, 1]
            for column in range(segmap.shape[2]):
                if segmap[k, row, column]:
                    dx = column - ellipses[k, 0]
                    square = (dx * cos + dy * sin) ** 2 + (q * (dy * cos - dx * sin)) ** 2
                    circular[k] = max(circular[k], dx * dx + dy * dy)
                    elliptical[k] = max(elliptical[k], square)
        circular[k], elliptical[k] = math.sqrt(circular[k]), math.sqrt(elliptical[k])
    return circular, elliptical
