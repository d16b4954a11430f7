"""Interpolation between grids. Truth: Gaussian stars integrated over pixels, reproject, real frames."""

import numpy as np
import pytest
from astropy.coordinates import Galactic
from astropy.io import fits
from astropy.modeling import models
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_pixel
from gwcs import WCS as GWCS
from gwcs import coordinate_frames
from photutils.aperture import CircularAperture
from photutils.centroids import centroid_2dg, centroid_sources
from reproject import reproject_exact, reproject_interp
from scipy.ndimage import map_coordinates, maximum_filter
from scipy.special import erf

from astro_galtrans.geometry import align_planes, pixel_area, pixel_scale, resample, same_grid
from astro_galtrans.geometry._interpolation import interpolate_plane
from astro_galtrans.geometry._pixelmap import PixelMap
from helpers import aperture_sum, galaxy, make_wcs, shared_data

SHAPE = (90, 110)
FWHM = 3.3


def shifted(wcs, dx, dy, *, stretch=1.0):
    """Return a WCS with what was at (x, y) now at (x + dx, y + dy), and pixels smaller by ``stretch``."""
    moved = wcs.deepcopy()
    moved.wcs.crpix += [dx, dy]
    moved.wcs.cd /= stretch
    return moved


def stars(x, y, *, fwhm=FWHM, shape=SHAPE, flux=100.0):
    """Gaussian stars integrated over pixels: the exact image."""
    sigma = fwhm / np.sqrt(8 * np.log(2)) * np.sqrt(2)
    columns, rows = (np.arange(size + 1) - 0.5 for size in reversed(shape))
    profile_x = np.diff(erf((columns - np.reshape(x, (-1, 1))) / sigma), axis=1) / 2
    profile_y = np.diff(erf((rows - np.reshape(y, (-1, 1))) / sigma), axis=1) / 2
    return flux * profile_y.T @ profile_x


def star_positions(rng, n=4, shape=SHAPE):
    """Return stars 20 pixels apart at random subpixel phases."""
    y, x = np.mgrid[20 : shape[0] - 15 : 20, 20 : shape[1] - 15 : 20]
    return x.ravel() + rng.uniform(-0.5, 0.5, x.size), y.ravel() + rng.uniform(-0.5, 0.5, x.size)


@pytest.mark.parametrize("angle", [0.0, 25.0])
def test_on_equal_pixels_it_is_reprojects_quintic_interpolation(angle, rng):
    """To the last pixel at the edge; rounding of world coordinates, some 1e-9 of a pixel, is all that is left."""
    image = stars(*star_positions(rng)) + rng.normal(0, 0.1, SHAPE)
    wcs = make_wcs(SHAPE)
    grid = make_wcs(SHAPE, angle=angle, centre=(351.6 + 0.3 * 0.396 / 3600, 0.1 + 0.2 * 0.396 / 3600))
    ours, *_ = interpolate_plane(image, None, None, PixelMap(grid, wcs, SHAPE), SHAPE)
    theirs, _ = reproject_interp((image, wcs), grid, shape_out=SHAPE, order=5)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 * image.max())


@pytest.mark.parametrize(
    ("dx", "dy", "stretch"), [(0.5, 0.5, 1), (-3.3, 7.2, 1), (1.7, 0.1, 1.0006), (0.2, -0.4, 1.02)]
)
def test_stars_keep_flux_place_and_peak(dx, dy, stretch, rng):
    reference = make_wcs(SHAPE, angle=20)
    wcs = shifted(reference, dx, dy, stretch=stretch)
    x, y = star_positions(rng)
    there = pixel_to_pixel(reference, wcs, x, y)
    truth = stars(x, y)
    planes = [(truth, None, None, reference), (stars(*there, fwhm=FWHM * stretch), None, None, wcs)]
    aligned, variance, mask, report = align_planes(planes)
    assert variance is None
    np.testing.assert_array_equal(aligned[0], truth)
    assert report.keys() == {1}
    middle = np.array([[54.5], [44.5]])
    offset = np.ravel(pixel_to_pixel(reference, wcs, *middle) - middle)
    np.testing.assert_allclose(report[1], offset, atol=0.01)
    apertures = CircularAperture(np.transpose([x, y]), 7.0)
    fluxes = [aperture_sum(np.nan_to_num(plane), apertures) for plane in aligned]
    np.testing.assert_allclose(fluxes[1], fluxes[0], rtol=1e-4)
    assert np.nanmax(np.abs(aligned[1] - truth)) < 2e-3 * truth.max()  # peaks, and everything else
    good = np.where(mask[1], 0, aligned[1])
    before, after = (centroid_sources(plane, x, y, box_size=11, centroid_func=centroid_2dg) for plane in (truth, good))
    assert np.abs(np.subtract(before, after)).max() < 2e-3


