"""The PSF of an image, from its stars."""

import numpy as np

from astro_galtrans.domain import find_stars

__all__ = ["HALF_WIDTH", "centred", "star_psf"]

HALF_WIDTH = 5.0  #: half the side of a PSF image (arcsec)
WINDOW = 1.2  # sigma (arcsec) of the weight that finds a star's centre


def star_psf(plane, good, noise, pixel_scale):
    """
    Stack the stars of an image.

    Parameters
    ----------
    plane, good : `~numpy.ndarray`
        Image and usable pixels, ``[H, W]``.
    noise : float or None
        Sky rms.
    pixel_scale : float
        Side of a pixel (arcsec).

    Returns
    -------
    `~numpy.ndarray` or None
        ``[k, k]``, k odd, 10 arcsec wide, sum 1: the median of the stars, each centred and of flux 1. None if fewer
        than five are found (see `astro_galtrans.domain.find_stars`).
    """
    half = int(np.clip(round(HALF_WIDTH / pixel_scale), 4, 60))
    boxes, _ = find_stars(plane, good, noise, half)
    if not boxes:
        return None
    stars = [centred(box, WINDOW / pixel_scale) for box in boxes]
    stack = np.median([star / star.sum() for star in stars if star.sum() > 0], axis=0)
    return (stack / stack.sum()).astype(np.float32)


def centred(box, sigma):
    """
    Move a star to the middle of its box.

    Parameters
    ----------
    box : `~numpy.ndarray`
        ``[k, k]``, sky-subtracted.
    sigma : float
        Of the Gaussian window in which the centroid is taken (pixels); as of XWIN_IMAGE of SExtractor.

    Returns
    -------
    `~numpy.ndarray`
    """
    from scipy.ndimage import shift

    half = box.shape[0] // 2
    offset = np.arange(-half, half + 1.0)
    x = y = 0.0
    for _ in range(8):
        weight = box * np.exp(-0.5 * ((offset - x) / sigma) ** 2) * np.exp(-0.5 * ((offset - y) / sigma) ** 2)[:, None]
        total = weight.sum()
        step_x, step_y = weight.sum(axis=0) @ (offset - x) / total, weight.sum(axis=1) @ (offset - y) / total
        x, y = x + 2 * step_x, y + 2 * step_y
        if not max(abs(x), abs(y)) < 2:  # not a star after all
            return np.zeros_like(box)
    return shift(box, (-y, -x), order=3, mode="nearest")
