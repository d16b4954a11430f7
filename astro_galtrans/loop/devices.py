"""Where a training computes: on one device with torch alone, on several with Lightning Fabric."""

import torch

from astro_galtrans._optional import require

__all__ = ["PRECISIONS", "OneDevice", "choose_devices"]

PRECISIONS = "32-true", "bf16-mixed"  # Lightning's names


class OneDevice:
    """What the loop asks of `lightning_fabric.Fabric`, for one device and one of `PRECISIONS`, without that package."""

    world_size, global_rank, is_global_zero = 1, 0, True

    def __init__(self, device, precision=PRECISIONS[0]):
        self.device, self.mixed = torch.device(device), precision != PRECISIONS[0]

    def autocast(self):
        """Return the context in which a network is evaluated."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed)

    def broadcast(self, value):
        """Return the value that the first process has."""
        return value

    def barrier(self):
        """Wait for the other processes, of which there are none."""


def choose_devices(device="auto", devices=1, precision=PRECISIONS[0]):
    """
    Return a `OneDevice`, or a `lightning_fabric.Fabric` for several, each with a process of its own.

    ``device`` is "cpu", "cuda", "cuda:1", ..., or "auto": a GPU if there is one; ``precision`` "32-true", or
    "bf16-mixed": bfloat16 where torch's autocast takes that for safe. It is a `ValueError` if there is no such device
    or precision, and an `ImportError` if several are asked for without Lightning Fabric.
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
    if devices == 1:
        return OneDevice(f"cuda:{number or 0}" if kind == "cuda" else kind, precision)
    fabric = require("lightning_fabric", extra="train")
    return fabric.Fabric(accelerator=kind, devices=devices, precision=precision, strategy="ddp_spawn")
