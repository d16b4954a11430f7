"""The data flow from image to translation, with a network whose answer is known and whole images of every kind."""

import copy
import hashlib
import warnings

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.convolution import Gaussian2DKernel, convolve_fft
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.wcs import WCS
from photutils.centroids import centroid_com
from scipy.ndimage import distance_transform_cdt
from toy_network import COUNTS_PER_NANOMAGGY, ToySampler, ToyTranslator, toy_card

from astro_galtrans import list_translators, load_translator, translate
from astro_galtrans.demo import sample
from astro_galtrans.exceptions import CheckpointError, DomainError, DomainWarning, GaltransError
from astro_galtrans.models import checkpoint, registry, shipped
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.surveys import get_survey
from astro_galtrans.translate import Translator
from helpers import BANDS, SKY_RMS, galaxy, make_bands, make_ccd, make_cube, make_wcs, shared_data

LOG_STD = np.float32(-1.5)  # what an untrained network of `toy_network` claims
REACH = 3  # of a bad pixel: the toy's margin, which is smaller than the widest PSF


def make_translator(cls=ToyTranslator, bands=BANDS, scale=2, **changes):
    model = cls.from_preset("tiny", bands, bands, scale).eval()
    return Translator(Checkpoint(model, toy_card(bands, scale=scale, **changes), "0" * 64))


@pytest.fixture(scope="module")
def toy():
    return make_translator()


@pytest.fixture(scope="module")
def identity():
    return make_translator(scale=1)


@pytest.fixture(scope="module")
def sampler():
    return make_translator(ToySampler, sampling={"n_samples": 3})


@pytest.fixture
def toy_file(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "toy", "toy_network:ToyTranslator")
    registry._table.cache_clear()
    path = tmp_path / "toy.safetensors"
    checkpoint.save(path, ToyTranslator.from_preset("tiny", BANDS, BANDS, 2), toy_card())
    yield path
    registry._table.cache_clear()


def stacked(result):
    return np.stack([image.data for image in result.values()])


def stacked_std(result):
    return np.stack([image.uncertainty.array for image in result.values()])


def column(values):
    return np.reshape(np.asarray(values, dtype=float), (-1, 1, 1))


# -- flux and its uncertainty


def test_a_network_that_changes_nothing_changes_the_unit_only(identity):
    images = make_bands()
    result = identity(images)
    np.testing.assert_allclose(stacked(result), stacked(images) * COUNTS_PER_NANOMAGGY, rtol=2e-5, atol=1e-3)
    assert {image.unit for image in result.values()} == {u.adu}


def test_standard_deviation_is_that_of_the_network_in_flux(identity):
    result = identity(make_bands())
    softening = 4 * column([SKY_RMS[band] for band in BANDS]) * COUNTS_PER_NANOMAGGY
    expected = np.exp(LOG_STD) * np.hypot(softening, stacked(result))  # d flux / d u = sqrt(b^2 + f^2)
    np.testing.assert_allclose(stacked_std(result), expected, rtol=1e-4)


def test_flux_is_conserved_on_the_finer_grid(toy):
    shape = (64, 64)
    images = {band: CCDData(galaxy(shape, 1e3).astype("f4"), unit="nmgy", wcs=make_wcs(shape)) for band in BANDS}
    result = toy(images, strict=False)
    for band in BANDS:
        assert result[band].shape == (128, 128)
        np.testing.assert_allclose(result[band].data.sum(), 1.1e3 * COUNTS_PER_NANOMAGGY, rtol=0.01)


def test_sources_stay_where_they_are_on_the_sky(toy):
    shape, (x, y) = (40, 48), (15.3, 22.6)
    yy, xx = np.indices(shape)
    star = 50 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 1.6**2))
    images = {band: CCDData(star.astype("f4"), unit="nmgy", wcs=make_wcs(shape, angle=20)) for band in BANDS}
    there = images["r"].wcs.pixel_to_world(x, y)
    for result in toy(images).values():
        assert there.separation(result.wcs.pixel_to_world(*centroid_com(result.data))).arcsec < 0.01


def test_calibration_factors_are_applied(identity):
    factors = {"flux": [1.0, 1.1, 1.2, 1.3, 1.4], "std": [1.0, 2.0, 3.0, 4.0, 5.0]}
    images = make_bands()
    plain, result = identity(images), make_translator(scale=1, calibration=factors)(images)
    np.testing.assert_allclose(stacked(result), column(factors["flux"]) * stacked(plain), rtol=1e-5)
    expected = column(factors["flux"]) * column(factors["std"]) * stacked_std(plain)
    np.testing.assert_allclose(stacked_std(result), expected, rtol=1e-5)


