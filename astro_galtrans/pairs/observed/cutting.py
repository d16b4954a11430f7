"""
Cutting stamps out of frames: where a stamp's pixels lie in a frame, and the frame's flux in them.

All stamps of a pair are on one grid, that of the source's reference band, or that grid refined. Across some tens of
arcsec any two grids are related by a polynomial of low degree: it is fitted to a few exact positions, which is far
cheaper than transforming every pixel, and checked.
"""

from typing import NamedTuple

import numpy as np

from astro_galtrans.geometry import fill_masked, interpolate_plane

from .coordinates import pixel_to_sky, sky_to_pixel

__all__ = ["Cut", "LocalMap", "StampGrid", "cut", "resample_psf"]

_MARGIN = 13  # pixels around a stamp: the weights of a quintic spline have fallen below 1e-4 there
_TOLERANCE = 2e-3  # pixels that the polynomial may be off: a tenth of the best centroid of a galaxy
_LATTICE = 6  # exact positions along a side: 36 for the ten terms of a cubic polynomial
_DIRECT = 1e-3  # pixels: a stamp this close to whole pixels takes them as they are


class Cut(NamedTuple):
    """One band of a stamp."""

    data: np.ndarray  #: flux per pixel of the stamp, bad pixels filled
    variance: np.ndarray | None
    mask: np.ndarray  #: True where bad or not covered


class StampGrid(NamedTuple):
    """A grid of pixels, ``scale`` times finer than those of a frame, of which it covers whole ones."""

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
    Positions of a stamp's pixels in a frame, as `~astro_galtrans.geometry.interpolate_plane` asks for them.

    Parameters
    ----------
    grid : `StampGrid`
    wcs : `~astropy.wcs.WCS` or APE 14 WCS
        Of the frame.
    shift : (float, float), optional
        Registration ``(dx, dy)`` in pixels of the stamp: what is to be at a place is that far from it.

    Raises
    ------
    ValueError
        If the frame's world coordinates are not smooth across the stamp, or do not reach it.
    """

    def __init__(self, grid, wcs, shift=(0.0, 0.0)):
        self._unit, self._shift = (grid.shape[0] - 1) / 2 or 1.0, shift
        self.origin = np.zeros(2)  # (x, y) of the part of the frame that was cut out
        line = np.linspace(-1.1, 1.1, _LATTICE)
        u, v = (part.ravel() for part in np.meshgrid(line, line))
        places = grid.to_frame(*((w + 1) * self._unit for w in (u, v)))
        exact = np.array(sky_to_pixel(wcs, *pixel_to_sky(grid.wcs, *places)))
        if not np.isfinite(exact).all():
            msg = "the frame's world coordinates do not reach the stamp"
            raise ValueError(msg)
        self._coefficients = np.linalg.lstsq(_terms(u, v), exact.T, rcond=None)[0].T
        off = np.abs(self._coefficients @ _terms(u, v).T - exact).max()
        if off > _TOLERANCE:
            msg = f"the frame's world coordinates jump within the stamp (by {off:.2g} pixels)"
            raise ValueError(msg)

    def positions(self, y, x):
        """Frame coordinates ``(y, x)`` of the lattice ``y`` times ``x`` of stamp pixels."""
        u, v = self._place(y, x)
        x_in, y_in = (_evaluate(c, u, v) - o for c, o in zip(self._coefficients, self.origin, strict=True))
        return y_in, x_in

    def area(self, y, x):
        """Area of a stamp's pixel in pixels of the frame."""
        (a, b), (c, d) = (_slopes(c, *self._place(y, x)) for c in self._coefficients)
        return np.abs(a * d - b * c) / self._unit**2

    @property
    def jacobian(self):
        """``d(x_in, y_in) / d(x, y)`` at the centre."""
        return np.array([_slopes(c, np.zeros(1), np.zeros(1)) for c in self._coefficients])[..., 0] / self._unit

    @property
    def centre_area(self):
        """Area of the stamp's middle pixel in pixels of the frame."""
        return abs(np.linalg.det(self.jacobian))

    def _place(self, y, x):
        dx, dy = self._shift
        return np.meshgrid((x + dx) / self._unit - 1, (y + dy) / self._unit - 1)


