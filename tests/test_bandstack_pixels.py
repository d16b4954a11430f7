"""Pixel values as surveys write them: undefined integers, asinh compression, surface brightness, units left unsaid."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDData, NDDataRef, StdDevUncertainty
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from astro_galtrans.bandstack import read
from helpers import make_ccd, make_wcs

SHAPE = (12, 15)
CCD = make_ccd(SHAPE, "g", uncertainty=False)
PIXEL = 0.396  # arcsec


def header(**cards):
    made = make_wcs(SHAPE).to_header()
    made.update({"FILTER": "g", **cards})
    return made


def hdu(data=CCD.data, **cards):
    return fits.PrimaryHDU(data, header(**cards))


# --- undefined pixels


@pytest.mark.parametrize("kind", [fits.PrimaryHDU, fits.CompImageHDU])
@pytest.mark.parametrize("dtype", ["i2", "i4", "u2"])
def test_undefined_pixels_of_integer_images(kind, dtype, tmp_path):
    data = np.arange(180, dtype=dtype).reshape(SHAPE)
    image = kind(data, header(BUNIT="nmgy"))
    image.header["BLANK"] = 17 - (32768 if dtype == "u2" else 0)  # before BZERO is added
    in_memory = read(kind(data, image.header)) if dtype != "u2" else None
    image.writeto(tmp_path / "image.fits")
    for stack in (read(tmp_path / "image.fits"), in_memory):
        if stack is not None:
            assert_array_equal(np.isnan(stack.data[0]), data == 17)
            assert_array_equal(stack.data[0][data != 17], data[data != 17])
    ccd = NDData(data, unit="nmgy", wcs=CCD.wcs, meta={"FILTER": "g", "BLANK": "17"})
    assert_array_equal(np.isnan(read(ccd).data[0]), data == 17)


def test_scaled_integers(tmp_path):
    raw = np.arange(180, dtype="i2").reshape(SHAPE)
    image = hdu(raw.copy(), BUNIT="nmgy")
    image.scale("int16", bscale=0.5, bzero=3)  # in place; 0.5 n + 3 in the image is n in the file
    image.header["BLANK"] = 28  # 17 in the image
    image.writeto(tmp_path / "image.fits")
    stack = read(tmp_path / "image.fits")
    assert_array_equal(np.isnan(stack.data[0]), raw == 17)


# --- asinh


@pytest.mark.parametrize("as_text", [False, True])
def test_pan_starrs_asinh_pixels_become_linear(as_text, rng):
    # STScI: "PS1 Stack images", unconv; the inverse is theirs: L = BOFFSET + BSOFTEN (exp(C/a) - exp(-C/a))
    linear = rng.normal(20, 300, SHAPE)
    linear[0, 0] = 1e6
    a, offset, soften = 2.5 * np.log10(np.e), 17.5, 80.0
    compressed = a * np.arcsinh((linear - offset) / (2 * soften))
    cards = {"BSOFTEN": soften, "BOFFSET": offset, "EXPTIME": 900.0}
    image = hdu(compressed, **({key: str(value) for key, value in cards.items()} if as_text else cards))
    image.header["HIERARCH FPA.ZP"] = 25.0
    stack = read(image)
    assert_allclose(stack.data[0], linear, rtol=1e-10)
    assert stack.unit == u.adu
    assert_allclose(stack.zeropoint, 25 + 2.5 * np.log10(900))
    assert "BSOFTEN" not in stack.meta
    assert stack.meta["GTPIXELS"] == "linearised from asinh (BSOFTEN = 80, BOFFSET = 17.5)"

    sigma = StdDevUncertainty(np.full(SHAPE, 1e-4))  # of the compressed pixels, as an uncertainty is
    ccd = CCDData(compressed, unit="adu", wcs=CCD.wcs, uncertainty=sigma, meta={**cards, "FILTER": "g", "FPA.ZP": 25})
    there = offset + 2 * soften * np.sinh((compressed + 1e-4) / a)
    assert_allclose(np.sqrt(read(ccd).variance[0]), there - linear, rtol=1e-3)


@pytest.mark.parametrize("cards", [{"BSOFTEN": 80.0}, {"BOFFSET": 3.0}, {"BSOFTEN": 0.0, "BOFFSET": 1.0}])
def test_asinh_pixels_without_the_numbers_are_refused(cards):
    with pytest.raises(ValueError, match="asinh-compressed, but BSOFTEN = "):
        read(hdu(BUNIT="adu", MAGZERO=25.0, **cards))


# --- surface brightness


@pytest.mark.parametrize(
    ("unit", "card", "flux_unit"),
    [("MJy/sr", "PIXAR_SR", "Jy"), ("MJy/sr", "PIXAR_A2", "Jy"), ("nJy/arcsec2", "PIXAR_A2", "Jy"),
     ("nmgy/arcsec2", "PIXAR_A2", "nmgy")],
)  # fmt: skip
def test_surface_brightness_times_the_area_of_a_pixel(unit, card, flux_unit):
    area = PIXEL**2 * u.arcsec**2
    cards = {card: area.to_value(u.sr if card.endswith("SR") else u.arcsec**2)}
    stack = read(hdu(BUNIT=unit, **cards))
    truth = (CCD.data * u.Unit(unit) * area).to_value(flux_unit)
    assert_allclose(stack.data[0], truth, rtol=1e-6)
    assert stack.unit == u.Unit(flux_unit)
    assert card in stack.meta["GTPIXELS"]
    hdulist = fits.HDUList([hdu(BUNIT=unit, **cards), fits.ImageHDU(np.full(SHAPE, 2.0), name="ERR")])
    assert_allclose(np.sqrt(read(hdulist).variance), (2 * u.Unit(unit) * area).to_value(flux_unit), rtol=1e-6)


def test_area_that_the_wcs_contradicts():
    with pytest.raises(
        ValueError, match=r"PIXAR_A2 = 0.039204 contradicts the WCS, whose pixels have 0.156816 arcsec2"
    ):
        read(hdu(BUNIT="nmgy/arcsec2", PIXAR_A2=(PIXEL / 2) ** 2))
    with pytest.raises(ValueError, match="it is a surface brightness, and the area of a pixel is not known"):
        read(hdu(BUNIT="MJy/sr"))


# --- units


@pytest.mark.parametrize("card", ["MZP_AB", "MAGZERO", "PHOTZP"])
def test_an_image_with_a_zero_point_needs_no_unit(card):
    stack = read(hdu(**{card: 30.0}))
    assert (stack.unit, stack.zeropoint) == (u.adu, 30.0)
    assert stack.meta["GTZPFROM"] == f"{card} (AB)"


def test_an_image_without_both():
    for cards in ({}, {"SURVEY": "Canada-France-Hawaii Legacy Survey"}, {"MAGZPT": 25.0, "EXPTIME": 10.0}):
        with pytest.raises(ValueError, match="no unit; pass unit="):
            read(hdu(**cards))


# --- sliced world coordinates


def test_sliced_ndata_has_the_wcs_of_its_slice():
    whole = make_wcs((40, 48), angle=20)
    image = NDDataRef(np.ones((40, 48)), unit="nmgy", wcs=whole, meta={"FILTER": "g"})[5:30, 11:40]
    wcs = read(image).wcs
    assert isinstance(wcs, WCS)
    assert_allclose(wcs.pixel_to_world_values(3, 4), whole.pixel_to_world_values(14, 9), atol=1e-12)
    both = {"g": image, "r": CCDData(np.ones((25, 29)), unit="nmgy", wcs=whole[5:30, 11:40])}
    assert read(both).on_one_grid


def test_sliced_cube_has_the_wcs_of_its_plane():
    wcs = WCS(naxis=3)
    wcs.wcs.ctype, wcs.wcs.cunit = ("RA---TAN", "DEC--TAN", "WAVE"), ("deg", "deg", "m")
    wcs.wcs.cdelt, wcs.wcs.crval = (-1e-4, 1e-4, 1e-7), (10, 20, 5e-7)
    cube = NDDataRef(np.ones((3, 40, 48)), unit="nmgy", wcs=wcs, meta={"FILTER": "g"})
    for part, first in ((cube[1, 5:30, 11:40], (11, 5)), (cube[1], (0, 0))):
        there = read(part).wcs.pixel_to_world_values(3, 4)
        assert_allclose(there, wcs.pixel_to_world_values(3 + first[0], 4 + first[1], 1)[:2], atol=1e-12)
    part = cube[:, 5:30, 11:40]
    assert_allclose(read(part, "gri").wcs.pixel_to_world_values(0, 0), wcs.pixel_to_world_values(11, 5, 0)[:2])
