r"""
Fluxes of a translation that agree with the image it was made from.

A network's fluxes are those that were likely in its training. Where a source is bright the image itself tells them, for
sources, PSFs and noise of any kind. Both are therefore compared at one broad Gaussian PSF :math:`g`, with the target's
bands turned into those of the source by linear colour terms :math:`M` that the translator's card holds:

.. math::

    S_b = \frac{\tilde g}{\tilde P_{s,b}} \, \tilde x_b , \qquad
    F_b = \sum_j M_{bj} \frac{\tilde g}{\tilde P_{t,j}} \, \tilde y_j ,

and each pixel of the translation is multiplied by

.. math::

    1 + \frac{\alpha^2}{\alpha^2 + \tau_b^2 + \sigma_b^2 / F_b^2} \, \frac{S_b - F_b}{F_b} ,

the linear Gaussian update of a flux whose relative error is :math:`\alpha` by an observation with the noise
:math:`\sigma_b` and the scatter :math:`\tau_b` of the colour terms. What is faint is left to the network, and so is the
shape of everything on scales below the broad PSF: factors that vary slowly change neither widths nor the sky.

This needs the PSF :math:`P_s` of the image with its wings, that is as an image. A width does not tell the 5 to 15 % of
the light that ground-based telescopes spread into wings.
"""

import numpy as np
from scipy import fft
from scipy.ndimage import zoom

from .moments import SIGMA_TO_FWHM
from .psf import Frequencies, MoffatPSF, SampledPSF, both_halves, image_fwhm, summing
from .units import flux_factor

__all__ = ["Consistency"]

#: Relative error of a network's fluxes on images unlike those of its training: 0 to 10 % in docs/tables/real_sky.rst.
PRIOR = 0.05
# FWHM of the common PSF over that of the broadest other one: broad enough that no noise is amplified, and yet narrow
# enough to tell neighbours apart. Between 1.2 and 1.8 simulated galaxies come out alike.
BROADER = 1.4
LEAST_SCATTER = 0.01  # of colour terms: flat fields and zero points of surveys agree to a percent
MOST = 0.5  # largest relative change: beyond it the image and the network see different things
FLOOR = 2e-3  # transfer below which a PSF is not divided out; the common PSF leaves no light there
REACH = 2.5  # FWHM of the common PSF after which an image is continued by reflection
BLOCK = 512  # source pixels along each axis that are transformed at once: 50 MB for two times finer pixels


class Consistency:
    """
    Bring the fluxes of translations to those of the images they were made from.

    Parameters
    ----------
    card : dict
        A translator's. Its ``calibration.colour_terms`` have ``bands`` of both surveys, a ``matrix`` that gives the
        source's fluxes in them from the target's, and the relative ``scatter`` of galaxies and stars about it.
    bands_in, bands_out : tuple of str
        Of the network.
    """

    def __init__(self, card, bands_in, bands_out):
        terms, source, target = card["calibration"]["colour_terms"], card["source"], card["target"]
        self.inside, self.outside = ([all_.index(band) for band in terms["bands"]] for all_ in (bands_in, bands_out))
        self.matrix = np.array(terms["matrix"], float)  # squares of bright fluxes overflow single precision
        self.scatter = np.maximum(np.array(terms["scatter"]), LEAST_SCATTER)
        self.pixel_scale, self.target_fwhm = source["pixel_scale"], np.array(target["fwhm"], float)[self.outside]
        self.factor = flux_factor(target["zeropoint"], source["zeropoint"])
        electrons = np.array(source.get("electrons") or [np.inf] * len(bands_in), float)[self.inside]
        self.electrons = np.where(electrons > 0, electrons, np.inf)

    @classmethod
    def of(cls, card, spec):
        """Return that of a card and the `~astro_galtrans.models.base.ModelSpec` of its network; None if not known."""
        known = card["calibration"].get("colour_terms") and all(card["target"].get("fwhm") or [None])
        return cls(card, spec.in_bands, spec.out_bands) if known and spec.observed else None

    def apply(self, flux, image, psf, noise, mask=None):
        """
        Change the fluxes of a translation in place.

        Parameters
        ----------
        flux : `~numpy.ndarray`
            ``[C', scale*H, scale*W]``, in the target's flux unit.
        image : `~numpy.ndarray`
            ``[C, H, W]``, finite, in the source's flux unit.
        psf : sequence
            Per band of ``image`` the image of its PSF ``[k, k]`` on its pixels, k odd, or None for bands that are left
            as they are.
        noise : array-like
            Per band of ``image``: sky rms.
        mask : `~numpy.ndarray`, optional
            Pixels of the translation that stay as they are, ``[C', scale*H, scale*W]``.
        """
        known = [k for k, band in enumerate(self.inside) if psf[band] is not None]
        if not known:
            return
        compared = _Compared(self, known, [psf[self.inside[k]] for k in known], np.asarray(noise, float), flux, image)
        changes = np.empty((len(known), *image.shape[1:]), np.float32)
        for rows in compared.blocks(0):
            for columns in compared.blocks(1):
                changes[:, rows, columns] = compared.changes(rows, columns)
        for k, change in zip(known, changes, strict=True):
            change = zoom(change, compared.scale, order=1, mode="nearest", grid_mode=True)
            if mask is not None:
                change[mask[self.outside[k]]] = 0
            flux[self.outside[k]] *= 1 + change


