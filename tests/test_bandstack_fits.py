"""The door in and out with FITS files: round trips, distortions, damaged files and real data."""

import stat
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.wcs import WCS, DistortionLookupTable, FITSFixedWarning, Sip
from numpy.testing import assert_allclose, assert_array_equal

from astro_galtrans.bandstack import check_writable, read, select, to_unit, write_fits, write_like
from astro_galtrans.exceptions import GaltransWarning
from helpers import BANDS, make_bands, make_ccd, make_cube, make_wcs, shared_data

SHAPE = (12, 15)


@pytest.fixture
def stack():
    """Five bands with a mask and everything else a file can hold."""
    cube = make_cube(SHAPE)
    cube.mask = np.zeros(cube.shape, bool)
    cube.mask[2, 3, 4] = True
    cube.meta = {"OBJECT": "M51", "a long keyword": 3, "values": [1, 2], "bad": np.nan, "GTHASH": "f" * 64}
    return to_unit(read(cube, BANDS), "adu", 30.0)


def sky(wcs, shape=SHAPE):
    """World coordinates over an image, its edges included."""
    y, x = np.meshgrid(*(np.linspace(-0.5, n - 0.5, 9) for n in shape), indexing="ij")
    more = [0 * x] * (wcs.pixel_n_dim - 2)
    return np.array(wcs.pixel_to_world_values(x, y, *more)[:2])


# --- round trips


@pytest.mark.parametrize("suffix", ["fits", "fits.gz", "fits.bz2"])
def test_round_trip(stack, suffix, tmp_path):
    path = tmp_path / f"out.{suffix}"
    write_fits(stack, path)
    with fits.open(path) as hdulist:
        hdulist.verify("exception")
    ccd = CCDData.read(path)  # no unit argument
    assert ccd.unit == u.adu
    assert ccd.data.dtype.itemsize == 4
    assert_array_equal(ccd.data, stack.data)
    assert_array_equal(ccd.mask, stack.mask)
    assert type(ccd.uncertainty) is StdDevUncertainty
    assert_array_equal(ccd.uncertainty.array, np.sqrt(stack.variance))
    assert_allclose(sky(ccd.wcs.celestial), sky(stack.wcs), atol=1e-12)
    assert ccd.meta["BANDS"] == "u,g,r,i,z"
    assert ccd.meta["GTHASH"] == "f" * 64
    assert "a long keyword = 3" in list(ccd.meta["HISTORY"])
    assert "bad" not in ccd.meta

    again = read(path)
    assert (again.bands, again.unit, again.zeropoint) == (stack.bands, stack.unit, stack.zeropoint)
    assert_array_equal(again.data, stack.data)
    assert_array_equal(again.mask, stack.mask)
    assert_allclose(again.variance, stack.variance, rtol=1e-6)
    assert read(ccd).bands == BANDS
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left


@pytest.mark.parametrize("unit", ["nmgy", "mgy", "uJy", "Jy", "electron / s", "DN", "ct"])
def test_units_in_files(stack, unit, tmp_path):
    write_fits(to_unit(stack, unit, 25.0 if unit in {"electron / s", "DN", "ct"} else None), tmp_path / "out.fits")
    assert CCDData.read(tmp_path / "out.fits").unit == u.Unit(unit)
    again = to_unit(read(tmp_path / "out.fits"), "adu", 30.0)
    assert_allclose(again.data, stack.data, rtol=1e-6)


def test_paths_in_hdulist_out(tmp_path):
    paths = {}
    for band, ccd in make_bands(SHAPE).items():
        paths[band] = tmp_path / f"{band}.fits"
        ccd.write(paths[band])
    single = write_like(read(paths["g"]))
    assert isinstance(single, fits.HDUList)
    assert single[0].data.shape == SHAPE
    for images in (paths, list(paths.values()), [str(path) for path in reversed(paths.values())]):
        new = read(images)
        assert set(new.bands) == set(BANDS)
        out = write_like(select(new, BANDS))
        assert isinstance(out, fits.HDUList)
        assert out[0].data.shape == (5, *SHAPE)


