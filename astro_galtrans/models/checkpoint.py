"""The translator file: a network's weights and its card (see `astro_galtrans._cards`)."""

import json
from dataclasses import dataclass
from math import prod

from astro_galtrans._cards import CardFile, canonical
from astro_galtrans.exceptions import CheckpointError

from ._card import check_card, check_network, frozen
from .registry import get_model_class

__all__ = ["Checkpoint", "load", "read_card", "save"]

FILE = CardFile("astro_galtrans", "translator", version=1)
#: What `save` asks of its caller; the rest of the card is added.
REQUIRED = ("name", "source", "target", "calibration", "validity")


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
    missing = [key for key in REQUIRED if key not in card]
    if missing:
        msg = f"the card lacks {', '.join(missing)}; it must have {', '.join(REQUIRED)}"
        raise ValueError(msg)
    return FILE.write(path, model.inference_state_dict(), card | {"network": _network(card.get("network", {}), model)})


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
    tensors, card, sha256 = FILE.read(path, check=check_network)
    _check_size(card["network"], [tensor.shape for tensor in tensors.values()], path)
    model = _build(card["network"], path)
    _fill(model, tensors, path)
    # float32 whatever the file holds: a network may have been stored in half precision to save room
    model = model.float().to(device).eval()
    if model.sampler is not None:
        _configure(model.sampler, card, path)
    return Checkpoint(model, frozen(card), sha256)


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
    return FILE.read_card(path, check=check_card)


def _network(given, model):
    """Return the recipe to rebuild the model; what the card already says must agree with it."""
    spec = model.spec
    own = {"name": spec.name, "in_bands": list(spec.in_bands), "out_bands": list(spec.out_bands), "scale": spec.scale}
    if hasattr(model, "settings"):
        own["settings"] = dict(model.settings)
    if model.sampler is not None:
        own["sampler"] = dict(model.sampler.settings)
    for key in own.keys() & given.keys():
        if json.loads(canonical(given[key])) != json.loads(canonical(own[key])):
            msg = f"the card says network {key} = {given[key]!r}, the model has {own[key]!r}"
            raise ValueError(msg)
    return {"preset": None, "settings": {}} | given | own


def _check_size(network, shapes, path):
    """Raise unless a network is as large as its weights: it is built without memory first, and only as far as that."""
    import torch
    from torch.overrides import TorchFunctionMode

    sizes = [prod(shape) for shape in shapes]
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
            model = get_model_class(network["name"])(
                network["in_bands"], network["out_bands"], network["scale"], **network["settings"]
            )
            if "sampler" in network:
                from .photometric.sampler import PhotometricSampler

                model.sampler = PhotometricSampler(model.spec, **network["sampler"])
            return model
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError, IndexError, AttributeError) as err:
        if isinstance(err, CheckpointError):
            raise
        msg = f"{path} describes a network that this installation cannot build: {err}"
        raise CheckpointError(msg) from err


def _configure(sampler, card, path):
    try:
        sampler.configure(card)
    except (KeyError, TypeError, ValueError) as err:
        msg = f"{path} has a sampler, but its card lacks what that needs: {err}"
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
