"""The training of the density of fluxes of a photometric sampler, on a table of fluxes."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from astro_galtrans import loop
from astro_galtrans.models.photometric.apertures import aperture_noise
from astro_galtrans.models.photometric.flow import FluxFlow

__all__ = ["FlowSettings", "train_flow"]

EPOCHS = 60, 200  # of the Gaussian and of the flow; of 25,000 rows, 220 epochs still gained a per cent in the loss
FEWEST_STEPS, MOST_STEPS = 500, 40000  # the most keep a training on a CPU below an hour
HELD_OUT = 0.05  # share of the pairs that validate, where no other table is given
ROWS = 4096  # evaluated at once in a validation
DRAWS = 4  # times and noises per row in a validation of the flow, so that its loss is not ruled by the draw
FEWEST = 200  # rows that can train anything


@dataclass(frozen=True)
class FlowSettings:
    """How the density of fluxes is trained.

    Examples
    --------
    >>> from astro_galtrans.training import FlowSettings
    >>> FlowSettings(steps=2000).width
    256
    """

    gaussian_width: int = 128
    width: int = 256
    blocks: int = 3
    dropout: float = 0.1
    gaussian_steps: int | None = None  #: by default `EPOCHS` passes over the rows
    steps: int | None = None  #: likewise
    batch_size: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.1  # with 0.01 the flow learnt the training pairs by heart
    average: float = 0.999
    seed: int = 0

    def schedule(self, stage, rows):
        """Settings of one of the two trainings, on so many rows."""
        first = stage == "gaussian"
        epochs, steps = (EPOCHS[0], self.gaussian_steps) if first else (EPOCHS[1], self.steps)
        steps = steps or min(max(FEWEST_STEPS, epochs * rows // self.batch_size), MOST_STEPS)
        rate = 2 * self.learning_rate if first else self.learning_rate
        return loop.Settings(
            steps=steps, learning_rate=rate, weight_decay=self.weight_decay, warmup=200, clip=1.0, average=self.average,
            seed=self.seed, validation_steps=max(1, steps // 30), patience=30, log_steps=max(1, steps // 30),
        )  # fmt: skip


def train_flow(table, card, held_out=None, settings=None, *, directory=None, device="auto", progress=True):
    """
    Train the density of fluxes; return the `~astro_galtrans.models.photometric.flow.FluxFlow` and the losses of each
    stage's validations.

    Parameters
    ----------
    table : dict of `~numpy.ndarray` or path-like
        As of `~astro_galtrans.training.fluxes.make_flux_table`.
    card : dict
        Of the translator that the table was made with.
    held_out : dict or path-like, optional
        Another table, to validate with; by default a twentieth of the pairs.
    settings : `FlowSettings`, optional
    directory : path-like, optional
        Where checkpoints are kept, from which an interrupted training goes on.
    device : str, optional
        "cpu", "cuda", or "auto".
    progress : bool, optional
        Show a progress bar on a terminal.

    Raises
    ------
    ValueError
        If there are too few rows.
    """
    settings = settings or FlowSettings()
    table, held_out = _tables(table, held_out)
    if len(table["z"]) < FEWEST:
        msg = (
            f"{len(table['z'])} sources in the table of fluxes are too few to train on; {FEWEST} are the least, and "
            "some ten thousand are good: give more pairs (a calibration trains on half of them)"
        )
        raise ValueError(msg)
    rows, validation = map(_tensors, (table, held_out))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = untrained(rows, card, settings)
    device = str(loop.choose_devices(device, 1, loop.PRECISIONS[0]).device)
    history = {}
    for stage in ("gaussian", "flow"):
        task = partial(_task, FlowTask(network, rows, validation, stage, settings, device))
        folder = None if directory is None else Path(directory) / stage
        training = loop.train(
            task, settings.schedule(stage, len(rows[0])), folder, device=device, progress=progress
        )  # fmt: skip
        network, history[stage] = training.result().requires_grad_(), training.history
    return network.eval().requires_grad_(requires_grad=False), history


def untrained(rows, card, settings):
    """Return the network before its training, its scales fitted."""
    x, m, y, told = rows
    sizes = {"gaussian_width": settings.gaussian_width, "width": settings.width, "blocks": settings.blocks}
    network = FluxFlow(x.shape[1], y.shape[1], told.shape[1], **sizes, dropout=settings.dropout)
    source, target = card["source"], card["target"]
    noise = np.array(source["sky_rms"]) / source["scaling"]["softening"]
    network.noise_x.copy_(torch.from_numpy(np.outer(aperture_noise(source["pixel_scale"]), noise).ravel()))
    noise = target_noise(card)
    network.noise_y.copy_(torch.from_numpy(np.outer(aperture_noise(target["pixel_scale"]), noise).ravel()))
    network.fit_scales(x, m, y, told)
    return network


def target_noise(card):
    """Return the sky rms of a pixel of the target in softening units, ``[C']``, of the card's correlation of errors."""
    correlation = card["calibration"].get("correlation")
    if correlation is None:
        msg = (
            f"{card['name']} does not state how its errors are correlated, which the sampler needs; galtrans calibrate "
            "measures it, on pairs whose target survey has a known noise"
        )
        raise ValueError(msg)
    return np.array(correlation["noise"]) / card["target"]["scaling"]["softening"]


def _tables(table, held_out):
    table, held_out = (dict(np.load(t)) if isinstance(t, str | Path) else t for t in (table, held_out))
    if held_out is not None:
        return table, held_out
    pairs = np.unique(table["pair"])
    chosen = np.isin(table["pair"], np.random.default_rng(0).permutation(pairs)[: max(1, int(HELD_OUT * len(pairs)))])
    return tuple({name: values[use] for name, values in table.items()} for use in (~chosen, chosen))


def _tensors(table):
    return [torch.from_numpy(np.asarray(table[name], np.float32).reshape(len(table["z"]), -1))
            for name in ("x", "m", "y", "numbers")]  # fmt: skip


def _task(task, state, _rank):
    if state is not None and state != task.state():
        msg = "the folder holds a training on another table of fluxes; choose another, or delete it"
        raise ValueError(msg)
    return task


class FlowTask(loop.Task):
    """The training of one of the two parts, ``"gaussian"`` or ``"flow"``, on rows of fluxes."""

    def __init__(self, network, rows, validation, stage, settings, device):
        super().__init__(network)
        self.stage, self.batch_size, self.seed = stage, settings.batch_size, settings.seed
        self.data, self.held_out = ([part.to(device) for part in self._inputs(each)] for each in (rows, validation))

    @torch.no_grad()
    def _inputs(self, rows):
        """What is given, and the difference, whitened for the flow; the Gaussian is done by then."""
        x, m, y, told = rows
        given, difference = self.network.given(x, m, told), self.network.difference(m, y)
        if self.stage == "gaussian":
            return given, difference
        parts = zip(given.split(ROWS), difference.split(ROWS), strict=True)
        return given, torch.cat([self.network.whitened(*part) for part in parts])

    def prepare(self):
        """Only the parameters of the part are trained."""
        first = {id(p) for p in self.network.gaussian.parameters()}
        return [[p for p in self.network.parameters() if (id(p) in first) == (self.stage == "gaussian")]]

    def batches(self, start, stop, device):
        """Yield numbers of the rows of each step."""
        for step in range(start, stop):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
            yield torch.randint(len(self.data[0]), (self.batch_size,), generator=generator)

    def losses(self, batch, progress, generator):
        """Yield minus the log-likelihood, or the squared error of the velocity."""
        yield {"loss": self._loss(self.network, *(part[batch.to(part.device)] for part in self.data), generator).mean()}

    def _loss(self, network, given, values, generator):
        if self.stage == "gaussian":
            return network.gaussian_loss(given, values)
        return network.flow_loss(given, values, generator)

    @torch.no_grad()
    def scores(self, network, devices):
        """Return the loss on the rows held out, with the same times and noises whenever it is asked for."""
        generator = torch.Generator(self.held_out[0].device).manual_seed(1)
        total = 0.0
        for _ in range(DRAWS if self.stage == "flow" else 1):
            for part in zip(*(part.split(ROWS) for part in self.held_out), strict=True):
                total += float(self._loss(network, *part, generator).sum())
        return {"loss": total / len(self.held_out[0]) / (DRAWS if self.stage == "flow" else 1)}

    def state(self):
        """Return what tells this training from others."""
        return {"stage": self.stage, "rows": len(self.data[0])}
