"""The MID segmentation map, and multimode, intensity and deviation in it; see `..mid` and `..multimode`."""

import math

import numpy as np

from astro_galtrans.measure.morphology.compiled import compile_loop
from astro_galtrans.measure.morphology.filters import TRUNCATE
from astro_galtrans.measure.morphology.mid import ETA, SIGMA

from .filters import blur, gaussian_weights
from .order import falling
from .regions import ALLOWED, TAKEN, clump_areas, flood, roots_around, taken
from .search import brent, clearest_threshold

__all__ = ["measure_mid", "segmap_mid"]


@compile_loop
def segmap_mid(image, segment, mask, ny, nx, region):
    """
    Make the MID segmentation maps.

    Parameters
    ----------
    image, segment, mask : `numpy.ndarray`
        ``[N, H, W]``.
    ny, nx : `numpy.ndarray`
        ``[N]``: the sizes of the cutouts.
    region : `numpy.ndarray`
        ``[N, H, W]``, bool: Gini's, to be replaced by those of MID where they are defined.

    Returns
    -------
    `numpy.ndarray`
        ``[N]``, bool: there is no flux, or the brightest pixel is alone.
    """
    bad = np.zeros(len(image), np.bool_)
    for k in range(len(image)):
        height, width = ny[k], nx[k]
        place, flux, total = _pixels(image[k], segment[k], mask[k], height, width, False)
        if not total > 0:
            bad[k] = True
            continue
        order, step, size, number = falling(flux), width + 2, (height + 2) * (width + 2), len(flux)
        excess = _excesses(place, flux, order, step, size, total / (height * width))
        if excess[0] > 0:
            continue
        at = int(brent(excess, 1.0 / number) * (number - 1))
        threshold = flux[order[number - 1 - at]]
        state = np.zeros(size, np.uint8)
        if threshold > 0:
            for i in range(number):
                state[place[i]] = flux[i] >= threshold
            flood(state, step, place[order[0]])
            state = _smoothed(state, step, height, width)
            bad[k] = not state[place[order[0]]]
            state[place[order[0]]] = ALLOWED
            flood(state, step, place[order[0]])
        else:
            for i in range(size):
                state[i] = TAKEN
        taken(state, step, region[k], height, width)
    return bad


@compile_loop
def _pixels(image, used, other, height, width, both):
    """
    Pixels of one map that are not (or also) in another: their numbers on a canvas, their values, and the sum of these.

    Negative values count as zero; where pixels have to be in both maps, only positive values are taken.
    """
    place, flux, number, total = np.empty(height * width, np.int32), np.empty(height * width), 0, 0.0
    for y in range(height):
        for x in range(width):
            value = max(image[y, x], 0.0)
            place[number], flux[number] = (y + 1) * (width + 2) + x + 1, value
            if used[y, x] and other[y, x] == both and (value > 0 or not both):
                number += 1
                total += value
    return place[:number], flux[:number], total


@compile_loop
def _excesses(place, flux, order, step, size, mean):
    """
    Each value over the mean of the clump of the brightest pixel above it, less eta; in rising order of the values.

    Above zero, and not above a value, lies the whole cutout, whose mean is given.
    """
    number = len(order)
    excess = np.full(number, 0.0 / mean - ETA)
    label, parent = np.full(size, -1, np.int32), np.empty(number, np.int32)
    total, area, found = np.zeros(number), np.zeros(number), np.empty(8, np.int32)
    for rank in range(number):
        value, pixel = flux[order[rank]], place[order[rank]]
        if not value > 0:
            break
        touched = roots_around(pixel, step, label, parent, found)
        label[pixel] = parent[rank] = root = rank
        for i in range(touched):
            root = min(root, found[i])
        total[rank], area[rank] = value, 1
        for i in range(touched + 1):  # itself last
            part = found[i] if i < touched else rank
            parent[part] = root
            if part != root:
                total[root] += total[part]
                area[root] += area[part]
        excess[number - 1 - rank] = value / (total[0] / area[0]) - ETA
    for i in range(1, number):
        if flux[order[number - 1 - i]] == flux[order[number - i]]:  # equal values are above it together
            excess[i] = excess[i - 1]
    return excess


