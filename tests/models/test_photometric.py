"""The photometric sampler: apertures against photutils, updates against numpy's conditional normal, ranks of a flow."""

import numpy as np
import pytest
import torch
from photutils.aperture import CircularAperture
from scipy import stats
from scipy.ndimage import gaussian_filter

from astro_galtrans.covariance import LENGTHS, NODES, quadratic_forms
from astro_galtrans.models.photometric.apertures import DIAMETERS, GAUSSIANS, aperture_noise, patches
from astro_galtrans.models.photometric.conditioning import Conditioned, Errors, kept, light_of
from astro_galtrans.models.photometric.detection import detect
from astro_galtrans.models.photometric.flow import FluxFlow
from helpers import aperture_sum

PIXEL = 0.5  # arcsec


def gaussian(shape, x, y, sigma, flux=1.0):
    rows, columns = np.indices(shape)
    image = np.exp(-0.5 * ((rows - y) ** 2 + (columns - x) ** 2) / sigma**2)
    return flux * image / (2 * np.pi * sigma**2)


def flat_errors(bands=1, amplitude=0.0):
    amplitudes = np.full((bands, len(LENGTHS), len(NODES)), amplitude)
    return Errors(np.full(bands, 0.7), np.zeros(bands), amplitudes, LENGTHS)


def test_circles_are_those_of_photutils():
    places = np.array([[20.3, 24.8], [30.0, 31.49]])
    image = np.random.default_rng(0).normal(size=(2, 60, 64)).astype("f4")
    found = patches(places, image.shape[1:], PIXEL).fluxes(image)
    for k, diameter in enumerate(DIAMETERS):
        aperture = CircularAperture(places, diameter / 2 / PIXEL)
        for band in range(2):
            truth = aperture_sum(image[band], aperture)
            np.testing.assert_allclose(found[:, len(GAUSSIANS) + k, band], truth, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found[:, -1], image[:, [25, 31], [20, 30]].T)


def test_gaussian_apertures_are_integrals():
    """Of a Gaussian under a Gaussian weight, both far narrower than the circle it ends at: a closed form."""
    sigma, fine = 4.0, 0.1
    image = gaussian((141, 141), 70.2, 69.9, sigma)[None].astype("f4")
    found = patches([[70.2, 69.9]], (141, 141), fine).fluxes(image)[0, :, 0]
    for flux, fwhm in zip(found, GAUSSIANS[:2], strict=False):
        weight = fwhm / 2.3548 / fine
        assert flux == pytest.approx(weight**2 / (weight**2 + sigma**2), rel=1e-3)


def test_noise_of_apertures_is_measured_noise():
    image = np.random.default_rng(1).normal(size=(1, 60, 60)).astype("f4")
    sky = np.random.default_rng(2).normal(size=(4000, 1, 60, 60)).astype("f4")
    there = patches([[30.0, 30.0]], image.shape[1:], PIXEL)
    scatter = np.std([there.fluxes(each)[0, :, 0] for each in sky], axis=0)
    np.testing.assert_allclose(scatter, aperture_noise(PIXEL), rtol=0.05)


def test_apertures_at_the_edge_are_known_to_be():
    inside = patches([[30.0, 30.0], [3.0, 30.0]], (60, 60), PIXEL).inside
    assert inside[0].all()
    # 3 pixels from the first column's centre: the circles of 0.75 and 1.5 arcsec radius fit, wider ones do not
    np.testing.assert_array_equal(inside[1], [False, False, False, True, True, False, False, True])


def test_sources_are_found_where_they_are():
    truth = np.array([[30.3, 40.8], [70.6, 22.1]])
    image = sum(gaussian((96, 96), x, y, 1.8, flux) for (x, y), flux in zip(truth, (900, 200), strict=True))
    found = detect(np.stack([image, 0.7 * image]), [0.5, 0.5], 0.2)
    np.testing.assert_allclose(found, truth, atol=0.1)
    assert detect(np.zeros((2, 96, 96)), [0.5, 0.5], 0.2).shape == (0, 2)


def test_a_faint_neighbour_keeps_its_small_apertures():
    places = np.array([[40.0, 40.0], [46.0, 40.0]])  # 3 arcsec apart
    rows = kept(patches(places, (80, 80), PIXEL), places, PIXEL)
    assert rows[0].all()
    np.testing.assert_array_equal(rows[1], [True, False, False, True, True, False, False, False])


@pytest.fixture
def two_sources():
    rng = np.random.default_rng(4)
    places = np.array([[14.2, 14.9], [22.0, 20.0]])
    mean = (40 * gaussian((36, 36), *places[0], 2.0) + 25 * gaussian((36, 36), *places[1], 2.0))[None].astype("f4")
    std = np.sqrt(0.49 + 0.2 * mean + 0.05 * rng.random(mean.shape)).astype("f4")
    there = patches(places, (36, 36), 1.0)
    return Conditioned(mean, std, there, there.inside, flat_errors()), there


