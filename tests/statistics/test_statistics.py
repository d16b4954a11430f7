"""Bootstrap intervals, bins and statistics with counts against scipy and numpy."""

import numpy as np
import pytest
from scipy import stats

from astro_galtrans.statistics import sigma_mad
from astro_galtrans.statistics.bootstrap import bin_edges, bootstrap, in_bins, interval, resample_counts
from astro_galtrans.statistics.weighted import Weighted


def test_interval_of_a_mean_is_that_of_the_normal_distribution(rng):
    values = rng.normal(5, 2, 4000)
    result = bootstrap(np.mean, values, n=2000, level=0.68)
    half = stats.norm.ppf(0.84) * values.std() / np.sqrt(4000)
    assert result.value == values.mean() and result.n == 4000
    np.testing.assert_allclose([result.value - result.low, result.high - result.value], half, rtol=0.1)


def test_interval_of_a_median_is_that_of_scipy(rng):
    values = rng.exponential(1, 200)
    ours = bootstrap(np.median, values, n=2000, level=0.9)
    options = dict(n_resamples=2000, confidence_level=0.9, method="percentile", random_state=np.random.default_rng(3))
    theirs = stats.bootstrap((values,), np.median, **options).confidence_interval
    np.testing.assert_allclose([ours.low, ours.high], theirs, atol=0.15 * (theirs.high - theirs.low))


def test_columns_of_a_galaxy_stay_together(rng):
    galaxy = rng.normal(10, 3, 500)
    difference = bootstrap(lambda a, b: (a - b).mean(), galaxy, galaxy + 1)
    np.testing.assert_allclose([difference.low, difference.high], -1, rtol=1e-12)


def test_several_statistics_at_once(rng):
    values = rng.normal(size=300)
    both = bootstrap(lambda x: np.array([x.mean(), x.std()]), values, seed=4)
    alone = bootstrap(np.std, values, seed=4)
    np.testing.assert_allclose([both.low[1], both.high[1]], [alone.low, alone.high], rtol=1e-12)


def test_the_seed_makes_the_interval(rng):
    values = rng.normal(size=100)
    assert bootstrap(np.mean, values, seed=1) == bootstrap(np.mean, values, seed=1)
    assert bootstrap(np.mean, values, seed=1) != bootstrap(np.mean, values, seed=2)


def test_interval_next_to_minus_infinity():
    result = interval(-np.inf, np.r_[np.full(400, -np.inf), np.linspace(0, 1, 600)], 10)
    assert result.low == -np.inf and 0 < result.high < 1


@pytest.mark.parametrize("counts", [np.ones(50, dtype=int), np.arange(50)])
def test_counts_of_resamples_are_multinomial(counts):
    drawn = np.array(list(resample_counts(counts, n=4000)))
    share = counts / counts.sum()
    assert (drawn.sum(axis=1) == counts.sum()).all()
    np.testing.assert_allclose(drawn.mean(axis=0), counts, atol=0.1 * np.sqrt(counts.max()))
    np.testing.assert_allclose(drawn.var(axis=0), counts * (1 - share), rtol=0.15)


def test_bootstrap_needs_galaxies_of_one_number():
    with pytest.raises(ValueError, match="column 0: 3, column 1: 4"):
        bootstrap(np.mean, np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="at least one galaxy"):
        bootstrap(np.mean, [])
    with pytest.raises(ValueError, match="level between 0 and 1, got 68"):
        bootstrap(np.mean, [1.0, 2.0], level=68)


def test_no_resamples_leave_the_value_and_no_interval():
    assert bootstrap(np.mean, [1.0, 2.0], n=0)[::3] == (1.5, 2)
    assert np.isnan(bootstrap(np.mean, [1.0, 2.0], n=0)[1:3]).all()
    assert interval(np.ones((2, 3)), [], 5).low.shape == (2, 3)


