"""
Residuals and normal equations of Sersic models, a galaxy at a time.

The PSF is a sum of separable terms, so that a convolution is two products of matrices: of the image with all terms'
banded matrices down the columns, and of the result with those along the rows. Terms that carry little of the light are
convolved in float32. The gradient of chi2 takes one convolution, backwards, of the residuals, with all terms; in J^T J
small terms, which would change the path a little and not where it ends, are left out.
"""

import numpy as np

from astro_galtrans.diagnostics.morphology.compiled import compile_loop
from astro_galtrans.diagnostics.morphology.sersic_problem import SMALLEST_N

from .exponential import exp32, exp64, log32, log64

__all__ = ["normal_equations", "residuals"]

SUM = 512  # products summed in float32, before they are in float64
F = np.float32
ONE, TINY, LOWEST = F(1), F(1e-20), F(-80)
FORWARDS, BACKWARDS = np.int64(1), np.int64(-1)


@compile_loop
def residuals(parameters, b, image, weight, rows, sizes, exact, terms, out, norms):
    """
    Compute the residuals of models, over the pixels' standard deviations, and their norms.

    Parameters
    ----------
    parameters : `numpy.ndarray`
        ``[n, 7]``, float64.
    b : `numpy.ndarray`
        ``[n]``: of Sersic's law.
    image, weight : `numpy.ndarray`
        ``[N, H, W]``, float64.
    rows : `numpy.ndarray`
        ``[n]``: which galaxies.
    sizes : `numpy.ndarray`
        ``[N, 2]``: pixels of each, down and along, from the first of its image.
    exact, terms : `numpy.ndarray`
        ``[N or 1, 2, R, K]``, float64 and float32: factors of the PSFs down and along; ``exact`` has the
        first of ``terms`` only. Without terms the models are not convolved.
    out, norms : `numpy.ndarray`
        Results, ``[n, H, W]`` and ``[n]``; pixels beyond a galaxy's are not touched.
    """
    ny, nx = image.shape[1:]
    model, drawn, rough, rest = np.empty(ny * nx), np.empty(ny * nx), np.empty(ny * nx, F), np.empty(ny * nx, F)
    number, few, first = terms.shape[2], exact.shape[2], np.int64(0)
    down, along, between = np.empty(few * ny * ny), np.empty(few * nx * nx), np.empty(few * ny * nx)
    length = number - few
    rough_down, rough_along = np.empty(length * ny * ny, F), np.empty(length * nx * nx, F)
    rough_between = np.empty(length * ny * nx, F)
    for i in range(len(rows)):
        row = rows[i]
        ny, nx = sizes[row]
        norms[i] = np.nan
        if not np.isfinite(parameters[i].sum() + b[i]):
            continue
        _profile(parameters[i], b[i], ny, nx, model)
        if number:
            psf = min(row, len(terms) - 1)
            _matrices(exact[psf], first, few, FORWARDS, ny, nx, down, along)
            _convolve(model, few, ny, nx, down, along, between, drawn)
            _copy(model, rough, ny * nx)
            _matrices(terms[psf], few, number, FORWARDS, ny, nx, rough_down, rough_along)
            _convolve(rough, length, ny, nx, rough_down, rough_along, rough_between, rest)
            _sum(drawn, rest, model, ny * nx)
        norms[i] = _subtract(model, image[row], weight[row], ny, nx, out[i])


@compile_loop
def normal_equations(parameters, b, slope, image, weight, residual, rows, sizes, terms, few, matrix, gradient):
    """
    Compute J^T J and J^T r.

    Parameters
    ----------
    parameters, b, image, weight, rows, sizes, terms : `numpy.ndarray`
        As in `residuals`.
    slope : `numpy.ndarray`
        ``[n]``: derivative of ``b`` by the Sersic index.
    residual : `numpy.ndarray`
        ``[n, H, W]``: of `residuals`.
    few : int
        Terms of the PSF to use in J^T J.
    matrix, gradient : `numpy.ndarray`
        Results, ``[n, 7, 7]`` and ``[n, 7]``, float64.
    """
    ny, nx = image.shape[1:]
    number, first = terms.shape[2], np.int64(0)
    derivatives, jacobian = np.empty((6, ny * nx), F), np.empty((7, ny * nx), F)
    sigma, rest, line, back = np.empty(ny * nx, F), np.empty(ny * nx, F), np.empty(ny * nx, F), np.empty(ny * nx, F)
    down, along, between = np.empty(number * ny * ny, F), np.empty(number * nx * nx, F), np.empty(number * ny * nx, F)
    for i in range(len(rows)):
        row = rows[i]
        ny, nx = sizes[row]
        pixels = ny * nx
        psf = terms[min(row, len(terms) - 1)]
        _derivatives(parameters[i], b[i], slope[i], ny, nx, derivatives)
        _known(parameters[i, 0], image[row], weight[row], residual[i], ny, nx, jacobian[0], sigma, rest)
        gradient[i, 0] = _dot(jacobian[0], rest, pixels)
        _product(sigma, rest, back, pixels)
        if number:
            _copy(back, line, pixels)
            _matrices(psf, first, number, BACKWARDS, ny, nx, down, along)
            _convolve(line, number, ny, nx, down, along, between, back)
            _matrices(psf, first, few, FORWARDS, ny, nx, down, along)
        for k in range(6):
            column = derivatives[k]
            gradient[i, k + 1] = _dot(column, back, pixels)
            if number:
                _convolve(column, few, ny, nx, down, along, between, line)
                column = line
            _product(column, sigma, jacobian[k + 1], pixels)
        for k in range(7):
            for m in range(k + 1):
                matrix[i, k, m] = matrix[i, m, k] = _dot(jacobian[k], jacobian[m], pixels)


