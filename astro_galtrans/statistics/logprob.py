"""Probabilities so small that only their logarithms can be told apart."""

import numpy as np
from scipy import special

__all__ = ["log_any", "log_chi2_sf", "log_complement", "score"]

TERMS = 80  # of the continued fraction
UNDERFLOW = 1e-280


def log_chi2_sf(q, dof):
    """
    Logarithm of the probability that chi-squared exceeds a value.

    Parameters
    ----------
    q, dof : array-like
        Value and degrees of freedom, which need not be a whole number; where it is zero the probability is 1.
    """
    shape = np.broadcast_shapes(np.shape(q), np.shape(dof))
    q, dof = (np.broadcast_to(np.asarray(each, dtype=float), shape).ravel() for each in (q, dof))
    a, x = np.maximum(dof, 1e-3) / 2, np.maximum(q, 0) / 2
    direct = special.gammaincc(a, x)
    with np.errstate(divide="ignore"):
        result = np.log(direct)
    tail = direct < UNDERFLOW
    if tail.any():
        result[tail] = _log_tail(a[tail], x[tail])
    return np.where(dof > 0, result, 0.0).reshape(shape)


def _log_tail(a, x):
    """Legendre's continued fraction of the incomplete gamma function (Press et al. 2007, eq. 6.2.7), for x > a."""
    fraction = x + 2 * TERMS + 1 - a
    for k in range(TERMS, 0, -1):
        fraction = x + 2 * k - 1 - a - k * (k - a) / fraction
    return -x + a * np.log(x) - special.gammaln(a) - np.log(fraction)


def log_complement(log_expected):
    """
    Logarithm of 1 - exp(-E), from that of E.

    Parameters
    ----------
    log_expected : array-like
    """
    log_expected = np.asarray(log_expected, dtype=float)
    with np.errstate(divide="ignore"):
        exact = np.log(-np.expm1(-np.exp(np.minimum(log_expected, 50))))
    return np.where(log_expected < -20, log_expected, exact)


def log_any(log_p, number, axis=None):
    """
    Logarithm of the probability that the least of some independent p-values is as small as it is (Šidák 1967).

    Parameters
    ----------
    log_p : array-like
        Logarithms of p-values.
    number : int
        How many there are.
    axis : int, optional
        Take the least along this axis first.
    """
    log_p = np.asarray(log_p, dtype=float)
    if axis is not None:
        log_p = log_p.min(axis=axis)
    with np.errstate(divide="ignore"):
        exact = np.log(-np.expm1(number * np.log1p(-np.exp(log_p))))
    return np.where(log_p < -20, log_p + np.log(number), exact)


def score(log_p):
    """
    Return -log10 of a probability, from its natural logarithm.

    Parameters
    ----------
    log_p : array-like
    """
    return np.maximum(-np.asarray(log_p) / np.log(10), 0)
