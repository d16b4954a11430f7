"""Gini coefficient, M20 and signal-to-noise in a segmentation map (Lotz et al. 2004; Rodriguez-Gomez et al. 2019)."""

import math

import numpy as np

from ._jit import compile_loop, falling, part_of_loop
from .apertures import elliptical_sum, form, load, scratch
from .cutouts import BAD, SUSPECT
from .filters import blur, gaussian_weights
from .flood import brightest_region
from .petrosian import ANNULUS

__all__ = ["gini_and_m20", "gini_segment", "signal_to_noise"]

SMOOTHING = 0.2  # statmorph's petro_fraction_gini
DIM = 0.8  # the share of the light that M20's bright pixels do not hold


def gini_segment(cutouts, ellipses, petrosian):
    """
    Find the pixels of a galaxy, ``[N, H, W]`` bool: as bright, smoothed, as the mean at the Petrosian ellipse.

    Several regions raise flag 1 (the one with the brightest pixel is kept), none or all pixels flag 2. ``petrosian``
    are the semimajor axes.
    """
    segment, (number, connected) = np.zeros_like(cutouts.frame), np.zeros((2, len(cutouts)), np.int64)
    sigma = SMOOTHING * np.where(np.isfinite(petrosian), petrosian, 0.0)
    _segments(cutouts.image, cutouts.ny, cutouts.nx, ellipses, petrosian, sigma, False, segment, number, connected)
    cutouts.raise_flag((number == 0) | (number == cutouts.nx * cutouts.ny), BAD)
    cutouts.raise_flag(connected != number, SUSPECT)
    return segment


def gini_and_m20(cutouts, segment):
    """Measure the Gini coefficient and M20 of segments, ``[N]``; NaN and flag 2 where undefined."""
    gini, m20 = _gini_and_m20(cutouts.image, segment, cutouts.ny, cutouts.nx)
    cutouts.raise_flag(np.isnan(gini) | np.isnan(m20), BAD)
    return gini, m20


def signal_to_noise(cutouts, segment, sky_sigma):
    """
    Return the mean signal-to-noise ratio ``[N]`` of a segment's pixels that are not negative; NaN and flag 2 if there
    is none.
    """
    sigma = np.abs(cutouts.weightmap(sky_sigma))
    used = segment & (cutouts.image >= 0) & (sigma > 0)
    ratio = np.divide(cutouts.image, sigma, where=used, out=np.zeros_like(sigma)).sum((1, 2)) / used.sum((1, 2))
    cutouts.raise_flag(np.isnan(ratio), BAD)
    return ratio


@compile_loop
def _segments(image, ny, nx, ellipses, petrosian, sigma, mirrored, segment, above, connected):
    """The segments, how many pixels are above the threshold, and how many of these connected to the brightest."""
    planes, smooth = scratch(image), np.zeros(image.shape[1:])
    for k in range(len(image)):
        smooth[:] = 0.0
        blur(image[k], ny[k], nx[k], gaussian_weights(sigma[k]), mirrored, smooth)
        load(smooth, planes)
        outer, inner = petrosian[k] + ANNULUS / 2, petrosian[k] - ANNULUS / 2
        ellipse = form(ellipses[k])
        flux = elliptical_sum(ellipse, outer, planes) - elliptical_sum(ellipse, inner, planes)
        # statmorph's mean here is over the whole annulus, where it lies beyond the edges too.
        threshold = flux / (math.pi * (outer**2 - inner**2) / ellipses[k, 2])
        above[k], connected[k], _, _ = brightest_region(smooth, threshold, ny[k], nx[k], segment[k])


@compile_loop
def _gini_and_m20(image, segment, ny, nx):
    """Both values of each galaxy, NaN where undefined."""
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
