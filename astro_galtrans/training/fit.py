"""The training of a translator, from pairs and a recipe to a network."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from astro_galtrans import loop
from astro_galtrans._locks import held

from .task import TranslatorTask, settings_of

__all__ = ["Trained", "fit"]


class Trained(NamedTuple):
    """
    The result of a training.

    Examples
    --------
    >>> from astro_galtrans.training import Trained
    >>> Trained._fields[:2]  # `fit` shows how one is made
    ('model', 'steps')
    """

    model: object  #: the `~astro_galtrans.models.base.TranslationModel` with its averaged weights, on the CPU
    steps: int
    hours: float
    history: list  #: scores over time: dicts with step, hours, seconds, ``flux_loss``, ``rmse_gain`` and others
    scalings: tuple  #: of source and target, `~astro_galtrans.scaling.AsinhScaling`: the units it works in


def fit(
    recipe, pairs, directory, *, validation=None, init=None, device="auto", devices=1, precision="32-true",
    stop_after=None, progress=True,
):  # fmt: skip
    """
    Train a network on pairs; return it, and how the training went, as `Trained`.

    Parameters
    ----------
    recipe : `~astro_galtrans.training.Recipe`
    pairs : `~astro_galtrans.pairs.store.PairStore`
        Pairs to train on; of a set that is split, the part called "train".
    directory : path-like
        Folder for checkpoints, logs and pictures; if it holds a checkpoint of the same recipe, the run goes on from
        there.
    validation : `~astro_galtrans.pairs.store.PairStore`, optional
        Other pairs to score with; by default the part of ``pairs`` called "validation", if the set is split.
    init : str or path-like, optional
        Start from this translator, a shipped one or a file, instead of random weights.
    device : str, optional
        "cpu", "cuda", "cuda:1", ..., or "auto": a GPU if there is one.
    devices : int, optional
        How many of them, each with a process of its own. Processes are spawned, so a script that asks for more than one
        must guard its own start with ``if __name__ == "__main__"``. Each device has other crops, so the batch is as
        many times as large as there are devices.
    precision : str, optional
        "32-true", or "bf16-mixed": bfloat16 where torch's autocast takes that for safe.
    stop_after : int, optional
        Stop, with a checkpoint, once that many steps of the whole are done; another call goes on.
    progress : bool, optional
        Show a progress bar on a terminal.

    Raises
    ------
    ValueError
        If the folder holds a checkpoint of another training, the pairs or options do not fit the recipe, or there is no
        such device, precision or score.
    FloatingPointError
        If the loss is no longer finite; the last checkpoint stays.
    OSError
        If another training writes to the folder, or the last checkpoint cannot be written; the one before stays.
    CheckpointError
        If there are checkpoints, and all are damaged.

    Examples
    --------
    >>> import tempfile
    >>> from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
    >>> from astro_galtrans.training import fit, load_recipe
    >>> recipe = load_recipe("srgan", steps=2, data={"crop": 8, "batch_size": 2})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pairs = simulate_pairs(f"{folder}/pairs", 64, PairSettings(kind="star", size=16), workers=1, progress=False)
    ...     trained = fit(recipe, pairs, f"{folder}/run", device="cpu", progress=False)
    >>> trained.model.spec.name
    'srgan'
    """
    pairs, validation = _parts(pairs, validation)
    _check(recipe, pairs, validation)
    directory = Path(directory)
    make_task = partial(TranslatorTask, recipe, pairs, validation, directory, init)
    with held(directory):
        training = loop.train(
            make_task, settings_of(recipe, validate=validation is not None), directory, device=device, devices=devices,
            precision=precision, stop_after=stop_after, progress=progress,
        )  # fmt: skip
    hours = training.seconds / 3600
    return Trained(training.result(), training.step, hours, training.history, training.task.scalings)


def _parts(pairs, validation):
    """Training and validation parts of a split set; else what was given."""
    if pairs.header.simulation is not None or pairs.column("split") is None:
        return pairs, validation
    parts = {name: pairs.split(name) for name in ("train", "validation")}
    if validation is None and len(parts["validation"]):
        validation = parts["validation"]
    return parts["train"] if len(parts["train"]) else pairs, validation


def _check(recipe, pairs, validation):
    same = "source", "target", "scale"
    if validation is not None and any(getattr(pairs.header, x) != getattr(validation.header, x) for x in same):
        msg = f"the validation pairs, {validation}, are of another kind than those of the training, {pairs}"
        raise ValueError(msg)
    if validation is None and recipe.run.patience:
        msg = "early stopping ([run] patience) needs validation pairs, and there are none"
        raise ValueError(msg)
