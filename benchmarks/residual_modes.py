"""
Errors of aperture fluxes among samples against true ones, per radius and band.

Samples of the target given the source should differ from each other as the truth differs from them. For galaxies of
held-out pairs, and at any place, fluxes in circles are summed in the target and in each sample. *Ratio*: of the
sampled standard deviation to the true error, as 68 % of galaxies have it; below 1, samples are too sure. *Correlation*
between neighbouring bands: of samples, mean over galaxies, and of true errors over sampled standard deviations. The
target's own noise is in both.

Run as ``python benchmarks/residual_modes.py PAIRS -m NAME_OR_FILE ... [-n 256] [--n-samples 24] [--rst FILE]``; PAIRS
are of ``galtrans simulate``, others than the translators were trained with, and the translators sample.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from astro_galtrans.measure.photometry import aperture_weights
from astro_galtrans.models import checkpoint
from astro_galtrans.models.shipped import find_weights
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.tiling import plan_tiles
from astro_galtrans.training.compare import main_sources
from astro_galtrans.training.data import read_pair
from astro_galtrans.training.observed import Observations, inputs_of
from astro_galtrans.uncertainty import ONE_SIGMA

RADII = 0.4, 0.75, 1.5, 3.0  # arcsec, from a core to a whole galaxy
PLACES = "galaxies", "any place"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("pairs")
    parser.add_argument("-m", "--models", nargs="+", required=True)
    parser.add_argument("-n", "--number", type=int, default=256)
    parser.add_argument("--n-samples", type=int, default=24)
    parser.add_argument("--rst")
    options = parser.parse_args()
    pairs = PairStore(options.pairs)
    rows = []
    for name in options.models:
        fluxes = measured(checkpoint.load(find_weights(name)), pairs, options.number, options.n_samples)
        for place, radius in itertools.product(PLACES, RADII):
            rows.append((Path(name).stem, place, radius, *compared(*fluxes[place, radius])))
            print(*(np.round(part, 2) if isinstance(part, np.ndarray) else part for part in rows[-1]), flush=True)
    if options.rst:
        Path(options.rst).write_text(table(rows, pairs.header.target_bands))


def measured(translator, pairs, number, n_samples):
    """Fluxes ``[N, C]`` of targets and ``[N, K, C]`` of their samples, by kind of place and radius."""
    rng, scale = np.random.default_rng(1), pairs.header.target_pixel_scale
    places, found = main_sources(pairs), {key: ([], []) for key in itertools.product(PLACES, RADII)}
    for index in [k for k, place in enumerate(places) if place is not None][:number]:
        target, good, samples = drawn(translator, pairs, index, n_samples)
        shape = target.shape[1:]
        anywhere = rng.uniform(-0.5, 0.5, 2) * (shape[0] * scale - 2 * max(RADII))
        for kind, place in zip(PLACES, (places[index], anywhere), strict=True):
            centre = [(n - 1) / 2 + offset / scale for n, offset in zip(shape[::-1], place, strict=True)]
            weights = aperture_weights(shape, [radius / scale for radius in RADII], centre)
            if (weights[-1][~good.all(axis=0)] > 0).any():
                continue
            for radius, weight in zip(RADII, weights, strict=True):
                for image, fluxes in zip((target, samples), found[kind, radius], strict=True):
                    fluxes.append(np.einsum("...yx,yx->...", image, weight))
    return {key: tuple(map(np.array, fluxes)) for key, fluxes in found.items()}


def drawn(translator, pairs, index, n_samples):
    """Target of a pair, which of its pixels can be used, and samples ``[K, C, H, W]``, calibrated."""
    model, card = translator.model, translator.card
    scalings = [AsinhScaling.from_dict(card[end]["scaling"]) for end in ("source", "target")]
    factors = np.reshape(card["calibration"].get("flux", 1.0), (-1, 1, 1))
    source, target, good = read_pair(pairs, index)
    planes = inputs_of(model.spec, pairs.header, scalings).planes(source, Observations(pairs)[index])
    spec = model.spec
    plan = plan_tiles(planes.shape[1:], scale=spec.scale, multiple_of=spec.multiple_of, margin=spec.margin)
    drawings = model.predict(np.ascontiguousarray(planes), plan, n_samples=n_samples, seed=index)
    return target, good, np.array([factors * scalings[1].inverse(sample.values) for sample in drawings])


def compared(true, samples):
    """Ratio of standard deviations per band, and correlations of neighbouring bands, sampled and true."""
    number = samples.shape[1]
    # the mean of the samples is off by the K-th part of their variance
    spread = samples.std(axis=1, ddof=1) * np.sqrt(1 + 1 / number)
    pulls = (true - samples.mean(axis=1)) / spread
    ratio = 1 / np.quantile(np.abs(pulls), ONE_SIGMA, axis=0)
    deviates = samples - samples.mean(axis=1, keepdims=True)
    sampled = np.mean([np.corrcoef(galaxy.T) for galaxy in deviates], axis=0)
    actual = np.corrcoef(np.clip(pulls, -3, 3).T)
    return ratio, np.diag(sampled, 1), np.diag(actual, 1)


def table(rows, bands):
    """Return the comparison as an RST table."""
    pairs = ", ".join(f"{a}-{b}" for a, b in itertools.pairwise(bands))
    lines = [
        ".. list-table::", "   :header-rows: 1", "", "   * - translator", "     - where", '     - radius (")',
        f"     - sampled / true std, {' '.join(bands)}", f"     - correlation of samples, {pairs}",
        "     - true correlation",
    ]  # fmt: skip
    for name, place, radius, *measures in rows:
        lines += [f"   * - {name}", f"     - {place}", f"     - {radius:g}"]
        lines += ["     - " + " ".join(f"{value:.2f}" for value in values) for values in measures]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
