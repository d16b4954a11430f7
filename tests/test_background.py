"""The sky of an image: subtracted on request, and told of where it was left in."""

import numpy as np
import pytest
from astropy.nddata import CCDData
from numpy.testing import assert_allclose, assert_array_equal

from astro_galtrans import translate
from astro_galtrans.background import sky_background, subtract_background
from astro_galtrans.bandstack import read
from astro_galtrans.domain import SKY_LEVEL, sky_level, sky_rms
from astro_galtrans.exceptions import DomainWarning
from helpers import SKY_RMS, galaxy, make_bands, make_wcs


def scene(shape, rng, level=0.0, flux=60.0, noise=0.03):
    return galaxy(shape, flux, r_eff=4) + rng.normal(level, noise, shape)


@pytest.mark.parametrize("shape", [(64, 64), (200, 230)])
@pytest.mark.parametrize("level", [-0.4, 0.015, 0.9])
def test_constant_sky_is_found_under_a_galaxy(shape, level, rng):
    sky = sky_background(scene(shape, rng, level))
    assert sky.shape == shape
    assert_allclose(sky, level, atol=0.3 * 0.03)


def test_gradient_is_followed(rng):
    shape = (400, 410)
    y, x = np.indices(shape)
    truth = 0.5 + 0.0003 * x - 0.0001 * y  # four sigma from corner to corner
    image = scene(shape, rng) + truth
    sky = sky_background(image)
    assert np.abs(sky - truth)[64:-64, 64:-64].max() < 0.03  # a box away from the edges, one sigma of a pixel
    around = np.hypot(y - 220, x - 184.5) < 20  # five half-light radii
    assert abs((sky - truth)[around].sum()) < 0.05 * 60  # the galaxy's light stays


def test_masked_pixels_have_no_part_in_it(rng):
    image = scene((64, 64), rng, 0.2)
    bad = rng.random(image.shape) < 0.3
    image[bad] = 50
    image[:3] = np.nan
    assert_allclose(sky_background(image, bad), 0.2, atol=0.01)
    with pytest.raises(ValueError, match="no usable pixel to measure the sky in"):
        sky_background(np.full((64, 64), np.nan))
    with pytest.raises(ValueError, match="8 or more pixels a side, got 3"):
        sky_background(image, box_size=3)


def test_each_band_has_its_own(rng):
    levels = {"g": 0.3, "r": -0.2}
    wcs = make_wcs((64, 64))
    images = {band: CCDData(scene((64, 64), rng, level), unit="nmgy", wcs=wcs) for band, level in levels.items()}
    stack = read(images)
    new = subtract_background(stack, 32)
    assert_allclose((stack.data - new.data).mean(axis=(1, 2)), list(levels.values()), atol=0.01)
    assert new.notes["background"].endswith("nmgy; boxes of 32 pixels")


@pytest.mark.parametrize("shape", [(40, 48), (64, 64), (300, 300)])
@pytest.mark.parametrize("sigmas", [-0.5, 0.0, 0.5, 3.0])
def test_level_of_the_sky(shape, sigmas, rng):
    image = scene(shape, rng, sigmas * 0.03)
    good = np.ones(shape, bool)
    level = sky_level(image, good, sky_rms(image, good)) / 0.03
    assert abs(level - sigmas) < 0.2
    assert (abs(level) > SKY_LEVEL) == (sigmas != 0)


def test_translation_tells_of_sky_and_takes_it_out():
    images = make_bands((64, 64), uncertainty=False)
    usual = translate(images, "swin-sdss-cfhtls", psf=1.3)
    for band, image in images.items():
        image.data += np.float32(2 * SKY_RMS[band])
    with pytest.warns(DomainWarning, match=r"level of the sky is u .* nanomaggy; .*: sky was left in; subtract_backgr"):
        raised = translate(images, "swin-sdss-cfhtls", psf=1.3)
    taken = translate(images, "swin-sdss-cfhtls", psf=1.3, subtract_background=True)
    for band in images:
        off = [np.median(image[band].data - usual[band].data) for image in (raised, taken)]
        assert abs(off[1]) < 0.15 * abs(off[0])
    assert taken["g"].meta["GTSKY"].startswith("median u ")
    again = translate(images, "swin-sdss-cfhtls", psf=1.3, subtract_background=16)
    assert "boxes of 16 pixels" in again["g"].meta["GTSKY"]
    assert_array_equal(images["g"].data, make_bands((64, 64))["g"].data + np.float32(2 * SKY_RMS["g"]))
