"""Cutouts around sources; see `..stamps`."""

import numpy as np

from astro_galtrans.measure.morphology.compiled import compile_loop, part_of_loop
from astro_galtrans.measure.morphology.cutouts import EXTENT, OUTLIER, SMALLEST

__all__ = ["boxes", "cut"]


@compile_loop
def boxes(segmap, label, rows):
    """
    Find where cutouts lie: statmorph's ``_slice_stamp``.

    Parameters
    ----------
    segmap : `numpy.ndarray`
        ``[N, H, W]``, of integers.
    label : `numpy.ndarray`
        ``[N]``: of the sources, which have pixels.
    rows : `numpy.ndarray`
        ``[M]``: for which of the images.

    Returns
    -------
    `numpy.ndarray`
        ``[M, 4]``, int64: corner in x and y, and size.
    """
    box, (height, width) = np.empty((len(rows), 4), np.int64), segmap.shape[1:]
    for k in range(len(rows)):
        row = rows[k]
        x0, x1, y0, y1 = width, 0, height, 0
        for y in range(height):
            for x in range(width):
                if segmap[row, y, x] == label[row]:
                    x0, x1 = min(x0, x), max(x1, x + 1)
                    y0, y1 = min(y0, y), y + 1
        reach = max(int(max(y1 - y0, x1 - x0) * (EXTENT / 2)), SMALLEST // 2)
        x, y = x0 + (x1 - x0) // 2, y0 + (y1 - y0) // 2
        box[k, 0], box[k, 1] = max(x - reach, 0), max(y - reach, 0)
        box[k, 2], box[k, 3] = min(x + reach, width) - box[k, 0], min(y + reach, height) - box[k, 1]
    return box


@compile_loop
def cut(images, segmap, label, mask, sigma, rows, box, values, marks):
    """
    Make cutouts.

    Parameters
    ----------
    images, segmap : `numpy.ndarray`
        ``[N, H, W]``.
    label : `numpy.ndarray`
        ``[N]``.
    mask, sigma : `numpy.ndarray`
        ``[N, H, W]``: pixels to ignore, and standard deviations; of length 0 if there are none.
    rows, box : `numpy.ndarray`
        As of `boxes`.
    values : `numpy.ndarray`
        ``[3, M, h, w]``, zero: where ``image``, ``raw`` and ``sigma`` of ``Stamps`` go; ``[2, M, h, w]`` without sigma.
    marks : `numpy.ndarray`
        ``[4, M, h, w]``, bool, False: where ``frame``, ``mask``, ``segment`` and ``empty`` of ``Stamps`` go.

    Returns
    -------
    `numpy.ndarray`
        ``[M]``: flux of the sources.
    """
    number, height, width = len(rows), values.shape[2], values.shape[3]
    image, raw = values[0], values[1]
    frame, ignored, segment, empty = marks[0], marks[1], marks[2], marks[3]
    flux, filled = np.zeros(number), np.empty((height + 2, width + 2))
    for k in range(number):
        row, left, bottom, nx, ny = rows[k], box[k, 0], box[k, 1], box[k, 2], box[k, 3]
        for y in range(height):
            for x in range(width):
                inside = y < ny and x < nx
                raw[k, y, x] = images[row, bottom + y, left + x] if inside else np.nan
                if len(sigma):
                    values[2, k, y, x] = sigma[row, bottom + y, left + x] if inside else np.nan
        _fill(raw[k], nx, ny, filled)
        for y in range(ny):
            for x in range(nx):
                value, of = raw[k, y, x], segmap[row, bottom + y, left + x]
                mine, away = of == label[row], len(mask) > 0 and mask[row, bottom + y, left + x]
                away |= of != 0 and not mine
                usable = np.isfinite(value) and (len(sigma) == 0 or np.isfinite(sigma[row, bottom + y, left + x]))
                bad = away or not usable or _stands_out(value, x + 1, y + 1, filled)
                frame[k, y, x], ignored[k, y, x] = True, bad
                segment[k, y, x], empty[k, y, x] = mine, not mine and not away
                image[k, y, x] = 0.0 if bad else value
                flux[k] += image[k, y, x] if mine else 0.0
    return flux


@part_of_loop
def _fill(raw, nx, ny, filled):
    """Set NaN to zero, and repeat the pixels at the edges beyond them."""
    for y in range(-1, ny + 1):
        for x in range(-1, nx + 1):
            value = raw[min(max(y, 0), ny - 1), min(max(x, 0), nx - 1)]
            filled[y + 1, x + 1] = 0.0 if np.isnan(value) else value


@part_of_loop
def _stands_out(value, x, y, filled):
    """Is a pixel 10 sigma from the mean of its eight neighbours?"""
    total, squares = 0.0, 0.0
    for row in range(y - 1, y + 2):
        for column in range(x - 1, x + 2):
            if row != y or column != x:
                total += filled[row, column]
                squares += filled[row, column] ** 2
    mean = total / 8
    variance = squares / 8 - mean**2
    return variance >= 0 and (value - mean) ** 2 > OUTLIER**2 * variance
