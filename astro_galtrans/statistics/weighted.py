r"""
Statistics of sorted values that occur several times each.

A bootstrap resample is the sample itself with a count per galaxy, and a histogram is its cells with a count per cell.
Both are sorted values with counts, so one set of functions serves resamples and streams. With the values
:math:`x_j` in order, :math:`c_j` their counts, :math:`C_j = \sum_{k \le j} c_k` and :math:`n` the last of these, each
function gives exactly what its usual form gives on the :math:`n` values written out.
"""

import numpy as np

__all__ = [
    "anderson_darling",
    "cramer_von_mises",
    "kolmogorov_smirnov",
    "mean",
    "median",
    "quantile",
    "sigma_iqr",
    "sigma_mad",
]

MAD_TO_SIGMA = 1.4826  #: standard deviation of a Gaussian in units of its median absolute deviation
IQR_TO_SIGMA = 1.349  #: interquartile range of a Gaussian in units of its standard deviation


def mean(values, counts):
    """
    Return the mean; -inf if a value that occurs is -inf.

    Parameters
    ----------
    values : `numpy.ndarray`
        ``[M]``, in any order.
    counts : `numpy.ndarray`
        ``[M]``: how often each occurs.
    """
    if not np.isfinite(values).all():
        values, counts = values[counts > 0], counts[counts > 0]  # 0 times -inf is NaN
    return np.dot(counts.astype(float), values) / counts.sum()


def quantile(values, counts, q):
    """
    Return a quantile, interpolated as `numpy.quantile` does.

    Parameters
    ----------
    values : `numpy.ndarray`
        ``[M]``, sorted.
    counts : `numpy.ndarray`
        ``[M]``: how often each occurs.
    q : float or array-like
        Probabilities.
    """
    cumulative = np.cumsum(counts)
    position = (cumulative[-1] - 1) * np.asarray(q, dtype=float)
    low = np.floor(position)
    high = np.minimum(low + 1, cumulative[-1] - 1)
    below, above = (values[np.searchsorted(cumulative, k, side="right")] for k in (low, high))
    return below + (position - low) * (above - below)


def median(values, counts):
    """
    Return the median.

    Parameters
    ----------
    values : `numpy.ndarray`
        ``[M]``, sorted.
    counts : `numpy.ndarray`
        ``[M]``: how often each occurs.
    """
    return quantile(values, counts, 0.5)


def sigma_mad(values, counts):
    """
    Return 1.4826 times the median absolute deviation from the median.

    Parameters
    ----------
    values : `numpy.ndarray`
        ``[M]``, sorted.
    counts : `numpy.ndarray`
        ``[M]``: how often each occurs.
    """
    deviation = np.abs(values - median(values, counts))
    order = np.argsort(deviation, kind="stable")  # one falling and one rising run: timsort merges them in linear time
    return MAD_TO_SIGMA * median(deviation[order], counts[order])


def sigma_iqr(values, counts):
    """
    Return the interquartile range divided by 1.349.

    Parameters
    ----------
    values : `numpy.ndarray`
        ``[M]``, sorted.
    counts : `numpy.ndarray`
        ``[M]``: how often each occurs.
    """
    low, high = quantile(values, counts, [0.25, 0.75])
    return (high - low) / IQR_TO_SIGMA


def kolmogorov_smirnov(values, counts):
    """
    Return the largest distance of the empirical distribution from the uniform one on 0 to 1.

    Parameters
    ----------
    values : `numpy.ndarray`
        ``[M]``, sorted.
    counts : `numpy.ndarray`
        ``[M]``: how often each occurs.
    """
    above = np.cumsum(counts)
    below = above - counts
    return max((above / above[-1] - values).max(), (values - below / above[-1]).max())  # a count of 0 is never largest


def cramer_von_mises(values, counts):
    r"""
    Return the Cramer-von Mises statistic :math:`n \omega^2` against the uniform distribution on 0 to 1.

    A run of :math:`c` equal values adds
    :math:`c (x - m)^2 + c (c^2 - 1) / 12 n^2`, where :math:`m` is the mean of its plotting positions
    :math:`(2 i - 1) / 2 n`.

    Parameters
    ----------
    values : `numpy.ndarray`
        ``[M]``, sorted.
    counts : `numpy.ndarray`
        ``[M]``: how often each occurs.
    """
    n, c = float(counts.sum()), counts.astype(float)
    middle = (np.cumsum(c) - c / 2) / n
    return 1 / (12 * n) + np.dot(c, (values - middle) ** 2) + np.dot(c, c**2 - 1) / (12 * n**2)


def anderson_darling(values, counts):
    r"""
    Return the Anderson-Darling statistic :math:`A^2` against the uniform distribution on 0 to 1.

    .. math:: A^2 = -n - \frac{1}{n} \sum_j \bigl[(C_j^2 - C_{j-1}^2) \ln x_j
        + ((n - C_{j-1})^2 - (n - C_j)^2) \ln (1 - x_j)\bigr],

    which is the sum of Anderson & Darling (1954, eq. 4) with runs of equal values taken together.

    Parameters
    ----------
    values : `numpy.ndarray`
        ``[M]``, sorted, above 0 and below 1.
    counts : `numpy.ndarray`
        ``[M]``: how often each occurs.
    """
    n, c = float(counts.sum()), counts.astype(float)
    above = np.cumsum(c)
    lower, upper = c * (2 * above - c), c * (2 * (n - above) + c)  # differences of squares, without cancellation
    return -n - (np.dot(lower, np.log(values)) + np.dot(upper, np.log1p(-values))) / n
