"""
Bootstrap intervals over galaxies, and bins of galaxies.

All intervals are percentiles of a statistic over resamples (Efron & Tibshirani 1993, ch. 13). `draws` is the only place
that draws galaxies with replacement. `scipy.stats.bootstrap` does not serve here: it interpolates between resamples,
which makes NaN of an end beside -inf, and it has no counts for cells of a histogram.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from astro_galtrans._columns import same_length

__all__ = [
    "Bootstrap", "Interval", "bin_edges", "bootstrap", "draws", "in_bins", "interval", "named_intervals",
    "resample_counts",
]  # fmt: skip

CHUNK = 2**18  # galaxies drawn at once: 2 MB of integers, which stay in the processor's cache


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: percentiles of resamples over galaxies."""

    resamples: int = 1000  #: 0 for no intervals
    seed: int = 0
    level: float = 0.68  #: probability of the interval

    def __post_init__(self):
        if self.seed < 0 or self.resamples < 0 or not 0 < self.level < 1:
            msg = f"seed and resamples must be 0 or more and level between 0 and 1, got {self}"
            raise ValueError(msg)


class Interval(NamedTuple):
    """A statistic with its bootstrap interval."""

    value: float | np.ndarray  #: the statistic of the sample itself
    low: float | np.ndarray  #: lower end of the central interval of the resamples; NaN if there are none
    high: float | np.ndarray  #: upper end
    n: int  #: number of galaxies


def draws(number, n=1000, seed=0):
    """
    Yield resamples of galaxies, drawn with replacement, in chunks of b resamples: rows and counts, int ``[b, N]`` each.

    The rows are the galaxies of each resample, the counts tell how often each galaxy occurs in it. The same number of
    galaxies and the same seed give the same resamples.
    """
    rng, step = np.random.default_rng(seed), max(1, CHUNK // max(number, 1))
    for start in range(0, n, step):
        rows = rng.integers(0, number, (min(step, n - start), number))
        offset = number * np.arange(len(rows))[:, None]
        yield rows, np.bincount((rows + offset).ravel(), minlength=rows.size).reshape(rows.shape)


def resample_counts(counts, n=1000, seed=0):
    """
    Yield how often each galaxy, or each cell of a histogram, occurs in a resample of as many galaxies, int ``[M]``.

    ``counts`` ``[M]`` are the galaxies in each cell; ones for galaxies themselves. Resampling the cells with their
    numbers of galaxies as weights is the same as resampling the galaxies and filling the histogram again, and costs no
    more for a billion galaxies than for as many as there are cells.
    """
    counts = np.asarray(counts)
    if (counts == 1).all():  # the same distribution as below, drawn several times quicker
        for _, some in draws(len(counts), n, seed):
            yield from some
    else:
        rng, number = np.random.default_rng(seed), int(counts.sum())
        for _ in range(n):
            yield rng.multinomial(number, counts / number)


def bootstrap(statistic, *values, n=1000, seed=0, level=0.68):
    """
    Return a statistic and its percentile interval over resamples of the galaxies, as `Interval`.

    All columns of a galaxy are drawn together, so that a ratio or difference of two measurements of the same galaxies
    gets the interval of paired data.

    Parameters
    ----------
    statistic : callable
        Takes the columns, each resampled alike, and returns a number or a 1-D array of numbers.
    *values : array-like
        One or more columns with one entry per galaxy along the first axis.
    n, seed, level : int, int, float, optional
        Number of resamples (the ends are NaN for 0), their seed, and the probability of the interval.

    Raises
    ------
    ValueError
        If columns differ in length or have no galaxy, or the level is out of range.
    """
    values = [np.asarray(column) for column in values]
    number = same_length(**{f"column {i}": column for i, column in enumerate(values)})
    if number == 0:
        msg = "a bootstrap needs at least one galaxy, got none"
        raise ValueError(msg)
    every = [statistic(*(column[row] for column in values)) for rows, _ in draws(number, n, seed) for row in rows]
    return interval(statistic(*values), np.array(every), number, level)


def interval(value, resamples, n, level=0.68):
    """
    Return the central `Interval` of a statistic, from its resamples ``[B, ...]`` of n galaxies.

    Both ends are NaN where a resample is NaN, or without resamples.
    """
    if not 0 < level < 1:
        msg = f"an interval needs a level between 0 and 1, got {level}"
        raise ValueError(msg)
    if len(resamples) == 0:
        unknown = np.full(np.shape(value), np.nan)[()]
        return Interval(value, unknown, unknown, n)
    # order statistics themselves, not interpolated: a mean information of -inf must not make NaN of its neighbour
    ends = np.quantile(resamples, [0.5 - level / 2, 0.5 + level / 2], axis=0, method="inverted_cdf")
    return Interval(value, ends[0], ends[1], n)


def named_intervals(names, value, resamples, n, level=0.68, *, distances=()):
    """
    Return the `Interval` by name of K statistics that were resampled together, ``[B, K]``; NaN without resamples.

    A resample scatters about the sample as the sample does about the truth, which lengthens any distance of two
    distributions. The resamples of those named in ``distances``, which are never below 0, are therefore moved so that
    their median is the sample's value.
    """
    value, resamples = np.asarray(value, dtype=float), np.array(resamples, dtype=float)
    far = np.isin(names, distances)
    if len(resamples) and far.any():
        centre = np.median(resamples[:, far], axis=0)
        resamples[:, far] = np.maximum(resamples[:, far] - centre + value[far], 0)
    ends = np.array(interval(value, resamples, n, level)[:3]).T
    return {name: Interval(*map(float, each), n) for name, each in zip(names, ends, strict=True)}


def bin_edges(values, bins):
    """
    Return strictly increasing edges of bins: those given, or of a number of bins with equally many galaxies.

    For a number the edges are quantiles of the values ``[N]`` that are finite.
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
    Return the bin of each galaxy, int ``[N]``: 0 to M - 1, or -1 outside all bins or where the value is NaN.

    A bin of the edges ``[M + 1]`` holds its lower edge; the last one its upper edge too.
    """
    values, edges = np.asarray(values, dtype=float), np.asarray(edges, dtype=float)
    index = np.searchsorted(edges, values, side="right") - 1
    index[values == edges[-1]] = len(edges) - 2
    index[~((values >= edges[0]) & (values <= edges[-1]))] = -1
    return index
