"""
The figures that a study is summed up and compared by: each a statistic of one number per galaxy.

They are few, of all levels, and robust: a median of galaxies, and not a mean over pixels, which one bright star
decides. All other statistics are in the tables of the levels.
"""

import tomllib
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from astropy.table import QTable

from astro_galtrans.statistics import sigma_mad
from astro_galtrans.statistics.bootstrap import draws, interval

__all__ = ["METRICS", "Metric", "best", "per_galaxy", "statistic_of", "summary_rows"]

STATISTICS = {
    "median": lambda values: np.median(values, axis=-1), "mean": lambda values: np.mean(values, axis=-1),
    "scatter": lambda values: sigma_mad(values, axis=-1),
}  # fmt: skip
FEWEST = 5  # galaxies that a statistic is of


@dataclass(frozen=True)
class Metric:
    """A figure of the summary."""

    level: str
    name: str
    label: str  #: head of a column
    statistic: str  #: of `STATISTICS`
    better: float  #: the best value there can be: 0 or 1, say, or infinite where more is better
    meaning: str  #: one sentence

    def loss(self, value):
        """Return how bad a value is: zero at best, or, where more is better, the lower the better."""
        return -np.asarray(value) if np.isinf(self.better) else np.abs(np.asarray(value) - self.better)


_TOLD = tomllib.loads(files("astro_galtrans").joinpath("study/metrics.toml").read_text(encoding="utf8"))
#: in the order of the summary
METRICS = tuple(Metric(level, name, **told) for level, part in _TOLD.items() for name, told in part.items())
PIXEL = {
    "rmse": "rmse_sigma_source", "residual": "residual_mean_sigma_source", "ssim": "ssim",
    "coverage": "coverage_1_source", "noise": "noise_ratio",
}  # fmt: skip
CLASSICAL = "wiener"  #: the baseline that gains are over
RATIOS = {"flux": "flux_kron", "peak": "peak", "fwhm": "fwhm"}


def per_galaxy(metric, result, model, band, number):
    """
    Return what a metric is a statistic of, one number per galaxy ``[number]``, NaN where there is none; None if none.

    ``result`` is that of the metric's level; for anomalies and redshifts, which are of all bands, ``band`` is "all".
    """
    if (metric.level in {"anomaly", "redshift"}) != (band == "all"):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        values = _OF_LEVEL[metric.level](metric, result, model, band, number)
    if values is None or not np.isfinite(values).any():
        return None
    return np.where(np.isfinite(values), values, np.nan)


def _of_pixels(metric, result, model, band, _number):
    if metric.name in {"gain", "worse"}:  # against the best answer without a network
        if CLASSICAL not in result.models or model == CLASSICAL:
            return None
        ratio = np.divide(*(result.of_galaxies(PIXEL["rmse"], each, band) for each in (model, CLASSICAL)))
        return 1 - ratio if metric.name == "gain" else np.where(np.isfinite(ratio), ratio > 1, np.nan)
    columns = result["galaxies"].colnames
    return result.of_galaxies(PIXEL[metric.name], model, band) if PIXEL[metric.name] in columns else None


def _of_photometry(metric, result, model, band, _number):
    if metric.name == "colour":
        table = result["colours"]["band"] if "colours" in result.tables else ()  # of one band there are none
        names = [name for name in dict.fromkeys(map(str, table)) if name.endswith(f" - {band}")]
        if not names:
            return None
        rows = result.rows("colours", model=model, band=names[0])
        # each as an array first: numpy's masked arrays subtract nothing where only the second is masked
        return np.asarray(rows["colour"], float) - np.asarray(rows["colour_target"], float)
    if metric.name == "shift":
        return result.of_galaxies("shift", model, band)
    name = RATIOS[metric.name.partition("_")[0]]
    return result.of_galaxies(name, model, band) / result.of_galaxies(f"{name}_target", model, band)


def _of_morphology(metric, result, model, band, _number):
    name = metric.name.rpartition("_")[0]
    return result.entering(name, model, band) - result.entering(f"{name}_target", model, band)


def _of_anomalies(metric, result, model, _band, number):
    rows = result.rows("galaxies", model=model)
    column = np.asarray(rows["score"], float) > 2 if metric.name == "implausible" else rows["chi2_dof"]
    values = np.full(number, np.nan)
    values[np.asarray(rows["row"])] = np.asarray(column, float)
    return values


def _of_redshifts(metric, result, model, _band, number):
    reading, _, what = metric.name.rpartition("_")
    reading, model = (model, "") if model in {"source", "target"} else (reading, model)
    of = result.of(model, {"scatter": "z_phot", "information": "information"}[what])
    if reading not in of:
        return None
    rows, z = np.asarray(result["galaxies"]["row"]), np.asarray(result["galaxies"]["z_spec"])
    judged, values = rows < number, np.full(number, np.nan)
    found = (of[reading] - z) / (1 + z) if what == "scatter" else of[reading]
    values[rows[judged]] = found[judged]
    return values


_OF_LEVEL = {
    "pixel": _of_pixels, "photometry": _of_photometry, "morphology": _of_morphology, "anomaly": _of_anomalies,
    "redshift": _of_redshifts,
}  # fmt: skip


def statistic_of(metric, values, settings):
    """
    Return the statistic of a metric, with its resamples: value and ``[resamples]``; NaN and none of too few galaxies.

    ``values`` are ``[N]`` without NaN; ``settings`` a `~astro_galtrans.statistics.bootstrap.Bootstrap`. The same number
    of galaxies has the same resamples, so that the difference of two sets of the same galaxies is that of paired data.
    """
    function, number = STATISTICS[metric.statistic], np.shape(values)[-1]
    if number < FEWEST:
        return np.nan, np.array([])
    found = [function(values[rows]) for rows, _ in draws(number, settings.resamples, settings.seed)]
    return float(function(values)), np.concatenate(found) if found else np.array([])


def summary_rows(result, level, models, number, settings):
    """
    Return the rows of the summary of one level, dicts, and the numbers of each galaxy they are of, by (model, column).

    ``models`` are names; of redshifts, source and target are there too.
    """
    rows, columns = [], {}
    there = [*models, "source", "target"] if level == "redshift" else list(models)
    bands = ["all"] if level in {"anomaly", "redshift"} else result.bands
    for metric in (metric for metric in METRICS if metric.level == level):
        for model in there:
            if model in {"source", "target"} and not metric.name.startswith("retrained"):
                continue  # their own estimator is the only one that reads them
            for band in bands:
                values = per_galaxy(metric, result, model, band, number)
                if values is None:
                    continue
                columns[model, f"{metric.name}_{band}"] = values.astype(np.float32)
                known = values[np.isfinite(values)]
                found = interval(*statistic_of(metric, known, settings), len(known), settings.level)
                labels = {"level": level, "metric": metric.name, "model": model, "band": band}
                rows.append(labels | dict(zip(("value", "low", "high", "n"), found, strict=True)))
    return rows, columns


def best(rows, contenders):
    """Return which rows of a summary are the best of the models that compete, each metric and band alone: bool."""
    known, found = {(metric.level, metric.name): metric for metric in METRICS}, np.zeros(len(rows), bool)
    table = QTable(rows)
    keys = [tuple(str(row[name]) for name in ("task", "level", "metric", "band")) for row in table]
    for key in dict.fromkeys(keys):
        those = [k for k, each in enumerate(keys) if each == key and str(table["model"][k]) in contenders]
        loss = known[key[1], key[2]].loss(np.asarray(table["value"], float)[those])
        if those and np.isfinite(loss).any():
            found[those[int(np.nanargmin(loss))]] = True
    return found
