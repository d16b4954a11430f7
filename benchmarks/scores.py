"""
Scores of translators on fresh simulated pairs, against the classical answer.

The scores are those of `astro_galtrans.training.score`, where each is defined: RMS error over pixels with signal beside
that of the interpolated source, fluxes of bright sources in 3 arcsec, and how often one and two stated sigma hold.

Run as ``python benchmarks/scores.py PAIRS [-n 1000] [-m NAME_OR_FILE ...] [--json FILE] [--rst FILE]``; PAIRS is
made with ``galtrans simulate PAIRS -n 1000 --seed 7001``. With ``--write`` the scores go into the cards of the
given files. Without PAIRS the table is made of the scores in the cards, which a training leaves there: of half of its
held-out pairs, that neither trained, nor chose, nor calibrated anything.
"""

import argparse
import json
from pathlib import Path

from astro_galtrans import list_translators, load_translator
from astro_galtrans.models import checkpoint
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.training import score


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("pairs", nargs="?")
    parser.add_argument("-n", "--number", type=int, default=1000)
    parser.add_argument("-m", "--models", nargs="+", default=None)
    parser.add_argument("--n-samples", type=int, default=None)
    parser.add_argument("--json")
    parser.add_argument("--rst")
    parser.add_argument("--write", action="store_true", help="put the scores into the cards of the given files")
    options = parser.parse_args()
    scores = {}
    if options.pairs is None:
        scores = {name: load_translator(name).card["scores"] for name in options.models or list_translators()}
        Path(options.rst).write_text(table(scores))
        return
    pairs = PairStore(options.pairs)
    for model in options.models or list_translators():
        translator = load_translator(model)
        card = translator.card
        n_samples = options.n_samples or card.get("sampling", {}).get("n_samples", 1)
        scalings = [AsinhScaling.from_dict(card[end]["scaling"]) for end in ("source", "target")]
        found = score(
            translator.model, scalings, pairs, card["calibration"], number=options.number, n_samples=n_samples
        )
        scores[translator.name] = found
        print(json.dumps({translator.name: found}, indent=1), flush=True)
        if options.write:
            checkpoint.save(model, translator.model, card | {"scores": found})
    if options.json:
        Path(options.json).write_text(json.dumps(scores, indent=1))
    if options.rst:
        Path(options.rst).write_text(table(scores))


def table(scores):
    """Return the scores as an RST table."""
    lines = [
        ".. list-table::", "   :header-rows: 1", "",
        "   * - translator", "     - RMSE against classical (all bands; u g r i z)",
        "     - RMSE of a pair against classical, median", '     - 3" flux bias, g r i (%)',
        '     - 3" flux scatter, g r i (%)', "     - within 1 sigma, u g r i z (%)",
    ]  # fmt: skip
    for name, s in scores.items():
        gains = "; ".join(
            [f"{-100 * s['rmse_gain_all_bands']:.0f} %", _percent([-g for g in s["rmse_gain_on_classical"]], 0)]
        )
        cells = (
            name,
            gains,
            f"{-100 * s['median_pair_rmse_gain']:.0f} %",
            _percent(s["flux_bias"][1:4], 2),
            _percent(s["flux_scatter"][1:4], 2),
            _percent(s["within_1_sigma"], 1),
        )
        lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(cells)]
    return "\n".join(lines) + "\n"


def _percent(values, digits):
    return " ".join(f"{100 * v:+.{digits}f}" if digits == 2 else f"{100 * v:.{digits}f}" for v in values)


if __name__ == "__main__":
    main()