def test_fluxes_are_exactly_those_asked_for(two_sources):
    image, there = two_sources
    asked = there.fluxes(image.light) * np.random.default_rng(5).normal(1, 0.05, (2, 8, 1))
    for sign in (1, -1):
        drawn = image.draw(np.random.default_rng(6), asked, sign)
        np.testing.assert_allclose(there.fluxes(drawn), asked, rtol=1e-4, atol=1e-3)


def test_the_update_is_the_conditional_mean_of_numpy(two_sources):
    """The mean of two samples of opposite noise is the mean of a normal image of the stated variances, given fluxes."""
    image, there = two_sources
    asked = np.random.default_rng(7).normal(30, 10, (2, 8, 1))
    both = [image.draw(np.random.default_rng(8), asked, sign) for sign in (1, -1)]
    weights = np.zeros((2, 8, 36, 36))
    for k, (row, column) in enumerate(there.corners):
        weights[k, :, row : row + there.side, column : column + there.side] = there.weights[k]
    weights, variance = weights.reshape(16, -1), (image.white + image.changes).ravel().astype(float)
    prior = image.light.ravel().astype(float)
    gain = np.diag(variance) @ weights.T @ np.linalg.inv(weights @ np.diag(variance) @ weights.T)
    truth = prior + gain @ (asked.ravel() - weights @ prior)
    np.testing.assert_allclose(np.mean(both, axis=0).ravel(), truth, rtol=1e-3, atol=1e-3)


def test_samples_scatter_as_the_conditional_normal(two_sources):
    """With white errors alone, the covariance over samples is numpy's of the normal image given its fluxes."""
    image, there = two_sources
    white = Conditioned(image.light, np.full_like(image.light, 0.7), there, image.rows, flat_errors())
    asked = there.fluxes(image.light)
    draws = np.array([white.draw(np.random.default_rng([9, k]), asked)[0, 10:20, 10:20].ravel() for k in range(3000)])
    weights = np.zeros((2, 8, 36, 36))
    for k, (row, column) in enumerate(there.corners):
        weights[k, :, row : row + there.side, column : column + there.side] = there.weights[k]
    weights = weights.reshape(16, -1)
    posterior = 0.49 * (np.eye(36 * 36) - weights.T @ np.linalg.inv(weights @ weights.T) @ weights)
    box = np.arange(36 * 36).reshape(36, 36)[10:20, 10:20].ravel()
    truth, found = posterior[np.ix_(box, box)], np.cov(draws.T)
    assert np.abs(found - truth).max() < 5 * 0.49 / np.sqrt(3000) * np.sqrt(2)


def test_errors_of_structure_have_the_stated_correlations():
    """The sum of the field in a circle scatters as `quadratic_forms`, which error bars are made of, says."""
    amplitudes = np.random.default_rng(3).random((1, len(LENGTHS), len(NODES)))
    errors = Errors(np.ones(1), np.zeros(1), amplitudes, LENGTHS, sharpest=1.5)
    assert errors.scales[0] == errors.scales[-1] == 0  # finer than the PSF, and broader than a galaxy
    assert errors.scales.sum() == pytest.approx(1)
    weights = np.zeros((96, 96))
    weights[40:56, 40:56] = CircularAperture((7.5, 7.5), 7).to_mask(method="exact").to_image((16, 16))
    maps = np.sqrt(errors.scales)[:, None, None] * weights
    truth = quadratic_forms(maps[:, None], LENGTHS).sum()
    drawn = [np.sum(weights * errors.structure(np.random.default_rng(k), (96, 96))) for k in range(800)]
    assert np.var(drawn) == pytest.approx(truth, rel=0.2)  # four standard errors of a variance from 800 draws


def test_light_is_what_stands_out_of_the_noise():
    rng = np.random.default_rng(10)
    galaxy = 1500 * gaussian((128, 128), 64, 64, 3.0)
    noise = gaussian_filter(rng.normal(size=(3, 128, 128)), (0, 1.5, 1.5)).astype("f4")
    noise /= noise.std()
    colours = np.array([1.0, 0.7, 0.0])[:, None, None]  # nothing in the last band
    light = light_of(noise + colours * galaxy, np.ones_like(noise))
    np.testing.assert_allclose(light[:2, 64, 64], (colours * galaxy)[:2, 64, 64], atol=3)  # three sigma
    assert light[:, :30].std() < 0.4  # of noise of 1
    # the faint band has less noise where bright ones show the details, and no light
    assert light[2, 54:74, 54:74].mean() < 0.5


@pytest.fixture(scope="module")
def trained():
    """A flow, trained on fluxes of which the density is known: log-normal about the translation, correlated."""
    from astro_galtrans.training.flow import FlowSettings, train_flow

    rng = np.random.default_rng(11)
    card = {
        "name": "toy", "source": {"sky_rms": [0.5], "scaling": {"softening": [1.0]}, "pixel_scale": 1.0},
        "target": {"scaling": {"softening": [1.0]}, "pixel_scale": 0.5},
        "calibration": {"correlation": {"noise": [0.1]}},
    }  # fmt: skip
    flow, history = train_flow(
        known_table(rng, 4000), card, settings=FlowSettings(32, 32, 1, 0.0, 400, 400, 256, 3e-3, 0.01, 0.98),
        device="cpu", progress=False,
    )  # fmt: skip
    return flow, history


