"""Batches of random crops from a pair set, in network units."""

import numpy as np
import torch

from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.surveys import get_survey
from astro_galtrans.units import flux_factor

__all__ = ["CropSampler", "matched_scalings"]

BRIGHT_SHARE, CANDIDATES = 0.6, 3  # how often a crop is the brightest of how many


def matched_scalings(settings, softening):
    """
    Scalings of source and target in which the same surface brightness has the same value.

    Parameters
    ----------
    settings : `~astro_galtrans.simulate.PairSettings`
    softening : float
        Softening flux in sigma of the source's sky.

    Returns
    -------
    source, target : `~astro_galtrans.scaling.AsinhScaling`
        A source pixel of flux f holds ``f / scale**2`` in each of the target's finer pixels, times the ratio of
        flux units. Bands that only the target has get the softening of the nearest band in order.
    """
    source, target = get_survey(settings.source), get_survey(settings.target)
    by_band = dict(zip(source.band_names, softening * source.sky_rms(), strict=True))
    factor = flux_factor(source.zeropoint, target.zeropoint) / settings.scale**2
    places = np.linspace(0, len(source.bands) - 1, len(target.bands)).round().astype(int)
    fallback = [source.band_names[k] for k in places]
    fine = [by_band.get(b, by_band[f]) * factor for b, f in zip(target.band_names, fallback, strict=True)]
    return AsinhScaling(tuple(by_band.values())), AsinhScaling(tuple(fine))


class CropSampler:
    """
    An endless, seeded stream of augmented crops.

    Parameters
    ----------
    pairs : `~astro_galtrans.simulate.PairSet`
    scalings : (AsinhScaling, AsinhScaling)
        Of source and target.
    crop : int
        Side of a crop in source pixels.
    batch_size : int
    seed : int

    Raises
    ------
    ValueError
        If a crop is larger than the stamps.
    """

    def __init__(self, pairs, scalings, crop, batch_size, seed):
        if crop > pairs.settings.size:
            msg = f"crops of {crop} pixels do not fit in stamps of {pairs.settings.size}; lower [data] crop"
            raise ValueError(msg)
        self.pairs, self.scalings, self.crop, self.batch_size, self.seed = pairs, scalings, crop, batch_size, seed

    def batch(self, step):
        """
        Return batch number ``step``: source ``[B, C, crop, crop]`` and target ``[B, C', scale*crop, scale*crop]``.

        It depends on the seed and the step only, so that a resumed training sees what an uninterrupted one does.
        """
        rng = np.random.default_rng([self.seed, step])
        crops = [self._crop(rng, *self._place(rng)) for _ in range(self.batch_size)]
        source, target = (np.stack(arrays) for arrays in zip(*crops, strict=True))
        return torch.from_numpy(self.scalings[0].forward(source)), torch.from_numpy(self.scalings[1].forward(target))

    def _place(self, rng):
        """Pair and corner of a crop: mostly the brightest of a few places, for most of the sky is empty."""
        count = CANDIDATES if rng.random() < BRIGHT_SHARE else 1
        places = []
        for _ in range(count):
            corner = rng.integers(0, self.pairs.settings.size - self.crop + 1, 2)
            places.append((int(rng.integers(len(self.pairs))), *corner))
        return max(places, key=self._brightness) if count > 1 else places[0]

    def _brightness(self, place):
        index, y, x = place
        image = self.pairs.source(index)
        return image[len(image) // 2, y : y + self.crop, x : x + self.crop].max()

    def _crop(self, rng, index, y, x):
        flip, turns = rng.integers(2), int(rng.integers(4))
        images = (self.pairs.source(index), 1), (self.pairs.target(index), self.pairs.settings.scale)
        for image, s in images:
            part = image[:, s * y : s * (y + self.crop), s * x : s * (x + self.crop)]
            yield np.rot90(part[:, ::-1] if flip else part, turns, axes=(1, 2))
