"""A photometric sampler for a deterministic translator: its table of fluxes, its density, and the file with both."""

from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import numpy as np

from astro_galtrans.models import checkpoint
from astro_galtrans.models.photometric.sampler import PhotometricSampler
from astro_galtrans.models.shipped import SUFFIX
from astro_galtrans.translate.translator import load_translator

from .flow import FlowSettings, train_flow
from .fluxes import make_flux_table

__all__ = ["add_sampler", "train_sampler"]

SAMPLED = "; samples keep the photometry"  # at the end of a card's description


def train_sampler(
    translator, pairs, output, *, held_out=None, count=None, name=None, n_samples=None, settings=None, directory=None,
    workers=1, device="auto", progress=True,
):  # fmt: skip
    """
    Give a deterministic translator a sampler, trained on pairs, and write both to a new file; return its card.

    Parameters
    ----------
    translator : str, path-like or `~astro_galtrans.Translator`
        Shipped or the user's own; calibrated, so that its card states how its errors are correlated.
    pairs, held_out : `~astro_galtrans.pairs.store.PairStore`, `PairSettings` or path-like
        Pairs to train the density of fluxes on, best some ten thousand, and others to validate it: stores, settings of
        pairs to simulate, or tables of ``training.fluxes.make_flux_table``. By default a twentieth of the
        pairs validates.
    output : path-like
        The file, ``NAME.safetensors``.
    count : int, optional
        How many pairs to simulate.
    name : str, optional
        Of the new translator; by default that of the file.
    n_samples : int, optional
        Samples that a translation averages where none are asked for; by default it is the network's own answer.
    settings : `~astro_galtrans.training.flow.FlowSettings`, optional
    directory : path-like, optional
        Where checkpoints and tables are kept, with which an interrupted call goes on.
    workers, device, progress
        As for ``make_flux_table`` and ``train_flow`` (``astro_galtrans.training.fluxes`` and ``.flow``).

    Raises
    ------
    ValueError
        If the translator samples already, its card does not state how its errors are correlated, or there are too few
        pairs.

    Examples
    --------
    >>> import tempfile
    >>> from astro_galtrans.pairs.simulated import PairSettings
    >>> from astro_galtrans.training import FlowSettings, train_sampler
    >>> pairs, few = PairSettings(size=40, kind="galaxy", seed=5), FlowSettings(gaussian_steps=2, steps=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/mine.safetensors"
    ...     card = train_sampler("srgan-sdss-cfhtls", pairs, path, count=320, settings=few, progress=False)
    >>> card["name"]
    'mine'
    """
    translator = load_translator(translator) if isinstance(translator, str | Path) else translator
    tables, directory = [], None if directory is None else Path(directory)
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    for which, kind in ((pairs, "train"), (held_out, "held-out")):
        if which is None or isinstance(which, str | Path | dict):
            tables.append(which)
            continue
        path = directory and directory / f"fluxes-{kind}.npz"
        found = dict(np.load(path)) if path and path.exists() else None
        number = count if kind == "train" else None
        tables.append(found or make_flux_table(translator, which, number, path, workers=workers, progress=progress))
    settings = settings or FlowSettings()
    flow, history = train_flow(
        tables[0], translator.card, tables[1], settings, directory=directory, device=device, progress=progress
    )
    told = {"settings": asdict(settings), "losses": {stage: _course(rows) for stage, rows in history.items()}}
    return add_sampler(translator, flow, output, settings, name=name, n_samples=n_samples, told=told)


def add_sampler(translator, flow, output, settings, *, name=None, n_samples=None, told=None):
    """
    Write a translator with a sampler to a file, and return its card.

    Parameters
    ----------
    translator : `~astro_galtrans.Translator`
    flow : `~astro_galtrans.models.photometric.flow.FluxFlow`
        Trained. Its weights are stored in half precision.
    output, name, n_samples
        As for `train_sampler`.
    settings : `~astro_galtrans.training.flow.FlowSettings`
        With which the flow was made.
    told : dict, optional
        What the card shall say of the training.

    Examples
    --------
    >>> import tempfile
    >>> from astro_galtrans import load_translator
    >>> from astro_galtrans.training import FlowSettings, add_sampler
    >>> flow = load_translator("photometric-sdss-cfhtls").model.sampler.flow  # of this very network
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/mine.safetensors"
    ...     card = add_sampler(load_translator("srgan-sdss-cfhtls"), flow, path, FlowSettings(), n_samples=16)
    ...     print(load_translator(path).samples, card["sampling"])
    True {'n_samples': 16}
    """
    if Path(output).suffix != SUFFIX:
        msg = f"a translator is a file whose name ends in {SUFFIX}, by which it is found; got {output}"
        raise ValueError(msg)
    model, card = deepcopy(translator.model), deepcopy(translator.card)
    sizes = {key: getattr(settings, key) for key in ("gaussian_width", "width", "blocks")}
    model.sampler = PhotometricSampler(model.spec, **sizes)
    model.sampler.flow.load_state_dict(flow.state_dict())
    for parameter in model.sampler.flow.parameters():
        parameter.data = parameter.data.half()
    card["name"] = name or Path(output).stem
    card["description"] = f"{card.get('description', '').removesuffix(SAMPLED)}{SAMPLED}"
    card["training"] = card.get("training", {}) | {"sampler": told or {}}
    if n_samples is not None:
        card["sampling"] = {"n_samples": n_samples}
    card.get("network", {}).pop("sampler", None)
    card.pop("created", None)
    return checkpoint.save(output, model, card)


def _course(rows):
    """First, best and last loss of a training, and its number of steps."""
    losses = [row["loss"] for row in rows]
    return {"first": losses[0], "best": min(losses), "last": losses[-1], "steps": rows[-1]["step"]}
