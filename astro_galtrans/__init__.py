"""
Translate galaxy images of one survey into another, with networks.

The public names are loaded when they are first used: importing the package imports neither torch nor a network.
"""

import sys
from types import ModuleType

__all__ = [
    "Translator",
    "__bibtex__",
    "__citation__",
    "__version__",
    "aperture_covariance",
    "aperture_error",
    "conf",
    "cutout",
    "cutouts",
    "draw_samples",
    "fluxes",
    "get_survey",
    "list_surveys",
    "list_translators",
    "load_translator",
    "quicklook",
    "significance",
    "translate",
    "translate_mosaic",
]

# public name -> the module it lives in
_HOMES = {
    "Translator": "translate",
    "__version__": "_release",
    "__bibtex__": "_release",
    "__citation__": "_release",
    "aperture_covariance": "errors",
    "aperture_error": "errors",
    "conf": "_config",
    "cutout": "bandstack",
    "cutouts": "bandstack",
    "draw_samples": "translate",
    "fluxes": "errors",
    "get_survey": "surveys",
    "list_surveys": "surveys",
    "list_translators": "translate",
    "load_translator": "translate",
    "quicklook": "demo",
    "significance": "errors",
    "translate": "translate",
    "translate_mosaic": "translate",
}


class _Package(ModuleType):
    """A package whose ``translate`` stays the function when the module of the same name is imported."""

    def __setattr__(self, name, value):
        if name == "translate" and isinstance(value, ModuleType):  # the import system binds a new module to its package
            value = value.translate
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name):
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__():
    return sorted({*globals(), *_HOMES})
