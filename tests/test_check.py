"""What is said of an image: that which was put into it."""

import re
import warnings

import numpy as np
import pytest
from astropy.io import fits

from astro_galtrans.check import describe_image
from astro_galtrans.cli import main
from helpers import SKY_RMS, make_bands, make_ccd


def test_what_is_said_is_what_was_put_in():
    images = make_bands((64, 80))
    for image in images.values():
        image.mask = np.zeros((64, 80), bool)
        image.mask[:16] = True
    text = describe_image(images)
    assert "bands: u, g, r, i, z\n" in text
    assert "AB magnitude 22.5" in text
    assert "80 x 64 pixels of 0.396 arcsec" in text
    ra, dec = map(float, re.search(r"centre: (\S+) (\S+) \(ICRS\)", text).groups())
    assert (ra, dec) == pytest.approx((351.6, 0.1), abs=1e-4)
    for band, rms in SKY_RMS.items():
        share, _level, found = re.search(rf"^{band} +(\S+)% +(\S+) +(\S+)", text, re.MULTILINE).groups()
        assert float(share) == 25.0
        assert float(found) == pytest.approx(rms, rel=0.1)
    assert re.search(r"^.*swin-sdss-cfhtls.*:\n  the image is like those of its training", text, re.MULTILINE)
    assert re.search(r"swin-cfhtls-sdss.*:\n  pixel scale is 0.396 arcsec; .* from 0.1841 to 0.1879", text)


def test_a_wrong_unit_and_a_result_are_said(tmp_path, capsys):
    """In the words of the translation's warnings, and on the command line with its options."""
    for band, image in make_bands((64, 80), unit="Jy", uncertainty=False).items():
        image.write(tmp_path / f"{band}.fits")
    assert main(["check", str(tmp_path), "-m", "swin-sdss-cfhtls"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"the unit is probably not Jy, as the header of .*g\.fits says; --unit nanomaggy would fit", said)
    assert "brightest pixel is" not in said
    result = make_bands((64, 80))
    for image in result.values():
        image.meta |= {"GTTARGET": "cfhtls-wide", "GTMODEL": "swin-sdss-cfhtls"}
    assert "result of swin-sdss-cfhtls, an image of cfhtls-wide" in describe_image(
        result, translators=["swin-sdss-sdss"]
    )


def test_bands_that_are_missing_are_named():
    assert "  needs u, g, i, z as well" in describe_image(make_ccd(), translators=["swin-sdss-cfhtls"])


def test_zero_points_say_where_they_are_from(tmp_path):
    image = make_ccd(uncertainty=False)
    header = image.wcs.to_header()
    header["BUNIT"], header["FILTER"], header["MAGZERO"] = "adu", "r", 25.0
    fits.PrimaryHDU(image.data, header).writeto(tmp_path / "x.fits")
    assert re.search(r"AB magnitude 25 \(.*MAGZERO.*\)", describe_image(tmp_path / "x.fits"))


def test_files_that_cannot_be_read_are_told_beside_others(tmp_path, capsys):
    image = make_ccd()
    image.write(tmp_path / "a.fits")
    (tmp_path / "b.fits").write_bytes(b"SIMPLE  =" + b"\x1b[2J" * 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["check", str(tmp_path), "-m", "swin-sdss-cfhtls"]) == 1
    text = capsys.readouterr().out
    assert "bands: r" in text and "b.fits cannot be read" in text and "\x1b" not in text
