"""Saturated cores: stars that are cut off in simulated detectors and real ones, and those that are not."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from scipy import ndimage

from astro_galtrans.bandstack import read
from astro_galtrans.check import describe_image
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.saturation import mask_saturated, saturated_cores
from helpers import make_wcs, shared_data

SHAPE, NOISE = (80, 90), 0.03


def star(peak, x, y, sigma=1.5):
    yy, xx = np.indices(SHAPE)
    return peak * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * sigma**2))


def sky(seed=0):
    return np.random.default_rng(seed).normal(0, NOISE, SHAPE)


def image(data, band="r", **meta):
    return CCDData(data.astype("f4"), unit="nmgy", wcs=make_wcs(SHAPE), meta={"FILTER": band, **meta})


def test_flat_cores_are_found_with_what_is_beside_them(rng):
    scene = star(900, 30.3, 41.2)
    full = scene > 150
    data = np.minimum(scene, 150 * (1 + 0.003 * rng.normal(size=SHAPE))) + sky()  # of pixels a little different
    found = saturated_cores(data)
    assert full.sum() > 9
    assert found[full].all()
    assert not found[~ndimage.binary_dilation(full, np.ones((3, 3)), iterations=3)].any()


def test_holes_that_a_pipeline_left_are_found():
    data = star(500, 30, 40) + sky()
    data[39:42, 29:31] = 60
    assert saturated_cores(data)[39:42, 29:31].all()


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("sigma", [0.9, 1.5, 2.5])
def test_stars_that_are_not_saturated_stay(offset, sigma):
    assert not saturated_cores(star(800, 30 + offset, 40 + offset, sigma) + sky()).any()


def test_neighbours_and_large_galaxies_stay():
    y, x = np.indices(SHAPE)
    disc = 60 * np.exp(-np.hypot(np.hypot(x - 45, y - 40), 1.4) / 12)
    assert not saturated_cores(disc + sky()).any()
    for distance in (2, 3, 4, 5):
        assert not saturated_cores(star(300, 30, 40) + star(280, 30 + distance, 40) + sky()).any()


def test_no_noise_and_bad_pixels_are_no_reason():
    assert not saturated_cores(np.zeros(SHAPE)).any()
    data = star(800, 30, 40) + sky()
    mask = np.zeros(SHAPE, bool)
    mask[40, 30] = True
    data[40, 30] = np.nan
    assert not saturated_cores(data, mask).any()


def test_a_level_is_in_the_unit_of_the_image_and_by_band():
    data = {band: star(100, 30, 40) + sky(k) for k, band in enumerate("gr")}
    stack = read({band: image(plane, band) for band, plane in data.items()})
    with pytest.warns(GaltransWarning, match=r"saturated pixels are masked \(r: \d+ above the level\)"):
        masked = mask_saturated(stack, {"r": 50})
    np.testing.assert_array_equal(masked.mask[1], data["r"].astype("f4") >= 50)
    assert not masked.mask[0].any()
    assert masked.notes["saturation"] == f"r: {(data['r'] >= 50).sum()} above the level"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mask_saturated(stack) is stack
        assert mask_saturated(stack, 1e4) is stack
    for wrong in (-5, {"i": 50.0}, np.nan):
        with pytest.raises(ValueError, match="saturation must be a positive flux per pixel, or one by band of g, r"):
            mask_saturated(stack, wrong)


@pytest.mark.parametrize("card", ["SATURATE", "SATLEVEL"])
def test_cards_are_obeyed_and_check_says_so(card):
    data = star(100, 30, 40) + sky()
    images = {"g": image(data, "g", **{card: 50.0}), "r": image(data, "r")}
    stack = read(images)
    np.testing.assert_array_equal(stack.mask[0], data.astype("f4") >= 50)
    assert not stack.mask[1].any()
    number = (data >= 50).sum()
    assert f"saturation: g: {number} at or above {card} = 50" in describe_image(images, translators=[])
    with pytest.warns(GaltransWarning, match=f"g: {number} at or above {card} = 50"):
        mask_saturated(stack)


def test_check_tells_of_cores_without_a_warning():
    text = describe_image(image(np.minimum(star(900, 30, 41), 150) + sky()), translators=[])
    assert "saturation: r: " in text and "in cut-off cores" in text


@pytest.mark.parametrize(("epoch", "frame"), [("004192", "0300"), ("006377", "0399")])
def test_stars_of_real_frames(epoch, frame):
    """
    A star's flux within 4.5 pixels over that between 5 and 9 is the same for all stars that are not saturated.

    SDSS saturates at r = 14; its pipeline interpolates over the cores, which leaves a tenth of that ratio.
    """
    shown, there = 0, 0
    for band in "gri":
        path = shared_data("sdss_stripe82", f"sdss-{epoch}-{band}4-{frame}.fits.fz")
        data = fits.getdata(path, "SCI").astype(float)
        found = saturated_cores(data)
        smooth = ndimage.gaussian_filter(data, 2)
        y, x = np.mgrid[-9:10, -9:10]
        core, wings = np.hypot(y, x) < 4.5, (np.hypot(y, x) >= 5) & (np.hypot(y, x) < 9)
        for row, column in np.argwhere((smooth == ndimage.maximum_filter(smooth, 21)) & (smooth > 5)):
            box = np.s_[row - 9 : row + 10, column - 9 : column + 10]
            if data[box].shape != (19, 19) or data[box][wings].sum() < 100:
                continue
            ratio, marked = data[box][core].sum() / data[box][wings].sum(), found[box][5:14, 5:14].any()
            assert not (marked and ratio > 10)  # of stars that are whole none is masked
            there += ratio < 2
            shown += marked and ratio < 2
    assert there >= 5
    assert shown >= there / 2
