r"""
How high the highest peak of blank sky is: significance of the maximum of a smoothed map, corrected for where one looked.

The matched-filter map :math:`S` of white noise is a Gaussian field of unit variance. For large thresholds the probability that it,
or the sum :math:`Q` of the squares of C such maps, exceeds :math:`q` somewhere in a field is the expected Euler
characteristic of the excursion set (Adler 1981; Worsley 1994, Adv. Appl. Prob. 26, 13; for matched filters Vio & Andreani
2016, A&A 589, A20),

.. math::

    E(q) = \rho_0 + (a + b) \sqrt{\lambda} \, \rho_1 + a b \, \lambda \, \rho_2 ,

for a field of a times b pixels, where :math:`\lambda` is the variance of a derivative of :math:`S` and the
:math:`\rho_d(q)` are the densities of a :math:`\chi^2` field with C degrees of freedom. Then
:math:`P(\max Q > q) = 1 - e^{-E(q)}`. With one map, :math:`Q = S^2`, this is the two-sided probability.

Pixels miss the summit between them. Maxima of simulated blank sky, white noise through the same filter, tell by how much: by
what factor thresholds are to be raised for simulated and expected numbers to agree, which is fitted.
"""

import numpy as np
from scipy import fft, special, stats

__all__ = ["both_halves", "euler_characteristic", "lattice_factor", "peak_probability", "roughness"]


def euler_characteristic(q, dof, size, roughness):
    """
    Expected Euler characteristic of the part of a chi-squared field above a threshold.

    Parameters
    ----------
    q : array-like
        Threshold.
    dof : int
        Number of Gaussian fields whose squares are summed.
    size : tuple of int
        Rows and columns of the field (pixels).
    roughness : array-like
        Variance of a derivative of the Gaussian fields (per square pixel).
    """
    q, a, b = np.maximum(np.asarray(q, dtype=float), 1e-6), *size
    # in logarithms: q**30 and exp(-q / 2) would over- and underflow
    log = -q / 2 - special.gammaln(dof / 2) - (dof - 2) / 2 * np.log(2)
    line = np.exp(log + (dof - 1) / 2 * np.log(q)) / np.sqrt(2 * np.pi)
    plane = np.exp(log + (dof - 2) / 2 * np.log(q)) * (q - (dof - 1)) / (2 * np.pi)
    return stats.chi2.sf(q, dof) + (a + b) * np.sqrt(roughness) * line + a * b * np.asarray(roughness) * plane


def peak_probability(q, dof, size, roughness, factor=1.0):
    """
    Probability that the highest value of a map of blank sky is as high as this.

    Parameters
    ----------
    q : array-like
        Highest value of the map of the sum of squares.
    dof, size, roughness
        As for `euler_characteristic`.
    factor : float, optional
        From `lattice_factor`.
    """
    expected = euler_characteristic(np.asarray(q) * factor, dof, size, roughness)
    # below the mode the expectation is no longer one of summits: whatever it says, such a peak is no news
    return np.where(np.asarray(q) * factor < dof, 1.0, -np.expm1(-np.maximum(expected, 0)))


def roughness(point, pixels):
    r"""
    Variance of a derivative of white noise that was filtered with a PSF, relative to its variance.

    Parameters
    ----------
    point : `numpy.ndarray`
        ``[..., ky, kx]``: transform (``rfft2``) of the PSF.
    pixels : tuple of int
        Rows and columns of its grid.

    Returns
    -------
    `numpy.ndarray`
        :math:`\lambda = \int k^2 |P|^2 / (2 \int |P|^2)`, per square pixel.
    """
    ky, kx = 2 * np.pi * fft.fftfreq(pixels[0])[:, None], 2 * np.pi * fft.rfftfreq(pixels[1])
    power = np.abs(point) ** 2 * both_halves(pixels[1])
    return (power * (ky**2 + kx**2)).sum(axis=(-2, -1)) / (2 * power.sum(axis=(-2, -1)))


def both_halves(columns):
    """
    Return how many columns of a whole transform each column of ``rfft2`` stands for.

    Parameters
    ----------
    columns : int
        Of the image.
    """
    weight = np.full(columns // 2 + 1, 2.0, np.float32)
    weight[0] = 1
    if columns % 2 == 0:
        weight[-1] = 1
    return weight


def lattice_factor(point, pixels, size, *, number=600, seed=0):
    """
    By what factor thresholds are to be raised, for one map and for the sum of the squares of all.

    Parameters
    ----------
    point : `numpy.ndarray`
        ``[C, ky, kx]``: transforms of the PSFs.
    pixels : tuple of int
        Rows and columns of their grid.
    size : tuple of int
        Rows and columns of the part of it that is looked at.
    number : int, optional
        Of simulated stamps of blank sky.
    seed : int, optional
        Of the noise.

    Returns
    -------
    single, all : float
    """
    rng = np.random.default_rng(seed)
    norm = np.sqrt((np.abs(point) ** 2 * both_halves(pixels[1])).sum(axis=(-2, -1)) / np.prod(pixels))
    highest, together = [], []
    for _ in range(number):
        noise = rng.standard_normal((len(point), *pixels), dtype=np.float32)
        maps = fft.irfft2(fft.rfft2(noise) * np.conj(point), s=pixels)[:, : size[0], : size[1]]
        squares = (maps / norm[:, None, None]) ** 2
        highest.append(squares.max(axis=(1, 2)))
        together.append(squares.sum(axis=0).max())
    rough = roughness(point, pixels)
    return _fitted(np.array(highest), 1, size, rough), _fitted(np.array(together), len(point), size, rough.mean())


def _fitted(maxima, dof, size, rough):
    """Factor for which the probabilities of maxima have the median that uniform ones have."""
    low, high = 0.5, 2.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        # higher thresholds are less probable
        if np.median(peak_probability(maxima, dof, size, rough, middle)) > 0.5:
            low = middle
        else:
            high = middle
    return middle
