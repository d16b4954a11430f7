r"""
Stars of a translation that look like stars of the target survey.

A bright star has a hundred times the signal of what networks mostly see in training, and comes out with rims and rings,
in each band its own. Nothing about it has to be learnt: what the image shows as a point is a point at the target's
PSF, too. The bright sources of an image are therefore compared with its PSF, and those that agree to some per cent are
drawn anew in the translation: with the flux that the translation has there, at the place where the image has them.

The image also tells how much of the light around a star is not its own. With the star's light :math:`S` in a source
pixel, the noise of the sky :math:`\sigma`, and :math:`R`, what is left of the image without the star, the share

.. math::

    w = \frac{S^2}{S^2 + \sigma^2} \, \frac{T^2}{T^2 + \max(\langle R^2 \rangle - (\epsilon S)^2, 0)
        + \max(\langle A^2 \rangle - 2 \sigma^2 - (\epsilon S)^2, 0) / \kappa^2}

of a translation's light is replaced. :math:`\epsilon` is how well the PSF of an image is known, and :math:`T` the light
that the star has with the target's PSF or with that of the image, whichever is less: where a sharper PSF shows the
galaxy around a quasar, the image has still more light of the quasar. What a PSF that is slightly wrong leaves is much
the same on both sides of a star, and a neighbour is on one side only: :math:`A` is the light that the point opposite
has not, and a neighbour stays from :math:`\kappa` of the star's light on. Neighbours and the sky stay as the network
has them.
"""

from typing import NamedTuple

import numpy as np
from scipy import fft
from scipy.ndimage import fourier_shift, gaussian_filter, label, maximum_filter, zoom

from .moments import SIGMA_TO_FWHM, round_moments
from .psf import Frequencies, MoffatPSF, psf_images

__all__ = ["Point", "find_points", "redraw"]

BRIGHT = 50.0  # peak over the noise of the sky in the clearest band, from which on a galaxy shows that it is none
CLEAR = 20.0  # the same of every band that tells shape and place
# What may be left in the core of a source without its star, rms over that of the star. Of stars in SDSS frames it is
# 0.01 to 0.06 where the PSF is known as an image, as PSFs vary across a frame; and up to 0.12 with a round profile of
# the same width; of galaxies it is 0.2 and more.
UNLIKE_IMAGE, UNLIKE_PROFILE = 0.07, 0.14
# From this many FWHM on to the end of the core, so many times that share of a star's light may be on all sides of it:
# stars in SDSS frames have 0.06 and 0.3 of theirs with an image and a profile; galaxies around quasars, which are a
# fifth of the light, 0.25 and more.
RIM, HOST = 1.0, 2.5
CUT_OFF = 3.0  # times that much is left in a single band only if it is saturated there
# FWHM: half the side of the image of a profile, and the most of one that is given, as blocks of a mosaic overlap by 12.
REACH, MOST_REACH = 5.0, 8.0
NEAR = 3.0  # FWHM around a star, in which its place is measured: further out are others
CORE = 1.5  # FWHM around a star, in which it is compared with the PSF and its flux summed up
APART = 0.5  # pixels: bands of a star are no further apart
# Of the star's light in a pixel: a neighbour with it halves the share. Of a companion 4 magnitudes fainter and 2 arcsec
# away half of the light would be lost with 1, and 5 % is; with less the rings of networks come back.
NEIGHBOUR = 0.16
# In a ring of this radius (FWHM) a star has 0.02 of its peak, and median light of more than this share tells, without
# a look at all pixels, that there is none: large galaxies have a noise peak every five pixels.
RING, MOST_IN_RING = CORE, 0.25
LEAST_BESIDE = 0.1  # of the peak in the four pixels beside it: the narrowest star has 0.2, a cosmic ray less
AT_ONCE = 256  # sources: 30 MB for PSFs of 51 x 51 pixels in five bands
FADING = 0.7  # of the half side of a PSF's image: from there to its edge the share of the star falls to zero


TINY = np.finfo(np.float32).tiny


