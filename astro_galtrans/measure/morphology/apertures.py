r"""
Sums over circles and ellipses, with the exact area of every pixel that the edge cuts, for many galaxies at once.

The area of an ellipse to the lower left of a point (x, y), :math:`F(x, y)`, is separable. With :math:`A_x(x)` and
:math:`A_y(y)` the areas to the left of and below the point,

.. math::
    F = \begin{cases}
    xy - \frac{\sigma_y}{2} x^2 - \frac{\sigma_x}{2} y^2 + \frac{A_x + A_y}{2} + c & \text{in the ellipse} \\
    [\text{above}]\,A_x + [\text{right}]\,A_y - [\text{above and right}]\,A & \text{outside of it}
    \end{cases}

where the lines :math:`y = \sigma_y x` and :math:`x = \sigma_x y` halve its vertical and horizontal chords. The area in
a pixel is F's mixed difference over the pixel's corners, so the sum over an image v is that of F times v's mixed
difference D over all corners. Along a column of corners the ellipse holds one stretch, and sums of D over a stretch
are differences of v at its ends: what is left is O(n) operations for a sum over n x n pixels. It agrees with
photutils' ``method="exact"`` to rounding.
"""

import math

import numpy as np

from ._jit import compile_loop, part_of_loop

__all__ = [
    "OFFSET", "PAD", "chords", "ellipses", "elliptical_sum", "elliptical_sums", "form", "load", "load_valid", "scratch",
]  # fmt: skip

TIE = 1e-9  # pixels
PAD = 2  # pixels around an image, so that there is a line of corners on either side that holds nothing
OFFSET = PAD + 0.5  # of the centre of pixel 0 from corner 0


def ellipses(x, y, elongation=None, theta=None):
    """
    Return concentric ellipses as loops take them, ``[N, 5]``: x, y, elongation, the angle's cosine and sine.

    Centres in pixels; ``elongation`` is a / b, ``theta`` the angle of the major axis from x to y in radians (circles
    by default); all ``[N]``.
    """
    elongation = np.ones_like(x) if elongation is None else elongation
    theta = np.zeros_like(x) if theta is None else theta
    return np.stack([x, y, elongation, np.cos(theta), np.sin(theta)], 1)


@compile_loop
def elliptical_sums(image, ellipses, a):
    """
    Sum images ``[N, H, W]`` over ellipses (`ellipses`) of semimajor axes ``a``, ``[N, K]``; nothing is counted beyond
    the edges.
    """
    found, planes = np.empty(a.shape), scratch(image)
    for n in range(len(a)):
        load(image[n], planes)
        ellipse = form(ellipses[n])
        for k in range(a.shape[1]):
            found[n, k] = elliptical_sum(ellipse, a[n, k], planes)
    return found


@part_of_loop
def scratch(image):
    """Make room for an image with a margin, its running sum along y, and the areas and ends of chords."""
    height, width = image.shape[1] + 2 * PAD, image.shape[2] + 2 * PAD
    longest = max(height, width)
    pixels, running = np.zeros((height, width)), np.zeros((height, width))
    return pixels, running, np.empty(longest), np.empty((2, longest), np.int64)


@compile_loop
def load(image, planes):
    """Copy an image into the scratch space."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            planes[0][y + PAD, x + PAD] = image[y, x]
    _accumulate(planes)


@compile_loop
def load_valid(mask, nx, ny, ellipse, planes):
    """
    Write 1 for each valid pixel of a cutout into the scratch space, and return a semimajor axis.

    Ellipses up to this axis hold valid pixels only, so their area is known without a sum.
    """
    x, y, q, cos, sin = ellipse[0], ellipse[1], ellipse[2], ellipse[3], ellipse[4]
    nearest = math.inf
    for j in range(mask.shape[0]):
        for i in range(mask.shape[1]):
            planes[0][j + PAD, i + PAD] = (1 - mask[j, i]) if j < ny and i < nx else 0
        for i in range(mask.shape[1]):
            if mask[j, i]:
                along, across = (i - x) * cos + (j - y) * sin, q * ((j - y) * cos - (i - x) * sin)
                nearest = min(nearest, along * along + across * across)
    _accumulate(planes)
    clear = math.sqrt(nearest) - max(q, 1.0) * math.sqrt(0.5)  # a pixel's corner may be that much nearer
    return min(clear, min(x, y, nx - 1 - x, ny - 1 - y) + 0.5)


@part_of_loop
def _accumulate(planes):
    pixels, running = planes[:2]
    for y in range(1, len(pixels)):
        for x in range(pixels.shape[1]):
            running[y, x] = running[y - 1, x] + pixels[y, x]


@compile_loop
def form(ellipse):
    """Return what the areas of an ellipse depend on, for a semimajor axis of 1, in the symbols of the module's head."""
    x, y, q, cos, sin = ellipse[0], ellipse[1], ellipse[2], ellipse[3], ellipse[4]
    alpha, gamma, beta = cos**2 + (q * sin) ** 2, sin**2 + (q * cos) ** 2, cos * sin * (1 - q**2)
    upward, sideward = gamma**-0.5, alpha**-0.5  # half the chords through the centre
    corner = (math.asin(-beta * upward * sideward) / 2 - math.pi / 4) / q
    return x, y, q, -beta / gamma, -beta / alpha, upward, sideward, gamma**0.5 / q, alpha**0.5 / q, corner


