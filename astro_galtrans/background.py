"""The sky of an image: a smooth background, measured in boxes and subtracted, since networks are trained without it."""

from dataclasses import replace

import numpy as np

__all__ = ["BOX", "sky_background", "subtract_background", "subtracted"]

BOX = 64  #: side of a box (pixels): larger than a galaxy of a few arcsec, smaller than what a sky flat leaves behind


def sky_background(data, mask=None, box_size=BOX):
    """
    Measure the smooth background of a plane.

    It is photutils' `~photutils.background.Background2D`: the SExtractor mode in boxes, pixels above three sigma
    clipped, boxes smoothed by a median of 3 x 3 and interpolated. Sources are found and left out first, so that a
    galaxy does not lift its own sky. An image of less than two boxes a side has one level for all of it: there a
    gradient cannot be told from a galaxy.

    Parameters
    ----------
    data : `~numpy.ndarray`
        ``[H, W]``.
    mask : `~numpy.ndarray` of bool, optional
        True where a pixel is bad.
    box_size : int, optional
        Side of the boxes (pixels).

    Returns
    -------
    `~numpy.ndarray`
        ``[H, W]``, in the unit of the data.

    Raises
    ------
    ValueError
        If the box is no positive number of pixels, or too few pixels are free of sources.
    """
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, SExtractorBackground

    if box_size < 8:
        msg = f"the boxes of the background must have 8 or more pixels a side, got {box_size}"
        raise ValueError(msg)
    bad = ~np.isfinite(data) if mask is None else ~np.isfinite(data) | mask
    if bad.all():
        msg = "there is no usable pixel to measure the sky in"
        raise ValueError(msg)
    estimator, clip = SExtractorBackground(), SigmaClip(sigma=3.0)
    if min(data.shape) < 2 * box_size:
        free = ~(bad | _sources(data, bad))
        sky = data[free] if np.count_nonzero(free) >= 100 else data[~bad]
        return np.full(data.shape, estimator(clip(sky, masked=False)), data.dtype)
    filled, sky = np.where(bad, 0, data).astype(float), 0.0
    covered = bad
    for _ in range(2):  # sources are found in an image that is flat already: a gradient is none
        # boxes that a large galaxy covers take their level from those around them
        found = Background2D(
            filled, box_size, mask=covered, sigma_clip=clip, bkg_estimator=estimator, exclude_percentile=90.0
        )
        sky = found.background
        covered = bad | _sources(data - sky, bad)
    return sky.astype(data.dtype, copy=False)


def _sources(data, bad, n_iter=3):
    """Pixels of sources: above three sigma in a smoothed image, and what is around them."""
    from astropy.stats import sigma_clipped_stats
    from scipy.ndimage import binary_dilation, gaussian_filter

    filled = np.where(bad, np.median(data[~bad]), data).astype(float)
    smooth = gaussian_filter(filled, 2.0, mode="nearest")
    sources = np.zeros(data.shape, bool)
    for _ in range(n_iter):  # the level without sources is lower, and more of them show
        free = ~(bad | sources)
        if np.count_nonzero(free) < 100:
            break
        _, level, scatter = sigma_clipped_stats(smooth[free], sigma=3.0)
        # lower, peaks of the noise would be left out, and the level come out too low
        sources = binary_dilation(smooth > level + 3 * scatter, iterations=5)
    return sources


def subtract_background(stack, box_size=BOX):
    """
    Subtract the sky of each band.

    Parameters
    ----------
    stack : `~astro_galtrans.bandstack.BandStack`
    box_size : int, optional
        Side of the boxes in which it is measured (pixels).

    Returns
    -------
    `~astro_galtrans.bandstack.BandStack`
        New; its ``notes`` say what was subtracted.

    Raises
    ------
    ValueError
        As `sky_background`.
    """
    planes, levels = [], []
    for band, plane in zip(stack.bands, stack.planes, strict=True):
        sky = sky_background(plane.data, plane.mask, box_size)
        planes.append(plane._replace(data=plane.data - sky))
        levels.append(f"{band} {np.median(sky):.4g}")
    note = f"median {', '.join(levels)} {stack.unit.to_string()}; boxes of {box_size} pixels"
    return replace(stack.with_planes(planes), notes=stack.notes | {"background": note})


def subtracted(stack, choice):
    """Stack with its sky subtracted if ``choice`` is True or the side of the boxes (pixels); else as it is."""
    if choice is None or choice is False:
        return stack
    return subtract_background(stack, BOX if choice is True else choice)