def test_agrees_with_reproject(rng):
    """reproject evaluates the same spline when asked for order 5; it does not multiply with the ratio of areas."""
    reference, wcs = make_wcs(SHAPE, angle=10), make_wcs(SHAPE, 0.41, angle=-30, centre=(351.6002, 0.1003))
    image = stars(*star_positions(rng)) + rng.normal(size=SHAPE)
    aligned, _, mask, _ = align_planes([(image, None, None, reference), (image, None, None, wcs)])
    truth = reproject_interp((image, wcs), reference, SHAPE, order=5, return_footprint=False)
    truth *= pixel_area(reference) / pixel_area(wcs)
    inside = ~mask[1]
    assert inside.mean() > 0.5
    np.testing.assert_array_equal(inside, np.isfinite(truth))
    interior = inside & (np.hypot(*np.indices(SHAPE) - np.reshape(SHAPE, (2, 1, 1)) / 2) < 25)
    np.testing.assert_allclose(aligned[1][interior], truth[interior], atol=1e-4 * image.max())


class Affine:
    """A map between grids that needs no sky: ``(x, y)`` to ``jacobian @ (x, y) + origin``."""

    def __init__(self, jacobian, origin):
        self.jacobian, self.origin = np.array(jacobian, dtype=float), origin

    def positions(self, y, x):
        x, y = np.tensordot(self.jacobian, np.meshgrid(x, y), 1) + np.reshape(self.origin, (2, 1, 1))
        return y, x

    def area(self, y, x):
        return np.full((len(y), len(x)), abs(np.linalg.det(self.jacobian)))


COS, SIN = np.cos(0.3), np.sin(0.3)
MAPS = {
    "half": Affine(np.eye(2), (9.5, 9.5)),
    "shift": Affine(np.eye(2), (9.3, 9.9)),
    "rotated": Affine([[COS, -SIN], [SIN, COS]], (10.1, 8.2)),
    "finer": Affine([[0.5, 0], [0, 0.6]], (10.2, 10.4)),
    "coarser": Affine([[1.7, 0.2], [-0.3, 1.5]], (8.0, 9.0)),
}


@pytest.mark.parametrize("name", MAPS)
def test_variance_is_that_of_the_weighted_sum(name):
    """The weight of each source pixel in each output pixel comes from images in which one pixel is set."""
    shape, small = (24, 25), (4, 5)
    units = np.eye(shape[0] * shape[1]).reshape(-1, *shape)
    weights = np.stack([interpolate_plane(unit, None, None, MAPS[name], small)[0] for unit in units], axis=-1)
    star = stars([12.2], [11.4], shape=shape)
    variance = 0.3 + star  # sky, and photons of the star
    truth = weights**2 @ variance.ravel()
    data, result, mask = interpolate_plane(star, variance, None, MAPS[name], small)
    np.testing.assert_allclose(data, weights @ star.ravel(), atol=1e-10)
    assert not mask.any()
    np.testing.assert_allclose(result, truth, rtol=0.07)  # a few per cent beside the star, from pixels left out
    assert np.abs(result - truth).max() < 0.04 * truth.max()
    flat = interpolate_plane(star, np.ones(shape), None, MAPS[name], small)[1]
    np.testing.assert_allclose(flat, (weights**2).sum(axis=-1), rtol=0.006)


