"""Redshifts of spectra: real ones against SDSS' pipeline, made ones against what they were made with."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from scipy.optimize import nnls

from helpers import shared_data

specutils = pytest.importorskip("specutils", minversion="2.0")
from specutils import Spectrum  # noqa: E402

from astro_galtrans import spectra  # noqa: E402
from astro_galtrans.spectra.correlation import chi2_gain, correlate, non_negative, smooth_basis  # noqa: E402
from astro_galtrans.spectra.samples import air_to_vacuum, samples  # noqa: E402

FLUX = u.Unit("1e-17 erg / (s cm2 Angstrom)")
SDSS = [
    "spec-0528-52022-0137.fits",
    "spec-1039-52707-0207.fits",
    "spec-2095-53474-0355.fits",
    "spec-2515-54180-0377.fits",
    "spec-2618-54506-0310.fits",
]
WAVELENGTH = 10 ** np.arange(np.log10(3800), np.log10(9200), 1e-4)
#: Wavelengths in vacuum from the line lists of NIST, and peaks in units of the noise.
GAS = (3727.09, 7), (3729.88, 10), (4341.69, 4), (4862.69, 9), (4960.30, 8), (5008.24, 24), (6564.61, 27)


def gas_galaxy(z, rng, wavelength=WAVELENGTH, noise=1.0):
    """Lines of an HII region over a power law."""
    rest = wavelength / (1 + z)
    flux = 3 * (rest / 5000) ** -1.0
    for line, strength in GAS:
        flux += strength * np.exp(-0.5 * ((rest - line) / (line * 130 / 299792.458)) ** 2)
    return flux + rng.normal(0, noise, len(wavelength))


def make(flux, wavelength=WAVELENGTH, noise=1.0, **kwargs):
    sigma = StdDevUncertainty(np.full(len(flux), noise))
    kwargs = {"uncertainty": sigma, "meta": {"header": {"VACUUM": True}}} | kwargs
    return Spectrum(flux=flux * FLUX, spectral_axis=wavelength * u.AA, **kwargs)


def sdss(name):
    path = shared_data("sdss_spectra", name)
    with fits.open(path) as hdus:
        z = float(hdus[2].data["Z"][0])
    return spectra.read(path)[0].arms[0], z


# -- real spectra


@pytest.mark.parametrize("name", SDSS)
def test_real_spectra_have_the_redshift_that_sdss_measured(name):
    spectrum, z = sdss(name)
    found = spectra.redshift(spectrum)
    assert abs(found.z - z) < 5e-4
    assert found.flag == 0
    assert found.r > 10
    assert found.medium == "vacuum"


def test_what_kind_of_galaxy_it_is():
    kinds = [spectra.redshift(sdss(name)[0], z_range=(0, 0.1)).kind for name in (SDSS[2], SDSS[3])]
    assert kinds == ["emission", "absorption"]  # SDSS calls the first a starburst


@pytest.mark.parametrize(("name", "z_new"), [(SDSS[0], 0.4), (SDSS[3], 0.25)])
def test_real_spectra_further_away_and_fainter(name, z_new, rng):
    spectrum, z = sdss(name)
    wavelength = spectrum.spectral_axis.value.astype(float)
    flux = np.interp(wavelength, wavelength * (1 + z_new) / (1 + z), spectrum.flux.value, left=np.nan)
    sigma = np.nanmedian(flux) / 4 * np.clip(np.interp(wavelength, [3800, 5000, 8000, 9200], [2, 1, 1, 2]), 1, 2)
    faint = make(flux + rng.normal(0, sigma), wavelength, uncertainty=StdDevUncertainty(sigma))
    found = spectra.redshift(faint)
    assert found.flag == 0
    assert abs(found.z - z_new) < 0.0015


# -- made spectra


@pytest.mark.parametrize("z", [0.0, 0.123456, 0.4, 0.71])
def test_lines_give_their_redshift(z, rng):
    found = spectra.redshift(make(gas_galaxy(z, rng)))
    assert abs(found.z - z) < 5 * found.uncertainty
    assert found.uncertainty < 1e-4
    assert (found.flag, found.kind) == (0, "emission")


def test_an_elliptical_of_other_templates(rng):
    galsim = pytest.importorskip("galsim")
    sed = galsim.SED("CWW_E_ext.sed", wave_type="Ang", flux_type="flambda")
    rest, flux = sed.wave_list * 10, [sed(w) * 1239.8 / w for w in sed.wave_list]  # photons to energy, up to a factor
    there = np.interp(WAVELENGTH / 1.3, rest, np.array(flux))
    there = there / there.mean() * 20
    found = spectra.redshift(make(there + rng.normal(0, 1, len(there))))
    assert abs(found.z - 0.3) < 0.005  # these templates have no finer detail
    assert found.kind == "absorption"


@pytest.mark.slow
def test_uncertainty_is_the_scatter():
    rng = np.random.default_rng(5)
    stars = spectra.default_templates()[0]
    clean = stars(WAVELENGTH / 1.2)
    clean *= 4 / clean.mean()
    found = [spectra.redshift(make(clean + rng.normal(0, 1, len(clean))), z_range=(0.15, 0.25)) for _ in range(60)]
    pulls = np.array([(f.z - 0.2) / f.uncertainty for f in found])
    assert abs(pulls.mean()) < 3 / np.sqrt(60)
    assert 0.75 < pulls.std() < 1.3  # the spread of 60 is known to 9 %


# -- when a redshift is accepted


def lines(z, energy):
    """Lines of the package's own gas, of a known sum of squared signal-to-noise, which is what chi-squared can gain."""
    flux = np.nan_to_num(spectra.default_templates()[3](WAVELENGTH / (1 + z)))
    return flux * np.sqrt(energy / (flux**2).sum())


