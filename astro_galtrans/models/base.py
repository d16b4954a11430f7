"""
What every translation network offers to the rest of the package: one class, which also converts between numpy and
torch.

Arrays are ``[C, H, W]`` in network units (`astro_galtrans.scaling`); batches are ``[B, C, H, W]``. A network maps a
source of ``H x W`` pixels to a target of ``scale*H x scale*W`` pixels and gives, for every target pixel, a mean and the
logarithm of a standard deviation, both in network units.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from astro_galtrans.inputs import input_channels
from astro_galtrans.tiling import tiled_map

from .blocks import MatchedSkip, SkipConnection
from .losses import gaussian_nll, weighted_flux_mse

__all__ = ["Estimate", "ModelSpec", "Prediction", "TranslationModel"]

SCALES = (1, 2, 3, 4)
#: Names of the layers next to input and output, and of tables: directions in them do not weigh alike.
OUTER = {"first", "last", "stem", "head", "embed", "conv_first", "conv_last", "upsample", "judge", "primary", "vote",
         "relative_position_bias_table", "modulate", "discriminator"}  # fmt: skip


@dataclass(frozen=True)
class ModelSpec:
    """What a caller needs to know of a network; pixels are source pixels."""

    name: str
    in_bands: tuple[str, ...]
    out_bands: tuple[str, ...]
    scale: int  #: output pixels per source pixel, along each axis
    multiple_of: int  #: tile origins and sizes must be multiples of it
    margin: int  #: pixels next to a tile's cut edge whose result may not be used
    stochastic: bool  #: does it sample?
    observed: bool = False  #: is it told the PSF, the noise and the bands of each image? See `astro_galtrans.inputs`


class Estimate(NamedTuple):
    """Mean and log standard deviation of a batch: each ``[B, C_out, scale*H, scale*W]`` in network units."""

    mean: Tensor
    log_std: Tensor


class Prediction(NamedTuple):
    """Prediction of an image as numpy arrays: each float32 ``[C_out, scale*H, scale*W]`` in network units."""

    values: np.ndarray
    std: np.ndarray


class TranslationModel(nn.Module, ABC):
    """
    A network that translates images of one survey to another.

    Subclasses set `name`, `PRESETS`, `multiple_of` and `margin`, and write `forward`; those that need another objective
    or another way to predict override `losses` or `predict`.

    Parameters
    ----------
    in_bands, out_bands : sequence of str
        Names of the bands, in the order of the channels.
    scale : int
        Output pixels per source pixel along each axis: 1, 2, 3 or 4.
    observed : bool, optional
        Whether the network is told the PSF, the noise and the bands of each image: its input then has the planes of
        `astro_galtrans.inputs` and not the image alone.

    Raises
    ------
    ValueError
        If a band list is empty or repeats a name, or the scale is not offered.
    """

    name: ClassVar[str]
    PRESETS: ClassVar[dict[str, dict]]
    stochastic: ClassVar[bool] = False
    training_only: ClassVar[tuple[str, ...]] = ()  #: submodules that a translator file leaves out
    multiple_of: int = 1
    margin: int = 0

    def __init__(self, in_bands, out_bands, scale, observed=False):
        super().__init__()
        self.in_bands, self.out_bands = _checked_bands(in_bands), _checked_bands(out_bands)
        if scale not in SCALES:
            msg = f"scale must be one of {SCALES}, got {scale!r}"
            raise ValueError(msg)
        self.scale, self.observed = int(scale), bool(observed)
        self.in_channels = input_channels(len(self.in_bands), len(self.out_bands), self.scale, self.observed)
        self.extra_terms = {}  # functions of mean, target, weight and skip that training adds to the loss
        self.sampler = None  # `~astro_galtrans.models.photometric.sampler.PhotometricSampler`, if it was given one
        skip = MatchedSkip if self.observed else SkipConnection
        self.skip = skip(self.in_bands, self.out_bands, self.scale)

    @classmethod
    def from_preset(cls, preset, in_bands, out_bands, scale, **changes):
        """
        Build the network in one of its published sizes.

        Parameters
        ----------
        preset : str
            A key of ``PRESETS``: ``"tiny"`` (the size that is shipped) or ``"paper"`` (the size of the literature).
        in_bands, out_bands, scale
            As for the class.
        **changes
            Settings that replace those of the preset.
        """
        if preset not in cls.PRESETS:
            msg = f"unknown preset {preset!r} of {cls.name}; choose from {', '.join(cls.PRESETS)}"
            raise ValueError(msg)
        settings = cls.PRESETS[preset] | changes
        unknown = set(changes) - set(cls.PRESETS[preset]) - {"observed"}
        if unknown:
            word = min(unknown)
            known = cls.PRESETS[preset]
            near = get_close_matches(word, known, n=1, cutoff=0.0)
            msg = f"{cls.name} has no setting {word!r}; did you mean {near[0]!r}? (all: {', '.join(known)})"
            raise ValueError(msg)
        model = cls(in_bands, out_bands, scale, **settings)
        model.settings = settings
        return model

    @property
    def spec(self):
        """The `ModelSpec` of this network."""
        return ModelSpec(
            self.name, self.in_bands, self.out_bands, self.scale, self.multiple_of, self.margin, self.stochastic,
            self.observed,
        )  # fmt: skip

    @property
    def device(self):
        """The device the parameters are on."""
        return next(self.parameters()).device

    @abstractmethod
    def forward(self, source):
        """Source ``[B, in_channels, H, W]`` of any H and W to an `Estimate`."""

    def prepare_training(self):
        """Build what only training needs (the submodules `training_only`); called before the optimizers are."""

    def inference_state_dict(self):
        """Return the state that a translator file holds: all but the submodules `training_only`."""
        left_out = tuple(f"{name}." for name in self.training_only)
        return {key: value for key, value in self.state_dict().items() if not key.startswith(left_out)}

    def optimizer_groups(self):
        """Parameters of each optimizer, in the order in which `losses` yields; one by default."""
        return [list(self.parameters())]

    def hidden_matrices(self):
        """Return the weights of two or more axes that are in no layer named in `OUTER`: those that Muon trains."""
        named = ((set(name.split(".")), p) for name, p in self.named_parameters())
        return [p for name, p in named if p.ndim > 1 and not name & OUTER]

    def losses(self, source, target, progress, generator=None, weight=None):
        """
        Yield the terms of the loss, one dict of scalars per optimizer.

        The trainer minimises the sum of a dict's values before it asks for the next, so that an adversary sees the
        network it judges already updated.

        Parameters
        ----------
        source, target : `torch.Tensor`
            ``[B, in_channels, H, W]`` and ``[B, C_out, scale*H, scale*W]`` in network units.
        progress : float
            Share of the training done, 0 to 1.
        generator : `torch.Generator`, optional
            Source of any randomness.
        weight : `torch.Tensor`, optional
            Weight of each pixel of the target, in its shape; 0 for a bad one, whose value is finite and does not
            matter. By default all weights are equal.
        """
        yield self.content_losses(self(source), source, target, weight)

    def content_losses(self, estimate, source, target, weight=None):
        """Return the terms every network has: squared flux error, and the likelihood of its standard deviation."""
        start = self.skip(source)
        added = {name: term(estimate.mean, target, weight, start) for name, term in self.extra_terms.items()}
        return added | {
            "flux": weighted_flux_mse(estimate.mean, target, start, weight),
            # The mean is detached, since the likelihood alone would make it brighter than the mean flux. The factor
            # does not move the minimum over log_std, and lets the flux error dominate in layers that both share.
            "nll": 0.1 * gaussian_nll(estimate.mean.detach(), estimate.log_std, target, weight),
        }

    def evaluations(self, n_samples=1):
        """Return how often `predict` evaluates the network on each tile."""
        return 1

    @torch.inference_mode()
    def predict(self, source, plan, *, n_samples=1, seed=None, batch_size=1, progress=None):
        """
        Translate a whole image, tile by tile, and yield one `Prediction` per sample.

        Parameters
        ----------
        source : `numpy.ndarray`
            float32 ``[in_channels, H, W]``, finite: planes of `astro_galtrans.inputs.Inputs`.
        plan : `astro_galtrans.tiling.TilePlan`
            How to cut the image.
        n_samples : int, optional
            Number of samples; a deterministic network has one, unless it has been given a sampler.
        seed : int or list of int, optional
            Seed of the samples; a list has one for each of as many images below each other in ``source``. A
            deterministic network with a sampler draws samples if there is a seed.
        batch_size : int, optional
            Tiles evaluated at once.
        progress : callable, optional
            Called with 1 after each network evaluation of a tile.
        """

        def evaluate(tile):
            estimate = self(torch.from_numpy(tile).to(self.device))
            return torch.cat([estimate.mean, estimate.log_std.exp_()], dim=1).cpu().numpy()

        channels = 2 * len(self.out_bands)
        both = tiled_map(evaluate, [source], plan, channels=channels, batch_size=batch_size, progress=progress)
        if self.sampler is None or seed is None:
            yield Prediction(*np.split(both, 2))
            return
        drawn = self.sampler.samples(source, np.split(both, 2), plan, self.spec, n_samples, seed)
        yield from (Prediction(*sample) for sample in drawn)


def _checked_bands(bands):
    bands = tuple(str(band) for band in bands)
    if not bands or len(set(bands)) != len(bands):
        msg = f"bands must be a non-empty sequence of different names, got {bands}"
        raise ValueError(msg)
    return bands
