"""
The translator file: a network's weights and its card in one safetensors file.

A safetensors file is eight bytes with the length of a JSON header, the header, and the tensors' bytes. The card (a dict
that JSON can hold) lies in the header, so that reading it needs neither torch nor the weights. Two checksums, of the
tensors and of the card, tell a file that was damaged or edited from one that was saved by `save`.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from math import prod
from operator import index
from pathlib import Path

from astro_galtrans._files import fingerprint, whole_file
from astro_galtrans._release import __version__
from astro_galtrans.exceptions import CheckpointError

from ._card import check_network, frozen
from .registry import get_model_class

__all__ = ["FORMAT_VERSION", "Checkpoint", "load", "read_card", "save"]

FORMAT_VERSION = 1
LONGEST_HEADER = 2**24  # bytes; a card with its training history has some tens of thousands
#: What `save` asks of its caller; it writes the rest of the card itself.
REQUIRED = ("name", "source", "target", "calibration", "validity")
KEY = "astro_galtrans"  # the entry of the safetensors metadata that holds the card


@dataclass(frozen=True)
class Checkpoint:
    """A network with its card, as read from a file."""

    model: object  #: the `~astro_galtrans.models.base.TranslationModel`, ready to predict
    card: dict  #: see `save`; read-only, since all users of a translator share it
    sha256: str  #: of the whole file, as ``sha256sum`` prints it


def save(path, model, card):
    """
    Write a translator file; either the whole file is there afterwards or nothing has changed.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        Where to write; an existing file is replaced.
    model : `~astro_galtrans.models.base.TranslationModel`
        The network. Its class must be known to the registry, so that `load` can rebuild it.
    card : dict
        Description of the translator: ``name``, ``source`` and ``target`` (survey, unit, zero point, pixel scale and
        scaling; for the source also its sky rms), ``calibration`` (factors of flux and std per output band),
        ``validity`` (range of inputs); optional: ``description``, ``sampling``, ``training``, ``scores``, ``licence``.
        ``network`` may hold the ``preset`` and, where the model does not know them, the ``settings``. Format version,
        versions, date and checksums are added.

    Returns
    -------
    dict
        The card as it was written.

    Raises
    ------
    ValueError
        If a key is missing, or the card describes another network than ``model``.
    """
    from safetensors.torch import save as to_bytes

    path = Path(path)
    state = model.inference_state_dict()
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    bare = to_bytes(tensors)
    card = _completed(card, model) | {"tensors_sha256": _tensors_sha256(bare, _header(bare, path))}
    card["card_sha256"] = _card_sha256(card)
    with whole_file(path) as file:
        file.write_bytes(to_bytes(tensors, metadata={KEY: _canonical(card)}))
    return card


def load(path, device="cpu"):
    """
    Read a translator file and rebuild its network.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        The file.
    device : str or `torch.device`, optional
        Where the network shall live.

    Returns
    -------
    `Checkpoint`
        With the network in float32 and in evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is damaged, was edited, is of another format version, or does not fit its network.
    """
    from safetensors.torch import load as from_bytes

    path = Path(path)
    content = path.read_bytes()
    header = _header(content, path)
    card = _card(header, path)
    if _tensors_sha256(content, header) != card["tensors_sha256"]:
        msg = f"{path}: the weights do not match their checksum; the file is damaged or was edited"
        raise CheckpointError(msg)
    _check_size(card["network"], header, path)
    model = _build(card["network"], path)
    _fill(model, from_bytes(content), path)
    # float32 whatever the file holds: a network may have been stored in half precision to save room
    return Checkpoint(model.float().to(device).eval(), frozen(card), fingerprint(content))


def read_card(path):
    """
    Read the card of a translator file, and nothing else of it.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        The file.

    Returns
    -------
    dict
        The card; see `save`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is damaged, its card was edited, or it is of another format version.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(8)
        start += file.read(min(int.from_bytes(start, "little"), path.stat().st_size, LONGEST_HEADER + 1))
    return _card(_header(start, path, size=path.stat().st_size), path)


def _header(content, path, size=None):
    """Parse the safetensors header and check that all the bytes it announces are there."""
    size = len(content) if size is None else size
    end = 8 + int.from_bytes(content[:8], "little")
    if end > LONGEST_HEADER:
        msg = f"{path} is not a safetensors file: its header claims {end} bytes, and {LONGEST_HEADER} are the most"
        raise CheckpointError(msg)
    try:
        header = json.loads(content[8:end])  # of what is there: fails where the file ends before its header does
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        stops = [index(entry["data_offsets"][1]) for entry in tensors]
        for entry in tensors:
            [index(number) for number in (*entry["shape"], *entry["data_offsets"])], str(entry["dtype"])
    except (ValueError, AttributeError, TypeError, KeyError, IndexError, RecursionError) as err:
        msg = f"{path} is not a safetensors file, or a truncated one ({size} bytes): {err}"
        raise CheckpointError(msg) from err
    if size != end + max(stops, default=0):
        msg = f"{path} should hold {end + max(stops, default=0)} bytes and holds {size}: it is truncated or damaged"
        raise CheckpointError(msg)
    return header