def test_noise_alone_is_weak():
    """Over a range of redshifts there are some thousand trials, so that noise gains 15 to 25 in most spectra."""
    rng = np.random.default_rng(3)
    found = [spectra.redshift(make(5 + rng.normal(0, 1, len(WAVELENGTH)))) for _ in range(16)]
    assert all(spectra.Flag.WEAK in each.flag for each in found)
    assert sum(each.delta_chi2 > 18 for each in found) > 3  # a threshold of 18 would let many of them through


def test_faint_lines_of_known_redshift_are_not_weak():
    rng = np.random.default_rng(4)
    gains = []
    for z in rng.uniform(0.05, 0.7, 12):
        clean = lines(z, 50)
        found = spectra.redshift(make(3 + clean + rng.normal(0, 1, len(clean))))
        gains.append(found.delta_chi2)
        if found.delta_chi2 > 33:  # noise takes some below what 50 promises
            assert spectra.Flag.WEAK not in found.flag and abs(found.z - z) < 1e-3
    assert np.sum(np.array(gains) > 33) > 9 and min(gains) < 45


@pytest.mark.parametrize(("energy", "weak"), [(29, True), (33, False)])
def test_lines_are_weak_below_five_and_a_half_sigma(energy, weak):
    found = spectra.redshift(make(3 + lines(0.2, energy)))  # without noise: the gain is the energy, to 4 %
    assert found.delta_chi2 == pytest.approx(energy, rel=0.04)
    assert (spectra.Flag.WEAK in found.flag) == weak


@pytest.mark.parametrize(("second", "competing"), [(50, True), (46, False)])
def test_peaks_compete_if_chi2_tells_them_apart_by_less_than_12(second, competing):
    found = spectra.redshift(make(3 + lines(0.2, 60) + lines(0.33, second)))
    assert found.margin == pytest.approx(60 - second, abs=1)
    assert (spectra.Flag.COMPETING in found.flag) == competing


@pytest.mark.parametrize(("energy", "kept"), [(7, False), (12, True)])
def test_templates_of_less_than_three_sigma_are_left_out(energy, kept):
    stars = spectra.default_templates()[0](WAVELENGTH / 1.2)
    found = spectra.redshift(make(5 * stars / stars.mean() + lines(0.2, energy)))
    assert set(found.amplitudes) == ({"lrg", "metal-poor HII"} if kept else {"lrg"})


def test_two_galaxies_in_one_fibre_compete(rng):
    found = spectra.redshift(make(gas_galaxy(0.11, rng, noise=0.7) + gas_galaxy(0.29, rng, noise=0.7)))
    assert spectra.Flag.COMPETING not in found.flag  # told apart by more than noise, though the second is there:
    assert np.abs(found.peaks["z"][:2] - np.array([[0.11], [0.29]])).min(axis=1).max() < 0.001
    faint = [0.15 * gas_galaxy(z, rng, noise=0) for z in (0.11, 0.29)]
    found = spectra.redshift(make(sum(faint) + rng.normal(0, 1, len(WAVELENGTH))))
    assert found.flag != 0
    assert found.warnings


def test_a_redshift_outside_the_range_is_flagged_or_an_edge(rng):
    faint = 0.1 * gas_galaxy(0.4, rng, noise=1.0) + rng.normal(0, 1, len(WAVELENGTH))
    found = spectra.redshift(make(faint), z_range=(0, 0.2))
    assert found.flag != 0


