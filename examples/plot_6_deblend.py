"""
Take a galaxy apart from its neighbour
======================================

A translator that was trained on blends gives the image that the same survey would have recorded of the brighter galaxy alone.
"""

# %%
# Blends are simulated: the source shows a fainter galaxy over the central one, the target does not. The recipe ``srgan-deblend`` trains on
# such pairs, and ``srgan-deblend-sdss`` is trained on those of SDSS.

import matplotlib.pyplot as plt
import numpy as np
from photutils.segmentation import SourceCatalog, deblend_sources, detect_sources

from astro_galtrans import load_translator
from astro_galtrans.pairs.simulated import PairSettings, simulate_pair
from astro_galtrans.pairs.simulated.population import Sample
from astro_galtrans.stamps import Stamps

sample = Sample(r_bright=17, r_faint=18.5, offset=0.2)
settings = PairSettings("sdss", "sdss", kind="galaxy", blends=1.0, seed=3, sample=sample)
pairs = [simulate_pair(settings, k) for k in range(6)]
fwhm = [[pair.truth[f"fwhm_{band}"] for band in "ugriz"] for pair in pairs]
blends = Stamps(np.stack([pair.source for pair in pairs]), "sdss", psf=fwhm)
isolated = load_translator("srgan-deblend-sdss")(blends).images

# %%
# The usual way is a watershed: each pixel goes to one of the peaks, and the light of two galaxies in one pixel is not parted.


def watershed(image):
    """Segments of the r image, and which is that of the galaxy in the middle."""
    segments = detect_sources(image, 2 * np.std(image[:8]), 5)
    segments = deblend_sources(image, segments, 5)
    middle = np.hypot(
        *(np.atleast_2d(SourceCatalog(image, segments).centroid) - 31.5).T
    ).argmin()
    return segments, segments.labels[middle]


figure, axes = plt.subplots(4, 6, figsize=(9, 6.4), layout="constrained")
for column, pair, after in zip(axes.T, pairs, isolated, strict=True):
    segments, label = watershed(pair.source[2])
    cut = np.where(segments.data == label, pair.source[2], np.nan)
    for axis, image in zip(
        column, (pair.source[2], cut, after[2], pair.target[2]), strict=True
    ):
        axis.imshow(np.arcsinh(image / 0.05), origin="lower", cmap="gray", vmin=-1, vmax=5)
        axis.set(xticks=[], yticks=[])
for axis, title in zip(axes[:, 0], ("blend", "watershed", "translated", "truth"), strict=True):
    axis.set_ylabel(title)

# %%
# How good it is, on 500 blends: :ref:`simulate-blends`. As all translations, it is a forecast with an error, and no measurement of what is below
# the neighbour: where a flux matters, fit models to all galaxies at once, as :ref:`comparison` says.
