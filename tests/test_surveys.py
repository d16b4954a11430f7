"""Survey descriptions: reading, converting and checking them, and whether their numbers agree with each other."""

import json
import math

import numpy as np
import pytest

from astro_galtrans.surveys import Band, Survey, get_survey, list_surveys, sky_from_depth


@pytest.mark.parametrize("name", list_surveys())
def test_shipped_surveys_go_through_json(name):
    survey = get_survey(name)
    assert survey.name == name
    again = Survey.from_dict(json.loads(json.dumps(survey.to_dict(), allow_nan=False)))
    assert again == survey
    assert hash(again) == hash(survey)


def test_what_is_not_known_is_equal():
    unknown = Survey("mine", "", 0.3, "uJy", 23.9, (Band("g", 1.0, 0.1),))
    assert math.isnan(unknown["g"].electrons)
    assert Survey.from_dict(unknown.to_dict()) == unknown
    assert unknown != Survey("mine", "", 0.3, "uJy", 23.9, (Band("g", 1.0, 0.1, 5.0),))


def test_select():
    survey = get_survey("sdss")
    assert survey.select() is survey
    assert survey.select("r,g").band_names == ("g", "r")
    assert survey.select(["sdss_i"]).bands == (survey["i"],)
    with pytest.raises(ValueError, match=r"'sdss' has no band 'y', 'J'; its bands are u, g, r, i, z"):
        survey.select(["y", "J", "g"])
    with pytest.raises(KeyError, match="no band 'y'"):
        survey["y"]


def test_a_survey_is_returned_as_it_is():
    survey = get_survey("sdss").select("r")
    assert get_survey(survey) is survey
    with pytest.raises(ValueError, match=r"nearest known are cfhtls-wide.*path of its \.ecsv"):
        get_survey("cfhtls-wied")


def test_sky_noise_of_larger_pixels():
    np.testing.assert_allclose(get_survey("sdss").sky_rms(0.198), get_survey("sdss").sky_rms() / 2)


@pytest.mark.parametrize("aperture", [math.nan, 2.0])
def test_depth_is_five_sigma(aperture, rng):
    """A source of the limiting magnitude, measured in simulated sky: optimally with the PSF, or in the aperture."""
    fwhm, pixel, zeropoint, depth = 0.9, 0.1, 27.0, 25.0
    sky = sky_from_depth(depth, fwhm, pixel, zeropoint, aperture) * rng.standard_normal((500, 81, 81))
    offset = (np.arange(81) - 40) * pixel
    radius = np.hypot(offset, offset[:, None])
    psf = (1 + (2 ** (1 / 3.5) - 1) * (2 * radius / fwhm) ** 2) ** -3.5
    psf /= psf.sum()
    weight = psf / (psf**2).sum() if math.isnan(aperture) else radius < aperture / 2
    error = (sky * weight).sum(axis=(1, 2)).std()
    assert 10 ** (0.4 * (zeropoint - depth)) / error == pytest.approx(5, rel=0.07)