def test_noise_of_the_input_beyond_the_usual_is_added(toy):
    usual, noisy = make_bands(), make_bands()
    for image in noisy.values():
        image.uncertainty.array *= 3
    excess = (3**2 - 1) * column([SKY_RMS[band] for band in BANDS]) ** 2 * COUNTS_PER_NANOMAGGY**2 / 2**4
    expected = np.sqrt(stacked_std(toy(usual)) ** 2 + excess)
    np.testing.assert_allclose(stacked_std(toy(noisy)), expected, rtol=1e-4)


def test_noise_as_usual_adds_nothing(toy):
    with_noise, without = make_bands(), make_bands(uncertainty=False)
    np.testing.assert_allclose(stacked_std(toy(with_noise)), stacked_std(toy(without)), rtol=1e-5)


def test_photon_noise_is_usual_where_the_card_counts_photons():
    electrons = [100.0, 200.0, 300.0, 400.0, 500.0]
    card = toy_card()
    counting = make_translator(source=card["source"] | {"electrons": electrons})
    images, noisy = make_bands(uncertainty=False), make_bands()
    for image, gain in zip(noisy.values(), electrons, strict=True):
        image.uncertainty.array = np.sqrt(image.uncertainty.array**2 + np.maximum(image.data, 0) / gain)
    np.testing.assert_allclose(stacked_std(counting(noisy)), stacked_std(counting(images)), rtol=1e-4)
    assert np.max(stacked_std(make_translator()(noisy)) / stacked_std(counting(images))) > 1.0002


def test_results_are_float32(toy):
    for dtype in ("float32", "float64"):
        result = toy(make_bands(dtype=dtype))
        assert {image.data.dtype for image in result.values()} == {np.dtype("float32")}
        assert {image.uncertainty.array.dtype for image in result.values()} == {np.dtype("float32")}


# -- units


@pytest.mark.parametrize(
    ("unit", "per_nanomaggy", "options"),
    [
        ("uJy", 10 ** (0.4 * (23.9 - 22.5)), {}),
        ("mgy", 1e-9, {}),
        ("adu", 100.0, {"zeropoint": 27.5}),
        ("electron / s", 0.01, {"zeropoint": 17.5}),
    ],
)
def test_the_unit_of_the_image_does_not_matter(identity, unit, per_nanomaggy, options):
    images = {
        band: CCDData(
            image.data * np.float32(per_nanomaggy), unit=unit, wcs=image.wcs,
            uncertainty=StdDevUncertainty(image.uncertainty.array * np.float32(per_nanomaggy)),
        )
        for band, image in make_bands().items()
    }  # fmt: skip
    expected = identity(make_bands())
    np.testing.assert_allclose(stacked(identity(images, **options)), stacked(expected), rtol=2e-4, atol=0.05)


# -- bad pixels


@pytest.mark.parametrize("kind", ["mask", "nan", "inf"])
def test_bad_pixels_are_masked_with_what_they_touch(toy, kind):
    images, spoilt = make_bands((40, 48)), make_bands((40, 48))
    if kind == "mask":
        spoilt["g"].mask = np.zeros((40, 48), bool)
        spoilt["g"].mask[20, 30] = True
        spoilt["g"].data[20, 30] = 500
    else:
        spoilt["g"].data[20, 30] = {"nan": np.nan, "inf": np.inf}[kind]
    clean, result = toy(images), toy(spoilt)
    expected = np.zeros((80, 96), bool)
    expected[2 * (20 - REACH) : 2 * (20 + REACH + 1), 2 * (30 - REACH) : 2 * (30 + REACH + 1)] = True
    assert result["u"].meta["GTFILLED"] == 1
    for band in BANDS:
        np.testing.assert_array_equal(result[band].mask, expected)
        assert clean[band].mask is None
        assert np.isfinite(result[band].data).all()
        assert np.isfinite(result[band].uncertainty.array).all()
        np.testing.assert_array_equal(result[band].data[~expected], clean[band].data[~expected])


def test_an_infinite_variance_is_a_bad_pixel(toy):
    images = make_bands()
    images["r"].uncertainty.array[5, 5] = np.inf
    result = toy(images)
    assert result["r"].mask[10, 10]
    assert not result["r"].mask[40, 40]
    assert np.isfinite(result["r"].uncertainty.array).all()


