"""
Sums over galaxies and themselves turned by 180 degrees.

Turned about any point, every pixel falls the same fraction of a pixel beside another: the turned image is the mirrored
one, shifted by whole pixels and interpolated between four neighbours with the same weights everywhere, which is what
skimage's rotation by 180 degrees, statmorph's, comes to.

A galaxy is kept as it is and mirrored, padded so that whatever pixel another is turned to exists. Then all that is read
lies in order: a row of pixels, and of the mirrored image the two rows between which the turned one falls.
"""

import math

import numpy as np

from ._jit import compile_loop, part_of_loop
from .apertures import OFFSET, PAD, chords, form

__all__ = ["UINT", "between", "sums_turned", "take"]

UINT = np.uint64  # of pixels' numbers: one with a sign might count from the end, which costs a look at each


@compile_loop
def sums_turned(image, mask, nx, ny, ellipses, a):
    """
    Sum, between two ellipses of semimajor axes ``a`` (``[N, 2]``, larger first), an image's difference from itself
    turned.

    ``[N, 5]``: the sums of absolute differences, of absolute values, and of the pixels that are masked neither here
    nor opposite; and the sums of squared differences and values. Images are turned about the centres of the
    `ellipses`.
    """
    number, height, width = image.shape
    longest = max(height, width) + 2 * PAD
    light, valid, weight = np.empty((height, width)), np.empty((height, width)), np.empty((height, width))
    around = 3 * height + 1, 3 * width + 1  # and one more, for points in the outer half of the last pixel
    other_light, other_valid = np.zeros(around), np.empty(around)
    other_valid[:] = 1.0
    columns, rows, ends = np.empty(longest), np.empty(longest), np.empty((2, longest), np.int64)
    corners, found = np.empty((2, longest)), np.zeros((number, 5))
    for n in range(number):
        ellipse = form(ellipses[n])
        x, y = ellipse[:2]
        if not (a[n, 0] > 0 and math.isfinite(ellipse[-1]) and 0 <= x < nx[n] and 0 <= y < ny[n]):
            continue
        take(image[n], mask[n], light, valid, other_light, other_valid)
        left, right = _pixels(x, a[n, 0] * ellipse[7], nx[n])
        low, top = _pixels(y, a[n, 0] * ellipse[8], ny[n])
        box = left, right, low, top
        weight[low:top, left:right] = 0.0
        for k in range(2):
            if a[n, k] > 0:
                _add_overlap(ellipse, a[n, k], 1.0 - 2 * k, box, weight, columns, rows, ends, corners)
        _sums(x, y, box, (light, valid, other_light, other_valid, weight), found[n])
    return found


@compile_loop
def take(image, mask, light, valid, other_light, other_valid):
    """
    Copy a galaxy's pixels, and mirrored into the middle of planes three times as wide and high; is any pixel masked?

    Around the mirrored galaxy there is no flux, and no mask: what is turned to from beyond the edge counts as dark.
    """
    height, width = image.shape
    masked = 0
    for y in range(height):
        opposite = 2 * height - y
        for x in range(width):
            light[y, x] = image[y, x]
            valid[y, x] = 1 - mask[y, x]
            masked += mask[y, x]
        for x in range(width):
            other_light[opposite, width + 1 + x] = light[y, width - 1 - x]
            other_valid[opposite, width + 1 + x] = valid[y, width - 1 - x]
    return masked > 0


@part_of_loop
def between(mirrored, y, x, part_x, part_y):
    """Interpolate, in a mirrored image, between a pixel and those before it along x and y."""
    one = UINT(1)
    own = mirrored[y, x] + part_x * (mirrored[y, x - one] - mirrored[y, x])
    before = mirrored[y - one, x] + part_x * (mirrored[y - one, x - one] - mirrored[y - one, x])
    return own + part_y * (before - own)


@part_of_loop
def _pixels(centre, reach, size):
    """Return the pixels along an axis that an ellipse may meet: the first, and one past the last."""
    first = int(max(centre - reach, 0.0))
    return first, max(int(min(centre + reach + 2.0, float(size))), first)


@part_of_loop
def _add_overlap(ellipse, a, factor, box, weight, columns, rows, ends, corners):
    """
    Add the area of each pixel in an ellipse, times a factor, to the pixels' weights.

    `.apertures` sums without them, but a product of two images needs the weight of each pixel. The area is the mixed
    difference of F over the pixel's corners, of which two lines are kept.
    """
    x, y, q, sigma_y, sigma_x, upward, sideward, wide, high, corner = ellipse
    left, right, low, top = box
    x, y, whole, size = x + OFFSET, y + OFFSET, a * a * (math.pi / q), len(columns)
    start_x, start_y, number = left + PAD - x, low + PAD - y, right - left + 1
    chords(start_y, top - low + 1, a * high, a * sideward, sigma_x, x, size, left, rows, ends)
    chords(start_x, number, a * wide, a * upward, sigma_y, y, size, left, columns, ends)
    for j in range(top - low + 1):
        dy, old, new = start_y + j, corners[(j + 1) % 2], corners[j % 2]
        for i in range(number):
            dx = start_x + i
            inner = dx * dy - (sigma_y * dx * dx + sigma_x * dy * dy - columns[i] - rows[j]) / 2 + corner * a * a
            above, beyond = dy > sigma_y * dx, dx > sigma_x * dy
            outer = (columns[i] if above else 0.0) + ((rows[j] - (whole if above else 0.0)) if beyond else 0.0)
            inside = ends[0, i] <= low + PAD + j < ends[1, i]
            new[i] = inner if inside else outer
        if j > 0:
            line = weight[low + j - 1, left:right]
            for i in range(number - 1):
                line[i] += factor * ((new[i + 1] - new[i]) - (old[i + 1] - old[i]))


@part_of_loop
def _sums(x, y, box, planes, found):
    """Write the five sums over one galaxy, the turned image being read from the mirrored one."""
    light, valid, other_light, other_valid, weights = planes
    height, width = light.shape
    left, right, low, top = box
    twice_x, twice_y = int(2 * x), int(2 * y)
    part_x, part_y = 2 * x - twice_x, 2 * y - twice_y
    start, opposite = UINT(left), UINT(2 * width - twice_x + left)
    # A turned pixel falls between four; it is masked if the nearest of them is, as skimage's rotation of masks has it.
    nearest, up = UINT(opposite - UINT(part_x >= 0.5)), UINT(part_y >= 0.5)
    difference, total, area, difference2, total2 = 0.0, 0.0, 0.0, 0.0, 0.0
    for row in range(low, top):
        here, own = UINT(row), UINT(2 * height - twice_y + row)
        for k in range(UINT(right - left)):
            weight = weights[here, start + k] * valid[here, start + k] * other_valid[own - up, nearest + k]
            pixel = light[here, start + k]
            step = between(other_light, own, opposite + k, part_x, part_y) - pixel
            difference, total, area = difference + weight * abs(step), total + weight * abs(pixel), area + weight
            difference2, total2 = difference2 + weight * step * step, total2 + weight * pixel * pixel
    found[0], found[1], found[2], found[3], found[4] = difference, total, area, difference2, total2
