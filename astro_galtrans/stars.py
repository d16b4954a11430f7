"""The PSF that the stars of an image show, and that which images carry."""

from collections.abc import Mapping
from math import ceil

import numpy as np
from scipy.ndimage import fourier_shift

from .domain import MIN_STARS, find_stars, seeing_from_stars, sky_rms
from .psf import MoffatPSF, profile_fwhm, psf_images

__all__ = ["as_image", "carried_psf", "measured_psf", "star_image"]

REACH = 6.0  # arcsec around stars: 98 % of their light, more than which their noise and their neighbours hide
CORE = 2.0  # arcsec around stars, in which the light is that all of them are scaled to
STAR_NOISE, STACK_NOISE = 0.05, 0.015  # most noise of all pixels of a star, and of the median of stars, over its light
MOST = 2048  # pixels a side of the middle of an image in which stars are looked for: that of an SDSS frame
NO_WINGS = 2.5  # FWHM: half the side of the image of a width, less than that from which an image tells wings


def carried_psf(image):
    """Return the PSF that NDData carries, or a dict of those of a dict of bands, or None."""
    if isinstance(image, Mapping):
        found = {band: getattr(one, "psf", None) for band, one in image.items()}
        return {band: psf for band, psf in found.items() if psf is not None} or None
    return getattr(image, "psf", None)


def measured_psf(data, mask, pixel_scale):
    """
    Return the PSF that the stars in the middle of an image show.

    Parameters
    ----------
    data : `~numpy.ndarray`
        ``[H, W]``.
    mask : `~numpy.ndarray` or None
        True where a pixel is bad.
    pixel_scale : float
        Arcsec.

    Returns
    -------
    `~numpy.ndarray`, float or None
        Its image `star_image`, else the FWHM (arcsec) of `~astro_galtrans.domain.seeing_from_stars`, else None.
    """
    middle = tuple(slice(max(0, (n - MOST) // 2), (n + MOST) // 2) for n in data.shape)
    plane = np.asarray(data[middle])
    good = np.isfinite(plane) if mask is None else np.isfinite(plane) & ~mask[middle]
    plane, noise = np.where(good, plane, 0), sky_rms(plane, good)
    image = star_image(plane, good, noise, pixel_scale)
    return seeing_from_stars(plane, good, noise, pixel_scale) if image is None else image


def as_image(fwhm, pixel_scale):
    """Return the image ``[k, k]`` of a PSF of which only the FWHM as measured (arcsec) is known: without its wings."""
    side = 2 * ceil(NO_WINGS * fwhm / pixel_scale) - 1
    return psf_images(MoffatPSF(profile_fwhm([fwhm], pixel_scale=pixel_scale)), pixel_scale, side)[0]


def star_image(plane, good, noise, pixel_scale):
    """
    Return the image of the PSF that the stars of an image show, ``[k, k]`` of sum 1, k odd.

    It is the median of those stars that are bright enough to show their wings, each moved to the middle of a pixel.
    Their light is that within 6 arcsec above the level there: surveys measure the total light of stars, by which their
    zero points are defined, in such apertures.

    Parameters
    ----------
    plane, good, noise, pixel_scale
        As for `~astro_galtrans.domain.seeing_from_stars`.

    Returns
    -------
    `numpy.ndarray` or None
        None if there are fewer than five such stars, or all together are too faint.
    """
    half = round(REACH / pixel_scale)
    boxes, stars = find_stars(plane, good, noise, half)
    y, x = np.indices(boxes.shape[1:]) - half
    radius = np.hypot(y, x)
    moved = np.empty(boxes.shape)
    for k, box in enumerate(boxes):
        box = box - np.median(box[radius > half - 2])
        moved[k] = np.fft.ifft2(fourier_shift(np.fft.fft2(box), (-stars.y[k], -stars.x[k]))).real
    light = moved[:, radius * pixel_scale < CORE].sum(axis=1)
    blur = noise and noise * radius.size**0.5 / light  # of the sum over the box
    bright = np.zeros(0, int) if not len(boxes) else np.flatnonzero((light > 0) & (blur < STAR_NOISE))
    # a median of n values is 1.25 times as noisy as their mean
    if len(bright) < MIN_STARS or 1.25 * np.sqrt(np.mean(blur[bright] ** 2) / len(bright)) > STACK_NOISE:
        return None
    image = np.median(moved[bright] / light[bright, None, None], axis=0)
    return image / image.sum()
