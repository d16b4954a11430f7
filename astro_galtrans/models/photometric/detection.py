"""Where the sources of a translation are: what stands out of the noise of its source, by photutils."""

import warnings

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from photutils.centroids import centroid_quadratic
from photutils.segmentation import deblend_sources, detect_sources
from photutils.utils.exceptions import NoDetectionsWarning
from scipy.ndimage import gaussian_filter, maximum_position

__all__ = ["detect"]

# The noise of the source that a translation lets pass is smooth, with 0.24 of the standard deviation of the source's
# pixels: this is five sigma of it.
THRESHOLD = 1.2
SMOOTHING = 0.3  # sigma (arcsec) of the Gaussian that joins the knots of a galaxy: about that of the target's PSF
LEAST_AREA = 0.3  # arcsec^2 of a source, half the area of a PSF of the ground
CONTRAST = 0.02  # share of the light that a part must have to be a source of its own
FIT = 5  # side (pixels) of the box that the parabola at a peak is fitted in


def detect(flux, noise, pixel_scale):
    """
    Return the positions of sources, x and y (pixels), float ``[n, 2]``, the brightest first.

    Parameters
    ----------
    flux : `~numpy.ndarray`
        ``[C, H, W]``: the translation.
    noise : `~numpy.ndarray`
        ``[C]``: sky rms of the source in one of its pixels, in the units of the surface brightness of ``flux``.
    pixel_scale : float
        In arcsec.
    """
    image = sum(plane / sigma for plane, sigma in zip(flux, noise, strict=True)) / np.sqrt(len(flux))
    image = gaussian_filter(image, SMOOTHING / pixel_scale, output=np.float32)
    least = max(4, round(LEAST_AREA / pixel_scale**2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        warnings.simplefilter("ignore", AstropyUserWarning)  # of a centroid that no parabola tells
        segments = detect_sources(image, THRESHOLD, least)
        if segments is None:
            return np.empty((0, 2))
        parts = deblend_sources(image, segments, least, contrast=CONTRAST, progress_bar=False)
        peaks = np.array(maximum_position(image, parts.data, parts.labels))
        peaks = peaks[np.argsort(-image[tuple(peaks.T)], kind="stable")]
        return np.array([_centre(image, *peak) for peak in peaks])


def _centre(image, row, column):
    """Position of a peak to a part of a pixel; the pixel itself where no parabola has its top there."""
    half = FIT // 2
    if min(row, column, image.shape[0] - 1 - row, image.shape[1] - 1 - column) < half:
        return np.array([column, row], float)
    shift = centroid_quadratic(image[row - half : row + half + 1, column - half : column + half + 1]) - half
    return np.array([column, row]) + (shift if np.abs(shift).max() <= 1 else 0)  # not so for a NaN either
