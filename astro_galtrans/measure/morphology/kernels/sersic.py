"""
Sersic models of galaxies, their derivatives, and what a fit makes of them, a galaxy at a time.

Models and derivatives are drawn on a canvas of complex numbers, for convolutions of two images at a time: those of two
galaxies, or two derivatives of one. Models are in float64, derivatives in float32.
"""

import numpy as np

from astro_galtrans.measure.morphology.compiled import compile_loop
from astro_galtrans.measure.morphology.sersic_problem import SMALLEST_N

from .exponential import exp32, exp64, log32, log64

__all__ = ["derivatives", "products", "profiles", "residuals"]

SUM = 512  # products summed in float32, before they are in float64
F = np.float32
ONE, TINY, LOWEST = F(1), F(1e-20), F(-80)


@compile_loop
def profiles(parameters, b, rows, sizes, pair, out, scale):
    """
    Draw Sersic profiles at the centres of pixels.

    Parameters
    ----------
    parameters : `numpy.ndarray`
        ``[n, 7]``, float64.
    b : `numpy.ndarray`
        ``[n]``: of Sersic's law.
    rows : `numpy.ndarray`
        ``[n]``: which galaxies.
    sizes : `numpy.ndarray`
        ``[N, 2]``: pixels of each, down and along, from the first of its image.
    pair : int
        2 if real and imaginary parts are of two galaxies, 1 if real parts are of one.
    out : `numpy.ndarray`
        Result, ``[n / pair, 1, H, 2 W]``, float64: real and imaginary parts.
    scale : `numpy.ndarray`
        Result, ``[n]``: what to multiply those with. Rounding in a transform is relative to the brighter of two images,
        so both are made as bright, and no one spoils the other.
    """
    image = np.empty(out.shape[2] * out.shape[3])
    for i in range(len(rows)):
        ny, nx = sizes[rows[i]]
        if i % pair == 0:
            out[i // pair] = 0
        total = 0.0
        for y in range(ny):
            total += _profile(parameters[i], b[i], y, nx, image[y * nx :])
        scale[i] = total if np.isfinite(parameters[i].sum() + total) else np.nan
        inverse = 1 / total if total > 0 else 0.0
        for y in range(ny if np.isfinite(scale[i]) else 0):
            row, line = out[i // pair, 0, y, i % pair :], image[y * nx :]
            for x in range(nx):
                row[2 * x] = line[x] * inverse


@compile_loop
def _profile(parameters, b, y, nx, line):
    radius, n, theta = parameters[1], max(parameters[2], SMALLEST_N), parameters[6]
    axis, xc, dy = radius * (1 - parameters[5]), parameters[3], y - parameters[4]
    cos, sin, amplitude, half = np.cos(theta), np.sin(theta), parameters[0], 0.5 / n
    across, along, minor_across, minor_along = cos / radius, dy * sin / radius, sin / axis, dy * cos / axis
    total = 0.0
    for x in range(nx):
        dx = x - xc
        major, minor = dx * across + along, minor_along - dx * minor_across
        value = amplitude * exp64(b - b * exp64(half * log64(major * major + minor * minor)))
        line[x] = value
        total += abs(value)
    return total


@compile_loop
def residuals(canvas, scale, pair, y0, x0, rows, image, weight, sizes, out, norms):
    """
    Compute the residuals of models, over the pixels' standard deviations, and their norms.

    Parameters
    ----------
    canvas : `numpy.ndarray`
        ``[n / pair, 1, H, 2 W]``: models as of `profiles`, convolved perhaps.
    scale, pair, rows, sizes : `numpy.ndarray`, int
        As in `profiles`.
    y0, x0 : int
        Where the models begin on the canvas.
    image, weight : `numpy.ndarray`
        ``[N, H, W]``, float64.
    out, norms : `numpy.ndarray`
        Results, ``[n, H, W]`` and ``[n]``, float64; pixels beyond a galaxy's are not touched.
    """
    for i in range(len(rows)):
        row, factor, total = rows[i], scale[i], 0.0
        ny, nx = sizes[row]
        for y in range(ny):
            model, values = canvas[i // pair, 0, y0 + y, 2 * x0 + i % pair :], image[row, y]
            weights, result = weight[row, y], out[i, y]
            for x in range(nx):
                value = weights[x] * (factor * model[2 * x] - values[x])
                result[x] = value
                total += value * value
        norms[i] = np.sqrt(total)


@compile_loop
def derivatives(parameters, b, slope, rows, sizes, out):
    """
    Draw the derivatives by half-light radius, n, centre, ellipticity and angle.

    Parameters
    ----------
    parameters, b, rows, sizes : `numpy.ndarray`
        As in `profiles`.
    slope : `numpy.ndarray`
        ``[n]``: derivative of ``b`` by the Sersic index.
    out : `numpy.ndarray`
        Result, ``[n, 3, H, 2 W]``, float32: six derivatives, the real and imaginary parts of three.
    """
    for i in range(len(rows)):
        ny, nx = sizes[rows[i]]
        out[i] = 0
        for y in range(ny):
            _derivatives(parameters[i], b[i], slope[i], y, nx, out[i, 0, y], out[i, 1, y], out[i, 2, y])


@compile_loop
def _derivatives(parameters, b, slope, y, nx, first, second, third):
    radius, n, rest, theta = parameters[1], max(parameters[2], SMALLEST_N), 1 - parameters[5], parameters[6]
    amplitude, xc, dy = F(parameters[0]), F(parameters[3]), F(y - parameters[4])
    cos, sin, free = np.cos(theta), np.sin(theta), F(parameters[2] >= SMALLEST_N)
    cos_major, sin_major = F(cos / radius), F(sin / radius)
    cos_minor, sin_minor = F(cos / (radius * rest)), F(sin / (radius * rest))
    b, half, of_b, steepness = F(b), F(0.5 / n), F(slope), F(b / n)
    by_radius, by_ellip, by_angle = F(1 / radius), F(-1 / rest), F(1 / rest - rest)
    for x in range(nx):
        dx = F(x) - xc
        major, minor = dx * cos_major + dy * sin_major, dy * cos_minor - dx * sin_minor
        square = major * major + minor * minor
        log = max(log32(square), LOWEST)
        power = exp32(half * log)
        flux = amplitude * exp32(b - b * power)
        steep = steepness * flux * power  # minus the derivative by the logarithm of the radius
        near = steep / max(square, TINY)
        along, across = near * major, near * minor
        first[2 * x] = steep * by_radius
        first[2 * x + 1] = free * (half * steep * log - of_b * flux * (power - ONE))
        second[2 * x] = along * cos_major - across * sin_minor
        second[2 * x + 1] = along * sin_major + across * cos_minor
        third[2 * x] = across * minor * by_ellip
        third[2 * x + 1] = across * major * by_angle


@compile_loop
def products(canvas, y0, x0, parameters, rows, image, weight, sizes, residual, matrix, gradient):
    """
    Compute J^T J and J^T r.

    Parameters
    ----------
    canvas : `numpy.ndarray`
        ``[n, 3, H, 2 W]``, float32: derivatives as of `derivatives`, convolved perhaps.
    y0, x0 : int
        Where they begin on the canvas.
    parameters, rows, image, weight, sizes : `numpy.ndarray`
        As in `profiles` and `residuals`.
    residual : `numpy.ndarray`
        ``[n, H, W]``: of `residuals`.
    matrix, gradient : `numpy.ndarray`
        Results, ``[n, 7, 7]`` and ``[n, 7]``, float64.
    """
    table = np.empty((8, image.shape[1] * image.shape[2]), F)
    for i in range(len(rows)):
        row = rows[i]
        ny, nx = sizes[row]
        for y in range(ny):
            weights = weight[row, y]
            _known(parameters[i, 0], image[row, y], weights, residual[i, y], nx, table[0, y * nx :], table[7, y * nx :])
            for k in range(3):
                line = canvas[i, k, y0 + y, 2 * x0 :]
                _weigh(line, weights, nx, table[2 * k + 1, y * nx :], table[2 * k + 2, y * nx :])
        if parameters[i, 2] < SMALLEST_N:
            table[2] = 0  # where a transform leaves traces of its other part
        for k in range(7):
            gradient[i, k] = _dot(table[k], table[7], ny * nx)
            for m in range(k + 1):
                matrix[i, k, m] = matrix[i, m, k] = _dot(table[k], table[m], ny * nx)


@compile_loop
def _known(amplitude, values, weights, residual, nx, column, rest):
    """Residuals, and the derivative by the amplitude, to which the model is proportional."""
    inverse = 1 / amplitude if amplitude != 0 else 1.0
    for x in range(nx):
        column[x] = (residual[x] + weights[x] * values[x]) * inverse
        rest[x] = residual[x]


@compile_loop
def _weigh(line, weights, nx, real, imaginary):
    for x in range(nx):
        weight = F(weights[x])
        real[x] = line[2 * x] * weight
        imaginary[x] = line[2 * x + 1] * weight


@compile_loop
def _dot(a, b, number):
    total = 0.0
    for begin in range(0, number, SUM):
        part, first, second = F(0), a[begin:], b[begin:]
        for p in range(min(SUM, number - begin)):
            part += first[p] * second[p]
        total += part
    return total
