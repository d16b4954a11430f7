"""What `galtrans info` prints: new cards and old ones."""

import pytest

from astro_galtrans.models.checkpoint import read_card
from astro_galtrans.models.describe import describe, describe_all
from astro_galtrans.models.shipped import find_weights, list_weights
from astro_galtrans.surveys import get_survey

CARD = {
    "name": "toy",
    "description": "nothing much",
    "calibration": {"flux": [1.0, 1.01234567]},
    "training": {"steps": 7, "data": {"simulated": True}},
}
HISTORY = {"columns": ["hours", "step", "flux_loss"], "rows": [[0.1, 100, 0.5], [0.2, 200, 0.25]]}


@pytest.mark.parametrize(
    ("improvement", "line"),
    [
        (0.004, "Training: converged (flux_loss fell by 0.4 % over the last quarter)."),
        (0.05, "Training: not yet converged: longer training would still help (flux_loss fell by 5.0 % over"),
        (None, "Training: its course was not recorded, or it was too short"),
    ],
)
def test_whether_it_converged(improvement, line):
    found = {"score": "flux_loss", "improvement_of_last_quarter": improvement}
    card = CARD | {"training": CARD["training"] | {"history": HISTORY, "convergence": found}}
    assert line in describe(card)
    text = describe_all(card)
    assert line in text
    assert text.splitlines()[0] == "toy: nothing much" and "simulated pairs" in text
    assert "  flux: 1, 1.012" in text
    *_, head, first, second = text.splitlines()
    assert (head, first, second) == ("  hours  step  flux_loss", "    0.1   100        0.5", "    0.2   200       0.25")


@pytest.mark.parametrize("name", list_weights())
def test_shipped_cards_are_described(name):
    card = read_card(find_weights(name))
    text = describe_all(card)
    assert text.startswith(f"{name}: ") and "calibration:" in text and "validity:" in text
    rows = [line.split() for line in describe(card, "0123abc").splitlines()]
    assert ["Weights:", "SHA-256", "0123abc"] in rows
    for k, band in enumerate("ugriz"):
        images, quality = (row for row in rows if row[:1] == [band])
        assert [float(images[1]), float(images[3])] == pytest.approx(card["validity"]["fwhm"][band], rel=0.01)
        biased, error = float(quality[1]) / 100, float(quality[5]) / 100
        assert biased == pytest.approx(card["scores"]["flux_bias"][k], abs=6e-4)
        assert error == pytest.approx(-card["scores"]["rmse_gain_on_classical"][k], abs=6e-4)


def test_depth_is_that_of_the_survey():
    """The noise of the survey itself, in the middle of the range by construction, gives the survey's depth."""
    card, survey = read_card(find_weights("swin-sdss-cfhtls")), get_survey("sdss")
    limits = {band: [rms, rms] for band, rms in zip(survey.band_names, survey.sky_rms(), strict=True)}
    rows = [line.split() for line in describe(card | {"validity": card["validity"] | {"sky_rms": limits}}).splitlines()]
    for band in "ugriz":
        row = next(row for row in rows if row[:1] == [band])
        assert float(row[4]) == float(row[6]) == pytest.approx(survey.depth(band), abs=0.06)


def test_a_card_without_training():
    assert "steps" not in describe({"name": "toy"})
    assert describe_all({"name": "toy"}).startswith("toy: ")
