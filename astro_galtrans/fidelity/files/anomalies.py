"""Anomalies from files: which galaxies the two images disagree about, by the columns of the pairs' own table."""

from pathlib import Path

import numpy as np
from astropy.table import QTable, hstack

from astro_galtrans._columns import plain
from astro_galtrans._files import whole_file
from astro_galtrans.pairs.store import PairStore

from .comparing import fidelity_from_files
from .inputs import galaxies, is_store

__all__ = ["anomalies_from_files"]

FIRST = "model", "row", "score", "anomalous", "kind", "band", "x", "y", "flux_error"  #: columns of the ranking


def anomalies_from_files(source, translated, output="anomalies", *, target=None, **options):
    """
    Rank galaxies by how much source and translation contradict each other, from files to a folder.

    Parameters
    ----------
    source, translated, output, target
        As for `~astro_galtrans.fidelity.files.fidelity_from_files`; stamps need no ``target``. Real images of the
        target, of pairs too, are ranked like a translation, as ``"target"``: their anomalies are what changed in the
        sky between the two surveys, or what is wrong with an image.
    **options
        Of `~astro_galtrans.fidelity.files.fidelity_from_files`.

    Returns
    -------
    `~astropy.table.QTable`
        A row per galaxy and model, the most implausible first, also written as ``anomalies.ecsv``: the score, whether
        the galaxy is ``anomalous`` (one of twenty that are called so is a chance), the ``kind`` of its strongest peak
        (light that is ``"invented"`` by the translation, or ``"lost"``), its ``band`` and its place ``x``, ``y`` from
        the centre (arcsec); and of pairs the columns of their table. See
        `~astro_galtrans.fidelity.anomaly.result.AnomalyResult`, whose report is in the folder ``anomaly``.

    Raises
    ------
    TypeError, ValueError, OSError
        As `~astro_galtrans.fidelity.files.fidelity_from_files`.
    """
    result = fidelity_from_files(source, target, translated, output, levels=("anomaly",), **options)["anomaly"]
    table = result["galaxies"][[*FIRST]]
    table = table[np.argsort(-plain(table["score"]), kind="stable")]
    if is_store(source):
        pairs = source if isinstance(source, PairStore) else PairStore(source)
        rows = galaxies(pairs)[plain(table["row"]).astype(int)]
        known = QTable(pairs.table[rows], copy=False)
        known.meta.clear()
        table["row"] = rows
        table = hstack([table, known], table_names=["", "pairs"], uniq_col_name="{table_name}_{col_name}")
        for name in FIRST:  # a column of both tables
            if f"_{name}" in table.colnames:
                table.rename_column(f"_{name}", name)
    with whole_file(Path(output) / "anomalies.ecsv") as file:
        table.write(file, format="ascii.ecsv")
    return table
