"""Properties of values and cards for whatever hypothesis thinks of: a result, or an error that says why."""

import re
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_network import ToyTranslator, toy_card

from astro_galtrans.bands import band_from_header, bands_from_header, parse_band, parse_bands
from astro_galtrans.bandstack import read
from astro_galtrans.bandstack._masks import bad_pixels, plane_names
from astro_galtrans.exceptions import GaltransError
from astro_galtrans.geometry import rescale_wcs
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.translate import Translator, translate
from astro_galtrans.units import card_number, flux_factor, flux_zeropoint, parse_unit
from helpers import make_ccd, make_wcs

few = settings(deadline=None, derandomize=True, max_examples=60)
REFUSED = ValueError, TypeError, KeyError, OSError, GaltransError

#: Cards that are read somewhere, and texts as such cards hold them.
CARDS = (
    "FILTER", "BAND", "BANDS", "FILTER1", "BUNIT", "MAGZERO", "MAGZPT", "PHOTZP", "ZP", "PHOTFLAM", "PHOTPLAM", "BLANK",
    "EXPTIME", "PHOTSYS", "BSOFTEN", "BOFFSET", "GAIN", "RADESYS", "EQUINOX", "CRVAL1", "CRPIX1", "CDELT1", "CTYPE1",
    "CD1_1", "PC1_1", "CUNIT1", "LONPOLE", "SEEING", "SURVEY", "TELESCOP", "INSTRUME", "PIXAR_A2", "BSCALE", "BZERO",
    "DATE-OBS", "MJD-OBS", "EXTNAME", "MP_BAD", "GTMODEL", "FLUXMAG0", "MZP_AB", "A_ORDER", "A_0_2", "WCSAXES",
)  # fmt: skip
WORDS = "r g,r AB VEGA adu nmgy nanomaggy Jy/pix 150.06 1e-3 inf nan T F DEC--TAN RA---SIP deg FK5 ct/s 22.5 -1 2000"
words = st.sampled_from([*WORDS.split(), ""])
printed = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
values = st.one_of(words, printed, st.integers(-(2**40), 2**40), finite, st.booleans(), st.just(fits.card.Undefined()))
cards = st.dictionaries(st.sampled_from(CARDS), values, max_size=5)
anything = st.one_of(st.text(max_size=30), values, st.none(), st.binary(max_size=5), st.lists(words, max_size=3))


