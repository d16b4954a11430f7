"""Metrics of scores with counts, and their tables with bootstrap intervals: for samples in memory and for streams."""

import numpy as np
from astropy.table import QTable

from astro_galtrans.statistics.bootstrap import named_intervals, resample_counts
from astro_galtrans.statistics.weighted import Weighted

__all__ = ["PIT_METRICS", "POINT_METRICS", "summarise", "to_table"]

POINT_METRICS = "bias_mean", "bias_median", "sigma_mad", "sigma_iqr", "outlier_005", "outlier_015", "outlier_rail"
PIT_METRICS = "pit_ks", "pit_ad", "pit_cvm"
FEWEST = 2  # one galaxy has neither scatter nor a bootstrap interval

COLUMNS = {
    "metric": (str, "name of the statistic"),
    "value": (float, "the statistic of the sample"),
    "low": (float, "lower end of the bootstrap interval"),
    "high": (float, "upper end of the bootstrap interval"),
    "n": (int, "galaxies measured"),
    "n_excluded": (int, "galaxies that could not be measured; see counts in the meta data for the reasons"),
}


def _point_statistics(dz):
    size, sigma_iqr = np.abs(dz.values), dz.sigma_iqr()
    # the cuts of SDSS, of CFHTLS, and of the pipeline RAIL of LSST DESC
    outliers = [dz.counts[size > cut].sum() / dz.cumulative[-1] for cut in (0.05, 0.15, max(0.06, 3 * sigma_iqr))]
    return [dz.mean(), dz.quantile(0.5), dz.sigma_mad(), sigma_iqr, *outliers]


def _pit_statistics(pit):
    return [pit.kolmogorov_smirnov(), pit.anderson_darling(), pit.cramer_von_mises()]


def _mean(score):
    return [score.mean()]


STATISTICS = {"dz": (POINT_METRICS, _point_statistics), "pit": (PIT_METRICS, _pit_statistics)}


def summarise(score, values, counts, *, resamples, seed, level, where=None):
    """
    Return the metrics of a score, `~astro_galtrans.statistics.bootstrap.Interval` by name.

    ``values`` and ``counts`` are ``[M]``: scores in order, and how many galaxies (one, or those of a cell) have each.
    ``"dz"`` gives `POINT_METRICS`, ``"pit"`` gives `PIT_METRICS`, any other score its mean under its own name. Fewer
    than two galaxies give NaN or, if ``where`` says why there are so few, a `ValueError`.
    """
    names, statistic = STATISTICS.get(score, ((score,), _mean))
    number = int(counts.sum())
    if number < FEWEST:
        if where is not None:
            msg = f"at least {FEWEST} galaxies are needed for {', '.join(names)}; got {number}{where}"
            raise ValueError(msg)
        return named_intervals(names, np.full(len(names), np.nan), [], number, level)
    drawn = [statistic(Weighted(values, each)) for each in resample_counts(counts, resamples, seed)]
    value = statistic(Weighted(values, counts))
    return named_intervals(names, value, drawn, number, level, distances=PIT_METRICS)


def to_table(metrics, counts, meta):
    """Return a table with a row for each metric; ``counts`` has the number of galaxies and why some are excluded."""
    rows = [(name, *found, counts["galaxies"] - found.n) for name, found in metrics.items()]
    kinds, descriptions = zip(*COLUMNS.values(), strict=True)
    meta = meta | {"counts": dict(counts)}
    return QTable(rows=rows, names=list(COLUMNS), dtype=kinds, descriptions=list(descriptions), meta=meta)
