"""The door in and out with objects in memory: what each kind holds comes in whole, and the same kind goes out."""

import copy

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    NDDataRef,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS
from numpy.testing import assert_allclose, assert_array_equal

from astro_galtrans.bandstack import PROVENANCE_CARDS, BandStack, Origin, read, select, to_unit, write_like
from astro_galtrans.exceptions import GaltransWarning
from helpers import BANDS, make_bands, make_ccd, make_cube, make_wcs

SHAPE = (12, 15)


def single(**changes):
    """One g image as NDData, which checks less than CCDData."""
    parts = {"unit": u.nmgy, "wcs": make_wcs(SHAPE), "meta": {"FILTER": "g"}} | changes
    return NDData(parts.pop("data", np.ones(SHAPE, "float32")), **parts)


def header_of(ccd, band=None):
    header = ccd.wcs.to_header()
    header["BUNIT"] = "nanomaggy"
    if band:
        header["FILTER"] = band
    return header


# --- what comes in


def test_cube():
    cube = make_cube(SHAPE)
    cube.mask = cube.data > np.median(cube.data)
    stack = read(cube, BANDS)
    assert isinstance(stack, BandStack)
    assert stack.bands == BANDS
    assert stack.unit == u.nmgy
    assert stack.zeropoint == 22.5
    assert stack.on_one_grid
    assert_array_equal(stack.data, cube.data)
    assert_array_equal(stack.mask, cube.mask)
    assert_allclose(stack.variance, cube.uncertainty.array**2, rtol=1e-6)
    assert stack.wcs.wcs.compare(cube.wcs.wcs)
    assert stack.data.dtype == stack.variance.dtype == np.float32


@pytest.mark.parametrize("container", [list, tuple, dict])
def test_one_object_per_band(container):
    bands = make_bands(SHAPE)
    stack = read(bands if container is dict else container(bands.values()))
    assert stack.bands == BANDS
    for plane, ccd in zip(stack.planes, bands.values(), strict=True):
        assert_array_equal(plane.data, ccd.data)
    out = write_like(stack)
    assert type(out) is container
    assert [item.meta["FILTER"] for item in (out.values() if container is dict else out)] == list(BANDS)
    if container is dict:
        assert tuple(out) == BANDS


def test_order_is_that_of_the_input_or_of_the_argument():
    bands = make_bands(SHAPE)
    shuffled = [bands[band] for band in "zgiru"]
    assert read(shuffled).bands == tuple("zgiru")
    stack = read(shuffled, "ugr")  # FILTER cards: by name, not by position
    assert stack.bands == tuple("ugr")
    assert_array_equal(stack.data[1], bands["g"].data)
    assert_array_equal(read(bands, ["r", "sdss_u"]).data[1], bands["u"].data)


def test_bands_of_a_cube_from_its_meta():
    cube = make_cube(SHAPE)
    cube.meta["BANDS"] = ",".join(BANDS)
    assert read(cube).bands == BANDS
    assert_array_equal(read(cube, "zg").data, cube.data[[4, 1]])
    cube.meta = {f"BAND{n}": f"sdss_{band}" for n, band in enumerate(BANDS, 1)}
    assert read(cube).bands == BANDS


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4", ">f8", "float16", "int16", "uint16", ">i4", "uint8"])
def test_dtypes(dtype):
    data = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE).astype(dtype)
    stack = read(single(data=data))
    assert stack.data.dtype == (np.float64 if dtype in {"float64", ">f8"} else np.float32)
    assert stack.data.dtype.isnative
    assert_array_equal(stack.data[0], data)
    assert write_like(stack).data.dtype == stack.data.dtype


def test_float64_in_one_band_is_kept():
    stack = read({"g": make_ccd(SHAPE, "g"), "r": make_ccd(SHAPE, "r", dtype="float64")})
    assert stack.data.dtype == np.float64


def test_degenerate_axes_of_radio_images():
    data = np.random.default_rng(1).normal(size=(1, 1, *SHAPE))
    stack = read(single(data=data))
    assert stack.data.shape == (1, *SHAPE)
    assert_array_equal(stack.data[0], data[0, 0])