@pytest.mark.parametrize("angle", [0.0, 1e-10, 1e-6, 3e-5, 3e-4, 1.5e-3, 0.1])
def test_nearly_parallel_grids_of_small_images(angle, rng):
    """
    Flux is the spline of scipy, to the edge, and variance that of its weights.

    The angles are 0 to 4 derivatives of the Taylor series, and one for which it is not used.
    """
    shape = (20, 23)
    turned = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    there = Affine(turned, np.array([0.3, -0.4]) - np.array(turned) @ [11, 9.5] + [11, 9.5])
    image, variance = rng.normal(size=shape), rng.uniform(1, 2, shape)
    data, noise, mask = interpolate_plane(image, variance, None, there, shape)
    place = np.array(there.positions(*map(np.arange, shape)))
    last = np.reshape(shape, (2, 1, 1)) - 1
    outside = ((place < -0.5) | (place > last + 0.5)).any(axis=0)
    np.testing.assert_array_equal(mask, outside)

    def spline(image):
        return map_coordinates(image, np.clip(place, 0, last), order=5, mode="mirror")

    np.testing.assert_allclose(data[~mask], spline(image)[~mask], rtol=0, atol=1e-8)
    units = np.eye(image.size).reshape(-1, *shape)
    truth = sum(value * spline(unit) ** 2 for value, unit in zip(variance.ravel(), units, strict=True))
    if angle < 0.1:
        np.testing.assert_allclose(noise[~mask], truth[~mask], rtol=1e-9 if angle == 0 else 2e-3)


@pytest.mark.parametrize("scale", [0.15, 0.396, 0.55, 1.0])
def test_noise_has_the_variance_that_is_returned(scale, rng):
    wcs = make_wcs((150, 150))
    noise = rng.normal(0, 2, (3, 150, 150))
    target = shifted(make_wcs((150, 150), scale), 0.3, 0.4)
    data, variance, mask, _ = resample(noise, np.full(noise.shape, 4.0), None, wcs, target)
    good = ~mask
    assert good.sum() > 5000
    assert np.mean(data[good] ** 2) == pytest.approx(np.mean(variance[good]), rel=0.05)


def test_variance_is_absent_unless_every_band_has_one(rng):
    wcs = make_wcs(SHAPE)
    image = rng.normal(size=SHAPE)
    assert align_planes([(image, image**2, None, wcs), (image, None, None, wcs)])[1] is None


def test_bands_on_the_grid_of_the_reference_are_not_touched(rng):
    wcs = make_wcs(SHAPE)
    image = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    image[1, 3, 4] = np.nan
    mask = rng.random(SHAPE) < 0.1
    planes = [(image[0], image[0] ** 2, None, wcs), (image[1], image[1] ** 2, mask, WCS(wcs.to_header()))]
    aligned, variance, masked, report = align_planes(planes, 1)
    np.testing.assert_array_equal(aligned, image)
    np.testing.assert_array_equal(variance, image**2)
    assert report == {}
    assert aligned.dtype == variance.dtype == np.float32
    np.testing.assert_array_equal(masked, [np.zeros(SHAPE, bool), mask | np.isnan(image[1])])


def test_masked_pixels_do_not_ring_and_are_masked(rng):
    reference = make_wcs(SHAPE)
    x, y = star_positions(rng)
    truth = stars(x, y)
    damaged = stars(x + 0.5, y - 0.3)
    mask = np.zeros(SHAPE, bool)
    damaged[30, 40], damaged[60, 70], mask[60, 70], damaged[10, 10] = np.inf, 1e6, True, np.nan
    planes = [(truth, None, None, reference), (damaged, None, mask, shifted(reference, 0.5, -0.3))]
    before = [np.copy(planes[1][0]), planes[1][2].copy(), planes[1][3].to_header_string()]
    aligned, _, masked, _ = align_planes(planes)
    assert np.isfinite(aligned[1][2:-2, 2:-2]).all()
    inside = np.zeros(SHAPE, bool)
    inside[2:-2, 2:-2] = True
    assert np.abs(aligned[1] - truth)[inside & ~masked[1]].max() < 0.02 * truth.max()
    for row, column in ((30, 39), (30, 40), (60, 69), (60, 70), (10, 9), (10, 10)):
        assert masked[1, row, column]
    assert (masked[1] & inside).sum() == 12  # the four pixels that use each bad one most
    np.testing.assert_array_equal(planes[1][0], before[0])
    np.testing.assert_array_equal(planes[1][2], before[1])
    assert planes[1][3].to_header_string() == before[2]


