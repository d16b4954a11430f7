"""Translators that are told PSF, noise and bands: where they have them from, and what they make of them."""

import re
import warnings

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.io.fits import Header
from astropy.nddata import CCDData
from astropy.wcs import WCS

from astro_galtrans import Translator, translate, translate_mosaic
from astro_galtrans.exceptions import DomainError, DomainWarning, GaltransWarning
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.models.registry import get_model_class
from astro_galtrans.moments import SIGMA_TO_FWHM, gaussian_fwhm
from astro_galtrans.psf import MoffatPSF, measured_fwhm, profile_fwhm, psf_images

BANDS, PIXEL = ("g", "r", "i"), 0.396
TYPICAL, TARGET = [1.2, 1.1, 1.0], [0.95, 0.9, 0.85]
SIGMA = 2.0


@pytest.fixture(scope="module")
def translator():
    """An untrained network gives the linear answer."""
    torch.manual_seed(0)
    network = get_model_class("srgan").from_preset("tiny", BANDS, BANDS, 2, observed=True).eval()
    end = {"survey": "sdss", "unit": "nanomaggy", "zeropoint": 22.5}
    scaling = {"kind": "asinh", "softening": [4.0] * 3}, {"kind": "asinh", "softening": [1.0] * 3}
    card = {
        "name": "told", "calibration": {"flux": [1.0] * 3, "std": [1.0] * 3}, "validity": {},
        "source": end | {"pixel_scale": PIXEL, "scaling": scaling[0], "fwhm": TYPICAL, "sky_rms": [SIGMA] * 3,
                         "fewest_bands": 2},
        "target": end | {"pixel_scale": PIXEL / 2, "scaling": scaling[1], "fwhm": TARGET},
    }  # fmt: skip
    return Translator(Checkpoint(network, card, "0" * 64))


def wcs():
    made = WCS(naxis=2)
    made.wcs.ctype, made.wcs.crval, made.wcs.crpix = ["RA---TAN", "DEC--TAN"], [10, 0], [1, 1]
    made.wcs.cdelt = [-PIXEL / 3600, PIXEL / 3600]
    return made