@pytest.mark.parametrize("kind", [StdDevUncertainty, VarianceUncertainty, InverseVariance])
def test_uncertainties(kind, rng):
    sigma = StdDevUncertainty(rng.uniform(0.1, 1, SHAPE))
    stack = read(single(uncertainty=sigma.represent_as(kind)))
    assert_allclose(stack.variance[0], sigma.array**2, rtol=1e-6)
    out = write_like(stack)
    assert type(out.uncertainty) is StdDevUncertainty
    assert_allclose(out.uncertainty.array, sigma.array, rtol=1e-6)


def test_uncertainty_in_a_unit_of_its_own():
    image = single(unit=u.nJy, uncertainty=StdDevUncertainty(np.full(SHAPE, 2.0), unit=u.uJy))
    assert_allclose(read(image).variance, 2000.0**2)


def test_pixels_without_weight_are_masked():
    weight = np.ones(SHAPE)
    weight[3, 4] = 0
    stack = read(single(uncertainty=InverseVariance(weight)))
    assert_array_equal(np.argwhere(stack.mask), [[0, 3, 4]])
    assert np.isfinite(stack.variance).all()


def test_mask_of_bits_and_masked_pixels():
    bits = np.zeros(SHAPE, "int16")
    bits[2, 3] = 4
    stack = read([single(mask=bits), single(meta={"FILTER": "r"})])
    assert stack.mask.dtype == bool
    assert_array_equal(np.argwhere(stack.mask), [[0, 2, 3]])


def test_single_nan_is_not_masked_here():
    data = np.ones(SHAPE)
    data[0, 0] = np.nan
    stack = read(single(data=data))
    assert stack.mask is None
    assert np.isnan(stack.data[0, 0, 0])


def test_the_input_is_not_touched():
    cube = make_cube(SHAPE)
    cube.mask = np.zeros(cube.shape, bool)
    cube.meta.update({"FILTER": "g", "BUNIT": "nmgy"})
    before = copy.deepcopy(cube)
    stack = to_unit(read(cube, BANDS), "nJy").with_provenance(seed=3)
    for array in (stack.data, stack.variance, stack.mask):
        array[...] = 9  # for the mask: True
    out = write_like(stack)
    out.data[...] = 7
    out.wcs.wcs.crval = 0, 0
    out.meta["OBJECT"] = "changed"
    assert cube.meta == before.meta
    assert cube.unit == before.unit
    assert cube.wcs.wcs.compare(before.wcs.wcs)
    assert_array_equal(cube.data, before.data)
    assert_array_equal(cube.mask, before.mask)
    assert_array_equal(cube.uncertainty.array, before.uncertainty.array)
    assert stack.data.max() == 9  # what goes out shares nothing with the stack


# --- units


def test_units_and_zeropoints_are_brought_to_the_first():
    r = make_ccd(SHAPE, "r")
    counts = CCDData(r.data * 1000, unit="adu", wcs=r.wcs, meta={"FILTER": "r", "MAGZERO": 30.0})
    counts.uncertainty = StdDevUncertainty(r.uncertainty.array * 1000)
    stack = read([make_ccd(SHAPE, "g"), counts])  # 1000 counts of magnitude 30 are 1 nanomaggy
    assert stack.unit == u.nmgy
    assert_allclose(stack.data[1], r.data, rtol=1e-6)
    assert_allclose(stack.variance[1], r.uncertainty.array**2, rtol=1e-5)


def test_zeropoint_by_band():
    images = {band: single(unit=u.adu, meta={}) for band in "gr"}
    stack = read(images, zeropoint={"g": 25.0, "sdss_r": 27.5})
    assert stack.zeropoint == 25.0
    assert_allclose(stack.data[1] / stack.data[0], 0.1, rtol=1e-6)


def test_to_unit_keeps_magnitudes(rng):
    stack = read(single(data=rng.uniform(1, 9, SHAPE), uncertainty=StdDevUncertainty(np.full(SHAPE, 0.5))))
    for unit, zeropoint in (("uJy", None), ("adu", 30.0), ("erg / (s cm2 Hz)", None)):
        new = to_unit(stack, unit, zeropoint)
        assert_allclose(new.zeropoint - 2.5 * np.log10(new.data), 22.5 - 2.5 * np.log10(stack.data), atol=1e-9)
        assert_allclose(new.data / np.sqrt(new.variance), stack.data / np.sqrt(stack.variance), rtol=1e-9)
        assert new.unit == u.Unit(unit)


