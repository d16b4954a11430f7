"""Rotational asymmetry, and sums over images and themselves turned (Lotz et al. 2004; Sazonova et al. 2024)."""

import torch

from .apertures import Ellipses, EllipticalSums
from .centre import EXTENT_CAS, OUT_OF_RANGE
from .compiled import kernels
from .cutouts import SUSPECT
from .kernels import on_arrays
from .petrosian import by_reach
from .windows import turned, window

__all__ = ["cas_asymmetry", "sums_turned"]

TINY = 1e-9  # pixels, in place of no radius: an ellipse of no size has no shape


def cas_asymmetry(stamps, x, y, petrosian, sky_asymmetry, sky_sigma):
    """
    Measure the asymmetry (Lotz et al., eq. 10) and the squared root-mean-square asymmetry (Sazonova et al., eq. 27).

    Parameters
    ----------
    stamps : Stamps
        The cutouts.
    x, y : `torch.Tensor`
        ``[N]``: the centres.
    petrosian : `torch.Tensor`
        ``[N]``: circular Petrosian radii about the centroids, 1.5 of which are looked at.
    sky_asymmetry, sky_sigma : `torch.Tensor`
        ``[N]``: of the sky per pixel, 0 where there is no sky box.

    Returns
    -------
    asymmetry, rms_asymmetry2 : `torch.Tensor`
        ``[N]``.
    """
    sums = sums_turned(stamps, stamps.image, Ellipses(x, y), EXTENT_CAS * petrosian, torch.zeros_like(x))
    difference, total, area, difference2, total2 = sums.unbind(1)
    noise = area * sky_sigma**2
    values = (difference - area * sky_asymmetry) / total, (difference2 - 2 * noise) / (total2 - noise)
    values = [torch.where(t == 0, OUT_OF_RANGE, value) for t, value in zip((total, total2), values, strict=True)]
    stamps.raise_flag(values[0] == OUT_OF_RANGE, SUSPECT)
    return tuple(values)


def sums_turned(stamps, image, ellipses, outer, inner):
    """
    Sum over images and their differences from themselves turned, between two ellipses about a centre.

    Parameters
    ----------
    stamps : Stamps
        The cutouts. What is masked, here or opposite, does not count.
    image : `torch.Tensor`
        ``[N, H, W]``, float64: what to turn.
    ellipses : Ellipses
        Centres to turn about, and shapes.
    outer, inner : `torch.Tensor`
        ``[N]``: the semimajor axes.

    Returns
    -------
    `torch.Tensor`
        ``[N, 5]``: the sums of ``|turned - image|``, of ``|image|`` and of pixels, and the first two squared.
    """
    radii, loops = torch.stack([outer, inner], 1), kernels("turned", image)
    if loops is not None:
        return on_arrays(loops.sums_turned, image, stamps.mask, stamps.nx, stamps.ny, ellipses.packed, radii)
    found = outer.new_zeros(len(outer), 5)
    for rows, half in by_reach(outer, stamps):
        found[rows] = _sums_together(stamps, image, ellipses[rows], radii[rows], rows, half)
    return found


def _sums_together(stamps, image, ellipses, radii, rows, half):
    """The same of some galaxies in windows of one size, side by side."""
    x, y = ellipses.x, ellipses.y
    straight, other = turned(image[rows], x, y, half)
    mask, opposite = turned(stamps.mask[rows], x, y, half)
    ix, iy = torch.round(x).long(), torch.round(y).long()
    used = window(stamps.frame[rows], ix, iy, half) & ~mask & ~opposite
    difference, light, here = (other - straight) * used, straight * used, ellipses.moved(half - ix, half - iy)
    radii = radii.clamp(min=TINY)
    planes = difference.abs(), light.abs(), used.to(x.dtype), difference**2, light**2
    return torch.stack([EllipticalSums(plane)(here, radii) for plane in planes], 1).diff(dim=2)[:, :, 0].neg()
