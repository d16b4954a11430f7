"""The training loop on problems small enough to be solved by hand: its steps in numpy, its stops and its files."""

import csv
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from astro_galtrans import loop
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.loop.state import CURRENT

SETTINGS = loop.Settings(
    steps=40, learning_rate=0.05, weight_decay=0.1, warmup=5, clip=1.0, average=0.8, seed=3, log_steps=10
)
SIZES = 0.1, 8.0, 0.5, 3.0  # how large gradients are: some of them are clipped, others are not


class Weights(nn.Module):
    """Three weights, and a number of what they have seen, as a normalisation keeps one."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))


class Slope(loop.Task):
    """A loss whose gradient is the batch itself; batches are random."""

    def __init__(self, state=None, rank=0, stop=None, scores=()):
        super().__init__(Weights())
        self.stop, self.given = stop, list(scores)

    def batches(self, start, stop, device):
        for step in range(start, stop):
            if step == self.stop:
                raise KeyboardInterrupt
            yield gradient(step)

    def losses(self, batch, progress, generator):
        self.network.seen += 1
        yield {"loss": (self.network.weights * torch.from_numpy(batch)).sum()}

    def scores(self, network, devices):
        assert not network.training
        return {"loss": self.given[int(network.seen) // 10]}


def gradient(step):
    return SIZES[step % 4] * np.random.default_rng(step).normal(size=3)


def adamw(settings):
    """Return weights and their average as Loshchilov & Hutter (2019) have them, with warm-up, decay and clipping."""
    w, first, second = np.array([1.0, -2.0, 0.5]), np.zeros(3), np.zeros(3)
    average = w.copy()
    for k in range(settings.steps):
        g = gradient(k)
        g *= min(1, settings.clip / np.linalg.norm(g))
        cosine = 0.5 * (1 + np.cos(np.pi * k / settings.steps))
        rate = settings.learning_rate * min(1, (k + 1) / settings.warmup) * (0.01 + 0.99 * cosine)
        first, second = 0.9 * first + 0.1 * g, 0.99 * second + 0.01 * g**2
        w = w * (1 - rate * settings.weight_decay)
        w -= rate * (first / (1 - 0.9 ** (k + 1))) / (np.sqrt(second / (1 - 0.99 ** (k + 1))) + 1e-8)
        memory = min(settings.average, (1 + k) / (10 + k))
        average = memory * average + (1 - memory) * w
    return w, average


def train(settings=SETTINGS, directory=None, make=Slope, **options):
    return loop.train(make, settings, directory, device="cpu", progress=False, **options)


@pytest.mark.parametrize("change", [{}, {"clip": 100.0}, {"average": 0.0}, {"warmup": 0}, {"weight_decay": 0.0}])
def test_steps_are_adamws_with_clipped_gradients_and_averaged_weights(change):
    settings = replace(SETTINGS, **change)
    training = train(settings)
    weights, average = adamw(replace(settings, warmup=max(1, settings.warmup)))
    np.testing.assert_allclose(training.network.weights.detach(), weights, rtol=1e-6)
    np.testing.assert_allclose(training.result().weights, average, rtol=1e-6)
    assert training.result().seen == 40  # what is no float is copied
    if change:
        assert np.abs(average - adamw(SETTINGS)[1]).max() > 1e-3  # each of the settings matters here


def test_interrupted_it_goes_on_to_the_same_end(tmp_path):
    whole = train(directory=tmp_path / "whole").result().weights
    settings = replace(SETTINGS, checkpoint_minutes=0)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "parts", lambda *args: Slope(*args, stop=17))
    assert loop.read_state(tmp_path / "parts")["step"] == 17
    again = train(settings, tmp_path / "parts")
    assert torch.equal(again.result().weights, whole) and again.step == 40
    with (tmp_path / "parts" / "losses.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["10", "20", "30", "40"]


def test_without_a_directory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(replace(SETTINGS, checkpoint_minutes=0))
    assert not list(tmp_path.iterdir())


def test_the_log_holds_means_of_the_loss(tmp_path):
    train(directory=tmp_path)
    training, expected = loop.Training(loop.choose_devices("cpu"), Slope, SETTINGS), []
    for k in range(40):
        expected.append(training.network.weights.detach().numpy() @ gradient(k))
        training.advance(gradient(k), k / 40)
    with (tmp_path / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["loss"]) for row in rows], np.mean(np.reshape(expected, (4, 10)), 1), 1e-4)
    last = 0.05 * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * 39 / 40)))
    assert float(rows[-1]["learning_rate"]) == pytest.approx(last, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "scores", "steps", "best"),
    [("loss", [3.0, 2.0, 2.5, 2.2, 1.0], 30, 10), ("loss_gain", [0.1, 0.3, 0.2, 0.3, 0.9], 30, 10),
     ("loss", [1.0, 2.0, 2.5, 2.2, 1.5], 20, 0), ("loss", [5.0, 4.0, 3.0, 2.0, 1.0], 40, 40)],
)  # fmt: skip
def test_it_stops_when_two_validations_brought_nothing_better(name, scores, steps, best):
    class Scored(Slope):
        def scores(self, network, devices):
            return {name: super().scores(network, devices)["loss"]}

    settings = replace(SETTINGS, validation_steps=10, validate_start=True, patience=2, score=name)
    training = train(settings, make=lambda *args: Scored(*args, scores=scores))
    assert training.step == steps
    assert [row[name] for row in training.history] == scores[: steps // 10 + 1]
    assert training.history[training.best_row]["step"] == best
    assert training.result().seen == best
    to_the_best = train(replace(SETTINGS, steps=40), stop_after=best).average.weights
    assert torch.equal(training.result().weights, to_the_best)


def test_each_optimizer_minimises_its_own_loss():
    class Game(Slope):
        def prepare(self):
            self.judge = nn.Parameter(torch.zeros(3, dtype=torch.float64))
            return [[self.network.weights], [self.judge]]

        def losses(self, batch, progress, generator):
            yield from super().losses(batch, progress, generator)
            yield {"judge": ((self.judge - 1e3 * self.network.weights) ** 2).sum()}

    game, alone = train(make=Game), train()
    assert torch.equal(game.network.weights, alone.network.weights)
    assert (game.task.judge != 0).all()


def test_random_numbers_follow_from_seed_and_step_and_the_callers_stay():
    drawn = []

    class Random(Slope):
        def losses(self, batch, progress, generator):
            drawn.append([torch.rand(()).item(), torch.rand((), generator=generator).item()])
            yield from super().losses(batch, progress, generator)

    torch.manual_seed(1)
    expected = torch.rand(2)[1]
    torch.manual_seed(1)
    torch.rand(1)
    settings = replace(SETTINGS, steps=3)
    for seed in (3, 3, 4):
        train(replace(settings, seed=seed), make=Random)
    assert torch.rand(1)[0] == expected
    first, again, other = np.reshape(drawn, (3, 6))
    np.testing.assert_array_equal(first, again)
    assert len(set(first)) == 3 and not set(first) & set(other)  # both generators are seeded alike


def test_damage_is_found_by_its_checksum(tmp_path):
    train(replace(SETTINGS, checkpoint_minutes=0), tmp_path, stop_after=20)
    content = bytearray((tmp_path / CURRENT).read_bytes())
    content[-20] ^= 1
    (tmp_path / CURRENT).write_bytes(content)
    with pytest.warns(GaltransWarning, match="checksum is wrong; going on from checkpoint-previous"):
        assert torch.equal(train(directory=tmp_path).result().weights, train().result().weights)


def test_one_device_needs_no_lightning_and_several_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)  # as if it were not installed
    assert train(replace(SETTINGS, steps=1)).step == 1
    with pytest.raises(ImportError, match=r"lightning_fabric.*astro_galtrans\[train\]"):
        train(devices=2)


def test_a_score_that_the_network_has_not_is_named():
    settings = replace(SETTINGS, validation_steps=10, score="gain")
    with pytest.raises(ValueError, match="score must be one that this network has, loss; got 'gain'"):
        train(settings, make=lambda *args: Slope(*args, scores=[1.0] * 5))
