"""Two tables of measurements, of real and of translated images of the same galaxies, and how far they are apart."""

from itertools import pairwise
from warnings import warn

import numpy as np
from astropy.table import QTable, vstack
from tqdm.auto import tqdm

from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.statistics import Bootstrap
from astro_galtrans.statistics.bootstrap import bin_edges, in_bins, interval
from astro_galtrans.statistics.resampling import centre_and_scatter, paired_statistics

__all__ = [
    "APART",
    "BOOTSTRAP",
    "EXCLUDED",
    "by_values",
    "compare",
    "curve_table",
    "excluded",
    "places",
    "side_by_side",
]
__all__ += ["to_qtable", "with_ends"]

EXCLUDED = "not_in_target", "not_in_translated", "not_in_both"  #: columns that count what could not be measured
BINS = 5  # bins of what has no number of its own in a dict
BOOTSTRAP = Bootstrap()  #: 1,000 resamples, intervals of 68 %
APART = {"ratio": np.divide, "difference": np.subtract, "itself": lambda ours, _: ours}  #: of translated and real


def compare(real, ours, quantities, *, by=None, bins=BINS, binned=None, bootstrap=BOOTSTRAP, progress=True):
    """
    Compare quantities measured in real and in translated images.

    Parameters
    ----------
    real : `~astropy.table.Table`
        A row per galaxy and band, ``row`` and ``band`` first, as of `astro_galtrans.measure`; NaN where something could
        not be measured.
    ours : dict of str to `~astropy.table.Table`
        The same of each translation, by name.
    quantities : dict of str to str
        Column to how it is compared: by the ``"ratio"`` translated over real (of galaxies whose real value is
        positive), by the ``"difference"`` translated minus real, or ``"itself"`` where the column of the translation is
        a comparison already, and that of the real images only says where it could be made.
    by : dict of str to array-like, optional
        What to bin by: name to ``[N]``, or to ``[N, C]`` for what differs from band to band.
    bins : int or dict, optional
        Number of bins of equally many galaxies, or edges (or their number) by name.
    binned : sequence of str, optional
        Quantities to bin; all by default.
    bootstrap : `~astro_galtrans.statistics.Bootstrap`, optional
        How intervals are made.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    dict of str to `~astropy.table.QTable`
        ``statistics``: ``value``, ``low``, ``high`` and ``n`` of each ``statistic``, by ``model``, ``band`` and
        ``quantity``: ``bias`` (the median ratio or difference), ``scatter`` (1.4826 times the median absolute deviation
        from it) and, except for ``"itself"``, ``spearman``, ``ks`` and ``wasserstein``, as
        `~astro_galtrans.statistics.resampling.paired_statistics` has them; `EXCLUDED`, ``unit`` and ``pair``. ``bins``:
        ``bias`` and ``scatter`` in bins; absent if there are none.

    Raises
    ------
    ValueError
        If tables are not of the same galaxies and bands, row by row.
    """
    bands = list(dict.fromkeys(map(str, real["band"])))
    groups = list(places(by or {}, bins, len(bands)))
    settings = {"n": bootstrap.resamples, "seed": bootstrap.seed, "level": bootstrap.level}
    rows, binned_rows = [], []
    bar = tqdm(ours.items(), desc="bootstrap", unit="model", disable=None if progress else True)
    for model, table in bar:
        _check_rows(real, table, model)
        for quantity, pair in quantities.items():
            unit = str(getattr(real[quantity], "unit", None) or "")
            columns = [np.asarray(part[quantity], dtype=float).reshape(-1, len(bands)) for part in (real, table)]
            for c, band in enumerate(bands):
                head = {"model": model, "band": band, "quantity": quantity}
                here = [column[:, c] for column in columns]
                rows += _rows(head, *here, pair, unit, settings, whole=pair != "itself")
                for name, by_band in groups if binned is None or quantity in binned else ():
                    for where, chosen in by_band[c % len(by_band)]:
                        within, label = (column[chosen] for column in here), {"by": name} | where | head
                        binned_rows += _rows(label, *within, pair, unit, settings)
    return {"statistics": to_qtable(rows)} | ({"bins": to_qtable(binned_rows)} if binned_rows else {})


def _check_rows(real, table, model):
    if not all(np.array_equal(real[name], table[name]) for name in ("row", "band")):
        msg = f"the tables of {model} and of the real images must have the same galaxies and bands, row by row"
        raise ValueError(msg)


