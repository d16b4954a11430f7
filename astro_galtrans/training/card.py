"""
From a trained network to a translator: calibration, scores, validity range, and the card that holds them.

Calibration and scores come from pairs that the training never saw, and not from the same ones.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from astro_galtrans.domain import gaussian_fwhm
from astro_galtrans.models import checkpoint
from astro_galtrans.simulate.population import Scene
from astro_galtrans.simulate.render import Seeing, render_pair
from astro_galtrans.surveys import get_survey
from astro_galtrans.tiling import plan_tiles
from astro_galtrans.uncertainty import SampleMean, calibrate

from .data import matched_scalings
from .fit import fit

__all__ = ["calibration_factors", "export", "train", "validity_range"]

LICENCE = "BSD-3-Clause"
APERTURE, BRIGHT, FEWEST = 3.0, 19.0, 20  # diameter in arcsec, r magnitude, galaxies
SPREAD_PAIRS = 192  # with some thousand pixels of signal each, more than enough for one number per band


def train(recipe, pairs, held_out, directory, *, n_samples=1, device="cpu", progress=True):
    """
    Train a network and write the translator.

    Parameters
    ----------
    recipe : `~astro_galtrans.training.Recipe`
    pairs, held_out : `~astro_galtrans.simulate.PairSet`
        Pairs to train on, and others to calibrate with.
    directory : path-like
        Folder for the checkpoint, from which an interrupted training goes on, and for the translator.
    n_samples : int, optional
        As for `export`.
    device, progress
        As for `~astro_galtrans.training.fit`.

    Returns
    -------
    `~pathlib.Path`
        The translator file.

    Raises
    ------
    ValueError
        If ``held_out`` has the same seed as ``pairs``: it would hold the same pairs.
    """
    if held_out.settings == pairs.settings:
        msg = f"the pairs to calibrate with are those of the training (seed {pairs.settings.seed}); simulate others"
        raise ValueError(msg)
    trained = fit(recipe, pairs, directory, device=device, progress=progress)
    path = Path(directory) / f"{recipe.name}.safetensors"
    export(
        path, trained.model, recipe, pairs, held_out,
        n_samples=n_samples, hours=trained.hours, steps=trained.steps, progress=progress,
    )  # fmt: skip
    return path


def export(path, model, recipe, pairs, held_out, *, n_samples=1, hours=None, steps=None, progress=True):
    """
    Write a trained network as a translator file.

    Parameters
    ----------
    path : path-like
        The file to write, ``NAME.safetensors``.
    model : `~astro_galtrans.models.base.TranslationModel`
        As `~astro_galtrans.training.fit` returns it.
    recipe : `~astro_galtrans.training.Recipe`
    pairs, held_out : `~astro_galtrans.simulate.PairSet`
        What it was trained on, and other pairs to calibrate it with.
    n_samples : int, optional
        How many samples a translation shall average by default (stochastic networks).
    hours, steps : float, int, optional
        How long it was trained.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    dict
        The card.
    """
    settings = pairs.settings
    scalings = matched_scalings(settings, recipe.data.softening)
    model.eval()
    factors = calibration_factors(model, scalings, held_out, n_samples=n_samples, progress=progress)
    source, target = get_survey(settings.source), get_survey(settings.target)
    card = {
        "name": recipe.name,
        "description": recipe.description,
        "network": {"preset": recipe.network.preset},
        "source": _survey_card(source, source.pixel_scale, scalings[0]) | _noise_card(source),
        "target": _survey_card(target, settings.target_pixel_scale, scalings[1]),
        "calibration": factors | {"pairs": len(held_out), "seed": held_out.settings.seed},
        "validity": validity_range(pairs),
        "training": {
            "data": {"simulated": True, "pairs": len(pairs)} | asdict(settings),
            "recipe": recipe.to_dict() | {"run": _finite(recipe.to_dict()["run"])},
            "seed": recipe.run.seed,
            "steps": steps,
            "hours": hours,
        },
        "licence": LICENCE,
    }
    if model.spec.stochastic:
        card["sampling"] = {"n_samples": n_samples}
    return checkpoint.save(path, model, card)


def calibration_factors(model, scalings, pairs, *, n_samples=1, seed=0, progress=True):
    """
    Factors per band that make flux unbiased and the standard deviation hold.

    The flux factor is the median ratio of true to predicted flux, in an aperture of 3 arcsec diameter on the central
    galaxies with r < 19 (all sources, if there are fewer than `FEWEST`); the factor of the standard deviation is the
    one with which 68.27 % of the true pixels with signal lie within one sigma, in the first `SPREAD_PAIRS` pairs.

    Parameters
    ----------
    model : `~astro_galtrans.models.base.TranslationModel`
    scalings : (AsinhScaling, AsinhScaling)
        Of source and target.
    pairs : `~astro_galtrans.simulate.PairSet`
    n_samples, seed : int, optional
        Samples averaged, for stochastic networks.

    Returns
    -------
    dict
        ``"flux"`` and ``"std"``: one factor per output band.
    """
    bright, ratios, residuals = set(_bright_galaxies(pairs)), [], []
    wanted = sorted(bright | set(range(min(SPREAD_PAIRS, len(pairs)))))
    for index in tqdm(wanted, desc="calibrating", unit="pair", disable=None if progress else True):
        mean, std = predict_flux(model, scalings, pairs.source(index), n_samples=n_samples, seed=seed + index)
        target, signal = pairs.target(index), pairs.signal(index)
        if index in bright:
            aperture = _aperture(pairs, index)
            ratios.append(target[:, aperture].sum(axis=1) / mean[:, aperture].sum(axis=1))
        if index < SPREAD_PAIRS:
            residuals.append([((t - m)[s], d[s], m[s]) for t, m, d, s in zip(target, mean, std, signal, strict=True)])
    flux, factors = np.median(ratios, axis=0), []
    for band, k in enumerate(flux):
        residual, std, mean = (np.concatenate([row[band][part] for row in residuals]) for part in range(3))
        residual = residual - (k - 1) * mean  # the residual of the corrected flux
        everything = np.ones((1, residual.size, 1), bool)
        factors.append(calibrate(residual.reshape(1, -1, 1), k * std.reshape(1, -1, 1), everything)[0])
    return {"flux": [float(k) for k in flux], "std": [float(k) for k in factors]}


def _bright_galaxies(pairs):
    """Pairs whose central galaxy is bright and well inside the stamp; or, in a small set, all that have a source."""
    truth, reach = pairs.truth, pairs.settings.size * get_survey(pairs.settings.source).pixel_scale / 2 - APERTURE
    inside = (np.abs(truth["x"]) < reach) & (np.abs(truth["y"]) < reach)  # not so for a NaN
    bright = np.flatnonzero(inside & (truth["kind"] == "galaxy") & (truth["r"] < BRIGHT))
    return (bright if len(bright) >= FEWEST else np.flatnonzero(inside)).tolist()


def _aperture(pairs, index):
    """Target pixels within the aperture on the central source."""
    truth, scale = pairs.truth[index], pairs.settings.target_pixel_scale
    n = pairs.target(index).shape[-1]
    offset = (np.arange(n) - (n - 1) / 2) * scale
    return np.hypot(offset - truth["x"], offset[:, None] - truth["y"]) < APERTURE / 2


def predict_flux(model, scalings, source, *, n_samples=1, seed=0):
    """Translate one stamp ``[C, H, W]``: mean and (uncalibrated) standard deviation in the target's flux unit."""
    spec = model.spec
    plan = plan_tiles(source.shape[1:], scale=spec.scale, multiple_of=spec.multiple_of, margin=spec.margin)
    samples = SampleMean(posterior=spec.stochastic)
    for p in model.predict(scalings[0].forward(np.ascontiguousarray(source)), plan, n_samples=n_samples, seed=seed):
        samples.add(scalings[1].inverse(p.values), (scalings[1].derivative(p.values) * p.std) ** 2)
    return samples.mean, np.sqrt(samples.variance)


