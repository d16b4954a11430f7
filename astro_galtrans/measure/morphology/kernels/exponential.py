"""
Exponential function and logarithm that loops over pixels can take many at a time, in float64 and float32.

Without Intel's library numba calls the C library's functions for one number, five times slower. The polynomials are
Taylor's, those of FreeBSD's msun (Sun Microsystems, 1993; logarithm in float64) and of Cephes (Moshier, 1989; float32).
Infinities become the largest numbers, what is too small 0; what is not a number does not stay so.
"""

import numba
import numpy as np

__all__ = ["exp32", "exp64", "log32", "log64"]

F = np.float32
LOG2E, HIGH, LOW = 1.4426950408889634, 6.93147180369123816490e-01, 1.90821492927058770002e-10  # log 2 in two parts
LOG2E_32, HIGH_32, LOW_32 = F(LOG2E), F(0.693359375), F(-2.12194440e-4)
MASK, BIAS, ROOT = (1 << 52) - 1, 1023, 0x3FE6A09E667F3BCD  # of float64; the square root of 1/2
MASK_32, BIAS_32, ROOT_32 = np.int32((1 << 23) - 1), np.int32(127), np.int32(0x3F3504F3)
ZERO, HALF, ONE = F(0), F(0.5), F(1)
A0, A1, A2, A3, A4, A5 = (F(c) for c in (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 1.6666665e-1, 0.5))
B0, B1, B2, B3 = (F(c) for c in (7.0376836e-2, -1.1514610e-1, 1.1676999e-1, -1.2420141e-1))
B4, B5, B6, B7, B8 = (F(c) for c in (1.4249323e-1, -1.6668057e-1, 2.0000715e-1, -2.4999994e-1, 3.3333331e-1))
LOWEST, HIGHEST, LOWEST_32, HIGHEST_32 = -708.0, 709.0, F(-87), F(88)
compile_exactly = numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")  # sums in their order


@compile_exactly
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


@compile_exactly
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


@compile_exactly
def exp32(x):
    """Exponential function of a float32."""
    small = x < LOWEST_32
    x = min(max(x, LOWEST_32), HIGHEST_32)
    k = np.floor(x * LOG2E_32 + HALF)
    r = (x - k * HIGH_32) - k * LOW_32
    p = ((((A0 * r + A1) * r + A2) * r + A3) * r + A4) * r + A5
    p = (p * r * r + r + ONE) * np.int32((np.int32(k) + BIAS_32) << np.int32(23)).view(np.float32)
    return ZERO if small else p


@compile_exactly
def log32(x):
    """Logarithm of a positive float32."""
    bits = np.float32(x).view(np.int32)
    power = np.int32(np.int32(bits - ROOT_32) >> np.int32(23))
    f = np.int32(bits - np.int32(power << np.int32(23))).view(np.float32) - ONE
    k, z = F(power), f * f
    p = (((((((B0 * f + B1) * f + B2) * f + B3) * f + B4) * f + B5) * f + B6) * f + B7) * f + B8
    return f + (f * z * p + k * LOW_32 - HALF * z) + k * HIGH_32
