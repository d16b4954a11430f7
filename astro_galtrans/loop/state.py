"""
Checkpoints on disk: the current one and the one before.

A checkpoint is written beside its place, forced to the disk and renamed, so a process that is killed leaves a whole
one. Its first line holds a checksum: one that is damaged later is recognised, and the one before is used.
"""

import errno
import io
import os
import warnings

import torch

from astro_galtrans._files import fingerprint, whole_file
from astro_galtrans.exceptions import CheckpointError, GaltransWarning

__all__ = ["CURRENT", "PREVIOUS", "read_state", "write_state"]

CURRENT, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"
MAGIC = b"astro_galtrans training 1 "


def write_state(directory, state):
    """
    Write a checkpoint, a dict that ``torch.save`` takes; the one that was current becomes the previous.

    If it cannot be written, e.g. because the disk is full, that is an `OSError`, and the checkpoints there are as they
    were.
    """
    stream = io.BytesIO()
    torch.save(state, stream)
    content = stream.getbuffer()
    try:
        with whole_file(directory / CURRENT) as place:
            with place.open("wb") as file:
                file.write(MAGIC + fingerprint(content).encode() + b"\n")
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # before the renaming, or a loss of power may leave a name without content
            if (directory / CURRENT).exists():
                (directory / CURRENT).replace(directory / PREVIOUS)
    except OSError as err:
        full = err.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        why = "there is no room for it" if full else "it cannot be written"
        size = f"{len(content) / 1e6:.1f} MB"
        msg = f"no checkpoint of {size} in {directory}: {why} ({err.strerror}); the one before stays"
        raise OSError(err.errno, msg) from err


def read_state(directory, device="cpu"):
    """
    Return the last checkpoint that is whole, with its tensors on a device; None if there is none at all.

    A damaged one is warned of, and the previous is read; if all are damaged, that is a `CheckpointError`.
    """
    problems = []
    for path in (directory / CURRENT, directory / PREVIOUS):
        if path.exists():
            try:
                state = _read(path, device)
            except CheckpointError as err:
                problems.append(str(err))
                continue
            if problems:
                warnings.warn(f"{problems[0]}; going on from {path.name}, step {state['step']}", GaltransWarning, 2)
            return state
    if problems:
        msg = f"{'; '.join(problems)}; delete them to start afresh"
        raise CheckpointError(msg)
    return None


def _read(path, device):
    content = path.read_bytes()
    first, _, rest = content.partition(b"\n")
    if not first.startswith(MAGIC):
        msg = f"{path} is not a checkpoint that this version writes"
        raise CheckpointError(msg)
    if fingerprint(rest).encode() != first[len(MAGIC) :]:
        msg = f"{path} is damaged: its checksum is wrong"
        raise CheckpointError(msg)
    return torch.load(io.BytesIO(rest), map_location=device, weights_only=True)
