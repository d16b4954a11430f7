"""
Write docs/tables/study.rst, the tables of docs/study.rst, from a finished study, and its figures beside them.

    galtrans study --preset standard -o DIR
    python docs/study_tables.py DIR
"""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

from astro_galtrans.study.metrics import METRICS
from astro_galtrans.study.report import TITLES, table_of_level

TABLES = Path(__file__).parent / "tables"
FIGURES = {  # of the task that goes between two surveys, by the finding of the paper that they show
    "photometry_bands": "Fluxes and widths of translations, band by band.",
    "morphology_violins": "Errors of morphology.",
    "redshift_information": "Information about the redshift in translations, with what the source tells.",
    "peaks_peak_scatter": "What translation does to peak fluxes and their colours.",
}


def main(folder):
    about = json.loads((Path(folder) / "summary.json").read_text(encoding="utf8"))
    lines = [f"Made by astro_galtrans {about['versions']['astro_galtrans']}: {about['recipe']['description']}.", ""]
    for name, told in about["tasks"].items():
        lines += [f"**{told['source']} to {told['target']}**, {told['galaxies']:,} galaxies (task ``{name}``)", ""]
        for level, title in TITLES.items():
            metrics = [metric for metric in METRICS if metric.level == level]
            table = table_of_level(task_of(name, told, about), metrics, "") if metrics else None
            if table:
                lines += [f".. list-table:: {title}", "   :header-rows: 1", ""]
                for row in (table.head, *table.cells):
                    lines += [f"   {'*' if k == 0 else ' '} - {text(cell)}".rstrip() for k, cell in enumerate(row)]
                lines.append("")
        lines += [f"Left out: {what}, as {why}.\n" for what, why in told["left out"].items()]
    lines += ["What the paper found, and what these pairs say:", ""]
    for claim, answers in about["findings"].items():
        lines += [claim, f"    {' '.join(answers) or 'Not measured.'}", ""]
    lines += figures(Path(folder), about)
    (TABLES / "study.rst").write_text("\n".join(lines) + "\n", encoding="utf8")


def task_of(name, told, about):
    """A task as `table_of_level` looks at it, from the summary."""
    nan = {None: float("nan")}
    rows = [{k: nan.get(v, v) for k, v in row.items()} for row in about["summary"] if row["task"] == name]
    header = SimpleNamespace(target_bands=told["bands"])
    models = [SimpleNamespace(name=model) for model in told["models"]]
    contenders = [model for model in told["models"] if model not in {"second", "identity"}]
    data = SimpleNamespace(judged=SimpleNamespace(header=header))
    return SimpleNamespace(name=name, summary=rows, models=models, contenders=contenders, data=data)


def text(cell):
    if isinstance(cell, str):
        return cell
    value = f"**{cell.text}**" if cell.best else cell.text
    return f"{value} ({cell.note})" if cell.note else value


def figures(folder, about):
    """Copy the figures beside the tables, and return the lines that show them."""
    task = next((name for name, told in about["tasks"].items() if told["source"] != told["target"]), None)
    lines = []
    for name, caption in FIGURES.items():
        for file in sorted((folder / "figures").glob(f"{task}_{name}.*"))[:1]:
            place = TABLES / f"study_{name}{file.suffix}"
            shutil.copyfile(file, place)
            lines += [f".. figure:: /tables/{place.name}", f"   :alt: {caption}", "", f"   {caption}", ""]
    return lines


if __name__ == "__main__":
    main(*sys.argv[1:])
