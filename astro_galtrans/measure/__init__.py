"""
Measurements of galaxy images: each takes one set of stamps and gives a table with a row per galaxy and band.

>>> from astro_galtrans import measure
>>> table = measure.photometry(stamps)  # doctest: +SKIP
>>> table = measure.morphology(stamps)  # doctest: +SKIP
"""

import sys
from importlib import import_module
from types import ModuleType

__all__ = ["morphology", "photometry"]

# public function -> the module it lives in, imported when it is first used: both need torch
_HOMES = {"morphology": "morphology.table", "photometry": "photometry"}


class _Package(ModuleType):
    """A package whose functions stay its functions when the modules of the same names are imported."""

    def __setattr__(self, name, value):
        if not (name in _HOMES and isinstance(value, ModuleType)):  # the import system binds modules to their package
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name):
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
