"""Scores of PDFs against closed forms, quadrature and the package qp."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from astro_galtrans.photoz import scores
from astro_galtrans.photoz.pdfs import GridPDF


@pytest.fixture
def gaussians(rng):
    """Gaussians on a fine grid, the redshifts drawn from them, and their standard scores."""
    z = np.linspace(0, 1, 4001)
    mean, sigma = rng.uniform(0.4, 0.6, 60), rng.uniform(0.03, 0.05, 60)
    standard = rng.normal(size=60)
    pdfs = GridPDF.normalised(z, stats.norm.pdf(z, mean[:, None], sigma[:, None]))
    return pdfs, mean + sigma * standard, standard, sigma


@pytest.fixture
def rough(rng):
    """Anything piecewise linear on an uneven grid, not zero at its ends."""
    z = np.r_[0.05, np.sort(rng.uniform(0.1, 0.9, 7)), 1]
    pdfs = GridPDF.normalised(z, rng.uniform(size=(12, 9)) ** 3)
    return pdfs, rng.uniform(0.05, 1, 12)


def test_crps_of_gaussians(gaussians):
    pdfs, z_spec, x, sigma = gaussians
    truth = sigma * (x * (2 * stats.norm.cdf(x) - 1) + 2 * stats.norm.pdf(x) - 1 / np.sqrt(np.pi))  # Gneiting 2005
    np.testing.assert_allclose(scores.crps(pdfs, z_spec), truth, rtol=2e-5)


def test_pit_of_gaussians(gaussians):
    pdfs, z_spec, x, _ = gaussians
    np.testing.assert_allclose(pdfs.cdf(z_spec), stats.norm.cdf(x), atol=3e-6)


def test_cde_loss_of_gaussians(gaussians):
    pdfs, z_spec, x, sigma = gaussians
    truth = 1 / (2 * np.sqrt(np.pi) * sigma) - 2 * stats.norm.pdf(x) / sigma
    np.testing.assert_allclose(scores.cde_loss(pdfs, z_spec), truth, atol=1e-4 / sigma.min())


def test_crps_is_the_integral(rough):
    pdfs, z_spec = rough

    def integrand(z, row):
        return (pdfs[row].cdf(z)[0] - (z >= z_spec[row])) ** 2

    for row in range(4):
        breaks = np.sort(np.r_[pdfs.z, z_spec[row]])
        pieces = [quad(integrand, *ends, args=(row,))[0] for ends in pairwise(breaks)]
        np.testing.assert_allclose(scores.crps(pdfs, z_spec)[row], sum(pieces), rtol=1e-10)


def test_crps_of_many_does_not_depend_on_their_number(rough):
    pdfs, z_spec = rough
    many = GridPDF.concatenate([pdfs] * 200)  # more than one chunk
    np.testing.assert_allclose(scores.crps(many, np.tile(z_spec, 200)), np.tile(scores.crps(pdfs, z_spec), 200))


def test_crps_outside_the_grid(rough):
    pdfs, _ = rough
    above = scores.crps(pdfs, np.full(12, 1.2)) - scores.crps(pdfs, np.full(12, 1.0))
    np.testing.assert_allclose(above, 0.2, rtol=1e-12)


def test_crps_of_a_sharp_pdf_is_the_distance():
    sharp = GridPDF.normalised([0, 0.5 - 1e-9, 0.5, 0.5 + 1e-9, 1], [0, 0, 1, 0, 0])
    np.testing.assert_allclose(scores.crps(sharp, [0.7]), 0.2, rtol=1e-7)


def test_cde_loss_is_the_integral(rough):
    pdfs, z_spec = rough
    square = sum(quad(lambda z: pdfs[5].pdf(z)[0] ** 2, *ends)[0] for ends in pairwise(pdfs.z))
    truth = square - 2 * pdfs[5].pdf(z_spec[5])[0]
    np.testing.assert_allclose(scores.cde_loss(pdfs, z_spec)[5], truth, rtol=1e-10)


def test_information_is_the_log_ratio(rough):
    pdfs, z_spec = rough
    prior = GridPDF([0, 1], [1, 1])
    np.testing.assert_allclose(scores.information(pdfs, z_spec, prior), np.log(pdfs.pdf(z_spec)), rtol=1e-12)
    np.testing.assert_allclose(scores.information(pdfs, z_spec, pdfs), 0, atol=1e-15)  # a prior per galaxy


def test_information_of_a_pdf_that_excludes_the_truth():
    pdfs, prior = GridPDF.normalised([0, 1, 2, 3], [[0, 0, 1, 1], [1, 1, 0, 0]]), GridPDF.normalised([0, 1], [1, 1])
    nats = scores.information(pdfs, [0.5, 0.5], prior)
    assert nats[0] == -np.inf and np.isfinite(nats[1])
    floored = scores.information(pdfs, [0.5, 0.5], prior, floor=0.01)
    np.testing.assert_allclose(floored, np.log(0.99 * np.exp(nats) + 0.01))


def test_information_where_the_prior_is_zero():
    pdfs, prior = GridPDF.normalised([0, 1, 2], [[1, 1, 1]]), GridPDF.normalised([0, 1], [1, 1])
    assert np.isnan(scores.information(pdfs, [1.5], prior)).all()


def test_settings_that_are_none(rough):
    pdfs, z_spec = rough
    with pytest.raises(ValueError, match="from 0 to less than 1; got 1"):
        scores.information(pdfs, z_spec, pdfs, floor=1)
    with pytest.raises(ValueError, match=r"one per galaxy \(12\), got 3"):
        scores.information(pdfs, z_spec, pdfs[:3])


@pytest.fixture(params=["gaussians", "rough"])
def ensemble(request, rng):
    """PDFs, redshifts between grid points, and qp's ensemble of the same densities."""
    qp = pytest.importorskip("qp")
    if request.param == "rough":
        pdfs, z_spec = request.getfixturevalue("rough")
    else:
        z = np.linspace(0, 1, 101)
        mean = rng.uniform(0.2, 0.8, 400)
        pdfs = GridPDF.normalised(z, stats.norm.pdf(z, mean[:, None], 0.03))
        z_spec = mean + 0.03 * rng.normal(size=400)
    return qp, pdfs, z_spec, qp.Ensemble(qp.interp, data=dict(xvals=pdfs.z, yvals=pdfs.density))