def test_variance_outside_the_range_of_float32():
    # sky noise in erg/s/cm2/Hz is about 1e-31: its square is 0 in float32
    sigma = np.full(SHAPE, 1e-31, "float32")
    image = single(data=sigma, unit=u.erg / u.s / u.cm**2 / u.Hz, uncertainty=StdDevUncertainty(sigma))
    stack = read(image)
    assert stack.data.dtype == np.float32
    new = to_unit(stack, "nmgy")
    assert_allclose(np.sqrt(new.variance), new.data, rtol=1e-6)
    assert new.variance.dtype == np.float32
    assert_allclose(write_like(stack).uncertainty.array, sigma, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"unit": None}, {}, "no unit; pass unit="),
        ({"unit": u.adu}, {}, "no zero point for adu: pass zeropoint="),
        ({"unit": u.MJy / u.sr}, {}, "surface brightness"),
        ({"unit": u.mag}, {}, "magnitudes"),
        ({}, {"unit": "galaxies"}, "'galaxies' is not a known unit"),
        ({}, {"zeropoint": 25}, "contradicts"),
    ],
)
def test_wrong_units(changes, options, message):
    with pytest.raises(ValueError, match=message):
        read(single(**changes), **options)


def test_unit_argument_overrides():
    stack = read(single(unit=None), unit="nanomaggies")
    assert stack.unit == u.nmgy
    stack = read(single(uncertainty=StdDevUncertainty(np.full(SHAPE, 3.0))), unit="adu", zeropoint=30)
    assert_allclose(stack.variance, 9)  # the numbers are those of the flux, whatever its unit


# --- bands and shapes that do not fit


def test_missing_bands_are_named():
    stack = read([make_ccd(SHAPE, "g")])
    with pytest.raises(ValueError, match="missing bands: u, r, i, z; the image has g"):
        select(stack, "ugriz")
    with pytest.raises(ValueError, match="missing bands: q, w"):
        read(make_bands(SHAPE), ["g", "q", "w"])


def test_select_reorders():
    stack = read(make_bands(SHAPE))
    picked = select(stack, ["i", "sdss_g"])
    assert picked.bands == ("i", "g")
    assert_array_equal(picked.data, stack.data[[3, 1]])
    assert select(stack, BANDS) is stack


@pytest.mark.parametrize(
    ("image", "bands", "message"),
    [
        (lambda: make_cube(SHAPE), None, "does not say which band"),
        (lambda: single(meta={}), None, r"no FILTER or BANDS card\); pass bands="),
        (lambda: make_cube(SHAPE), "gri", r"3 bands \(g, r, i\) for 5 image planes"),
        (lambda: make_cube(SHAPE), "ugrii", "twice: i"),
        (lambda: [make_ccd(SHAPE, "g")] * 2, None, "band 'g' comes twice, in image 0 and image 1"),
        (
            lambda: {"g": make_ccd(SHAPE, "g"), "sdss_g": make_ccd(SHAPE, "g")},
            None,
            "in image 'g' and image 'sdss_g'",
        ),
        (lambda: [make_ccd(SHAPE, "g")], "r", "named 'r' but its header says 'g'"),
        (lambda: {"g": make_cube(SHAPE)}, None, "image 'g' holds several bands"),
        (lambda: {"": make_ccd(SHAPE)}, None, "empty"),
        (list, None, "list of images is empty"),
        (dict, None, "dict of images is empty"),
        (lambda: single(mask=np.zeros((3, 4), bool)), None, r"mask has shape \(3, 4\) and the image \(12, 15\)"),
        (lambda: single(uncertainty=StdDevUncertainty(np.ones(3))), None, r"uncertainty has shape \(3,\)"),
        (lambda: single(uncertainty=UnknownUncertainty(np.ones(SHAPE))), None, "UnknownUncertainty is not understood"),
        (lambda: single(data=np.ones(7)), None, r"shape is \(7,\)"),
        (lambda: single(data=np.ones((2, 2, *SHAPE))), "gr", r"shape is \(2, 2, 12, 15\)"),
        (lambda: single(data=np.ones((0, 5))), None, "none of them zero"),
        (lambda: single(data=np.ones(SHAPE, complex)), None, "expected real numbers"),
        (lambda: single(data=np.full(SHAPE, np.nan)), None, r"band g\): no pixel is finite"),
        (lambda: single(mask=np.ones(SHAPE, bool)), None, "no pixel is usable"),
        (lambda: single(wcs=None), None, "no celestial WCS; add one"),
        (lambda: single(wcs=WCS(naxis=2)), None, "no celestial WCS on the image axes"),
        (fits.PrimaryHDU, "g", "holds no image"),
    ],
)
def test_input_that_does_not_fit(image, bands, message):
    with pytest.raises(ValueError, match=message):
        read(image(), bands)


