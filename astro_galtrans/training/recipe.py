"""A training run as a file: TOML with the sections of `Recipe`."""

import math
import tomllib
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from astro_galtrans._plain import plain_name

__all__ = ["Recipe", "describe_fields", "list_recipes", "load_recipe"]


ABOVE_0 = 1e-9  # the lowest value of what has to be positive


def _doc(meaning, low=None, high=math.inf):
    """Documentation of a field, which `describe_fields` tabulates, and the values of a number that make sense."""
    return {"metadata": {"doc": meaning, "range": None if low is None else (low, high)}}


@dataclass(frozen=True)
class Network:
    """Which network, in which size."""

    name: str = field(**_doc("a name that ``galtrans list`` shows: swin, srgan, capsule, diffusion, or a plug-in's"))
    preset: str = field(
        default="tiny", **_doc('``"tiny"``, the size that is shipped, or ``"paper"``, that of the literature')
    )
    settings: dict = field(default_factory=dict, **_doc("a table of settings that replace the preset's"))


@dataclass(frozen=True)
class Data:
    """How pairs are cut and batched."""

    crop: int = field(default=40, **_doc("side of a training crop (source pixels)", 4, 4096))
    batch_size: int = field(default=12, **_doc("crops in a step, on each device", 1))
    softening: float = field(
        default=2.0, **_doc("softening flux of the asinh scaling, in sigma of the source's sky", ABOVE_0)
    )
    bright_share: float = field(
        default=0.6, **_doc("share of the crops that are the brightest of a few; most of the sky is empty", 0, 1)
    )
    bright_candidates: int = field(default=3, **_doc("how many that few are", 1))
    workers: int = field(default=0, **_doc("processes that prepare batches; 0: a thread, enough for the CPU", 0, 1024))


@dataclass(frozen=True)
class Augment:
    """What is done to crops, and how often; everything is drawn anew for each crop."""

    dihedral: float = field(
        default=1.0, **_doc("probability that source and target are turned and mirrored (one of eight ways)", 0, 1)
    )
    shift: float = field(
        default=0.0, **_doc("probability that both are shifted on the sky by a fraction of a pixel", 0, 1)
    )
    shift_pixels: float = field(default=0.5, **_doc("largest shift along each axis (source pixels)", 0, 100))
    seeing: float = field(
        default=0.0, **_doc("probability that the source is blurred, and its noise brought back", 0, 1)
    )
    seeing_fwhm: float = field(default=0.7, **_doc("largest FWHM of the Gaussian it is blurred with (arcsec)", 0, 60))
    noise: float = field(default=0.0, **_doc("probability that the source gets more noise", 0, 1))
    noise_sigma: float = field(
        default=0.5, **_doc("largest standard deviation of that noise, in sigma of the source's sky", 0, 1000)
    )


@dataclass(frozen=True)
class Optimizer:
    """AdamW with a linear warm-up, then a cosine decay to a hundredth, and averaged weights."""

    learning_rate: float = field(default=2e-3, **_doc("largest learning rate", 0, 1))
    weight_decay: float = field(default=1e-4, **_doc("weight decay of AdamW", 0, 1))
    warmup: int = field(default=200, **_doc("steps over which the learning rate rises from zero", 0))
    clip: float = field(default=1.0, **_doc("norm to which a larger gradient is shortened", ABOVE_0))
    ema: float = field(
        default=0.999, **_doc("decay per step of the averaged weights, which are the ones that are kept", 0, 0.999999)
    )


@dataclass(frozen=True)
class Loss:
    """What is added to the network's own loss."""

    structure: float = field(
        default=0.0,
        **_doc("weight of differences in Gini, M20, concentration and asymmetry; 0: none, and nothing is computed", 0),
    )


@dataclass(frozen=True)
class Run:
    """How long, from which seed, and what is written down on the way."""

    steps: int = field(**_doc("optimizer steps", 1))
    hours: float = field(
        default=float("inf"), **_doc("end earlier; the learning rate follows whichever of both ends first", ABOVE_0)
    )
    seed: int = field(default=1, **_doc("seed of initial weights, crops and augmentation", 0))
    checkpoint_minutes: float = field(default=5.0, **_doc("time between two checkpoints; 0: after every step", 0))
    log_steps: int = field(
        default=100, **_doc("steps between two rows of ``losses.csv``, which hold means over them", 1)
    )
    validation_steps: int = field(default=1000, **_doc("steps between two scores on validation pairs", 1))
    validation_pairs: int = field(default=128, **_doc("how many validation pairs are scored, at most", 1))
    score: str = field(
        default="flux_loss", **_doc("the score that early stopping goes by: any column of ``validation.csv``")
    )
    patience: int = field(
        default=0, **_doc("stop after so many scores without a better one, keep the best; 0: never", 0)
    )
    picture_steps: int = field(default=5000, **_doc("steps between two pictures of samples; 0: none", 0))


