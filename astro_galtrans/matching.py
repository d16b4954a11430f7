r"""
The linear answer: an image brought to another survey's PSF and pixels by a Wiener filter.

An image holds the sky seen with its PSF and summed into its pixels, :math:`x = (h * s)` at every pixel's centre, plus
noise. What the other survey would have seen is :math:`y = g * s` on pixels that are ``scale`` times finer. The linear
estimate with the smallest squared error for a sky and a noise without structure has the transfer function

.. math:: K = \frac{G \bar H}{\sum |H|^2 / \mathrm{scale}^2 + \epsilon}

where the sum is over frequencies that the coarse pixels cannot tell apart (Wiener 1949; Park, Park & Kang 2003, IEEE
Signal Process. Mag. 20, 21). Where the data carry the light it has the other survey's PSF, whatever the seeing was.
The filter is cut to a kernel of finite size for each of the ``scale**2`` finer pixels of a pixel, so that the answer
does not depend on what is far away; each kernel conserves the flux of a constant image.
"""

from functools import lru_cache

import numpy as np
from scipy import fft
from scipy.signal import oaconvolve

from .psf import Frequencies

__all__ = ["kernel_reach", "match", "matching_kernels"]

# epsilon, noise over sky power: of 1e-4 to 1e-2 the best for simulated SDSS galaxies; light grows nine-fold at most
NOISE = 3e-3
LEAST_REACH = 8  # pixels: the shortest kernel, for PSFs that are not wider than three pixels
SMALL = 256  # pixels a side: of larger images the transforms do not fit in the processor's cache
REACH_FWHM = 2.7  # beyond it (in FWHM of the wider PSF) the filter holds less than a thousandth of the light


def kernel_reach(fwhm, pixel_scale):
    """Half the side of a kernel (source pixels) for PSFs whose widest has this FWHM (arcsec)."""
    return max(LEAST_REACH, int(np.ceil(REACH_FWHM * float(np.max(fwhm)) / pixel_scale)))


def matching_kernels(source, target, pixel_scale, scale, reach, noise=NOISE):
    r"""
    Return the kernels that bring images to another PSF and to finer pixels, float32 ``[C, scale**2, k, k]``.

    Parameters
    ----------
    source, target : `~astro_galtrans.psf.MoffatPSF` or `~astro_galtrans.psf.SampledPSF`
        PSFs without the pixel, of one galaxy and the same bands.
    pixel_scale : float
        Of the source (arcsec).
    scale : int
        Finer pixels per pixel along each axis.
    reach : int
        The side of a kernel is ``k = 2 * reach + 1`` source pixels.
    noise : float, optional
        Power of the noise over that of the sky, :math:`\epsilon`.
    """
    frequencies, bands = Frequencies((4 * reach, 4 * reach), scale, pixel_scale), np.arange(source.bands)
    seen, wanted = (_whole(psf.transform(frequencies, [0], bands)[0], frequencies) for psf in (source, target))
    n, fine = 4 * reach, scale * 4 * reach
    k = 2 * np.pi * fft.fftfreq(fine)  # radian per finer pixel
    pixel = [np.sinc(side * k / (2 * np.pi)) for side in (scale, 1)]
    shift = np.exp(0.5j * (scale - 1) * k)  # a pixel's centre lies so far from that of its first finer pixel
    seen = seen * np.multiply.outer(pixel[0] * shift, pixel[0] * shift)
    wanted = wanted * np.multiply.outer(pixel[1], pixel[1])
    power = (np.abs(seen) ** 2).reshape(-1, scale, n, scale, n).sum(axis=(1, 3)) / scale**2
    filters = fft.ifft2(wanted * seen.conj() / (np.tile(power, (1, scale, scale)) + noise)).real
    offsets = scale * np.arange(-reach, reach + 1) + np.arange(scale)[:, None]  # [phase, k]
    kernels = filters[:, offsets[:, None, :, None], offsets[None, :, None, :]]
    kernels = kernels.reshape(len(bands), scale**2, 2 * reach + 1, 2 * reach + 1)
    return (kernels / (scale**2 * kernels.sum(axis=(-2, -1), keepdims=True))).astype(np.float32)


def _whole(half, frequencies):
    """Both halves of the transform of a real image."""
    return fft.fft2(fft.irfft2(half, s=frequencies.fine))


def match(image, kernels):
    """
    Apply `matching_kernels` to an image ``[C, H, W]``, which is continued by reflection.

    The result ``[C, scale**2, H, W]`` holds the finer pixels of every pixel, row by row, as flux in the finer pixels.
    """
    reach = kernels.shape[-1] // 2
    # a mirror reaches no further than the image is wide
    pad = [(0, 0), *((reach, reach) for _ in range(2))]
    padded = np.pad(image, pad, mode="symmetric")[:, None]
    if max(image.shape[-2:]) > SMALL:
        return oaconvolve(padded, kernels, mode="valid", axes=(-2, -1)).astype(np.float32)
    # what a transform of this size wraps around falls on the edges, which are cut off
    size = tuple(fft.next_fast_len(n, real=True) for n in padded.shape[-2:])
    product = fft.rfft2(padded, size) * _transformed(kernels.tobytes(), kernels.dtype, kernels.shape, size)
    inside = (slice(2 * reach, 2 * reach + n) for n in image.shape[-2:])
    return fft.irfft2(product, size)[(..., *inside)].astype(np.float32)


@lru_cache(maxsize=8)
def _transformed(content, dtype, shape, size):
    # stamps of a survey, one PSF and one size come in thousands
    return fft.rfft2(np.frombuffer(content, dtype).reshape(shape), size)
