"""
What the shipped translators keep of the redshift: the four readings on simulated pairs, as a table.

    python benchmarks/redshift.py Z_TRAIN Z_TEST -o OUT [--models NAME ...] [--estimator image photometric]
        [--train-number 6000] [--number 2000] [--crop 40] [--n-samples 4] [--rst docs/tables/redshift.rst]
        [--samples-rst docs/tables/redshift_samples.rst]

Everything costly (translated stamps, trained estimators) is kept in OUT and found again, so the command can be stopped
and repeated, with another estimator or one more model too. The pairs are made with ``galtrans simulate`` (galaxies of
r < 20.3 and z < 0.6).
"""

import argparse
import time
from pathlib import Path

import numpy as np

from astro_galtrans import list_translators, load_translator
from astro_galtrans.fidelity.files import redshift_from_files
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.stamps import Stamps
from astro_galtrans.statistics.bootstrap import Bootstrap

METRICS = ("sigma_mad", 4), ("outlier_005", 3), ("information", 2), ("pit_ks", 3)
RATIOS = "retention", "plug_in_scatter", "plug_in_information", "consistency"
NAMES = {"target": "real target", "source": "real source", "retrained": "retrained", "plug_in": "plug-in",
         "averaged": "plug-in, averaged"}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--models", nargs="+", default=None, help="names or files; all that are shipped by default")
    parser.add_argument("--estimator", nargs="+", default=["image", "photometric"], choices=["image", "photometric"])
    parser.add_argument("--train-number", type=int, default=6000)
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--crop", type=int, default=40, help="source pixels")
    parser.add_argument("--n-samples", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--floor", type=float, default=0.0)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--translate-only", action="store_true", help="stop when all stamps are translated")
    parser.add_argument("--rst", help="file of all tables")
    parser.add_argument("--samples-rst", help="file of the table by number of samples alone")
    parser.add_argument("--figures", help="folder for the bars of information, redshift-ESTIMATOR.svg")
    options = parser.parse_args()
    models = options.models or list_translators()
    print(f"{translate_all(options, models):.0f} s for translations (none where they were found)", flush=True)
    if not options.translate_only:
        results = {estimator: measure(options, models, estimator) for estimator in options.estimator}
        text = page(results)
        print(text)
        if options.rst:
            Path(options.rst).write_text(text)
        if options.samples_rst:
            lines = [line for fidelity, _ in results.values() for line in samples_table(fidelity)]
            Path(options.samples_rst).write_text("\n".join(lines) + "\n")


def translate_all(options, models):
    """Translate all stamps, as the measurement will find them, and return the seconds it took."""
    start = time.monotonic()
    for model in models:
        translator = load_translator(model)
        parts = (options.train, options.train_number, 1), (options.test, options.number, options.n_samples)
        for folder, number, n_samples in parts:
            store = PairStore(folder)
            store = store.subset(np.flatnonzero(np.isfinite(store.table["z"]))[:number])
            both = (Stamps.from_pairs(store, side, crop=options.crop) for side in ("source", "target"))
            Stamps.from_translator(translator, *both, n_samples=n_samples, directory=shared(options))
    return time.monotonic() - start


def shared(options):
    return Path(options.output) / "translated"


def measure(options, models, estimator):
    """The readings of all models by one estimator; estimators share the translated stamps."""
    folder, start = Path(options.output) / estimator, time.monotonic()
    settings = {} if options.epochs is None else {"epochs": options.epochs}
    fidelity, peaks = redshift_from_files(
        options.test, [load_translator(model) for model in models], folder, training_pairs=options.train,
        estimator=estimator, number=(options.number, options.train_number), crop=options.crop,
        translate={"n_samples": options.n_samples, "directory": shared(options)}, floor=options.floor,
        bootstrap=Bootstrap(options.resamples), peaks=estimator == "photometric", **settings,
    )  # fmt: skip
    print(f"{time.monotonic() - start:.0f} s with the estimator {estimator!r}", flush=True)
    if options.figures:
        Path(options.figures).mkdir(parents=True, exist_ok=True)
        fidelity.plot_information().savefig(
            Path(options.figures) / f"redshift-{estimator}.svg", metadata={"Date": None}
        )
    return fidelity, peaks


