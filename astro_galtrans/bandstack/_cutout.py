"""Stamps of all bands by sky position: the way to cut bands whose pixel grids differ."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.wcs.wcsapi import BaseHighLevelWCS, HighLevelWCSWrapper, SlicedLowLevelWCS

from astro_galtrans._columns import name_rows
from astro_galtrans._positions import sky_positions
from astro_galtrans.bands import parse_bands
from astro_galtrans.exceptions import EmptyImageError, GaltransWarning
from astro_galtrans.geometry import check_celestial, move_origin, pixel_scale
from astro_galtrans.stars import as_image, carried_psf, measured_psf

from ._opening import Origin
from ._stack import Plane, read
from ._writers import write_like

__all__ = ["cut_stack", "cutout", "cutouts", "psf_by_band"]

MARGIN = 4  # pixels around all bands but the middle one: alignment interpolates from three on each side


def cutout(images, position, size, bands=None, **options):
    """
    Cut a stamp of each band around a sky position, each on its own pixel grid.

    Slices of the same pixels show different sky where bands lie on different grids, as those of SDSS frames do, and a
    translation masks what not all of them cover. These stamps show the same sky: that of the middle band, to whose grid
    `~astro_galtrans.translate` brings the others, has the size asked for, the others a margin of some pixels.

    Parameters
    ----------
    images, bands, **options
        As for `astro_galtrans.bandstack.read`.
    position : `~astropy.coordinates.SkyCoord`
        Centre of the stamps.
    size : `~astropy.units.Quantity` or int
        Side of the stamps, an angle, or a number of pixels of the middle band; or a pair of them, height and width.

    Returns
    -------
    dict of str to `~astropy.nddata.CCDData`
        By band, in one unit, with mask and standard deviation where the images have them; NDData where the WCS is not a
        FITS one, which CCDData cannot hold. A stamp that reaches over the edge of an image ends there. ``psf`` is that
        of the images, or else what their stars show: a stamp has no stars to tell it.

    Raises
    ------
    ValueError
        If a band does not cover the position, or the size is not positive, and as
        `astro_galtrans.bandstack.read`.

    Examples
    --------
    >>> from astro_galtrans.demo import sample
    >>> from astro_galtrans import cutout
    >>> image = sample("sdss")
    >>> stamp = cutout(image, image["r"].wcs.pixel_to_world(55.5, 55.5), 32)
    >>> stamp["r"].shape
    (32, 32)
    """
    if not isinstance(position, SkyCoord) or not position.isscalar:
        msg = f"the position must be one SkyCoord, got {position!r}"
        raise ValueError(msg)
    stack = read(images, bands, **options)
    stack = replace(stack, psf=psf_by_band(stack, images))
    angle, centres = _as_angle(size, stack), _centres(stack, position.reshape(1))
    absent = [band for band, inside in zip(stack.bands, centres.covered[:, 0], strict=True) if not inside]
    if absent:
        where = position.to_string("hmsdms")
        msg = f"band {absent[0]} does not cover {where}; check the position, or leave the band out"
        raise ValueError(msg)
    return _stamps(stack, centres, 0, angle)


def cutouts(images, catalogue, size, bands=None, *, ra=None, dec=None, **options):
    """
    Cut stamps of many objects, as `cutout` cuts those of one; the images are read once.

    Parameters
    ----------
    images, size, bands, **options
        As for `cutout`.
    catalogue : `~astropy.table.Table`, `~astropy.coordinates.SkyCoord`, or path of a table
        Objects, one per row: with a SkyCoord column, or right ascension and declination in columns that have their
        usual names.
    ra, dec : str, optional
        Names of these columns.

    Returns
    -------
    `~astropy.table.Table`
        The rows of the catalogue that all bands cover, with their number in it, ``row``, and in the column ``cutout``
        what `cutout` returns; `~astro_galtrans.translate` takes it as it is.

    Raises
    ------
    ValueError
        If the catalogue has no sky coordinates, or the images cover no object, and as `cutout`.

    Warns
    -----
    GaltransWarning
        If objects lie off the images or have no position; the message counts them.

    Examples
    --------
    >>> from astro_galtrans.demo import sample
    >>> from astro_galtrans import cutouts
    >>> image = sample("sdss")
    >>> table = cutouts(image, image["r"].wcs.pixel_to_world([40, 70], [50, 60]), 32)
    >>> table["cutout"][1]["r"].shape
    (32, 32)
    """
    if isinstance(catalogue, str | PathLike):
        catalogue = Table.read(catalogue)
    positions = sky_positions(catalogue, ra, dec)
    stack = read(images, bands, **options)
    stack = replace(stack, psf=psf_by_band(stack, images))
    angle, centres = _as_angle(size, stack), _centres(stack, SkyCoord(*np.nan_to_num(positions), unit="deg"))
    covered = centres.covered.all(axis=0) & np.isfinite(positions).all(axis=0)
    if not covered.any():
        msg = f"the images, bands {', '.join(stack.bands)}, cover none of the {len(covered)} objects of the catalogue"
        raise ValueError(msg)
    if not covered.all():
        msg = f"off the images, or without a position, and left out: {np.sum(~covered)} objects, {name_rows(~covered)}"
        warnings.warn(msg, GaltransWarning, stacklevel=2)
    rows = np.flatnonzero(covered)
    table = Table({"position": catalogue[rows]}) if isinstance(catalogue, SkyCoord) else catalogue[rows]
    column = np.empty(len(rows), object)
    for k, row in enumerate(rows):
        column[k] = _stamps(stack, centres, row, angle)
    table["row"], table["cutout"] = rows, column
    return table


def cut_stack(stack, positions, size):
    """
    Cut stamps of many objects from a stack, as `cutouts` does, all of one size.

    Parameters
    ----------
    stack : `BandStack`
        With FITS world coordinates.
    positions : `~astropy.coordinates.SkyCoord`
        ``[N]``.
    size : `~astropy.units.Quantity` or int
        As for `cutout`.

    Yields
    ------
    `BandStack` or Exception
        Of each object; what of a stamp lies beyond the edge of the middle band is masked. In place of one that a band
        does not show at all its error.
    """
    angle, centres, middle = _as_angle(size, stack), _centres(stack, positions), len(stack.bands) // 2
    for row in range(len(positions)):
        planes = [
            _cut(plane, centres.pixels[k, :, row], angle, 0 if k == middle else MARGIN, whole=k == middle)
            for k, plane in enumerate(stack.planes)
        ]
        empty = [band for band, plane in zip(stack.bands, planes, strict=True) if not plane.data.size]
        if empty:
            msg = f"band {empty[0]} does not cover {positions[row].to_string('hmsdms')}"
            yield EmptyImageError(msg)
        else:
            yield stack.with_planes(planes, psf=stack.psf)


def psf_by_band(stack, images=None):
    """
    Return the PSF of each band of a stack by its name, where ``images`` carry it, or stars or a header tell it.

    It is an image ``[k, k]``, or a FWHM (arcsec).
    """
    carried = carried_psf(images)
    if carried is not None and not isinstance(carried, Mapping):
        carried = dict(zip(stack.bands, carried if np.ndim(carried) == 3 else [carried], strict=False))
    found = {parse_bands([band])[0]: psf for band, psf in (carried or {}).items()}
    for band, plane in zip(stack.bands, stack.planes, strict=True):
        if band not in found:
            shown = measured_psf(plane.data, plane.mask, pixel_scale(plane.wcs, plane.data.shape))
            found[band] = stack.seeing.get(band) if shown is None else shown
    return {band: found[band] for band in stack.bands if found[band] is not None}


class _Centres(NamedTuple):
    """Pixel coordinates ``[bands, 2, N]`` (y, x) of positions, and whether they lie on the bands, ``[bands, N]``."""

    pixels: np.ndarray
    covered: np.ndarray


def _centres(stack, positions):
    pixels = np.array([check_celestial(plane.wcs).world_to_pixel(positions)[::-1] for plane in stack.planes], float)
    sides = np.array([plane.data.shape for plane in stack.planes])[..., None]
    return _Centres(pixels, ((pixels >= -0.5) & (pixels < sides - 0.5)).all(axis=1))


def _stamps(stack, centres, row, angle):
    """Stamps of one object, by band."""
    middle, stamps = len(stack.bands) // 2, {}
    for index, (band, plane) in enumerate(zip(stack.bands, stack.planes, strict=True)):
        cut = _cut(plane, centres.pixels[index, :, row], angle, 0 if index == middle else MARGIN)
        psf = stack.psf.get(band)
        if psf is not None:
            psf = (as_image(psf, pixel_scale(plane.wcs, plane.data.shape)) if np.ndim(psf) == 0 else psf)[None]
        stamps[band] = write_like(stack.with_planes([cut], bands=(band,), psf=psf), Origin(CCDData, cube=False))
    return stamps


def _as_angle(size, stack):
    """Height and width as angles."""
    size, plane = u.Quantity(size), stack.planes[len(stack.bands) // 2]
    if size.unit.is_equivalent(u.one) or size.unit == u.pix:
        size = size.value * pixel_scale(plane.wcs, plane.data.shape) * u.arcsec
    size = np.broadcast_to(size.to_value(u.arcsec), 2)
    if not (np.isfinite(size).all() and (size > 0).all()):
        msg = f"the size must be positive, an angle or a number of pixels, got {size} arcsec"
        raise ValueError(msg)
    return size


def _cut(plane, centre, size, margin, *, whole=False):
    """Part of a plane around a pixel coordinate (y, x); with ``whole`` it goes on beyond the edge, masked."""
    wcs, shape = plane.wcs, plane.data.shape
    sides = np.ceil(size / pixel_scale(wcs, shape) - 1e-6).astype(int)
    starts = [round(c - (n - 1) / 2) - margin for c, n in zip(centre, sides, strict=True)]
    part = tuple(
        slice(max(0, start), min(full, start + side + 2 * margin))
        for start, side, full in zip(starts, sides, shape, strict=True)
    )
    if whole and any(p.stop - p.start < n for p, n in zip(part, sides + 2 * margin, strict=True)):
        inside = tuple(slice(p.start - start, p.stop - start) for p, start in zip(part, starts, strict=True))
        blank = {0: (np.nan, plane.data.dtype), 1: (0, plane.data.dtype), 2: (True, bool)}
        arrays = [np.full(sides + 2 * margin, *blank[k]) for k in range(3)]
        arrays[2][inside] = False if plane.mask is None else plane.mask[part]
        for array, own in zip(arrays, (plane.data, plane.variance), strict=False):
            array[inside] = 0 if own is None else own[part]
        return Plane(
            arrays[0], None if plane.variance is None else arrays[1], arrays[2], move_origin(wcs, starts[::-1])
        )
    low = wcs.low_level_wcs if isinstance(wcs, BaseHighLevelWCS) else wcs
    cut = check_celestial(HighLevelWCSWrapper(SlicedLowLevelWCS(low, part)))
    return Plane(*(None if array is None else array[part] for array in plane[:3]), cut)
