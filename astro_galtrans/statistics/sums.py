"""Flux in a band as a sum of the fluxes in others, as filters of two surveys make it."""

import numpy as np
from scipy.optimize import bisect

from .weighted import MAD_TO_SIGMA

__all__ = ["excess_scatter", "fit_sum"]

HUBER = 1.5  # sigma beyond which a galaxy counts less: 96 % efficient where errors are Gaussian
FLOOR = 0.005  # least scatter of flux ratios, so that a few very bright galaxies do not make the fit alone
PRIOR = 3.0  # ridge, in squares of a colour's spread over its noise: terms that noise alone would fit go to zero


def fit_sum(parts, flux, sigma, own):
    """
    Fit fluxes in one band as a sum of fluxes in several others (Huber 1964), each weighted by noise and scatter.

    Parameters
    ----------
    parts : `~numpy.ndarray`
        ``[N, K]``, fluxes in the other bands.
    flux, sigma : `~numpy.ndarray`
        ``[N]``, flux in the one band and its noise.
    own : int
        Which of the others is the most like it, and positive.

    Returns
    -------
    coefficients : `~numpy.ndarray`
        ``[K]``.
    scatter : float
        Relative scatter about the fit, noise taken out.
    """
    ratio, design, noise = flux / parts[:, own], parts / parts[:, [own]], sigma / parts[:, own]
    middle = np.median(design, axis=0)
    design -= middle
    design[:, own] = 1
    prior = np.full(len(middle), PRIOR * len(flux))
    prior[own] = 0  # a common factor needs no colours
    scatter, weight = FLOOR, np.ones(len(flux))
    for _ in range(30):
        scale = np.hypot(noise, max(scatter, FLOOR))
        weighted = design * (weight / scale**2)[:, None]
        coefficients = np.linalg.solve(weighted.T @ design + np.diag(prior), weighted.T @ ratio)
        left = ratio - design @ coefficients
        scatter = excess_scatter(left, noise)
        weight = np.minimum(1, HUBER / np.maximum(np.abs(left) / np.hypot(noise, max(scatter, FLOOR)), 1e-9))
    coefficients[own] += middle[own] * coefficients[own] - middle @ coefficients
    return coefficients, scatter


def excess_scatter(values, noise):
    """Return the scatter beyond noise: that for which the median of normalised absolute values is a Gaussian's."""

    def median(scatter):
        return np.median(np.abs(values) / np.hypot(noise, scatter)) - 1 / MAD_TO_SIGMA

    return bisect(median, 0, 10 * np.median(np.abs(values))) if median(0) > 0 else 0.0
