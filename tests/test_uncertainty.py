"""Uncertainties against Gaussians and Monte Carlo, whose answers are known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from astro_galtrans.uncertainty import ONE_SIGMA, SampleMean, combine, propagate_variance

SHAPE = (2, 150, 150)


def test_one_sigma_is_that_of_a_gaussian():
    assert_allclose(ONE_SIGMA, stats.norm.cdf(1) - stats.norm.cdf(-1), rtol=1e-14)


@pytest.mark.parametrize("n_samples", [1, 2, 5])
def test_error_of_the_mean_of_posterior_samples(n_samples, rng):
    # truth and samples are draws from one Gaussian, whose centre the source decides and the network knows
    shape, sigma = (1, 300, 300), rng.uniform(0.5, 3, (1, 300, 300)).astype(np.float32)
    centre = rng.normal(0, 10, shape)
    truth = centre + sigma * rng.normal(size=shape)
    samples = SampleMean(posterior=True)
    for _ in range(n_samples):
        samples.add((centre + sigma * rng.normal(size=shape)).astype(np.float32), sigma**2)
    pull = (truth - samples.mean) / np.sqrt(samples.variance)
    assert_allclose(pull.std(), 1, rtol=0.01)
    assert_allclose(np.mean(np.abs(pull) <= 1), ONE_SIGMA, atol=0.008)


def test_one_answer_has_the_variance_it_states(rng):
    values, variance = rng.normal(size=SHAPE), rng.uniform(1, 2, SHAPE)
    only = SampleMean(posterior=False)
    only.add(values, variance)
    assert only.mean is values
    assert only.variance is variance
    with pytest.raises(ValueError, match="deterministic"):
        only.add(values, variance)


def test_running_mean_is_the_mean(rng):
    stack = (1e4 + rng.normal(size=(40, *SHAPE))).astype(np.float32)
    variances = rng.uniform(1, 2, (40, *SHAPE)).astype(np.float32)
    samples = SampleMean(posterior=True)
    for values, variance in zip(stack.copy(), variances.copy(), strict=True):
        samples.add(values, variance)
    assert samples.mean.dtype == samples.variance.dtype == np.float32
    assert_allclose(samples.mean, stack.mean(0, dtype=float), rtol=1e-6)
    assert_allclose(samples.variance, variances.mean(0, dtype=float) * (1 + 1 / 40), rtol=2e-6)


def test_samples_must_fit():
    samples = SampleMean(posterior=True)
    with pytest.raises(ValueError, match="no sample yet"):
        _ = samples.mean
    with pytest.raises(ValueError, match=r"one shape, got \(1, 2, 2\) and \(1, 2, 3\)"):
        samples.add(np.ones((1, 2, 2)), np.ones((1, 2, 3)))
    samples.add(np.ones((1, 2, 2)), np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match=r"one shape, got \(1, 3, 2\) and \(1, 2, 2\)"):
        samples.add(np.ones((1, 3, 2)), np.ones((1, 3, 2)))


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_excess_noise_follows_a_monte_carlo(scale, rng):
    nominal, actual = np.array([1.0, 2.0]), np.array([4.0, 2.0])
    noise = rng.normal(size=(4000, 2, 2, 3)) * np.sqrt(actual - nominal)[:, None, None]
    fine = (noise / scale**2).repeat(scale, axis=-2).repeat(scale, axis=-1)
    variance = np.broadcast_to(actual[:, None, None], (2, 2, 3)).copy()
    assert_allclose(propagate_variance(variance, nominal, scale), fine.var(axis=0), rtol=0.1)


def test_quiet_input_earns_nothing_and_unknown_stays_unknown():
    variance = np.array([[[0.5, 2.0, np.inf, np.nan]]], dtype=np.float32)
    extra = propagate_variance(variance, 1.0, 2)
    assert extra.dtype == np.float32
    assert_array_equal(extra[0, 0], np.repeat([0, 1 / 16, np.inf, np.nan], 2))


def test_excess_adds_to_an_array_in_place(rng):
    variance, start = rng.uniform(1, 5, (2, 3, 4)), rng.uniform(1, 2, (2, 6, 8))
    out = start.copy()
    assert propagate_variance(variance, [1, 2], 2, out=out) is out
    assert_allclose(out, start + propagate_variance(variance, [1, 2], 2))


@pytest.mark.parametrize(
    ("nominal", "out", "message"),
    [
        (-1.0, None, "zero or more"),
        ([1.0, 2.0, 3.0], None, r"one per band \(2\)"),
        (1.0, np.zeros((2, 3, 4)), r"shape \(2, 6, 8\)"),
        (1.0, np.zeros((2, 6, 16))[..., ::2], "C-contiguous"),
    ],
)
def test_bad_propagation(nominal, out, message):
    with pytest.raises(ValueError, match=message):
        propagate_variance(np.ones((2, 3, 4)), nominal, 2, out=out)


def test_combine_scales_and_adds():
    variance = np.full((2, 3, 3), 4.0, dtype=np.float32)
    std = combine(variance, [0.5, 2.0], extra=np.full((2, 3, 3), 9.0))
    assert std is variance
    assert_allclose(std[:, 0, 0], np.sqrt([10, 25]), rtol=1e-6)


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan, [1.0, 2.0, 3.0]])
def test_combine_wants_usable_factors(factor):
    with pytest.raises(ValueError, match="calibration factor"):
        combine(np.ones((2, 3, 3)), factor)
