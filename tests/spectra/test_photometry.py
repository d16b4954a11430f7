"""Magnitudes of spectra: against analysis, against speclite, and against what SDSS measured."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import StdDevUncertainty

from helpers import shared_data

pytest.importorskip("specutils", minversion="2.0")
speclite_filters = pytest.importorskip("speclite.filters")
from specutils import Spectrum  # noqa: E402

from astro_galtrans import spectra  # noqa: E402

FLUX = u.Unit("1e-17 erg / (s cm2 Angstrom)")
WAVELENGTH = np.arange(2900.0, 11500.0, 3.0)


def make(flux, noise=None, wavelength=WAVELENGTH, **kwargs):
    if noise is not None:
        kwargs["uncertainty"] = StdDevUncertainty(np.broadcast_to(noise, wavelength.shape).copy())
    return Spectrum(flux=flux * FLUX, spectral_axis=wavelength * u.AA, **kwargs)


def power_law(slope):
    return 50 * (WAVELENGTH / 5000) ** slope


@pytest.mark.parametrize("survey", ["sdss", "cfhtls-wide"])
def test_flat_f_nu_has_one_magnitude(survey):
    flux = (20 * u.ABmag).to(FLUX, u.spectral_density(WAVELENGTH * u.AA)).value
    found = spectra.synthetic_photometry(make(flux, 0.01), survey)
    np.testing.assert_allclose(found["magnitude"].value, 20, atol=2e-4)
    np.testing.assert_allclose(found["coverage"], 1, atol=1e-3)


@pytest.mark.parametrize("slope", [-2.5, 0.5, 3])
def test_power_laws_agree_with_speclite(slope):
    filters = speclite_filters.load_filters("sdss2010-*")
    theirs = filters.get_ab_magnitudes(power_law(slope) * FLUX, WAVELENGTH * u.AA)[0]
    ours = spectra.synthetic_photometry(make(power_law(slope), 0.01), "sdss")
    np.testing.assert_allclose(ours["magnitude"].value, [float(m) for m in theirs], atol=2e-3)


@pytest.mark.parametrize("name", ["0528-52022-0137", "2095-53474-0355", "2515-54180-0377"])
def test_real_spectra_have_the_fluxes_that_sdss_synthesised(name):
    path = shared_data("sdss_spectra", f"spec-{name}.fits")
    with fits.open(path) as hdus:
        theirs = hdus[2].data["SPECTROFLUX"][0]  # nanomaggies
    ours = spectra.synthetic_photometry(spectra.read(path)[0].arms[0], "sdss")
    np.testing.assert_allclose(ours["flux"].value[1:4], theirs[1:4], rtol=0.005)
    assert np.isnan(ours["magnitude"].value[[0, 4]]).all()  # u and z reach beyond the spectrograph
    np.testing.assert_allclose(ours["coverage"][[0, 4]], [0.1, 0.75], atol=0.1)


def test_uncertainty_is_the_scatter(rng):
    sigma = np.linspace(3, 9, len(WAVELENGTH))
    flux = [make(power_law(0) + rng.normal(0, sigma), sigma) for _ in range(120)]
    found = [spectra.synthetic_photometry(spectrum, "sdss", bands="gr") for spectrum in flux]
    magnitudes = np.array([f["magnitude"].value for f in found])
    np.testing.assert_allclose(magnitudes.std(axis=0), found[0]["uncertainty"].value, rtol=0.25)


def test_what_is_not_covered_is_not_made_up():
    part = WAVELENGTH > 4500
    flux = (20 * u.ABmag).to(FLUX, u.spectral_density(WAVELENGTH * u.AA)).value
    spectrum = make(flux[part], 0.01, WAVELENGTH[part])
    paddings = None, "zero", "edge"
    none, zero, edge = (spectra.synthetic_photometry(spectrum, "sdss", bands="ugr", padding=p) for p in paddings)
    assert np.isnan(none["magnitude"].value).tolist() == [True, True, False]
    assert 0.5 < none["coverage"][1] < 0.95 and none["coverage"][0] < 0.01
    missing = 2.5 * np.log10(none["coverage"][1])  # of a source of flat f_nu exactly this share is seen
    assert zero["magnitude"].value[1] == pytest.approx(20 - missing, abs=2e-3)
    assert edge["magnitude"].value[1] == pytest.approx(20, abs=0.08)  # constant in wavelength, and not in frequency
    assert spectra.synthetic_photometry(spectrum, "sdss", coverage=0.5)["flux"][1] == zero["flux"][1]


def test_a_hole_is_not_covered():
    mask = (WAVELENGTH > 6000) & (WAVELENGTH < 6400)
    few = (WAVELENGTH > 4700) & (WAVELENGTH < 4710)
    found = spectra.synthetic_photometry(make(power_law(0), 0.01, mask=mask | few), "sdss", bands="gr")
    assert found["coverage"][0] > 0.99
    assert found["coverage"][1] < 0.8
    assert np.isnan(found["magnitude"].value).tolist() == [False, True]


def test_negative_flux_has_no_magnitude():
    found = spectra.synthetic_photometry(make(-power_law(0), 1.0), "sdss", bands="r")
    assert np.isnan(found["magnitude"].value[0])
    assert found["flux"].value[0] < 0


def test_colours_of_image_and_spectrum():
    spectrum = make(power_law(1.0), 0.5)
    mags = dict(zip("ugriz", spectra.synthetic_photometry(spectrum, "sdss")["magnitude"].value - 1.3, strict=True))
    same = spectra.colour_check(spectrum, "sdss", mags)
    assert list(same["colour"]) == ["u - g", "g - r", "r - i", "i - z"]
    np.testing.assert_allclose(same["difference"].value, 0, atol=1e-9)
    assert np.abs(same["significance"]).max() < 1e-6
    mags["r"] += 0.3
    off = spectra.colour_check(spectrum, "sdss", mags, {"r": 0.04}, calibration=0.03)
    np.testing.assert_allclose(off["difference"].value, [0, -0.3, 0.3, 0], atol=1e-9)
    assert off["uncertainty"].value[1] == pytest.approx(0.05, rel=0.01)
    assert off["significance"][1] == pytest.approx(-6, rel=0.01)


def test_bad_photometry():
    spectrum = make(power_law(0), 1.0)
    counts = Spectrum(flux=power_law(0) * u.adu, spectral_axis=WAVELENGTH * u.AA)
    with pytest.raises(ValueError, match="calibrated flux, not flux in adu"):
        spectra.synthetic_photometry(counts, "sdss")
    with pytest.raises(ValueError, match="padding"):
        spectra.synthetic_photometry(spectrum, "sdss", padding="template")
    with pytest.raises(ValueError, match="coverage is a share"):
        spectra.synthetic_photometry(spectrum, "sdss", coverage=2)
    with pytest.raises(ValueError, match="no band"):
        spectra.synthetic_photometry(spectrum, "cfhtls-wide", bands="gy")
    with pytest.raises(ValueError, match="two bands or more"):
        spectra.colour_check(spectrum, "sdss", {"g": 20.0})
