"""Fluxes of translations that agree with the image they were made from. The truth is drawn by GalSim."""

from copy import deepcopy

import numpy as np
import pytest
from astropy.nddata import CCDData
from photutils.aperture import CircularAperture

from astro_galtrans import (
    Translator,
    aperture_covariance,
    aperture_error,
    consistency,
    list_translators,
    load_translator,
    translate,
)
from astro_galtrans.consistency import Consistency
from astro_galtrans.demo import sample
from astro_galtrans.exceptions import CheckpointError
from astro_galtrans.models import checkpoint
from astro_galtrans.models.shipped import find_weights
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
from astro_galtrans.stars import star_image
from astro_galtrans.training.colours import colour_terms
from helpers import make_wcs

galsim = pytest.importorskip("galsim")

PIXEL, SCALE, SIDE = 0.396, 2, 96
BANDS, NOISE = ("g", "r"), (0.02, 0.03)
TERMS = {"bands": ["g", "r"], "matrix": [[0.95, 0.05], [0.0, 1.0]], "scatter": [0.01, 0.01]}
CARD = {
    "calibration": {"colour_terms": TERMS},
    "source": {"zeropoint": 22.5, "pixel_scale": PIXEL, "electrons": [1000.0, 1000.0]},
    "target": {"zeropoint": 30.0, "fwhm": [0.82, 0.77]},
}
TO_TARGET = 10 ** (0.4 * 7.5)
#: a core and wings as SDSS has them, 12 % of the light in a profile that is 2.7 times as wide
PSFS = [0.88 * galsim.Moffat(3.2, fwhm=f) + 0.12 * galsim.Moffat(2.5, fwhm=2.7 * f) for f in (1.25, 1.1)]
TARGET_PSFS = [galsim.Moffat(3.5, fwhm=f) for f in CARD["target"]["fwhm"]]


def drawn(profile, n, pixel):
    return profile.drawImage(nx=n, ny=n, scale=pixel).array.astype(float)


def psf_images(side=51):
    return [drawn(psf, side, PIXEL) for psf in PSFS]


def scene(flux, rng, galaxy=None):
    """Image of a source of fluxes in the target's bands (nanomaggies), and the target's without noise."""
    galaxy = galaxy or galsim.Exponential(half_light_radius=1.0).shear(q=0.6, beta=0.4 * galsim.radians)
    fluxes = np.array(TERMS["matrix"]) @ flux
    source = [f * drawn(galsim.Convolve(galaxy, p), SIDE, PIXEL) for f, p in zip(fluxes, PSFS, strict=True)]
    source = np.array([plane + s * rng.normal(size=plane.shape) for plane, s in zip(source, NOISE, strict=True)])
    fine = [TO_TARGET * f * drawn(galsim.Convolve(galaxy, p), SCALE * SIDE, PIXEL / SCALE)
            for f, p in zip(flux, TARGET_PSFS, strict=True)]  # fmt: skip
    return source, np.array(fine)


def changed(wrong, source, psf=None, mask=None):
    result = wrong.astype(np.float32)
    Consistency(CARD, BANDS, BANDS).apply(result, source, psf or psf_images(), NOISE, mask)
    return result


def flux_within(plane, diameter):
    y, x = np.indices(plane.shape) - (np.array(plane.shape)[:, None, None] - 1) / 2
    return plane[np.hypot(y, x) < diameter / 2 / (PIXEL / SCALE)].sum()


@pytest.mark.parametrize("error", [-0.08, 0.08])
def test_bright_fluxes_are_those_of_the_image_and_the_shape_is_the_network_s(rng, error):
    source, truth = scene([200.0, 400.0], rng)
    result = changed((1 + error) * truth, source)
    for plane, true in zip(result, truth, strict=True):
        for diameter in (3, 6):
            # a tenth of the error stays: colour terms are known to 1 %, and the network's flux to 5 %
            assert flux_within(plane, diameter) == pytest.approx(flux_within(true, diameter), rel=0.012)
        assert gaussian_fwhm(plane[1:, 1:]) == pytest.approx(gaussian_fwhm(true[1:, 1:]), rel=0.01)


