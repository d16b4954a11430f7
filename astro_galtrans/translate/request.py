"""What is asked of a translator: its options, checked before any work is done."""

from dataclasses import dataclass
from operator import index

import numpy as np
from astropy.io.fits import Header
from astropy.wcs.wcsapi import BaseHighLevelWCS, BaseLowLevelWCS

from astro_galtrans import uncertainty
from astro_galtrans.surveys import get_survey

__all__ = ["Request", "Sampling", "output_grid_of"]


@dataclass(frozen=True)
class Sampling:
    """How often to ask the network, and what to make of the answers."""

    n: int
    seed: int | None
    stochastic: bool
    apart: bool

    @classmethod
    def of(cls, translator, n_samples, combine, seed):
        """
        Check what is asked for; a seed that is not given is drawn.

        A deterministic network with a sampler gives its own answer where no samples are asked for.
        """
        if combine not in {"mean", None}:
            msg = f"combine must be 'mean' or None (all samples), got {combine!r}"
            raise ValueError(msg)
        if not translator.samples and n_samples not in {None, 1}:
            msg = (
                f"{translator.name} is deterministic and has one answer; leave out n_samples={n_samples!r}, or give it "
                "a sampler (galtrans calibrate --sampler)"
            )
            raise ValueError(msg)
        recommended = translator.card.get("sampling", {}).get("n_samples")
        asked = n_samples is not None or combine is None or recommended is not None
        stochastic = translator.spec.stochastic or (translator.samples and asked)
        n = index((recommended or 1) if n_samples is None else n_samples)
        if n < 1:
            msg = f"n_samples must be 1 or more, got {n}"
            raise ValueError(msg)
        seed = drawn_seed() if seed is None else index(seed)
        if seed < 0:
            msg = f"seed must be an integer of 0 or more, got {seed}"
            raise ValueError(msg)
        return cls(n, seed if stochastic else None, stochastic, combine is None)

    def seed_of(self, number):
        """Return the seed of one of many images, with which it alone gives the same samples; None without sampling."""
        return None if self.seed is None else drawn_seed([self.seed, number])

    def gather(self, samples):
        """Yield flux and variance of the mean of all samples, or of each."""
        mean = uncertainty.SampleMean(posterior=self.stochastic)
        for sample in samples:
            mean.add(*sample)
            del sample  # it is large, and would stay until the next one is there
            if self.apart:
                yield mean.mean, mean.variance
                mean = uncertainty.SampleMean(posterior=self.stochastic)
        if not self.apart:
            flux, variance = mean.mean, mean.variance
            del mean
            yield flux, variance


def drawn_seed(entropy=None):
    """Return a seed made of other numbers, or drawn from the system."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


@dataclass(frozen=True)
class Request:
    """What is asked of a translator, for one image or many."""

    translator: object
    sampling: Sampling
    grid: object  #: what `~astro_galtrans.geometry.resample` understands, or None
    reading: dict  #: options of `astro_galtrans.bandstack.read`
    subtract_background: object
    tile: object
    batch_size: int | None
    psf: object = None  #: of the images, see `astro_galtrans.translate`
    seen: object = None  #: `~astro_galtrans.observe.Seen` that holds for all parts of one image; None: of each image
    saturation: object = None  #: level, see `astro_galtrans.translate`

    @property
    def window_reading(self):
        """Options of `astro_galtrans.bandstack.Windows.read`, which knows the bands."""
        return {name: value for name, value in self.reading.items() if name != "bands"}

    @property
    def strict(self):
        """Whether images unlike those of the training are an error."""
        return self.reading["strict"]


def output_grid_of(output_grid, card):
    """Return what `~astro_galtrans.geometry.resample` understands, or None."""
    if isinstance(output_grid, str) and output_grid == "target":
        target = card["target"]
        # a survey of the user's own is known to the card only; earlier cards name one that the package knows
        return target.get("native_pixel_scale") or get_survey(target["survey"]).pixel_scale
    if output_grid is None or isinstance(output_grid, Header | BaseHighLevelWCS | BaseLowLevelWCS):
        return output_grid
    msg = f"output_grid must be 'target', a WCS, a FITS header or None, got {output_grid!r}"
    raise ValueError(msg)
