"""A whole study: its steps one after the other, then tables, figures, a summary and a page."""

import json
import platform
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from astropy.table import QTable, Table, vstack

from astro_galtrans._files import fingerprint, whole_file
from astro_galtrans._locks import held
from astro_galtrans._optional import require
from astro_galtrans._progress import tqdm
from astro_galtrans._release import __version__
from astro_galtrans.statistics import Bootstrap

from .findings import findings
from .levels import measure_level, why_not
from .metrics import best, summary_rows
from .recipe import Study, load_study
from .report import write_figures, write_page_of
from .steps import Cache, models_of, open_pairs, train_here, translators_of

__all__ = ["SUMMARY_FILE", "TaskResult", "run_study"]

SUMMARY_FILE = "summary.json"
PACKAGES = "numpy", "scipy", "astropy", "torch", "photutils", "statmorph", "galsim", "numba"
NOT_COMPETING = "second", "identity", "source", "target"  # models that are no translations


@dataclass
class TaskResult:
    """What was found in a task."""

    name: str
    data: object  #: `~astro_galtrans.study.steps.TaskData`
    models: list  #: of `~astro_galtrans.study.steps.Model`
    results: dict = field(default_factory=dict)  #: level to `~astro_galtrans.fidelity.result.Result`; also ``"peaks"``
    keys: dict = field(default_factory=dict)  #: level to a fingerprint of its result
    left_out: dict = field(default_factory=dict)  #: level or baseline to the reason
    summary: list = field(default_factory=list)  #: rows
    columns: dict = field(default_factory=dict)  #: (model, column) to the number of each galaxy

    @property
    def contenders(self):
        """Names of the models that are translations, of which one is the best."""
        return [model.name for model in self.models if model.name not in NOT_COMPETING]


class _Steps:
    """Progress of the whole: a bar on a terminal, and a line for each step that is done."""

    def __init__(self, total, progress):
        self.bar = tqdm(total=total, desc="study", unit="step", disable=None if progress else True, position=0)
        self.total, self.done, self.progress, self.seconds = total, 0, progress, {}

    def expect(self, number):
        """Add steps to come."""
        self.total += number
        self.bar.total = self.total

    def __call__(self, name, function, *arguments, **options):
        """Take a step, and return what its function does."""
        self.bar.set_description(name)
        start = time.monotonic()
        found = function(*arguments, **options)
        self.seconds[name] = round(time.monotonic() - start, 2)
        self.done += 1
        self.bar.update()
        if self.progress:
            self.bar.write(f"[{self.done}/{self.total}] {name} ({self.seconds[name]:.1f} s)")
        return found


def run_study(recipe, directory, *, cache=None, update=False, progress=True):
    """
    Run a study, or what is missing of it.

    Parameters
    ----------
    recipe : path-like or `~astro_galtrans.study.Study`
        A recipe, its file, or the name of a preset (`~astro_galtrans.study.list_presets`).
    directory : path-like
        Where to: ``report.html``, ``summary.json`` and the folders ``tables``, ``figures`` and ``cache``.
    cache : path-like, optional
        Where costly steps are kept, to share them among studies; ``cache`` in the directory by default.
    update : bool, optional
        Replace the tables of a study of another recipe that is there; its costly steps are found again in any case.
    progress : bool, optional
        Show progress: a line for each step on standard output and, on a terminal, bars.

    Returns
    -------
    `~pathlib.Path`
        The page.

    Raises
    ------
    ValueError
        If a name in the recipe is unknown, or a translator does not fit the pairs of its task; before long work starts.
    OSError
        If the directory holds a study of another recipe, or another process writes to it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astro_galtrans.study import run_study
    >>> recipe = '''
    ... levels = ["pixel"]
    ... baselines = ["resampled"]
    ... data = {number = 20}
    ... bootstrap = {resamples = 20}
    ... tasks.inter.translators = ["srgan-sdss-cfhtls"]
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "mine.toml").write_text(recipe)
    ...     page = run_study(f"{folder}/mine.toml", f"{folder}/study", progress=False)
    ...     print(page.name, page.stat().st_size < 10e6)
    report.html True
    """
    for package in ("jinja2", "matplotlib", "pyarrow"):
        require(package, extra="report")
    study = recipe if isinstance(recipe, Study) else load_study(recipe)
    if "morphology" in study.levels:
        require("numba", extra="morphology")
    directory = Path(directory)
    cache = Cache(directory / "cache" if cache is None else cache)
    with held(directory):
        _check_same(study, directory, update=update)
        with held(cache.folder):
            return _run(study, directory, cache, progress)


