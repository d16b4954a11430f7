"""How a training is followed: scores on validation pairs, by which it may be stopped, and pictures of translations."""

import warnings

import numpy as np
import torch

from astro_galtrans._files import whole_file
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.models.blocks import SkipConnection

from .data import read_pair, signal_pixels
from .observed import Observations, inputs_of

__all__ = ["Validation", "draw_samples"]

ROWS = 6
STRETCH = 4.0  # network units from black to white: sky noise and all but the brightest cores are seen
COLUMNS = "source", "prediction", "target", "residual"


class Validation:
    """
    Scores on whole stamps; the stamps and the random numbers are the same each time, so that scores can be compared.

    At most ``number`` pairs are used, evenly spread over the set.
    """

    def __init__(self, pairs, spec, scalings, number, batch_size, seed):
        self.inputs, self.observations = inputs_of(spec, pairs.header, scalings), Observations(pairs)
        header = pairs.header
        self.interpolate = SkipConnection(header.source_bands, header.target_bands, header.scale)
        self.pairs, self.scalings, self.batch_size, self.seed = pairs, scalings, batch_size, seed
        self.chosen = np.unique(np.linspace(0, len(pairs) - 1, min(number, len(pairs))).round().astype(int))

    @torch.no_grad()
    def scores(self, model, devices):
        """
        Return the scores of a network in evaluation mode; ``devices`` give device and precision.

        They are ``<term>_loss`` for each term of the network's loss (means over pixels; those that an adversary adds
        are left out), and ``rmse_gain``: by which share the RMS error of flux over pixels with signal is smaller than
        that of the interpolated source, mean over bands.
        """
        sums = None
        for start in range(0, len(self.chosen), self.batch_size):
            part = self._sums(model, devices, self.chosen[start : start + self.batch_size])
            sums = part if sums is None else {name: sums[name] + part[name] for name in part}
        return _scores(sums)

    def _sums(self, model, devices, indices):
        source, target, signal, weight = (part.to(devices.device) for part in self._batch(indices))
        generator = torch.Generator(devices.device).manual_seed(self.seed + int(indices[0]))
        with devices.autocast():
            estimate = model(source)
            terms = next(iter(model.losses(source, target, 0.0, generator, weight=weight)))
        flux, truth = torch.sinh(estimate.mean.float()), torch.sinh(target)
        classical = self.interpolate.to(source.device)(torch.sinh(source[:, : len(self.pairs.header.source_bands)]))
        count = signal & (weight > 0)
        errors = ((torch.where(count, image - truth, 0).square().sum((0, 2, 3))) for image in (flux, classical))
        means = {f"{name}_loss": value.double() * len(indices) for name, value in terms.items()}
        number = torch.tensor(float(len(indices)), dtype=torch.float64, device=devices.device)
        return means | {"number": number, "errors": torch.stack([e.double() for e in errors])}

    def _batch(self, indices):
        """Source, target, pixels with signal and weight of the target's pixels, in network units."""
        stamps = [(*read_pair(self.pairs, k), signal_pixels(self.pairs, k)) for k in map(int, indices)]
        source, target, good, signal = (np.stack(part) for part in zip(*stamps, strict=True))
        seen = zip(source, map(int, indices), strict=True)
        planes = np.stack([self.inputs.planes(image, self.observations[k]) for image, k in seen])
        parts = planes, self.scalings[1].forward(target), signal, good.astype(np.float32)
        return tuple(map(torch.from_numpy, parts))


def _scores(sums):
    number, (ours, classical) = sums.pop("number"), sums.pop("errors")
    found = {name: float(total / number) for name, total in sums.items()}
    seen = classical > 0
    gain = 1 - torch.sqrt(ours[seen] / classical[seen])
    return found | {"rmse_gain": float(gain.mean()) if len(gain) else float("nan")}


@torch.no_grad()
def draw_samples(path, model, batch, title=""):
    """
    Draw source, prediction, target and residual of the first crops of a batch, with one stretch, into a PNG file.

    Returns False if matplotlib, which this needs, is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        text = "no pictures of samples: they need matplotlib (pip install 'astro_galtrans[report]')"
        warnings.warn(text, GaltransWarning, stacklevel=2)
        return False
    rows = _rows(model, batch)
    figure = Figure(figsize=(1.6 * len(COLUMNS), 1.6 * len(rows) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=8)
    for axes, images in zip(figure.subplots(len(rows), len(COLUMNS), squeeze=False), rows, strict=True):
        for ax, image in zip(axes, images, strict=True):
            ax.imshow(image, origin="lower", cmap="gray", vmin=-STRETCH / 4, vmax=3 * STRETCH / 4)
            ax.set_axis_off()
    for ax, name in zip(figure.axes, COLUMNS, strict=False):
        ax.set_title(name, fontsize=8)
    with whole_file(path) as file:
        figure.savefig(file, dpi=100)
    return True


def _rows(model, batch):
    """Images in network units, of the middle band; the residual in flux, scaled like them."""
    source, target = (part[:ROWS].to(model.device) for part in batch[:2])
    mean = model(source).mean
    residual = torch.arcsinh(torch.sinh(target) - torch.sinh(mean))
    planes = (part[:, part.shape[1] // 2].cpu().numpy() for part in (source, mean, target, residual))
    return [[np.asarray(image) for image in row] for row in zip(*planes, strict=True)]