def test_a_filled_star_stays_a_star(toy):
    # a saturated core: what stands in for it is as bright as its surroundings, so the star does not become a hole
    images = make_bands((64, 64))  # with some sky that the star does not reach
    y, x = np.indices((64, 64))
    for image in images.values():
        image.data += (200 * np.exp(-np.hypot(y - 32, x - 32) / 2)).astype("f4")
        image.mask = image.data > 100
        image.data[image.mask] = np.nan
    result = toy(images)
    for image in result.values():
        assert image.data[64:66, 64:66].min() > 50 * COUNTS_PER_NANOMAGGY / 4


# -- kinds of objects


def test_the_same_kind_of_object_comes_back(toy, tmp_path):
    bands = make_bands()
    expected = stacked(toy(bands))
    as_list = toy(list(bands.values()))
    assert isinstance(as_list, list)
    np.testing.assert_array_equal([image.data for image in as_list], expected)
    cube = toy(make_cube(), bands="ugriz")
    assert isinstance(cube, CCDData)
    assert isinstance(cube.uncertainty, StdDevUncertainty)
    np.testing.assert_array_equal(cube.data, expected)
    plain = toy(NDData(make_cube()), bands=list(BANDS))
    assert type(plain) is NDData
    np.testing.assert_array_equal(plain.data, expected)
    paths = {band: tmp_path / f"{band}.fits" for band in BANDS}
    for band, image in bands.items():
        image.write(paths[band])
    from_files = toy(list(paths.values()))
    assert isinstance(from_files, fits.HDUList)
    np.testing.assert_array_equal(from_files[0].data, expected)


def test_a_file_written_is_the_result(toy, tmp_path):
    result = toy(make_cube(), bands="ugriz")
    result.write(tmp_path / "out.fits")
    again = CCDData.read(tmp_path / "out.fits")
    np.testing.assert_array_equal(again.data, result.data)
    np.testing.assert_array_equal(again.uncertainty.array, result.uncertainty.array)
    assert again.unit == result.unit
    assert again.header["GTMODEL"] == toy.name
    corner = [0, 95], [0, 79]
    assert np.all(again.wcs.celestial.pixel_to_world(*corner).separation(result.wcs.pixel_to_world(*corner)).deg < 1e-9)


def test_the_input_is_not_edited(toy):
    images = make_bands()
    images["u"].mask = np.zeros((40, 48), bool)
    images["u"].data[3, 3] = np.nan
    before = copy.deepcopy(images)
    toy(images)
    for band in BANDS:
        np.testing.assert_array_equal(images[band].data, before[band].data)
        np.testing.assert_array_equal(images[band].uncertainty.array, before[band].uncertainty.array)
        assert images[band].meta == before[band].meta
        assert images[band].wcs.to_header() == before[band].wcs.to_header()
    assert not images["u"].mask.any()


def test_results_share_no_memory(toy):
    images = make_bands()
    images["u"].data[3, 3] = np.nan
    result = toy(images)
    result["g"].mask[:] = True
    assert not result["r"].mask.all()


def test_world_coordinates_are_those_of_the_finer_grid(toy):
    image, result = make_bands()["r"], toy(make_bands())["r"]
    x, y = np.array([0.0, 20.3, 47.0]), np.array([0.0, 11.7, 39.0])
    sky, fine = image.wcs.pixel_to_world(x, y), result.wcs.pixel_to_world(2 * x + 0.5, 2 * y + 0.5)
    assert np.all(sky.separation(fine).deg < 1e-9)


# -- bands


def test_bands_in_any_order_and_surplus_ones(toy):
    images = make_bands()
    expected = stacked(toy(images))
    shuffled = {band: images[band] for band in "zurgi"}
    y_band = make_ccd(band="z")
    y_band.meta["FILTER"] = "y"
    result = toy({"y": y_band, **shuffled})
    assert tuple(result) == BANDS
    np.testing.assert_array_equal(stacked(result), expected)
    assert result["u"].meta["GTBANDS"] == "u,g,r,i,z"


def test_bands_on_grids_of_their_own_are_aligned(toy):
    shape = (48, 48)
    images = {}
    for k, band in enumerate(BANDS):
        wcs = make_wcs(shape)
        wcs.wcs.crpix += 0.7 * (k - 2), -0.4 * (k - 2)
        y, x = np.indices(shape)
        star = np.exp(-(np.hypot(y - 24 + 0.4 * (k - 2), x - 24 - 0.7 * (k - 2)) ** 2) / (2 * 1.6**2))
        images[band] = CCDData((50 * star).astype("f4"), unit="nmgy", wcs=wcs)
    result = toy(images)
    centres = [result[band].wcs.pixel_to_world(*centroid_com(result[band].data)) for band in BANDS]
    for centre in centres:
        assert centre.separation(images["r"].wcs.pixel_to_world(24, 24)).arcsec < 0.02
    assert result["u"].meta["GTALIGN"].startswith("to r, in pixels (x, y): u by (-1.40, +0.80), g by (-0.70, +0.40)")
    with pytest.raises(ValueError, match="another grid than u: g, r, i, z"):
        toy(images, align=False)


