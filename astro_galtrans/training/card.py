"""
From a trained network to a translator: calibration, scores, validity range, and the card that holds them.

Calibration and scores come from pairs that the training never saw, and not from the same ones.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from astro_galtrans.models import checkpoint
from astro_galtrans.models.shipped import find_weights
from astro_galtrans.scaling import AsinhScaling

from .calibration import calibrate
from .fit import fit
from .history import convergence, thinned
from .scores import score
from .validity import validity_range

__all__ = ["export", "recalibrate", "train"]

LICENCE = "BSD-3-Clause"
FEWEST_PAIRS = 4  # below, calibration or scores would rest on nothing
GAIN = "rmse_gain"  # the validation score that tells whether a training converged
SCORED = 512, 128  # pairs that `train` scores: of a deterministic network, of one that samples and is slow


def train(recipe, pairs, held_out, directory, *, n_samples=1, progress=True, **options):
    """
    Train a network and write the translator, calibrated, with its scores.

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

    Returns
    -------
    `~pathlib.Path`
        The translator file.

    Raises
    ------
    ValueError
        If ``held_out`` holds the pairs of the training, the pairs of two different surveys are mixed, there are no
        parts and no ``held_out``, or a part has too few pairs.
    """
    parts = _parts(pairs, held_out)
    recipe = recipe.for_surveys(pairs.header.source, pairs.header.target)
    trained = fit(recipe, parts.train, directory, validation=parts.calibration, progress=progress, **options)
    path = Path(directory) / f"{recipe.name}.safetensors"
    export(path, trained, recipe, parts.train, parts.calibration, test=parts.test, n_samples=n_samples,
           init=options.get("init"), progress=progress)  # fmt: skip
    return path


def export(path, trained, recipe, pairs, held_out, *, test=None, n_samples=1, init=None, progress=True):
    """
    Write a trained network as a translator file.

    Parameters
    ----------
    path : path-like
        The file to write, ``NAME.safetensors``.
    trained : `~astro_galtrans.training.Trained`
        As `~astro_galtrans.training.fit` returns it.
    recipe : `~astro_galtrans.training.Recipe`
    pairs, held_out : `~astro_galtrans.pairs.store.PairStore`
        What it was trained on, and other pairs to calibrate it with.
    test : `~astro_galtrans.pairs.store.PairStore`, optional
        Yet others to score it on; without them the card has no scores.
    n_samples : int, optional
        How many samples a translation shall average by default (stochastic networks).
    init : str or path-like, optional
        The translator that the training began from.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    dict
        The card.
    """
    model, scalings, header = trained.model.eval(), trained.scalings, pairs.header
    recipe = recipe.for_surveys(header.source, header.target)
    sampling = {"n_samples": n_samples, "progress": progress}
    factors = calibrate(model, scalings, held_out, **sampling)
    card = {
        "name": recipe.name,
        "description": recipe.description,
        "network": {"preset": recipe.network.preset},
        "source": _survey_card(header.source, header.source.pixel_scale, scalings[0]) | _noise_card(header.source),
        "target": _survey_card(header.target, header.target_pixel_scale, scalings[1]),
        "calibration": factors | _data_card(held_out),
        "validity": validity_range(pairs),
        "training": {
            "data": _data_card(pairs) | (header.simulation or header.observation or {}),
            "recipe": _plain(recipe.to_dict()),
            "seed": recipe.run.seed,
            "steps": trained.steps,
            "hours": round(trained.hours, 4),
        }
        | _history_card(trained.history, recipe.run.score)
        | ({"init": Path(init).name} if init else {}),
        "licence": LICENCE,
    }
    if test is not None:
        card["scores"] = score(model, scalings, test, factors, number=SCORED[model.spec.stochastic], **sampling)
    if model.spec.stochastic:
        card["sampling"] = {"n_samples": n_samples}
    return checkpoint.save(path, model, card)


def recalibrate(translator, pairs, output, *, n_samples=None, progress=True):
    """
    Calibrate a translator on pairs of one's own, and score it there; the network stays as it is.

    Every other pair is for the calibration and the rest for the scores; of pairs with parts, "test" is for the scores.

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
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    dict
        The new card. Its validity range stays that of the training.

    Raises
    ------
    ValueError
        If the pairs are not of the translator's kind, or too few.
    """
    there = checkpoint.load(find_weights(translator))
    card = there.card
    _check_kind(card, pairs.header, translator)
    calibration, test = _two_parts(pairs)
    scalings = tuple(AsinhScaling.from_dict(card[end]["scaling"]) for end in ("source", "target"))
    recommended = card.get("sampling", {}).get("n_samples", 1)
    sampling = {"n_samples": n_samples or recommended, "progress": progress}
    factors = calibrate(there.model, scalings, calibration, **sampling)
    scores = score(there.model, scalings, test, factors, **sampling)
    new = {"calibration": factors | _data_card(calibration), "scores": scores}
    return checkpoint.save(output, there.model, {k: v for k, v in card.items() if k != "created"} | new)


class _Parts(NamedTuple):
    train: object
    calibration: object
    test: object


def _parts(pairs, held_out):
    if held_out is None:
        parts = _Parts(*(pairs.split(name) for name in ("train", "validation", "test")))
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
    return _Parts(pairs, *_two_parts(held_out))


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
    asked = {
        "bands in": tuple(network["in_bands"]), "bands out": tuple(network["out_bands"]), "scale": network["scale"],
        "pixel scale": source["pixel_scale"], "zero points": (source["zeropoint"], target["zeropoint"]),
    }  # fmt: skip
    there = {
        "bands in": header.source_bands, "bands out": header.target_bands, "scale": header.scale,
        "pixel scale": header.source.pixel_scale, "zero points": (header.source.zeropoint, header.target.zeropoint),
    }  # fmt: skip
    for what, value in asked.items():
        close = abs(there[what] / value - 1) < 0.01 if what == "pixel scale" else there[what] == value
        if not close:
            msg = f"{what} of the pairs are {there[what]}, those of {translator} are {value}; it cannot translate them"
            raise ValueError(msg)


def _survey_card(survey, pixel_scale, scaling):
    return {
        "survey": survey.name,
        "unit": survey.flux_unit,
        "zeropoint": survey.zeropoint,
        "pixel_scale": pixel_scale,
        "native_pixel_scale": survey.pixel_scale,  # what ``output_grid="target"`` means
        "fwhm": [band.fwhm if np.isfinite(band.fwhm) else None for band in survey.bands],
        "scaling": scaling.to_dict(),
    }


def _noise_card(survey):
    """Noise that the network has learnt: what an image has beyond it is propagated."""
    card, electrons = {"sky_rms": survey.sky_rms().tolist()}, [band.electrons for band in survey.bands]
    return card | {"electrons": electrons} if np.isfinite(electrons).all() else card


def _data_card(pairs):
    simulation = pairs.header.simulation
    card = {"simulated": simulation is not None, "pairs": len(pairs)}
    return card | {"seed": simulation["seed"]} if simulation else card


def _history_card(history, score):
    """The history, and whether it had come to its end."""
    short = thinned(history)
    if short is None:
        return {}
    # most of a loss is the target's noise, which no training can lower; the gain shows what it still brings
    name = GAIN if GAIN in short["columns"] else score
    return {"history": short, "convergence": {"score": name, "improvement_of_last_quarter": convergence(history, name)}}


def _plain(value):
    """Turn a recipe into what JSON holds: it has no infinity."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
