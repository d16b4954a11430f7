"""A training from its start, or its last checkpoint, to its end: network, averaged weights, optimizers, progress."""

import copy
import math
import time
import warnings
from functools import partial

import numpy as np
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from astro_galtrans._progress import tqdm
from astro_galtrans.exceptions import GaltransWarning

from .devices import PRECISIONS, choose_devices
from .logs import Logs
from .muon import MuonAdamW
from .state import read_state, write_state

__all__ = ["Training", "train"]

CHECK_STEPS = 20  # a GPU is asked that often whether the loss is finite; each time it has to be waited for
BETAS = 0.9, 0.99  # of AdamW, as in the trainings of SwinIR and ESRGAN by their authors
LAST_RATE = 0.01  # learning rate at the end, as a share of the largest


class Training:
    """
    A training that stands at some step; `advance` makes one more.

    ``devices`` are already launched, ``make_task`` is that of `train`, and ``directory`` that of
    the checkpoints; without it there are none.
    """

    def __init__(self, devices, make_task, settings, directory=None):
        self.devices, self.settings, self.directory = devices, settings, directory
        self.step, self.history, self.sums, self.best = 0, [], {}, None
        state = directory and read_state(directory, devices.device)
        torch.manual_seed(settings.seed)  # of the initial weights
        self.task = make_task(state and state["task"], devices.global_rank)
        self.network = self.task.network
        self.average = copy.deepcopy(self.network).requires_grad_(requires_grad=False).to(devices.device).eval()
        groups = self.task.prepare()
        self.network.to(devices.device).train()
        options = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "betas": BETAS}
        matrices = self.task.matrices() if settings.muon_rate else []
        self.optimizers = [MuonAdamW(group, matrices, settings.muon_rate, **options) for group in groups]
        trained, averaged = self.network.state_dict(), self.average.state_dict()  # views, which follow the training
        pairs = [(averaged[name], trained[name]) for name in averaged]
        self._averaged = [list(p) for p in zip(*(p for p in pairs if p[0].is_floating_point()), strict=True)]
        self._counted = [p for p in pairs if not p[0].is_floating_point()]  # such as the batches a normalisation saw
        self.generator = torch.Generator(devices.device)
        self._earlier, self._started, self.saved = 0.0, time.monotonic(), time.monotonic()
        self._finite = torch.ones((), dtype=torch.bool, device=devices.device)
        if state:
            self._take_up(state)

    @property
    def seconds(self):
        """Time spent, all sittings together; the lost end of one that was killed does not count."""
        return self._earlier + time.monotonic() - self._started

    @property
    def progress(self):
        """Share of the training done, 0 to 1, the same on all processes."""
        seconds = self.seconds
        if self.devices.world_size > 1 and math.isfinite(self.settings.hours):
            seconds = float(self.devices.broadcast(torch.tensor(seconds)))
        return min(1.0, max(self.step / self.settings.steps, seconds / (3600 * self.settings.hours)))

    def finished(self, progress):
        """Is there nothing left to do?"""
        patience = self.settings.patience
        waited = len(self.history) - 1 - self.best_row if patience and self.history else 0
        return progress >= 1 or (patience > 0 and waited >= patience)

    @property
    def best_row(self):
        """Row of the `history` with the best score, the first of equal ones."""
        score = self.settings.score
        values = [row[score] for row in self.history]
        return int(np.argmax(values) if score.endswith("gain") else np.argmin(values))

    def advance(self, batch, progress):
        """Make one step with every optimizer, on the task's batch number `step`, with the property `progress`."""
        self._seed()
        self.share = self._share(progress)
        terms_of_each = self.task.losses(batch, progress, self.generator)
        for optimizer in self.optimizers:
            with self.devices.autocast():
                terms = next(terms_of_each, None)
            if terms is not None:
                self._minimise(optimizer, terms)
        self._update_average()
        self.step += 1
        if self.devices.device.type == "cpu" or self.step % CHECK_STEPS == 0:
            self._check_finite()

    def _seed(self):
        """Seed the task's generator, and torch's global ones for layers such as dropout that do not ask it."""
        entropy = [self.settings.seed, self.step, self.devices.global_rank, 1]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        self.generator.manual_seed(seed)
        # not torch.manual_seed, which formats a traceback per call as long as a GPU is there and not in use
        torch.default_generator.manual_seed(seed)
        if self.devices.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)

    @property
    def rate(self):
        """Learning rate of the last step; Muon's is another."""
        return self.share * self.settings.learning_rate

    def _share(self, progress):
        """Share of the largest learning rate."""
        warm = min(1.0, (self.step + 1) / max(1, self.settings.warmup))
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return warm * (LAST_RATE + (1 - LAST_RATE) * cosine)

    def _minimise(self, optimizer, terms):
        loss = sum(terms.values())
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for group in optimizer.param_groups:
            group["lr"] = self.share * group["largest"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)  # no gradients for parameters of other optimizers
        self._share_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        optimizer.step()
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0) + torch.stack([term.detach(), torch.ones_like(term)]).double()
        self._finite &= torch.isfinite(loss.detach())

    def _share_gradients(self, parameters):
        """
        Average gradients over processes.

        Not left to torch's wrapper, which expects one forward pass and one optimizer: here losses come one by one, and
        some parameters join late.
        """
        if self.devices.world_size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.devices.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    @torch.no_grad()
    def _update_average(self):
        # a short memory at first (a tenth of the steps so far), so that the random start does not linger in the average
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)(*self._averaged, None)
        for averaged, trained in self._counted:
            averaged.copy_(trained)

    def _check_finite(self):
        if not self._finite:
            means = {name: f"{value:.3g}" for name, value in self.means().items()}
            kept = f". The last checkpoint in {self.directory} stays" if self.directory else ""
            msg = (
                f"the loss is not finite at step {self.step} ({means}); lower the learning rate or check the images"
                f" that are trained on{kept}"
            )
            raise FloatingPointError(msg)

    def means(self):
        """Mean of each term of the loss since the last row of the log."""
        return {name: float(total[0] / total[1]) for name, total in self.sums.items()}

    def validate(self):
        """Score the averaged network, add the scores to `history` and return them."""
        seconds, score = self.seconds, self.settings.score
        scores = self.task.scores(self.average, self.devices) if self.devices.is_global_zero else None
        scores = self.devices.broadcast(scores)
        if score not in scores:
            msg = f"score must be one that this network has, {', '.join(scores)}; got {score!r}"
            raise ValueError(msg)
        self.history.append({"step": self.step, "hours": seconds / 3600, "seconds": seconds, **scores})
        if self.settings.patience and self.best_row == len(self.history) - 1:
            self.best = {name: value.clone() for name, value in self.average.state_dict().items()}
        return self.history[-1]

    def result(self):
        """Return the averaged network on the CPU; if the training may stop early, as it was when it scored best."""
        if self.best is not None:
            self.average.load_state_dict(self.best)
        return self.average.cpu()

    def checkpoint(self, *, final=False):
        """Write the state; a failure is a warning, but an error at the end."""
        self._check_finite()
        self.saved = time.monotonic()
        if self.directory is None or not self.devices.is_global_zero:
            return
        try:
            write_state(self.directory, self._state())
        except OSError as err:
            if final:
                raise
            warnings.warn(f"{err}; the training goes on and tries again later", GaltransWarning, stacklevel=2)

    def _state(self):
        own = {name: getattr(self, name) for name in ("step", "seconds", "history", "sums", "best")}
        networks = {"network": self.network.state_dict(), "average": self.average.state_dict()}
        return {"task": self.task.state(), "optimizers": [o.state_dict() for o in self.optimizers]} | networks | own

    def _take_up(self, state):
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.history, self.sums, self.best = (state[name] for name in ("step", "history", "sums", "best"))
        self._earlier = state["seconds"]


def train(
    make_task, settings, directory=None, *, device="auto", devices=1, precision=PRECISIONS[0], stop_after=None,
    progress=True,
):  # fmt: skip
    """
    Train a network, going on from its last checkpoint if there is one, and return the `Training`
    at its end, whose ``result()`` is the network.

    ``make_task`` goes from what the last checkpoint holds of the task (``Task.state``; None at the start) and the rank
    of the process to a ``Task``. It raises if the checkpoint is another training's, and has to be picklable. Without a
    ``directory``, which is made if missing, there are no checkpoints and logs. Devices and precision are those of
    `choose_devices`, options and errors those of `astro_galtrans.training.fit`.
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
    job(fabric)  # its result cannot leave this process: the caller's reads the checkpoint


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