def test_a_key_that_the_header_contradicts_holds_and_is_told():
    images = {"g": make_ccd(SHAPE, "r"), "r": make_ccd(SHAPE, "r")}
    with pytest.warns(GaltransWarning, match="image 'g' is taken as band g .* its header says r") as told:
        stack = read(images)
    assert len(told) == 1
    assert stack.bands == ("g", "r")


@pytest.mark.parametrize("image", [None, 3, np.ones(SHAPE), fits.Header(), [np.ones(SHAPE)], fits.BinTableHDU()])
def test_not_an_image(image):
    with pytest.raises(TypeError, match="expected a CCDData, NDData, HDU, HDUList or FITS path"):
        read(image)


def test_uncertainty_in_some_bands_only():
    with pytest.raises(ValueError, match="bands r, i have no uncertainty"):
        read([make_ccd(SHAPE, "g"), *(make_ccd(SHAPE, band, uncertainty=False) for band in "ri")])


# --- grids


def test_bands_on_different_grids():
    shifted = make_wcs(SHAPE)
    shifted.wcs.crpix += 0.3
    bands = {"g": make_ccd(SHAPE, "g"), "r": make_ccd(SHAPE, "r", wcs=shifted), "i": make_ccd((9, 15), "i")}
    stack = read(bands)
    assert not stack.on_one_grid
    assert [plane.data.shape for plane in stack.planes] == [SHAPE, SHAPE, (9, 15)]
    assert stack.grids[1].wcs.compare(shifted.wcs)
    with pytest.raises(ValueError, match="another grid than g: r, i"):
        read(bands, align=False)
    with pytest.raises(ValueError, match="different grids"):
        write_like(stack)
    assert select(stack, "g").on_one_grid
    aligned = stack.with_planes([stack.planes[0]] * 3)
    assert aligned.data.shape == (3, *SHAPE)
    assert aligned.bands == stack.bands


def test_grids_that_agree_to_a_thousandth_of_a_pixel():
    for shift, same in ((5e-4, True), (2e-3, False)):
        wcs = make_wcs(SHAPE)
        wcs.wcs.crpix += shift / np.sqrt(2)
        assert read([make_ccd(SHAPE, "g"), make_ccd(SHAPE, "r", wcs=wcs)], align=True).on_one_grid is same


def test_planes_go_round():
    stack = read(make_bands(SHAPE))
    again = stack.with_planes(stack.planes)
    assert_array_equal(again.data, stack.data)
    assert_array_equal(again.variance, stack.variance)
    assert again.mask is None
    with pytest.raises(ValueError, match=r"2 images for 5 bands \(u, g, r, i, z\)"):
        stack.with_planes(stack.planes[:2])


def test_wcs_with_a_third_axis():
    wcs = WCS(naxis=3)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN", "WAVE"
    wcs.wcs.cunit = "deg", "deg", "m"
    wcs.wcs.cdelt, wcs.wcs.crval = (-1e-4, 1e-4, 1e-7), (10, 20, 5e-7)
    stack = read(CCDData(np.ones((2, *SHAPE)), unit="Jy", wcs=wcs), "gr")
    assert stack.wcs.pixel_n_dim == 2
    assert_allclose(stack.wcs.pixel_to_world_values(3, 4), wcs.pixel_to_world_values(3, 4, 0)[:2], atol=1e-12)
    sliced = SlicedLowLevelWCS(wcs, [slice(None)] * 3)  # not a FITS WCS any more
    stack = read(NDData(np.ones((2, *SHAPE)), unit="Jy", wcs=sliced), "gr")
    assert_allclose(stack.wcs.pixel_to_world_values(3, 4), wcs.pixel_to_world_values(3, 4, 0)[:2], atol=1e-12)
    wcs.wcs.ctype = "WAVE", "RA---TAN", "DEC--TAN"
    wcs.wcs.cunit = "m", "deg", "deg"
    with pytest.raises(ValueError, match="no celestial WCS on the image axes"):
        read(CCDData(np.ones((2, *SHAPE)), unit="Jy", wcs=wcs), "gr")


