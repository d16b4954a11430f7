"""
How an image was taken, for networks that are told so: its PSF and its noise, given, measured or typical of the survey.

The PSF of a band is, in this order, what the caller gives, what the image carries (``CCDData.psf``), that of its stars,
what its header states, that of another band, scaled by what is typical of the survey, or what is typical of the survey.
The noise is what the sky's scatter shows, else the stated standard deviation, else what is typical.

Where bright stars, or an image that is given, show the PSF with its wings, that image is kept, too: it tells fluxes
(`astro_galtrans.consistency`), which a width does not.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from astropy import units as u

from ._warn import warn
from .bands import parse_bands
from .inputs import Observation
from .moments import gaussian_fwhm, round_moments
from .psf import image_fwhm, measured_fwhm, profile_fwhm
from .stars import moved, star_image

__all__ = ["Seen", "observe", "with_psf", "with_wings"]

LEAST_HALF = 3.0  # FWHM: half the side from which on an image of a PSF has its wings
# Share of the light beyond 1.5 FWHM: 0.002 of a Gaussian, 0.036 of a Moffat profile of exponent 4.765, the steepest of
# the atmosphere, and 0.1 of stars in SDSS.
WINGS_FROM, LEAST_WINGS = 1.5, 0.01
MOST_LEVEL = 0.1  # of the light below the level of the border: 0.007 to 0.06 of Moffat profiles to three FWHM
LIMITS = 0.05, 20.0  # arcsec: widths of PSFs, beyond which a number is in another unit


class Seen(NamedTuple):
    """How an image was taken, and how that is known."""

    observation: Observation
    psf: str  #: per band of the image the FWHM of its stars (arcsec), and from where it is known
    assumed: bool  #: does nothing tell the PSF, so that the survey's typical one is assumed?
    images: tuple = ()  #: per band of the network the image of the PSF with its wings, ``[k, k]``, or None


def observe(stack, bands, typical, measured, pixel_scale, psf=None, *, images=False):
    """
    Return how an image was taken.

    Parameters
    ----------
    stack : `~astro_galtrans.bandstack.BandStack`
        The image, with some or all of ``bands``.
    bands : tuple of str
        Bands of the network.
    typical : `~astro_galtrans.inputs.Observation`
        Of the survey.
    measured : dict
        From `astro_galtrans.domain.measure`.
    pixel_scale : float
        Of the image (arcsec).
    psf : float, `~astropy.units.Quantity`, `~numpy.ndarray` or dict of them by band, optional
        FWHM of stars as measured in the image (arcsec), or images of the PSF on the image's pixels (``[k, k]``, or one
        per band of the image).
    images : bool, optional
        Find images of the PSF, too.

    Returns
    -------
    `Seen`

    Raises
    ------
    ValueError
        If ``psf`` names a band that neither the image nor the network has, or a width is not one of a PSF.
    """
    told = _given(psf, stack.bands, bands)
    given = {band: _width(value, band, pixel_scale) for band, value in told.items()}
    seen = {}
    for band in stack.bands:
        ways = (given, "given"), (measured["fwhm"], "stars"), (stack.seeing, "header")
        seen[band] = next(((found[band], origin) for found, origin in ways if found.get(band)), (None, None))
    expected = dict(zip(bands, measured_fwhm(typical.fwhm, pixel_scale=pixel_scale), strict=True))
    known = [fwhm / expected[band] for band, (fwhm, _) in seen.items() if fwhm]
    ratio, source = (float(np.median(known)), "other bands") if known else (1.0, "typical of the survey")
    seen = {band: (fwhm, origin) if fwhm else (ratio * expected[band], source) for band, (fwhm, origin) in seen.items()}
    present = np.array([band in stack.bands for band in bands])
    widths = [seen[band][0] if band in seen else expected[band] for band in bands]
    observation = Observation(
        profile_fwhm(widths, pixel_scale=pixel_scale), _noise(stack, bands, typical, measured), present
    )
    text = ", ".join(f"{band} {fwhm:.2f} ({origin})" for band, (fwhm, origin) in seen.items())
    found = _images(stack, told, seen, measured, pixel_scale) if images else {}
    return Seen(observation, text, not known, tuple(found.get(band) for band in bands) if images else ())


def with_psf(seen, psf, bands, pixel_scale):
    """
    Return what is known of an image, but for the PSF in a part of it.

    Parameters
    ----------
    seen : `Seen`
        Of the whole image.
    psf, pixel_scale
        As for `observe`.
    bands : tuple of str
        Of the network.
    """
    told = _given(psf, tuple(np.compress(seen.observation.present, bands)), bands)
    fwhm, images = np.array(seen.observation.fwhm, float), list(seen.images)
    for band, value in told.items():
        k, width = bands.index(band), _width(value, band, pixel_scale)
        fwhm[k] = profile_fwhm(width, pixel_scale=pixel_scale)
        if images:
            images[k] = with_wings(_odd(value), width / pixel_scale, band) if np.ndim(value) == 2 else None
    return seen._replace(observation=replace(seen.observation, fwhm=fwhm), images=tuple(images))


def _images(stack, told, seen, measured, pixel_scale):
    """Images of the PSF of bands by band, given or of stars, where they reach into the wings."""
    found = {}
    for band, plane in zip(stack.bands, stack.planes, strict=True):
        fwhm, origin = seen[band]
        if origin == "given" and np.ndim(told[band]) == 2:
            image = _odd(told[band])
        elif origin == "stars":
            image = star_image(plane.data, plane.good, measured["sky_rms"][band], pixel_scale)
        else:
            continue
        found[band] = None if image is None else with_wings(image, fwhm / pixel_scale, band)
    return found


def with_wings(image, fwhm, band):
    """
    Return an image of a PSF, in its middle and with sum 1, if it reaches into the wings and is no Gaussian; else None.

    Parameters
    ----------
    image : `~numpy.ndarray`
        ``[k, k]``, k odd.
    fwhm : float
        As measured (pixels).
    band : str
        For a warning of sky that was left in it.
    """
    y, x = (np.arange(n) - n // 2 for n in image.shape)
    far = np.hypot(y[:, None], x) > WINGS_FROM * fwhm
    if min(image.shape) // 2 < LEAST_HALF * fwhm or image[far].sum() <= LEAST_WINGS * image.sum():
        return None
    border = np.ones(image.shape, bool)
    border[1:-1, 1:-1] = False
    level = np.median(image[border]) * image.size / image.sum()
    if level > MOST_LEVEL:
        warn(
            f"the PSF image of band {band} has {100 * level:.0f} % of its light in a level that its border shows: if "
            "that is sky, fluxes of the translation become too high; subtract it from the PSF image",
            stacklevel=3,
        )
    place, found = round_moments(image[None])
    if found[0]:  # images with even sides, and pieces of a larger one, have the star beside the middle
        image = moved(image, -place.y[0], -place.x[0])
    return image / image.sum()


def _given(psf, bands, known):
    """What is given of the PSF by band of the image."""
    if psf is None:
        return {}
    if not isinstance(psf, Mapping):
        several = getattr(psf, "ndim", 0) in {1, 3}
        if several and len(psf) != len(bands):
            msg = f"psf has {len(psf)} PSFs for the {len(bands)} bands of the image, {', '.join(bands)}; give one each"
            raise ValueError(msg)
        psf = dict(zip(bands, psf if several else [psf] * len(bands), strict=True))
    psf = {parse_bands([band])[0]: value for band, value in psf.items()}
    unknown = [band for band in psf if band not in {*bands, *known}]
    if unknown:
        msg = f"psf is given for {', '.join(unknown)}, and the image has {', '.join(bands)}"
        raise ValueError(msg)
    return {band: value for band, value in psf.items() if band in bands}


def _odd(image):
    """Image of a PSF without a last row or column that would make its sides even, so that it has a middle."""
    image = np.asarray(image, float)
    return image[: image.shape[0] - 1 + image.shape[0] % 2, : image.shape[1] - 1 + image.shape[1] % 2]


def _width(value, band, pixel_scale):
    if np.ndim(value) == 2:
        image = _odd(value)  # the search for the matching Gaussian begins at the centre
        found = gaussian_fwhm(image) if np.isfinite(image).all() else None
        if found is None and image[image.shape[0] // 2, image.shape[1] // 2] >= np.max(image) > 0:
            found = image_fwhm(image)  # of a star narrower than pixels allow to measure
        if found is None:
            msg = f"the PSF image of band {band}, {np.shape(value)}, has no star at its centre"
            raise ValueError(msg)
        return found * pixel_scale
    try:
        fwhm = float(u.Quantity(value, u.arcsec).value)
    except (TypeError, ValueError, u.UnitConversionError) as err:
        msg = f"the psf of band {band} must be a FWHM in arcsec or an image [k, k], got {value!r}"
        raise ValueError(msg) from err
    if not LIMITS[0] <= fwhm <= LIMITS[1]:
        msg = f"the psf of band {band} must be a FWHM from {LIMITS[0]} to {LIMITS[1]} arcsec, got {value!r}"
        raise ValueError(msg)
    return fwhm


def _noise(stack, bands, typical, measured):
    """Sky rms of each band of the network (flux unit of the stack)."""
    found = dict(zip(bands, np.asarray(typical.noise, float), strict=True))
    for band, plane in zip(stack.bands, stack.planes, strict=True):
        rms = measured["sky_rms"].get(band)
        if not rms and plane.variance is not None:
            known = plane.variance[np.isfinite(plane.variance) & (plane.variance > 0)]
            rms = float(np.sqrt(np.median(known))) if known.size else None
        found[band] = rms or found[band]
    return np.array(list(found.values()))