def test_a_right_translation_stays_as_it_is(rng):
    source, truth = scene([200.0, 400.0], rng)
    result = changed(truth, source)
    assert [flux_within(p, 3) for p in result] == pytest.approx([flux_within(p, 3) for p in truth], rel=0.004)


def test_faint_sources_and_sky_are_left_to_the_network(rng):
    source, truth = scene([0.3, 0.5], rng)  # signal-to-noise ratio of about two
    result = changed(1.08 * truth, source)
    assert flux_within(result[1], 3) == pytest.approx(1.08 * flux_within(truth[1], 3), rel=0.02)
    source, truth = scene([200.0, 400.0], rng)
    corner = np.s_[:, :30, :30]
    wrong = truth + rng.normal(0, 0.5, truth.shape)
    np.testing.assert_allclose(changed(wrong, source)[corner], wrong[corner], rtol=0.05, atol=1e-4)


def test_masked_pixels_and_bands_of_unknown_psf_stay(rng):
    source, truth = scene([200.0, 400.0], rng)
    wrong, mask = (1.1 * truth).astype(np.float32), np.zeros(truth.shape, bool)
    mask[1, 90:100] = True
    result = changed(wrong, source, psf=[None, psf_images()[1]], mask=mask)
    np.testing.assert_array_equal(result[0], wrong[0])
    np.testing.assert_array_equal(result[1][mask[1]], wrong[1][mask[1]])
    assert abs(result[1] - wrong[1]).max() > 0.03 * wrong[1].max()


def test_large_images_are_the_same_block_by_block(rng, monkeypatch):
    source, truth = scene([200.0, 400.0], rng)
    whole = changed(1.1 * truth, source)
    monkeypatch.setattr(consistency, "BLOCK", 24)
    np.testing.assert_allclose(changed(1.1 * truth, source), whole, atol=1e-3 * whole.max(), rtol=0)


def test_a_source_that_is_sharper_than_the_target(rng, monkeypatch):
    sharp = [galsim.Moffat(3.0, fwhm=0.6)] * 2
    monkeypatch.setitem(globals(), "PSFS", sharp)
    source, truth = scene([200.0, 400.0], rng)
    result = changed(1.08 * truth, source)
    assert flux_within(result[1], 3) == pytest.approx(flux_within(truth[1], 3), rel=0.012)


# --- the PSF of stars ---


