"""
The multimode statistic (Freeman et al. 2013; Peth et al. 2016).

A galaxy's pixels above a threshold fall into clumps; the statistic is the ratio of the areas of the two largest, at
the threshold where (A2 / A1) A2 is highest.
"""

import math

import numpy as np

from ._jit import compile_loop, part_of_loop
from .flood import roots_around

__all__ = ["clearest_threshold", "clump_areas"]

STEP, SMALLEST_STEP = 0.02, 1e-3  # of quantiles, in statmorph's first search
HOPS, REL_TEMPERATURE = 5, 0.5  # statmorph's niter_bh_mid and mid_bh_rel_temp
X_TOLERANCE = F_TOLERANCE = 1e-4  # scipy's Nelder-Mead
MOST_STEPS = 200
DRAWS = np.random.RandomState(0).uniform(size=2 * HOPS)  # statmorph's seed: the sequence that SciPy draws from


@part_of_loop
def clump_areas(place, flux, order, step, size):
    """
    Measure the areas of the two largest clumps of the r + 1 brightest pixels, for all r: ``[M]`` each, float64.

    Pixels have numbers ``place`` on the canvas and positive values ``flux``, ``order`` being that by falling
    brightness; those of equal value are there all or not at all.
    """
    # Pixels are added from the brightest on, each joined to the clumps it touches: one pass serves all thresholds, for
    # each of which statmorph labels the image anew. How many clumps have each area says which is the second largest.
    number = len(order)
    largest, second = np.zeros(number), np.zeros(number)
    label, parent = np.empty(size, np.int32), np.empty(number, np.int32)
    label[:] = -1
    area, clumps = np.zeros(number, np.int64), np.zeros(number + 2, np.int64)  # clumps of each area
    found, first, next_one, clumps[0] = np.empty(8, np.int32), 0, 0, 1
    for rank in range(number):
        pixel = place[order[rank]]
        touched = roots_around(pixel, step, label, parent, found)
        label[pixel] = parent[rank] = rank
        root, whole = rank, 1
        for i in range(touched):
            root = min(root, found[i])
            whole += area[found[i]]
            clumps[area[found[i]]] -= 1
        parent[rank] = root
        for i in range(touched):
            parent[found[i]] = root
        area[root] = whole
        clumps[whole] += 1
        if whole > first:  # what was largest is second now, unless it is what has grown
            next_one = first if clumps[first] else next_one
            first = whole
        else:
            next_one = max(next_one, whole)
        while not clumps[next_one]:  # it was joined to another
            next_one -= 1
        largest[rank], second[rank] = first, next_one
    for rank in range(number - 2, -1, -1):
        if flux[order[rank]] == flux[order[rank + 1]]:
            largest[rank], second[rank] = largest[rank + 1], second[rank + 1]
    return largest, second


@part_of_loop
def clearest_threshold(largest, second, number, outside):
    """
    Return the ratio of two areas where (A2 / A1) A2 is highest, as statmorph finds it: multimode.

    The areas are those of `clump_areas`; quantiles are over ``number`` pixels, and ``outside`` is what is minimised
    where there are no two clumps.
    """
    # statmorph's search: quantiles 0.02 apart, or less if there are no two clumps at any, then basin-hopping.
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


@part_of_loop
def _hop(table, number, outside, start, lowest, step):
    """`scipy.optimize.basinhopping`, whose steps decide which of the many minima is found."""
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
