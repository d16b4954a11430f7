"""
Scores of translators on fresh simulated pairs, against the classical answer.

The classical answer is what one would do without a network: each band resampled to the finer grid (reproject,
bicubic), flux conserved, zero points matched. For each translator, through the public `astro_galtrans.translate`:

- RMSE over pixels with signal (noise-free target above 3 sigma of its sky), per band, in sigma of the target's sky;
- flux in an aperture of 3 arcsec diameter on the central galaxy, r < 19: median ratio and 1.4826 MAD;
- share of pixels with signal within one and two stated sigma.

Run as ``python benchmarks/scores.py PAIRS [-n 1000] [-m NAME_OR_FILE ...] [--json FILE] [--rst FILE]``; PAIRS is
made with ``galtrans simulate PAIRS -n 1000 --seed 7001``. With ``--write`` the scores go into the cards of the
given files.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData
from astropy.wcs import WCS
from photutils.aperture import CircularAperture, aperture_photometry
from reproject import reproject_interp
from tqdm.auto import tqdm

from astro_galtrans import list_translators, load_translator, translate
from astro_galtrans.models import checkpoint
from astro_galtrans.pairstore import PairStore
from astro_galtrans.surveys import get_survey

APERTURE = 3.0  # arcsec, diameter
CLASSICAL = {}  # scores of the classical answer, the same for all translators
BRIGHT = 19.0  # r magnitude of the galaxies of the flux statistics


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("pairs")
    parser.add_argument("-n", "--number", type=int, default=1000)
    parser.add_argument("-m", "--models", nargs="+", default=None)
    parser.add_argument("--n-samples", type=int, default=None)
    parser.add_argument("--json")
    parser.add_argument("--rst")
    parser.add_argument("--write", action="store_true", help="put the scores into the cards of the given files")
    options = parser.parse_args()
    pairs, scores = PairStore(options.pairs), {}
    for model in options.models or list_translators():
        translator = load_translator(model)
        n_samples = options.n_samples if translator.spec.stochastic else None
        scores[translator.name] = score(translator, pairs, options.number, n_samples)
        print(json.dumps({translator.name: scores[translator.name]}, indent=1), flush=True)
        if options.write:
            checkpoint.save(model, translator.model, translator.card | {"scores": scores[translator.name]})
    if options.json:
        Path(options.json).write_text(json.dumps(scores, indent=1))
    if options.rst:
        Path(options.rst).write_text(table(scores))


def score(translator, pairs, number, n_samples=None):
    """Return the scores of a translator on the first pairs of a set, rounded for a card."""
    mine, known = Sums(pairs), CLASSICAL.get((pairs.directory, number))
    plain = Sums(pairs)
    for index in tqdm(range(min(number, len(pairs))), desc=translator.name, disable=None):
        image = source_image(pairs, index)
        result = translate(image, translator, bands=translator.bands_in, seed=index, n_samples=n_samples)
        mine.add(index, result.data, result.uncertainty.array)
        if known is None:
            plain.add(index, classical(image, result.wcs, pairs), None)
    ours, theirs = mine.scores(), known or plain.scores()
    CLASSICAL[pairs.directory, number] = theirs
    gain = 1 - np.array(ours["rmse_sigma"]) / theirs["rmse_sigma"]
    total = 1 - ours["rmse_all"] / theirs["rmse_all"]
    pixel = 1 - ours["median_pair_rmse"] / theirs["median_pair_rmse"]
    found = ours | {
        "n_pairs": min(number, len(pairs)), "pairs_seed": pairs.header.simulation["seed"],
        "rmse_gain_on_classical": gain.tolist(), "rmse_gain_all_bands": total, "median_pair_rmse_gain": pixel,
        "classical_rmse_sigma": theirs["rmse_sigma"], "classical_flux_bias": theirs["flux_bias"],
        "classical_flux_scatter": theirs["flux_scatter"],
    }  # fmt: skip
    if translator.spec.stochastic:
        found["n_samples"] = n_samples or translator.card["sampling"]["n_samples"]
    return {key: np.round(value, 4).tolist() for key, value in found.items()}


def source_image(pairs, index):
    """Return a stamp as a survey would hand it out: a cube with unit and WCS."""
    survey, size = get_survey(pairs.header.source), pairs.header.size
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (150.0, 2.0), ((size + 1) / 2,) * 2
    wcs.wcs.cdelt = -survey.pixel_scale / 3600, survey.pixel_scale / 3600
    return CCDData(np.array(pairs.source(index)), unit=u.Unit("nmgy", format="generic", parse_strict="silent")
                   if survey.flux_unit == "nanomaggy" else u.Unit(survey.flux_unit), wcs=wcs)  # fmt: skip


def classical(image, wcs, pairs):
    """Resample each band to the finer grid; flux conserved, zero points matched."""
    source, target, scale = get_survey(pairs.header.source), get_survey(pairs.header.target), pairs.header.scale
    shape = tuple(scale * n for n in image.data.shape[1:])
    factor = 10 ** (0.4 * (target.zeropoint - source.zeropoint)) / scale**2
    planes = [
        reproject_interp((plane, image.wcs), wcs, shape, order="bicubic", return_footprint=False)
        for plane in image.data
    ]
    return factor * np.array(planes)


class Sums:
    """What the scores are made of, pair by pair."""

    def __init__(self, pairs):
        self.pairs, survey = pairs, get_survey(pairs.header.target)
        self.sky = survey.sky_rms(pairs.header.target_pixel_scale)
        self.squares, self.count = np.zeros(len(self.sky)), np.zeros(len(self.sky))
        self.within, self.covered, self.fluxes, self.per_pair = np.zeros((2, len(self.sky))), 0, [], []

    def add(self, index, image, std):
        """Take in a translated image ``[C, H, W]`` and its standard deviation, or None."""
        target, signal = self.pairs.target(index), self.pairs.signal(index)
        signal = signal & np.isfinite(image)  # reproject leaves the outermost half pixel blank
        residual = np.where(signal, image - target, 0) / self.sky[:, None, None]
        self.squares += (residual**2).sum(axis=(1, 2))
        self.count += signal.sum(axis=(1, 2))
        if signal.any():
            self.per_pair.append(np.sqrt((residual**2).sum() / signal.sum()))
        if std is not None:
            size = np.abs(residual) * self.sky[:, None, None]
            self.within += [((size <= k * std) & signal).sum(axis=(1, 2)) for k in (1, 2)]
        self._flux(index, image, target)

    def _flux(self, index, image, target):
        truth, scale = self.pairs.table[index], self.pairs.header.target_pixel_scale
        half = target.shape[-1] / 2 * scale - APERTURE
        if truth["kind"] != "galaxy" or truth["r"] >= BRIGHT or max(abs(truth["x"]), abs(truth["y"])) > half:
            return
        centre = [target.shape[-1] / 2 - 0.5 + truth[axis] / scale for axis in "xy"]
        aperture = CircularAperture(centre, APERTURE / 2 / scale)
        self.fluxes.append([[aperture_photometry(p, aperture)["aperture_sum"][0] for p in i] for i in (image, target)])

    def scores(self):
        """Return the scores so far."""
        ratio = np.array(self.fluxes)  # [galaxies, 2, bands]
        ratio = ratio[:, 0] / ratio[:, 1]
        bias = np.median(ratio, axis=0)
        found = {
            "rmse_sigma": np.sqrt(self.squares / self.count),
            "rmse_all": np.sqrt(self.squares.sum() / self.count.sum()),
            "median_pair_rmse": np.median(self.per_pair), "n_galaxies": len(ratio),
            "flux_bias": bias - 1, "flux_scatter": 1.4826 * np.median(np.abs(ratio - bias), axis=0),
        }  # fmt: skip
        if self.within.any():
            found |= {"within_1_sigma": self.within[0] / self.count, "within_2_sigma": self.within[1] / self.count}
        return found


def table(scores):
    """Return the scores as an RST table."""
    lines = [
        ".. list-table::", "   :header-rows: 1", "",
        "   * - translator", "     - RMSE against classical (all bands; u g r i z)", '     - 3" flux bias, g r i (%)',
        '     - 3" flux scatter, g r i (%)', "     - within 1 sigma, u g r i z (%)",
    ]  # fmt: skip
    for name, s in scores.items():
        gains = "; ".join(
            [f"{-100 * s['rmse_gain_all_bands']:.0f} %", _percent([-g for g in s["rmse_gain_on_classical"]], 0)]
        )
        cells = (
            name,
            gains,
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
