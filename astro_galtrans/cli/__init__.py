"""``galtrans``: the package from the command line. Each subcommand is a few lines that call the Python API."""

from ._main import main

__all__ = ["main"]
