"""
Bootstrap of many statistics at once.

`~astro_galtrans.statistics.bootstrap.bootstrap` resamples one statistic of any kind. A comparison of images has
hundreds, one per model, band and quantity, but of a few kinds only; these are computed here for all galaxies and a
chunk of resamples together, as operations on matrices.
"""

import numpy as np
from scipy import stats

from .bootstrap import draws, named_intervals
from .weighted import MAD_TO_SIGMA

__all__ = ["LARGEST", "PAIRED", "ROBUST", "StreamedSums", "centre_and_scatter", "paired_statistics", "resampled_sums"]

LARGEST = 4096  #: galaxies drawn at most for a resample of order statistics, see `paired_statistics`
PAIRED = "bias", "scatter", "spearman", "ks", "wasserstein"  #: what `paired_statistics` returns
ROBUST = "bias", "scatter"  #: what `centre_and_scatter` returns
DISTANCES = "ks", "wasserstein"


def resampled_sums(columns, n=1000, seed=0):
    """Return the sums of columns ``[N, ...]`` over each of n resamples of the galaxies, float64 ``[n, ...]``."""
    columns = np.asarray(columns)
    sums = StreamedSums(columns.shape[1:], n, seed)
    sums.add(columns)
    return sums.result()[1]


class StreamedSums:
    """
    Sums over galaxies that come block by block, and over n resamples of them; `LARGEST` galaxies are kept at most.

    Up to so many galaxies are resampled when all are there. Of more, each galaxy enters each resample as often as a
    Poisson number of mean 1 says, which needs no knowledge of how many galaxies there will be (Chamandy et al. 2012).
    Resamples then differ in their number of galaxies, which drops out of means and ratios of sums. The resamples depend
    on the order of the galaxies and on the seed, not on how the galaxies are divided into blocks.
    """

    def __init__(self, shape, n, seed):
        self._seed, self._blocks, self._waiting = seed, 0, np.zeros((0, *shape), np.float32)
        self._total, self._draws = np.zeros(shape), np.zeros((n, *shape))

    def add(self, columns):
        """Take in ``[m, ...]``, what each of m galaxies adds."""
        for start in range(0, len(columns), LARGEST):
            self._waiting = np.concatenate([self._waiting, columns[start : start + LARGEST]])
            if len(self._waiting) > LARGEST:
                block, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
                self._take(block, self._poisson(LARGEST))

    def _poisson(self, number):
        rng = np.random.default_rng([self._seed, self._blocks])
        self._blocks += 1
        yield rng.poisson(1, (len(self._draws), number))

    def _take(self, block, counts):
        """Add a block of galaxies, which occur in the resamples as often as ``counts`` say, int ``[b, m]`` each."""
        flat = block.reshape(len(block), -1).astype(float)
        self._total += flat.sum(axis=0).reshape(self._total.shape)
        sums = np.concatenate([some.astype(float) @ flat for some in counts]) if len(self._draws) else self._draws
        self._draws += sums.reshape(self._draws.shape)

    def result(self):
        """Return the sums ``[...]`` over all galaxies, and those over the resamples ``[n, ...]``."""
        block, self._waiting = self._waiting, self._waiting[:0]
        if len(block) and self._blocks:
            self._take(block, self._poisson(len(block)))
        elif len(block):
            self._take(block, (counts for _, counts in draws(len(block), len(self._draws), self._seed)))
        return self._total, self._draws


def centre_and_scatter(values, n=1000, seed=0, level=0.68):
    """
    Return the median of values ``[N]``, and 1.4826 times the median absolute deviation from it, with intervals.

    They are `~astro_galtrans.statistics.bootstrap.Interval` by the names in `ROBUST`; NaN for fewer than two values.
    """
    values = np.asarray(values, dtype=float)

    def draw(part):
        quick = values[part].astype(np.float32)
        return [_robust(quick[rows]) for rows, _ in draws(len(part), n, seed)]

    return _with_intervals(ROBUST, lambda part: _robust(values[part][None])[:, 0], draw, len(values), n, seed, level)


def paired_statistics(real, translated, n=1000, seed=0, level=0.68, *, ratio=False):
    r"""
    Compare a quantity of real and translated images of the same galaxies ``[N]``, and its two distributions.

    ``bias`` is the median of the paired differences translated minus real (or of the ratios translated over real) and
    ``scatter`` 1.4826 times their median absolute deviation from it; ``spearman`` the rank correlation; ``ks`` the
    largest distance of the two cumulative distributions and ``wasserstein`` the area between them, in the unit of the
    quantity. All are `~astro_galtrans.statistics.bootstrap.Interval` by the names in `PAIRED`; NaN for fewer than two
    galaxies.

    Of more than `LARGEST` galaxies so many are taken at random to be resampled, and the interval is shortened by
    :math:`\sqrt{m / N}`, to that of :math:`N` galaxies (Bickel, Goetze & van Zwet 1997, Statistica Sinica 7, 1).
    """
    real, translated = np.asarray(real, dtype=float), np.asarray(translated, dtype=float)
    pairs = translated / real if ratio else translated - real

    def exact(part):
        return np.array([
            *_robust(pairs[part][None])[:, 0], _correlation(real[part], translated[part]),
            stats.ks_2samp(real[part], translated[part], method="asymp").statistic,
            stats.wasserstein_distance(real[part], translated[part]),
        ])  # fmt: skip

    def draw(part):
        return _resampled(real[part], translated[part], pairs[part], n, seed)

    return _with_intervals(PAIRED, exact, draw, len(real), n, seed, level)


