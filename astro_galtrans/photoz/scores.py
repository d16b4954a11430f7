"""
Scores of redshift PDFs, one number per galaxy (CRPS, CDE loss, information, PIT value), and the metrics of a sample.

The densities are piecewise linear (`~astro_galtrans.photoz.pdfs.GridPDF`), and every integral is exact for them.
"""

import numpy as np
from astropy.table import QTable

from astro_galtrans.statistics.bootstrap import named_intervals, resample_counts
from astro_galtrans.statistics.weighted import Weighted

from .pdfs import segment

__all__ = ["cde_loss", "crps", "every_score", "information", "scaled_residual"]

#: A PIT value is kept so far from 0 and 1, where its logarithm in the Anderson-Darling statistic would be infinite;
#: nearer to 1, it would be the rounding of a sum.
NEAREST = 1e-12
CHUNK = 2048  # galaxies at a time, so that the [N, K] temporaries of the CRPS stay in the processor's cache

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


def scaled_residual(z_phot, z_spec):
    """Return dz = (z_phot - z_spec) / (1 + z_spec) of estimated and spectroscopic redshifts."""
    z_phot, z_spec = np.asarray(z_phot, dtype=float), np.asarray(z_spec, dtype=float)
    return (z_phot - z_spec) / (1 + z_spec)


def crps(pdfs, z_spec):
    r"""
    Return the continuous ranked probability score of N galaxies (Hersbach 2000, eq. 5), ``[N]``, in units of redshift.

    .. math:: \mathrm{CRPS} = \int (F(z) - H(z - z_\mathrm{spec}))^2 \, dz
        = \int_{z_0}^{z_K} (1 - F)^2 \, dz + \int_{z_0}^{z_\mathrm{spec}} (2 F - 1) \, dz,

    with :math:`F` the cumulative distribution and :math:`H` the step. A redshift outside the grid adds its distance
    from it.
    """
    z_spec = np.asarray(z_spec, dtype=float)
    inside = np.clip(z_spec, pdfs.z[0], pdfs.z[-1])
    chunks = [slice(start, start + CHUNK) for start in range(0, len(pdfs), CHUNK)]
    parts = [_crps(pdfs.z, pdfs.density[rows], pdfs.cumulative[rows], inside[rows]) for rows in chunks]
    return np.concatenate([np.zeros(0), *parts]) + np.abs(z_spec - inside)


def cde_loss(pdfs, z_spec):
    r"""
    Return the terms of the conditional density estimation loss (Izbicki & Lee 2017, eq. 6), ``[N]``, in inverse
    redshift.

    .. math:: L = \int f(z)^2 \, dz - 2 f(z_\mathrm{spec}),

    whose mean over galaxies is the squared distance of the densities from the true ones, up to a constant.
    """
    low, high, third = pdfs.density[:, :-1], pdfs.density[:, 1:], np.diff(pdfs.z) / 3
    # the integral of the square of a line from a to b is (a^2 + a b + b^2) / 3 of its length
    square = sum(np.einsum("nk,nk,k->n", *pair, third) for pair in ((low, low), (low, high), (high, high)))
    return square - 2 * pdfs.pdf(z_spec)


def information(pdfs, z_spec, prior, floor=0.0):
    r"""
    Return how much more probable the PDF made the true redshift than the prior did, in nats, ``[N]``.

    .. math:: I = \ln \frac{(1 - w) \, p(z_\mathrm{spec} \mid \mathrm{image}) + w \, p(z_\mathrm{spec})}
        {p(z_\mathrm{spec})}.

    The prior is one row, the redshift distribution that the estimator was trained on, or one row per galaxy. The mean
    over galaxies is a lower bound on the mutual information of redshift and image if galaxies follow the prior: it
    falls short of it by the mean Kullback-Leibler divergence of the PDFs from the true posterior. A galaxy where the
    prior is zero says nothing about it and gets NaN.

    One PDF that excludes the truth makes the mean -inf, which is the right score of a PDF taken literally. The floor
    :math:`w`, from 0 to less than 1, allows for a chance :math:`w` that the estimator failed and the galaxy is any one
    of the prior: then no galaxy scores below :math:`\ln w`, and a perfect PDF loses at most :math:`-\ln(1 - w)`. The
    mixture is a density too, so any :math:`w` gives a lower bound on the mutual information.
    """
    if not 0 <= floor < 1:
        msg = f"the floor is the weight of the prior in a mixture, from 0 to less than 1; got {floor}"
        raise ValueError(msg)
    if len(prior) not in {1, len(pdfs)}:
        msg = f"expected one prior, or one per galaxy ({len(pdfs)}), got {len(prior)}"
        raise ValueError(msg)
    before, after = prior.pdf(z_spec), pdfs.pdf(z_spec)
    ratio = np.divide(after, before, out=np.full(len(pdfs), np.nan), where=before > 0)
    with np.errstate(divide="ignore"):  # ln 0 is the -inf that is meant
        return np.log((1 - floor) * ratio + floor)


