"""Building blocks that two or more networks share."""

import torch
import torch.nn.functional as F
from torch import nn

__all__ = [
    "LOG_STD_RANGE", "SKIP_RADIUS", "MatchedSkip", "SkipConnection", "conv", "crop_to", "pad_to_multiple",
    "split_estimate", "start_from_skip",
]  # fmt: skip

#: Bounds of log(std) in network units, reached smoothly: exp(-6) is far below any sky noise, exp(3) beyond any doubt.
LOG_STD_RANGE = (-6.0, 3.0)
#: Largest correction of the linear answer, in network units: a factor 150 of a bright flux, more than any PSF or colour
#: asks for. Fluxes are exponentials of it, so that without a bound one star can undo a training in a step.
RESIDUAL = 5.0
SKIP_RADIUS = 2  #: source pixels that the bicubic interpolation of a skip connection reaches


class SkipConnection(nn.Module):
    """
    The source, interpolated to the target's grid: the answer that a network has to improve on.

    Each output band starts from the input band of the same name, or, if there is none, from the mean of all. There are
    no parameters. Interpolation is bicubic, with pixel centres where the rescaled WCS has them.
    """

    def __init__(self, in_bands, out_bands, scale):
        super().__init__()
        self.scale = scale
        rows = [[float(b == band) if band in in_bands else 1 / len(in_bands) for b in in_bands] for band in out_bands]
        self.register_buffer("weights", torch.tensor(rows), persistent=False)
        self.identity = tuple(in_bands) == tuple(out_bands)

    def forward(self, source):
        """Source ``[B, C_in, H, W]`` to ``[B, C_out, scale*H, scale*W]``."""
        x = source if self.identity else torch.einsum("oi,bihw->bohw", self.weights, source)
        if self.scale == 1:
            return x
        return F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)


class MatchedSkip(nn.Module):
    """
    The linear answer among the planes of an observed network (`astro_galtrans.inputs`), on the target's grid.

    It has the target's PSF where the data carry the light, and is what the network has to improve on.
    """

    def __init__(self, in_bands, out_bands, scale):
        super().__init__()
        self.scale, start = scale, len(in_bands)
        self.planes = slice(start, start + len(out_bands) * scale**2)

    def forward(self, source):
        """Planes ``[B, K, H, W]`` to ``[B, C_out, scale*H, scale*W]``."""
        return F.pixel_shuffle(source[:, self.planes], self.scale)


def conv(n_in, n_out, kernel=3, bias=True):
    """Return a convolution ``[B, n_in, H, W]`` to ``[B, n_out, H, W]``; beyond the edges the input is zero."""
    return nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=bias)


def pad_to_multiple(x, multiple):
    """Pad ``[B, C, H, W]`` at the bottom and right to multiples; reflected, or repeated where too small to reflect."""
    height, width = x.shape[-2:]
    down, right = -height % multiple, -width % multiple
    if not down and not right:
        return x
    mode = "reflect" if down < height and right < width else "replicate"
    return F.pad(x, (0, right, 0, down), mode=mode)


def crop_to(x, height, width):
    """Undo `pad_to_multiple` on an output of ``height x width`` pixels."""
    return x[..., :height, :width]


def split_estimate(raw, skip, *, bounded=False):
    """
    Network output ``[B, 2 C_out, H, W]`` and skip connection ``[B, C_out, H, W]`` to (mean, log_std).

    The mean is the skip plus a residual; the logarithm of the standard deviation is kept in `LOG_STD_RANGE` by a
    smooth function, so that no pixel can claim infinite certainty and gradients never vanish at once. A residual that
    is ``bounded`` stays below `RESIDUAL`, and is what the network gives to a per cent up to half of that.
    """
    residual, log_std = raw.chunk(2, dim=1)
    if bounded:
        residual = residual * (1 + (residual / RESIDUAL).pow(4)).pow(-0.25)
    low, high = LOG_STD_RANGE
    middle, half = (low + high) / 2, (high - low) / 2
    return skip + residual, middle + half * torch.tanh(log_std / half)


def start_from_skip(conv):
    """Let an untrained network answer with its skip connection and a standard deviation of about exp(-1)."""
    mean = conv.out_channels // 2
    with torch.no_grad():
        conv.weight[:mean] = 0
        conv.bias[:mean] = 0
        conv.bias[mean:] = 0.5  # `split_estimate` turns 0.5 into -1.0
    return conv
