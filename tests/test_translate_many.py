"""Many images in one call: what comes out is what `translate` makes of each alone."""

import os
import pty
import re
import sys
import termios
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.table import QTable, Table
from toy_network import ToySampler, ToyTranslator, toy_card

from astro_galtrans import load_translator, translate
from astro_galtrans.domain import sky_rms
from astro_galtrans.exceptions import DomainError, DomainWarning, Failure, GaltransError, GaltransWarning
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.psf import measured_fwhm
from astro_galtrans.stamps import Stamps
from astro_galtrans.surveys import get_survey
from astro_galtrans.translate import Translator
from helpers import BANDS, SKY_RMS, make_bands, make_ccd, make_cube, make_wcs

SIDE = 24


def measured_noise(image):
    """Sky rms of each band, as a translation measures it."""
    return [sky_rms(plane, np.isfinite(plane)) for plane in image]


def make_translator(cls=ToyTranslator, bands=BANDS, **changes):
    return Translator(Checkpoint(cls.from_preset("tiny", bands, bands, 2).eval(), toy_card(bands, **changes), "0" * 64))


@pytest.fixture(scope="module")
def toy():
    return make_translator()


def dicts(number=3, shape=(SIDE, SIDE)):
    return [make_bands(shape, seed=k) for k in range(number)]


def same(found, expected, rtol=1e-5):
    """Whether two translations agree in flux, uncertainty, mask, unit, grid and provenance."""
    for band in BANDS:
        a, b = found[band], expected[band]
        assert type(a) is type(b) and a.unit == b.unit
        np.testing.assert_allclose(a.data, b.data, rtol=rtol, atol=1e-3)
        np.testing.assert_allclose(a.uncertainty.array, b.uncertainty.array, rtol=rtol)
        assert (a.mask is None) == (b.mask is None)
        np.testing.assert_array_equal(a.mask, b.mask)
        assert a.wcs.pixel_to_world(0, 0).separation(b.wcs.pixel_to_world(0, 0)).arcsec < 1e-9
        assert {k: v for k, v in a.meta.items() if k != "GTDATE"} == {k: v for k, v in b.meta.items() if k != "GTDATE"}


# -- every kind of collection


@pytest.mark.parametrize("container", [list, tuple, iter])
def test_each_of_many_is_as_alone(toy, container):
    images = dicts(5)
    images[1]["g"].mask = np.zeros((SIDE, SIDE), bool)
    images[1]["g"].mask[4, 5] = True
    images[2] = make_bands((SIDE + 5, SIDE), seed=2)  # of another size
    found = translate(container(images), toy)
    assert isinstance(found, container) if container is not iter else next(iter(found.__class__.__mro__)) is not list
    found = list(found)
    assert len(found) == 5
    for result, image in zip(found, images, strict=True):
        same(result, toy(image))


def test_cubes_hdus_and_files(toy, tmp_path):
    cubes = [make_cube((SIDE, SIDE), seed=k) for k in range(3)]
    paths = []
    for k, cube in enumerate(cubes):
        cube.meta["BANDS"] = ",".join(BANDS)
        paths.append(tmp_path / f"{k}.fits")
        cube.write(paths[-1])
    for cube, result in zip(cubes, toy(cubes), strict=True):
        np.testing.assert_allclose(result.data, toy(cube).data, rtol=1e-5, atol=1e-3)
    with ExitStack() as stack:
        hdulists = toy([stack.enter_context(fits.open(path)) for path in paths])
    for path, result, again in zip(paths, toy(paths), hdulists, strict=True):
        assert isinstance(result, fits.HDUList)
        for found in (result, again):
            np.testing.assert_allclose(found[0].data, toy(path)[0].data, rtol=1e-5, atol=1e-3)


