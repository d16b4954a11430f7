"""
Interpolation of whole images: bands brought to one grid, and a result brought to the grid that the user asks for.

What is conserved, and how well, is said in `_interpolation`.
"""

import numpy as np
from astropy.coordinates import ICRS
from astropy.io.fits import Header
from astropy.wcs import WCS
from astropy.wcs.utils import celestial_frame_to_wcs
from astropy.wcs.wcsapi import BaseHighLevelWCS, BaseLowLevelWCS

from astro_galtrans.exceptions import EmptyImageError

from ._interpolation import interpolate_plane
from ._pixelmap import PixelMap
from ._quiet import quiet
from .grids import _low, _readable, _sky, check_celestial
from .masks import fill_masked

__all__ = ["align_planes", "resample"]

SAME = 1e-3  # pixels, to which `same_grid` too takes two grids for one
APART = "{} does not overlap with {} (or all of it is masked there): check its world coordinates"


def align_planes(planes, reference=0, names=None):
    """
    Bring bands that have a pixel grid each onto the grid of one of them.

    Flux is conserved: where pixel areas differ, it is multiplied with their ratio. Masked and non-finite pixels are
    filled before interpolation, so that they do not ring, and a pixel next to one of them is masked in the result.
    Bands on the grid of the reference are passed on as they are. Interpolation correlates the noise of neighbouring
    pixels; the variance is right for each pixel alone.

    Parameters
    ----------
    planes : list of tuple
        ``(data, variance, mask, wcs)`` of each band: flux per pixel ``(H, W)``, its variance or None, True where bad or
        None, and celestial world coordinates. Shapes may differ between bands. Nothing in it is changed.
    reference : int, optional
        Index of the band whose grid all get.
    names : list of str, optional
        What messages call the bands; their numbers by default.

    Returns
    -------
    data, variance : `~numpy.ndarray`
        ``(C, H, W)`` on the grid of the reference; data are NaN where a band does not cover it, variance is None unless
        every band has one.
    mask : `~numpy.ndarray` of bool
        Same shape; True where masked, not finite or not covered.
    report : dict of int to tuple
        For each band that was moved its median offset ``(dx, dy)`` in pixels: what is at ``(x, y)`` in the result was
        at ``(x + dx, y + dy)``.

    Raises
    ------
    ValueError
        If a band has no celestial WCS, or does not overlap with the reference.
    """
    names = [f"band {k}" for k in range(len(planes))] if names is None else names
    _check_shapes(planes)
    grids = [quiet(_readable(wcs)) for *_, wcs in planes]
    shape = np.shape(planes[reference][0])
    dtype = np.result_type(np.float32, *(np.asarray(data).dtype for data, *_ in planes))
    with_variance = all(variance is not None for _, variance, *_ in planes)
    aligned = np.empty((len(planes), *shape), dtype)
    noise = np.empty_like(aligned) if with_variance else None
    masked = np.zeros(aligned.shape, bool)
    report = {}
    for band, (data, variance, mask, _) in enumerate(planes):
        moved, offset = _on_grid(data, variance if with_variance else None, mask, grids[band], grids[reference], shape)
        _store(moved, (aligned, noise, masked), band)
        if offset is not None:
            report[band] = offset
            if masked[band].all():
                places = (f"{names[k]} at {_place(grids[k], np.shape(planes[k][0]))}" for k in (band, reference))
                raise EmptyImageError(APART.format(*places))
    return aligned, noise, masked | ~np.isfinite(aligned), report


def _check_shapes(planes):
    for band, (data, *others, _) in enumerate(planes):
        shapes = [np.shape(array) for array in (data, *others) if array is not None]
        if len(shapes[0]) != 2 or len(set(shapes)) > 1:
            msg = f"band {band}: data, variance and mask must be planes (H, W) of one shape, got {shapes}"
            raise ValueError(msg)


def _on_grid(data, variance, mask, grid, reference, shape):
    """Data, variance and mask on the grid of the reference, and the offset in pixels (None if nothing was moved)."""
    data = np.asarray(data)
    if data.shape == shape and grid is reference:
        return (data, variance, mask), None
    pixel_map = PixelMap(reference, grid, shape)
    y, x = (np.linspace(0, size - 1, min(size, 33)) for size in shape)
    off = np.subtract(pixel_map.positions(y, x), np.broadcast_arrays(y[:, np.newaxis], x))
    if data.shape == shape and np.hypot(*off).max() <= SAME:
        return (data, variance, mask), None
    bad = _lost(data, variance) if mask is None else mask | _lost(data, variance)
    moved = interpolate_plane(_ready(data, bad), _ready(variance, bad), bad, pixel_map, shape)
    median = np.median if np.isfinite(off).all() else np.nanmedian  # which costs more than all else of a stamp
    dy, dx = median(off.reshape(2, -1), axis=1).tolist()
    return moved, (dx, dy)


def _store(moved, whole, band):
    for part, array in zip(moved, whole, strict=True):
        if part is not None:
            array[band] = part


def _lost(data, variance):
    return ~np.isfinite(data) if variance is None else ~(np.isfinite(data) & np.isfinite(variance))


def _ready(plane, bad):
    """Plane of floats in the machine's byte order, finite, as the interpolation expects it; None for None."""
    if plane is None:
        return None
    plane = np.asarray(plane)
    return fill_masked(plane.astype(np.result_type(plane.dtype, np.float32), copy=False), bad)