def field(rng, flux, stars=25, noise=NOISE[1]):
    """Plane of stars off the pixels' centres, each in a square of its own."""
    side = 45
    grid = int(np.ceil(np.sqrt(stars)))
    plane = rng.normal(0, noise, (grid * side, grid * side))
    for k in range(stars):
        star = PSFS[1].shift(*rng.uniform(-0.2, 0.2, 2))
        y, x = side * (k // grid), side * (k % grid)
        plane[y : y + side, x : x + side] += flux * drawn(star, side, PIXEL)
    return plane


def test_stars_show_the_psf_with_its_wings(rng):
    found = star_image(field(rng, 200.0), np.ones((225, 225), bool), NOISE[1], PIXEL)
    truth = drawn(PSFS[1], len(found), PIXEL)
    radius = np.hypot(*(np.indices(found.shape) - len(found) // 2)) * PIXEL
    truth -= np.median(truth[radius > 5.2])  # what is at the edge counts as sky
    for limit in (1, 1.5, 3):
        assert found[radius < limit].sum() == pytest.approx((truth / truth.sum())[radius < limit].sum(), abs=0.006)
    assert gaussian_fwhm(found) == pytest.approx(gaussian_fwhm(truth), rel=0.01)


@pytest.mark.parametrize(("flux", "stars"), [(200.0, 4), (12.0, 6)])
def test_few_or_faint_stars_show_no_wings(rng, flux, stars):
    plane = field(rng, flux, stars)
    assert star_image(plane, np.ones(plane.shape, bool), NOISE[1], PIXEL) is None


# --- translations ---


@pytest.fixture(scope="module")
def told():
    """A shipped translator whose fluxes were changed by 20 %, as a network's are in images unlike its training."""
    found = load_translator("srgan-sdss-cfhtls", device="cpu")
    card = dict(found.card)
    card["calibration"] = dict(card["calibration"]) | {"flux": [1.2 * f for f in card["calibration"]["flux"]]}
    return Translator(checkpoint.Checkpoint(found.model, card, found.checkpoint.sha256))


def bands_of(rng, stars=25):
    planes = [field(rng, 200.0, stars, noise=rms) for rms in (0.055, 0.018, 0.027, 0.044, 0.22)]  # those of SDSS
    wcs = make_wcs(planes[0].shape, PIXEL)
    return {band: CCDData(plane, unit="nmgy", wcs=wcs) for band, plane in zip("ugriz", planes, strict=True)}


def test_images_with_stars_and_given_psfs_tell_fluxes(rng, told):
    image = bands_of(rng)
    plain = translate(image, told, psf=1.27)["r"]
    assert "GTFLUXES" not in plain.meta
    given = {band: drawn(PSFS[1], 51, PIXEL) for band in "ugriz"}
    for result in (translate(image, told)["r"], translate(image, told, psf=given)["r"]):
        assert result.meta["GTFLUXES"] == "u,g,r,i,z"
        # of sources of one flux in all bands, colour terms make 1.0025 in r; 0.968 of a Moffat profile is within 3"
        star = result.data[180:270, 180:270]
        assert flux_within(star, 3) / (200 * TO_TARGET) == pytest.approx(0.968 / 1.0025, rel=0.03)
    assert plain.data.max() > 1.1 * result.data.max()


def test_small_psf_images_have_no_wings_and_tell_no_fluxes(rng, told):
    result = translate(bands_of(rng, stars=1), told, psf={band: drawn(PSFS[1], 9, PIXEL) for band in "ugriz"})
    assert "GTFLUXES" not in result["r"].meta


def test_a_gaussian_has_no_wings_and_tells_no_fluxes(rng, told):
    given = {band: drawn(galsim.Gaussian(fwhm=1.1), 51, PIXEL) for band in "ugriz"}
    assert "GTFLUXES" not in translate(bands_of(rng, stars=1), told, psf=given)["r"].meta
    given = {band: drawn(galsim.Moffat(4.765, fwhm=1.1), 51, PIXEL) for band in "ugriz"}
    assert translate(bands_of(rng, stars=1), told, psf=given)["r"].meta["GTFLUXES"] == "u,g,r,i,z"


def test_a_sampler_s_fluxes_are_its_own(rng):
    given = {band: drawn(PSFS[1], 51, PIXEL) for band in "ugriz"}
    image = bands_of(rng, stars=1)
    drawn_once = translate(image, "photometric-sdss-cfhtls", psf=given, n_samples=1, seed=1)
    assert "GTFLUXES" not in drawn_once["r"].meta
    mean = load_translator("photometric-sdss-cfhtls").mean
    assert translate(image, mean, psf=given)["r"].meta["GTFLUXES"] == "u,g,r,i,z"


def with_errors(consistent):
    """A shipped translator whose card says, or does not say, how large errors are where fluxes follow the image."""
    found = load_translator("srgan-sdss-cfhtls", device="cpu")
    card = deepcopy(found.card)
    card["calibration"].pop("correlation_consistent", None)
    if consistent:
        amplitudes = 0.5 * np.array(card["calibration"]["correlation"]["amplitudes"])
        entry = {"amplitudes": amplitudes.tolist(), "between": np.eye(5).tolist()}
        card["calibration"]["correlation_consistent"] = entry
    return Translator(checkpoint.Checkpoint(found.model, card, found.checkpoint.sha256))


def test_errors_are_those_of_the_bands_whose_fluxes_follow_the_image(rng):
    image, aperture = bands_of(rng, stars=1), CircularAperture((44.5, 44.5), 15)
    widths = dict.fromkeys("ugriz", 1.25)
    drawn_in_two = widths | {band: drawn(PSFS[1], 51, PIXEL) for band in "gr"}
    for psf, bands in ((widths, ""), (drawn_in_two, "gr")):
        old, new = (translate(image, with_errors(consistent), psf=psf) for consistent in (False, True))
        assert new["r"].meta.get("GTFLUXES", "") == ",".join(bands)
        np.testing.assert_array_equal(new["r"].data, old["r"].data)
        alone, errors = (aperture_error(result, aperture, noise=False) for result in (old, new))
        # errors are linear in the amplitudes
        expected = [0.5 if band in bands else 1.0 for band in "ugriz"]
        np.testing.assert_allclose((errors / alone).value, expected, rtol=0.01)
        common = aperture_covariance(new, aperture)[0, 1]
        assert (common == 0) == bool(bands)  # the correlation between bands changed, too


@pytest.mark.parametrize("name", ["srgan-sdss-cfhtls", "swin-sdss-cfhtls"])
def test_a_bright_galaxy_s_errors_are_smaller_where_its_fluxes_follow_the_image(name):
    translator, aperture = load_translator(name), CircularAperture((111.5, 111.5), 7.6)
    given = {band: drawn(PSFS[1], 51, PIXEL) for band in "ugriz"}
    result = translate(sample("sdss"), translator, psf=given)
    for band in "gri":  # in u and z there is less signal, and colour terms of u are known to 10 % only
        error = aperture_error(result[band], aperture, noise=False)
        result[band].meta["GTCOVAR"] = translator.correlation()
        alone = aperture_error(result[band], aperture, noise=False)
        assert 0.1 * alone < error < 0.7 * alone


def test_cards_of_shipped_translators_with_colour_terms_state_these_errors():
    cards = {name: checkpoint.read_card(find_weights(name))["calibration"] for name in list_translators()}
    stated = [name for name, calibration in cards.items() if "correlation_consistent" in calibration]
    # of pairs in which the target shows less than the source there are no terms
    assert stated == [name for name, calibration in cards.items() if "colour_terms" in calibration]
    assert set(cards) - set(stated) == {"srgan-deblend-sdss"}


# --- colour terms ---


def test_terms_of_simulated_pairs_turn_magnitudes_into_each_other(tmp_path):
    settings = {"size": 16, "seed": 5}
    pairs = simulate_pairs(tmp_path / "pairs", 60, PairSettings(**settings), workers=1, progress=False)
    terms = colour_terms(pairs)
    known = load_translator("srgan-sdss-cfhtls").card["calibration"]["colour_terms"]
    flux = {
        survey: np.stack([10 ** (-0.4 * np.asarray(pairs.column(f"mag_{survey}_{b}"))) for b in "ugriz"])
        for survey in ("sdss", "cfhtls-wide")
    }
    for each in (terms, known):
        ratio = np.array(each["matrix"]) @ flux["cfhtls-wide"] / flux["sdss"]
        assert np.nanmedian(ratio, axis=1) == pytest.approx(1, abs=0.03)
        assert np.nanstd(ratio[1:], axis=1).max() < 0.04
    assert known["matrix"][1][0] == pytest.approx(terms["matrix"][1][0], abs=0.1)


def test_pairs_of_blends_tell_no_terms(tmp_path):
    settings = PairSettings("sdss", "sdss", size=16, seed=5, blends=0.5, kind="galaxy")
    assert colour_terms(simulate_pairs(tmp_path / "pairs", 32, settings, workers=1, progress=False)) is None


@pytest.mark.parametrize(
    "wrong", [{"bands": ["q"]}, {"matrix": [[1.0]]}, {"scatter": ["x"] * 5}, {"matrix": [[1e9] * 5] * 5}]
)
def test_terms_that_are_wrong_are_refused(tmp_path, wrong):
    there = checkpoint.load(find_weights("srgan-sdss-cfhtls"))
    card = {k: v for k, v in there.card.items() if k not in {"card_sha256", "tensors_sha256"}}
    terms = card["calibration"]["colour_terms"]
    card["calibration"] = dict(card["calibration"]) | {"colour_terms": dict(terms) | wrong}
    checkpoint.save(tmp_path / "mine.safetensors", there.model, card)
    with pytest.raises(CheckpointError, match="colour_terms"):
        load_translator(tmp_path / "mine.safetensors")
