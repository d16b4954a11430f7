"""The figures and the page of a study."""

import re
from functools import partial

import numpy as np

from astro_galtrans._files import whole_file
from astro_galtrans.fidelity.page import Cell, Figure, Galaxy, Gallery, Section, Table, drawn, picture, uri, write_page
from astro_galtrans.fidelity.plots.gallery import chosen_rows, pictures

from .findings import findings
from .metrics import METRICS
from .metrics import best as best_of

__all__ = ["write_figures", "write_page_of"]

SHOWN = {  # figures of each level: names of methods plot_NAME
    "pixel": ("bands", "power"), "photometry": ("bands", "colours"), "morphology": ("violins", "bands"),
    "anomaly": ("probabilities",), "redshift": ("information",), "peaks": ("peak_information", "peak_scatter"),
}  # fmt: skip
TITLES = {
    "pixel": "Pixels", "photometry": "Photometry", "morphology": "Morphology", "anomaly": "Anomalies",
    "redshift": "Redshift", "peaks": "Peak fluxes",
}  # fmt: skip
KEYS = "rmse", "flux_scatter", "colour", "gini_scatter", "implausible", "retrained_information", "plug_in_information"
BASELINES = {
    "resampled": "The source resampled to the target's pixels with cubic splines, zero points matched.",
    "wiener": "The classical translation without a network: a Wiener filter, band by band, from the PSF of each source "
    "image to that of the target, PSFs and noise being known.",
    "second": "The true image with another draw of the noise: the best that an image with noise can look.",
    "identity": "The true image itself: what a metric shows where nothing is wrong.",
}  # fmt: skip
READINGS = {
    "retrained": "The estimator of redshift is trained and tested on translations: what they hold of the redshift.",
    "plug-in": "It is trained on true images of the target survey and applied to translations: what a user gets who "
    "takes them for real.",
    "source, target": "It is trained and tested on images of the source survey, which is the limit of what any "
    "translation can hold, and on true images of the target survey.",
}  # fmt: skip
VECTOR = "colours", "information", "peak_information"  # figures that are small as SVG: others have many points
EXPECTED = 0.05  # share of true images with a score above 2 that passes for the 1 % that it should be
WORST = 8  # galaxies of each model in the list of anomalies
GALAXIES = 2  # in each of the groups best, median and worst of the gallery
PLACES = 3  # significant digits of the summary


