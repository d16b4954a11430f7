"""Which objects: from a table with sky coordinates, or found in an image."""

import os
import re
from dataclasses import dataclass, fields

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from astro_galtrans._files import fingerprint

__all__ = ["Objects", "detect", "found_objects", "read_catalogue"]

RA_NAMES = (
    "ra", "raj2000", "_raj2000", "ra_j2000", "ra_icrs", "ra_deg", "radeg", "alpha_j2000", "alphawin_j2000",
    "right_ascension", "rightascension", "ra_source", "ra_target", "ramean", "target_ra", "racen", "plug_ra",
)  # fmt: skip
DEC_NAMES = (
    "dec", "dej2000", "_dej2000", "decj2000", "dec_j2000", "de_icrs", "dec_icrs", "dec_deg", "decdeg", "dedeg",
    "delta_j2000", "deltawin_j2000", "declination", "dec_source", "dec_target", "decmean", "target_dec", "deccen",
    "plug_dec",
)  # fmt: skip
REDSHIFT_NAMES = "redshift", "zspec", "z_spec", "specz", "spec_z", "z_best", "zbest", "z_helio", "z_tonry", "z"
MAGNITUDE_NAMES = "r", "mag_r", "r_mag", "rmag", "modelmag_r", "cmodelmag_r", "petromag_r", "r_cmodel", "mag_auto_r"
LARGEST_REDSHIFT = 12.0  # what is called z and is larger is a magnitude
CELL = 72000  # cells per degree: 0.05 arcsec


@dataclass(frozen=True)
class Objects:
    """Positions, and what a catalogue says of them (NaN where it says nothing)."""

    ra: np.ndarray  #: ICRS (deg)
    dec: np.ndarray
    redshift: np.ndarray
    magnitude: np.ndarray  #: AB, r or the band that objects were found in
    radius: np.ndarray  #: half-light radius (arcsec)
    row: np.ndarray  #: row in the catalogue; -1 if found in an image

    def __len__(self):
        return len(self.row)

    def __getitem__(self, index):
        return Objects(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def __add__(self, other):
        return Objects(
            **{f.name: np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)}
        )

    @property
    def index(self):
        """Number of the 0.05 arcsec cell that a position is in: the same whenever and from whichever catalogue."""
        ra = np.floor(self.ra * CELL).astype(np.int64)
        return np.floor((self.dec + 90) * CELL).astype(np.int64) * 360 * CELL + ra

    @property
    def fingerprint(self):
        """A few letters that tell a catalogue from another."""
        numbers = np.stack([self.ra, self.dec, self.redshift])
        return fingerprint(numbers.tobytes())[:12]


def read_catalogue(catalogue, redshift=None, magnitude=None):
    """
    Take positions and redshifts from a table.

    Parameters
    ----------
    catalogue : `~astropy.table.Table`, path-like or `~astropy.coordinates.SkyCoord`
        A table has a `~astropy.coordinates.SkyCoord` column, or right ascension and declination under one of their
        usual names; without a unit, numbers are degrees, and text is hours and degrees.
    redshift, magnitude : str, optional
        Names of the columns; found by their usual names by default.

    Returns
    -------
    `Objects`

    Raises
    ------
    ValueError
        If there are no coordinates, or not the columns asked for.
    """
    if isinstance(catalogue, SkyCoord):
        return _objects(catalogue, None, None)
    table = Table.read(catalogue) if isinstance(catalogue, str | os.PathLike) else Table(catalogue, copy=False)
    positions = _positions(table)
    redshifts = _named(table, redshift) if redshift else _found(table, REDSHIFT_NAMES)
    if redshift is None and redshifts is not None and not np.nanmedian(redshifts) < LARGEST_REDSHIFT:
        redshifts = None  # the magnitude in z
    magnitudes = _named(table, magnitude) if magnitude else _found(table, MAGNITUDE_NAMES)
    return _objects(positions, redshifts, magnitudes)


def _objects(positions, redshifts, magnitudes):
    positions = positions.icrs.ravel()
    nothing = np.full(len(positions), np.nan)
    columns = [nothing if column is None else column for column in (redshifts, magnitudes)]
    return Objects(positions.ra.deg, positions.dec.deg, *columns, nothing, np.arange(len(positions)))


def found_objects(ra, dec, magnitude=None, radius=None):
    """
    Objects that no catalogue has.

    Parameters
    ----------
    ra, dec : array_like
        ICRS (deg).
    magnitude, radius : array_like, optional
        AB magnitude, and half-light radius (arcsec).

    Returns
    -------
    `Objects`
    """
    nothing = np.full(len(ra), np.nan)
    magnitude, radius = (nothing if column is None else column for column in (magnitude, radius))
    return Objects(np.asarray(ra, float), np.asarray(dec, float), nothing, magnitude, radius, np.full(len(ra), -1))


