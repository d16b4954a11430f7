"""
Two epochs of one Stripe 82 field: pairs made from the frames, and a translator fine-tuned on them.

Pairs are the sources on both epochs (run 4192 of 2003, run 6377 of 2006), r < 21.5, in ugriz. The intra-domain
translator (SDSS to SDSS) is fine-tuned to give the second epoch from the first, and judged on sources it has not seen:
the field is cut into strips of declination, and each strip translated by a network trained on the others (on stamps
that have no pixel in common with one of the strip). The noise of the second epoch is independent, so that nothing is
gained by learning noise (noise2noise: Lehtinen et al. 2018).

Compared are, over pixels with signal:

- the translator as it came;
- the same, recalibrated on the training part (flux factors and standard deviation);
- fine-tuned on the training part, and calibrated there.

RMS errors are in sigma of the sky; chi squared is per pixel, of the stated standard deviation. Intervals are of 68 %,
by bootstrap over sources.

Run as ``python benchmarks/stripe82_pairs.py DATA TRANSLATOR -o DIR [--rst FILE]``, with the folder ``sdss_stripe82``
and a translator file SDSS to SDSS; what is in DIR is not made again.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from astro_galtrans.models import checkpoint
from astro_galtrans.pairs.observed import build_pairs
from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.training import fit, load_recipe
from astro_galtrans.training.calibration import calibrate
from astro_galtrans.training.compare import compare

FOLDS = 4
FAINT = 21.5
EPOCHS = "sdss-004192-*4-0300.fits.fz", "sdss-006377-*4-0399.fits.fz"
# sources are few: small steps, weights averaged over many of them, every way to turn and shift a crop
FINE_TUNE = {
    "data": {"crop": 32, "batch_size": 8},
    "augment": {"shift": 0.5},
    "optimizer": {"learning_rate": 2e-4, "warmup": 20, "ema": 0.98, "weight_decay": 0.0},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("data", type=Path)
    parser.add_argument("translator", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("stripe82-pairs"))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rst", type=Path)
    options = parser.parse_args()
    pairs = make_pairs(options.data, options.output / "pairs")
    print(pairs, registration(pairs))
    there = checkpoint.load(options.translator)
    parts = folds(pairs)
    results = [run_fold(options, there, pairs, k, parts == k) for k in range(FOLDS)]
    whole = {name: np.concatenate([result[name] for result in results]) for name in results[0]}
    summary = {name: judge(values, whole["as it came"]) for name, values in whole.items()}
    print(json.dumps(summary, indent=1))
    if options.rst:
        options.rst.write_text(table(pairs, summary))


def make_pairs(data, folder):
    source, target = (sorted(map(str, data.glob(pattern))) for pattern in EPOCHS)
    surveys = {"source_survey": "sdss", "target_survey": "sdss"}
    return build_pairs(source, target, folder, faint=FAINT, size=64, scale=1, fractions=(1.0, 0.0, 0.0), **surveys)


def registration(pairs):
    """Offsets of the target on the sky (arcsec): medians before and after registration."""
    table = pairs.table
    before, after = (np.hypot(table[f"{name}dx"], table[f"{name}dy"]) for name in ("", "residual_"))
    return {"before": float(np.nanmedian(before)), "after": float(np.nanmedian(after)), "n": len(pairs)}


def folds(pairs):
    """Strip of declination of each pair, with as many pairs in each."""
    order = np.argsort(np.argsort(pairs.table["dec"]))
    return order * FOLDS // len(pairs)


def run_fold(options, there, pairs, number, test):
    """Fine-tune on the other strips; return what is measured on each source of this one, by kind of translator."""
    rest, held = pairs.subset(apart(pairs, test)), np.flatnonzero(test)
    folder = options.output / f"fold-{number}"
    tuned = fit(recipe_of(there, options.steps, folder.name), rest, folder, init=options.translator, device="cpu")
    own = tuple(AsinhScaling.from_dict(there.card[end]["scaling"]) for end in ("source", "target"))
    once, again = (calibrate(m, s, rest) for m, s in ((there.model, own), (tuned.model, tuned.scalings)))
    return {
        "as it came": measured(there.model, own, pairs, held, there.card["calibration"]),
        "recalibrated": measured(there.model, own, pairs, held, once),
        "fine-tuned": measured(tuned.model, tuned.scalings, pairs, held, again),
    }


def apart(pairs, test):
    """Numbers of the pairs outside a strip whose stamps do not overlap with any in it."""
    extent = pairs.header.size * pairs.header.source.pixel_scale / 3600
    ra, dec = (np.asarray(pairs.table[name]) for name in ("ra", "dec"))  # the field is on the equator
    near = (np.abs(ra[:, None] - ra[test]) < extent) & (np.abs(dec[:, None] - dec[test]) < extent)
    return np.flatnonzero(~test & ~near.any(axis=1))


def recipe_of(there, steps, name):
    """Recipe of a fine-tune of this network; without an adversary, for which there are too few sources."""
    network = {key: there.card["network"][key] for key in ("name", "preset", "settings")}
    if "adversarial_start" in network["settings"]:
        network["settings"] = network["settings"] | {"adversarial_start": 1.0}
    run = {"steps": steps, "hours": float("inf"), "picture_steps": 0}
    return load_recipe(network["name"], name=name, network=network, run=run, **FINE_TUNE)


def measured(model, scalings, pairs, indices, factors):
    """Sums of squares in sigma of the sky and in stated sigma, and pixels with signal: ``[sources, 3, bands]``."""
    sky = pairs.header.target.sky_rms()[:, None, None]
    sums = []
    for pair in compare(model, scalings, pairs, indices, factors=factors):
        residual = np.where(pair.signal, pair.target - pair.mean, 0)
        variance = pair.std**2 + pair.excess
        terms = (residual / sky) ** 2, residual**2 / variance, pair.signal
        sums.append([term.sum(axis=(1, 2)) for term in terms])
    return np.array(sums)


def judge(values, reference, n=1000):
    """RMS error and chi squared of the sources, and their ratio of RMS errors to the reference, with intervals."""
    seen = reference[:, 2].sum(axis=1) > 0
    values, reference = values[seen], reference[seen]
    pick = np.random.default_rng(0).integers(0, len(values), (n, len(values)))
    rms, before = (np.sqrt(v[:, 0].sum(axis=1) / v[:, 2].sum(axis=1)) for v in (values, reference))
    ratio = np.log(rms / before)
    found = {"n": len(values), "rms": np.median(rms), "change": np.expm1(np.median(ratio))}
    found["better"] = np.mean(ratio < 0)
    found["change_interval"] = np.expm1(np.quantile(np.median(ratio[pick], axis=1), [0.16, 0.84]))
    pooled, old = (np.sqrt(v[:, 0].sum(axis=0) / v[:, 2].sum(axis=0)) for v in (values, reference))
    found |= {"pooled": pooled, "pooled_change": pooled / old - 1}
    found["chi2"] = values[:, 1].sum(axis=0) / values[:, 2].sum(axis=0)
    found["median_chi2"] = np.nanmedian(values[:, 1].sum(axis=1) / values[:, 2].sum(axis=1))
    return {key: np.round(value, 4).tolist() for key, value in found.items()}


def table(pairs, summary):
    header = (
        "translator", "RMS error of a source (sigma of the sky)", "change (68 % interval)", "sources improved",
        "chi squared of a source", "RMS error of all pixels, u g r i z (sigma)",
    )  # fmt: skip
    rows = []
    for name, s in summary.items():
        low, high = s["change_interval"]
        change = "" if name == "as it came" else f"{100 * s['change']:+.1f} % ({100 * low:+.1f} to {100 * high:+.1f})"
        better = "" if name == "as it came" else f"{100 * s['better']:.0f} %"
        pooled = " ".join(f"{v:.1f}" for v in s["pooled"])
        rows.append((name, f"{s['rms']:.2f}", change, better, f"{s['median_chi2']:.2f}", pooled))
    found = registration(pairs)
    offsets = f"{found['before']:.3f} arcsec as the frames come, {found['after']:.3f} after registration"
    lines = [f"{found['n']} pairs; median offset {offsets}.", "", ".. list-table::", "   :header-rows: 1", ""]
    for row in (header, *rows):
        lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
