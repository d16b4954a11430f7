"""Which version this is, and how to cite it."""

from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

__all__ = ["__bibtex__", "__citation__", "__version__"]

try:
    __version__ = version("astro_galtrans")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "0+unknown"

_bibtex = files("astro_galtrans").joinpath("data/citation.bib").read_text(encoding="utf8")
__citation__ = __bibtex__ = _bibtex.replace("VERSION", __version__)
