"""
Many cutouts at once
====================

A catalogue of positions, cut from the images of a survey and translated in one call.
"""

# %%
# A field of 100 arcsec as SDSS would see it, simulated: any `~astropy.nddata.CCDData`, files or HDUs with a WCS do as well.

import matplotlib.pyplot as plt
import numpy as np
from astropy.nddata import CCDData
from astropy.wcs import WCS
from photutils.detection import find_peaks

from astro_galtrans import cutouts, translate
from astro_galtrans.pairs.simulated import PairSettings, simulate_pair

settings = PairSettings(kind="field", size=256, seed=2)
field = simulate_pair(settings, 0)
wcs = WCS(naxis=2)
wcs.wcs.ctype, wcs.wcs.cunit = ("RA---TAN", "DEC--TAN"), ("deg", "deg")
wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (
    (150.0, 2.2),
    (128.5, 128.5),
    (-0.396 / 3600, 0.396 / 3600),
)
sdss = {
    band: CCDData(image, unit="nmgy", wcs=wcs)
    for band, image in zip("ugriz", field.source, strict=True)
}

# %%
# `~astro_galtrans.cutouts` cuts all bands around each position of a catalogue, which here is what photutils detects.

catalogue = find_peaks(sdss["r"].data, 0.15, box_size=15, border_width=32)
catalogue["sky"] = wcs.pixel_to_world(catalogue["x_peak"], catalogue["y_peak"])
table = cutouts(sdss, catalogue, 64)
print(table["row", "sky", "peak_value"])

# %%
# The table goes into `~astro_galtrans.translate` as it is, and comes back with translations in the place of the cutouts. So do lists of
# images, stacks, `~astro_galtrans.stamps.Stamps` and stores of pairs. A small cutout has no stars to tell its PSF, so
# it is given: the FWHM of stars in arcsec.

fwhm = {band: field.truth[f"star_fwhm_{band}"] for band in "ugriz"}
result = translate(table, "srgan-sdss-cfhtls", psf=fwhm)
first = result["cutout"][0]
print(type(first).__name__, first["r"].shape, first["r"].unit)

# %%
# Each in the r band, above as SDSS saw it.

number = min(len(result), 6)
figure, axes = plt.subplots(
    2, number, figsize=(1.8 * number, 3.8), layout="constrained", squeeze=False
)
for column, before, after in zip(axes.T, table["cutout"], result["cutout"], strict=False):
    for axis, image in zip(column, (before, after), strict=True):
        plane = np.asarray(image["r"].data if isinstance(image, dict) else image.data[2])
        axis.imshow(np.arcsinh(plane / np.std(plane)), origin="lower", cmap="gray")
        axis.set_axis_off()

# %%
# Whole surveys, with workers, shards and restarts: ``galtrans translate`` with ``--catalogue``, see :ref:`scale`.
