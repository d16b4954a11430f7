"""Figures of redshifts from spectra."""

import numpy as np

from astro_galtrans._optional import require

from .lines import LINES

__all__ = ["plot_redshift"]

#: Rest wavelengths (Angstrom) of features to label: lines of gas above the spectrum, lines of stars below.
GAS = {"[OII]": 3728.5, "[OIII]": LINES["OIII_5008"], "H$\\alpha$": LINES["Halpha"], "[SII]": 6725.0}
STARS = {"K": 3934.8, "H": 3969.6, "G": 4305.6, "Mg": 5176.6, "Na": 5895.6}


def plot_redshift(result, axes=None):
    """Draw what `RedshiftResult.plot` says."""
    if axes is None:
        axes = require("matplotlib.pyplot", extra="report").subplots(2, 1, figsize=(9, 6), layout="constrained")[1]
    _draw_fit(result, axes[0])
    axes[1].plot(result.curve["z"], result.curve["delta_chi2"], lw=0.7)
    axes[1].plot(result.peaks["z"], result.peaks["delta_chi2"], "v", ms=4)
    axes[1].set(xlabel="redshift", ylabel=r"$\chi^2$ gained")
    return axes


def _draw_fit(result, axis):
    wavelength, flux, model = (result.fit[name].value for name in ("wavelength", "flux", "model"))
    axis.plot(wavelength, flux, lw=0.5, color="0.6")
    axis.plot(wavelength, model, lw=0.8, color="tab:red")
    low, high = np.percentile(flux, [0.5, 99.5])
    axis.set_ylim(low - 0.2 * (high - low), high + 0.4 * (high - low))
    axis.set(title=str(result), xlabel="wavelength in vacuum (Angstrom)", ylabel=f"flux ({result.fit['flux'].unit})")
    for names, height in ((GAS, 0.92), (STARS, 0.04)):
        for name, rest in names.items():
            if wavelength[0] < rest * (1 + result.z) < wavelength[-1]:
                axis.axvline(rest * (1 + result.z), lw=0.4, ls=":", color="0.4")
                place = (rest * (1 + result.z), height)
                axis.annotate(name, place, xycoords=("data", "axes fraction"), fontsize="small", ha="center")
