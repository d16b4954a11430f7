"""The two things that a training gives the loop: its settings, and a task with network, batches, losses and scores."""

import math
from dataclasses import dataclass

__all__ = ["Settings", "Task"]


@dataclass(frozen=True)
class Settings:
    """How a network is trained, by AdamW (Loshchilov & Hutter 2019) and Muon, a linear warm-up and a cosine decay."""

    steps: int  #: of the optimizers
    learning_rate: float  #: the largest, after the warm-up; it ends at a hundredth of it
    weight_decay: float
    warmup: int  #: steps over which the learning rate rises from zero
    clip: float  #: norm to which a larger gradient is shortened
    average: float  #: decay per step of the averaged weights, which are the result
    seed: int
    muon_rate: float = 0.0  #: largest learning rate of `Task.matrices`, by Muon; 0: by AdamW, as the rest
    validation_steps: int = 0  #: steps between two validations; 0: none
    validate_start: bool = False  #: validate the network before the first step, too
    score: str = "loss"  #: the task's score that validations are compared by; smaller is better, but not of "..._gain"
    patience: int = 0  #: validations without a better score after which the training ends, and the best is kept; 0: all
    hours: float = math.inf  #: time limit; the learning rate falls to its end by steps or by time, whichever is sooner
    log_steps: int = 100  #: steps between two rows of ``losses.csv``
    picture_steps: int = 0  #: steps between two pictures; 0: none
    checkpoint_minutes: float = 5.0  #: time between two checkpoints; 0: after every step


class Task:
    """
    What is trained; subclasses set `network` and write `batches`, `losses` and, if they validate, `scores`.

    The network is trained in place; the result is a copy of it with averaged weights.
    """

    def __init__(self, network):
        self.network = network

    def prepare(self):
        """
        Build what only training needs, once the copy for the averaged weights has been made.

        Returns a list of the parameters of each optimizer, in the order in which `losses` yields.
        """
        return [[p for p in self.network.parameters() if p.requires_grad]]

    def matrices(self):
        """Return the parameters that are matrices of hidden layers, for which Muon is meant; none by default."""
        return []

    def batches(self, start, stop, device):
        """
        Yield the batches of steps ``start`` to ``stop``, which depend on nothing but seed, step and process.

        ``device`` is where they will be needed; `losses` takes them there.
        """
        raise NotImplementedError

    def losses(self, batch, progress, generator):
        """
        Yield the terms of the loss, one dict of scalars per optimizer, with ``progress``, 0 to 1, of the training done.

        The sum of a dict's values is minimised before the next is asked for, so that an adversary sees the network it
        judges already updated. The loop has seeded ``generator``, on the device of the training, and torch's global
        generator for this step.
        """
        raise NotImplementedError

    def scores(self, network, devices):
        """Return a dict of scores on data not trained on, of a network with averaged weights in evaluation mode."""
        raise NotImplementedError

    def draw(self, network, step):
        """Draw results of the averaged network, and return the PNG file; None if there is no picture."""

    def state(self):
        """Return the task's part of a checkpoint, by which a resumed training recognises its own."""
        return {}
