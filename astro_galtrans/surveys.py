r"""
Surveys as data: bands, pixel scale, flux unit, zero point, seeing, depth and filter curves.

Each survey is one ECSV file in ``data/surveys/`` that gives a source for every number; adding a survey is adding a
file, and `get_survey` reads one of the user's from its path. Sky noise is either measured in images or follows from
the depth, for all surveys by one formula. White noise of rms :math:`\sigma` per pixel of side :math:`p` gives a flux
the error :math:`\sigma \sqrt A / p`, where the area :math:`A` is that of the aperture, or, for PSF photometry, the
noise-equivalent area :math:`1 / \int \mathrm{PSF}^2` (King 1983, PASP 95, 163). So a five-sigma depth :math:`m` means

.. math::

    \sigma = \frac{p}{5 \sqrt A} \, 10^{0.4 (\mathrm{zeropoint} - m)} ,
    \qquad A = \frac{\pi}{4} D^2 \quad \mathrm{or} \quad
    A = \frac{\pi \, (2 \beta - 1)}{4 \, (2^{1/\beta} - 1) \, (\beta - 1)^2} \, \mathrm{FWHM}^2 ,

for an aperture of diameter :math:`D`, or a Moffat profile with :math:`\beta = 3.5`, as PSFs are here:
3.44 FWHM squared, where a Gaussian of the same FWHM has 2.27.
"""

from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from math import isnan, log10, nan, pi
from pathlib import Path

import numpy as np

from ._plain import plain_name
from .bands import parse_band, parse_bands
from .units import flux_zeropoint

__all__ = ["MOFFAT_BETA", "Band", "Survey", "get_survey", "list_surveys", "sky_from_depth"]

MOFFAT_BETA = 3.5  #: of the PSFs whose FWHM is given here
DIGITS = 3  # significant digits of a sky rms that follows from a depth
FOLDER = "data/surveys"


