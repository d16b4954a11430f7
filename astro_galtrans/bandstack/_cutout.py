"""Stamps of all bands by sky position: the way to cut bands whose pixel grids differ."""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from astropy.wcs.wcsapi import BaseHighLevelWCS, HighLevelWCSWrapper, SlicedLowLevelWCS

from astro_galtrans.geometry import check_celestial, pixel_scale

from ._opening import Origin
from ._stack import Plane, read
from ._writers import write_like

__all__ = ["cutout"]

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
        FITS one, which CCDData cannot hold. A stamp that reaches over the edge of an image ends there.

    Raises
    ------
    ValueError
        If a band does not cover the position, or the size is not positive, and as
        `astro_galtrans.bandstack.read`.

    Examples
    --------
    >>> images = ["g.fits", "r.fits", "i.fits"]
    >>> stamps = cutout(images, SkyCoord(150.1, 2.2, unit="deg"), 25 * u.arcsec)  # doctest: +SKIP
    """
    stack = read(images, bands, **options)
    if not isinstance(position, SkyCoord) or not position.isscalar:
        msg = f"the position must be one SkyCoord, got {position!r}"
        raise ValueError(msg)
    middle = len(stack.bands) // 2
    angle = _as_angle(size, stack.planes[middle])
    stamps = {}
    for index, (band, plane) in enumerate(zip(stack.bands, stack.planes, strict=True)):
        cut = _cut(plane, position, angle, 0 if index == middle else MARGIN, band)
        stamps[band] = write_like(stack.with_planes([cut], bands=(band,)), Origin(CCDData, cube=False))
    return stamps


def _as_angle(size, plane):
    """Height and width as angles."""
    size = u.Quantity(size)
    if size.unit.is_equivalent(u.one) or size.unit == u.pix:
        size = size.value * pixel_scale(plane.wcs, plane.data.shape) * u.arcsec
    size = np.broadcast_to(size.to_value(u.arcsec), 2)
    if not (np.isfinite(size).all() and (size > 0).all()):
        msg = f"the size must be positive, an angle or a number of pixels, got {size} arcsec"
        raise ValueError(msg)
    return size


def _cut(plane, position, size, margin, band):
    """Part of a plane."""
    wcs = check_celestial(plane.wcs)
    shape = plane.data.shape
    centre = [float(value) for value in wcs.world_to_pixel(position)][::-1]
    sides = np.ceil(size / pixel_scale(wcs, shape) - 1e-6).astype(int)
    if not all(np.isfinite(c) and -0.5 <= c < n - 0.5 for c, n in zip(centre, shape, strict=True)):
        msg = f"band {band} does not cover {position.to_string('hmsdms')}; check the position, or leave the band out"
        raise ValueError(msg)
    starts = [round(c - (n - 1) / 2) - margin for c, n in zip(centre, sides, strict=True)]
    part = tuple(
        slice(max(0, start), min(full, start + side + 2 * margin))
        for start, side, full in zip(starts, sides, shape, strict=True)
    )
    low = wcs.low_level_wcs if isinstance(wcs, BaseHighLevelWCS) else wcs
    cut = check_celestial(HighLevelWCSWrapper(SlicedLowLevelWCS(low, part)))
    return Plane(*(None if array is None else array[part] for array in plane[:3]), cut)
