"""
World coordinates of pixel grids: the exact finer grid, pixel areas, comparison of grids.

FITS counts pixels from 1 with centres at integers, so a pixel coordinate ``p`` becomes ``(p - 0.5) * s + 0.5`` on a
grid ``s`` times finer: pixel edges, at half integers, fall on pixel edges. World coordinates are those of Greisen &
Calabretta (2002, A&A 395, 1061); SIP is Shupe et al. (2005, ASPC 347, 491).
"""

from copy import copy, deepcopy
from numbers import Integral

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS, DistortionLookupTable, NonseparableSubimageCoordinateSystemError, Sip, WCSBase
from astropy.wcs.wcsapi import BaseHighLevelWCS, BaseLowLevelWCS, HighLevelWCSWrapper, SlicedLowLevelWCS
from astropy.wcs.wcsapi.wrappers import BaseWCSWrapper

__all__ = [
    "ResampledLowLevelWCS", "check_celestial", "copy_wcs", "move_origin", "pixel_area", "pixel_scale", "rescale_wcs",
    "same_grid",
]  # fmt: skip

_TABLES = ("cpdis1", "cpdis2", "det2im1", "det2im2")
_EQUATORIAL = {"", "ICRS", "FK5", "FK4", "FK4-NO-E"}  # what RADESYS may say
_EXACT = np.radians(1e-9)  # 4 microarcsec: above the rounding of wcslib, below anything that a distortion would do


def copy_wcs(wcs):
    """
    Return a copy of a WCS that shares nothing with it.

    ``WCS.deepcopy`` (astropy 8.0) sets a filter for warnings on its way, and filters belong to all threads: two copies
    made at once can leave one behind.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
    """
    if type(wcs) is not WCS:
        return deepcopy(wcs)
    new = WCS(fix=False)  # without repairs to make there is nothing to warn of
    parts = wcs.sip, (wcs.cpdis1, wcs.cpdis2), wcs.wcs, (wcs.det2im1, wcs.det2im2)
    WCSBase.__init__(new, *map(deepcopy, parts))
    vars(new).update({name: copy(value) for name, value in vars(wcs).items()})  # lists and dicts of numbers and texts
    return new


def check_celestial(wcs):
    """
    Return the celestial part of a WCS, two pixel axes in their own order.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS` or APE 14 WCS
        World coordinates with a celestial part: 2-D, or with further axes (spectral, band), or a slice of such a one.

    Returns
    -------
    `~astropy.wcs.WCS` or `~astropy.wcs.wcsapi.BaseHighLevelWCS`
        For anything that rests on a FITS WCS a new FITS WCS; otherwise a high-level WCS (the one passed, if it is 2-D).

    Raises
    ------
    ValueError
        If there is no WCS, or no celestial part, or if that part cannot be separated from the other axes.
    """
    if isinstance(wcs, BaseHighLevelWCS) and not isinstance(wcs, WCS):
        low = wcs.low_level_wcs
    elif isinstance(wcs, BaseLowLevelWCS):
        low = wcs
    else:
        msg = f"the image needs celestial world coordinates, got {wcs!r}; pass a WCS such as astropy.wcs.WCS(header)"
        raise ValueError(msg)
    if isinstance(low, SlicedLowLevelWCS) and isinstance(low._wcs, WCS):
        return _unsliced(low)
    if isinstance(low, WCS):
        return _celestial_fits(low)
    return _celestial_other(wcs if isinstance(wcs, BaseHighLevelWCS) else HighLevelWCSWrapper(low))


def _celestial_fits(wcs):
    if not wcs.has_celestial:
        msg = f"the image needs celestial world coordinates, got a FITS WCS with CTYPE {list(wcs.wcs.ctype)}"
        raise ValueError(msg)
    if wcs.naxis == 2:
        return copy_wcs(wcs)
    try:  # in the order of the file: WCS.celestial would put longitude first and so swap the pixel axes of some files
        return wcs.sub(sorted((wcs.wcs.lng + 1, wcs.wcs.lat + 1)))
    except (NonseparableSubimageCoordinateSystemError, RuntimeError) as err:  # wcslib gives up on TPV with three axes
        axes = ", ".join(wcs.wcs.ctype)
        msg = f"the celestial axes of this WCS ({axes}) cannot be had without the others; pass a 2-D WCS"
        raise ValueError(msg) from err


