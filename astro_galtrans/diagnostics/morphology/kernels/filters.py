"""Gaussian and box filters of one galaxy after the other, as `scipy.ndimage` has them."""

import math

import numpy as np

from astro_galtrans.diagnostics.morphology.compiled import compile_loop

__all__ = ["blur", "gaussian_filter", "gaussian_weights"]


@compile_loop
def gaussian_filter(image, sigma, truncate, ny, nx, mirrored):
    """
    Convolve with Gaussians.

    Parameters
    ----------
    image : `numpy.ndarray`
        ``[N, H, W]``.
    sigma : `numpy.ndarray`
        ``[N]``.
    truncate : float
        Where the Gaussian is cut, in sigma.
    ny, nx : `numpy.ndarray`
        ``[N]``, int64: the sizes of the cutouts; what is returned outside of them is zero.
    mirrored : bool
        At the edges of the cutouts; zero beyond if not.

    Returns
    -------
    `numpy.ndarray`
        ``[N, H, W]``.
    """
    result = np.zeros(image.shape)
    for k in range(len(image)):
        blur(image[k], ny[k], nx[k], gaussian_weights(sigma[k], truncate), mirrored, result[k])
    return result


@compile_loop
def gaussian_weights(sigma, truncate):
    """
    Return a Gaussian at 0, 1, 2 ... pixels from its centre, so that its two sides sum up to 1.

    Parameters
    ----------
    sigma, truncate : float
        As of `gaussian_filter`.
    """
    reach, total = int(truncate * sigma + 0.5), 1.0
    weights = np.ones(reach + 1)
    for i in range(1, reach + 1):
        weights[i] = math.exp(-0.5 * (i / max(sigma, 1e-15)) ** 2)
        total += 2 * weights[i]
    for i in range(reach + 1):
        weights[i] /= total
    return weights


@compile_loop
def blur(image, ny, nx, weights, mirrored, result):
    """
    Convolve with a symmetric filter along both axes.

    Parameters
    ----------
    image : `numpy.ndarray`
        ``[H, W]``.
    ny, nx : int
        Size of the cutout.
    weights : `numpy.ndarray`
        At 0, 1, 2 ... pixels from the centre.
    mirrored : bool
        As of `gaussian_filter`.
    result : `numpy.ndarray`
        ``[H, W]``: where to; the cutout's part has to be zero.
    """
    reach = len(weights) - 1
    wide = np.empty(nx + 2 * reach)  # a row with what lies beyond its ends
    for y in range(ny):
        wide[:] = 0
        for i in range(-reach, reach + 1):
            row = _inside(y + i, ny) if mirrored else y + i
            if 0 <= row < ny:
                _add(wide[reach:], weights[abs(i)], image[row], nx)
        if mirrored:
            for i in range(reach):
                wide[reach - 1 - i] = wide[reach + _inside(-1 - i, nx)]
                wide[reach + nx + i] = wide[reach + _inside(nx + i, nx)]
        for i in range(-reach, reach + 1):
            _add(result[y], weights[abs(i)], wide[reach + i :], nx)


@compile_loop
def _add(total, weight, line, length):
    for x in range(length):
        total[x] += weight * line[x]


@compile_loop
def _inside(i, length):
    """The pixel that one beyond the edge mirrors: the edge itself is the mirror."""
    i %= 2 * length
    return i if i < length else 2 * length - 1 - i
