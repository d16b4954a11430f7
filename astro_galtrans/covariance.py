r"""
How the errors of neighbouring pixels of a translation belong together.

A translation :math:`\hat y` is a forecast of :math:`y`, what the target survey would have recorded, with a stated
standard deviation :math:`\sigma_i` in each pixel. Its error has two parts,

.. math::

    \mathrm{Cov}(y_i - \hat y_i, y_j - \hat y_j) = n_i^2 \, \delta_{ij} + \sum_k u_{ki} \, u_{kj} \, \rho_k(r_{ij}) ,
    \qquad u_{ki} = a_k(\hat y_i / \sigma_i) \, \sigma_i .

The first is the noise :math:`n_i` that the target survey's own image would have, of sky and photons: white, and known
from the survey. The second is the error of the translation as an estimate of the noise-free image. It is a sum over
scales, each with a correlation :math:`\rho_k` of fixed length, from a pixel to beyond a galaxy. The amplitudes
:math:`a_k` depend on the stated signal-to-noise ratio of the pixel: in blank sky nearly all of :math:`\sigma` is white
noise, in a bright galaxy neighbours share nearly all of it.

The correlation of a scale is the difference of two Gaussians of equal volume, the second with the length of the next
scale: errors that move light about without changing the flux of a galaxy have such correlations. That of the last scale
is a Gaussian. The Fourier transform of neither is negative anywhere, so the sum is a valid covariance whatever the
amplitudes, and no aperture has a negative variance.

The amplitudes are measured on pairs (`astro_galtrans.training`), are part of a translator's card
(``calibration.correlation``) and travel in the ``meta`` of every translation (card ``GTCOVAR``). Bands whose fluxes
agree with the image (`astro_galtrans.consistency`) have smaller errors, and amplitudes of their own
(``calibration.correlation_consistent``).
"""

import json
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache

import numpy as np
from scipy import fft

from .units import flux_factor

__all__ = ["LENGTHS", "NODES", "Covariance", "brightness_weights", "correlation_transforms", "quadratic_forms"]

LENGTHS = 1.0, 2.0, 4.0, 8.0, 32.0  #: of the scales in pixels of the target; the last is common to a whole galaxy
#: Stated signal-to-noise ratios of a pixel, between which amplitudes are interpolated: sky, the rim of a galaxy, its
#: body, its core, and that of a bright one.
NODES = 0.7, 1.5, 4.0, 12.0, 30.0
POSITIVE = 1e-38, 1e38
DIGITS = 3  # significant digits of the numbers in the card: a per mille of an amplitude is far below its error


def brightness_weights(flux, std):
    """
    Return the weights of the `NODES`, ``[N, H, W]`` of sum 1, for pixels of a flux and its standard deviation.

    Between nodes they are linear in the logarithm of the signal-to-noise ratio; outside, the last node holds.
    """
    ratio = np.maximum(flux, NODES[0] * std) / np.where(std > 0, std, 1)
    place = np.interp(np.log(np.maximum(ratio, NODES[0])), np.log(NODES), np.arange(len(NODES)))
    return np.maximum(0, 1 - np.abs(place - np.arange(len(NODES))[:, None, None]))


def quadratic_forms(maps, lengths):
    r"""
    Return :math:`\sum_{ij} m_i \, m'_j \, \rho(r_{ij})`, over all pairs of pixels, of all pairs of maps.

    Parameters
    ----------
    maps : `~numpy.ndarray`
        ``[K, M, H, W]``, or ``[1, M, H, W]`` for the same maps on every scale.
    lengths : sequence of float
        Of the K scales (pixels), increasing.

    Returns
    -------
    `~numpy.ndarray`
        ``[K, M, M]``.
    """
    transforms = _transforms(maps.shape[-2:], tuple(lengths))
    found = fft.fft2(maps, transforms.shape[1:]).reshape(*maps.shape[:2], -1)
    weighted = found.conj() * transforms.reshape(len(lengths), 1, -1)
    return (weighted @ found.swapaxes(-1, -2)).real / found.shape[-1]  # Parseval's theorem


@lru_cache(maxsize=8)
def _transforms(shape, lengths):
    """Fourier transforms of the correlations, ``[K, ky, kx]``, padded so that no pixel meets one across the edge."""
    return fft.fft2(_correlations(tuple(fft.next_fast_len(2 * n - 1) for n in shape), lengths)).real


@lru_cache(maxsize=8)
def correlation_transforms(shape, lengths):
    """Return the transforms of the correlations on a periodic image, ``[K, ky, kx]`` of ``rfft2``, none negative."""
    return np.maximum(fft.rfft2(_correlations(shape, lengths)).real, 0).astype(np.float32)