def every_score(pdfs, z_spec, prior=None, floor=0.0):
    """
    Return all scores of N galaxies whose redshifts are inside the grid, ``[N]`` each, by name.

    ``pit`` is the PIT value, the PDF's probability of redshifts below the true one (`GridPDF.cdf`), kept `NEAREST` from
    0 and 1; ``zero_density`` is 1 where a PDF is zero at the redshift, else 0; ``crps``, ``cde_loss`` and, with a
    prior, ``information`` are those of the functions.
    """
    table = {
        "pit": np.clip(pdfs.cdf(z_spec), NEAREST, 1 - NEAREST),
        "crps": crps(pdfs, z_spec),
        "cde_loss": cde_loss(pdfs, z_spec),
        "zero_density": (pdfs.pdf(z_spec) == 0).astype(float),
    }
    if prior is not None:
        table["information"] = information(pdfs, z_spec, prior, floor)
    return table


def _crps(z, density, cumulative, z_spec):
    """CRPS of redshifts inside the grid: polynomials of degree four, integrated over each of its intervals."""
    h = np.diff(z)
    low, rise = density[:, :-1], np.diff(density, axis=1)  # density = low + rise t, t from 0 to 1
    left = 1 - cumulative[:, :-1]
    # 1 - F = left - h (low t + rise t^2 / 2)
    square = left * (left - h * (low + rise / 3)) + h**2 * (low * (low / 3 + rise / 4) + rise**2 / 20)
    total = square @ h

    k = segment(z, z_spec)
    areas = np.zeros_like(density)  # integral of F up to each grid point
    np.cumsum(h * (cumulative[:, :-1] + h * (low / 2 + rise / 6)), axis=1, out=areas[:, 1:])
    row, t = np.arange(len(z_spec)), (z_spec - z[k]) / h[k]
    partial = h[k] * t * (cumulative[row, k] + h[k] * t * (low[row, k] / 2 + rise[row, k] * t / 6))
    return total + 2 * (areas[row, k] + partial) - (z_spec - z[0])


def _point_statistics(dz):
    size, sigma_iqr = np.abs(dz.values), dz.sigma_iqr()
    # the cuts of SDSS, of CFHTLS, and of the pipeline RAIL of LSST DESC
    outliers = [dz.counts[size > cut].sum() / dz.cumulative[-1] for cut in (0.05, 0.15, max(0.06, 3 * sigma_iqr))]
    return [dz.mean(), dz.quantile(0.5), dz.sigma_mad(), sigma_iqr, *outliers]


def _pit_statistics(pit):
    return [pit.kolmogorov_smirnov(), pit.anderson_darling(), pit.cramer_von_mises()]


STATISTICS = {"dz": (POINT_METRICS, _point_statistics), "pit": (PIT_METRICS, _pit_statistics)}


def summarise(score, values, counts, *, resamples, seed, level, where=None):
    """
    Return the metrics of a score, `~astro_galtrans.statistics.bootstrap.Interval` by name.

    ``values`` and ``counts`` are ``[M]``: scores in order, and how many galaxies (one, or those of a cell) have each.
    ``"dz"`` gives `POINT_METRICS`, ``"pit"`` gives `PIT_METRICS`, any other score its mean under its own name. Fewer
    than two galaxies give NaN or, if ``where`` says why there are so few, a `ValueError`.
    """
    names, statistic = STATISTICS.get(score, ((score,), lambda values: [values.mean()]))
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
