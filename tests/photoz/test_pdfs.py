"""PDFs on a grid against scipy: triangles, which are piecewise linear themselves, and Gaussians on a fine grid."""

import numpy as np
import pytest
from scipy import stats

from astro_galtrans.photoz.pdfs import GridPDF

PEAKS = np.array([0.2, 0.5, 0.9])


@pytest.fixture
def triangles():
    """Three triangles from 0 to 1, exact on an uneven grid that has their corners."""
    z = np.array([0, 0.1, 0.2, 0.25, 0.5, 0.8, 0.9, 1])
    return GridPDF(z, [stats.triang.pdf(z, peak) for peak in PEAKS])


@pytest.fixture
def gaussians(rng):
    z = np.linspace(0, 1, 2001)
    mean, sigma = rng.uniform(0.3, 0.7, 40), rng.uniform(0.02, 0.05, 40)
    return GridPDF.normalised(z, stats.norm.pdf(z, mean[:, None], sigma[:, None])), mean, sigma


@pytest.mark.parametrize("z", [0.0, 0.05, 0.2, 0.33, 0.85, 1.0])
def test_density_and_cumulative_are_exact_for_triangles(triangles, z):
    np.testing.assert_allclose(triangles.pdf(z), stats.triang.pdf(z, PEAKS), atol=1e-14)
    np.testing.assert_allclose(triangles.cdf(z), stats.triang.cdf(z, PEAKS), atol=1e-14)


@pytest.mark.parametrize("q", [0.0, 1e-6, 0.16, 0.5, 0.84, 1.0])
def test_quantiles_are_exact_for_triangles(triangles, q):
    np.testing.assert_allclose(triangles.quantile(q), stats.triang.ppf(q, PEAKS), atol=1e-14)


def test_point_estimates_of_triangles(triangles):
    np.testing.assert_allclose(triangles.mean(), stats.triang.mean(PEAKS), rtol=1e-14)
    np.testing.assert_allclose(triangles.median(), stats.triang.median(PEAKS), rtol=1e-14)
    np.testing.assert_allclose(triangles.mode(), PEAKS)


def test_one_redshift_per_galaxy(triangles):
    z = np.array([0.1, 0.6, 0.95])
    np.testing.assert_allclose(triangles.pdf(z), stats.triang.pdf(z, PEAKS), rtol=1e-14)
    np.testing.assert_allclose(triangles.cdf(triangles.quantile([0.1, 0.5, 0.99])), [0.1, 0.5, 0.99], rtol=1e-14)


def test_a_single_pdf_takes_any_number_of_redshifts(triangles):
    z = np.linspace(0, 1, 11)
    np.testing.assert_allclose(triangles[1].pdf(z), stats.triang.pdf(z, 0.5), rtol=1e-14, atol=1e-15)


def test_gaussians(gaussians):
    pdfs, mean, sigma = gaussians
    np.testing.assert_allclose(pdfs.mean(), mean, rtol=1e-8)
    np.testing.assert_allclose(pdfs.quantile(0.9), stats.norm.ppf(0.9, mean, sigma), rtol=1e-4)
    np.testing.assert_allclose(pdfs.cdf(0.5), stats.norm.cdf(0.5, mean, sigma), atol=1e-4)


def test_outside_the_grid(triangles):
    assert (triangles.pdf(-0.1) == 0).all() and (triangles.pdf(1.1) == 0).all()
    assert (triangles.cdf(-0.1) == 0).all()
    np.testing.assert_allclose(triangles.cdf(1.1), 1, rtol=1e-15)
    assert np.isnan(triangles.pdf(np.nan)).all() and np.isnan(triangles.cdf(np.nan)).all()


def test_quantile_beside_a_gap_of_zero_density():
    two = GridPDF.normalised([0, 1, 2, 3, 4, 5], [0, 1, 0, 0, 1, 0])
    np.testing.assert_allclose(two.quantile(0.5), 3)  # all redshifts from 2 to 3 halve it
    np.testing.assert_allclose(two.cdf(two.quantile(0.5 - 1e-9)), 0.5, atol=1e-8)
    np.testing.assert_allclose(two.quantile(np.array([0, 1.0])), [0, 5])


