"""What the training of a translator brings to the loop: network, crops, losses, validation scores and pictures."""

import warnings

import numpy as np

from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.loop import Settings, Task
from astro_galtrans.models.registry import get_model_class
from astro_galtrans.scaling import AsinhScaling

from .data import CropSampler, matched_scalings, stream
from .losses import extra_terms
from .validation import Validation, draw_samples
from .warmstart import warm_start

__all__ = ["TranslatorTask", "build_network", "settings_of"]


def build_network(recipe, header):
    """Build the untrained network of a recipe for pairs with that header."""
    cls, own = get_model_class(recipe.network.name), recipe.network
    settings = dict(own.settings)
    if settings.get("observed") and not _well_known(header):
        del settings["observed"]
        text = "the network is not told PSF and noise, since a survey's description lacks the FWHM of a band"
        warnings.warn(text, GaltransWarning, stacklevel=2)
    return cls.from_preset(own.preset, header.source_bands, header.target_bands, header.scale, **settings)


def _well_known(header):
    """Whether every band of both surveys has a typical FWHM, and of the source a sky rms."""
    widths = [band.fwhm for survey in (header.source, header.target) for band in survey.bands]
    return bool(np.isfinite([*widths, *header.source.sky_rms()]).all())


def settings_of(recipe, *, validate):
    """Return the loop's settings that a recipe asks for; ``validate`` tells whether there are pairs for that."""
    optimizer, run = recipe.optimizer, recipe.run
    return Settings(
        steps=run.steps, hours=run.hours, seed=run.seed, learning_rate=optimizer.learning_rate,
        muon_rate=optimizer.muon_rate, weight_decay=optimizer.weight_decay, warmup=optimizer.warmup,
        clip=optimizer.clip, average=optimizer.ema,
        validation_steps=run.validation_steps if validate else 0, score=run.score, patience=run.patience,
        log_steps=run.log_steps, picture_steps=run.picture_steps, checkpoint_minutes=run.checkpoint_minutes,
    )  # fmt: skip


class TranslatorTask(Task):
    """
    The training of a translator, at its start or as a checkpoint has it.

    ``validation`` are pairs to score with, or None; pictures go into the folder ``pictures`` of the training's
    directory; ``init`` is the translator to start from, or None; ``state`` what a checkpoint holds of the task, or
    None; ``rank`` which of several processes this is, each of which sees other crops. It is a `ValueError` if the
    checkpoint belongs to another training.
    """

    def __init__(self, recipe, pairs, validation, directory, init, state, rank):
        super().__init__(build_network(recipe, pairs.header))
        self.recipe, self.directory, self.pair_count = recipe, directory, len(pairs)
        self.init = None if init is None else str(init)
        self.made_of = {"pairs": pairs.fingerprint, "validation": validation and validation.fingerprint}
        if state is not None:
            self._check(state)
            self.init = state["init"]
        self.network.extra_terms = extra_terms(recipe.loss)
        self.scalings = self._scalings(pairs.header, state)
        data, run = recipe.data, recipe.run
        spec, options = self.network.spec, {"seed": run.seed, "rank": rank}
        self.sampler = CropSampler(pairs, self.scalings, data, recipe.augment, spec=spec, **options)
        self.validation = validation and Validation(
            validation, spec, self.scalings, run.validation_pairs, data.batch_size, run.seed
        )

    def _scalings(self, header, state):
        """Scalings of the checkpoint, else of the translator started from, whose weights are loaded; else new ones."""
        if state is not None:
            return tuple(AsinhScaling(softening) for softening in state["softening"])
        scalings = matched_scalings(header, self.recipe.data.softening)
        return scalings if self.init is None else warm_start(self.network, self.init, header, scalings)

    def prepare(self):
        """Build the discriminator and the like, and return the parameters of each optimizer."""
        self.network.prepare_training()
        return self.network.optimizer_groups()

    def matrices(self):
        """Return the network's matrices of hidden layers."""
        return self.network.hidden_matrices()

    def batches(self, start, stop, device):
        """Yield batches of crops, made ready ahead."""
        yield from stream(self.sampler, start, stop, workers=self.recipe.data.workers, pinned=device.type == "cuda")

    def losses(self, batch, progress, generator):
        """Yield the terms of the network's loss, one dict per optimizer."""
        source, target, weight = batch.map(lambda part: part.to(generator.device, non_blocking=True))
        weighted = {} if weight is None else {"weight": weight}
        return self.network.losses(source, target, progress, generator, **weighted)

    def scores(self, network, devices):
        """Return the scores on the validation pairs."""
        return self.validation.scores(network, devices)

    def draw(self, network, step):
        """Draw the translation of a few crops of the training, always the same ones."""
        folder = self.directory / "pictures"
        folder.mkdir(exist_ok=True)
        path = folder / f"step-{step:07d}.png"
        return path if draw_samples(path, network, self.sampler.batch(0), f"step {step}") else None

    def state(self):
        """Return recipe, starting point, number and fingerprints of pairs, and scalings."""
        softening = [list(scaling.softening) for scaling in self.scalings]
        return {
            "recipe": self.recipe.to_dict(), "init": self.init, "pairs": self.pair_count, "softening": softening,
            "made_of": self.made_of,
        }  # fmt: skip

    def _check(self, state):
        """Refuse to go on with what another training left."""
        differ = _differences(_identity(state["recipe"]), _identity(self.recipe.to_dict()))
        if differ:
            msg = (
                f"{self.directory} holds a checkpoint of a training with another recipe (differs in"
                f" {', '.join(differ)}); choose another folder or delete it"
            )
            raise ValueError(msg)
        if self.init is not None and state["init"] != self.init:
            msg = f"the training in {self.directory} began from {state['init']}, not {self.init}; choose another folder"
            raise ValueError(msg)
        there = state.get("made_of", self.made_of)  # checkpoints of earlier versions do not say
        differ = [what for what, hashed in self.made_of.items() if there[what] != hashed]
        same_number = state["pairs"] == self.pair_count
        if not same_number and "pairs" in differ:  # pairs may be added to a training; as many others are a mistake
            differ.remove("pairs")
        if differ:
            what = " and ".join("pairs" if name == "pairs" else f"{name} pairs" for name in differ)
            msg = f"the training in {self.directory} began with other {what}; choose another folder, or those pairs"
            raise ValueError(msg)
        if not same_number:
            text = f"going on with {self.pair_count} pairs, where the training began with {state['pairs']}"
            warnings.warn(text, GaltransWarning, stacklevel=2)


def _identity(recipe):
    """Return what may not change between two sittings of one training."""
    run = {k: v for k, v in recipe["run"].items() if k == "seed"}
    data = {k: v for k, v in recipe["data"].items() if k != "workers"}
    return {k: recipe[k] for k in ("network", "augment", "optimizer", "loss")} | {"data": data, "run": run}


def _differences(a, b):
    return sorted(f"[{section}] {name}" for section in a for name in a[section].keys() | b[section].keys()
                  if _plain(a[section].get(name)) != _plain(b[section].get(name)))  # fmt: skip


def _plain(value):
    return list(map(_plain, value)) if isinstance(value, tuple | list) else value
