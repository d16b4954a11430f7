"""Two tables of measurements, of real and of translated images of the same galaxies, and how far they are apart."""

import numpy as np

from astro_galtrans._progress import tqdm
from astro_galtrans.statistics import Bootstrap
from astro_galtrans.statistics.resampling import centre_and_scatter, paired_statistics

from ._tables import BINS, by_values, excluded, places, to_qtable

__all__ = ["APART", "BOOTSTRAP", "compare"]

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
    groups = list(places(by_values(by, len(real) // len(bands), len(bands)), bins))
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