class Point(NamedTuple):
    """A star of an image."""

    corner: tuple  #: row and column of the first pixel of a box ``[k, k]`` around it, which may lie outside
    place: np.ndarray  #: row and column of the star in the box, per band, ``[C, 2]``
    share: np.ndarray  #: of the light that is the star's, ``[C, k, k]``; 0 in bands that do not show it


def find_points(image, psf, fwhm, noise, pixel_scale, target, bad=None):
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
    target : sequence of float
        Per band the FWHM of the target's PSF, a Moffat profile (arcsec).
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
    finder = _Finder(psf, fwhm, pixel_scale, noise, target)
    bad, found = np.zeros(image.shape, bool) if bad is None else bad, []
    corners = _peaks(clearest, RING * max(fwhm) / pixel_scale) - finder.half
    for first in range(0, len(corners), AT_ONCE):
        found += finder.points(image, bad, corners[first : first + AT_ONCE])
    return found


def _peaks(clearest, radius):
    """Rows and columns of bright pixels that may be stars, of pixels with equal values side by side the first."""
    labels, _ = label((clearest > BRIGHT) & (clearest == maximum_filter(clearest, 5)), np.ones((3, 3)))
    places = np.argwhere(labels)
    places = places[np.unique(labels[tuple(places.T)], return_index=True)[1]]
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.rint(radius * np.array([np.sin(angle), np.cos(angle)])).astype(int)
    beside = np.array([[0, 0, 1, -1], [1, -1, 0, 0]])
    in_ring, near = (_values(clearest, places[..., None] + offsets) for offsets in (ring, beside))
    peak = clearest[tuple(places.T)]
    return places[(np.median(in_ring, axis=1) < MOST_IN_RING * peak) & (near.mean(axis=1) > LEAST_BESIDE * peak)]


def _values(plane, places):
    """Values of a plane at rows and columns ``[N, 2, M]``, or at its edge where they lie outside."""
    return plane[tuple(np.clip(places[:, k], 0, n - 1) for k, n in enumerate(plane.shape))]


