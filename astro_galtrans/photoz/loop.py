"""
The training loop of the estimators: likelihood of the true redshifts, averaged weights, early stopping, resumable.

Everything random in a step follows from the seed and the step's number, so a run that goes on from its checkpoint
makes the same network, to the bit on one machine's CPU, as one that was never interrupted.
"""

import copy
import json
import math
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm.auto import tqdm

from astro_galtrans._files import whole_file

from .density import log_likelihood

__all__ = ["TrainingSettings", "dihedral", "fit"]


@dataclass(frozen=True)
class TrainingSettings:
    """How an estimator's network is trained."""

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 2e-3  #: at its highest; it rises for 50 steps, then falls as a cosine
    weight_decay: float = 1e-2
    average: float = 0.995  #: memory per step of the averaged weights, which are the result
    patience: int = 8  #: epochs without a better validation, the start's included, after which it stops
    clip: float = 1.0  #: largest norm of the gradient
    noise: float = 0.5  #: share of the sky noise (of the errors of magnitudes) that is drawn once more in every step
    checkpoint_minutes: float = 1.0


def fit(network, data, rows, held_out, settings, *, seed=0, path=None, identity=None, progress=True):
    """
    Train a network; it is left with the averaged weights that did best on the galaxies held out.

    Parameters
    ----------
    network : `torch.nn.Module`
        From inputs to a `~astro_galtrans.photoz.density.Mixture`; its ``head.grid`` is the redshift grid.
    data : object
        ``data.batch(rows, noise=0.0)`` gives a tuple of input tensors, with noise drawn from torch's global generator;
        ``data.z`` is a tensor of all redshifts.
    rows, held_out : `torch.Tensor`
        Rows of the data to train on, and to validate with.
    settings : `TrainingSettings`
    seed : int, optional
        Of batches, flips and dropout.
    path : path-like, optional
        Checkpoint: written every minute, gone on from if it is there.
    identity : str, optional
        What a checkpoint must agree with, beside seed and settings.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    dict
        ``epochs``, ``cpu_seconds``, ``best_epoch`` (0: as it came), and mean log-likelihoods of the galaxies held out
        (nats): ``start``, and ``validation`` of each epoch.

    Raises
    ------
    ValueError
        If the checkpoint belongs to another training.
    FloatingPointError
        If the loss is no longer finite.
    """
    run = _Run(network, data, rows, held_out, settings, seed)
    identity = json.dumps({"seed": seed, "settings": asdict(settings), "of": identity}, sort_keys=True)
    run.resume(path, identity)
    with tqdm(total=settings.epochs, initial=run.epoch, unit="epoch", disable=None if progress else True) as bar:
        while not run.finished:
            run.advance()
            bar.update()
            bar.set_postfix(validation=f"{run.history[-1]:.3f}")
            if run.finished or time.monotonic() - run.saved > 60 * settings.checkpoint_minutes:
                run.checkpoint(path, identity)
    network.load_state_dict(run.best)
    network.eval()
    best = int(torch.tensor([run.start, *run.history]).argmax())
    return {
        "epochs": run.epoch, "cpu_seconds": run.cpu_seconds, "best_epoch": best, "start": run.start,
        "validation": run.history,
    }  # fmt: skip