def test_qp_quadrature_is_coarser_and_otherwise_agrees(ensemble):
    """qp interpolates the cumulative linearly and takes f at the nearest grid point; the rest has to be the same."""
    qp, pdfs, z_spec, theirs = ensemble
    k = np.clip(np.searchsorted(pdfs.z, z_spec, side="right") - 1, 0, len(pdfs.z) - 2)
    low, high = (pdfs.cdf(pdfs.z[index]) for index in (k, k + 1))
    # qp starts its cumulative at half of the first interval instead of zero
    low = np.where(k == 0, pdfs.density[:, 0] * (pdfs.z[1] - pdfs.z[0]) / 2, low)
    share = (z_spec - pdfs.z[k]) / (pdfs.z[k + 1] - pdfs.z[k])
    pit = qp.metrics.pit.PIT(theirs, z_spec).pit_samps
    np.testing.assert_allclose(low + (high - low) * share, pit, rtol=1e-10)
    nearest = pdfs.z[np.abs(pdfs.z - z_spec[:, None]).argmin(axis=1)]
    loss = np.trapezoid(pdfs.density**2, pdfs.z, axis=1) - 2 * pdfs.pdf(nearest)
    np.testing.assert_allclose(loss.mean(), qp.metrics.CDELossMetric(pdfs.z).evaluate(theirs, z_spec), rtol=1e-10)


def test_scores_are_those_of_qp_on_a_fine_grid(ensemble):
    qp, pdfs, z_spec, _ = ensemble
    pdfs, z_spec = pdfs[:20], z_spec[:20]
    fine = np.union1d(np.linspace(0.0, 1, 20001), np.r_[pdfs.z, z_spec])
    fine = fine[(fine >= pdfs.z[0]) & (fine <= pdfs.z[-1])]
    density = np.array([np.interp(fine, pdfs.z, row) for row in pdfs.density])
    theirs = qp.Ensemble(qp.interp, data=dict(xvals=fine, yvals=density))
    pit = qp.metrics.pit.PIT(theirs, z_spec).pit_samps
    np.testing.assert_allclose(pdfs.cdf(z_spec), pit, rtol=1e-6, atol=1e-9)
    exact = scores.cde_loss(pdfs, z_spec).mean()
    np.testing.assert_allclose(exact, qp.metrics.CDELossMetric(fine).evaluate(theirs, z_spec), rtol=1e-4)
