"""statmorph's quantities of a batch of cutouts, in its order, but for MID, shape asymmetry and Sersic models."""

from dataclasses import dataclass

import torch

from .apertures import Ellipses
from .asymmetry import cas_asymmetry
from .centre import EXTENT_CAS, asymmetry_centre
from .cutouts import BAD
from .gini_m20 import gini_and_m20, gini_segment, signal_to_noise
from .moments import at_zero, centroid, shape
from .petrosian import Light, fraction_radii, petrosian_radius
from .sky import Sky, sky_boxes
from .smoothness import smoothness

__all__ = ["Geometry", "measure_core"]

EXTENT_FLUX = 2.0  # statmorph's petro_extent_flux


@dataclass
class Geometry:
    """
    What the other measurements need of a batch: ``[N]`` each, positions in pixels of the cutouts.

    Parameters
    ----------
    xc, yc : `torch.Tensor`
        Centroid.
    x, y : `torch.Tensor`
        Centre of least asymmetry.
    ellipticity, elongation, theta : `torch.Tensor`
        Shape about that centre.
    rpetro_circ, rpetro_ellip : `torch.Tensor`
        Petrosian radii about that centre.
    circles, ellipses : Ellipses
        Around that centre.
    light : Light
        Sums over ellipses.
    sky : Sky
        The boxes of sky.
    segment : `torch.Tensor`
        ``[N, H, W]``, bool: Gini's segmentation map.
    """

    xc: torch.Tensor
    yc: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    ellipticity: torch.Tensor
    elongation: torch.Tensor
    theta: torch.Tensor
    rpetro_circ: torch.Tensor
    rpetro_ellip: torch.Tensor
    circles: Ellipses
    ellipses: Ellipses
    light: Light
    sky: Sky
    segment: torch.Tensor


def measure_core(stamps):
    """
    Measure a batch.

    Parameters
    ----------
    stamps : Stamps
        The cutouts; flags are raised in place.

    Returns
    -------
    values : dict of str to `torch.Tensor`
        ``[N]`` by statmorph's names.
    geometry : Geometry
        For further measurements.
    """
    sky, light = sky_boxes(stamps), Light(stamps)
    xc, yc = centroid(stamps)
    stamps.raise_flag(at_zero(stamps, xc, yc), BAD)
    around = _petrosian(stamps, light, Ellipses(xc, yc))
    x, y = asymmetry_centre(stamps, xc, yc, around, sky.asymmetry)
    stamps.raise_flag(at_zero(stamps, x, y), BAD)
    form = shape(stamps, x, y)
    circles, ellipses = Ellipses(x, y), Ellipses(x, y, *form[1:])
    rpetro_circ = _petrosian(stamps, light, circles, around)
    radii = rpetro_circ, _petrosian(stamps, light, ellipses, rpetro_circ * ellipses.q.sqrt())
    segment = gini_segment(stamps, Ellipses(xc, yc, *form[1:]), radii[1])
    geometry = Geometry(xc, yc, x, y, *form, *radii, circles, ellipses, light, sky, segment)
    values = _positions(stamps, geometry) | _light(stamps, geometry) | _structure(stamps, geometry, around)
    stamps.raise_flag(~(sky.mean.abs() <= sky.sigma), BAD)  # not background-subtracted, or without a sky box
    return values, geometry


def _petrosian(stamps, light, ellipses, guess=None):
    """Petrosian radii; flag 2 where they are not defined."""
    radius, bad = petrosian_radius(light, ellipses, stamps.diagonal * ellipses.q, guess)
    stamps.raise_flag(bad, BAD)
    return radius


def _positions(stamps, geometry):
    """Where the cutout and the source are, and the source's shape about both centres."""
    places = {"xc_centroid": geometry.xc + stamps.xmin, "yc_centroid": geometry.yc + stamps.ymin}
    places |= dict(zip(_shape_names("centroid"), shape(stamps, geometry.xc, geometry.yc), strict=True))
    places |= {"xc_asymmetry": geometry.x + stamps.xmin, "yc_asymmetry": geometry.y + stamps.ymin}
    around = geometry.ellipticity, geometry.elongation, geometry.theta
    places |= dict(zip(_shape_names("asymmetry"), around, strict=True))
    corner = {"xmin_stamp": stamps.xmin, "ymin_stamp": stamps.ymin, "nx_stamp": stamps.nx, "ny_stamp": stamps.ny}
    corner |= {"xmax_stamp": stamps.xmin + stamps.nx - 1, "ymax_stamp": stamps.ymin + stamps.ny - 1}
    return places | corner


def _shape_names(centre):
    return [f"{name}_{centre}" for name in ("ellipticity", "elongation", "orientation")]


def _light(stamps, geometry):
    """Fluxes, radii and sky."""
    light, rows = geometry.light, torch.arange(len(stamps), device=stamps.flag.device)
    radii, bad = fraction_radii(light, geometry.circles, EXTENT_CAS * geometry.rpetro_circ, (0.2, 0.5, 0.8))
    stamps.raise_flag(bad, BAD)
    circ, ellip = (EXTENT_FLUX * t[:, None] for t in (geometry.rpetro_circ, geometry.rpetro_ellip))
    return {
        "flux_circ": light.flux(geometry.circles, circ, rows)[:, 0].abs(),
        "flux_ellip": light.flux(geometry.ellipses, ellip, rows)[:, 0].abs(),
        "rpetro_circ": geometry.rpetro_circ,
        "rpetro_ellip": geometry.rpetro_ellip,
        **dict(zip(("r20", "r50", "r80"), radii.unbind(1), strict=True)),
        "concentration": 5 * torch.log10(radii[:, 2] / radii[:, 0]),
        "sky_mean": geometry.sky.mean,
        "sky_median": geometry.sky.median,
        "sky_sigma": geometry.sky.sigma,
    }


def _structure(stamps, geometry, around):
    """Gini, M20, and what is said by them; asymmetry and smoothness."""
    gini, m20 = gini_and_m20(stamps, geometry.segment)
    sigma = geometry.sky.sigma.nan_to_num(0.0)
    sky_terms = geometry.sky.asymmetry, sigma
    asymmetry, rms_asymmetry2 = cas_asymmetry(stamps, geometry.x, geometry.y, around, *sky_terms)
    return {
        "gini": gini,
        "m20": m20,
        "gini_m20_bulge": -0.693 * m20 + 4.95 * gini - 3.96,  # Rodriguez-Gomez et al. (2019), eqs. 2 and 3
        "gini_m20_merger": 0.139 * m20 + 0.990 * gini - 0.327,
        "sn_per_pixel": signal_to_noise(stamps, geometry.segment, sigma),
        "asymmetry": asymmetry,
        "smoothness": smoothness(stamps, geometry),
        "rms_asymmetry2": rms_asymmetry2,
    }
