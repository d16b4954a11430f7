"""
One training: network, averaged network, optimizers, and where it stands.

It knows no network: a network brings its losses and its groups of parameters. Lightning Fabric brings devices,
processes and precision.
"""

import copy
import math
import time
import warnings

import numpy as np
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from astro_galtrans._state import CURRENT, read_state, write_state
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.models.registry import get_model_class
from astro_galtrans.scaling import AsinhScaling

from .data import CropSampler, matched_scalings
from .losses import extra_terms
from .validate import Validation
from .warmstart import warm_start

__all__ = ["TrainingRun", "build_network"]

CHECK_STEPS = 20  # a GPU is asked that often whether the loss is finite; each time it has to be waited for


def build_network(recipe, header):
    """Build the untrained network of a recipe for pairs with that header."""
    cls, own = get_model_class(recipe.network.name), recipe.network
    return cls.from_preset(own.preset, header.source_bands, header.target_bands, header.scale, **own.settings)


class TrainingRun:
    """
    A training that stands at some step; `advance` makes one more.

    Parameters
    ----------
    fabric : `lightning_fabric.Fabric`
        Already launched.
    recipe : `~astro_galtrans.training.Recipe`
    pairs, validation : `~astro_galtrans.pairs.store.PairStore`
        Pairs to train on, and others to score with, or None.
    directory : `~pathlib.Path`
    init : str or path-like, optional
        Translator to start from.
    """

    def __init__(self, fabric, recipe, pairs, directory, validation=None, init=None):
        self.fabric, self.recipe, self.directory = fabric, recipe, directory
        self.init, self.pair_count = None if init is None else str(init), len(pairs)
        self.step, self.history, self.sums, self.best = 0, [], {}, None
        state = read_state(directory, fabric.device)
        torch.manual_seed(recipe.run.seed)
        self.model = build_network(recipe, pairs.header)
        self.model.extra_terms = extra_terms(recipe.loss)
        self.scalings = self._scalings(pairs.header, state)
        data, run = recipe.data, recipe.run
        self.sampler = CropSampler(pairs, self.scalings, data, recipe.augment, seed=run.seed, rank=fabric.global_rank)
        self.validation = validation and Validation(
            validation, self.scalings, run.validation_pairs, data.batch_size, run.seed
        )
        self._prepare()
        self._earlier, self._started, self.saved = 0.0, time.monotonic(), time.monotonic()
        self._finite = torch.ones((), dtype=torch.bool, device=fabric.device)
        if state is not None:
            self._take_up(state)

    def _scalings(self, header, state):
        """Scalings of the checkpoint, else of the translator started from, whose weights are loaded; else new ones."""
        if state is not None:
            self._check(state)
            return tuple(AsinhScaling(softening) for softening in state["softening"])
        scalings = matched_scalings(header, self.recipe.data.softening)
        return scalings if self.init is None else warm_start(self.model, self.init, header, scalings)

    def _prepare(self):
        """Copy the network for the average, and build what only training needs."""
        device, settings = self.fabric.device, self.recipe.optimizer
        self.average = copy.deepcopy(self.model).requires_grad_(requires_grad=False).to(device)
        self.model.prepare_training()
        self.model.to(device).train()
        self.optimizers = [
            torch.optim.AdamW(g, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.99))
            for g in self.model.optimizer_groups()
        ]
        trained, averaged = self.model.inference_state_dict(), self.average.inference_state_dict()
        pairs = [(averaged[name], trained[name]) for name in averaged]
        self._averaged = [list(p) for p in zip(*(p for p in pairs if p[0].is_floating_point()), strict=True)]
        self._counted = [p for p in pairs if not p[0].is_floating_point()]
        self.generator = torch.Generator(device)

    @property
    def seconds(self):
        """Time spent, all sittings together; the lost end of one that was killed does not count."""
        return self._earlier + time.monotonic() - self._started

    @property
    def seconds_since_checkpoint(self):
        """Time since the last checkpoint, or since the start of this sitting."""
        return time.monotonic() - self.saved

    def finished(self, progress):
        """Is there nothing left to do?"""
        return progress >= 1 or self._gave_up()

    @property
    def progress(self):
        """Share of the training done, 0 to 1, the same on all processes."""
        run, seconds = self.recipe.run, self.seconds
        if self.fabric.world_size > 1 and math.isfinite(run.hours):
            seconds = float(self.fabric.broadcast(torch.tensor(seconds)))
        return min(1.0, max(self.step / run.steps, seconds / (3600 * run.hours)))

    def _gave_up(self):
        """Has the score not become better for too long?"""
        patience, scores = self.recipe.run.patience, [row[self.recipe.run.score] for row in self.history]
        return bool(patience and scores) and len(scores) - 1 - _best(scores, self.recipe.run.score) >= patience

    def advance(self, batch, progress):
        """
        Make one step with every optimizer.

        Parameters
        ----------
        batch : `~astro_galtrans.training.data.Batch`
            Number `step` of this process.
        progress : float
            As the property says.
        """
        source, target, weight = batch.map(lambda part: part.to(self.fabric.device, non_blocking=True))
        seed = int(np.random.SeedSequence([self.recipe.run.seed, self.step, self.fabric.global_rank, 1])
                   .generate_state(1)[0])  # fmt: skip
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)  # for a network that does not ask the generator
        self.rate = self._rate(progress)
        weighted = {} if weight is None else {"weight": weight}
        terms_of_each = self.model.losses(source, target, progress, self.generator, **weighted)
        for optimizer in self.optimizers:
            with self.fabric.autocast():
                terms = next(terms_of_each, None)
            if terms is not None:
                self._minimise(optimizer, terms)
        self._update_average()
        self.step += 1
        if self.fabric.device.type == "cpu" or self.step % CHECK_STEPS == 0:
            self._check_finite()

    def _rate(self, progress):
        settings = self.recipe.optimizer
        warm = min(1.0, (self.step + 1) / max(1, settings.warmup))
        return settings.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    def _minimise(self, optimizer, terms):
        loss = sum(terms.values())
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for group in optimizer.param_groups:
            group["lr"] = self.rate
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        self._share_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, self.recipe.optimizer.clip)
        optimizer.step()
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0) + torch.stack([term.detach(), torch.ones_like(term)]).double()
        self._finite &= torch.isfinite(loss.detach())

    def _share_gradients(self, parameters):
        """
        Average gradients over processes.

        Not left to torch's wrapper, which expects one forward pass and one optimizer: here losses come one by one, and
        some parameters join late.
        """
        if self.fabric.world_size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.fabric.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    @torch.no_grad()
    def _update_average(self):
        # a short memory at first, lest the random start linger in the average
        decay = min(self.recipe.optimizer.ema, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)(*self._averaged, None)
        for averaged, trained in self._counted:
            averaged.copy_(trained)

    def _check_finite(self):
        if not self._finite:
            means = {name: f"{value:.3g}" for name, value in self.means().items()}
            msg = (
                f"the loss is not finite at step {self.step} ({means}); lower the learning rate or check the pairs."
                f" The last checkpoint in {self.directory} stays"
            )
            raise FloatingPointError(msg)

    def means(self):
        """Mean of each term of the loss since the last row of the log."""
        return {name: float(total[0] / total[1]) for name, total in self.sums.items()}

    def validate(self):
        """Score the averaged network, add the scores to `history` and return them."""
        seconds = self.seconds
        scores = self.validation.scores(self.average, self.fabric) if self.fabric.is_global_zero else None
        scores = self.fabric.broadcast(scores) if self.fabric.world_size > 1 else scores
        known = self.recipe.run.score
        if known not in scores:
            msg = f"[run] score = {known!r} is none of the scores of this network: {', '.join(scores)}"
            raise ValueError(msg)
        self.history.append({"step": self.step, "hours": seconds / 3600, "seconds": seconds, **scores})
        values = [row[known] for row in self.history]
        if self.recipe.run.patience and _best(values, known) == len(values) - 1:
            self.best = {name: value.clone() for name, value in self.average.state_dict().items()}
        return self.history[-1]

    def result(self):
        """Return the averaged network; if the training may stop early, as it was when it scored best."""
        if self.best is not None:
            self.average.load_state_dict(self.best)
        return self.average.eval()

    # -- the state on disk

    def checkpoint(self, *, final=False):
        """Write the state; a failure is a warning, but an error at the end."""
        self._check_finite()
        self.saved = time.monotonic()
        if not self.fabric.is_global_zero:
            return
        try:
            write_state(self.directory, self._state())
        except OSError as err:
            if final:
                raise
            warnings.warn(f"{err}; the training goes on and tries again later", GaltransWarning, stacklevel=2)

    def _state(self):
        return {
            "recipe": self.recipe.to_dict(),
            "init": self.init,
            "pairs": self.pair_count,
            "softening": [list(s.softening) for s in self.scalings],
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "sums": self.sums,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def _check(self, state):
        """Refuse to go on with what another training left."""
        path = self.directory / CURRENT
        began = _identity({"loss": {"structure": 0.0}} | state["recipe"])  # trainings from before there was [loss]
        if began != _identity(self.recipe.to_dict()):
            differ = sorted(_differences(began, _identity(self.recipe.to_dict())))
            msg = (
                f"{path} belongs to a training with another recipe (differs in {', '.join(differ)});"
                " choose another folder or delete it"
            )
            raise ValueError(msg)
        if self.init is not None and state["init"] != self.init:
            msg = f"{path}: that training began from {state['init']}, not {self.init}; choose another folder"
            raise ValueError(msg)
        if state["pairs"] != self.pair_count:
            text = f"going on with {self.pair_count} pairs, where the training began with {state['pairs']}"
            warnings.warn(text, GaltransWarning, stacklevel=2)

    def _take_up(self, state):
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.init, self.step, self.history = state["init"], state["step"], state["history"]
        self.sums, self.best = state["sums"], state["best"]
        self._earlier, self._started = state["seconds"], time.monotonic()


def _best(values, score):
    """Place of the best value; gains are better when larger, losses when smaller."""
    return int(np.argmax(values) if score.endswith("gain") else np.argmin(values))


def _identity(recipe):
    """Return what may not change between two sittings of one training."""
    run = {k: v for k, v in recipe["run"].items() if k == "seed"}
    data = {k: v for k, v in recipe["data"].items() if k != "workers"}
    return {k: recipe[k] for k in ("network", "augment", "optimizer")} | {"data": data, "run": run}


def _differences(a, b):
    return (f"[{section}] {name}" for section in a for name in a[section].keys() | b[section].keys()
            if _plain(a[section].get(name)) != _plain(b[section].get(name)))  # fmt: skip


def _plain(value):
    return list(map(_plain, value)) if isinstance(value, tuple | list) else value