def test_generalised_wcs():
    gwcs = pytest.importorskip("gwcs")
    from astropy.coordinates import ICRS
    from astropy.modeling import models
    from gwcs import coordinate_frames

    fits_wcs = make_wcs(SHAPE, angle=20)
    linear = models.AffineTransformation2D(fits_wcs.pixel_scale_matrix)
    shift = models.Shift(-(fits_wcs.wcs.crpix[0] - 1)) & models.Shift(-(fits_wcs.wcs.crpix[1] - 1))
    rotation = models.RotateNative2Celestial(*fits_wcs.wcs.crval, 180)
    pixels = coordinate_frames.Frame2D(name="detector", unit=(u.pix, u.pix))
    sky = coordinate_frames.CelestialFrame(reference_frame=ICRS(), name="icrs", unit=(u.deg, u.deg))
    general = gwcs.WCS([(pixels, shift | linear | models.Pix2Sky_TAN() | rotation), (sky, None)])

    stack = read({"g": single(wcs=general), "r": single(meta={"FILTER": "r"})})
    assert not stack.on_one_grid
    stack = read({"g": single(wcs=general), "r": single(wcs=fits_wcs, meta={"FILTER": "r"})})
    assert stack.on_one_grid  # two kinds of WCS, one grid
    assert isinstance(write_like(stack)["g"].wcs, gwcs.WCS)


# --- what goes out


class Plain(NDData):
    """A subclass that can be made like its base."""


class Particular(CCDData):
    """A subclass that cannot."""

    def __init__(self, data, telescope, **parts):
        super().__init__(data, **parts)
        self.telescope = telescope


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (make_cube(SHAPE), CCDData),
        (NDData(make_cube(SHAPE)), NDData),
        (NDDataRef(make_cube(SHAPE)), NDDataRef),
        (Plain(make_cube(SHAPE)), Plain),
        (Particular(make_cube(SHAPE), "CFHT"), CCDData),
    ],
)
def test_nddata_kinds(made, kind):
    stack = to_unit(read(made, BANDS), "nJy")
    out = write_like(stack)
    assert type(out) is kind
    assert out.data.shape == (5, *SHAPE)
    assert out.unit == u.nJy
    assert type(out.uncertainty) is StdDevUncertainty
    assert out.wcs.wcs.compare(made.wcs.wcs)
    assert out.meta["BANDS"] == "u,g,r,i,z"
    assert read(out).bands == BANDS


@pytest.mark.parametrize("kind", [fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU])
def test_hdu_kinds(kind):
    ccd = make_ccd(SHAPE, "g")
    hdu = kind(ccd.data, header_of(ccd, "g"))
    stack = read(hdu)
    assert stack.bands == ("g",)
    assert_array_equal(stack.data[0], hdu.data)
    mask = np.zeros((1, *SHAPE), bool)
    mask[0, 2, 2] = True
    out = write_like(stack.with_planes([stack.planes[0]._replace(mask=mask[0])]))
    assert type(out) is kind
    out.verify("exception")
    assert_array_equal(np.isnan(out.data), mask[0])  # no extension for the mask
    assert_array_equal(out.data[~mask[0]], ccd.data[~mask[0]])
    assert out.header["BUNIT"] == "nmgy"
    assert WCS(out.header).wcs.compare(ccd.wcs.wcs, tolerance=1e-12)


def test_hdulist():
    cube = make_cube(SHAPE)
    cube.mask = np.zeros(cube.shape, bool)
    cube.mask[1, 2, 3] = True
    hdulist = cube.to_hdu()
    stack = read(hdulist, BANDS)
    assert_array_equal(stack.mask, cube.mask)
    assert_allclose(stack.variance, cube.uncertainty.array**2, rtol=1e-6)
    out = write_like(stack)
    assert type(out) is fits.HDUList
    assert [hdu.name for hdu in out] == ["PRIMARY", "MASK", "UNCERT"]
    out.verify("exception")


