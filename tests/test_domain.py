"""What is measured of an image, against scenes with known noise and PSF and against real SDSS frames."""

import json
import warnings
from functools import cache

import numpy as np
import pytest
from astropy import units as u
from astropy.convolution import Gaussian2DKernel, convolve_fft
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.testing import assert_allclose
from photutils.detection import find_peaks
from photutils.psf import fit_fwhm
from scipy.optimize import brentq
from scipy.stats import norm, truncnorm

from astro_galtrans.domain import flux_ratio, in_words, measure, other_unit, seeing_from_stars, sky_rms, violations
from helpers import BANDS, SKY_RMS, galaxy, shared_data

PIXEL = 0.396
FWHM_PER_SIGMA = np.sqrt(8 * np.log(2))


@cache
def _frame(band):
    path = shared_data("sdss_stripe82", f"sdss-004192-{band}4-0300.fits.fz")
    with fits.open(path) as hdus:
        return hdus["SCI"].data, hdus["SCI"].header


def _stars(rng, noise=0.02, fwhm=3.0, n=12, shape=(300, 300)):
    """A field of Gaussian stars on a loose grid, off the pixel centres, and sky noise."""
    image = rng.normal(0, noise, shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    for k in range(n):
        x, y = 40 + 60 * (k % 4) + rng.uniform(-5, 5), 40 + 80 * (k // 4) + rng.uniform(-5, 5)
        peak = noise * rng.uniform(60, 2000)
        image += peak * np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) * (FWHM_PER_SIGMA / fwhm) ** 2)
    return image


def _all_good(image):
    return np.isfinite(image)


# --- sky noise ---


@pytest.mark.parametrize("shape", [(64, 64), (500, 700), (1, 4000), (2000, 3)])
def test_white_noise(shape, rng):
    image = rng.normal(5, 0.3, shape)
    assert_allclose(sky_rms(image, _all_good(image)), 0.3, rtol=5 / np.sqrt(image.size) + 0.005)


@pytest.mark.parametrize("shape", [(64, 64), (63, 61), (5, 91)])
def test_it_is_the_clipped_scatter_of_the_fainter_half_of_pairs(shape, rng):
    image = rng.normal(5, 0.3, shape).astype("f4")
    pairs = [(image[:, :-1], image[:, 1:]), (image.T[:, :-1], image.T[:, 1:])]
    left, right = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    size = np.abs((left - right)[left + right <= np.median(left + right)])
    inside = size[size <= 3 * norm.isf(0.25) ** -1 * np.median(size)]
    scatter = np.sqrt(np.mean(inside**2, dtype=float) / truncnorm(-3, 3).var() / 2)
    assert_allclose(sky_rms(image, _all_good(image)), scatter, rtol=1e-5)


@pytest.mark.parametrize("flux", [300, 3000])
def test_a_galaxy_that_fills_the_stamp_does_not_count_as_noise(flux, rng):
    noise = SKY_RMS["r"]
    image = galaxy((64, 64), flux, r_eff=12) + rng.normal(0, noise, (64, 64))
    assert image.std() > 5 * noise
    assert_allclose(sky_rms(image, _all_good(image)), noise, rtol=0.12)


def test_bad_pixels_padding_and_sky_gradients_do_not_count(rng):
    image = rng.normal(0, 1, (200, 200)) + np.linspace(0, 30, 200)
    image[:, :120] = 0  # padded
    image[50:60] = np.nan
    image[80:90] = rng.normal(0, 100, (10, 200))
    good = _all_good(image)
    good[80:90] = False
    assert_allclose(sky_rms(image, good), 1, rtol=0.03)


@pytest.mark.parametrize("noise", [1.0, 2.3, 7.0])
def test_digitised_counts(noise, rng):
    image = np.round(rng.normal(100, noise, (300, 300)))
    assert_allclose(sky_rms(image, _all_good(image)), np.hypot(noise, np.sqrt(1 / 12)), rtol=0.04)


def test_too_few_pixels_tell_nothing():
    image = np.ones((5, 5))
    assert sky_rms(image, _all_good(image)) is None
    assert sky_rms(np.ones((1, 1)), np.ones((1, 1), dtype=bool)) is None
    assert sky_rms(np.ones((100, 100)), np.zeros((100, 100), dtype=bool)) is None


@pytest.mark.parametrize("band", BANDS)
def test_sky_of_a_real_frame(band):
    image, header = _frame(band)
    assert_allclose(sky_rms(image, _all_good(image)), header["SKYSIG"], rtol=0.05)


# --- seeing ---


@pytest.mark.parametrize("fwhm", [2.5, 3.5])
def test_seeing_from_a_field(fwhm, rng):
    image = _stars(rng, fwhm=fwhm)
    assert_allclose(seeing_from_stars(image, _all_good(image), 0.02, PIXEL), fwhm * PIXEL, rtol=0.02)


