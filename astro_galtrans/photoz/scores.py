r"""
Scores of redshift PDFs, one number per galaxy: CRPS, PIT, CDE loss and information.

The densities are piecewise linear (`~astro_galtrans.photoz.pdfs.GridPDF`), and every integral is exact for them.
With ``convention="qp"`` PIT and CDE loss follow the package qp (qp-prob 1.1) instead, whose ``interp`` ensembles

- interpolate the cumulative distribution linearly between grid points, so that it is not the integral of the density;
- start that cumulative at :math:`f_0 (z_1 - z_0) / 2` instead of zero, which matters in the first interval of the grid
  where a density is not zero at its lower end;
- take, in the CDE loss, the integral of :math:`f^2` by the trapezoidal rule and :math:`f(z_\mathrm{spec})` at the
  nearest point of the grid.

The two conventions meet where the grid resolves the PDFs well.
"""

import numpy as np

__all__ = ["cde_loss", "crps", "every_score", "information", "pit", "scaled_residual"]

NEAREST = 1e-12  #: how near to 0 and 1 a PIT value may come in a statistic: nearer to 1, it is the rounding of a sum

CHUNK = 2048  #: rows of an [N, K] calculation at a time: temporaries stay in cache, and small


def scaled_residual(z_phot, z_spec):
    """
    Return dz = (z_phot - z_spec) / (1 + z_spec).

    Parameters
    ----------
    z_phot, z_spec : array-like
        Redshifts.
    """
    z_phot, z_spec = np.asarray(z_phot, dtype=float), np.asarray(z_spec, dtype=float)
    return (z_phot - z_spec) / (1 + z_spec)


def crps(pdfs, z_spec):
    r"""
    Return the continuous ranked probability score (Hersbach 2000, eq. 5), in units of redshift.

    .. math:: \mathrm{CRPS} = \int (F(z) - H(z - z_\mathrm{spec}))^2 \, dz
        = \int_{z_0}^{z_K} (1 - F)^2 \, dz + \int_{z_0}^{z_\mathrm{spec}} (2 F - 1) \, dz,

    with :math:`F` the cumulative distribution and :math:`H` the step. A redshift outside the grid
    adds its distance from it.

    Parameters
    ----------
    pdfs : GridPDF
        N galaxies.
    z_spec : array-like
        ``[N]``: their redshifts.

    Returns
    -------
    `numpy.ndarray`
        ``[N]``, not negative.
    """
    z_spec = np.asarray(z_spec, dtype=float)
    inside = np.clip(z_spec, pdfs.z[0], pdfs.z[-1])
    parts = [_crps(pdfs.z, pdfs.density[rows], pdfs.cumulative[rows], inside[rows]) for rows in _chunks(len(pdfs))]
    return np.concatenate([np.zeros(0), *parts]) + np.abs(z_spec - inside)


def pit(pdfs, z_spec, convention="exact"):
    """
    Return the probability integral transform: the probability that a PDF gives to redshifts below the true one.

    Parameters
    ----------
    pdfs : GridPDF
        N galaxies.
    z_spec : array-like
        ``[N]``: their redshifts.
    convention : str, optional
        ``"exact"``, or ``"qp"`` for that package's cumulative distribution.

    Returns
    -------
    `numpy.ndarray`
        ``[N]``, from 0 to 1.

    Raises
    ------
    ValueError
        If the convention is unknown.
    """
    if not _is_qp(convention):
        return pdfs.cdf(z_spec)
    z = np.clip(z_spec, pdfs.z[0], pdfs.z[-1])
    row, k = np.arange(len(pdfs)), np.clip(np.searchsorted(pdfs.z, z, side="right") - 1, 0, len(pdfs.z) - 2)
    share = (z - pdfs.z[k]) / (pdfs.z[k + 1] - pdfs.z[k])
    start = np.where(k == 0, pdfs.density[:, 0] * (pdfs.z[1] - pdfs.z[0]) / 2, pdfs.cumulative[row, k])
    linear = start * (1 - share) + pdfs.cumulative[row, k + 1] * share
    return np.where(np.asarray(z_spec) < pdfs.z[0], 0.0, linear)


def cde_loss(pdfs, z_spec, convention="exact"):
    r"""
    Return the terms of the conditional density estimation loss (Izbicki & Lee 2017, eq. 6), in inverse redshift.

    .. math:: L = \int f(z)^2 \, dz - 2 f(z_\mathrm{spec}),

    whose mean over galaxies is the squared distance of the densities from the true ones, up to a constant.

    Parameters
    ----------
    pdfs : GridPDF
        N galaxies.
    z_spec : array-like
        ``[N]``: their redshifts.
    convention : str, optional
        ``"exact"``, or ``"qp"`` for that package's quadrature.

    Returns
    -------
    `numpy.ndarray`
        ``[N]``.

    Raises
    ------
    ValueError
        If the convention is unknown.
    """
    weight = np.zeros(len(pdfs.z))
    weight[:-1] += np.diff(pdfs.z)
    weight[1:] += np.diff(pdfs.z)
    if _is_qp(convention):
        nearest = _nearest(pdfs.z, np.asarray(z_spec, dtype=float))
        square = np.einsum("nk,nk,k->n", pdfs.density, pdfs.density, weight / 2)
        return square - 2 * pdfs.density[np.arange(len(pdfs)), nearest]
    square = np.einsum("nk,nk,k->n", pdfs.density, pdfs.density, weight / 3)
    square += np.einsum("nk,nk,k->n", pdfs.density[:, :-1], pdfs.density[:, 1:], np.diff(pdfs.z) / 3)
    return square - 2 * pdfs.pdf(z_spec)


