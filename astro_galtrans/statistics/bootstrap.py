"""Bootstrap intervals over galaxies, and bins of galaxies."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from astro_galtrans._columns import same_length

__all__ = ["Bootstrap", "Interval", "bin_edges", "bootstrap", "in_bins", "interval", "resample_counts"]


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: percentiles of resamples over galaxies."""

    resamples: int = 1000  #: 0 for no intervals
    seed: int = 0
    level: float = 0.68  #: probability of the interval


class Interval(NamedTuple):
    """
    A statistic with its bootstrap interval.

    Attributes
    ----------
    value : float or `numpy.ndarray`
        The statistic of the sample itself.
    low, high : float or `numpy.ndarray`
        Ends of the central interval of the resamples.
    n : int
        Number of galaxies.
    """

    value: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    n: int


def bootstrap(statistic, *values, n=1000, seed=0, level=0.68):
    """
    Return a statistic and its percentile interval over resamples of the galaxies (Efron & Tibshirani 1993, ch. 13).

    Galaxies are drawn with replacement, all columns of a galaxy together, so that a ratio or difference of two
    readings of the same galaxies gets the interval of paired data.

    Parameters
    ----------
    statistic : callable
        Takes the columns, each resampled alike, and returns a number or a 1-D array of numbers.
    *values : array-like
        One or more columns with one entry per galaxy along the first axis.
    n : int, optional
        Number of resamples.
    seed : int, optional
        Seed of the resamples.
    level : float, optional
        Probability of the interval.

    Returns
    -------
    Interval
        The statistic, the interval's ends (of the same shape) and the number of galaxies.

    Raises
    ------
    ValueError
        If columns differ in length or have no galaxy, or n or level are out of range.
    """
    values = [np.asarray(column) for column in values]
    number = same_length(**{f"column {i}": column for i, column in enumerate(values)})
    if number == 0:
        msg = "a bootstrap needs at least one galaxy, got none"
        raise ValueError(msg)
    everyone = np.arange(number)
    draws = (np.repeat(everyone, counts) for counts in resample_counts(np.ones(number, dtype=int), n, seed))
    resamples = np.array([statistic(*(column[rows] for column in values)) for rows in draws])
    return interval(statistic(*values), resamples, number, level)


def resample_counts(counts, n=1000, seed=0):
    """
    Yield how often each galaxy, or each cell of a histogram, occurs in a resample of as many galaxies.

    Resampling the cells with their numbers of galaxies as weights is the same as resampling the galaxies and filling
    the histogram again, and costs no more for a billion galaxies than for as many as there are cells.

    Parameters
    ----------
    counts : array-like
        ``[M]``, int: galaxies in each cell; ones for galaxies themselves.
    n : int, optional
        Number of resamples.
    seed : int, optional
        Seed of the resamples.

    Yields
    ------
    `numpy.ndarray`
        ``[M]``, int, of the same sum as ``counts``.
    """
    rng, counts = np.random.default_rng(seed), np.asarray(counts)
    cells, number = len(counts), int(counts.sum())
    single = bool((counts == 1).all())
    for _ in range(n):
        if single:  # the quicker way to the same distribution
            yield np.bincount(rng.integers(0, cells, cells), minlength=cells)
        else:
            yield rng.multinomial(number, counts / number)


def interval(value, resamples, n, level=0.68):
    """
    Return the central interval of a statistic's resamples.

    Parameters
    ----------
    value : float or array-like
        The statistic of the sample itself.
    resamples : array-like
        ``[B, ...]``: the statistic of each resample.
    n : int
        Number of galaxies.
    level : float, optional
        Probability of the interval.

    Returns
    -------
    Interval
        NaN for both ends where a resample is NaN.

    Raises
    ------
    ValueError
        If there is no resample, or the level is not between 0 and 1.
    """
    if len(resamples) == 0 or not 0 < level < 1:
        msg = f"an interval needs resamples and a level between 0 and 1, got {len(resamples)} and {level}"
        raise ValueError(msg)
    # order statistics themselves, not interpolated: a mean information of -inf must not make NaN of its neighbour
    ends = np.quantile(resamples, [0.5 - level / 2, 0.5 + level / 2], axis=0, method="inverted_cdf")
    return Interval(value, ends[0], ends[1], n)


def bin_edges(values, bins):
    """
    Return the edges of bins.

    Parameters
    ----------
    values : array-like
        ``[N]``: what is binned; not finite ones are passed over.
    bins : int or array-like
        Number of bins with equally many galaxies (quantiles of the values), or the edges themselves.

    Returns
    -------
    `numpy.ndarray`
        Strictly increasing edges, one more than bins.

    Raises
    ------
    ValueError
        If edges given do not increase, or there are too few different values for the number of bins asked for.
    """
    if np.ndim(bins):
        edges = np.asarray(bins, dtype=float)
        if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
            msg = f"edges of bins must be two or more strictly increasing values, got {bins}"
            raise ValueError(msg)
        return edges
    values = np.asarray(values, dtype=float)
    finite = values[np.isfinite(values)]
    if bins < 1 or len(finite) == 0:
        msg = f"quantile bins need at least one bin and one finite value, got {bins} and {len(finite)}"
        raise ValueError(msg)
    edges = np.quantile(finite, np.linspace(0, 1, bins + 1))
    if not (np.diff(edges) > 0).all():
        msg = f"{bins} bins of equally many galaxies need more different values than there are; give edges instead"
        raise ValueError(msg)
    return edges


def in_bins(values, edges):
    """
    Return the bin of each galaxy.

    Parameters
    ----------
    values : array-like
        ``[N]``: what is binned.
    edges : array-like
        ``[M + 1]``, strictly increasing. A bin holds its lower edge; the last one its upper edge too.

    Returns
    -------
    `numpy.ndarray`
        ``[N]``, int: 0 to M - 1, or -1 for galaxies outside all bins or with a value that is NaN.
    """
    values, edges = np.asarray(values, dtype=float), np.asarray(edges, dtype=float)
    index = np.searchsorted(edges, values, side="right") - 1
    index[values == edges[-1]] = len(edges) - 2
    index[~((values >= edges[0]) & (values <= edges[-1]))] = -1
    return index
