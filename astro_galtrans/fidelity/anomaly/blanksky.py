r"""
How high the highest peak of blank sky is: the significance of the maximum of a smoothed map, wherever it is.

The matched-filter map :math:`S` of white noise is a Gaussian field of unit variance. For large thresholds the
probability that it, or the sum :math:`Q` of the squares of C such maps, exceeds :math:`q` somewhere in a field is the
expected Euler characteristic of the excursion set (Adler 1981; Worsley 1994, Adv. Appl. Prob. 26, 13; for matched
filters see Vio & Andreani 2016, A&A 589, A20),

.. math::

    E(q) = \rho_0 + (a + b) \sqrt{\lambda} \, \rho_1 + a b \, \lambda \, \rho_2 ,

for a field of a times b pixels, where :math:`\lambda` is the variance of a derivative of :math:`S` and the
:math:`\rho_d(q)` are the densities of a :math:`\chi^2` field with C degrees of freedom. Then
:math:`P(\max Q > q) = 1 - e^{-E(q)}`. With one map, :math:`Q = S^2`, this is the two-sided probability.

Pixels miss the summits of the field, which lie between them. Simulated blank sky, white noise through the same filter,
tells by what factor thresholds have to be raised for simulated and expected numbers of peaks to agree.
"""

from typing import NamedTuple

import numpy as np
from scipy import fft, special
from scipy.optimize import bisect

from astro_galtrans.psf import both_halves
from astro_galtrans.statistics.logprob import log_any, log_chi2_sf, log_complement

__all__ = ["BlankSky", "blank_sky", "log_euler_characteristic", "log_peak_probability", "roughness"]

HALF = np.log(0.5)  # the median of probabilities that are uniform between 0 and 1


def log_euler_characteristic(q, dof, size, rough):
    """
    Return the logarithm of the expected Euler characteristic of the part of a chi-squared field above a threshold.

    The field of ``size`` rows and columns (pixels) is the sum of the squares of ``dof`` Gaussian fields, the variance
    of whose derivatives is ``rough`` (per square pixel); the threshold ``q`` is ``dof`` at least.
    """
    q, (a, b) = np.asarray(q, dtype=float), size
    common = -q / 2 - special.gammaln(dof / 2) - (dof - 2) / 2 * np.log(2)
    line = common + (dof - 1) / 2 * np.log(q) + 0.5 * np.log(rough / (2 * np.pi)) + np.log(a + b)
    plane = common + (dof - 2) / 2 * np.log(q) + np.log((q - dof + 1) * rough * a * b / (2 * np.pi))
    return np.logaddexp(np.logaddexp(log_chi2_sf(q, dof), line), plane)


def log_peak_probability(q, dof, size, rough, factor=1.0):
    """
    Return the logarithm of the probability that the maximum of a map of blank sky is as high as ``q``.

    Arguments are those of `log_euler_characteristic`; ``factor`` corrects for pixels, see `blank_sky`.
    """
    q = np.asarray(q, dtype=float) * factor
    # Below the mean of the map the formula no longer counts summits; a maximum as low as that is certain.
    return np.where(q < dof, 0.0, log_complement(log_euler_characteristic(np.maximum(q, dof), dof, size, rough)))


def roughness(point, pixels):
    r"""
    Return the variance of a derivative of white noise filtered with a PSF, over its variance (per square pixel):
    :math:`\lambda = \int k^2 |P|^2 / (2 \int |P|^2)`, of transforms (``rfft2``) ``[..., ky, kx]`` on a grid of
    ``pixels`` rows and columns.
    """
    ky, kx = 2 * np.pi * fft.fftfreq(pixels[0])[:, None], 2 * np.pi * fft.rfftfreq(pixels[1])
    power = np.abs(point) ** 2 * both_halves(pixels[1])
    return (power * (ky**2 + kx**2)).sum(axis=(-2, -1)) / (2 * power.sum(axis=(-2, -1)))


class BlankSky(NamedTuple):
    """Calibration of peak probabilities on simulated blank sky, made by `blank_sky`."""

    factors: tuple  #: by which thresholds are raised: for one map, and for the sum of the squares of all maps
    tests: float  #: number of independent tests that the tests of all single maps and of the sum amount to


def blank_sky(point, pixels, size, *, number=300, seed=0):
    """
    Return the `BlankSky` of ``number`` simulated stamps, for PSFs with the transforms ``point``, ``[C, ky, kx]``.

    ``pixels`` are rows and columns of their grid, and ``size`` those of the part of it that is looked at.
    """
    rng = np.random.default_rng(seed)
    norm = np.sqrt((np.abs(point) ** 2 * both_halves(pixels[1])).sum(axis=(-2, -1)) / np.prod(pixels))
    single, every = np.empty((number, len(point))), np.empty(number)
    for k in range(number):
        noise = rng.standard_normal((len(point), *pixels), dtype=np.float32)
        maps = fft.irfft2(fft.rfft2(noise) * np.conj(point), s=pixels)[:, : size[0], : size[1]]
        squares = (maps / norm[:, None, None]) ** 2
        single[k], every[k] = squares.max(axis=(1, 2)), squares.sum(axis=0).max()
    rough = roughness(point, pixels)
    of_one, of_all = (1, size, rough), (len(point), size, rough.mean())
    factors = tuple(
        _halved(lambda factor, q=q, of=of: log_peak_probability(q, *of, factor), 0.5, 2.0)
        for q, of in ((single, of_one), (every, of_all))
    )
    lowest = np.minimum(
        log_peak_probability(single, *of_one, factors[0]).min(axis=1), log_peak_probability(every, *of_all, factors[1])
    )
    return BlankSky(factors, _halved(lambda tests: -log_any(lowest, tests), 1.0, len(point) + 1.0, -HALF))


def _halved(function, low, high, middle=HALF):
    """Argument for which the median of a decreasing function is that of uniform probabilities, or an end."""

    def excess(argument):
        return np.median(function(argument)) - middle

    if excess(low) <= 0 or excess(high) >= 0:
        return low if excess(low) <= 0 else high
    return bisect(excess, low, high)
