"""
Multimode, intensity and deviation of galaxies (Freeman et al. 2013; Peth et al. 2016).

All three are measured within the MID segmentation map: the clump around the source's brightest pixel, above the
quantile of the source's pixel values at which a pixel has a fifth of the clump's mean flux.
"""

import math

import numpy as np

from ._jit import compile_loop, falling, part_of_loop
from .cutouts import BAD
from .filters import blur, gaussian_weights
from .flood import ALLOWED, TAKEN, flood, roots_around, taken
from .multimode import clearest_threshold, clump_areas

__all__ = ["measure_mid", "segmap_mid"]

ETA = 0.2  # statmorph's: flux of the pixels at the segment's edge over its mean flux
SIGMA = 1.0  # statmorph's sigma_mid, of the smoothing before local maxima are looked for
RELATIVE, ITERATIONS = 4 * np.finfo(np.float64).eps, 100  # scipy.optimize.brentq's


def segmap_mid(cutouts, segmap_gini):
    """
    Make the MID segmentation maps, ``[N, H, W]`` bool (Freeman et al. 2013, section 4.3).

    Gini's is used where they are not defined, as in statmorph. Flag 2 where there is no flux, or the brightest pixel
    is not part of the smoothed map.
    """
    region, bad = segmap_gini.copy(), np.zeros(len(cutouts), bool)
    _segmaps(cutouts.image, cutouts.segment & ~cutouts.mask, cutouts.ny, cutouts.nx, region, bad)
    cutouts.raise_flag(bad, BAD)
    return region


def measure_mid(cutouts, segmap):
    """
    Measure multimode, intensity and deviation ``[N]`` in the maps of `segmap_mid`; NaN and flag 2 where there is no
    local maximum.
    """
    # statmorph takes quantiles over all unmasked pixels of the source, be they in the map or not.
    number, area = (cutouts.segment & ~cutouts.mask).sum((1, 2)), segmap.sum((1, 2))
    pixels = cutouts.image, cutouts.segment & segmap, cutouts.ny, cutouts.nx
    values = _statistics(*pixels, number, area, gaussian_weights(SIGMA), True)
    cutouts.raise_flag(np.isnan(values[2]), BAD)
    return dict(zip(("multimode", "intensity", "deviation"), values, strict=True))


# -- the segmentation map


@compile_loop
def _segmaps(image, source, ny, nx, region, bad):
    """Write the maps over those of Gini where they are defined, and mark galaxies whose map is bad."""
    for k in range(len(image)):
        height, width = ny[k], nx[k]
        place, flux, total = _pixels(image[k], source[k], height, width, -1.0)
        if not total > 0:  # no flux
            bad[k] = True
            continue
        order, step, size, number = falling(flux), width + 2, (height + 2) * (width + 2), len(flux)
        excess = _excesses(place, flux, order, step, size, total / (height * width))
        if excess[0] > 0:  # no root: statmorph falls back on Gini's map
            continue
        at = int(_brent(excess, 1.0 / number) * (number - 1))
        threshold = flux[order[number - 1 - at]]
        state = np.zeros(size, np.uint8)
        if threshold > 0:
            for i in range(number):
                state[place[i]] = flux[i] >= threshold
            brightest = np.int64(place[order[0]])
            flood(state, step, brightest)
            state = _smoothed(state, step, height, width)  # statmorph regularises the map by a mean over 3 x 3 pixels
            bad[k] = not state[brightest]  # the brightest pixel is alone
            state[brightest] = ALLOWED
            flood(state, step, brightest)
        else:  # every pixel of the cutout is above the threshold
            for i in range(size):
                state[i] = TAKEN
        taken(state, step, region[k], height, width)


@compile_loop
def _pixels(image, used, height, width, least):
    """
    The pixels of a map above a value: their numbers on a canvas, their values, and the sum of these.

    Negative values count as zero, as statmorph has them; a value of -1 thus takes all pixels.
    """
    place, flux, number, total = np.empty(height * width, np.int32), np.empty(height * width), 0, 0.0
    for y in range(height):
        for x in range(width):
            value = max(image[y, x], 0.0)
            place[number], flux[number] = (y + 1) * (width + 2) + x + 1, value
            if used[y, x] and value > least:
                number += 1
                total += value
    return place[:number], flux[:number], total


@part_of_loop
def _excesses(place, flux, order, step, size, mean):
    """
    Each value over the mean of the clump of the brightest pixel above it, less eta; in rising order of the values.

    Above zero, and not above a value, lies the whole cutout, whose mean is given.
    """
    number = len(order)
    excess, label, parent = np.empty(number), np.empty(size, np.int32), np.empty(number, np.int32)
    excess[:], label[:] = 0.0 / mean - ETA, -1
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


@part_of_loop
def _smoothed(state, step, height, width):
    """Return the pixels of which more than half of the 3 x 3 around are taken, mirrored at the edges of the cutout."""
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


