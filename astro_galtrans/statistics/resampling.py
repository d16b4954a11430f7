"""
Bootstrap of many statistics at once.

`~astro_galtrans.statistics.bootstrap.bootstrap` resamples one statistic, any, at a time. Fidelity has hundreds,
one per model, band and quantity, of a few kinds: these are resampled as matrices, a chunk of resamples at a time. All
intervals are percentiles of resamples over galaxies (Efron & Tibshirani 1993, ch. 13).
"""

import numpy as np
from scipy import stats

from .bootstrap import Interval, interval

__all__ = ["LARGEST", "PAIRED", "ROBUST", "centre_and_scatter", "paired_statistics", "resampled_sums"]
__all__ += ["StreamedSums"]

LARGEST = 4096  #: galaxies drawn at most for a resample of order statistics, see `paired_statistics`
CHUNK = 2**18  # numbers worked on at once, so that they stay in the processor's cache
MAD_TO_SIGMA = 1.4826
PAIRED = "bias", "scatter", "spearman", "ks", "wasserstein"  #: what `paired_statistics` returns
ROBUST = "bias", "scatter"  #: what `centre_and_scatter` returns
DISTANCES = "ks", "wasserstein"  # which resampling lengthens


def resampled_sums(columns, n=1000, seed=0):
    """
    Return the sums of columns over each resample of the galaxies.

    More than `LARGEST` galaxies are weighted as they come, by Poisson numbers instead of multinomial ones (Chamandy et
    al. 2012): resamples then differ in their number of galaxies, which drops out of means and ratios of sums.

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
    columns = np.asarray(columns)
    flat = columns.reshape(len(columns), -1)
    if len(flat) <= LARGEST:
        flat = flat.astype(float)
        sums = np.concatenate([counts.astype(float) @ flat for _, counts in _draws(len(flat), n, seed)])
    else:
        rng, sums = np.random.default_rng(seed), np.zeros((n, flat.shape[1]))
        for start in range(0, len(flat), LARGEST):
            part = flat[start : start + LARGEST].astype(float)
            sums += rng.poisson(1, (n, len(part))).astype(float) @ part
    return sums.reshape(n, *columns.shape[1:])


class StreamedSums:
    """
    Sums over galaxies that come block by block, and over resamples of them with Poisson weights; none is kept.

    Parameters
    ----------
    shape : tuple of int
        Of what each galaxy adds.
    n, seed : int
        Number of resamples, and their seed: blocks of the same sizes get the same weights.
    """

    def __init__(self, shape, n, seed):
        self._seed, self._blocks = seed, 0
        self.total, self.draws = np.zeros(shape), np.zeros((n, *shape))

    def add(self, columns):
        """
        Take in galaxies.

        Parameters
        ----------
        columns : `numpy.ndarray`
            ``[m, ...]``: what each adds.
        """
        rng = np.random.default_rng([self._seed, self._blocks])
        weights = rng.poisson(1, (len(self.draws), len(columns))).astype(float)
        self._blocks += 1
        self.total += columns.sum(axis=0, dtype=float)
        self.draws += np.tensordot(weights, columns.astype(float), axes=1)


def _draws(number, n, seed):
    """Yield the galaxies of resamples, ``[b, number]``, and how often each occurs, ``[b, number]``, in chunks."""
    rng, step = np.random.default_rng(seed), max(1, CHUNK // number)
    for start in range(0, n, step):
        rows = rng.integers(0, number, (min(step, n - start), number))
        offset = number * np.arange(len(rows))[:, None]
        yield rows, np.bincount((rows + offset).ravel(), minlength=rows.size).reshape(rows.shape)


def centre_and_scatter(values, n=1000, seed=0, level=0.68):
    """
    Return the median of values, and 1.4826 times the median absolute deviation from it, with intervals.

    Parameters
    ----------
    values : array-like
        ``[N]``, finite.
    n, seed, level : int, int, float, optional
        Number of resamples (no intervals for 0), their seed, and the probability of the intervals.

    Returns
    -------
    dict
        `~astro_galtrans.statistics.bootstrap.Interval` by the names in `ROBUST`; NaN for fewer than two values.
    """
    values = np.asarray(values, dtype=float)

    def draw(part):
        quick = values[part].astype(np.float32)
        return np.concatenate([_robust(quick[rows]) for rows, _ in _draws(len(part), n, seed)], axis=1)

    return _with_intervals(ROBUST, lambda part: _robust(values[part][None])[:, 0], draw, len(values), n, seed, level)


def paired_statistics(real, translated, n=1000, seed=0, level=0.68, *, ratio=False):
    r"""
    Compare a quantity of real and translated images of the same galaxies, and its two distributions.

    ``bias`` is the median of the paired differences (or ratios) and ``scatter`` 1.4826 times their median absolute
    deviation from it; ``spearman`` the rank correlation; ``ks`` the largest distance of the two cumulative
    distributions and ``wasserstein`` the area between them, in the unit of the quantity.

    A resample scatters about the sample as that does about the truth, which lengthens any distance: for ``ks`` and
    ``wasserstein`` the resamples are moved so that their median is the sample's value. Of more than `LARGEST` galaxies
    so many are taken at random to be resampled, and the interval shortened by :math:`\sqrt{m / N}`, as that of
    :math:`N` galaxies is (Bickel, Goetze & van Zwet 1997, Statistica Sinica 7, 1).

    Parameters
    ----------
    real, translated : array-like
        ``[N]``, finite: the quantity in the real and in the translated image of each galaxy.
    n, seed, level : int, int, float, optional
        Number of resamples (no intervals for 0), their seed, and the probability of the intervals.
    ratio : bool, optional
        Pair by the ratio translated over real instead of the difference translated minus real.

    Returns
    -------
    dict
        `~astro_galtrans.statistics.bootstrap.Interval` by the names in `PAIRED`; NaN for fewer than two galaxies.
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
        return {name: Interval(np.nan, np.nan, np.nan, number) for name in names}
    everyone, part = np.arange(number), np.arange(number)
    if number > LARGEST:
        part = np.sort(np.random.default_rng(seed).choice(number, LARGEST, replace=False))
    value = exact(everyone)
    if not n:
        return {name: Interval(float(one), np.nan, np.nan, number) for name, one in zip(names, value, strict=True)}
    middle, found = value if number <= LARGEST else exact(part), {}
    for name, one, centre, many in zip(names, value, middle, draw(part), strict=True):
        moved = (many - (np.median(many) if name in DISTANCES else centre)) * np.sqrt(len(part) / number) + one
        ends = interval(one, np.maximum(moved, 0) if name in DISTANCES else moved, number, level)
        found[name] = Interval(float(one), float(ends.low), float(ends.high), number)
    return found


