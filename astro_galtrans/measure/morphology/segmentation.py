"""
The segmentation map of the galaxy in the middle of each stamp: one rule, for real and for translated images alike.

1. Smooth with a Gaussian of the given FWHM, mirrored at the edges.
2. Take the pixels brighter than ``threshold`` times the sky noise of a pixel (before smoothing, as SExtractor does).
3. Begin at the brightest smoothed pixel in the middle, a sixteenth of the stamp each way; the galaxy is what is
   connected to it, over corners too.
4. Fewer than ``npixels`` pixels are no galaxy: the map is empty.

Nothing is deblended: a neighbour whose light reaches the galaxy's above the threshold is part of it. Give the same
``sky_rms`` for the images to be compared: what a translation does to the noise must not change the rule.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, label

from astro_galtrans.statistics.weighted import MAD_TO_SIGMA

from ._inputs import per_galaxy, stack_shape

__all__ = ["central_label", "segment"]

FWHM = 3.0  # pixels
THRESHOLD, NPIXELS = 1.5, 5
MIDDLE = 16  # the middle is this part of the stamp, each way
TOUCHING = np.zeros((3, 3, 3), bool)  # which pixels of a stack of stamps are neighbours: the eight around, of one stamp
TOUCHING[1] = True


def central_label(segmap):
    """
    Return the label ``[N]`` of the source at the centre of each stamp.

    That of pixel (H // 2, W // 2), else the largest of the 3 x 3 pixels around it (a hole or a masked pixel may sit in
    the centre), else 0: the segmentation map misses the centre.
    """
    y, x = (n // 2 for n in segmap.shape[1:])
    middle = segmap[:, y, x].astype(np.int64)
    around = segmap[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].max((1, 2))
    return np.where(middle > 0, middle, around)


def segment(images, *, sky_rms=None, fwhm=FWHM, threshold=THRESHOLD, npixels=NPIXELS, batch_size=512):
    """
    Find the pixels of the galaxy in the middle of each stamp.

    Parameters
    ----------
    images : array-like
        ``[N, H, W]``, background-subtracted flux; what is not finite counts as zero.
    sky_rms : float or array-like, optional
        Sky noise of a pixel, of all or of each image; by default 1.4826 times the median absolute deviation of the
        pixels along the edges, a sixteenth of the stamp and two pixels or more each way.
    fwhm : float, optional
        Of the Gaussian to smooth with, in pixels; 0 for none.
    threshold : float, optional
        In units of the sky noise.
    npixels : int, optional
        The smallest galaxy.
    batch_size : int, optional
        Images at a time.

    Returns
    -------
    `numpy.ndarray`
        ``[N, H, W]``, bool.

    Raises
    ------
    ValueError
        If shapes are wrong.
    """
    number, *shape = stack_shape("images", images)
    noise = per_galaxy("sky_rms", sky_rms, number)
    found = np.zeros((number, *shape), bool)
    for start in range(0, number, batch_size):
        rows = slice(start, start + batch_size)
        batch = np.asarray(images[rows], dtype=np.float64)
        batch = np.where(np.isfinite(batch), batch, 0.0)
        rms = _sky_noise(batch) if noise is None else noise[rows]
        smooth = gaussian_filter(batch, fwhm / 2.3548, axes=(1, 2)) if fwhm > 0 else batch
        labels, _ = label(smooth > (threshold * rms)[:, None, None], TOUCHING)
        own = labels.reshape(len(labels), -1)[np.arange(len(labels)), _brightest_in_the_middle(smooth)]
        region = (labels == own[:, None, None]) & (labels > 0)
        found[rows] = region & (region.sum((1, 2)) >= npixels)[:, None, None]
    return found


def _brightest_in_the_middle(smooth):
    """The number y * W + x of the brightest pixel in the middle of each image."""
    middle = np.full_like(smooth, -np.inf)
    y, x = (slice(n // 2 - max(n // MIDDLE, 1), n // 2 + max(n // MIDDLE, 1) + n % 2) for n in smooth.shape[1:])
    middle[:, y, x] = smooth[:, y, x]
    return middle.reshape(len(smooth), -1).argmax(1)


def _sky_noise(images):
    """The noise of a pixel, from those along the edges."""
    height, width = images.shape[1:]
    edge = np.ones((height, width), bool)
    y, x = (max(n // 16, 2) for n in (height, width))
    edge[y : height - y, x : width - x] = False
    pixels = images[:, edge]
    return MAD_TO_SIGMA * _median(np.abs(pixels - _median(pixels)[:, None]))


def _median(values):
    """The median of each row; the lower of the two in the middle, lest rows of few different values get a new one."""
    k = (values.shape[1] - 1) // 2
    return np.partition(values, k, axis=1)[:, k]
