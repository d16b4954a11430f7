"""Sky positions of the rows of a table, in any usual form; a row without one gets NaN, never an invented position."""

import re

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle, IllegalHourError, SkyCoord

__all__ = ["find_column", "numbers", "sky_positions"]

RA_NAMES = (
    "ra", "raj2000", "_raj2000", "ra_j2000", "ra_icrs", "ra_deg", "radeg", "alpha_j2000", "alphawin_j2000",
    "right_ascension", "rightascension", "ra_source", "ra_target", "ramean", "target_ra", "racen", "plug_ra",
)  # fmt: skip
DEC_NAMES = (
    "dec", "dej2000", "_dej2000", "decj2000", "dec_j2000", "de_icrs", "dec_icrs", "dec_deg", "decdeg", "dedeg",
    "delta_j2000", "deltawin_j2000", "declination", "dec_source", "dec_target", "decmean", "target_dec", "deccen",
    "plug_dec",
)  # fmt: skip
# what tables write for units of angles that astropy does not read as such: VizieR's text, and hours, to astropy a time
ODD_UNITS = {"h:m:s": u.hourangle, "d:m:s": u.deg, "h": u.hourangle, "hour": u.hourangle, "hours": u.hourangle,
             "degrees": u.deg, "degree": u.deg}  # fmt: skip


def sky_positions(catalogue, ra=None, dec=None):
    """
    ICRS positions ``ra, dec`` ``[N]`` (deg) of the rows of a table or `~astropy.coordinates.SkyCoord`.

    A table has a SkyCoord column, or right ascension and declination in the columns named, by default found by their
    usual names. Where nothing says a unit, numbers (as text too) are degrees, and sexagesimal text is hours and
    degrees. Both are NaN where a row has no position: masked, blank, not finite, outside the sphere, or text that is no
    angle. Raises ValueError if there are no coordinates, or text that may be hours or degrees.
    """
    columns = [] if ra or isinstance(catalogue, SkyCoord) else [catalogue[name] for name in catalogue.colnames]
    place = next((c for c in [catalogue, *columns] if isinstance(c, SkyCoord)), None)
    if place is not None:
        icrs = place.icrs.ravel()
        ra, dec = (a.filled(np.nan) if hasattr(a, "filled") else a for a in (icrs.ra.deg, icrs.dec.deg))
    else:
        names = [ra or find_column(catalogue, RA_NAMES), dec or find_column(catalogue, DEC_NAMES)]
        if None in names:
            msg = (
                f"the catalogue has no sky coordinates: its columns are {', '.join(catalogue.colnames)}; expected a"
                " SkyCoord column, or right ascension and declination (ra and dec, RAJ2000 and DEJ2000, ALPHA_J2000"
                " and DELTA_J2000, ...)"
            )
            raise ValueError(msg)
        ra, dec = (_degrees(catalogue[name], unit) for name, unit in zip(names, (u.hourangle, u.deg), strict=True))
    lost = ~((np.abs(ra) <= 360) & (np.abs(dec) <= 90))
    if lost.all():
        what = "the positions" if place is not None else f"columns {names[0]!r} and {names[1]!r}"
        msg = f"{what} are no sky coordinates in degrees; give them units (none of {len(ra)} rows has usable ones)"
        raise ValueError(msg)
    return np.where(lost, np.nan, ra), np.where(lost, np.nan, dec)


def _degrees(column, sexagesimal):
    """Angles in degrees, NaN where there is none; ``sexagesimal`` is the unit of such text where nothing says it."""
    unit = _unit(column)
    if column.dtype.kind in "fiu":
        return (numbers(column) * (unit or u.deg)).to_value(u.deg)
    values, forms = np.full(len(column), np.nan), {}
    for row, text in enumerate(_texts(column)):
        value, form = _angle(text, unit, sexagesimal, f"column {column.name!r}, row {row}")
        values[row] = value
        if np.isfinite(value):
            forms.setdefault(form, text)
    if unit is None and len(forms.keys() - {"letters"}) > 1:
        msg = f"column {column.name!r} has text in several forms ({', '.join(forms.values())}): give it a unit"
        raise ValueError(msg)
    return values


def _angle(text, unit, sexagesimal, where):
    """Degrees that a text says, or NaN, and in which form it says them."""
    try:
        return (float(text) * (unit or u.deg)).to_value(u.deg), "number"
    except ValueError:
        form = "letters" if re.search(r"[a-z\N{DEGREE SIGN}'\"]", text.lower()) else "sexagesimal"
    try:
        return Angle(text, unit or sexagesimal).deg, form
    except IllegalHourError as err:
        if unit is None and form == "sexagesimal":  # degrees, then; and the rows below 24 would be too
            msg = f"{where}: {text!r} is no right ascension in hours; give the column a unit (deg or hourangle)"
            raise ValueError(msg) from err
    except (ValueError, u.UnitsError):
        pass
    return np.nan, form


def _unit(column):
    """Unit of an angle that a column has, or None."""
    if column.unit is None:
        return None
    unit = ODD_UNITS.get(str(column.unit).strip('"'), column.unit)
    if not getattr(unit, "is_equivalent", lambda _: False)(u.deg):
        msg = f"column {column.name!r} has the unit {column.unit}, which is none of an angle; use deg or hourangle"
        raise ValueError(msg)
    return unit


def _texts(column):
    """Entries of a column of bytes, text or objects as text; blank where masked."""
    entries = np.where(np.ma.getmaskarray(column), None, np.asarray(column, object))
    texts = (entry.decode("utf8", "replace") if isinstance(entry, bytes) else entry for entry in entries)
    return ["" if text is None else str(text).strip() for text in texts]


def numbers(column):
    """
    Column of a table as float ``[N]``, NaN where masked, blank or no number; ValueError if entries are no single
    values.
    """
    if column.ndim != 1:
        msg = f"column {column.name!r} has {column.shape[1:]} values in each row; expected one"
        raise ValueError(msg)
    if column.dtype.kind in "fiub":
        return np.array(np.ma.filled(np.ma.asarray(column, float), np.nan))
    return np.array([_number(text) for text in _texts(column)], float)


def _number(text):
    try:
        return float(text)
    except ValueError:
        return np.nan


def find_column(table, names):
    """
    Name of the first of ``names`` (lower case, preferred first) that a table has as a column, or None.

    Spaces and hyphens of columns count as underscores.
    """
    by_lower = {re.sub(r"[\s-]", "_", name.lower()): name for name in table.colnames}
    return next((by_lower[name] for name in names if name in by_lower), None)
