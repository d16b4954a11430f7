"""Optional packages, asked for where they are used."""

import importlib

__all__ = ["require", "require_report"]


def require(module, extra):
    """
    Import an optional package or say what to install.

    Parameters
    ----------
    module : str
        Name of the module to import, e.g. ``"galsim"``.
    extra : str
        The extra of this package that brings it, e.g. ``"simulate"``.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    ImportError
        If the package is not installed; the message names the command that installs it, from the index of packages or
        in a checkout.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as err:
        if err.name != module.partition(".")[0]:
            raise  # the package is there but broken: hiding that would mislead
        msg = (
            f"{module!r} is needed for this; install it with: pip install 'astro_galtrans[{extra}]'"
            f" (in a checkout: pip install '.[{extra}]')"
        )
        raise ImportError(msg) from err


def require_report():
    """Raise ImportError if what reports are made with is not installed; called before the work that they are of."""
    for module in ("jinja2", "matplotlib"):
        require(module, extra="report")
