"""Sorting of a galaxy's pixels."""

import numpy as np

from astro_galtrans.measure.morphology.compiled import compile_loop

__all__ = ["falling"]

DIGIT = 256


@compile_loop
def falling(values):
    """
    Return the indices of values from the highest to the lowest; equal ones stay in order.

    A radix sort of the values in float32, four passes of eight bits; what float32 cannot tell apart is then sorted by
    insertion. numba's own sort compares, and takes five times as long.

    Parameters
    ----------
    values : `numpy.ndarray`
        ``[M]``, float64, finite.
    """
    number = len(values)
    key, order = _keys(values), np.empty(number, np.int32)
    for i in range(number):
        order[i] = i
    spare_key, spare = np.empty(number, np.uint32), np.empty(number, np.int32)
    for shift in (0, 8, 16, 24):
        _pass(shift, key, order, spare_key, spare)
        key, spare_key, order, spare = spare_key, key, spare, order
    for i in range(1, number):
        index, j = order[i], i
        while j > 0 and values[order[j - 1]] < values[index]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = index
    return order


@compile_loop
def _keys(values):
    """Integers that fall as the values rise: the bits of a float32, its sign taken into account."""
    single = np.empty(len(values), np.float32)
    bits = single.view(np.uint32)
    for i in range(len(bits)):
        single[i] = values[i]
        negative = bits[i] >> np.uint32(31)
        bits[i] = bits[i] if negative else ~bits[i] & np.uint32(0x7FFFFFFF)
    return bits


@compile_loop
def _pass(shift, key, order, new_key, new_order):
    """Sort by one digit."""
    place = np.zeros(DIGIT + 1, np.int64)
    for i in range(len(key)):
        place[((key[i] >> np.uint32(shift)) & np.uint32(DIGIT - 1)) + 1] += 1
    for d in range(DIGIT):
        place[d + 1] += place[d]
    for i in range(len(key)):
        digit = (key[i] >> np.uint32(shift)) & np.uint32(DIGIT - 1)
        j = place[digit]
        place[digit] = j + 1
        new_key[j], new_order[j] = key[i], order[i]