def test_rows_are_normalised_to_rounding():
    z = np.linspace(0, 1, 5)
    pdfs = GridPDF(z, np.full((2, 5), [[1.0], [1.0009]]))
    np.testing.assert_allclose(np.trapezoid(pdfs.density, z), 1, rtol=1e-15)


def test_stack_and_average(triangles):
    np.testing.assert_allclose(triangles.stack(), triangles.density.mean(axis=0))
    other = triangles[[2, 1, 0]]
    mixed = GridPDF.average(each for each in (triangles, other))
    np.testing.assert_allclose(mixed.density, (triangles.density + other.density) / 2)


def test_parts_and_whole(triangles):
    parts = [triangles[:1], triangles[1:]]
    np.testing.assert_array_equal(GridPDF.concatenate(parts).density, triangles.density)
    assert [len(part) for part in parts] == [1, 2]
    assert len(triangles[np.array([True, False, True])]) == 2
    assert len(triangles[1]) == 1


def test_table(triangles):
    table = triangles.to_table()
    assert table.colnames == ["z_mean", "z_median", "z_mode", "z_low", "z_high"]
    np.testing.assert_allclose(table["z_high"], stats.triang.ppf(0.84, PEAKS))


def test_file(triangles, tmp_path):
    path = tmp_path / "pdfs.fits"
    triangles.write(path)
    back = GridPDF.read(path)
    np.testing.assert_array_equal(back.z, triangles.z)
    np.testing.assert_allclose(back.density, triangles.density, rtol=1e-15)
    with pytest.raises(OSError, match="exists"):
        triangles.write(path)


def test_arrays_cannot_be_changed(triangles):
    with pytest.raises(ValueError, match="read-only"):
        triangles.density[0, 0] = 1


def test_rows_that_do_not_normalise_are_named():
    density = np.ones((20, 3))
    density[2], density[7] = 1.5, 0
    with pytest.raises(ValueError, match=r"rows 2, 7 of 20 do not \(first: 1\.5\)"):
        GridPDF([0, 0.5, 1], density)
    with pytest.raises(ValueError, match="nowhere above zero in row 7 of 20"):
        GridPDF.normalised([0, 0.5, 1], density)


def test_many_rows_are_not_all_named():
    with pytest.raises(ValueError, match="rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 90 more of 100"):
        GridPDF([0, 1], np.full((100, 2), 2.0))


@pytest.mark.parametrize("wrong", [-0.1, np.nan, np.inf])
def test_densities_that_are_none(wrong):
    density = np.ones((4, 3))
    density[3, 1] = wrong
    with pytest.raises(ValueError, match="row 3 of 4"):
        GridPDF([0, 0.5, 1], density)


@pytest.mark.parametrize("z", [[0, 0, 1], [1, 0.5, 0], [0, np.nan, 1], [[0, 0.5, 1]]])
def test_grids_that_are_none(z):
    with pytest.raises(ValueError, match="strictly increasing"):
        GridPDF(z, np.ones((1, 3)))


def test_shapes_that_differ(triangles):
    with pytest.raises(ValueError, match=r"\[N, 2\] on a grid of 2 redshifts, got shape \(4, 3\)"):
        GridPDF([0, 1], np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"one or 3 redshifts for 3 PDFs, got shape \(2,\)"):
        triangles.pdf([0.1, 0.2])
    with pytest.raises(ValueError, match="3 and 1 rows"):
        GridPDF.average([triangles, triangles[0]])
    with pytest.raises(ValueError, match="one redshift grid"):
        GridPDF.concatenate([triangles, GridPDF([0, 1], [1, 1])])
    with pytest.raises(ValueError, match="no PDFs to average"):
        GridPDF.average([])


def test_probabilities_that_are_none(triangles):
    with pytest.raises(ValueError, match="from 0 to 1"):
        triangles.quantile(1.5)