@compile_loop
def _copy(a, out, number):
    for p in range(number):
        out[p] = a[p]


@compile_loop
def _sum(a, b, out, number):
    for p in range(number):
        out[p] = a[p] + b[p]


@compile_loop
def _product(a, b, out, number):
    for p in range(number):
        out[p] = a[p] * b[p]


@compile_loop
def _dot(a, b, number):
    total = 0.0
    for begin in range(0, number, SUM):
        part, first, second = F(0), a[begin:], b[begin:]
        for p in range(min(SUM, number - begin)):
            part += first[p] * second[p]
        total += part
    return total


@compile_loop
def _convolve(image, terms, ny, nx, down, along, between, out):
    """Convolve an image with the terms of `_matrices`."""
    size = ny * terms * nx
    image, out = image[: ny * nx].reshape(ny, nx), out[: ny * nx].reshape(ny, nx)
    np.dot(down[: ny * terms * ny].reshape(ny * terms, ny), image, between[:size].reshape(ny * terms, nx))
    np.dot(between[:size].reshape(ny, terms * nx), along[: terms * nx * nx].reshape(terms * nx, nx), out)


@compile_loop
def _matrices(psf, first, last, sign, ny, nx, down, along):
    """Lay out some terms of a PSF as matrices that convolve, or with a sign of -1 do the transpose."""
    taps = np.zeros(2 * max(ny, nx), psf.dtype)
    for r in range(first, last):
        _banded(psf[0, r], sign, ny, r - first, last - first, taps, down)
        _banded(psf[1, r], -sign, nx, (r - first) * nx, sign * sign, taps, along)


@compile_loop
def _banded(factor, sign, side, begin, step, taps, out):
    """Fill rows of a matrix, from one to the next as many as ``step`` further, with a factor moved along."""
    half = len(factor) // 2
    for shift in range(1 - side, side):
        k = half - sign * shift
        taps[side - 1 + shift] = factor[k] if 0 <= k < len(factor) else 0
    for i in range(side):
        row, source = out[(begin + i * step) * side :], taps[side - 1 - i :]
        for j in range(side):
            row[j] = source[j]


@compile_loop
def _profile(parameters, b, ny, nx, out):
    """A Sersic profile at the centres of pixels."""
    amplitude, radius, n = parameters[0], parameters[1], max(parameters[2], SMALLEST_N)
    xc, yc, theta = parameters[3], parameters[4], parameters[6]
    axis, half = radius * (1 - parameters[5]), 0.5 / n
    cos, sin = np.cos(theta), np.sin(theta)
    for y in range(ny):
        line, dy = out[y * nx :], y - yc
        for x in range(nx):
            dx = x - xc
            major, minor = (dx * cos + dy * sin) / radius, (dy * cos - dx * sin) / axis
            power = exp64(half * log64(major * major + minor * minor))
            line[x] = amplitude * exp64(b - b * power)


@compile_loop
def _subtract(model, image, weight, ny, nx, out):
    """Residuals over the standard deviation, and their norm."""
    total = 0.0
    for y in range(ny):
        line, values, inverse, result = model[y * nx :], image[y], weight[y], out[y]
        for x in range(nx):
            value = inverse[x] * (line[x] - values[x])
            result[x] = value
            total += value * value
    return np.sqrt(total)


@compile_loop
def _derivatives(parameters, b, slope, ny, nx, out):
    """By half-light radius, n, centre, ellipticity and angle."""
    radius, n, rest, theta = parameters[1], max(parameters[2], SMALLEST_N), 1 - parameters[5], parameters[6]
    amplitude, xc, yc, free = F(parameters[0]), F(parameters[3]), F(parameters[4]), F(parameters[2] >= SMALLEST_N)
    cos, sin = np.cos(theta), np.sin(theta)
    cos_major, sin_major = F(cos / radius), F(sin / radius)
    cos_minor, sin_minor = F(cos / (radius * rest)), F(sin / (radius * rest))
    b, half, of_b, steepness = F(b), F(0.5 / n), F(slope), F(b / n)
    by_radius, by_ellip, by_angle = F(1 / radius), F(-1 / rest), F(1 / rest - rest)
    for y in range(ny):
        begin, dy = y * nx, F(y) - yc
        by_r, by_n, by_x = out[0, begin:], out[1, begin:], out[2, begin:]
        by_y, by_e, by_t = out[3, begin:], out[4, begin:], out[5, begin:]
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
            by_r[x] = steep * by_radius
            by_n[x] = free * (half * steep * log - of_b * flux * (power - ONE))
            by_x[x] = along * cos_major - across * sin_minor
            by_y[x] = along * sin_major + across * cos_minor
            by_e[x] = across * minor * by_ellip
            by_t[x] = across * major * by_angle


@compile_loop
def _known(amplitude, image, weight, residual, ny, nx, column, sigma, rest):
    """Derivative by the amplitude, to which the model is proportional; weights and residuals."""
    inverse = 1 / amplitude if amplitude != 0 else 1.0
    for y in range(ny):
        values, weights, left = image[y], weight[y], residual[y]
        begin = y * nx
        a, b, c = column[begin:], sigma[begin:], rest[begin:]
        for x in range(nx):
            a[x] = (left[x] + weights[x] * values[x]) * inverse
            b[x] = weights[x]
            c[x] = left[x]