class _Compared:
    """A translation and its image at one broad PSF, in the bands ``known`` of the terms of a `Consistency`."""

    def __init__(self, whole, known, psf, noise, flux, image):
        self.inside, self.outside = [whole.inside[k] for k in known], whole.outside
        self.flux, self.image, self.scale = flux, image, flux.shape[-1] // image.shape[-1]
        pixel, self.matrix, self.scatter = whole.pixel_scale, whole.matrix[known], whole.scatter[known]
        width = BROADER * max(*whole.target_fwhm, *(pixel * image_fwhm(one) for one in psf))
        self.margin = int(np.ceil(REACH * width / pixel))
        sides = (2 * fft.next_fast_len(min(n, BLOCK) // 2 + self.margin + 1, real=True) for n in image.shape[1:])
        self.frequencies = grid = Frequencies(tuple(sides), self.scale, pixel)
        common = np.exp(-0.5 * (grid.radius(fine=False) * (width / SIGMA_TO_FWHM)) ** 2)
        seen = [SampledPSF(one[None], pixel).transform(grid, [0], [0])[0, 0] for one in psf]
        target = MoffatPSF(whole.target_fwhm).transform(grid, [0], np.arange(len(whole.outside)))[0]
        self.of_image = (common * _inverse(grid.coarse(np.array(seen)))).astype(np.complex64)
        self.of_flux = (common * _inverse(grid.coarse(target)) * summing(grid) * whole.factor).astype(np.complex64)
        # what white noise in the pixels, and that of photons, is at the common PSF
        power = np.abs(self.of_image) ** 2 @ both_halves(grid.shape[1])
        self.noise, self.electrons = noise[self.inside], whole.electrons[known]
        self.power = power.sum(axis=1) / np.prod(grid.shape)

    def blocks(self, axis):
        """Slices of source pixels along an axis."""
        n, step = self.image.shape[1 + axis], self.frequencies.shape[axis] - 2 * self.margin
        return [slice(start, min(start + step, n)) for start in range(0, n, step)]

    def changes(self, rows, columns):
        """Return the relative change of a block in each band, on the source's pixels."""
        seen = self._at_common_psf(self.image, self.inside, self.of_image, rows, columns, 1)
        ours = self._at_common_psf(self.flux, self.outside, self.of_flux, rows, columns, self.scale)
        ours = np.maximum(np.tensordot(self.matrix, ours, 1), np.finfo(np.float32).tiny)
        power, noise, electrons, scatter = (
            each[:, None, None] for each in (self.power, self.noise, self.electrons, self.scatter)
        )
        variance = power * (noise**2 + ours / electrons) + (scatter * ours) ** 2
        return np.clip(PRIOR**2 * ours * (seen - ours) / ((PRIOR * ours) ** 2 + variance), -MOST, MOST)

    def _at_common_psf(self, images, bands, kernels, rows, columns, scale):
        """Bands of a block at the common PSF, ``[C, H, W]`` on the source's pixels."""
        grid, margin = self.frequencies, self.margin
        y, x = (
            _reflected(scale * (part.start - margin), scale * side, n)
            for part, side, n in zip((rows, columns), grid.shape, images.shape[1:], strict=True)
        )
        cut = slice(margin, margin + rows.stop - rows.start), slice(margin, margin + columns.stop - columns.start)
        found = []
        for band, kernel in zip(bands, kernels, strict=True):
            spectrum = fft.rfft2(images[band][y[:, None], x])
            found.append(fft.irfft2((grid.coarse(spectrum) if scale > 1 else spectrum) * kernel, s=grid.shape)[cut])
        return np.array(found)


def _reflected(start, number, n):
    """Indices of so many pixels from ``start`` on, along an axis of ``n`` that is continued by reflection."""
    index = np.arange(start, start + number) % (2 * n)
    return np.minimum(index, 2 * n - 1 - index)


def _inverse(transfer):
    return np.conj(transfer) / (np.abs(transfer) ** 2 + FLOOR**2)
