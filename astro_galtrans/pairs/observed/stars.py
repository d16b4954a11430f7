"""The PSF of an image, from its stars."""

import numpy as np

from astro_galtrans.domain import find_stars

__all__ = ["HALF_WIDTH", "star_psf"]

HALF_WIDTH = 5.0  #: half the side of a PSF image (arcsec)


def star_psf(plane, good, noise, pixel_scale):
    """
    PSF of an image ``[H, W]``, ``[k, k]`` with k odd, 10 arcsec wide and of sum 1; None with fewer than five stars.

    It is the median of the stars that `astro_galtrans.domain.find_stars` finds, each centred and of flux 1. ``good``
    marks usable pixels, ``noise`` is the sky rms or None, ``pixel_scale`` is in arcsec.
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
