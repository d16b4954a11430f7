"""Exact geometry: WCS of the finer grid, pixel areas, comparison of grids, masks. Truth: astropy and brute force."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from astropy.io import fits
from astropy.modeling import models
from astropy.nddata import CCDData, NDDataRef
from astropy.wcs import WCS, DistortionLookupTable, Sip
from astropy.wcs.utils import proj_plane_pixel_area
from astropy.wcs.wcsapi import HighLevelWCSWrapper, SlicedLowLevelWCS
from gwcs import WCS as GWCS
from gwcs import coordinate_frames

from astro_galtrans.geometry import (
    ResampledLowLevelWCS,
    check_celestial,
    copy_wcs,
    fill_masked,
    output_mask,
    pixel_area,
    pixel_scale,
    rescale_wcs,
    same_grid,
)
from helpers import make_wcs, shared_data

SHAPE = (149, 204)
CD = {"CD1_1": -9e-5, "CD1_2": 3e-5, "CD2_1": 4e-5, "CD2_2": 1e-4}
CDELT = {"CDELT1": -1.1e-4, "CDELT2": 1.3e-4}
SIP = {"A_ORDER": 3, "A_2_0": 1e-5, "A_1_2": 3e-8, "A_0_1": 2e-4, "A_0_0": 0.4}
SIP |= {"B_ORDER": 2, "B_1_1": -2e-5, "B_0_2": 4e-6}
SIP |= {"AP_ORDER": 2, "AP_2_0": -1e-5, "AP_0_1": -2e-4, "AP_0_0": -0.4, "BP_ORDER": 2, "BP_1_1": 2e-5}
TPV = {"PV1_0": 1e-3, "PV1_1": 1.01, "PV1_4": 0.02, "PV1_7": 0.1, "PV2_1": 0.99, "PV2_5": -0.03}
SWAPPED = {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 2.2, "CRVAL2": 351.648734771234}
HEADERS = {
    "TAN, CD": ("TAN", CD),
    "TAN, PC": ("TAN", CDELT | {"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8}),
    "TAN, PC only": ("TAN", {"PC1_1": 2e-8, "PC1_2": 1.1e-4, "PC2_1": 1.1e-4, "PC2_2": 1e-8}),  # as SDSS frames
    "TAN, CROTA": ("TAN", CDELT | {"CROTA2": 33.0}),
    "TAN, swapped": ("TAN", CD | SWAPPED),
    "TAN, galactic": ("TAN", CD | {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}),
    "TAN, pole": ("TAN", CD | {"CRVAL2": 89.999}),
    "TAN, LONPOLE": ("TAN", CD | {"LONPOLE": 155.0}),
    "SIN": ("SIN", CD | {"PV2_1": 0.1, "PV2_2": -0.05}),
    "ZPN": ("ZPN", CDELT | {"PV2_1": 1.0, "PV2_3": -50.0, "PV2_5": 10.0}),
    "TPV, CD": ("TPV", CD | TPV),
    "TPV, CDELT": ("TPV", CDELT | TPV | {"PC1_2": 0.1}),
    "TAN-SIP": ("TAN-SIP", CD | SIP),
    "TAN-SIP, swapped": ("TAN-SIP", CD | SIP | SWAPPED | {"CTYPE1": "DEC--TAN-SIP", "CTYPE2": "RA---TAN-SIP"}),
}


def header_wcs(projection, cards):
    header = {"NAXIS": 2, "NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0], "CRPIX1": 100.3, "CRPIX2": -70.7}
    header |= {"CTYPE1": f"RA---{projection}", "CTYPE2": f"DEC--{projection}"}
    header |= {"CRVAL1": 351.648734771234, "CRVAL2": 2.2, "RADESYS": "ICRS"}
    return WCS(fits.Header(header | cards))


def lookup_wcs():
    """Return a WCS with all four tables: NPOL-like CPDIS and column-wise D2IM, as HST images have them, and SIP."""
    wcs = header_wcs("TAN-SIP", CD | SIP)
    rng = np.random.default_rng(5)
    for name, shape in (("cpdis1", (9, 13)), ("cpdis2", (9, 13)), ("det2im1", (1, 204)), ("det2im2", (149, 1))):
        values = rng.normal(0, 0.3, shape).astype(np.float32)
        step = tuple(size / max(n - 1, 1) for size, n in zip(reversed(SHAPE), reversed(shape), strict=True))
        setattr(wcs, name, DistortionLookupTable(values, (1.0, 1.0), (1.5, 0.7), step))
    return wcs


def gnomonic_gwcs(frame=None):
    """Return a gwcs with a rotation, a cubic distortion along x and rectangular pixels."""
    detector = coordinate_frames.Frame2D(name="detector", unit=(u.pix, u.pix))
    sky = coordinate_frames.CelestialFrame(reference_frame=frame or ICRS(), name="sky", unit=(u.deg, u.deg))
    distortion = models.Polynomial1D(3, c0=0.1, c1=1.0, c2=1e-5, c3=2e-8)
    distortion.inverse = models.Polynomial1D(3, c0=-0.1, c1=1.0, c2=-1e-5, c3=-2e-8)
    transform = (
        (models.Shift(-90.0) & models.Shift(-60.0))
        | (distortion & models.Identity(1))
        | models.AffineTransformation2D([[-0.9e-4, 0.3e-4], [0.4e-4, 1e-4]])
        | models.Pix2Sky_TAN()
        | models.RotateNative2Celestial(150.0, 2.0, 180.0)
    )
    wcs = GWCS([(detector, transform), (sky, None)])
    wcs.array_shape = SHAPE
    return wcs


def points(n=300):
    """Points in and around the image, corners of pixels and of the image among them."""
    x, y = np.random.default_rng(1).uniform(-300, 500, (2, n))
    corners = np.array([[-0.5, -0.5], [203.5, -0.5], [-0.5, 148.5], [203.5, 148.5], [0, 0], [203, 148], [10.5, 20.5]]).T
    return np.concatenate([x, corners[0]]), np.concatenate([y, corners[1]])


def offset(coarse, fine, scale):
    """Largest distance on the sky (deg) between the same places of the two grids."""
    x, y = points()
    before = coarse.pixel_to_world(x, y)
    return before.separation(fine.pixel_to_world((x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5)).deg.max()


def wcs_hdus(wcs):
    """Return the cards of an image's header that hold a WCS, and the extensions with its lookup tables."""
    primary, *tables = wcs.to_fits(relax=True)
    for key in ("SIMPLE", "BITPIX", "NAXIS", "EXTEND"):
        primary.header.remove(key, ignore_missing=True)
    return primary.header, tables