def test_bands_of_one_image_are_no_images(toy):
    images = make_bands((SIDE, SIDE))
    found = toy(list(images.values()))
    assert [image.meta["FILTER"] for image in found] == list(BANDS)
    one = make_translator(bands=("r",))
    frames = [make_ccd((SIDE, SIDE), seed=k) for k in range(3)]
    found = one(frames)  # each of them is all that this translator needs
    for image, frame in zip(found, frames, strict=True):
        np.testing.assert_allclose(image.data, one({"r": frame})["r"].data, rtol=1e-5, atol=1e-3)
    (found,) = one([make_ccd((SIDE, SIDE), band="g"), frames[0]])  # surplus bands of one image
    np.testing.assert_allclose(found.data, one(frames[0]).data, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", [Table, QTable])
def test_a_table_with_a_column_of_cutouts(toy, kind):
    images = dicts()
    column = np.empty(3, object)
    column[:] = images
    table = kind({"ra": [1.0, 2.0, 3.0], "cutout": column})
    found = toy(table)
    assert type(found) is kind and found.colnames == ["ra", "cutout"]
    assert table["cutout"][0] is images[0]
    for result, image in zip(found["cutout"], images, strict=True):
        same(result, toy(image))
    with pytest.raises(ValueError, match=r"no column 'stamp'; its columns are ra, cutout"):
        toy(table, column="stamp")


def arrays(number=3):
    return np.array([[image.data for image in bands.values()] for bands in dicts(number)])


def test_a_table_with_a_column_of_arrays(toy):
    table = QTable({"id": [1, 2, 3], "cutout": arrays() * u.Unit("nmgy")})
    found = toy(table, bands=BANDS)
    assert found["cutout"].shape == (3, 5, 2 * SIDE, 2 * SIDE) and found["cutout"].unit == u.adu
    expected = toy(dicts(1)[0])
    np.testing.assert_allclose(found["cutout"][0].value, [expected[b].data for b in BANDS], rtol=1e-5, atol=1e-3)
    assert (found["cutout_std"] > 0).all() and not found["cutout_mask"].any()


@pytest.mark.parametrize("leading", [(4,), (2, 2)])
def test_a_stack_of_images(toy, leading):
    data = arrays(4)
    sigma = np.broadcast_to(np.reshape([SKY_RMS[b] for b in BANDS], (5, 1, 1)), data.shape)
    mask = np.zeros(data.shape, bool)
    mask[1, 2, 7, 8] = True
    shape = (*leading, 5, SIDE, SIDE)
    stack = NDData(
        data.reshape(shape), unit="nmgy", mask=mask.reshape(shape), uncertainty=StdDevUncertainty(sigma.reshape(shape)),
        wcs=make_wcs((SIDE, SIDE)),
    )  # fmt: skip
    found = toy(stack, bands="ugriz")
    assert type(found) is NDData and found.data.shape == (*leading, 5, 2 * SIDE, 2 * SIDE) and found.unit == u.adu
    planes = (array.reshape(4, 5, 2 * SIDE, 2 * SIDE) for array in (found.data, found.uncertainty.array))
    planes = tuple(planes)
    for k, image in enumerate(dicts(4)):
        if k == 1:
            image["r"].mask = mask[1, 2]
        expected = toy(image)
        np.testing.assert_allclose(planes[0][k], [expected[b].data for b in BANDS], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(planes[1][k], [expected[b].uncertainty.array for b in BANDS], rtol=1e-5)
    np.testing.assert_array_equal(found.mask.reshape(planes[0].shape)[1], [expected_mask(7, 8)] * 5)
    with pytest.raises(ValueError, match="name them in order with bands="):
        toy(stack)


def expected_mask(y, x, reach=3):
    mask = np.zeros((2 * SIDE, 2 * SIDE), bool)
    mask[2 * (y - reach) : 2 * (y + reach + 1), 2 * (x - reach) : 2 * (x + reach + 1)] = True
    return mask


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")
def test_stamps_come_out_as_stamps_of_the_other_survey():
    name = "srgan-sdss-cfhtls"
    translator = load_translator(name)
    images = arrays(3)
    found = translate(Stamps(images, "sdss"), name)
    assert isinstance(found, Stamps) and found.bands == translator.bands_out and len(found) == 3
    assert found.pixel_scale == pytest.approx(0.198)
    observed = replace(translator.inputs.typical, noise=[measured_noise(image) for image in images])
    direct = translator.stamps(images, observation=observed)
    np.testing.assert_allclose(found.read(), direct[:, 0], rtol=1e-3, atol=1e-3 * np.abs(direct).max())
    typical = dict(zip(BANDS, measured_fwhm(translator.source["fwhm"], pixel_scale=0.396), strict=True))
    alone = translate(make_cube((SIDE, SIDE), uncertainty=False), name, bands=BANDS, psf=typical)
    np.testing.assert_allclose(found.variance[0], alone.uncertainty.array**2, rtol=1e-3)
    apart = translate(Stamps(images, "sdss"), "diffusion-sdss-cfhtls", n_samples=2, combine=None, seed=1)
    assert apart.n_samples == 2 and not np.array_equal(apart.images[:, 0], apart.images[:, 1])


def test_images_of_the_psf_of_stamps_tell_their_fluxes():
    galsim = pytest.importorskip("galsim")
    psf = galsim.Moffat(3.0, fwhm=1.2).drawImage(nx=31, ny=31, scale=0.396).array.astype(float)
    light = galsim.Convolve(galsim.Moffat(3.0, fwhm=1.2), 300 * galsim.Exponential(1.0))
    rng, noise = np.random.default_rng(1), np.reshape([0.055, 0.018, 0.027, 0.044, 0.22], (5, 1, 1))
    image = light.drawImage(nx=48, ny=48, scale=0.396).array + noise * rng.normal(size=(2, 5, 48, 48))
    found = translate(Stamps(image, "sdss", psf=np.stack([[psf] * 5] * 2)), "srgan-sdss-cfhtls")
    cube = CCDData(image[1].astype("f4"), unit="nmgy", wcs=make_wcs((48, 48)))
    alone, width = (translate(cube, "srgan-sdss-cfhtls", bands=BANDS, psf=one) for one in (np.stack([psf] * 5), 1.35))
    assert alone.meta["GTFLUXES"] == "u,g,r,i,z"
    np.testing.assert_allclose(found.images[1], alone.data, rtol=1e-3, atol=1e-3 * alone.data.max())
    assert np.abs(width.data - alone.data).max() > 0.01 * alone.data.max()


def test_stamps_in_other_units_and_with_other_bands_in_front(toy):
    survey = get_survey("sdss")
    images = arrays(2)
    other = Stamps(images * u.Unit("nmgy"), survey)
    jansky = Stamps((images * 3.631) * u.uJy, survey)
    np.testing.assert_allclose(toy(jansky).images, toy(other).images, rtol=1e-4, atol=1e-2)


# -- samples


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")
@pytest.mark.parametrize("translator", [make_translator(ToySampler), "diffusion-sdss-cfhtls"])
def test_each_image_has_a_seed_that_repeats_it_alone(translator):
    images = dicts()
    told = {"psf": 1.3} if isinstance(translator, str) else {}  # these stamps have no stars
    found = translate(images, translator, seed=3, n_samples=2, **told)
    seeds = [result["r"].meta["GTSEED"] for result in found]
    assert len(set(seeds)) == 3
    for result, image, seed in zip(found, images, seeds, strict=True):
        same(result, translate(image, translator, seed=seed, n_samples=2, **told), rtol=1e-3)


def test_samples_apart(toy):
    sampler = make_translator(ToySampler)
    found = sampler(dicts(2), n_samples=3, combine=None, seed=1)
    assert [len(samples) for samples in found] == [3, 3]
    stack = sampler(NDData(arrays(2), unit="nmgy"), bands=BANDS, n_samples=3, combine=None, seed=1)
    assert stack.data.shape == (2, 3, 5, 2 * SIDE, 2 * SIDE)
    np.testing.assert_allclose(stack.data[1, 2, 0], found[1][2]["u"].data, rtol=1e-5, atol=1e-3)


# -- batches


def test_batches_do_not_show_and_are_bounded(toy, monkeypatch):
    seen = []
    forward = toy.model.forward

    def counting(source):
        seen.append(len(source))
        return forward(source)

    monkeypatch.setattr(toy.model, "forward", counting)
    images = dicts(7, (64, 64))
    expected = [toy(image) for image in images]
    for batch_size, most in ((None, 4), (3, 3), (1, 1)):
        seen.clear()
        for result, truth in zip(toy(images, batch_size=batch_size), expected, strict=True):
            same(result, truth)
        assert max(seen) <= most and sum(seen) == 7
    seen.clear()
    toy(images)
    assert seen == [4, 3]
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1, got 0"):
        toy(images, batch_size=0)


def test_an_iterator_is_read_as_it_is_asked_for(toy):
    read = []

    def source():
        for k in range(100):
            read.append(k)
            yield make_bands((64, 64), seed=k)

    found = toy(source())
    next(found)
    assert len(read) <= 16  # a batch of eight, and the next


# -- images that cannot be translated


def spoilt():
    images = dicts(5)
    del images[1]["z"]
    images[3]["g"].data[:] = np.nan
    return images


def test_a_failure_ends_the_run_and_says_which_image(toy):
    with pytest.raises(ValueError, match="missing bands: z") as caught:
        toy(spoilt())
    assert caught.value.__notes__ == ["(image 1 of those to translate, counted from 0)"]


def test_failures_are_recorded_and_the_others_go_on(toy):
    images = spoilt()
    with pytest.warns(GaltransWarning, match=r"2 of 5 images could not be translated: image 1: ValueError: missing"):
        found = toy(images, on_error="record")
    assert [bool(result) for result in found] == [True, False, True, False, True]
    assert isinstance(found[3], Failure) and found[3].index == 3 and "no pixel is finite" in str(found[3])
    same(found[4], toy(images[4]))
    column = np.empty(5, object)
    column[:] = images
    with pytest.warns(GaltransWarning, match="2 of 5 images"):
        table = toy(Table({"cutout": column}), on_error="record")
    assert table["cutout"][1] is None and "missing bands: z" in table["failure"][1] and not table["failure"][0]
    data = arrays(3)
    data[1, 0] = np.nan
    with pytest.warns(GaltransWarning, match="1 of 3 images .*image 1: EmptyImageError: no usable"):
        stack = toy(NDData(data, unit="nmgy"), bands=BANDS, on_error="record")
    assert np.isnan(stack.data[1]).all() and stack.mask[1].all() and not stack.mask[[0, 2]].any()
    with pytest.raises(ValueError, match=r"'raise' or 'record', got 'skip'"):
        toy(images, on_error="skip")


def test_what_the_network_makes_of_one_image_does_not_spoil_its_batch():
    """A variance that overflows is an error of that image only."""
    translator = make_translator(calibration={"flux": [3e15] + [1.0] * 4, "std": [1.0] * 5})
    images = dicts(3)
    images[1]["u"].data[5, 5] = 900
    with pytest.warns(GaltransWarning, match="1 of 3 images could not be translated: image 1: GaltransError"):
        found = translator(images, on_error="record")
    assert [bool(result) for result in found] == [True, False, True]
    with pytest.raises(GaltransError, match="not finite") as caught:
        translator(images)
    assert "image 1" in caught.value.__notes__[0]


def test_the_range_is_checked_for_each_image_and_told_once(toy):
    images = dicts(4)
    for k in (1, 3):
        images[k] = make_bands((SIDE, SIDE), seed=k, wcs=make_wcs((SIDE, SIDE), pixel_scale=0.6))
    with pytest.warns(DomainWarning, match=r"2 of 4 images, such as number 1: pixel scale is 0\.6 arcsec") as caught:
        found = toy(images)
    assert len(caught) == 1
    assert ["GTDOMAIN" in result["r"].meta for result in found] == [False, True, False, True]
    with pytest.raises(DomainError, match=r"0\.6 arcsec"):
        toy(images, strict=True)


def test_a_warning_of_one_of_many_names_it(toy, tmp_path):
    """Also those that arise while it is read, in another thread than the network's."""
    images = dicts(3, (64, 64))
    images[1]["r"].data[20:23, 20:23] = -9999.0
    with pytest.warns(GaltransWarning, match=r"^image 1: image 'r': 9 pixels of -9999"):
        toy(images)
    for number, image in enumerate(images):
        planes = [fits.ImageHDU(ccd.data, ccd.to_hdu()[0].header, name=band) for band, ccd in image.items()]
        fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(tmp_path / f"{number}.fits")
    with pytest.warns(GaltransWarning, match=r"^image 1 \(.*1\.fits\): .*9 pixels of -9999"):
        toy([tmp_path / f"{number}.fits" for number in range(3)])


def test_nothing_at_all_is_an_error(toy):
    with pytest.raises(ValueError, match="empty"):
        toy([])
    none = pytest.raises(ValueError, match="none of 2 images could be translated; image 0")
    with pytest.warns(GaltransWarning, match="2 of 2 images"), none:
        toy(NDData(np.full((2, 5, 8, 8), np.nan), unit="nmgy"), bands=BANDS, on_error="record")
    with pytest.raises(ValueError, match=r"take one, or their mean: stamps\.sample\(\)"):
        toy(Stamps(np.zeros((2, 3, 5, 8, 8)), "sdss"))


# -- signs of life


def test_progress(toy, capsys):
    steps = []
    toy(dicts(4), progress=steps.append)
    assert steps == [1] * 4
    toy(dicts(4), progress=True)
    assert capsys.readouterr().err == ""  # which is no terminal here


@pytest.mark.parametrize(
    ("images", "options", "unit"),
    [(dicts(4), {}, "image"), (make_bands((50, 61)), {"tile": 20}, "tile")],
    ids=["many", "one in tiles"],
)
def test_a_bar_on_a_terminal_has_its_total(toy, images, options, unit, monkeypatch):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with open(theirs, "w", encoding="utf8") as terminal:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stderr", terminal)
        toy(images, progress=True, **options)
        text = b""
        while b"100%" not in text:  # what was written comes in parts; a bar that never ends runs into the time limit
            text += os.read(ours, 100_000)
    os.close(ours)
    done = re.findall(rf"100%\|[^\r]*\| (\d+)/(\d+) \[[^\r]*{unit}", text.decode())
    assert done and done[-1][0] == done[-1][1] != "0"
