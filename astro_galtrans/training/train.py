"""
From pairs to a translator file: simulate, train, calibrate, score, write; or calibrate an existing translator anew.

Calibration and scores come from pairs that the training never saw, and not from the same ones.
"""

import tempfile
from pathlib import Path

import numpy as np

from astro_galtrans.models import checkpoint
from astro_galtrans.models._card import check_card
from astro_galtrans.models.shipped import SUFFIX, find_weights, list_weights
from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.translate import load_translator

from .calibration import calibrate
from .card import data_card, export, with_colour_terms
from .fit import fit
from .sampler import train_sampler
from .scores import score

__all__ = ["recalibrate", "simulate_for", "train"]

FEWEST_PAIRS = 4  # fewer would mean a calibration, or scores, from one or two galaxies


def train(recipe, pairs, held_out, directory, *, n_samples=1, progress=True, **options):
    """
    Train a network, write the translator, calibrated, with its scores, and return the path of the file.

    Parameters
    ----------
    recipe : `~astro_galtrans.training.Recipe`
    pairs : `~astro_galtrans.pairs.store.PairStore`
        Pairs to train on; without ``held_out``, their part "train".
    held_out : `~astro_galtrans.pairs.store.PairStore` or None
        Other pairs: every other one is for validation during the training and for calibration, the rest for the
        scores. If None, these are the parts "validation" and "test" of ``pairs``.
    directory : path-like
        Folder for the checkpoint, from which an interrupted training goes on, and for the translator.
    n_samples : int, optional
        As for `export`.
    progress : bool, optional
        Show progress bars on a terminal.
    **options
        Of `~astro_galtrans.training.fit`: ``init``, ``device``, ``devices``, ``precision``.

    Raises
    ------
    ValueError
        If the recipe has the name of a translator that comes with the package, ``held_out`` holds the pairs of the
        training, the pairs of two different surveys are mixed, there are no parts and no ``held_out``, or a part has
        too few pairs.

    Examples
    --------
    >>> import tempfile
    >>> from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
    >>> from astro_galtrans.training import load_recipe, train
    >>> recipe = load_recipe("srgan", name="mine", steps=2, data={"crop": 8, "batch_size": 2})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pairs, others = (
    ...         simulate_pairs(f"{folder}/{seed}", 64, PairSettings(size=32, seed=seed), workers=1, progress=False)
    ...         for seed in (1, 2)
    ...     )
    ...     path = train(recipe, pairs, others, f"{folder}/run", device="cpu", progress=False)
    >>> path.name
    'mine.safetensors'
    """
    if recipe.name in list_weights():
        msg = f"{recipe.name} is the name of a translator that comes with the package; give the recipe another, or none"
        raise ValueError(msg)
    for store in (pairs, held_out):
        if store is not None:
            store.check_images()
    pairs, calibration, test = _parts(pairs, held_out)
    recipe = recipe.for_surveys(pairs.header.source, pairs.header.target)
    trained = fit(recipe, pairs, directory, validation=calibration, progress=progress, **options)
    path = Path(directory) / f"{recipe.name}.safetensors"
    options = {"n_samples": n_samples, "init": options.get("init"), "progress": progress}
    export(path, trained, recipe, pairs, calibration, test=test, **options)
    return path


def recalibrate(translator, pairs, output, *, n_samples=None, sampler=False, workers=1, progress=True):
    """
    Calibrate a translator on pairs of one's own, and score it there; return the new card.

    The network and the card's validity range stay as they are. Every other pair is for the calibration and the rest for
    the scores; of pairs with parts, "test" is for the scores.

    Parameters
    ----------
    translator : str or path-like
        Name of a translator that comes with the package, or a translator file.
    pairs : `~astro_galtrans.pairs.store.PairStore`
        Pairs with the translator's bands and pixel scales.
    output : path-like
        The file to write.
    n_samples : int, optional
        Samples averaged, for stochastic networks; by default what the card recommends.
    sampler : bool, optional
        Give a deterministic translator a sampler that keeps photometry, trained on the pairs of the calibration.
    workers : int, optional
        Processes that measure the pairs for it.
    progress : bool, optional
        Show a progress bar on a terminal.

    Raises
    ------
    ValueError
        If the pairs are not of the translator's kind, or too few, the output's name does not end in ``.safetensors``,
        or a sampler is wanted for a translator that samples already.

    Examples
    --------
    >>> import tempfile
    >>> from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
    >>> from astro_galtrans.training import recalibrate
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pairs = simulate_pairs(f"{folder}/pairs", 64, PairSettings(size=32, seed=9), workers=1, progress=False)
    ...     card = recalibrate("srgan-sdss-cfhtls", pairs, f"{folder}/mine.safetensors", progress=False)
    >>> len(card["calibration"]["std"])
    5
    """
    if n_samples is not None and n_samples < 1:
        msg = f"n_samples must be 1 or more, got {n_samples}"
        raise ValueError(msg)
    if Path(output).suffix != SUFFIX:
        msg = f"a translator is a file whose name ends in {SUFFIX}, by which it is found; got {output}"
        raise ValueError(msg)
    there = checkpoint.load(find_weights(translator))
    card = there.card
    check_card(card, translator)
    _check_kind(card, pairs.header, translator)
    pairs.check_images()
    if sampler and there.model.spec.stochastic:
        msg = f"{translator} samples already; a sampler is for a deterministic translator, leave out sampler=True"
        raise ValueError(msg)
    calibration, test = _two_parts(pairs)
    scalings = tuple(AsinhScaling.from_dict(card[end]["scaling"]) for end in ("source", "target"))
    recommended = card.get("sampling", {}).get("n_samples", 1)
    sampling = {"n_samples": n_samples or recommended, "progress": progress}
    known = {name: entry for name, entry in card["calibration"].items() if name == "colour_terms"}
    terms = known | with_colour_terms(calibration)
    factors = calibrate(there.model, scalings, calibration, **terms, **sampling)
    scores = score(there.model, scalings, test, factors, **sampling)
    factors |= terms | data_card(calibration)
    new = {"calibration": factors, "scores": scores}
    card = {k: v for k, v in card.items() if k != "created"} | new
    if not sampler:
        return checkpoint.save(output, there.model, card)
    options = {"name": card["name"], "workers": workers, "progress": progress}
    with tempfile.TemporaryDirectory() as folder:  # no file without a sampler is left where the training fails
        calibrated = Path(folder) / Path(output).name
        checkpoint.save(calibrated, there.model, card)
        return train_sampler(load_translator(calibrated).mean, calibration, output, **options)