def test_what_a_band_does_not_cover_is_masked():
    reference = make_wcs(SHAPE)
    ones = np.ones((40, 60), np.float32)
    small = shifted(make_wcs(SHAPE), -20.25, -30)  # its corner is at (20.25, 30) of the reference
    small.array_shape = ones.shape
    planes = [(np.zeros(SHAPE), np.ones(SHAPE), None, reference), (ones, ones, None, small)]
    aligned, variance, mask, _ = align_planes(planes)
    covered = np.zeros(SHAPE, bool)
    covered[30:70, 20:80] = True
    np.testing.assert_array_equal(mask[1], ~covered)
    np.testing.assert_array_equal(np.isnan(aligned[1]), ~covered)
    np.testing.assert_array_equal(np.isnan(variance[1]), ~covered)
    np.testing.assert_allclose(aligned[1][covered], 1, rtol=1e-6)


@pytest.mark.parametrize("height", [1, 2])
def test_narrow_images(height, rng):
    wcs = make_wcs((height, 50))
    row = rng.normal(size=(height, 50))
    aligned, *_ = align_planes([(row, None, None, wcs), (row, None, None, shifted(wcs, 1, 0))])
    np.testing.assert_allclose(aligned[1][:, :-1], row[:, 1:], atol=1e-6)


def test_misfits_are_errors(rng):
    image, wcs = rng.normal(size=SHAPE), make_wcs(SHAPE)
    with pytest.raises(ValueError, match=r"band 1 at \(.* \S+\) does not overlap with band 0 at \(351.6000 0.1000\)"):
        align_planes([(image, None, None, wcs), (image, None, None, make_wcs(SHAPE, centre=(10.0, 0.0)))])
    with pytest.raises(ValueError, match="band 1: data, variance and mask must be planes"):
        align_planes([(image, None, None, wcs), (image, image[1:], None, wcs)])
    with pytest.raises(ValueError, match="celestial world coordinates, got None"):
        align_planes([(image, None, None, wcs), (image, None, None, None)])
    for target, message in (
        (make_wcs(SHAPE, centre=(171.6, -0.1)), "does not overlap"),  # the other side of the sky, where TAN has a twin
        (make_wcs(SHAPE).to_header(), "has no shape"),
        (-0.2, "must be positive"),
        (np.nan, "must be positive"),
        ("target", "got str"),
        (WCS(naxis=2), "celestial"),
    ):
        with pytest.raises(ValueError, match=message):
            resample(image[np.newaxis], None, None, wcs, target)


@pytest.mark.parametrize("scale", [0.15, 0.187, 0.25, 0.396, 0.8])
def test_resolved_source_keeps_its_flux(scale):
    wcs = make_wcs((160, 170), 0.198, angle=25)
    image = np.stack([galaxy((160, 170), 50.0, r_eff=9.0, fwhm=4.0), galaxy((160, 170), 3.0, r_eff=6.0, fwhm=4.0)])
    data, variance, mask, wcs_out = resample(image, None, None, wcs, scale)
    assert variance is None
    assert pixel_scale(wcs_out) == pytest.approx(scale, rel=1e-6)
    assert wcs_out.array_shape == data.shape[1:]
    centre = wcs_out.pixel_to_world(*(np.array(data.shape[:0:-1]) - 1) / 2)
    assert centre.separation(wcs.pixel_to_world(84.5, 79.5)).arcsec < 1e-6
    np.testing.assert_allclose(np.nansum(data, axis=(1, 2)), image.sum(axis=(1, 2)), rtol=1e-3)
    orientation = wcs_out.wcs.cd / np.abs(np.linalg.det(wcs_out.wcs.cd)) ** 0.5
    np.testing.assert_allclose(orientation, wcs.wcs.cd * 3600 / 0.198, atol=1e-5)
    assert (~mask).mean() > 0.9  # the outermost pixels stick out of the image


