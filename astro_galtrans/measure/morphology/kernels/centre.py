"""
The search for the centre of least asymmetry: SciPy's simplex on sums over an image and itself turned.

A galaxy is kept as it is and mirrored, padded so that whatever pixel another is turned to exists. Then all that a step
reads lies in order: a row of pixels, and of the mirrored image the two rows between which the turned one falls.
"""

import math

import numpy as np

from astro_galtrans.measure.morphology.compiled import compile_loop, part_of_loop

from .turned import UINT, between, take

__all__ = ["search"]

OUT_OF_RANGE = 100.0  # what statmorph's function returns to keep the minimiser where it belongs
STEPS = 200
F32 = np.float32
ZERO, HALF, ONE = F32(0), F32(0.5), F32(1)


@compile_loop
def search(image, mask, nx, ny, start, radius, sky, x_tolerance, f_tolerance):
    """
    Find the points about which galaxies are least asymmetric.

    Parameters
    ----------
    image, mask : `numpy.ndarray`
        ``[N, H, W]``, float64 and bool.
    nx, ny : `numpy.ndarray`
        ``[N]``: size of each cutout.
    start : `numpy.ndarray`
        ``[N, 2]``: x and y where the search begins.
    radius, sky : `numpy.ndarray`
        ``[N]``: of the circle, and the sky's asymmetry per pixel.
    x_tolerance, f_tolerance : float
        Of the simplex when it is done.

    Returns
    -------
    centre : `numpy.ndarray`
        ``[N, 2]``.
    lost : `numpy.ndarray`
        ``[N]``, bool: was the search ever where there is nothing?
    """
    number, height, width = image.shape
    centre, lost, simplex = np.empty((number, 2)), np.zeros(number, np.bool_), np.empty((3, 3))
    light, valid, columns = np.empty((height, width), F32), np.empty((height, width), F32), np.empty(width, F32)
    around = 3 * height + 1, 3 * width + 1  # as in `.turned.sums_turned`
    other_light, other_valid = np.zeros(around, F32), np.ones(around, F32)
    for n in range(number):
        masked = take(image[n], mask[n], light, valid, other_light, other_valid)
        planes = light, other_light, valid, other_valid, columns
        galaxy = masked, nx[n], ny[n], radius[n], sky[n], lost[n : n + 1]
        _minimise(simplex, start[n, 0], start[n, 1], x_tolerance, f_tolerance, planes, galaxy)
        centre[n, 0], centre[n, 1] = simplex[0, 1], simplex[0, 2]
    return centre, lost


@part_of_loop
def _minimise(simplex, x, y, x_tolerance, f_tolerance, planes, galaxy):
    """
    Nelder and Mead's method in SciPy's steps, as in ``..simplex``.

    A row of the simplex is a corner: value, x and y. The best comes first.
    """
    for k in range(3):
        simplex[k, 1] = x if k != 1 else (1.05 * x if x != 0 else 0.00025)
        simplex[k, 2] = y if k != 2 else (1.05 * y if y != 0 else 0.00025)
        simplex[k, 0] = _asymmetry(simplex[k, 1], simplex[k, 2], planes, galaxy)
    _sort(simplex)
    for _ in range(STEPS):
        if _spread(simplex, 1, 3) <= x_tolerance and _spread(simplex, 0, 1) <= f_tolerance:
            break
        _step(simplex, planes, galaxy)
        _sort(simplex)


@part_of_loop
def _sort(simplex):
    """Bring the corners in order of their values, those of equal ones as they were."""
    for k in (1, 2):
        for i in range(k, 0, -1):
            if simplex[i, 0] < simplex[i - 1, 0]:
                for axis in range(3):
                    simplex[i, axis], simplex[i - 1, axis] = simplex[i - 1, axis], simplex[i, axis]


@part_of_loop
def _spread(simplex, first, last):
    """How far corners are from the best, in columns of the simplex."""
    spread = 0.0
    for k in (1, 2):
        for axis in range(first, last):
            spread = max(spread, abs(simplex[k, axis] - simplex[0, axis]))
    return spread