def test_result_holds_the_fit(rng):
    found = spectra.redshift(make(gas_galaxy(0.2, rng)))
    residual = (found.fit["flux"] - found.fit["model"]) / found.fit["sigma"]
    assert abs(np.mean(residual.value**2) - found.reduced_chi2) < 0.02
    assert abs(found.reduced_chi2 - 1) < 0.15
    assert found.peaks["delta_chi2"][0] == pytest.approx(found.delta_chi2)
    assert abs(found.curve["z"][np.argmax(found.curve["delta_chi2"])] - found.z) < 3e-4
    assert str(found).startswith(f"z = {found.z:.5f} +- ")


def test_plot_draws_both_panels(rng):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    axes = spectra.redshift(make(gas_galaxy(0.2, rng))).plot()
    assert len(axes) == 2 and len(axes[0].lines) > 2
    pyplot.close("all")


# -- what does not matter to the redshift


def test_masked_pixels_do_not_matter(rng):
    flux = gas_galaxy(0.2, rng)
    mask = np.zeros(len(flux), bool)
    mask[500:520] = mask[2000] = True
    clean = spectra.redshift(make(flux, mask=mask))
    flux[mask] = 1e6
    dirty = spectra.redshift(make(flux, mask=mask))
    flux[mask] = np.nan
    unmasked = spectra.redshift(make(flux))
    assert clean.z == dirty.z == unmasked.z


def test_kinds_of_uncertainty_agree(rng):
    flux = gas_galaxy(0.2, rng, noise=2)
    kinds = StdDevUncertainty(np.full(len(flux), 2.0)), VarianceUncertainty(np.full(len(flux), 4.0))
    kinds += (InverseVariance(np.full(len(flux), 0.25)),)
    found = [spectra.redshift(make(flux, uncertainty=kind)) for kind in kinds]
    assert found[0].z == pytest.approx(found[1].z, abs=1e-12) == pytest.approx(found[2].z, abs=1e-12)
    assert found[0].uncertainty == pytest.approx(found[2].uncertainty)


def test_without_uncertainty_noise_is_estimated(rng):
    found = spectra.redshift(make(gas_galaxy(0.2, rng, noise=2), uncertainty=None))
    assert found.noise == "estimated"
    assert abs(found.z - 0.2) < 2e-4
    assert found.reduced_chi2 == pytest.approx(1, abs=0.15)


def test_frequencies_and_janskys_serve_too(rng):
    spectrum = make(gas_galaxy(0.2, rng))
    frequency = spectrum.spectral_axis.to(u.Hz, u.spectral())[::-1]
    flux = spectrum.flux.to(u.mJy, u.spectral_density(spectrum.spectral_axis))[::-1]
    sigma = (1 * FLUX).to(u.mJy, u.spectral_density(spectrum.spectral_axis))[::-1]
    other = Spectrum(flux=flux, spectral_axis=frequency, uncertainty=StdDevUncertainty(sigma))
    one, two = spectra.redshift(spectrum), spectra.redshift(other)
    assert one.z == pytest.approx(two.z, abs=1e-9)
    assert one.uncertainty == pytest.approx(two.uncertainty, rel=1e-6)
    assert two.medium == "vacuum (assumed)"


def test_arms_are_fitted_together(rng):
    whole = spectra.redshift(make(gas_galaxy(0.2, rng)))
    flux = whole.fit["flux"].value
    arms = [make(flux[part], WAVELENGTH[part]) for part in (slice(None, 1800), slice(1800, None))]
    assert spectra.redshift(arms[::-1]).z == pytest.approx(whole.z, abs=1e-10)


def test_air_is_recognised_and_undone(rng):
    from specutils.utils.wcs_utils import vac_to_air

    flux = gas_galaxy(0.2, rng)
    in_air = vac_to_air(WAVELENGTH * u.AA).value
    z = spectra.redshift(make(flux)).z
    for header, medium in (({"AIRORVAC": "air"}, "auto"), ({"CTYPE1": "AWAV"}, "auto"), ({}, "air")):
        found = spectra.redshift(make(flux, in_air, meta={"header": header}), medium=medium)
        assert found.medium == "air"
        assert abs(found.z - z) < 5e-6
    assert abs(spectra.redshift(make(flux, in_air)).z - z) > 2e-4  # said to be in vacuum


def test_air_to_vacuum_is_that_of_line_lists():
    """Na D and [OIII] of NIST, and the way back through specutils."""
    np.testing.assert_allclose(air_to_vacuum([5889.951, 5895.924, 5006.843]), [5891.583, 5897.558, 5008.240], atol=2e-3)
    from specutils.utils.wcs_utils import vac_to_air

    air = np.linspace(3000, 20000, 50)
    np.testing.assert_allclose(vac_to_air(air_to_vacuum(air) * u.AA).value, air, rtol=1e-7)
    assert air_to_vacuum(1500.0) == 1500.0


