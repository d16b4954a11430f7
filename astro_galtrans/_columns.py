"""Columns of numbers as diagnostics take them: lengths that agree, and errors that name the rows."""

import numpy as np
from astropy import units as u
from astropy.io import fits

__all__ = ["because", "name_rows", "plain", "redshifts", "same_length", "sort_out", "table_hdu"]


def name_rows(where, limit=10):
    """Text "rows 3, 17 and 41 of 50" of a mask ``[N]``, or the first ``limit`` rows and how many more there are."""
    rows = np.flatnonzero(where)
    named = ", ".join(str(row) for row in rows[:limit])
    more = f" and {len(rows) - limit} more" if len(rows) > limit else ""
    return f"row{'s' if len(rows) > 1 else ''} {named}{more} of {len(where)}"


def same_length(**arrays):
    """Number of galaxies, if all columns that are not None have one entry per galaxy; else ValueError."""
    lengths = {name: len(values) for name, values in arrays.items() if values is not None}
    if len(set(lengths.values())) > 1:
        msg = f"every column needs one entry per galaxy, got {', '.join(f'{k}: {v}' for k, v in lengths.items())}"
        raise ValueError(msg)
    return next(iter(lengths.values()))


def because(counts):
    """Numbers of excluded galaxies by reason, from `sort_out`, in brackets for an error; empty if there are none."""
    reasons = ", ".join(f"{reason}: {number}" for reason, number in counts.items() if number)
    return f" ({reasons})" if reasons else ""


def plain(values, unit=None):
    """Column ``[N]`` as float64 without unit (converted to ``unit`` if that is given), NaN where it is masked."""
    if isinstance(values, u.Quantity) and unit is not None:
        values = values.to_value(unit)
    return np.ma.filled(np.ma.asarray(values).astype(float), np.nan)


def redshifts(values):
    """Column of redshifts ``[N]`` as float64, NaN where it is masked; ValueError if it has not one dimension."""
    values = plain(values)
    if values.ndim != 1:
        msg = f"redshifts must be one per galaxy, got an array of shape {values.shape}"
        raise ValueError(msg)
    return values


def sort_out(z_spec, z_phot=None, z_range=None):
    """
    Which galaxies ``[N]`` can be measured, and a dict with their number and how many cannot be, by reason.

    The reasons are ``z_spec_missing`` (NaN), ``z_spec_negative``, ``z_spec_outside_grid`` (of ``z_range``) and
    ``z_phot_missing``; a galaxy is counted under the first that applies. Point estimates that are not finite, or not
    above -1 (codes such as -99), are missing; those between -1 and 0 are poor estimates, and count as such.
    """
    usable, counts = np.ones(len(z_spec), dtype=bool), {"galaxies": len(z_spec)}
    low, high = z_range or (-np.inf, np.inf)
    reasons = {
        "z_spec_missing": ~np.isfinite(z_spec),
        "z_spec_negative": z_spec < 0,
        "z_spec_outside_grid": ~((z_spec >= low) & (z_spec <= high)),
    }
    if z_phot is not None:
        reasons["z_phot_missing"] = ~(np.isfinite(z_phot) & (z_phot > -1))
    for reason, applies in reasons.items():
        counts[reason] = int((applies & usable).sum())
        usable &= ~applies
    return usable, counts


def table_hdu(table, name):
    """Return a FITS extension of a table; astropy's own function takes a name from 7.1 on."""
    hdu = fits.table_to_hdu(table)
    hdu.name = name
    return hdu
