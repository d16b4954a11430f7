"""A training run as a file: TOML with the sections of `Recipe`."""

import math
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path

from astro_galtrans._sections import build as _build
from astro_galtrans._sections import described, parsed
from astro_galtrans._sections import field as _field
from astro_galtrans.models.checkpoint import read_card
from astro_galtrans.models.shipped import SUFFIX, find_weights, list_weights

__all__ = ["Recipe", "describe_fields", "list_recipes", "load_recipe"]


OWN = "-own"  # after a name that a shipped translator has
ABOVE_0 = 1e-9  # the lower limit of fields that have to be positive


@dataclass(frozen=True)
class Network:
    """Which network, in which size."""

    name: str = _field("a name that ``galtrans list`` shows: swin, srgan, capsule, diffusion, or a plug-in's")
    preset: str = _field('``"tiny"``, the size that is shipped, or ``"paper"``, that of the literature', "tiny")
    settings: dict = _field("a table of settings that replace the preset's", {})


@dataclass(frozen=True)
class Data:
    """How pairs are cut and batched."""

    crop: int = _field("side of a training crop (source pixels)", 40, 4, 4096)
    batch_size: int = _field("crops in a step, on each device", 12, 1)
    softening: float = _field("softening flux of the asinh scaling, in sigma of the source's sky", 2.0, ABOVE_0)
    bright_share: float = _field("share of crops cut at the brightest of a few places, as most sky is empty", 0.6, 0, 1)
    bright_candidates: int = _field("number of these places, drawn at random", 3, 1)
    workers: int = _field("processes that prepare batches; 0: a thread, enough for the CPU", 0, 0, 1024)


@dataclass(frozen=True)
class Augment:
    """Random changes of crops, and their probabilities."""

    dihedral: float = _field("probability of turning and mirroring source and target (one of eight ways)", 1.0, 0, 1)
    shift: float = _field("probability that both are shifted on the sky by a fraction of a pixel", 0.0, 0, 1)
    shift_pixels: float = _field("largest shift along each axis (source pixels)", 0.5, 0, 100)
    seeing: float = _field("probability that the source is blurred, and its sky noise restored", 0.0, 0, 1)
    seeing_fwhm: float = _field("largest FWHM of the Gaussian it is blurred with (arcsec)", 0.7, 0, 60)
    noise: float = _field("probability that the source gets more noise", 0.0, 0, 1)
    missing: float = _field("probability that bands of the source are left out, for networks told so", 0.0, 0, 1)
    noise_sigma: float = _field("largest standard deviation of that noise, in sigma of the source's sky", 0.5, 0, 1000)


@dataclass(frozen=True)
class Optimizer:
    """AdamW and Muon with a linear warm-up, then a cosine decay to a hundredth, and averaged weights."""

    learning_rate: float = _field("largest learning rate", 2e-3, 0, 1)
    muon_rate: float = _field("largest learning rate of hidden layers' matrices, by Muon; 0: by AdamW", 0.0, 0, 1)
    weight_decay: float = _field("weight decay of AdamW", 1e-4, 0, 1)
    warmup: int = _field("steps over which the learning rate rises from zero", 200, 0)
    clip: float = _field("norm to which a larger gradient is shortened", 1.0, ABOVE_0)
    ema: float = _field("decay per step of the averaged weights, which are the ones that are kept", 0.999, 0, 0.999999)


@dataclass(frozen=True)
class Loss:
    """Terms that are added to the network's own loss."""

    aperture: float = _field("weight of errors of fluxes summed over 4 and 16 pixels of the target; 0: none", 0.0, 0)
    structure: float = _field("weight of differences in Gini, M20, concentration and asymmetry; 0: none", 0.0, 0)


@dataclass(frozen=True)
class Run:
    """Length and seed of a training, its checkpoints, logs and validations."""

    steps: int = _field("optimizer steps", low=1)
    hours: float = _field("end after so many hours, if that is sooner; the learning rate follows", math.inf, ABOVE_0)
    seed: int = _field("seed of initial weights, crops and augmentation", 1, 0)
    checkpoint_minutes: float = _field("time between two checkpoints; 0: after every step", 5.0, 0)
    log_steps: int = _field("steps between two rows of ``losses.csv``, which hold means over them", 100, 1)
    validation_steps: int = _field("steps between two scores on validation pairs", 1000, 1)
    validation_pairs: int = _field("how many validation pairs are scored, at most", 128, 1)
    score: str = _field("the score that early stopping compares: a column of ``validation.csv``", "flux_loss")
    patience: int = _field("stop after so many validations without a better score, keep the best; 0: never", 0, 0)
    picture_steps: int = _field("steps between two pictures of samples; 0: none", 5000, 0)


