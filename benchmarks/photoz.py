"""
Photo-z estimators on simulated pairs, and on a catalogue of real galaxies: what they know, and what they cost.

    python benchmarks/photoz.py Z_TRAIN Z_TEST [--sides source target] [--estimators photometric image] [-o OUT]
        [--number 10240] [--members 3] [--catalogue FILE] [--rst docs/tables/photoz.rst]

Z_TRAIN and Z_TEST are pairs made with ``galtrans simulate`` (galaxies of r < 20.3 and z < 0.6). Estimators are kept in
OUT, checkpoints too, and found again. FILE is a table of redshift, ugriz magnitudes, four colours, and five errors
(SDSS main sample). Training times are by the clock, rates of predictions per CPU second, both on one core. Intervals
are 68 % of bootstrap resamples of the test galaxies; differences between estimators are resampled together.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from astro_galtrans import photoz
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.photoz import scores
from astro_galtrans.statistics import bootstrap, sigma_mad

HEADER = "images", "estimator", "sigma_mad", "outlier_005", "information (nats)", "training (s)", "galaxies/s"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--sides", nargs="*", default=["source", "target"], choices=["source", "target"])
    parser.add_argument("--estimators", nargs="+", default=["photometric", "image"], choices=["photometric", "image"])
    parser.add_argument("-n", "--number", type=int, default=None, help="pairs to train on; all by default")
    parser.add_argument("--members", type=int, default=3, help="networks of each estimator, whose PDFs are averaged")
    parser.add_argument("-o", "--output", default="photoz")
    parser.add_argument("--catalogue", help="table of real galaxies, for cross-validation")
    parser.add_argument("--rst")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, notes = [], []
    for side in options.sides:
        found = {kind: measure(kind, side, options) for kind in options.estimators}
        rows += [row for row, *_ in found.values()]
        if len(found) == 2:
            notes.append(comparison(side, *[rest for _, *rest in found.values()]))
    if options.catalogue:
        rows.append(catalogue(options.catalogue, Path(options.output) / "catalogue.npz"))
    text = "\n".join([table(rows), "", *notes, ""])
    print(text)
    if options.rst:
        Path(options.rst).write_text(text)


def measure(kind, side, options):
    """Return a row of the table, and residual and information of each test galaxy."""
    estimator, seconds = trained(kind, side, options)
    test = PairStore(options.test)
    z, images = np.asarray(test.table["z"], float), np.asarray(test.images(side))
    start = time.process_time()
    pdfs = estimator.predict(images)
    rate = len(images) / (time.process_time() - start)
    residual = scores.scaled_residual(pdfs.median(), z)
    gain = scores.information(pdfs, z, estimator.prior)
    cells = [*figures(residual), spelt(bootstrap(np.mean, gain), 3), f"{seconds:.0f}", f"{rate:.0f}"]
    return [side, kind, *cells], residual, gain


def trained(kind, side, options):
    """Train an estimator, or find it, and return it with the seconds its training took."""
    train, folder = PairStore(options.train), Path(options.output) / f"{side}-{kind}-{options.members}"
    if options.number:
        train = train.subset(np.arange(options.number))
    survey = getattr(train.header, side)
    scale = survey.pixel_scale if side == "source" else train.header.target_pixel_scale
    imaging = {"bands": survey.band_names, "pixel_scale": scale, "sky_rms": survey.sky_rms(scale)}
    z, grid = np.asarray(train.table["z"], float), np.linspace(0, 0.615, 256)
    make = photoz.train_image if kind == "image" else photoz.train_photometric
    settings = {"grid": grid, "members": options.members, "directory": folder, "device": "cpu", "progress": True}
    estimator = make(train.images(side), z, **imaging, **settings)
    return estimator, estimator.card["training"]["seconds"]


def catalogue(path, found):
    """Return the row of real galaxies: ten folds, three members; kept in a file, and found again."""
    if not found.exists():
        found.parent.mkdir(parents=True, exist_ok=True)
        np.savez(found, **cross_validated(np.loadtxt(path)))
    with np.load(found) as kept:
        cells = [*figures(kept["residual"]), spelt(bootstrap(np.mean, kept["gain"]), 3), f"{kept['seconds']:.0f}", ""]
    return ["SDSS main sample, magnitudes", "photometric, 10 folds", *cells]


def cross_validated(content):
    z, magnitudes, errors = content[:, 0], content[:, 1:6], content[:, 10:15]
    start = time.process_time()
    pdfs = photoz.cross_validated(
        photoz.train_magnitudes, magnitudes, z, errors=errors, bands="ugriz", folds=10, members=3
    )
    gain = scores.information(pdfs, z, photoz.training_prior(z, pdfs.z))
    seconds = time.process_time() - start
    return {"residual": scores.scaled_residual(pdfs.median(), z), "gain": gain, "seconds": seconds}


def comparison(side, photometric, image):
    """Return a sentence on the difference of two estimators."""
    ratio = bootstrap(lambda a, b: sigma_mad(b) / sigma_mad(a), photometric[0], image[0])
    more = bootstrap(lambda a, b: np.mean(b - a), photometric[1], image[1])
    return f"At ``{side}`` the image network has {spelt(ratio, 3)} of the scatter and {spelt(more, 3)} nats more.\n"


def figures(residual):
    outliers = bootstrap(lambda dz: np.mean(np.abs(dz) > 0.05), residual)
    return [spelt(bootstrap(sigma_mad, residual), 4), spelt(outliers, 4)]


def spelt(interval, digits):
    value, low, high = (f"{getattr(interval, name):.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def table(rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [HEADER, *rows]:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(row)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
