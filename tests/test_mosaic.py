"""Mosaics block by block: the result is that of the whole image, in a file, in zarr and in dask."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import zarr
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.wcs import WCS
from dask import array
from test_translate_many import make_translator
from toy_network import ToySampler

from astro_galtrans import load_translator, translate, translate_mosaic
from astro_galtrans.bandstack import Windows, read
from astro_galtrans.exceptions import DomainWarning, EmptyImageError
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.survey import cluster
from helpers import BANDS, make_bands, make_cube, make_wcs

SHAPE = (150, 130)
BLOCK = 48


@pytest.fixture(scope="module")
def toy():
    return make_translator()


def on_grids_of_their_own(shape=SHAPE):
    images = make_bands(shape)
    for k, image in enumerate(images.values()):
        image.wcs.wcs.crpix += 1.7 * (k - 2), -1.4 * (k - 2)
    return images


def files(images, folder):
    paths = []
    for band, image in images.items():
        paths.append(folder / f"{band}.fits")
        image.write(paths[-1])
    return paths


def compressed(images, folder):
    """The same in tile-compressed files, bit for bit."""
    paths = []
    for band, image in images.items():
        paths.append(folder / f"{band}.fits.fz")
        header = image.wcs.to_header()
        header["BUNIT"], header["FILTER"] = "nmgy", band
        lossless = {"compression_type": "GZIP_2", "quantize_level": 0, "tile_shape": (20, 30)}
        noise = fits.CompImageHDU(image.uncertainty.array, fits.Header([("BUNIT", "nmgy")]), name="ERR", **lossless)
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image.data, header, name="SCI", **lossless), noise]).writeto(
            paths[-1]
        )
    return paths


def of_arrays(images, wrap):
    return {
        band: NDData(
            wrap(image.data), unit="nmgy", wcs=image.wcs, uncertainty=StdDevUncertainty(wrap(image.uncertainty.array)),
            meta={"FILTER": band},
        )
        for band, image in images.items()
    }  # fmt: skip


KINDS = {
    "objects": lambda images, _: images,
    "files": files,
    "compressed files": compressed,
    "zarr": lambda images, _: of_arrays(images, lambda a: zarr.array(a, chunks=(40, 40))),
    "dask": lambda images, _: of_arrays(images, lambda a: array.from_array(a, chunks=64)),
}


def expect(output, whole, shape=SHAPE):
    """A file is what `translate` gives of the whole image (a list or dict of bands), edges of blocks included."""
    whole = list(whole.values())
    with fits.open(output) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "MASK", "UNCERT"]
        assert hdus[0].shape == (5, 2 * shape[0], 2 * shape[1])
        for k, image in enumerate(whole):
            mask = np.zeros(image.shape, bool) if image.mask is None else image.mask
            np.testing.assert_array_equal(hdus["MASK"].data[k], mask)
            # where splines of a shifted band begin at another pixel they differ by 0.43**16 of it
            np.testing.assert_allclose(hdus[0].data[k][~mask], image.data[~mask], rtol=1e-4, atol=2e-2)
            np.testing.assert_allclose(hdus["UNCERT"].data[k][~mask], image.uncertainty.array[~mask], rtol=1e-3)
    cube = CCDData.read(output)
    assert cube.unit == u.adu and cube.header["BANDS"] == "u,g,r,i,z" and cube.header["GTMODEL"] == "toy-sdss-cfhtls"
    corners = [0, 2 * shape[1] - 1, 17], [0, 2 * shape[0] - 1, 9]
    sky = whole[2].wcs.pixel_to_world(*corners)
    assert np.all(cube.wcs.celestial.pixel_to_world(*corners).separation(sky).arcsec < 1e-6)
    return cube


@pytest.mark.parametrize("kind", KINDS)
def test_a_mosaic_is_as_a_whole_image(toy, tmp_path, kind):
    images = on_grids_of_their_own()
    given = KINDS[kind](images, tmp_path)
    output = translate_mosaic(given, toy, tmp_path / "out.fits", block=BLOCK)
    expect(output, toy(images))
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")
@pytest.mark.parametrize("name", ["swin-sdss-cfhtls", "srgan-sdss-cfhtls"])
def test_real_networks_see_no_blocks(name, tmp_path):
    cube = make_cube((110, 110))  # of a larger one the noise would be measured in a part
    whole = translate(cube, name, bands=BANDS, psf=1.3)
    translate_mosaic(cube, name, tmp_path / "out.fits", bands=BANDS, block=40, psf=1.3)
    np.testing.assert_allclose(fits.getdata(tmp_path / "out.fits"), whole.data, rtol=1e-3, atol=1e-2)


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")
def test_the_psf_of_each_block(rng, tmp_path):
    galsim = pytest.importorskip("galsim")
    sky = np.reshape([0.055, 0.018, 0.027, 0.044, 0.22], (5, 1, 1))
    data, measured = sky * rng.standard_normal((5, 100, 200)), {}
    for side, fwhm in ((0, 0.9), (1, 1.6)):
        star = galsim.Moffat(3.5, fwhm=fwhm).drawImage(nx=61, ny=61, scale=0.396).array
        data[:, 20:81, 100 * side + 20 : 100 * side + 81] += 300 * star
        measured[side] = gaussian_fwhm(star.astype(float)) * 0.396
    cube = CCDData(data.astype("f4"), unit="nmgy", wcs=make_wcs((100, 200)))
    asked = []

    def psf(x, y):
        asked.append((x, y))
        return measured[x > 100]

    translate_mosaic(cube, "srgan-sdss-cfhtls", tmp_path / "out.fits", bands=BANDS, block=100, psf=psf)
    result = fits.getdata(tmp_path / "out.fits")
    target = load_translator("srgan-sdss-cfhtls").target["fwhm"]
    for k, fwhm in enumerate(target):
        true = gaussian_fwhm(galsim.Moffat(3.5, fwhm=fwhm).drawImage(nx=25, ny=25, scale=0.198).array.astype(float))
        for x in (101, 301):
            assert gaussian_fwhm(result[k, 89:114, x - 12 : x + 13].astype(float)) == pytest.approx(true, rel=0.03)
    assert {(49.5, 49.5), (149.5, 49.5)} <= set(asked)  # the middles of blocks


def test_masks_and_parts_without_pixels(toy, tmp_path):
    images = make_bands(SHAPE)
    for image in images.values():
        image.data[:60, :50] = np.nan  # more than a block with all that the network sees around it
    images["g"].mask = np.zeros(SHAPE, bool)
    images["g"].mask[100, 47:49] = True  # across the edge of blocks
    expect(translate_mosaic(images, toy, tmp_path / "out.fits", block=24), toy(images))
    with fits.open(tmp_path / "out.fits") as hdus:
        assert np.isnan(hdus[0].data[:, :40, :40]).all()
    for image in images.values():
        image.data[:] = np.nan
    with pytest.raises(EmptyImageError, match="no part of the mosaic"):
        translate_mosaic(images, toy, tmp_path / "none.fits", block=24)
    assert not (tmp_path / "none.fits").exists()


def test_zarr_holds_the_same(toy, tmp_path):
    images = on_grids_of_their_own()
    whole = toy(images)
    group = zarr.open_group(translate_mosaic(images, toy, tmp_path / "out.zarr", block=BLOCK), mode="r")
    assert group["flux"].shape == (5, 300, 260) and group["flux"].metadata.zarr_format == 3
    assert group["flux"].metadata.dimension_names == ("band", "y", "x")
    assert (group.attrs["bands"], group.attrs["unit"], group.attrs["zeropoint"]) == (list(BANDS), "adu", 30.0)
    wcs = WCS(fits.Header.fromstring(group.attrs["header"], sep="\n")).celestial
    assert wcs.pixel_to_world(3, 4).separation(whole["r"].wcs.pixel_to_world(3, 4)).arcsec < 1e-6
    for k, image in enumerate(whole.values()):
        good = ~image.mask
        np.testing.assert_array_equal(group["mask"][k].astype(bool), image.mask)
        np.testing.assert_allclose(group["flux"][k][good], image.data[good], rtol=1e-4, atol=2e-2)
        np.testing.assert_allclose(group["std"][k][good], image.uncertainty.array[good], rtol=1e-3)


# -- dask


@pytest.mark.parametrize("kind", ["bands", "cube"])
def test_dask_in_dask_out(toy, kind):
    if kind == "bands":
        images = on_grids_of_their_own((1300, 80))
        lazy = toy(of_arrays(images, lambda a: array.from_array(a, chunks=500)))
        assert isinstance(lazy, dict) and all(isinstance(image, NDData) for image in lazy.values())
        found = [(image.data, image.uncertainty.array, image.mask) for image in lazy.values()]
    else:
        images, cube = make_bands((1300, 80)), make_cube((1300, 80))
        lazy = toy(CCDData(array.from_array(cube.data, chunks=500), unit="nmgy", wcs=cube.wcs,
                           uncertainty=StdDevUncertainty(array.from_array(cube.uncertainty.array, chunks=500))),
                   bands=BANDS)  # fmt: skip
        assert type(lazy) is NDData and lazy.unit == u.adu and lazy.meta["GTMODEL"] == "toy-sdss-cfhtls"
        found = list(zip(lazy.data, lazy.uncertainty.array, lazy.mask, strict=True))
    whole = toy(images)
    for (data, std, mask), image in zip(found, whole.values(), strict=True):
        assert hasattr(data, "dask") and data.chunks == ((2048, 552), (160,)) and data.dtype == np.float32
        data, std, mask = data.compute(), std.compute(), mask.compute()
        good = ~mask
        np.testing.assert_array_equal(mask, np.zeros(data.shape, bool) if image.mask is None else image.mask)
        np.testing.assert_allclose(data[good], image.data[good], rtol=1e-4, atol=2e-2)
        np.testing.assert_allclose(std[good], image.uncertainty.array[good], rtol=1e-3)


def test_only_the_blocks_that_are_asked_for_are_computed(toy):
    read_rows = []

    def source(block_info=None):
        rows = block_info[None]["array-location"][1]
        read_rows.append(rows)
        return np.random.default_rng(rows[0]).normal(0, 0.03, block_info[None]["chunk-shape"]).astype("f4")

    data = array.map_blocks(source, chunks=((5,), (100,) * 30, (80,)), dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    lazy = toy(NDData(data, unit="nmgy", wcs=make_cube((3000, 80)).wcs), bands=BANDS)
    read_rows.clear()
    lazy.data[:, :200].compute()
    assert read_rows and max(stop for _, stop in read_rows) <= 1200  # of 3000 rows, the first block and its halo


@pytest.mark.parametrize("options", [{"output_grid": "target"}, {"subtract_background": True}, {"combine": None}])
def test_what_blocks_cannot_give_is_refused(toy, options):
    lazy = of_arrays(make_bands((80, 80)), lambda a: array.from_array(a, chunks=64))
    with pytest.raises(ValueError, match=rf"{next(iter(options))} cannot be had of dask arrays"):
        toy(lazy, **options)


# -- runs that end early

KILLED = """
import os, signal, sys
from pathlib import Path
import test_mosaic as t
count = []
def step(_):
    count.append(1)
    if len(count) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
