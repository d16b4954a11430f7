"""
Magnitudes of model spectra through survey filters.

Galaxy spectra are the Coleman, Wu & Weedman (1980, ApJS 43, 393) templates that GalSim ships, from the far ultraviolet
to 2.2 micron, reddened by the law of Calzetti et al. (2000, ApJ 533, 682) in the galaxy's rest frame; stars are the
spectra of Pickles (1998, PASP 110, 863) in ``data/stars.ecsv``. Colours ``m(band) - m(SDSS r)`` are tabulated once. A
filter that reaches beyond the spectra at some redshift is an error, since its magnitudes would be wrong.
"""

from functools import cache
from importlib.resources import files

import numpy as np

from astro_galtrans._optional import require
from astro_galtrans.filters import load_curve
from astro_galtrans.surveys import get_survey

__all__ = ["SED_TYPES", "galaxy_colours", "pivot_wavelengths", "star_colours"]

#: Spectral types of the table's first axis, from quiescent to star-forming.
SED_TYPES = ("E", "Sbc", "Scd", "Im")
# What the templates of an early and a late type are too bright by (mag) at rest wavelengths (Angstrom), fitted to the
# colours of galaxies of known redshift in SDSS and VVDS: both have a weaker far ultraviolet than the templates, and
# star-forming ones a weaker near infrared and, for H alpha, more light at 6300 than on either side
CORRECTED = (1700, 2150, 2600, 3100, 3550, 3900, 4400, 5200, 6300, 7800, 9800)
CORRECTION = {
    "early": (0.15, 0.12, 0.08, 0.035, 0.14, 0.095, -0.06, -0.02, 0.0, 0.0, 0.01),
    "late": (0.26, 0.22, 0.135, -0.155, 0.043, 0.033, 0.07, 0.10, 0.016, 0.096, 0.24),
}
REDSHIFTS = np.linspace(0.0, 1.2, 49)
REDDENINGS = np.linspace(0.0, 0.6, 5)  # E(B-V) of the stars, mag
FOREGROUND = np.linspace(0.0, 0.3, 4)  # E(B-V) of the Milky Way's dust in front of a star, mag
# Wavelength (Angstrom) and extinction per E(B-V) by the Milky Way's dust: Schlafly & Finkbeiner (2011, ApJ 737, 103),
# table 6, SDSS ugriz and 2MASS; the law of Fitzpatrick (1999) at 2500 and 3000 Angstrom
EXTINCTION = (2500, 3000, 3551, 4686, 6166, 7480, 8932, 12350, 16620, 21590), (
    6.3, 5.1, 4.239, 3.303, 2.285, 1.698, 1.263, 0.709, 0.449, 0.302,
)  # fmt: skip
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


def star_colours(survey, temperature, metal_weak=0.0, reddening=0.0):
    """
    AB colours ``m(band) - m(SDSS r)`` of dwarf stars in the bands of a survey, shape ``(..., bands)``.

    ``temperature`` is 2951 (M5) to 9550 K (A0), and limited to that; ``metal_weak`` mixes solar metallicity (0) with
    that of the halo (1), which differs for F and G stars; ``reddening`` is E(B-V) of the foreground, 0 to 0.3 mag.
    """
    table = _star_table(_curves(survey))
    log_t = np.clip(np.log(temperature), *table.grid[1][[0, -1]])
    points = np.stack(np.broadcast_arrays(metal_weak, log_t, reddening), axis=-1)
    return table(points).reshape(*points.shape[:-1], -1)


def pivot_wavelengths(survey):
    """Pivot wavelengths (Angstrom) of the bands of a survey, shape ``(bands,)``."""
    return _pivots(_curves(survey))


@cache
def _pivots(curves):
    at, response = zip(*map(load_curve, curves), strict=True)
    return np.array([np.sqrt((r * w).sum() / (r / w).sum()) for w, r in zip(at, response, strict=True)])


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
    from astropy.table import Table
    from scipy.interpolate import RegularGridInterpolator

    text = files("astro_galtrans").joinpath("data/stars.ecsv").read_text(encoding="utf8")
    table = Table.read(text, format="ascii.ecsv")
    wave, temperature = np.asarray(table["wavelength"]), table.meta["temperature"]
    dust = 10 ** (-0.4 * FOREGROUND[:, None] * np.interp(wave, *EXTINCTION))
    solar = sorted((name for name in temperature if name[0] != "w"), key=temperature.get)
    weak = {temperature[name]: name for name in temperature if name[0] == "w"}
    both = [solar, [weak.get(temperature[name], name) for name in solar]]
    colours = [[_colours(curves, wave, np.asarray(table[name]) * dust) for name in names] for names in both]
    log_t = np.log([temperature[name] for name in solar])
    return RegularGridInterpolator((np.array([0.0, 1.0]), log_t, FOREGROUND), np.array(colours))


def _template(name):
    galsim = require("galsim", extra="simulate")
    wave, flux = np.loadtxt(f"{galsim.meta_data.share_dir}/SEDs/CWW_{name}_ext.sed", unpack=True)
    late = min(SED_TYPES.index(name) / 2, 1.0)
    excess = (1 - late) * np.array(CORRECTION["early"]) + late * np.array(CORRECTION["late"])
    flux *= 10 ** (-0.4 * np.interp(np.log(wave), np.log(CORRECTED), excess))
    return wave[wave > 900], flux[wave > 900]  # to 22050 Angstrom


def _calzetti(wave, ebv):
    """Transmission of dust of colour excess E(B-V) at rest wavelengths (Angstrom), Calzetti et al. (2000), eq. 4."""
    micron = wave / 1e4
    blue = -2.156 + 1.509 / micron - 0.198 / micron**2 + 0.011 / micron**3
    red = -1.857 + 1.040 / micron
    # below 0.12 micron the polynomial turns over: hold its last value, that light is outside every filter here
    k = 2.659 * np.where(micron < 0.63, np.where(micron < 0.12, 5.47, blue), red) + 4.05
    return 10 ** (-0.4 * ebv * np.clip(k, 0, None))
