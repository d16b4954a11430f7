"""
Connected regions of a galaxy's pixels, the eight neighbours of a pixel being connected to it.

Pixels are numbered, row by row, on a canvas that has a rim of one pixel around the cutout, so that none lacks a
neighbour. Canvases are flat, and there are few operations on whole arrays: numba compiles plain loops the fastest.
"""

import numpy as np

from astro_galtrans.measure.morphology.compiled import compile_loop

__all__ = ["ALLOWED", "TAKEN", "clump_areas", "connected_regions", "flood", "roots_around", "taken"]

ALLOWED, TAKEN = 1, 2


@compile_loop
def connected_regions(allowed, seed):
    """
    Find the pixels connected to a seed.

    Parameters
    ----------
    allowed : `numpy.ndarray`
        ``[N, H, W]``, bool.
    seed : `numpy.ndarray`
        ``[N]``, int64: y * W + x.

    Returns
    -------
    `numpy.ndarray`
        ``[N, H, W]``, bool.
    """
    number, height, width = allowed.shape
    region, step = np.zeros(allowed.shape, np.bool_), width + 2
    state = np.zeros((height + 2) * step, np.uint8)
    for k in range(number):
        for y in range(height):
            for x in range(width):
                state[(y + 1) * step + x + 1] = allowed[k, y, x]
        flood(state, step, (seed[k] // width + 1) * step + seed[k] % width + 1)
        taken(state, step, region[k], height, width)
    return region


@compile_loop
def taken(state, step, region, ny, nx):
    """
    Copy which pixels are taken.

    Parameters
    ----------
    state, step
        As of `flood`.
    region : `numpy.ndarray`
        ``[H, W]``, bool: where to.
    ny, nx : int
        Size of the cutout.
    """
    for y in range(ny):
        for x in range(nx):
            region[y, x] = state[(y + 1) * step + x + 1] == TAKEN


@compile_loop
def flood(state, step, start):
    """
    Mark what is connected to a pixel as taken, and count it.

    Parameters
    ----------
    state : `numpy.ndarray`
        Of each pixel of the canvas, uint8: 0, or 1 where allowed, which becomes 2 where taken; the rim is 0.
    step : int
        Pixels in a row of the canvas.
    start : int
        The pixel's number; nothing is taken if it is not allowed.
    """
    if state[start] != ALLOWED:
        return 0
    stack = np.empty(len(state), np.int32)
    state[start], stack[0] = TAKEN, start
    waiting, number = 1, 1
    while waiting:
        waiting -= 1
        pixel = stack[waiting]
        for row in range(pixel - step, pixel + step + 1, step):
            for other in range(row - 1, row + 2):
                if state[other] == ALLOWED:
                    state[other], stack[waiting] = TAKEN, other
                    waiting += 1
                    number += 1
    return number


# -- clumps above falling thresholds: pixels are added from the brightest on, each joined to those it touches


@compile_loop
def roots_around(pixel, step, label, parent, found):
    """
    Find the clumps that a pixel touches.

    Parameters
    ----------
    pixel, step : int
        The pixel's number, and that of pixels in a row of the canvas.
    label : `numpy.ndarray`
        Of each pixel of the canvas: its rank in brightness if it was added, else -1.
    parent : `numpy.ndarray`
        Of each rank: a brighter one of the same clump, or itself: the clump's brightest pixel, by which it is known.
    found : `numpy.ndarray`
        ``[8]``: the clumps go here; their number is returned.
    """
    number = 0
    for row in range(pixel - step, pixel + step + 1, step):
        for other in range(row - 1, row + 2):
            root = label[other]
            if root < 0:
                continue
            while parent[root] != root:
                parent[root] = parent[parent[root]]
                root = parent[root]
            new = True
            for i in range(number):
                new = new and found[i] != root
            if new:
                found[number] = root
                number += 1
    return number


@compile_loop
def clump_areas(place, flux, order, step, size):
    """
    Measure the areas of the two largest clumps of the r + 1 brightest pixels, for all r.

    Parameters
    ----------
    place, flux : `numpy.ndarray`
        ``[M]``: numbers and values of the pixels, all positive.
    order : `numpy.ndarray`
        ``[M]``: indices of the pixels by falling brightness.
    step, size : int
        Pixels in a row of the canvas, and in all.

    Returns
    -------
    largest, second : `numpy.ndarray`
        ``[M]``, float64; pixels of equal value are there all or not at all.
    """
    number = len(order)
    largest, second = np.zeros(number), np.zeros(number)
    label, parent = np.full(size, -1, np.int32), np.empty(number, np.int32)
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