def _unsliced(low):
    """FITS WCS, which can be written to a file, of a slice of one, as slicing an NDData gives."""
    wcs, slices = low._wcs, low._slices_pixel
    if any(isinstance(slices[axis], Integral) for axis in (wcs.wcs.lng, wcs.wcs.lat) if axis >= 0):
        msg = f"the image needs two celestial axes, got {low.pixel_n_dim} of a WCS with CTYPE {list(wcs.wcs.ctype)}"
        raise ValueError(msg)
    wcs = move_origin(wcs, [0 if isinstance(s, Integral) else s.start or 0 for s in slices])
    shape = low.pixel_shape
    if shape is not None:
        kept = iter(shape)
        wcs.pixel_shape = [1 if isinstance(s, Integral) else next(kept) for s in slices]
    return _celestial_fits(wcs)


def move_origin(wcs, start):
    """
    Return the world coordinates of a part of an image.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Of the image; not changed.
    start : sequence of int
        First pixel of the part along each axis, in the order of pixel axes; it may lie outside of the image.
    """
    wcs, start = copy_wcs(wcs), np.array(start, dtype=float)
    wcs.wcs.crpix = wcs.wcs.crpix - start
    if wcs.sip is not None:
        wcs.sip = Sip(wcs.sip.a, wcs.sip.b, wcs.sip.ap, wcs.sip.bp, wcs.sip.crpix - start[:2])
    for name in _TABLES:
        _move_table(wcs, name, lambda crval: crval - start[:2])
    return wcs


def _celestial_other(wcs):
    low = wcs.low_level_wcs
    celestial = _celestial_world_axes(low)
    if len(celestial) != 2:
        types = list(low.world_axis_physical_types)
        msg = f"the image needs celestial world coordinates, got {type(low).__name__} with axes {types}"
        raise ValueError(msg)
    keep = low.axis_correlation_matrix[celestial].any(axis=0)
    if keep.sum() != 2:
        msg = f"celestial coordinates must depend on two pixel axes, those of this {type(low).__name__} on {keep.sum()}"
        raise ValueError(msg)
    if low.pixel_n_dim == 2:
        return wcs
    return HighLevelWCSWrapper(SlicedLowLevelWCS(low, tuple(slice(None) if k else 0 for k in keep[::-1])))


def _celestial_world_axes(low):
    classes = [low.world_axis_object_classes[name][0] for name, *_ in low.world_axis_object_components]
    return [axis for axis, kind in enumerate(classes) if issubclass(kind, SkyCoord)]


def rescale_wcs(wcs, scale, shape=None):
    """
    Return the world coordinates of the grid that divides each pixel into ``scale`` x ``scale``.

    The sky position of every point stays the same, to rounding, with every projection and with PV, TPV, SIP and
    lookup-table distortions. Nothing is fitted.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS` or APE 14 WCS
        World coordinates of the image, as for `check_celestial`; not changed.
    scale : int
        How many output pixels fit along the side of one input pixel.
    shape : tuple of int, optional
        Shape of the *input* image ``(H, W)``; by default what ``wcs`` says of it, if it does.

    Returns
    -------
    `~astropy.wcs.WCS` or `~astropy.wcs.wcsapi.HighLevelWCSWrapper`
        A FITS WCS for a FITS WCS; for any other a `ResampledLowLevelWCS` in a high-level wrapper. Its ``array_shape``
        is that of the finer image.

    Raises
    ------
    ValueError
        If ``scale`` is not a positive integer, if there is no celestial WCS, or if the WCS has a part that does not
        scale exactly.
    """
    if scale != int(scale) or scale < 1:
        msg = f"scale must be a positive integer, got {scale!r}"
        raise ValueError(msg)
    scale, coarse = int(scale), check_celestial(wcs)
    pixel_shape = _low(coarse).pixel_shape if shape is None else tuple(int(n) for n in shape[-1:-3:-1])
    if isinstance(coarse, WCS):
        # Distortions between the two halves of PC * CDELT (TPV without CD, CQDIS) want PC scaled; for all others it is
        # the same, and readers that take CDELT for the pixel size are better served by CDELT.
        candidates = (_scaled_fits(coarse, scale, pixel_shape, linear) for linear in ("cdelt", "pc"))
    else:
        resampled = ResampledLowLevelWCS(coarse.low_level_wcs, 1 / scale, pixel_shape=pixel_shape)
        candidates = [HighLevelWCSWrapper(resampled)]
    for fine in candidates:
        # not every WCS scales the way it is thought to: each is checked, and none is trusted
        off = _largest_offset(coarse, fine, scale, pixel_shape)
        if off <= _EXACT:
            return fine
    msg = (
        f"this WCS does not rescale exactly (off by {np.degrees(off) * 3600:.3g} arcsec); "
        "fit a TAN or TAN-SIP WCS to it first"
    )
    raise ValueError(msg)


