"""Pixels to ICRS and back, without the cost of SkyCoord objects where a FITS WCS is in ICRS already."""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from astro_galtrans.geometry import quiet

__all__ = ["pixel_to_sky", "sky_to_pixel", "unit_vectors"]


def pixel_to_sky(wcs, x, y):
    """ICRS ``ra, dec`` (deg) of pixel coordinates (counted from 0) in a celestial WCS of two pixel axes."""
    if _plain(wcs):
        return tuple(wcs.all_pix2world(np.asarray(x, float), np.asarray(y, float), 0))
    sky = wcs.pixel_to_world(x, y).icrs
    return sky.ra.deg, sky.dec.deg


def sky_to_pixel(wcs, ra, dec):
    """Pixel coordinates ``x, y`` (from 0) of ICRS positions (deg); NaN or far off where the image does not reach."""
    if _plain(wcs):
        shape = np.broadcast_shapes(np.shape(ra), np.shape(dec))
        return tuple(c.reshape(shape) for c in wcs.all_world2pix(np.ravel(ra), np.ravel(dec), 0, quiet=True))
    return tuple(np.asarray(c, float) for c in quiet(wcs).world_to_pixel(SkyCoord(ra, dec, unit=u.deg)))


def unit_vectors(ra, dec):
    """Unit vectors ``[..., 3]`` of sky positions (deg)."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _plain(wcs):
    return isinstance(wcs, WCS) and wcs.wcs.radesys == "ICRS" and [c[:4] for c in wcs.wcs.ctype] == ["RA--", "DEC-"]
