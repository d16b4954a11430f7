"""Optional packages, asked for where they are used."""

import importlib

__all__ = ["require"]


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
        If the package is not installed; the message names the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as err:
        if err.name != module.partition(".")[0]:
            raise  # the package is there but broken: hiding that would mislead
        msg = f"{module!r} is needed for this; install it with: pip install 'astro_galtrans[{extra}]'"
        raise ImportError(msg) from err
