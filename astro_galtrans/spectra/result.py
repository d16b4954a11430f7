"""A redshift with its uncertainty, goodness of fit, flags, competing peaks, and the fitted model."""

from dataclasses import dataclass, field
from enum import IntFlag

import numpy as np
from astropy.table import QTable

from astro_galtrans._optional import require

from .lines import LINES

__all__ = ["Flag", "RedshiftResult"]

#: Rest wavelengths (Angstrom) of features to label: lines of gas above the spectrum, lines of stars below.
GAS = {"[OII]": 3728.5, "[OIII]": LINES["OIII_5008"], "H$\\alpha$": LINES["Halpha"], "[SII]": 6725.0}
STARS = {"K": 3934.8, "H": 3969.6, "G": 4305.6, "Mg": 5176.6, "Na": 5895.6}


class Flag(IntFlag):
    """
    Reasons to distrust a redshift; 0 is none.

    Examples
    --------
    >>> from astro_galtrans.spectra import Flag
    >>> flag = Flag(3)  # as a number in a catalogue
    >>> Flag.COMPETING in flag, Flag.EDGE in flag
    (True, False)
    >>> [member.name for member in flag]
    ['COMPETING', 'WEAK']
    """

    COMPETING = 1  #: another peak is nearly as good
    WEAK = 2  #: the best peak is no higher than noise alone can make one
    EDGE = 4  #: the best peak is at an end of the range of redshifts
    NO_CURVATURE = 8  #: chi-squared has no minimum near the best redshift, whose uncertainty is then unknown
    UNREADABLE = 16  #: there is no redshift: the file could not be read, or has too few usable pixels


@dataclass(frozen=True)
class RedshiftResult:
    """
    The redshift of a spectrum.

    ``delta_chi2`` and ``margin`` are divided by the reduced chi-squared of the best fit (if that is above 1), so that
    they are no larger where uncertainties are underestimated or the templates do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from specutils import Spectrum
    >>> from astro_galtrans import spectra
    >>> wavelength = np.arange(3600, 9300, 2.0)
    >>> flux = spectra.default_templates()[0](wavelength / 1.2)
    >>> flux += np.random.default_rng(1).normal(0, 0.1, len(wavelength))
    >>> spectrum = Spectrum(spectral_axis=wavelength * u.AA, flux=flux * u.Unit("1e-17 erg / (s cm2 AA)"))
    >>> found = spectra.redshift(spectrum, z_range=(0, 0.4))
    >>> found.kind, found.warnings, found.pixels == len(wavelength)
    ('absorption', (), True)
    """

    z: float  #: redshift, in the frame of the spectrum's wavelengths (heliocentric for SDSS)
    uncertainty: float  #: 1 sigma, from the change of chi-squared
    template: str  #: the templates with the largest shares, joined by " + "
    kind: str  #: "absorption", "emission", or "both"
    flag: Flag  #: 0 for a redshift without a warning
    delta_chi2: float  #: by how much the templates lower chi-squared below that of a smooth continuum
    margin: float  #: delta_chi2 of the best peak less that of the second
    r: float  #: ratio of the correlation's peak to its noise (Tonry & Davis 1979)
    reduced_chi2: float  #: of the best fit
    signal_to_noise: float  #: median per pixel
    pixels: int  #: number of pixels fitted
    medium: str  #: of the wavelengths as given: "vacuum", "air" (converted), "vacuum (assumed)"
    noise: str  #: "given", or "estimated" from the spectrum
    amplitudes: dict = field(repr=False)  #: of the templates
    peaks: QTable = field(repr=False)  #: the highest peaks: z, uncertainty, delta_chi2
    curve: QTable = field(repr=False)  #: the scan: z, delta_chi2
    fit: QTable = field(repr=False)  #: wavelength (vacuum), flux, sigma, model, continuum

    @property
    def warnings(self):
        """Names of the flags that are set."""
        return tuple(member.name for member in Flag if member & self.flag)

    def plot(self, axes=None):
        """
        Draw the spectrum with its best model, and chi-squared against redshift.

        Parameters
        ----------
        axes : sequence of two `matplotlib.axes.Axes`, optional
            Where to draw; a new figure by default.

        Returns
        -------
        sequence of `matplotlib.axes.Axes`
        """
        if axes is None:
            pyplot = require("matplotlib.pyplot", extra="report")
            axes = pyplot.subplots(2, 1, figsize=(9, 6), layout="constrained")[1]
        _draw_fit(self, axes[0])
        axes[1].plot(self.curve["z"], self.curve["delta_chi2"], lw=0.7)
        axes[1].plot(self.peaks["z"], self.peaks["delta_chi2"], "v", ms=4)
        axes[1].set(xlabel="redshift", ylabel=r"$\chi^2$ gained")
        return axes

    def __str__(self):
        said = ", ".join(self.warnings) or "no warning"
        return f"z = {self.z:.5f} +- {self.uncertainty:.5f} ({self.template}; r = {self.r:.1f}; {said})"


def shares(templates, amplitudes, gains):
    """
    Name and kind of a mixture, such as ``"lrg + LINER"`` and ``"both"``, from the templates with the largest gains.

    ``gains`` are the shares of the templates in the gain of chi-squared.
    """
    total = max(gains.sum(), np.finfo(float).tiny)
    kinds = {}
    for template, gain in zip(templates, gains, strict=True):
        kinds[template.kind] = kinds.get(template.kind, 0) + gain / total
    leading = [i for i in np.argsort(gains)[::-1] if gains[i] > 0.1 * total and amplitudes[i] > 0][:2]
    kind = "both" if min(kinds.values()) > 0.1 and len(kinds) > 1 else max(kinds, key=kinds.get)
    return " + ".join(templates[i].name for i in leading) or "none", kind


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