def written_and_read(wcs, path):
    """Return the WCS that a file gives back."""
    header, tables = wcs_hdus(wcs)
    image = fits.ImageHDU(np.zeros((2, 2)), header, name="SCI")
    fits.HDUList([fits.PrimaryHDU(), image, *tables]).writeto(path, output_verify="exception")
    with fits.open(path) as hdus:
        hdus.verify("exception")
        return WCS(hdus["SCI"].header, hdus)


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("kind", HEADERS)
def test_finer_grid_is_exact_in_memory_and_in_files(kind, scale, tmp_path):
    wcs = header_wcs(*HEADERS[kind])
    fine = rescale_wcs(wcs, scale, SHAPE)
    assert fine.array_shape == (scale * SHAPE[0], scale * SHAPE[1])
    assert offset(wcs, fine, scale) < 1e-11
    assert offset(wcs, written_and_read(fine, tmp_path / "fine.fits"), scale) < 1e-10
    assert offset(wcs, WCS(fine.to_header(relax=True)), scale) < 1e-10


@pytest.mark.parametrize("scale", [2, 3])
def test_lookup_tables_scale_and_survive_a_file(scale, tmp_path):
    wcs = lookup_wcs()
    fine = rescale_wcs(wcs, scale, SHAPE)
    without = wcs.deepcopy()
    without.cpdis1 = without.cpdis2 = without.det2im1 = without.det2im2 = None
    assert offset(wcs, without, 1) > 1e-5  # the tables do matter
    assert offset(wcs, fine, scale) < 1e-10
    assert offset(wcs, written_and_read(fine, tmp_path / "fine.fits"), scale) < 1e-10


