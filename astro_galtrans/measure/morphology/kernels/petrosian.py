"""Petrosian radii and radii that hold fractions of the light, a galaxy after the other (see ``..petrosian``)."""

import math

import numpy as np

from astro_galtrans.measure.morphology.compiled import compile_loop, part_of_loop

from .ellipses import elliptical_sum, form, load, load_valid, scratch

__all__ = ["fraction_radii", "petrosian_radius"]

ROOT_STEPS = 60


@compile_loop
def petrosian_radius(image, mask, nx, ny, ellipses, outer, start, settings):
    """
    Find Petrosian radii.

    Parameters
    ----------
    image, mask : `numpy.ndarray`
        ``[N, H, W]``, float64 and bool.
    nx, ny : `numpy.ndarray`
        ``[N]``: size of each cutout.
    ellipses : `numpy.ndarray`
        ``[N, 5]``, as of ``.ellipses.sums``.
    outer : `numpy.ndarray`
        ``[N]``: the largest semimajor axes to look at.
    start : `numpy.ndarray`
        ``[N]``: of the grid's radii, with which to begin.
    settings : tuple
        The Petrosian ratio, the width of the annulus, the number of radii in the grid, and the tolerance.

    Returns
    -------
    radius : `numpy.ndarray`
        ``[N]``.
    bad : `numpy.ndarray`
        ``[N]``, bool.
    """
    radius, bad = np.empty(len(image)), np.empty(len(image), np.bool_)
    light, valid = scratch(image), scratch(image)
    for n in range(len(image)):
        load(image[n], light)
        clear = load_valid(mask[n], nx[n], ny[n], ellipses[n], valid)
        galaxy = form(ellipses[n]), light, valid, clear
        radius[n], bad[n] = _first_root(galaxy, outer[n], start[n], settings)
    return radius, bad


@part_of_loop
def _first_root(galaxy, outer, start, settings):
    """Where the ratio first falls below eta, and whether that is worth nothing."""
    eta, annulus, grid, tolerance = settings
    step, k, first, before, bad = (outer - annulus) / (grid - 1), start, start, 0.0, False
    while k < grid:
        value, empty = _ratio(galaxy, annulus + step * k, annulus, eta)
        bad |= empty
        if value <= 0 and k == 0:
            return annulus, True
        if value <= 0 and k > first:
            ends = annulus + step * (k - 1), annulus + step * k
            return _root(_excess, (galaxy, annulus, eta), ends, (before, value), tolerance), bad
        # Below eta at once: the guess was too far out.
        first, k = (0, 0) if value <= 0 else (first, k + 1)
        before = value
    return outer, True


@compile_loop
def _ratio(galaxy, a, annulus, eta):
    """The Petrosian ratio less eta, and whether there is no flux to divide by."""
    disc, inner, outer = a, a - annulus / 2, a + annulus / 2
    ellipse, light = galaxy[:2]
    flux, area = elliptical_sum(ellipse, disc, light), _area(galaxy, disc)
    ring_flux = elliptical_sum(ellipse, outer, light) - elliptical_sum(ellipse, inner, light)
    mean, ring = _mean(flux, area), _mean(ring_flux, _area(galaxy, outer) - _area(galaxy, inner))
    if mean == 0:
        return (0.0 if ring == 0 else 1.0) - eta, True
    return ring / mean - eta, False


@part_of_loop
def _excess(a, given):
    galaxy, annulus, eta = given
    return _ratio(galaxy, a, annulus, eta)[0]


@part_of_loop
def _mean(flux, area):
    """Absolute flux per pixel, zero where there is no pixel."""
    return abs(flux / area) if area > 1e-9 else 0.0


@compile_loop
def _area(galaxy, a):
    """The area of valid pixels in an ellipse, which is all of it up to where something is masked or ends."""
    ellipse, _, valid, clear = galaxy
    return math.pi * a * a / ellipse[2] if a <= clear else elliptical_sum(ellipse, a, valid)


