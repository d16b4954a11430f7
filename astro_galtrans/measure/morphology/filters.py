"""
Filters along both axes of cutouts, mirrored at their edges, as `scipy.ndimage` has them.

`blur` serves loops over galaxies, and is twice as fast as SciPy's for kernels of a few pixels.
"""

import math

import numpy as np
from scipy.ndimage import uniform_filter

from ._jit import compile_loop

__all__ = ["blur", "box_filter", "gaussian_weights"]

TRUNCATE = 4.0  # scipy.ndimage.gaussian_filter's, in sigma


def box_filter(image, size, ny, nx):
    """
    Average over square boxes, mirrored at the edges of the cutouts.

    Parameters
    ----------
    image : `numpy.ndarray`
        ``[N, H, W]``.
    size : `numpy.ndarray`
        ``[N]``, int64: the boxes' sides; 0 and 1 leave the image as it is.
    ny, nx : `numpy.ndarray`
        ``[N]``, int64: the sizes of the cutouts; what is returned outside of them is zero.

    Returns
    -------
    `numpy.ndarray`
        ``[N, H, W]``.
    """
    found = np.zeros_like(image)
    for k, (side, height, width) in enumerate(zip(np.maximum(size, 1), ny, nx, strict=True)):
        uniform_filter(image[k, :height, :width], side, output=found[k, :height, :width])
    return found


@compile_loop
def gaussian_weights(sigma):
    """
    Return a Gaussian cut on both sides of its centre; its sum is 1.

    Parameters
    ----------
    sigma : float
        In pixels.
    """
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
    Apply the same filter along both axes.

    Parameters
    ----------
    image : `numpy.ndarray`
        ``[H, W]``.
    ny, nx : int
        Size of the cutout.
    weights : `numpy.ndarray`
        Of the pixels around the one that the sum is for.
    mirrored : bool
        At the edges of the cutout? Else there is zero beyond. No literal, for each of which all is compiled anew.
    result : `numpy.ndarray`
        ``[H, W]``: where to; the cutout's part has to be zero.
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