def _place(wcs, shape):
    """Sky position of the middle of an image, in words."""
    sky = wcs.pixel_to_world((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    return f"({sky.icrs.to_string('decimal', precision=4)})"


def resample(data, variance, mask, wcs_in, target):
    """
    Put an image on another grid, flux conserved.

    Parameters
    ----------
    data : `~numpy.ndarray`
        Flux per pixel, ``(C, H, W)``.
    variance : `~numpy.ndarray` or None
        Its variance, same shape.
    mask : `~numpy.ndarray` of bool or None
        True where a pixel is bad, same shape. Masked values that are finite are used, those that are not are filled.
    wcs_in : `~astropy.wcs.WCS` or APE 14 WCS
        World coordinates of the image.
    target : float or `~astropy.wcs.WCS` or APE 14 WCS or `~astropy.io.fits.Header`
        A pixel scale in arcsec, for a grid of square pixels with the centre and the orientation of the image that
        covers all of it; or a grid with its shape (``NAXISn``, ``array_shape``).

    Returns
    -------
    data, variance : `~numpy.ndarray`
        On the new grid, NaN outside the image; variance None for None.
    mask : `~numpy.ndarray` of bool
        True where masked pixels were used and outside the image.
    wcs_out : `~astropy.wcs.WCS` or APE 14 WCS
        World coordinates of the new grid.

    Raises
    ------
    ValueError
        If a WCS is not celestial, if the target has no shape, or if it does not overlap with the image.
    """
    data = np.asarray(data)
    wcs_in = check_celestial(wcs_in)
    wcs_out, shape = _target_grid(target, wcs_in, data.shape[-2:])
    pixel_map = PixelMap(wcs_out, wcs_in, shape)
    new = np.empty((len(data), *shape), np.result_type(data.dtype, np.float32))
    noise = None if variance is None else np.empty_like(new)
    masked = np.empty(new.shape, bool)
    for band, plane in enumerate(data):
        scatter = None if variance is None else variance[band]
        lost = _lost(plane, scatter)
        bad = lost if mask is None else lost | mask[band]
        moved = interpolate_plane(_ready(plane, lost), _ready(scatter, lost), bad, pixel_map, shape)
        _store(moved, (new, noise, masked), band)
        if masked[band].all():
            raise EmptyImageError(APART.format(f"band {band}", "the grid asked for"))
    return new, noise, masked, wcs_out


def _target_grid(target, wcs_in, shape):
    """WCS and shape of the grid that ``target`` stands for."""
    if isinstance(target, int | float | np.number):
        wcs = _native_grid(wcs_in, shape, float(target))
    elif isinstance(target, Header | BaseHighLevelWCS | BaseLowLevelWCS):
        wcs = check_celestial(WCS(target) if isinstance(target, Header) else target)
    else:
        msg = f"the grid must be a pixel scale in arcsec, a WCS or a FITS header, got {type(target).__name__}"
        raise ValueError(msg)
    new_shape = _low(wcs).array_shape
    if new_shape is None or None in new_shape or min(new_shape) < 1:
        msg = "the grid asked for has no shape: set NAXIS1 and NAXIS2 in the header, or array_shape of the WCS"
        raise ValueError(msg)
    return wcs, tuple(new_shape)


def _native_grid(wcs_in, shape, scale):
    """TAN grid of square pixels, ``scale`` arcsec wide, with centre and orientation of the image that it covers."""
    if not (np.isfinite(scale) and scale > 0):
        msg = f"the pixel scale must be positive, in arcsec, got {scale!r}"
        raise ValueError(msg)
    middle = [(size - 1) / 2 for size in reversed(shape)]
    centre = _sky(wcs_in, *middle)
    try:
        wcs = celestial_frame_to_wcs(centre.frame.replicate_without_data(), projection="TAN")
    except ValueError:  # FITS has no name for this frame
        wcs, centre = celestial_frame_to_wcs(ICRS(), projection="TAN"), centre.transform_to(ICRS())
    wcs.wcs.crval = centre.spherical.lon.deg, centre.spherical.lat.deg
    wcs.wcs.crpix = 1.0, 1.0
    wcs.wcs.cd = _orientation(wcs_in, middle, centre) * scale / 3600
    edge = _outline(shape)
    reach = np.abs(wcs.world_to_pixel(_sky(wcs_in, *edge))).max(axis=1)
    wcs.pixel_shape = tuple(int(n) for n in np.ceil(2 * reach - 0.01))  # curvature alone shall not add a row
    wcs.wcs.crpix = [(n + 1) / 2 for n in wcs.pixel_shape]
    return wcs


def _orientation(wcs, middle, centre):
    """Rotation or reflection nearest to the image's axes on the sky, all of them that square pixels can keep."""
    x, y = np.array(middle)[:, np.newaxis] + 0.5 * np.array([[1, -1, 0, 0], [0, 0, 1, -1]])
    lon, lat = (angle.rad for angle in centre.spherical_offsets_to(_sky(wcs, x, y).transform_to(centre)))
    left, _, right = np.linalg.svd(np.array([lon[::2] - lon[1::2], lat[::2] - lat[1::2]]))
    return left @ right


def _outline(shape, n=33):
    """Points along the outer edge of an image."""
    x, y = (np.linspace(-0.5, size - 0.5, n) for size in reversed(shape))
    ends_x, ends_y = np.repeat(x[[0, -1]], n), np.repeat(y[[0, -1]], n)
    return np.concatenate([np.tile(x, 2), ends_x]), np.concatenate([ends_y, np.tile(y, 2)])