@compile_loop
def _smoothed(state, step, height, width):
    """Which pixels have more than half of the 3 x 3 around them taken, mirrored at the edges of the cutout."""
    for x in range(1, width + 1):
        state[x], state[(height + 1) * step + x] = state[step + x], state[height * step + x]
    for start in range(0, len(state), step):
        state[start], state[start + width + 1] = state[start + 1], state[start + width]
    smooth = np.zeros(len(state), np.uint8)
    for y in range(1, height + 1):
        for pixel in range(y * step + 1, y * step + width + 1):
            count = 0
            for middle in range(pixel - step, pixel + step + 1, step):
                for other in range(middle - 1, middle + 2):
                    count += state[other] >> 1  # 1 where taken
            smooth[pixel] = count > 4
    return smooth


@compile_loop
def measure_mid(image, segment, mask, segmap, ny, nx):
    """
    Measure multimode, intensity and deviation.

    Parameters
    ----------
    image, segment, mask, segmap : `numpy.ndarray`
        ``[N, H, W]``.
    ny, nx : `numpy.ndarray`
        ``[N]``: the sizes of the cutouts.

    Returns
    -------
    multimode, intensity, deviation : `numpy.ndarray`
        ``[N]``.
    """
    multimode, intensity, deviation = np.zeros(len(image)), np.zeros(len(image)), np.zeros(len(image))
    weights = gaussian_weights(SIGMA, TRUNCATE)
    for k in range(len(image)):
        height, width = ny[k], nx[k]
        step = width + 2
        place, flux, total = _pixels(image[k], segment[k], segmap[k], height, width, True)
        number, area = _counted(segment[k], mask[k], segmap[k], height, width)
        if len(flux):
            largest, second = clump_areas(place, flux, falling(flux), step, (height + 2) * step)
            multimode[k] = clearest_threshold(largest, second, number, total)
        first, next_one, peak = _brightest_basins(_smooth_canvas(place, flux, height, width, weights), step)
        intensity[k] = next_one / first if next_one > 0 else 0.0
        x, y = 0.0, 0.0
        for i in range(len(flux)):
            x += flux[i] * (place[i] % step)
            y += flux[i] * (place[i] // step)
        distance = math.hypot(peak % step - x / total, peak // step - y / total)
        deviation[k] = math.sqrt(math.pi / area) * distance if first > 0 and total > 0 else np.nan
    return multimode, intensity, deviation


@compile_loop
def _counted(segment, mask, segmap, height, width):
    """How many pixels the source has, and the segmentation map."""
    number, area = 0, 0
    for y in range(height):
        for x in range(width):
            number += segment[y, x] & ~mask[y, x]
            area += segmap[y, x]
    return number, area


@compile_loop
def _smooth_canvas(place, flux, height, width, weights):
    """A canvas with the smoothed image of some pixels."""
    step = width + 2
    plane, smooth, canvas = np.zeros((height, width)), np.zeros((height, width)), np.zeros((height + 2) * step)
    for i in range(len(flux)):
        plane[place[i] // step - 1, place[i] % step - 1] = flux[i]
    blur(plane, height, width, weights, -(len(weights) // 2), True, smooth)
    for y in range(height):
        for x in range(width):
            canvas[(y + 1) * step + x + 1] = smooth[y, x]
    return canvas


@compile_loop
def _brightest_basins(flat, step):
    """
    Flux of the two brightest basins of local maxima, and the number of the pixel on top of the first.

    See `..mid`'s function ``_peaks``: each pixel belongs to the brightest of its neighbours.
    """
    above, basin = _brightest_neighbours(flat, step), np.zeros(len(flat))
    for pixel in range(step, len(flat) - step):
        if flat[pixel] > 0:
            top = pixel
            while above[top] != top:
                top = above[top]
            basin[top] += flat[pixel]
            way = pixel
            while above[way] != top:  # the next ones that come by need not climb
                above[way], way = top, above[way]
    first, next_one, peak = 0.0, 0.0, 0
    for y in range(2, len(flat) // step - 2):
        for x in range(2, step - 2):  # skimage takes no maxima from the edge
            flux = basin[y * step + x]
            if flux > first:
                first, next_one, peak = flux, first, y * step + x
            next_one = max(next_one, flux if y * step + x != peak else 0.0)
    return first, next_one, peak


@compile_loop
def _brightest_neighbours(flat, step):
    """The numbers of each pixel's brightest neighbour, or its own."""
    above = np.zeros(len(flat), np.int32)
    for pixel in range(step, len(flat) - step):
        best, value = pixel, flat[pixel]
        if value > 0:
            for row in range(pixel - step, pixel + step + 1, step):
                for other in range(row - 1, row + 2):
                    if flat[other] > value:
                        best, value = other, flat[other]
        above[pixel] = best
    return above