def quietly(function, *args, **options):
    """What a function returns, or None where it refuses its arguments; every other error is a fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*args, **options)
        except REFUSED:
            return None


@few
@given(anything)
def test_units_and_bands_are_understood_or_refused(value):
    unit = quietly(parse_unit, value)
    assert unit is None or isinstance(unit, u.UnitBase | u.LogUnit)
    band = quietly(parse_band, value)
    assert band is None or parse_band(band) == band  # a name names itself
    bands = quietly(parse_bands, value)
    assert bands is None or all(isinstance(name, str) for name in bands)


@few
@given(cards)
def test_numbers_and_bands_of_headers(found):
    header = fits.Header()
    for key, value in found.items():
        quietly(header.__setitem__, key, value)
    for key in found:
        number = quietly(card_number, header, key) if key in header else None
        assert number is None or np.isfinite(number)
    for function in (band_from_header, bands_from_header, plane_names):
        quietly(function, header)
    zeropoint = quietly(flux_zeropoint, "adu", header)
    assert zeropoint is None or np.isfinite(zeropoint)


@pytest.fixture(scope="module")
def translator():
    return Translator(Checkpoint(ToyTranslator.from_preset("tiny", ("r",), ("r",), 2).eval(), toy_card("r"), "0" * 64))


@few
@given(found=cards)
def test_an_image_with_any_cards_is_translated_or_refused(tmp_path_factory, translator, found):
    path = tmp_path_factory.mktemp("cards") / "x.fits"
    image = make_ccd((12, 14), uncertainty=False)
    header = image.wcs.to_header()
    header["FILTER"], header["BUNIT"] = "r", "nmgy"
    for key, value in found.items():
        quietly(header.__setitem__, key, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.PrimaryHDU(image.data, header).writeto(path, output_verify="ignore")
    result = quietly(translate, path, translator)
    if result is not None:
        assert result[0].data.shape[-2:] == (24, 28)
        assert result[0].header["GTHASH"] == "0" * 64


@few
@given(st.floats(15, 35), st.floats(15, 35), st.floats(1e-3, 1e6))
def test_a_flux_comes_back_from_another_zero_point(first, second, flux):
    there = flux * flux_factor(first, second)
    assert there * flux_factor(second, first) == pytest.approx(flux, rel=1e-12)
    assert second - 2.5 * np.log10(there) == pytest.approx(first - 2.5 * np.log10(flux), abs=1e-9)  # one magnitude


@few
@given(
    st.integers(1, 5), st.floats(0.05, 1.0), st.floats(-180, 180), st.floats(0, 360), st.floats(-80, 80),
    st.sampled_from(["TAN", "SIN", "ZEA"]), st.floats(-20, 60), st.floats(-20, 60),
)  # fmt: skip
def test_every_point_keeps_its_place_on_a_finer_grid(scale, pixel, angle, ra, dec, projection, x, y):
    """Pixel x of the coarse grid has its centre at scale x + (scale - 1) / 2 of the fine one."""
    coarse = make_wcs((40, 50), pixel, angle=angle, centre=(ra, dec), projection=projection)
    fine = rescale_wcs(coarse, scale)
    moved = fine.pixel_to_world(scale * x + (scale - 1) / 2, scale * y + (scale - 1) / 2)
    assert moved.separation(coarse.pixel_to_world(x, y)).arcsec < 1e-6 * max(1, pixel)
    assert fine.array_shape == (40 * scale, 50 * scale)


names = st.sampled_from(["BAD", "SAT", "CR", "DETECTED", "NO_DATA", "EDGE", "MINE"])
planes = st.dictionaries(names, st.integers(0, 15), max_size=5)
planes = planes.filter(lambda found: len(set(found.values())) == len(found))


@few
@given(planes, st.lists(st.integers(0, 2**16 - 1), min_size=6, max_size=6), st.data())
def test_planes_of_a_mask_are_those_of_their_bits(named, flags, data):
    header = {f"MP_{name}": bit for name, bit in named.items()}
    flags = np.array(flags, np.int32).reshape(2, 3)
    chosen = data.draw(st.lists(st.sampled_from(sorted(named) or ["none"]), unique=True))
    bad = bad_pixels(flags, header, tuple(chosen))[0]
    expected = np.array([[any(value >> named[name] & 1 for name in chosen if name in named) for value in row]
                         for row in flags.tolist()])  # fmt: skip
    np.testing.assert_array_equal(bad, expected)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        usual, note = bad_pixels(flags, header, guess=False)
    assert usual.shape == flags.shape and isinstance(note, str)
    told = [re.search("taken as bad: (.*); choose", str(warning.message))[1] for warning in said]
    assert len(told) < 2
    if named and told:
        assert set(told[0].split(", ")) <= {*named, *(f"bit {bit}" for bit in range(16))}
    assert not usual[flags == 0].any() or not named


@few
@given(st.dictionaries(st.sampled_from(["MP_BAD", "BIT01", "MASK_VER", "MP_X", "MASKP0"]), values, max_size=4))
def test_cards_of_planes_hold_anything(found):
    assert all(0 <= bit < 64 for bit in plane_names(found).values())


@few
@given(st.lists(st.sampled_from([0.0, 1.0, -99.0, np.nan, np.inf, -np.inf, 1e30, 3.5]), min_size=9, max_size=9))
def test_pixels_of_any_value(pixels):
    data = np.resize(np.array(pixels, "f4"), (10, 12))
    image = CCDData(data, unit="nmgy", wcs=make_wcs((10, 12)), meta={"FILTER": "r"})
    stack = quietly(read, image)
    if stack is not None:
        np.testing.assert_array_equal(stack.data[0], image.data)  # nothing is invented
        marks = np.isfinite(image.data) & (image.data >= 1e20)  # which no flux is
        assert not marks.any() or stack.mask[0][marks].all()
