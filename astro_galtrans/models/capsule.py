"""
Convolutional capsules with dynamic routing, from encoder to decoder.

Sabour, Frosst & Hinton 2017, NeurIPS, "Dynamic Routing Between Capsules" (arXiv:1710.09829): a capsule is a vector
whose length says how sure it is that its kind of thing (a core, an arm, a star) is present and whose direction says
how it looks; capsules vote for those of the next layer, and votes that agree count for more. LaLonde & Bagci 2018,
"Capsules for Object Segmentation" (arXiv:1804.04241): each pixel has its own capsules, which vote within a small
neighbourhood only, and a decoder with skips brings them back to the pixels.

Squashing keeps lengths below 1, so that capsules cannot carry flux, which spans five decades. They represent the *kind*
of structure; the *amount* of flux is carried beside them by plain convolutional features at full source resolution,
where the two are joined. Routing is per pixel: the answer at a pixel never depends on things far away.

In shapes, B is the batch, C the bands (C_in, C_out), s the scale, and H, W are source pixels, h, w those of a level.
Capsules of the lower layer (children) have I types of a components each, those of the upper layer (parents) J of A.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from .base import Estimate, TranslationModel
from .blocks import SKIP_RADIUS, crop_to, pad_to_multiple, split_estimate, start_from_skip
from .losses import weighted_mean

__all__ = ["CapsuleTranslator", "ConvCapsules", "Decoder", "Encoder", "capsule_length", "margin_loss", "squash"]

EPSILON = 1e-6
TYPICAL_LENGTH = 0.5  # of a child capsule, when weights are drawn


def capsule_length(capsules):
    """Lengths ``[B, J, h, w]`` of capsules ``[B, J, A, h, w]``; the small offset gives a gradient at zero."""
    return torch.sqrt(capsules.square().sum(dim=2) + EPSILON)


def squash(capsules):
    r"""
    Shrink capsules ``[B, J, A, h, w]`` to lengths below 1 and keep their directions.

    Equation 1 of Sabour et al. 2017, :math:`v = \frac{|s|^2}{1 + |s|^2} \frac{s}{|s|}`, written as
    :math:`s\,|s| / (1 + |s|^2)`, which does not divide by a length: on blank sky both value and gradient are finite.
    """
    square = capsules.square().sum(dim=2, keepdim=True)
    return capsules * (torch.sqrt(square + EPSILON) / (1 + square))


def margin_loss(lengths, present, upper=0.9, lower=0.1, absent_weight=0.5, weight=None):
    """
    Mean margin loss of Sabour et al. 2017, eq. 4.

    Lengths ``[...]`` are asked to be above ``upper`` where ``present`` and below ``lower`` elsewhere.
    ``weight``, of the same shape, says how much each counts.
    """
    missed = F.relu(upper - lengths).square()
    invented = F.relu(lengths - lower).square()
    return weighted_mean(torch.where(present, missed, absent_weight * invented), weight)


class ConvCapsules(nn.Module):
    """
    A layer of capsules that each pixel's neighbourhood votes for (LaLonde & Bagci 2018, section 3).

    Parameters
    ----------
    children, parents : (int, int)
        Capsule types and components of the lower and the upper layer.
    kernel, stride : int
        The neighbourhood that votes, and the step from parent to parent.
    iterations : int
        Rounds of routing; with one, every vote weighs the same.
    """

    def __init__(self, children, parents, *, kernel=3, stride=1, iterations=3):
        super().__init__()
        (types, components), (self.types, self.components) = children, parents
        # each child type has its own kernel, M_t in the paper: a convolution in as many groups
        votes = types * self.types * self.components
        self.vote = nn.Conv2d(types * components, votes, kernel, stride, padding=kernel // 2, groups=types, bias=False)
        self.bias = nn.Parameter(torch.zeros(self.types, self.components, 1, 1))
        self.iterations = iterations
        # squash shrinks short vectors quadratically: parents have to start with lengths of about one
        gain = self.types / (kernel * TYPICAL_LENGTH * (types * self.components) ** 0.5)
        nn.init.normal_(self.vote.weight, std=gain)

    def forward(self, capsules):
        """Children ``[B, I, a, h, w]`` to parents ``[B, J, A, h/stride, w/stride]``."""
        types = capsules.shape[1]
        votes = self.vote(capsules.flatten(1, 2))  # [B, I J A, h, w]
        votes = votes.unflatten(1, (types, self.types, self.components))  # [B, I, J, A, h, w]
        # procedure 1 of Sabour et al. 2017, at every pixel by itself
        coupling = self._agree(votes) if self.iterations > 1 else 1 / self.types
        return squash((coupling * votes).sum(dim=1) + self.bias)  # [B, J, A, h, w]

    @torch.no_grad()  # as the authors did: coefficients are found, not learnt, and gradients pass the last round only
    def _agree(self, votes):
        parents = squash(votes.mean(dim=1) * (votes.shape[1] / self.types) + self.bias)  # [B, J, A, h, w]
        logits = 0.0
        for i in range(self.iterations - 1):
            logits = logits + (votes * parents.unsqueeze(1)).sum(dim=3, keepdim=True)  # [B, I, J, 1, h, w]
            coupling = logits.softmax(dim=2)  # [B, I, J, 1, h, w]
            if i < self.iterations - 2:
                parents = squash((coupling * votes).sum(dim=1) + self.bias)
        return coupling


class Encoder(nn.Module):
    """
    Plain features to capsules at 1/2, 1/4, ... of the resolution.

    Parameters
    ----------
    width : int
        Feature maps of the stem.
    levels : sequence of (int, int)
        Capsule types and components of each level, finest first.
    kernel, iterations : int
        As for `ConvCapsules`.
    """

    def __init__(self, width, levels, *, kernel, iterations):
        super().__init__()
        self.first = levels[0]
        types, components = self.first
        self.primary = nn.Conv2d(width, types * components, kernel, stride=2, padding=kernel // 2)
        route = {"kernel": kernel, "iterations": iterations}
        self.same = ConvCapsules(self.first, self.first, **route)
        self.down = nn.ModuleList(ConvCapsules(fine, coarse, stride=2, **route) for fine, coarse in pairwise(levels))

    def forward(self, features):
        """Features ``[B, w, H, W]`` to a list of capsules ``[B, I, a, H/2^l, W/2^l]``, finest first."""
        capsules = squash(self.primary(features).unflatten(1, self.first))  # [B, I, a, H/2, W/2]
        levels = [self.same(capsules)]
        for layer in self.down:
            levels.append(layer(levels[-1]))  # [B, I, a, h/2, w/2]
        return levels


class Decoder(nn.Module):
    """Capsules of all levels back to the finest of them; the parameters are those of the `Encoder`."""

    def __init__(self, levels, *, kernel, iterations):
        super().__init__()
        route = {"kernel": kernel, "iterations": iterations}
        pairs = list(pairwise(levels))[::-1]
        self.up = nn.ModuleList(ConvCapsules(coarse, fine, **route) for fine, coarse in pairs)
        # the skip adds as many capsule types; all vote pixel by pixel
        self.join = nn.ModuleList(
            ConvCapsules((2 * fine[0], fine[1]), fine, kernel=1, iterations=iterations) for fine, _ in pairs
        )

    def forward(self, levels):
        """Capsules of each level, finest first, to capsules ``[B, J, A, H/2, W/2]``."""
        *skips, capsules = levels
        for up, join, skip in zip(self.up, self.join, reversed(skips), strict=True):
            finer = F.interpolate(capsules, scale_factor=(1, 2, 2), mode="nearest")  # each pixel repeated
            capsules = up(finer)  # [B, J, A, h, w]
            capsules = join(torch.cat([capsules, skip], dim=1))  # [B, J, A, h, w]
        return capsules


class CapsuleTranslator(TranslationModel):
    """
    A capsule encoder and decoder beside a path of plain features for the flux.

    Parameters
    ----------
    in_bands, out_bands, scale
        As for `TranslationModel`.
    width : int
        Feature maps at source resolution.
    levels : sequence of (int, int)
        Capsule types and components at 1/2, 1/4, ... of the source's resolution.
    kernel : int
        Side of the neighbourhoods that vote.
    iterations : int
        Rounds of routing.
    blocks : int
        Residual convolution pairs after capsules and plain features have been joined.
    margin_weight : float
        Weight of the margin loss on the length of the first capsule, which thereby learns to mark sources.
    source_level : float
        Mean flux over bands, in units of the softening, above which a pixel belongs to a source.
    """

    name = "capsule"
    PRESETS = {
        "tiny": dict(
            width=32, levels=((4, 16), (6, 16)), kernel=3, iterations=3, blocks=1, margin_weight=0.01, source_level=0.5
        ),
        "paper": dict(
            width=64, levels=((4, 16), (4, 32), (8, 32)), kernel=5, iterations=3, blocks=2, margin_weight=0.01,
            source_level=0.5,
        ),
    }  # fmt: skip

    def __init__(
        self, in_bands, out_bands, scale, *, width, levels, kernel, iterations, blocks, margin_weight, source_level,
        observed=False,
    ):  # fmt: skip
        super().__init__(in_bands, out_bands, scale, observed)
        levels = [tuple(level) for level in levels]  # a JSON header has lists
        self.stem = nn.Sequential(nn.Conv2d(self.in_channels, width, 5, padding=2), nn.LeakyReLU(0.1))
        self.encoder = Encoder(width, levels, kernel=kernel, iterations=iterations)
        self.decoder = Decoder(levels, kernel=kernel, iterations=iterations)
        types, components = levels[0]
        self.spread = nn.Sequential(nn.Conv2d(types * components, 4 * width, 1), nn.PixelShuffle(2))
        self.meet = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.LeakyReLU(0.1))
        self.blocks = nn.Sequential(*(_Residual(width) for _ in range(blocks)))
        last = nn.Conv2d(width, 2 * len(self.out_bands) * self.scale**2, 3, padding=1)
        self.last = nn.Sequential(start_from_skip(last), nn.PixelShuffle(self.scale))
        self.margin_weight, self.source_level = margin_weight, source_level
        self.multiple_of = 2 ** len(levels)
        self.margin = _receptive_radius(len(levels), kernel, blocks)

    def forward(self, source):
        """Source ``[B, C_in, H, W]`` of any H and W to an `Estimate`."""
        return self._evaluate(source)[0]

    def _evaluate(self, source):
        height, width = source.shape[-2:]
        x = self.stem(pad_to_multiple(source, self.multiple_of))  # [B, w, H, W]
        capsules = self.decoder(self.encoder(x))  # [B, J, A, H/2, W/2]
        what = self.spread(capsules.flatten(1, 2))  # [B, w, H, W]
        both = torch.cat([x, what], dim=1)  # [B, 2 w, H, W]
        raw = self.last(self.blocks(x + self.meet(both)))  # [B, 2 C_out, sH, sW]
        raw = crop_to(raw, self.scale * height, self.scale * width)
        return Estimate(*split_estimate(raw, self.skip(source), bounded=self.observed)), capsules

    def losses(self, source, target, progress, generator=None, weight=None):
        """Yield the flux error, the likelihood of its standard deviation, and the margin loss."""
        estimate, capsules = self._evaluate(source)
        terms = self.content_losses(estimate, source, target, weight)
        lengths = capsule_length(capsules)[:, 0]  # [B, H/2, W/2]
        present = self._present(target, lengths.shape[-2:])
        if weight is not None:
            weight = self._seen_by_capsules(weight, lengths.shape[-2:])
        terms["margin"] = self.margin_weight * margin_loss(lengths, present, weight=weight)
        yield terms

    def _present(self, target, shape):
        """Where the target has a source, ``[B, H/2, W/2]``."""
        return self._seen_by_capsules(torch.sinh(target), shape) > self.source_level

    def _seen_by_capsules(self, image, shape):
        """Mean over bands and pixels of the target that each capsule represents, ``[B, H/2, W/2]``."""
        mean = F.avg_pool2d(image.mean(dim=1, keepdim=True), 2 * self.scale, ceil_mode=True, count_include_pad=False)
        mean = mean[:, 0]
        # the network pads to its multiple, where there is no target and nothing to be found
        return F.pad(mean, (0, shape[1] - mean.shape[2], 0, shape[0] - mean.shape[1]))


class _Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return x + self.conv2(F.leaky_relu(self.conv1(x), 0.1))  # [B, w, H, W]


def _receptive_radius(levels, kernel, blocks):
    """
    Source pixels on each side that a target pixel depends on, followed from the target back to the source.

    The number depends on where the pixel lies among the strides; this is the largest.
    """
    down_the_decoder = ["repeat"] + ["conv", "repeat"] * (levels - 1)
    up_the_encoder = ["stride"] * (levels - 1) + ["conv", "stride"]
    reach = 0
    for pixel in range(2**levels):
        near = 1 + 2 * blocks + 1  # what the last convolution, the residual pairs and `meet` read
        low, high = pixel - near, pixel + near
        for step in down_the_decoder + up_the_encoder:
            low, high = _read_by(step, low, high, kernel // 2)
        reach = max(reach, pixel - low, high - pixel)
    return max(reach + 2, SKIP_RADIUS)  # 2 for the stem's kernel of 5


def _read_by(step, low, high, radius):
    """Interval of pixels that a layer reads for the interval of pixels that it gives."""
    if step == "repeat":
        return low // 2, high // 2
    stride = 2 if step == "stride" else 1
    return stride * low - radius, stride * high + radius
