"""
Is the redshift still there?
============================

Translated images can look right and have lost what tells the redshift. Estimators that are trained on real and on translated images
say how much is left.
"""

# %%
# Galaxies of known redshift are needed, in both surveys. Here they are simulated, and far fewer than a judgement needs: thousands
# give intervals of a few per cent (:ref:`redshift`).

import tempfile
from pathlib import Path

from astro_galtrans import load_translator
from astro_galtrans.fidelity.files import redshift_from_files
from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
from astro_galtrans.pairs.simulated.population import Sample
from astro_galtrans.statistics.bootstrap import Bootstrap

folder = Path(tempfile.mkdtemp())
settings = dict(kind="galaxy", size=32, sample=Sample(r_bright=16, r_faint=19, z_max=0.5, offset=0.2))
train = simulate_pairs(folder / "train", 256, PairSettings(**settings, seed=1), progress=False)
test = simulate_pairs(folder / "test", 128, PairSettings(**settings, seed=2), progress=False)

# %%
# One call translates the sources, trains the estimators on real source, real target and translated images, and judges them. The quick
# estimator sees aperture and peak fluxes; ``estimator="image"``, the default, sees the images.

result, peaks = redshift_from_files(
    test, load_translator("srgan-sdss-cfhtls"), folder / "report", training_pairs=train, estimator="photometric",
    epochs=40, bins=2, bootstrap=Bootstrap(resamples=200), progress=False,
)  # fmt: skip
print("\n".join(result.verdict()))

# %%
# *Retention* is the share of the source's information on the redshift that is left in the translation; the *penalty* is what a user pays
# who applies an estimator trained on real target images to translations.

result.ratios["model", "quantity", "value", "low", "high", "n"].pprint(max_width=-1)
figure = result.plot_redshifts("srgan-sdss-cfhtls")

# %%
# ``folder / "report"`` holds all tables and figures and a page, ``report.html``. ``galtrans redshift`` does the same.
