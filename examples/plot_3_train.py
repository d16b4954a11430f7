"""
Train a translator on two surveys
=================================

From two surveys' names to a translator file. Here it is trained for seconds, to show how; a useful one takes hours.
"""

# %%
# A pair is the same galaxy as each survey would see it. `~astro_galtrans.pairs.simulated.simulate_pairs` makes them for any two of the
# surveys that the package describes, or of your own. Real images of the same sky become pairs by
# `~astro_galtrans.pairs.observed.build_pairs`, and everything after that is the same.

import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table

from astro_galtrans import load_translator
from astro_galtrans.exceptions import DomainWarning
from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
from astro_galtrans.training import load_recipe, train

folder = Path(tempfile.mkdtemp())
surveys = dict(
    source="decals",
    target="hsc-wide",
    source_bands="grz",
    target_bands="grz",
    kind="galaxy",
    size=48,
)
pairs = simulate_pairs(folder / "pairs", 64, PairSettings(**surveys, seed=1), progress=False)
held_out = simulate_pairs(
    folder / "held-out", 64, PairSettings(**surveys, seed=2), progress=False
)
print(pairs)

# %%
# A recipe says which network in which size, and how it is trained. All fields are in :ref:`train_recipe`; those that are named here
# replace the shipped recipe's.

recipe = load_recipe(
    "srgan",
    steps=60,
    data={"crop": 24, "batch_size": 8},
    validation_steps=20,
    log_steps=5,
    picture_steps=0,
)
path = train(recipe, pairs, held_out, folder / "run", device="cpu", progress=False)
print(path.name)

# %%
# Training can be interrupted at any time; the same call goes on from its last checkpoint. It writes losses and scores on pairs that it
# is not trained on. The score shown is by which share errors are smaller than those of an interpolation.

losses, scores = (
    Table.read(folder / "run" / name) for name in ("losses.csv", "validation.csv")
)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
axes[0].plot(losses["step"], losses["flux"], color="0.3")
axes[0].set(xlabel="step", ylabel="loss (flux)", yscale="log")
axes[1].plot(scores["step"], scores["rmse_gain"], "o-")
axes[1].set(xlabel="step", ylabel="gain over interpolation")

# %%
# The file is a translator like the shipped ones: calibrated, with its scores in its card. ``galtrans info`` prints them, and
# ``galtrans translate`` uses it with ``-m``.

translator = load_translator(path)
with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DomainWarning
    )  # a galaxy that fills its stamp looks like sky that was left in
    translated = translator(held_out).images
figure, axes = plt.subplots(3, 4, figsize=(7, 5.4), layout="constrained")
for column, k in zip(axes.T, np.argsort(held_out.table["r"])[:4], strict=True):
    images = held_out.source(k)[1], translated[k][1], held_out.target(k)[1]
    for axis, image in zip(column, images, strict=True):
        axis.imshow(np.arcsinh(image / np.std(image)), origin="lower", cmap="gray")
        axis.set(xticks=[], yticks=[])
for axis, title in zip(axes[:, 0], ("DECaLS", "translated", "HSC"), strict=True):
    axis.set_ylabel(title)

# %%
# On the command line all of it is one command, which simulates what it needs::
#
#     galtrans train srgan --source decals --target hsc-wide -o run
