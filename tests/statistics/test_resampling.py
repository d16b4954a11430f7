"""Many statistics resampled at once: each against scipy and numpy, intervals against theory and the plain bootstrap."""

import numpy as np
import pytest
from scipy import stats

from astro_galtrans.statistics import resampling
from astro_galtrans.statistics.bootstrap import draws
from astro_galtrans.statistics.resampling import (
    PAIRED,
    StreamedSums,
    centre_and_scatter,
    paired_statistics,
    resampled_sums,
)


def scatter(values):
    return stats.median_abs_deviation(values) * 1.4826


@pytest.fixture
def pairs(rng):
    real = rng.normal(3, 1, 401)
    return real, real + rng.normal(0.2, 0.5, 401)


def expected(real, ours):
    return [
        np.median(ours - real), scatter(ours - real), stats.spearmanr(real, ours).statistic,
        stats.ks_2samp(real, ours).statistic, stats.wasserstein_distance(real, ours),
    ]  # fmt: skip


def test_values_are_those_of_scipy(pairs):
    found = paired_statistics(*pairs, n=20)
    assert tuple(found) == PAIRED
    np.testing.assert_allclose([part.value for part in found.values()], expected(*pairs), rtol=1e-10)
    assert all(part.n == 401 for part in found.values())
    assert paired_statistics(*pairs, n=20, ratio=True)["bias"].value == np.median(pairs[1] / pairs[0])


@pytest.mark.parametrize("decimals", [8, 1])
def test_resamples_are_those_of_scipy(pairs, decimals):
    """Each resample written out; with one decimal there are ties within and between the columns."""
    real, ours = (np.round(values, decimals) for values in pairs)
    found = np.concatenate(resampling._resampled(real, ours, ours - real, 12, 5), axis=1)
    order = np.argsort(real, kind="stable")
    drawn = np.concatenate([rows for rows, _ in draws(len(real), 12, 5)])
    for column, rows in zip(found.T, drawn, strict=True):
        np.testing.assert_allclose(column, expected(real[order][rows], ours[order][rows]), rtol=2e-5, atol=1e-6)


def test_intervals_hold_as_often_as_they_say():
    """Gaussian differences: the 68 % interval of median and scatter holds the truth in about 68 % of all samples."""
    rng = np.random.default_rng(7)
    hits = np.zeros(2)
    for trial in range(200):
        real = rng.normal(0, 1, 150)
        found = paired_statistics(real, real + rng.normal(0.3, 0.5, 150), n=200, seed=trial)
        hits += [found[name].low <= truth <= found[name].high for name, truth in (("bias", 0.3), ("scatter", 0.5))]
    assert (np.abs(hits / 200 - 0.68) < 3.5 * np.sqrt(0.68 * 0.32 / 200)).all()


def test_large_samples_keep_the_width_of_their_number(monkeypatch):
    rng = np.random.default_rng(8)
    values = rng.normal(0, 1, 4000)
    whole = centre_and_scatter(values, n=400)
    monkeypatch.setattr(resampling, "LARGEST", 500)
    part = centre_and_scatter(values, n=400)
    for name in ("bias", "scatter"):
        assert part[name].value == whole[name].value and part[name].n == 4000
        width, other = (found[name].high - found[name].low for found in (whole, part))
        assert 0.6 < other / width < 1.6
    theory = 2 * np.sqrt(np.pi / 2 / 4000)  # one sigma to either side of the median of a Gaussian
    np.testing.assert_allclose(whole["bias"].high - whole["bias"].low, theory, rtol=0.2)


def test_distances_of_one_distribution_reach_to_zero():
    real, ours = np.random.default_rng(9).normal(0, 1, (2, 300))
    for name in ("ks", "wasserstein"):
        found = paired_statistics(real, ours, n=200)[name]
        assert 0 <= found.low <= found.value <= found.high


def test_what_cannot_be_measured_is_nan():
    assert np.isnan(paired_statistics([1.0], [2.0])["bias"].value)
    assert np.isnan(centre_and_scatter([])["scatter"].value)
    constant = paired_statistics(np.ones(9), np.ones(9), n=10)
    assert np.isnan(constant["spearman"].value)
    assert constant["ks"][:3] == (0, 0, 0) and constant["bias"][:3] == (0, 0, 0)
    alone = paired_statistics([1.0, 2.0], [1.0, 3.0], n=0)["bias"]
    assert alone.value == 0.5 and np.isnan(alone.low) and np.isnan(alone.high)


@pytest.mark.parametrize("largest", [4096, 64])
def test_sums_scatter_as_theory_says(rng, monkeypatch, largest):
    """The ratio of two sums: its resamples scatter by the delta method's figure, multinomial or Poisson."""
    monkeypatch.setattr(resampling, "LARGEST", largest)
    below = rng.uniform(1, 2, 500)
    above = 2 * below + rng.normal(0, 0.5, 500)
    sums = resampled_sums(np.column_stack([above, below]).reshape(500, 1, 2), n=2000)
    assert sums.shape == (2000, 1, 2)
    ratio = sums[:, 0, 0] / sums[:, 0, 1]
    theory = np.std(above - 2 * below) / np.sqrt(500) / below.mean()
    np.testing.assert_allclose([ratio.mean(), ratio.std()], [above.sum() / below.sum(), theory], rtol=0.08)


@pytest.mark.parametrize("largest", [4096, 64, 50])
def test_sums_do_not_depend_on_how_galaxies_are_divided(rng, monkeypatch, largest):
    monkeypatch.setattr(resampling, "LARGEST", largest)
    columns = rng.uniform(1, 2, (200, 3))
    whole = resampled_sums(columns, 50)
    for sizes in ([200], [1, 63, 1, 135], [64, 64, 64, 8], [10] * 20):
        sums = StreamedSums((3,), 50, 0)
        for part in np.split(columns, np.cumsum(sizes)[:-1]):
            sums.add(part)
        total, draws = sums.result()
        np.testing.assert_allclose(total, columns.sum(axis=0), rtol=1e-12)
        np.testing.assert_array_equal(draws, whole)


def test_the_same_seed_draws_the_same_galaxies(pairs):
    assert paired_statistics(*pairs, n=30, seed=4) == paired_statistics(*pairs, n=30, seed=4)
    assert paired_statistics(*pairs, n=30, seed=4) != paired_statistics(*pairs, n=30, seed=5)
