"""Band names, from the spellings of headers and filter collections."""

import re
from importlib.resources import files

import pytest
from astropy.io import fits

from astro_galtrans.bands import band_from_header, bands_from_header, known_band, parse_band, parse_bands
from helpers import shared_data


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("g", "g"),
        (" r ", "r"),
        ("g.MP9401", "g"),
        ("u.MP9301", "u"),
        ("i.MP9702", "i"),  # the second i filter of MegaCam
        ("MP9801", "z"),
        ("sdss_g", "g"),
        ("SDSS g", "g"),
        ("SDSS-G", "g"),
        ("OCAM_g_SDSS", "g"),
        ("sdssr", "r"),
        ("cfht_megacam-g", "g"),
        ("cfht_megacam-ustar", "u"),
        ("u*", "u"),
        ("g'", "g"),
        ("ip", "i"),
        ("HSC-R2", "r"),
        ("g DECam SDSS c0001 4720.0 1520.0", "g"),
        ("g.00000", "g"),  # Pan-STARRS
        ("lsst2023-y", "y"),
    ],
)
def test_spellings_of_the_optical_bands(text, band):
    assert parse_band(text) == band
    assert known_band(text) == band


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("VIS", "VIS"),
        ("vis", "VIS"),
        ("Euclid-VIS", "VIS"),
        ("I_E", "VIS"),
        ("NIR_Y", "Y"),  # Euclid's mosaics
        ("NISP-H", "H"),
        ("Euclid-J", "J"),
        ("HE Euclid", "H"),
        ("VISTA Ks", "Ks"),
        ("f814w", "F814W"),
        ("ACS_WFC_F814W", "F814W"),
        ("F606W;CLEAR2L", "F606W"),
        ("WFC3/IR F160W", "F160W"),
        ("F850LP", "F850LP"),
        ("F1000W", "F1000W"),
    ],
)
def test_space_and_infrared(text, band):
    assert parse_band(text) == band
    assert known_band(text) is None


@pytest.mark.parametrize("text", ["hsc2017-y", "Y DECam c0005 10095.0 1130.0", "LSST Y", "y.00000", "DES Y"])
def test_y_of_the_optical_cameras_is_not_the_infrared_one(text):
    assert parse_band(text) == "y"


@pytest.mark.parametrize("text", ["R", "I", "J", "Ks", "F606W", "NB921", "VR", "Halpha"])
def test_other_filters_keep_their_names(text):
    # Johnson's R is not the r of SDSS
    assert parse_band(f" {text} ") == text
    assert known_band(text) is None


def test_names_of_a_filter_collection():
    pytest.importorskip("speclite", reason="needs speclite, the extra 'simulate'")
    names = [path.name.removesuffix(".ecsv") for path in files("speclite").joinpath("data/filters").iterdir()]
    sdss_like = re.compile(r"(sdss|cfht_megacam|hsc|decam|lsst)\w*-([ugrizy])")
    matches = [match for match in map(sdss_like.fullmatch, names) if match]
    assert len(matches) > 20
    for match in matches:
        assert parse_band(match[0]) == match[2]


@pytest.mark.parametrize("text", ["SDSS r+i", "g.MP9601", "u,g", "F606W F814W", "NIR_Y_J"])
def test_two_bands_in_one_name(text):
    with pytest.raises(ValueError, match="several bands"):
        parse_band(text)


def test_no_name():
    with pytest.raises(ValueError, match="empty"):
        parse_band("  ")
    with pytest.raises(TypeError, match="3"):
        parse_band(3)


@pytest.mark.parametrize(
    "bands", ["ugriz", "u,g,r,i,z", " u , g,r,i,z", ["sdss_u", "g.MP9401", "r", "i", "z"], tuple("ugriz")]
)
def test_several(bands):
    assert parse_bands(bands) == ("u", "g", "r", "i", "z")


def test_several_with_names_of_their_own():
    assert parse_bands("g,NB921") == ("g", "NB921")
    assert parse_bands("F606W") == ("F606W",)
    assert parse_bands("g") == ("g",)


def test_bands_named_twice():
    with pytest.raises(ValueError, match=r"twice: g, r \(from 'g', 'sdss_g', 'r', 'r', 'i'\)"):
        parse_bands(["g", "sdss_g", "r", "r", "i"])


@pytest.mark.parametrize("bands", ["", [], ","])
def test_no_bands(bands):
    with pytest.raises(ValueError, match="no band"):
        parse_bands(bands)


@pytest.mark.parametrize(
    ("cards", "band"),
    [
        ({"FILTER": "g.MP9401"}, "g"),
        ({"filter": "r"}, "r"),
        ({"BAND": "i"}, "i"),
        ({"FILTER1": "CLEAR1L", "FILTER2": "F606W"}, "F606W"),  # Hubble's ACS
        ({"FILTER1": "F814W", "FILTER2": "CLEAR2L"}, "F814W"),
        ({"FILTER1": "CLEAR", "FILTER2": "r"}, "r"),  # two wheels, one empty
        ({"FILTER": "", "FILTNAM": "z"}, "z"),
        ({"HIERARCH ESO INS FILT1 NAME": "r_SDSS"}, "r"),
        ({"OBJECT": "g"}, None),
        ({"FILTER": 7}, None),
    ],
)
def test_cards_of_an_image(cards, band):
    assert band_from_header(fits.Header(cards)) == band
    assert band_from_header({key.removeprefix("HIERARCH "): value for key, value in cards.items()}) == band


@pytest.mark.parametrize(
    ("cards", "bands"),
    [
        ({"BANDS": "u,g,r"}, ("u", "g", "r")),
        ({"bands": ["g", "r"]}, ("g", "r")),
        ({"BAND1": "g", "BAND2": "sdss_r"}, ("g", "r")),
        ({"FILTER": "g"}, None),
    ],
)
def test_cards_of_a_cube(cards, bands):
    assert bands_from_header(cards) == bands


def test_real_headers():
    for name in ("u", "g", "r", "i", "z"):
        path = shared_data("sdss_stripe82", f"sdss-004192-{name}4-0300.fits.fz")
        assert band_from_header(fits.getheader(path, "SCI")) == name
    for name in ("g", "r", "i"):
        assert band_from_header(fits.getheader(shared_data("cfhtls_w3", f"CFHTLS-test_{name}.fits"))) == name


def test_cards_that_name_different_bands():
    for cards in ({"FILTER1": "g", "FILTER2": "r"}, {"FILTER": "SDSS g", "BAND": "r"}):
        with pytest.raises(ValueError, match=r"cards name different bands \(FILTER1? = '.*g', (FILTER2|BAND) = 'r'"):
            band_from_header(cards)
    assert band_from_header({"FILTER1": "POL0V", "FILTER2": "F814W"}) == "F814W"
    assert band_from_header({"FILTER": "r.MP9601", "FILTERS": "g,r,i"}) == "r"  # what the observation had
    assert band_from_header({"BAND": "r", "FILTER": "r DECam SDSS c0002 6415.0 1480.0"}) == "r"
