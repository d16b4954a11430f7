r"""
Order statistics of samples with integer weights, and the scale of a sample by its median absolute deviation.

A bootstrap resample is the sample itself with a count per galaxy, and a histogram is its cells with a count per cell.
Both are sorted values with counts, so one class serves resamples and streams. With the values :math:`x_j` in order,
:math:`c_j` their counts, :math:`C_j = \sum_{k \le j} c_k` and :math:`n` the last of these, each method gives exactly
what its usual form gives on the :math:`n` values written out.
"""

from functools import cached_property

import numpy as np
from astropy.stats import median_absolute_deviation

__all__ = ["IQR_TO_SIGMA", "MAD_TO_SIGMA", "Weighted", "sigma_mad"]

# Both rounded as the photometric-redshift literature and the package qp have them.
MAD_TO_SIGMA = 1.4826  #: standard deviation of a Gaussian in units of its median absolute deviation
IQR_TO_SIGMA = 1.349  #: interquartile range of a Gaussian in units of its standard deviation


def sigma_mad(values, axis=None, *, ignore_nan=False):
    """
    Return the normalised median absolute deviation: 1.4826 times that from the median.

    Parameters
    ----------
    values : array-like
        Numbers.
    axis : int or tuple of int, optional
        Along which; all by default.
    ignore_nan : bool, optional
        Leave NaN out, instead of returning NaN.
    """
    return MAD_TO_SIGMA * median_absolute_deviation(values, axis=axis, ignore_nan=ignore_nan)


class Weighted:
    """A sample: sorted values ``[M]``, and how often each occurs, ``[M]``; 0 is allowed."""

    def __init__(self, values, counts):
        self.values, self.counts = values, counts

    @cached_property
    def cumulative(self):
        """``[M]``: how many values there are up to each one; the last is their number."""
        return np.cumsum(self.counts)

    def mean(self):
        """Return the mean; -inf if a value that occurs is -inf."""
        values, counts = self.values, self.counts
        if not np.isfinite(values).all():
            values, counts = values[counts > 0], counts[counts > 0]  # 0 times -inf is NaN
        return np.dot(counts.astype(float), values) / counts.sum()

    def quantile(self, q):
        """Return a quantile, or several, interpolated as `numpy.quantile` does."""
        last = self.cumulative[-1] - 1
        position = last * np.asarray(q, dtype=float)
        low = np.floor(position)
        places = low, np.minimum(low + 1, last)
        below, above = (self.values[np.searchsorted(self.cumulative, k, side="right")] for k in places)
        return below + (position - low) * (above - below)

    def sigma_mad(self):
        """Return 1.4826 times the median absolute deviation from the median."""
        deviation = np.abs(self.values - self.quantile(0.5))
        order = np.argsort(deviation, kind="stable")  # a falling and a rising run, merged by timsort in linear time
        return MAD_TO_SIGMA * Weighted(deviation[order], self.counts[order]).quantile(0.5)

    def sigma_iqr(self):
        """Return the interquartile range divided by 1.349."""
        low, high = self.quantile([0.25, 0.75])
        return (high - low) / IQR_TO_SIGMA

    def kolmogorov_smirnov(self):
        """Return the largest distance of the empirical distribution from the uniform one on 0 to 1."""
        above, number = self.cumulative, self.cumulative[-1]
        below = above - self.counts
        return max((above / number - self.values).max(), (self.values - below / number).max())

    def cramer_von_mises(self):
        r"""
        Return the Cramer-von Mises statistic :math:`n \omega^2` against the uniform distribution on 0 to 1.

        A run of :math:`c` equal values adds :math:`c (x - m)^2 + c (c^2 - 1) / 12 n^2`, where :math:`m` is the mean of
        its plotting positions :math:`(2 i - 1) / 2 n`.
        """
        n, c = float(self.cumulative[-1]), self.counts.astype(float)
        middle = (self.cumulative - c / 2) / n
        return 1 / (12 * n) + np.dot(c, (self.values - middle) ** 2) + np.dot(c, c**2 - 1) / (12 * n**2)

    def anderson_darling(self):
        r"""
        Return the Anderson-Darling statistic :math:`A^2` against the uniform distribution on 0 to 1.

        .. math:: A^2 = -n - \frac{1}{n} \sum_j \bigl[(C_j^2 - C_{j-1}^2) \ln x_j
            + ((n - C_{j-1})^2 - (n - C_j)^2) \ln (1 - x_j)\bigr],

        which is the sum of Anderson & Darling (1954, eq. 4) with runs of equal values taken together. Values have to be
        above 0 and below 1.
        """
        n, c, above = float(self.cumulative[-1]), self.counts.astype(float), self.cumulative.astype(float)
        lower, upper = c * (2 * above - c), c * (2 * (n - above) + c)  # differences of squares, without cancellation
        return -n - (np.dot(lower, np.log(self.values)) + np.dot(upper, np.log1p(-self.values))) / n