def test_extension_of_a_file(tmp_path):
    path = tmp_path / "mef.fits"
    bands = make_bands(SHAPE, ("g", "r"))
    hdus = [ccd.to_hdu(as_image_hdu=True, hdu_uncertainty=None)[0] for ccd in bands.values()]
    for hdu, band in zip(hdus, bands, strict=True):
        hdu.header["EXTNAME"] = band.upper()
        del hdu.header["FILTER"]
    hdus[1].header["EXTVER"] = 2
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    assert read(path).bands == ("g", "r")
    assert_array_equal(read(f"{path}[R]").data[0], bands["r"].data)
    assert_array_equal(read(f"{path}[2]", "r").data[0], bands["r"].data)
    assert read(f"{path}[R,2]", "r").bands == ("r",)
    assert read([f"{path}[R]", f"{path}[G]"]).bands == ("r", "g")
    with pytest.raises(ValueError, match=r"no extension 'I'; it has 0 PRIMARY, 1 G, 2 R"):
        read(f"{path}[I]")
    with pytest.raises(ValueError, match="no extension 7"):
        read(f"{path}[7]")
    with pytest.raises(ValueError, match="holds no image"):
        read(f"{path}[0]", "g")


def test_tile_compressed_and_scaled_integers(tmp_path):
    ccd = make_ccd(SHAPE, "g")
    header = ccd.wcs.to_header()
    header.update({"BUNIT": "nmgy", "FILTER": "g"})
    counts = np.arange(SHAPE[0] * SHAPE[1], dtype="uint16").reshape(SHAPE)  # BZERO = 32768 in the file
    fits.CompImageHDU(counts, header, name="SCI").writeto(tmp_path / "image.fits.fz")
    stack = read(tmp_path / "image.fits.fz")
    assert stack.data.dtype == np.float32
    assert_array_equal(stack.data[0], counts)
    write_fits(write_like(stack), tmp_path / "out.fits")
    assert_array_equal(CCDData.read(tmp_path / "out.fits").data, counts)


def test_objects_are_written_too(stack, tmp_path):
    ccd = write_like(stack)
    ccd.meta = {key: ccd.meta[key] for key in ("BANDS", "MAGZERO", "GTHASH")}  # what CCDData.to_hdu can write
    kinds = {
        "ccd": ccd,
        "dict": {band: CCDData(ccd.data[i], unit=ccd.unit, wcs=ccd.wcs, meta=ccd.meta) for i, band in enumerate(BANDS)},
        "hdulist": ccd.to_hdu(),
        "hdu": ccd.to_hdu()[0],
        "extension": ccd.to_hdu(as_image_hdu=True)[0],
    }
    for name, image in kinds.items():
        write_fits(image, tmp_path / f"{name}.fits")
        again = read(tmp_path / f"{name}.fits")
        assert again.bands == BANDS, name
        assert_array_equal(again.data, stack.data)
    assert CCDData.read(tmp_path / "ccd.fits").meta["GTHASH"] == "f" * 64
    write_fits(make_ccd(SHAPE, "g"), tmp_path / "flat.fits")
    assert CCDData.read(tmp_path / "flat.fits").shape == SHAPE


# --- world coordinates


def distorted(name):
    """A WCS with the projection or distortion of a name."""
    wcs = make_wcs(SHAPE, angle=30)
    if name in {"TPV", "TPV+LUT"}:
        wcs.wcs.ctype = ["RA---TPV", "DEC--TPV"]
        wcs.wcs.set_pv([(1, 0, 1e-6), (1, 1, 1.0001), (1, 4, 0.3), (2, 1, 1.0), (2, 4, 0.2), (2, 7, 0.5)])
    elif name in {"SIP", "SIP+LUT", "swapped SIP", "SIP without -SIP", "SIP with CDELT"}:
        suffix = "" if name == "SIP without -SIP" else "-SIP"
        wcs.wcs.ctype = [f"RA---TAN{suffix}", f"DEC--TAN{suffix}"]
        rng = np.random.default_rng(3)
        order = 5
        degree = np.add.outer(np.arange(order + 1), np.arange(order + 1))
        a, b = rng.normal(0, 0.5, (2, order + 1, order + 1)) / 10.0**degree * ((degree > 1) & (degree <= order))
        wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
        if name == "SIP with CDELT":  # as a grid that was made finer has it
            matrix = wcs.wcs.cd
            del wcs.wcs.cd
            wcs.wcs.cdelt, wcs.wcs.pc = (0.5, 0.25), matrix / [[0.5], [0.25]]
    elif name == "ZPN":
        wcs.wcs.ctype = ["RA---ZPN", "DEC--ZPN"]
        wcs.wcs.set_pv([(2, 1, 1.0), (2, 3, 50.0)])
    elif name == "SCAMP":  # TPV's polynomial under the name of TAN, as SCAMP wrote it for years
        header = distorted("TPV").to_header()
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            return WCS(header)
    elif name == "galactic":
        wcs.wcs.ctype = ["GLON-SIN", "GLAT-SIN"]
    elif name != "LUT":
        wcs.wcs.ctype = [f"RA---{name}", f"DEC--{name}"]
    if name.startswith("swapped"):
        wcs.wcs.ctype, wcs.wcs.crval = list(wcs.wcs.ctype)[::-1], wcs.wcs.crval[::-1]
    if name.endswith("LUT"):
        table = np.random.default_rng(4).normal(0, 1, (5, 6)).astype("float32")
        wcs.cpdis1 = DistortionLookupTable(table, (1, 1), (1, 1), (4, 4))  # one axis: astropy needs the other, too
        wcs.det2im2 = DistortionLookupTable(table[::-1].copy(), (1, 1), (1, 1), (4, 4))
    wcs.wcs.set()
    return wcs


