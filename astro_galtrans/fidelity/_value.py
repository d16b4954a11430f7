"""One figure of a long table of statistics."""

import numpy as np

__all__ = ["value"]

FIGURES = "value", "low", "high", "n"


def value(result, quantity, statistic=None, **where):
    """
    Return a statistic of a result with its interval: value, low, high.

    Parameters
    ----------
    result : `~astro_galtrans.fidelity.result.Result`
        With a table ``statistics``.
    quantity : str
        What was measured.
    statistic : str, optional
        Which statistic of it; the first one in the table by default.
    **where
        Labels of the row, such as ``model="swin"``. A label that is not given is that of the first row that fits.

    Raises
    ------
    KeyError
        If no row has these labels; the message lists them.
    """
    table = result["statistics"]
    wanted = {"quantity": quantity} | ({} if statistic is None else {"statistic": statistic}) | where
    chosen = np.ones(len(table), bool)
    for name, label in wanted.items():
        chosen &= np.asarray(table[name]) == label
    if not chosen.any():
        labels = [name for name in table.colnames if name not in FIGURES]
        known = "; ".join(f"{name}: {', '.join(dict.fromkeys(map(str, table[name])))}" for name in labels)
        msg = f"there is no {', '.join(f'{name} {label!r}' for name, label in wanted.items())}; the table has {known}"
        raise KeyError(msg)
    row = table[int(np.argmax(chosen))]
    return tuple(float(row[name]) for name in ("value", "low", "high"))
