"""
The extent of galaxies, and the asymmetries of their outskirts and of their outline.

The outline is that of a detection mask made as statmorph makes it (after Pawlik et al. 2016, section 3.1): the image
smoothed over 3 x 3 pixels, above one sigma of the sky, the region around its brightest pixel.
"""

import math

import numpy as np

from ._jit import compile_loop, falling, part_of_loop
from .asymmetry import asymmetry
from .cutouts import BAD
from .filters import blur
from .flood import brightest_region
from .petrosian import fraction_radii

__all__ = ["clipped_sky", "measure_shape", "segmap_shape"]

EXTENT_FLUX = 2.0  # statmorph's petro_extent_flux: Petrosian radii from which the sky is looked at, to twice that
LEAST_SKY = 32**2  # pixels, fewer than which are replaced by those of the sky box (statmorph's skybox_size)
BOXCAR = 3  # pixels
CLIP = 3.0  # sigma
INNER_ITERATIONS = 10  # of the clipping within photutils' ModeEstimatorBackground


def measure_shape(cutouts, geometry):
    """
    Measure the galaxies' extent and the asymmetries beyond their half-light radius and of their outline, ``[N]``.

    By name: ``rmax_circ``, ``rmax_ellip``, ``rhalf_circ``, ``rhalf_ellip``, ``outer_asymmetry`` (Wen et al. 2014) and
    ``shape_asymmetry`` (Pawlik et al. 2016); NaN where undefined.
    """
    segmap, forms = segmap_shape(cutouts, geometry), (geometry.circles, geometry.ellipses)
    pixels = np.nonzero(segmap)
    circ, ellip = (_farthest(pixels, form) for form in forms)
    cutouts.raise_flag((circ == 0) | (ellip == 0), BAD)
    half_circ, half_ellip = (_half_light(cutouts, *of) for of in zip(forms, (circ, ellip), strict=True))
    outer = asymmetry(cutouts, cutouts.image, geometry.ellipses, ellip, half_ellip, geometry.sky.asymmetry)
    outline = asymmetry(cutouts, segmap.astype(np.float64), geometry.circles, circ, np.zeros_like(circ))
    return {
        "rmax_circ": circ,
        "rmax_ellip": ellip,
        "rhalf_circ": half_circ,
        "rhalf_ellip": half_ellip,
        "outer_asymmetry": outer,
        "shape_asymmetry": np.where(circ > 0, outline, np.nan),
    }


def _farthest(pixels, ellipses):
    """The semimajor axes ``[N]`` of the smallest ellipses of these shapes that hold all of the segments' pixels."""
    row = pixels[0]
    x, y, q, cos, sin = ellipses.T[:, row]
    dy, dx, square = pixels[1] - y, pixels[2] - x, np.zeros(len(ellipses))
    np.maximum.at(square, row, (dx * cos + dy * sin) ** 2 + (q * (dy * cos - dx * sin)) ** 2)
    return np.sqrt(square)


def _half_light(cutouts, ellipses, total):
    """The radius that holds half of the light in the largest; flag 2 where there is none."""
    radius, bad = fraction_radii(cutouts.image, ellipses, total, np.array([0.5]))
    cutouts.raise_flag(bad, BAD)
    return radius[:, 0].copy()


def segmap_shape(cutouts, geometry):
    """
    Make the detection masks ``[N, H, W]``, whose largest radius is ``rmax`` and whose asymmetry the shape asymmetry.

    Flag 2 where there is no sky, or the brightest pixel is not above it.
    """
    sky, pixels = geometry.sky, (cutouts.image, cutouts.mask, cutouts.ny, cutouts.nx)
    places = geometry.x, geometry.y, EXTENT_FLUX * geometry.rpetro_ellip, np.stack([sky.x, sky.y, sky.size], 1)
    region, (undefined, alone) = np.zeros_like(cutouts.frame), np.zeros((2, len(cutouts)), bool)
    _segmaps(*pixels, *places, np.full(BOXCAR, 1 / BOXCAR), True, region, undefined, alone)
    cutouts.raise_flag(undefined | alone, BAD)
    return np.where(undefined[:, None, None], cutouts.segment & ~cutouts.mask, region)


@compile_loop
def _segmaps(image, mask, ny, nx, x, y, radius, box, weights, mirrored, region, undefined, alone):
    """The masks, where there is no sky for them, and where the brightest pixel is not above it."""
    smooth = np.zeros(image.shape[1:])
    for k in range(len(image)):
        sky = _ring(image[k], mask[k], ny[k], nx[k], x[k], y[k], radius[k])
        if len(sky) < LEAST_SKY:
            sky = _box(image[k], box[k, 0], box[k, 1], box[k, 2])
        undefined[k] = len(sky) == 0
        mode, sigma = clipped_sky(sky)
        smooth[:] = 0.0
        blur(image[k], ny[k], nx[k], weights, mirrored, smooth)
        above, _, top, right = brightest_region(smooth, mode + sigma, ny[k], nx[k], region[k])
        alone[k] = above == 0
        region[k, top, right] = True  # even where it is not above the sky


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
    """The pixels of the sky box."""
    values = np.empty(side * side)
    for i in range(side * side):
        values[i] = image[y + i // side, x + i % side]
    return values


@part_of_loop
def clipped_sky(sky):
    """
    Estimate mode and noise of the sky's pixels ``[M]`` after clipping at 3 sigma of the mode (Bertin & Arnouts 1996).

    The clipped values are always a stretch of the sorted ones, so they are sorted once, and sums over a stretch are
    differences of running sums. The mode about which values are clipped comes from values clipped about their median,
    since that is what photutils' ``ModeEstimatorBackground`` does inside of astropy's ``sigma_clipped_stats``.
    """
    order, number = falling(sky), len(sky)
    values, sums, squares = np.empty(number), np.zeros(number + 1), np.zeros(number + 1)
    for i in range(number):
        values[i] = sky[order[number - 1 - i]]
        sums[i + 1], squares[i + 1] = sums[i] + values[i], squares[i] + values[i] ** 2
    low, high = number - number, number  # a literal 0 would be another type, for which all is compiled once more
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
