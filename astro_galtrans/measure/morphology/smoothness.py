"""Smoothness, or clumpiness (Conselice 2003; Lotz et al. 2004, eq. 11)."""

import math

import numpy as np

from .apertures import elliptical_sums
from .centre import EXTENT_CAS, FRACTION_CAS
from .cutouts import BAD
from .filters import box_filter

__all__ = ["smoothness"]


def smoothness(cutouts, geometry):
    """Measure the smoothness ``[N]``, less that of the sky; NaN and flag 2 where there is no positive flux."""
    radius = geometry.rpetro_circ
    width = (FRACTION_CAS * radius).astype(np.int64)
    rest = cutouts.image - box_filter(cutouts.image, width, cutouts.ny, cutouts.nx)
    clumps = np.where(cutouts.frame, rest.clip(min=0), 0.0)
    radii = np.stack([EXTENT_CAS * radius, FRACTION_CAS * radius], 1)  # the core is left out: no galaxy is smooth there
    clumps, flux = (-np.diff(elliptical_sums(t, geometry.circles, radii))[:, 0] for t in (clumps, cutouts.image))
    area = math.pi * (radii[:, 0] ** 2 - radii[:, 1] ** 2)
    value = (clumps - area * geometry.sky.smoothness(width)) / flux
    valid = (flux > 0) & np.isfinite(value)
    cutouts.raise_flag(~valid, BAD)
    return np.where(valid, value, np.nan)
