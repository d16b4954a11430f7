"""How statistics with counts become tables of metrics with intervals: shared by samples in memory and streams."""

import numpy as np
from astropy.table import QTable, vstack

from astro_galtrans.statistics import weighted as counted
from astro_galtrans.statistics.bootstrap import Interval, interval, resample_counts

__all__ = ["PIT_METRICS", "POINT_METRICS", "pit_statistics", "point_statistics", "stack_bins", "summarise"]
__all__ += ["to_table"]

POINT_METRICS = "bias_mean", "bias_median", "sigma_mad", "sigma_iqr", "outlier_005", "outlier_015", "outlier_rail"
PIT_METRICS = "pit_ks", "pit_ad", "pit_cvm"
FEWEST = 2  #: galaxies for a statistic: one has neither scatter nor a bootstrap interval

DESCRIPTIONS = {
    "metric": "name of the statistic",
    "value": "the statistic of the sample",
    "low": "lower end of the bootstrap interval",
    "high": "upper end of the bootstrap interval",
    "n": "galaxies measured",
    "n_excluded": "galaxies that could not be measured; see counts in the meta data for the reasons",
}


def point_statistics(dz, counts):
    """
    Return `POINT_METRICS` of sorted dz with counts.

    Parameters
    ----------
    dz : `numpy.ndarray`
        ``[M]``, sorted: (z_phot - z_spec) / (1 + z_spec).
    counts : `numpy.ndarray`
        ``[M]``: how often each occurs.
    """
    number, size, sigma_iqr = counts.sum(), np.abs(dz), counted.sigma_iqr(dz, counts)
    outliers = [counts[size > cut].sum() / number for cut in (0.05, 0.15, max(0.06, 3 * sigma_iqr))]
    bias_mean, bias_median = counted.mean(dz, counts), counted.median(dz, counts)
    return [bias_mean, bias_median, counted.sigma_mad(dz, counts), sigma_iqr, *outliers]


def pit_statistics(pit, counts):
    """
    Return `PIT_METRICS` of sorted PIT values with counts.

    Parameters
    ----------
    pit : `numpy.ndarray`
        ``[M]``, sorted, above 0 and below 1.
    counts : `numpy.ndarray`
        ``[M]``: how often each occurs.
    """
    metrics = counted.kolmogorov_smirnov, counted.anderson_darling, counted.cramer_von_mises
    return [metric(pit, counts) for metric in metrics]


def summarise(names, statistic, counts, *, resamples, seed, level, where=None):
    """
    Return each of a set of statistics with its interval.

    Parameters
    ----------
    names : tuple of str
        What ``statistic`` returns.
    statistic : callable
        Takes counts ``[M]`` and returns as many numbers as names.
    counts : `numpy.ndarray`
        ``[M]``, int: galaxies (ones) or cells.
    resamples, seed, level : int, int, float
        Of the bootstrap; without resamples the intervals are NaN.
    where : str, optional
        Appended to the error about too few galaxies; if not given, there is no error, and the statistics are NaN.

    Returns
    -------
    dict
        `~astro_galtrans.statistics.bootstrap.Interval` by name.

    Raises
    ------
    ValueError
        If there are too few galaxies and ``where`` is given.
    """
    number = int(counts.sum())
    if number < FEWEST:
        if where is not None:
            msg = f"at least {FEWEST} galaxies are needed for {', '.join(names)}; got {number}{where}"
            raise ValueError(msg)
        return {name: Interval(np.nan, np.nan, np.nan, number) for name in names}
    value = np.asarray(statistic(counts), dtype=float)
    if not resamples:
        return {name: Interval(v, np.nan, np.nan, number) for name, v in zip(names, value, strict=True)}
    draws = np.array([statistic(drawn) for drawn in resample_counts(counts, resamples, seed)])
    for i in (i for i, name in enumerate(names) if name in PIT_METRICS):
        # a resample scatters about the sample as that does about the truth, which lengthens any distance: taken out
        draws[:, i] = np.maximum(draws[:, i] - np.median(draws[:, i]) + value[i], 0)
    every = interval(value, draws, number, level)
    return {name: Interval(*(float(part[i]) for part in every[:3]), number) for i, name in enumerate(names)}


def to_table(metrics, counts, meta):
    """
    Return a table with a row per metric.

    Parameters
    ----------
    metrics : dict
        `~astro_galtrans.statistics.bootstrap.Interval` by name.
    counts : dict
        Numbers of galaxies: ``galaxies`` and the reasons to exclude some.
    meta : dict
        What else goes to the table's meta data.
    """
    rows = list(metrics.values())
    table = QTable(
        {
            "metric": list(metrics),
            **{part: np.array([getattr(row, part) for row in rows], dtype=float) for part in ("value", "low", "high")},
            "n": np.array([row.n for row in rows], dtype=int),
            "n_excluded": np.array([counts["galaxies"] - row.n for row in rows], dtype=int),
        }
    )
    for name, description in DESCRIPTIONS.items():
        table[name].info.description = description
    table.meta.update(meta, counts=dict(counts))
    return table


def stack_bins(tables, edges, name, unit=None):
    """
    Return the tables of all bins, one below the other, with the bins' edges in two columns before them.

    Parameters
    ----------
    tables : list of `~astropy.table.QTable`
        One per bin.
    edges : `numpy.ndarray`
        One more than bins.
    name : str
        What is binned: the columns are called ``<name>_low`` and ``<name>_high``.
    unit : `~astropy.units.Unit`, optional
        Of the edges.
    """
    for table, low, high in zip(tables, edges[:-1], edges[1:], strict=True):
        ends = [np.full(len(table), edge) if unit is None else np.full(len(table), edge) * unit for edge in (low, high)]
        table.add_columns(ends, names=[f"{name}_low", f"{name}_high"], indexes=[0, 0])
    return vstack(tables, metadata_conflicts="silent")
