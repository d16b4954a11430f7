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
    assert unknown == Survey("mine", "", 0.3, "uJy", 23.9, (Band("g", 1.0, 0.1, depth=24.0, source="told"),))


# Night-sky brightness (AB mag per square arcsec) of dark and grey sites, as the surveys' papers quote it; zodiacal
# light for the telescopes in space.
SKY = {
    "u": 22.6, "g": 22.0, "r": 21.0, "i": 20.1, "z": 19.1, "y": 18.1, "VIS": 22.3, "Y": 22.1, "J": 22.2, "H": 22.3,
    "F435W": 23.2, "F606W": 22.6, "F775W": 22.4, "F814W": 22.3, "F850LP": 22.2, "F125W": 22.2, "F160W": 22.2,
}  # fmt: skip


@pytest.mark.parametrize("name", list_surveys())
def test_noise_and_electrons_tell_the_sky(name):
    """
    Poisson noise: (sky rms)^2 x electrons per flux unit is the sky's flux in a pixel.

    Depth and exposure come from different places, so this finds a wrong unit, zero point, aperture or exposure. In
    space, and in u of SDSS, the noise of readout and dark current is as large as the sky's.
    """
    survey = get_survey(name)
    flux = [band.sky_rms**2 * band.electrons / survey.pixel_scale**2 for band in survey.bands]
    implied = survey.zeropoint - 2.5 * np.log10(flux)
    worst = {
        "sdss": 1.4,
        "euclid-nisp": 1.6,
        "hst-acs-goods": 2.8,
        "hst-acs-cosmos": 2.1,
        "hst-wfc3-candels": 1.9,
    }
    np.testing.assert_allclose(implied, [SKY[band] for band in survey.band_names], atol=worst.get(name, 1.1))


@pytest.mark.parametrize("name", list_surveys())
def test_every_value_has_its_source(name):
    survey = get_survey(name)
    told = set(dict(survey.sources))
    assert {"pixel_scale", "zeropoint", "fwhm", "electrons", "filter"} <= told
    assert told & {"depth", "sky_rms"}
    for band in survey.bands:
        assert 0 < band.fwhm < 2
        assert np.isfinite([band.sky_rms, band.electrons]).all()


@pytest.mark.parametrize("name", list_surveys())
def test_depth_is_that_of_the_noise(name):
    survey = get_survey(name)
    for band in survey.bands:
        if math.isnan(band.aperture) and math.isfinite(band.depth):
            assert survey.depth(band.name) == pytest.approx(band.depth, abs=0.01)
        # an aperture that suits the seeing loses a little to PSF photometry, one much wider more
        elif math.isfinite(band.depth) and name != "euclid-vis":
            assert survey.depth(band.name) == pytest.approx(band.depth, abs=0.4)


MINE = """# %ECSV 1.0
# ---
# datatype:
# - {name: band, datatype: string}
# - {name: fwhm, datatype: float64}
# - {name: sky_rms, datatype: float64}
# - {name: filter, datatype: string}
# meta: !!omap
# - {name: mine}
# - {title: My survey}
# - {pixel_scale: 0.3}
# - {flux_unit: uJy}
# - {zeropoint: 23.9}
# schema: astropy-2.0
band fwhm sky_rms filter
g 1.1 0.02 g.dat
NIR_Y 0.9 0.05 Euclid-Y
"""


def test_a_file_of_the_users(tmp_path):
    path = tmp_path / "mine.ecsv"
    path.write_text(MINE)
    (tmp_path / "g.dat").write_text("4000 0\n4500 1\n5000 0\n")
    for survey in (get_survey(path), get_survey(str(path))):
        assert (survey.name, survey.band_names, survey.pixel_scale) == ("mine", ("g", "Y"), 0.3)
        assert math.isnan(survey["g"].electrons)
        assert survey["g"].filter == str(tmp_path / "g.dat")  # found from any folder
        assert survey["Y"].filter == "Euclid-Y"
    assert "0.0200" not in survey.describe() and "Euclid-Y" in survey.describe()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# - {zeropoint: 23.9}\n", "", "'zeropoint' is missing"),
        ("zeropoint: 23.9", "zeropoint: 25", "contradicts the unit"),
        ("flux_unit: uJy", "flux_unit: parsec", "not a flux per pixel"),
        ("g 1.1", "g -1.1", r"fwhm = -1.1 in g; these must be positive"),
        ("NIR_Y", "g'", "named twice"),
        ("name: fwhm", "name: seeing", "Number of header columns|column names from ECSV header"),
        ("# %ECSV 1.0", "# ECSV", "mine.ecsv does not describe a survey"),
    ],
)
def test_a_damaged_file(tmp_path, old, new, message):
    path = tmp_path / "mine.ecsv"
    path.write_text(MINE.replace(old, new))
    with pytest.raises(ValueError, match=message):
        get_survey(path)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        get_survey(tmp_path / "mine.ecsv")


def test_from_dict_of_something_else():
    with pytest.raises(ValueError, match="not a survey's description"):
        Survey.from_dict({"name": "mine"})
    with pytest.raises(ValueError, match="not a survey's description"):
        Survey.from_dict(get_survey("sdss").to_dict() | {"colour": "blue"})


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
