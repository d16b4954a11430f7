"""Convolution of stacks of stamps with separable kernels: two products with band matrices."""

import torch

__all__ = ["FWHM_TO_SIGMA", "gaussian", "smooth"]

FWHM_TO_SIGMA = 0.42466


def gaussian(sigma, radius):
    """
    Return a Gaussian of sum one.

    Parameters
    ----------
    sigma : float
        In pixels.
    radius : int
        Pixels on either side of the middle.
    """
    offset = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-((offset / sigma) ** 2) / 2)
    return kernel / kernel.sum()


def smooth(stamps, kernel, mode="mirror"):
    """
    Convolve with a symmetric kernel along both axes.

    Parameters
    ----------
    stamps : `torch.Tensor`
        ``[..., H, W]``.
    kernel : `torch.Tensor`
        ``[2 r + 1]``.
    mode : {"mirror", "zeros"}, optional
        What is beyond the borders: the stamp mirrored in its outermost pixels, or zero.
    """
    height, width = stamps.shape[-2:]
    return _band(height, kernel, mode) @ stamps @ _band(width, kernel, mode).T


def _band(size, kernel, mode):
    """The matrix that convolves a column of that size."""
    radius = len(kernel) // 2
    place = torch.arange(size)[:, None] + torch.arange(-radius, radius + 1)
    inside = (place >= 0) & (place < size)
    if mode == "mirror":
        place = (size - 1) - ((size - 1) - place.abs()).abs()
        inside = (place >= 0) & (place < size)
    weights = kernel.expand(size, -1) * inside
    return torch.zeros(size, size).scatter_add_(1, place.clamp(0, size - 1), weights)
