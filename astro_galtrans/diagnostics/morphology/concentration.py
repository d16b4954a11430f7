"""Concentration and smoothness (Conselice 2003; Lotz et al. 2004, section 3.1 and eq. 11), and aperture fluxes."""

import math

import torch

from .apertures import EllipticalSums, window
from .asymmetry import EXTENT_CAS, FRACTION_CAS
from .filters import box_filter
from .petrosian import Profile, by_reach, fraction_radii
from .stamps import BAD

__all__ = ["aperture_flux", "light_radii", "smoothness"]


def light_radii(stamps, x, y, total_radius, fractions, elongation=None, theta=None):
    """
    Find the radii of circles or ellipses that hold fractions of the light in a larger one.

    Parameters
    ----------
    stamps : Stamps
        The cutouts; flag 2 where the light is not positive.
    x, y : `torch.Tensor`
        ``[N]``: the centres.
    total_radius : `torch.Tensor`
        ``[N]``: the radius (semimajor axis) that holds all; where it is not positive so is the answer.
    fractions : sequence of float
        Of the light.
    elongation, theta : `torch.Tensor`, optional
        ``[N]``: ratio and angle of the axes.

    Returns
    -------
    `torch.Tensor`
        ``[N, F]``.
    """
    radii = total_radius[:, None].repeat(1, len(fractions))
    bad = torch.zeros_like(stamps.flag, dtype=torch.bool)
    for rows, half in by_reach(total_radius, stamps):
        rows = rows[total_radius[rows] > 0]
        if len(rows):
            shape = (t if t is None else t[rows] for t in (elongation, theta))
            profile = Profile.around(stamps.select(rows, shrink=False), x[rows], y[rows], half, *shape)
            radii[rows], bad[rows] = fraction_radii(profile, total_radius[rows], fractions)
    stamps.raise_flag(bad, BAD)
    return radii


def aperture_flux(stamps, x, y, radius, elongation=None, theta=None):
    """
    Return the absolute flux in circles or ellipses.

    Parameters
    ----------
    stamps : Stamps
        The cutouts.
    x, y : `torch.Tensor`
        ``[N]``: the centres.
    radius : `torch.Tensor`
        ``[N]``: the semimajor axes.
    elongation, theta : `torch.Tensor`, optional
        ``[N]``: ratio and angle of the axes.
    """
    return _sums(stamps, stamps.image, x, y, radius[:, None], elongation, theta)[:, 0].abs()


def _sums(stamps, image, x, y, radii, elongation=None, theta=None):
    """Sums ``[N, K]`` of an image over ellipses, in windows that suffice."""
    sums = torch.zeros_like(radii)
    for rows, half in by_reach(radii.amax(1), stamps):
        ix, iy = torch.round(x[rows]).long(), torch.round(y[rows]).long()
        shape = x[rows] - ix, y[rows] - iy, *(t if t is None else t[rows] for t in (elongation, theta))
        sums[rows] = EllipticalSums(window(image[rows], ix, iy, half), *shape)(radii[rows])
    return sums


def smoothness(stamps, x, y, petrosian, sky):
    """
    Measure the smoothness (clumpiness) of galaxies; NaN and flag 2 where there is no positive flux.

    Parameters
    ----------
    stamps : Stamps
        The cutouts.
    x, y : `torch.Tensor`
        ``[N]``: the centres.
    petrosian : `torch.Tensor`
        ``[N]``: circular Petrosian radii.
    sky : Sky
        The boxes of sky, whose own smoothness is subtracted.
    """
    width = (FRACTION_CAS * petrosian).long()
    rest = (stamps.image - box_filter(stamps.image, width, stamps.ny, stamps.nx)).clamp(min=0) * stamps.frame
    radii = torch.stack([EXTENT_CAS * petrosian, FRACTION_CAS * petrosian], 1)
    flux, clumps = (t[:, 0] - t[:, 1] for t in (_sums(stamps, v, x, y, radii) for v in (stamps.image, rest)))
    area = math.pi * (radii[:, 0] ** 2 - radii[:, 1] ** 2)
    value = (clumps - area * sky.smoothness(width)) / flux
    valid = (flux > 0) & torch.isfinite(value)
    stamps.raise_flag(~valid, BAD)
    return torch.where(valid, value, torch.nan)
