"""Accumulators against the same metrics of the whole sample in memory."""

import pickle
import tracemalloc

import numpy as np
import pytest
from astropy import units as u
from scipy import stats

from astro_galtrans.photoz.metrics import (
    Accumulator,
    BinnedAccumulator,
    pdf_metrics,
    pdf_metrics_in_bins,
    point_metrics,
    point_metrics_in_bins,
)
from astro_galtrans.photoz.pdfs import GridPDF

EXACT = ["bias_mean", "crps", "cde_loss", "information", "zero_density", "outlier_005", "outlier_015"]
CELL = 4e-4  # width of a cell of dz, relative to max(abs(dz), 0.001)


def gaussians(rng, number):
    """Calibrated PDFs with some wild ones, redshifts, and a prior."""
    z = np.linspace(0, 1, 101)
    mean, sigma = rng.uniform(0.2, 0.8, number), rng.choice([0.02, 0.04, 0.2], number, p=[0.5, 0.4, 0.1])
    z_spec = np.clip(rng.normal(mean, sigma), 0.01, 0.99)  # PIT values at the very end are rounding
    pdfs = GridPDF.normalised(z, stats.norm.pdf(z, mean[:, None], sigma[:, None]))
    return pdfs, z_spec, GridPDF.normalised(z, np.ones(101))


def by_name(table):
    return {row["metric"]: row for row in table}


@pytest.fixture
def sample(rng):
    return gaussians(rng, 6000)


def filled(sample, batch=1000):
    pdfs, z_spec, prior = sample
    accumulator = Accumulator(prior=prior)
    for start in range(0, len(z_spec), batch):
        accumulator.add(pdfs[start : start + batch], z_spec[start : start + batch])
    return accumulator


def test_values_are_those_in_memory(sample):
    pdfs, z_spec, prior = sample
    streamed = by_name(filled(sample).table(resamples=0))
    whole = by_name(point_metrics(pdfs.median(), z_spec, resamples=0))
    whole |= by_name(pdf_metrics(pdfs, z_spec, prior=prior, resamples=0))
    assert set(streamed) == set(whole)
    for name in EXACT:
        assert streamed[name]["value"] == pytest.approx(whole[name]["value"], rel=1e-10)
    median = whole["bias_median"]["value"]
    assert abs(streamed["bias_median"]["value"] - median) < CELL * max(abs(median), 1e-3)
    for name in ("sigma_mad", "sigma_iqr"):
        assert streamed[name]["value"] == pytest.approx(whole[name]["value"], rel=3 * CELL)
    assert streamed["outlier_rail"]["value"] == pytest.approx(whole["outlier_rail"]["value"], abs=2 / 6000)
    assert streamed["pit_ks"]["value"] == pytest.approx(whole["pit_ks"]["value"], abs=6.2e-5)
    for name in ("pit_cvm", "pit_ad"):
        assert streamed[name]["value"] == pytest.approx(whole[name]["value"], rel=1e-3)
    for name, row in streamed.items():
        assert row["n"] == whole[name]["n"] == 6000


def test_intervals_are_those_in_memory(sample):
    pdfs, z_spec, prior = sample[0][:3000], sample[1][:3000], sample[2]
    streamed = by_name(filled((pdfs, z_spec, prior)).table(resamples=200))
    whole = by_name(point_metrics(pdfs.median(), z_spec, resamples=200))
    whole |= by_name(pdf_metrics(pdfs, z_spec, prior=prior, resamples=200))
    for name, row in whole.items():
        width = row["high"] - row["low"]
        assert streamed[name]["low"] == pytest.approx(row["low"], abs=0.35 * width)
        assert streamed[name]["high"] == pytest.approx(row["high"], abs=0.35 * width)


def test_batches_and_processes_do_not_matter(sample):
    pdfs, z_spec, prior = sample
    parts = [Accumulator(prior=GridPDF(prior.z, prior.density)) for _ in range(2)]
    parts[0].add(pdfs[:100], z_spec[:100])
    parts[1].add(pdfs[100:], z_spec[100:])
    merged = pickle.loads(pickle.dumps(parts[0])).merge(parts[1]).table(resamples=50)
    one = filled(sample).table(resamples=50)
    np.testing.assert_allclose(merged["value"], one["value"], rtol=1e-10)
    assert merged.meta == one.meta


def test_exact_accumulators_give_what_samples_in_memory_give(sample):
    pdfs, z_spec, prior = sample
    parts = [Accumulator(prior=prior, exact=True, points=False) for _ in range(2)]
    parts[0].add(pdfs[:700], z_spec[:700])
    parts[1].add(pdfs[700:], z_spec[700:])
    merged, whole = parts[0].merge(parts[1]).table(resamples=20), pdf_metrics(pdfs, z_spec, prior=prior, resamples=20)
    assert list(merged["metric"]) == list(whole["metric"])
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(merged[column], whole[column], rtol=1e-10)  # parts are normalised apart


def test_a_prior_per_galaxy_goes_with_its_batch(sample):
    pdfs, z_spec, prior = sample
    accumulator = Accumulator(prior=prior)
    accumulator.add(pdfs[:500], z_spec[:500])
    accumulator.add(pdfs[500:], z_spec[500:], prior=pdfs[500:])  # which is as informed as the PDFs
    alone = by_name(pdf_metrics(pdfs[:500], z_spec[:500], prior=prior, resamples=0))["information"]["value"]
    found = by_name(accumulator.table(resamples=0))["information"]["value"]
    assert found == pytest.approx(alone * 500 / 6000, rel=1e-10)


