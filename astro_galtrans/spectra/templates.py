"""
Templates of galaxy spectra: stars in absorption, gas in emission.

A galaxy is modelled as a sum of templates with amplitudes that are not negative, so that a few templates span all
mixtures of them. The stellar ones are those of kcorrect (Blanton & Roweis 2007, AJ 133, 734; from models of Bruzual &
Charlot 2003, MNRAS 344, 1000); those of gas are line lists (`LINE_RATIOS`). None was made from the spectra that the
package is tested on.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from scipy.interpolate import CubicSpline

from .lines import LINE_RATIOS, line_spectrum

__all__ = ["Mixture", "Template", "default_templates"]

STELLAR = ("lrg", "intermediate")
#: Step in log10(wavelength) of the tables of mixtures, 7 km/s: interpolated lines of 70 km/s are good to 0.1 %.
FINE_STEP = 1e-5
#: Rest wavelengths to which tables are limited (Angstrom).
TABLE_RANGE = (912.0, 25000.0)


@dataclass(frozen=True)
class Template:
    """
    The spectrum of a galaxy, or of one of its components, at rest.

    Called with a rest wavelength in vacuum (Angstrom), it returns the flux per wavelength; NaN outside its coverage.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.spectra import Template
    >>> wavelength = np.linspace(3000, 8000, 501)
    >>> template = Template.from_arrays("blue", wavelength, (wavelength / 5000) ** -2)
    >>> template([2000, 5000]).round(3).tolist(), template.kind
    ([nan, 1.0], 'absorption')
    """

    name: str
    kind: str  #: "absorption" or "emission"
    spectrum: object  #: the callable
    coverage: tuple = (0.0, np.inf)  #: rest wavelengths at which it is known (Angstrom)

    def __call__(self, wavelength):
        """Return the flux per wavelength at a rest wavelength in vacuum (Angstrom)."""
        wavelength = np.asarray(wavelength, dtype=float)
        inside = (wavelength >= self.coverage[0]) & (wavelength <= self.coverage[1])
        flux = np.full(wavelength.shape, np.nan)
        flux[inside] = self.spectrum(wavelength[inside])
        return flux

    @classmethod
    def from_arrays(cls, name, wavelength, flux, kind="absorption"):
        """
        Make a template from samples.

        Parameters
        ----------
        name : str
            Its name in results.
        wavelength : array_like
            Rest wavelength in vacuum (Angstrom), increasing.
        flux : array_like
            Flux per wavelength, in any unit.
        kind : str, optional
            ``"absorption"`` or ``"emission"``.

        Raises
        ------
        ValueError
            If the arrays do not match, are not finite, or the wavelengths do not increase.
        """
        wavelength, flux = np.asarray(wavelength, dtype=float), np.asarray(flux, dtype=float)
        if wavelength.shape != flux.shape or wavelength.ndim != 1 or len(wavelength) < 4:
            msg = (
                f"template {name!r} needs wavelength and flux of one equal length of at least 4, not "
                f"{wavelength.shape} and {flux.shape}"
            )
            raise ValueError(msg)
        if not (np.isfinite(flux).all() and (np.diff(wavelength) > 0).all() and wavelength[0] > 0):
            msg = f"template {name!r} needs finite flux and positive, increasing wavelengths"
            raise ValueError(msg)
        spline = CubicSpline(np.log(wavelength), flux)
        return cls(name, kind, lambda x: spline(np.log(x)), (wavelength[0], wavelength[-1]))


class Mixture:
    """Templates that are fitted together, tabulated for speed."""

    def __init__(self, templates):
        self.templates = tuple(templates)
        low = max(TABLE_RANGE[0], *(template.coverage[0] for template in self.templates))
        high = min(TABLE_RANGE[1], *(template.coverage[1] for template in self.templates))
        self.coverage = low, high  #: rest wavelengths at which all are known (Angstrom)
        self._start = np.log10(low)
        grid = np.arange(self._start, np.log10(high), FINE_STEP)
        table = np.stack([template(10**grid) for template in self.templates])
        self._table = np.nan_to_num(table / np.nanmax(np.abs(table), axis=1, keepdims=True))

    def __len__(self):
        return len(self.templates)

    def only(self, kept):
        """Return a mixture of some of the templates, by their numbers."""
        other = object.__new__(Mixture)
        other.templates = tuple(self.templates[k] for k in kept)
        other.coverage, other._start, other._table = self.coverage, self._start, self._table[kept]
        return other

    def __call__(self, log_wavelength):
        """Templates at log10 of a rest wavelength, [template, ...]; 0 outside the coverage."""
        place = (np.asarray(log_wavelength) - self._start) / FINE_STEP
        index = np.floor(place).astype(int)
        inside = (index >= 0) & (index < self._table.shape[1] - 1)
        index = np.where(inside, index, 0)
        share = np.where(inside, place - index, 0.0)
        low = self._table[:, index]
        return (low + share * (self._table[:, index + 1] - low)) * inside


@cache
def default_mixture(dispersion):
    """`Mixture` of `default_templates`."""
    return Mixture(default_templates(dispersion))


@cache
def default_templates(dispersion=120.0):
    """
    Return the package's templates: a tuple of `Template`, two of stars and four of gas.

    Parameters
    ----------
    dispersion : float, optional
        Standard deviation of the emission lines (km/s), that of the galaxy and the instrument together.

    Examples
    --------
    >>> from astro_galtrans.spectra import default_templates
    >>> [template.name for template in default_templates() if template.kind == "absorption"]
    ['lrg', 'intermediate']
    >>> len(default_templates(dispersion=200.0))
    6
    """
    return (*_stellar_templates(), *(_gas_template(name, dispersion) for name in LINE_RATIOS))


@cache
def _stellar_templates():
    from astropy.table import Table  # not at the top: importing the readers of tables takes longer than all else here

    text = files("astro_galtrans").joinpath("data/stellar_templates.ecsv").read_text(encoding="utf8")
    table = Table.read(text, format="ascii.ecsv")
    return tuple(Template.from_arrays(name, table["wavelength"], table[name]) for name in STELLAR)


def _gas_template(name, dispersion):
    return Template(name, "emission", lambda x: line_spectrum(x, LINE_RATIOS[name], dispersion))