def _correlations(shape, lengths):
    """Correlations of the scales on a periodic grid, ``[K, y, x]``."""
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
    squares = np.square(lengths)[:, None, None]
    gaussians = np.exp(-(y[:, None] ** 2.0 + x**2.0) / (2 * squares))
    share = squares[:-1] / squares[1:]
    gaussians[:-1] = (gaussians[:-1] - share * gaussians[1:]) / (1 - share)
    return gaussians


@dataclass(frozen=True)
class Covariance:
    """
    Covariance of the errors of a translator's pixels, as its card states it; see the module for what the terms are.

    Fluxes are in units of AB magnitude ``zeropoint``.
    """

    bands: tuple[str, ...]
    zeropoint: float
    pixel_scale: float  #: of the pixels that ``noise`` is for (arcsec)
    lengths: tuple[float, ...]  #: of the scales (arcsec), increasing
    noise: tuple[float, ...]  #: rms of the target survey's own sky in such a pixel, per band
    electrons: tuple[float, ...]  #: electrons per flux unit of the target survey, per band; 0 where not known
    amplitudes: tuple  #: at the `NODES`, per band and scale, ``[C][K][N]``
    between: tuple  #: correlation of errors of aperture fluxes between bands, without the survey's noise, ``[C][C]``
    fwhm: tuple[float, ...] = ()  #: of the target's PSF (arcsec), per band; empty where not known

    def __post_init__(self):
        for name, value in vars(self).items():  # lists and arrays, too, so that equal ones are equal
            object.__setattr__(self, name, _tuples(value))
        bands, lengths = len(self.bands), len(self.lengths)
        ranges = {
            "zeropoint": ((), -100, 100), "pixel_scale": ((), 1e-4, 1e4), "lengths": ((lengths,), 1e-4, 1e6),
            "noise": ((bands,), 0, POSITIVE[1]), "electrons": ((bands,), 0, POSITIVE[1]),
            "fwhm": ((bands,) if self.fwhm else (0,), 1e-4, 1e4), "between": ((bands, bands), -1, 1),
            "amplitudes": ((bands, lengths, len(NODES)), 0, 1e3),
        }  # fmt: skip
        for name, (shape, low, high) in ranges.items():
            value = np.asarray(getattr(self, name), float)
            if value.shape != shape or not ((low <= value) & (value <= high)).all():
                wanted = f"numbers from {low:g} to {high:g} of the shape {shape}"
                msg = f"{name} of the correlation of errors must be {wanted}, got {value.tolist()}"
                raise ValueError(msg)

    @classmethod
    def from_dict(cls, content):
        """Make it of what `to_dict` returned, or of a card's ``calibration.correlation``."""
        return cls(**{f.name: content[f.name] for f in fields(cls) if f.name in content})

    def to_dict(self):
        """Return plain values that JSON can hold, rounded."""
        exact = {"zeropoint": self.zeropoint, "pixel_scale": self.pixel_scale}
        return {name: _rounded(value) for name, value in asdict(self).items()} | exact

    @classmethod
    def from_text(cls, text):
        """Make it of the text of the card ``GTCOVAR``."""
        return cls.from_dict(json.loads(text))

    def to_text(self):
        """Return one line of text for a header."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    def with_bands_of(self, other, bands):
        """
        Return the covariance with the amplitudes of another `Covariance` in some bands.

        The correlation between bands is that of the other one as soon as there is such a band: an error that one of two
        bands has lost is no longer common to them.
        """
        if not bands:
            return self
        chosen = (other if band in bands else self for band in self.bands)
        amplitudes = [one.amplitudes[k] for k, one in enumerate(chosen)]
        return replace(self, amplitudes=amplitudes, between=other.between)

    def correlated(self, band, flux, std):
        """Return the maps :math:`u_k` of correlated errors, ``[K, H, W]``, of fluxes and standard deviations."""
        return np.tensordot(self.amplitudes[self.bands.index(band)], brightness_weights(flux, std), 1) * std

    def white(self, band, flux, pixel_scale, zeropoint=None):
        """
        Return the variance of the target survey's own noise in pixels of fluxes ``[H, W]``.

        Parameters
        ----------
        band : str
        flux : `~numpy.ndarray`
        pixel_scale : float
            Of these pixels (arcsec).
        zeropoint : float, optional
            AB magnitude of one unit of the flux; by default that of the card.
        """
        k, factor = self.bands.index(band), flux_factor(self.zeropoint, zeropoint or self.zeropoint)
        # a sum over an area has the same variance on any pixels: that of a pixel goes with its area
        sky = (self.noise[k] * factor * pixel_scale / self.pixel_scale) ** 2
        return sky + np.maximum(flux, 0) * (factor / self.electrons[k] if self.electrons[k] else 0.0)


def _tuples(value):
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _rounded(value):
    if isinstance(value, tuple | list):
        return [_rounded(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