def test_points_alone(rng):
    z_spec = rng.uniform(0, 1, 500)
    z_phot = z_spec + rng.normal(0, 0.02, 500)
    accumulator = Accumulator(z_range=(0, 0.9))
    accumulator.add(None, z_spec, z_phot=z_phot)
    streamed, whole = accumulator.table(resamples=20), point_metrics(z_phot, z_spec, z_range=(0, 0.9), resamples=20)
    assert list(streamed["metric"]) == list(whole["metric"])
    assert streamed.meta["counts"] == whole.meta["counts"]
    np.testing.assert_allclose(streamed["value"], whole["value"], rtol=3 * CELL, atol=1e-6)


def test_what_cannot_be_measured_is_counted_over_batches(sample):
    pdfs, z_spec, prior = sample
    z_spec[:5], z_spec[2000] = np.nan, -1
    table = filled((pdfs, z_spec, prior)).table(resamples=0)
    counts = table.meta["counts"]
    assert counts["galaxies"] == 6000 and counts["z_spec_missing"] == 5 and counts["z_spec_negative"] == 1
    assert (table["n"] == 5994).all() and (table["n_excluded"] == 6).all()


def test_a_missing_point_does_not_cost_the_pdf(sample):
    pdfs, z_spec, _ = sample
    accumulator = Accumulator()
    z_phot = pdfs.mean()
    z_phot[:7] = np.nan
    accumulator.add(pdfs, z_spec, z_phot=z_phot)
    rows = by_name(accumulator.table(resamples=0))
    assert rows["crps"]["n"] == 6000 and rows["sigma_mad"]["n"] == 5993


def test_minus_infinity_survives(sample):
    pdfs, z_spec, prior = sample
    density = pdfs.density.copy()
    density[0], z_spec[0] = np.where(pdfs.z < 0.1, 1, 0), 0.9
    rows = by_name(filled((GridPDF.normalised(pdfs.z, density), z_spec, prior)).table(resamples=100))
    assert rows["information"]["value"] == -np.inf and rows["information"]["high"] > 0
    assert rows["zero_density"]["value"] == pytest.approx(1 / 6000)
    assert np.isfinite(rows["pit_ad"]["value"])


def test_outliers_are_exact_at_the_cut():
    accumulator = Accumulator()
    z_phot = np.r_[np.full(10, 0.05), np.full(7, -0.05), np.full(3, np.nextafter(0.05, 1)), np.full(80, 0.01)]
    accumulator.add(None, np.zeros(100), z_phot=z_phot)
    assert by_name(accumulator.table(resamples=0))["outlier_005"]["value"] == 0.03


def test_bins(sample, rng):
    pdfs, z_spec, prior = sample
    magnitude, edges = rng.uniform(17, 21, 6000) * u.mag, [18, 19, 20, 30, 31] * u.mag
    halves = [BinnedAccumulator(edges, name="r", prior=prior) for _ in range(2)]
    halves[0].add(pdfs[:2500], z_spec[:2500], magnitude[:2500])
    halves[1].add(pdfs[2500:], z_spec[2500:], magnitude[2500:])
    streamed = halves[0].merge(halves[1]).table(resamples=0)
    points = point_metrics_in_bins(pdfs.median(), z_spec, magnitude, edges, name="r", resamples=0)
    whole = pdf_metrics_in_bins(pdfs, z_spec, magnitude, edges, name="r", prior=prior, resamples=0)
    for other, name in ((points, "bias_mean"), (whole, "information"), (whole, "crps")):
        ours, theirs = (table[(table["metric"] == name) & (table["n"] > 0)] for table in (streamed, other))
        np.testing.assert_allclose(ours["value"], theirs["value"], rtol=1e-10)
        np.testing.assert_array_equal(ours["r_low"], theirs["r_low"])
    assert np.isnan(streamed["value"][streamed["r_low"] == 30 * u.mag]).all()
    assert streamed.meta["counts"]["outside_bins"] == whole.meta["counts"]["outside_bins"] > 0


def test_pit_histogram(sample):
    pdfs, z_spec, _ = sample
    np.testing.assert_array_equal(filled(sample).pit_histogram(16), np.histogram(pdfs.cdf(z_spec), 16, (0, 1))[0])


def test_memory_does_not_grow(rng):
    pdfs, z_spec, prior = gaussians(rng, 500)
    accumulator = Accumulator(prior=prior)

    def peak(batches):
        tracemalloc.start()
        for _ in range(batches):
            accumulator.add(pdfs[:], z_spec)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    few = peak(2)
    assert peak(30) < 1.05 * few
    assert len(pickle.dumps(accumulator)) < 5e6


def test_misuse(sample):
    pdfs, z_spec, prior = sample
    with pytest.raises(ValueError, match="needs PDFs or point estimates"):
        Accumulator().add(None, z_spec)
    with pytest.raises(ValueError, match="pdfs: 6000, z_spec: 10"):
        Accumulator().add(pdfs, z_spec[:10])
    with pytest.raises(ValueError, match="got 0"):
        Accumulator().table()
    others = {"prior": [Accumulator(), Accumulator(prior=pdfs[0])], "floor": [Accumulator(prior=prior, floor=0.1)]}
    others |= {"exact": [Accumulator(prior=prior, exact=True)], "z_range": [Accumulator(prior=prior, z_range=(0, 1))]}
    for name, several in others.items():
        for other in several:
            with pytest.raises(ValueError, match=f"must have the same {name}, got"):
                Accumulator(prior=prior).merge(other)
    with pytest.raises(ValueError, match="same bins"):
        BinnedAccumulator([0, 1]).merge(BinnedAccumulator([0, 2]))
