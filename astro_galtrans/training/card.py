"""The card of a translator, which states what is known of it, and the file that holds both."""

from pathlib import Path

import numpy as np

from astro_galtrans.models import checkpoint

from .calibration import calibrate
from .colours import colour_terms
from .observed import source_entry, target_entry
from .scores import score
from .validity import validity_range

__all__ = ["convergence", "data_card", "export", "thinned", "with_colour_terms"]

LICENCE = "BSD-3-Clause"
SCORED = 512, 128  # pairs scored of a deterministic network, and of one that samples, which is slow
GAIN = "rmse_gain"  # the validation score that tells whether a training converged
ROWS = 30  # rows of the history in a card, enough to draw the curve
LAST = 0.25  # the last share of the training, over which it is judged whether it still improved


def export(path, trained, recipe, pairs, held_out, *, test=None, n_samples=1, init=None, progress=True):
    """
    Write a trained network as a translator file, and return its card.

    Parameters
    ----------
    path : path-like
        The file to write, ``NAME.safetensors``.
    trained : `~astro_galtrans.training.Trained`
        As `~astro_galtrans.training.fit` returns it.
    recipe : `~astro_galtrans.training.Recipe`
    pairs, held_out : `~astro_galtrans.pairs.store.PairStore`
        What it was trained on, and other pairs to calibrate it with.
    test : `~astro_galtrans.pairs.store.PairStore`, optional
        Yet others to score it on; without them the card has no scores.
    n_samples : int, optional
        How many samples a translation shall average by default (stochastic networks).
    init : str or path-like, optional
        The translator that the training began from.
    progress : bool, optional
        Show a progress bar on a terminal.

    Examples
    --------
    >>> import tempfile
    >>> from astro_galtrans import load_translator
    >>> from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
    >>> from astro_galtrans.training import export, fit, load_recipe
    >>> recipe = load_recipe("srgan", name="mine", steps=2, data={"crop": 8, "batch_size": 2})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pairs, others = (
    ...         simulate_pairs(f"{folder}/{seed}", 64, PairSettings(size=32, seed=seed), workers=1, progress=False)
    ...         for seed in (1, 2)
    ...     )
    ...     trained = fit(recipe, pairs, f"{folder}/run", device="cpu", progress=False)
    ...     card = export(f"{folder}/mine.safetensors", trained, recipe, pairs, others, progress=False)
    ...     load_translator(f"{folder}/mine.safetensors").name
    'mine'
    """
    model, scalings, header = trained.model.eval(), trained.scalings, pairs.header
    recipe = recipe.for_surveys(header.source, header.target)
    sampling = {"n_samples": n_samples, "progress": progress}
    terms = with_colour_terms(held_out)
    factors = calibrate(model, scalings, held_out, **terms, **sampling)
    training = {
        "data": data_card(pairs) | (header.simulation or header.observation or {}), "recipe": _plain(recipe.to_dict()),
        "seed": recipe.run.seed, "steps": trained.steps, "hours": round(trained.hours, 4),
    } | _history_card(trained.history, recipe.run.score)  # fmt: skip
    card = {
        "name": recipe.name, "description": recipe.description, "licence": LICENCE,
        "network": {"preset": recipe.network.preset},
        "source": source_entry(header, scalings[0]) | _bands_needed(model.spec, recipe),
        "target": target_entry(header, scalings[1]),
        "calibration": factors | terms | data_card(held_out),
        "validity": validity_range(pairs),
        "training": training | ({"init": Path(init).name} if init else {}),
    }  # fmt: skip
    if test is not None:
        card["scores"] = score(model, scalings, test, factors, number=SCORED[model.spec.stochastic], **sampling)
    if model.spec.stochastic:
        card["sampling"] = {"n_samples": n_samples}
    return checkpoint.save(path, model, card)


def thinned(history):
    """
    Return a history of validations, as a training has it, short enough for a card; None of no history.

    It has ``columns`` and ``rows`` (at most 30, evenly spaced, first and last among them).
    """
    if not history:
        return None
    columns = ["hours", "step", *(name for name in history[0] if name not in {"hours", "step", "seconds"})]
    places = np.unique(np.linspace(0, len(history) - 1, ROWS).round().astype(int))
    return {"columns": columns, "rows": [[_short(history[k].get(name)) for name in columns] for k in places]}


def convergence(history, score):
    """
    Return by which share a score improved over the last quarter (of the time) of a training; None with too short a
    history.

    The best of the whole training is compared with the best of its first three quarters. A score is a gain, which is
    better when larger, if its name ends so, and then the error that is left, ``1 - g``, is compared; otherwise it is a
    loss.
    """
    if not history:
        return None
    hours, values = (np.array([row[name] for row in history], float) for name in ("hours", score))
    left = 1 - values if score.endswith("gain") else values
    early = hours <= hours[-1] * (1 - LAST)
    if not np.isfinite(left[early]).any() or early.all():
        return None
    before, best = np.nanmin(left[early]), np.nanmin(left)
    return round(float((before - best) / abs(before)), 4) if before else 0.0


def _short(value):
    if value is None or isinstance(value, int | str):
        return value
    return float(f"{float(value):.4g}") if np.isfinite(value) else None


def data_card(pairs):
    """Return what the card says of a set of pairs: how many they are, whether simulated, and from which seed."""
    simulation = pairs.header.simulation
    card = {"simulated": simulation is not None, "pairs": len(pairs)}
    return card | {"seed": simulation["seed"]} if simulation else card


def with_colour_terms(pairs):
    """Return the entry of a card's calibration that holds the colour terms of pairs, if they tell them."""
    terms = colour_terms(pairs)
    return {"colour_terms": terms} if terms else {}


def _bands_needed(spec, recipe):
    """How few bands of an image will do: two, if the network was trained with bands left out."""
    without = spec.observed and recipe.augment.missing > 0
    return {"fewest_bands": min(2, len(spec.in_bands))} if without else {}


def _history_card(history, score):
    """The scores over time, and by how much they still improved at the end."""
    short = thinned(history)
    if short is None:
        return {}
    # most of a loss is the target's noise, which no training can lower; the gain shows what it still brings
    name = GAIN if GAIN in short["columns"] else score
    return {"history": short, "convergence": {"score": name, "improvement_of_last_quarter": convergence(history, name)}}


def _plain(value):
    """A recipe without infinite numbers, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
