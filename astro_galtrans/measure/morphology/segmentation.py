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

import torch

from astro_galtrans.statistics.weighted import MAD_TO_SIGMA

from .filters import gaussian_filter
from .flood import connected_region

__all__ = ["segment", "segment_tensor", "sky_noise"]

FWHM = 3.0  # pixels
THRESHOLD, NPIXELS = 1.5, 5
MIDDLE = 16  # the middle is this part of the stamp, each way


def segment(images, *, sky_rms=None, fwhm=FWHM, threshold=THRESHOLD, npixels=NPIXELS, device="cpu", batch_size=512):
    """
    Find the pixels of the galaxy in the middle of each stamp.

    Parameters
    ----------
    images : array-like
        ``[N, H, W]``, background-subtracted flux; what is not finite counts as zero.
    sky_rms : float or array-like, optional
        Sky noise of a pixel, of all or of each image; from the pixels at the edges by default (`sky_noise`).
    fwhm : float, optional
        Of the Gaussian to smooth with, in pixels; 0 for none.
    threshold : float, optional
        In units of the sky noise.
    npixels : int, optional
        The smallest galaxy.
    device : str, optional
        Where to compute.
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
    import numpy as np

    from ._inputs import per_galaxy, stack_shape

    number, *shape = stack_shape("images", images)
    noise = per_galaxy("sky_rms", sky_rms, number)
    found = np.zeros((number, *shape), bool)
    for start in range(0, number, batch_size):
        rows = slice(start, start + batch_size)
        batch = torch.as_tensor(np.asarray(images[rows], dtype=np.float64), device=device)
        rms = None if noise is None else torch.as_tensor(noise[rows], device=device)
        found[rows] = segment_tensor(batch, rms, fwhm=fwhm, threshold=threshold, npixels=npixels).cpu().numpy()
    return found


def segment_tensor(images, sky_rms=None, *, fwhm=FWHM, threshold=THRESHOLD, npixels=NPIXELS):
    """
    `segment` of one batch of tensors.

    Parameters
    ----------
    images : `torch.Tensor`
        ``[N, H, W]``.
    sky_rms : `torch.Tensor`, optional
        ``[N]``.
    fwhm, threshold, npixels : float, float, int, optional
        As of `segment`.
    """
    images = torch.where(torch.isfinite(images), images, 0.0)
    sky_rms = sky_noise(images) if sky_rms is None else sky_rms
    height, width = images.shape[1:]
    ny, nx = (torch.full((len(images),), n, device=images.device) for n in (height, width))
    smooth = gaussian_filter(images, fwhm / 2.3548, ny, nx) if fwhm > 0 else images
    allowed = smooth > (threshold * sky_rms)[:, None, None]
    y, x = (slice(n // 2 - max(n // MIDDLE, 1), n // 2 + max(n // MIDDLE, 1) + n % 2) for n in (height, width))
    middle = torch.full_like(smooth, -torch.inf)
    middle[:, y, x] = smooth[:, y, x]
    region = connected_region(allowed, middle.flatten(1).argmax(1))
    return region & (region.sum((1, 2)) >= npixels)[:, None, None]


def sky_noise(images):
    """
    Estimate the noise of a pixel: 1.4826 times the median absolute deviation in a frame along the edges.

    Parameters
    ----------
    images : `torch.Tensor`
        ``[N, H, W]``; the frame is a sixteenth of the stamp wide, and of two pixels or more.
    """
    height, width = images.shape[1:]
    edge = torch.ones(height, width, dtype=torch.bool, device=images.device)
    y, x = (max(n // 16, 2) for n in (height, width))
    edge[y : height - y, x : width - x] = False
    pixels = images[:, edge]
    return MAD_TO_SIGMA * (pixels - pixels.median(1, keepdim=True).values).abs().median(1).values
