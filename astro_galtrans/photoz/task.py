"""What the training of an estimator brings to the loop: batches of galaxies, and the likelihood of their redshifts."""

from dataclasses import asdict, dataclass
from functools import partial
from math import inf

import torch

from astro_galtrans import loop

from .density import log_likelihood

__all__ = ["TrainingSettings", "dihedral", "fit"]

WARMUP = 50  # steps over which the learning rate rises, until AdamW's averages of squared gradients have settled
VALIDATED = 512  # galaxies evaluated at once in a validation: a bound on memory


@dataclass(frozen=True)
class TrainingSettings:
    """
    How an estimator's network is trained.

    Examples
    --------
    >>> from astro_galtrans.photoz import TrainingSettings
    >>> TrainingSettings(epochs=5).batch_size
    128
    >>> TrainingSettings(epochs=0)
    Traceback (most recent call last):
        ...
    ValueError: epochs must be 1 or more, got 0
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 2e-3  #: the largest; it rises for 50 steps, then falls as a cosine
    weight_decay: float = 1e-2
    average: float = 0.995  #: decay per step of the averaged weights, which are the result
    patience: int = 8  #: epochs without a better validation, that of the start included, after which training stops
    clip: float = 1.0  #: norm to which a larger gradient is shortened
    noise: float = 0.5  #: noise added anew in every step, as a share of the sky noise (or of the errors of magnitudes)
    checkpoint_minutes: float = 1.0

    def __post_init__(self):
        least = {"epochs": 1, "batch_size": 1, "learning_rate": 1e-12, "clip": 1e-12, "patience": 0}
        for name in self.__dataclass_fields__:
            value, lowest = getattr(self, name), least.get(name, 0)
            if not lowest <= value < inf or (name == "average" and value >= 1):
                msg = f"{name} must be {lowest:g} or more{', below 1' if name == 'average' else ''}, got {value!r}"
                raise ValueError(msg)


def fit(network, data, rows, held_out, settings, *, seed=0, directory=None, identity=None, device="cpu", progress=True):
    """
    Train a network on galaxies; return it on the CPU, with the averaged weights that did best on those held out, and
    how the training went.

    ``network`` goes from inputs to a mixture, and its ``head.grid`` is the redshift grid. ``data.batch(rows,
    noise=0.0)`` gives a tuple of input tensors, with noise drawn from torch's global generator; ``data.z`` is a tensor
    of all redshifts. An interrupted training goes on from the checkpoint in ``directory``, which must have the same
    ``identity``, seed and settings. The second result has ``epochs``, ``seconds``, ``best_epoch`` (0 before the first)
    and mean log-likelihoods of the galaxies held out (nats): ``start``, and ``validation`` of each epoch.
    """
    # batches of nearly equal size: a last batch of one galaxy would ruin a batch normalisation
    batches = max(1, round(len(rows) / settings.batch_size))
    identity = {"seed": seed, "settings": asdict(settings), "of": identity}
    task = RedshiftTask(network, data, rows, held_out, batches, settings.noise, identity)
    make_task, settings = partial(_checked, task, directory), _settings(settings, batches, seed)
    training = loop.train(make_task, settings, directory, device=device, progress=progress)
    start, *validation = (-row["loss"] for row in training.history)
    run = {"epochs": len(validation), "seconds": training.seconds, "best_epoch": training.best_row}
    return training.result(), run | {"start": start, "validation": validation}


def _settings(settings, batches, seed):
    same = "learning_rate", "weight_decay", "clip", "average", "patience", "checkpoint_minutes"
    return loop.Settings(
        **{name: getattr(settings, name) for name in same}, steps=settings.epochs * batches, warmup=WARMUP, seed=seed,
        validation_steps=batches, validate_start=True, log_steps=batches,
    )  # fmt: skip


def _checked(task, directory, state, _rank):
    if state is not None and state != task.state():
        msg = f"{directory} holds a training with other galaxies or settings; choose another folder or delete it"
        raise ValueError(msg)
    return task


class RedshiftTask(loop.Task):
    """
    The training of one network on galaxies with known redshifts.

    ``identity`` tells this training from others; its ``seed`` is that of the order of the galaxies.
    """

    def __init__(self, network, data, rows, held_out, batches, noise, identity):
        super().__init__(network)
        self.data, self.rows, self.held_out, self.per_epoch = data, rows, held_out, batches
        self.noise, self.identity = noise, identity

    def batches(self, start, stop, device):
        """Yield step and rows of the galaxies of each batch, every epoch in another order."""
        for step in range(start, stop):
            epoch, k = divmod(step, self.per_epoch)
            if k == 0 or step == start:
                generator = torch.Generator().manual_seed(self.identity["seed"] + 1_000_003 * (epoch + 1))
                order = self.rows[torch.randperm(len(self.rows), generator=generator)].tensor_split(self.per_epoch)
            yield step, order[k]

    def losses(self, batch, progress, generator):
        """Yield minus the mean log-likelihood of the redshifts, with the stamps in another orientation each step."""
        step, rows = batch
        stamps, *others = self.data.batch(rows, self.noise)
        yield {"loss": -self._log_likelihood(self.network, (dihedral(stamps, step), *others), rows).mean()}

    @torch.no_grad()
    def scores(self, network, devices):
        """Return minus the mean log-likelihood of the redshifts held out (nats)."""
        parts = self.held_out.split(VALIDATED)
        total = sum(float(self._log_likelihood(network, self.data.batch(rows), rows).sum()) for rows in parts)
        return {"loss": -total / len(self.held_out)}

    def state(self):
        """Return what tells this training from others."""
        return self.identity

    def _log_likelihood(self, network, inputs, rows):
        grid = network.head.grid
        mixture = network(*(part.to(grid.device) for part in inputs))
        return log_likelihood(mixture, grid, self.data.z[rows].to(grid.device))


def dihedral(stamps, number):
    """Return stamps ``[B, C, S, S]`` in orientation ``number`` modulo 8 of a square; anything but stamps as it is."""
    if stamps.ndim != 4:
        return stamps
    if number % 8 >= 4:
        stamps = stamps.flip(-1)
    return torch.rot90(stamps, number % 4, dims=(-2, -1))
