"""
Magnitudes of model spectra through survey filters.

Galaxy spectra are the Coleman, Wu & Weedman (1980, ApJS 43, 393) templates that GalSim ships, from the far ultraviolet
to 2.2 micron, reddened by the law of Calzetti et al. (2000, ApJ 533, 682) in the galaxy's rest frame; stars are black
bodies. Colours ``m(band) - m(SDSS r)`` are tabulated once. A filter that reaches beyond the spectra at some redshift is
an error, since its magnitudes would be wrong.
"""

from functools import cache

import numpy as np

from astro_galtrans._optional import require
from astro_galtrans.filters import load_curve
from astro_galtrans.surveys import get_survey

__all__ = ["SED_TYPES", "galaxy_colours", "star_colours"]

#: Spectral types of the table's first axis, from quiescent to star-forming.
SED_TYPES = ("E", "Sbc", "Scd", "Im")
REDSHIFTS = np.linspace(0.0, 1.2, 49)
REDDENINGS = np.linspace(0.0, 0.6, 5)  # E(B-V) of the stars, mag
TEMPERATURES = np.geomspace(2800.0, 12000.0, 30)  # K
STAR_WAVELENGTHS = np.arange(2500.0, 24000.0, 9500 / 1999)  # Angstrom
ANCHOR = "sdss2010-r"


def galaxy_colours(survey, sed_type, redshift, reddening):
    """
    AB colours ``m(band) - m(SDSS r)`` of galaxies in the bands of a survey, shape ``(..., bands)``.

    ``sed_type`` is the position along `SED_TYPES`, 0 to 3, with interpolated colours in between; ``redshift`` is 0 to
    1.2, ``reddening`` E(B-V), 0 to 0.6 mag. Raises ValueError if a band has no filter curve, or one that the spectra do
    not cover.
    """
    points = np.stack(np.broadcast_arrays(sed_type, redshift, reddening), axis=-1)
    return _galaxy_table(_curves(survey))(points).reshape(*points.shape[:-1], -1)


def star_colours(survey, temperature):
    """AB colours ``m(band) - m(SDSS r)`` of black bodies of 2800 to 12000 K, shape ``(..., bands)``."""
    table = _star_table(_curves(survey))
    log_t = np.log(np.asarray(temperature))
    return np.stack([np.interp(log_t, np.log(TEMPERATURES), column) for column in table.T], axis=-1)


def _curves(survey):
    """Names of the filter curves of a survey, by which its tables are cached."""
    survey = get_survey(survey)
    names = tuple(band.filter for band in survey.bands)
    missing = [band.name for band in survey.bands if not band.filter]
    if missing:
        msg = f"survey {survey.name!r} has no filter curve for {', '.join(missing)}; simulated magnitudes need one"
        raise ValueError(msg)
    return names


def _colours(curves, wavelength, flux):
    """Colours ``[..., bands]`` relative to `ANCHOR` of spectra F_lambda ``[..., n]`` at ``wavelength`` (Angstrom)."""
    magnitudes = np.stack([_magnitude(name, wavelength, flux) for name in (*curves, ANCHOR)], axis=-1)
    return magnitudes[..., :-1] - magnitudes[..., -1:]


def _magnitude(curve, wavelength, flux):
    """AB magnitude up to a constant: photons of the spectrum over photons of one that is flat in f_nu."""
    at, response = load_curve(curve)
    if not wavelength[0] <= at[0] < at[-1] <= wavelength[-1]:
        msg = (
            f"the filter {curve} reaches from {at[0]:.0f} to {at[-1]:.0f} Angstrom, the model spectra"
            f" from {wavelength[0]:.0f} to {wavelength[-1]:.0f}: leave the band out"
        )
        raise ValueError(msg)
    seen = np.apply_along_axis(lambda row: np.interp(at, wavelength, row), -1, flux)
    return -2.5 * np.log10((seen * response * at).sum(axis=-1) / (response / at).sum())


@cache
def _galaxy_table(curves):
    from scipy.interpolate import RegularGridInterpolator

    templates = [_template(name) for name in SED_TYPES]
    table = np.array(
        [
            [_colours(curves, wave * (1 + z), flux * _calzetti(wave, REDDENINGS[:, None])) for z in REDSHIFTS]
            for wave, flux in templates
        ]
    )
    return RegularGridInterpolator((np.arange(len(SED_TYPES)), REDSHIFTS, REDDENINGS), table)


@cache
def _star_table(curves):
    # F_lambda of a black body up to a constant; 1.4388e8 = h c / k in Angstrom K
    planck = STAR_WAVELENGTHS**-5.0 / np.expm1(1.4388e8 / (STAR_WAVELENGTHS * TEMPERATURES[:, None]))
    return _colours(curves, STAR_WAVELENGTHS, planck)


def _template(name):
    galsim = require("galsim", extra="simulate")
    wave, flux = np.loadtxt(f"{galsim.meta_data.share_dir}/SEDs/CWW_{name}_ext.sed", unpack=True)
    return wave[wave > 900], flux[wave > 900]  # to 22050 Angstrom


def _calzetti(wave, ebv):
    """Transmission of dust of colour excess E(B-V) at rest wavelengths (Angstrom), Calzetti et al. (2000), eq. 4."""
    micron = wave / 1e4
    blue = -2.156 + 1.509 / micron - 0.198 / micron**2 + 0.011 / micron**3
    red = -1.857 + 1.040 / micron
    # below 0.12 micron the polynomial turns over: hold its last value, that light is outside every filter here
    k = 2.659 * np.where(micron < 0.63, np.where(micron < 0.12, 5.47, blue), red) + 4.05
    return 10 ** (-0.4 * ebv * np.clip(k, 0, None))
