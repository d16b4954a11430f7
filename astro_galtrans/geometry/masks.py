"""Masked pixels: how far they reach into a result, and the values that replace them in the input of a network."""

import numpy as np

__all__ = ["fill_masked", "output_mask"]

_CHUNK = 1 << 14  # bad pixels filled at a time: their 25 neighbours each are 3 MB
_RADII = (2, 4, 8, 16, 32)  # pixels; a hole deeper than the last, as of a bright star, gets the median of its band


def output_mask(mask, scale, footprint):
    """
    Mask ``(..., scale * H, scale * W)`` of every pixel of the finer grid that a masked source pixel may have touched.

    A network sees a square window, so that a masked pixel reaches ``footprint`` pixels along each axis and along
    diagonals.

    Parameters
    ----------
    mask : `~numpy.ndarray` or None
        True where the source is masked, ``(..., H, W)``. Where a network mixes bands, pass the union over bands. With
        None the result is None.
    scale : int
        Output pixels along the side of a source pixel.
    footprint : int
        How far a source pixel influences the result, in source pixels; 0 for not beyond itself.
    """
    if mask is None:
        return None
    if footprint < 0 or footprint != int(footprint):
        msg = f"footprint must be a whole number of pixels, 0 or more, got {footprint!r}"
        raise ValueError(msg)
    mask = np.asarray(mask, dtype=bool)
    if footprint and mask.any():
        from scipy.ndimage import maximum_filter  # only where there is something masked

        window = 2 * int(footprint) + 1
        mask = maximum_filter(mask.view(np.uint8), window, mode="constant", axes=(-2, -1)).view(bool)
    return mask.repeat(scale, axis=-1).repeat(scale, axis=-2)


def fill_masked(data, mask=None):
    """
    Replace masked and non-finite pixels by a local average of good ones.

    Each such pixel gets the average of good pixels around it, weighted with a Gaussian: from the nearest pixels if
    there are any, otherwise from a window twice as wide, and so on (normalised convolution with a growing kernel); the
    weights are positive, so nothing rings. In holes deeper than 32 pixels it is the median of the band.

    Parameters
    ----------
    data : `~numpy.ndarray`
        Image ``(H, W)`` or bands ``(C, H, W)``; each band is filled from itself.
    mask : `~numpy.ndarray` of bool, optional
        True where a pixel is bad, of the shape of ``data`` or one plane for all bands.

    Returns
    -------
    `~numpy.ndarray`
        Finite data, same shape and dtype; ``data`` itself if there was nothing to fill.

    Raises
    ------
    ValueError
        If a band has no good pixel.
    """
    data = np.asarray(data)
    bad = ~np.isfinite(data)
    if mask is not None:
        bad |= mask
    if not bad.any():
        return data
    filled = data.copy()
    planes = zip(filled.reshape(-1, *data.shape[-2:]), bad.reshape(-1, *data.shape[-2:]), strict=True)
    for band, (plane, holes) in enumerate(planes):
        if holes.all():
            count = len(filled) if data.ndim > 2 else 1
            msg = f"band {band} of {count} has no good pixel: all are masked or not finite"
            raise ValueError(msg)
        if holes.any():
            _fill_plane(plane, holes)
    return filled


def _fill_plane(plane, holes):
    """Fill one plane in place; sums are taken at bad pixels only, so that the time grows with their number."""
    pad = _RADII[-1]  # windows reach over the edge of the image, where every weight is 0
    inside = tuple(slice(pad, pad + n) for n in plane.shape)
    good, known = (np.zeros(np.add(plane.shape, 2 * pad), dtype) for dtype in (bool, plane.dtype))
    good[inside] = ~holes
    np.copyto(known[inside], plane, where=~holes)
    y, x = np.nonzero(holes)
    index = (y + pad) * good.shape[1] + x + pad
    values = np.empty(len(y))
    todo = np.arange(len(y))
    for radius in _RADII:
        weight, total = _window_sums(good, known, index[todo], radius)
        found = weight > 0
        values[todo[found]] = total[found] / weight[found]
        todo = todo[~found]
        if not len(todo):
            break
    else:
        values[todo] = np.median(plane[~holes])
    plane[y, x] = values


def _window_sums(good, known, index, radius):
    """Sums of weights and of weighted values over good pixels of a 5 x 5 lattice that reaches ``radius`` pixels."""
    i, j = (steps.ravel() for steps in np.mgrid[-2:3, -2:3])
    kernel, steps = np.exp(-0.5 * (i**2 + j**2)), (i * good.shape[1] + j) * (radius // 2)
    weight, total = np.empty(len(index)), np.empty(len(index))
    for start in range(0, len(index), _CHUNK):
        part = slice(start, start + _CHUNK)
        place = index[part, None] + steps
        weight[part], total[part] = good.ravel()[place] @ kernel, known.ravel()[place] @ kernel
    return weight, total
