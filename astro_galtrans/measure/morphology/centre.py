"""
The point about which a galaxy is least asymmetric (Conselice et al. 2000).

The search takes the steps of SciPy's simplex, as statmorph's does, and is among what costs most, so it is lean:
float32, and the circle's edge a ramp a pixel wide instead of exact areas. The least asymmetry that it finds is then
measured exactly. A galaxy is kept as it is and mirrored, as `.turned` explains.
"""

import math

import numpy as np

from ._jit import compile_loop, part_of_loop
from .cutouts import BAD, SUSPECT
from .turned import UINT, between, take

__all__ = ["EXTENT_CAS", "FRACTION_CAS", "OUT_OF_RANGE", "asymmetry_centre"]

EXTENT_CAS, FRACTION_CAS = 1.5, 0.25  # statmorph's petro_extent_cas and petro_fraction_cas
OUT_OF_RANGE = 100.0  # what statmorph's function returns to keep the minimiser where it belongs
X_TOLERANCE = 2e-3  # pixels; statmorph's 1e-6 takes twice the steps and changes nothing that matters
F_TOLERANCE = 1e-4  # SciPy's
STEPS = 200
F32 = np.float32
ZERO, HALF, ONE = F32(0), F32(0.5), F32(1)


def asymmetry_centre(cutouts, x, y, petrosian, sky_asymmetry):
    """
    Find the centres x and y ``[N]`` that minimise asymmetry, from the centroids on, and raise flags as statmorph does.

    ``petrosian`` are circular Petrosian radii about the centroids, ``sky_asymmetry`` the sky's mean asymmetry per
    pixel.
    """
    centroid, drift = np.stack([x, y], 1), FRACTION_CAS * petrosian
    every = np.arange(len(cutouts))
    centre = _centre(cutouts, every, centroid, petrosian, sky_asymmetry)
    far = every[np.hypot(*(centre - centroid).T) > drift]
    if len(far):  # try again from the brightest pixel, and if that drifts too keep the centroid
        cutouts.raise_flag(far, SUSPECT)
        index = cutouts.source_image[far].reshape(len(far), -1).argmax(1)
        brightest = np.stack(np.divmod(index, cutouts.image.shape[2])[::-1], 1).astype(np.float64)
        again = _centre(cutouts, far, brightest, petrosian, sky_asymmetry)
        lost = np.hypot(*(again - brightest).T) > drift[far]
        centre[far] = np.where(lost[:, None], centroid[far], again)
        cutouts.raise_flag(far[lost], BAD)
    return np.ascontiguousarray(centre.T)


def _centre(cutouts, rows, start, petrosian, sky_asymmetry):
    """The minima of the asymmetry of some galaxies about a moving point."""
    pixels = (np.ascontiguousarray(t[rows]) for t in (cutouts.image, cutouts.mask, cutouts.nx, cutouts.ny))
    centre, lost = search(*pixels, start, EXTENT_CAS * petrosian[rows], sky_asymmetry[rows])
    cutouts.raise_flag(rows[lost], SUSPECT)
    return centre


@compile_loop
def search(image, mask, nx, ny, start, radius, sky):
    """
    Find the points ``[N, 2]`` about which galaxies are least asymmetric.

    From ``start`` (``[N, 2]``, x and y) on, in a circle of ``radius``. Also told is which searches were lost: a step
    went outside of the cutout, or to where there is no flux.
    """
    number, height, width = image.shape
    centre, lost, simplex = np.empty((number, 2)), np.zeros(number, np.bool_), np.empty((3, 3))
    light, valid, columns = np.empty((height, width), F32), np.empty((height, width), F32), np.empty(width, F32)
    around = 3 * height + 1, 3 * width + 1  # see `.turned.sums_turned`
    other_light, other_valid = np.zeros(around, F32), np.empty(around, F32)
    other_valid[:] = ONE
    for n in range(number):
        masked = take(image[n], mask[n], light, valid, other_light, other_valid)
        planes = light, other_light, valid, other_valid, columns
        galaxy = masked, nx[n], ny[n], radius[n], sky[n], lost[n : n + 1]
        _minimise(simplex, start[n, 0], start[n, 1], planes, galaxy)
        centre[n, 0], centre[n, 1] = simplex[0, 1], simplex[0, 2]
    return centre, lost


@part_of_loop
def _minimise(simplex, x, y, planes, galaxy):
    """
    Nelder and Mead's method (1965, The Computer Journal 7, 308) in the steps of `scipy.optimize.fmin`.

    A row of the simplex is a corner: value, x and y. The best comes first. The first simplex goes 5 % further in each
    coordinate, as SciPy's does: the steps decide in which of the noise's minima the search ends.
    """
    for k in range(3):
        simplex[k, 1] = x if k != 1 else (1.05 * x if x != 0 else 0.00025)
        simplex[k, 2] = y if k != 2 else (1.05 * y if y != 0 else 0.00025)
        simplex[k, 0] = _asymmetry(simplex[k, 1], simplex[k, 2], planes, galaxy)
    _sort(simplex)
    for _ in range(STEPS):
        if _spread(simplex, 1, 3) <= X_TOLERANCE and _spread(simplex, 0, 1) <= F_TOLERANCE:
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
    """Return the asymmetry about a point, the function that is minimised (statmorph's ``_asymmetry_function``)."""
    masked, nx, ny, radius, sky, lost = galaxy
    difference, total, area = 0.0, 0.0, 0.0
    if 0 <= x < nx and 0 <= y < ny:
        difference, total, area = _sums(x, y, radius + 0.5, nx, ny, planes)
    if total == 0:
        lost[0] = True
        return OUT_OF_RANGE
    # The area of a whole circle is known; only circles that lack pixels need the sum of the ramp's weights.
    low = radius - 0.5
    if not masked and low <= x <= nx - 1 - low and low <= y <= ny - 1 - low:
        area = math.pi * radius**2
    return (difference - area * sky) / total


@part_of_loop
def _sums(x, y, edge, nx, ny, planes):
    """
    Sum, in a circle, an image's absolute difference from itself turned, its absolute flux, and the pixels.

    Each row is summed in float32, which vectorises, and the rows in float64.
    """
    light, other_light, valid, other_valid, columns = planes
    height, width = light.shape
    for k in range(width):
        columns[k] = F32((k - x) ** 2)
    twice_x, twice_y = int(2 * x), int(2 * y)
    part_x, part_y = F32(2 * x - twice_x), F32(2 * y - twice_y)
    # A turned pixel falls between four; it is masked if the nearest of them is, as skimage's rotation of masks has it.
    right, up = int(part_x >= HALF), int(part_y >= HALF)
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
    """Return the weight of a pixel at some squared distance in a circle whose edge is a ramp a pixel wide."""
    return max(ZERO, min(ONE, edge - F32(math.sqrt(square))))
