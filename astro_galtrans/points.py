r"""
Stars of a translation that look like stars of the target survey.

A bright star has a hundred times the signal of what networks mostly see in training, and comes out with rims and rings,
in each band its own. Nothing about it has to be learnt: what the image shows as a point is a point at the target's
PSF, too. The bright sources of an image are therefore compared with its PSF, and those that agree to some per cent are
drawn anew in the translation: with the flux that the translation has there, at the place where the image has them.

The image also tells how much of the light around a star is not its own. With the star's light :math:`S` in a source
pixel, the noise of the sky :math:`\sigma`, and :math:`R`, what is left of the image without the star, the share

.. math::

    w = \frac{S^2}{S^2 + \sigma^2 + \max(\langle R^2 \rangle - (\epsilon S)^2, 0)}

of a translation's light is replaced; :math:`\epsilon` is how well the PSF of an image is known. Neighbours and the sky
stay as the network has them.
"""

from typing import NamedTuple

import numpy as np
from scipy import fft
from scipy.ndimage import fourier_shift, gaussian_filter, maximum_filter, zoom

from .moments import SIGMA_TO_FWHM, round_moments
from .psf import Frequencies, MoffatPSF, psf_images

__all__ = ["Point", "find_points", "redraw"]

BRIGHT = 50.0  # peak over the noise of the sky in the clearest band, from which on a galaxy shows that it is none
CLEAR = 20.0  # the same of every band that tells shape and place
# What may be left in the core of a source without its star, rms over that of the star. Of stars in SDSS frames it is
# 0.01 to 0.06 where the PSF is known as an image, as PSFs vary across a frame; and up to 0.12 with a round profile of
# the same width; of galaxies it is 0.2 and more.
UNLIKE_IMAGE, UNLIKE_PROFILE = 0.07, 0.14
CUT_OFF = 3.0  # times that much is left in a single band only if it is saturated there
REACH = 5.0  # FWHM: half the side of the image of a profile
CORE = 1.5  # FWHM around a star, in which it is compared with the PSF and its flux summed up
APART = 0.5  # pixels: bands of a star are no further apart
FADING = 0.7  # of the half side of a PSF's image: from there to its edge the share of the star falls to zero


class Point(NamedTuple):
    """A star of an image."""

    corner: tuple  #: row and column of the first pixel of a box ``[k, k]`` around it, which may lie outside
    place: np.ndarray  #: row and column of the star in the box, per band, ``[C, 2]``
    share: np.ndarray  #: of the light that is the star's, ``[C, k, k]``; 0 in bands that do not show it


def find_points(image, psf, fwhm, noise, pixel_scale, bad=None):
    """
    Find the bright stars of an image.

    Parameters
    ----------
    image : `~numpy.ndarray`
        ``[C, H, W]``, finite, without sky.
    psf : sequence of `~numpy.ndarray` or None
        Per band the image of the PSF ``[k, k]``, k odd, or None where only its width is known.
    fwhm : sequence of float
        Per band, of the PSF as a Moffat profile (arcsec).
    noise : array-like
        Per band: sky rms of a pixel.
    pixel_scale : float
        Arcsec.
    bad : `~numpy.ndarray`, optional
        Pixels that cannot be used, ``[C, H, W]``.

    Returns
    -------
    list of `Point`
        Empty without bands.
    """
    noise = np.asarray(noise, float)[:, None, None]
    usable = image if bad is None else np.where(bad, 0, image)
    # most stamps have no such source: the quickest test comes first
    if not len(image) or (usable.max(axis=(1, 2), keepdims=True) < BRIGHT * noise).all():
        return []
    clearest = np.max(usable / noise, axis=0)
    finder = _Finder(psf, fwhm, pixel_scale, noise)
    bad, found = np.zeros(image.shape, bool) if bad is None else bad, []
    for peak in np.argwhere((clearest > BRIGHT) & (clearest == maximum_filter(clearest, 5))):
        corner = tuple(int(n) for n in peak - finder.half)
        point = finder.point(*(_box(planes, corner, finder.side, fill) for planes, fill in ((image, 0), (bad, True))))
        if point is not None:
            found.append(Point(corner, *point))
    return found