@part_of_loop
def _step(simplex, planes, galaxy):
    """Reflect the worst corner, then expand, contract, or shrink the simplex."""
    best, middling, worst = simplex[0, 0], simplex[1, 0], simplex[2, 0]
    x, y = (simplex[0, 1] + simplex[1, 1]) / 2, (simplex[0, 2] + simplex[1, 2]) / 2
    dx, dy = x - simplex[2, 1], y - simplex[2, 2]
    value = _asymmetry(x + dx, y + dy, planes, galaxy)
    along, limit, outside = -0.5, worst, False
    if value < best:
        along, limit = 2.0, value
    elif middling <= value < worst:
        along, limit, outside = 0.5, value, True
    if value < best or value >= middling:
        again = _asymmetry(x + along * dx, y + along * dy, planes, galaxy)
        if again < limit or (outside and again == limit):
            simplex[2, 0], simplex[2, 1], simplex[2, 2] = again, x + along * dx, y + along * dy
            return
    if value < middling:
        simplex[2, 0], simplex[2, 1], simplex[2, 2] = value, x + dx, y + dy
        return
    for k in (1, 2):
        for axis in (1, 2):
            simplex[k, axis] = simplex[0, axis] + 0.5 * (simplex[k, axis] - simplex[0, axis])
        simplex[k, 0] = _asymmetry(simplex[k, 1], simplex[k, 2], planes, galaxy)


@compile_loop
def _asymmetry(x, y, planes, galaxy):
    """Asymmetry about a point: what is minimised (statmorph's ``_asymmetry_function``)."""
    masked, nx, ny, radius, sky, lost = galaxy
    difference, total, area = 0.0, 0.0, 0.0
    if 0 <= x < nx and 0 <= y < ny:
        difference, total, area = _sums(x, y, radius + 0.5, nx, ny, planes)
    if total == 0:
        lost[0] = True
        return OUT_OF_RANGE
    low = radius - 0.5
    if not masked and low <= x <= nx - 1 - low and low <= y <= ny - 1 - low:
        area = math.pi * radius**2
    return (difference - area * sky) / total


@part_of_loop
def _sums(x, y, edge, nx, ny, planes):
    """Sums in a circle of an image's difference from itself turned, of itself, and of the pixels."""
    light, other_light, valid, other_valid, columns = planes
    height, width = light.shape
    for k in range(width):
        columns[k] = F32((k - x) ** 2)
    twice_x, twice_y = int(2 * x), int(2 * y)
    part_x, part_y = F32(2 * x - twice_x), F32(2 * y - twice_y)
    right, up = int(part_x >= HALF), int(part_y >= HALF)  # where the pixel nearest to a turned one is
    difference, total, area = 0.0, 0.0, 0.0
    for row in range(max(0, math.ceil(y - edge)), min(ny, int(y + edge) + 1)):
        reach = math.sqrt(abs(edge**2 - (row - y) ** 2))
        first, last = max(0, math.ceil(x - reach)), min(nx, int(x + reach) + 1)
        if first >= last:
            continue
        # Numbers of pixels without a sign: a negative one would count from the end, which costs a look at each.
        here, own = UINT(row), UINT(2 * height - twice_y + row)
        start, opposite, number = UINT(first), UINT(2 * width - twice_x + first), UINT(last - first)
        up_own, right_opposite = UINT(own - up), UINT(opposite - right)
        square = F32((row - y) ** 2)
        d, t, a = ZERO, ZERO, ZERO
        for k in range(number):
            weight = _ramp(square + columns[start + k], F32(edge))
            weight *= valid[here, start + k] * other_valid[up_own, right_opposite + k]
            pixel = light[here, start + k]
            turned = between(other_light, own, opposite + k, part_x, part_y)
            d, t, a = d + weight * abs(turned - pixel), t + weight * abs(pixel), a + weight
        difference, total, area = difference + d, total + t, area + a
    return difference, total, area


@part_of_loop
def _ramp(square, edge):
    """How much of a pixel at some distance is in a circle whose edge is a ramp a pixel wide."""
    return max(ZERO, min(ONE, edge - F32(math.sqrt(square))))