@dataclass(frozen=True)
class Pairs:
    """Pairs to simulate where none are given; see `~astro_galtrans.pairs.simulated.PairSettings`."""

    number: int = _field("pairs to train on", 20000, 1)
    held_out: int = _field("other pairs, to validate, calibrate and score with", 1024, 0)
    source: str = _field("source survey: a name, or a survey file", "sdss")
    target: str = _field("target survey, likewise", "cfhtls-wide")
    source_bands: list = _field("bands of the source; none named: all", [])
    target_bands: list = _field("bands of the target; none named: all", [])
    scale: int = _field("target pixels per source pixel; 0: from the surveys' pixel scales", 0, 0, 4)
    size: int = _field("side of the source stamps (pixels); 0: from the source's pixel scale", 0, 0, 2048)
    blends: float = _field("share of the galaxies with a fainter one over them in the source only", 0.0, 0, 1)
    seed: int = _field("seed of the pairs; those held out have the next", 1, 0)


@dataclass(frozen=True)
class Recipe:
    """
    All settings of a training; with the pairs they decide its result.

    Examples
    --------
    >>> from astro_galtrans.training import load_recipe
    >>> load_recipe("srgan").network.preset
    'tiny'
    """

    network: Network
    data: Data
    augment: Augment
    optimizer: Optimizer
    loss: Loss
    run: Run
    pairs: Pairs
    name: str = _field("name of the translator; by default ``<network>-<source>-<target>``", "")
    description: str = _field("one line that says what it does", "")

    def to_dict(self):
        """Return the recipe as nested dicts that JSON can hold."""
        return asdict(self)

    def for_surveys(self, source, target):
        """
        Return the recipe with name and description filled in, if they were empty.

        The name is none of a translator that comes with the package, so that results of the two are told apart.
        """
        ends = source, target
        # cfhtls-wide is cfhtls in the names of translators
        name = self.name or "-".join((self.network.name, *(end.name.removesuffix("-wide") for end in ends)))
        if not self.name and name in list_weights():
            name += OWN
        surveys = " to ".join(f"{end.name} {''.join(end.band_names)}" for end in ends)
        told = self.description or f"{surveys}: {self.network.name}, {self.network.preset}"
        return replace(self, name=name, description=told)


SECTIONS = {each.__name__.lower(): each for each in (Network, Data, Augment, Optimizer, Loss, Run, Pairs)}


def describe_fields():
    """
    Describe every field of a recipe, by section ("" for the top level), as ``(name, type, default, meaning)``, all str.

    The default is written as in TOML, and empty where the field must be given.
    """
    return {"": described(Recipe)} | {name: described(kind) for name, kind in SECTIONS.items()}


def list_recipes():
    """
    Return the names of the recipes that come with the package, sorted.

    Examples
    --------
    >>> from astro_galtrans.training import list_recipes
    >>> "swin" in list_recipes()
    True
    """
    return sorted(p.name.removesuffix(".toml") for p in _shipped().iterdir() if p.name.endswith(".toml"))


def load_recipe(path, **changes):
    """
    Read a recipe, and return it as `Recipe`.

    Parameters
    ----------
    path : path-like
        A TOML file, a name from `list_recipes`, or a translator, by its name or its file: the recipe that it was
        trained with, under a name of its own.
    **changes
        Fields of the section ``run`` that replace the file's, e.g. ``steps=100``; or a section with a dict of such
        fields, e.g. ``data={"batch_size": 64}``; or ``name`` or ``description``.

    Raises
    ------
    FileNotFoundError
        If there is no such file, recipe or translator.
    ValueError
        If the card of the translator has no whole recipe, the file is not TOML, or a field is unknown (the message
        gives the nearest), missing, of a wrong type or
        outside of its range, or a name could lead out of a folder.

    Examples
    --------
    >>> from astro_galtrans.training import load_recipe
    >>> recipe = load_recipe("swin", steps=1000, data={"batch_size": 4})
    >>> recipe.run.steps, recipe.data.batch_size
    (1000, 4)
    """
    content = _of_translator(path) if _is_translator(path) else parsed(_read(path), path)
    return build_recipe(_changed(content, changes), str(path))


def _is_translator(path):
    return Path(path).suffix == SUFFIX or (str(path) in list_weights() and not Path(path).is_file())


def _of_translator(path):
    """Content of the recipe that a translator's card holds."""
    card = read_card(find_weights(path))
    recipe = card.get("training", {}).get("recipe") or {}
    if not isinstance(recipe.get("network"), dict) or "pairs" not in recipe:
        msg = f"the card of {path} does not say how it was trained; give a recipe ({', '.join(list_recipes())})"
        raise ValueError(msg)
    sections = {k: {f: v for f, v in part.items() if v is not None} if isinstance(part, dict) else part
                for k, part in recipe.items()}  # fmt: skip
    return sections | {"name": recipe["name"] + OWN}


def build_recipe(content, where="the recipe"):
    """Build a recipe from nested dicts, as `Recipe.to_dict` gives them; ``where`` is what errors call it."""
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
    msg = (
        f"no recipe {str(path)!r}: neither a file, nor one of {', '.join(list_recipes())}, nor a translator, such as"
        f" {list_weights()[0]}"
    )
    raise FileNotFoundError(msg)
