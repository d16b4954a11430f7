"""
Find anomalies
==============

Two images of the same sky must agree, once they are brought to the same PSF, pixels and filters. Where they do not, a
translation has invented or lost something, or the sky has changed between the two surveys. Neither needs a catalogue, or a training.
"""

# %%
# Galaxies as SDSS and CFHTLS would see them. In the CFHTLS image of one of them a supernova has appeared.

import numpy as np

from astro_galtrans import load_translator
from astro_galtrans.fidelity.anomaly.measure import anomalies
from astro_galtrans.pairs.simulated import PairSettings, simulate_pair
from astro_galtrans.pairs.simulated.population import Sample
from astro_galtrans.psf import MoffatPSF, psf_images
from astro_galtrans.stamps import Stamps

settings = PairSettings(
    kind="galaxy", seeing_spread=0.0, size=48, seed=4, sample=Sample(16, 19, 0.4, 0.2)
)
sdss, cfhtls = settings.surveys
pairs = [simulate_pair(settings, k) for k in range(48)]
source, target = (
    np.stack([getattr(pair, side) for pair in pairs]) for side in ("source", "target")
)

magnitude, row = 21.0, 17
fwhm = [band.fwhm for band in cfhtls.bands]
star = 10 ** (0.4 * (30 - magnitude)) * psf_images(MoffatPSF(fwhm), 0.198, 21)
target[row, :, 50:71, 30:51] += star

# %%
# `~astro_galtrans.fidelity.anomaly.measure.anomalies` compares each translation with the source, and the real images too, if they are
# given as ``target``.

source = Stamps(source, sdss, psf=MoffatPSF([band.fwhm for band in sdss.bands]), name="sdss")
target = Stamps(target, cfhtls, pixel_scale=0.198, psf=MoffatPSF(fwhm), name="cfhtls")
translated = Stamps.from_translator(
    load_translator("srgan-sdss-cfhtls"), source, target, progress=False
)
found = anomalies(source, {"srgan": translated}, target=target, progress=False)

# %%
# A score is :math:`-\log_{10}` of the probability that two images of the same sky differ as much. The supernova leads the list of the real images:
# light that the target shows and the source lacks, in the place where it was put.

worst = found.rows("galaxies", model="target")["row", "score", "kind", "x", "y"][:3]
worst.round(2)
print(worst)
figure = found.plot_worst("target")

# %%
# What the translator made of the sources contradicts them where the network invented or lost light. A perfect translation has a score above 2 for one
# galaxy in a hundred.

figure = found.plot_worst("srgan")
print(
    f"score above 2: {found.value('score', 'share_above_2', model='srgan')[0]:.2f} of the galaxies"
)

# %%
# From files, with a table of all galaxies in the order of their scores: ``galtrans anomalies``, see :ref:`anomalies`.