def test_hdulist_with_an_extension_per_band():
    bands = make_bands(SHAPE)
    hdus = [fits.ImageHDU(ccd.data, header_of(ccd), name=band) for band, ccd in bands.items()]
    errors = [fits.ImageHDU(np.full(SHAPE, k + 1.0), name=f"ERR_{band}") for k, band in enumerate(BANDS)]
    quality = fits.ImageHDU(np.eye(*SHAPE, dtype="u1"), name="DQ_g")
    hdulist = fits.HDUList([fits.PrimaryHDU(), *hdus, *errors[::-1], quality])
    stack = read(hdulist)
    assert stack.bands == BANDS
    assert_array_equal(stack.variance[:, 0, 0], np.arange(1, 6) ** 2)
    assert_array_equal(stack.mask, [np.eye(*SHAPE) * (band == "g") for band in BANDS])
    assert_array_equal(read(hdulist, "zu").data, [bands["z"].data, bands["u"].data])
    for hdu, name in zip(hdus, BANDS, strict=True):
        hdu.header["FILTER"] = f"{name}.SDSS"
        hdu.name = "SCI"
    assert read(hdulist).bands == BANDS
    hdus[1].header["FILTER"] = "r"
    with pytest.raises(ValueError, match=r"band 'r' comes twice, in the image\[2\] and the image\[3\]"):
        read(hdulist)


def test_first_image_of_a_file_with_other_things():
    # an SDSS frame: image, sky vector, tables
    ccd = make_ccd(SHAPE, "g")
    table = fits.BinTableHDU.from_columns([fits.Column("ALLSKY", "E", array=np.ones(3))])
    frame = fits.HDUList([fits.PrimaryHDU(ccd.data, header_of(ccd, "g")), fits.ImageHDU(np.ones(9)), table])
    assert_array_equal(read(frame).data[0], ccd.data)
    # and an empty primary that says what the extension does not
    primary = fits.PrimaryHDU(header=fits.Header([("FILTER", "r"), ("OBJECT", "M51")]))
    stack = read(fits.HDUList([primary, fits.ImageHDU(ccd.data, header_of(ccd), name="SCI")]))
    assert stack.bands == ("r",)
    assert stack.meta["OBJECT"] == "M51"
    with pytest.raises(ValueError, match="holds no image; its extensions are 0 PRIMARY, 1 SKY"):
        read(fits.HDUList([primary, fits.ImageHDU(np.ones(SHAPE), name="SKY")]))


@pytest.mark.parametrize("image", [make_ccd(SHAPE, "g"), make_ccd(SHAPE, "g").to_hdu(), make_cube(SHAPE, ("g",))])
def test_number_of_axes(image):
    flat = not isinstance(image, CCDData) or image.data.ndim == 2
    stack = read(image, "g")
    one = write_like(stack)
    data = one[0].data if isinstance(one, fits.HDUList) else one.data
    assert data.ndim == (2 if flat else 3)
    several = write_like(stack.with_planes(stack.planes * 2, bands=("g", "r")))
    assert (several[0].data if isinstance(several, fits.HDUList) else several.data).shape == (2, *SHAPE)


def test_another_origin():
    stack = read(make_cube(SHAPE), BANDS)
    out = write_like(stack, Origin(NDData, dict))
    assert tuple(out) == BANDS
    assert type(out["r"]) is NDData


# --- meta


STALE = {
    "BUNIT": "nmgy", "FILTER": "g", "BAND2": "r", "CRPIX1": 1.0, "CD1_2": 0.1, "PC2_1": 0.0, "PV1_4": 0.1, "A_0_2": 0.1,
    "BP_ORDER": 2, "CPDIS1": "LOOKUP", "D2IMDIS1": "LOOKUP", "WCSAXES": 2, "RADECSYS": "FK5", "EQUINOX": 2000.0,
    "SATURATE": 3e4, "GAIN": 1.5, "SKYSIG": 0.02, "MAGZERO": 25.0, "FLUXMAG0": 1e10, "MZP_AB": 30.0, "NMGY": 0.003,
    "EXTNAME": "SCI", "CHECKSUM": "abc", "ZCMPTYPE": "RICE_1", "BZERO": 0.0, "SEEING": 1.1, "MAGLIM": 25.0, "NAXIS3": 5,
}  # fmt: skip
LASTING = {"OBJECT": "W3+1-2", "TARGNAME": "M51", "RA_TARG": 202.47}
PAST = {  # true of the source image, not of its translation
    "DATE-OBS": "2003-10-19", "TELESCOP": "2.5m", "INSTRUME": "ACS", "MJD-OBS": 52931.0, "RUN": 4192, "EXPTIME": 53.9,
    "PIXAR_A2": 0.157, "AIRMASS": 1.2, "PHOTFLAM": 1e-19, "PHOTSYS": "AB", "XYZ123": "whatever",
}  # fmt: skip


