"""
Sersic models of galaxies, their derivatives, and what a fit makes of them, a galaxy at a time.

Models and residuals are in float64. Derivatives are in float32, which is twice as fast and only decides how straight
the way to the minimum is.
"""

import numpy as np

from ._jit import compile_loop, part_of_loop

__all__ = ["SMALLEST_N", "derivatives", "products", "profiles", "residuals"]

SMALLEST_N = 0.01  # statmorph's bound
SUM = 512  # products summed in float32, before they are in float64
EXACT = {"contract"}  # the logarithm's polynomial needs its sums in their order
F = np.float32
LOG2E, HIGH, LOW = 1.4426950408889634, 6.93147180369123816490e-01, 1.90821492927058770002e-10  # log 2 in two parts
LOG2E_32, HIGH_32, LOW_32 = F(LOG2E), F(0.693359375), F(-2.12194440e-4)
BIAS, ROOT = 1023, 0x3FE6A09E667F3BCD  # of float64's exponent; the bits of the square root of 1/2
BIAS_32, ROOT_32 = np.int32(127), np.int32(0x3F3504F3)
ZERO, HALF, ONE, TINY, LOWEST_LOG = F(0), F(0.5), F(1), F(1e-20), F(-80)
A0, A1, A2, A3, A4, A5 = (F(c) for c in (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 1.6666665e-1, 0.5))
B0, B1, B2, B3 = (F(c) for c in (7.0376836e-2, -1.1514610e-1, 1.1676999e-1, -1.2420141e-1))
B4, B5, B6, B7, B8 = (F(c) for c in (1.4249323e-1, -1.6668057e-1, 2.0000715e-1, -2.4999994e-1, 3.3333331e-1))
LOWEST, HIGHEST, LOWEST_32, HIGHEST_32 = -708.0, 709.0, F(-87), F(88)


@compile_loop
def profiles(parameters, b, rows, sizes, out):
    """
    Draw Sersic profiles at the centres of pixels, to ``out``: ``[n, H, W]``, float64.

    Of parameters ``[n, 7]``, Sersic's ``b`` and the galaxies' ``rows``, ``[n]``; ``sizes`` ``[N, 2]`` are the pixels
    of each, down and along. Zero beyond a galaxy's pixels, NaN where a parameter is not finite.
    """
    for i in range(len(rows)):
        ny, nx = sizes[rows[i]]
        out[i] = 0
        for y in range(ny):
            _profile(parameters[i], b[i], y, nx, out[i, y])
        if not np.isfinite(parameters[i].sum()):  # `exp64` makes a number of it
            out[i] = np.nan


@part_of_loop
def _profile(parameters, b, y, nx, line):
    """Draw one row of pixels."""
    radius, n, theta = parameters[1], max(parameters[2], SMALLEST_N), parameters[6]
    axis, xc, dy = radius * (1 - parameters[5]), parameters[3], y - parameters[4]
    cos, sin, amplitude, half = np.cos(theta), np.sin(theta), parameters[0], 0.5 / n
    across, along, minor_across, minor_along = cos / radius, dy * sin / radius, sin / axis, dy * cos / axis
    for x in range(nx):
        dx = x - xc
        major, minor = dx * across + along, minor_along - dx * minor_across
        line[x] = amplitude * exp64(b - b * exp64(half * log64(major * major + minor * minor)))


@compile_loop
def residuals(models, rows, image, weight, sizes, out, norms):
    """
    Compute the residuals of models over the pixels' standard deviations, ``[n, H, W]``, and their norms, ``[n]``.

    Rows and sizes are as in `profiles`; pixels beyond a galaxy's are not touched.
    """
    for i in range(len(rows)):
        row, total = rows[i], 0.0
        ny, nx = sizes[row]
        for y in range(ny):
            model, values, weights, result = models[i, y], image[row, y], weight[row, y], out[i, y]
            for x in range(nx):
                value = weights[x] * (model[x] - values[x])
                result[x] = value
                total += value * value
        norms[i] = np.sqrt(total)


@compile_loop
def derivatives(parameters, b, slope, rows, sizes, out):
    """
    Draw the derivatives by half-light radius, n, centre, ellipticity and angle: ``[n, 6, H, W]``, float32.

    ``slope`` is the derivative of ``b`` by the Sersic index, ``[n]``; the rest is as in `profiles`.
    """
    for i in range(len(rows)):
        ny, nx = sizes[rows[i]]
        out[i] = 0
        for y in range(ny):
            # Six rows, not one array of them: only lines known to be contiguous are computed many pixels at a time.
            lines = out[i, 0, y], out[i, 1, y], out[i, 2, y], out[i, 3, y], out[i, 4, y], out[i, 5, y]
            _derivatives(parameters[i], b[i], slope[i], y, nx, lines)


@part_of_loop
def _derivatives(parameters, b, slope, y, nx, lines):
    """Draw one row of pixels."""
    by_rhalf, by_n, by_x, by_y, by_ellipticity, by_theta = lines
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
        log = max(log32(square), LOWEST_LOG)
        power = exp32(half * log)
        flux = amplitude * exp32(b - b * power)
        steep = steepness * flux * power  # minus the derivative by the logarithm of the radius
        near = steep / max(square, TINY)
        along, across = near * major, near * minor
        by_rhalf[x] = steep * by_radius
        by_n[x] = free * (half * steep * log - of_b * flux * (power - ONE))
        by_x[x] = along * cos_major - across * sin_minor
        by_y[x] = along * sin_major + across * cos_minor
        by_ellipticity[x] = across * minor * by_ellip
        by_theta[x] = across * major * by_angle