def validity_range(pairs):
    """
    Range of inputs that a pair set covers, as `astro_galtrans.domain.check` reads it.

    Returns
    -------
    dict
        ``pixel_scale`` (arcsec), and per band ``fwhm`` (arcsec), ``sky_rms`` (flux unit of the source) and ``peak``
        (largest pixel).
    """
    survey, truth = get_survey(pairs.settings.source), pairs.truth
    widths = [np.percentile(truth[f"fwhm_{b}"], [0.5, 99.5]) for b in survey.band_names]
    lowest, highest = (_as_measured(survey, fwhm) for fwhm in zip(*widths, strict=True))
    # a tenth more to each side: headers and programs differ that much in what they call FWHM
    fwhm = {b: [0.9 * low, 1.1 * high] for b, low, high in zip(survey.band_names, lowest, highest, strict=True)}
    # the noise in training is the survey's typical one: a quarter more or less is still the same survey
    sky = {b.name: [float(f"{k * b.sky_rms:.4g}") for k in (0.75, 1.25)] for b in survey.bands}
    peaks = np.max([pairs.source(k).max(axis=(1, 2)) for k in range(len(pairs))], axis=0)
    return {
        "pixel_scale": [0.99 * survey.pixel_scale, 1.01 * survey.pixel_scale],
        "fwhm": {b: [round(v, 3) for v in limits] for b, limits in fwhm.items()},
        "sky_rms": sky,
        "peak": {b: float(f"{p:.4g}") for b, p in zip(survey.band_names, peaks, strict=True)},
    }


def _as_measured(survey, fwhm):
    """FWHM per band (arcsec) as `astro_galtrans.domain` measures it, pixel and wings included, of Moffat PSFs."""
    size, half_pixel = 42, survey.pixel_scale / 2
    star = Scene("star", points=[(half_pixel, half_pixel, np.full(2 * len(survey.bands), 15.0))])
    seeing = Seeing(3.5, tuple(fwhm))
    image, _, _ = render_pair(star, None, (survey.name,) * 2, (seeing, seeing), size, 1, noise=False)
    return [survey.pixel_scale * gaussian_fwhm(plane[1:, 1:]) for plane in image]


def _survey_card(survey, pixel_scale, scaling):
    return {
        "survey": survey.name,
        "unit": survey.flux_unit,
        "zeropoint": survey.zeropoint,
        "pixel_scale": pixel_scale,
        "scaling": scaling.to_dict(),
    }


def _noise_card(survey):
    """Noise that the network has learnt: what an image has beyond it is propagated."""
    return {"sky_rms": survey.sky_rms().tolist(), "electrons": [band.electrons for band in survey.bands]}


def _finite(run):
    return {k: (None if v == float("inf") else v) for k, v in run.items()}
