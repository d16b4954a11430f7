"""Tables of redshift metrics: definitions, agreement with qp and scipy, information of known channels, bad input."""

import numpy as np
import pytest
from astropy import units as u
from scipy import stats

from astro_galtrans.photoz import metrics
from astro_galtrans.photoz.pdfs import GridPDF

POINT = ["bias_mean", "bias_median", "sigma_mad", "sigma_iqr", "outlier_005", "outlier_015", "outlier_rail"]
PDF = ["pit_ks", "pit_ad", "pit_cvm", "crps", "cde_loss", "zero_density", "information"]
QUICK = dict(resamples=60)


def values_of(table):
    return dict(zip(table["metric"], table["value"], strict=True))


def row_of(table, metric):
    return table[table["metric"] == metric][0]


def channel(rng, number, signal=0.1, noise=0.02):
    """Redshifts of a Gaussian prior seen with Gaussian noise, their exact posteriors, and the prior."""
    z = np.linspace(-0.2, 1.2, 351)
    z_spec = rng.normal(0.5, signal, number)
    seen = z_spec + rng.normal(0, noise, number)
    weight = signal**2 / (signal**2 + noise**2)
    posterior = stats.norm.pdf(z, (0.5 + weight * (seen - 0.5))[:, None], np.sqrt(weight) * noise)
    return GridPDF.normalised(z, posterior), z_spec, GridPDF.normalised(z, stats.norm.pdf(z, 0.5, signal))


@pytest.fixture
def photometric(rng):
    """Point estimates with scatter, bias and outliers of both kinds."""
    z_spec = rng.uniform(0.05, 1, 3000)
    dz = rng.normal(0.01, 0.03, 3000) + (rng.random(3000) < 0.05) * rng.normal(0, 0.3, 3000)
    return z_spec + dz * (1 + z_spec), z_spec


def test_point_metrics_as_defined(photometric):
    z_phot, z_spec = photometric
    dz = (z_phot - z_spec) / (1 + z_spec)
    sigma_iqr = stats.iqr(dz) / 1.349
    truth = {
        "bias_mean": dz.mean(),
        "bias_median": np.median(dz),
        "sigma_mad": 1.4826 * np.median(np.abs(dz - np.median(dz))),
        "sigma_iqr": sigma_iqr,
        "outlier_005": np.mean(np.abs(dz) > 0.05),
        "outlier_015": np.mean(np.abs(dz) > 0.15),
        "outlier_rail": np.mean(np.abs(dz) > max(0.06, 3 * sigma_iqr)),
    }
    table = metrics.point_metrics(z_phot, z_spec, **QUICK)
    assert list(table["metric"]) == POINT
    assert values_of(table) == pytest.approx(truth, rel=1e-12)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert (table["n"] == 3000).all() and (table["n_excluded"] == 0).all()


def test_the_outlier_cut_of_rail_does_not_fall_below_006():
    dz = np.r_[np.linspace(-1e-3, 1e-3, 99), 0.0599]
    assert values_of(metrics.point_metrics(dz, np.zeros(100), **QUICK))["outlier_rail"] == 0


def test_point_metrics_agree_with_qp(photometric):
    theirs = pytest.importorskip("qp.metrics")
    z_phot, z_spec = photometric
    ours = values_of(metrics.point_metrics(z_phot, z_spec, **QUICK))
    names = {
        "bias_median": theirs.point_estimate_metric_classes.PointBias,
        "sigma_mad": theirs.point_estimate_metric_classes.PointSigmaMAD,
        "sigma_iqr": theirs.point_estimate_metric_classes.PointSigmaIQR,
        "outlier_rail": theirs.point_estimate_metric_classes.PointOutlierRate,
    }
    for name, metric in names.items():
        assert ours[name] == pytest.approx(metric().evaluate(z_phot, z_spec), rel=1e-10)


