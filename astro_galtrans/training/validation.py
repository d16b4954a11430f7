"""Scores on validation pairs, by which a training is followed and may be stopped."""

import numpy as np
import torch

from astro_galtrans.geometry import output_mask

from .data import bad_pixels, filled, signal_pixels

__all__ = ["Validation"]


class Validation:
    """
    Scores on whole stamps; the stamps and the random numbers are the same each time, so that scores can be compared.

    Parameters
    ----------
    pairs : `~astro_galtrans.pairs.store.PairStore`
    scalings : (AsinhScaling, AsinhScaling)
        Of source and target.
    number : int
        Pairs used, at most, evenly spread over the set.
    batch_size, seed : int
    """

    def __init__(self, pairs, scalings, number, batch_size, seed):
        self.pairs, self.scalings, self.batch_size, self.seed = pairs, scalings, batch_size, seed
        self.chosen = np.unique(np.linspace(0, len(pairs) - 1, min(number, len(pairs))).round().astype(int))

    @torch.no_grad()
    def scores(self, model, devices):
        """
        Score a network.

        Parameters
        ----------
        model : `~astro_galtrans.models.base.TranslationModel`
            In evaluation mode.
        devices : `~astro_galtrans.loop.devices.OneDevice` or `lightning_fabric.Fabric`
            For the device and the precision.

        Returns
        -------
        dict
            ``<term>_loss`` for each term of the network's loss (means over pixels; those that an adversary adds are
            left out), and ``rmse_gain``: by which share the RMS error of flux over pixels with signal is smaller
            than that of the interpolated source, mean over bands.
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
        classical = model.skip(torch.sinh(source))
        count = signal & (weight > 0)
        errors = ((torch.where(count, image - truth, 0).square().sum((0, 2, 3))) for image in (flux, classical))
        means = {f"{name}_loss": value.double() * len(indices) for name, value in terms.items()}
        number = torch.tensor(float(len(indices)), dtype=torch.float64, device=devices.device)
        return means | {"number": number, "errors": torch.stack([e.double() for e in errors])}

    def _batch(self, indices):
        parts = zip(*(self._stamp(int(index)) for index in indices), strict=True)
        source, target, signal, weight = (np.stack(part) for part in parts)
        scaled = (s.forward(x) for s, x in zip(self.scalings, (source, target), strict=True))
        return *map(torch.from_numpy, scaled), torch.from_numpy(signal), torch.from_numpy(weight)

    def _stamp(self, index):
        source, target, signal = self.pairs.source(index), self.pairs.target(index), signal_pixels(self.pairs, index)
        bad = bad_pixels(target, self.pairs.target_mask(index))
        hidden = bad_pixels(source, self.pairs.source_mask(index))
        weight = ~(bad | output_mask(hidden.any(axis=0), self.pairs.header.scale, 0))
        return filled(source, hidden), filled(target, bad), signal, weight.astype(np.float32)


def _scores(sums):
    number, (ours, classical) = sums.pop("number"), sums.pop("errors")
    found = {name: float(total / number) for name, total in sums.items()}
    seen = classical > 0
    gain = 1 - torch.sqrt(ours[seen] / classical[seen])
    return found | {"rmse_gain": float(gain.mean()) if len(gain) else float("nan")}
