"""Progress bars that stop no run."""

import sys

from tqdm.auto import tqdm as _tqdm

__all__ = ["tqdm"]


class tqdm(_tqdm):  # noqa: N801 - the name that everybody knows
    """tqdm's bar; with ``disable=None`` it shows on terminals and in notebooks, and nowhere if stderr is closed."""

    def __init__(self, *args, disable=False, **options):
        if disable is None and (sys.stderr is None or sys.stderr.closed):
            disable = True
        elif disable is None and any(base.__module__ == "tqdm.notebook" for base in type(self).__mro__):
            disable = False  # a notebook's streams say that they are no terminals
        super().__init__(*args, disable=disable, **options)
