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
from astro_galtrans.stamps._old_lazy import View

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
        images = from_store(PairStore(options.pairs), stamps, number=options.number, stamps=None)
        tables["anomaly"] += [*roc_rows(planted(images, options.fakes, options.output / "anomaly"))]
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
    table = result["summary"]
    for model in result.models:
        of_model = table[table["model"] == model]
        whole = of_model[of_model["band"] == "all"][0]
        shares = [f"{100 * whole[f'above_2{kind}']:.1f} %" for kind in ("", "_chi2", "_peak", "_flux")]
        ratio = f"{whole['chi2_dof']:.3f} ({whole['chi2_dof_16']:.3f} to {whole['chi2_dof_84']:.3f})"
        scatter = " ".join(f"{row['flux_scatter']:.3f}" for row in of_model if row["band"] != "all")
        rows.append((model, ratio, *shares, f"{whole['anomalous']:,} of {whole['n']:,}", scatter))
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


def planted(images, number, folder):
    """Scores with and without fakes of each set of images, and the table of what was found."""
    rows = np.arange(min(number, len(images)))
    source = np.asarray(images.source[rows])
    sets = {"target": images.target} | images.translated
    sets = {name: np.asarray(View(stamps, rows)[:]) for name, stamps in sets.items()}
    judging, degrader = settings_of(images, rows)
    flux, terms = fluxes(images, rows), None
    rng, found = np.random.default_rng(0), {}
    angle, radius = rng.uniform(0, 2 * np.pi, (2, len(rows))), np.full(len(rows), 1.0)
    with_companion = np.concatenate([
        add_points(degrader, source[part], part, DISTANCE * np.cos(angle[0][part]), DISTANCE * np.sin(angle[0][part]),
                   SHARE * flux[part])
        for part in np.array_split(rows, max(1, len(rows) // 64))
    ])  # fmt: skip
    for name, stamps in sets.items():
        arms = np.concatenate([
            add_arms(degrader, stamps[part], part, radius[part], SHARE * flux[part] / degrader.factor, angle[1][part])
            for part in np.array_split(rows, max(1, len(rows) // 64))
        ])  # fmt: skip
        noise = measure_own_noise(stamps)  # before anything is planted
        kept = judging | {"own_noise": noise, "colour_terms": terms or "fit"}
        result = anomalies(
            source,
            {"clean": stamps, KINDS[1]: arms, KINDS[2]: (1 + ERROR) * stamps},
            **kept | {"target": None if terms else stamps},
        )
        if terms is None:
            terms = ColourTerms.from_table(result["terms"][np.asarray(result["terms"]["model"]) == "target"])
        lost = anomalies(with_companion, {KINDS[0]: stamps}, **kept | {"colour_terms": terms})
        fakes = {KINDS[0]: lost.scores(KINDS[0])} | {kind: result.scores(kind) for kind in KINDS[1:]}
        found[name] = result.scores("clean"), fakes, images.by["magnitude"][rows]
    curves(found).savefig(folder / "roc.png")
    return found


def settings_of(images, rows):
    """What anomalies are judged with, for some of the galaxies, and the degrader that knows their PSFs."""
    source, target = images.surveys
    psf, target_psf = (np.asarray(psf)[rows] if np.ndim(psf) == 2 else psf for psf in (images.psf, images.target_psf))
    shape, target_shape = np.shape(images.source[:1])[-2:], np.shape(images.target[:1])[-2:]
    pixel = images.target_pixel_scale * target_shape[0] / shape[0]
    common = dict(
        bands=source.band_names, target_bands=target.band_names, pixel_scale=pixel, psf=psf, target_psf=target_psf
    )
    factor = 10 ** (0.4 * (source.zeropoint - target.zeropoint))
    degrader = Degrader(len(rows), shape, target_shape, factor=factor, **common)
    noise = {"sky_rms": source.sky_rms(), "electrons": [band.electrons for band in source.bands]}
    zeropoints = {"zeropoint": source.zeropoint, "target_zeropoint": target.zeropoint}
    return common | noise | zeropoints | {"tolerance": images.tolerance, "worst": 1}, degrader


def fluxes(images, rows):
    """Fluxes of the galaxies in the source's bands, in 4 arcsec, at least two sigma of the sky."""
    stamps = np.asarray(images.source[rows])
    n = stamps.shape[-1]
    axis = np.arange(n) - (n - 1) / 2
    pixel = images.target_pixel_scale * np.shape(images.target[:1])[-1] / n
    inside = np.hypot(axis, axis[:, None]) * pixel < 2
    noise = images.surveys[0].sky_rms() * np.sqrt(inside.sum())
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