def known_table(rng, number):
    """Fluxes of a source twice as bright in the target, give or take a tenth and an aperture's own hundredth."""
    x = np.exp(rng.uniform(5, 9, (number, 1, 1))) * np.linspace(0.2, 1, 8)[:, None]
    error = 0.1 * rng.standard_normal((number, 1, 1)) + 0.02 * rng.standard_normal((number, 8, 1))
    nothing = np.full(number, np.nan)
    return {
        "x": x, "m": 1.5 * x, "y": 2 * x * np.exp(error), "numbers": rng.random((number, 3)), "z": nothing,
        "pair": np.arange(number),
    }  # fmt: skip


def drawn(flow, table, number):
    parts = [torch.from_numpy(np.asarray(table[k], "f4").reshape(len(table["z"]), -1)) for k in ("x", "m", "numbers")]
    generator = torch.Generator().manual_seed(0)
    return np.stack([flow.sample(*parts, torch.randn(len(parts[0]), 8, generator=generator)) for _ in range(number)])


def test_ranks_of_true_fluxes_are_uniform(trained):
    flow, _ = trained
    table = known_table(np.random.default_rng(12), 500)
    samples, truth = drawn(flow, table, 40), table["y"].reshape(500, 8)
    for k in (0, 4, 7):
        assert stats.kstest((samples[..., k] < truth[:, k]).mean(axis=0), "uniform").statistic < 0.09
    scatter = np.log(samples / truth[None]).std(axis=0).mean(axis=0)
    np.testing.assert_allclose(scatter, np.hypot(0.1, 0.02), rtol=0.15)


def test_errors_common_to_apertures_stay_common(trained):
    flow, _ = trained
    table = known_table(np.random.default_rng(13), 50)
    logs = np.log(drawn(flow, table, 100))
    colour = (logs[..., 0] - logs[..., 5]).std(axis=0).mean()
    assert colour == pytest.approx(0.02 * np.sqrt(2), rel=0.35)


def test_whitening_is_undone():
    torch.manual_seed(0)
    flow = FluxFlow(8, 8, 3)
    torch.nn.init.normal_(flow.gaussian[-1].weight, std=0.02)
    given, difference = torch.randn(20, 19), torch.randn(20, 8)
    torch.testing.assert_close(
        flow.unwhitened(given, flow.whitened(given, difference)), difference, rtol=1e-4, atol=1e-4
    )


def test_an_untrained_flow_draws_its_gaussian():
    flow, number = FluxFlow(8, 8, 3), 2000
    fluxes = flow.sample(torch.ones(number, 8), torch.ones(number, 8), torch.ones(number, 3), torch.randn(number, 8))
    difference = torch.asinh(fluxes / 2) - np.arcsinh(0.5)
    unshortened = 4 * torch.sinh(torch.randn(100_000) / 4)
    assert float(difference.std()) == pytest.approx(float(unshortened.std()), rel=0.03)


def test_sources_unlike_the_training_keep_the_fluxes_of_the_translation(trained):
    """Sources ten thousand times brighter than any that the flow was trained on."""
    flow, _ = trained
    table = known_table(np.random.default_rng(14), 50)
    far = table | {name: 1e4 * table[name] for name in ("x", "m")}
    np.testing.assert_allclose(drawn(flow, far, 3), np.broadcast_to(far["m"][:, :, 0], (3, 50, 8)), rtol=1e-3)
    near = np.log(drawn(flow, table, 3) / table["m"][:, :, 0])
    assert near.mean() == pytest.approx(np.log(2 / 1.5), abs=0.05)


def test_two_thirds_of_blank_sky_are_within_the_error_stated():
    """Of true sky with the target's noise; the translation shows noise of its source, which samples do not."""
    rng, shape = np.random.default_rng(15), (3, 96, 96)
    leaked = gaussian_filter(rng.normal(size=shape), (0, 1.5, 1.5)).astype("f4")
    leaked *= 0.7 / leaked.std()
    there, whole = patches(np.empty((0, 2)), shape[1:], 1.0), np.full(shape, np.sqrt(2 * 0.49), "f4")
    image = Conditioned(leaked, whole, there, there.inside, flat_errors(3))
    mean = np.mean([image.draw(np.random.default_rng(16), np.empty((0, 8, 3)), sign) for sign in (1, -1)], axis=0)
    missed = np.abs(rng.normal(0, 0.7, shape) - mean)
    assert 0.66 < (missed < image.std).mean() < 0.75
    assert (missed < whole).mean() > 0.8  # the error stated of the translation itself
