"""
Interpolation on grids that are nearly parallel to that of the image, as those of the bands of a survey are.

There the weights of a spline are products of weights along y and along x, so that interpolation is a product of two
small matrices with the image. What is left of a rotation or a distortion, hundredths of a pixel over a stamp, comes in
by the Taylor series of the spline, whose derivatives are such products too.
"""

from functools import lru_cache
from math import factorial

import numpy as np

__all__ = ["ORDER", "Separable", "mirrored_spline"]

ORDER = 5  #: degree of the splines
_SMALL = 256  # pixels a side: of larger images the matrices cost more than sums over neighbours
_DERIVATIVES = 4  # bands of SDSS are up to 0.017 pixels from parallel over a stamp of 64, and take three or four
_ERROR = 1e-8  # of the image's noise: at most this is left out


class Separable:
    """
    Weights along y and along x, for positions that change nearly along one axis alone.

    `of` returns None for positions of which that is not true, and for large images.
    """

    def __init__(self, place, along, off, highest):
        self._off = off
        self._weights = [
            [mirrored_spline(size)(middle, order) for order in range(highest + 1)]
            for middle, size in zip(along, place, strict=True)
        ]

    @classmethod
    def of(cls, place, shape):
        """Weights for positions ``(y, x)`` inside an image of a shape, ``[2, h, w]``."""
        if max(*place.shape, *shape) > _SMALL:
            return None
        along = [(positions.min(axis=1 - k) + positions.max(axis=1 - k)) / 2 for k, positions in enumerate(place)]
        off = place[0] - along[0][:, np.newaxis], place[1] - along[1]
        most = max(np.abs(part).max() for part in off)
        # the first derivative that is left out, of a wave at the Nyquist frequency
        left_out = ((np.pi * most) ** (n + 1) / factorial(n + 1) for n in range(_DERIVATIVES + 1))
        highest = next((n for n, error in enumerate(left_out) if error < _ERROR), None)
        return None if highest is None else cls(shape, along, off, highest)

    def flux(self, data):
        """Values of the spline through an image."""
        return self._series(data, *self._weights)

    def variance(self, variance):
        """Variance of these values, ``sum_i w_i^2 v_i``; to a thousandth, for which one derivative is enough."""
        return self._series(variance, *([w[0] ** 2] + [2 * w[0] * slope for slope in w[1:2]] for w in self._weights))

    def _series(self, plane, along_y, along_x):
        total = 0.0
        for j in reversed(range(len(along_y))):
            rows, part = along_y[j] @ plane, 0.0
            for k in reversed(range(len(along_x) - j)):
                part = rows @ along_x[k].T + part * (self._off[1] / (k + 1))
            total = part + total * (self._off[0] / (j + 1))
        return total


@lru_cache(maxsize=16)
def mirrored_spline(n):
    """Weights of ``n`` pixels, mirrored at their ends, in the value at a position: a spline over position, ``[n]``."""
    from scipy.interpolate import BSpline
    from scipy.ndimage import spline_filter1d

    coefficients = spline_filter1d(np.eye(n), ORDER, axis=0, mode="mirror")
    beyond = ORDER // 2 + 1  # basis functions beyond either end that reach into the image
    coefficients = np.pad(coefficients, [(beyond, beyond), (0, 0)], mode="reflect")
    return BSpline(np.arange(-2 * beyond, n + 2 * beyond, dtype=float), coefficients, ORDER)
