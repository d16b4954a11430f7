"""Tables of measurements: a row per galaxy and band."""

import numpy as np
from astropy.table import QTable

__all__ = ["galaxy_table"]


def galaxy_table(bands, columns):
    """Return a table, a row per galaxy and band: ``row`` (the galaxy's number), ``band``, columns ``[N, C, ...]``."""
    shape = np.shape(next(iter(columns.values())))[:2]
    row, band = np.indices(shape).reshape(2, -1)
    table = QTable({"row": row, "band": np.array(list(bands))[band]})
    for name, values in columns.items():
        table[name] = np.reshape(values, (len(row), *np.shape(values)[2:]))
    return table
