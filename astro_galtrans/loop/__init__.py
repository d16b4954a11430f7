"""
The training loop, for any network and any data: what is trained comes as a `Task`, how as `Settings`.

The loop brings steps, the course of the learning rate, clipped gradients, averaged weights, validation and early
stopping, checkpoints with checksums, logs, and devices. All random numbers of a step depend on the seed, the step and
the process only, so that a training that goes on from a checkpoint ends, on a CPU, bit for bit where it would have
ended without the interruption.
"""

from .devices import PRECISIONS, OneDevice, choose_devices
from .state import read_state
from .task import Settings, Task
from .training import Training, train

__all__ = ["PRECISIONS", "OneDevice", "Settings", "Task", "Training", "choose_devices", "read_state", "train"]
