"""What the diagnostics ask of their input: lengths that agree, and errors that name the rows."""

import numpy as np
from astropy import units as u

__all__ = ["because", "name_rows", "plain", "redshifts", "same_length", "sort_out"]


def name_rows(where, limit=10):
    """
    Return "rows 3, 17 and 41", or the first ten of them and how many more there are.

    Parameters
    ----------
    where : array-like
        ``[N]``, bool: the rows to name.
    limit : int, optional
        How many to name at most.
    """
    rows = np.flatnonzero(where)
    named = ", ".join(str(row) for row in rows[:limit])
    more = f" and {len(rows) - limit} more" if len(rows) > limit else ""
    return f"row{'s' if len(rows) > 1 else ''} {named}{more} of {len(where)}"


def same_length(**arrays):
    """
    Check that all columns have one entry per galaxy, and return that number.

    Parameters
    ----------
    **arrays : sized
        The columns by name; those that are `None` are passed over.

    Raises
    ------
    ValueError
        If lengths differ.
    """
    lengths = {name: len(values) for name, values in arrays.items() if values is not None}
    if len(set(lengths.values())) > 1:
        msg = f"every column needs one entry per galaxy, got {', '.join(f'{k}: {v}' for k, v in lengths.items())}"
        raise ValueError(msg)
    return next(iter(lengths.values()))


def because(counts):
    """
    Return the numbers of galaxies excluded, by reason, in brackets for an error; empty if there are none.

    Parameters
    ----------
    counts : dict
        Those of `sort_out`.
    """
    reasons = ", ".join(f"{reason}: {number}" for reason, number in counts.items() if number)
    return f" ({reasons})" if reasons else ""


def plain(values, unit=None):
    """
    Return a column as float64 without unit, with NaN for what is masked.

    Parameters
    ----------
    values : array-like or `~astropy.units.Quantity`
        ``[N]``: numbers without a unit are taken to be in ``unit``.
    unit : `~astropy.units.Unit`, optional
        What to convert to.
    """
    if isinstance(values, u.Quantity) and unit is not None:
        values = values.to_value(unit)
    return np.ma.filled(np.ma.asarray(values).astype(float), np.nan)


def redshifts(values):
    """
    Return a column of redshifts as float64, with NaN for what is masked.

    Parameters
    ----------
    values : array-like
        ``[N]``: an array, list, column or masked column.

    Raises
    ------
    ValueError
        If it has not one dimension.
    """
    values = plain(values)
    if values.ndim != 1:
        msg = f"redshifts must be one per galaxy, got an array of shape {values.shape}"
        raise ValueError(msg)
    return values


def sort_out(z_spec, z_phot=None, z_range=None):
    """
    Return which galaxies can be measured, and how many cannot be for which reason.

    Parameters
    ----------
    z_spec : `numpy.ndarray`
        ``[N]``: spectroscopic redshifts, NaN where missing.
    z_phot : `numpy.ndarray`, optional
        ``[N]``: point estimates. Those that are not finite, or not above -1 (codes such as -99), are missing; between
        -1 and 0 they are poor estimates, and count as such.
    z_range : tuple of float, optional
        Lowest and highest redshift of the estimator's grid.

    Returns
    -------
    usable : `numpy.ndarray`
        ``[N]``, bool.
    counts : dict
        Number of galaxies, and of those with ``z_spec_missing``, ``z_spec_negative``, ``z_spec_outside_grid`` and
        ``z_phot_missing``. A galaxy is counted under the first that applies.
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
