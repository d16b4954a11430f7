"""
Petrosian radii, and radii that hold a fraction of the light (Lotz et al. 2004, eq. 4 and section 3.1).

The Petrosian ratio need not fall monotonically, so the radius meant is that of the first root: the same 100 radii as
statmorph's are looked at in turn, from 1 pixel to the cutout's diagonal, and the root is found between two of them.
"""

import math

import numpy as np

from ._jit import compile_loop, part_of_loop
from .apertures import elliptical_sum, form, load, load_valid, scratch

__all__ = ["ANNULUS", "fraction_radii", "petrosian_radius"]

ANNULUS, ETA = 1.0, 0.2  # statmorph's annulus_width and eta
GRID = 100  # radii that statmorph looks at
NODES = 11  # radii at which the curve of growth is known before roots are looked for
BEFORE = 3  # grid radii below a guess at which the search begins
TOLERANCE = 1e-3  # pixels, of what brackets the root; statmorph's is 1e-6
ROOT_STEPS = 60  # bisection alone needs 30 from a width of 1e3 pixels to 1e-6


def petrosian_radius(cutouts, ellipses, guess=None):
    """
    Find Petrosian semimajor axes ``[N]``, and which are bad (statmorph's flag 2): not defined, or without any flux.

    1 pixel where the ratio is below eta there already; where it never is, the largest looked at, whose minor axis is
    the cutout's diagonal. With a guess the search begins a little below, and at the first radius only where the ratio
    is below eta there already.
    """
    outer = cutouts.diagonal * ellipses[:, 2]
    step, start = (outer - ANNULUS) / (GRID - 1), np.zeros(len(outer))
    if guess is not None:
        start = np.nan_to_num(np.floor((guess - ANNULUS) / step - BEFORE)).clip(0, GRID)
    pixels = cutouts.image, cutouts.mask, cutouts.nx, cutouts.ny
    return _petrosian_radii(*pixels, ellipses, outer, start.astype(np.int64))


@compile_loop
def _petrosian_radii(image, mask, nx, ny, ellipses, outer, start):
    """Petrosian radii, and which mean nothing; the search begins at radius number ``start`` of the grid."""
    radius, bad = np.empty(len(image)), np.empty(len(image), np.bool_)
    light, valid = scratch(image), scratch(image)
    for n in range(len(image)):
        load(image[n], light)
        clear = load_valid(mask[n], nx[n], ny[n], ellipses[n], valid)
        galaxy = form(ellipses[n]), light, valid, clear
        radius[n], bad[n] = _first_root(galaxy, outer[n], start[n])
    return radius, bad


@part_of_loop
def _first_root(galaxy, outer, start):
    """Find where the ratio first falls below eta, and tell if that radius is bad (see `petrosian_radius`)."""
    step, k, first, before, bad = (outer - ANNULUS) / (GRID - 1), start, start, 0.0, False
    while k < GRID:
        value, empty = _excess(ANNULUS + step * k, galaxy)
        bad |= empty
        if value <= 0 and k == 0:
            return ANNULUS, True
        if value <= 0 and k > first:
            ends = ANNULUS + step * (k - 1), ANNULUS + step * k
            return _root(_excess, galaxy, ends, (before, value)), bad
        # Where the ratio is below eta at once the guess was too far out, and the search begins at the first radius.
        first, k = (0, 0) if value <= 0 else (first, k + 1)
        before = value
    return outer, True


@compile_loop
def _excess(a, galaxy):
    """Return the Petrosian ratio less eta, and whether there is no flux to divide by."""
    disc, inner, outer = a, a - ANNULUS / 2, a + ANNULUS / 2
    ellipse, light = galaxy[:2]
    flux, area = elliptical_sum(ellipse, disc, light), _area(galaxy, disc)
    ring_flux = elliptical_sum(ellipse, outer, light) - elliptical_sum(ellipse, inner, light)
    mean, ring = _mean(flux, area), _mean(ring_flux, _area(galaxy, outer) - _area(galaxy, inner))
    if mean == 0:
        return (0.0 if ring == 0 else 1.0) - ETA, True
    return ring / mean - ETA, False