@pytest.mark.parametrize("factor", [2, 3])
def test_binning_is_exact(factor, rng):
    """On a grid whose pixels are blocks of source pixels the result is the sum over blocks, and so is the variance."""
    wcs = make_wcs((60, 72))
    binned = wcs.deepcopy()
    binned.wcs.crpix = (wcs.wcs.crpix - 0.5) / factor + 0.5
    binned.wcs.cd *= factor
    binned.array_shape = 60 // factor, 72 // factor
    image, noise = rng.normal(size=(1, 60, 72)), rng.uniform(1, 2, (1, 60, 72))
    mask = rng.random(image.shape) < 0.01
    data, variance, masked, _ = resample(image, noise, mask, wcs, binned)
    blocks = (60 // factor, factor, 72 // factor, factor)
    np.testing.assert_allclose(data[0], image.reshape(blocks).sum(axis=(1, 3)), atol=1e-4)
    np.testing.assert_allclose(variance[0], noise.reshape(blocks).sum(axis=(1, 3)), rtol=0.05)
    np.testing.assert_array_equal(masked[0], mask.reshape(blocks).any(axis=(1, 3)))


def test_coarse_pixels_against_reproject_and_truth(rng):
    """Both spread a star a little more than pixels of that size would; the spline does so less."""
    wcs, target = make_wcs(SHAPE), make_wcs((60, 70), 0.7)
    x, y = star_positions(rng)
    image, truth = stars(x, y), stars(*pixel_to_pixel(wcs, target, x, y), fwhm=FWHM * 0.396 / 0.7, shape=(60, 70))
    data, _, mask, _ = resample(image[np.newaxis], None, None, wcs, target)
    other = reproject_exact((image, wcs), target, (60, 70), return_footprint=False)
    other *= pixel_area(target) / pixel_area(wcs)
    good = ~mask[0]
    assert good.mean() > 0.5
    assert data[0][good].sum() == pytest.approx(truth[good].sum(), rel=1e-4)
    assert np.abs(data[0] - truth)[good].max() < 0.7 * np.abs(other - truth)[good].max()


def test_resampling_to_a_header_and_back(rng):
    wcs = make_wcs(SHAPE, 0.2)
    x, y = star_positions(rng)
    image = stars(x, y).astype(np.float32)[np.newaxis]
    mask = np.zeros(image.shape, bool)
    mask[0, 40, 50] = True
    header = make_wcs((130, 150), 0.186, angle=15).to_header()
    header["NAXIS1"], header["NAXIS2"] = 150, 130
    there = resample(image, image + 1, mask, wcs, header)
    assert there[0].shape == (1, 130, 150)
    assert there[0].dtype == there[1].dtype == np.float32
    assert 3 <= (there[2] & np.isfinite(there[0])).sum() <= 12
    wcs.array_shape = SHAPE
    back = resample(*there, wcs)
    assert same_grid(back[3], wcs, SHAPE)
    good = np.isfinite(back[0])
    good[:, :8], good[:, -8:], good[:, :, :8], good[:, :, -8:] = (False,) * 4
    assert np.abs(back[0] - image)[good].max() < 3e-3 * image.max()


def test_native_grid_covers_the_image_whatever_its_projection():
    for cards in ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, {"CTYPE1": "DEC--SIN", "CTYPE2": "RA---SIN"}):
        pixels = {"NAXIS": 2, "NAXIS1": 110, "NAXIS2": 90, "CRPIX1": -400.0, "CRPIX2": 30.0}
        sky = {"CRVAL1": 20.0, "CRVAL2": 30.0, "CD1_1": 8e-4, "CD1_2": 2e-4, "CD2_1": 1e-4, "CD2_2": 9e-4}
        wcs = WCS(fits.Header(pixels | sky | cards))
        data, _, mask, out = resample(np.ones((1, *SHAPE)), None, None, wcs, 2.0)
        corners = wcs.pixel_to_world([-0.5, -0.5, 109.5, 109.5], [-0.5, 89.5, -0.5, 89.5])
        x, y = out.world_to_pixel(corners)
        assert x.min() > -0.51
        assert y.min() > -0.51
        assert x.max() < data.shape[2] - 0.49
        assert y.max() < data.shape[1] - 0.49
        np.testing.assert_allclose(data[~mask], pixel_area(out) / pixel_area(wcs, SHAPE), rtol=1e-3)
        assert np.nansum(data) == pytest.approx(SHAPE[0] * SHAPE[1], rel=0.02)