def test_bins_are_those_of_numpy(rng):
    values, edges = rng.normal(size=1000), np.array([-1, -0.5, 0.2, 2])
    values[:2] = edges[0], edges[-1]
    index = in_bins(values, edges)
    np.testing.assert_array_equal(np.bincount(index[index >= 0]), np.histogram(values, edges)[0])
    assert (index == -1).sum() == ((values < -1) | (values > 2)).sum()
    assert in_bins([np.nan], edges) == -1


def test_quantile_bins_hold_equally_many(rng):
    values = np.r_[rng.normal(size=1000), np.nan]
    index = in_bins(values, bin_edges(values, 4))
    np.testing.assert_array_equal(np.bincount(index + 1), [1, 250, 250, 250, 250])


@pytest.mark.parametrize("bins", [[0, 0, 1], [2, 1], [1], [[0, 1], [1, 2]]])
def test_edges_that_are_none(bins):
    with pytest.raises(ValueError, match="strictly increasing"):
        bin_edges([1.0, 2.0], bins)


def test_too_few_values_for_quantile_bins():
    with pytest.raises(ValueError, match="more different values"):
        bin_edges([1, 1, 1, 1, 2], 4)
    with pytest.raises(ValueError, match="one finite value"):
        bin_edges([np.nan], 4)


@pytest.fixture(params=["galaxies", "resample", "cells"])
def sample(request, rng):
    """Sorted values, counts, and the same written out."""
    values = np.sort(rng.beta(2, 3, 301))
    counts = {"galaxies": np.ones(301, dtype=int), "resample": rng.poisson(1, 301), "cells": rng.integers(0, 40, 301)}
    return values, counts[request.param], np.repeat(values, counts[request.param])


def test_quantiles_with_counts(sample):
    values, counts, full = sample
    counted = Weighted(values, counts)
    np.testing.assert_allclose(counted.mean(), full.mean(), rtol=1e-13)
    for q in (0, 0.3, 0.5, 1):
        np.testing.assert_allclose(counted.quantile(q), np.quantile(full, q), rtol=1e-13)
    np.testing.assert_allclose(counted.sigma_iqr(), stats.iqr(full) / 1.349, rtol=1e-13)
    np.testing.assert_allclose(counted.sigma_mad(), 1.4826 * stats.median_abs_deviation(full), rtol=1e-13)


def test_distances_with_counts(sample):
    values, counts, full = sample
    counted = Weighted(values, counts)
    ks, cvm = stats.kstest(full, "uniform").statistic, stats.cramervonmises(full, "uniform").statistic
    np.testing.assert_allclose(counted.kolmogorov_smirnov(), ks, rtol=1e-12)
    np.testing.assert_allclose(counted.cramer_von_mises(), cvm, rtol=1e-12)
    statistic = stats.goodness_of_fit(
        stats.uniform, full, known_params=dict(loc=0, scale=1), statistic="ad", n_mc_samples=1, random_state=0
    ).statistic
    np.testing.assert_allclose(counted.anderson_darling(), statistic, rtol=1e-11)


def test_mean_with_minus_infinity():
    values = np.array([-np.inf, 1, 2])
    assert Weighted(values, np.array([1, 1, 1])).mean() == -np.inf
    assert Weighted(values, np.array([0, 1, 1])).mean() == 1.5


def test_sigma_mad_is_that_of_scipy(rng):
    values = rng.normal(2, 3, (5, 40, 41))
    expected = 1.4826 * stats.median_abs_deviation(values.reshape(5, -1), axis=1)
    np.testing.assert_allclose(sigma_mad(values, axis=(1, 2)), expected, rtol=1e-13)
    holed = np.concatenate([values, np.full((5, 2, 41), np.nan)], axis=1)
    np.testing.assert_allclose(sigma_mad(holed, axis=(1, 2), ignore_nan=True), expected, rtol=1e-13)
    assert np.isnan(sigma_mad(holed, axis=(1, 2))).all()
    assert abs(sigma_mad(rng.normal(0, 3, 100_000)) - 3) < 0.04  # 4 standard errors
