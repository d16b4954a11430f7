"""Galleries: which galaxies are shown, and that what is drawn is what the images hold."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from astro_galtrans.fidelity.pixel.measure import pixel_fidelity
from astro_galtrans.fidelity.plots.gallery import chosen_rows, composite, gallery, stretched
from astro_galtrans.stamps import Stamps
from astro_galtrans.statistics import Bootstrap
from helpers import make_survey

SIZE, NUMBER = 24, 12
BANDS = "u", "g", "r", "i", "z"
SURVEY = make_survey(BANDS, 0.3)


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
    source = Stamps(10**0.4 * source, make_survey(BANDS, 0.6, zeropoint=31.0))  # a magnitude deeper in counts
    figure = gallery(np.arange(NUMBER), Stamps(stamps, SURVEY), ours[:, None], source=source, show="r", number=1,
                     label="added")  # fmt: skip
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
    figure = gallery(np.arange(NUMBER), Stamps(stamps, SURVEY), stamps, number=1)
    assert figure.axes[0].images[0].get_array().shape == (SIZE, SIZE, 3)
    assert "i, r, g" in figure.get_suptitle()


def test_results_choose_by_their_own_metrics(stamps):
    noise = np.linspace(0.5, 2, NUMBER)[:, None, None, None]
    ours = stamps + noise * np.random.default_rng(2).normal(0, 1, stamps.shape)
    target = Stamps(stamps, SURVEY)
    result = pixel_fidelity(target, {"m": ours.astype(np.float32)}, bootstrap=Bootstrap(0), progress=False)
    order = np.argsort(result.scores("psnr"))
    np.testing.assert_array_equal(order, np.argsort(result.scores("rmse")))  # one is the other's logarithm
    figure = result.gallery("psnr", target, ours, number=1)
    assert f"galaxy {order[-1]}" in figure.axes[6].get_ylabel()
    np.testing.assert_allclose(result.scores("noise_ratio"), np.abs(result.of_galaxies("noise_ratio") - 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.arange(3)}, "scores has 3 rows, target 12"),
        ({"show": "y"}, "show one of the bands u, g, r, i, z"),
        ({"show": ("g", "r")}, "or three as red, green and blue; got g, r"),
    ],
)
def test_what_does_not_fit_is_named(stamps, changes, message):
    arguments = {"scores": np.arange(NUMBER)} | changes
    with pytest.raises(ValueError, match=message):
        gallery(arguments.pop("scores"), Stamps(stamps, SURVEY), stamps, **arguments)
