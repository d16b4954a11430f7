"""
Filters along both axes of cutouts, mirrored at their edges, as `scipy.ndimage` has them.

`blur` serves loops over galaxies, and is twice as fast as SciPy's for kernels of a few pixels.
"""

import math

import numpy as np
from scipy.ndimage import uniform_filter

from ._jit import compile_loop
from .cutouts import same_size

__all__ = ["blur", "box_filter", "gaussian_weights"]

TRUNCATE = 4.0  # scipy.ndimage.gaussian_filter's, in sigma


def box_filter(image, size, ny, nx):
    """
    Average images ``[N, H, W]`` over square boxes of sides ``size``, mirrored at the edges of the cutouts.

    Sides of 0 and 1 leave an image as it is; outside of the cutouts (ny, nx) there is zero.
    """
    found = np.zeros_like(image)
    for rows, here in same_size(ny, nx, np.maximum(size, 1)):
        found[here] = uniform_filter(image[here], max(size[rows[0]], 1), axes=(1, 2))
    return found


@compile_loop
def gaussian_weights(sigma):
    """Return a Gaussian cut at 4 ``sigma`` (in pixels) on both sides of its centre; its sum is 1."""
    reach, total = int(TRUNCATE * sigma + 0.5), 0.0
    weights = np.empty(2 * reach + 1)
    for i in range(2 * reach + 1):
        weights[i] = math.exp(-0.5 * ((i - reach) / max(sigma, 1e-15)) ** 2)
        total += weights[i]
    for i in range(2 * reach + 1):
        weights[i] /= total
    return weights


@compile_loop
def blur(image, ny, nx, weights, mirrored, result):
    """
    Apply the same filter along both axes of a cutout ``[ny, nx]``, and add what it gives to ``result``, which has to
    be zero.

    Beyond the edges lies the mirror image, or zero; ``mirrored`` must be no literal, for each of which all is compiled
    anew.
    """
    number, before = len(weights), len(weights) // 2
    # One row at a time: first filtered along y, then extended by what lies beyond its ends, then filtered along x.
    wide = np.empty(nx + number - 1)
    for y in range(ny):
        wide[:] = 0
        for i in range(number):
            row = _inside(y + i - before, ny) if mirrored else y + i - before
            if 0 <= row < ny:
                _add(wide[before:], weights[i], image[row], nx)
        if mirrored:
            for i in range(before):
                wide[before - 1 - i] = wide[before + _inside(-1 - i, nx)]
            for i in range(number - 1 - before):
                wide[before + nx + i] = wide[before + _inside(nx + i, nx)]
        for i in range(number):
            _add(result[y], weights[i], wide[i:], nx)


@compile_loop
def _add(total, weight, line, length):
    """Add a weighted line to another: the one step that all time goes to, and that vectorises."""
    for x in range(length):
        total[x] += weight * line[x]


@compile_loop
def _inside(i, length):
    """The pixel that one beyond the edge mirrors: the edge itself is the mirror."""
    i %= 2 * length
    return i if i < length else 2 * length - 1 - i
