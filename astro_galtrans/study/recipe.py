"""A study as a file: TOML with sections, in which each ``[tasks.NAME]`` is a pair of surveys to translate between."""

from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from astro_galtrans._plain import plain_name
from astro_galtrans._sections import build, described, field, parsed
from astro_galtrans.fidelity.files import LEVELS as IMAGE_LEVELS
from astro_galtrans.training import list_recipes

__all__ = ["BASELINES", "LEVELS", "SHIPPED", "Study", "Task", "describe_fields", "list_presets", "load_study"]

LEVELS = *IMAGE_LEVELS, "redshift"  #: what is measured, in this order
BASELINES = "resampled", "wiener", "second", "identity"
SHIPPED = "shipped"  #: stands for all translators of the package that fit a task


@dataclass(frozen=True)
class Data:
    """How many galaxies, and how many samples of each."""

    number: int = field("galaxies judged: simulated ones, or the first of a store of pairs", 600, 20)
    training: int = field("others, to train photo-z estimators; 0: three quarters of those judged", 0, 0)
    crop: int = field("side of the stamps that photo-z estimators look at (source pixels); 0: all", 40, 0, 4096)
    n_samples: int = field("samples per galaxy of translators that sample", 1, 1, 1024)
    workers: int = field("processes that simulate; 0: one per core", 0, 0, 1024)


@dataclass(frozen=True)
class Bootstrap:
    """Intervals: resamples of the galaxies."""

    resamples: int = field("bootstrap resamples", 1000, 0)
    confidence: float = field("probability of the intervals", 0.68, 0.01, 0.999)


@dataclass(frozen=True)
class Morphology:
    """The level ``morphology``."""

    sersic: bool = field("fit Sersic profiles too, which takes most of the time", default=False)


@dataclass(frozen=True)
class Anomaly:
    """The level ``anomaly``."""

    number: int = field("galaxies that are looked at, the first of those judged; 0: all", 0, 0)


@dataclass(frozen=True)
class Redshift:
    """The level ``redshift``."""

    estimator: str = field('photo-z estimator: ``"photometric"`` (fluxes, seconds) or ``"image"``', "photometric")
    epochs: int = field("training epochs of the estimators; 0: their default", 0, 0)
    peaks: bool = field("measure what peak fluxes tell of the redshift, too", default=True)


@dataclass(frozen=True)
class Training:
    """Translators that are trained here: what replaces the fields of their training recipes."""

    preset: str = field('size of the networks: ``"tiny"`` or ``"paper"``; empty: the recipe\'s', "")
    steps: int = field("optimizer steps; 0: the recipe's", 0, 0)
    hours: float = field("end each training after so many hours; 0: the recipe's", 0.0, 0)
    number: int = field("pairs to simulate for the training", 20000, 1)
    held_out: int = field("other pairs, to validate and calibrate with", 1024, 8)
    device: str = field("cpu, cuda, or auto: a GPU if there is one", "auto")
    precision: str = field("32-true or bf16-mixed", "32-true")


@dataclass(frozen=True)
class Task:
    """Two surveys, pairs of images in both, and who translates between them."""

    source: str = field("source survey of simulated pairs: a name, or a survey file", "sdss")
    target: str = field("their target survey, likewise", "cfhtls-wide")
    source_bands: list = field("bands of the source; none named: all", [])
    target_bands: list = field("bands of the target; none named: all", [])
    pairs: str = field("folder of your own pairs, judged instead of simulated ones; their part ``test``, if split", "")
    training_pairs: str = field("other pairs, to train on; by default the part ``train`` of these", "")
    translators: list = field('names or files; ``"shipped"``: all of the package for these surveys', [])
    train: list = field("networks to train here: names or files of training recipes", [])


@dataclass(frozen=True)
class Study:
    """All settings of a study; with the weights of its translators they decide its result.

    Examples
    --------
    >>> from astro_galtrans.study import load_study
    >>> study = load_study("quick")
    >>> sorted(study.tasks), study.baselines
    (['inter', 'intra'], ['resampled', 'wiener', 'second', 'identity'])
    """

    data: Data
    bootstrap: Bootstrap
    morphology: Morphology
    anomaly: Anomaly
    redshift: Redshift
    training: Training
    tasks: dict  #: name to `Task`
    description: str = field("one line that says what it is", "")
    seed: int = field("seed of galaxies, noise, samples, estimators and bootstrap", 15001, 0)
    levels: list = field(f"what to measure, some of {', '.join(LEVELS)}", list(LEVELS))
    baselines: list = field(f"what translators are compared with, some of {', '.join(BASELINES)}", list(BASELINES))

    def to_dict(self):
        """Return the recipe as nested dicts that JSON can hold."""
        return asdict(self)

    def with_sizes(self, number=None, training=None):
        """Return the recipe with another number of galaxies that are judged, and that estimators are trained on."""
        new = {"number": number, "training": training}
        data = build(Data, asdict(self.data) | {k: v for k, v in new.items() if v is not None}, "[data]")
        return replace(self, data=data)