def write_figures(tasks, folder, cache):
    """
    Draw the figures of all tasks into a folder; return `~astro_galtrans.fidelity.page.Figure` by (task, level).

    Parameters
    ----------
    tasks : list of `~astro_galtrans.study.run.TaskResult`
    folder : `~pathlib.Path`
        Made if missing; figures of an earlier run are removed.
    cache : `~astro_galtrans.study.steps.Cache`
        Where figures of the same results are found again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*folder.glob("*.svg"), *folder.glob("*.png")):
        file.unlink()
    found = {}
    for task in tasks:
        for level, result in task.results.items():
            figures = (
                _written(folder, f"{task.name}_{level}_{name}", draw, caption, task.keys[level], cache)
                for name, draw, caption in _shown(task, level, result)
            )
            found[task.name, level] = [figure for figure in figures if figure is not None]
    return found


def _shown(task, level, result):
    """Yield name, function that draws it and caption of each figure that is shown of a level."""
    for name in SHOWN[level]:
        yield name, getattr(result, f"plot_{name}"), f"{result.caption(name)} Task {task.name}."
    for model in (model.name for model in task.models if model.kind == "translator"):
        if level == "redshift":
            yield f"redshifts_{model}", partial(result.plot_redshifts, model), f"{result.caption('redshifts')} {model}."
        if level == "anomaly":
            yield f"worst_{model}", partial(result.plot_worst, model), f"{result.caption('worst')} {model}."


def _written(folder, name, draw, caption, key, cache):
    """Draw a figure, unless it is in the cache, and write it; None where there is nothing to draw."""
    kind = "svg" if name.endswith(VECTOR) else "png"
    kept = cache.path(f"figures/{name}.{kind}", key)
    data = kept.read_bytes() if kept.exists() else None
    if data is None:
        figure = draw()
        if figure is None:
            return None
        data = drawn(figure, kind)
        with whole_file(kept) as place:
            place.write_bytes(data)
    with whole_file(folder / f"{name}.{kind}") as place:
        place.write_bytes(data)
    return Figure(uri(data, kind), caption, file=f"figures/{name}.{kind}")


def write_page_of(study, tasks, figures, about, path):
    """
    Write the page of a study.

    Parameters
    ----------
    study : `~astro_galtrans.study.Study`
    tasks : list of `~astro_galtrans.study.run.TaskResult`
    figures : dict
        As of `write_figures`.
    about : dict
        What the summary says.
    path : `~pathlib.Path`
        The page.
    """
    counts = "; ".join(f"{task.name}: {_surveys(task)}, {len(task.data.judged):,} galaxies" for task in tasks)
    version = about["versions"]["astro_galtrans"]
    percent = f"{100 * study.bootstrap.confidence:.0f} %"
    lead = [study.description] if study.description else []
    lead += [f"{counts}. astro_galtrans {version}. In brackets, {percent} bootstrap intervals over galaxies."]
    few = [task.name for task in tasks if len(task.data.judged) < 100]
    lead += [f"!Fewer than 100 galaxies in {', '.join(few)}: do not rely on these figures."] if few else []
    sections = [Section("At a glance", [_glance(tasks), BASELINES])]
    sections.append(Section("Findings of the paper", _findings(tasks, figures)))
    for task in tasks:
        sections += _of_task(task, figures)
    settings = _flat(about["recipe"]) | {"versions": ", ".join(map(" ".join, about["versions"].items()))}
    settings |= {f"pairs of {task.name}": about["tasks"][task.name]["pairs fingerprint"] for task in tasks}
    for task in tasks:
        for model in task.models:
            if "weights" in model.about:
                settings[f"weights of {model.name}"] = model.about["weights"]
    return write_page(path, "Study of translated galaxy images", sections, about=settings, lead=lead)


def _flat(settings, where=""):
    """Settings in nested dicts, by their names with dots."""
    parts = ({f"{where}{k}": v} if not isinstance(v, dict) else _flat(v, f"{where}{k}.") for k, v in settings.items())
    return {name: value for part in parts for name, value in part.items()}


def _surveys(task):
    header = task.data.judged.header
    return f"{header.source.name} to {header.target.name}"


def middle_band(task):
    """Return the band that figures are of where one must be chosen."""
    bands = task.data.judged.header.target_bands
    return bands[len(bands) // 2]


def figures_of(task, metrics):
    """Return the rows of the summary of a task in the middle band, by (metric, model), each with whether it is best."""
    rows = [row for row in task.summary if row["band"] in {"all", middle_band(task)}]
    marked = best_of(rows, task.contenders) if rows else []
    known = {(row["metric"], row["model"]): (row, bool(mark)) for row, mark in zip(rows, marked, strict=True)}
    return {key: value for key, value in known.items() if key[0] in {metric.name for metric in metrics}}


def cell_of(row, best=False):
    """Return a figure, with its interval in small letters, as a `~astro_galtrans.fidelity.page.Cell`."""
    if row is None or not np.isfinite(row["value"]):
        return Cell("–")
    known = np.isfinite([row["low"], row["high"]]).all()
    note = f"{_short(row['low'])} to {_short(row['high'])}" if known else ""
    return Cell(_short(row["value"]), float(row["value"]), best, note)


def _short(value):
    return f"{value:.{PLACES}g}" if abs(value) < 1000 else f"{value:.0f}"


def table_of_level(task, metrics, caption):
    """Return a `~astro_galtrans.fidelity.page.Table` with a row per model and a column per metric, or None."""
    found = figures_of(task, metrics)
    metrics = [metric for metric in metrics if any(name == metric.name for name, _ in found)]
    names = sorted((model.name for model in task.models), key=list(BASELINES).__contains__)  # translators first
    models = [name for name in (*names, "source", "target") if any(model == name for _, model in found)]
    if not metrics:
        return None
    rows = [[model, *(cell_of(*found.get((metric.name, model), (None,))) for metric in metrics)] for model in models]
    titles = {metric.label: metric.meaning for metric in metrics}
    return Table(("model", *(metric.label for metric in metrics)), rows, caption, titles)


def _glance(tasks):
    """The table of all tasks and models, with a figure or two of each level."""
    metrics, rows = [metric for metric in METRICS if metric.name in KEYS], []
    tables = [(task, table) for task in tasks if (table := table_of_level(task, metrics, ""))]
    head = list(dict.fromkeys(name for _, table in tables for name in table.head))
    for task, table in tables:
        places = [table.head.index(name) if name in table.head else None for name in head]
        rows += [
            [f"{task.name}: {row[0]}", *(Cell("–") if k is None else row[k] for k in places[1:])]
            for row in table.rows if row[0] not in {"source", "target"}
        ]  # fmt: skip
    titles, told = {metric.label: metric.meaning for metric in metrics}, "a star marks the best of a task"
    return Table(tuple(head), rows, f"All models and tasks, in the middle band; {told}.", titles)


def _of_task(task, figures):
    """Sections of a task: one for each level, the gallery and what was left out."""
    sections = [Section(f"Task {task.name}: {_surveys(task)}", [])]
    for level, result in task.results.items():
        metrics = [metric for metric in METRICS if metric.level == level]
        band = "" if level in {"anomaly", "redshift"} else f", band {middle_band(task)}"
        table = table_of_level(task, metrics, f"{TITLES[level]}, task {task.name}{band}")
        blocks = [table, {metric.label: metric.meaning for metric in metrics}] if table else []
        blocks += [READINGS, *result.verdict()] if level == "redshift" else []
        blocks += [_peaks(result)] if level == "peaks" else []
        blocks += [*_trust(result), _worst(task, result)] if level == "anomaly" else []
        sections.append(Section(f"{TITLES[level]}, {task.name}", [*blocks, *figures[task.name, level]], level=3))
    gallery = _gallery(task)
    if gallery:
        text = "Move a slider to the left for the source, to the right for the truth. Best, typical and worst galaxies."
        sections.append(Section(f"Gallery, {task.name}", [text, gallery], level=3))
    if task.left_out:
        sections.append(Section(f"Left out, {task.name}", [dict(task.left_out)], level=3))
    return sections


def _peaks(result):
    """What peak and total fluxes tell of the redshift, in each set of images."""
    table, rows = result["statistics"], []
    for model in dict.fromkeys(map(str, table["model"])):
        row = [model]
        for quantity in ("peak", "total"):
            value, low, high = result.value(quantity, "information", model=model)
            row.append(cell_of({"value": value, "low": low, "high": high}))
        rows.append(row)
    caption = "What fluxes in all bands alone tell of the redshift (nats)."
    return Table(("images", "peak fluxes", "total fluxes"), rows, caption)


def _trust(result):
    """A warning where true images are called implausible more often than they should be: then the judge is wrong."""
    if "target" not in result.models:
        return []
    share, *_ = result.value("score", "share_above_2", model="target", band="all")
    told = f"The true images themselves score above 2 in {100 * share:.0f} % of galaxies, and not in 1 %"
    return [f"!{told}: PSFs or noise are not known well enough; compare with that."] if share > EXPECTED else []


def _worst(task, result):
    """The least plausible galaxies of each translator."""
    rows = []
    for model in (model.name for model in task.models if model.kind == "translator"):
        for row in result.rows("galaxies", model=model)[:WORST]:
            place = f"{row['x']:.1f}, {row['y']:.1f}"
            rows.append([model, int(row["row"]), float(row["score"]), str(row["kind"]), str(row["band"]), place,
                         float(row["chi2_dof"]), float(row["flux_error"])])  # fmt: skip
    head = "translator", "galaxy", "score", "kind", "band", "x, y (arcsec)", "χ² per dof", "flux error"
    return Table(head, rows, "Anomalies: galaxies whose translation contradicts their source most.")


def _gallery(task):
    """Galaxies that the first translator did best, as usual and worst, through all models."""
    models = {model.name: model.stamps() for model in task.models if model.name != "identity"}
    models = dict(sorted(models.items(), key=lambda item: item[0] in BASELINES))  # translators first
    if not models:
        return None
    data, first = task.data, next(iter(models))
    key = next((column for model, column in task.columns if model == first and column.startswith("rmse")), None)
    scores = np.arange(len(data.judged)) if key is None else task.columns[first, f"rmse_{middle_band(task)}"]
    groups = chosen_rows(scores, GALAXIES)
    rows = [(group, int(row)) for group, found in groups.items() for row in found]
    header, galaxies = data.judged.header, []
    source = data.stamps("source") if header.source_bands == header.target_bands else None
    target = data.stamps("target") if data.truth else None
    drawn_rows = pictures([row for _, row in rows], target, models, source=source)
    for (group, row), images in zip(rows, drawn_rows, strict=True):
        shown = {name: picture(image) for name, image in images.items()}
        magnitude = data.judged.column("r")
        label = f"galaxy {row}" + (f", r = {magnitude[row]:.1f}" if magnitude is not None else "")
        source_uri, truth = shown.pop("source", None), shown.pop("target", None)
        told = f"{label} ({group} by {first})" if key else label
        galaxies.append(Galaxy(told, {name: shown[name] for name in models}, source_uri, truth))
    return Gallery(task.name, galaxies)


def _findings(tasks, figures):
    """What the paper found, what these pairs say, and the figure that shows it."""
    blocks = []
    for claim, answers, shown in findings(tasks):
        blocks.append({claim: " ".join(answers) or "Not measured in this study."})
        for key, pattern in shown:
            blocks += [figure for figure in figures.get(key, ()) if re.search(pattern, figure.file)][:1]
    return blocks
