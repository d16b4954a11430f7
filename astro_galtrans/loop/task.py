"""What a training brings to the loop: how it shall run, and a task with network, batches, losses and scores."""

import math
from dataclasses import dataclass

__all__ = ["Settings", "Task"]


@dataclass(frozen=True)
class Settings:
    """How a network is trained, by AdamW (Loshchilov & Hutter 2019), a linear warm-up and a cosine decay."""

    steps: int  #: of the optimizers
    learning_rate: float  #: the largest, after the warm-up; it ends at a hundredth of it
    weight_decay: float
    warmup: int  #: steps over which the learning rate rises from zero
    clip: float  #: norm to which a larger gradient is shortened
    average: float  #: decay per step of the averaged weights, which are the result
    seed: int
    validation_steps: int = 0  #: steps between two validations; 0: none
    validate_start: bool = False  #: score the network as it came, too
    score: str = "loss"  #: which of the task's scores tells the best; smaller is better, unless it is called "..._gain"
    patience: int = 0  #: validations without a better score after which the training ends, and the best is kept; 0: all
    hours: float = math.inf  #: end earlier; the learning rate follows whichever of both ends first
    log_steps: int = 100  #: steps between two rows of ``losses.csv``
    picture_steps: int = 0  #: steps between two pictures; 0: none
    checkpoint_minutes: float = 5.0  #: time between two checkpoints; 0: after every step


class Task:
    """
    What is trained; subclasses set `network` and write `batches`, `losses` and, if they validate, `scores`.

    Parameters
    ----------
    network : `torch.nn.Module`
        Trained in place; the result is a copy of it with averaged weights.
    """

    def __init__(self, network):
        self.network = network

    def prepare(self):
        """
        Build what only training needs, once the copy for the averaged weights has been made.

        Returns
        -------
        list of list of `torch.nn.Parameter`
            The parameters of each optimizer, in the order in which `losses` yields.
        """
        return [[p for p in self.network.parameters() if p.requires_grad]]

    def batches(self, start, stop, device):
        """
        Yield the batches of steps ``start`` to ``stop``, which depend on nothing but seed, step and process.

        Parameters
        ----------
        start, stop : int
        device : `torch.device`
            Where they will be needed; `losses` takes them there.
        """
        raise NotImplementedError

    def losses(self, batch, progress, generator):
        """
        Yield the terms of the loss, one dict of scalars per optimizer.

        The sum of a dict's values is minimised before the next is asked for, so that an adversary sees the network it
        judges already updated. The loop has seeded ``generator`` and torch's global generator for this step.

        Parameters
        ----------
        batch : object
            From `batches`.
        progress : float
            Share of the training done, 0 to 1.
        generator : `torch.Generator`
            On the device of the training.
        """
        raise NotImplementedError

    def scores(self, network, devices):
        """
        Return a dict of scores on data that is not trained on.

        Parameters
        ----------
        network : `torch.nn.Module`
            With averaged weights, in evaluation mode.
        devices : `~astro_galtrans.loop.devices.OneDevice` or `lightning_fabric.Fabric`
            For the device and the precision.
        """
        raise NotImplementedError

    def draw(self, network, step):
        """Draw a picture of what the averaged network does, and return its PNG file; None if it cannot be drawn."""

    def state(self):
        """Return what a checkpoint holds of the task, by which it is known when the training goes on."""
        return {}
