"""A training run as a file: TOML with the sections of `Recipe`."""

import tomllib
from dataclasses import MISSING, asdict, dataclass, field, fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

__all__ = ["Recipe", "list_recipes", "load_recipe"]


@dataclass(frozen=True)
class Network:
    """Which network, in which size."""

    name: str  #: a name of `astro_galtrans.models.registry.list_models`
    preset: str = "tiny"  #: "tiny" or "paper"
    settings: dict = field(default_factory=dict)  #: settings that replace the preset's


@dataclass(frozen=True)
class Data:
    """How pairs are cut and batched."""

    crop: int = 40  #: side of a training crop (source pixels)
    batch_size: int = 16
    softening: float = 2.0  #: softening flux of the asinh scaling, in sigma of the source's sky


@dataclass(frozen=True)
class Optimizer:
    """AdamW with a linear warm-up and a cosine decay."""

    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: int = 200  #: steps
    clip: float = 1.0  #: largest norm of the gradient
    ema: float = 0.999  #: decay of the averaged weights, which are the ones that are kept


@dataclass(frozen=True)
class Run:
    """How long, and from which seed."""

    steps: int  #: optimizer steps
    hours: float = float("inf")  #: stop earlier; the learning rate follows whichever of both ends first
    seed: int = 1
    checkpoint_minutes: float = 5.0


@dataclass(frozen=True)
class Recipe:
    """Everything a training depends on but the pairs."""

    name: str  #: name of the translator
    description: str
    network: Network
    data: Data
    optimizer: Optimizer
    run: Run

    def to_dict(self):
        """Return the recipe as nested dicts that JSON can hold."""
        return asdict(self)


SECTIONS = {"network": Network, "data": Data, "optimizer": Optimizer, "run": Run}


def list_recipes():
    """Return the names of the recipes that come with the package, sorted."""
    return sorted(p.name.removesuffix(".toml") for p in _shipped().iterdir() if p.name.endswith(".toml"))


def load_recipe(path, **run):
    """
    Read a recipe.

    Parameters
    ----------
    path : path-like
        A TOML file, or a name from `list_recipes`.
    **run
        Fields of the section ``run`` that replace the file's, e.g. ``steps=100``.

    Returns
    -------
    `Recipe`

    Raises
    ------
    FileNotFoundError
        If there is no such file or recipe.
    ValueError
        If the file is not TOML, or a field is unknown (the message gives the nearest), missing or of a wrong type.
    """
    text = _read(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        msg = f"{path} is not valid TOML: {err}"
        raise ValueError(msg) from err
    content["run"] = content.get("run", {}) | run
    parts = {name: _build(kind, content.pop(name, {}), f"[{name}] of {path}") for name, kind in SECTIONS.items()}
    return _build(Recipe, content | parts, str(path))


def _shipped():
    return files("astro_galtrans").joinpath("training/recipes")


def _read(path):
    if Path(path).is_file():
        return Path(path).read_text(encoding="utf8")
    if str(path) in list_recipes():
        return _shipped().joinpath(f"{path}.toml").read_text(encoding="utf8")
    msg = f"no recipe {str(path)!r}: neither a file nor one of {', '.join(list_recipes())}"
    raise FileNotFoundError(msg)


def _build(kind, content, where):
    known = {f.name: f for f in fields(kind)}
    for word in set(content) - set(known):
        near = get_close_matches(word, known, n=1, cutoff=0.0)
        msg = f"{where} has an unknown field {word!r}; the nearest known is {near[0]!r} (all: {', '.join(known)})"
        raise ValueError(msg)
    for name, f in known.items():
        required = f.default is MISSING and f.default_factory is MISSING
        if name not in content and required:
            msg = f"{where} lacks the field {name!r}"
            raise ValueError(msg)
        if name in content:
            content[name] = _checked(content[name], f.type, f"{name!r} in {where}")
    return kind(**content)


def _checked(value, kind, where):
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        msg = f"{where} must be {kind.__name__}, got {value!r}"
        raise ValueError(msg)
    return value
