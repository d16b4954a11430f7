"""
Metrics of photometric redshifts against spectroscopic ones, with bootstrap intervals and counts.

Every table has the columns ``metric``, ``value``, ``low``, ``high`` (bootstrap interval over galaxies), ``n`` (galaxies
measured) and ``n_excluded``; its meta data say under ``counts`` why galaxies were excluded, and name all settings.
"""

import numpy as np

from astro_galtrans._columns import because, plain, redshifts, same_length, sort_out
from astro_galtrans.statistics import weighted as counted
from astro_galtrans.statistics.bootstrap import bin_edges, in_bins

from . import scores
from .streaming import Accumulator, BinnedAccumulator
from .tables import PIT_METRICS, POINT_METRICS, pit_statistics, point_statistics, stack_bins, summarise, to_table

__all__ = [
    "Accumulator",
    "BinnedAccumulator",
    "pdf_metrics",
    "pdf_metrics_in_bins",
    "point_metrics",
    "point_metrics_in_bins",
]


def point_metrics(z_phot, z_spec, *, z_range=None, resamples=1000, seed=0, level=0.68):
    """
    Return bias, scatter and outlier rates of point estimates.

    With dz = (z_phot - z_spec) / (1 + z_spec): ``bias_mean``, ``bias_median``; ``sigma_mad`` = 1.4826 median abs(dz -
    median dz); ``sigma_iqr`` = interquartile range / 1.349; the shares of galaxies ``outlier_005`` with abs(dz) > 0.05,
    ``outlier_015`` with abs(dz) > 0.15, and ``outlier_rail`` with abs(dz) > max(0.06, 3 sigma_iqr).

    Parameters
    ----------
    z_phot, z_spec : array-like
        ``[N]``: estimated and spectroscopic redshifts. Missing ones are NaN or masked; a negative z_spec, and a z_phot
        of -1 or less, are missing too.
    z_range : tuple of float, optional
        Lowest and highest redshift that the estimator can give; galaxies outside are excluded and counted.
    resamples, seed, level : int, int, float, optional
        Of the bootstrap; 0 resamples for no intervals.

    Returns
    -------
    `~astropy.table.QTable`
        One row per metric.

    Raises
    ------
    ValueError
        If lengths differ, or fewer than two galaxies can be measured.
    """
    dz, _, counts = _residuals(z_phot, z_spec, z_range)
    settings = dict(resamples=resamples, seed=seed, level=level)
    return to_table(_point(dz, because(counts), settings), counts, settings)


def point_metrics_in_bins(z_phot, z_spec, by, bins=5, *, name="bin", z_range=None, resamples=1000, seed=0, level=0.68):
    """
    Return the metrics of `point_metrics` in bins of any quantity, such as magnitude, redshift or signal-to-noise.

    Parameters
    ----------
    z_phot, z_spec : array-like
        ``[N]``: estimated and spectroscopic redshifts.
    by : array-like or `~astropy.units.Quantity`
        ``[N]``: the quantity.
    bins : int or array-like, optional
        Edges, or the number of bins with equally many galaxies. A bin holds its lower edge; the last its upper one too.
    name : str, optional
        The quantity's name in the table.
    z_range : tuple of float, optional
        Lowest and highest redshift that the estimator can give.
    resamples, seed, level : int, int, float, optional
        Of the bootstrap.

    Returns
    -------
    `~astropy.table.QTable`
        As that of `point_metrics`, for each bin, with the bin's edges in ``<name>_low`` and ``<name>_high``. Bins with
        fewer than two galaxies have NaN. ``outside_bins`` in the meta data counts galaxies in no bin.

    Raises
    ------
    ValueError
        If lengths differ, or edges do not increase.
    """
    same_length(z_phot=z_phot, z_spec=z_spec, by=by)
    dz, usable, counts = _residuals(z_phot, z_spec, z_range)
    settings = dict(resamples=resamples, seed=seed, level=level)
    whole = np.full(len(usable), np.nan)
    whole[usable] = dz

    def measure(rows):
        return _point(np.sort(whole[rows & usable]), None, settings)

    return _in_bins(measure, by, bins, name, counts, settings)


