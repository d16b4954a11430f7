"""Peak and total fluxes: what they are, what they tell, and what a translation of known effect does to them."""

import numpy as np
import pytest
from photutils.aperture import CircularAperture

from astro_galtrans.fidelity.redshift.peaks import peak_fidelity, peaks_and_totals, signal_to_noise
from astro_galtrans.stamps import Stamps
from astro_galtrans.statistics.bootstrap import Bootstrap
from helpers import aperture_sum, make_survey

BANDS = "g", "r", "i"
GRID = np.linspace(0, 1, 101)
SIZE, SCALE = 34, 0.25  # 8.5 arcsec
QUICK = dict(epochs=8, batch_size=32)
SURVEY = make_survey(BANDS, SCALE, 0.5)
OPTIONS = dict(bootstrap=Bootstrap(50), progress=False)


def make_stamps(z, noise, rng, gain=1.0):
    axis = (np.arange(SIZE) - (SIZE - 1) / 2) * SCALE
    profile = 40 * np.exp(-0.5 * (axis**2 + axis[:, None] ** 2))
    clean = 10 ** (0.4 * np.outer(z - 0.5, [-2.0, 0.0, 1.0]))[:, :, None, None] * profile
    return (gain * clean + rng.normal(0, noise, clean.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def galaxies():
    rng = np.random.default_rng(3)
    z = rng.uniform(0.2, 0.8, 500)
    return make_stamps(z, 0.5, rng), z


def test_magnitudes_are_those_of_photutils(galaxies):
    stamps = galaxies[0][:5]
    measured = peaks_and_totals(Stamps(stamps, SURVEY))
    centre = ((SIZE - 1) / 2,) * 2
    aperture = CircularAperture(centre, 3.0 / SCALE)
    for stamp, peak, total in zip(stamps, *(measured[kind][0] for kind in ("peak", "total")), strict=True):
        flux = [aperture_sum(plane, aperture)[0] for plane in stamp]
        # asinh magnitudes are Pogson's where the flux is far above the softening
        np.testing.assert_allclose(total, -2.5 * np.log10(flux), atol=0.01)
        np.testing.assert_allclose(peak, -2.5 * np.log10(stamp.max(axis=(1, 2))), atol=0.01)


def test_signal_to_noise_of_a_known_flux(galaxies):
    area = np.pi * (3.0 / SCALE) ** 2
    flux = 40 * 2 * np.pi * (1 - np.exp(-4.5)) / SCALE**2  # within 3 arcsec of a Gaussian of 1 arcsec
    found = signal_to_noise(Stamps(galaxies[0], SURVEY))
    np.testing.assert_allclose(np.median(found), flux / (0.5 * np.sqrt(area)), rtol=0.02)


def test_scatter_and_bias_of_a_known_change(galaxies):
    """A third of noise more, and a fifth of flux less in all bands: magnitudes move, colours only scatter."""
    stamps, z = galaxies
    rng = np.random.default_rng(4)
    extra = rng.normal(0, 0.05, (len(z), 3, 1, 1))  # of the whole galaxy, in each band
    changed = (0.8 * stamps * (1 + extra)).astype(np.float32)
    real = Stamps(stamps, SURVEY)
    result = peak_fidelity(real, real, {"changed": changed, "same": stamps[:, None]}, z, grid=GRID, folds=0, **OPTIONS)
    table = result["statistics"]
    same = table[(table["model"] == "same") & np.isin(table["statistic"], ["bias", "scatter"])]
    assert len(same) == 2 * 2 * 5 and (same["value"] == 0).all()
    of_model = table[table["model"] == "changed"]
    of_colours = ~np.isin(of_model["band"], BANDS)
    values = {
        name: [of_model["value"][(of_model["statistic"] == name) & chosen] for chosen in (~of_colours, of_colours)]
        for name in ("bias", "scatter")
    }
    np.testing.assert_allclose(values["bias"][0], -2.5 * np.log10(0.8), atol=0.015)
    np.testing.assert_allclose(values["bias"][1], 0, atol=0.015)
    np.testing.assert_allclose(values["scatter"][0], 1.0857 * 0.05, rtol=0.15)
    np.testing.assert_allclose(values["scatter"][1], 1.0857 * 0.05 * np.sqrt(2), rtol=0.15)
    colours = of_model[of_colours & (of_model["statistic"] == "bias")]
    assert list(colours["band"]) == ["g - r", "r - i"] * 2
    scatter = of_model[of_model["statistic"] == "scatter"]
    assert (scatter["low"] <= scatter["value"]).all() and (of_model["n"] == len(z)).all()
    # of a bright total the error is 1.0857 sigma / flux
    flux, sigma = stamps[:, 1].sum(axis=(1, 2)), 0.5 * np.sqrt(np.pi) * 3.0 / SCALE
    noise = result.value("total", "sky_noise", model="changed", band="r")[0]
    np.testing.assert_allclose(noise, np.median(1.0857 * sigma / flux), rtol=0.02)


def test_information_of_peaks(galaxies):
    """Peaks with a clear colour tell much, shuffled ones nothing; a total, less noisy, tells no less than the peak."""
    stamps, z = galaxies
    shuffled = np.random.default_rng(5).permutation(stamps)
    real = Stamps(stamps, SURVEY)
    result = peak_fidelity(real, real, {"shuffled": shuffled}, z, grid=GRID, folds=2, **QUICK, **OPTIONS)
    table = result["statistics"]
    table = {(str(r["model"]), str(r["quantity"])): r for r in table[table["statistic"] == "information"]}
    assert len(table) == 6
    for kind in ("peak", "total"):
        assert table["source", kind]["value"] == table["target", kind]["value"] > 0.5
        assert abs(table["shuffled", kind]["value"]) < 0.15
    assert table["target", "total"]["high"] > table["target", "peak"]["low"]
    pytest.importorskip("matplotlib")
    assert {name for name, _ in result.figures()} == {"peak_information", "peak_scatter"}


def test_galaxies_to_train_on_are_not_measured(galaxies):
    stamps, z = galaxies
    real, z = Stamps(stamps, SURVEY), np.where(np.arange(500) == 499, np.nan, z)
    result = peak_fidelity(real, real, stamps, z, train=np.arange(300), test=np.arange(300, 500), **QUICK, **OPTIONS)
    table = result["statistics"]
    assert set(table["n"]) == {199}
    assert (table["value"][table["statistic"] == "information"] > 0.3).all()
    assert result.meta["training"] == 300 and result.meta["without redshift"] == 1
