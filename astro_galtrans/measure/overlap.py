"""
The exact area of pixels in ellipses, for many ellipses at once (photutils' needs half a millisecond for each).

The area of an ellipse to the lower left of a point is known in closed form; `.morphology.apertures` derives it. The
area in a pixel is its mixed difference over the pixel's corners.
"""

import math

import torch

__all__ = ["ellipse_weights"]


def ellipse_weights(a, dx, dy, half, elongation, theta):
    """
    Return the area of each pixel of a window that lies in an ellipse, ``[N, 2 half + 1, 2 half + 1]``, 0 to 1.

    All others are float64 ``[N]``: semimajor axis (pixels), centre relative to that of the central pixel, ratio of the
    axes, and angle of the major one from x to y (radian).
    """
    edges = torch.arange(-half, half + 2, dtype=a.dtype) - 0.5
    a, dx, dy, q, theta = (t[:, None, None] for t in (a, dx, dy, elongation, theta))
    area = _lower_left(a, edges - dx, edges[:, None] - dy, q, torch.cos(theta), torch.sin(theta))
    return area.diff(dim=1).diff(dim=2)


def _lower_left(a, x, y, q, cos, sin):
    """The area of an ellipse to the lower left of points x, y from its centre, ``[N, Y, X]``."""
    alpha, gamma, beta = cos**2 + (q * sin) ** 2, sin**2 + (q * cos) ** 2, cos * sin * (1 - q**2)
    sigma_y, sigma_x = -beta / gamma, -beta / alpha  # the lines that halve vertical and horizontal chords
    left, below = (_segment(t * q / (a * n.sqrt())) * a**2 / q for t, n in ((x, gamma), (y, alpha)))
    corner = (torch.asin(-beta / (alpha * gamma).sqrt()) / 2 - math.pi / 4) / q * a**2
    inner = x * y + (left - sigma_y * x**2) / 2 + ((below - sigma_x * y**2) / 2 + corner)
    outer = (y > sigma_y * x) * left + (x > sigma_x * y) * (below - (y > sigma_y * x) * (math.pi / q * a**2))
    radius2 = (x * cos + y * sin) ** 2 + (q * (y * cos - x * sin)) ** 2
    return torch.where(radius2 < a**2, inner, outer)


def _segment(sine):
    """The area of the unit circle left of a line."""
    sine = sine.clamp(-1, 1)
    return torch.asin(sine) + sine * torch.sqrt(1 - sine**2) + math.pi / 2
