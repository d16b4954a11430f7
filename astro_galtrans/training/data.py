"""Batches of random crops from pairs on disk, in network units, made ready while the network works."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from astropy.stats import mad_std
from scipy.ndimage import gaussian_filter
from torch.utils.data import DataLoader

from astro_galtrans.geometry import fill_masked, output_mask
from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.units import flux_factor

from .augment import apply_linear, blur_matrix, dihedral, draw_change, shift_matrix
from .observed import Observations, inputs_of
from .recipe import Augment, Data

__all__ = [
    "Batch", "CropSampler", "bad_pixels", "filled", "matched_scalings", "read_pair", "signal_pixels",
    "stream",
]  # fmt: skip

MARGIN = 8  # source pixels read around a crop that is shifted or blurred, so that the mirrored edge is cut off
SIGNAL = 3.0  # sigma of the smoothed sky above which a target pixel is signal, as in pairs made from images
SMOOTHING = 1.5  # sigma (target pixels) of the Gaussian that the target is smoothed with, about that of its PSF
GUESSED = 0.1  # weight of a band that the source lacks, whose error is ten times what is expected of one it has
AHEAD = 4  # batches made ready: enough to bridge a slow read, and little memory


def matched_scalings(header, softening):
    """
    Return scalings of source and target in which the same surface brightness has the same value.

    ``softening`` is the softening flux in sigma of the source's sky. A source pixel of flux f holds ``f / scale**2`` in
    each of the target's finer pixels, times the ratio of flux units. Bands that only the target has get the softening
    of the nearest band in order.
    """
    source, target = header.source, header.target
    by_band = dict(zip(source.band_names, softening * source.sky_rms(), strict=True))
    factor = flux_factor(source.zeropoint, target.zeropoint) / header.scale**2
    places = np.linspace(0, len(source.bands) - 1, len(target.bands)).round().astype(int)
    fallback = [source.band_names[k] for k in places]
    fine = [by_band.get(b, by_band[f]) * factor for b, f in zip(target.band_names, fallback, strict=True)]
    return AsinhScaling(tuple(by_band.values())), AsinhScaling(tuple(fine))


def bad_pixels(image, mask=None):
    """Return which pixels of ``[C, H, W]`` cannot be used: not finite, or masked (``mask`` is bool, or None)."""
    bad = ~np.isfinite(image)
    return bad if mask is None else bad | mask


def filled(image, mask=None):
    """Replace bad pixels of ``[C, H, W]`` by their surroundings, and a band without a good one by zeros."""
    bad = bad_pixels(image, mask)
    if not bad.any():
        return image
    lost = bad.all(axis=(1, 2), keepdims=True)
    return fill_masked(np.where(lost, np.float32(0), image), bad & ~lost)


def read_pair(pairs, index):
    """
    Return the images of a pair and which target pixels can be used, ``[C, H, W]`` each.

    Bad pixels of both are filled from their surroundings, as `astro_galtrans.translate` does with a source; neither
    those of the target nor the target pixels that bad source pixels cover can be used.
    """
    source, target = np.asarray(pairs.source(index)), np.asarray(pairs.target(index))
    hidden, bad = bad_pixels(source, pairs.source_mask(index)), bad_pixels(target, pairs.target_mask(index))
    below = output_mask(hidden.any(axis=0), pairs.header.scale, 0)
    return filled(source, hidden), filled(target, bad), ~(bad | below)


def signal_pixels(pairs, index):
    """
    Return which target pixels hold signal, bool ``[C, H, W]``.

    That is the store's own plane or, where it was written without one, pixels of the smoothed target above three sigma
    of its sky.
    """
    plane = pairs.signal(index)
    if plane is not None:
        return np.asarray(plane, bool)
    target = pairs.target(index)
    bad = bad_pixels(target, pairs.target_mask(index))
    smooth = gaussian_filter(filled(target, bad), (0, SMOOTHING, SMOOTHING))
    sky = np.stack([0.0 if hidden.all() else mad_std(band[~hidden]) for band, hidden in zip(smooth, bad, strict=True)])
    return (smooth > SIGNAL * sky[:, None, None]) & ~bad


class Batch(NamedTuple):
    """What a step is made of, in network units."""

    source: torch.Tensor  #: ``[B, C, crop, crop]``
    target: torch.Tensor  #: ``[B, C', scale*crop, scale*crop]``
    weight: torch.Tensor | None  #: of each target pixel, as the target; None if all weigh 1

    def map(self, function):
        """Return the batch with a function applied to each tensor."""
        return Batch(*(part if part is None else function(part) for part in self))


class CropSampler:
    """
    Batches of augmented crops by number; a batch depends on the seed, the rank and its number alone.

    Processes of one training have the same seed and different ranks, and so different crops. It is a `ValueError` if a
    crop is larger than the stamps, or there are no pairs.
    """

    def __init__(self, pairs, scalings, data=None, augment=None, *, spec=None, seed=0, rank=0):
        self.data, self.augment = data or Data(), augment or Augment()
        if self.data.crop > pairs.header.size:
            msg = f"crops of {self.data.crop} pixels do not fit in stamps of {pairs.header.size}; lower [data] crop"
            raise ValueError(msg)
        if not len(pairs):
            msg = f"{pairs} holds no pairs to train on"
            raise ValueError(msg)
        self.pairs, self.header, self.scalings, self.seed, self.rank = pairs, pairs.header, scalings, seed, rank
        self.sky = np.nan_to_num(self.header.source.sky_rms()).astype(np.float32)[:, None, None]
        self.inputs = self.observations = None
        if spec is not None and spec.observed:
            self.inputs, self.observations = inputs_of(spec, self.header, scalings), Observations(pairs)
        self.target_sky = self.header.target.sky_rms(self.header.target_pixel_scale)

    def batch(self, step):
        """Return batch number ``step``, a `Batch`: a resumed training sees the crops that an uninterrupted one does."""
        # a generator for each crop, so that its augmentation does not change where the next crop is cut
        rngs = [np.random.default_rng([self.seed, step, self.rank, k]) for k in range(self.data.batch_size)]
        crops = [self._crop(rng, *self._place(rng)) for rng in rngs]
        source, target, weight = zip(*crops, strict=True)
        source, target = np.stack(source), self.scalings[1].forward(np.stack(target))
        if all(w is None for w in weight):
            return Batch(torch.from_numpy(source), torch.from_numpy(target), None)
        weight = np.stack([np.ones(target.shape[1:], np.float32) if w is None else w for w in weight])
        return Batch(*map(torch.from_numpy, (source, target, weight)))

    __getitem__ = batch  # as torch's loader asks for it

    def _place(self, rng):
        """Pair and corner of a crop, mostly those of the brightest of a few places, for most of the sky is empty."""
        count = self.data.bright_candidates if rng.random() < self.data.bright_share else 1
        places = []
        for _ in range(count):
            corner = rng.integers(0, self.header.size - self.data.crop + 1, 2)
            places.append((int(rng.integers(len(self.pairs))), *map(int, corner)))
        return max(places, key=self._brightness) if count > 1 else places[0]

    def _brightness(self, place):
        """Return the brightest pixel of the crop at a place, in the middle band."""
        index, y, x = place
        image = self.pairs.source(index)
        return np.nanmax(image[len(image) // 2, y : y + self.data.crop, x : x + self.data.crop], initial=-np.inf)

    def _crop(self, rng, index, y, x):
        """Read and change a crop: what the network sees of it, target (flux) and weight (None: all pixels count)."""
        change = draw_change(rng, self.augment, self.header.source.pixel_scale)
        # a margin around the crop, as far as the stamp has one
        margin, n, scale = MARGIN if change.resamples or self.inputs else 0, self.data.crop, self.header.scale
        window = min(n + 2 * margin, self.header.size)
        corner = [min(max(v - margin, 0), self.header.size - window) for v in (y, x)]
        crop = self.pairs.crop(index, *corner, window)
        weight = self._weight(crop, self.pairs.target_variance(index), change.resamples)
        source, target = filled(crop.source, crop.source_mask), filled(crop.target, crop.target_mask)
        if change.resamples:
            source, target = self._resampled(rng, source, target, change)
        if change.noise:
            source = source + np.float32(change.noise) * self.sky * rng.standard_normal(source.shape, np.float32)
        observation = self.inputs and self._observation(rng, index, change)
        if observation and not observation.present.all():
            weight = self._less_where_missing(weight, observation.present, target)
        fine = [target, weight] + ([self.inputs.matched(source, observation)] if self.inputs else [])
        y, x = y - corner[0], x - corner[1]
        source = dihedral(source[..., y : y + n, x : x + n], change.turns)
        cut = (..., slice(scale * y, scale * (y + n)), slice(scale * x, scale * (x + n)))
        target, weight, *matched = (part if part is None else dihedral(part[cut], change.turns) for part in fine)
        seen = self.inputs.stacked(source, *matched, observation) if matched else self.scalings[0].forward(source)
        return seen, target, weight

    def _observation(self, rng, index, change):
        """How the source of a crop was taken, once it is changed, and with bands left out."""
        found, pixel = self.observations[index], self.header.source.pixel_scale
        fwhm = np.hypot(found.fwhm, change.seeing * pixel)
        noise = np.hypot(found.noise, change.noise * self.sky[:, 0, 0])
        present = found.present.copy()
        if rng.random() < self.augment.missing:
            keep = rng.integers(min(2, len(present)), len(present) + 1)
            present[rng.permutation(len(present))[keep:]] = False
        return replace(found, fwhm=fwhm, noise=noise, present=present)

    def _less_where_missing(self, weight, present, target):
        """Weights that count bands of the target less whose band is missing in the source: they can only be guessed."""
        there = {band for band, found in zip(self.header.source_bands, present, strict=True) if found}
        known = [band in there or band not in self.header.source_bands for band in self.header.target_bands]
        weight = np.ones(target.shape, np.float32) if weight is None else weight
        return weight * np.where(known, 1, GUESSED).astype(np.float32)[:, None, None]

    def _resampled(self, rng, source, target, change):
        """Shift source and target alike, blur the source, and bring its noise back to what it was."""
        scale, n = self.header.scale, source.shape[-1]
        blur = blur_matrix(n, change.seeing)
        source = apply_linear(source, *(blur @ shift_matrix(n, d) for d in change.shift))
        if any(change.shift):
            target = apply_linear(target, *(shift_matrix(scale * n, scale * d) for d in change.shift))
        if change.seeing:
            left = np.square(blur).sum(axis=1)  # share of the variance of white noise that a blur along one axis leaves
            lost = np.sqrt(1 - np.outer(left, left)).astype(np.float32)
            source = source + lost * self.sky * rng.standard_normal(source.shape, np.float32)
        return source, target

    def _weight(self, crop, variance, resampled):
        """Weight of the target's pixels, or None: 0 where either image is bad, less where the target is shallow."""
        bad, hidden = bad_pixels(crop.target, crop.target_mask), bad_pixels(crop.source, crop.source_mask)
        if variance is None and not bad.any() and not hidden.any():
            return None
        if hidden.any():  # a bad source pixel was filled: the target there does not follow from it
            bad = bad | output_mask(hidden.any(axis=0), self.header.scale, 0)
        if resampled:
            bad = output_mask(bad, 1, 1)
        return np.where(bad, 0, self._depth(variance)).astype(np.float32)

    def _depth(self, variance):
        """
        Inverse variance of the target's sky in this pair, per band, in units of the survey's, at most 1.

        It is one number for all pixels, since the variance of a single pixel follows its own noise, and a mean with
        weights that do so too is biased.
        """
        if variance is None:
            return 1.0
        known = np.isfinite(variance) & (variance > 0)
        sky = [np.median(plane[good]) if good.any() else np.inf for plane, good in zip(variance, known, strict=True)]
        return np.minimum(1, self.target_sky**2 / sky)[:, None, None]


def stream(sampler, start, stop, *, workers=0, pinned=False):
    """
    Yield the batches ``start`` to ``stop`` of a sampler in order, prepared ahead.

    ``workers`` are processes, 0 for a thread of this one; ``pinned`` batches lie in memory from which a GPU copies
    without waiting.
    """

    def make(step):
        batch = sampler.batch(step)
        return batch.map(lambda part: part.pin_memory()) if pinned else batch

    if workers:
        loader = DataLoader(
            sampler, batch_size=None, sampler=range(start, stop), num_workers=workers,
            pin_memory=pinned, prefetch_factor=AHEAD,
        )  # fmt: skip
        yield from loader
        return
    steps = iter(range(start, stop))
    with ThreadPoolExecutor(1, thread_name_prefix="galtrans-batches") as pool:
        ready = deque(pool.submit(make, step) for step in islice(steps, AHEAD))
        try:
            while ready:
                batch = ready.popleft().result()
                ready.extend(pool.submit(make, step) for step in islice(steps, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)
