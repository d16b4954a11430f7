"""
Bootstrap of many statistics at once.

`~astro_galtrans.diagnostics.statistics.bootstrap` resamples one statistic, any, at a time. Fidelity has hundreds,
one per model, band and quantity, of a few kinds: these are resampled as matrices, a chunk of resamples at a time. All
intervals are percentiles of resamples over galaxies (Efron & Tibshirani 1993, ch. 13).
"""

import numpy as np

from .statistics import interval

__all__ = ["LARGEST", "PAIRED", "centre_and_scatter", "paired_statistics", "resampled_sums"]

LARGEST = 4096  #: galaxies drawn at most for a resample of order statistics, see `paired_statistics`
CHUNK = 2**22  # numbers in memory at once
MAD_TO_SIGMA = 1.4826
PAIRED = "bias", "scatter", "spearman", "ks", "wasserstein"  #: what `paired_statistics` returns
DISTANCES = "ks", "wasserstein"  # which resampling lengthens


def resampled_sums(columns, n=1000, seed=0):
    """
    Return the sums of columns over each resample of the galaxies.

    Parameters
    ----------
    columns : array-like
        ``[N, ...]``: what each galaxy adds to the sums.
    n : int, optional
        Number of resamples.
    seed : int, optional
        Their seed: with the same number of galaxies, the same resamples.

    Returns
    -------
    `numpy.ndarray`
        ``[n, ...]``, float64.
    """
    columns = np.asarray(columns, dtype=float)
    flat = columns.reshape(len(columns), -1)
    sums = [counts.astype(float) @ flat for counts in _counts(len(flat), n, seed)]
    return np.concatenate(sums).reshape(n, *columns.shape[1:])


