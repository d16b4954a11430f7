"""Radii that hold fractions of the light, of circles and ellipses around given centres."""

from .apertures import Ellipses
from .petrosian import Light, fraction_radii
from .stamps import BAD

__all__ = ["light_radii"]


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
    radii, bad = fraction_radii(Light(stamps), Ellipses(x, y, elongation, theta), total_radius, fractions)
    stamps.raise_flag(bad, BAD)
    return radii