def simulate_for(recipe, directory, *, workers=None, progress=True):
    """
    Simulate the pairs of a recipe's section ``pairs``, or what is missing of them.

    They go into the folders ``pairs`` (to train on) and ``held-out`` (to validate, calibrate and score with) of a
    directory, and are returned in this order; ``workers`` are processes, by default one per core.
    """
    wanted, directory = recipe.pairs, Path(directory)
    names = "source", "target", "source_bands", "target_bands", "scale", "size"
    settings = {name: getattr(wanted, name) or None for name in names} | {"blends": wanted.blends}
    parts = ("pairs", wanted.number, wanted.seed), ("held-out", wanted.held_out, wanted.seed + 1)
    options = {"workers": workers, "progress": progress}
    return [simulate_pairs(directory / name, n, PairSettings(seed=seed, **settings), **options)
            for name, n, seed in parts]  # fmt: skip


def _parts(pairs, held_out):
    """Pairs to train on, to calibrate with, and to score on."""
    if held_out is None:
        parts = [pairs.split(name) for name in ("train", "validation", "test")]
        for name, part in zip(("train", "validation", "test"), parts, strict=True):
            _check_number(part, f"the part {name!r} of {pairs.directory}")
        return parts
    shared = _shared(pairs, held_out)
    if shared:
        msg = f"{shared} of the pairs to calibrate with ({held_out.directory}) are those of the training; take others"
        raise ValueError(msg)
    headers = pairs.header, held_out.header
    differ = [what for what in ("source", "target", "scale") if len({getattr(h, what) for h in headers}) > 1]
    if differ:
        both = f"{held_out.directory} and {pairs.directory}"
        msg = f"{both} are not pairs of one kind: they differ in {', '.join(differ)}"
        raise ValueError(msg)
    return pairs, *_two_parts(held_out)


def _two_parts(pairs):
    """Pairs to calibrate with, and others to score on."""
    places = np.arange(len(pairs))
    test = pairs.table["split"] == "test" if "split" in pairs.table.colnames else places % 2 == 1
    if not 0 < np.count_nonzero(test) < len(pairs):  # a set that is one part
        test = places % 2 == 1
    parts = pairs.subset(places[~test]), pairs.subset(places[test])
    for part, what in zip(parts, ("to calibrate with", "to score on"), strict=True):
        _check_number(part, f"{pairs.directory}, {what}")
    return parts


def _check_number(part, what):
    if len(part) < FEWEST_PAIRS:
        msg = f"only {len(part)} pairs in {what}; at least {FEWEST_PAIRS} are needed, and hundreds are better"
        raise ValueError(msg)


def _shared(pairs, held_out):
    """How many pairs two sets have in common: of one store, or of two of the same simulation."""
    again = pairs.header.simulation is not None and pairs.header == held_out.header
    if not again and pairs.directory.resolve() != held_out.directory.resolve():
        return 0
    return len(np.intersect1d(pairs.column("index"), held_out.column("index")))


def _check_kind(card, header, translator):
    """Raise unless pairs have the bands, scale, pixels and zero points of a translator."""
    network, source, target = card["network"], card["source"], card["target"]
    compared = {
        "bands in": (header.source_bands, tuple(network["in_bands"])),
        "bands out": (header.target_bands, tuple(network["out_bands"])),
        "scale": (header.scale, network["scale"]),
        "pixel scale": (header.source.pixel_scale, source["pixel_scale"]),
        "zero points": ((header.source.zeropoint, header.target.zeropoint), (source["zeropoint"], target["zeropoint"])),
    }
    for what, (there, value) in compared.items():
        close = abs(there / value - 1) < 0.01 if what == "pixel scale" else there == value
        if not close:
            msg = f"{what} of the pairs are {there}, those of {translator} are {value}; it cannot translate them"
            raise ValueError(msg)
