"""The table of fluxes against the truth of simulated pairs, and a sampler trained on it, as a file."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("galsim")
pytest.importorskip("speclite")
pytest.importorskip("h5py")

from test_sampler import card, correlation
from toy_network import BANDS, ToyTranslator

from astro_galtrans import Translator, load_translator
from astro_galtrans.cli import main
from astro_galtrans.models import registry
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.pairs.simulated import PairSettings, Sample, simulate_pairs
from astro_galtrans.stamps import Stamps
from astro_galtrans.training.flow import FlowSettings
from astro_galtrans.training.fluxes import make_flux_table
from astro_galtrans.training.sampler import train_sampler

SETTINGS = PairSettings(size=40, kind="galaxy", sample=Sample(18.5, 19.5, 0.6, 0.2), seed=3)
SIZES = {"gaussian_width": 16, "width": 16, "blocks": 1, "gaussian_steps": 5, "steps": 5, "batch_size": 32}


@pytest.fixture(scope="module")
def toy():
    return Translator(Checkpoint(ToyTranslator.from_preset("tiny", BANDS, BANDS, 2).eval(), card(), "0" * 64))


@pytest.fixture(scope="module")
def table(toy):
    return make_flux_table(toy, SETTINGS, 12, progress=False)


def test_fluxes_are_those_of_the_truth(toy, table, tmp_path):
    """What bright galaxies have in 10 arcsec is nearly all of their light."""
    store = simulate_pairs(tmp_path, 12, SETTINGS, workers=1, progress=False)
    main = np.flatnonzero(np.isfinite(table["z"]))
    assert len(main) >= 9
    for side, name, column in (("source", "x", "sdss"), ("target", "y", "cfhtls-wide")):
        end = toy.card[side]
        for k, band in enumerate("gri", 1):
            flux = table[name][main, 6, k] * end["scaling"]["softening"][k]
            magnitude = np.asarray(store.table[f"mag_{column}_{band}"])[table["pair"][main]]
            ratio = flux / 10 ** (-0.4 * (magnitude - end["zeropoint"]))
            # less what the wings of the source's PSF carry beyond 5 arcsec, and what neighbours add
            assert 0.85 < np.median(ratio) < 1.1
    np.testing.assert_array_equal(table["z"][main], np.asarray(store.table["z"], "f4")[table["pair"][main]])


def test_pairs_that_are_there_give_the_same_table(toy, table, tmp_path):
    store = simulate_pairs(tmp_path / "pairs", 12, SETTINGS, workers=1, progress=False)
    again = make_flux_table(toy, store, 12, tmp_path / "fluxes.npz", progress=False)
    assert [p.name for p in tmp_path.iterdir() if p.name != "pairs"] == ["fluxes.npz"]
    for found in (again, np.load(tmp_path / "fluxes.npz")):
        for name, values in table.items():
            np.testing.assert_array_equal(found[name], values)


def test_one_that_was_interrupted_goes_on(toy, table, tmp_path):
    path, part = tmp_path / "fluxes.npz", tmp_path / ".part-fluxes.npz" / "00000000.npz"
    part.parent.mkdir()
    np.savez(part, **{name: values[:1] for name, values in table.items()})  # as another run left it
    found = make_flux_table(toy, SETTINGS, 12, path, progress=False)
    np.testing.assert_array_equal(found["y"], table["y"][:1])
    with pytest.raises(ValueError, match="0 s were too few"):
        make_flux_table(toy, SETTINGS, 12, progress=False, seconds=1e-9)


@pytest.fixture
def _toy_network(monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "toy", "toy_network:ToyTranslator")
    registry._table.cache_clear()
    yield
    registry._table.cache_clear()


@pytest.mark.usefixtures("_toy_network")
def test_a_sampler_is_trained_into_a_file(toy, table, tmp_path):
    many = {name: np.repeat(values, 20, axis=0) for name, values in table.items()}
    many["pair"] = np.arange(len(many["z"]))
    path = tmp_path / "toy-sampled.safetensors"
    made = train_sampler(toy, many, path, settings=FlowSettings(**SIZES), device="cpu", progress=False)
    assert made["training"]["sampler"]["losses"]["flow"]["steps"] == 5
    images = np.random.default_rng(0).normal(0, 0.05, (1, 5, 24, 24))
    assert load_translator(path).stamps(images, n_samples=2, seed=1).shape == (1, 2, 5, 48, 48)
    with pytest.raises(ValueError, match="too few to train on"):
        train_sampler(toy, table, path, settings=FlowSettings(**SIZES), device="cpu", progress=False)
    with pytest.raises(ValueError, match="samples already"):
        make_flux_table(load_translator(path), SETTINGS, 4)


def test_a_card_without_correlation_is_told_of(toy, table, tmp_path):
    assert correlation()["noise"]
    without = card()
    del without["calibration"]["correlation"]
    bare = Translator(Checkpoint(toy.model, without, "0" * 64))
    many = {name: np.repeat(values, 20, axis=0) for name, values in table.items()}
    with pytest.raises(ValueError, match="does not state how its errors are correlated"):
        train_sampler(bare, many, tmp_path / "x.safetensors", progress=False)


def test_a_calibration_that_fails_leaves_no_file(tmp_path, capsys):
    store = simulate_pairs(tmp_path / "pairs", 64, SETTINGS, workers=1, progress=False)
    path = tmp_path / "mine.safetensors"
    arguments = ["calibrate", "srgan-sdss-cfhtls", str(store.directory), "--sampler", "-o", str(path)]
    assert main(arguments) == 1
    assert "too few to train on; 200 are the least" in capsys.readouterr().err
    assert not path.exists()
    assert main(["calibrate", "diffusion-sdss-cfhtls", *arguments[2:]]) == 1
    assert "samples already" in capsys.readouterr().err


@pytest.mark.slow
def test_calibrate_with_a_sampler_from_the_command_line(tmp_path, capsys):
    """As a newcomer would: simulate, calibrate, translate; the fluxes drawn scatter about the truth as they should."""
    test, path = replace(SETTINGS, seed=4), tmp_path / "mine.safetensors"
    pairs = simulate_pairs(tmp_path / "pairs", 832, SETTINGS, workers=1, progress=False)
    assert main(["calibrate", "srgan-sdss-cfhtls", str(pairs.directory), "--sampler", "-o", str(path)]) == 0
    assert "samples keep the photometry" in capsys.readouterr().out
    mine, there = load_translator(path), simulate_pairs(tmp_path / "test", 128, test, workers=1, progress=False)
    source, target = (Stamps.from_pairs(there, side) for side in ("source", "target"))
    drawn = Stamps.from_translator(mine, source, target, n_samples=16, progress=False).read()
    middle = np.s_[..., 30:50, 30:50]
    samples, truth = drawn[middle].sum(axis=(-2, -1)), target.read()[middle].sum(axis=(-2, -1))
    pull = (truth - samples.mean(axis=1)) / samples.std(axis=1)
    for k in (1, 2, 3):
        assert 0.6 < 1.4826 * np.median(np.abs(pull[:, k] - np.median(pull[:, k]))) < 1.7