PROJECTIONS = [
    "TAN", "SIN", "ZEA", "ZPN", "galactic", "TPV", "SCAMP", "SIP", "SIP without -SIP", "SIP with CDELT", "swapped SIP",
    "LUT", "SIP+LUT", "TPV+LUT",
]  # fmt: skip


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("bands", [("g",), ("g", "r")])
def test_sky_positions_survive_the_file(name, bands, tmp_path):
    wcs = distorted(name)
    image = make_ccd(SHAPE, "g", wcs=wcs) if len(bands) == 1 else make_cube(SHAPE, bands, wcs=wcs)
    before = sky(wcs)
    path = tmp_path / "out.fits"
    tables = name.endswith("LUT")
    said = r"lookup tables: read the file with .*bandstack.read.* off by up to \d\.?\d* arcsec"
    with pytest.warns(GaltransWarning, match=said) if tables else nullcontext():
        write_fits(read(image, bands), path)
    if (name, len(bands)) == ("swapped SIP", 2):  # astropy reads a distortion from a cube as TPV only, longitude first
        before = before[::-1]
    with fits.open(path) as hdulist:
        hdulist.verify("exception")
        assert_allclose(sky(read(hdulist).wcs), before, atol=1e-11)
    assert_allclose(sky(read(path).wcs), before, atol=1e-11)
    if tables:  # CCDData.read cannot read them: it leaves the WCS None or goes without them, and the file says so
        assert "lookup tables" in str(fits.getheader(path)["COMMENT"])
        return
    ccd = CCDData.read(path)
    assert_allclose(sky(read(ccd).wcs), before, atol=1e-11)
    assert_allclose(sky(ccd.wcs), before, atol=1e-11)


def test_one_grid_although_its_distortion_has_no_inverse():
    wcs = distorted("SIP")
    images = {band: make_ccd((60, 60), band, wcs=wcs.deepcopy()) for band in "gr"}
    assert read(images).on_one_grid  # and no warning of an inverse that was not found


@pytest.mark.parametrize("name", ["TAN", "TPV", "SIP"])
def test_cube_that_astropy_wrote(name, tmp_path):
    # CCDData.read leaves the WCS of a cube with SIP None, and WCS.celestial fails for one with TPV
    cube = make_cube(SHAPE, wcs=distorted(name))
    cube.write(tmp_path / "cube.fits")
    assert_allclose(sky(read(tmp_path / "cube.fits", BANDS).wcs), sky(cube.wcs), atol=1e-11)
    assert_allclose(sky(read(CCDData.read(tmp_path / "cube.fits"), BANDS).wcs), sky(cube.wcs), atol=1e-11)