def _scaled_fits(wcs, scale, pixel_shape, linear):
    """FITS WCS with everything that is measured in pixels scaled; PV and TPV act on degrees and stay."""
    fine = copy_wcs(wcs)
    fine.wcs.crpix = _finer(wcs.wcs.crpix, scale)
    linear = "cd" if wcs.wcs.has_cd() else linear
    setattr(fine.wcs, linear, getattr(wcs.wcs, linear) / scale)
    if wcs.sip is not None:
        polynomials = (_scaled_polynomial(p, scale) for p in (wcs.sip.a, wcs.sip.b, wcs.sip.ap, wcs.sip.bp))
        fine.sip = Sip(*polynomials, _finer(wcs.sip.crpix, scale))
    for name in _TABLES:
        _move_table(fine, name, lambda crval: _finer(crval, scale), scale)
    if wcs.pixel_bounds is not None:
        fine.pixel_bounds = [None if b is None else tuple((np.array(b) + 0.5) * scale - 0.5) for b in wcs.pixel_bounds]
    fine.pixel_shape = None if pixel_shape is None else tuple(scale * n for n in pixel_shape)
    return fine


def _finer(pixel, scale):
    return (np.asarray(pixel, dtype=float) - 0.5) * scale + 0.5


def _scaled_polynomial(coefficients, scale):
    # sum a_pq u^p v^q is a length in pixels: s f(u, v) = sum a_pq s^(1-p-q) (s u)^p (s v)^q
    if coefficients is None:
        return None
    p, q = np.indices(coefficients.shape)
    return coefficients * float(scale) ** (1 - p - q)


def _move_table(wcs, name, move, scale=1):
    """Replace the lookup table ``name``: its position (crval, cdelt) and its values are in pixels of the image."""
    table = getattr(wcs, name)
    if table is not None:
        data = (table.data * scale).astype(np.float32)
        crval, cdelt = move(np.array(table.crval)), scale * np.array(table.cdelt)
        setattr(wcs, name, DistortionLookupTable(data, tuple(table.crpix), tuple(crval), tuple(cdelt)))


