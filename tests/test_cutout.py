"""Stamps of all bands by sky position, and what a translation says of stamps that were cut by pixels."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from numpy.testing import assert_array_equal

from astro_galtrans import cutout, cutouts
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.translate import translate
from helpers import make_wcs, shared_data

BANDS = "ugriz"
SHAPE = (120, 130)
SHIFTS = {"u": (17, -9), "g": (-12, 8), "r": (0, 0), "i": (9, 15), "z": (-8, -11)}  # pixels, as of SDSS frames
NOISE = {"u": 0.055, "g": 0.018, "r": 0.027, "i": 0.044, "z": 0.217}


def frames(**extra):
    """Five bands, each on a grid of its own; pixels hold their declination, so that a stamp shows where it was cut."""
    images = {}
    for band, shift in SHIFTS.items():
        wcs = make_wcs(SHAPE)
        wcs.wcs.crpix += shift
        images[band] = CCDData(np.ones(SHAPE, "f4"), unit="nmgy", wcs=wcs, meta={"FILTER": band}, **extra)
        y, x = np.indices(SHAPE)
        images[band].data[:] = (wcs.pixel_to_world_values(x, y)[1] - 0.1) * 3600
    return images


POSITION = SkyCoord(351.6, 0.1, unit="deg")


@pytest.mark.parametrize("size", [40, 40 * 0.396 * u.arcsec, (40, 30), (15.84, 11.88) * u.arcsec])
def test_all_bands_show_the_same_sky(size):
    stamps = cutout(frames(), POSITION.galactic, size)
    assert list(stamps) == list(BANDS)
    width = 40 if np.size(size) == 1 else 30
    for band, stamp in stamps.items():
        margin = 0 if band == "r" else 8
        assert stamp.shape == (40 + margin, width + margin)
        x, y = stamp.wcs.world_to_pixel(POSITION)
        assert abs(x - (stamp.shape[1] - 1) / 2) <= 0.5 + 1e-6
        assert abs(y - (stamp.shape[0] - 1) / 2) <= 0.5 + 1e-6
        rows = np.arange(stamp.shape[0])
        declination = (stamp.wcs.pixel_to_world_values(x, rows)[1] - 0.1) * 3600
        np.testing.assert_allclose(stamp.data[:, round(float(x))], declination, atol=1e-4)
        assert stamp.meta["FILTER"] == band


def test_mask_and_noise_are_cut_too():
    images = frames(mask=np.zeros(SHAPE, bool), uncertainty=StdDevUncertainty(np.ones(SHAPE)))
    images["i"].mask[60, 70] = True
    images["i"].uncertainty.array[60, 70] = 9
    stamp = cutout(images, POSITION, 50)["i"]
    assert_array_equal(np.argwhere(stamp.mask), np.argwhere(stamp.uncertainty.array == 9))
    assert stamp.mask.sum() == 1


def test_places_that_are_not_covered():
    away = SkyCoord(351.6, 0.1 + 45 * 0.396 / 3600, unit="deg")
    stamps = cutout({band: frames()[band] for band in "gr"}, away, 40)
    assert stamps["r"].shape[0] < 40  # ends at the edge of its image
    for lost in (SkyCoord(10, 10, unit="deg"), SkyCoord(351.6, 0.1 + 66 * 0.396 / 3600, unit="deg")):
        with pytest.raises(ValueError, match=r"band [ugriz] does not cover \d+h"):
            cutout(frames(), lost, 40)
    with pytest.raises(ValueError, match="must be one SkyCoord"):
        cutout(frames(), (351.6, 0.1), 40)
    with pytest.raises(ValueError, match="the size must be positive"):
        cutout(frames(), POSITION, -3)


def noisy(images, rng):
    for band, image in images.items():
        image.data[:] = rng.normal(0, NOISE[band], image.shape)
    return images


def test_stamps_cut_by_pixels_are_told_of_and_those_by_position_are_whole(rng):
    images = noisy(frames(), rng)
    sliced = {band: image[30:94, 30:94] for band, image in images.items()}
    said = r"\d\d % of the image and \d\d % of the result is masked.*grid of band r; cut all .*cutout\(images"
    with pytest.warns(GaltransWarning, match=said) as told:
        out = translate(sliced, "swin-sdss-cfhtls", psf=1.3)
    assert any(f"and {100 * out['r'].mask.mean():.0f} % of the result" in str(warning.message) for warning in told)
    assert out["r"].mask.mean() > 0.4
    out = translate(cutout(images, POSITION, 64), "swin-sdss-cfhtls", psf=1.3)
    assert out["r"].shape == (128, 128)
    assert not out["r"].mask.any()


def catalogue(number=4):
    """Rows of which the second has no position and the last lies off the images."""
    ra = 351.6 + 0.396 / 3600 * np.linspace(-15, 15, number)
    ra[1], ra[-1] = np.nan, 10.0
    return Table({"name": [f"object {k}" for k in range(number)], "ra": ra, "dec": np.full(number, 0.1)})


@pytest.mark.parametrize("kind", ["table", "file", "positions"])
def test_many_objects_are_cut_as_each_alone(kind, tmp_path):
    images, table = frames(), catalogue()
    given = table
    if kind == "file":
        given = tmp_path / "objects.ecsv"
        table.write(given)
    elif kind == "positions":
        given = SkyCoord(np.nan_to_num(table["ra"]), table["dec"], unit="deg")
    with pytest.warns(GaltransWarning, match="left out: 2 objects, rows 1, 3 of 4"):
        found = cutouts(images, given, 40)
    assert list(found["row"]) == [0, 2]
    if kind != "positions":
        assert list(found["name"]) == ["object 0", "object 2"] and "cutout" not in table.colnames
    for row, stamps in zip(found["row"], found["cutout"], strict=True):
        alone = cutout(images, SkyCoord(table["ra"][row], 0.1, unit="deg"), 40)
        for band, stamp in stamps.items():
            assert_array_equal(stamp.data, alone[band].data)
            assert stamp.wcs.pixel_to_world(0, 0).separation(alone[band].wcs.pixel_to_world(0, 0)).arcsec < 1e-9


def test_a_catalogue_off_the_images():
    with pytest.raises(ValueError, match="bands u, g, r, i, z, cover none of the 2 objects"):
        cutouts(frames(), SkyCoord([10, 20], [0, 0], unit="deg"), 40)
    with pytest.raises(ValueError, match="no sky coordinates"):
        cutouts(frames(), Table({"id": [1, 2]}), 40)


def test_cutouts_of_a_catalogue_are_translated_without_a_masked_edge(rng):
    images = noisy(frames(), rng)
    table = cutouts(images, SkyCoord([351.6, 351.601], [0.1, 0.101], unit="deg"), 32)
    found = translate(table, "swin-sdss-cfhtls", psf=1.3)
    assert list(found["row"]) == [0, 1]
    for stamps in found["cutout"]:
        assert stamps["r"].shape == (64, 64) and not stamps["r"].mask.any()


def test_real_frames_on_grids_of_their_own():
    paths = [shared_data("sdss_stripe82", f"sdss-004192-{band}4-0300.fits.fz") for band in BANDS]
    stamps = cutout(paths, SkyCoord(351.62, 0.1, unit="deg"), 64)
    truth = fits.getdata(paths[2], "SCI")
    x, y = (round(float(value)) for value in stamps["r"].wcs.world_to_pixel(SkyCoord(351.62, 0.1, unit="deg")))
    assert stamps["r"].data[y, x] in truth
    assert stamps["u"].shape == (72, 72)