def field(fwhm, bands=BANDS, stars=9, size=189, seed=0):
    """Stars of Moffat PSFs, centred on pixels, in white noise."""
    rng = np.random.default_rng(seed)
    images, side = {}, 19
    for band, width in zip(BANDS, fwhm, strict=True):
        plane = SIGMA * rng.normal(size=(size, size))
        star = psf_images(MoffatPSF([width]), PIXEL, side)[0]
        for k in range(stars):
            y, x = (20 + 60 * (k // 3), 20 + 60 * (k % 3))
            plane[y : y + side, x : x + side] += 2e4 * star
        images[band] = CCDData(plane, unit="nanomaggy", wcs=wcs(), meta=Header({"FILTER": band}))
    return {band: images[band] for band in bands}


def psf_card(result):
    return next(iter(result.values())).meta["GTPSF"]


def test_stars_tell_the_psf(translator):
    seeing = np.array([1.5, 1.4, 1.3])
    told = psf_card(translate(field(seeing), translator))
    found = [float(part.split()[1]) for part in told.split(", ")]
    np.testing.assert_allclose(found, measured_fwhm(seeing, pixel_scale=PIXEL), rtol=0.02)
    assert told.count("(stars)") == 3


def test_the_psf_out_depends_less_on_the_seeing(translator):
    """The linear answer alone, without a trained network, takes back a part of the difference."""
    seeing, widths = (0.9, 1.3), []
    for fwhm in seeing:
        result = translate(field(np.full(3, fwhm), seed=1), translator)
        at = 2 * (20 + 9)  # the first star
        widths.append(gaussian_fwhm(result["r"].data[at - 20 : at + 21, at - 20 : at + 21]) * PIXEL / 2)
    before = np.ptp(measured_fwhm(np.array(seeing), pixel_scale=PIXEL / 2))
    assert 0 < np.ptp(widths) < 0.75 * before


def test_without_stars_it_is_assumed_with_a_warning(translator):
    cutout = field(TYPICAL, stars=1)
    with pytest.warns(GaltransWarning, match=r"no stars tell the PSF: what is typical .* r 1\.\d\d .*psf="):
        result = translate(cutout, translator)
    assert "typical" in psf_card(result)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = translate(cutout, translator, psf=1.3)
    assert psf_card(result) == "g 1.30 (given), r 1.30 (given), i 1.30 (given)"


def test_a_psf_narrower_than_its_pixels(translator):
    galsim = pytest.importorskip("galsim")
    sharp = galsim.Gaussian(fwhm=0.35).drawImage(nx=15, ny=15, scale=PIXEL).array
    told = psf_card(translate(field(TYPICAL, stars=1), translator, psf=sharp))
    true = np.hypot(0.35, PIXEL / np.sqrt(12) * SIGMA_TO_FWHM)  # of a Gaussian with the pixel's second moment
    assert float(told.split()[1]) == pytest.approx(true, rel=0.15)


def test_a_given_psf_changes_the_answer(translator):
    cutout = field(TYPICAL, stars=1)
    sharp, blurred = (translate(cutout, translator, psf=fwhm)["r"].data for fwhm in (1.0, 1.8))
    assert not np.allclose(sharp, blurred, rtol=0.01, atol=1)


def test_of_one_band_for_the_others(translator):
    told = psf_card(translate(field(TYPICAL, stars=1), translator, psf={"r": 1.5 * u.arcsec}))
    ratio = 1.5 / measured_fwhm(1.1, pixel_scale=PIXEL)
    g, i = (ratio * measured_fwhm(fwhm, pixel_scale=PIXEL) for fwhm in (1.2, 1.0))
    assert told == f"g {g:.2f} (other bands), r 1.50 (given), i {i:.2f} (other bands)"


def test_a_psf_that_the_image_carries(translator):
    cutout = field(TYPICAL, stars=1)
    for band, image in cutout.items():
        image.psf = psf_images(MoffatPSF([1.6]), PIXEL, 21)[0]
        cutout[band] = image
    told = psf_card(translate(cutout, translator))
    assert told.startswith(f"g {measured_fwhm(1.6, pixel_scale=PIXEL):.2f} (given)")


@pytest.mark.parametrize("bands", ["gr", "gi", "ri"])
def test_some_bands_will_do(translator, bands):
    result = translate(field(TYPICAL, bands=bands), translator)
    assert list(result) == list(BANDS)
    assert all(np.isfinite(image.data).all() for image in result.values())
    assert result["g"].meta["GTBANDS"] == ",".join(bands)


def test_too_few_bands(translator):
    with pytest.raises(ValueError, match="missing bands: r, i; told needs 2 of g, r, i, and the image has g"):
        translate(field(TYPICAL, bands="g"), translator)


@pytest.mark.parametrize(
    ("psf", "message"),
    [
        (150.0, r"the psf of band g must be a FWHM from 0.05 to 20.0 arcsec, got 150"),
        ("sharp", r"must be a FWHM in arcsec or an image \[k, k\], got 'sharp'"),
        ({"u": 1.0}, r"psf is given for u, and the image has g, r, i"),
        (np.ones((2, 9, 9)), r"psf has 2 PSFs for the 3 bands"),
        (np.zeros((9, 9)), r"the PSF image of band g, \(9, 9\), has no star at its centre"),
        (3 * u.s, r"must be a FWHM in arcsec"),
    ],
)
def test_a_psf_that_is_none(translator, psf, message):
    with pytest.raises(ValueError, match=message):
        translate(field(TYPICAL, stars=1), translator, psf=psf)


def test_widths_there_and_back():
    fwhm = np.array([0.9, 1.2, 1.7])
    for beta in (2.6, 3.5, 5.0):
        np.testing.assert_allclose(profile_fwhm(measured_fwhm(fwhm, beta, PIXEL), beta, PIXEL), fwhm, rtol=2e-3)
        drawn = [gaussian_fwhm(psf_images(MoffatPSF([f], beta), PIXEL, 41)[0]) * PIXEL for f in fwhm]
        np.testing.assert_allclose(measured_fwhm(fwhm, beta, PIXEL), drawn, rtol=0.01)


def test_many_images_are_told_one_by_one(translator):
    images = [field([f] * 3, seed=k) for k, f in enumerate((1.0, 1.5))]
    told = [psf_card(result) for result in translate(images, translator)]
    widths = [float(text.split()[1]) for text in told]
    np.testing.assert_allclose(widths, measured_fwhm([1.0, 1.5], pixel_scale=PIXEL), rtol=0.02)


def test_what_the_header_states(translator):
    cutout = field(TYPICAL, stars=1)
    for image in cutout.values():
        image.header["SEEING"] = (1.42, "[arcsec] of stars")
    assert psf_card(translate(cutout, translator)) == "g 1.42 (header), r 1.42 (header), i 1.42 (header)"
    for image in cutout.values():
        image.header["SEEING"] = (3.6, "in pixels")
    with pytest.warns(GaltransWarning, match="no stars tell the PSF"):
        translate(cutout, translator)


def test_stars_that_contradict_the_given_psf_are_told_of(translator):
    """A width in pixels instead of arcsec; the networks would sharpen by too much, and say nothing."""
    images = field(TYPICAL)
    shown = measured_fwhm(np.array(TYPICAL), pixel_scale=PIXEL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        translate(images, translator, psf=dict(zip(BANDS, 1.05 * shown, strict=True)))
    with pytest.warns(DomainWarning) as record:
        translate(images, translator, psf=dict(zip(BANDS, shown / PIXEL, strict=True)))
    (told,) = (str(each.message) for each in record)
    assert re.fullmatch(r"FWHM of stars is g 1\.\d+, r 1\.\d+, i 1\.\d+ arcsec; by the PSF .* g from .*too sharp", told)
    with pytest.raises(DomainError, match=r"FWHM of stars is g 1\.36"):
        translate(images, translator, psf=2.5, strict=True)


def test_a_given_psf_is_compared_with_the_training_where_there_are_no_stars(translator):
    card = translator.card | {"validity": {"fwhm": {band: [0.9, 1.6] for band in BANDS}}}
    limited = Translator(Checkpoint(translator.model, card, "0" * 64))
    images = field(TYPICAL, stars=0)
    with pytest.warns(DomainWarning, match="seeing .* in band r is 2 arcsec.*too blurred"):
        translate(images, limited, psf={"g": 1.3, "r": 2.0, "i": 1.1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        translate(images, limited, psf=1.3)


def test_a_mosaic_whose_psf_varies_is_told_of(translator, tmp_path):
    """One part is measured for all blocks: stars in another seeing would get another PSF than the target's."""
    parts = field([1.1] * 3), field([1.6] * 3)
    both = {
        band: CCDData(np.hstack([part[band].data for part in parts]), unit="nanomaggy", wcs=wcs(),
                      meta=Header({"FILTER": band}))
        for band in BANDS
    }  # fmt: skip
    with pytest.warns(DomainWarning) as record:
        translate_mosaic(both, translator, tmp_path / "out.fits", block=189)
    (warning,) = record
    found = re.findall(r"([gri]) 1\.\d+(?:, | arcsec; by the PSF)", str(warning.message))
    assert str(warning.message).startswith("1 of 2 blocks, such as number 0: FWHM of stars is g 1.")
    assert tuple(found) == BANDS


def test_one_psf_for_images_of_different_bands(translator):
    """It names bands of the survey that this image lacks; a name that neither has is still an error."""
    images, widths = field(TYPICAL), {"g": 1.3, "r": 1.2, "i": 1.1}
    two = {band: images[band] for band in "gr"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = translate(two, translator, psf=widths)
    part = translate(two, translator, psf={band: widths[band] for band in two})
    np.testing.assert_array_equal(whole["r"].data, part["r"].data)
    with pytest.raises(ValueError, match="psf is given for y, and the image has g, r"):
        translate(two, translator, psf=widths | {"y": 1.0})
