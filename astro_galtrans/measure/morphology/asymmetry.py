"""Rotational asymmetry (Lotz et al. 2004), and its root-mean-square form (Sazonova et al. 2024)."""

import numpy as np

from .apertures import ellipses
from .centre import EXTENT_CAS, OUT_OF_RANGE
from .cutouts import SUSPECT
from .turned import sums_turned

__all__ = ["asymmetry", "cas_asymmetry"]


def cas_asymmetry(cutouts, x, y, petrosian, sky_asymmetry, sky_sigma):
    """
    Measure the asymmetry (Lotz et al., eq. 10) and the squared RMS asymmetry (Sazonova et al., eq. 27), ``[N]``.

    About (x, y), within 1.5 circular Petrosian radii; the sky's are per pixel, 0 without a sky box. No flux at all
    raises flag 1.
    """
    sums = _sums(cutouts, cutouts.image, ellipses(x, y), EXTENT_CAS * petrosian, np.zeros_like(x))
    noise = sums[2] * sky_sigma**2
    return _asymmetry(cutouts, sums, sky_asymmetry), _ratio(sums[3] - 2 * noise, sums[4] - noise, sums[4])


def asymmetry(cutouts, image, shapes, outer, inner, sky_asymmetry=0.0):
    """
    Measure the asymmetry ``[N]`` between two ellipses (Lotz et al., eq. 10), less the sky's; no flux at all raises
    flag 1.
    """
    return _asymmetry(cutouts, _sums(cutouts, image, shapes, outer, inner), sky_asymmetry)


def _sums(cutouts, image, shapes, outer, inner):
    radii = np.stack([outer, inner], 1)
    return sums_turned(image, cutouts.mask, cutouts.nx, cutouts.ny, shapes, radii).T


def _asymmetry(cutouts, sums, sky_asymmetry):
    difference, total, area = sums[:3]
    value = _ratio(difference - area * sky_asymmetry, total, total)
    cutouts.raise_flag(value == OUT_OF_RANGE, SUSPECT)
    return value


def _ratio(above, below, total):
    """A ratio, and where there is no flux what statmorph gives then."""
    return np.where(total == 0, OUT_OF_RANGE, above / below)
