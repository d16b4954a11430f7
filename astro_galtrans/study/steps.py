"""The costly steps of a study: pairs, translators, translated stamps. Each is kept, and found again by its content."""

import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning

from astro_galtrans._files import CheckedFile, fingerprint, whole_file
from astro_galtrans._plain import plain_name
from astro_galtrans._release import __version__
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.fidelity.files.inputs import galaxies
from astro_galtrans.models.shipped import list_weights
from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.stamps import Stamps
from astro_galtrans.training import load_recipe, train
from astro_galtrans.translate import load_translator

from .baselines import baseline, cannot
from .recipe import BASELINES, SHIPPED

__all__ = ["Cache", "Model", "TaskData", "models_of", "open_pairs", "train_here", "translators_of"]

LOOKED_AT = 16  # pairs, spread over a store, that tell whether it has true images


class Cache:
    """A folder of results that are found again by the content they were made from."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def part(self, name):
        """Return a folder below, made if it is missing."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def path(self, name, key):
        """Return the path of a file, whose name gets the key, a fingerprint of all that its content depends on."""
        path = self.folder / name
        self.part(path.parent.relative_to(self.folder))
        return path.with_name(f"{path.stem}-{key[:16]}{path.suffix}")

    @staticmethod
    def read(path, read):
        """Return what ``read(path)`` gives; None if there is no such file or, with a warning, if it is damaged."""
        if not path.exists():
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", AstropyUserWarning)  # of a file that is cut short
                return read(path)
        except Exception as err:  # noqa: BLE001 - whatever a damaged file makes a reader raise
            msg = f"{path} cannot be read and is made anew ({type(err).__name__}: {err})"
            warnings.warn(msg, GaltransWarning, stacklevel=2)
            return None


@dataclass(frozen=True, eq=False)
class Model:
    """A translator or baseline in a task, whose stamps are made when they are asked for."""

    name: str
    kind: str  #: "translator" or "baseline"
    key: str  #: tells its images from others of the same pairs
    stamps: object  #: function of "judged" or "training" to `~astro_galtrans.stamps.Stamps`
    about: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TaskData:
    """The pairs of a task: those judged, and those that estimators of redshift are trained on, or None."""

    judged: PairStore
    training: PairStore | None
    crop: int | None  #: side of the stamps for photo-z (source pixels)
    truth: bool  #: are there true images?

    def stamps(self, side, part="judged"):
        """Return the stamps of a side; those that only train are cropped."""
        if part == "judged":
            return Stamps.from_pairs(self.judged, side)
        return Stamps.from_pairs(self.training, side, crop=self.crop)

    @cached_property
    def key(self):
        """Fingerprint of the pixels and the table of both parts."""
        parts = []
        for store, name in ((self.judged, "judged"), (self.training, "training")):
            for side in ("source", "target")[: 1 + self.truth] if store is not None else ():
                stamps = self.stamps(side, name)
                parts += [store.fingerprint, *(fingerprint(stamps.read(rows)) for rows in stamps.blocks())]
        return fingerprint(*parts)


def open_pairs(task, study, cache, *, progress=True):
    """Return the `TaskData` of a task: simulated, or the user's own."""
    data = study.data
    if task.pairs:
        judged, training = _own_pairs(task, data)
    else:
        simulate = partial(_simulated, task, study, cache, progress=progress)
        judged = simulate(data.number, study.seed)
        training = simulate(data.training, study.seed + 1) if data.training else None
    header = judged.header
    crop = data.crop if 0 < data.crop < header.size else None
    if crop and (header.size - crop) % 2:
        msg = f"crop must differ from the {header.size} pixels of the source stamps by an even number, got {crop}"
        raise ValueError(msg)
    rows = np.unique(np.linspace(0, len(judged) - 1, LOOKED_AT).astype(int))
    truth = any(np.isfinite(judged.target(row)).any() and np.ptp(np.nan_to_num(judged.target(row))) > 0 for row in rows)
    return TaskData(judged, training, crop, truth)


def _simulated(task, study, cache, number, seed, kind="galaxy", *, progress=True):
    bands = {f"{end}_bands": tuple(getattr(task, f"{end}_bands")) or None for end in ("source", "target")}
    settings = PairSettings(source=task.source, target=task.target, seed=seed, kind=kind, **bands)
    folder = cache.part("pairs") / fingerprint(settings.to_dict())[:16]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*more than the .* asked for", GaltransWarning)
        make = partial(simulate_pairs, folder, number, settings, workers=study.data.workers or None, progress=progress)
        store = make()
        if store.damaged:
            for path in store.damaged:
                path.unlink()
            store = make()
    return store.subset(np.arange(min(number, len(store))))


def _own_pairs(task, data):
    """Galaxies of the user's pairs that are judged, and others to train on, or None."""
    whole = PairStore(task.pairs)
    split = whole.column("split")
    parts = [None, whole.split("train")] if split is not None and not task.training_pairs else [None, None]
    parts[0] = whole.split("test") if split is not None else whole
    if task.training_pairs:
        other = PairStore(task.training_pairs)
        parts[1] = other.split("train") if other.column("split") is not None else other
    limits = data.number, data.training
    found = [
        None if part is None or (which and not limit) else part.subset(galaxies(part)[:limit])
        for which, (part, limit) in enumerate(zip(parts, limits, strict=True))
    ]
    if found[0] is None or not len(found[0]):
        msg = f"{task.pairs} has no galaxies to judge" + (" in its part 'test'" if split is not None else "")
        raise ValueError(msg)
    return found[0], found[1] if found[1] is not None and len(found[1]) else None


