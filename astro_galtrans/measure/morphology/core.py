"""All quantities of statmorph but for MID, shape asymmetry and Sersic models, of a batch of cutouts, in its order."""

from dataclasses import dataclass

import numpy as np

from .apertures import ellipses, elliptical_sums
from .asymmetry import cas_asymmetry
from .centre import EXTENT_CAS, asymmetry_centre
from .cutouts import BAD
from .gini_m20 import gini_and_m20, gini_segment, signal_to_noise
from .moments import at_zero, centroid, shape
from .petrosian import fraction_radii, petrosian_radius
from .sky import Sky, sky_boxes
from .smoothness import smoothness

__all__ = ["Geometry", "measure_core"]

EXTENT_FLUX = 2.0  # statmorph's petro_extent_flux


@dataclass
class Geometry:
    """Centres, shapes and radii for the measurements that follow: ``[N]``, positions in pixels of the cutouts."""

    xc: np.ndarray  # centroid
    yc: np.ndarray
    x: np.ndarray  # centre of least asymmetry, which all that follows is about
    y: np.ndarray
    ellipticity: np.ndarray
    elongation: np.ndarray
    theta: np.ndarray
    rpetro_circ: np.ndarray
    rpetro_ellip: np.ndarray
    circles: np.ndarray  # [N, 5], of `.apertures.ellipses`
    ellipses: np.ndarray
    sky: Sky
    segment: np.ndarray  # [N, H, W], bool: Gini's segmentation map


def measure_core(cutouts):
    """
    Measure a batch: the values ``[N]`` by statmorph's names, and the `Geometry` for further measurements; raises
    flags.
    """
    sky = sky_boxes(cutouts)
    xc, yc = centroid(cutouts)
    cutouts.raise_flag(at_zero(cutouts, xc, yc), BAD)
    around = _petrosian(cutouts, ellipses(xc, yc))
    x, y = asymmetry_centre(cutouts, xc, yc, around, sky.asymmetry)
    cutouts.raise_flag(at_zero(cutouts, x, y), BAD)
    form = shape(cutouts, x, y)
    circular, elliptical = ellipses(x, y), ellipses(x, y, *form[1:])
    # Both radii are looked for near the one known, by which half of the sums are saved.
    rpetro_circ = _petrosian(cutouts, circular, around)
    rpetro_ellip = _petrosian(cutouts, elliptical, rpetro_circ * np.sqrt(elliptical[:, 2]))
    segment = gini_segment(cutouts, ellipses(xc, yc, *form[1:]), rpetro_ellip)
    geometry = Geometry(xc, yc, x, y, *form, rpetro_circ, rpetro_ellip, circular, elliptical, sky, segment)
    values = _positions(cutouts, geometry) | _light(cutouts, geometry) | _structure(cutouts, geometry, around)
    cutouts.raise_flag(~(np.abs(sky.mean) <= sky.sigma), BAD)  # not background-subtracted, or without a sky box
    return values, geometry


def _petrosian(cutouts, ellipses, guess=None):
    """Petrosian radii; flag 2 where they are not defined."""
    radius, bad = petrosian_radius(cutouts, ellipses, guess)
    cutouts.raise_flag(bad, BAD)
    return radius


def _positions(cutouts, geometry):
    """Positions of the cutout and of the source, and the source's shape about both of its centres."""
    places = {"xc_centroid": geometry.xc + cutouts.xmin, "yc_centroid": geometry.yc + cutouts.ymin}
    places |= dict(zip(_shape_names("centroid"), shape(cutouts, geometry.xc, geometry.yc), strict=True))
    places |= {"xc_asymmetry": geometry.x + cutouts.xmin, "yc_asymmetry": geometry.y + cutouts.ymin}
    around = geometry.ellipticity, geometry.elongation, geometry.theta
    places |= dict(zip(_shape_names("asymmetry"), around, strict=True))
    corner = {"xmin_stamp": cutouts.xmin, "ymin_stamp": cutouts.ymin, "nx_stamp": cutouts.nx, "ny_stamp": cutouts.ny}
    corner |= {"xmax_stamp": cutouts.xmin + cutouts.nx - 1, "ymax_stamp": cutouts.ymin + cutouts.ny - 1}
    return places | corner


def _shape_names(centre):
    return [f"{name}_{centre}" for name in ("ellipticity", "elongation", "orientation")]


def _light(cutouts, geometry):
    """Fluxes, radii and sky."""
    whole, shares = EXTENT_CAS * geometry.rpetro_circ, np.array([0.2, 0.5, 0.8])
    radii, bad = fraction_radii(cutouts.image, geometry.circles, whole, shares)
    cutouts.raise_flag(bad, BAD)
    apertures = (geometry.circles, geometry.rpetro_circ), (geometry.ellipses, geometry.rpetro_ellip)
    circ, ellip = (elliptical_sums(cutouts.image, form, EXTENT_FLUX * a[:, None])[:, 0] for form, a in apertures)
    return {
        "flux_circ": np.abs(circ),
        "flux_ellip": np.abs(ellip),
        "rpetro_circ": geometry.rpetro_circ,
        "rpetro_ellip": geometry.rpetro_ellip,
        **dict(zip(("r20", "r50", "r80"), radii.T, strict=True)),
        "concentration": 5 * np.log10(radii[:, 2] / radii[:, 0]),
        "sky_mean": geometry.sky.mean,
        "sky_median": geometry.sky.median,
        "sky_sigma": geometry.sky.sigma,
    }


def _structure(cutouts, geometry, around):
    """Gini, M20 and the statistics made of both; asymmetry and smoothness."""
    gini, m20 = gini_and_m20(cutouts, geometry.segment)
    sigma = np.nan_to_num(geometry.sky.sigma)
    sky_terms = geometry.sky.asymmetry, sigma
    asymmetry, rms_asymmetry2 = cas_asymmetry(cutouts, geometry.x, geometry.y, around, *sky_terms)
    return {
        "gini": gini,
        "m20": m20,
        "gini_m20_bulge": -0.693 * m20 + 4.95 * gini - 3.96,  # Rodriguez-Gomez et al. (2019), eqs. 2 and 3
        "gini_m20_merger": 0.139 * m20 + 0.990 * gini - 0.327,
        "sn_per_pixel": signal_to_noise(cutouts, geometry.segment, sigma),
        "asymmetry": asymmetry,
        "smoothness": smoothness(cutouts, geometry),
        "rms_asymmetry2": rms_asymmetry2,
    }