def test_flux_follows_the_local_pixel_area():
    """On a strongly distorted grid the area of a pixel changes over the image, and flux per pixel with it."""
    header = make_wcs((300, 310)).to_header()
    header.update(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, A_2_0=1e-3, B_ORDER=2, B_1_1=5e-4)
    distorted = WCS(header)
    plain = make_wcs((200, 220))
    u = np.arange(310) + 1 - distorted.wcs.crpix[0]
    flux = (1 + 2e-3 * u) * (1 + 5e-4 * u) * np.ones((1, 300, 1))  # constant brightness on (u + 1e-3 u^2, v + 5e-4 u v)
    data, _, mask, _ = resample(flux, None, None, distorted, plain)
    np.testing.assert_allclose(data[~mask], 1, rtol=1e-4)


def test_gwcs_bands_and_targets(rng):
    detector = coordinate_frames.Frame2D(name="detector")
    sky = coordinate_frames.CelestialFrame(reference_frame=Galactic(), name="sky")
    to_sky = models.Pix2Sky_TAN() | models.RotateNative2Celestial(30.0, -40.0, 180.0)

    def grid(x, y, scale):
        to_plane = models.Shift(-x) & models.Shift(-y) | models.Scale(-scale) & models.Scale(scale)
        return GWCS([(detector, to_plane | to_sky), (sky, None)])

    x, y = star_positions(rng)
    reference, moved, fine = grid(54, 44, 1e-4), grid(54.3, 44.6, 1e-4), grid(109, 89, 0.5e-4)
    fine.array_shape = (180, 220)
    planes = [(stars(x, y), None, None, reference), (stars(x + 0.3, y + 0.6), None, None, moved)]
    aligned, _, mask, report = align_planes(planes)
    assert np.abs(aligned[1] - aligned[0])[~mask[1]].max() < 2e-3 * aligned[0].max()
    np.testing.assert_allclose(report[1], (0.3, 0.6), atol=1e-5)
    for target, scale in ((fine, 0.18), (0.18, 0.18)):
        data, _, _, out = resample(stars(x, y)[np.newaxis], None, None, reference, target)
        assert pixel_scale(out, data.shape) == pytest.approx(scale, rel=1e-4)
        assert np.nansum(data) == pytest.approx(stars(x, y).sum(), rel=1e-3)


def test_real_sdss_bands():
    """Aligned bands of Stripe 82 show stars where their own WCS puts them, with the flux they had (run 4192)."""
    rows, columns = slice(300, 800), slice(500, 1400)
    planes = []
    for band in "ugriz":
        with fits.open(shared_data("sdss_stripe82", f"sdss-004192-{band}4-0300.fits.fz")) as hdus:
            data, wcs = hdus["SCI"].data[rows, columns].astype(np.float32), WCS(hdus["SCI"].header)[rows, columns]
        planes.append((data, None, None, wcs))
    aligned, _, mask, report = align_planes(planes, 2)
    assert sorted(report) == [0, 1, 3, 4]
    assert mask.mean() < 0.02
    red = planes[2][0]
    peaks = (red > 3) & (red < 100) & (red == maximum_filter(red, 9))
    peaks[:25] = peaks[-25:] = peaks[:, :25] = peaks[:, -25:] = False
    peaks = np.argwhere(peaks)[:, ::-1]
    assert len(peaks) >= 5
    for band in (1, 3):
        data, *_, wcs = planes[band]
        there = np.array(pixel_to_pixel(planes[2][3], wcs, *peaks.T))
        raw = centroid_sources(data, *there, box_size=9, centroid_func=centroid_2dg)
        predicted = np.array(pixel_to_pixel(wcs, planes[2][3], *raw))
        found = np.array(centroid_sources(aligned[band], *peaks.T, box_size=9, centroid_func=centroid_2dg))
        assert np.median(np.hypot(*(found - predicted))) < 0.01
        before, after = (
            aperture_sum(image.astype(float), CircularAperture(np.transpose(place), 8))
            for image, place in ((data, there), (aligned[band], peaks.T))
        )
        assert abs(np.median(after / before) - 1) < 1e-3