def pdf_metrics(pdfs, z_spec, *, prior=None, floor=0.0, convention="exact", resamples=1000, seed=0, level=0.68):
    """
    Return the metrics of redshift PDFs.

    ``crps`` and ``cde_loss``, means over galaxies; ``pit_ks``, ``pit_ad`` and ``pit_cvm``, the Kolmogorov-Smirnov,
    Anderson-Darling and Cramer-von Mises statistics of the PIT values against the uniform distribution;
    ``zero_density``, the share of galaxies whose PDF is zero at the true redshift; and, with a prior, ``information``
    in nats. See `~astro_galtrans.photoz.scores` for definitions.

    A galaxy with zero density makes the mean information -inf unless a floor is set. PIT values are kept ``1e-12`` from
    0 and 1, or it would make the Anderson-Darling statistic infinite too.

    The three PIT statistics measure distances, which a resample lengthens by its own scatter. Their intervals are
    therefore shifted so that the median of the resamples is the value, and end at 0. Calibrated PDFs of N galaxies have
    on average, for large N, a Kolmogorov-Smirnov statistic of 0.87 / sqrt(N), an Anderson-Darling statistic of 1 and a
    Cramer-von Mises statistic of 1/6.

    Parameters
    ----------
    pdfs : GridPDF
        N galaxies.
    z_spec : array-like
        ``[N]``: spectroscopic redshifts. Missing (NaN or masked) and negative ones, and those outside the grid of the
        PDFs, are excluded and counted.
    prior : GridPDF, optional
        Redshift distribution that the estimator was trained on: one row, or one per galaxy. Galaxies where it is zero
        do not enter the information, and are counted as ``prior_zero``.
    floor : float, optional
        Weight of the prior mixed into each PDF for the information, as
        `~astro_galtrans.photoz.scores.information` explains.
    convention : str, optional
        ``"exact"``, or ``"qp"`` to follow that package's quadrature: see `~astro_galtrans.photoz.scores`.
    resamples, seed, level : int, int, float, optional
        Of the bootstrap; 0 resamples for no intervals.

    Returns
    -------
    `~astropy.table.QTable`
        One row per metric.

    Raises
    ------
    ValueError
        If lengths differ, a setting is out of range, or fewer than two galaxies can be measured.
    """
    table, counts = _scores(pdfs, z_spec, prior, floor, convention)
    settings = dict(resamples=resamples, seed=seed, level=level)
    metrics = _pdf(table, because(counts), settings)
    return to_table(metrics, counts, settings | dict(convention=convention, floor=floor))


def pdf_metrics_in_bins(
    pdfs,
    z_spec,
    by,
    bins=5,
    *,
    name="bin",
    prior=None,
    floor=0.0,
    convention="exact",
    resamples=1000,
    seed=0,
    level=0.68,
):
    """
    Return the metrics of `pdf_metrics` in bins of any quantity, such as magnitude, redshift or signal-to-noise.

    PIT values are uniform in bins of what the estimator sees, if it is calibrated; in bins of the true redshift they
    are not, even for perfect PDFs.

    Parameters
    ----------
    pdfs : GridPDF
        N galaxies.
    z_spec : array-like
        ``[N]``: spectroscopic redshifts.
    by : array-like or `~astropy.units.Quantity`
        ``[N]``: the quantity.
    bins : int or array-like, optional
        Edges, or the number of bins with equally many galaxies. A bin holds its lower edge; the last its upper one too.
    name : str, optional
        The quantity's name in the table.
    prior, floor, convention
        As for `pdf_metrics`.
    resamples, seed, level : int, int, float, optional
        Of the bootstrap.

    Returns
    -------
    `~astropy.table.QTable`
        As that of `pdf_metrics`, for each bin, with the bin's edges in ``<name>_low`` and ``<name>_high``. Bins with
        fewer than two galaxies have NaN. ``outside_bins`` in the meta data counts galaxies in no bin.

    Raises
    ------
    ValueError
        If lengths differ, a setting is out of range, or edges do not increase.
    """
    same_length(pdfs=pdfs, z_spec=z_spec, by=by)
    table, counts = _scores(pdfs, z_spec, prior, floor, convention)
    settings = dict(resamples=resamples, seed=seed, level=level)

    def measure(rows):
        return _pdf({score: values[rows] for score, values in table.items()}, None, settings)

    return _in_bins(measure, by, bins, name, counts, settings | dict(convention=convention, floor=floor))


