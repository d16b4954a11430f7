"""Which network has which name: an explicit table, plus the entry points of other packages."""

from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

__all__ = ["get_model_class", "list_models", "register_model"]

# Modules are named, not imported: asking for one network does not load the others.
BUILT_IN = {
    "swin": "astro_galtrans.models.swin:SwinTranslator",
    "srgan": "astro_galtrans.models.srgan:SRGANTranslator",
    "capsule": "astro_galtrans.models.capsule:CapsuleTranslator",
    "diffusion": "astro_galtrans.models.diffusion:DiffusionTranslator",
}


@cache
def _table():
    table = dict(BUILT_IN)
    for point in entry_points(group="astro_galtrans.models"):
        if point.name in table:
            both = f"{table[point.name]} and {point.value}"
            msg = f"two networks are called {point.name!r}: {both}; uninstall one of them"
            raise ValueError(msg)
        table[point.name] = point.value
    return table


def list_models():
    """Return the names of the networks, sorted."""
    return sorted(_table())


def register_model(network):
    """
    Make a network of one's own known by its name in this process, and return it; also as a decorator.

    It is for notebooks and scripts. A package declares the entry point ``astro_galtrans.models`` instead, so that files
    of its translators can be loaded wherever it is installed.

    Parameters
    ----------
    network : type
        A subclass of `~astro_galtrans.models.base.TranslationModel`; one of the same name that was registered before is
        replaced.

    Raises
    ------
    ValueError
        If a network of the package, or of another one that is installed, has the name.
    """
    there = _table().get(network.name)
    if isinstance(there, str):
        msg = f"the name {network.name!r} is that of {there}; give the network another"
        raise ValueError(msg)
    _table()[network.name] = network
    return network


def get_model_class(name):
    """
    Return the class of a network.

    Parameters
    ----------
    name : str
        A name from `list_models`. Other packages add theirs under the entry point ``astro_galtrans.models``.

    Raises
    ------
    ValueError
        If the name is unknown (the message gives the nearest), or if two packages claim one name.
    """
    table = _table()
    if name not in table:
        near = get_close_matches(str(name), table, n=2, cutoff=0.3) or sorted(table)
        msg = f"unknown network {name!r}; the nearest known are {', '.join(near)} (all: {', '.join(sorted(table))})"
        raise ValueError(msg)
    if isinstance(table[name], type):
        return table[name]
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)
