"""
Residuals and normal equations of Sersic models, a galaxy at a time.

The PSF is a sum of separable terms, so that a convolution is one along the columns and one along the rows for each. All
of a galaxy's pixels lie in one line, with zeros between the rows that are as wide as half the PSF: along columns and
rows alike, the convolution is then a sum of shifted copies of the line. Terms that carry little of the light are
convolved in float32. The gradient of chi2 takes one convolution, backwards, of the residuals, with all terms; in J^T J
small terms, which would change the path a little and not where it ends, are left out.
"""

import numpy as np

from astro_galtrans.diagnostics.morphology.compiled import compile_loop
from astro_galtrans.diagnostics.morphology.sersic_problem import SMALLEST_N

from .exponential import exp32, exp64, log32, log64

__all__ = ["normal_equations", "residuals"]

BLOCK = 1024  # pixels of a convolution at a time: what the nearest cache holds
SUM = 512  # products summed in float32, before they are in float64
ALIGNED = 16  # pixels between the beginnings of rows are a multiple
F = np.float32
ONE, TINY, LOWEST = F(1), F(1e-20), F(-80)


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
        ``[N or 1, 2, R, K]``, float64 and float32: factors of the PSFs down and along, reversed; ``exact`` has the
        first of ``terms`` only. Without terms the models are not convolved.
    out, norms : `numpy.ndarray`
        Results, ``[n, H, W]`` and ``[n]``; pixels beyond a galaxy's are not touched.
    """
    half, zero, one = terms.shape[3] // 2, len(rows) - len(rows), len(rows) // len(rows)
    most = _length(image.shape[1], image.shape[2], half)
    line, drawn, beside = np.empty(most), np.empty(most), np.empty(most)
    rough, rest, beside_rough = np.empty(most, F), np.empty(most, F), np.empty(most, F)
    for i in range(len(rows)):
        row = rows[i]
        ny, nx = sizes[row]
        stride, number = _layout(ny, nx, half)
        lead = half * stride
        norms[i] = np.nan
        if not np.isfinite(parameters[i].sum() + b[i]):
            continue
        _profile(parameters[i], b[i], ny, nx, stride, line[lead:])
        model = line[lead:]
        if terms.shape[2]:
            psf = min(row, len(terms) - 1)
            _clear(line, lead, number)
            _copy(line, rough, 2 * lead + number)
            _convolve(line, exact[psf], zero, exact.shape[2], stride, one, beside, drawn[:number])
            _convolve(rough, terms[psf], exact.shape[2], terms.shape[2], stride, one, beside_rough, rest[:number])
            _add(rest, drawn, number)
            model = drawn
        norms[i] = _subtract(model, image[row], weight[row], ny, nx, stride, out[i])


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
    zero, one = len(rows) - len(rows), len(rows) // len(rows)
    half, convolved = terms.shape[3] // 2, terms.shape[2] > 0
    most = _length(image.shape[1], image.shape[2], half)
    derivatives, jacobian = np.empty((6, most), F), np.empty((7, most), F)
    sigma, rest, line = np.empty(most, F), np.empty(most, F), np.empty(most, F)
    back, beside = np.empty(most, F), np.empty(most, F)
    for i in range(len(rows)):
        row = rows[i]
        ny, nx = sizes[row]
        stride, number = _layout(ny, nx, half)
        lead = half * stride
        psf = terms[min(row, len(terms) - 1)]
        _derivatives(parameters[i], b[i], slope[i], ny, nx, stride, lead, derivatives)
        _known(parameters[i, 0], image[row], weight[row], residual[i], ny, nx, stride, jacobian[0], sigma, rest)
        gradient[i, 0] = _dot(jacobian[0], rest, number)
        _product(sigma, rest, line[lead:], number)
        _copy(line[lead:], back, number)
        if convolved:
            _clear(line, lead, number)
            _convolve(line, psf, zero, psf.shape[1], stride, -one, beside, back[:number])
        for k in range(6):
            column = derivatives[k, lead:]
            gradient[i, k + 1] = _dot(column, back, number)
            if convolved:
                _clear(derivatives[k], lead, number)
                column = line
                _convolve(derivatives[k], psf, zero, few, stride, one, beside, column[:number])
            _product(column, sigma, jacobian[k + 1], number)
        for k in range(7):
            for m in range(k + 1):
                matrix[i, k, m] = matrix[i, m, k] = _dot(jacobian[k], jacobian[m], number)


@compile_loop
def _layout(ny, nx, half):
    """Pixels from a row to the next, and all pixels of the line."""
    stride = (nx + half + ALIGNED - 1) // ALIGNED * ALIGNED
    return stride, ny * stride


@compile_loop
def _length(ny, nx, half):
    """Space for a line with zeros before and after it."""
    stride, number = _layout(ny, nx, half)
    return number + 2 * half * stride


@compile_loop
def _clear(line, lead, number):
    """Put zeros before and after a line."""
    line[:lead] = 0
    line[lead + number : 2 * lead + number] = 0


@compile_loop
def _copy(a, out, number):
    for p in range(number):
        out[p] = a[p]


@compile_loop
def _add(a, out, number):
    for p in range(number):
        out[p] += a[p]


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
def _convolve(line, psf, first, last, stride, sign, beside, out):
    """Convolve (sign 1) a line that has zeros before and after it, or do the transpose (-1)."""
    half, number = psf.shape[2] // 2, len(out)
    inner = beside[half : half + number]
    beside[:half] = 0
    beside[half + number : 2 * half + number] = 0
    out[:] = 0
    for r in range(first, last):
        inner[:] = 0
        _accumulate(line, psf[0, r], half * stride, sign * stride, inner)
        _accumulate(beside, psf[1, r], half, sign, out)


@compile_loop
def _accumulate(line, taps, centre, step, out):
    """Add copies of a line, that of the middle tap shifted by ``centre``, each by ``step`` more than the one before."""
    whole, start = len(taps) // 4 * 4, centre - len(taps) // 2 * step
    for begin in range(0, len(out), BLOCK):
        few, target = min(BLOCK, len(out) - begin), out[begin:]
        for j in range(0, whole, 4):
            p, q, r, s = taps[j], taps[j + 1], taps[j + 2], taps[j + 3]
            at = start + begin + j * step
            a, b, c, d = line[at:], line[at + step :], line[at + 2 * step :], line[at + 3 * step :]
            for x in range(few):
                target[x] += (p * a[x] + q * b[x]) + (r * c[x] + s * d[x])
        for j in range(whole, len(taps)):
            p, a = taps[j], line[start + begin + j * step :]
            for x in range(few):
                target[x] += p * a[x]


@compile_loop
def _profile(parameters, b, ny, nx, stride, out):
    """A Sersic profile at the centres of pixels, with zeros between the rows."""
    amplitude, radius, n = parameters[0], parameters[1], max(parameters[2], SMALLEST_N)
    xc, yc, theta = parameters[3], parameters[4], parameters[6]
    axis, half = radius * (1 - parameters[5]), 0.5 / n
    cos, sin = np.cos(theta), np.sin(theta)
    for y in range(ny):
        line, dy = out[y * stride : (y + 1) * stride], y - yc
        for x in range(nx):
            dx = x - xc
            major, minor = (dx * cos + dy * sin) / radius, (dy * cos - dx * sin) / axis
            power = exp64(half * log64(major * major + minor * minor))
            line[x] = amplitude * exp64(b - b * power)
        line[nx:] = 0


@compile_loop
def _subtract(model, image, weight, ny, nx, stride, out):
    """Residuals over the standard deviation, and their norm."""
    total = 0.0
    for y in range(ny):
        line, values, inverse, result = model[y * stride :], image[y], weight[y], out[y]
        for x in range(nx):
            value = inverse[x] * (line[x] - values[x])
            result[x] = value
            total += value * value
    return np.sqrt(total)


@compile_loop
def _derivatives(parameters, b, slope, ny, nx, stride, lead, out):
    """By half-light radius, n, centre, ellipticity and angle, with zeros between the rows."""
    radius, n, rest, theta = parameters[1], max(parameters[2], SMALLEST_N), 1 - parameters[5], parameters[6]
    amplitude, xc, yc, free = F(parameters[0]), F(parameters[3]), F(parameters[4]), F(parameters[2] >= SMALLEST_N)
    cos, sin = np.cos(theta), np.sin(theta)
    cos_major, sin_major = F(cos / radius), F(sin / radius)
    cos_minor, sin_minor = F(cos / (radius * rest)), F(sin / (radius * rest))
    b, half, of_b, steepness = F(b), F(0.5 / n), F(slope), F(b / n)
    by_radius, by_ellip, by_angle = F(1 / radius), F(-1 / rest), F(1 / rest - rest)
    for y in range(ny):
        begin, dy = lead + y * stride, F(y) - yc
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
        out[:, begin + nx : begin + stride] = 0


@compile_loop
def _known(amplitude, image, weight, residual, ny, nx, stride, column, sigma, rest):
    """Weights, residuals, and the derivative by the amplitude, to which the model is proportional; zeros between."""
    inverse = 1 / amplitude if amplitude != 0 else 1.0
    for y in range(ny):
        values, weights, left = image[y], weight[y], residual[y]
        begin = y * stride
        a, b, c = column[begin:], sigma[begin:], rest[begin:]
        for x in range(nx):
            a[x] = (left[x] + weights[x] * values[x]) * inverse
            b[x] = weights[x]
            c[x] = left[x]
        a[nx:stride], b[nx:stride], c[nx:stride] = 0, 0, 0
