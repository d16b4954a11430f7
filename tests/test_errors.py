"""Errors of aperture fluxes and of point sources against dense covariance matrices, and against draws from them."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from numpy.testing import assert_allclose
from photutils.aperture import CircularAperture, SkyCircularAperture
from photutils.segmentation import detect_sources

from astro_galtrans import aperture_covariance, aperture_error, fluxes, significance
from astro_galtrans.bandstack import write_fits
from astro_galtrans.covariance import NODES, Covariance, brightness_weights
from astro_galtrans.psf import MoffatPSF, psf_images
from helpers import aperture_sum, make_wcs

SHAPE, PIXEL, LENGTHS = (22, 26), 0.2, (0.2, 0.5, 1.5)
CENTRES = [(10.3, 9.8), (14.0, 12.5)]


def covariance_of(bands="gr", **changes):
    rng = np.random.default_rng(4)
    known = {
        "bands": tuple(bands), "zeropoint": 30.0, "pixel_scale": PIXEL, "lengths": LENGTHS,
        "noise": tuple(0.5 + 0.2 * k for k in range(len(bands))), "electrons": (50.0,) * len(bands),
        "amplitudes": rng.uniform(0.2, 0.8, (len(bands), len(LENGTHS), len(NODES))).round(2),
        "between": np.eye(len(bands)), "fwhm": (0.8,) * len(bands),
    }  # fmt: skip
    return Covariance(**known | changes)


def image_of(covariance, shape=SHAPE, *, pixel=PIXEL, data=None, std=None):
    rng = np.random.default_rng(8)
    size = (len(covariance.bands), *shape)
    data = rng.uniform(0, 20, size) if data is None else data
    std = rng.uniform(0.8, 3, size) if std is None else std
    meta = {"BANDS": ",".join(covariance.bands), "MAGZERO": 30.0, "GTCOVAR": covariance.to_text()}
    return CCDData(data, unit="adu", uncertainty=StdDevUncertainty(std), wcs=make_wcs(shape, pixel), meta=meta)


def dense(covariance, image, k, *, noise=True):
    """The covariance matrix of the pixels of a band, by the formula, pixel by pixel."""
    data, std = image.data[k], image.uncertainty.array[k]
    y, x = np.indices(data.shape)
    square = ((x.ravel() - x.ravel()[:, None]) ** 2 + (y.ravel() - y.ravel()[:, None]) ** 2) * PIXEL**2
    places = np.interp(np.log(np.maximum(data / std, 1e-9)), np.log(NODES), range(len(NODES)))
    gaussians = [np.exp(-square / (2 * length**2)) for length in LENGTHS]
    matrix = np.zeros_like(square)
    for j, amplitudes in enumerate(covariance.amplitudes[k]):
        rho = gaussians[j]
        if j + 1 < len(LENGTHS):
            share = (LENGTHS[j] / LENGTHS[j + 1]) ** 2
            rho = (rho - share * gaussians[j + 1]) / (1 - share)
        shared = (np.interp(places, range(len(NODES)), amplitudes) * std).ravel()
        matrix += shared * shared[:, None] * rho
    white = covariance.noise[k] ** 2 + np.maximum(data, 0) / covariance.electrons[k]
    return matrix + noise * np.diag(white.ravel())


def weights(centre, radius, mask=None):
    image = CircularAperture(centre, radius).to_mask(method="exact").to_image(SHAPE)
    return (image if mask is None else np.where(mask, 0, image)).ravel()


@pytest.mark.parametrize("noise", [True, False])
def test_error_is_that_of_the_covariance_matrix(noise):
    covariance = covariance_of()
    image = image_of(covariance)
    found = aperture_error(image, CircularAperture(CENTRES, 5.2), noise=noise)
    assert found.unit == u.adu and found.shape == (2, 2)
    for k in range(2):
        matrix = dense(covariance, image, k, noise=noise)
        expected = [np.sqrt(w @ matrix @ w) for w in (weights(c, 5.2) for c in CENTRES)]
        assert_allclose(found[k].value, expected, rtol=1e-9)


def test_errors_are_the_scatter_of_fluxes_drawn_with_that_covariance(rng):
    covariance = covariance_of("r")
    image = image_of(covariance)
    root = np.linalg.cholesky(dense(covariance, image, 0))
    draws = [replace_data(image, image.data + (root @ rng.normal(size=root.shape[0])).reshape(image.shape))
             for _ in range(600)]  # fmt: skip
    apertures = [CircularAperture(CENTRES[0], radius) for radius in (1.5, 4, 8)]
    measured = fluxes(draws, apertures)
    assert measured.shape == (600, 1, 3) and measured.unit == u.adu
    assert_allclose(measured.value.std(axis=0), aperture_error(image, apertures).value, rtol=0.1)  # 2.9 % each
    simple = [np.sqrt(np.sum(weights(CENTRES[0], a.r) ** 2 * image.uncertainty.array.ravel() ** 2)) for a in apertures]
    assert (aperture_error(image, apertures).value[0] > [1.2 * s for s in simple]).all()  # what quadrature would say


def replace_data(image, data):
    new = image.copy()
    new.data = data
    return new


def test_fluxes_are_those_of_photutils():
    image = image_of(covariance_of("r"))
    aperture = CircularAperture(CENTRES, 3.3)
    expected = aperture_sum(image.data[0], aperture)
    assert_allclose(fluxes([image], aperture)[0, 0].value, expected)


def test_masked_pixels_and_those_outside_are_left_out():
    covariance = covariance_of("r")
    image = image_of(covariance)
    image.mask = np.zeros(image.shape, bool)
    image.mask[0, 8:11, 9:13] = True
    image.data[0, 9, 10] = np.nan
    matrix, w = dense(covariance, image_of(covariance), 0), weights(CENTRES[0], 5.2, image.mask[0])
    assert_allclose(aperture_error(image, CircularAperture(CENTRES[0], 5.2))[0].value, np.sqrt(w @ matrix @ w))
    half = CircularAperture((0, 10), 4)
    inside = half.to_mask(method="exact").to_image(SHAPE).ravel()
    assert_allclose(aperture_error(image_of(covariance), half)[0].value, np.sqrt(inside @ matrix @ inside))
    for measure in (aperture_error, lambda image, aperture: fluxes([image], aperture)[0]):
        assert np.isnan(measure(image, CircularAperture((-50, 3), 4))[0])


def test_any_form_of_a_translation_gives_the_same(tmp_path):
    cube = image_of(covariance_of())
    sky = SkyCircularAperture(SkyCoord(351.6, 0.1, unit="deg"), 0.9 * u.arcsec)
    expected = aperture_error(cube, sky)
    assert expected.shape == (2,)
    write_fits(cube, tmp_path / "x.fits")
    planes = {
        band: CCDData(cube.data[k], unit="adu", uncertainty=StdDevUncertainty(cube.uncertainty.array[k]), wcs=cube.wcs,
                      meta={**cube.meta, "FILTER": band})
        for k, band in enumerate("gr")
    }  # fmt: skip
    with fits.open(tmp_path / "x.fits") as hdus:
        for image in (tmp_path / "x.fits", hdus, CCDData.read(tmp_path / "x.fits"), planes, list(planes.values())):
            assert_allclose(aperture_error(image, sky).value, expected.value, rtol=1e-5)
    one = aperture_error(planes["r"], sky)
    assert one.shape == () and one.value == pytest.approx(expected[1].value)
    assert significance(planes["r"]).shape == SHAPE


def test_unit_and_pixels_do_not_matter():
    covariance = covariance_of("r", noise=(0.02,), electrons=(0.0,))
    size = (1, 60, 60)
    image = image_of(covariance, size[1:], data=np.zeros(size), std=np.ones(size))
    aperture = CircularAperture((29.5, 29.5), 6)
    error = aperture_error(image, aperture)[0].value
    fainter = image_of(covariance, size[1:], data=np.zeros(size), std=np.full(size, 0.1))
    fainter.meta["MAGZERO"] = 27.5
    assert aperture_error(fainter, aperture)[0].value == pytest.approx(0.1 * error)
    size = (1, 120, 120)
    finer = image_of(covariance, size[1:], pixel=PIXEL / 2, data=np.zeros(size), std=np.full(size, 0.25))
    # of the shortest correlation, a pixel of the coarse grid sees an average
    assert aperture_error(finer, CircularAperture((59.5, 59.5), 12))[0].value == pytest.approx(error, rel=0.02)


@pytest.mark.parametrize("common", [0.0, 0.6])
def test_colours_take_what_bands_share(common):
    covariance = covariance_of(between=[[1, common], [common, 1]])
    image, aperture = image_of(covariance), CircularAperture(CENTRES, 4)
    total, shared = (aperture_error(image, aperture, noise=noise).value for noise in (True, False))
    found = aperture_covariance(image, aperture)
    assert found.shape == (2, 2, 2) and found.unit == u.adu**2
    assert_allclose([found.value[k, k] for k in range(2)], total**2)
    assert_allclose(found.value[0, 1], common * shared[0] * shared[1])
    assert aperture_covariance(image, CircularAperture(CENTRES[0], 4)).shape == (2, 2)


def test_significance_is_flux_over_error_of_a_point_source():
    covariance, side = covariance_of("r"), 41
    shape, middle = (side, side), (side - 1) // 2
    psf = psf_images(MoffatPSF(0.8), PIXEL, side)[0]
    std = np.full((1, *shape), 2.0)
    image = image_of(covariance, shape, data=np.zeros((1, *shape)), std=std)
    w = psf_images(MoffatPSF(0.8), PIXEL, 21)[0]  # as far as the package looks
    padded = np.zeros(shape)
    padded[middle - 10 : middle + 11, middle - 10 : middle + 11] = w
    error = np.sqrt(padded.ravel() @ dense(covariance, image, 0, noise=False) @ padded.ravel())
    flux = 7.0 * error / np.sum(padded * psf)
    image.data[0] += flux * psf
    amplitude_of_sky = replace(covariance, amplitudes=[[[a[0]] * len(NODES) for a in covariance.amplitudes[0]]])
    image.meta["GTCOVAR"] = amplitude_of_sky.to_text()  # whatever the signal-to-noise ratio of the star
    assert significance(image)[0, middle, middle] == pytest.approx(7.0, rel=2e-3)
    assert len(detect_sources(significance(image)[0], 5, 1).labels) == 1
    image.mask = np.zeros(image.shape, bool)
    image.mask[0, :3] = True
    found = significance(image)[0]
    assert np.isnan(found[:3]).all() and np.isfinite(found[3:]).all()
    assert len(detect_sources(found, 5, 1).labels) == 1


def test_weights_of_brightness_share_out():
    flux = np.array([[-5.0, 0.0, 0.7, np.sqrt(0.7 * 1.5), 4.0, 1e6]])
    found = brightness_weights(flux, np.ones_like(flux))
    assert_allclose(found.sum(axis=0), 1)
    assert_allclose(found[:, 0, :3], [[1, 1, 1], *[[0, 0, 0]] * 4], atol=1e-12)
    assert_allclose(found[:2, 0, 3], [0.5, 0.5])
    assert_allclose(found[[2, 4], 0, [4, 5]], 1)


def test_covariance_survives_its_text():
    covariance = covariance_of(zeropoint=29.123456)
    again = Covariance.from_text(covariance.to_text())
    assert again.zeropoint == 29.123456 and again.bands == ("g", "r")
    assert again == Covariance.from_dict(again.to_dict())
    assert_allclose(again.amplitudes, covariance.amplitudes, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amplitudes", [[[-1.0] * 5] * 3] * 2),
        ("between", [[1.0, 2.0], [2.0, 1.0]]),
        ("noise", [1.0]),
        ("lengths", [0.2]),
    ],
)
def test_nonsense_is_refused(name, value):
    with pytest.raises(ValueError, match="of the correlation of errors must be numbers"):
        covariance_of(**{name: value})


def test_what_is_missing_is_named():
    image, aperture = image_of(covariance_of("r")), CircularAperture((5, 5), 2)
    with pytest.raises(TypeError, match="photutils apertures, got float"):
        aperture_error(image, [3.0])
    without = image.copy()
    without.uncertainty = None
    with pytest.raises(ValueError, match="no standard deviations; pass the CCDData"):
        aperture_error(without, aperture)
    image.meta["GTCOVAR"] = covariance_of("g").to_text()
    with pytest.raises(ValueError, match="is that of g, and it has r"):
        aperture_error(image, aperture)
    image.meta["GTCOVAR"] = covariance_of("r", fwhm=()).to_text()
    with pytest.raises(ValueError, match="PSF of the target survey is not known"):
        significance(image)
    for damaged in ("[1, 2", "[1]", "{}", 20_000 * "[", "3"):
        image.meta["GTCOVAR"] = damaged
        with pytest.raises(ValueError, match="GTCOVAR of the image is damaged"):
            aperture_error(image, aperture)
    del image.meta["GTCOVAR"]
    with pytest.raises(ValueError, match=r"GTCOVAR.*galtrans calibrate measures it"):
        aperture_error(image, aperture)