@part_of_loop
def _mean(flux, area):
    """Absolute flux per pixel, zero where there is no pixel."""
    return abs(flux / area) if area > 1e-9 else 0.0


@compile_loop
def _area(galaxy, a):
    """Return the area of valid pixels in an ellipse: all of it up to where something is masked or the cutout ends."""
    ellipse, _, valid, clear = galaxy
    return math.pi * a * a / ellipse[2] if a <= clear else elliptical_sum(ellipse, a, valid)


@compile_loop
def fraction_radii(image, ellipses, total, fractions):
    """
    Find radii ``[N, F]`` that hold fractions ``[F]`` of the light within ``total`` (``[N]``); and where there is none.

    The total radius itself where there is no light; bad, flag 2, where the total flux is not positive.
    """
    radius, bad = np.empty((len(image), len(fractions))), np.zeros(len(image), np.bool_)
    planes, growth = scratch(image), np.empty(NODES + 1)
    for n in range(len(image)):
        radius[n] = total[n]
        if not total[n] > 0:
            continue
        load(image[n], planes)
        ellipse = form(ellipses[n])
        whole = elliptical_sum(ellipse, total[n], planes)
        bad[n] = whole <= 0
        if whole != 0:
            _fractions(ellipse, planes, total[n] / NODES, whole, fractions, growth, radius[n])
    return radius, bad


@part_of_loop
def _fractions(ellipse, planes, step, whole, fractions, growth, radius):
    """Find the radii of one galaxy; the curve of growth is measured at no more nodes than bracket all of them."""
    known, growth[0] = 0, 0.0
    for f in range(len(fractions)):
        k = 0
        while k < len(growth) - 1 and (k == 0 or growth[k] <= fractions[f]):
            k += 1
            if k > known:
                growth[k], known = abs(elliptical_sum(ellipse, step * k, planes) / whole), k
        given = ellipse, planes, whole, fractions[f]
        values = growth[k - 1] - fractions[f], growth[k] - fractions[f]
        radius[f] = _root(_growth, given, (step * (k - 1), step * k), values)


@part_of_loop
def _growth(a, given):
    """The share of the light within an ellipse, less that wanted; never without flux to divide by."""
    ellipse, planes, whole, wanted = given
    return abs(elliptical_sum(ellipse, a, planes) / whole) - wanted, False


@part_of_loop
def _root(function, given, ends, values):
    """
    Where a function crosses zero between two ends, of which the values are known.

    Chandrupatla's method (1997, Advances in Engineering Software 28, 145), which `scipy.optimize.elementwise.find_root`
    has too: inverse quadratic interpolation that falls back on bisection and keeps the bracket, as Brent's does.
    """
    a, b, f_a, f_b = ends[0], ends[1], values[0], values[1]
    found = a if abs(f_a) < abs(f_b) else b
    if f_a == 0 or f_b == 0:
        return found
    t = min(max(f_a / (f_a - f_b), 0.05), 0.95)
    for _ in range(ROOT_STEPS):
        x = a + t * (b - a)
        f_x = function(x, given)[0]
        if (f_x > 0) == (f_a > 0):
            c, f_c = a, f_a
        else:
            c, f_c, b, f_b = b, f_b, a, f_a
        a, f_a = x, f_x
        found = a if abs(f_a) < abs(f_b) else b
        limit = TOLERANCE / abs(b - a)
        if limit >= 0.5 or f_a == 0 or not math.isfinite(f_a):
            break
        t = min(max(_fraction(a, b, c, f_a, f_b, f_c), limit), 1 - limit)
    return found


@part_of_loop
def _fraction(a, b, c, f_a, f_b, f_c):
    """Return where between a and b to look next: by inverse quadratic interpolation if it is safe, else half way."""
    xi, phi = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
    if not (phi * phi < xi and (1 - phi) ** 2 < 1 - xi):
        return 0.5
    t = f_a / (f_b - f_a) * (f_c / (f_b - f_c)) + (c - a) / (b - a) * (f_a / (f_c - f_a)) * (f_b / (f_c - f_b))
    return t if math.isfinite(t) else 0.5
