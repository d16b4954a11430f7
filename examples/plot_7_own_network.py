"""
Bring your own network
======================

A network is one class with one method. Training, tiles, calibration, errors and files come with the package.
"""

# %%
# ``forward`` takes a batch of images in network units and returns a mean and the logarithm of a standard deviation for each pixel of the target.
# ``margin`` is how far, in source pixels, an output pixel depends on the input: images of any size are cut into tiles that
# overlap by as much.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from torch import nn

from astro_galtrans import load_translator
from astro_galtrans.models.base import Estimate, TranslationModel
from astro_galtrans.models.blocks import split_estimate
from astro_galtrans.models.registry import register_model
from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
from astro_galtrans.training import load_recipe, train


@register_model
class Shallow(TranslationModel):
    """Two convolutions that correct the interpolated source."""

    name = "shallow"
    PRESETS = {"tiny": {"width": 24}}
    margin = 5

    def __init__(self, in_bands, out_bands, scale, *, width, observed=False):
        super().__init__(in_bands, out_bands, scale, observed)
        self.first = nn.Conv2d(self.in_channels, width, 5, padding=2)
        self.last = nn.Conv2d(width, 2 * len(out_bands) * scale**2, 5, padding=2)
        nn.init.zeros_(self.last.weight)  # it starts from the interpolation
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, source):
        """``[B, C_in, H, W]`` to mean and log std, ``[B, C_out, scale*H, scale*W]``."""
        found = self.shuffle(self.last(self.first(source).relu()))
        return Estimate(*split_estimate(found, self.skip(source)))


# %%
# It is trained like the four of the package. A recipe needs its name and a number of steps; all else has defaults.

folder = Path(tempfile.mkdtemp())
surveys = dict(source_bands="gri", target_bands="gri", kind="galaxy", size=32)
pairs = simulate_pairs(folder / "pairs", 64, PairSettings(**surveys, seed=1), progress=False)
held_out = simulate_pairs(folder / "held-out", 64, PairSettings(**surveys, seed=2), progress=False)
recipe = load_recipe("srgan", network={"name": "shallow", "settings": {}}, steps=100, data={"crop": 24}, picture_steps=0)
path = train(recipe, pairs, held_out, folder / "run", device="cpu", progress=False)
translator = load_translator(path)
print(translator)

# %%
# The scores are those that every translator is given, on pairs that it was not trained on.

figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.bar(list("gri"), translator.card["scores"]["rmse_gain_on_classical"])
axis.set(ylabel="errors smaller than the\ninterpolation's by", xlabel="band")

# %%
# What a network owes to the rest of the package (no limit on fluxes, no trace of tiles, a file that rebuilds it, and more) is
# checked by tests that your own package can run, see :ref:`networks`; there is also how it is declared, so that files of it load
# wherever your package is installed.