def _residuals(z_phot, z_spec, z_range):
    """The dz of the galaxies that can be measured, which those are, and counts."""
    same_length(z_phot=z_phot, z_spec=z_spec)
    z_phot, z_spec = redshifts(z_phot), redshifts(z_spec)
    usable, counts = sort_out(z_spec, z_phot, z_range)
    return scores.scaled_residual(z_phot[usable], z_spec[usable]), usable, counts


def _scores(pdfs, z_spec, prior, floor, convention):
    """Every score of every galaxy, NaN where it cannot be had, and counts."""
    same_length(pdfs=pdfs, z_spec=z_spec)
    z_spec = redshifts(z_spec)
    usable, counts = sort_out(z_spec, z_range=(pdfs.z[0], pdfs.z[-1]))
    if not usable.all():
        prior = prior[usable] if prior is not None and len(prior) > 1 else prior
        pdfs = pdfs[usable]
    measured = scores.every_score(pdfs, z_spec[usable], prior, floor, convention)
    if "information" in measured:
        counts["prior_zero"] = int(np.isnan(measured["information"]).sum())
    table = {name: np.full(len(z_spec), np.nan) for name in measured}
    for name, values in measured.items():
        table[name][usable] = values
    return table, counts


def _point(dz, where, settings):
    dz = np.sort(dz)
    everyone = np.ones(len(dz), dtype=int)
    return summarise(POINT_METRICS, lambda counts: point_statistics(dz, counts), everyone, where=where, **settings)


def _pdf(table, where, settings):
    """The metrics of a table of scores: those that all galaxies have, and the information."""
    measured = np.flatnonzero(~np.isnan(table["pit"]))
    order = measured[np.argsort(table["pit"][measured])]
    pit, crps, cde_loss, zero = (table[name][order] for name in ("pit", "crps", "cde_loss", "zero_density"))

    def statistic(counts):
        means = [counted.mean(values, counts) for values in (crps, cde_loss, zero)]
        return [*pit_statistics(pit, counts), *means]

    names = *PIT_METRICS, "crps", "cde_loss", "zero_density"
    metrics = summarise(names, statistic, np.ones(len(pit), dtype=int), where=where, **settings)
    if "information" in table:
        nats = table["information"][~np.isnan(table["information"])]
        everyone = np.ones(len(nats), dtype=int)
        metrics |= summarise(
            ("information",), lambda counts: [counted.mean(nats, counts)], everyone, where=where, **settings
        )
    return metrics


def _in_bins(measure, by, bins, name, counts, meta):
    """The tables of all bins; ``measure`` takes the rows of a bin."""
    unit = getattr(by, "unit", None)
    values = plain(by, unit)
    edges = bin_edges(values, plain(bins, unit) if np.ndim(bins) else bins)
    index = in_bins(values, edges)
    each = [index == i for i in range(len(edges) - 1)]
    tables = [to_table(measure(rows), {"galaxies": int(rows.sum())}, {}) for rows in each]
    stacked = stack_bins(tables, edges, name, unit)
    stacked.meta = meta | {"counts": counts | {"outside_bins": int((index < 0).sum())}}
    return stacked