def _check_same(study, directory, *, update):
    """Raise OSError if the folder holds another study, whose tables would be lost."""
    file = directory / SUMMARY_FILE
    if update or not file.exists():
        return
    there = json.loads(file.read_text(encoding="utf8"))["recipe"]
    changed = _differences(there, json.loads(json.dumps(study.to_dict())))
    if changed:
        told = "; ".join(changed[:5])
        msg = f"{directory} holds a study of another recipe ({told}); choose another folder, or replace it, update=True"
        raise OSError(msg)


def _differences(old, new, where=""):
    """Which settings differ, as text."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [f"{where}: {old!r} there, {new!r} now"]
    names = dict.fromkeys([*old, *new])
    return [text for name in names for text in _differences(old.get(name), new.get(name), f"{where}.{name}".strip("."))]


def _run(study, directory, cache, progress):
    levels = [*study.levels, *(["peaks"] if "redshift" in study.levels and study.redshift.peaks else [])]
    trained = sum(len(task.train) for task in study.tasks.values())
    steps, opened = _Steps(len(study.tasks) * (1 + len(levels)) + trained + 3, progress), {}
    for name, task in study.tasks.items():  # what can be wrong with a task comes out before the first long step
        data, translators = _open(name, task, study, cache, steps)
        opened[name] = data, *models_of(study, data, cache, translators, progress=progress)
        steps.expect(len(opened[name][1]))
    tasks = [_measured(name, *parts, levels, study, cache, steps) for name, parts in opened.items()]
    steps("tables", _write_tables, tasks, directory)
    figures = steps("figures", write_figures, tasks, directory / "figures", cache)
    about = _about(study, tasks, steps.seconds)
    page = steps("report", write_page_of, study, tasks, figures, about, directory / "report.html")
    with whole_file(directory / SUMMARY_FILE) as file:
        file.write_text(json.dumps(about, indent=1), encoding="utf8")
    steps.bar.close()
    return page


def _open(name, task, study, cache, steps):
    """Pairs and translators of a task, each translator tried on one galaxy."""
    data = steps(f"{name}: pairs", open_pairs, task, study, cache, progress=steps.progress)
    translators = translators_of(task, data.judged.header)
    for translator in translators.values():
        _try(translator, data)
    for recipe in task.train:
        options = {"progress": steps.progress}
        found = steps(f"{name}: train {Path(recipe).stem}", train_here, recipe, task, study, cache, **options)
        translators[found.name] = found
    return data, translators


def _try(translator, data):
    from astro_galtrans.stamps import Stamps

    one = data.judged.subset([0])
    both = (Stamps.from_pairs(one, side) for side in ("source", "target"))
    Stamps.from_translator(translator, *both, progress=False)


def _measured(name, data, models, left_out, levels, study, cache, steps):
    """Everything measured in a task."""
    task = TaskResult(name, data, models, left_out=left_out)
    parts = ["judged", "training"] if data.training and "redshift" in levels else ["judged"]
    for model in models:
        steps(f"{name}: images of {model.name}", lambda model=model: [model.stamps(part) for part in parts])
    number = len(data.judged)
    settings = Bootstrap(study.bootstrap.resamples, study.seed, study.bootstrap.confidence)
    for level in levels:
        why = why_not(level, data) or ("there is nothing to judge" if not models else None)
        if why:
            task.left_out[level] = why
            steps(f"{name}: {level}, left out: {why}", lambda: None)
            continue
        task.results[level], task.keys[level] = steps(
            f"{name}: {level}", measure_level, level, models, data, study, cache, progress=steps.progress
        )
        names = [model.name for model in models]
        rows, columns = summary_rows(task.results[level], level, names, number, settings)
        task.summary += [{"task": name} | row for row in rows]
        task.columns |= columns
    return task


def _write_tables(tasks, directory):
    """Write the tables, each as ECSV and as Parquet: the summary, numbers per galaxy, and those of the levels."""
    folder = directory / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.*"):  # of an earlier recipe
        file.unlink()
    summary = QTable([row for task in tasks for row in task.summary])
    if len(summary):
        contenders = {name for task in tasks for name in task.contenders}
        summary["best"] = best(summary, contenders)
        _write(summary, folder / "summary")
    for task in tasks:
        _write(galaxy_columns(task), folder / f"galaxies_{task.name}")
        for level, result in task.results.items():
            for name in ("statistics", "bins", "power", "profiles", "counts"):
                if name in result.tables:
                    _write(result[name], folder / f"{name}_{task.name}_{level}")
    for name in ("statistics",):
        parts = [_labelled(task.results[level][name], task.name, level) for task in tasks for level in task.results]
        if parts:
            _write(vstack(parts, metadata_conflicts="silent"), folder / name)


def _labelled(table, task, level):
    found = QTable(table, copy=True)
    found.add_columns([[task] * len(found), [level] * len(found)], indexes=[0, 0], names=["task", "level"])
    return found


def galaxy_columns(task):
    """Return a row per model and galaxy, with a column for each metric and band: what `compare_studies` pairs."""
    number, parts = len(task.data.judged), []
    index = task.data.judged.column("index")
    names = list(dict.fromkeys(column for _, column in task.columns))
    for model in dict.fromkeys(model for model, _ in task.columns):
        table = {"model": np.full(number, model), "row": np.arange(number)}
        table |= {} if index is None else {"index": index}
        missing = np.full(number, np.nan, np.float32)
        parts.append(Table(table | {name: task.columns.get((model, name), missing) for name in names}))
    return vstack(parts) if parts else Table({"model": np.array([], "U1"), "row": np.array([], int)})


def _write(table, path):
    for ending, kind in (("ecsv", "ascii.ecsv"), ("parquet", "parquet")):
        with whole_file(path.with_suffix(f".{ending}")) as place:
            table.write(place, format=kind, overwrite=True)


def _about(study, tasks, seconds):
    """What the summary says: recipe, versions, pairs, weights, what was left out, seconds of each step, figures."""
    versions = {"astro_galtrans": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    found = {}
    for task in tasks:
        judged, training = task.data.judged, task.data.training
        found[task.name] = {
            "source": judged.header.source.name, "target": judged.header.target.name,
            "bands": list(judged.header.target_bands), "galaxies": len(judged),
            "training": 0 if training is None else len(training), "pairs": str(judged.directory),
            "pairs fingerprint": judged.fingerprint, "pixels fingerprint": task.data.key,
            "models": {model.name: {"kind": model.kind} | model.about for model in task.models},
            "left out": task.left_out,
        }  # fmt: skip
    figures = [{k: _plain(v) for k, v in row.items()} for task in tasks for row in task.summary]
    recipe = study.to_dict()
    return {
        "recipe": recipe, "recipe fingerprint": fingerprint(recipe), "versions": versions, "tasks": found,
        "seconds": seconds, "summary": figures, "findings": {claim: told for claim, told, _ in findings(tasks)},
    }  # fmt: skip


def _plain(value):
    """A value that JSON can hold; None for what is not known."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
