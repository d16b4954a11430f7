"""What several test modules share: where the real survey data are, and small analytic galaxies with a WCS."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.modeling.models import Gaussian2D, Sersic2D
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS

__all__ = [
    "BANDS",
    "MAGNITUDES",
    "SKY_RMS",
    "aperture_sum",
    "galaxy",
    "make_bands",
    "make_ccd",
    "make_cube",
    "make_survey",
    "make_wcs",
    "shared_data",
]

BANDS = ("u", "g", "r", "i", "z")
MAGNITUDES = {"u": 18.9, "g": 17.4, "r": 16.8, "i": 16.4, "z": 16.2}  # AB, an Sbc galaxy at z = 0.05
SKY_RMS = {"u": 0.055, "g": 0.018, "r": 0.027, "i": 0.044, "z": 0.217}  # nanomaggy per SDSS pixel, from real frames


def shared_data(*parts):
    """
    Return the path of real survey data, or skip the test that asks for it where there is none.

    The folder is ``$ASTRO_GALTRANS_DATA``, or ``../shared/data`` beside the checkout.

    Parameters
    ----------
    *parts : str
        Parts of the path below that folder, e.g. ``"sdss_cutout", "stamp-r.fits"``.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("ASTRO_GALTRANS_DATA", beside)).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs real survey data, absent here: {path} (set ASTRO_GALTRANS_DATA to the folder that has it)")
    return path


def aperture_sum(image, aperture):
    """Return photutils' sums of an image in a pixel aperture, ``[n]``; its release 3.1 has another name for it."""
    try:
        from photutils.aperture import AperturePhotometry
    except ImportError:
        return aperture.do_photometry(image)[0]
    return np.atleast_1d(AperturePhotometry(image, aperture).flux)


def make_wcs(shape, pixel_scale=0.396, *, angle=0.0, centre=(351.6, 0.1), projection="TAN"):
    """
    Return a celestial WCS whose reference pixel is the middle of the image, north up and east left at ``angle=0``.

    Parameters
    ----------
    shape : tuple of int
        ``(height, width)``.
    pixel_scale : float, optional
        Pixel size (arcsec).
    angle : float, optional
        Rotation of the pixel axes (deg).
    centre : tuple of float, optional
        Right ascension and declination of the middle (deg).
    projection : str, optional
        FITS code of the projection.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    wcs.wcs.crval = centre
    wcs.wcs.crpix = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = pixel_scale / 3600 * np.array([[-cos, sin], [sin, cos]])
    wcs.wcs.set()
    wcs.array_shape = shape
    return wcs


def galaxy(shape, flux, *, r_eff=5.0, fwhm=3.6):
    """
    Return a noiseless image: an exponential disc off the centre and a star of a tenth of its flux.

    Parameters
    ----------
    shape : tuple of int
        ``(height, width)``.
    flux : float
        Total flux of the disc.
    r_eff, fwhm : float, optional
        Half-light radius of the disc and width of the star (pixels).
    """
    y, x = np.mgrid[: shape[0], : shape[1]]
    height, width = shape
    disc = Sersic2D(1, r_eff, n=1, x_0=0.45 * width, y_0=0.55 * height, ellip=0.3, theta=0.6)(x, y)
    sigma = fwhm / np.sqrt(8 * np.log(2))
    star = Gaussian2D(1, 0.8 * width, 0.2 * height, sigma, sigma)(x, y)
    return flux * (disc / disc.sum() + 0.1 * star / star.sum())


def make_ccd(shape=(40, 48), band="r", *, wcs=None, seed=0, dtype="float32", unit="nmgy", uncertainty=True):
    """
    Return one band of an SDSS-like image as `~astropy.nddata.CCDData` in nanomaggies, with noise.

    Parameters
    ----------
    shape : tuple of int, optional
        ``(height, width)``.
    band : str, optional
        One of ``"ugriz"``; sets magnitude, sky noise and the FILTER card.
    wcs : optional
        World coordinates; `make_wcs` of the shape by default.
    seed : int, optional
        Seed of the sky noise.
    dtype, unit : optional
        Type of the data and their unit.
    uncertainty : bool, optional
        Attach the sky rms as `~astropy.nddata.StdDevUncertainty`?
    """
    rng = np.random.default_rng([seed, BANDS.index(band)])
    clean = galaxy(shape, 10 ** (0.4 * (22.5 - MAGNITUDES[band])))
    data = (clean + rng.normal(0, SKY_RMS[band], shape)).astype(dtype)
    sigma = StdDevUncertainty(np.full(shape, SKY_RMS[band], dtype)) if uncertainty else None
    meta = {"FILTER": band, "TELESCOP": "test"}
    return CCDData(data, unit=u.Unit(unit), wcs=wcs or make_wcs(shape), uncertainty=sigma, meta=meta)


def make_bands(shape=(40, 48), bands=BANDS, **kwargs):
    """Return ``{band: CCDData}`` of 2-D images on one grid; keywords as for `make_ccd`."""
    return {band: make_ccd(shape, band, **kwargs) for band in bands}


def make_cube(shape=(40, 48), bands=BANDS, **kwargs):
    """Return one 3-D `~astropy.nddata.CCDData` (band, y, x) with a celestial 2-D WCS; keywords as for `make_ccd`."""
    planes = list(make_bands(shape, bands, **kwargs).values())
    sigma = None
    if planes[0].uncertainty is not None:
        sigma = StdDevUncertainty(np.stack([plane.uncertainty.array for plane in planes]))
    data = np.stack([plane.data for plane in planes])
    return CCDData(data, unit=planes[0].unit, wcs=planes[0].wcs, uncertainty=sigma, meta={"TELESCOP": "test"})


def make_survey(bands="gri", pixel_scale=0.396, sky_rms=1.0, *, fwhm=1.2, zeropoint=30.0, electrons=np.nan):
    """Return a survey in counts; noise, seeing and electrons per count are one number, or one per band."""
    from astro_galtrans.surveys import Band, Survey

    columns = (np.broadcast_to(values, len(bands)) for values in (fwhm, sky_rms, electrons))
    return Survey("mine", "", pixel_scale, "adu", zeropoint, [Band(*row) for row in zip(bands, *columns, strict=True)])
