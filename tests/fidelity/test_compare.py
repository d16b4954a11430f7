"""Comparisons of two tables: statistics against scipy, what cannot be measured, bins that differ from band to band."""

import numpy as np
import pytest
from astropy import units as u
from scipy import stats

from astro_galtrans.fidelity.compare import compare, side_by_side
from astro_galtrans.measure.tables import galaxy_table
from astro_galtrans.statistics import Bootstrap

NUMBER = 90
QUICK = dict(bootstrap=Bootstrap(50), progress=False)


@pytest.fixture
def tables(rng):
    flux = rng.uniform(1, 5, (NUMBER, 2))
    real = {"flux": flux * u.nJy, "place": rng.normal(size=(NUMBER, 2)) * u.arcsec, "apart": np.zeros((NUMBER, 2))}
    ours = {"flux": flux * rng.normal(1.1, 0.1, flux.shape) * u.nJy, "apart": rng.normal(0.4, 0.1, flux.shape)}
    ours["place"] = real["place"] + rng.normal(0.2, 0.1, flux.shape) * u.arcsec
    return galaxy_table("gr", real), galaxy_table("gr", {name: ours[name] for name in real})


def test_statistics_are_those_of_scipy(tables):
    real, ours = tables
    pairs = {"flux": "ratio", "place": "difference", "apart": "itself"}
    found = compare(real, {"m": ours}, pairs, **QUICK)["statistics"]
    for quantity, pair in pairs.items():
        x, y = (np.asarray(table[quantity])[1::2] for table in tables)
        apart = {"ratio": y / x if pair == "ratio" else None, "difference": y - x, "itself": y}[pair]
        expected = {"bias": np.median(apart), "scatter": 1.4826 * stats.median_abs_deviation(apart)}
        if pair != "itself":
            expected |= {"spearman": stats.spearmanr(x, y).statistic, "ks": stats.ks_2samp(x, y).statistic}
            expected["wasserstein"] = stats.wasserstein_distance(x, y)
        rows = found[(found["quantity"] == quantity) & (found["band"] == "r")]
        assert dict(zip(rows["statistic"], rows["value"], strict=True)) == pytest.approx(expected, rel=1e-9)
        assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()
    units = {(row["quantity"], row["statistic"]): row["unit"] for row in found}
    assert (
        units["flux", "bias"] == "" and units["flux", "wasserstein"] == "nJy" and units["place", "scatter"] == "arcsec"
    )


def test_what_could_not_be_measured_is_counted(tables):
    real, ours = tables
    for table, rows in ((real, slice(0, 6, 2)), (ours, slice(4, 14, 2))):  # all of g
        table["flux"][rows] = np.nan
    real["flux"][20:24:2] *= -1
    row = compare(real, {"m": ours}, {"flux": "ratio"}, **QUICK)["statistics"][0]
    numbers = [row[name] for name in ("n", "not_in_target", "not_in_translated", "not_in_both")]
    assert row["band"] == "g" and numbers == [NUMBER - 9, 4, 4, 1]


def test_bins_of_each_band(tables):
    """Galaxies in bins of a quantity of their own band; others are binned as one."""
    real, ours = tables
    by = {"flux": np.asarray(real["flux"]).reshape(-1, 2), "z": np.linspace(0, 1, NUMBER)}
    pairs, bins = {"flux": "ratio", "place": "difference"}, {"flux": 3, "z": [0, 0.5, 1]}
    found = compare(real, {"m": ours}, pairs, by=by, bins=bins, binned=["place"], **QUICK)["bins"]
    assert set(found["quantity"]) == {"place"} and set(found["statistic"]) == {"bias", "scatter"}
    for c, band in enumerate("gr"):
        rows = found[(found["by"] == "flux") & (found["band"] == band) & (found["statistic"] == "bias")]
        np.testing.assert_allclose(
            [*rows["bin_low"], rows["bin_high"][-1]], np.quantile(by["flux"][:, c], np.arange(4) / 3)
        )
        inside = by["flux"][:, c] < rows["bin_high"][0]
        apart = np.asarray(ours["place"] - real["place"])[c::2][inside]
        assert (rows["n"] == NUMBER / 3).all() and rows["value"][0] == pytest.approx(np.median(apart))
    assert len(found[found["by"] == "z"]) == 2 * 2 * 2


def test_tables_side_by_side(tables):
    real, ours = tables
    both = side_by_side({"m": ours, "other": real}, real)
    assert both.colnames[:3] == ["row", "model", "band"] and len(both) == 4 * NUMBER
    np.testing.assert_array_equal(both["flux_target"], np.tile(real["flux"], 2))
    np.testing.assert_array_equal(both["place"][both["model"] == "m"], ours["place"])


def test_tables_of_other_galaxies_are_refused(tables):
    real, ours = tables
    with pytest.raises(ValueError, match="tables of m and of the real images must have the same galaxies and bands"):
        compare(real, {"m": ours[::-1]}, {"flux": "ratio"}, **QUICK)
    with pytest.raises(ValueError, match=r"'z', has shape \(3,\); there are 90 galaxies"):
        compare(real, {"m": ours}, {"flux": "ratio"}, by={"z": [1, 2, 3]}, **QUICK)