class _Finder:
    """The PSFs of an image, with which its sources are compared."""

    def __init__(self, psf, fwhm, pixel_scale, noise, target):
        sides = [min(one.shape) for one in psf if one is not None]
        reach, most, near = (round(n * max(fwhm) / pixel_scale) for n in (REACH, MOST_REACH, NEAR))
        self.half = min([*sides, 2 * most]) // 2 if sides else reach
        self.near = slice(max(self.half - near, 0), self.half + near + 1)
        self.side, self.noise = 2 * self.half + 1, noise
        profiles = psf_images(MoffatPSF(fwhm), pixel_scale, self.side)
        both = zip(psf, profiles, strict=True)
        self.psf = np.array([profile if one is None else _middle(one / one.sum(), self.half) for one, profile in both])
        self.unlike = np.array([UNLIKE_PROFILE if one is None else UNLIKE_IMAGE for one in psf])[:, None, None]
        self.own, self.spectra = self._moments(self.psf)[0], fft.fft2(self.psf)
        self.target = fft.fft2(psf_images(MoffatPSF(target), pixel_scale, self.side))
        self.radius = np.hypot(*(np.indices(self.psf.shape[1:]) - self.half))
        width = SIGMA_TO_FWHM * np.sqrt(self.own.xx)[:, None, None]
        self.core = self.radius < CORE * width
        # the wings are known less well: beyond 2 FWHM 0.10 to 0.17 of those of bright stars in SDSS frames are left
        self.known = self.unlike * np.maximum(self.radius / width, 1)
        self.rim = self.core & (self.radius > RIM * width)

    def points(self, image, bad, corners):
        """Return the `Point` of each of the boxes ``[N, 2]`` of an image with a star in its middle."""
        corners = [tuple(corner) for corner in corners.tolist()]
        boxes = np.array([_box(image, corner, self.side, 0) for corner in corners], float)
        unknown = np.array([_box(bad, corner, self.side, True) for corner in corners])
        usable = ~(unknown & self.core).any(axis=(2, 3))
        peak = boxes[..., self.half, self.half] / self.noise[:, 0, 0]
        clear = usable & (peak > CLEAR)
        # all at once, as each step of the search takes as long for hundreds of bands as for one
        offset, measured = np.zeros((*clear.shape, 2)), np.zeros(clear.shape, bool)
        seen, measured[clear] = self._moments(boxes[clear])
        offset[clear] = np.transpose([seen.y, seen.x])
        offset -= np.transpose([self.own.y, self.own.x])
        found = []
        for k in np.flatnonzero(clear.any(axis=1) & (measured | ~clear).all(axis=1)):
            star = self._star(boxes[k], usable[k], clear[k], offset[k], peak[k])
            found += [] if star is None else [Point(corners[k], *star)]
        return found

    def _star(self, boxes, usable, clear, offset, peak):
        """Place and share of the star in the middle of boxes ``[C, k, k]``; None if there is something else."""
        offset[~clear] = mean = np.average(offset[clear], axis=0, weights=peak[clear])
        if np.abs(offset - mean).max() > APART:
            return None
        star, light = self._fitted(boxes, offset)
        rest = boxes - star
        left, own = (self._in_core(part / self.noise**2) for part in (rest**2 - self.noise**2, star**2))
        allowed = self.unlike[:, 0, 0] ** 2 * own
        if left[clear].sum() > allowed[clear].sum():
            return None
        # galaxies around quasars have their light on all sides: what is there twice is neither noise nor a neighbour
        opposite = _moved(fft.fft2(rest[:, ::-1, ::-1]), 2 * offset)
        around = np.minimum(rest, opposite) - HOST * self.unlike * star
        if np.sum(around / self.noise, axis=(1, 2), where=self.rim)[clear].sum() > 0:
            return None
        usable = usable & (~clear | (left < CUT_OFF**2 * allowed))
        place = offset + np.transpose([self.own.y, self.own.x])
        # the wings of the image's PSF hide what is around a star, where the sharper target shows it
        own = np.minimum(star, light * _moved(self.target, place)) ** 2
        share = star**2 / (star**2 + self.noise**2) * own / (own + self._others(rest, star, opposite) + TINY)
        share *= np.clip((1 - self.radius / self.half) / (1 - FADING), 0, 1)
        return place + self.half, (share * usable[:, None, None]).astype(np.float32)

    def _others(self, rest, star, opposite):
        """How much the squared light of others counts, from what is left without the star, there and opposite."""
        alone = np.maximum(rest - np.maximum(opposite, 0), 0)
        known = (self.known * star) ** 2
        others, neighbours = (gaussian_filter(part**2, (0, 1, 1)) - known for part in (rest, alone))
        return np.maximum(others, 0) + np.maximum(neighbours - 2 * self.noise**2, 0) / NEIGHBOUR**2

    def _moments(self, boxes):
        return round_moments(boxes[:, self.near, self.near])

    def _fitted(self, boxes, offset):
        """Images ``[C, k, k]`` of the star that fits the core best, at offsets from the middle."""
        moved = _moved(self.spectra, offset)
        light = self._in_core(boxes * moved) / self._in_core(moved**2)
        light = np.maximum(light, 0)[:, None, None]
        return light * moved, light

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
            near, before = radius < reach[k], flux[(band, *inside)]
            total = np.sum(share * star, where=near)
            if total > 0:
                light, noisy = np.sum(share * before, where=near), 0
                if noise is not None:
                    # with what stays of the network's noise it has the variance of the target's
                    noisy = np.sqrt(1 - (1 - share) ** 2) * noise(band, max(light / total, 0) * star)
                    light -= np.sum(noisy, where=near)  # the flux of a sample has its noise already
                before += share * (max(light / total, 0) * star - before) + noisy


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
        moved = self.transfer[band] * (np.exp(-1j * row * self.y) * np.exp(-1j * column * self.x))
        y, x = (np.arange(self.side) - n for n in place)
        return fft.irfft2(moved, s=self.shape)[: self.side, : self.side], np.hypot(y[:, None], x)


def _moved(spectra, offset):
    """Images ``[C, k, k]`` of their spectra, each moved by rows and columns."""
    return np.array([fft.ifft2(fourier_shift(one, by)).real for one, by in zip(spectra, offset, strict=True)])


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
