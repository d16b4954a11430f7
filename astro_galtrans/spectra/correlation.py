"""
Weighted cross-correlation of a spectrum with templates, at all redshifts at once.

On a grid in log wavelength a redshift is a shift (Tonry & Davis 1979, AJ 84, 1511). The spectrum is modelled as a sum
of templates whose amplitudes are not negative, and of a smooth continuum (cubic B-splines) with free amplitudes. The
continuum replaces the usual high-pass filter and, unlike a filter, is exact beside masked pixels and at the ends. At
every shift s the normal equations

    A_ij(s) = sum_x w(x) T_i(x - s) T_j(x - s),    b_i(s) = sum_x w(x) d(x) T_i(x - s),    w = 1 / variance

are cross-correlations, computed with FFTs; the continuum is projected out of them. The best amplitudes a lower
chi-squared by a.b, the square of the correlation coefficient in units of the noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.interpolate import BSpline

__all__ = ["STEP", "Basis", "chi2_gain", "correlate", "non_negative", "smooth_basis"]

#: Step of the grid in log10(wavelength): a pixel of SDSS, 69 km/s.
STEP = 1e-4
#: Distance between the continuum's knots in log10(wavelength): it follows what is wider than a tenth of the wavelength,
#: and leaves lines and breaks to the templates.
KNOT_DISTANCE = 0.04
#: Coordinate descent: sweeps over the templates between two checks of convergence, and checks at most.
SWEEPS, ROUNDS = 10, 40
#: A template of which the continuum leaves less than this share of its power is not fitted: the rest is rounding.
LEAST_POWER = 1e-9


@dataclass(frozen=True)
class Basis:
    """Smooth functions that are orthonormal under the weights of a spectrum."""

    functions: np.ndarray  #: [function, pixel]
    weights: np.ndarray  #: inverse variances [pixel]

    def project(self, values):
        """Return the components of ``values`` [..., pixel] along the functions."""
        return (values * self.weights) @ self.functions.T


def smooth_basis(log_wavelength, weights):
    """`Basis` of cubic B-splines, made orthonormal under the weights (inverse variances; 0 where there is no data)."""
    seen = log_wavelength[weights > 0]
    low, high = seen.min(), seen.max()
    pieces = max(1, round((high - low) / KNOT_DISTANCE))
    knots = np.concatenate([[low] * 3, np.linspace(low, high, pieces + 1), [high] * 3])
    design = BSpline.design_matrix(np.clip(log_wavelength, low, high), knots, 3).toarray().T
    values, vectors = np.linalg.eigh((design * weights) @ design.T)
    kept = values > 1e-10 * values[-1]  # a spline inside a gap of the data has no weight
    return Basis((vectors[:, kept] / np.sqrt(values[kept])).T @ design, weights)


def correlate(weights, flux, templates, basis, lags):
    """
    Normal equations at every lag: matrix [lag, template, template] without the continuum, and vector [lag, template].

    ``weights`` and ``flux`` are on the grid [pixel], ``templates`` are [template, pixel + lags - 1]: at lag l the
    spectrum's pixel x meets the templates' pixel x + l. ``basis`` is the continuum.
    """
    length = fft.next_fast_len(templates.shape[1], real=True)
    transform = fft.rfft(templates, length)

    def cross(data, kernels):
        product = np.conj(fft.rfft(data, length))[..., None, :] * kernels
        return fft.irfft(product, length)[..., :lags]

    residual = flux - basis.functions.T @ basis.project(flux)  # a large continuum would cancel badly later
    vector = cross(weights * residual, transform)  # [template, lag]
    along = cross(weights * basis.functions, transform)  # [function, template, lag]
    rows, columns = np.tril_indices(len(templates))
    squares = cross(weights, fft.rfft(templates[rows] * templates[columns], length))
    matrix = np.empty((lags, len(templates), len(templates)))
    matrix[:, rows, columns] = matrix[:, columns, rows] = squares.T
    matrix -= np.einsum("pkl,pjl->lkj", along, along, optimize=True)
    return matrix, vector.T


def non_negative(matrix, vector, power, tolerance=1e-4):
    """
    Amplitudes >= 0 [problem, template] that minimise ``a.A.a - 2 a.b``, by cyclic coordinate descent (Franc et al.
    2005).

    ``power`` [problem, template] is that of each template before the continuum was projected out: templates with less
    than `LEAST_POWER` of it left get amplitude 0. A problem is solved when a sweep changes chi-squared by less than
    ``tolerance``.
    """
    diagonal = np.einsum("lkk->lk", matrix)
    # FFTs leave rounding where a template has no power
    usable = diagonal > LEAST_POWER * (power + 0.1 * power.max(axis=0))
    inverse = np.where(usable, 1 / np.where(usable, diagonal, 1), 0)
    amplitudes, open_ = np.zeros_like(vector), np.arange(len(vector))
    for _ in range(ROUNDS):
        amplitudes[open_], moved = _sweeps(matrix[open_], vector[open_], inverse[open_], amplitudes[open_])
        open_ = open_[moved > tolerance]
        if len(open_) == 0:
            break
    return amplitudes


def _sweeps(matrix, vector, inverse, amplitudes):
    """Amplitudes after `SWEEPS` sweeps over the templates, and by how much the last one lowered chi-squared."""
    gradient = vector - np.einsum("lkj,lj->lk", matrix, amplitudes)
    for _ in range(SWEEPS):
        moved = np.zeros(len(vector))
        for k in range(vector.shape[1]):
            change = np.maximum(0, amplitudes[:, k] + gradient[:, k] * inverse[:, k]) - amplitudes[:, k]
            change *= inverse[:, k] > 0
            gradient -= change[:, None] * matrix[:, :, k]
            amplitudes[:, k] += change
            moved += change**2 * matrix[:, k, k]
    return amplitudes, moved


def chi2_gain(matrix, vector, amplitudes):
    """By how much the amplitudes lower chi-squared [problem]."""
    quadratic = np.einsum("lk,lkj,lj->l", amplitudes, matrix, amplitudes)
    return 2 * np.einsum("lk,lk->l", amplitudes, vector) - quadratic