# -- tiles


def test_tiles_and_batches_do_not_show(toy):
    images = make_bands((50, 61))
    expected = toy(images)
    calls = []
    for tile, batch_size in ((16, 1), ((20, 33), 3), (17, 50)):
        result = toy(images, tile=tile, batch_size=batch_size, progress=calls.append)
        np.testing.assert_allclose(stacked(result), stacked(expected), rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(stacked_std(result), stacked_std(expected), rtol=1e-4)
    assert len(calls) > 10
    assert set(calls) == {1}


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (3, 2), (1, 1)])
def test_small_images(toy, shape):
    images = {band: CCDData(np.full(shape, 0.1, "f4"), unit="nmgy", wcs=make_wcs(shape)) for band in BANDS}
    result = toy(images)
    assert result["u"].shape == (2 * shape[0], 2 * shape[1])
    np.testing.assert_allclose(result["u"].data, 0.1 * COUNTS_PER_NANOMAGGY / 4, rtol=1e-4)


# -- samples


def test_a_seed_repeats_the_samples(sampler):
    images = make_bands()
    first, again, other = (stacked(sampler(images, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1


def test_a_seed_that_was_drawn_is_recorded(sampler):
    images = make_bands()
    first = sampler(images)
    again = sampler(images, seed=first["u"].meta["GTSEED"])
    np.testing.assert_array_equal(stacked(first), stacked(again))
    assert first["u"].meta["GTNSAMP"] == 3
    assert sampler(images)["u"].meta["GTSEED"] != first["u"].meta["GTSEED"]


def test_samples_one_by_one_and_their_mean(sampler):
    images = make_bands()
    mean = sampler(images, n_samples=4, seed=5)
    samples = sampler(images, n_samples=4, seed=5, combine=None)
    assert len(samples) == 4
    assert [sample["u"].meta["GTSAMPLE"] for sample in samples] == [0, 1, 2, 3]
    np.testing.assert_allclose(stacked(mean), np.mean([stacked(s) for s in samples], axis=0), rtol=1e-4, atol=1e-2)
    # each sample states the same spread; the mean of four misses the truth by sqrt(5/4) of it, a single one by sqrt(2)
    variance = np.mean([stacked_std(s) ** 2 for s in samples], axis=0)
    np.testing.assert_allclose(stacked_std(mean) ** 2, variance / 2 * 1.25, rtol=1e-4)


def test_samples_do_not_depend_on_tiles(sampler):
    images = make_bands()
    expected = stacked(sampler(images, seed=7, n_samples=1))
    np.testing.assert_allclose(stacked(sampler(images, seed=7, n_samples=1, tile=20)), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "1 or more"),
        ({"combine": "median"}, "'mean' or None"),
        ({"seed": -1}, "0 or more"),
        ({"tile": 2}, "too small"),
        ({"batch_size": 0}, "batch_size"),
        ({"output_grid": "finest"}, "'target', a WCS"),
        ({"output_grid": 0.2}, "'target', a WCS"),
    ],
)
def test_wrong_arguments(sampler, options, message):
    with pytest.raises(ValueError, match=message):
        sampler(make_bands(), **options)


def test_n_samples_is_refused_by_a_network_with_one_answer(toy):
    with pytest.raises(ValueError, match=r"deterministic .* n_samples=4"):
        toy(make_bands(), n_samples=4)
    assert "GTNSAMP" not in toy(make_bands(), n_samples=1)["u"].meta
    assert len(toy(make_bands(), combine=None)) == 1


# -- the range of valid inputs


def test_images_outside_the_range_warn_or_raise(toy):
    coarse = make_bands(wcs=make_wcs((40, 48), pixel_scale=0.6))
    with pytest.warns(DomainWarning, match=r"pixel scale is 0\.6 arcsec.*from 0\.35 to 0\.45") as caught:
        result = toy(coarse)
    assert len(caught) == 1
    assert "pixel scale is 0.6" in result["u"].meta["GTDOMAIN"]
    with pytest.raises(DomainError, match=r"0\.6 arcsec"):
        toy(coarse, strict=True)


@pytest.mark.parametrize(
    ("unit", "card", "cause"),
    [
        ("Jy", None, "about 2.+05 times those .* probably not Jy, as image 'u' says; unit='nanomaggy' would fit"),
        ("adu", 30.0, r"about 0\.0.* probably not adu with zero point 30 \(MAGZERO .*; unit='nanomaggy' would fit"),
        ("adu", 26.0, r"sky rms is u .* nanomaggy; .* not adu with zero point 26 .*; unit='nanomaggy' would fit"),
    ],
)
def test_a_wrong_unit_is_one_warning_that_names_it(unit, card, cause):
    images = sample("sdss")
    for image in images.values():
        image.unit, image.meta["MAGZERO"] = u.Unit(unit), card
    with pytest.warns(DomainWarning, match=cause) as caught:
        translate(images, "srgan-sdss-cfhtls")
    assert len(caught) == 1
    with pytest.raises(DomainError, match="unit='nanomaggy' would fit"):
        translate(images, "srgan-sdss-cfhtls", strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        translate(images, "srgan-sdss-cfhtls", unit="nanomaggy", strict=True)


def test_deep_or_smoothed_images_are_not_told_to_be_of_another_unit():
    """Their noise is less by much more than their fluxes are."""
    images = sample("sdss")
    for image in images.values():
        image.data[...] = convolve_fft(image.data, Gaussian2DKernel(6), boundary="wrap")
    with pytest.warns(DomainWarning) as caught:
        translate(images, "srgan-sdss-cfhtls", psf=5.7)
    assert not [each for each in caught if "probably" in str(each.message)]
    assert [each for each in caught if str(each.message).startswith("sky rms is u ")]


def test_a_result_translated_again_is_told():
    """As an image of its survey it may be: a translator from there takes it."""
    again = "the image is a result of srgan-sdss-cfhtls, an image of cfhtls-wide"
    once, told = translate(sample("sdss"), "srgan-sdss-cfhtls"), {}
    for name in ("srgan-sdss-cfhtls", "srgan-cfhtls-sdss"):
        with pytest.warns() as caught:
            translate(once, name, psf=1.0)
        told[name] = [each for each in caught if str(each.message).startswith(again)]
    assert [each.category for each in told["srgan-sdss-cfhtls"]] == [DomainWarning]
    assert not told["srgan-cfhtls-sdss"]
    warnings.simplefilter("ignore")
    with pytest.raises(DomainError, match=again + ".* give the image that it was made of"):
        translate(once, "srgan-sdss-cfhtls", psf=1.0, strict=True)


def test_images_inside_the_range_are_quiet(toy):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = toy(make_bands((80, 80)))
    assert "GTDOMAIN" not in result["u"].meta


# -- other output grids


def test_the_target_surveys_own_pixels(toy):
    images = make_bands((64, 64), seed=2)
    fine, result = toy(images), toy(images, output_grid="target")
    scale = get_survey("cfhtls-wide").pixel_scale
    for band in "gri":
        pixels = result[band].wcs.proj_plane_pixel_scales()
        np.testing.assert_allclose([side.to_value("arcsec") for side in pixels], scale, rtol=1e-6)
        good = ~result[band].mask
        np.testing.assert_allclose(result[band].data[good].sum(), fine[band].data.sum(), rtol=1e-3)
        assert np.isfinite(result[band].uncertainty.array[good]).all()


def test_a_grid_of_ones_own(toy):
    images = make_bands((64, 64))
    wcs = make_wcs((70, 90), pixel_scale=0.3, angle=30)
    header = wcs.to_header()
    header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, 90, 70
    for grid in (wcs, header):
        result = toy(images, output_grid=grid)
        assert result["r"].shape == (70, 90)
        there = result["r"].wcs.pixel_to_world([0, 89], [0, 69])
        assert np.all(there.separation(wcs.pixel_to_world([0, 89], [0, 69])).arcsec < 1e-6)


# -- provenance


@pytest.mark.parametrize("grid", [None, "target"])
def test_the_psf_is_the_target_survey_s(grid):
    galsim = pytest.importorskip("galsim")
    images = make_bands((64, 64))
    scale = 0.198 if grid is None else 0.186
    results = translate(images, "swin-sdss-cfhtls", output_grid=grid, psf=1.3)
    cube = translate(make_cube((64, 64)), "swin-sdss-cfhtls", bands="ugriz", output_grid=grid, psf=1.3)
    for plane, (band, fwhm) in zip(
        cube.psf, {"u": 0.88, "g": 0.82, "r": 0.77, "i": 0.7, "z": 0.7}.items(), strict=True
    ):
        psf = results[band].psf
        np.testing.assert_array_equal(psf, plane)
        assert psf.sum() == pytest.approx(1, abs=1e-6)
        truth = galsim.Moffat(3.5, fwhm=fwhm).drawImage(nx=len(psf), ny=len(psf), scale=scale).array.astype(float)
        np.testing.assert_allclose(psf, truth / truth.sum(), rtol=0, atol=2e-3 * truth.max())


def test_the_result_says_how_it_was_made(toy):
    meta = toy(make_bands())["r"].meta
    assert meta["GTMODEL"] == "toy-sdss-cfhtls"
    assert meta["GTHASH"] == "0" * 64
    assert (meta["GTSRC"], meta["GTTARGET"], meta["GTSCALE"]) == ("sdss", "cfhtls-wide", 2)
    assert meta["FILTER"] == "r"
    assert meta["MAGZERO"] == 30.0
    assert "TELESCOP" not in meta  # the target's telescope is another
    assert "TELESCOP = 'test'" in meta["HISTORY"]
    assert np.datetime64(meta["GTDATE"].removesuffix("+00:00")) <= np.datetime64("now")
    assert meta["GTFILLED"] == 0
    assert "GTSEED" not in meta


# -- translators


def test_a_translator_describes_itself(toy):
    assert toy._repr_html_().startswith(f"<pre>{toy.name}: ")
    assert repr(toy) == (
        "<Translator toy-sdss-cfhtls: sdss u,g,r,i,z (0.396 arcsec) to cfhtls-wide u,g,r,i,z (0.198 arcsec), "
        "toy network with 1,840 parameters>"
    )
    assert toy.bands_in == toy.bands_out == BANDS
    assert toy.spec.scale == 2
    assert toy.source["zeropoint"] == 22.5
    assert toy.target["unit"] == "adu"
    assert toy.to("cpu") is toy
    with pytest.raises(AttributeError):
        toy.checkpoint = None


def test_a_translator_from_a_file(toy, toy_file):
    images = make_bands()
    expected = stacked(toy(images))
    for translator in (toy_file, str(toy_file), load_translator(toy_file)):
        result = translate(images, translator)
        np.testing.assert_array_equal(stacked(result), expected)
    assert result["u"].meta["GTHASH"] == hashlib.sha256(toy_file.read_bytes()).hexdigest()


def test_shipped_translators_are_kept_in_memory(toy_file, tmp_path, monkeypatch):
    folder = tmp_path / "data" / "weights"
    folder.mkdir(parents=True)
    toy_file.rename(folder / "toy-sdss-cfhtls.safetensors")
    monkeypatch.setattr(shipped, "files", lambda _package: tmp_path)
    assert list_translators() == ["toy-sdss-cfhtls"]
    assert load_translator("toy-sdss-cfhtls") is load_translator("toy-sdss-cfhtls")
    with pytest.raises(ValueError, match=r"unknown translator 'toy-sdss-cfhtsl'; the nearest are toy-sdss-cfhtls"):
        translate(make_bands(), "toy-sdss-cfhtsl")


def images_mask(images):
    return next(iter(images.values())).mask


def source_bands(translator):
    """Images like those that a shipped translator was trained on."""
    source = translator.source
    factor = 10 ** (0.4 * (source["zeropoint"] - 22.5))  # nanomaggies have the zero point 22.5
    unit = "nmgy" if source["unit"] == "nanomaggy" else source["unit"]
    return {
        band: CCDData(
            factor * image.data, unit=unit, wcs=make_wcs((48, 48), source["pixel_scale"]),
            uncertainty=StdDevUncertainty(factor * image.uncertainty.array),
            meta={"FILTER": band, "MAGZERO": source["zeropoint"]},
        )
        for band, image in make_bands((48, 48), seed=4).items()
    }  # fmt: skip


# noise of one survey does for the other
@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")
@pytest.mark.parametrize("name", list_translators())
def test_every_shipped_translator_works_and_holes_do_not_reach_beyond_their_mask(name):
    translator = load_translator(name)
    images, spoilt = source_bands(translator), source_bands(translator)
    for image in spoilt.values():
        image.mask = np.zeros((48, 48), bool)
        image.mask[24:29, 20:25] = True  # in the galaxy
        image.data[image.mask] = 1e6
    whole, holed = (translate(each, name, seed=1, device="cpu", psf=1.3) for each in (images, spoilt))
    assert np.isfinite(stacked(holed)).all()
    assert np.all(stacked_std(whole) > 0)
    hole = np.kron(images_mask(spoilt), np.ones((translator.spec.scale,) * 2))
    pixel = holed["r"].wcs.proj_plane_pixel_scales()[0].to_value("arcsec")
    # the networks correct the wings of PSFs, which hold a tenth of the light beyond two arcsec
    assert pixel * distance_transform_cdt(1 - hole, "chessboard")[holed["r"].mask].max() < 6.5
    change = np.abs(stacked(holed) - stacked(whole)) / stacked_std(whole)
    assert change[:, ~holed["r"].mask].max() < 0.2


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")
@pytest.mark.parametrize("name", ["srgan-sdss-cfhtls", "swin-sdss-cfhtls", "diffusion-sdss-cfhtls"])
def test_a_single_bad_pixel_costs_little(name):
    translator = load_translator(name)
    images, spoilt = source_bands(translator), source_bands(translator)
    for image in spoilt.values():
        image.mask = np.zeros((48, 48), bool)
        image.mask[24, 24] = image.mask[5, 5] = True  # in the galaxy, and in the sky
        image.data[image.mask] = 1e6
    whole, holed = (translate(each, name, seed=1, device="cpu", psf=1.3) for each in (images, spoilt))
    change = np.abs(stacked(holed) - stacked(whole)) / stacked_std(whole)
    assert change[:, ~holed["r"].mask].max() < 0.2
    hole = np.kron(images_mask(spoilt), np.ones((translator.spec.scale,) * 2))
    pixel = holed["r"].wcs.proj_plane_pixel_scales()[0].to_value("arcsec")
    reach = pixel * distance_transform_cdt(1 - hole, "chessboard")[holed["r"].mask].max()
    assert reach < 1.5 * 1.3 + 5 * 0.396  # one and a half FWHM, and how far the linear answer carries a filled-in value


@pytest.mark.parametrize("name", ["swin", "srgan", "capsule", "diffusion"])
def test_every_network_goes_through(name):
    model = registry.get_model_class(name).from_preset("tiny", BANDS, BANDS, 2).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    result = translate(make_bands((21, 34)), Translator(Checkpoint(model, toy_card(), "")), seed=0, tile=None)
    assert np.isfinite(stacked(result)).all()
    assert np.all(stacked_std(result) > 0)
    assert ("GTSEED" in result["u"].meta) == model.stochastic


# -- bad input: a clear error, and nothing else


def without(**changes):
    images = make_bands()
    for name, value in changes.items():
        for band in "gr":
            setattr(images[band], name, value)
    return images


def bare(**attributes):
    return {band: NDData(image.data, **attributes) for band, image in make_bands().items()}


def spectral_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "WAVE", "LINEAR"
    return wcs


BAD = {
    "missing bands": (lambda: make_bands(bands=("u", "g", "i")), {}, r"missing bands: r, z"),
    "one band": (lambda: make_ccd(band="g"), {}, r"missing bands: u, r, i, z"),
    "unknown bands": (
        lambda: {band.upper(): image for band, image in make_bands().items()},
        {},
        r"missing bands: u, .*if U, G, R, I, Z are u, g, r, i, z, name them so",
    ),
    "bands without names": (make_cube, {}, r"pass bands="),
    "too few names": (make_cube, {"bands": "gri"}, r"3 bands"),
    "no celestial WCS": (lambda: bare(wcs=spectral_wcs(), unit="nmgy"), {}, r"celestial"),
    "no WCS": (lambda: bare(unit="nmgy"), {}, r"celestial|WCS"),
    "no unit": (lambda: bare(wcs=make_wcs((40, 48))), {}, r"no unit.*pass unit="),
    "no zero point": (lambda: make_bands(unit="adu"), {}, r"zero point.*zeropoint="),
    "wrong unit": (lambda: make_bands(unit="s"), {}, r"not a flux per pixel"),
    "magnitudes": (make_bands, {"unit": "mag"}, r"magnitudes"),
    "all NaN": (lambda: without(data=np.full((40, 48), np.nan)), {}, r"band g|in g"),
    "all masked": (lambda: without(mask=np.ones((40, 48), bool)), {}, r"band g|in g"),
    "mask of another shape": (lambda: without(mask=np.zeros((4, 4), bool)), {}, r"do not match"),
    "CUDA where there is none": (make_bands, {"device": "cuda"}, r"device 'cuda' is not available"),
    "no such device": (make_bands, {"device": "abacus"}, r"device 'abacus' is not available"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_images(toy, case):
    make, options, message = BAD[case]
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("CUDA is available here")
    with pytest.raises(ValueError, match=message):
        toy(make(), **options)


@pytest.mark.parametrize("content", [b"", b"no FITS at all", None])
def test_bad_files(toy, tmp_path, content):
    path = tmp_path / "g.fits"
    if content is None:  # half a file
        make_ccd(band="g", shape=(200, 200)).write(path)
        content = path.read_bytes()[:50_000]
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"g\.fits"):
        toy({"g": path, **{band: image for band, image in make_bands((200, 200)).items() if band != "g"}})
    with pytest.raises(FileNotFoundError, match=r"nowhere\.fits"):
        toy([tmp_path / "nowhere.fits"])


def test_other_objects(toy):
    with pytest.raises(TypeError, match=r"CCDData"):
        toy(3)


def test_bad_translators(toy_file, tmp_path):
    with pytest.raises(
        ValueError, match=r"unknown translator 'swim'.* shipped are .*swin-sdss-cfhtls.*; or give the path"
    ):
        translate(make_bands(), "swim")
    with pytest.raises(
        ValueError, match="unknown translator 'deblend'; the nearest are srgan-deblend-sdss; shipped are capsule"
    ):
        translate(make_bands(), "deblend")
    with pytest.raises(TypeError, match=r"a translator is a name .*, got dict"):
        translate("swin-sdss-cfhtls", make_bands())
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors"):
        translate(make_bands(), tmp_path / "nowhere.safetensors")
    content = bytearray(toy_file.read_bytes())
    content[-1] ^= 1
    toy_file.write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        translate(make_bands(), toy_file)


def test_a_network_gone_wrong_is_an_error():
    broken = make_translator()
    with torch.no_grad():
        broken.model.conv.bias[0] = np.nan
    with pytest.raises(GaltransError, match="not finite"):
        broken(make_bands())
    with torch.no_grad():
        broken.model.conv.bias[0] = 200  # finite in network units, but sinh(200) is not
    with pytest.raises(GaltransError, match="not finite"):
        broken(make_bands())


# -- real images


def test_real_sdss_stamps(toy):
    paths = [shared_data("sdss_cutout", f"stamp-{band}.fits") for band in BANDS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DomainWarning)
        result = toy(paths)
    assert result[0].data.shape == (5, 128, 128)
    result.verify("exception")
    for k, path in enumerate(paths):
        flux = fits.getdata(path)
        np.testing.assert_allclose(result[0].data[k].sum(), flux.sum() * COUNTS_PER_NANOMAGGY, rtol=0.02)


def test_a_real_frame_of_one_band(toy):
    with pytest.raises(ValueError, match=r"missing bands: u, r, i, z"):
        toy(shared_data("sdss_frame", "frame-g-000094-1-0131.fits.bz2"))


# -- stamps


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")
def test_stamps_are_what_translate_makes_of_each_alone():
    # a network that is told nothing: translate measures the noise of each image, see test_observe
    model = registry.get_model_class("swin").from_preset("tiny", BANDS, BANDS, 2).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    translator = Translator(Checkpoint(model, toy_card(), ""))
    cubes = [make_cube((24, 24), seed=seed, uncertainty=False) for seed in (1, 2, 3)]
    together, variances = translator.stamps([cube.data for cube in cubes], variance=True)
    assert together.shape == (3, 1, 5, 48, 48) and together.dtype == variances.dtype == np.float32
    for cube, stamp, variance in zip(cubes, together, variances, strict=True):
        alone = translate(cube, translator, bands=BANDS)
        np.testing.assert_allclose(stamp[0], alone.data, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(variance, alone.uncertainty.array**2, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")
def test_stamps_keep_samples_apart(sampler):
    images = np.array([make_cube((8, 10), seed=seed).data for seed in (1, 2)])
    samples = sampler.stamps(images, seed=5)
    assert samples.shape == (2, 3, 5, 16, 20)
    assert not np.array_equal(samples[:, 0], samples[:, 1])
    again, variance = sampler.stamps(images, seed=5, variance=True)
    np.testing.assert_array_equal(again, samples)
    mean = sampler(make_cube((8, 10), seed=1), bands=BANDS, seed=5)
    # other draws, where the slope of asinh differs
    assert abs(np.median(variance[0] / mean.uncertainty.array**2) - 1) < 0.03
    assert not np.array_equal(samples, sampler.stamps(images, seed=6))


def test_stamps_that_cannot_be_translated_are_named(toy):
    images = np.zeros((3, 5, 8, 8), np.float32)
    images[1, 2, 3, 4] = np.nan
    with pytest.raises(ValueError, match=r"not finite: \[1\]"):
        toy.stamps(images)
    with pytest.raises(ValueError, match=r"stamps \[N, 5, H, W\].*got \(3, 4, 8, 8\)"):
        toy.stamps(images[:, :4])
    with pytest.raises(ValueError, match="deterministic"):
        toy.stamps(images[:1], n_samples=2)
