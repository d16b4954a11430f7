"""
Metrics of photometric redshifts against spectroscopic ones, with bootstrap intervals and counts.

Every table has the columns ``metric``, ``value``, ``low``, ``high`` (bootstrap interval over galaxies), ``n`` (galaxies
measured) and ``n_excluded``; its meta data say under ``counts`` why galaxies were excluded, and name all settings.
Samples that do not fit in memory go to an `Accumulator`.
"""

import numpy as np

from astro_galtrans._columns import plain, same_length
from astro_galtrans.statistics.bootstrap import bin_edges

from .streaming import Accumulator, BinnedAccumulator

__all__ = ["pdf_metrics", "pdf_metrics_in_bins", "point_metrics", "point_metrics_in_bins"]


def point_metrics(z_phot, z_spec, *, z_range=None, **bootstrap):
    """
    Return a `~astropy.table.QTable` of bias, scatter and outlier rates of point estimates, one row per metric.

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
    **bootstrap
        ``resamples`` (1000; 0 for no intervals), ``seed`` (0) and ``level`` (0.68) of the intervals.

    Raises
    ------
    ValueError
        If lengths differ, or fewer than two galaxies can be measured.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.photoz import point_metrics
    >>> z_spec = np.linspace(0.1, 0.5, 200)
    >>> z_phot = z_spec + np.random.default_rng(1).normal(0, 0.02, 200)
    >>> table = point_metrics(z_phot, z_spec, resamples=50)
    >>> "sigma_mad" in table["metric"]
    True
    """
    sample = Accumulator(z_range=z_range, exact=True)
    sample.add(None, z_spec, z_phot=z_phot)
    return sample.table(**bootstrap)


def point_metrics_in_bins(z_phot, z_spec, by, bins=5, *, name="bin", z_range=None, **bootstrap):
    """
    Return the metrics of `point_metrics` in bins of any quantity, such as magnitude, redshift or signal-to-noise.

    Parameters
    ----------
    z_phot, z_spec, z_range, **bootstrap
        As for `point_metrics`.
    by : array-like or `~astropy.units.Quantity`
        ``[N]``: the quantity.
    bins : int or array-like, optional
        Edges, or the number of bins with equally many galaxies. A bin holds its lower edge; the last its upper one too.
    name : str, optional
        The quantity's name in the table.

    Returns
    -------
    `~astropy.table.QTable`
        As that of `point_metrics`, for each bin, with the bin's edges in ``<name>_low`` and ``<name>_high``. Bins with
        fewer than two galaxies have NaN. ``outside_bins`` in the meta data counts galaxies in no bin.

    Raises
    ------
    ValueError
        If lengths differ, or edges do not increase.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.photoz import point_metrics_in_bins
    >>> z_spec = np.linspace(0.1, 0.5, 200)
    >>> z_phot = z_spec + np.random.default_rng(1).normal(0, 0.02, 200)
    >>> table = point_metrics_in_bins(z_phot, z_spec, z_spec, bins=[0.1, 0.3, 0.5], name="z", resamples=50)
    >>> np.unique(table["z_low"]).tolist(), np.unique(table["z_high"]).tolist()
    ([0.1, 0.3], [0.3, 0.5])
    """
    same_length(z_phot=z_phot, z_spec=z_spec, by=by)
    sample = BinnedAccumulator(_edges(by, bins), name=name, z_range=z_range, exact=True)
    sample.add(None, z_spec, by, z_phot=z_phot)
    return sample.table(**bootstrap)


def pdf_metrics(pdfs, z_spec, *, prior=None, floor=0.0, **bootstrap):
    """
    Return a `~astropy.table.QTable` of the metrics of redshift PDFs, one row per metric.

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
    **bootstrap
        As for `point_metrics`.

    Raises
    ------
    ValueError
        If lengths differ, a setting is out of range, or fewer than two galaxies can be measured.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.photoz import GridPDF, pdf_metrics
    >>> rng, z = np.random.default_rng(1), np.linspace(0, 1, 201)
    >>> z_spec = rng.normal(0.5, 0.1, 300)
    >>> seen = z_spec + rng.normal(0, 0.02, 300)
    >>> pdfs = GridPDF.normalised(z, np.exp(-0.5 * ((z - seen[:, None]) / 0.02) ** 2))
    >>> "crps" in pdf_metrics(pdfs, z_spec, resamples=50)["metric"]
    True
    """
    sample = Accumulator(floor=floor, points=False, exact=True)
    sample.add(pdfs, z_spec, prior=prior)
    return sample.table(**bootstrap)


def pdf_metrics_in_bins(pdfs, z_spec, by, bins=5, *, name="bin", prior=None, floor=0.0, **bootstrap):
    """
    Return the metrics of `pdf_metrics` in bins of any quantity, such as magnitude, redshift or signal-to-noise.

    PIT values are uniform in bins of what the estimator sees, if it is calibrated; in bins of the true redshift they
    are not, even for perfect PDFs.

    Parameters
    ----------
    pdfs, z_spec, prior, floor, **bootstrap
        As for `pdf_metrics`.
    by, bins, name
        As for `point_metrics_in_bins`, whose table this one is like.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.photoz import GridPDF, pdf_metrics_in_bins
    >>> rng, z = np.random.default_rng(1), np.linspace(0, 1, 201)
    >>> z_spec, r = rng.normal(0.5, 0.1, 300), rng.uniform(17, 20, 300)
    >>> seen = z_spec + rng.normal(0, 0.02, 300)
    >>> pdfs = GridPDF.normalised(z, np.exp(-0.5 * ((z - seen[:, None]) / 0.02) ** 2))
    >>> table = pdf_metrics_in_bins(pdfs, z_spec, r, bins=[17, 18.5, 20], name="r", resamples=50)
    >>> table.colnames[:3]
    ['r_low', 'r_high', 'metric']
    """
    same_length(pdfs=pdfs, z_spec=z_spec, by=by)
    sample = BinnedAccumulator(_edges(by, bins), name=name, floor=floor, points=False, exact=True)
    sample.add(pdfs, z_spec, by, prior=prior)
    return sample.table(**bootstrap)


def _edges(by, bins):
    """Edges of the bins, in the unit of what is binned."""
    unit = getattr(by, "unit", None)
    edges = bin_edges(plain(by, unit), plain(bins, unit) if np.ndim(bins) else bins)
    return edges if unit is None else edges * unit