@pytest.mark.parametrize(
    ("card", "text", "number"), [("CRVAL1", "150.06", 150.06), ("CD1_1", " 1.1D-4", 1.1e-4), ("CRPIX2", "7", 7.0)]
)
def test_text_where_the_wcs_needs_a_number(card, text, number):
    header = make_wcs(SHAPE).to_header()
    for key, value in zip(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), (-1e-4, 0, 0, 1e-4), strict=True):
        header[key] = value
    for key in [key for key in header if key.startswith(("PC", "CDELT"))]:
        del header[key]
    header.update({"FILTER": "g", "BUNIT": "nmgy"})
    header[card] = number
    truth = sky(read(fits.PrimaryHDU(np.ones(SHAPE), header)).wcs)
    header[card] = text
    assert_allclose(sky(read(fits.PrimaryHDU(np.ones(SHAPE), header)).wcs), truth, rtol=1e-14)
    for wrong in ("10:00:14.4", "east", True):
        header[card] = wrong
        with pytest.raises(ValueError, match=rf"header card {card} must hold a number, got {wrong!r}"):
            read(fits.PrimaryHDU(np.ones(SHAPE), header))


def test_header_is_not_touched():
    cube = make_cube(SHAPE, wcs=distorted("SIP"))
    hdulist = cube.to_hdu()
    before = hdulist[0].header.tostring()
    read(hdulist, BANDS)
    assert hdulist[0].header.tostring() == before


def test_tables_need_the_file():
    ccd = make_ccd(SHAPE, "g", wcs=distorted("LUT"))
    with pytest.warns(GaltransWarning, match="the WCS has lookup tables"):
        hdulist = write_like(read(ccd.to_hdu()).with_planes([(ccd.data, None, None, ccd.wcs)]))
    assert read(hdulist).bands == ("g",)
    with pytest.raises(ValueError, match="pass the HDUList or the path instead of the single HDU"):
        read(hdulist[0])
    hdu = fits.PrimaryHDU(ccd.data, make_wcs(SHAPE).to_header())
    hdu.header.update({"BUNIT": "nmgy", "FILTER": "g"})
    with pytest.raises(ValueError, match="single HDU cannot hold lookup-table distortions"):
        write_like(read(hdu).with_planes([(ccd.data, None, None, ccd.wcs)]))


def test_wcs_without_fits_keywords(tmp_path):
    gwcs = pytest.importorskip("gwcs")
    from astropy.coordinates import ICRS
    from astropy.modeling import models

    sky = gwcs.coordinate_frames.CelestialFrame(reference_frame=ICRS(), unit=(u.deg, u.deg))
    to_sky = models.Scale(1e-4) & models.Scale(1e-4) | models.Pix2Sky_TAN() | models.RotateNative2Celestial(10, 20, 180)
    image = NDData(np.ones(SHAPE), unit="nmgy", wcs=gwcs.WCS(to_sky, output_frame=sky), meta={"FILTER": "g"})
    with pytest.raises(ValueError, match=r"gwcs.*WCS has no FITS keywords"):
        write_fits(image, tmp_path / "out.fits")
    assert not list(tmp_path.iterdir())


def test_sky_position_that_depends_on_the_band():
    cube = make_cube(SHAPE)
    hdulist = cube.to_hdu()
    hdulist[0].header["PC1_3"] = 1e-5
    with pytest.raises(ValueError, match=r"depends on a third axis \(PC1_3\)"):
        read(hdulist, BANDS)


# --- outputs that cannot be written


def test_output_that_exists(stack, tmp_path):
    path = tmp_path / "out.fits"
    path.write_text("precious")
    for attempt in (lambda: write_fits(stack, path), lambda: check_writable(path)):
        with pytest.raises(OSError, match="exists; choose another name, or overwrite=True"):
            attempt()
    assert path.read_text() == "precious"
    write_fits(stack, path, overwrite=True)
    assert read(path).bands == BANDS


def test_nowhere_to_write(stack, tmp_path):
    with pytest.raises(OSError, match=r"folder of the output .* does not exist"):
        write_fits(stack, tmp_path / "absent" / "out.fits")
    with pytest.raises(OSError, match="is a directory"):
        check_writable(tmp_path, overwrite=True)
    check_writable(tmp_path / "out.fits")


