"""A training from its start, or its last checkpoint, to its end."""

import time
from functools import partial

import torch

from astro_galtrans._progress import tqdm

from .devices import PRECISIONS, choose_devices
from .logs import Logs
from .training import Training

__all__ = ["train"]


def train(
    make_task, settings, directory=None, *, device="auto", devices=1, precision=PRECISIONS[0], stop_after=None,
    progress=True,
):  # fmt: skip
    """
    Train a network, going on from its last checkpoint if there is one.

    Parameters
    ----------
    make_task : callable
        From what the last checkpoint holds of the task (`Task.state`; None at the start) and the rank of the process to
        a `~astro_galtrans.loop.Task`. It raises if the checkpoint is another training's, and is pickled for several
        processes.
    settings : `~astro_galtrans.loop.Settings`
    directory : `~pathlib.Path`, optional
        Folder for checkpoints and logs, made if missing; without it there are none.
    device, devices, precision
        As for `~astro_galtrans.loop.choose_devices`: "cpu", "cuda", ..., how many of them, "32-true" or "bf16-mixed".
        Processes are spawned, so a script that asks for more than one device must guard its own start with
        ``if __name__ == "__main__"``.
    stop_after : int, optional
        Stop, with a checkpoint, once that many steps of the whole are done; another call goes on.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    `~astro_galtrans.loop.Training`
        At its end; `~astro_galtrans.loop.Training.result` is the network.

    Raises
    ------
    ValueError
        If there is no such device or precision, or the network has no such score.
    FloatingPointError
        If the loss is no longer finite; the last checkpoint stays.
    OSError
        If the last checkpoint cannot be written; the one before stays.
    CheckpointError
        If there are checkpoints, and all are damaged.
    """
    chosen = choose_devices(device, devices, precision)
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    what = {"make_task": make_task, "settings": settings, "directory": directory}
    job = partial(_train, **what, stop_after=stop_after, progress=progress)
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays
        if devices == 1:
            return job(chosen)
        chosen.launch(_train_in_process, job)
        return Training(choose_devices("cpu"), **what)


def _train_in_process(fabric, job):
    job(fabric)  # what it returns stays in this process: the one that asked reads the checkpoint


def _train(devices, make_task, settings, directory, stop_after, progress):
    training = Training(devices, make_task, settings, directory)
    devices.barrier()  # all have read the checkpoint before one writes it
    steps, first = training.settings.steps, devices.is_global_zero
    logs = Logs(training.directory, training.step) if first and training.directory else None
    last = steps if stop_after is None else min(stop_after, steps)
    bar = tqdm(total=steps, initial=training.step, unit="step", disable=None if progress and first else True)
    batches = training.task.batches(training.step, last, devices.device)
    with bar:
        try:
            _loop(training, batches, logs, bar)
        finally:
            batches.close()
            if logs:
                logs.close()
    training.checkpoint(final=True)
    devices.barrier()
    return training


def _loop(training, batches, logs, bar):
    every = training.settings
    if every.validate_start and not training.history:
        _validate(training, logs)
    for batch in batches:
        progress = training.progress
        if training.finished(progress):
            break
        training.advance(batch, progress)
        bar.update()
        if training.step % every.log_steps == 0:
            _log(training, logs, bar)
        if every.validation_steps and training.step % every.validation_steps == 0:
            _validate(training, logs)
        if logs and every.picture_steps and training.step % every.picture_steps == 0:
            logs.picture(training.step, training.task.draw(training.average, training.step))
        if logs and time.monotonic() - training.saved >= 60 * every.checkpoint_minutes:
            training.checkpoint()
    scored = training.history[-1]["step"] if training.history else 0
    if every.validation_steps and training.finished(training.progress) and scored < training.step:
        _validate(training, logs)


def _log(training, logs, bar):
    means = training.means()
    if logs:
        row = {"step": training.step, "hours": training.seconds / 3600, "learning_rate": training.rate}
        logs.write("losses", row | means)
    bar.set_postfix({name: f"{value:.4f}" for name, value in means.items()})
    training.sums = {}


def _validate(training, logs):
    row = training.validate()
    if logs:
        logs.write("validation", row)
