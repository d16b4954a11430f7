"""
How well planted fakes are found in translations, and in true images, by `astro_galtrans.fidelity.anomaly.measure`.

    python benchmarks/planted.py PAIRS -m NAME ... -o OUT [--number 500] [--rst docs/tables/planted.rst]

PAIRS is made with ``galtrans simulate``. Fakes are planted in the stamps of each translator and, as the best that can
be done, in the true images:

- a companion lost: a point source 3 arcsec from the galaxy, of 5 % of its flux, in the source only;
- an arm added: half a turn of a logarithmic spiral, of 5 % of the flux, in the translation only;
- a flux error: the translation 10 % too bright.
"""

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from fakes import add_arms, add_points, roc, roc_table

from astro_galtrans import list_translators, load_translator
from astro_galtrans.fidelity.anomaly.colour_terms import ColourTerms
from astro_galtrans.fidelity.anomaly.degrade import Degrader
from astro_galtrans.fidelity.anomaly.measure import anomalies, measure_own_noise
from astro_galtrans.fidelity.files.inputs import from_store
from astro_galtrans.fidelity.plots.redshift import style
from astro_galtrans.pairs.store import PairStore

SHARE, ERROR = 0.05, 0.1  # of the flux: companion and arm; flux error
DISTANCE = 3.0  # arcsec
EDGES = 15.0, 18.0, 19.0, 20.3  # r magnitude
KINDS = "companion lost", "arm added", "flux error"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("pairs")
    parser.add_argument("-m", "--models", nargs="+", default=None, help="names or files; all shipped by default")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--number", type=int, default=500, help="galaxies that fakes are planted in")
    parser.add_argument("--rst", type=Path, help="file of the table")
    options = parser.parse_args()
    translators = [load_translator(name) for name in options.models or list_translators()]
    making = {"directory": options.output / "translated", "n_samples": 1}
    images, judging, by, _ = from_store(
        PairStore(options.pairs), {each.name: each for each in translators}, making, options.number
    )
    lines = roc_rows(planted(images, judging, by["magnitude"], options.output))
    print("\n".join(lines))
    if options.rst:
        options.rst.write_text("\n".join(lines) + "\n")


def planted(images, judging, magnitude, folder):
    """Scores with and without fakes of each set of images, and the table of what was found."""
    rows = np.arange(len(images["source"]))
    images = {name: stamps[rows].sample() for name, stamps in images.items()}
    source, target = images.pop("source"), images["target"]
    degrader, judging = Degrader(source, target), judging | {"worst": 1}
    flux, terms = fluxes(source), None
    rng, found = np.random.default_rng(0), {}
    angle, radius = rng.uniform(0, 2 * np.pi, (2, len(rows))), np.full(len(rows), 1.0)
    parts = np.array_split(rows, max(1, len(rows) // 64))
    with_companion = np.concatenate([
        add_points(degrader, source.read(part), part, DISTANCE * np.cos(angle[0][part]),
                   DISTANCE * np.sin(angle[0][part]), SHARE * flux[part])
        for part in parts
    ])  # fmt: skip
    for name, stamps in images.items():
        pixels = stamps.read()
        arms = np.concatenate([
            add_arms(degrader, pixels[part], part, radius[part], SHARE * flux[part] / degrader.factor, angle[1][part])
            for part in parts
        ])  # fmt: skip
        kept = judging | {"own_noise": measure_own_noise(stamps)}  # before anything is planted
        sets = {"clean": pixels, KINDS[1]: arms, KINDS[2]: (1 + ERROR) * pixels}
        if terms is None:  # of the true images, which are the first
            result = anomalies(source, sets, target=stamps, **kept)
            terms = ColourTerms.from_table(result["terms"][np.asarray(result["terms"]["model"]) == "target"])
        else:
            sets = {kind: target.like(fake, psf=target.psf) for kind, fake in sets.items()}
            result = anomalies(source, sets, colour_terms=terms, **kept)
        kept |= {"colour_terms": terms}
        lost = anomalies(
            replace(source, images=with_companion), {KINDS[0]: target.like(pixels, psf=target.psf)}, **kept
        )
        fakes = {KINDS[0]: lost.scores(KINDS[0])} | {kind: result.scores(kind) for kind in KINDS[1:]}
        found[name] = result.scores("clean"), fakes, magnitude[rows]
    curves(found).savefig(folder / "roc.png")
    return found


def fluxes(source):
    """Fluxes of the galaxies in the source's bands, in 4 arcsec, at least two sigma of the sky."""
    stamps = source.read()
    n = stamps.shape[-1]
    axis = np.arange(n) - (n - 1) / 2
    inside = np.hypot(axis, axis[:, None]) * source.pixel_scale < 2
    noise = source.sky_rms * np.sqrt(inside.sum())
    return np.maximum(stamps[..., inside].sum(axis=-1), 2 * noise)


def roc_rows(found):
    names = [f"r {low:g} to {high:g}" for low, high in pairwise(EDGES)] + ["all"]
    rows = [("images", "fake", "quantity", *names)]
    for model, (clean, fakes, magnitude) in found.items():
        table = roc_table(clean, fakes, magnitude, EDGES)
        for kind in KINDS:
            of_kind = table[np.asarray(table["fake"]) == kind]
            for quantity, label in (("auc", "AUC"), ("completeness", "complete at 1 % false")):
                cells = [f"{row[quantity]:.3f} ± {row[f'{quantity}_error']:.3f}" for row in of_kind]
                rows.append((model, kind, label, *cells))
    counts = [str(n) for n in table["n"][: len(names)]]
    return list_table([*rows, ("", "", "galaxies", *counts)])


def curves(found):
    """Figure of the ROC curves: one panel per kind of fake, one line per set of images."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(7.5, 2.6), layout="constrained")
        for panel, kind in zip(figure.subplots(1, len(KINDS), sharey=True), KINDS, strict=True):
            for name, (clean, fakes, _) in found.items():
                panel.plot(*roc(clean, fakes[kind]), label=name, color="k" if name == "target" else None)
            panel.set(title=kind, xscale="log", xlim=(2e-3, 1), ylim=(0, 1.02), xlabel="false positives")
        panel.legend(fontsize=6)
        figure.axes[0].set_ylabel("fakes found")
    return figure


def list_table(rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}".rstrip() for k, cell in enumerate(row)]
    return lines


if __name__ == "__main__":
    main()
