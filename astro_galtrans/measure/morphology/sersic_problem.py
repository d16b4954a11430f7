"""Residuals and normal equations of Sersic models of many galaxies, and the convolution of these with PSFs."""

import numpy as np
from scipy import fft
from scipy.special import gammaincinv

from .sersic_loops import SMALLEST_N, derivatives, products, profiles, residuals

__all__ = ["Convolution", "Problem"]

CHUNK = 1 << 16  # pixels of galaxies at a time: what the caches hold
STEP = 1e-4  # relative, of the Sersic index, for the slope of b


class Problem:
    """
    The residuals and normal equations of Sersic models of some of a batch's galaxies (arguments as in
    `.sersic.fit_sersic`).
    """

    def __init__(self, image, weight, frame=None, psf=None):
        frame = np.ones_like(image, dtype=bool) if frame is None else frame
        self.galaxies = image, weight, np.stack([frame.any(2).sum(1), frame.any(1).sum(1)], 1)
        self.convolved = _as_it_is if psf is None else Convolution(psf, image.shape[1:])
        self.shape, self.few = image.shape[1:], max(CHUNK // image[0].size, 1)

    def model(self, parameters, rows):
        """Return the models of some galaxies."""
        models = np.empty((len(rows), *self.shape))
        profiles(parameters, _b(_index(parameters)), rows, self.galaxies[2], models)
        return self.convolved(models, rows)

    def residual(self, parameters, rows):
        """Return the norm of the residuals, and the residuals, over the pixels' standard deviation."""
        norms, found = np.empty(len(rows)), np.empty((len(rows), *self.shape))
        for part in self._parts(rows):
            models = self.model(parameters[part], rows[part])
            residuals(models, rows[part], *self.galaxies, found[part], norms[part])
        return norms, found

    def normal(self, parameters, rows, residual):
        """Return J^T J and J^T r."""
        number, free = parameters.shape
        matrix, gradient, n = np.empty((number, free, free)), np.empty((number, free)), _index(parameters)
        b, slope = _b(n), (_b(n * (1 + STEP)) - _b(n * (1 - STEP))) / (2 * STEP * n)
        for part in self._parts(rows):
            x, some = parameters[part], rows[part]
            # The seventh derivative, by the amplitude, is the model, which `products` knows from the residuals.
            columns = np.empty((len(x), free - 1, *self.shape), np.float32)
            derivatives(x, b[part], slope[part], some, self.galaxies[2], columns)
            columns = self.convolved(columns, some)
            products(columns, x, some, *self.galaxies, residual[part], matrix[part], gradient[part])
        return matrix, gradient

    def _parts(self, rows):
        return (slice(start, start + self.few) for start in range(0, len(rows), self.few))


def _index(parameters):
    return np.maximum(parameters[:, 2], SMALLEST_N)


def _b(n):
    """The b of Sersic's law, with which half of a profile's light is within its half-light radius."""
    return gammaincinv(2 * n, 0.5)


def _as_it_is(images, _rows):
    return images


class Convolution:
    """
    Convolution with PSFs, ``same`` as the image of ``shape`` (H, W), as `scipy.signal.fftconvolve` does it.

    PSFs are ``[N, k, k]``, or ``[1, k, k]`` for all galaxies, and are normalised.
    """

    def __init__(self, psf, shape):
        self.shape, self.start = shape, [(k - 1) // 2 for k in psf.shape[1:]]
        # Light may come round at the edges as long as it stays out of the part that is kept.
        least = [n + k - 1 - s for n, k, s in zip(shape, psf.shape[1:], self.start, strict=True)]
        self.size = [fft.next_fast_len(n, real=True) for n in least]
        double = fft.rfft2(_folded(psf / psf.sum((1, 2), keepdims=True), self.size))
        self.transforms = {np.dtype(np.float64): double, np.dtype(np.float32): double.astype(np.complex64)}

    def __call__(self, images, rows):
        """Convolve ``[n, ..., H, W]`` of the galaxies ``rows``, in the precision of the images."""
        transform, (height, width), (y, x) = self.transforms[images.dtype], self.shape, self.start
        transform = transform if len(transform) == 1 else transform[rows]
        transform = transform.reshape(len(transform), *(1,) * (images.ndim - 3), *transform.shape[1:])
        # One axis after the other: rows that are empty before, or not wanted after, need no transform along x.
        found = fft.fft(fft.rfft(images, self.size[1]), self.size[0], axis=-2, overwrite_x=True)
        found *= transform
        found = fft.ifft(found, axis=-2, overwrite_x=True)[..., y : y + height, :]
        return np.ascontiguousarray(fft.irfft(found, self.size[1])[..., x : x + width])


def _folded(psf, size):
    """A PSF on the pixels of the transform; one that is larger is wrapped around."""
    pad = [(0, -k % n) for k, n in zip(psf.shape[1:], size, strict=True)]
    padded = np.pad(psf, [(0, 0), *pad])
    return padded.reshape(len(psf), -1, size[0], padded.shape[2] // size[1], size[1]).sum((1, 3))
