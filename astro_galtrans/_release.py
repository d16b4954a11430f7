"""Which version this is, and how to cite it."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__bibtex__", "__citation__", "__version__"]

try:
    __version__ = version("astro_galtrans")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "0+unknown"

__citation__ = __bibtex__ = rf"""@software{{astro_galtrans,
  author  = {{{{The astro\_galtrans developers}}}},
  title   = {{astro\_galtrans: galaxy images of one survey translated into another}},
  version = {{{__version__}}},
}}"""
