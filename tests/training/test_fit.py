"""The loop on real simulated pairs: it learns, resumes to the same end, and its card is true."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("galsim")
pytest.importorskip("speclite")

from astro_galtrans import load_translator
from astro_galtrans.simulate import PairSettings, simulate_pairs
from astro_galtrans.training import fit, load_recipe, train
from astro_galtrans.training.card import predict_flux
from astro_galtrans.training.data import CropSampler, matched_scalings
from astro_galtrans.uncertainty import coverage


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    settings = [PairSettings(seed=seed, size=24) for seed in (1, 2)]
    return [simulate_pairs(folder / str(s.seed), 64, s, workers=2, progress=False) for s in settings]


@pytest.fixture
def recipe(tmp_path):
    """A small SRGAN whose adversary joins for the last third."""
    from importlib.resources import files

    text = files("astro_galtrans").joinpath("training/recipes/srgan-sdss-cfhtls.toml").read_text()
    text = text.replace("adversarial_start = 0.85", "width = 8, blocks = 1, adversarial_start = 0.67")
    text = text.replace("crop = 40", "crop = 16").replace("batch_size = 12", "batch_size = 4")
    text = text.replace("warmup = 200", "warmup = 5").replace("ema = 0.999", "ema = 0.9")
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return lambda steps: load_recipe(path, steps=steps, hours=10.0)


def test_matched_scalings_agree_on_surface_brightness(pairs):
    source, target = matched_scalings(pairs[0].header, 2.0)
    flux = np.full((5, 2, 2), 3.0)  # nanomaggy per coarse pixel; a quarter of it, in counts, per fine pixel
    np.testing.assert_allclose(source.forward(flux), target.forward(flux / 4 * 1000))


def test_batches_are_repeatable_crops_of_the_pairs(pairs):
    scalings = matched_scalings(pairs[0].header, 2.0)
    sampler = CropSampler(pairs[0], scalings, 16, 4, seed=3)
    source, target = sampler.batch(7)
    assert source.shape == (4, 5, 16, 16) and target.shape == (4, 5, 32, 32)
    assert torch.equal(source, sampler.batch(7)[0]) and not torch.equal(source, sampler.batch(8)[0])
    # source and target were turned alike: block means of the target follow the source
    coarse = torch.nn.functional.avg_pool2d(torch.sinh(target), 2)
    both = torch.stack([torch.sinh(source).flatten(), coarse.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.8
    with pytest.raises(ValueError, match="do not fit in stamps of 24"):
        CropSampler(pairs[0], scalings, 25, 4, seed=3)


def test_resumed_is_uninterrupted(pairs, recipe, tmp_path):
    whole = fit(recipe(12), pairs[0], tmp_path / "whole", progress=False)
    fit(recipe(12), pairs[0], tmp_path / "parts", progress=False, stop_after=5)
    parts = fit(recipe(12), pairs[0], tmp_path / "parts", progress=False)
    assert (whole.steps, parts.steps) == (12, 12)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name]), name


def test_other_recipe_in_the_folder_is_refused(pairs, recipe, tmp_path):
    fit(recipe(2), pairs[0], tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="another recipe"):
        fit(replace(recipe(2), name="other"), pairs[0], tmp_path / "run", progress=False)


def test_trained_translator_improves_and_is_calibrated(pairs, recipe, tmp_path):
    path = train(recipe(60), *pairs, tmp_path / "run", progress=False)
    translator = load_translator(path)
    card = translator.card
    assert card["training"]["steps"] == 60 and card["training"]["data"]["seed"] == 1
    assert card["calibration"]["seed"] == 2
    scalings = matched_scalings(pairs[0].header, 2.0)
    residuals, stds, skips, signals = [], [], [], []
    for k in range(64):
        mean, std = predict_flux(translator.model, scalings, pairs[1].source(k))
        flux, spread = (np.array(card["calibration"][key])[:, None, None] for key in ("flux", "std"))
        residuals.append(pairs[1].target(k) - flux * mean)
        stds.append(flux * spread * std)
        skips.append(pairs[1].target(k) - 250 * np.kron(pairs[1].source(k), np.ones((2, 2))))
        signals.append(pairs[1].signal(k))
    signal = np.stack(signals, axis=1)
    # by construction of the factor: on its own pairs exactly 68.27 % of the pixels lie within one sigma
    within = coverage(np.stack(residuals, axis=1)[..., 0], np.stack(stds, axis=1)[..., 0], signal[..., 0])
    assert within == pytest.approx(np.full(5, 0.683), abs=0.08)  # of one column, a part of them
    ours, before = (np.sqrt(np.mean(np.stack(r, axis=1)[signal] ** 2)) for r in (residuals, skips))
    assert ours < before


def test_calibrating_on_the_training_pairs_is_refused(pairs, recipe, tmp_path):
    with pytest.raises(ValueError, match="those of the training"):
        train(recipe(1), pairs[0], pairs[0], tmp_path, progress=False)