class _Run:
    """Where a training stands: network, averaged network, optimizer, and the best so far."""

    def __init__(self, network, data, rows, held_out, settings, seed):
        self.network, self.data, self.settings, self.seed = network, data, settings, seed
        self.rows, self.held_out, self.grid = rows, held_out, network.head.grid
        self.average = copy.deepcopy(network).requires_grad_(requires_grad=False).eval()
        self.best = copy.deepcopy(network.state_dict())
        states = self.average.state_dict(), network.state_dict()  # views of the values, which follow the training
        self.averaged = [[value for value in state.values() if value.is_floating_point()] for state in states]
        self.optimizer = torch.optim.AdamW(
            [value for value in network.parameters() if value.requires_grad],
            lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.99), foreach=True,
        )  # fmt: skip
        self.epoch, self.cpu_seconds, self.history, self.saved = 0, 0.0, [], time.monotonic()
        self.start = self._validate()  # what a network that was trained before must exceed
        # batches of nearly equal size: a last batch of one galaxy would ruin a batch normalisation
        self.batches = max(1, round(len(rows) / settings.batch_size))

    @property
    def finished(self):
        if self.epoch >= self.settings.epochs:
            return True
        reached = [self.start, *self.history]
        return self.epoch - reached.index(max(reached)) >= self.settings.patience

    def advance(self):
        """One epoch and its validation."""
        start = time.process_time()
        generator = torch.Generator().manual_seed(_mixed(self.seed, self.epoch))
        order = self.rows[torch.randperm(len(self.rows), generator=generator)]
        self.network.train()
        for k, rows in enumerate(order.tensor_split(self.batches)):
            self._step(self.epoch * self.batches + k, rows)
        self.history.append(self._validate())
        if self.history[-1] >= max(self.start, *self.history):
            self.best = copy.deepcopy(self.average.state_dict())
        self.epoch += 1
        self.cpu_seconds += time.process_time() - start

    def _step(self, step, rows):
        with _seeded(_mixed(self.seed, step, 1)):  # dropout draws from the global state
            stamps, *others = self.data.batch(rows, self.settings.noise)
            mixture = self.network(dihedral(stamps, step), *others)
            loss = -log_likelihood(mixture, self.grid, self.data.z[rows]).mean()
            if not torch.isfinite(loss):
                msg = f"the loss is not finite at step {step}: lower the learning rate, or check the images"
                raise FloatingPointError(msg)
            self.network.zero_grad(set_to_none=True)  # what is frozen too: clipping counts all gradients
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(step)
        self.optimizer.step()
        self._average(step)

    def _rate(self, step):
        share = step / (self.settings.epochs * self.batches)
        return self.settings.learning_rate * min(1, (step + 1) / 50) * (0.01 + 0.495 * (1 + math.cos(math.pi * share)))

    @torch.no_grad()
    def _average(self, step):
        memory = min(self.settings.average, (1 + step) / (10 + step))  # short at first: the start is random
        torch._foreach_lerp_(*self.averaged, 1 - memory)

    @torch.no_grad()
    def _validate(self):
        total = 0.0
        for rows in self.held_out.split(512):
            mixture = self.average(*self.data.batch(rows))
            total += float(log_likelihood(mixture, self.grid, self.data.z[rows]).sum())
        return total / len(self.held_out)

    def checkpoint(self, path, identity):
        """Write the state beside the last checkpoint, then replace that."""
        self.saved = time.monotonic()
        if path is None:
            return
        kept = {name: getattr(self, name) for name in ("epoch", "cpu_seconds", "history", "best")}
        parts = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimizer")}
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            torch.save({"identity": identity} | kept | parts, file)

    def resume(self, path, identity):
        """Take up the last checkpoint, if there is one."""
        if path is None or not Path(path).exists():
            return
        state = torch.load(path, weights_only=True)
        if state["identity"] != identity:
            msg = f"{path} belongs to a training with other galaxies or settings; choose another folder or delete it"
            raise ValueError(msg)
        for name in ("epoch", "cpu_seconds", "history", "best"):
            setattr(self, name, state[name])
        for name in ("network", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])


@contextmanager
def _seeded(seed):
    """Torch's random state for a while; `torch.manual_seed` would keep a traceback per call for GPUs not yet in use."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


def dihedral(stamps, number):
    """
    Return stamps ``[B, C, S, S]`` in one of the eight orientations of a square; anything but stamps as it is.

    Parameters
    ----------
    stamps : `torch.Tensor`
        A batch.
    number : int
        Which orientation, modulo eight.
    """
    if stamps.ndim != 4:
        return stamps
    if number % 8 >= 4:
        stamps = stamps.flip(-1)
    return torch.rot90(stamps, number % 4, dims=(-2, -1))


def _mixed(*numbers):
    """A seed that differs for every tuple of small numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 12_345) % 2**63
    return seed
