"""What `galtrans info` prints: new cards and old ones."""

import pytest

from astro_galtrans.models.checkpoint import read_card
from astro_galtrans.models.describe import describe
from astro_galtrans.models.shipped import find_weights, list_weights

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
    text = describe(CARD | {"training": CARD["training"] | {"history": HISTORY, "convergence": found}})
    assert line in text
    assert text.splitlines()[0] == "toy: nothing much" and "simulated pairs" in text
    assert "  flux: 1, 1.012" in text
    *_, head, first, second = text.splitlines()
    assert (head, first, second) == ("  hours  step  flux_loss", "    0.1   100        0.5", "    0.2   200       0.25")


@pytest.mark.parametrize("name", list_weights())
def test_shipped_cards_are_described(name):
    text = describe(read_card(find_weights(name)))
    assert text.startswith(f"{name}: ") and "calibration:" in text and "validity:" in text


def test_a_card_without_training():
    assert "steps" not in describe({"name": "toy"})
