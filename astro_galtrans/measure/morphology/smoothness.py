"""Smoothness, or clumpiness (Conselice 2003; Lotz et al. 2004, eq. 11)."""

import math

import torch

from .apertures import EllipticalSums
from .centre import EXTENT_CAS, FRACTION_CAS
from .cutouts import BAD
from .filters import box_filter

__all__ = ["smoothness"]


def smoothness(stamps, geometry):
    """
    Measure the smoothness of galaxies; NaN and flag 2 where there is no positive flux.

    Parameters
    ----------
    stamps : Stamps
        The cutouts.
    geometry : Geometry
        Their centres, circular Petrosian radii, and sky, whose own smoothness is subtracted.
    """
    radius = geometry.rpetro_circ
    width = (FRACTION_CAS * radius).long()
    rest = (stamps.image - box_filter(stamps.image, width, stamps.ny, stamps.nx)).clamp_(min=0).mul_(stamps.frame)
    radii, rows = torch.stack([EXTENT_CAS * radius, FRACTION_CAS * radius], 1), torch.arange(len(radius))
    flux = geometry.light.flux(geometry.circles, radii, rows.to(radius.device)).diff(dim=1)[:, 0].neg()
    clumps = EllipticalSums(rest)(geometry.circles, radii).diff(dim=1)[:, 0].neg()
    area = math.pi * (radii[:, 0] ** 2 - radii[:, 1] ** 2)
    value = (clumps - area * geometry.sky.smoothness(width)) / flux
    valid = (flux > 0) & torch.isfinite(value)
    stamps.raise_flag(~valid, BAD)
    return torch.where(valid, value, torch.nan)
