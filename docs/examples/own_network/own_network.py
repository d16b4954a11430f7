"""A network of another package: the interpolated source, and what a few convolutions add to it."""

import torch
from torch import nn

from astro_galtrans.models.base import Estimate, TranslationModel
from astro_galtrans.models.blocks import split_estimate


class ResidualTranslator(TranslationModel):
    """Three layers of convolutions; the last begins at zero, so that the training begins at the interpolated source."""

    name = "residual"
    PRESETS = {"tiny": {"width": 24}, "paper": {"width": 256}}
    margin = 5  # pixels that a result depends on: 2 of the convolutions, 2 of the interpolation, one to spare

    def __init__(self, in_bands, out_bands, scale, *, width):
        super().__init__(in_bands, out_bands, scale)
        self.first = nn.Conv2d(len(self.in_bands), width, 3, padding=1)
        self.middle = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 2 * len(self.out_bands) * scale**2, 1)
        self.shuffle = nn.PixelShuffle(scale)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, source):
        """Source ``[B, C, H, W]`` to mean and log standard deviation of the target, in network units."""
        x = torch.relu(self.middle(torch.relu(self.first(source))))
        return Estimate(*split_estimate(self.shuffle(self.last(x)), self.skip(source)))