class _Finder:
    """The PSFs of an image, with which its sources are compared."""

    def __init__(self, psf, fwhm, pixel_scale, noise):
        sides = [min(one.shape) for one in psf if one is not None]
        self.half = min(sides, default=2 * round(REACH * max(fwhm) / pixel_scale)) // 2
        self.side, self.noise = 2 * self.half + 1, noise
        profiles = psf_images(MoffatPSF(fwhm), pixel_scale, self.side)
        both = zip(psf, profiles, strict=True)
        self.psf = np.array([profile if one is None else _middle(one / one.sum(), self.half) for one, profile in both])
        self.unlike = np.array([UNLIKE_PROFILE if one is None else UNLIKE_IMAGE for one in psf])[:, None, None]
        self.own, _ = round_moments(self.psf)
        self.radius = np.hypot(*(np.indices(self.psf.shape[1:]) - self.half))
        self.core = self.radius < CORE * SIGMA_TO_FWHM * np.sqrt(self.own.xx)[:, None, None]

    def point(self, boxes, bad):
        """Place and share of the star in the middle of boxes ``[C, k, k]``; None if there is something else."""
        boxes, usable = boxes.astype(float), ~(bad & self.core).any(axis=(1, 2))
        peak = boxes[:, self.half, self.half] / self.noise[:, 0, 0]
        clear = usable & (peak > CLEAR)
        seen, measured = round_moments(boxes)
        if not clear.any() or not measured[clear].all():
            return None
        offset = np.transpose([seen.y - self.own.y, seen.x - self.own.x])
        offset[~clear] = mean = np.average(offset[clear], axis=0, weights=peak[clear])
        if np.abs(offset - mean).max() > APART:
            return None
        star = self._fitted(boxes, offset)
        rest = np.square(boxes - star)
        left, own = (self._in_core(part / self.noise**2) for part in (rest - self.noise**2, star**2))
        allowed = self.unlike[:, 0, 0] ** 2 * own
        if left[clear].sum() > allowed[clear].sum():
            return None
        usable &= ~clear | (left < CUT_OFF**2 * allowed)
        others = np.maximum(gaussian_filter(rest, (0, 1, 1)) - (self.unlike * star) ** 2, 0)
        share = star**2 / (star**2 + self.noise**2 + others)
        share *= np.clip((1 - self.radius / self.half) / (1 - FADING), 0, 1)
        return offset + self.half, share * usable[:, None, None]

    def _fitted(self, boxes, offset):
        """Images ``[C, k, k]`` of the star that fits the core best, at offsets from the middle."""
        spectra = zip(fft.fft2(self.psf), offset, strict=True)
        moved = np.array([fft.ifft2(fourier_shift(spectrum, by)).real for spectrum, by in spectra])
        light = self._in_core(boxes * moved) / self._in_core(moved**2)
        return np.maximum(light, 0)[:, None, None] * moved

    def _in_core(self, values):
        return np.sum(values, axis=(1, 2), where=self.core)


def redraw(flux, points, scale, bands, seeing, fwhm, pixel_scale, noise=None):
    """
    Draw the stars of a translation, in place, as the target's PSF shows them.

    Parameters
    ----------
    flux : `~numpy.ndarray`
        ``[C', scale*H, scale*W]``.
    points : list of `Point`
    scale : int
        Pixels of ``flux`` along a side of a pixel of the image.
    bands : sequence of int
        Of ``flux``: those of the points.
    seeing, fwhm : sequence of float
        FWHM of the PSF of the image and of the target in these bands (arcsec), the latter's a Moffat profile.
    pixel_scale : float
        Of ``flux`` (arcsec).
    noise : callable, optional
        Draws noise for pixels of a band, from its place in ``flux`` and their light.
    """
    if not points:
        return
    side = scale * points[0].share.shape[-1]
    drawn = _Drawn(np.asarray(fwhm, float) / pixel_scale, side)
    # what the image does not resolve is the network's guess, and wrong where it draws rings: their sum is not
    reach = CORE * np.maximum(seeing, fwhm) / pixel_scale
    for point in points:
        inside, cut = _overlap([scale * n for n in point.corner], side, flux.shape[1:])
        for k, band in enumerate(bands):
            share = zoom(point.share[k], scale, order=1, mode="nearest", grid_mode=True)[cut]
            star, radius = (part[cut] for part in drawn.star(k, scale * (point.place[k] + 0.5) - 0.5))
            weight, before = share * (radius < reach[k]), flux[(band, *inside)]
            if weight.any():
                star *= max(np.sum(weight * before) / np.sum(weight * star), 0)
                noisy = star if noise is None else star + noise(band, star)
                before += share * (noisy - before)


class _Drawn:
    """Stars of unit flux at any place of boxes of ``side`` pixels."""

    def __init__(self, fwhm, side):
        self.side = side
        # twice the side, so that what leaves a box does not come in again at its other side
        self.shape = (fft.next_fast_len(2 * side, real=True),) * 2
        frequencies = Frequencies(self.shape, 1, 1.0)
        self.y, self.x = frequencies.along()
        pixel = np.sinc(self.y / (2 * np.pi)) * np.sinc(self.x / (2 * np.pi))
        self.transfer = pixel * MoffatPSF(fwhm).transform(frequencies, [0], np.arange(len(fwhm)))[0]

    def star(self, band, place):
        """Return the image of a star at a row and column, and how far its pixels are from there."""
        row, column = place
        moved = self.transfer[band] * np.exp(-1j * (row * self.y + column * self.x))
        y, x = (np.arange(self.side) - n for n in place)
        return fft.irfft2(moved, s=self.shape)[: self.side, : self.side], np.hypot(y[:, None], x)


def _box(planes, corner, side, outside):
    """Box of planes ``[C, H, W]``, with a value where it lies outside of them."""
    box = np.full((len(planes), side, side), outside, planes.dtype)
    inside, cut = _overlap(corner, side, planes.shape[1:])
    box[(slice(None), *cut)] = planes[(slice(None), *inside)]
    return box


def _overlap(corner, side, shape):
    """Where a box lies in an image, and where the image lies in the box."""
    ends = [(max(first, 0), min(first + side, n), first) for first, n in zip(corner, shape, strict=True)]
    return tuple(
        tuple(slice(start - shift * first, stop - shift * first) for start, stop, first in ends) for shift in (0, 1)
    )


def _middle(image, half):
    y, x = (n // 2 for n in image.shape)
    return image[y - half : y + half + 1, x - half : x + half + 1]
