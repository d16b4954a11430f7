"""Centroids, and the shape and orientation of a Gaussian with the source's second moments (Bertin & Arnouts 1996)."""

import torch

from .cutouts import BAD

__all__ = ["at_zero", "centroid", "shape"]

THIN = 1 / 12  # variance of a pixel, by which SExtractor thickens a line


def centroid(stamps):
    """
    Return the flux-weighted mean position of the source, in pixels of the cutout.

    Parameters
    ----------
    stamps : Stamps
        The cutouts; a centroid outside of its cutout is put in the middle, flag 2.

    Returns
    -------
    x, y : `torch.Tensor`
        ``[N]``.
    """
    image = stamps.source_image
    total = image.sum((1, 2))
    x, y = ((image.sum(axis) * _steps(image, 3 - axis)).sum(1) / total for axis in (1, 2))
    out = (y < 0) | (y >= stamps.ny) | (x < 0) | (x >= stamps.nx)
    stamps.raise_flag(out, BAD)
    return torch.where(out, stamps.nx / 2, x), torch.where(out, stamps.ny / 2, y)


def at_zero(stamps, x, y):
    """
    Return which points are in a pixel without any flux, which is how statmorph tells that it is masked.

    Parameters
    ----------
    stamps : Stamps
        The cutouts.
    x, y : `torch.Tensor`
        ``[N]``.
    """
    rows = torch.arange(len(stamps), device=x.device)
    height, width = stamps.image.shape[1:]
    return stamps.image[rows, y.long().clamp(0, height - 1), x.long().clamp(0, width - 1)] == 0


def shape(stamps, x, y):
    """
    Return the shape that second moments about a centre give; moments that are not positive raise flag 2.

    Parameters
    ----------
    stamps : Stamps
        The cutouts.
    x, y : `torch.Tensor`
        ``[N]``: the centres.

    Returns
    -------
    ellipticity, elongation, orientation : `torch.Tensor`
        ``[N]``: 1 - b / a, a / b, and the angle of the major axis from x to y in radians.
    """
    image = stamps.source_image
    total = image.sum((1, 2))
    dx, dy = _steps(image, 2) - x[:, None], _steps(image, 1) - y[:, None]
    x2 = (image.sum(1) * dx**2).sum(1) / total
    y2 = (image.sum(2) * dy**2).sum(1) / total
    xy = torch.einsum("nyx,ny,nx->n", image, dy, dx) / total
    stamps.raise_flag((x2 <= 0) | (y2 <= 0), BAD)
    while bool((thin := (x2 * y2 - xy**2).abs() < THIN**2).any()):
        x2, y2 = (t + torch.where(thin, torch.where(t >= 0, THIN, -THIN), 0.0) for t in (x2, y2))
    middle, half = (x2 + y2) / 2, torch.hypot((x2 - y2) / 2, xy)
    squares = torch.stack([(middle + half).abs(), (middle - half).abs()], 1)
    ratio = torch.sqrt(squares.amin(1) / squares.amax(1))
    return 1 - ratio, 1 / ratio, torch.atan2(2 * xy, x2 - y2) / 2


def _steps(image, axis):
    return torch.arange(image.shape[axis], device=image.device, dtype=image.dtype)
