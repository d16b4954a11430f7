r"""
Photometry on stamps: aperture and peak fluxes, asinh magnitudes and colours.

Apertures are centred on the stamp's centre, the same in all bands. A flux :math:`f` with sky noise :math:`\sigma`
becomes an asinh magnitude (Lupton, Gunn & Szalay 1999, AJ 118, 1406) with softening :math:`b = \sigma`,

.. math:: m = -2.5 \log_{10} e \, [\operatorname{arcsinh}(f / 2b) + \ln b],

which exists for negative fluxes too. The zero point is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from astro_galtrans._columns import name_rows, plain, same_length
from astro_galtrans.measure.magnitudes import asinh_magnitudes, colours_and_magnitude
from astro_galtrans.measure.photometry import aperture_weights, peak_flux

__all__ = ["FEATURES", "Photometry", "magnitude_features"]

GAUSSIANS = 1.0, 2.0, 4.0  #: FWHM of the Gaussian-weighted apertures (arcsec)
DIAMETERS = 1.5, 3.0, 6.0, 10.0  #: of the circular apertures (arcsec)
TOTAL = 6.0  #: diameter of the aperture called total (arcsec)
FEATURES = {
    "peaks": "colours of the peak fluxes, and the peak of the middle band",
    "peak_colours": "colours of the peak fluxes",
    "total": 'colours in an aperture of 6" diameter, and the magnitude of the middle band in it',
    "colours": 'colours in an aperture of 6" diameter',
    "apertures": "colours and a magnitude of all apertures",
    "all": "apertures and peaks",
}


@dataclass(frozen=True)
class Photometry:
    """
    How stamps are measured.

    Fluxes are in the images' unit; a galaxy's position is the centre of its stamp.

    Examples
    --------
    >>> import torch
    >>> from astro_galtrans.photoz import Photometry
    >>> photometry = Photometry(bands="gri", pixel_scale=0.4, sky_rms=[0.1] * 3, size=32)
    >>> flux = photometry.fluxes(torch.ones(2, 3, 32, 32))
    >>> flux.shape, photometry.features(flux).shape
    (torch.Size([2, 8, 3]), torch.Size([2, 24]))
    >>> round(float(flux[0, photometry.total_row, 0]))  # pixels in an aperture of 6 arcsec
    177
    """

    bands: Sequence[str]
    pixel_scale: float  #: arcsec
    sky_rms: Sequence[float]  #: per pixel and band, in the images' flux unit
    size: int  #: side of the stamp (pixels)

    @cached_property
    def apertures(self):
        """Weight of each pixel in each aperture, ``[A, size, size]``: Gaussians, then circles."""
        axis = (torch.arange(self.size) - (self.size - 1) / 2) * self.pixel_scale
        radius = torch.hypot(axis[:, None], axis)
        gaussians = [torch.exp(-0.5 * (2.3548 * radius / fwhm) ** 2) for fwhm in GAUSSIANS]  # sigma = FWHM / 2.3548
        circles = aperture_weights((self.size, self.size), np.array(DIAMETERS) / 2 / self.pixel_scale)
        return torch.cat([torch.stack(gaussians), torch.from_numpy(circles).float()])

    @cached_property
    def noise(self):
        """Sky noise of each aperture's flux and, last, of the peak, ``[A + 1, C]``."""
        sky = torch.tensor(self.sky_rms, dtype=torch.float32)
        pixels = self.apertures.square().sum(dim=(1, 2)).sqrt()
        return torch.cat([pixels, torch.ones(1)])[:, None] * sky

    @property
    def total_row(self):
        """Which row of `fluxes` is the aperture called total."""
        return len(GAUSSIANS) + DIAMETERS.index(TOTAL)

    def fluxes(self, images):
        """
        Fluxes in all apertures and, last, of the highest pixel within 2 arcsec of the centre, ``[B, A + 1, C]``.

        Parameters
        ----------
        images : `torch.Tensor`
            float32 ``[B, C, size, size]``.
        """
        flux = torch.einsum("bchw,ahw->bac", images, self.apertures)
        return torch.cat([flux, peak_flux(images, self.pixel_scale)[:, None]], dim=1)

    @cached_property
    def _noise_root(self):
        """Root of the covariance of the sky noise in all apertures and the peak's pixel, in units of a pixel's."""
        peak = torch.zeros(1, self.size, self.size)
        peak[0, self.size // 2, self.size // 2] = 1
        weight = torch.cat([self.apertures, peak]).flatten(start_dim=1).double()
        covariance = weight @ weight.T
        return torch.linalg.cholesky(covariance + 1e-9 * covariance.diagonal().diag()).float()

    def noisier(self, flux, share):
        """
        Return fluxes ``[B, A + 1, C]``, as from `fluxes`, with a share of the sky noise drawn once more.

        A share of 0.5 makes the noise larger by an eighth.
        """
        draw = torch.randn(len(flux), len(self._noise_root), len(self.bands))
        noise = torch.einsum("ij,bjc->bic", self._noise_root, draw) * torch.tensor(self.sky_rms, dtype=torch.float32)
        return flux + share * noise

    def features(self, flux, which="all"):
        """
        Return the input features of a network, colours and a magnitude, from fluxes: ``[B, F]``.

        Parameters
        ----------
        flux : `torch.Tensor`
            ``[B, A + 1, C]``, as from `fluxes`.
        which : str, optional
            A key of `FEATURES`.
        """
        total = [self.total_row]
        rows = {"all": slice(None), "apertures": slice(-1), "total": total, "colours": total}.get(which, [-1])
        features = colours_and_magnitude(asinh_magnitudes(flux, self.noise)[:, rows])
        if which not in {"colours", "peak_colours"}:
            return features.flatten(start_dim=1)
        return features[..., :-1].flatten(start_dim=1)


def magnitude_features(magnitudes, errors, bands):
    """
    Return a catalogue's colours, magnitude of the middle band and, if given, logarithms of errors, float32 ``[N, F]``.

    Magnitudes and errors are ``[N, C]``; missing values are a `ValueError` that names the rows.
    """
    magnitudes = _table("magnitudes", magnitudes, bands)
    missing = ~(np.abs(magnitudes) < 90).all(axis=1)  # NaN too; 99 and -99 are catalogues' ways to say it
    features = [colours_and_magnitude(torch.from_numpy(magnitudes))]
    if errors is not None:
        errors = _table("errors", errors, bands)
        same_length(magnitudes=magnitudes, errors=errors)
        missing |= ~((errors > 0) & (errors < 90)).all(axis=1)
        features.append(torch.from_numpy(errors).log())
    if missing.any():
        msg = f"magnitudes, or positive errors, are missing in {name_rows(missing)}; leave them out"
        raise ValueError(msg)
    return torch.cat(features, dim=1).float()


def _table(name, values, bands):
    values = plain(getattr(values, "value", values))
    if values.ndim != 2 or values.shape[1] != len(bands):
        msg = f"{name} must be [N, {len(bands)}] for bands {', '.join(bands)}, got shape {values.shape}"
        raise ValueError(msg)
    return values
