"""Gini's segmentation map, and what is measured in it; see `..gini_m20`."""

import math

import numpy as np

from astro_galtrans.measure.morphology.compiled import compile_loop, part_of_loop
from astro_galtrans.measure.morphology.filters import TRUNCATE
from astro_galtrans.measure.morphology.gini_m20 import DIM, SMOOTHING
from astro_galtrans.measure.morphology.petrosian import ANNULUS

from .ellipses import elliptical_sum, form, load, scratch
from .filters import blur, gaussian_weights
from .order import falling
from .regions import flood, taken

__all__ = ["gini_and_m20", "gini_segment", "signal_to_noise"]


@compile_loop
def gini_segment(image, ny, nx, ellipses, petrosian):
    """
    Find the pixels of galaxies.

    Parameters
    ----------
    image : `numpy.ndarray`
        ``[N, H, W]``.
    ny, nx : `numpy.ndarray`
        ``[N]``: the sizes of the cutouts.
    ellipses : `numpy.ndarray`
        ``[N, 5]``: the galaxies' shapes (``Ellipses.packed``).
    petrosian : `numpy.ndarray`
        ``[N]``: Petrosian semimajor axes.

    Returns
    -------
    segment : `numpy.ndarray`
        ``[N, H, W]``, bool.
    above, connected : `numpy.ndarray`
        ``[N]``, int64: how many pixels are above the threshold, and of these connected to the brightest.
    """
    number, height, width = image.shape
    segment = np.zeros(image.shape, np.bool_)
    above, connected = np.zeros(number, np.int64), np.zeros(number, np.int64)
    planes, smooth = scratch(image), np.zeros((height, width))
    for k in range(number):
        for y in range(height):
            for x in range(width):
                smooth[y, x] = 0
        sigma = SMOOTHING * petrosian[k] if math.isfinite(petrosian[k]) else 0.0
        weights = gaussian_weights(sigma, TRUNCATE)
        blur(image[k], ny[k], nx[k], weights, -(len(weights) // 2), False, smooth)
        load(smooth, planes)
        outer, inner = petrosian[k] + ANNULUS / 2, petrosian[k] - ANNULUS / 2
        ellipse = form(ellipses[k])
        flux = elliptical_sum(ellipse, outer, planes) - elliptical_sum(ellipse, inner, planes)
        # statmorph's mean here is over the whole annulus, where it lies beyond the edges too.
        threshold = flux / (math.pi * (outer**2 - inner**2) / ellipses[k, 2])
        step = nx[k] + 2
        state = np.zeros((ny[k] + 2) * step, np.uint8)
        above[k], brightest = _above(smooth, threshold, ny[k], nx[k], state)
        connected[k] = flood(state, step, brightest)
        taken(state, step, segment[k], ny[k], nx[k])
    return segment, above, connected


@part_of_loop
def _above(smooth, threshold, height, width, state):
    """Allow the pixels above a threshold; how many, and the number of the brightest pixel."""
    number, highest, brightest = 0, -np.inf, 0
    for y in range(height):
        for x in range(width):
            pixel, value = (y + 1) * (width + 2) + x + 1, smooth[y, x]
            state[pixel] = value >= threshold
            number += state[pixel]
            if value > highest:
                highest, brightest = value, pixel
    return number, brightest


@compile_loop
def gini_and_m20(image, segment, ny, nx):
    """
    Measure the Gini coefficient and M20.

    Parameters
    ----------
    image, segment : `numpy.ndarray`
        ``[N, H, W]``.
    ny, nx : `numpy.ndarray`
        ``[N]``: the sizes of the cutouts.

    Returns
    -------
    gini, m20 : `numpy.ndarray`
        ``[N]``.
    """
    gini, m20 = np.empty(len(image)), np.empty(len(image))
    for k in range(len(image)):
        place, flux = np.empty(ny[k] * nx[k], np.int64), np.empty(ny[k] * nx[k])
        number = 0
        for y in range(ny[k]):
            for x in range(nx[k]):
                place[number], flux[number] = y * nx[k] + x, image[k, y, x]
                number += segment[k, y, x]
        m20[k] = _m20(place, flux[:number], nx[k])
        for i in range(number):
            flux[i] = abs(flux[i])
        gini[k] = _gini(flux[:number])
    return gini, m20


@part_of_loop
def _gini(flux):
    """Eq. 6 of Lotz et al. (2004)."""
    order, number, total, value = falling(flux), len(flux), 0.0, 0.0
    for i in range(number):
        total += flux[i]
        value += (number - 1 - 2 * i) * flux[order[i]]
    return value / ((number - 1) * total) if number > 1 and total != 0 else np.nan


@part_of_loop
def _m20(place, flux, width):
    """Eqs. 7 and 8 of Lotz et al. (2004): what share of the moment the brightest pixels have that hold 20 %."""
    total, xc, yc = 0.0, 0.0, 0.0
    for i in range(len(flux)):
        total += flux[i]
        xc += flux[i] * (place[i] % width)
        yc += flux[i] * (place[i] // width)
    if not total > 0:
        return np.nan
    order, k, dimmer = falling(flux), len(flux) - 1, 0.0
    while k >= 0:
        dimmer += flux[order[k]]
        if dimmer / total >= DIM:
            break
        k -= 1
    moment, bright = 0.0, 0.0
    for i in range(len(flux)):
        part = flux[i] * ((place[i] % width - xc / total) ** 2 + (place[i] // width - yc / total) ** 2)
        moment += part
        bright += part if k >= 0 and flux[i] >= flux[order[k]] else 0.0
    return math.log10(bright / moment) if bright > 0 and moment > 0 else np.nan


@compile_loop
def signal_to_noise(image, raw, segment, mask, sigma, gain, sky_sigma):
    """
    Sum the signal-to-noise ratios of pixels that are not negative.

    Parameters
    ----------
    image, raw, segment, mask : `numpy.ndarray`
        ``[N, H, W]``: of the cutouts.
    sigma : `numpy.ndarray`
        ``[N, H, W]``: standard deviations; of length 0 where they follow from the gain.
    gain, sky_sigma : `numpy.ndarray`
        ``[N]``.

    Returns
    -------
    `numpy.ndarray`
        ``[N]``: the mean ratio, NaN where there is no such pixel.
    """
    ratio = np.empty(len(image))
    for k in range(len(image)):
        total, number = 0.0, 0
        for y in range(image.shape[1]):
            for x in range(image.shape[2]):
                if segment[k, y, x] and not mask[k, y, x] and image[k, y, x] >= 0:
                    if len(sigma):
                        noise = abs(sigma[k, y, x])
                    else:
                        noise = math.sqrt(abs(raw[k, y, x]) / gain[k] + sky_sigma[k] ** 2)
                    if noise > 0:
                        total += image[k, y, x] / noise
                        number += 1
        ratio[k] = total / number if number else np.nan
    return ratio