def test_sip_inverse_scales_too():
    wcs = header_wcs(*HEADERS["TAN-SIP"])
    fine = rescale_wcs(wcs, 3, SHAPE)
    x, y = points()
    np.testing.assert_allclose(
        fine.sip_foc2pix(3 * x - 1 - fine.sip.crpix[0], 3 * y - 1 - fine.sip.crpix[1], 1),
        3 * np.array(wcs.sip_foc2pix(x - wcs.sip.crpix[0], y - wcs.sip.crpix[1], 1)) - 1,
        atol=1e-9,
    )


def test_sequent_distortion_cards_scale():
    header = header_wcs(*HEADERS["TAN, CROTA"]).to_header()
    for axis in "12":
        header[f"CQDIS{axis}"] = "TPD"
        for record in ("NAXES: 2", "AXIS.1: 1", "AXIS.2: 2", f"TPD.FWD.4: {axis}e-5"):
            header.append((f"DQ{axis}", record))
    wcs = WCS(header.tostring())
    assert offset(wcs, header_wcs(*HEADERS["TAN, CROTA"]), 1) > 1e-5
    assert offset(wcs, rescale_wcs(wcs, 2, SHAPE), 2) < 1e-10


def test_the_input_wcs_is_left_alone():
    wcs = lookup_wcs()
    header, tables = wcs_hdus(wcs)
    rescale_wcs(wcs, 3, SHAPE)
    after, tables_after = wcs_hdus(wcs)
    assert header.tostring() == after.tostring()
    for a, b in zip(tables, tables_after, strict=True):
        assert a.header.tostring() == b.header.tostring()
        np.testing.assert_array_equal(a.data, b.data)


def test_pixel_shape_and_bounds_follow():
    wcs = header_wcs(*HEADERS["TAN, CD"])
    wcs.pixel_bounds = [(-0.5, 203.5), (10, 20)]
    fine = rescale_wcs(wcs, 2)
    assert fine.array_shape == (2 * SHAPE[0], 2 * SHAPE[1])
    assert fine.pixel_bounds == [(-0.5, 407.5), (20.5, 40.5)]
    wcs.pixel_shape = None
    assert rescale_wcs(wcs, 2).array_shape is None


def test_other_wcs_get_a_wrapper():
    wcs = gnomonic_gwcs()
    fine = rescale_wcs(wcs, 3, SHAPE)
    assert isinstance(fine, HighLevelWCSWrapper)
    assert isinstance(fine.low_level_wcs, ResampledLowLevelWCS)
    assert fine.low_level_wcs.array_shape == (3 * SHAPE[0], 3 * SHAPE[1])
    assert offset(wcs, fine, 3) < 1e-12
    back = fine.low_level_wcs.world_to_pixel_values(*fine.low_level_wcs.pixel_to_world_values(31.0, 47.0))
    expected = wcs.world_to_pixel_values(*wcs.pixel_to_world_values(32 / 3 - 0.5 - 1 / 6, 16 - 0.5 - 1 / 6))
    np.testing.assert_allclose(back, 3 * (np.array(expected) + 0.5) - 0.5, atol=1e-6)
    image = NDDataRef(np.zeros((3 * SHAPE[0], 3 * SHAPE[1])), wcs=fine)
    assert image.wcs.pixel_to_world(0, 0).separation(wcs.pixel_to_world(-1 / 3, -1 / 3)).deg < 1e-12


def test_rescaling_twice_is_rescaling_once():
    for wcs in (lookup_wcs(), gnomonic_gwcs()):
        assert offset(rescale_wcs(wcs, 6, SHAPE), rescale_wcs(rescale_wcs(wcs, 2, SHAPE), 3), 1) < 1e-10


def test_bounds_of_a_gwcs_follow():
    wcs = gnomonic_gwcs()
    wcs.bounding_box = ((-0.5, 203.5), (-0.5, 148.5))
    fine = rescale_wcs(wcs, 2, SHAPE).low_level_wcs
    np.testing.assert_allclose(fine.pixel_bounds, [(-0.5, 407.5), (-0.5, 297.5)])