def translators_of(task, header):
    """Return the translators of a task by name; "shipped" stands for those that fit the surveys of the pairs."""
    found = {}
    for name in task.translators:
        each = _shipped(header) if name == SHIPPED else [load_translator(name)]
        for translator in each:
            if translator.name in found and found[translator.name].checkpoint.sha256 != translator.checkpoint.sha256:
                msg = f"two translators are called {translator.name!r}; give one of the files another name in its card"
                raise ValueError(msg)
            found[plain_name(translator.name, "the name of a translator")] = translator
    taken = [name for name in found if name in BASELINES]
    if taken:
        msg = f"a translator cannot be called {taken[0]!r}, as a baseline is; rename it"
        raise ValueError(msg)
    return found


def _shipped(header):
    """
    The package's translators from the survey and bands of the pairs to those of their target.

    One that takes neighbours away (trained on blends) is none of them, unless the pairs are blends.
    """
    found, blends = [], bool((header.simulation or {}).get("blends"))
    for name in list_weights():
        translator = load_translator(name)
        ends = (translator.source, header.source, header.source.pixel_scale), (
            translator.target, header.target, header.target_pixel_scale
        )  # fmt: skip
        same = all(
            end["survey"] == survey.name and np.isclose(end["pixel_scale"], scale, rtol=0.01)
            for end, survey, scale in ends
        )
        same &= bool(translator.card["training"]["data"].get("blends")) == blends
        if same and set(translator.bands_in) <= set(header.source_bands):
            found.append(translator)
    return found


def train_here(recipe, task, study, cache, *, progress=True):
    """Train a network by a recipe, or find the translator that this gave before; return it."""
    settings, wanted = study.training, study.data
    network = {"preset": settings.preset} if settings.preset else {}
    run = {name: value for name in ("steps", "hours") if (value := getattr(settings, name))}
    recipe = load_recipe(recipe, network=network, **run)
    if task.pairs:
        pairs, held_out = _training_pairs(task, settings.held_out)
    else:
        make = partial(_simulated, task, study, cache, kind=None, progress=progress)
        pairs, held_out = make(settings.number, study.seed + 2), make(settings.held_out, study.seed + 3)
    content = fingerprint(recipe.to_dict(), pairs.fingerprint, "" if held_out is None else held_out.fingerprint)
    folder = cache.part("trained") / content[:16]
    options = {"device": settings.device, "precision": settings.precision, "n_samples": wanted.n_samples}
    files = [path for path in folder.glob("*.safetensors") if not path.name.startswith(".")]
    path = files[0] if files else train(recipe, pairs, held_out, folder, progress=progress, **options)
    return load_translator(path)


def _training_pairs(task, number):
    """The user's pairs to train networks on, and others to validate with (None: the parts of a store that is split)."""
    whole = PairStore(task.training_pairs or task.pairs)
    if whole.column("split") is not None:
        return whole, None
    if not task.training_pairs:
        msg = f"{task.pairs} is not split: a network would be judged by what it was trained on; give training_pairs"
        raise ValueError(msg)
    rows = np.arange(len(whole))
    middle = len(rows) - min(number, len(rows) // 5)
    return whole.subset(rows[:middle]), whole.subset(rows[middle:])


def models_of(study, data, cache, translators, *, progress=True):
    """
    Return the `Model` objects of a task, baselines first, and what is left out of it, name to reason.

    ``translators`` are those of `translators_of` and of `train_here`, by name.
    """
    found, left_out = [], {}
    for name in (name for name in BASELINES if name in study.baselines):
        why = cannot(name, data.judged) if data.truth or name in {"resampled", "wiener"} else "there are no true images"
        if why:
            left_out[name] = why
        else:
            make = partial(_baseline, name, study, data, cache, progress)
            found.append(Model(name, "baseline", name, make))
    for name, translator in translators.items():
        samples = study.data.n_samples if translator.spec.stochastic else 1
        settings = {"n_samples": samples, "seed": study.seed, "progress": progress}
        settings["directory"] = cache.part("translated")
        make = partial(_translated, translator, data, settings)
        about = {"weights": translator.checkpoint.sha256, "network": translator.spec.name, "samples": samples}
        key = fingerprint({name: settings[name] for name in ("n_samples", "seed")}, about["weights"])
        found.append(Model(name, "translator", key, make, about))
    return found, left_out


def _translated(translator, data, settings, part="judged"):
    """Stamps through a translator; of galaxies that only train one sample, which is all that estimators look at."""
    own = {} if part == "judged" else {"n_samples": 1}
    both = (data.stamps(side, part) for side in ("source", "target"))
    return Stamps.from_translator(translator, *both, **settings | own)


def _baseline(name, study, data, cache, progress, part="judged"):
    """Stamps of a baseline, kept as an array."""
    source, target = (data.stamps(side, part) for side in ("source", "target"))
    if name == "identity":
        return replace(target, name=name, variance=None, mask=None, psf=None)
    store = data.judged if part == "judged" else data.training
    options = {"workers": study.data.workers or None, "progress": progress}

    path = cache.path(f"baselines/{name}.npy", fingerprint(data.key, part, name, __version__))
    read = partial(np.load, mmap_mode="r")
    if cache.read(path, read) is None:
        images = baseline(name, store, source, target, **options)
        with whole_file(path) as place, CheckedFile(place) as file:
            np.save(file, images)
    return target.like(read(path), name=name)
