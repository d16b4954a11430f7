"""Logarithms of probabilities that are too small for a double, such as those of extreme outliers."""

import numpy as np
from scipy import special

__all__ = ["log_any", "log_chi2_sf", "log_complement", "score"]

UNDERFLOW = 1e-280  # `scipy.special.gammaincc` is not relied on so near to the smallest double, 2e-308
SMALL = -20  # ln p below which ln(1 - p) = -p, and so on, hold to rounding: terms of order p^2 are 2e-9 of p


def log_chi2_sf(q, dof):
    r"""
    Logarithm of the probability that chi-squared exceeds ``q``; 0 where ``dof``, which need not be whole, is zero.

    Where the probability underflows, the incomplete gamma function is the integral
    :math:`\Gamma(a, x) = e^{-x} x^{a-1} \int_0^\infty e^{-t} (1 + t/x)^{a-1} dt`, by quadrature of Gauss and Laguerre.
    """
    q, dof = np.broadcast_arrays(np.asarray(q, dtype=float), np.asarray(dof, dtype=float))
    a, x = np.maximum(dof, 1e-3) / 2, np.maximum(q, 0) / 2
    direct = special.gammaincc(a, x)
    tail = direct < UNDERFLOW
    result = np.asarray(np.log(np.where(tail, 1.0, direct)))
    a, x = a[tail], x[tail]
    # The integrand falls as exp(-slope t) and, so far in the tail, hardly differs from that: few nodes are exact.
    slope, (nodes, weights) = 1 - (a - 1) / x, np.polynomial.laguerre.laggauss(24)
    t = nodes / slope[:, None]
    integral = (weights * np.exp(nodes - t + (a - 1)[:, None] * np.log1p(t / x[:, None]))).sum(axis=1) / slope
    result[tail] = -x + (a - 1) * np.log(x) + np.log(integral) - special.gammaln(a)
    return np.where(dof > 0, result, 0.0)


def log_complement(log_expected):
    """Logarithm of 1 - exp(-E), from that of E."""
    log_expected = np.asarray(log_expected, dtype=float)
    with np.errstate(divide="ignore"):
        exact = np.log(-np.expm1(-np.exp(np.minimum(log_expected, 50))))  # 1 to rounding above, and no overflow
    return np.where(log_expected < SMALL, log_expected, exact)


def log_any(log_p, number, axis=None):
    """
    Logarithm of the probability that the least of ``number`` independent p-values is as small as it is (Šidák 1967).

    From logarithms of p-values, of which the least is taken along ``axis`` first if it is given.
    """
    log_p = np.asarray(log_p, dtype=float)
    if axis is not None:
        log_p = log_p.min(axis=axis)
    with np.errstate(divide="ignore"):
        exact = np.log(-np.expm1(number * np.log1p(-np.exp(log_p))))
    return np.where(log_p < SMALL, log_p + np.log(number), exact)


def score(log_p):
    """Return -log10 of a probability, from its natural logarithm, and no less than 0."""
    return np.maximum(-np.asarray(log_p) / np.log(10), 0)
