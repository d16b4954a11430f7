"""Azimuthally averaged power spectra of stamps, and the ratio of two with its interval, block by block."""

import numpy as np
import torch

from astro_galtrans.statistics.resampling import StreamedSums

__all__ = ["PowerRatio", "frequencies", "power_spectra"]

TAPER = 0.25  # share of the stamp's side that the window takes to fall to zero at both ends together


def frequencies(shape, pixel_scale):
    """
    Return the middles of the bins of spatial frequency (cycles per arcsec), up to the Nyquist frequency.

    They are as wide as the lowest frequency of the shorter side of a stamp of that shape (pixels).
    """
    side = min(shape)
    return np.arange(1, side // 2 + 1) / (side * pixel_scale)


def power_spectra(stamps):
    """
    Return the mean squared modulus of the Fourier transform of stamps ``[n, C, H, W]`` in rings of frequency.

    Stamps are tapered by a Tukey window, as a galaxy that is cut off would leak into all frequencies. The result is
    ``[n, C, K]``, at `frequencies`.
    """
    height, width = stamps.shape[-2:]
    window = _tukey(height)[:, None] * _tukey(width)
    transform = torch.fft.rfft2(stamps * window)
    power = transform.real**2 + transform.imag**2
    return power.flatten(-2) @ _rings(height, width)


def _tukey(size):
    """Tukey (1967) window: flat, with cosine ends."""
    place = (torch.arange(size) + 0.5) / size
    edge = torch.minimum(place, 1 - place) / (TAPER / 2)
    return torch.sin(torch.pi / 2 * edge.clamp(max=1)) ** 2


def _rings(height, width):
    """``[F, K]``: weight of each Fourier mode in each ring's mean; modes that are stored once for two count twice."""
    side = min(height, width)
    y, x = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    ring = torch.round(torch.hypot(y, x) * side).long() - 1  # the constant is in none
    twice = torch.where((x == 0) | (x == 0.5), 1.0, 2.0).expand(height, -1)
    weights = (ring[..., None] == torch.arange(side // 2)) * twice[..., None]
    weights = weights.flatten(0, 1)
    return weights / weights.sum(0)


class PowerRatio:
    r"""
    Geometric mean over galaxies of the ratio of two power spectra, :math:`\exp \langle \ln P' / P \rangle`.

    All galaxies count alike; a ratio of sums would be that of the brightest few. Only sums are kept, and those of ``n``
    resamples; ``shape`` is that of the ratios of a galaxy, ``(C, K)``.
    """

    def __init__(self, shape, n, seed):
        self.number = np.zeros(shape[0], dtype=int)
        self._sums = StreamedSums((2, *shape), n, seed)  # logarithms, and how many

    def add(self, power, other):
        """Take in spectra ``[n, C, K]`` above and below the line; those without power at a frequency are left out."""
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithm = np.log(power.astype(float)) - np.log(other.astype(float))
        usable = np.isfinite(logarithm).all(axis=-1, keepdims=True)
        self.number += usable[..., 0].sum(axis=0)
        self._sums.add(np.stack([np.where(usable, logarithm, 0), np.broadcast_to(usable, logarithm.shape)], axis=1))

    def result(self):
        """Return the ratio ``[C, K]`` and those of the resamples ``[n, C, K]``; NaN without a galaxy."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return tuple(
                np.exp(sums[..., 0, :, :] / sums[..., 1, :, :]) for sums in (self._sums.total, self._sums.draws)
            )
