"""What tables of comparisons are made of: bins, numbers of galaxies, rows, curves with their intervals."""

from itertools import pairwise
from warnings import warn

import numpy as np
from astropy.table import QTable, vstack

from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.statistics.bootstrap import bin_edges, in_bins

__all__ = ["BINS", "EXCLUDED", "by_values", "curve_table", "excluded", "places", "side_by_side", "to_qtable"]

EXCLUDED = "not_in_target", "not_in_translated", "not_in_both"  #: columns that count what could not be measured
BINS = 5  #: bins of what has no number of its own in a dict


def by_values(by, number, bands=0):
    """Return what to bin by, name to ``[number]`` or ``[number, bands]``, as floats; NaN where masked."""
    found = {}
    for name, values in (by or {}).items():
        column = np.ma.filled(np.ma.asarray(getattr(values, "value", values), dtype=float), np.nan)
        if column.shape not in {(number,), (number, bands)}:
            msg = f"what to bin by, {name!r}, has shape {column.shape}; there are {number} galaxies"
            raise ValueError(msg)
        found[str(name)] = column
    return found


def places(by, bins):
    """
    Yield the name of what is binned by and, of each band or once for all bands, its bins.

    ``by`` holds ``[N]`` or ``[N, C]`` by name. A bin is a pair: its edges and middle by name, the rows of its galaxies.
    """
    for name, values in by.items():
        columns = [values] if values.ndim == 1 else list(values.T)
        yield name, [list(_bins(name, column, bins)) for column in columns]


def _bins(name, values, bins):
    """Yield the bins of a column; none, with a warning, where it has too few different values."""
    wanted = bins.get(name, BINS) if isinstance(bins, dict) else bins
    if np.ndim(wanted) == 0 and len(np.unique(values[np.isfinite(values)])) <= wanted:
        msg = f"{name} has too few different values for {wanted} bins, and is not binned by"
        warn(msg, GaltransWarning, stacklevel=2)
        return
    edges = bin_edges(values, wanted)
    place = in_bins(values, edges)
    for k, (low, high) in enumerate(pairwise(edges)):
        chosen = np.flatnonzero(place == k)
        middle = np.median(values[chosen]) if len(chosen) else (low + high) / 2
        yield {"bin_low": low, "bin_high": high, "middle": middle}, chosen


def excluded(real, translated):
    """Return ``n`` and `EXCLUDED` of galaxies that could be measured, or not, in the two images, bool ``[N]`` each."""
    parts = real & translated, ~real & translated, real & ~translated, ~real & ~translated
    return {name: int(np.count_nonzero(part)) for name, part in zip(("n", *EXCLUDED), parts, strict=True)}


def side_by_side(ours, real=None):
    """
    Return one table with a row per model, galaxy and band.

    ``ours`` holds the tables of the translations by name, ``row`` and ``band`` first. Columns of the table of the real
    images get ``_target`` after their name.
    """
    tables = []
    for model, table in ours.items():
        table = QTable(table, copy=False)
        table.add_column(np.full(len(table), model), name="model", index=1)
        for name in () if real is None else (name for name in table.colnames if name in real.colnames[2:]):
            table[f"{name}_target"] = real[name]
        tables.append(table)
    return vstack(tables, metadata_conflicts="silent")


def to_qtable(rows):
    """Return a table of rows, dicts by column; those that a row lacks are NaN there."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return QTable({name: [row.get(name, np.nan) for row in rows] for name in names})


def curve_table(curves, units):
    """Return a table of curves: of each, column to values ``[K]`` or to the one that it has all along."""
    size = max(np.size(values) for values in curves[0].values())
    found = {name: np.concatenate([np.broadcast_to(curve[name], size) for curve in curves]) for name in curves[0]}
    return QTable({name: values * units[name] if name in units else values for name, values in found.items()})
