"""Convolution of stacks of stamps with separable kernels: two products with band matrices."""

import torch

__all__ = ["FWHM_TO_SIGMA", "SMOOTHING", "detected", "gaussian", "smooth"]

FWHM_TO_SIGMA = 0.42466
DETECTION = 3.0  # sigma of the smoothed stamp above which pixels belong to a source
SMOOTHING = 1.0  #: FWHM (arcsec): about the seeing, the matched filter of what is faint and small


def detected(stamps, noise, pixel_scale):
    """Return stamps ``[..., H, W]`` smoothed to 1 arcsec, and which pixels are above 3 sigma of white noise."""
    sigma = max(FWHM_TO_SIGMA * SMOOTHING / pixel_scale, 0.7)  # a narrower kernel would fall between the pixels
    kernel = gaussian(sigma, int(3 * sigma + 0.5))
    smoothed = smooth(stamps, kernel)
    return smoothed, smoothed > DETECTION * noise * (kernel**2).sum()  # the noise left by smoothing along both axes


def gaussian(sigma, radius):
    """Return a Gaussian of sum one, ``radius`` pixels on either side of the middle, with a sigma in pixels."""
    offset = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-((offset / sigma) ** 2) / 2)
    return kernel / kernel.sum()


def smooth(stamps, kernel):
    """Convolve stamps ``[..., H, W]``, zero beyond their borders, with a symmetric kernel along both axes."""
    height, width = stamps.shape[-2:]
    return _band(height, kernel) @ stamps @ _band(width, kernel).T


def _band(size, kernel):
    """The matrix that convolves a column of that size."""
    radius = len(kernel) // 2
    place = torch.arange(size)[:, None] + torch.arange(-radius, radius + 1)
    inside = (place >= 0) & (place < size)
    weights = kernel.expand(size, -1) * inside
    return torch.zeros(size, size).scatter_add_(1, place.clamp(0, size - 1), weights)