def test_nothing_is_left_of_a_failed_write(tmp_path):
    wrong = fits.HDUList([fits.PrimaryHDU(np.ones(SHAPE)), fits.ImageHDU(np.ones(SHAPE))])
    wrong[1].header["EXTNAME"] = 7  # must be a text: verification fails
    (tmp_path / "out.fits").write_text("precious")
    with pytest.raises(fits.VerifyError):
        write_fits(wrong, tmp_path / "out.fits", overwrite=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_written_file_has_the_usual_permissions(stack, tmp_path):
    write_fits(stack, tmp_path / "out.fits")
    (tmp_path / "other").touch()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


# --- files that cannot be read


@pytest.mark.parametrize("suffix", ["fits", "fits.gz", "fits.bz2", "fits.fz"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.7, 0.97])
def test_truncated_files(stack, suffix, part, tmp_path):
    path = tmp_path / f"image.{suffix}"
    if suffix == "fits.fz":
        hdu = write_like(select(stack, "g"))
        fits.CompImageHDU(hdu.data[0], write_like(stack).wcs.to_header()).writeto(path)
    else:
        write_fits(stack, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(OSError, match=rf"image\.{suffix} (is an empty file|cannot be read)"):
        read(path)


@pytest.mark.parametrize("content", [b"hello world\n" * 500, b"\x89PNG\r\n\x1a\n" + bytes(5000), b"SIMPLE  = nonsense"])
def test_not_fits(content, tmp_path):
    path = tmp_path / "image.fits"
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"image.fits cannot be read; it is truncated, damaged or not FITS"):
        read(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read(tmp_path / "absent.fits")
    with pytest.raises(IsADirectoryError, match="is a directory"):
        read(str(tmp_path))


# --- real data


def test_stripe82_frames():
    paths = [shared_data("sdss_stripe82", f"sdss-004192-{band}4-0300.fits.fz") for band in "gr"]
    stack = read(paths, "rg")
    assert stack.bands == ("r", "g")
    assert (stack.unit, stack.zeropoint) == (u.nmgy, 22.5)
    assert not stack.on_one_grid  # each SDSS band has a grid of its own
    with pytest.raises(ValueError, match="another grid than r: g"):
        read(paths, "rg", align=False)
    for plane, path in zip(stack.planes, paths[::-1], strict=True):
        assert plane.data.shape == (1489, 2048)
        assert_array_equal(plane.data, fits.getdata(path, "SCI"))
        assert plane.data.dtype == np.float32
        assert_allclose(plane.wcs.wcs.crval, [fits.getval(path, f"CRVAL{n}", "SCI") for n in (1, 2)])
    assert "RUN = 4192" in list(stack.meta["HISTORY"])
    assert not {"SKYSIG", "NMGYDN", "FILTER", "BUNIT", "CRVAL1", "EXTNAME"} & set(stack.meta)


def test_dr12_frame(tmp_path):
    stack = read(shared_data("sdss_frame", "frame-g-000094-1-0131.fits.bz2"))
    assert stack.bands == ("g",)
    assert stack.data.shape == (1, 1489, 2048)
    with pytest.raises(ValueError, match="missing bands: u, r, i, z; the image has g"):
        select(stack, "ugriz")
    write_fits(stack, tmp_path / "out.fits")
    ccd = CCDData.read(tmp_path / "out.fits")
    assert ccd.meta["OBJECT"] == "100 N"
    assert_array_equal(ccd.data, stack.data[0])
    assert_allclose(sky(ccd.wcs, (1489, 2048)), sky(stack.wcs, (1489, 2048)), atol=1e-11)


def test_sdss_stamps():
    stack = read({band: shared_data("sdss_cutout", f"stamp-{band}.fits") for band in BANDS})
    assert stack.bands == BANDS
    assert stack.unit == u.nmgy
    assert all(plane.data.shape == (64, 64) and plane.data.dtype == np.float64 for plane in stack.planes)


def test_cfhtls_images():
    paths = [shared_data("cfhtls_w3", f"CFHTLS-test_{band}.fits") for band in "gri"]
    stack = read(paths)  # no BUNIT: a zero point is that of the pixels, whatever they are called
    assert stack.unit == u.adu
    assert stack.bands == ("g", "r", "i")
    assert stack.zeropoint == 30.0
    assert stack.on_one_grid
    assert stack.data.shape == (3, 440, 440)
    assert "SATURATE" not in stack.meta
    nanomaggies = to_unit(stack, "nmgy")
    assert_allclose(nanomaggies.data, stack.data / 1000, rtol=1e-6)


def test_image_without_wcs():
    path = shared_data("gama_sdss_kids", "SDSS", "G265911fitim.fits")
    with pytest.raises(ValueError, match="no celestial WCS on the image axes"):
        read(path, "r", unit="mgy")
