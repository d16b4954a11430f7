"""
The estimator's file: weights and a card in one safetensors file, as translators have it.

The card, a dict that JSON can hold, lies in the header: bands, pixel scale, redshift grid, prior, settings of the
networks, their calibration, what they were trained on, versions. A checksum over card and weights tells a damaged file.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import torch

from astro_galtrans._files import fingerprint, whole_file
from astro_galtrans._release import __version__
from astro_galtrans.exceptions import CheckpointError

__all__ = ["FORMAT_VERSION", "read_file", "write_file"]

FORMAT_VERSION = 1
KEY = "astro_galtrans_photoz"


def write_file(path, tensors, card):
    """
    Write an estimator file, whole or not at all.

    Parameters
    ----------
    path : path-like
        Where; an existing file is replaced.
    tensors : dict of str to `torch.Tensor`
        The weights.
    card : dict
        What JSON can hold.

    Returns
    -------
    dict
        The card as written, with format version, versions and date.
    """
    from safetensors.torch import save

    card = {"format_version": FORMAT_VERSION} | card
    card.setdefault("created", datetime.now(UTC).isoformat(timespec="seconds"))
    card.setdefault("versions", {"astro_galtrans": __version__, "torch": torch.__version__})
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(card, sort_keys=True, allow_nan=False)
    content = save(tensors, metadata={KEY: text, "sha256": _digest(text, tensors)})
    with whole_file(path) as file:
        file.write_bytes(content)
    return json.loads(text)


def read_file(path):
    """
    Read an estimator file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    tensors : dict of str to `torch.Tensor`
        The weights.
    card : dict
        See `write_file`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If it is no estimator file, is damaged, or of another format version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.exists():
        msg = f"there is no estimator file {path}"
        raise FileNotFoundError(msg)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as err:
        msg = f"{path} is not a safetensors file, or is damaged: {err}"
        raise CheckpointError(msg) from err
    if KEY not in metadata:
        msg = f"{path} is a safetensors file, but not one of a redshift estimator"
        raise CheckpointError(msg)
    if metadata.get("sha256") != _digest(metadata[KEY], tensors):
        msg = f"{path}: the weights or the card do not match their checksum; the file is damaged or was edited"
        raise CheckpointError(msg)
    card = json.loads(metadata[KEY])
    if card["format_version"] != FORMAT_VERSION:
        msg = f"{path} is of format version {card['format_version']}; this version reads {FORMAT_VERSION}"
        raise CheckpointError(msg)
    return tensors, card


def _digest(text, tensors):
    parts = (part for name in sorted(tensors) for part in (name, tensors[name].numpy()))
    return fingerprint(text, *parts)