def _card(header, path):
    """Return the card in a header, once its version and checksum are right."""
    try:
        card = json.loads(header["__metadata__"][KEY])
        found = card["format_version"]
    except (KeyError, TypeError, ValueError, RecursionError) as err:
        msg = f"{path} is a safetensors file without a card of astro_galtrans; it is no translator"
        raise CheckpointError(msg) from err
    if found != FORMAT_VERSION:
        msg = f"{path} is of format version {found}; this astro_galtrans ({__version__}) reads version {FORMAT_VERSION}"
        raise CheckpointError(msg)
    try:
        same = _card_sha256(card) == card.get("card_sha256")
    except ValueError:  # NaN and infinities, which no card holds
        same = False
    if not same:
        msg = f"{path}: the card does not match its checksum; the file is damaged or was edited"
        raise CheckpointError(msg)
    check_network(card, path)
    return card


def _completed(card, model):
    missing = [key for key in REQUIRED if key not in card]
    if missing:
        msg = f"the card lacks {', '.join(missing)}; it must have {', '.join(REQUIRED)}"
        raise ValueError(msg)
    card = {key: value for key, value in card.items() if not key.endswith("_sha256")}
    card["format_version"] = FORMAT_VERSION
    card["network"] = _network(card.get("network", {}), model)
    card["versions"] = _versions() | card.get("versions", {})
    card.setdefault("created", datetime.now(UTC).isoformat(timespec="seconds"))
    return json.loads(_canonical(card))  # tuples become lists now, as they will when the file is read


def _network(given, model):
    """Return the recipe to rebuild the model; what the card already says must agree with it."""
    spec = model.spec
    own = {"name": spec.name, "in_bands": list(spec.in_bands), "out_bands": list(spec.out_bands), "scale": spec.scale}
    if hasattr(model, "settings"):
        own["settings"] = dict(model.settings)
    for key in own.keys() & given.keys():
        if json.loads(_canonical(given[key])) != json.loads(_canonical(own[key])):
            msg = f"the card says network {key} = {given[key]!r}, the model has {own[key]!r}"
            raise ValueError(msg)
    return {"preset": None, "settings": {}} | given | own


def _versions():
    import torch

    return {"astro_galtrans": __version__, "torch": torch.__version__}


def _check_size(network, header, path):
    """Raise unless a network is as large as its weights: it is built without memory first, and only as far as that."""
    import torch
    from torch.overrides import TorchFunctionMode

    sizes = [prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__"]
    most_calls, most_elements = 5000 + 200 * len(sizes), 2**24 + 4 * sum(sizes)

    class Budget(TorchFunctionMode):
        calls = 0

        def __torch_function__(self, function, _types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            self.calls += 1
            if self.calls > most_calls or (isinstance(made, torch.Tensor) and made.numel() > most_elements):
                msg = f"{path} describes a network far larger than its {sum(sizes)} weights"
                raise CheckpointError(msg)
            return made

    with torch.device("meta"), Budget():
        _build(network, path)


def _build(network, path):
    import torch

    try:
        with torch.random.fork_rng(devices=[]):  # initial weights are thrown away: the caller's random state stays
            return get_model_class(network["name"])(
                network["in_bands"], network["out_bands"], network["scale"], **network["settings"]
            )
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError, IndexError, AttributeError) as err:
        if isinstance(err, CheckpointError):
            raise
        msg = f"{path} describes a network that this installation cannot build: {err}"
        raise CheckpointError(msg) from err


def _fill(model, tensors, path):
    expected = model.inference_state_dict()
    missing, surplus = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or surplus:
        msg = f"{path} does not fit its network: missing tensors {missing}, surplus tensors {surplus}"
        raise CheckpointError(msg)
    try:
        model.load_state_dict(tensors, strict=False)  # the names were checked above
    except RuntimeError as err:  # a shape differs
        msg = f"{path} does not fit its network: {err}"
        raise CheckpointError(msg) from err


def _canonical(card):
    return json.dumps(card, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value):
    """Numpy numbers and arrays, and tensors, to what JSON knows."""
    if hasattr(value, "tolist"):
        return value.tolist()
    msg = f"a card holds numbers, strings, lists and dicts; got {type(value).__name__}: {value!r}"
    raise TypeError(msg)


def _card_sha256(card):
    rest = {key: value for key, value in card.items() if key != "card_sha256"}
    return fingerprint(_canonical(rest))


def _tensors_sha256(content, header):
    """Hash name, dtype, shape and bytes of each tensor, by name: the order in the file does not matter."""
    start = 8 + int.from_bytes(content[:8], "little")
    content = memoryview(content)
    parts = []
    for name in sorted(header.keys() - {"__metadata__"}):
        entry = header[name]
        first, stop = entry["data_offsets"]
        parts += [_canonical([name, entry["dtype"], entry["shape"]]), content[start + first : start + stop]]
    return fingerprint(*parts)
