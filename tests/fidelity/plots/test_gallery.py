"""Galleries: which galaxies are shown, and that what is drawn is what the images hold."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from astro_galtrans.fidelity.pixel.measure import pixel_fidelity
from astro_galtrans.fidelity.plots.gallery import chosen_rows, composite, gallery, stretched

SIZE, NUMBER = 24, 12
BANDS = "u", "g", "r", "i", "z"
IMAGING = dict(bands=BANDS, sky_rms=[1.0] * 5)


@pytest.fixture(scope="module")
def stamps():
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    clean = 50 * np.exp(-0.5 * (x**2 + y**2) / 9)
    return (clean + np.random.default_rng(1).normal(0, 1, (NUMBER, 5, SIZE, SIZE))).astype(np.float32)


def test_best_median_and_worst():
    scores = np.array([5.0, np.nan, 1, 9, 3, 7, np.inf, 2, 8, 4, 6])
    rows = chosen_rows(scores, 2)
    assert scores[rows["best"]].tolist() == [1, 2]
    assert scores[rows["median"]].tolist() == [4, 5]
    assert scores[rows["worst"]].tolist() == [9, 8]
    few = chosen_rows([2.0, 1.0], 3)
    assert sorted(np.concatenate(list(few.values())).tolist()) == [0, 1]
    with pytest.raises(ValueError, match="none of 2 scores is finite"):
        chosen_rows([np.nan, np.nan])


def test_the_stretch_is_asinh_between_its_ends():
    flux = np.array([-5.0, -1.0, 0.0, 30.0, 1e4, np.nan])
    found = stretched(flux, 3.0, 300.0)
    low, high = np.arcsinh(-1 / 3), np.arcsinh(100)
    zero = -low / (high - low)
    np.testing.assert_allclose(found, [0, 0, zero, (np.arcsinh(10) - low) / (high - low), 1, zero])


def test_composites_keep_colours(rng):
    """Ratios of the three planes are those of the fluxes, also where the brightest is cut off."""
    image = rng.uniform(1, 500, (3, 6, 6))
    found = composite(image, 3.0, 100.0)
    assert found.shape == (6, 6, 3) and found.max() <= 1 and found.min() >= 0
    np.testing.assert_allclose(found[..., 0] / found[..., 2], (image[0] + 1) / (image[2] + 1), rtol=1e-6)
    grey = composite(np.full((3, 2, 2), 40.0), 3.0, 100.0)
    np.testing.assert_allclose(grey, stretched(40.0, 3.0, 100.0))


def test_what_is_drawn(stamps, tmp_path):
    """Columns of one row: the source is the target in coarser pixels, the residual what was added."""
    ours = stamps.copy()
    ours[:, 2] += np.arange(NUMBER, dtype=np.float32)[:, None, None]
    source = stamps.reshape(NUMBER, 5, SIZE // 2, 2, SIZE // 2, 2).sum(axis=(3, 5))
    figure = gallery(
        np.arange(NUMBER), stamps, ours[:, None], source=source, source_factor=0.25, show="r", number=1, label="added",
        **IMAGING,
    )  # fmt: skip
    figure.savefig(tmp_path / "gallery.png")
    axes = figure.axes[:-1]  # the last is the colour bar
    assert len(axes) == 12 and [place.get_title() for place in axes[:4]] == [
        "source", "translated", "target", "residual / noise",
    ]  # fmt: skip
    best, worst = axes[:4], axes[8:]
    assert "best" in best[0].get_ylabel() and "worst\n11\n" in worst[0].get_ylabel()
    np.testing.assert_allclose(worst[3].images[0].get_array(), 11, rtol=1e-5)
    np.testing.assert_allclose(best[1].images[0].get_array(), best[2].images[0].get_array())
    coarse = best[0].images[0].get_array()
    assert coarse.shape == (SIZE // 2, SIZE // 2) and abs(coarse.max() - best[2].images[0].get_array().max()) < 0.1


def test_colour_by_default(stamps):
    figure = gallery(np.arange(NUMBER), stamps, stamps, number=1, **IMAGING)
    assert figure.axes[0].images[0].get_array().shape == (SIZE, SIZE, 3)
    assert "i, r, g" in figure.get_suptitle()


def test_results_choose_by_their_own_metrics(stamps):
    noise = np.linspace(0.5, 2, NUMBER)[:, None, None, None]
    ours = stamps + noise * np.random.default_rng(2).normal(0, 1, stamps.shape)
    result = pixel_fidelity(
        stamps, {"m": ours.astype(np.float32)}, pixel_scale=0.3, resamples=0, progress=False, **IMAGING
    )
    order = np.argsort(result.scores("psnr"))
    np.testing.assert_array_equal(order, np.argsort(result.scores("rmse")))  # one is the other's logarithm
    figure = result.gallery("psnr", stamps, ours, sky_rms=IMAGING["sky_rms"], number=1)
    assert f"galaxy {order[-1]}" in figure.axes[6].get_ylabel()
    np.testing.assert_allclose(result.scores("chi2" if "chi2" in result["galaxies"].colnames else "noise_ratio"),
                               np.abs(result.of_galaxies("noise_ratio") - 1))  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.arange(3)}, "one of each galaxy, got scores: 3, target: 12"),
        ({"show": "y"}, "show one of the bands u, g, r, i, z"),
        ({"show": ("g", "r")}, "or three as red, green and blue; got g, r"),
    ],
)
def test_what_does_not_fit_is_named(stamps, changes, message):
    arguments = {"scores": np.arange(NUMBER)} | IMAGING | changes
    with pytest.raises(ValueError, match=message):
        gallery(arguments.pop("scores"), stamps, stamps, **arguments)
