"""SciPy's searches of roots and minima, of functions that are stairs: the steps taken decide which stair is found."""

import math

import numpy as np

from astro_galtrans.measure.morphology.compiled import compile_loop
from astro_galtrans.measure.morphology.multimode import (
    F_TOLERANCE,
    HOPS,
    MOST_STEPS,
    REL_TEMPERATURE,
    SMALLEST_STEP,
    STEP,
    X_TOLERANCE,
)

__all__ = ["brent", "clearest_threshold"]

RELATIVE, ITERATIONS = 4 * np.finfo(np.float64).eps, 100  # scipy.optimize.brentq's
DRAWS = np.random.RandomState(0).uniform(size=2 * HOPS)  # statmorph's seed


@compile_loop
def brent(table, tolerance):
    """
    Find a root as `scipy.optimize.brentq` does.

    Parameters
    ----------
    table : `numpy.ndarray`
        The function at quantiles from 0 to 1: not positive at the first, positive at the last.
    tolerance : float
        Absolute, of the quantile.
    """
    x_pre, x_cur, x_blk, f_blk, s_pre, s_cur = 0.0, 1.0, 0.0, 0.0, 0.0, 0.0
    f_pre, f_cur = table[0], table[-1]
    if f_pre == 0:
        return x_pre
    for _ in range(ITERATIONS):
        if f_pre != 0 and f_cur != 0 and (f_pre < 0) != (f_cur < 0):
            x_blk, f_blk = x_pre, f_pre
            s_pre = s_cur = x_cur - x_pre
        if abs(f_blk) < abs(f_cur):
            x_pre, x_cur, x_blk = x_cur, x_blk, x_cur
            f_pre, f_cur, f_blk = f_cur, f_blk, f_cur
        delta, half = (tolerance + RELATIVE * abs(x_cur)) / 2, (x_blk - x_cur) / 2
        if f_cur == 0 or abs(half) < delta:
            break
        step = half
        if abs(s_pre) > delta and abs(f_cur) < abs(f_pre):
            step = _interpolated(x_pre, f_pre, x_cur, f_cur, x_blk, f_blk)
            if not 2 * abs(step) < min(abs(s_pre), 3 * abs(half) - delta):
                step = half
        s_pre, s_cur = half if step == half else s_cur, step
        x_pre, f_pre = x_cur, f_cur
        x_cur += s_cur if abs(s_cur) > delta else math.copysign(delta, half)
        f_cur = table[int(x_cur * (len(table) - 1))]
    return x_cur


@compile_loop
def _interpolated(x_pre, f_pre, x_cur, f_cur, x_blk, f_blk):
    """The secant's step, or that of inverse quadratic interpolation."""
    if x_pre == x_blk:
        return -f_cur * (x_cur - x_pre) / (f_cur - f_pre)
    d_pre, d_blk = (f_pre - f_cur) / (x_pre - x_cur), (f_blk - f_cur) / (x_blk - x_cur)
    return -f_cur * (f_blk * d_blk - f_pre * d_pre) / (d_blk * d_pre * (f_blk - f_pre))


@compile_loop
def clearest_threshold(largest, second, number, outside):
    """
    Return the ratio of two areas where (A2 / A1) A2 is highest, as statmorph finds it: multimode.

    Parameters
    ----------
    largest, second : `numpy.ndarray`
        ``[M]``: the areas above the M brightest values, from the brightest on.
    number : int
        Pixels over which quantiles are taken, M or more.
    outside : float
        What is to be minimised, where there are no two clumps.
    """
    table, found = np.empty(len(second)), False
    for i in range(len(second)):
        found = found or second[i] > 0
        table[i] = -(second[i] * second[i]) / largest[i] if second[i] > 0 else outside
    if not found:
        return 0.0
    start, lowest, size = 0.0, outside, 2 * STEP
    while lowest >= 0 and size >= SMALLEST_STEP:
        size /= 2
        for i in range(math.ceil(1 / size)):
            value = _at(i * size, table, number, outside)
            if value < lowest:
                start, lowest = i * size, value
    if lowest >= 0:
        return 0.0
    quantile = _hop(table, number, outside, start, lowest, size)
    return _at(quantile, second, number, 0.0) / _at(quantile, largest, number, 0.0)


@compile_loop
def _at(quantile, table, number, outside):
    """A table's value; its index counts from the brightest value, a quantile from the faintest."""
    if not 0 <= quantile <= 1:
        return outside
    index = number - 1 - int(quantile * (number - 1))
    return table[index] if index < len(table) else outside


@compile_loop
def _hop(table, number, outside, start, lowest, step):
    """`scipy.optimize.basinhopping`."""
    temperature, accepted = -REL_TEMPERATURE * lowest, 0
    x, energy = _nelder_mead(table, number, outside, start)
    best_x, best = x, energy
    for hop in range(1, HOPS + 1):
        if hop % (HOPS / 2) == 0:  # scipy's adaptive step
            step = step / 0.9 if accepted / hop > 0.5 else step * 0.9
        new_x, new = _nelder_mead(table, number, outside, x + (2 * DRAWS[2 * hop - 2] - 1) * step)
        if math.exp(min(0.0, -(new - energy) / temperature)) >= DRAWS[2 * hop - 1]:
            x, energy, accepted = new_x, new, accepted + 1
            if new < best:
                best_x, best = new_x, new
    return best_x


@compile_loop
def _nelder_mead(table, number, outside, start):
    """`scipy.optimize.minimize(method="Nelder-Mead")` of one variable: the simplex is an interval."""
    x, y = start, 0.00025 if start == 0 else 1.05 * start
    f, g = _at(x, table, number, outside), _at(y, table, number, outside)
    for _ in range(1, MOST_STEPS):
        if g < f:
            x, y, f, g = y, x, g, f
        if abs(y - x) <= X_TOLERANCE and abs(g - f) <= F_TOLERANCE:
            break
        reflected = 2 * x - y
        h = _at(reflected, table, number, outside)
        # further out if that was better than all, half as far if better than the worst, else half way inside
        further = 3 * x - 2 * y if h < f else 1.5 * x - 0.5 * y if h < g else 0.5 * (x + y)
        h_further = _at(further, table, number, outside)
        if (h_further < h) if h < f else (h_further <= h) if h < g else (h_further < g):
            y, g = further, h_further
        elif h < f:
            y, g = reflected, h
        else:
            y = x + 0.5 * (y - x)
            g = _at(y, table, number, outside)
    return x, f
