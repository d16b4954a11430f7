"""Centroids, and the shape and orientation of a Gaussian with the source's second moments (Bertin & Arnouts 1996)."""

import numpy as np

from .cutouts import BAD

__all__ = ["at_zero", "centroid", "shape"]

THIN = 1 / 12  # variance of a pixel, by which SExtractor thickens a line


def centroid(cutouts):
    """
    Return the flux-weighted mean x and y of the source in its cutout; outside of it raises flag 2, and gives the
    middle.
    """
    image = cutouts.source_image
    total = image.sum((1, 2))
    x, y = (image.sum(axis) @ np.arange(image.shape[3 - axis]) / total for axis in (1, 2))
    out = (y < 0) | (y >= cutouts.ny) | (x < 0) | (x >= cutouts.nx)
    cutouts.raise_flag(out, BAD)
    return np.where(out, cutouts.nx / 2, x), np.where(out, cutouts.ny / 2, y)


def at_zero(cutouts, x, y):
    """Return which points are in a pixel without any flux, which is how statmorph tells that it is masked."""
    iy, ix = (v.astype(np.int64).clip(0, n - 1) for v, n in zip((y, x), cutouts.image.shape[1:], strict=True))
    return cutouts.image[np.arange(len(cutouts)), iy, ix] == 0


def shape(cutouts, x, y):
    """
    Return ellipticity 1 - b / a, elongation a / b and the major axis' angle from x to y (radians) from second moments.

    About centres (x, y), all ``[N]``; moments that are not positive raise flag 2.
    """
    image = cutouts.source_image
    total = image.sum((1, 2))
    dy, dx = (np.arange(n) - centre[:, None] for n, centre in zip(image.shape[1:], (y, x), strict=True))
    x2 = (image.sum(1) * dx**2).sum(1) / total
    y2 = (image.sum(2) * dy**2).sum(1) / total
    xy = ((image @ dx[:, :, None])[:, :, 0] * dy).sum(1) / total
    cutouts.raise_flag((x2 <= 0) | (y2 <= 0), BAD)
    while (thin := np.abs(x2 * y2 - xy**2) < THIN**2).any():  # SExtractor's remedy for a line of pixels
        x2, y2 = (t + np.where(thin, np.where(t >= 0, THIN, -THIN), 0.0) for t in (x2, y2))
    middle, half = (x2 + y2) / 2, np.hypot((x2 - y2) / 2, xy)
    squares = np.abs([middle + half, middle - half])  # variances along the axes; noise may make one negative
    ratio = np.sqrt(squares.min(0) / squares.max(0))
    return 1 - ratio, 1 / ratio, np.arctan2(2 * xy, x2 - y2) / 2
