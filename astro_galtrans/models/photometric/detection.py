"""Where the sources of a translation are: what stands out of the noise of its source, by photutils."""

import numpy as np
from photutils.segmentation import SegmentationImage, deblend_sources
from scipy.ndimage import gaussian_filter, label, maximum_position

from astro_galtrans._photutils import NO_BAR

__all__ = ["detect"]

# The noise of the source that a translation lets pass is smooth, with 0.24 of the standard deviation of the source's
# pixels: this is five sigma of it.
THRESHOLD = 1.2
SMOOTHING = 0.3  # sigma (arcsec) of the Gaussian that joins the knots of a galaxy: about that of the target's PSF
LEAST_AREA = 0.3  # arcsec^2 of a source, half the area of a PSF of the ground
CONTRAST = 0.02  # share of the light that a part must have to be a source of its own


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
    segments = _segments(image > THRESHOLD, least)
    if segments is None:
        return np.empty((0, 2))
    parts = deblend_sources(image, segments, least, contrast=CONTRAST, **NO_BAR)
    peaks = np.array(maximum_position(image, parts.data, parts.labels))
    peaks = peaks[np.argsort(-image[tuple(peaks.T)], kind="stable")]
    return np.array([_centre(image, *peak) for peak in peaks])


def _segments(bright, least):
    """Groups of at least so many bright pixels that touch; None if there are none, of which photutils would warn."""
    groups, number = label(bright, np.ones((3, 3)))
    large = np.bincount(groups.ravel(), minlength=number + 1) >= least
    large[0] = False
    return SegmentationImage(np.where(large[groups], groups, 0)) if large.any() else None


def _centre(image, row, column):
    """Position x, y of a peak to a part of a pixel, where a parabola through its neighbours along each axis has it."""
    lines = image[row - 1 : row + 2, column], image[row, column - 1 : column + 2]
    return np.array([column + _vertex(lines[1]), row + _vertex(lines[0])])


def _vertex(values):
    """Offset of the largest value of the parabola through three pixels; 0 at an edge, or where it has none nearby."""
    if len(values) < 3:
        return 0.0
    before, peak, after = map(float, values)
    bend = before - 2 * peak + after
    shift = (before - after) / (2 * bend) if bend < 0 else 0.0
    return shift if abs(shift) <= 1 else 0.0
