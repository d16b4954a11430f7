"""
Fluxes of sources on a grid of pixels: seven apertures about a position, and the pixel that it lies in.

All are linear in the image, so that an image can be conditioned on them exactly
(`astro_galtrans.models.photometric.conditioning`).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from photutils.aperture import CircularAperture

__all__ = ["COUNT", "RADII", "REACH", "Patches", "aperture_noise", "patches"]

GAUSSIANS = 1.0, 2.0, 4.0  # FWHM of the Gaussian weights (arcsec): from the core of the PSF to the body of a galaxy
DIAMETERS = 1.5, 3.0, 6.0, 10.0  # of the circles (arcsec); the Gaussians end at the largest
RADII = *GAUSSIANS, *(diameter / 2 for diameter in DIAMETERS), 0.0  #: to where most of their weight lies (arcsec)
COUNT = len(GAUSSIANS) + len(DIAMETERS) + 1  #: of fluxes in a band, with that of the pixel, the last
REACH = max(DIAMETERS) / 2  #: arcsec from a position to where its weights end
SIGMA_TO_FWHM = 2.3548


@dataclass(frozen=True, eq=False)
class Patches:
    """Weights of the pixels in the apertures of n sources, each in a square box of one size."""

    corners: np.ndarray  #: first row and column of each box, int ``[n, 2]``; outside the image for sources at its edge
    weights: np.ndarray  #: float32 ``[n, A, side, side]``
    shape: tuple[int, int]  #: rows and columns of the image

    def __len__(self):
        return len(self.corners)

    @property
    def side(self):
        """Side of a box (pixels)."""
        return self.weights.shape[-1]

    def fluxes(self, image):
        """Return fluxes in an image ``[C, H, W]``, float32 ``[n, A, C]``; beyond its edges it is taken for mirrored."""
        found = np.empty((len(self), self.weights.shape[1], len(image)), np.float32)
        for flux, weights, cut in zip(found, self.weights, self.cuts(image), strict=True):
            flux[...] = weights.reshape(len(weights), -1) @ cut.reshape(len(cut), -1).T
        return found

    def cuts(self, image):
        """Yield the box of each source, ``[C, side, side]``."""
        if not len(self):
            return
        beyond = max(0, -int(self.corners.min()), int((self.corners + self.side - self.shape).max()))
        padded = np.pad(image, ((0, 0), *[(beyond, beyond)] * 2), mode="symmetric") if beyond else image
        for row, column in self.corners + beyond:
            yield padded[:, row : row + self.side, column : column + self.side]

    @property
    def inside(self):
        """Whether an aperture lies on the image as a whole, bool ``[n, A]``."""
        rows, columns = (start[:, None] + np.arange(self.side) for start in self.corners.T)
        beyond = ~(((rows >= 0) & (rows < self.shape[0]))[:, :, None] & ((columns >= 0) & (columns < self.shape[1]))[
            :, None
        ])  # fmt: skip
        return ~((self.weights > 0) & beyond[:, None]).any(axis=(2, 3))


def patches(positions, shape, pixel_scale):
    """Return the `Patches` of sources at x and y (pixels) ``[n, 2]`` on an image of some rows and columns."""
    positions = np.asarray(positions, float).reshape(-1, 2)
    half = int(np.ceil(REACH / pixel_scale)) + 1
    nearest = np.rint(positions).astype(int)
    weights = np.array([_weights(*offset, half, pixel_scale) for offset in positions - nearest], np.float32)
    side = 2 * half + 1
    return Patches(nearest[:, ::-1] - half, weights.reshape(len(positions), COUNT, side, side), tuple(shape))


@lru_cache(maxsize=16)
def aperture_noise(pixel_scale):
    """Return the standard deviation of the fluxes in white noise of unit variance, ``[A]``."""
    weights = _weights(0.0, 0.0, int(np.ceil(REACH / pixel_scale)) + 1, pixel_scale)
    return np.sqrt(np.square(weights).sum(axis=(1, 2)))


def _weights(x, y, half, pixel_scale):
    """Weights ``[A, side, side]`` about a place less than a pixel from the middle of a box."""
    axis = np.arange(-half, half + 1)
    squares = np.square(axis - x) + np.square(axis - y)[:, None]
    circles = [_circle(x + half, y + half, diameter / 2 / pixel_scale, 2 * half + 1) for diameter in DIAMETERS]
    sigmas = np.array(GAUSSIANS) / SIGMA_TO_FWHM / pixel_scale
    gaussians = np.exp(-0.5 * squares / np.square(sigmas)[:, None, None]) * circles[-1]
    pixel = np.zeros_like(squares)
    pixel[half, half] = 1
    return np.concatenate([gaussians, circles, pixel[None]])


def _circle(x, y, radius, side):
    return CircularAperture((x, y), radius).to_mask(method="exact").to_image((side, side))