@dataclass(frozen=True)
class Pairs:
    """Pairs to simulate where none are given; see `~astro_galtrans.pairs.simulated.PairSettings`."""

    number: int = field(default=20000, **_doc("pairs to train on", 1))
    held_out: int = field(default=1024, **_doc("other pairs, to validate, calibrate and score with", 0))
    source: str = field(default="sdss", **_doc("source survey: a name, or a survey file"))
    target: str = field(default="cfhtls-wide", **_doc("target survey, likewise"))
    source_bands: list = field(default_factory=list, **_doc("bands of the source; none named: all"))
    target_bands: list = field(default_factory=list, **_doc("bands of the target; none named: all"))
    scale: int = field(default=0, **_doc("target pixels per source pixel; 0: from the surveys' pixel scales", 0, 4))
    size: int = field(
        default=0, **_doc("side of the source stamps (pixels); 0: from the source's pixel scale", 0, 2048)
    )
    seed: int = field(default=1, **_doc("seed of the pairs; those held out have the next", 0))


@dataclass(frozen=True)
class Recipe:
    """Everything a training depends on but the pairs."""

    network: Network
    data: Data
    augment: Augment
    optimizer: Optimizer
    loss: Loss
    run: Run
    pairs: Pairs
    name: str = field(default="", **_doc("name of the translator; by default ``<network>-<source>-<target>``"))
    description: str = field(default="", **_doc("one line that says what it does"))

    def to_dict(self):
        """Return the recipe as nested dicts that JSON can hold."""
        return asdict(self)

    def for_surveys(self, source, target):
        """Return the recipe with name and description filled in, if they were empty."""
        name = self.name or "-".join((self.network.name, *(_short(s) for s in (source, target))))
        bands = ("".join(survey.band_names) for survey in (source, target))
        surveys = (f"{survey.name} {names}" for survey, names in zip((source, target), bands, strict=True))
        told = self.description or f"{' to '.join(surveys)}: {self.network.name}, {self.network.preset}"
        return replace(self, name=name, description=told)


SECTIONS = {
    "network": Network,
    "data": Data,
    "augment": Augment,
    "optimizer": Optimizer,
    "loss": Loss,
    "run": Run,
    "pairs": Pairs,
}


def _short(survey):
    # cfhtls-wide is cfhtls in the names of translators
    return getattr(survey, "short_name", None) or survey.name.removesuffix("-wide")


def describe_fields():
    """
    Describe every field of a recipe.

    Returns
    -------
    dict
        For each section ("" for the top level) a list of ``(name, type, default, meaning)``, all str; the default is
        written as in TOML, and empty where the field must be given.
    """
    tables = {"": [_row(f) for f in fields(Recipe) if "doc" in f.metadata]}
    return tables | {name: [_row(f) for f in fields(kind)] for name, kind in SECTIONS.items()}


def _row(f):
    made = f.default_factory is not MISSING
    default = f.default_factory() if made else f.default
    text = "" if default is MISSING else str(default).lower() if isinstance(default, bool) else repr(default)
    return f.name, f.type.__name__, text.replace("'", '"'), f.metadata["doc"]


def list_recipes():
    """Return the names of the recipes that come with the package, sorted."""
    return sorted(p.name.removesuffix(".toml") for p in _shipped().iterdir() if p.name.endswith(".toml"))


def load_recipe(path, **changes):
    """
    Read a recipe.

    Parameters
    ----------
    path : path-like
        A TOML file, or a name from `list_recipes`.
    **changes
        Fields of the section ``run`` that replace the file's, e.g. ``steps=100``; or a section with a dict of such
        fields, e.g. ``data={"batch_size": 64}``; or ``name`` or ``description``.

    Returns
    -------
    `Recipe`

    Raises
    ------
    FileNotFoundError
        If there is no such file or recipe.
    ValueError
        If the file is not TOML, or a field is unknown (the message gives the nearest), missing, of a wrong type or
        outside of its range, or a name could lead out of a folder.
    """
    text = _read(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        msg = f"{path} is not valid TOML: {err}"
        raise ValueError(msg) from err
    return build_recipe(_changed(content, changes), str(path))


def build_recipe(content, where="the recipe"):
    """
    Build a recipe from nested dicts, as `Recipe.to_dict` gives them.

    Parameters
    ----------
    content : dict
        Sections, and fields of the top level.
    where : str, optional
        What to call it in error messages.
    """
    parts = {name: _build(kind, content.get(name, {}), f"[{name}] of {where}") for name, kind in SECTIONS.items()}
    return _build(Recipe, content | parts, where)


def _changed(content, changes):
    content = dict(content)
    for word, value in changes.items():
        if word in SECTIONS:
            content[word] = content.get(word, {}) | value
        elif word in {"name", "description"}:
            content[word] = value
        else:
            content["run"] = content.get("run", {}) | {word: value}
    return content


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
    content = dict(content)
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
            content[name] = _checked(content[name], f, f"{name!r} in {where}")
    return kind(**content)


def _checked(value, f, where):
    kind, limits = f.type, f.metadata.get("range")
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        msg = f"{where} must be {kind.__name__}, got {value!r}"
        raise ValueError(msg)
    if limits and not limits[0] <= value <= limits[1]:
        msg = f"{where} must be from {limits[0]:g} to {limits[1]:g}, got {value!r}"
        raise ValueError(msg)
    if f.name == "name" and value:
        plain_name(value, where)
    return value
