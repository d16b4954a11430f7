"""
Magnitudes of a spectrum through the filters of a survey, and an image's colours against them.

The AB magnitude of f(wavelength) through a filter that detects a share R of the photons is, photons being counted,

    m = -2.5 log10( int f R lambda dlambda / int (3631 Jy) c R / lambda dlambda ) .

The flux is linear between pixels. A filter that the spectrum covers by less than a given share has no magnitude, unless
padding is asked for. The share is that of the photons of a source of constant f_nu.
"""

from itertools import pairwise

import astropy.constants as const
import astropy.units as u
import numpy as np
from astropy.table import QTable

from astro_galtrans.filters import load_curve
from astro_galtrans.surveys import get_survey

from .samples import FLUX, samples

__all__ = ["colour_check", "synthetic_photometry"]

AB_FLUX = (3631 * u.Jy * const.c).to_value(FLUX * u.AA**2)  # f_lambda of 0 mag, times wavelength squared
#: Longest distance between pixels, relative to the wavelength, over which the flux is interpolated.
LONGEST_GAP = 0.01
#: Number of pixels at either end whose median is the flux of the padding.
END_PIXELS = 50
SIGMA_MAG = 2.5 / np.log(10)
PADDINGS = None, "zero", "edge"


def synthetic_photometry(spectrum, survey, *, bands=None, coverage=0.99, padding=None, medium="auto"):
    """
    Measure a spectrum through the filters of a survey.

    Parameters
    ----------
    spectrum : `~specutils.Spectrum` or list of them
        With calibrated flux; as for `redshift`.
    survey : str or `~astro_galtrans.Survey`
        As for `~astro_galtrans.get_survey`.
    bands : iterable of str, optional
        Some of the survey's bands; all by default.
    coverage : float, optional
        Least share of a filter that the spectrum has to cover.
    padding : str, optional
        Flux where there is no spectrum: ``"zero"`` (magnitudes are then upper limits), or ``"edge"``: the median flux
        per wavelength of the nearest 50 pixels. By default it is unknown, and the magnitude is NaN.
    medium : str, optional
        As for `redshift`.

    Returns
    -------
    `~astropy.table.QTable`
        Row per band: ``band``, ``filter``, ``magnitude`` and ``uncertainty`` (AB; from the noise of the pixels, taken
        as independent, without that of the flux calibration), ``flux`` and ``flux_uncertainty`` (in the survey's unit),
        ``coverage``. Fluxes that are not positive have no magnitude.

    Raises
    ------
    ValueError
        If the flux is not calibrated, a band has no filter curve, or an option is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from astropy.nddata import StdDevUncertainty
    >>> from specutils import Spectrum
    >>> from astro_galtrans import spectra
    >>> wavelength = np.arange(3600, 9300, 2.0)
    >>> template = spectra.default_templates()[0]
    >>> flux = template(wavelength / 1.2) + np.random.default_rng(1).normal(0, 0.1, len(wavelength))
    >>> spectrum = Spectrum(
    ...     spectral_axis=wavelength * u.AA, flux=flux * u.Unit("1e-17 erg / (s cm2 AA)"),
    ...     uncertainty=StdDevUncertainty(np.full(len(flux), 0.1)))
    >>> table = spectra.synthetic_photometry(spectrum, "sdss", bands="gri")
    >>> table["band"].tolist()
    ['g', 'r', 'i']
    """
    if padding not in PADDINGS:
        msg = f"padding is None, 'zero' or 'edge', not {padding!r}"
        raise ValueError(msg)
    if not 0 <= coverage <= 1:
        msg = f"coverage is a share between 0 and 1, not {coverage!r}"
        raise ValueError(msg)
    survey = get_survey(survey).select(bands)
    data = samples(spectrum, medium)
    if data.unit != FLUX:
        msg = f"photometry needs calibrated flux, not flux in {data.unit or 'no unit'}"
        raise ValueError(msg)
    rows = [_through(data, *_curve(survey, band), padding) for band in survey.bands]
    return _table(survey, np.array(rows).T, coverage if padding is None else 0.0)


def _curve(survey, band):
    if not band.filter:
        msg = f"band {band.name!r} of survey {survey.name!r} has no filter curve"
        raise ValueError(msg)
    return load_curve(band.filter)


def _through(data, wavelength, response, padding):
    """Flux and its uncertainty relative to 0 mag AB, and the covered share of the filter."""
    reference = np.trapezoid(response / wavelength, wavelength)
    inside = (data.wavelength > wavelength[0]) & (data.wavelength < wavelength[-1])
    grid = np.union1d(wavelength, data.wavelength[inside])
    step = np.diff(grid, prepend=grid[0], append=grid[-1])
    trapezoid = (step[1:] + step[:-1]) / 2
    photons = np.interp(grid, wavelength, response) * grid * trapezoid  # weight of f at each point of the grid
    known, right, share = _place(data.wavelength, grid)
    weights = np.bincount(right[known] - 1, (photons * (1 - share))[known], len(data.flux))
    weights += np.bincount(right[known], (photons * share)[known], len(data.flux))
    flux = weights @ data.flux
    if padding == "edge":
        # the median flux at either end; inside gaps, the straight line over them
        low, high = np.median(data.flux[:END_PIXELS]), np.median(data.flux[-END_PIXELS:])
        flux += photons[~known] @ np.interp(grid[~known], data.wavelength, data.flux, left=low, right=high)
    error = np.sqrt(weights**2 @ (1 / data.ivar))
    covered = (photons / grid**2)[known].sum() / (photons / grid**2).sum()
    return flux / (AB_FLUX * reference), error / (AB_FLUX * reference), covered