def test_seeing_ignores_galaxies_cosmic_rays_and_saturated_stars(rng):
    image = _stars(rng)
    rows, columns = np.mgrid[:300, :300]
    for k in range(8):
        width = 4.5 + 1.2 * k
        x, y = 10 + 38 * k, 285 if k % 2 else 160
        image += 30 * np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) * (FWHM_PER_SIGMA / width) ** 2)
        image[130, 20 + 30 * k] += 50
    np.minimum(image, 32, out=image)
    assert_allclose(seeing_from_stars(image, _all_good(image), 0.02, PIXEL), 3 * PIXEL, rtol=0.04)


def test_four_stars_are_too_few_and_masked_ones_do_not_count(rng):
    few = _stars(rng, n=4)
    assert seeing_from_stars(few, _all_good(few), 0.02, PIXEL) is None
    image = _stars(rng, n=12)
    good = _all_good(image)
    good[:220] = False
    assert seeing_from_stars(image, good, 0.02, PIXEL) is None


def test_a_galaxy_stamp_tells_no_seeing(rng):
    image = galaxy((64, 64), 500) + rng.normal(0, 0.02, (64, 64))
    assert seeing_from_stars(image, _all_good(image), 0.02, PIXEL) is None


@pytest.mark.parametrize("band", BANDS)
def test_seeing_of_a_real_frame(band):
    image, _ = _frame(band)
    good = _all_good(image)
    seeing = seeing_from_stars(image, good, sky_rms(image, good), PIXEL)
    assert_allclose(seeing, _fitted_fwhm(image), rtol=0.1)
    assert_allclose(seeing, _psfield_fwhm(band), rtol=0.1)


def _fitted_fwhm(image):
    """Photutils' fit of a Gaussian to bright peaks whose shapes agree."""
    corner = image[:1000, :1400]
    noise = np.std(corner[np.abs(corner) < 3 * np.median(np.abs(corner))])
    peaks = find_peaks(corner, 60 * noise, box_size=31, border_width=15)
    peaks.sort("peak_value", reverse=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # fits of saturated stars may not converge
        widths = fit_fwhm(
            corner, xypos=np.transpose([peaks["x_peak"], peaks["y_peak"]])[2:10], fwhm=3, fit_shape=(11, 11)
        )
    return np.median(widths) * PIXEL


def _psfield_fwhm(band):
    """Width at half maximum of the profile that the SDSS pipeline fitted to the stars of this field."""
    with fits.open(shared_data("sdss_stripe82", "psField-004192-4-0300.fit")) as hdus:
        row = hdus[6].data[0]
    names = ("sigma1", "sigma2", "b", "p0", "beta", "sigmap")
    s1, s2, b, p0, beta, sp = (row[f"psf_{name}"][BANDS.index(band)] for name in names)

    def profile(r):
        core = np.exp(-(r**2) / 2 / s1**2) + b * np.exp(-(r**2) / 2 / s2**2)
        return core + p0 * (1 + r**2 / beta / sp**2) ** (-beta / 2)

    return 2 * brentq(lambda r: profile(r) - profile(0) / 2, 0.1, 20) * PIXEL


# --- everything ---


def test_measure_says_what_json_can_hold(rng):
    image = np.stack([_stars(rng), _stars(rng)]).astype(np.float32)
    mask = np.zeros(image.shape, dtype=bool)
    mask[1] = image[1] > 5
    measured = measure(image, mask, ("g", "r"), PIXEL)
    assert json.loads(json.dumps(measured)) == measured
    assert measured["pixel_scale"] == PIXEL
    assert_allclose(measured["peak"]["g"], image[0].max())
    assert measured["peak"]["r"] <= 5
    assert_allclose(list(measured["sky_rms"].values()), 0.02, rtol=0.03)


def test_measure_bands_of_different_shapes_and_without_pixels(rng):
    planes = [rng.normal(size=(50, 60)), np.full((40, 40), np.nan), np.ones((1, 1))]
    measured = measure(planes, [None, None, np.ones((1, 1), dtype=bool)], "gri", PIXEL)
    assert_allclose(measured["sky_rms"]["g"], 1, rtol=0.1)
    for band in "ri":
        assert {measured[key][band] for key in ("fwhm", "sky_rms", "peak")} == {None}


def test_input_is_not_edited(rng):
    image = _stars(rng)
    before = image.copy()
    measure([image], None, "r", PIXEL)
    assert (image == before).all()


VALIDITY = {
    "pixel_scale": [0.39, 0.40],
    "fwhm": {"g": [1.0, 1.5], "r": [0.9, 1.4]},
    "sky_rms": {"g": [0.01, 0.03]},
    "peak": {"g": 50.0, "r": 50.0},
}
INSIDE = {
    "pixel_scale": 0.396,
    "fwhm": {"g": 1.2, "r": None},
    "sky_rms": {"g": 0.02, "r": 77.0},
    "peak": {"g": 50.0, "r": 1.0},
}


@pytest.mark.parametrize("validity", [VALIDITY, {}, {"fwhm": None}])
def test_an_image_inside_the_range_passes(validity):
    assert list(violations(INSIDE, validity)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pixel_scale": 0.2}, "pixel scale is 0.2 arcsec; the translator was trained on from 0.39 to 0.4"),
        ({"fwhm": {"g": 0.7}}, "seeing (FWHM) in band g is 0.7 arcsec; the translator was trained on from 1 to 1.5"),
        ({"fwhm": {"r": 2.5}}, "too blurred"),
        ({"sky_rms": {"g": 0.05}}, "sky rms in band g is 0.05 nanomaggy"),
        ({"peak": {"r": 1234.5}}, "1234 nanomaggy; the translator was trained on at most 50"),
        ({"sky_rms": {"g": np.nan}}, "nan"),
    ],
)
def test_one_sentence_per_violation_with_both_numbers_and_the_unit(change, words):
    (violation,) = violations(INSIDE | change | {"flux_unit": "nanomaggy"}, VALIDITY)
    (sentence,) = in_words([violation]).values()
    assert words in sentence == str(violation)