def _with_intervals(names, exact, draw, number, n, seed, level):
    """Statistics of all galaxies, and intervals from resamples of at most `LARGEST` of them."""
    if number < 2:
        return named_intervals(names, np.full(len(names), np.nan), [], number, level)
    value, part = exact(np.arange(number)), np.arange(number)
    if not n:
        return named_intervals(names, value, [], number, level)
    centre = value
    if number > LARGEST:
        part = np.sort(np.random.default_rng(seed).choice(number, LARGEST, replace=False))
        centre = exact(part)
    many = np.concatenate(draw(part), axis=1).T
    many = (many - centre) * np.sqrt(len(part) / number) + value
    return named_intervals(names, value, many, number, level, distances=DISTANCES)


def _resampled(real, translated, pairs, n, seed):
    """All of `PAIRED` for chunks of resamples, ``[5, b]``: single precision and small integers do for intervals."""
    order = np.argsort(real, kind="stable")
    real, translated, pairs = real[order], translated[order], pairs[order].astype(np.float32)
    ranks, distances = (_Ranks(real), _Ranks(translated)), _Distances(real, translated)
    chunks = []
    for rows, counts in draws(len(real), n, seed):
        across = np.ascontiguousarray(counts.T, dtype=np.int16)  # their sums, too, are at most `LARGEST`
        correlation = _weighted_correlation(across, *(rank(across) for rank in ranks))
        chunks.append([*_robust(pairs[rows]), correlation, *distances(across)])
    return chunks


def _robust(values):
    """Median and 1.4826 MAD of each row, ``[2, b]``."""
    centre = _medians(values.copy())
    return np.array([centre, MAD_TO_SIGMA * _medians(np.abs(values - centre[:, None]))])


def _medians(values):
    """Median of each row, which are partly sorted in place: several times quicker than numpy's, which looks for NaN."""
    half = values.shape[1] // 2
    if values.shape[1] % 2:
        values.partition(half, axis=1)
        return values[:, half]
    values.partition((half - 1, half), axis=1)
    return (values[:, half - 1] + values[:, half]) / 2


def _correlation(real, translated):
    """Spearman's rank correlation; NaN where a quantity has one value only, about which scipy would warn."""
    if np.ptp(real) == 0 or np.ptp(translated) == 0:
        return np.nan
    return stats.spearmanr(real, translated).statistic


class _Ranks:
    """Ranks of values among those drawn; equal values get the mean of their ranks."""

    def __init__(self, values):
        self._order = np.argsort(values, kind="stable")
        ordered = values[self._order]
        self._last = np.append(np.flatnonzero(np.diff(ordered)), len(values) - 1)  # of each run of equal values
        self._run = np.cumsum(np.append(False, np.diff(ordered) != 0))  # the run that each value belongs to

    def __call__(self, counts):
        """Ranks ``[N, b]``, less their mean, of galaxies that occur as often as ``[N, b]`` says."""
        total = np.cumsum(counts[self._order], axis=0, dtype=np.int16)
        above = total[self._last]
        below = np.concatenate([np.zeros_like(above[:1]), above[:-1]])
        middle = (0.5 * (above + below).astype(np.float32))[self._run]
        ranks = np.empty_like(middle)
        ranks[self._order] = middle - np.float32(len(counts) / 2)
        return ranks


def _weighted_correlation(counts, first, second):
    """Pearson's correlation of centred columns, ``[b]``, with weights, all ``[N, b]``."""
    one, other = counts * first, counts * second
    with np.errstate(invalid="ignore"):
        return (one * second).sum(axis=0) / np.sqrt((one * first).sum(axis=0) * (other * second).sum(axis=0))


class _Distances:
    """Two-sample Kolmogorov-Smirnov and 1-Wasserstein distances of resamples."""

    def __init__(self, real, translated):
        pooled = np.concatenate([real, translated])
        self._order = np.argsort(pooled, kind="stable")
        self._steps = np.diff(pooled[self._order])
        self._apart = np.flatnonzero(self._steps > 0)  # the distributions are not compared within a run of equal values

    def __call__(self, counts):
        """Both distances, ``[b]`` each, of galaxies that occur as often as ``[N, b]`` says."""
        signed = np.concatenate([counts, -counts])[self._order]
        between = np.abs(np.cumsum(signed, axis=0, dtype=np.int16)[:-1])[self._apart]
        if not len(between):
            return np.zeros(counts.shape[1]), np.zeros(counts.shape[1])
        area = self._steps[self._apart].astype(np.float32) @ between.astype(np.float32)
        return between.max(axis=0) / len(counts), area / len(counts)
