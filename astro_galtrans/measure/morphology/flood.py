"""
Connected regions of a galaxy's pixels, the eight neighbours of a pixel being connected to it.

Pixels are numbered, row by row, on a canvas that has a rim of one pixel around the cutout, so that none lacks a
neighbour. Canvases are flat, and there are few operations on whole arrays: numba compiles plain loops the fastest.
"""

import numpy as np

from ._jit import compile_loop

__all__ = ["ALLOWED", "TAKEN", "brightest_region", "flood", "roots_around", "taken"]

ALLOWED, TAKEN = 1, 2


@compile_loop
def brightest_region(image, threshold, ny, nx, region):
    """
    Find the pixels above a threshold that are connected to the brightest.

    Parameters
    ----------
    image : `numpy.ndarray`
        ``[H, W]``.
    threshold : float
        The least value of a pixel.
    ny, nx : int
        Size of the cutout.
    region : `numpy.ndarray`
        ``[H, W]``, bool: where the region goes.

    Returns
    -------
    above, connected : int
        How many pixels are above the threshold, and how many in the region.
    y, x : int
        The brightest pixel.
    """
    step, above, highest = nx + 2, 0, -np.inf
    brightest = step + 1
    state = np.zeros((ny + 2) * step, np.uint8)
    for y in range(ny):
        for x in range(nx):
            pixel, value = (y + 1) * step + x + 1, image[y, x]
            if value >= threshold:
                state[pixel] = ALLOWED
                above += 1
            if value > highest:
                highest, brightest = value, pixel
    connected = flood(state, step, brightest)
    taken(state, step, region, ny, nx)
    return above, connected, brightest // step - 1, brightest % step - 1


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