def test_bands_on_one_side_of_a_range_share_a_sentence():
    validity = VALIDITY | {"fwhm": {band: [1.0, 1.5] for band in "griz"}}
    measured = INSIDE | {"pixel_scale": 0.2, "fwhm": {"g": 0.5, "r": 3.0, "i": 0.7, "z": 1.2}}
    found = in_words(violations(measured, validity))
    assert list(found) == [("pixel_scale", "below"), ("fwhm", "below"), ("fwhm", "above")]
    assert "is g 0.5, i 0.7 arcsec; the translator was trained on g from 1 to 1.5, i from 1" in found["fwhm", "below"]
    assert "band r is 3 arcsec" in found["fwhm", "above"]


@pytest.mark.parametrize("unit", ["Jy", "mJy", "uJy", "nJy", "mgy"])
def test_numbers_of_another_unit_are_known_by_the_noise_of_all_bands(unit):
    """The arbiter is astropy: numbers in nanomaggy, taken as those of another unit and brought to nanomaggy."""
    limits = {"sky_rms": {"g": [0.01, 0.04], "r": [0.015, 0.06], "i": [0.02, 0.08]}}
    numbers = {"g": 0.03, "r": 0.03, "i": 0.03}
    factor = u.Unit(unit).to(u.nmgy, equivalencies=u.zero_point_flux(3631.0 * u.Jy))
    ratio = flux_ratio({"sky_rms": {band: factor * rms for band, rms in numbers.items()}}, limits)
    if unit == "uJy":  # 0.28 nanomaggy: no further than noise of one survey differs
        assert ratio is None
        return
    assert_allclose(ratio, factor, rtol=0.05)  # 0.03 is the typical noise of the middle band
    found, zeropoint = other_unit(ratio, 22.5 - 2.5 * np.log10(factor))
    assert found == "nanomaggy"
    assert_allclose(zeropoint, 22.5, atol=0.2)


def test_noise_of_one_band_or_without_bounds_says_nothing_of_the_unit():
    limits = {"sky_rms": {"g": [0.01, 0.04], "r": [0.015, 0.06], "i": [0.02, 0.08]}}
    assert flux_ratio({"sky_rms": {"g": 20.0, "r": 0.03, "i": 0.03}}, limits) is None
    assert flux_ratio({"sky_rms": {"g": 0.0, "r": 0.0, "i": None}}, limits) is None
    assert flux_ratio({"sky_rms": {"g": 20.0, "r": 30.0}}, {"sky_rms": {"g": 0.04, "r": 0.06}}) is None
    assert flux_ratio({"sky_rms": {"g": 20.0, "r": 30.0}}, {}) is None


def test_real_frames_lie_in_the_range_of_their_survey_and_a_blurred_one_does_not():
    image, header = _frame("r")
    image = image[:700, :700]
    limits = {
        "pixel_scale": [0.39, 0.40],
        "sky_rms": {"r": [0.02, 0.04]},
        "fwhm": {"r": [0.8, 1.5]},
        "peak": {"r": 500.0},
    }
    assert header["FILTER"].strip() == "r"
    assert list(violations(measure(image[None], None, "r", PIXEL), limits)) == []
    blurred = convolve_fft(image, Gaussian2DKernel(2))
    seeing, noise = in_words(violations(measure(blurred[None], None, "r", PIXEL), limits)).values()
    assert "too blurred" in seeing
    assert "faint detail" in noise  # blurring smooths the noise too
