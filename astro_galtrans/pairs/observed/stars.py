"""The PSF of an image, from its stars."""

import numpy as np

from astro_galtrans.domain import find_stars

__all__ = ["HALF_WIDTH", "star_psf"]

HALF_WIDTH = 5.0  #: half the side of a PSF image (arcsec)


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
    from scipy.ndimage import shift

    half = int(np.clip(round(HALF_WIDTH / pixel_scale), 4, 60))
    boxes, stars = find_stars(plane, good, noise, half)
    centred = [shift(box, (-y, -x), order=3, mode="nearest") for box, x, y in zip(boxes, stars.x, stars.y, strict=True)]
    whole = [star / star.sum() for star in centred if star.sum() > 0]
    if not whole:
        return None
    stack = np.median(whole, axis=0)
    return (stack / stack.sum()).astype(np.float32)
