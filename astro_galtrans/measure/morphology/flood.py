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
    Find the pixels at or above a threshold that are connected to the brightest, and write them to ``region`` (bool).

    Returns how many are above the threshold, how many of them connected, and y and x of the brightest pixel.
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
    """Copy from the canvas (see `flood`) to ``region``, ``[ny, nx]`` bool, which pixels are taken."""
    for y in range(ny):
        for x in range(nx):
            region[y, x] = state[(y + 1) * step + x + 1] == TAKEN


@compile_loop
def flood(state, step, start):
    """
    Mark what is connected to pixel number ``start`` as taken, and count it; nothing is if that is not allowed.

    ``state`` is 0 or `ALLOWED`, which becomes `TAKEN`, uint8, of each pixel of the canvas, ``step`` to a row; its rim
    is 0.
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
    Write to ``found`` (``[8]``) the different clumps that a pixel touches, and return their number.

    ``label`` has for each pixel its rank in brightness if it was added, else -1; ``parent`` for each rank that of a
    brighter pixel of the same clump, or itself if it is the clump's brightest, its root.
    """
    number = 0
    for row in range(pixel - step, pixel + step + 1, step):
        for other in range(row - 1, row + 2):
            root = label[other]
            if root < 0:
                continue
            while parent[root] != root:
                parent[root] = parent[parent[root]]  # shortens the way for those who come next
                root = parent[root]
            new = True
            for i in range(number):
                new = new and found[i] != root
            if new:
                found[number] = root
                number += 1
    return number
