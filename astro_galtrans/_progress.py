"""Progress bars that stop no run."""

import sys

from tqdm.auto import tqdm as _tqdm

__all__ = ["tqdm"]


class tqdm(_tqdm):  # noqa: N801 - the name that everybody knows
    """tqdm's bar, which shows nothing where it would ask for a terminal and standard error is closed."""

    def __init__(self, *args, disable=False, **options):
        closed = sys.stderr is None or sys.stderr.closed
        super().__init__(*args, disable=True if disable is None and closed else disable, **options)