def _largest_offset(coarse, fine, scale, pixel_shape):
    """Offset on the sky (rad) at corners and centre: a distortion unknown here cannot shift an image unnoticed."""
    x, y = _lattice(pixel_shape or (2, 2), 3)
    before, after = _directions(coarse, x, y), _directions(fine, (x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5)
    good = np.isfinite(before).all(axis=0)
    return np.max(np.linalg.norm(before - after, axis=0)[good], initial=0.0)


class ResampledLowLevelWCS(BaseWCSWrapper):
    """
    World coordinates of a grid with other pixels than the one they are defined on.

    Parameters
    ----------
    wcs : `~astropy.wcs.wcsapi.BaseLowLevelWCS`
        World coordinates of the original grid.
    factor : float
        Size of a new pixel, in original pixels.
    offset : float, optional
        Position of the new grid's lower edge, pixel coordinate -0.5, relative to that of the original grid, in original
        pixels. ``factor`` and ``offset`` mean the same as in ndcube's class of this name.
    pixel_shape : tuple of int, optional
        Shape of the original grid in the order of pixel axes, ``(W, H)``, where ``wcs`` does not know it.
    """

    def __init__(self, wcs, factor, offset=0.0, pixel_shape=None):
        super().__init__(wcs)
        self._factor, self._offset = float(factor), float(offset)
        shape = pixel_shape or wcs.pixel_shape
        self._pixel_shape = None if shape is None else tuple(round(n / self._factor) for n in shape)

    def pixel_to_world_values(self, *pixel_arrays):
        """World coordinate values of pixel coordinates, as APE 14 defines them."""
        old = [(np.asarray(p, dtype=float) + 0.5) * self._factor - 0.5 + self._offset for p in pixel_arrays]
        return self._wcs.pixel_to_world_values(*old)

    def world_to_pixel_values(self, *world_arrays):
        """Pixel coordinates of world coordinate values, as APE 14 defines them."""
        old = self._wcs.world_to_pixel_values(*world_arrays)
        return tuple((np.asarray(p) + 0.5 - self._offset) / self._factor - 0.5 for p in old)

    @property
    def pixel_shape(self):
        """Shape of the new grid in the order of pixel axes, or None."""
        return self._pixel_shape

    @property
    def pixel_bounds(self):
        """Range of pixel coordinates in which the WCS is defined, or None."""
        bounds = self._wcs.pixel_bounds
        if bounds is None:
            return None
        return [None if b is None else tuple((np.array(b) + 0.5 - self._offset) / self._factor - 0.5) for b in bounds]


def pixel_area(wcs, shape=None):
    """
    Return the solid angle of the pixel at the centre of an image in square arcsec, distortions included.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS` or APE 14 WCS
        World coordinates, as for `check_celestial`.
    shape : tuple of int, optional
        Shape of the image ``(H, W)``; by default what ``wcs`` says of it, and without either the reference pixel.
    """
    wcs = _readable(wcs)
    x, y = _centre(wcs, shape)
    corners = _directions(wcs, x + np.array([-0.5, 0.5, 0, 0]), y + np.array([0, 0, -0.5, 0.5]))
    sides = corners[:, 1::2] - corners[:, ::2]
    return float(np.linalg.norm(np.cross(sides[:, 0], sides[:, 1])) * u.rad.to(u.arcsec) ** 2)


def pixel_scale(wcs, shape=None):
    """Side of a square with the area of the pixel at the centre, in arcsec; parameters as for `pixel_area`."""
    return pixel_area(wcs, shape) ** 0.5


def same_grid(wcs_a, wcs_b, shape, tol=1e-3):
    """
    Return whether two images of one shape put their pixels at the same places on the sky.

    Parameters
    ----------
    wcs_a, wcs_b : `~astropy.wcs.WCS` or APE 14 WCS
        World coordinates of the two images.
    shape : tuple of int
        Shape of the images, ``(H, W)`` last.
    tol : float, optional
        Largest distance of matching pixels that still counts as the same, in pixels.
    """
    if wcs_a is wcs_b:
        return True
    wcs_a, wcs_b = _readable(wcs_a), _readable(wcs_b)
    if _undistorted(wcs_a) and _undistorted(wcs_b) and wcs_a.wcs == wcs_b.wcs:  # card by card
        return True
    x, y = _lattice(shape[-1:-3:-1], 9)
    if same_frame(wcs_a, wcs_b):
        distance = np.linalg.norm(_directions(wcs_a, x, y) - _directions(wcs_b, x, y), axis=0)
    else:
        distance = _sky(wcs_a, x, y).separation(_sky(wcs_b, x, y)).rad
    return bool(np.all(np.degrees(distance) * 3600 <= tol * pixel_scale(wcs_a, shape)))


def _undistorted(wcs):
    return isinstance(wcs, WCS) and not wcs.has_distortion


def same_frame(wcs_a, wcs_b):
    """
    Return whether two celestial FITS WCS are in one frame of equatorial or galactic coordinates.

    Their values can then be compared as they are, which costs a tenth of what coordinate objects cost: most of the
    time of a stamp went there. False for WCS of other kinds, whose values may mean something else.
    """
    return _frame(wcs_a) == _frame(wcs_b) is not None


def _frame(wcs):
    """What two FITS WCS in one frame have in common; None for others, and for frames that also depend on dates."""
    header = wcs.wcs if isinstance(wcs, WCS) else None
    axes = None if header is None else (header.lngtyp.strip(), header.lattyp.strip())
    if axes == ("RA", "DEC") and header.radesys in _EQUATORIAL:
        return header.radesys, repr(header.equinox)
    return "galactic" if axes == ("GLON", "GLAT") else None


def _low(wcs):
    return wcs if isinstance(wcs, WCS) else wcs.low_level_wcs


def _readable(wcs):
    """Celestial WCS for reading only: `check_celestial`, without its copy of a FITS WCS with two axes."""
    return wcs if isinstance(wcs, WCS) and wcs.naxis == 2 and wcs.has_celestial else check_celestial(wcs)


def _directions(wcs, x, y):
    """Unit vectors ``[3, n]`` to pixels, in the frame of the WCS; their differences are small angles (rad)."""
    if _frame(wcs) is None:
        return _sky(wcs, x, y).cartesian.xyz.value
    world = np.radians(wcs.pixel_to_world_values(x, y))
    lon, lat = world[wcs.wcs.lng], world[wcs.wcs.lat]
    return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _sky(wcs, x, y):
    world = wcs.pixel_to_world(x, y)  # a list where a wavelength, say, changes over the image too
    return world if isinstance(world, SkyCoord) else next(part for part in world if isinstance(part, SkyCoord))


def _lattice(pixel_shape, n):
    """Coordinates of n x n points from corner to corner of an image (outer edges of its pixels included)."""
    x, y = (np.linspace(-0.5, size - 0.5, n) for size in pixel_shape)
    return (grid.ravel() for grid in np.meshgrid(x, y))


def _centre(wcs, shape):
    pixel_shape = _low(wcs).pixel_shape if shape is None else shape[-1:-3:-1]
    if pixel_shape is not None and None not in pixel_shape:
        return [(size - 1) / 2 for size in pixel_shape]
    return list(wcs.wcs.crpix - 1) if isinstance(wcs, WCS) else [0.0, 0.0]
