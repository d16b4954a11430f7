"""Which galaxies can be used, which train and which test; errors and warnings that name the rows."""

import warnings

import numpy as np

from astro_galtrans._columns import name_rows
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.photoz import default_grid

__all__ = ["FEWEST", "redshift_grid", "split", "usable_redshifts"]

FEWEST = 20  #: galaxies that train, that test, and that a bin must have to be measured


def redshift_grid(grid, z_spec, estimator):
    """The redshift grid asked for, that of fitted estimators, or one for these redshifts."""
    if grid is not None:
        return np.asarray(grid, dtype=float)
    if isinstance(estimator, dict) and estimator:
        return np.asarray(next(iter(estimator.values())).grid)
    given = z_spec[np.isfinite(z_spec) & (z_spec >= 0)]
    if not len(given):
        msg = f"none of the {len(z_spec)} galaxies has a redshift"
        raise ValueError(msg)
    return default_grid(given)


def usable_redshifts(z_spec, grid, *, warn=True):
    """Which galaxies have a redshift that an estimator can give, and how many have not, and why."""
    with np.errstate(invalid="ignore"):
        reasons = {"without redshift": ~np.isfinite(z_spec), "negative redshift": z_spec < 0}
        reasons["redshift outside the grid"] = (z_spec >= 0) & ((z_spec < grid[0]) | (z_spec > grid[-1]))
    bad = np.logical_or.reduce(list(reasons.values()))
    if bad.any() and warn:
        told = "; ".join(f"{reason}: {name_rows(where)}" for reason, where in reasons.items() if where.any())
        warnings.warn(f"{np.count_nonzero(bad)} galaxies are left out. {told}", GaltransWarning, stacklevel=3)
    counts = {"given": len(z_spec)} | {reason: int(np.count_nonzero(where)) for reason, where in reasons.items()}
    return ~bad, counts


def split(train, test, usable, seed, *, trains):
    """Rows that train and rows that test, of those that are usable."""
    if train is None and np.ndim(test) == 0:
        train, test = _drawn(0.25 if test is None else test, usable, seed) if trains else ([], usable)
    train, test = _rows("train", train, usable), _rows("test", test, usable)
    everyone = np.arange(len(usable))
    if test is None:
        test = np.setdiff1d(everyone, train)
    if train is None:
        train = np.setdiff1d(everyone, test) if trains else test[:0]
    both = np.isin(everyone, train) & np.isin(everyone, test)
    if both.any():
        msg = f"training and test set overlap in {name_rows(both)}; an estimator must not have seen what tests it"
        raise ValueError(msg)
    train, test = train[usable[train]], test[usable[test]]
    if len(test) < FEWEST or (trains and len(train) < FEWEST):
        msg = f"at least {FEWEST} usable galaxies each must train and test, got {len(train)} and {len(test)}"
        raise ValueError(msg)
    return train, test


def _drawn(share, usable, seed):
    if not 0 < share < 1:
        msg = f"test must be a share of the galaxies between 0 and 1, or their numbers, got {share!r}"
        raise ValueError(msg)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(usable))
    number = round(share * len(rows))
    return np.sort(rows[number:]), np.sort(rows[:number])


def _rows(name, chosen, usable):
    """Row numbers of a choice, sorted; None if there is none."""
    if chosen is None:
        return None
    chosen = np.asarray(chosen)
    if chosen.dtype == bool and chosen.shape == usable.shape:
        return np.flatnonzero(chosen)
    chosen = chosen.astype(int) if chosen.size == 0 else chosen
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        what = f"{chosen.dtype} of shape {chosen.shape}"
        msg = f"{name} must be numbers of galaxies or one bool per galaxy ({len(usable)}), got {what}"
        raise ValueError(msg)
    if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(usable)):
        msg = f"{name} names galaxies {chosen.min()} to {chosen.max()} of {len(usable)}"
        raise ValueError(msg)
    return np.unique(chosen)
