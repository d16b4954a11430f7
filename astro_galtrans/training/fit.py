"""
The training loop. It knows no network: a network brings its losses and its groups of parameters.

State is written to ``checkpoint.pt`` every few minutes (beside, then renamed), and a run that finds one goes on
from it.
"""

import copy
import csv
import math
import time
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm.auto import tqdm

from astro_galtrans.models.registry import get_model_class
from astro_galtrans.surveys import get_survey

from .data import CropSampler, matched_scalings

__all__ = ["Trained", "fit"]


def fit(recipe, pairs, directory, *, device="cpu", stop_after=None, progress=True):
    """
    Train a network on a pair set.

    Parameters
    ----------
    recipe : `~astro_galtrans.training.Recipe`
    pairs : `~astro_galtrans.pairstore.PairStore`
    directory : path-like
        Folder for the checkpoint and the log ``losses.csv``; if it holds the checkpoint of the same recipe, the run
        goes on from there.
    device : str, optional
        Where to train.
    stop_after : int, optional
        Stop, with a checkpoint, once that many steps of the whole are done; another call goes on.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    `Trained`
        The network with its averaged weights, and how long it took.

    Raises
    ------
    ValueError
        If the folder holds a checkpoint of another recipe.
    FloatingPointError
        If the loss is no longer finite; the last checkpoint stays.
    """
    run = TrainingRun(recipe, pairs, Path(directory), torch.device(device))
    run.resume()
    with tqdm(total=recipe.run.steps, initial=run.step, unit="step", disable=None if progress else True) as bar:
        while run.progress < 1 and run.step != stop_after:
            losses = run.advance()
            bar.update()
            if run.step % 20 == 0:
                bar.set_postfix({name: f"{value:.4f}" for name, value in losses.items()})
    run.checkpoint()
    return Trained(run.average.eval(), run.step, run.seconds / 3600)


class Trained(NamedTuple):
    """What a training gives."""

    model: object  #: the `~astro_galtrans.models.base.TranslationModel`
    steps: int
    hours: float


class TrainingRun:
    """One training: network, averaged network, optimizers, and where it stands."""

    def __init__(self, recipe, pairs, directory, device):
        self.recipe, self.directory, self.device = recipe, directory, device
        directory.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.run.seed)
        self.model = build_network(recipe, pairs.header)
        scalings = matched_scalings(pairs.header, recipe.data.softening)
        self.sampler = CropSampler(pairs, scalings, recipe.data.crop, recipe.data.batch_size, recipe.run.seed)
        self.average = copy.deepcopy(self.model).requires_grad_(requires_grad=False).to(device)
        self.model.prepare_training()
        self.model.to(device).train()
        groups, settings = self.model.optimizer_groups(), recipe.optimizer
        self.optimizers = [
            torch.optim.AdamW(g, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.99))
            for g in groups
        ]
        self.generator = torch.Generator(device)
        self.step, self.seconds, self.saved = 0, 0.0, time.monotonic()

    @property
    def progress(self):
        """Share of the training done, 0 to 1."""
        run = self.recipe.run
        return min(1.0, max(self.step / run.steps, self.seconds / (3600 * run.hours)))

    def advance(self):
        """Make one step with every optimizer; return the terms of the losses."""
        start, settings = time.monotonic(), self.recipe.optimizer
        source, target = (part.to(self.device) for part in self.sampler.batch(self.step))
        self.generator.manual_seed(hash((self.recipe.run.seed, self.step)))
        progress, values = self.progress, {}
        rate = settings.learning_rate * min(1.0, (self.step + 1) / settings.warmup) * _cosine(progress)
        terms_of_each = self.model.losses(source, target, progress, self.generator)
        for optimizer, terms in zip(self.optimizers, terms_of_each, strict=False):
            values |= self._minimise(optimizer, terms, rate)
        self._average()
        self.step += 1
        self.seconds += time.monotonic() - start
        if self.step % 100 == 0:
            self._log(values, rate)
        if time.monotonic() - self.saved > 60 * self.recipe.run.checkpoint_minutes:
            self.checkpoint()
        return values

    def _minimise(self, optimizer, terms, rate):
        loss = sum(terms.values())
        if not torch.isfinite(loss):
            shown = {name: float(term) for name, term in terms.items()}
            msg = f"the loss is not finite at step {self.step} ({shown}); lower the learning rate or check the pairs"
            raise FloatingPointError(msg)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        torch.nn.utils.clip_grad_norm_(parameters, self.recipe.optimizer.clip)
        optimizer.step()
        return {name: float(term.detach()) for name, term in terms.items()}

    @torch.no_grad()
    def _average(self):
        # a short memory at first, lest the random start linger in the average
        decay = min(self.recipe.optimizer.ema, (1 + self.step) / (10 + self.step))
        trained = self.model.inference_state_dict()
        for name, value in self.average.inference_state_dict().items():
            if value.is_floating_point():
                value.lerp_(trained[name], 1 - decay)
            else:
                value.copy_(trained[name])

    def _log(self, values, rate):
        path, row = self.directory / "losses.csv", {"step": self.step, "seconds": self.seconds, "rate": rate} | values
        new = not path.exists()
        with path.open("a", newline="", encoding="utf8") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(["step", "seconds", "rate", "losses"])
            writer.writerow(
                [row["step"], f"{self.seconds:.1f}", f"{rate:.3e}", *(f"{k}={v:.5f}" for k, v in values.items())]
            )

    def checkpoint(self):
        """Write the state beside the last checkpoint, then replace that."""
        state = {
            "recipe": self.recipe.to_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        temporary = self.directory / "checkpoint.tmp"
        torch.save(state, temporary)
        temporary.replace(self.directory / "checkpoint.pt")
        self.saved = time.monotonic()

    def resume(self):
        """Take up the last checkpoint, if there is one."""
        path = self.directory / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if _identity(state["recipe"]) != _identity(self.recipe.to_dict()):
            msg = f"{path} belongs to a training with another recipe; choose another folder or delete it"
            raise ValueError(msg)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]


def build_network(recipe, settings):
    """Build the untrained network of a recipe for a pair of surveys."""
    cls = get_model_class(recipe.network.name)
    bands = get_survey(settings.source).band_names, get_survey(settings.target).band_names
    return cls.from_preset(recipe.network.preset, *bands, settings.scale, **recipe.network.settings)


def _identity(recipe):
    # a longer or shorter run of the same recipe may go on from its checkpoint
    return {k: v for k, v in recipe.items() if k != "run"} | {"seed": recipe["run"]["seed"]}


def _cosine(progress):
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