def _positions(table):
    for name in table.colnames:
        if isinstance(table[name], SkyCoord):
            return table[name]
    ra, dec = (_column_name(table, names) for names in (RA_NAMES, DEC_NAMES))
    if ra is None or dec is None:
        columns = ", ".join(table.colnames)
        msg = (
            f"the catalogue has no sky coordinates: its columns are {columns}; expected a SkyCoord column, or right"
            " ascension and declination (ra and dec, RAJ2000 and DEJ2000, ALPHA_J2000 and DELTA_J2000, ...)"
        )
        raise ValueError(msg)
    ra, dec = table[ra], table[dec]
    if ra.dtype.kind in "SU":
        return SkyCoord(ra, dec, unit=(u.hourangle, u.deg))
    longitude, latitude = (_degrees(column) for column in (ra, dec))
    good = np.isfinite(longitude) & np.isfinite(latitude)
    if not (good.any() and np.abs(latitude[good]).max() <= 90 and np.abs(longitude[good]).max() <= 360):
        msg = f"columns {ra.name!r} and {dec.name!r} are no sky coordinates in degrees; give them units"
        raise ValueError(msg)
    # a row without a position is nowhere near an image
    return SkyCoord(np.where(good, longitude, 0), np.where(good, latitude, -90), unit=u.deg)


def _degrees(column):
    values = np.ma.filled(np.ma.asarray(column, float), np.nan)
    return values if column.unit is None else (np.asarray(values) * column.unit).to_value(u.deg)


def _column_name(table, names):
    by_lower = {re.sub(r"[\s-]", "_", name.lower()): name for name in table.colnames}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _found(table, names):
    name = _column_name(table, names)
    return None if name is None or table[name].dtype.kind not in "fiu" else _named(table, name)


def _named(table, name):
    if name not in table.colnames:
        msg = f"the catalogue has no column {name!r}; its columns are {', '.join(table.colnames)}"
        raise ValueError(msg)
    values = np.array(np.ma.filled(np.ma.asarray(table[name], float), np.nan))
    return np.where(values > -9, values, np.nan)  # -9, -99 and the like stand for not measured


def detect(frame, data, mask, *, faint=None, bright=None, threshold=3.0, pixels=5):
    """
    Find objects in a frame with photutils.

    Parameters
    ----------
    frame : `~astro_galtrans.pairs.observed.frames.Frame`
    data : `~numpy.ndarray`
        Its pixels.
    mask : `~numpy.ndarray` of bool or None
    faint, bright : float, optional
        Limits in AB magnitude (of Kron apertures).
    threshold : float, optional
        Sigma of the smoothed sky above which pixels belong to an object.
    pixels : int, optional
        How many of them make one.

    Returns
    -------
    objects : `Objects`
    segments : `~numpy.ndarray` of bool
        Which pixels belong to any object, whatever its magnitude.
    """
    from photutils.segmentation import SourceCatalog, deblend_sources, detect_sources
    from scipy.ndimage import gaussian_filter

    from .frames import smoothing

    bad = ~np.isfinite(data) if mask is None else ~np.isfinite(data) | mask
    image = np.where(bad, 0, data - frame.level)
    smooth = gaussian_filter(image, smoothing(frame.fwhm, frame.pixel_scale))
    level = np.full(data.shape, threshold * frame.smooth_rms)
    segments = detect_sources(smooth, level, pixels, mask=bad)
    if segments is None:
        return found_objects([], []), np.zeros(data.shape, bool)
    found = segments.data > 0
    labels = _bright_enough(segments, image, frame, faint)
    if not len(labels):
        return found_objects([], []), found
    segments.keep_labels(labels, relabel=True)
    segments = deblend_sources(smooth, segments, pixels, progress_bar=False)
    catalogue = SourceCatalog(image, segments, convolved_data=smooth, mask=bad)
    return _selected(catalogue, frame, bright, faint), found


def _bright_enough(segments, image, frame, faint):
    """Labels that may hold an object above the limit: nearly all in a deep frame do not, and measuring takes long."""
    if faint is None:
        return segments.labels
    flux = np.bincount(segments.data.ravel(), weights=image.ravel(), minlength=segments.max_label + 1)
    magnitude = _magnitude(flux[segments.labels], frame)
    return segments.labels[magnitude < faint + 1.0]  # a Kron aperture holds more than the segment


def _magnitude(flux, frame):
    return frame.zeropoint - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))


def _selected(catalogue, frame, bright, faint):
    magnitude = _magnitude(np.atleast_1d(catalogue.kron_flux), frame)
    x, y = np.atleast_2d(catalogue.centroid).T
    half = getattr(catalogue, "flux_radius", None) or catalogue.fluxfrac_radius  # the name before photutils 3
    radius = np.atleast_1d(half(0.5).value) * frame.pixel_scale
    good = np.isfinite(magnitude) & np.isfinite(x + y)
    good &= (magnitude < (np.inf if faint is None else faint)) & (magnitude > (-np.inf if bright is None else bright))
    return found_objects(*frame.sky(x[good], y[good]), magnitude[good], radius[good])