def _terms(u, v):
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v, u**3, u * u * v, u * v * v, v**3], axis=-1)


def _evaluate(c, u, v):
    along_u = c[1] + u * (c[3] + c[6] * u + c[7] * v) + v * (c[4] + c[8] * v)
    return c[0] + u * along_u + v * (c[2] + v * (c[5] + c[9] * v))


def _slopes(c, u, v):
    along_u = c[1] + 2 * c[3] * u + c[4] * v + 3 * c[6] * u * u + 2 * c[7] * u * v + c[8] * v * v
    along_v = c[2] + c[4] * u + 2 * c[5] * v + c[7] * u * u + 2 * c[8] * u * v + 3 * c[9] * v * v
    return along_u, along_v


def cut(pixels, local_map, shape):
    """
    Cut one band of a stamp out of a frame, flux conserved.

    Where the stamp's pixels are the frame's, they are taken as they are; else they are interpolated, see
    `astro_galtrans.geometry.interpolate_plane`.

    Parameters
    ----------
    pixels : (data, variance, mask)
        Of the frame; variance and mask may be None.
    local_map : `LocalMap`
    shape : tuple of int
        Of the stamp.

    Returns
    -------
    `Cut`

    Raises
    ------
    ValueError
        If no pixel is good.
    """
    local_map.origin = np.zeros(2)
    y, x = local_map.positions(np.array([-0.5, shape[0] - 0.5]), np.array([-0.5, shape[1] - 0.5]))
    window, whole = _window(y, x, pixels[0].shape), _whole_pixels(local_map, shape)
    data, variance, mask = (None if plane is None else plane[window] for plane in pixels)
    if 0 in data.shape:
        msg = "the stamp is outside the frame"
        raise ValueError(msg)
    bad = ~np.isfinite(data) if mask is None else ~np.isfinite(data) | mask
    if bad.all():
        msg = "no pixel is good"
        raise ValueError(msg)
    local_map.origin = np.array([window[1].start, window[0].start], float)
    planes = fill_masked(data, bad), None if variance is None else fill_masked(variance, bad), bad
    if whole is not None:
        return _taken(planes, whole - local_map.origin[::-1].astype(int), shape)
    data, variance, mask = interpolate_plane(*planes, local_map, shape)
    mask = mask | ~np.isfinite(data)
    if mask.all():
        msg = "no pixel is good"
        raise ValueError(msg)
    return Cut(fill_masked(data, mask), None if variance is None else fill_masked(variance, mask), mask)


def _window(y, x, shape):
    """Part of the frame that the stamp needs."""
    bounds = []
    for values, size in ((y, shape[0]), (x, shape[1])):
        low, high = int(np.floor(values.min())) - _MARGIN, int(np.ceil(values.max())) + _MARGIN + 1
        bounds.append(slice(min(max(low, 0), size), min(max(high, 0), size)))
    return tuple(bounds)


def _whole_pixels(local_map, shape):
    """First row and column of the frame, if the stamp's pixels are pixels of the frame; else None."""
    if np.abs(local_map.jacobian - np.eye(2)).max() > _DIRECT:
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
    Put the PSF of a frame on a stamp's pixels.

    Parameters
    ----------
    psf : `~numpy.ndarray`
        ``[k, k]`` on the frame's pixels, centred.
    jacobian : `~numpy.ndarray`
        ``d(x_in, y_in) / d(x, y)`` of the stamp's pixels.
    side : int
        Side of the new image, odd.

    Returns
    -------
    `~numpy.ndarray`
        ``[side, side]``, sum 1.
    """
    from scipy.ndimage import map_coordinates

    offset = np.arange(side) - side // 2
    x, y = np.tensordot(jacobian, np.array(np.meshgrid(offset, offset)), 1)
    middle = [(n - 1) / 2 for n in psf.shape]
    new = map_coordinates(psf.astype(float), [y + middle[0], x + middle[1]], order=3, mode="constant")
    return (new / new.sum()).astype(np.float32)