def test_slices_become_plain_fits_wcs():
    wcs = lookup_wcs()
    cutout = CCDData(np.zeros(SHAPE), unit="nmgy", wcs=wcs)[20:60, 30:90]
    sliced = HighLevelWCSWrapper(SlicedLowLevelWCS(wcs, (slice(20, 60), slice(30, 90))))
    x, y = np.random.default_rng(0).uniform(0, 60, (2, 50))
    truth = wcs.pixel_to_world(x + 30, y + 20)
    for part in (cutout.wcs, sliced):
        plain = check_celestial(part)
        assert isinstance(plain, WCS)
        assert plain.array_shape == (40, 60)
        assert truth.separation(plain.pixel_to_world(x, y)).deg.max() < 1e-11
        assert rescale_wcs(part, 2).array_shape == (80, 120)


def cube_wcs(**cards):
    axes = {"NAXIS": 3, "NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0], "NAXIS3": 5, "CRPIX1": 10.0, "CRPIX2": 20.0}
    axes |= {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "FREQ", "CDELT3": 1e6, "CRVAL3": 1e9}
    return WCS(fits.Header(axes | CDELT | {"CRVAL1": 30.0, "CRVAL2": 40.0} | cards))


def test_celestial_part_of_a_cube():
    cube = cube_wcs()
    plane = NDDataRef(np.zeros((5, *SHAPE)), wcs=cube)[2, 7:, 5:105]
    for wcs, dx, dy, shape in ((cube, 0, 0, SHAPE), (plane.wcs, 5, 7, (SHAPE[0] - 7, 100))):
        flat = check_celestial(wcs)
        assert flat.naxis == 2
        assert flat.array_shape == shape
        x, y = np.array([[3.2, 90.0], [5.1, 70.0]])
        truth = cube.celestial.pixel_to_world(x + dx, y + dy)
        assert truth.separation(flat.pixel_to_world(x, y)).deg.max() < 1e-12


def test_celestial_part_of_a_gwcs_cube():
    pixels = coordinate_frames.CoordinateFrame(3, ["SPATIAL"] * 3, (0, 1, 2), unit=(u.pix,) * 3, name="detector")
    sky = coordinate_frames.CelestialFrame(reference_frame=ICRS(), axes_order=(0, 1), name="sky", unit=(u.deg, u.deg))
    light = coordinate_frames.SpectralFrame(axes_order=(2,), unit=u.um, name="light")
    plane = gnomonic_gwcs()
    world = coordinate_frames.CompositeFrame([sky, light], name="world")
    cube = GWCS([(pixels, plane.forward_transform & models.Scale(0.1)), (world, None)])
    flat = check_celestial(cube)
    assert flat.low_level_wcs.pixel_n_dim == 2
    assert flat.pixel_to_world(4, 5).separation(plane.pixel_to_world(4, 5)).deg < 1e-12
    assert rescale_wcs(cube, 2, SHAPE).low_level_wcs.array_shape == (2 * SHAPE[0], 2 * SHAPE[1])


def no_celestial_gwcs():
    pixel = coordinate_frames.CoordinateFrame(1, ["SPATIAL"], (0,), unit=(u.pix,), name="detector")
    return GWCS([(pixel, models.Scale(0.1)), (coordinate_frames.SpectralFrame(unit=u.um, name="light"), None)])


@pytest.mark.parametrize(
    ("wcs", "message"),
    [
        (None, "celestial world coordinates, got None"),
        ("RA---TAN", "got 'RA---TAN'"),
        (WCS(naxis=2), "CTYPE"),
        (cube_wcs(PC1_3=0.2), "cannot be had without the others"),
        (cube_wcs(CTYPE1="RA---TPV", CTYPE2="DEC--TPV", **TPV), "cannot be had without the others"),
        (cube_wcs()[0, 3], "two celestial axes"),
        (no_celestial_gwcs(), "got WCS with axes"),
    ],
    ids=["none", "text", "pixels", "coupled", "TPV cube", "row", "spectrum"],
)
def test_no_celestial_wcs_says_what_came(wcs, message):
    with pytest.raises(ValueError, match=message):
        rescale_wcs(wcs, 2, SHAPE)


@pytest.mark.parametrize("scale", [0, -1, 1.5])
def test_scale_must_be_a_positive_integer(scale):
    with pytest.raises(ValueError, match="positive integer"):
        rescale_wcs(make_wcs(SHAPE), scale, SHAPE)


def test_pixel_area():
    for kind in ("TAN, CD", "TAN, CROTA", "TAN, swapped", "SIN"):
        wcs = header_wcs(*HEADERS[kind])
        wcs.wcs.crpix = [102.5, 75.0]  # astropy's area is that at the reference pixel
        if kind != "SIN":  # where a PV makes the projection itself oblique
            assert pixel_area(wcs, SHAPE) == pytest.approx(proj_plane_pixel_area(wcs) * 3600**2, rel=1e-6)
        assert pixel_area(rescale_wcs(wcs, 3, SHAPE)) == pytest.approx(pixel_area(wcs, SHAPE) / 9, rel=1e-7)
    assert pixel_scale(make_wcs(SHAPE, 0.396)) == pytest.approx(0.396, rel=1e-7)
    gwcs_area = np.linalg.det([[-0.9e-4, 0.3e-4], [0.4e-4, 1e-4]]) * 3600**2
    assert pixel_area(gnomonic_gwcs(), SHAPE) == pytest.approx(abs(gwcs_area), rel=1e-2)


def test_same_grid():
    wcs = header_wcs(*HEADERS["TAN-SIP"])
    assert same_grid(wcs, WCS(wcs.to_header(relax=True)), SHAPE)
    assert same_grid(gnomonic_gwcs(), gnomonic_gwcs(), SHAPE)
    moved, stretched = wcs.deepcopy(), wcs.deepcopy()
    moved.wcs.crpix += [2e-3, 0]
    stretched.wcs.cd *= 1 + 1e-4  # 0.03 pixels at the far corner, none at the reference pixel
    assert not same_grid(wcs, moved, SHAPE)
    assert same_grid(wcs, moved, SHAPE, tol=0.01)
    assert not same_grid(wcs, stretched, SHAPE)
    assert not same_grid(wcs, header_wcs(*HEADERS["TAN, CD"]), SHAPE)


def test_grids_in_other_frames_may_be_the_same():
    icrs = make_wcs(SHAPE)
    fk5 = icrs.deepcopy()
    fk5.wcs.radesys, fk5.wcs.equinox = "FK5", 2000.0
    centre = SkyCoord(*icrs.wcs.crval, unit="deg", frame="icrs").fk5
    fk5.wcs.crval = centre.ra.deg, centre.dec.deg
    assert same_grid(icrs, fk5, SHAPE)


@pytest.mark.filterwarnings("ignore:RADECSYS")  # CFHTLS headers spell it the old way
@pytest.mark.parametrize("folder", ["sdss_stripe82/sdss-004192-r4-0300.fits.fz", "cfhtls_w3/CFHTLS-test_r.fits"])
def test_real_headers(folder, tmp_path):
    with fits.open(shared_data(*folder.split("/"))) as hdus:
        hdu = hdus["SCI"] if "SCI" in hdus else hdus[0]
        header = hdu.header
    wcs = WCS(header)
    assert offset(wcs, written_and_read(rescale_wcs(wcs, 2), tmp_path / "fine.fits"), 2) < 1e-10


def test_output_mask_against_brute_force(rng):
    mask = rng.random((2, 13, 17)) < 0.02
    truth = np.zeros((2, 26, 34), bool)
    for band, y, x in np.argwhere(mask):
        truth[band, max(0, 2 * (y - 3)) : 2 * (y + 4), max(0, 2 * (x - 3)) : 2 * (x + 4)] = True
    np.testing.assert_array_equal(output_mask(mask, 2, 3), truth)
    np.testing.assert_array_equal(output_mask(mask, 1, 0), mask)
    np.testing.assert_array_equal(output_mask(mask[0], 3, 0), np.kron(mask[0], np.ones((3, 3))).astype(bool))
    assert output_mask(None, 2, 3) is None
    with pytest.raises(ValueError, match="whole number of pixels"):
        output_mask(mask, 2, -1)


def test_masks_reach_over_the_whole_image_if_need_be():
    mask = np.zeros((5, 7), bool)
    mask[0, 0] = True
    assert output_mask(mask, 2, 100).all()


def test_filling_keeps_good_pixels_and_the_input(rng):
    data = rng.normal(size=(2, 30, 40)).astype(np.float32)
    mask = rng.random(data.shape) < 0.2
    data[0, 3, 4], data[1, 5, 6] = np.nan, np.inf
    before = data.copy()
    filled = fill_masked(data, mask)
    good = ~mask & np.isfinite(data)
    assert filled.dtype == np.float32
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[good], data[good])
    np.testing.assert_array_equal(data, before)
    np.testing.assert_array_equal(filled[0], fill_masked(data[0], mask[0]))


