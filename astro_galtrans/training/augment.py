r"""
Augmentation of crops: shifts by a fraction of a pixel, worse seeing, more noise, rotations and reflections.

Shifts and blurs are separable and linear, so each is one small matrix per axis, :math:`A_y I A_x^T`. Images are
continued by reflection at their edges.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["Change", "apply_linear", "blur_matrix", "dihedral", "draw_change", "shift_matrix"]

FWHM_PER_SIGMA = np.sqrt(8 * np.log(2))


class Change(NamedTuple):
    """The changes of one crop, as `draw_change` draws them."""

    turns: int = 0  #: which of the eight elements of the dihedral group: quarter turns, plus four if mirrored first
    shift: tuple[float, float] = (0.0, 0.0)  #: on the sky along y and x (source pixels)
    seeing: float = 0.0  #: FWHM of the Gaussian that the source is blurred with (source pixels)
    noise: float = 0.0  #: standard deviation of the noise added to the source, in sigma of its sky

    @property
    def resamples(self):
        """Whether pixels are mixed with their neighbours."""
        return any(self.shift) or self.seeing > 0


def draw_change(rng, augment, pixel_scale):
    """
    Draw the changes of a crop, always with the same number of random numbers, for a source of that pixel scale
    (arcsec).
    """
    happens = rng.random(4)
    turns, shift, (seeing, noise) = int(rng.integers(8)), rng.uniform(-1, 1, 2), rng.random(2)
    return Change(
        turns if happens[0] < augment.dihedral else 0,
        tuple(augment.shift_pixels * shift) if happens[1] < augment.shift else (0.0, 0.0),
        augment.seeing_fwhm / pixel_scale * seeing if happens[2] < augment.seeing else 0.0,
        augment.noise_sigma * noise if happens[3] < augment.noise else 0.0,
    )


def dihedral(image, element):
    """Turn an image ``[..., H, W]`` by ``element % 4`` quarters, mirrored before if ``element >= 4``; a view."""
    return np.rot90(image[..., ::-1] if element >= 4 else image, element % 4, axes=(-2, -1))


def shift_matrix(size, shift):
    """
    Matrix ``[size, size]`` that moves a row of pixels by ``shift`` pixels and keeps its power at every frequency.

    It is the Fourier shift of the row and its mirror image, one after the other, so that white noise stays white, which
    it does not with splines.
    """
    x = np.arange(size)[:, None] - np.arange(2 * size) - shift
    x = np.where(np.abs(x) < 1e-9, 1e-9, x)  # where the limit is 1, and reached to all digits
    kernel = np.sin(np.pi * x) / (2 * size * np.tan(np.pi * x / (2 * size)))  # Dirichlet's, of an even period
    return kernel[:, :size] + kernel[:, : size - 1 : -1]


def blur_matrix(size, fwhm):
    """Matrix ``[size, size]`` that blurs a row of pixels with a Gaussian, mirrored at the ends; rows sum to one."""
    if fwhm <= 0:
        return np.eye(size)
    x = np.arange(size)[:, None] - np.arange(-size, 2 * size)
    kernel = np.exp(-0.5 * (x * FWHM_PER_SIGMA / fwhm) ** 2)
    kernel = kernel[:, size : 2 * size] + kernel[:, size - 1 :: -1] + kernel[:, : 2 * size - 1 : -1]
    return kernel / kernel.sum(axis=1, keepdims=True)


def apply_linear(image, along_y, along_x):
    """Apply a matrix along each axis of ``[..., H, W]``."""
    along_y, along_x = (np.asarray(m, image.dtype) for m in (along_y, along_x))
    return along_y @ image @ along_x.T
