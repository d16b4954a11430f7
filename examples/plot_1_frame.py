"""
Translate an image
==================

An SDSS image, as CFHTLS Wide would have seen the same sky: fluxes, their errors, and what was detected.
"""

# %%
# The package brings a small simulated image. Any image will do that `~astropy.nddata.CCDData` can hold: background-subtracted,
# with a unit and a WCS, one per band. A path, a cube or a list of HDUs is taken, too.

from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
from astropy import units as u
from astropy.nddata import CCDData

from astro_galtrans import translate

data = files("astro_galtrans") / "data"
sdss = {band: CCDData.read(data / "sample_sdss.fits.fz", hdu=band.upper()) for band in "ugriz"}
cfhtls = translate(sdss, "srgan-sdss-cfhtls")
print(sdss["r"].shape, sdss["r"].unit, "->", cfhtls["r"].shape, cfhtls["r"].unit)

# %%
# What comes back is what went in: `~astropy.nddata.CCDData` by band, with WCS, mask and a standard deviation for every pixel.

from astro_galtrans.bandstack import read
from astro_galtrans.demo import rgb

truth = read(data / "sample_cfhtls-wide.fits.fz")
figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), layout="constrained")
axes[0].imshow(rgb(read(sdss)), origin="lower")
axes[1].imshow(rgb(read(cfhtls)), origin="lower")
axes[2].imshow(rgb(truth), origin="lower")
axes[3].imshow(cfhtls["r"].uncertainty.array, origin="lower", norm="log", cmap="magma")
titles = "SDSS", "translated", "CFHTLS Wide (truth)", "standard deviation, r"
for axis, title in zip(axes, titles, strict=True):
    axis.set_title(title)
    axis.set_axis_off()

# %%
# Photometry
# ----------
# Positions are those of sources that stand out by five times the noise *of the source image*. The sky of a translation is smoother
# than that of a real image, so a threshold over its own scatter would find peaks of noise:
# `~astro_galtrans.significance` is the map that thresholds belong on.

from photutils.aperture import SkyCircularAperture
from photutils.detection import find_peaks

from astro_galtrans import aperture_error, fluxes, significance

peaks = find_peaks(significance(cfhtls["r"]), 5.0, box_size=11)
sky = cfhtls["r"].wcs.pixel_to_world(peaks["x_peak"], peaks["y_peak"])
apertures = SkyCircularAperture(sky, r=1.5 * u.arcsec)

# %%
# Neighbouring pixels of a translation share their errors. `~astro_galtrans.aperture_error` knows how, and adding the variances
# of pixels does not.

flux, true = fluxes(
    [cfhtls, data / "sample_cfhtls-wide.fits.fz"], apertures
)  # [bands, positions], with unit
error = aperture_error(cfhtls, apertures)

figure, axis = plt.subplots(figsize=(5, 3.5), layout="constrained")
for k, band in enumerate("ugriz"):
    pull = (flux[k] - true[k]) / error[k]
    axis.plot(30 - 2.5 * np.log10(np.abs(true[k].value)), pull, "o", label=band)
axis.axhspan(-1, 1, color="0.9", zorder=0)
axis.set(xlabel="true magnitude (AB, 3 arcsec)", ylabel="(translated - true) / stated error")
axis.legend()