def _draws(number, n, seed, size=None):
    """Yield numbers of galaxies drawn with replacement, ``[b, size]``, in chunks of resamples."""
    rng, size = np.random.default_rng(seed), size or number
    step = max(1, CHUNK // size)
    for start in range(0, n, step):
        yield rng.integers(0, number, (min(step, n - start), size), dtype=np.int32)


def _counts(number, n, seed):
    """Yield how often each galaxy occurs in resamples, ``[b, number]``, of the same draws as `_draws`."""
    for rows in _draws(number, n, seed):
        offset = number * np.arange(len(rows), dtype=np.int64)[:, None]
        yield np.bincount((rows + offset).ravel(), minlength=number * len(rows)).reshape(len(rows), number)


def centre_and_scatter(values, n=1000, seed=0, level=0.68):
    """
    Return the median of values, and 1.4826 times the median absolute deviation from it, with intervals.

    Parameters
    ----------
    values : array-like
        ``[N]``, finite.
    n, seed, level : int, int, float, optional
        Number of resamples, their seed, and the probability of the intervals.

    Returns
    -------
    dict
        `~astro_galtrans.diagnostics.statistics.Interval` by ``"bias"`` and ``"scatter"``; NaN for fewer than two.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return _nothing(("bias", "scatter"), len(values))
    size = min(len(values), LARGEST)
    chunks = [_centre_and_scatter(values[rows]) for rows in _draws(len(values), n, seed, size)]
    return _intervals(_centre_and_scatter(values[None]), np.concatenate(chunks, axis=1), len(values), size, level)


def _centre_and_scatter(values):
    centre = np.median(values, axis=1)
    deviation = np.abs(values - centre[:, None])
    scatter = MAD_TO_SIGMA * np.median(deviation, axis=1, overwrite_input=True)
    return np.array([centre, scatter])


def paired_statistics(real, translated, n=1000, seed=0, level=0.68, *, ratio=False):
    r"""
    Compare a quantity of real and translated images of the same galaxies, and its two distributions.

    ``bias`` is the median of the paired differences (or ratios) and ``scatter`` 1.4826 times their median absolute
    deviation from it; ``spearman`` the rank correlation; ``ks`` the largest distance of the two cumulative
    distributions and ``wasserstein`` the area between them, in the unit of the quantity.

    A resample scatters about the sample as that does about the truth, which lengthens any distance: for ``ks`` and
    ``wasserstein`` the resamples are moved so that their median is the sample's value. Of more than `LARGEST` galaxies
    :math:`m` = `LARGEST` of the :math:`N` are drawn, and the interval is shortened by :math:`\sqrt{m / N}` (Bickel,
    Goetze & van Zwet 1997, Statistica Sinica 7, 1).

    Parameters
    ----------
    real, translated : array-like
        ``[N]``, finite: the quantity in the real and in the translated image of each galaxy.
    n, seed, level : int, int, float, optional
        Number of resamples, their seed, and the probability of the intervals.
    ratio : bool, optional
        Pair by the ratio translated over real instead of the difference translated minus real.

    Returns
    -------
    dict
        `~astro_galtrans.diagnostics.statistics.Interval` by the names in `PAIRED`; NaN for fewer than two galaxies.
    """
    real, translated = np.asarray(real, dtype=float), np.asarray(translated, dtype=float)
    if len(real) < 2:
        return _nothing(PAIRED, len(real))
    pairs = translated / real if ratio else translated - real
    size = min(len(real), LARGEST)
    value = _statistics(real, translated, pairs, np.arange(len(real))[None])
    draws = [_statistics(real, translated, pairs, rows) for rows in _draws(len(real), n, seed, size)]
    return _intervals(value, np.concatenate(draws, axis=1), len(real), size, level, PAIRED)


def _statistics(real, translated, pairs, rows):
    """All of `PAIRED`, ``[5, b]``, of galaxies drawn as ``rows`` ``[b, m]``."""
    number, size = len(real), rows.shape[1]
    offset = number * np.arange(len(rows), dtype=np.int64)[:, None]
    counts = np.bincount((rows + offset).ravel(), minlength=number * len(rows)).reshape(len(rows), number)
    return np.array([
        *_centre_and_scatter(pairs[rows]), _spearman(real, translated, counts, size),
        *_distances(real, translated, counts, size),
    ])  # fmt: skip


def _spearman(real, translated, counts, size):
    """Pearson's correlation of mean ranks, ``[b]``, with how often each galaxy occurs ``[b, N]``."""
    first, second = (_ranks(values, counts) - size / 2 for values in (real, translated))
    product, one, other = (np.einsum("bn,bn,bn->b", counts, *pair) for pair in
                           ((first, second), (first, first), (second, second)))  # fmt: skip
    with np.errstate(invalid="ignore"):  # a quantity with one value only has no ranks
        return product / np.sqrt(one * other)


def _ranks(values, counts):
    """Mean rank of each galaxy among those drawn, from 0 to their number, ties sharing theirs."""
    distinct, place = np.unique(values, return_inverse=True)
    order = np.argsort(values, kind="stable")
    total = np.cumsum(counts[:, order], axis=1, dtype=float)
    ends = np.searchsorted(values[order], distinct, side="right") - 1  # last of each run of equal values
    above = total[:, ends]
    below = np.concatenate([np.zeros((len(counts), 1)), above[:, :-1]], axis=1)
    return ((above + below) / 2)[:, place]


def _distances(real, translated, counts, size):
    """Two-sample Kolmogorov-Smirnov and 1-Wasserstein distances, ``[b]`` each."""
    pooled = np.concatenate([real, translated])
    order = np.argsort(pooled, kind="stable")
    steps = np.diff(pooled[order])
    signed = np.concatenate([counts, -counts], axis=1)[:, order]
    apart = np.abs(np.cumsum(signed, axis=1)[:, :-1])  # between one value and the next; equal values have no between
    return np.where(steps > 0, apart, 0).max(axis=1) / size, (apart @ steps) / size


def _intervals(value, draws, number, size, level, names=("bias", "scatter")):
    """Value and interval of each statistic from its resamples ``[..., B]``."""
    found = {}
    for name, one, many in zip(names, value[:, 0], draws, strict=True):
        if name in DISTANCES:
            many = np.maximum(many - np.median(many) + one, 0)
        many = one + (many - one) * np.sqrt(size / number)
        part = interval(float(one), many, number, level)
        found[name] = part._replace(low=float(part.low), high=float(part.high))
    return found


def _nothing(names, number):
    from .statistics import Interval

    return {name: Interval(np.nan, np.nan, np.nan, number) for name in names}