@dataclass(frozen=True, eq=False)
class Band:
    """
    One band of a survey: its PSF, depth and filter curve.

    What is not known is NaN, or an empty text. Two bands are equal if images of them are: if they agree in all but
    ``depth``, ``aperture`` and ``source``, which say where the noise comes from, and ``saturation``.
    """

    name: str
    fwhm: float  #: typical FWHM of the PSF, a Moffat profile, without the pixel (arcsec)
    sky_rms: float  #: sky rms in a native pixel (flux unit of the survey)
    electrons: float = nan  #: electrons per flux unit, for photon noise; without it there is none
    filter: str = ""  #: name of the filter curve, see `astro_galtrans.filters`
    depth: float = nan  #: AB magnitude of a point source detected at five sigma
    aperture: float = nan  #: diameter (arcsec) that the depth is for; NaN for PSF photometry
    source: str = ""  #: where the values come from, if it is not that of the survey
    saturation: float = nan  #: flux in a pixel from which it is saturated; NaN: never, or not known

    def _key(self):
        return tuple(_or_none(getattr(self, name)) for name in ("name", "fwhm", "sky_rms", "electrons", "filter"))

    def __eq__(self, other):
        return self._key() == other._key() if isinstance(other, Band) else NotImplemented

    def __hash__(self):
        return hash(self._key())


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
    sources: tuple[tuple[str, str], ...] = field(default=(), compare=False)  #: quantity, and where its values come from

    def __post_init__(self):
        object.__setattr__(self, "bands", tuple(self.bands))
        object.__setattr__(self, "sources", tuple(dict(self.sources).items()))
        _check(self)

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

    def select(self, bands=None):
        """
        Return the survey limited to some of its bands, in its own order (by increasing wavelength).

        Parameters
        ----------
        bands : str or iterable of str, optional
            Names as `~astro_galtrans.bands.parse_bands` reads them; all by default.

        Raises
        ------
        ValueError
            If the survey lacks one of them.
        """
        if bands is None:
            return self
        wanted = parse_bands(bands)
        missing = [name for name in wanted if name not in self.band_names]
        if missing:
            have = ", ".join(self.band_names)
            msg = f"survey {self.name!r} has no band {', '.join(map(repr, missing))}; its bands are {have}"
            raise ValueError(msg)
        return replace(self, bands=tuple(band for band in self.bands if band.name in wanted))

    def sky_rms(self, pixel_scale=None):
        """
        Return the sky rms (``flux_unit``) of each band in a pixel of a given size.

        Parameters
        ----------
        pixel_scale : float, optional
            Pixel scale in arcsec; the survey's own by default. Noise is taken as white, so that the rms of the flux in
            a pixel is proportional to the pixel's side.
        """
        ratio = 1.0 if pixel_scale is None else pixel_scale / self.pixel_scale
        return ratio * np.array([band.sky_rms for band in self.bands])

    def describe(self):
        """Return the description as text: a table of the bands, and the sources of the values."""
        head = f"{self.name}: {self.title}"
        scale = f"{self.pixel_scale:g} arcsec per pixel, flux in {self.flux_unit} (AB zero point {self.zeropoint:g})"
        titles = f"{'band':8}{'FWHM':>8}{'depth':>8}{'sky rms':>11}{'electrons':>11}  filter"
        rows = [
            f"{b.name:8}{b.fwhm:8.2f}{self.depth(b.name):8.2f}{b.sky_rms:11.3g}{b.electrons:11.3g}  {b.filter or '-'}"
            for b in self.bands
        ]
        sources = [f"{quantity}: {text}" for quantity, text in self.sources]
        sources += [f"{band.name}: {band.source}" for band in self.bands if band.source]
        return "\n".join([head, scale, titles, *rows, *sources])

    def depth(self, band):
        """
        Return the AB magnitude of a point source at five sigma with PSF photometry in white noise, in a band.

        It is the inverse of `sky_from_depth`; NaN where the noise is not known. It may differ from the `Band.depth`
        that was published for an aperture.
        """
        band = self[band]
        return self.zeropoint - 2.5 * log10(5 * band.sky_rms * _psf_area(band.fwhm) ** 0.5 / self.pixel_scale)

    def to_dict(self):
        """Return the survey as plain values that JSON can hold; what is not known is None."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        bands = [{f.name: _or_none(getattr(band, f.name)) for f in fields(band)} for band in self.bands]
        return content | {"bands": bands, "sources": dict(self.sources)}

    @classmethod
    def from_dict(cls, content):
        """
        Rebuild a survey from `to_dict`.

        Raises
        ------
        ValueError
            If a field is missing or unknown, or has an impossible value.
        """
        try:
            bands = (Band(**{k: nan if v is None else v for k, v in band.items()}) for band in content["bands"])
            return cls(**content | {"bands": tuple(bands)})
        except (KeyError, TypeError) as err:
            known = ", ".join(f.name for f in fields(cls)), ", ".join(f.name for f in fields(Band))
            msg = f"not a survey's description ({err}); a survey has {known[0]}; a band {known[1]}"
            raise ValueError(msg) from err


def _or_none(value):
    return None if isinstance(value, float) and isnan(value) else value


def _check(survey):
    """Raise ValueError if a survey's numbers are impossible; the unit must agree with the zero point."""
    plain_name(survey.name, "the name of a survey")  # translators and columns of tables are called after it
    for band in survey.band_names:
        plain_name(band, f"the name of a band of {survey.name}")
    parse_bands(survey.band_names)
    flux_zeropoint(survey.flux_unit, zeropoint=survey.zeropoint)
    wrong = [] if survey.pixel_scale > 0 else [f"pixel_scale = {survey.pixel_scale}"]
    for band in survey.bands:
        numbers = {name: getattr(band, name) for name in ("fwhm", "sky_rms", "electrons", "saturation", "aperture")}
        wrong += [f"{name} = {value} in {band.name}" for name, value in numbers.items() if value <= 0]
    if wrong:
        msg = f"survey {survey.name!r}: {'; '.join(wrong)}; these must be positive (or NaN in a band: not known)"
        raise ValueError(msg)


def sky_from_depth(depth, fwhm, pixel_scale, zeropoint, aperture=nan):
    """
    Return the sky rms per pixel (flux units) of a survey with a given depth; the formula is on top of this module.

    Parameters
    ----------
    depth : float
        AB magnitude of a point source detected at five sigma.
    fwhm, pixel_scale : float
        FWHM of the PSF and side of a pixel (arcsec).
    zeropoint : float
        AB magnitude of one flux unit.
    aperture : float, optional
        Diameter (arcsec) of the aperture that the depth is for; by default it is for PSF photometry.
    """
    area = _psf_area(fwhm) if isnan(aperture) else pi / 4 * aperture**2
    return 10 ** (0.4 * (zeropoint - depth)) / 5 * pixel_scale / area**0.5