def _resampled(real, translated, pairs, n, seed):
    """All of `PAIRED`, ``[5, n]``, of resamples: in single precision and integers, which is enough for intervals."""
    order = np.argsort(real, kind="stable")
    real, translated, pairs = real[order], translated[order], pairs[order].astype(np.float32)
    ranks, distances = (_Ranks(real), _Ranks(translated)), _Distances(real, translated)
    chunks = []
    for rows, counts in _draws(len(real), n, seed):
        across = np.ascontiguousarray(counts.T, dtype=np.int16)  # at most `LARGEST`
        chunks.append([*_robust(pairs[rows]), _weighted_correlation(across, *(r(across) for r in ranks)),
                       *distances(across)])  # fmt: skip
    return np.concatenate(chunks, axis=1)


def _robust(values):
    """Median and 1.4826 MAD of each row, ``[2, b]``."""
    centre = _medians(values.copy())
    return np.array([centre, MAD_TO_SIGMA * _medians(np.abs(values - centre[:, None]))])


def _medians(values):
    """Median of each row, which are sorted in part; some times quicker than numpy's, which looks for NaN."""
    half = values.shape[1] // 2
    if values.shape[1] % 2:
        values.partition(half, axis=1)
        return values[:, half]
    values.partition((half - 1, half), axis=1)
    return (values[:, half - 1] + values[:, half]) / 2


def _correlation(real, translated):
    """Spearman's rank correlation; NaN where a quantity has one value only."""
    if np.ptp(real) == 0 or np.ptp(translated) == 0:
        return np.nan
    return stats.spearmanr(real, translated).statistic


class _Ranks:
    """Mean ranks of values among those drawn, ties sharing theirs."""

    def __init__(self, values):
        self._order = np.argsort(values, kind="stable")
        ordered = values[self._order]
        self._last = np.append(np.flatnonzero(np.diff(ordered)), len(values) - 1)  # of each run of equal values
        self._run = np.cumsum(np.append(False, np.diff(ordered) != 0))  # in which each value is

    def __call__(self, counts):
        """Ranks ``[N, b]`` of galaxies that occur so often, ``[N, b]``, about their mean."""
        ordered = counts[self._order]
        total = np.cumsum(ordered, axis=0, dtype=np.int16)
        if len(self._last) < len(counts):
            above = total[self._last]
            below = np.concatenate([np.zeros_like(above[:1]), above[:-1]])
            middle = (0.5 * (above + below).astype(np.float32))[self._run]
        else:
            middle = total - np.float32(0.5) * ordered
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
        self._apart = np.flatnonzero(self._steps > 0)  # between equal values there is nothing

    def __call__(self, counts):
        """Both, ``[b]`` each, of galaxies that occur so often, ``[N, b]``."""
        signed = np.concatenate([counts, -counts])[self._order]
        between = np.abs(np.cumsum(signed, axis=0, dtype=np.int16)[:-1])
        if len(self._apart) < len(between):
            between = between[self._apart]
        if not len(between):
            return np.zeros(counts.shape[1]), np.zeros(counts.shape[1])
        area = self._steps[self._apart].astype(np.float32) @ between.astype(np.float32)
        return between.max(axis=0) / len(counts), area / len(counts)