def information(pdfs, z_spec, prior, floor=0.0):
    r"""
    Return how much more probable the PDF made the true redshift than the prior did, in nats.

    .. math:: I = \ln \frac{(1 - w) \, p(z_\mathrm{spec} \mid \mathrm{image}) + w \, p(z_\mathrm{spec})}
        {p(z_\mathrm{spec})}.

    The mean over galaxies is a lower bound on the mutual information of redshift and image if galaxies follow the
    prior: it falls short of it by the mean Kullback-Leibler divergence of the PDFs from the true posterior.

    One PDF that excludes the truth makes the mean -inf, and that is the right score of a PDF meant literally. The floor
    :math:`w` hedges it, as would a user who gives a share :math:`w` to the chance that the estimator failed and the
    galaxy is any one of the prior: then no galaxy scores below :math:`\ln w`, and a perfect PDF loses at most
    :math:`-\ln(1 - w)`. Any :math:`w` gives a lower bound on the mutual information, as the mixture is a density too.

    Parameters
    ----------
    pdfs : GridPDF
        N galaxies.
    z_spec : array-like
        ``[N]``: their redshifts.
    prior : GridPDF
        The redshift distribution that the estimator was trained on (one row), or a prior per galaxy (N rows).
    floor : float, optional
        Weight :math:`w` of the prior in the mixture, from 0 (none: PDFs are taken literally) to less than 1.

    Returns
    -------
    `numpy.ndarray`
        ``[N]``: -inf where a PDF is zero at the redshift (and there is no floor), NaN where the prior is zero: such a
        galaxy says nothing about the information.

    Raises
    ------
    ValueError
        If the floor is out of range, or the prior is neither of one row nor of N.
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


def every_score(pdfs, z_spec, prior=None, floor=0.0, convention="exact"):
    """
    Return all scores of redshifts inside the grid.

    Parameters
    ----------
    pdfs : GridPDF
        N galaxies.
    z_spec : `numpy.ndarray`
        ``[N]``: their redshifts.
    prior, floor : GridPDF, float
        As for `information`, which is left out without a prior.
    convention : str, optional
        ``"exact"`` or ``"qp"``.

    Returns
    -------
    dict
        ``[N]`` each: ``pit`` (kept `NEAREST` from 0 and 1), ``crps``, ``cde_loss``, ``zero_density`` (1 where a PDF is
        zero at the redshift, else 0) and ``information`` (NaN where the prior is zero).
    """
    table = {
        "pit": np.clip(pit(pdfs, z_spec, convention), NEAREST, 1 - NEAREST),
        "crps": crps(pdfs, z_spec),
        "cde_loss": cde_loss(pdfs, z_spec, convention),
        "zero_density": (pdfs.pdf(z_spec) == 0).astype(float),
    }
    if prior is not None:
        table["information"] = information(pdfs, z_spec, prior, floor)
    return table


def _chunks(number):
    return (slice(start, start + CHUNK) for start in range(0, number, CHUNK))


def _crps(z, density, cumulative, z_spec):
    """CRPS of redshifts inside the grid: polynomials of degree four, integrated over each of its intervals."""
    h = np.diff(z)
    low, rise = density[:, :-1], np.diff(density, axis=1)  # density = low + rise t, t from 0 to 1
    left = 1 - cumulative[:, :-1]
    # 1 - F = left - h (low t + rise t^2 / 2)
    square = left * (left - h * (low + rise / 3)) + h**2 * (low * (low / 3 + rise / 4) + rise**2 / 20)
    total = square @ h

    k = np.clip(np.searchsorted(z, z_spec, side="right") - 1, 0, len(z) - 2)
    areas = np.zeros_like(density)  # integral of F up to each grid point
    np.cumsum(h * (cumulative[:, :-1] + h * (low / 2 + rise / 6)), axis=1, out=areas[:, 1:])
    row, t = np.arange(len(z_spec)), (z_spec - z[k]) / h[k]
    partial = h[k] * t * (cumulative[row, k] + h[k] * t * (low[row, k] / 2 + rise[row, k] * t / 6))
    return total + 2 * (areas[row, k] + partial) - (z_spec - z[0])


def _is_qp(convention):
    if convention not in {"exact", "qp"}:
        msg = f"convention must be 'exact' or 'qp', got {convention!r}"
        raise ValueError(msg)
    return convention == "qp"


def _nearest(grid, values):
    """Index of the nearest grid point, the lower one of two equally near ones."""
    k = np.clip(np.searchsorted(grid, values), 1, len(grid) - 1)
    return k - (values - grid[k - 1] <= grid[k] - values)