def _psf_area(fwhm, beta=MOFFAT_BETA):
    return pi * (2 * beta - 1) / (4 * (2 ** (1 / beta) - 1) * (beta - 1) ** 2) * fwhm**2


def _folder():
    return files("astro_galtrans").joinpath(FOLDER)


def list_surveys():
    """
    Return the names of the known surveys, sorted.

    Examples
    --------
    >>> from astro_galtrans import list_surveys
    >>> list_surveys()[:3]
    ['cfhtls-deep', 'cfhtls-wide', 'decals']
    """
    return sorted(path.name.removesuffix(".ecsv") for path in _folder().iterdir() if path.name.endswith(".ecsv"))


def get_survey(name):
    """
    Return the `Survey` of a name, or from a file.

    Parameters
    ----------
    name : str, `Survey` or path-like
        A name from `list_surveys`, or the path of an ECSV file like those in ``data/surveys/``; a `Survey` is returned
        as it is.

    Raises
    ------
    ValueError
        If the name is unknown (the message gives the nearest ones), or the file does not describe a survey.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> from astro_galtrans import get_survey
    >>> sdss = get_survey("sdss")
    >>> sdss.band_names, sdss.pixel_scale
    (('u', 'g', 'r', 'i', 'z'), 0.396)
    """
    if isinstance(name, Survey):
        return name
    if isinstance(name, Path) or str(name).endswith(".ecsv"):
        return _with_curves(_parse(Path(name).read_text(encoding="utf8"), str(name)), Path(name).parent)
    known = list_surveys()
    if name in known:
        return _shipped(name)
    near = get_close_matches(str(name).lower(), known, n=3, cutoff=0.4) or known
    msg = (
        f"unknown survey {name!r}; the nearest known are {', '.join(near)} (all: {', '.join(known)}); "
        "a survey of your own is given as the path of its .ecsv file"
    )
    raise ValueError(msg)


@cache
def _shipped(name):
    return _parse(_folder().joinpath(f"{name}.ecsv").read_text(encoding="utf8"), name)


def _parse(text, where):
    """Survey of an ECSV text; ``where`` it comes from is for messages."""
    from astropy.table import Table  # only here: the table reader costs more to import than the package

    try:
        table = Table.read(text, format="ascii.ecsv")
        survey = {key: table.meta[key] for key in ("name", "title", "pixel_scale", "flux_unit", "zeropoint")}
        rows = [_band(row, survey["pixel_scale"], survey["zeropoint"]) for row in table]
        return Survey(**survey, bands=rows, sources=table.meta.get("sources", {}))
    except (KeyError, ValueError, TypeError) as err:
        reason = f"{err.args[0]!r} is missing" if isinstance(err, KeyError) else err
        msg = f"{where} does not describe a survey: {reason}; see the user guide, or copy a file of {FOLDER}"
        raise ValueError(msg) from err


def _with_curves(survey, folder):
    """Survey whose filter curves, where they are files beside its own, are found from anywhere."""
    curves = [str((folder / b.filter).resolve()) if (folder / b.filter).is_file() else b.filter for b in survey.bands]
    return replace(survey, bands=[replace(b, filter=c) for b, c in zip(survey.bands, curves, strict=True)])


def _band(row, pixel_scale, zeropoint):
    """Band of one row of the table; columns may be absent and cells empty for what is not known."""
    values = {name: row[name] for name in row.colnames if not np.ma.is_masked(row[name])}
    names = "fwhm", "sky_rms", "electrons", "saturation", "depth", "aperture"
    numbers = {name: float(values.get(name, nan)) for name in names}
    if isnan(numbers["sky_rms"]):
        sky = sky_from_depth(numbers["depth"], numbers["fwhm"], pixel_scale, zeropoint, numbers["aperture"])
        numbers["sky_rms"] = float(f"{sky:.{DIGITS}g}")
    texts = {k: str(values.get(k, "")) for k in ("filter", "source")}
    return Band(parse_band(str(row["band"])), **numbers, **texts)
