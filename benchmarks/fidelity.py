"""
The shipped translators on simulated pairs, on all levels: pixels, photometry, morphology, anomalies.

    python benchmarks/fidelity.py PAIRS STAMPS -o OUT [--number 2000] [--fakes 1000] [--rst docs/tables]

PAIRS is made with ``galtrans simulate`` (galaxies of r < 20.3 and z < 0.6); STAMPS is the folder in which
``benchmarks/redshift.py`` keeps translated stamps: those of the first 2,000 pairs are taken from it, one sample each.
Fakes are planted in the stamps of each translator and, as the best that can be done, in the true images:

- a companion lost: a point source 3 arcsec from the galaxy, of 5 % of its flux, in the source only;
- an arm added: half a turn of a logarithmic spiral, of 5 % of the flux, in the translation only;
- a flux error: the translation 10 % too bright.

Reports, with the galleries, are in OUT, and the tables in the folder of ``--rst``.
"""

import argparse
import json
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from fakes import add_arms, add_points, roc, roc_table

from astro_galtrans.fidelity.anomaly.colour_terms import ColourTerms
from astro_galtrans.fidelity.anomaly.degrade import Degrader
from astro_galtrans.fidelity.anomaly.measure import anomalies, measure_own_noise
from astro_galtrans.fidelity.files import LEVELS, fidelity_from_files
from astro_galtrans.fidelity.files.inputs import from_store
from astro_galtrans.fidelity.plots.redshift import style
from astro_galtrans.pairs.store import PairStore

SHARE, ERROR = 0.05, 0.1  # of the flux: companion and arm; flux error
DISTANCE = 3.0  # arcsec
STAMPS = 2000  # that benchmarks/redshift.py translates
EDGES = 15.0, 18.0, 19.0, 20.3  # r magnitude
KINDS = "companion lost", "arm added", "flux error"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("pairs")
    parser.add_argument("stamps", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("-m", "--models", nargs="+", help="some of the translators in STAMPS; all by default")
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--fakes", type=int, default=1000, help="galaxies that fakes are planted in")
    parser.add_argument("--levels", nargs="+", default=list(LEVELS), choices=LEVELS)
    parser.add_argument("--rst", type=Path, help="folder of the tables")
    options = parser.parse_args()
    stamps = translated(options.stamps, options.models)
    tables, seconds = {}, {}
    for level in options.levels:
        start = time.monotonic()
        (result,) = fidelity_from_files(
            options.pairs, None, stamps, options.output, levels=[level], number=options.number
        ).values()
        seconds[level] = time.monotonic() - start
        tables[level] = TABLES[level](result)
    if "anomaly" in options.levels:
        start = time.monotonic()
        images, judging, by, _ = from_store(PairStore(options.pairs), stamps, {}, options.number)
        found = planted(images, judging, by["magnitude"], options.fakes, options.output / "anomaly")
        tables["anomaly"] += [*roc_rows(found)]
        seconds["fakes"] = time.monotonic() - start
    print(", ".join(f"{what} {value:.0f} s" for what, value in seconds.items()))
    for level, lines in tables.items():
        print("\n".join(lines))
        if options.rst:
            (options.rst / f"fidelity_{level}.rst").write_text("\n".join(lines) + "\n")


def translated(folder, models):
    """Stamps of the first galaxies by every translator that has them, by name."""
    found = {}
    for file in sorted(folder.glob("*/translation.json")):
        settings = json.loads(file.read_text())
        if settings["number"] == STAMPS and (models is None or settings["translator"] in models):
            found[settings["translator"]] = file.parent
    if not found:
        msg = f"{folder} has no stamps of {STAMPS} pairs"
        raise SystemExit(msg)
    return found


# -- tables


def pixel_rows(result):
    columns = {
        "RMSE (sigma of the sky)": ("rmse_sigma", "source", 2), "bias (sigma)": ("residual_mean_sigma", "source", 3),
        "PSNR (dB)": ("psnr", "all", 1), "SSIM": ("ssim", "all", 3), "noise ratio": ("noise_ratio", "sky", 2),
    }  # fmt: skip
    rows = [("translator", "band", *columns)]
    for model in result.models:
        for band in result.bands:
            cells = [
                value(result, quantity, model, band, digits, region=region)
                for quantity, region, digits in columns.values()
            ]
            rows.append((model, band, *cells))
    return list_table(rows)


def photometry_rows(result):
    quantities = {"flux_3": 3, "flux_kron": 3, "peak": 3, "fwhm": 3, "shift": 3, "colour": 3}
    return paired_rows(result, quantities, [*result.bands, *colours(result)])


def colours(result):
    return [band for band in dict.fromkeys(map(str, result["statistics"]["band"])) if "-" in band]


def morphology_rows(result):
    names = (
        "gini",
        "m20",
        "concentration",
        "asymmetry",
        "smoothness",
        "rhalf_ellip",
        "ellipticity_asymmetry",
        "sersic_n",
    )
    return paired_rows(result, dict.fromkeys(names, 3), ["g", "r", "i"])


def paired_rows(result, quantities, bands):
    """Bias and scatter of quantities, one row per quantity and band, one column per translator."""
    rows = [("quantity", "band", *result.models, "galaxies")]
    for quantity, digits in quantities.items():
        table = result.rows("statistics", quantity=quantity)
        for band in (band for band in bands if band in table["band"]):
            where = {"quantity": quantity, "band": band}
            figures = [
                [result.value(statistic=name, model=model, **where)[0] for name in ("bias", "scatter")]
                for model in result.models
            ]
            counts = [int(result.rows("statistics", model=model, **where)["n"][0]) for model in result.models]
            cells = [f"{bias:+.{digits}f}, {scatter:.{digits}f}" for bias, scatter in figures]
            rows.append((quantity, band, *cells, span(counts)))
    return list_table(rows)


def span(counts):
    return f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"


def anomaly_rows(result):
    rows = [
        (
            "images",
            "chi2 per degree of freedom",
            "score above 2",
            "chi2",
            "peak",
            "flux",
            "anomalous",
            "flux scatter, u g r i z",
        )
    ]
    for model in result.models:

        def of(quantity, statistic, band="all", model=model):
            return result.value(quantity, statistic, model=model, band=band)[0]

        shares = [f"{100 * of(f'score{kind}', 'share_above_2'):.1f} %" for kind in ("", "_chi2", "_peak", "_flux")]
        middle, low, high = (of("chi2_dof", name) for name in ("median", "percentile_16", "percentile_84"))
        scatter = " ".join(f"{of('flux_error', 'scatter', band):.3f}" for band in result.bands)
        anomalous = f"{of('anomalous', 'number'):,.0f} of {result.meta['galaxies']:,}"
        rows.append((model, f"{middle:.3f} ({low:.3f} to {high:.3f})", *shares, anomalous, scatter))
    return [*list_table(rows), ""]


def value(result, quantity, model, band, digits, **where):
    middle, low, high = result.value(quantity, model=model, band=band, **where)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def list_table(rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}".rstrip() for k, cell in enumerate(row)]
    return lines


TABLES = {"pixel": pixel_rows, "photometry": photometry_rows, "morphology": morphology_rows, "anomaly": anomaly_rows}


# -- fakes


def planted(images, judging, magnitude, number, folder):
    """Scores with and without fakes of each set of images, and the table of what was found."""
    rows = np.arange(min(number, len(images["source"])))
    images = {name: stamps[rows].sample() for name, stamps in images.items()}
    source, target = images.pop("source"), images["target"]
    degrader, judging = Degrader(source, target), {"tolerance": judging["tolerance"], "worst": 1}
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


if __name__ == "__main__":
    main()
