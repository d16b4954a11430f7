"""Two studies side by side: what got better or worse, and whether that is more than chance."""

import json
from pathlib import Path

import numpy as np
from astropy.table import QTable, Table
from scipy.special import erfc

from astro_galtrans.statistics import Bootstrap

from .metrics import METRICS, statistic_of

__all__ = ["compare_studies", "verdict"]

SIGNIFICANT = 0.05  # probability that anything at all is called different where nothing is (Holm 1979)


def compare_studies(old, new, *, models=None, tolerance=0.0, significant=SIGNIFICANT, bootstrap=None):
    """
    Compare two studies of the same galaxies, metric by metric.

    Differences are of paired data: both statistics are resampled with the same galaxies. Probabilities are corrected
    for the number of comparisons (Holm 1979, Scand. J. Stat. 6, 65).

    Parameters
    ----------
    old, new : path-like
        Directories of studies.
    models : dict of str to str, optional
        Name of a translator in the old study to that in the new one, where it has another; all models that both have
        are compared in any case.
    tolerance : float, optional
        Share by which a metric may get worse and not count as worse.
    significant : float, optional
        Probability of a false alarm among all comparisons.
    bootstrap : `~astro_galtrans.statistics.bootstrap.Bootstrap`, optional
        Number and seed of the resamples; 1,000 by default.

    Returns
    -------
    `~astropy.table.QTable`
        A row per task, model, metric and band: ``old``, ``new``, the ``difference`` with its error, the probability
        ``p`` of a larger one by chance, corrected, the number of galaxies ``n``, and ``change``: "worse", "better" or
        "" where it is not significant. Rows that got worse come first.

    Raises
    ------
    FileNotFoundError
        If a directory holds no study.
    ValueError
        If the studies are not of the same galaxies, or have no task or model in common.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astro_galtrans.study import compare_studies, run_study
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
    ...     table = compare_studies(page.parent, page.parent)  # with itself
    >>> sorted(set(table["model"].tolist())), set(table["change"].tolist())
    (['resampled', 'srgan-sdss-cfhtls'], {''})
    """
    bootstrap, (first, second) = bootstrap or Bootstrap(), ((Path(path), _about(path)) for path in (old, new))
    tasks = [name for name in first[1]["tasks"] if name in second[1]["tasks"]]
    if not tasks:
        names = [", ".join(about["tasks"]) for _, about in (first, second)]
        msg = f"the studies have no task in common: {old} has {names[0]}, {new} {names[1]}"
        raise ValueError(msg)
    rows = []
    for task in tasks:
        _check_same(task, first, second)
        tables = [Table.read(folder / "tables" / f"galaxies_{task}.ecsv") for folder, _ in (first, second)]
        rows += _compared(task, *tables, models or {}, bootstrap)
    if not rows:
        msg = f"{old} and {new} have no model in common; models= names those that correspond, OLD=NEW"
        raise ValueError(msg)
    table = QTable(rows)
    table["p"] = _holm(np.asarray(table["p"]))
    loss = np.asarray(table["loss_new"]) - np.asarray(table["loss_old"])
    worse = (table["p"] < significant) & (loss > tolerance * np.abs(table["loss_old"]))
    better = (table["p"] < significant) & (loss < 0)
    table["change"] = np.where(worse, "worse", np.where(better, "better", ""))
    table.remove_columns(["loss_old", "loss_new"])
    return table[np.lexsort((table["p"], ~worse))]


def verdict(table):
    """Return one sentence on a table of `compare_studies`."""
    counts = {change: int(np.count_nonzero(table["change"] == change)) for change in ("worse", "better")}
    return f"{counts['worse']} of {len(table)} figures got significantly worse, {counts['better']} better"


def _about(path):
    file = Path(path) / "summary.json"
    if not file.exists():
        msg = f"{path} holds no finished study (no {file.name})"
        raise FileNotFoundError(msg)
    return json.loads(file.read_text(encoding="utf8"))


def _check_same(task, first, second):
    of = [about["tasks"][task] for _, about in (first, second)]
    if of[0]["pixels fingerprint"] != of[1]["pixels fingerprint"]:
        told = "; ".join(
            f"{folder} judged {each['galaxies']} of {each['pairs']}"
            for (folder, _), each in zip((first, second), of, strict=True)
        )
        msg = f"the studies judged different galaxies in the task {task!r}, which cannot be paired: {told}"
        raise ValueError(msg)


def _compared(task, old, new, renamed, bootstrap):
    """Rows of a task."""
    known = {metric.name: metric for metric in METRICS}
    models = {name: renamed.get(name, name) for name in dict.fromkeys(map(str, old["model"]))}
    for name, other in models.items():
        pair = old[old["model"] == name], new[new["model"] == other]
        if not len(pair[1]):
            continue
        for column in (column for column in old.colnames if column in new.colnames):
            metric, band = column.rpartition("_")[::2]
            if metric in known:
                values = [np.asarray(np.ma.filled(np.ma.asarray(each[column], float), np.nan)) for each in pair]
                both = np.isfinite(values).all(axis=0)
                row = _row(known[metric], *(each[both] for each in values), bootstrap)
                if row:
                    model = name if name == other else f"{name} → {other}"
                    labels = {"task": task, "model": model, "level": known[metric].level}
                    yield labels | {"metric": metric, "band": band} | row


def _row(metric, old, new, bootstrap):
    (before, resampled), (after, again) = (statistic_of(metric, values, bootstrap) for values in (old, new))
    if not len(resampled):
        return None
    difference, error = after - before, float(np.std(again - resampled))
    p = 1.0 if difference == 0 else float(erfc(abs(difference) / error / np.sqrt(2))) if error > 0 else 0.0
    return {
        "old": before, "new": after, "difference": difference, "error": error, "p": p, "n": len(old),
        "loss_old": float(metric.loss(before)), "loss_new": float(metric.loss(after)),
    }  # fmt: skip


def _holm(p):
    """Probabilities corrected for their number, step by step from the smallest."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1)
    return corrected