def _place(wavelength, grid):
    """Which points of a grid the spectrum covers, the pixel to the right of each, and that pixel's weight there."""
    right = np.clip(np.searchsorted(wavelength, grid), 1, len(wavelength) - 1)
    step = wavelength[right] - wavelength[right - 1]
    inside = (grid >= wavelength[0]) & (grid <= wavelength[-1])
    near = (step <= LONGEST_GAP * grid) | np.isin(grid, wavelength)
    share = np.divide(grid - wavelength[right - 1], step, out=np.ones(len(grid)), where=step > 0)
    return inside & near, right, share


def _table(survey, rows, coverage):
    flux, error, covered = rows
    good = (flux > 0) & (covered >= coverage) & (covered > 0)
    safe = np.where(good, flux, 1.0)
    unit = u.Unit(survey.flux_unit)
    scale = 10 ** (0.4 * survey.zeropoint)
    table = QTable(meta={"survey": survey.name})
    table["band"] = list(survey.band_names)
    table["filter"] = [band.filter for band in survey.bands]
    table["magnitude"] = np.where(good, -2.5 * np.log10(safe), np.nan) * u.ABmag
    table["uncertainty"] = np.where(good, SIGMA_MAG * error / safe, np.nan) * u.mag
    enough = np.where((covered >= coverage) & (covered > 0), scale, np.nan)
    table["flux"], table["flux_uncertainty"] = flux * enough * unit, error * enough * unit
    table["coverage"] = covered
    return table


def colour_check(spectrum, survey, magnitudes, uncertainties=None, *, calibration=0.03, **options):
    """
    Compare an image's colours with those of its galaxy's spectrum.

    A fibre sees less of a galaxy than an aperture does, which colours do not depend on if the galaxy has no gradient.

    Parameters
    ----------
    spectrum : `~specutils.Spectrum` or list of them
        Of the galaxy.
    survey : str or `~astro_galtrans.Survey`
        Of the image.
    magnitudes : dict
        Band to AB magnitude in the image, for two bands of the survey or more.
    uncertainties : dict, optional
        Band to uncertainty of the magnitude; 0 by default.
    calibration : float, optional
        Uncertainty of the spectrum's colours from its flux calibration (mag).
    **options
        As for `synthetic_photometry`.

    Returns
    -------
    `~astropy.table.QTable`
        Row per pair of neighbouring bands: ``colour``, ``image``, ``spectrum``, ``difference`` (image less spectrum),
        ``uncertainty``, ``significance``. NaN where the spectrum does not cover the filters.

    Raises
    ------
    ValueError
        If there are fewer than two bands, or one is not the survey's.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from astropy.nddata import StdDevUncertainty
    >>> from specutils import Spectrum
    >>> from astro_galtrans import spectra
    >>> wavelength = np.arange(3600, 9300, 2.0)
    >>> template = spectra.default_templates()[0]
    >>> flux = template(wavelength / 1.2) + np.random.default_rng(1).normal(0, 0.1, len(wavelength))
    >>> spectrum = Spectrum(
    ...     spectral_axis=wavelength * u.AA, flux=flux * u.Unit("1e-17 erg / (s cm2 AA)"),
    ...     uncertainty=StdDevUncertainty(np.full(len(flux), 0.1)))
    >>> table = spectra.synthetic_photometry(spectrum, "sdss", bands="gri")
    >>> magnitudes = dict(zip(table["band"], table["magnitude"].value))
    >>> check = spectra.colour_check(spectrum, "sdss", magnitudes)
    >>> check["colour"].tolist(), bool(abs(check["difference"].value).max() < 0.01)
    (['g - r', 'r - i'], True)
    """
    if len(magnitudes) < 2:
        msg = f"a colour needs magnitudes in two bands or more, not {', '.join(magnitudes) or 'none'}"
        raise ValueError(msg)
    synthetic = synthetic_photometry(spectrum, survey, bands=list(magnitudes), **options)
    bands = [str(band) for band in synthetic["band"]]
    image = np.array([_plain(magnitudes[band]) for band in bands])
    error = np.array([_plain((uncertainties or {}).get(band, 0.0)) for band in bands])
    error = np.hypot(error, synthetic["uncertainty"].value)
    table = QTable(meta={"survey": synthetic.meta["survey"]})
    table["colour"] = [f"{blue} - {red}" for blue, red in pairwise(bands)]
    table["image"], table["spectrum"] = -np.diff(image) * u.mag, -np.diff(synthetic["magnitude"].value) * u.mag
    table["difference"] = table["image"] - table["spectrum"]
    table["uncertainty"] = np.sqrt(error[1:] ** 2 + error[:-1] ** 2 + calibration**2) * u.mag
    table["significance"] = (table["difference"] / table["uncertainty"]).to_value(u.one)
    return table


def _plain(value):
    return float(getattr(value, "value", value))