@compile_loop
def products(columns, parameters, rows, image, weight, sizes, residual, matrix, gradient):
    """
    Compute J^T J, ``[n, 7, 7]``, and J^T r, ``[n, 7]``, float64.

    ``columns`` are those of `derivatives`, convolved perhaps, ``residual`` that of `residuals`; the rest is as there.
    """
    table = np.empty((8, image.shape[1] * image.shape[2]), F)
    for i in range(len(rows)):
        row = rows[i]
        ny, nx = sizes[row]
        for y in range(ny):
            weights, start = weight[row, y], y * nx
            _known(parameters[i, 0], image[row, y], weights, residual[i, y], nx, table[0, start:], table[7, start:])
            for k in range(6):
                _weigh(columns[i, k, y], weights, nx, table[k + 1, start:])
        for k in range(7):
            gradient[i, k] = _dot(table[k], table[7], ny * nx)
            for m in range(k + 1):
                matrix[i, k, m] = matrix[i, m, k] = _dot(table[k], table[m], ny * nx)


@part_of_loop
def _known(amplitude, values, weights, residual, nx, column, rest):
    """Residuals, and the derivative by the amplitude, to which the model is proportional."""
    inverse = 1 / amplitude if amplitude != 0 else 1.0
    for x in range(nx):
        column[x] = (residual[x] + weights[x] * values[x]) * inverse
        rest[x] = residual[x]


@part_of_loop
def _weigh(line, weights, nx, column):
    for x in range(nx):
        column[x] = line[x] * F(weights[x])


@compile_loop
def _dot(a, b, number):
    total = 0.0
    for begin in range(0, number, SUM):
        part, first, second = F(0), a[begin:], b[begin:]
        for p in range(min(SUM, number - begin)):
            part += first[p] * second[p]
        total += part
    return total


# -- exponential function and logarithm
#
# numba calls the C library's functions for one number at a time, five times slower than these, of which a loop over
# pixels computes many at once. The polynomials are Taylor's, those of FreeBSD's msun (Sun Microsystems, 1993; logarithm
# in float64) and of Cephes (Moshier, 1989; float32). Infinities become the largest numbers, what is too small becomes
# 0, and what is not a number does not stay so.


@compile_loop(fastmath=EXACT)
def exp64(x):
    """Exponential function of a float64."""
    small = x < LOWEST
    x = min(max(x, LOWEST), HIGHEST)
    k = np.floor(x * LOG2E + 0.5)
    r = (x - k * HIGH) - k * LOW
    s = r * r
    # Taylor's series, in parts that do not wait for each other.
    a = (1.0 + r) + s * (1 / 2 + r * (1 / 6))
    b = (1 / 24 + r * (1 / 120)) + s * (1 / 720 + r * (1 / 5040))
    c = (1 / 40320 + r * (1 / 362880)) + s * (1 / 3628800 + r * (1 / 39916800))
    q = s * s
    p = a + q * (b + q * (c + q * (1 / 479001600)))
    p *= np.int64((np.int64(np.int32(k)) + BIAS) << 52).view(np.float64)
    return 0.0 if small else p


@compile_loop(fastmath=EXACT)
def log64(x):
    """Logarithm of a positive float64."""
    bits = np.float64(x).view(np.int64)
    power = (bits - ROOT) >> 52
    m = np.int64(bits - (power << 52)).view(np.float64)  # from the square root of 1/2 to that of 2
    k = np.float64(np.int32(power))
    s = (m - 1) / (m + 1)
    z = s * s
    w = z * z
    odd = w * (0.3999999999940941908 + w * (0.2222219843214978396 + w * 0.1531383769920937332))
    even = z * (
        0.6666666666666735130 + w * (0.2857142874366239149 + w * (0.1818357216161805012 + w * 0.147981986051165859))
    )
    return k * HIGH + (2 * s + (s * (odd + even) + k * LOW))


@compile_loop(fastmath=EXACT)
def exp32(x):
    """Exponential function of a float32."""
    small = x < LOWEST_32
    x = min(max(x, LOWEST_32), HIGHEST_32)
    k = np.floor(x * LOG2E_32 + HALF)
    r = (x - k * HIGH_32) - k * LOW_32
    p = ((((A0 * r + A1) * r + A2) * r + A3) * r + A4) * r + A5
    p = (p * r * r + r + ONE) * np.int32((np.int32(k) + BIAS_32) << np.int32(23)).view(np.float32)
    return ZERO if small else p


@compile_loop(fastmath=EXACT)
def log32(x):
    """Logarithm of a positive float32."""
    bits = np.float32(x).view(np.int32)
    power = np.int32(np.int32(bits - ROOT_32) >> np.int32(23))
    f = np.int32(bits - np.int32(power << np.int32(23))).view(np.float32) - ONE
    k, z = F(power), f * f
    p = (((((((B0 * f + B1) * f + B2) * f + B3) * f + B4) * f + B5) * f + B6) * f + B7) * f + B8
    return f + (f * z * p + k * LOW_32 - HALF * z) + k * HIGH_32
