"""
Surveys as data: bands, pixel scale, flux unit, zero point, seeing, depth and filter curves.

The numbers and their sources are in ``data/surveys.ecsv``; adding a survey is adding its rows there.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

import numpy as np

__all__ = ["Band", "Survey", "get_survey", "list_surveys"]

COLUMNS = "band", "fwhm", "sky_rms", "electrons", "filter", "source"


@dataclass(frozen=True)
class Band:
    """One band of a survey: its PSF, depth and filter curve."""

    name: str
    fwhm: float  #: typical FWHM of the PSF (arcsec)
    sky_rms: float  #: sky rms in a native pixel (flux unit of the survey)
    electrons: float  #: electrons per flux unit
    filter_name: str  #: name of the filter curve in speclite
    source: str  #: where the values come from


@dataclass(frozen=True)
class Survey:
    """
    An imaging survey.

    Fluxes are per pixel; the AB magnitude of a flux ``f`` in ``flux_unit`` is ``zeropoint - 2.5 log10(f)``.
    """

    name: str
    title: str
    pixel_scale: float  #: native pixel scale (arcsec)
    flux_unit: str  #: unit of the flux in a pixel, as astropy spells it
    zeropoint: float  #: AB magnitude of one flux unit
    bands: tuple[Band, ...]  #: by increasing wavelength

    @property
    def band_names(self):
        """Names of the bands, by increasing wavelength."""
        return tuple(band.name for band in self.bands)

    def __getitem__(self, name):
        """Return the `Band` called ``name``."""
        for band in self.bands:
            if band.name == name:
                return band
        msg = f"survey {self.name!r} has no band {name!r}; its bands are {', '.join(self.band_names)}"
        raise KeyError(msg)

    def sky_rms(self, pixel_scale=None):
        """
        Sky rms of each band in a pixel of a given size.

        Parameters
        ----------
        pixel_scale : float, optional
            Pixel scale in arcsec; the survey's own by default. Noise is taken as white, so that the rms of
            the flux in a pixel goes with the pixel's side.

        Returns
        -------
        `~numpy.ndarray`
            One rms per band, in ``flux_unit``.
        """
        ratio = 1.0 if pixel_scale is None else pixel_scale / self.pixel_scale
        return ratio * np.array([band.sky_rms for band in self.bands])


@cache
def _load():
    from astropy.table import Table  # only here: the table reader costs more to import than the package

    text = files("astro_galtrans").joinpath("data/surveys.ecsv").read_text(encoding="utf8")
    table = Table.read(text, format="ascii.ecsv")
    return {name: _survey(name, title, table[table["survey"] == name]) for name, title in table.meta["titles"].items()}


def _survey(name, title, rows):
    bands = tuple(
        Band(str(band), float(fwhm), float(rms), float(electrons), str(curve), str(source))
        for band, fwhm, rms, electrons, curve, source in rows.iterrows(*COLUMNS)
    )
    pixel_scale, zeropoint = float(rows["pixel_scale"][0]), float(rows["zeropoint"][0])
    return Survey(name, title, pixel_scale, str(rows["flux_unit"][0]), zeropoint, bands)


def list_surveys():
    """Return the names of the known surveys, sorted."""
    return sorted(_load())


def get_survey(name):
    """
    Return the description of a survey.

    Parameters
    ----------
    name : str or `Survey`
        A name from `list_surveys`; a `Survey` is returned as it is.

    Returns
    -------
    `Survey`

    Raises
    ------
    ValueError
        If the name is unknown; the message gives the nearest ones.
    """
    if isinstance(name, Survey):
        return name
    surveys = _load()
    if name in surveys:
        return surveys[name]
    near = get_close_matches(str(name).lower(), surveys, n=3, cutoff=0.4) or sorted(surveys)
    msg = f"unknown survey {name!r}; the nearest known are {', '.join(near)} (all: {', '.join(sorted(surveys))})"
    raise ValueError(msg)