@compile_loop
def fraction_radii(image, ellipses, total, fractions, nodes, tolerance):
    """
    Find radii that hold fractions of the light within a larger radius.

    Parameters
    ----------
    image : `numpy.ndarray`
        ``[N, H, W]``, float64.
    ellipses : `numpy.ndarray`
        ``[N, 5]``, as of ``.ellipses.sums``.
    total : `numpy.ndarray`
        ``[N]``: the radius that holds all; where it is not positive so is the answer.
    fractions : `numpy.ndarray`
        ``[F]``.
    nodes : int
        Radii at which the curve of growth is looked at before roots are.
    tolerance : float
        Of the radii.

    Returns
    -------
    radius : `numpy.ndarray`
        ``[N, F]``.
    bad : `numpy.ndarray`
        ``[N]``, bool: the total flux is not positive.
    """
    radius, bad = np.empty((len(image), len(fractions))), np.zeros(len(image), np.bool_)
    planes, growth = scratch(image), np.empty(nodes + 1)
    for n in range(len(image)):
        radius[n] = total[n]
        if not total[n] > 0:
            continue
        load(image[n], planes)
        ellipse = form(ellipses[n])
        whole = elliptical_sum(ellipse, total[n], planes)
        bad[n] = whole <= 0
        if whole != 0:
            _fractions(ellipse, planes, total[n] / nodes, whole, fractions, growth, tolerance, radius[n])
    return radius, bad


@part_of_loop
def _fractions(ellipse, planes, step, whole, fractions, growth, tolerance, radius):
    """The radii of one galaxy; the curve of growth is known at the first nodes only, and at more where it must be."""
    known, growth[0] = 0, 0.0
    for f in range(len(fractions)):
        k = 0
        while k < len(growth) - 1 and (k == 0 or growth[k] <= fractions[f]):
            k += 1
            if k > known:
                growth[k], known = abs(elliptical_sum(ellipse, step * k, planes) / whole), k
        given = ellipse, planes, whole, fractions[f]
        values = growth[k - 1] - fractions[f], growth[k] - fractions[f]
        radius[f] = _root(_growth, given, (step * (k - 1), step * k), values, tolerance)


@part_of_loop
def _growth(a, given):
    """The share of the light within an ellipse, less that wanted."""
    ellipse, planes, whole, wanted = given
    return abs(elliptical_sum(ellipse, a, planes) / whole) - wanted


@part_of_loop
def _root(function, given, ends, values, tolerance):
    """Where a function crosses zero between two ends, by Chandrupatla's method (see ``..roots``)."""
    a, b, f_a, f_b = ends[0], ends[1], values[0], values[1]
    found = a if abs(f_a) < abs(f_b) else b
    if f_a == 0 or f_b == 0:
        return found
    t = min(max(f_a / (f_a - f_b), 0.05), 0.95)
    for _ in range(ROOT_STEPS):
        x = a + t * (b - a)
        f_x = function(x, given)
        if (f_x > 0) == (f_a > 0):
            c, f_c = a, f_a
        else:
            c, f_c, b, f_b = b, f_b, a, f_a
        a, f_a = x, f_x
        found = a if abs(f_a) < abs(f_b) else b
        limit = tolerance / abs(b - a)
        if limit >= 0.5 or f_a == 0 or not math.isfinite(f_a):
            break
        t = min(max(_fraction(a, b, c, f_a, f_b, f_c), limit), 1 - limit)
    return found


@part_of_loop
def _fraction(a, b, c, f_a, f_b, f_c):
    """Where between a and b to look next: by inverse quadratic interpolation if that is safe, else the middle."""
    xi, phi = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
    if not (phi * phi < xi and (1 - phi) ** 2 < 1 - xi):
        return 0.5
    t = f_a / (f_b - f_a) * (f_c / (f_b - f_c)) + (c - a) / (b - a) * (f_a / (f_c - f_a)) * (f_b / (f_c - f_b))
    return t if math.isfinite(t) else 0.5
