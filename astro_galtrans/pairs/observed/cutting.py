"""
Stamps cut out of frames: where a stamp's pixels lie in a frame, and the frame's flux in them.

All stamps of a pair are on one grid, that of the source's reference band, or that grid refined. Across some tens of
arcsec any two grids are related by a polynomial of low degree. It is fitted to a few exact positions and checked, which
is far cheaper than transforming every pixel.
"""

from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.polynomial.polynomial import polyder, polygrid2d, polyvander2d

from astro_galtrans.geometry import fill_masked, interpolate_plane

from .coordinates import pixel_to_sky, sky_to_pixel

__all__ = ["Cut", "LocalMap", "StampGrid", "cut", "resample_psf"]

_MARGIN = 13  # pixels around a stamp: the weights of a quintic spline have fallen below 1e-4 there
_TOLERANCE = 2e-3  # pixels that the polynomial may be off: a tenth of the best centroid of a galaxy
_LATTICE = 6  # exact positions along a side: 36 for the ten terms of a cubic polynomial
_TERMS = np.add.outer(range(4), range(4)) <= 3  # powers of y times powers of x that a cubic polynomial has
_DIRECT = 1e-3  # pixels: a stamp this close to whole pixels takes them as they are


class Cut(NamedTuple):
    """One band of a stamp."""

    data: np.ndarray  #: flux per pixel of the stamp, bad pixels filled
    variance: np.ndarray | None
    mask: np.ndarray  #: True where bad or not covered


class StampGrid(NamedTuple):
    """Grid of a stamp of whole pixels of a frame, or ``scale`` times finer ones."""

    wcs: object  #: of the frame
    x: int  #: first column and row of the frame in it
    y: int
    size: int  #: pixels of the frame along a side
    scale: int = 1

    @property
    def shape(self):
        """Shape of the stamp."""
        return (self.scale * self.size,) * 2

    def to_frame(self, x, y):
        """Pixel coordinates in the frame of those in the stamp."""
        return ((np.asarray(c) + 0.5) / self.scale - 0.5 + corner for c, corner in ((x, self.x), (y, self.y)))


class LocalMap:
    """
    Positions of a stamp's pixels in a frame with celestial ``wcs``, for `~astro_galtrans.geometry.interpolate_plane`.

    ``shift`` is the registration ``(dx, dy)`` in pixels of the stamp: the sky of a position is found that far from it
    in the frame. Raises ValueError if the frame's world coordinates are not smooth across the stamp, or do not reach
    it.
    """

    def __init__(self, grid, wcs, shift=(0.0, 0.0)):
        self._unit, self._shift = (grid.shape[0] - 1) / 2 or 1.0, shift
        self._origin = np.zeros(2)  # (x, y) of the frame's pixel from which positions are counted
        # coordinates run from -1 to 1 across the stamp, where their powers are tame, and a little beyond for its edges
        line = np.linspace(-1.1, 1.1, _LATTICE)
        u, v = (part.ravel() for part in np.meshgrid(line, line))
        places = grid.to_frame(*((w + 1) * self._unit for w in (u, v)))
        exact = np.array(sky_to_pixel(wcs, *pixel_to_sky(grid.wcs, *places)))
        if not np.isfinite(exact).all():
            msg = "the frame's world coordinates do not reach the stamp"
            raise ValueError(msg)
        terms = polyvander2d(v, u, (3, 3))[:, _TERMS.ravel()]
        fitted = np.linalg.lstsq(terms, exact.T, rcond=None)[0]
        self._coefficients = np.zeros((4, 4, 2))  # by power of v and of u; of x and y in the frame
        self._coefficients[_TERMS] = fitted
        off = np.abs(terms @ fitted - exact.T).max()
        if off > _TOLERANCE:
            msg = f"the frame's world coordinates jump within the stamp (by {off:.2g} pixels)"
            raise ValueError(msg)

    def positions(self, y, x):
        """Frame coordinates ``(y, x)`` of the stamp pixels on the lattice ``y`` times ``x``."""
        x_in, y_in = polygrid2d(*self._scaled(y, x), self._coefficients)
        return y_in - self._origin[1], x_in - self._origin[0]

    def area(self, y, x):
        """Area of the stamp's pixels on the lattice ``y`` times ``x``, in pixels of the frame."""
        place = self._scaled(y, x)
        (x_y, y_y), (x_x, y_x) = (polygrid2d(*place, polyder(self._coefficients, axis=k)) for k in range(2))
        return np.abs(x_x * y_y - x_y * y_x) / self._unit**2

    def counted_from(self, x, y):
        """Return the same map for a part cut out of the frame whose first pixel is ``(x, y)``."""
        part = copy(self)
        part._origin = np.array([x, y], float)
        return part

    @property
    def jacobian(self):
        """``d(x_in, y_in) / d(x, y)`` at the centre."""
        return np.stack([self._coefficients[0, 1], self._coefficients[1, 0]], axis=1) / self._unit

    @property
    def centre_area(self):
        """Area of the stamp's middle pixel in pixels of the frame."""
        return abs(np.linalg.det(self.jacobian))

    def _scaled(self, y, x):
        dx, dy = self._shift
        return (y + dy) / self._unit - 1, (x + dx) / self._unit - 1