@part_of_loop
def _brent(table, tolerance):
    """
    A root, as `scipy.optimize.brentq` finds it, of a function given at quantiles from 0 to 1.

    It is not positive at the first, positive at the last. It is constant between two pixels' quantiles, so which of
    them is taken for the root depends on the steps: they have to be SciPy's, which statmorph calls.
    """
    x_pre, x_cur, x_blk, f_blk, s_pre, s_cur = 0.0, 1.0, 0.0, 0.0, 0.0, 0.0
    f_pre, f_cur = table[0], table[-1]
    if f_pre == 0:
        return x_pre
    for _ in range(ITERATIONS):
        if f_pre != 0 and f_cur != 0 and (f_pre < 0) != (f_cur < 0):
            x_blk, f_blk = x_pre, f_pre
            s_pre = s_cur = x_cur - x_pre
        if abs(f_blk) < abs(f_cur):
            x_pre, x_cur, x_blk = x_cur, x_blk, x_cur
            f_pre, f_cur, f_blk = f_cur, f_blk, f_cur
        delta, half = (tolerance + RELATIVE * abs(x_cur)) / 2, (x_blk - x_cur) / 2
        if f_cur == 0 or abs(half) < delta:
            break
        step = half
        if abs(s_pre) > delta and abs(f_cur) < abs(f_pre):
            step = _interpolated(x_pre, f_pre, x_cur, f_cur, x_blk, f_blk)
            if not 2 * abs(step) < min(abs(s_pre), 3 * abs(half) - delta):
                step = half
        s_pre, s_cur = half if step == half else s_cur, step
        x_pre, f_pre = x_cur, f_cur
        x_cur += s_cur if abs(s_cur) > delta else math.copysign(delta, half)
        f_cur = table[int(x_cur * (len(table) - 1))]
    return x_cur


@part_of_loop
def _interpolated(x_pre, f_pre, x_cur, f_cur, x_blk, f_blk):
    """The secant's step, or that of inverse quadratic interpolation."""
    if x_pre == x_blk:
        return -f_cur * (x_cur - x_pre) / (f_cur - f_pre)
    d_pre, d_blk = (f_pre - f_cur) / (x_pre - x_cur), (f_blk - f_cur) / (x_blk - x_cur)
    return -f_cur * (f_blk * d_blk - f_pre * d_pre) / (d_blk * d_pre * (f_blk - f_pre))


# -- the statistics


@compile_loop
def _statistics(image, used, ny, nx, number, area, weights, mirrored):
    """Multimode, intensity and deviation of each galaxy."""
    multimode, intensity, deviation = np.zeros(len(image)), np.zeros(len(image)), np.zeros(len(image))
    for k in range(len(image)):
        height, width = ny[k], nx[k]
        step = width + 2
        place, flux, total = _pixels(image[k], used[k], height, width, 0.0)
        if len(flux):
            largest, second = clump_areas(place, flux, falling(flux), step, (height + 2) * step)
            multimode[k] = clearest_threshold(largest, second, number[k], total)
        first, next_one, peak = _brightest_basins(_smooth_canvas(place, flux, height, width, weights, mirrored), step)
        intensity[k] = next_one / first if next_one > 0 else 0.0
        x, y = 0.0, 0.0
        for i in range(len(flux)):
            x += flux[i] * (place[i] % step)
            y += flux[i] * (place[i] // step)
        distance = math.hypot(peak % step - x / total, peak // step - y / total)
        deviation[k] = math.sqrt(math.pi / area[k]) * distance if first > 0 and total > 0 else np.nan
    return multimode, intensity, deviation


@part_of_loop
def _smooth_canvas(place, flux, height, width, weights, mirrored):
    """A canvas with the smoothed image of some pixels."""
    step = width + 2
    plane, smooth, canvas = np.zeros((height, width)), np.zeros((height, width)), np.zeros((height + 2) * step)
    for i in range(len(flux)):
        plane[place[i] // step - 1, place[i] % step - 1] = flux[i]
    blur(plane, height, width, weights, mirrored, smooth)
    for y in range(height):
        for x in range(width):
            canvas[(y + 1) * step + x + 1] = smooth[y, x]
    return canvas


@part_of_loop
def _brightest_basins(flat, step):
    """
    Flux of the two brightest basins of local maxima, and the number of the pixel on top of the first.

    A watershed that starts from all local maxima, as statmorph's does, gives each pixel to the brightest of its
    neighbours, and so does this. skimage takes no maxima from the rim of the stamp; their basins, which it floods from
    elsewhere, are left out here.
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
        for x in range(2, step - 2):
            flux = basin[y * step + x]
            if flux > first:
                first, next_one, peak = flux, first, y * step + x
            next_one = max(next_one, flux if y * step + x != peak else 0.0)
    return first, next_one, peak


@part_of_loop
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