t.translate_mosaic(t.files_there(Path(sys.argv[1])), t.make_translator(), sys.argv[2], block=t.BLOCK, progress=step)
"""


def files_there(folder):
    return [folder / f"{band}.fits" for band in BANDS]


@pytest.mark.parametrize("ending", ["fits", "zarr"])
def test_a_killed_run_goes_on_with_the_blocks_that_are_missing(toy, tmp_path, ending):
    images = on_grids_of_their_own()
    paths = files(images, tmp_path)
    output, again = tmp_path / f"out.{ending}", tmp_path / f"again.{ending}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["tests", *sys.path])}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(output)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL and not output.exists()
    with pytest.raises(FileExistsError, match=r"made with other settings \(block\); overwrite=True starts anew"):
        translate_mosaic(paths, toy, output, block=BLOCK + 2)
    steps = []
    translate_mosaic(paths, toy, output, block=BLOCK, progress=steps.append)
    assert len(steps) == 4 * 3 - 5
    translate_mosaic(paths, toy, again, block=BLOCK)
    assert content(output) == content(again)
    with pytest.raises(FileExistsError, match="exists"):
        translate_mosaic(paths, toy, output)
    translate_mosaic(paths, toy, output, block=BLOCK, overwrite=True)
    assert content(output) == content(again)


def content(output):
    """Bytes of a file or folder, but for the second in which it was made."""
    if output.is_dir():
        group = zarr.open_group(output, mode="r")
        return [group[name][:].tobytes() for name in ("flux", "std", "mask")]
    with fits.open(output) as hdus:
        return [hdu.data.tobytes() for hdu in hdus]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.GaltransWarning")
def test_workers_make_the_same_bytes(tmp_path):
    paths, name = files(on_grids_of_their_own(), tmp_path), "srgan-sdss-cfhtls"
    one = translate_mosaic(paths, name, tmp_path / "one.fits", block=BLOCK)
    with cluster(workers=2) as client:
        two = translate_mosaic(paths, name, tmp_path / "two.fits", block=BLOCK, client=client)
    assert content(one) == content(two)


def test_other_weights_and_images_are_other_settings(toy, tmp_path):
    paths = files(on_grids_of_their_own(), tmp_path)
    part = tmp_path / ".part-out.fits"
    part.write_bytes(b"")
    note = tmp_path / ".part-out.fits.blocks"
    note.write_text(json.dumps({"translator": '"swin"', "seed": None}) + "\n3\n")
    with pytest.raises(FileExistsError, match="translator, weights, image, options, block, n_samples"):
        translate_mosaic(paths, toy, tmp_path / "out.fits")


def test_samplers_have_noise_of_their_own_in_each_block(tmp_path):
    sampler = make_translator(ToySampler)
    images = make_bands((100, 100))
    found = [
        fits.getdata(translate_mosaic(images, sampler, tmp_path / f"{k}.fits", block=50, seed=seed, n_samples=1))
        for k, seed in enumerate((1, 1, 2))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    noise = found[0] - found[2]
    blocks = noise[:, :100, :100].ravel(), noise[:, :100, 100:].ravel()
    assert np.abs(np.corrcoef(*blocks)[0, 1]) < 0.1 and noise.std() > 0
    assert fits.getheader(tmp_path / "0.fits")["GTSEED"] == 1


def test_what_is_wrong_is_said_before_the_work(toy, tmp_path):
    images = make_bands((80, 80))
    for change, match in (
        ({"output": tmp_path / "out.png"}, "end in .fits or .zarr"),
        ({"output": tmp_path / "nowhere" / "out.fits"}, "does not exist"),
        ({"block": 0}, "positive number of pixels, got 0"),
        ({"image": {band: images[band] for band in "ugi"}}, "missing bands: r"),
        ({"image": {band: images[band] for band in "ugr"}}, "missing bands: i, z"),
        ({"unit": "s"}, "not a flux per pixel"),
    ):
        options = {"image": images, "output": tmp_path / "out.fits"} | change
        with pytest.raises((ValueError, OSError), match=match):
            translate_mosaic(options.pop("image"), toy, options.pop("output"), **options)
    coarse = make_bands((80, 80))
    for image in coarse.values():
        image.wcs.wcs.cd *= 0.6 / 0.396
    with pytest.warns(DomainWarning, match=r"of 4 blocks, such as number 0: pixel scale is 0\.6"):
        translate_mosaic(coarse, toy, tmp_path / "out.fits", block=40)


def test_windows_are_what_read_gives(tmp_path):
    images = on_grids_of_their_own()
    for given in (images, files(images, tmp_path)):
        window = Windows(given, BANDS).read(slice(20, 60), slice(30, 80))
        whole = read(given)
        plane, full = window.planes[2], whole.planes[2]
        np.testing.assert_array_equal(plane.data, full.data[20:60, 30:80])
        for plane, full in zip(window.planes, whole.planes, strict=True):
            sky = plane.wcs.pixel_to_world(0, 0)
            x, y = (round(float(value)) for value in full.wcs.world_to_pixel(sky))
            height, width = plane.data.shape
            np.testing.assert_array_equal(plane.data, full.data[y : y + height, x : x + width])
            np.testing.assert_array_equal(plane.variance, full.variance[y : y + height, x : x + width])


def test_bands_on_one_grid_are_not_resampled(toy, tmp_path):
    paths = files(make_bands(SHAPE), tmp_path)
    window = Windows(paths, BANDS).read(slice(20, 60), slice(30, 80))
    assert window.on_one_grid
    np.testing.assert_array_equal(window.data, read(paths).data[:, 20:60, 30:80])
    path = translate_mosaic(paths, toy, tmp_path / "out.fits", block=BLOCK)
    assert "GTALIGN" not in fits.getheader(path)


def test_integers_that_a_header_scales_are_scaled_in_windows(tmp_path):
    images, paths = make_bands(SHAPE), []
    for band, image in images.items():
        header = image.wcs.to_header()
        header["BUNIT"], header["FILTER"] = "nmgy", band
        hdu = fits.PrimaryHDU(image.data.copy(), header)  # scaled in place
        hdu.scale("int16", bscale=1e-3, bzero=2.0)
        paths.append(tmp_path / f"{band}.fits")
        hdu.writeto(paths[-1])
    window, whole = Windows(paths, BANDS).read(slice(20, 60), slice(30, 80)), read(paths)
    np.testing.assert_array_equal(window.data, whole.data[:, 20:60, 30:80])
    np.testing.assert_allclose(window.data[2], images[BANDS[2]].data[20:60, 30:80], atol=1e-3)