def cut(pixels, local_map, shape):
    """
    `Cut` of one band from a frame's ``(data, variance or None, mask or None)``, flux conserved.

    If the stamp's pixels coincide with the frame's, they are copied; else they are interpolated
    (`astro_galtrans.geometry.interpolate_plane`). Raises ValueError if the stamp is outside the frame or has no good
    pixel.
    """
    y, x = local_map.positions(np.array([-0.5, shape[0] - 0.5]), np.array([-0.5, shape[1] - 0.5]))
    window, whole = _window(y, x, pixels[0].shape), _whole_pixels(local_map, shape)
    data, variance, mask = (None if plane is None else plane[window] for plane in pixels)
    if 0 in data.shape:
        msg = "the stamp is outside the frame"
        raise ValueError(msg)
    bad = ~np.isfinite(data) if mask is None else ~np.isfinite(data) | mask
    planes = _filled(data, variance, bad)  # a spline through a bad pixel would ring far around it
    corner = window[0].start, window[1].start
    if whole is not None:
        return _taken(planes, whole - corner, shape)
    data, variance, mask = interpolate_plane(*planes, local_map.counted_from(*corner[::-1]), shape)
    return _filled(data, variance, mask | ~np.isfinite(data))  # what is not covered is filled too, and masked


def _filled(data, variance, bad):
    if bad.all():
        msg = "no pixel is good"
        raise ValueError(msg)
    return Cut(fill_masked(data, bad), None if variance is None else fill_masked(variance, bad), bad)


def _window(y, x, shape):
    """Part of the frame that the stamp needs."""
    bounds = []
    for values, size in ((y, shape[0]), (x, shape[1])):
        low, high = int(np.floor(values.min())) - _MARGIN, int(np.ceil(values.max())) + _MARGIN + 1
        bounds.append(slice(min(max(low, 0), size), min(max(high, 0), size)))
    return tuple(bounds)


def _whole_pixels(local_map, shape):
    """First row and column of the frame, if the stamp's pixels are pixels of the frame; else None."""
    if np.abs(local_map.jacobian - np.eye(2)).max() > _DIRECT:  # turned, or of another scale
        return None
    y, x = local_map.positions(*(np.linspace(0, n - 1, 3) for n in shape))
    steps = np.meshgrid(*(np.linspace(0, n - 1, 3) for n in reversed(shape)))
    first = np.stack([y - steps[1], x - steps[0]])
    corner = np.rint(first.mean(axis=(1, 2)))
    return corner.astype(int) if np.abs(first - corner[:, None, None]).max() < _DIRECT else None


def _taken(planes, corner, shape):
    data, variance, bad = planes
    rows, columns = (slice(c, c + n) for c, n in zip(corner, shape, strict=True))
    if min(corner) < 0 or data[rows, columns].shape != shape:
        msg = "the stamp is not inside the frame"
        raise ValueError(msg)
    return Cut(data[rows, columns], None if variance is None else variance[rows, columns], bad[rows, columns])


def resample_psf(psf, jacobian, side):
    """
    PSF ``[k, k]`` of a frame, centred, on a stamp's pixels: ``[side, side]``, side odd, of sum 1.

    ``jacobian`` is ``d(x_in, y_in) / d(x, y)`` of the stamp's pixels.
    """
    from scipy.ndimage import map_coordinates

    offset = np.arange(side) - side // 2
    x, y = np.tensordot(jacobian, np.array(np.meshgrid(offset, offset)), 1)
    middle = [(n - 1) / 2 for n in psf.shape]
    new = map_coordinates(psf.astype(float), [y + middle[0], x + middle[1]], order=3, mode="constant")
    return (new / new.sum()).astype(np.float32)
