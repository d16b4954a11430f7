"""
How the score of the shipped translators fell with the compute of their training, as a power law.

The history in each card has the gain over the classical answer on validation pairs, by step. What is left to gain,
``1 - gain``, is fitted with :math:`a C^{-b}`, C being the pixels of all crops that were trained on (steps x crops x
pixels of a crop), from the first thousand steps on. The learning rate falls over a training, so that its last points
lie lower than a longer training would have them at the same step: exponents are upper limits, and what ten times the
compute would leave is a lower one. The gain of compute is over the networks that were shipped at first (12 crops of 40
x 40 pixels a step).

Run as ``python benchmarks/training_curves.py [--rst FILE]``.
"""

import argparse
from pathlib import Path

import numpy as np

from astro_galtrans import list_translators, load_translator

#: Crop pixels (millions) of the trainings of the first weights of SDSS to CFHTLS, by their cards.
BEFORE = {"swin": 14.1, "srgan": 18.0, "capsule": 23.0, "diffusion": 21.9}
HEAD = [
    "translator", "crop pixels (10^6)", "over the first weights", "1 - gain at the end", "exponent b",
    "at ten times the compute", "last quarter (%)",
]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rst")
    options = parser.parse_args()
    rows = [curve(name) for name in list_translators() if not name.startswith(("photometric", "srgan-deblend"))]
    for row in rows:
        print(*row, sep="\t")
    if options.rst:
        lines = [".. list-table::", "   :header-rows: 1", ""]
        for row in [HEAD, *rows]:
            lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(row)]
        Path(options.rst).write_text("\n".join(lines) + "\n")


def curve(name):
    """Cells of a translator's row."""
    training = load_translator(name).card["training"]
    columns, rows = training["history"]["columns"], np.array(training["history"]["rows"], float)
    steps, left = (rows[:, columns.index(what)] for what in ("step", "rmse_gain"))
    left, data = 1 - left, training["recipe"]["data"]
    compute = steps * data["batch_size"] * data["crop"] ** 2 / 1e6
    b, a = np.polyfit(np.log(compute), np.log(left), 1)
    before = BEFORE.get(name.removesuffix("-sdss-cfhtls"))
    change = training["convergence"]["improvement_of_last_quarter"]
    return [
        name, f"{compute[-1]:.0f}", f"{compute[-1] / before:.0f} x" if before else "", f"{left[-1]:.3f}", f"{-b:.2f}",
        f"{np.exp(a) * (10 * compute[-1]) ** b:.3f}", f"{100 * change:.1f}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
