"""Comparisons of measurements in real and in translated images of the same galaxies, and tables of what they find."""

from itertools import pairwise
from warnings import warn

import numpy as np
from astropy.table import QTable, vstack

from astro_galtrans._columns import plain
from astro_galtrans._progress import tqdm
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.stamps import Stamps
from astro_galtrans.stamps.stamps import same_galaxies, translations
from astro_galtrans.statistics import Bootstrap
from astro_galtrans.statistics.bootstrap import bin_edges, in_bins
from astro_galtrans.statistics.resampling import centre_and_scatter, paired_statistics

__all__ = [
    "APART", "BOOTSTRAP", "EXCLUDED", "bins_of", "by_values", "check_bins", "compare", "curve_table", "excluded",
    "side_by_side", "sides", "to_qtable",
]  # fmt: skip

BOOTSTRAP = Bootstrap()  #: 1,000 resamples, intervals of 68 %
EXCLUDED = "not_in_target", "not_in_translated", "not_in_both"  #: columns that count what could not be measured
BINS = 5  #: bins of what has no number of its own in a dict
SAME_FIELD = 0.1  # relative: survey files round pixel scales, but a wrong factor of a scale is 1.5 or more
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
    bootstrap : `~astro_galtrans.statistics.bootstrap.Bootstrap`, optional
        How intervals are made.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    dict of str to `~astropy.table.QTable`
        ``statistics``: ``value``, ``low``, ``high`` and ``n`` of each ``statistic``, by ``model``, ``band`` and
        ``quantity``: ``bias`` (the median ratio or difference), ``scatter`` (1.4826 times the median absolute deviation
        from it) and, except for ``"itself"``, ``spearman``, ``ks`` and ``wasserstein``, as
        `~astro_galtrans.statistics.resampling.paired_statistics` has them; ``not_in_target``, ``not_in_translated`` and
        ``not_in_both``, the numbers of galaxies that could not be measured; ``unit`` and ``pair``. ``bins``: ``bias``
        and ``scatter`` in bins; absent if there are none.

    Raises
    ------
    ValueError
        If tables are not of the same galaxies and bands, row by row, or what to bin by is of other galaxies.
    """
    bands = list(dict.fromkeys(map(str, real["band"])))
    groups = bins_of(by_values(by, len(real) // len(bands), len(bands)), bins, len(bands))
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
                for where, chosen in groups[c] if binned is None or quantity in binned else ():
                    within = (column[chosen] for column in here)
                    binned_rows += _rows(where | head, *within, pair, unit, settings)
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


def sides(source, target, translated):
    """
    Return stamps of source, target (if there is one) and translations by name, once they fit each other.

    Without a target, translations must be `~astro_galtrans.stamps.Stamps`, as nothing else says whose images they are.
    """
    real = {"source": source} | ({} if target is None else {"target": target})
    for name, stamps in real.items():
        if not isinstance(stamps, Stamps):
            msg = f"{name} must be Stamps(images, survey), which know their survey, got {type(stamps).__name__}"
            raise TypeError(msg)
        if stamps.n_samples is not None:
            msg = f"{name} must be [N, C, H, W], one image per galaxy, got shape {stamps.images.shape}"
            raise ValueError(msg)
    like = next(iter(translated.values()), None) if isinstance(translated, dict) else translated
    like = like if target is None else target
    if like is not None and not isinstance(like, Stamps):
        msg = "nothing says of which survey the translations are: give Stamps, or target= (Stamps of that survey)"
        raise TypeError(msg)
    found = real | translations(like, translated)
    same_galaxies(**found)
    extents = [np.array(each.shape) * each.pixel_scale for each in (source, like)]
    if not np.allclose(*extents, rtol=SAME_FIELD):
        text = " and ".join(f"{extent[0]:.1f} x {extent[1]:.1f} arcsec" for extent in extents)
        msg = f"stamps of source and target cover {text}; is a pixel scale wrong?"
        raise ValueError(msg)
    return found


def by_values(by, number, bands=0):
    """Return what to bin by, name to ``[number]`` or ``[number, bands]``, as floats; NaN where masked."""
    found = {}
    for name, values in (by or {}).items():
        column = plain(getattr(values, "value", values))
        if column.shape not in {(number,), (number, bands)}:
            msg = f"what to bin by, {name!r}, has shape {column.shape}; there are {number} galaxies"
            raise ValueError(msg)
        found[str(name)] = column
    return found


def check_bins(bins):
    """Raise ValueError unless numbers of bins, one or by name, are positive."""
    for number in bins.values() if isinstance(bins, dict) else [bins]:
        if np.ndim(number) == 0 and number < 1:
            msg = f"bins must be 1 or more, or edges, got {number!r}"
            raise ValueError(msg)


def bins_of(by, bins, bands=1):
    """
    Return the bins of each of some bands: labels (what is binned by, edges and middle) and the rows of its galaxies.

    ``by`` holds ``[N]``, the same bins for all bands, or ``[N, C]`` by name. What has too few different values for so
    many bins is not binned by, with a warning.
    """
    found = [[] for _ in range(bands)]
    for name, values in by.items():
        columns = [list(_bins(name, column, bins)) for column in np.atleast_2d(values.T)]
        for c, of_band in enumerate(found):
            of_band += columns[c % len(columns)]
    return found


def _bins(name, values, bins):
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
        yield {"by": name, "bin_low": low, "bin_high": high, "middle": middle}, chosen


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