def test_nothing_to_fill_costs_nothing(rng):
    data = rng.normal(size=(20, 30))
    assert fill_masked(data) is data
    assert fill_masked(data, np.zeros(data.shape, bool)) is data


@pytest.mark.parametrize("size", [1, 3, 11, 25])
def test_filling_does_not_ring(size, rng):
    """Every filled value lies between the extremes around the hole, also beside a saturated star."""
    y, x = np.mgrid[:101, :101]
    data = 1000 * np.exp(-((x - 50) ** 2 + (y - 50) ** 2) / 2 / 4.0**2) + rng.normal(size=(101, 101))
    hole = np.s_[50 - size // 2 : 51 + size // 2, 50 - size // 2 : 51 + size // 2]
    damaged = data.copy()
    damaged[hole] = np.inf
    filled = fill_masked(damaged)
    around = damaged[np.isfinite(damaged) & (abs(x - 50) <= size + 3) & (abs(y - 50) <= size + 3)]
    assert around.min() <= filled[hole].min()
    assert filled[hole].max() <= around.max()
    smooth = 5 + 0.1 * x + 0.03 * y
    damaged = smooth.copy()
    damaged[hole] = np.nan
    assert np.abs(fill_masked(damaged) - smooth).max() < 0.15 * size + 0.1


def test_deep_holes_get_the_median(rng):
    data = rng.normal(7, 1, (120, 130))
    data[:, :80] = np.nan
    filled = fill_masked(data)
    np.testing.assert_allclose(filled[:, :30], np.median(data[:, 80:]))
    assert abs(filled[:, 70:80].mean() - 7) < 0.2


def test_single_row_and_mask_of_all_bands():
    data = np.arange(12.0).reshape(2, 1, 6)
    mask = np.array([[False, False, True, False, False, False]])
    np.testing.assert_allclose(fill_masked(data, mask)[:, 0, 2], [2.0, 8.0])


def test_a_band_without_good_pixels_is_an_error():
    data = np.zeros((3, 4, 5))
    data[1] = np.nan
    with pytest.raises(ValueError, match="band 1 of 3 has no good pixel"):
        fill_masked(data)


def test_a_copy_of_a_wcs_is_what_deepcopy_gives_and_sets_no_filter(monkeypatch):
    wcs = make_wcs((40, 50), angle=20.0)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    terms = np.zeros((3, 3))
    terms[2, 0] = 1e-4
    wcs.sip = Sip(terms, -terms, None, None, wcs.wcs.crpix)
    monkeypatch.setattr(warnings, "catch_warnings", None)  # whoever would set a filter fails
    copied = copy_wcs(wcs)
    monkeypatch.undo()
    expected = wcs.deepcopy()
    assert copied.to_header(relax=True) == expected.to_header(relax=True)
    assert copied.array_shape == wcs.array_shape
    x, y = np.meshgrid(np.arange(50.0), np.arange(40.0))
    np.testing.assert_array_equal(copied.pixel_to_world_values(x, y), wcs.pixel_to_world_values(x, y))
    copied.wcs.crval = [1.0, 2.0]
    copied.sip.a[2, 0] = 5
    np.testing.assert_array_equal(wcs.wcs.crval, expected.wcs.crval)
    assert wcs.sip.a[2, 0] == 1e-4