def test_pdf_metrics_agree_with_qp(rng):
    """On a grid that has every redshift and resolves every PDF, so that qp's linear interpolation is exact enough."""
    qp = pytest.importorskip("qp")
    pdfs, z_spec, _ = channel(rng, 60)
    z_spec = np.abs(z_spec)
    fine = np.union1d(np.linspace(pdfs.z[0], pdfs.z[-1], 20001), np.r_[pdfs.z, z_spec])
    density = np.array([np.interp(fine, pdfs.z, row) for row in pdfs.density])
    theirs = qp.Ensemble(qp.interp, data=dict(xvals=fine, yvals=density))
    ours = values_of(metrics.pdf_metrics(pdfs, z_spec, **QUICK))
    pit = qp.metrics.pit.PIT(theirs, z_spec)
    distances = qp.metrics.goodness_of_fit.goodness_of_fit_metrics
    assert ours["pit_ks"] == pytest.approx(pit.evaluate_PIT_KS().statistic, rel=1e-6)
    assert ours["pit_cvm"] == pytest.approx(pit.evaluate_PIT_CvM().statistic, rel=1e-6)
    assert ours["pit_ad"] == pytest.approx(distances["ad"](stats.uniform, pit.pit_samps), rel=1e-6)
    loss = qp.metrics.CDELossMetric(fine).evaluate(theirs, z_spec)
    assert ours["cde_loss"] == pytest.approx(loss, rel=1e-4)  # qp integrates the square by trapezoids


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_information_of_a_gaussian_channel(rng, noise):
    pdfs, z_spec, prior = channel(rng, 4000, noise=noise)
    table = metrics.pdf_metrics(pdfs, z_spec, prior=prior, **QUICK)
    row = row_of(table, "information")
    capacity = 0.5 * np.log1p((0.1 / noise) ** 2)
    assert abs(row["value"] - capacity) < 3 * (row["high"] - row["low"])
    assert table.meta["counts"]["galaxies"] == 4000


def test_posteriors_of_a_known_channel_are_calibrated(rng):
    pdfs, z_spec, prior = channel(rng, 4000)
    table = values_of(metrics.pdf_metrics(pdfs, z_spec, prior=prior, **QUICK))
    assert list(table) == PDF
    assert stats.kstwo.sf(table["pit_ks"], 4000) > 0.01
    assert table["pit_cvm"] < 0.74 and table["pit_ad"] < 3.9  # each exceeded in 1 % of calibrated samples
    assert table["zero_density"] == 0


def test_the_interval_of_a_distance_holds_its_value(rng):
    pdfs, z_spec, _ = channel(rng, 400)
    for row in metrics.pdf_metrics(pdfs, z_spec, **QUICK)[:3]:
        assert 0 <= row["low"] <= row["value"] < row["high"]


def test_pdfs_too_narrow_are_not_calibrated_and_lose_information(rng):
    pdfs, z_spec, prior = channel(rng, 2000)
    narrow = GridPDF.normalised(pdfs.z, pdfs.density**4)
    before, after = (values_of(metrics.pdf_metrics(each, z_spec, prior=prior, **QUICK)) for each in (pdfs, narrow))
    assert stats.kstwo.sf(after["pit_ks"], 2000) < 1e-6
    assert after["pit_ad"] > 10 * before["pit_ad"] and after["pit_cvm"] > 10 * before["pit_cvm"]
    assert after["information"] < before["information"]
    assert after["crps"] > before["crps"] and after["cde_loss"] > before["cde_loss"]


def test_shuffled_galaxies_carry_no_information(rng):
    pdfs, z_spec, prior = channel(rng, 2000, noise=0.2)
    shuffled = rng.permutation(z_spec)
    row = row_of(metrics.pdf_metrics(pdfs, shuffled, prior=prior, **QUICK), "information")
    assert row["high"] < 0  # trusting what carries no information costs
    row = row_of(metrics.pdf_metrics(prior[np.zeros(2000, dtype=int)], shuffled, prior=prior, **QUICK), "information")
    assert row["value"] == pytest.approx(0, abs=1e-12)


