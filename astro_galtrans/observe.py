"""
How an image was taken, for networks that are told so: its PSF and its noise, given, measured or typical of the survey.

The PSF of a band is, in this order, what the caller gives, what the image carries (``CCDData.psf``), that of its stars,
what its header states, that of another band, scaled by what is typical of the survey, or what is typical of the survey.
The noise is what the sky's scatter shows, else the stated standard deviation, else what is typical.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from astropy import units as u

from .bands import parse_bands
from .inputs import Observation
from .moments import gaussian_fwhm
from .psf import measured_fwhm, profile_fwhm

__all__ = ["Seen", "carried_psf", "observe"]

LIMITS = 0.05, 20.0  # arcsec: widths of PSFs, beyond which a number is in another unit


class Seen(NamedTuple):
    """How an image was taken, and how that is known."""

    observation: Observation
    psf: str  #: per band of the image the FWHM of its stars (arcsec), and from where it is known
    assumed: bool  #: does nothing tell the PSF, so that the survey's typical one is assumed?


def carried_psf(image):
    """Return the PSF that NDData carries, or a dict of those of a dict of bands, or None."""
    if isinstance(image, Mapping):
        found = {band: getattr(one, "psf", None) for band, one in image.items()}
        return {band: psf for band, psf in found.items() if psf is not None} or None
    return getattr(image, "psf", None)


def observe(stack, bands, typical, measured, pixel_scale, psf=None):
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

    Returns
    -------
    `Seen`

    Raises
    ------
    ValueError
        If ``psf`` names a band that neither the image nor the network has, or a width is not one of a PSF.
    """
    given = _given(psf, stack.bands, bands, pixel_scale)
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
    told = ", ".join(f"{band} {fwhm:.2f} ({origin})" for band, (fwhm, origin) in seen.items())
    return Seen(observation, told, assumed=not known)


def _given(psf, bands, known, pixel_scale):
    """FWHM (arcsec, as measured of stars) of the bands that are given; others of the network's may be among them."""
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
    return {band: _width(value, band, pixel_scale) for band, value in psf.items() if band in bands}


def _width(value, band, pixel_scale):
    if np.ndim(value) == 2:
        image = np.asarray(value, float)
        # the search for the matching Gaussian begins at the centre, which only an odd side has
        image = image[: image.shape[0] - 1 + image.shape[0] % 2, : image.shape[1] - 1 + image.shape[1] % 2]
        found = gaussian_fwhm(image) if np.isfinite(image).all() else None
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
