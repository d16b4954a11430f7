"""Numbers that are no measurements: masked and said, or refused; what only looks like them stays."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty

from astro_galtrans import translate
from astro_galtrans.bandstack import read
from astro_galtrans.exceptions import GaltransWarning
from helpers import make_bands, make_ccd, make_cube

MODEL = "swin-sdss-cfhtls"
BLOCK = np.s_[5:12, 6:14]


@pytest.mark.parametrize("value", [-99, -999, -9999, -32768, -1e30, 1e30, 3e38, np.finfo("f4").max])
def test_marks_for_no_data_are_masked(value):
    image = make_ccd()
    image.data[BLOCK] = value
    expected = np.zeros(image.shape, bool)
    expected[BLOCK] = True
    with pytest.warns(GaltransWarning, match=r"56 pixels .*: usual marks for pixels without data, which are masked"):
        stack = read(image)
    np.testing.assert_array_equal(stack.mask[0], expected)
    assert image.mask is None


def test_a_gap_of_zeros_in_noise_is_masked():
    image = make_ccd()
    image.data[BLOCK] = 0
    image.data[30, 30] = 0  # a single zero may be noise
    with pytest.warns(GaltransWarning, match="56 pixels of 0"):
        mask = read(image).mask[0]
    assert mask[BLOCK].all() and mask.sum() == 56


@pytest.mark.parametrize(
    "pixels",
    [
        np.random.default_rng(1).normal(0, 60, (60, 60)).round(),  # counts of -99 within the noise, many zeros
        np.random.default_rng(1).poisson(0.1, (60, 60)) - 0.0,  # photons: mostly zero
        np.maximum(np.exp(-0.01 * np.hypot(*np.mgrid[-30:30, -30:30]) ** 2) - 0.01, 0),  # a model that fades to zero
        np.random.default_rng(1).normal(-99, 1, (60, 60)).round(),  # a sky of -99
    ],
)
def test_what_only_looks_like_a_mark_stays(pixels):
    image = make_ccd((60, 60), uncertainty=False)
    image.data = pixels.astype("f4")
    assert read(image).mask is None


# -- uncertainties


@pytest.mark.parametrize("std", [1e10, 1e18, 1e20, 1e30])
@pytest.mark.parametrize("kind", [StdDevUncertainty, VarianceUncertainty])
def test_noise_that_only_means_bad_is_masked(std, kind):
    image = make_ccd()
    noise = np.full(image.shape, 0.03)
    noise[BLOCK] = std
    image.uncertainty = kind(noise if kind is StdDevUncertainty else noise**2)
    with pytest.warns(GaltransWarning, match="56 values of the uncertainty are so large that they can only mark bad"):
        stack = read(image)
    assert stack.mask[0][BLOCK].all() and stack.mask.sum() == 56
    assert stack.variance.max() < 0.001


def test_a_negative_weight_is_none():
    image = make_ccd()
    weights = np.full(image.shape, 4.0)
    weights[BLOCK] = -4
    image.uncertainty = InverseVariance(weights)
    stack = read(image)
    assert stack.mask[0][BLOCK].all() and stack.mask.sum() == 56


@pytest.mark.parametrize("kind", [StdDevUncertainty, VarianceUncertainty])
def test_negative_noise_is_masked(kind):
    image = make_ccd()
    values = np.full(image.shape, 4.0)
    values[BLOCK] = -4
    image.uncertainty = kind(values)
    with pytest.warns(GaltransWarning, match="56 values of the uncertainty are negative; these pixels are masked"):
        stack = read(image)
    assert stack.mask[0][BLOCK].all() and stack.mask.sum() == 56


def test_a_wide_range_of_noise_is_noise():
    image = make_ccd()
    noise = np.geomspace(0.01, 100, image.data.size).reshape(image.shape)
    image.uncertainty = StdDevUncertainty(noise)
    stack = read(image)
    assert stack.mask is None
    np.testing.assert_allclose(stack.variance[0], noise**2, rtol=1e-5)


def file_with_noise(path, **cards):
    image = make_ccd(uncertainty=False)
    header = image.wcs.to_header()
    header["BUNIT"], header["FILTER"] = "mJy", "r"
    noise = fits.ImageHDU(np.full(image.shape, 20.0, "f4"), name="UNCERT")
    noise.header.update(cards)
    fits.HDUList([fits.PrimaryHDU(image.data, header), noise]).writeto(path)
    return path


def test_noise_in_another_unit_is_converted(tmp_path):
    path = file_with_noise(tmp_path / "x.fits", UTYPE="StdDevUncertainty", BUNIT="uJy")
    np.testing.assert_allclose(read(path).variance, 0.02**2, rtol=1e-5)  # 20 uJy are 0.02 mJy


@pytest.mark.parametrize(
    ("cards", "match"),
    [
        ({"UTYPE": "entropy"}, "UNCERT is of kind 'entropy', which is not understood; expected StdDevUncertainty"),
        ({"BUNIT": "K"}, "the uncertainty is in K and the image in mJy"),
    ],
)
def test_noise_that_cannot_be_understood_is_refused(tmp_path, cards, match):
    with pytest.raises(ValueError, match=match):
        read(file_with_noise(tmp_path / "x.fits", **cards))


# -- images without an image


@pytest.mark.parametrize(("value", "where"), [(0, slice(None)), (3, slice(None)), (0, 2)])
def test_an_image_of_one_value_is_refused(value, where):
    cube = make_cube((24, 30))
    cube.data[where] = value
    with pytest.raises(ValueError, match=rf"all pixels of band [ur] that can be used hold {value}: there is no image"):
        translate(cube, MODEL, bands="ugriz")


def test_marks_leave_the_rest_of_a_translation_as_it_is():
    """A block of -9999 in all bands costs no more than the same pixels masked."""
    images, marked = make_bands((40, 48)), make_bands((40, 48))
    for band in images:
        images[band].mask = np.zeros((40, 48), bool)
        images[band].mask[BLOCK] = True
        marked[band].data[BLOCK] = -9999
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaltransWarning)
        expected, result = translate(images, MODEL), translate(marked, MODEL)
    for band in images:
        np.testing.assert_array_equal(result[band].mask, expected[band].mask)
        np.testing.assert_allclose(result[band].data, expected[band].data, rtol=1e-5, atol=1e-3)
