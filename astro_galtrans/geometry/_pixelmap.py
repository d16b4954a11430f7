"""
Where the pixels of one grid lie on another.

World coordinates are smooth, but costly to evaluate: for a survey frame the transformation of all pixels takes longer
than their interpolation. They are therefore evaluated on a coarse lattice, with splines in between, where that is good
to `_TOLERANCE`, and at every pixel where it is not.
"""

from functools import lru_cache

import numpy as np
from astropy.wcs.utils import pixel_to_pixel

from ._quiet import quiet
from .grids import same_frame

__all__ = ["PixelMap"]

_STEP = 32  # pixels between points of the lattice: a thousandth of the work, and distortions change more slowly
_TOLERANCE = 1e-4  # pixels: a hundredth of the error of the best centroid in a survey image


class PixelMap:
    """
    Positions, on the grid of ``wcs_in``, of points of the grid of ``wcs_out`` with shape ``(H, W)``.

    ``jacobian`` is ``d(x_in, y_in) / d(x_out, y_out)`` at or near the centre of the image.
    """

    def __init__(self, wcs_out, wcs_in, shape):
        self._wcs_out, self._wcs_in, self._shape = quiet(wcs_out), quiet(wcs_in), shape
        self._same_frame = same_frame(wcs_out, wcs_in)
        self._knots = self._fit()
        if self._knots is None:
            self.jacobian = self._typical_jacobian()

    def _typical_jacobian(self):
        x, y = np.meshgrid(*(np.linspace(0, size - 1, 9) for size in reversed(self._shape)))
        jacobian = self._jacobian(x, y).reshape(2, 2, -1)
        jacobian = jacobian[..., np.isfinite(jacobian).all(axis=(0, 1))]
        # where the grids share no sky there are no positions either, and all pixels end up masked
        return jacobian[..., jacobian.shape[-1] // 2] if jacobian.size else np.eye(2)

    def positions(self, y, x):
        """Source coordinates ``(y, x)`` of the lattice ``y`` times ``x``, one array each; NaN where there are none."""
        if self._knots is None:
            return self._exact(*np.meshgrid(x, y))[::-1]
        along_y, along_x = self._weights(y, x)
        return tuple(along_y @ self._knots[:2] @ along_x.T)

    def area(self, y, x):
        """Area of a pixel of this grid in pixels of the source grid, on the lattice ``y`` times ``x``."""
        if self._knots is None:
            (x_x, x_y), (y_x, y_y) = self._jacobian(*np.meshgrid(x, y))
            return np.abs(x_x * y_y - x_y * y_x)
        along_y, along_x = self._weights(y, x)
        return along_y @ self._knots[2] @ along_x.T

    def _weights(self, y, x):
        """Weights of the knots at places along y, and along x."""
        return [_lattice(size)[1](place) for size, place in zip(self._shape, (y, x), strict=True)]

    def _fit(self):
        """Return y, x and the area at the knots of the lattice, or None where splines would not be exact enough."""
        # of a stamp, too: a few points and splines cost less than the world coordinates of all its pixels
        (y, along_y), (x, along_x) = map(_lattice, self._shape)
        between = (y[1:] + y[:-1]) / 2, (x[1:] + x[:-1]) / 2
        places = [np.meshgrid(x, y), np.meshgrid(*reversed(between))]
        # in one call: of a stamp, most of the time is that of calls
        found = self._exact(*(np.concatenate([place[axis].ravel() for place in places]) for axis in (0, 1)))[::-1]
        knots = [values[: x.size * y.size].reshape(y.size, x.size) for values in found]
        exact = [values[x.size * y.size :].reshape(y.size - 1, x.size - 1) for values in found]
        if not np.isfinite(knots).all():
            return None
        knots, middle = np.array(knots), (y.size // 2, x.size // 2)
        off = np.abs(along_y(between[0]) @ knots @ along_x(between[1]).T - exact).max()
        if not off < _TOLERANCE:
            return None
        (y_y, x_y), (y_x, x_x) = along_y(y, 1) @ knots, knots @ along_x(x, 1).T
        self.jacobian = np.array([[x_x[middle], x_y[middle]], [y_x[middle], y_y[middle]]])
        return np.stack([*knots, np.abs(x_x * y_y - x_y * y_x)])

    def _exact(self, x, y):
        # inverting SIP may fail far outside the source image; the round trip finds those points
        x_in, y_in = self._pixels(self._wcs_out, self._wcs_in, x, y)
        x_back, y_back = self._pixels(self._wcs_in, self._wcs_out, x_in, y_in)
        lost = ~(np.hypot(x_back - x, y_back - y) < 0.5)  # behind the sky of a projection, or outside its bounds
        return np.where(lost, np.nan, x_in), np.where(lost, np.nan, y_in)

    def _pixels(self, wcs_from, wcs_to, x, y):
        if not self._same_frame:
            return pixel_to_pixel(wcs_from, wcs_to, x, y)
        world = wcs_from.pixel_to_world_values(x, y)
        return wcs_to.world_to_pixel_values(*(world if wcs_from.wcs.lng == wcs_to.wcs.lng else world[::-1]))

    def _jacobian(self, x, y):
        along_x = np.subtract(self._exact(x + 0.5, y), self._exact(x - 0.5, y))
        along_y = np.subtract(self._exact(x, y + 0.5), self._exact(x, y - 0.5))
        return np.stack([along_x, along_y], axis=1)


@lru_cache(maxsize=16)
def _lattice(size):
    """Knots along an axis of so many pixels, and the weights of each in the value at a position: a cubic spline."""
    from scipy.interpolate import make_interp_spline  # scipy.interpolate costs more to import than this package

    knots = np.linspace(-0.5, size - 0.5, max(5, -(-size // _STEP) + 1))
    return knots, make_interp_spline(knots, np.eye(knots.size))