def test_own_templates(rng):
    rest = np.linspace(1500, 10000, 30000)
    line = spectra.Template.from_arrays("line", rest, np.exp(-0.5 * ((rest - 5000) / 3) ** 2), "emission")
    flux = 10 * np.exp(-0.5 * ((WAVELENGTH / 1.3 - 5000) / 3) ** 2) + rng.normal(0, 1, len(WAVELENGTH))
    found = spectra.redshift(make(flux), templates=[line])
    assert abs(found.z - 0.3) < 5 * found.uncertainty
    assert found.template == "line" and set(found.amplitudes) == {"line"}


# -- the algebra


def test_correlation_is_least_squares_at_every_lag(rng):
    n, lags = 300, 40
    weights = rng.uniform(0.5, 2, n) * (rng.random(n) > 0.1)
    flux = rng.normal(0, 1, n) + 5
    templates = rng.normal(0, 1, (3, n + lags - 1)).cumsum(axis=1)
    basis = smooth_basis(3.6 + 1e-4 * np.arange(n), weights)
    matrix, vector = correlate(weights, flux, templates, basis, lags)
    power = np.stack([(weights * templates[:, lag : lag + n] ** 2).sum(axis=1) for lag in range(lags)])
    gain = chi2_gain(matrix, vector, non_negative(matrix, vector, power, tolerance=1e-12))
    root = np.sqrt(weights)
    smooth = (basis.functions * root).T
    for lag in (0, 17, 39):
        free = np.hstack([smooth, -smooth])  # scipy's amplitudes are none negative: the continuum gets both signs
        design = np.hstack([(templates[:, lag : lag + n] * root).T, free])
        with_templates, without = nnls(design, flux * root)[1] ** 2, nnls(free, flux * root)[1] ** 2
        assert gain[lag] == pytest.approx(without - with_templates, rel=1e-5, abs=1e-6)


# -- bad input


def bad_spectra():
    flux = np.ones(len(WAVELENGTH)) + np.arange(len(WAVELENGTH)) % 7
    everything = np.ones(len(flux), bool)
    yield "masked", make(flux, mask=everything), "only 0 of 3841 pixels"
    yield "nan", make(flux * np.nan), "only 0 of 3841 pixels"
    yield "no weight", make(flux, uncertainty=InverseVariance(np.zeros(len(flux)))), "only 0 of 3841 pixels"
    yield "nan weight", make(flux, uncertainty=StdDevUncertainty(flux * np.nan)), "only 0 of 3841 pixels"
    yield "short", make(flux[:70], WAVELENGTH[:70]), "covers 3800.0 to 3860.9 Angstrom only"
    yield "constant", make(np.full(len(flux), 3.0)), "the same"
    yield "plane", Spectrum(flux=np.ones((2, 100)) * FLUX, spectral_axis=np.arange(4000, 4100) * u.AA), r"\(2, 100\)"
    yield "pixels", Spectrum(flux=flux * FLUX, spectral_axis=np.arange(len(flux)) * u.pix), "axis is in pix"
    yield "infrared", make(flux, WAVELENGTH * 10), "templates cover"
    yield "empty", [], "no spectrum in the list"


@pytest.mark.parametrize(("_name", "spectrum", "message"), list(bad_spectra()))
def test_bad_spectra_say_why(_name, spectrum, message):
    with pytest.raises(ValueError, match=message):
        spectra.redshift(spectrum)


def test_other_bad_input(rng):
    good = make(gas_galaxy(0.2, rng))
    with pytest.raises(TypeError, match=r"specutils.Spectrum is needed, not ndarray"):
        spectra.redshift(np.ones(100))
    for z_range in ((0.5, 0.1), (-2, 1), (0, np.inf)):
        with pytest.raises(ValueError, match="z_range"):
            spectra.redshift(good, z_range=z_range)
    with pytest.raises(ValueError, match="templates have to be"):
        spectra.redshift(good, templates=[])
    with pytest.raises(ValueError, match="medium"):
        spectra.redshift(good, medium="water")
    with pytest.raises(ValueError, match="different flux units"):
        spectra.redshift([good, Spectrum(flux=np.ones(100) * u.adu, spectral_axis=np.arange(4000, 4100) * u.AA)])
    with pytest.raises(ValueError, match="increasing wavelengths"):
        spectra.Template.from_arrays("x", np.arange(10.0)[::-1], np.ones(10))


def test_wavelengths_that_turn_are_refused():
    class Turning:
        """What a reader of one's own may produce; `specutils.Spectrum` itself refuses it."""

        flux = np.ones(100) * FLUX
        spectral_axis = np.r_[4000:4060, 4050:4090] * u.AA
        uncertainty = mask = None
        meta = {}

    with pytest.raises(ValueError, match="neither increases nor decreases"):
        samples(Turning())
