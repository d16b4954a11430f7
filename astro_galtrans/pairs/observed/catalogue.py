"""The objects that pairs are made of: from a table with sky coordinates, or detected in an image."""

import os
import warnings
from dataclasses import dataclass, fields

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from astro_galtrans._columns import name_rows
from astro_galtrans._files import fingerprint
from astro_galtrans._photutils import NO_BAR
from astro_galtrans._positions import find_column, numbers, sky_positions
from astro_galtrans.exceptions import GaltransWarning

from .coordinates import unit_vectors
from .frames import smoothing

__all__ = ["Objects", "detect", "distinct", "found_objects", "read_catalogue"]

REDSHIFT_NAMES = "redshift", "zspec", "z_spec", "specz", "spec_z", "z_best", "zbest", "z_helio", "z_tonry", "z"
MAGNITUDE_NAMES = "r", "mag_r", "r_mag", "rmag", "modelmag_r", "cmodelmag_r", "petromag_r", "r_cmodel", "mag_auto_r"
LARGEST_REDSHIFT = 12.0  # a column called z whose median is larger holds magnitudes
CELL = 72000  # cells per degree: 0.05 arcsec
ONE_OBJECT = 1.0  # arcsec within which two rows are one object: below the seeing, both stamps would show the same


@dataclass(frozen=True)
class Objects:
    """Positions of objects and what a catalogue says of them, arrays ``[N]``; NaN where it says nothing."""

    ra: np.ndarray  #: ICRS (deg)
    dec: np.ndarray
    redshift: np.ndarray
    magnitude: np.ndarray  #: AB, r or the band that objects were found in
    radius: np.ndarray  #: half-light radius (arcsec)
    row: np.ndarray  #: row in the catalogue; -1 if found in an image

    def __len__(self):
        return len(self.row)

    def __getitem__(self, index):
        return Objects(*(getattr(self, f.name)[index] for f in fields(self)))

    def __add__(self, other):
        return Objects(*(np.concatenate([getattr(x, f.name) for x in (self, other)]) for f in fields(self)))

    @property
    def index(self):
        """Number of the 0.05 arcsec cell that a position is in, which does not depend on the catalogue or the run."""
        ra = np.floor(self.ra * CELL).astype(np.int64)
        return np.floor((self.dec + 90) * CELL).astype(np.int64) * 360 * CELL + ra

    @property
    def fingerprint(self):
        """Short hash of positions and redshifts, which tells a catalogue from another."""
        return fingerprint(np.stack([self.ra, self.dec, self.redshift]).tobytes())[:12]


def read_catalogue(catalogue, redshift=None, magnitude=None):
    """
    `Objects`, one per row, of a table, its path, or a `~astropy.coordinates.SkyCoord`; positions NaN where a row has
    none.

    ``redshift`` and ``magnitude`` name columns; by default they are found by their usual names, as positions are
    (`~astro_galtrans._positions.sky_positions`). Raises ValueError if there are no coordinates, or not the columns
    asked for.
    """
    if isinstance(catalogue, SkyCoord):
        table = Table()
    else:
        table = Table.read(catalogue) if isinstance(catalogue, str | os.PathLike) else Table(catalogue, copy=False)
    ra, dec = sky_positions(table if len(table.colnames) else catalogue)
    redshifts = _column(table, redshift, REDSHIFT_NAMES, len(ra))
    known = redshifts[np.isfinite(redshifts)]
    if redshift is None and known.size and np.median(known) > LARGEST_REDSHIFT:
        redshifts = np.full(len(ra), np.nan)  # then the column holds magnitudes in the z band
    magnitudes = _column(table, magnitude, MAGNITUDE_NAMES, len(ra))
    return Objects(ra, dec, redshifts, magnitudes, np.full(len(ra), np.nan), np.arange(len(ra)))


def distinct(objects):
    """
    `Objects` without rows that lack a position and all but one of those within 1 arcsec; a warning names the rows.

    Of several rows the first that has a redshift is kept, or the first.
    """
    from scipy.spatial import cKDTree

    lost = ~np.isfinite(objects.ra + objects.dec)
    again = np.zeros_like(lost)
    order = np.lexsort([objects.row, ~np.isfinite(objects.redshift), lost])[: np.count_nonzero(~lost)]
    tree = cKDTree(unit_vectors(objects.ra[order], objects.dec[order]))
    close = tree.query_pairs(np.radians(ONE_OBJECT / 3600), output_type="ndarray")
    for first, second in close[np.lexsort(close.T[::-1])]:  # a row that is left out excludes no other
        again[order[second]] |= not again[order[first]]
    for rows, why in (
        (lost, "for want of a position (masked, blank, not finite or no angle)"),
        (again, f"within {ONE_OBJECT:g} arcsec of another row and so the same object"),
    ):
        if rows.any():
            msg = f"left out of the catalogue, {why}: {rows.sum()} ({name_rows(rows)})"
            warnings.warn(msg, GaltransWarning, stacklevel=3)
    return objects[~(lost | again)]


def found_objects(ra, dec, magnitude=None, radius=None):
    """`Objects` that no catalogue has: ICRS positions (deg), AB magnitudes and half-light radii (arcsec) if known."""
    nothing = np.full(len(ra), np.nan)
    magnitude, radius = (nothing if column is None else column for column in (magnitude, radius))
    return Objects(np.asarray(ra, float), np.asarray(dec, float), nothing, magnitude, radius, np.full(len(ra), -1))


def _column(table, asked, names, length):
    """Numbers of the column asked for, or of the first under a usual name; NaN where there is no value or no column."""
    if asked is not None and asked not in table.colnames:
        msg = f"the catalogue has no column {asked!r}; its columns are {', '.join(table.colnames)}"
        raise ValueError(msg)
    name = asked or find_column(table, names)
    values = np.full(length, np.nan) if name is None else numbers(table[name])
    return np.where(values > -9, values, np.nan)  # -9, -99 and the like mean "not measured"


def detect(frame, data, mask, *, faint=None, bright=None, threshold=3.0, pixels=5):
    """
    `Objects` found in a frame with photutils, and which pixels belong to any object, whatever its magnitude.

    ``faint`` and ``bright`` limit the AB magnitude (Kron apertures); ``pixels`` connected pixels above ``threshold``
    sigma of the smoothed sky make an object.
    """
    from photutils.segmentation import SourceCatalog, deblend_sources, detect_sources
    from scipy.ndimage import gaussian_filter

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
    segments = deblend_sources(smooth, segments, pixels, **NO_BAR)
    catalogue = SourceCatalog(image, segments, convolved_data=smooth, mask=bad)
    return _selected(catalogue, frame, bright, faint), found


def _bright_enough(segments, image, frame, faint):
    """Labels that may hold an object above the limit: in a deep frame few do, and measuring them all takes long."""
    if faint is None:
        return segments.labels
    flux = np.bincount(segments.data.ravel(), weights=image.ravel(), minlength=segments.max_label + 1)
    magnitude = _magnitude(flux[segments.labels], frame)
    return segments.labels[magnitude < faint + 1.0]  # a Kron aperture holds more light than the segment, below 1 mag


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