def test_intervals_cover_the_truth_as_often_as_they_say(rng):
    hits = 0
    for _ in range(100):
        dz = rng.normal(0.02, 0.05, 80)
        row = row_of(metrics.point_metrics(dz, np.zeros(80), **QUICK), "bias_mean")
        hits += row["low"] < 0.02 < row["high"]
    assert 54 <= hits <= 82  # 68 of 100, three standard deviations


def test_pdfs_of_zero_density_at_the_truth_are_counted(rng):
    pdfs, z_spec, prior = channel(rng, 200)
    density = pdfs.density.copy()
    density[:3] = np.where(np.abs(pdfs.z - 0.9) < 0.02, 1, 0)
    z_spec[:3] = 0.1
    broken = GridPDF.normalised(pdfs.z, density)
    table = metrics.pdf_metrics(broken, z_spec, prior=prior, resamples=400)
    assert row_of(table, "zero_density")["value"] == pytest.approx(3 / 200)
    assert row_of(table, "information")["value"] == -np.inf and row_of(table, "information")["n"] == 200
    assert np.isfinite(row_of(table, "pit_ad")["value"])
    floored = metrics.pdf_metrics(broken, z_spec, prior=prior, floor=1e-3, **QUICK)
    assert np.isfinite(row_of(floored, "information")["value"])
    assert floored.meta["floor"] == 1e-3


def test_galaxies_that_cannot_be_measured_are_counted(rng):
    pdfs, z_spec, prior = channel(rng, 300)
    z_spec = np.ma.masked_array(np.clip(z_spec, 0.01, 1))
    z_spec[0], z_spec[1], z_spec[2:4], z_spec[4:7] = np.nan, np.ma.masked, -9, 1.5
    counts = {"galaxies": 300, "z_spec_missing": 2, "z_spec_negative": 2, "z_spec_outside_grid": 3}
    table = metrics.pdf_metrics(pdfs, z_spec, prior=prior, **QUICK)
    assert table.meta["counts"] == counts | {"prior_zero": 0}
    assert (table["n"] == 293).all() and (table["n_excluded"] == 7).all()
    good = metrics.pdf_metrics(pdfs[7:], np.asarray(z_spec[7:]), prior=prior, **QUICK)
    np.testing.assert_allclose(table["value"], good["value"], rtol=1e-12)
    z_phot = np.r_[np.full(7, 0.5), np.nan, -99, pdfs.median()[9:]]
    table = metrics.point_metrics(z_phot, z_spec, z_range=(-0.2, 1.2), **QUICK)
    assert table.meta["counts"] == counts | {"z_phot_missing": 2}
    good = metrics.point_metrics(z_phot[9:], z_spec[9:], **QUICK)
    np.testing.assert_allclose(table["value"], good["value"], rtol=1e-12)


def test_galaxies_where_the_prior_is_zero_only_miss_the_information(rng):
    pdfs, z_spec, _ = channel(rng, 300)
    prior = GridPDF([0.45, 0.55], [10, 10])
    table = metrics.pdf_metrics(pdfs, z_spec, prior=prior, **QUICK)
    outside = int((np.abs(z_spec - 0.5) > 0.05).sum())
    assert table.meta["counts"]["prior_zero"] == outside
    assert row_of(table, "information")["n"] == 300 - outside and row_of(table, "crps")["n"] == 300


def test_a_prior_per_galaxy_follows_the_galaxies(rng):
    pdfs, z_spec, prior = channel(rng, 100)
    z_spec[3] = np.nan
    table = values_of(metrics.pdf_metrics(pdfs, z_spec, prior=pdfs, **QUICK))
    assert table["information"] == pytest.approx(0, abs=1e-12)
    assert "information" not in values_of(metrics.pdf_metrics(pdfs, z_spec, **QUICK))
    assert values_of(metrics.pdf_metrics(pdfs, z_spec, prior=prior, **QUICK))["information"] > 1


