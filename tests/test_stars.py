"""The PSF that stars show, carried by what is cut from their image."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table

from astro_galtrans import cutout, cutouts, translate
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.stars import as_image, measured_psf
from helpers import make_wcs

galsim = pytest.importorskip("galsim")

PIXEL, BOX, ROWS = 0.396, 45, 4
NOISE = dict(zip("ugriz", (0.055, 0.018, 0.027, 0.044, 0.22), strict=True))
PSF = 0.9 * galsim.Moffat(3.2, fwhm=1.5) + 0.1 * galsim.Moffat(2.5, fwhm=4.0)


def drawn(profile, n, pixel=PIXEL):
    return profile.drawImage(nx=n, ny=n, scale=pixel).array.astype(float)


@pytest.fixture(scope="module")
def frame():
    """Images of 15 stars off the pixels' centres and, in the last box, a galaxy, and its place."""
    rng, side = np.random.default_rng(5), BOX * ROWS
    light = np.zeros((side, side))
    for k in range(ROWS**2):
        source = 400 * PSF.shift(*rng.uniform(-0.2, 0.2, 2))
        if k == ROWS**2 - 1:
            source = galsim.Convolve(40 * galsim.Exponential(0.8), PSF)
        y, x = BOX * (k // ROWS), BOX * (k % ROWS)
        light[y : y + BOX, x : x + BOX] += drawn(source, BOX)
    wcs = make_wcs(light.shape, PIXEL)
    images = {
        band: CCDData(light + rms * rng.normal(size=light.shape), unit="nmgy", wcs=wcs) for band, rms in NOISE.items()
    }
    middle = BOX * ROWS - (BOX + 1) / 2
    return images, wcs.pixel_to_world(middle, middle)


def test_a_cutout_carries_what_the_stars_of_its_image_show(frame):
    images, place = frame
    stamp = cutout(images, place, 32)
    true = drawn(PSF, 51)
    for one in stamp.values():
        assert gaussian_fwhm(one.psf) == pytest.approx(gaussian_fwhm(true), rel=0.01)
        assert one.psf.sum() == pytest.approx(1, rel=1e-5)
    result = translate(stamp, "srgan-sdss-cfhtls")["r"]  # no warning of a PSF that is assumed
    assert result.meta["GTFLUXES"] == "u,g,r,i,z"
    alone = {band: CCDData(one.data, unit="nmgy", wcs=one.wcs) for band, one in stamp.items()}
    whole = translate(alone, "srgan-sdss-cfhtls", psf={band: drawn(PSF, 31) for band in "ugriz"})["r"]
    assert np.abs(result.data - whole.data).max() < 0.03 * whole.data.max()


def test_what_images_carry_comes_before_their_stars(frame):
    images, place = frame
    own = drawn(galsim.Moffat(3.0, fwhm=1.1), 31)
    carrying = {band: CCDData(one, psf=own if band == "r" else None) for band, one in images.items()}
    table = cutouts(carrying, SkyCoord([place]), 32)
    np.testing.assert_array_equal(table["cutout"][0]["r"].psf, own)
    assert gaussian_fwhm(table["cutout"][0]["i"].psf) == pytest.approx(gaussian_fwhm(drawn(PSF, 51)), rel=0.01)


def test_faint_stars_tell_a_width_and_none_nothing(rng):
    sharp, noise = galsim.Moffat(3.0, fwhm=1.0), 0.03
    stars = [drawn(15 * sharp.shift(*rng.uniform(-0.2, 0.2, 2)), BOX) for _ in range(9)]
    light = np.block([stars[:3], stars[3:6], stars[6:]]) + noise * rng.normal(size=(3 * BOX, 3 * BOX))
    psf = measured_psf(light, None, PIXEL)
    assert np.ndim(psf) == 0 and psf == pytest.approx(PIXEL * gaussian_fwhm(drawn(sharp, 31)), rel=0.05)
    wcs = make_wcs(light.shape, PIXEL)
    image = {band: CCDData(light, unit="nmgy", wcs=wcs) for band in "ri"}
    stamp = cutout(image, wcs.pixel_to_world(67, 67), 40)
    assert gaussian_fwhm(stamp["r"].psf) * PIXEL == pytest.approx(psf, rel=0.02)
    assert "GTFLUXES" not in translate(stamp, "srgan-sdss-cfhtls")["r"].meta
    blank = CCDData(rng.normal(size=(60, 60)), unit="nmgy", wcs=make_wcs((60, 60), PIXEL))
    assert cutout({"r": blank}, blank.wcs.pixel_to_world(30, 30), 20)["r"].psf is None
    blank.meta = fits.Header([("SEEING", 1.3, "[arcsec] of its stars")])
    assert gaussian_fwhm(cutout({"r": blank}, blank.wcs.pixel_to_world(30, 30), 20)["r"].psf) * PIXEL == pytest.approx(
        1.3, rel=0.02
    )


@pytest.mark.parametrize("fwhm", [0.9, 1.4, 3.0])
def test_a_width_as_an_image(fwhm):
    image = as_image(fwhm, PIXEL)
    assert gaussian_fwhm(image) * PIXEL == pytest.approx(fwhm, rel=0.02)


def test_objects_of_a_catalogue_have_the_psf_of_their_image(frame, tmp_path):
    pytest.importorskip("zarr")
    from astro_galtrans.stamps import Stamps
    from astro_galtrans.survey import translate_catalogue

    images, place = frame
    hdus = [fits.PrimaryHDU()]
    for band, one in images.items():
        header = one.wcs.to_header()
        header["BUNIT"], header["FILTER"] = "nmgy", band
        hdus.append(fits.ImageHDU(one.data.astype("f4"), header, name=band))
    fits.HDUList(hdus).writeto(tmp_path / "frame.fits")
    table = Table({"ra": [place.ra], "dec": [place.dec]})
    made = {}
    for name, psf in (("stars", None), ("given", {band: drawn(PSF, 31) for band in "ugriz"}), ("wrong", 0.8)):
        options = {"size": 32, "progress": False, "psf": psf}
        translate_catalogue(table, [tmp_path / "frame.fits"], "srgan-sdss-cfhtls", tmp_path / name, **options)
        made[name] = np.asarray(Stamps.from_files(tmp_path / name, "cfhtls-wide").images[:])[0]
    peak = made["given"].max()
    assert np.abs(made["stars"] - made["given"]).max() < 0.05 * peak < np.abs(made["wrong"] - made["given"]).max()
    with pytest.raises(OSError, match="other settings"):
        translate_catalogue(table, [tmp_path / "frame.fits"], "srgan-sdss-cfhtls", tmp_path / "stars", size=32, psf=1.2)