@pytest.mark.parametrize("kind", [dict, fits.Header])
def test_cards_of_the_source_do_not_stand_as_the_result_s(kind):
    meta = kind({**LASTING, **PAST, **STALE})
    if kind is fits.Header:
        meta["HISTORY"] = "background removed"
        meta["COMMENT"] = "photometric calibration"
    meta["FILTER"] = "g"
    out = write_like(read(single(meta=meta), zeropoint=22.5))
    assert type(out.meta) is kind
    assert {key: out.meta[key] for key in LASTING} == LASTING
    assert set(out.meta) - set(LASTING) - {"HISTORY"} == {"FILTER", "MAGZERO"}
    assert out.meta["MAGZERO"] == 22.5
    history = out.meta["HISTORY"]
    history = history.split("; ") if kind is dict else list(history)
    if kind is fits.Header:
        assert history[0] == "background removed"
    for key, value in {**PAST, "GAIN": 1.5, "SEEING": 1.1, "FLUXMAG0": 1e10}.items():
        assert history.count(f"{key} = {value!r}") == 1
    assert not any(line.startswith(("CRPIX1", "NAXIS3", "CHECKSUM")) for line in history)


def test_cards_that_differ_between_bands_do_not_survive():
    cards = [{"OBJECT": "M51", "TARGET": n, "CCD": n, "LIST": [1, 2]} for n in (3, 4)]
    stack = read({band: single(meta=meta) for band, meta in zip("gr", cards, strict=True)})
    history = stack.meta.pop("HISTORY")
    assert history.endswith("; TARGET = 3 (g), 4 (r); CCD = 3 (g), 4 (r)")
    assert stack.meta == {"OBJECT": "M51", "LIST": [1, 2]}
    stack.meta["LIST"].append(3)
    assert cards[0]["LIST"] == [1, 2]


@pytest.mark.parametrize("meta", [{"OBJECT": "M51", "GTSEED": 3, "GTDOMAIN": "old"}, fits.Header({"GTSEED": 3})])
def test_provenance(meta):
    stack = read(single(meta=meta), "g")
    new = stack.with_provenance(
        translator="swin-sdss-cfhtls", weights_hash="0" * 64, version="0.1", seed=np.int64(5), alignment=["u", "g"],
        source=None, domain="seeing 2\N{DOUBLE PRIME}\nnot 1",
    )  # fmt: skip
    assert stack.meta["GTSEED"] == 3
    assert new.meta["GTMODEL"] == "swin-sdss-cfhtls"
    assert new.meta["GTHASH"] == "0" * 64
    assert new.meta["GTALIGN"] == "u,g"
    assert new.meta["GTDOMAIN"] == "seeing 2? not 1"  # a FITS card holds ASCII only
    assert type(new.meta["GTSEED"]) is int
    assert "GTSRC" not in new.meta
    with pytest.raises(ValueError, match="no header card for colour"):
        stack.with_provenance(colour="red")
    assert all(len(card) <= 8 for card, _ in PROVENANCE_CARDS.values())


def test_the_caller_knows_better_than_cards_that_contradict():
    ccd = make_ccd(SHAPE, "g")
    ccd.meta |= {"FILTER": "g", "BAND": "r"}
    with pytest.raises(ValueError, match=r"the image: header cards name different bands \(FILTER = 'g', BAND = 'r'\)"):
        read(ccd)
    with pytest.warns(GaltransWarning, match="name different bands .*; taken as one of i"):
        assert read(ccd, "i").bands == ("i",)
    assert read({"i": ccd}).bands == ("i",)


def test_masks_of_text_and_files_of_nothing():
    ccd = make_ccd(SHAPE, "g")
    text = NDData(ccd.data, unit=ccd.unit, wcs=ccd.wcs, meta=ccd.meta, mask=np.full(SHAPE, "F"))
    with pytest.raises(ValueError, match="the mask is of type <U1; expected bool"):
        read(text)
    with pytest.raises(ValueError, match="the image is an HDUList without HDUs"):
        read(fits.HDUList())