SECTIONS = {each.__name__.lower(): each for each in (Data, Bootstrap, Morphology, Anomaly, Redshift, Training)}


def describe_fields():
    """
    Describe every field of a recipe, by section ("" for the top level), as ``(name, type, default, meaning)``, all str.

    The default is written as in TOML, and empty where the field must be given.
    """
    sections = {name: described(kind) for name, kind in SECTIONS.items()}
    return {"": described(Study)} | sections | {"tasks.NAME": described(Task)}


def list_presets():
    """Return the names of the studies that come with the package, sorted.

    Examples
    --------
    >>> from astro_galtrans.study import list_presets
    >>> list_presets()
    ['paper', 'quick', 'standard']
    """
    return sorted(path.name.removesuffix(".toml") for path in _presets().iterdir() if path.name.endswith(".toml"))


def load_study(recipe, **sizes):
    """
    Read the recipe of a study.

    Parameters
    ----------
    recipe : path-like
        A TOML file, or a name from `list_presets`. Paths in a file are relative to its folder.
    **sizes
        Of `Study.with_sizes`.

    Returns
    -------
    `Study`

    Raises
    ------
    FileNotFoundError
        If there is no such file or preset.
    ValueError
        If the file is no recipe: the message names the nearest field, level, baseline or training recipe.

    Examples
    --------
    >>> from astro_galtrans.study import load_study
    >>> load_study("quick", number=100).data.number
    100
    """
    path = Path(recipe)
    if path.is_file():
        text, folder = path.read_text(encoding="utf8"), path.parent
    elif str(recipe) in list_presets():
        text, folder = (_presets() / f"{recipe}.toml").read_text(encoding="utf8"), Path()
    else:
        near = get_close_matches(str(recipe), list_presets(), n=1, cutoff=0.0)
        msg = f"no recipe {str(recipe)!r}: no such file, and presets are {', '.join(list_presets())}; nearest {near[0]}"
        raise FileNotFoundError(msg)
    return build_study(parsed(text, recipe), str(recipe), folder).with_sizes(**sizes)


def build_study(content, where="the recipe", folder=Path()):
    """Build a recipe from nested dicts, as `Study.to_dict` gives them; paths in it are relative to ``folder``."""
    parts = {name: build(kind, content.get(name, {}), f"[{name}] of {where}") for name, kind in SECTIONS.items()}
    tasks = content.get("tasks", {})
    if not isinstance(tasks, dict) or not tasks:
        msg = f"{where} needs a section [tasks.NAME] with the fields {', '.join(f[0] for f in described(Task))}"
        raise ValueError(msg)
    parts["tasks"] = {
        plain_name(name, "the name of a task"): _found(build(Task, task, f"[tasks.{name}] of {where}"), folder)
        for name, task in tasks.items()
    }
    study = build(Study, content | parts, where)
    for what, given, known in (("levels", study.levels, LEVELS), ("baselines", study.baselines, BASELINES)):
        _check_names(given, known, f"{what} of {where}")
    _check_names([study.redshift.estimator], ("photometric", "image"), f"the estimator of {where}")
    for name, task in study.tasks.items():
        named = [each for each in task.train if not Path(each).is_file()]
        _check_names(named, list_recipes(), f"train in [tasks.{name}] of {where}", empty=True)
        if not (task.translators or task.train or study.baselines):
            msg = f"[tasks.{name}] of {where} has nothing to judge: no translators, none to train and no baselines"
            raise ValueError(msg)
    return study


def _found(task, folder):
    """The task with paths that are relative to the folder of the recipe; names stay as they are."""

    def path(name):
        return str(folder / name) if name and (folder / name).exists() else name

    lists = {what: [path(name) for name in getattr(task, what)] for what in ("translators", "train")}
    singles = {what: path(getattr(task, what)) for what in ("source", "target", "pairs", "training_pairs")}
    return replace(task, **lists | singles)


def _check_names(given, known, where, *, empty=False):
    unknown = [name for name in given if name not in known]
    if unknown:
        near = get_close_matches(str(unknown[0]), known, n=1, cutoff=0.0)
        msg = f"{where} has an unknown name {unknown[0]!r}; the nearest known is {near[0]!r} (all: {', '.join(known)})"
        raise ValueError(msg)
    if not given and not empty and "baselines" not in where:
        msg = f"{where} must be some of {', '.join(known)}, got none"
        raise ValueError(msg)


def _presets():
    return files("astro_galtrans").joinpath("study/presets")