@compile_loop
def elliptical_sum(ellipse, a, planes):
    """Return the sum of the image in the scratch space over an ellipse (``form``) with semimajor axis ``a``."""
    centre_x, centre_y, q, sigma_y, sigma_x, upward, sideward, wide, high, corner = ellipse
    pixels, running, area, ends = planes
    if not (a > 0 and math.isfinite(centre_x + centre_y + corner + a)):  # else indices below would not be numbers
        return 0.0 if a <= 0 else math.nan
    centre_x, centre_y = centre_x + OFFSET, centre_y + OFFSET
    height, width = pixels.shape
    whole = a * a * (math.pi / q)
    # Columns of corners first: F times D at each, D summed along the column by differences of the image at the ends.
    highest = min(max(math.floor(sigma_x * high * a + centre_x) + 1, 1), width - 1)  # first corner right of the top
    total = 0.0
    first, last = lines(centre_x, a * wide, width)
    chords(first - centre_x, last - first, a * wide, a * upward, sigma_y, centre_y, height, highest, area, ends)
    for k in range(last - first):
        i, x = first + k, first + k - centre_x
        beyond = whole if i >= highest else 0.0
        low, top = ends[0, k] - 1, ends[1, k] - 1
        step_low, step_top = pixels[low, i] - pixels[low, i - 1], pixels[top, i] - pixels[top, i - 1]
        moment = step_top * (top + 1 - centre_y) - step_low * (low + 1 - centre_y)
        moment -= (running[top, i] - running[top, i - 1]) - (running[low, i] - running[low, i - 1])
        inner = corner * a * a - sigma_y / 2 * x * x - area[k] / 2 + beyond
        total += (beyond - area[k]) * step_low + inner * (step_top - step_low) + x * moment
    # Then rows of corners, for the terms of F that depend on y.
    first, last = lines(centre_y, a * high, height)
    chords(first - centre_y, last - first, a * high, a * sideward, sigma_x, centre_x, width, highest, area, ends)
    for k in range(last - first):
        j, y = first + k, first + k - centre_y
        low, right = ends[0, k] - 1, ends[1, k] - 1
        step_low, step_right = pixels[j, low] - pixels[j - 1, low], pixels[j, right] - pixels[j - 1, right]
        total -= area[k] / 2 * (step_right + step_low) + sigma_x / 2 * y * y * (step_right - step_low)
    return total + whole * pixels[last - 1, highest - 1]  # the last term: what all further rows come to


@part_of_loop
def lines(centre, reach, size):
    """Return the lines of corners that an ellipse may meet: the first, and one past the last."""
    first = int(min(max(centre - reach - 1.0, 1.0), size - 1.0))
    return first, max(int(min(centre + reach + 2.0, size - 1.0)) + 1, first)


@compile_loop
def chords(start, number, extent, reach, slope, offset, size, outside, area, ends):
    """
    Find the areas of an ellipse on the lower side of lines, and on each the corners that it holds: first, one past the
    last.

    There are ``number`` lines of ``size`` corners, one apart, the first at ``start`` from the centre, which is at
    ``offset`` along them. ``extent`` is half the ellipse's size across the lines, ``reach`` half its chord through the
    centre, and ``slope`` how the middle of the chords moves from line to line. Where a line misses the ellipse both
    ends are ``outside``.
    """
    outside = min(outside, size - 1)  # a corner of the other axis may be given where the answer is not looked at
    for k in range(number):
        along = start + k
        sine = along / extent
        hit = sine * sine < 1 + TIE
        sine = min(max(sine, -1.0), 1.0)
        cosine = math.sqrt(1 - sine * sine)
        area[k] = (math.pi / 2 + arcsine(sine) + sine * cosine) * (extent * reach)
        middle, half = slope * along + offset, reach * cosine + TIE  # a corner on the edge is in, along both axes
        low = size - int(size - min(max(middle - half, 1.0), size - 1.0))
        high = max(int(min(max(middle + half, 0.0), size - 2.0)) + 1, low)
        ends[0, k], ends[1, k] = low if hit else outside, high if hit else outside


@part_of_loop
def arcsine(sine):
    """Arcsine without a branch, by the rational approximation of FreeBSD's ``e_asin.c``; exact to rounding."""
    magnitude = abs(sine)
    small = magnitude < 0.5
    square = sine * sine if small else (1 - magnitude) / 2
    root = magnitude if small else math.sqrt(square)
    above = 0.2012125321348629 + square * (
        -0.04005553450067941 + square * (0.0007915349942898145 + square * 3.479331075960212e-05)
    )
    above = square * (0.16666666666666666 + square * (-0.3255658186224009 + square * above))
    below = 2.0209457602335057 + square * (-0.6882839716054533 + square * 0.07703815055590194)
    value = root + root * above / (1 + square * (-2.403394911734414 + square * below))
    return math.copysign(value if small else math.pi / 2 - 2 * value, sine)
