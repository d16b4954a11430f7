"""Figures show the numbers they were given: read back from the artists."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from astro_galtrans.fidelity.plots import images
from astro_galtrans.fidelity.plots import redshift as plots


@pytest.fixture
def redshifts(rng):
    z = rng.uniform(0.02, 0.6, 400)
    return z, {"source": z + rng.normal(0, 0.03, 400), "target": z + rng.normal(0, 0.01, 400)}


def drawn(figure, tmp_path):
    """Draw it as a file would be; warnings are errors."""
    figure.savefig(tmp_path / "figure.png")
    return figure.axes


def test_redshift_panels(redshifts, tmp_path):
    z, z_phot = redshifts
    axes = drawn(plots.redshift_panels(z, z_phot, title="model"), tmp_path)
    assert len(axes) == 4
    np.testing.assert_array_equal(axes[0].collections[0].get_offsets(), np.column_stack([z, z_phot["source"]]))
    dz = (z_phot["target"] - z) / (1 + z)
    np.testing.assert_allclose(axes[3].collections[0].get_offsets()[:, 1], dz)
    scatter = 1.4826 * np.median(np.abs(dz - np.median(dz)))
    text = axes[1].texts[0].get_text()
    assert "n = 400" in text and f"{scatter:.4f}" in text


def test_pit_histogram_is_a_density_with_its_band(rng, tmp_path):
    (axes,) = drawn(plots.pit_histograms({"source": rng.uniform(size=1000)}, bins=10), tmp_path)
    stairs = next(patch for patch in axes.patches if hasattr(patch, "get_data"))
    np.testing.assert_allclose(np.mean(stairs.get_data().values), 1)
    low, high = (axes.patches[0].get_y(), axes.patches[0].get_y() + axes.patches[0].get_height())
    # the binomial band, by the normal approximation
    sigma = np.sqrt(0.1 * 0.9 / 1000) * 10
    np.testing.assert_allclose([low, high], [1 - 1.96 * sigma, 1 + 1.96 * sigma], atol=0.02)
    assert "n = 1,000" in axes.get_title()


def test_stack_lies_over_the_histogram(redshifts, tmp_path):
    z, _ = redshifts
    grid = np.linspace(0, 1, 101)
    density = np.where(grid < 0.6, 1 / 0.6, 0)
    (axes,) = drawn(plots.stacked_pdfs(grid, {"source": density}, z), tmp_path)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), density)
    values, edges, _ = axes.patches[0].get_data()
    np.testing.assert_allclose(np.sum(values * np.diff(edges)), 1)
    assert axes.get_xlim()[1] < 0.7  # no empty space beyond the redshifts


def test_metric_over_bins(tmp_path):
    x = [17.0, 18.0, 19.0]
    row = {
        "source": (x, [1, 2, 3], [0.9, 1.9, 2.9], [1.1, 2.1, 3.1]),
        "retrained": (x, [2, 3, 4], [1, 2, 3], [3, 4, 5]),
    }
    figure = plots.metric_over_bins({"a": [row, row], "b": [row, row]}, xlabel="magnitude", ylabels=["one", "two"])
    axes = drawn(figure, tmp_path)
    assert len(axes) == 4 and axes[0].get_ylabel() == "one" and axes[2].get_xlabel() == "magnitude"
    np.testing.assert_array_equal(axes[0].containers[0].lines[0].get_ydata(), [1, 2, 3])


def test_information_bars_and_limits(tmp_path):
    models = {"a": {"retrained": (0.7, 0.6, 0.8), "plug_in": (-2.0, -2.3, -1.8)}, "b": {"retrained": (0.5, 0.4, 0.6)}}
    (axes,) = drawn(plots.information_bars(models, {"source": (0.8, 0.7, 0.9)}, n=123), tmp_path)
    widths = sorted(bar.get_width() for container in axes.containers for bar in container if hasattr(bar, "get_width"))
    assert widths == [-2.0, 0.5, 0.7]
    assert any(line.get_xdata()[0] == 0.8 for line in axes.lines)
    assert "n = 123" in axes.get_xlabel()


def test_infinite_information_is_no_bar(tmp_path):
    bars = {"a": {"plug_in": (-np.inf, -np.inf, -np.inf), "retrained": (0.5, 0.4, 0.6)}}
    (axes,) = drawn(plots.information_bars(bars, {"source": (0.8, 0.7, 0.9)}, n=5), tmp_path)
    assert axes.get_xlim()[0] > -1
    assert any("−∞" in text.get_text() for text in axes.texts)


def test_the_users_settings_stay(redshifts):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plots.redshift_panels(*redshifts)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.1], [0.1, 0.3], [0.1, 0.2, 0.3], [np.nan, 0.1, 0.3]])
def test_violins_of_few_galaxies(values, tmp_path):
    many = np.linspace(-1, 1, 50)
    figure = images.violins({"flux": {"few": np.array(values), "many": many}}, ylabels={})
    figure.savefig(tmp_path / "violins.png")
    (place,) = figure.axes
    finite = np.array(values)[np.isfinite(values)]
    assert [text.get_text() for text in place.get_xticklabels()] == [f"few ({len(finite)})", "many (50)"]
    if len(finite):
        assert np.isclose(place.lines[0].get_ydata(), np.median(finite)).all()
