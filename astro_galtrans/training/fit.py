"""
Training on Lightning Fabric: one process or several, on CPUs or GPUs, in full or mixed precision.

State is written every few minutes (`~astro_galtrans._state`), and a run that finds one goes on from it. Batches
and all other random numbers depend on the seed, the step and the process only, so that on CPU it ends bit for bit
where it would have ended without the interruption.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from tqdm.auto import tqdm

from astro_galtrans._locks import locked
from astro_galtrans._optional import require
from astro_galtrans._state import read_state
from astro_galtrans.scaling import AsinhScaling

from .logs import Logs
from .loop import TrainingRun, build_network
from .pictures import draw_samples
from .stream import stream

__all__ = ["PRECISIONS", "Trained", "fit"]

PRECISIONS = "32-true", "bf16-mixed"


class Trained(NamedTuple):
    """What a training gives."""

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
    Train a network on pairs.

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
        How many of them, each with a process of its own and other crops: the batch is so many times as large. They are
        spawned, so a script that asks for more than one must guard its own start with
        ``if __name__ == "__main__"``.
    precision : str, optional
        "32-true", or "bf16-mixed".
    stop_after : int, optional
        Stop, with a checkpoint, once that many steps of the whole are done; another call goes on.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    `Trained`

    Raises
    ------
    ValueError
        If the folder holds a checkpoint of another training, or the pairs or options do not fit the recipe.
    FloatingPointError
        If the loss is no longer finite; the last checkpoint stays.
    OSError
        If the last checkpoint cannot be written, and the one before stays; or if another training writes to the folder.
    CheckpointError
        If there are checkpoints, and all are damaged.
    """
    pairs, validation = _parts(pairs, validation)
    _check(recipe, pairs, validation)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    job = _Job(recipe, pairs, directory, validation, init, stop_after, progress)
    fabric = make_fabric(device, devices, precision)
    with locked(directory):
        if devices == 1:
            with torch.random.fork_rng(devices=[]):  # the caller's random state stays
                return _train(fabric, job)
        fabric.launch(_train_in_process, job)
        return _trained(read_state(directory), recipe, pairs.header)


class _Job:
    """Arguments of `fit` that a process needs; no dataclass, which Fabric would look into."""

    def __init__(self, recipe, pairs, directory, validation, init, stop_after, progress):
        self.recipe, self.pairs, self.directory, self.validation = recipe, pairs, directory, validation
        self.init, self.stop_after, self.progress = init, stop_after, progress


def make_fabric(device="auto", devices=1, precision="32-true"):
    """
    Choose devices and precision.

    Parameters
    ----------
    device, devices, precision
        As for `fit`.

    Returns
    -------
    `lightning_fabric.Fabric`

    Raises
    ------
    ValueError
        If there is no such device or precision.
    """
    if precision not in PRECISIONS:
        msg = f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}"
        raise ValueError(msg)
    kind, _, number = str(device).partition(":")
    if kind not in {"auto", "cpu", "cuda"} or devices < 1 or (number and devices > 1):
        msg = f"device must be auto, cpu, cuda or, for one, cuda:N, and devices positive; got {device!r}, {devices!r}"
        raise ValueError(msg)
    have = torch.cuda.device_count()
    if kind == "auto":
        kind = "cuda" if have else "cpu"
    if kind == "cuda" and have < max(devices, int(number or 0) + 1):
        msg = f"{devices} x {device!r} asked for, and there are {have} CUDA devices; use device='cpu', or fewer"
        raise ValueError(msg)
    return require("lightning_fabric", extra="train").Fabric(
        accelerator=kind, devices=[int(number)] if number else devices, precision=precision,
        strategy="ddp_spawn" if devices > 1 else "auto",
    )  # fmt: skip


def _parts(pairs, validation):
    """Training and validation parts of a split set; else what was given."""
    if pairs.header.simulation is not None or pairs.column("split") is None:
        return pairs, validation
    parts = {name: pairs.split(name) for name in ("train", "validation")}
    if validation is None and len(parts["validation"]):
        validation = parts["validation"]
    return parts["train"] if len(parts["train"]) else pairs, validation


def _check(recipe, pairs, validation):
    kinds = [store and [getattr(store.header, what) for what in ("source", "target", "scale")]
             for store in (pairs, validation)]  # fmt: skip
    if validation is not None and kinds[0] != kinds[1]:
        msg = f"the validation pairs, {validation}, are of another kind than those of the training, {pairs}"
        raise ValueError(msg)
    if validation is None and recipe.run.patience:
        msg = "early stopping ([run] patience) needs validation pairs, and there are none"
        raise ValueError(msg)


def _train_in_process(fabric, job):
    _train(fabric, job)  # what it returns stays here: the parent reads the checkpoint


def _train(fabric, job):
    run = TrainingRun(fabric, job.recipe, job.pairs, job.directory, job.validation, job.init)
    fabric.barrier()  # all have read the state before one writes it
    first, steps = fabric.is_global_zero, job.recipe.run.steps
    logs = Logs(job.directory, run.step) if first else None
    last = steps if job.stop_after is None else min(job.stop_after, steps)
    bar = tqdm(total=steps, initial=run.step, unit="step", disable=None if job.progress and first else True)
    batches = stream(
        run.sampler, run.step, last, workers=job.recipe.data.workers, pinned=fabric.device.type == "cuda"
    )
    with bar:
        try:
            _loop(run, batches, logs, bar)
        finally:
            batches.close()
            if logs:
                logs.close()
    if run.validation and run.finished(run.progress) and (not run.history or run.history[-1]["step"] < run.step):
        _validate(run, logs)
    run.checkpoint(final=True)
    fabric.barrier()
    model = run.result().cpu()
    return Trained(model, run.step, run.seconds / 3600, run.history, run.scalings)


def _loop(run, batches, logs, bar):
    every = run.recipe.run
    for batch in batches:
        progress = run.progress
        if run.finished(progress):
            return
        run.advance(batch, progress)
        bar.update()
        if run.step % every.log_steps == 0:
            _log(run, logs, bar)
        if run.validation and run.step % every.validation_steps == 0:
            _validate(run, logs)
        if logs and every.picture_steps and run.step % every.picture_steps == 0:
            _draw(run, logs)
        if logs and run.seconds_since_checkpoint >= 60 * every.checkpoint_minutes:
            run.checkpoint()


def _log(run, logs, bar):
    if logs:
        means = run.means()
        row = {"step": run.step, "hours": run.seconds / 3600, "learning_rate": run.rate} | means
        logs.write("losses", row)
        bar.set_postfix({name: f"{value:.4f}" for name, value in means.items()})
    run.sums = {}


def _validate(run, logs):
    row = run.validate()
    if logs:
        logs.write("validation", row)


def _draw(run, logs):
    folder = run.directory / "pictures"
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{run.step:07d}.png"
    if draw_samples(path, run.average, run.sampler.batch(0), f"step {run.step}"):
        logs.picture(run.step, path)


def _trained(state, recipe, header):
    """Build what `fit` returns from a checkpoint."""
    model = build_network(recipe, header)
    model.load_state_dict(state["best"] or state["average"])
    scalings = tuple(AsinhScaling(softening) for softening in state["softening"])
    return Trained(model.eval(), state["step"], state["seconds"] / 3600, state["history"], scalings)