def test_point_metrics_in_bins_are_those_of_the_bins(photometric, rng):
    z_phot, z_spec = photometric
    magnitude = rng.uniform(17, 20, 3000) * u.mag
    edges = [17, 18, 19.5, 19.5 + 1e-9, 21] * u.mag
    table = metrics.point_metrics_in_bins(z_phot, z_spec, magnitude, edges, name="r", **QUICK)
    inside = (magnitude >= 18 * u.mag) & (magnitude < 19.5 * u.mag)
    alone = metrics.point_metrics(z_phot[inside], z_spec[inside], **QUICK)
    part = table[table["r_low"] == 18 * u.mag]
    assert (part["r_high"] == 19.5 * u.mag).all() and list(part["metric"]) == POINT
    for column in ("value", "low", "high", "n"):
        np.testing.assert_array_equal(part[column], alone[column])
    empty = table[table["r_low"] == 19.5 * u.mag]
    assert np.isnan(empty["value"]).all() and (empty["n"] == 0).all()
    assert table.meta["counts"]["outside_bins"] == 0


def test_pdf_metrics_in_quantile_bins_of_signal_to_noise(rng):
    pdfs, z_spec, prior = channel(rng, 400)
    snr = rng.lognormal(3, 1, 400)
    z_spec[0], snr[1] = np.nan, np.nan
    table = metrics.pdf_metrics_in_bins(pdfs, z_spec, snr, 3, name="snr", prior=prior, **QUICK)
    crps = table[table["metric"] == "crps"]
    assert (crps["n"] + crps["n_excluded"]).sum() == 399 and crps["n_excluded"].sum() == 1
    assert table.meta["counts"]["outside_bins"] == 1
    whole = metrics.pdf_metrics(pdfs[2:], z_spec[2:], prior=prior, **QUICK)
    mean = np.average(crps["value"], weights=crps["n"])
    assert mean == pytest.approx(row_of(whole, "crps")["value"], rel=1e-12)


def test_no_intervals_on_request(photometric):
    table = metrics.point_metrics(*photometric, resamples=0)
    assert np.isfinite(table["value"]).all() and np.isnan(table["low"]).all() and np.isnan(table["high"]).all()


def test_tables_keep_their_meta_in_files(photometric, tmp_path):
    table = metrics.point_metrics(*photometric, **QUICK)
    table.write(tmp_path / "metrics.ecsv")
    back = type(table).read(tmp_path / "metrics.ecsv")
    assert back.meta == table.meta and (back["value"] == table["value"]).all()


def test_too_few_galaxies(rng):
    with pytest.raises(
        ValueError, match=r"at least 2 galaxies .* bias_mean.*; got 1 .*galaxies: 3, z_spec_negative: 2"
    ):
        metrics.point_metrics([0.1, 0.2, 0.3], [0.1, -1, -9])
    pdfs, z_spec, prior = channel(rng, 3)
    with pytest.raises(ValueError, match=r"information; got 0 .*prior_zero: 3"):
        metrics.pdf_metrics(pdfs, z_spec, prior=GridPDF([1.1, 1.2], [10, 10]))
    with pytest.raises(ValueError, match=r"pit_ks.* got 0"):
        metrics.pdf_metrics(pdfs[:0], z_spec[:0], prior=prior)


def test_lengths_that_differ(rng):
    pdfs, z_spec, prior = channel(rng, 5)
    with pytest.raises(ValueError, match="z_phot: 5, z_spec: 4"):
        metrics.point_metrics(z_spec, z_spec[:4])
    with pytest.raises(ValueError, match="pdfs: 5, z_spec: 4"):
        metrics.pdf_metrics(pdfs, z_spec[:4], prior=prior)
    with pytest.raises(ValueError, match="by: 2"):
        metrics.pdf_metrics_in_bins(pdfs, z_spec, [1, 2], 1)
    with pytest.raises(ValueError, match=r"shape \(5, 1\)"):
        metrics.point_metrics(z_spec, z_spec[:, None])
