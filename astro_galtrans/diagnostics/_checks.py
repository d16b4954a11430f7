"""What the diagnostics ask of their input: lengths that agree, and errors that name the rows."""

import numpy as np

__all__ = ["name_rows", "same_length"]


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