def page(results):
    """All tables, as RST."""
    lines = []
    for estimator, (fidelity, _) in results.items():
        counts = dict(zip(fidelity["counts"]["galaxies"], fidelity["counts"]["n"], strict=True))
        numbers = f"trained on {counts['training']:,} pairs, tested on {counts['test']:,}"
        lines += [f"**{estimator.capitalize()} estimator, {numbers}**", ""]
        lines += [*readings_table(fidelity), "", *ratios_table(fidelity), "", *samples_table(fidelity), ""]
    peaks = next((peaks for _, peaks in results.values() if peaks is not None), None)
    if peaks is not None:
        lines += ["**Information of peak and total fluxes alone (nats)**", "", *peaks_table(peaks), ""]
        lines += ["**Scatter added to peaks (mag)**", "", *scatter_table(peaks)]
    return "\n".join(lines) + "\n"


def readings_table(fidelity):
    rows = [("model", "reading", *(metric for metric, _ in METRICS))]
    table = fidelity["statistics"]
    table = table[(table["quantity"] == "information") & (table["reading"] != "fewer")]
    for model, reading in zip(map(str, table["model"]), map(str, table["reading"]), strict=True):
        cells = [number(fidelity.value(metric, model=model, reading=reading), digits) for metric, digits in METRICS]
        rows.append((model, NAMES[reading], *cells))
    return list_table(rows)


def ratios_table(fidelity):
    rows, there = [("model", *RATIOS)], {(str(row["model"]), str(row["quantity"])) for row in fidelity.ratios}
    for model in fidelity.models:
        asked = [(model, quantity) in there and fidelity.value(quantity, model=model) for quantity in RATIOS]
        rows.append((model, *(number(found, 2) if found else "" for found in asked)))
    return list_table(rows)


def samples_table(fidelity):
    """Averages over samples of the plug-in estimator's PDFs; below, what they should come to."""
    table, metrics = fidelity["statistics"], METRICS[:3]
    sampled = np.isin(table["model"], table["model"][table["samples"] > 1])
    table = table[sampled & np.isin(table["reading"], ["plug_in", "fewer", "averaged"])]
    rows = [("model", "samples averaged", *(metric for metric, _ in metrics))]
    for model, samples in dict.fromkeys(zip(map(str, table["model"]), table["samples"], strict=True)):
        here = table[(table["model"] == model) & (table["samples"] == samples)]
        found = {str(row["quantity"]): (row["value"], row["low"], row["high"]) for row in here}
        rows.append((model, str(samples), *(number(found[metric], digits) for metric, digits in metrics)))
    if len(rows) == 1:
        return []
    of_source = (number(fidelity.value(metric, model="", reading="source"), digits) for metric, digits in metrics)
    return list_table([*rows, ("source", "", *of_source)])


def peaks_table(peaks):
    rows = [("images", "peaks", "totals")]
    for images in dict.fromkeys(map(str, peaks["statistics"]["model"])):
        found = (peaks.value(kind, "information", model=images) for kind in ("peak", "total"))
        rows.append((images, *(number(interval, 2) for interval in found)))
    return list_table(rows)


def scatter_table(peaks):
    table = peaks["statistics"][peaks["statistics"]["statistic"] == "scatter"]
    models, bands = (list(dict.fromkeys(map(str, table[name]))) for name in ("model", "band"))
    wanted = {model: ("scatter", model) for model in models} | {"sky noise of the target": ("sky_noise", models[0])}
    rows = [("model", *bands)]
    for label, (statistic, model) in wanted.items():
        found = (peaks.value("peak", statistic, model=model, band=band)[0] for band in bands)
        rows.append((label, *(f"{scatter:.3f}" for scatter in found)))
    return list_table(rows)


def number(interval, digits):
    """A value with its 68 % interval."""
    value, low, high = interval
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def list_table(rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}".rstrip() for k, cell in enumerate(row)]
    return lines


if __name__ == "__main__":
    main()