def _rows(head, real, ours, pair, unit, settings, *, whole=False):
    """Yield the rows of one quantity: of all statistics, or of bias and scatter."""
    in_real = np.isfinite(real) & ((real > 0) | (pair != "ratio"))
    both = in_real & np.isfinite(ours)
    numbers, (real, ours) = excluded(in_real, np.isfinite(ours)), (real[both], ours[both])
    if whole:
        found = paired_statistics(real, ours, ratio=pair == "ratio", **settings)
    else:
        found = centre_and_scatter(APART[pair](ours, real), **settings)
    units = {"spearman": "", "ks": "", "wasserstein": unit}
    for statistic, part in found.items():
        figures = {"statistic": statistic, "value": part.value, "low": part.low, "high": part.high}
        of = units.get(statistic, "" if pair == "ratio" else unit)
        yield head | figures | numbers | {"unit": of, "pair": pair}


def places(by, bins, number):
    """
    Yield the name of what is binned by and, of each band or once for all, the bins with the galaxies in them.

    Parameters
    ----------
    by : dict of str to `numpy.ndarray`
        Name to ``[N]``, or to ``[N, C]``, of which the first columns are taken.
    bins : int or dict
        As for `compare`.
    number : int
        Of bands.

    Yields
    ------
    tuple
        Name; list, by band or of one, of lists of pairs: edges and middle of the bin, numbers of its galaxies.
    """
    for name, values in by.items():
        columns = [values] if values.ndim == 1 else list(values.T[:number])
        yield name, [list(_bins(name, column, bins)) for column in columns]


def _bins(name, values, bins):
    """Yield edges and middle of each bin, and the galaxies in it; nothing where there are too few values."""
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


def by_values(by, number):
    """
    Return what to bin by as columns of float, NaN where masked.

    Parameters
    ----------
    by : dict or None
        Name to ``[N]``.
    number : int
        Of galaxies.

    Raises
    ------
    ValueError
        If a column is not of that length.
    """
    found = {}
    for name, values in (by or {}).items():
        column = np.ma.filled(np.ma.asarray(getattr(values, "value", values), dtype=float), np.nan)
        if column.shape != (number,):
            msg = f"what to bin by, {name!r}, has shape {column.shape}; there are {number} galaxies"
            raise ValueError(msg)
        found[str(name)] = column
    return found


def excluded(real, translated):
    """
    Return how many galaxies were measured, and how many could not be where.

    Parameters
    ----------
    real, translated : `numpy.ndarray`
        ``[N]``, bool: which could be measured in the real and in the translated image.

    Returns
    -------
    dict
        ``n`` and `EXCLUDED` to numbers.
    """
    parts = real & translated, ~real & translated, real & ~translated, ~real & ~translated
    return {name: int(np.count_nonzero(part)) for name, part in zip(("n", *EXCLUDED), parts, strict=True)}


def side_by_side(ours, real=None):
    """
    Return one table of measurements: a row per model, galaxy and band.

    Parameters
    ----------
    ours : dict of str to `~astropy.table.Table`
        Tables of the translations, ``row`` and ``band`` first.
    real : `~astropy.table.Table`, optional
        That of the real images, whose columns get ``_target`` after their name.
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
    """
    Return a table of rows, or None where there are none.

    Parameters
    ----------
    rows : list of dict
        Columns that a row lacks are NaN there.
    """
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row))
    return QTable({name: [row.get(name, np.nan) for row in rows] for name in names})


def curve_table(curves, units):
    """
    Return a table of curves, one after the other.

    Parameters
    ----------
    curves : list of dict
        Of each curve, column to its ``K`` values, or to one value that is the same along the curve.
    units : dict of str to `~astropy.units.Unit`
        Column to unit.
    """
    size = max(np.size(values) for values in curves[0].values())
    found = {name: np.concatenate([np.broadcast_to(curve[name], size) for curve in curves]) for name in curves[0]}
    return QTable({name: values * units[name] if name in units else values for name, values in found.items()})


def with_ends(value, draws, level):
    """
    Return values with the ends of their intervals, NaN where there are no resamples.

    Parameters
    ----------
    value, draws : `numpy.ndarray`
        Of the sample ``[...]``, and of resamples of it ``[n, ...]``.
    level : float
        Probability of the intervals.
    """
    nothing = np.full_like(value, np.nan)
    return value, *(interval(value, draws, 0, level)[1:3] if len(draws) else (nothing, nothing))
