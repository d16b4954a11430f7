"""The loop: it learns, and goes on from wherever it was stopped to the same end."""

import csv
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from astro_galtrans._locks import locked
from astro_galtrans.exceptions import CheckpointError, GaltransWarning
from astro_galtrans.loop import Training, choose_devices, read_state
from astro_galtrans.loop.state import CURRENT, PREVIOUS, write_state
from astro_galtrans.training import fit, load_recipe
from astro_galtrans.training.task import TranslatorTask, settings_of

SMALL = {
    "swin": dict(depths=[1], width=8, heads=2, window=4),
    "srgan": dict(width=8, blocks=1, adversarial_start=0.5),
    "capsule": dict(width=8, levels=[[2, 4], [2, 4]]),
    "diffusion": dict(regression_widths=[8], regression_blocks=[1], denoiser_widths=[8, 8], denoiser_blocks=[1, 1]),
}


def small(name="srgan", *, steps=10, augment=None, **run):
    """Return the recipe of a network of a few thousand parameters, and small batches of small crops."""
    run = {"log_steps": 2, "validation_steps": 4, "picture_steps": 0} | run
    return load_recipe(
        name, steps=steps, **run, network={"settings": SMALL[name]}, data={"crop": 16, "batch_size": 3},
        optimizer={"warmup": 3, "ema": 0.9}, augment=augment or {"shift": 0.3, "noise": 0.3, "seeing": 0.3},
    )  # fmt: skip


def train(recipe, pairs, folder, **options):
    return fit(recipe, pairs, folder, device="cpu", progress=False, **options)


def started(recipe, pairs, folder):
    """Return a training that stands at its start, or at its last checkpoint."""
    task = partial(TranslatorTask, recipe, pairs, None, folder, None)
    return Training(choose_devices("cpu"), task, settings_of(recipe, validate=False), folder)


def same(first, second):
    ours, theirs = (trained.model.state_dict() for trained in (first, second))
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def scores(trained):
    times = {"hours", "seconds"}
    return [{name: value for name, value in row.items() if name not in times} for row in trained.history]


@pytest.mark.parametrize("name", list(SMALL))
def test_interrupted_is_uninterrupted(name, pairs, others, tmp_path):
    whole = train(small(name), pairs, tmp_path / "whole", validation=others)
    for stop in (3, 7, None):
        parts = train(small(name), pairs, tmp_path / "parts", validation=others, stop_after=stop)
    assert (whole.steps, parts.steps) == (10, 10)
    assert same(whole, parts) and scores(whole) == scores(parts)
    assert [row["step"] for row in whole.history] == [4, 8, 10]
    assert {"flux_loss", "nll_loss", "rmse_gain", "hours", "seconds"} <= set(whole.history[0])
    extra = {"capsule": "margin_loss", "diffusion": "denoise_loss"}.get(name, "flux_loss")
    assert np.isfinite(whole.history[-1][extra])


KILLED = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
sys.path[:0] = sys.argv[4:]
from astro_galtrans.pairs.store import PairStore
from test_fit import small, train
train(small(steps=40, checkpoint_minutes=0.0), PairStore(sys.argv[2]), sys.argv[3])
"""


def test_killed_is_uninterrupted(pairs, tmp_path):
    """SIGKILL of a real process at some step; another one goes on from what it left."""
    here = Path(__file__).parent
    command = [sys.executable, "-c", KILLED, str(torch.get_num_threads()), str(pairs.directory), str(tmp_path / "run")]
    process = subprocess.Popen([*command, str(here)])
    while process.poll() is None and not (tmp_path / "run" / PREVIOUS).exists():
        time.sleep(0.002)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 1 <= read_state(tmp_path / "run")["step"] < 40
    recipe = small(steps=40)
    assert same(train(recipe, pairs, tmp_path / "run"), train(recipe, pairs, tmp_path / "whole"))


def test_logs_are_rewound_and_pictures_drawn(pairs, others, tmp_path):
    pytest.importorskip("matplotlib")
    recipe = small(steps=6, picture_steps=4, checkpoint_minutes=1e9)
    train(recipe, pairs, tmp_path, validation=others, stop_after=3)
    state = (tmp_path / CURRENT).read_bytes()
    train(recipe, pairs, tmp_path, validation=others)
    (tmp_path / CURRENT).write_bytes(state)  # as if it had been killed after its last row
    train(recipe, pairs, tmp_path, validation=others)
    with (tmp_path / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert float(rows[-1]["discriminator"]) > 0 and not rows[0]["discriminator"]  # it joined at half time
    with (tmp_path / "validation.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["4", "6"]
    assert (tmp_path / "pictures" / "step-0000004.png").read_bytes().startswith(b"\x89PNG")


def test_it_learns(pairs, others, tmp_path):
    """The target is sharper than the source by a known kernel; interpolation alone cannot follow."""
    recipe = small(steps=60, validation_steps=30, augment={"dihedral": 1.0})
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, learning_rate=5e-3))
    trained = train(recipe, pairs, tmp_path, validation=others)
    losses = [row["flux_loss"] for row in trained.history]
    gains = [row["rmse_gain"] for row in trained.history]
    assert losses[-1] < losses[0]
    assert gains[-1] > gains[0] and gains[-1] > 0.1  # an untrained network has no gain


def test_a_recipe_says_how_gradients_are_clipped_and_weights_averaged(pairs, tmp_path):
    """Gradients shortened to far less than AdamW's epsilon move nothing; an average without memory is the last step."""
    recipe = small(steps=10)
    optimizer = replace(recipe.optimizer, weight_decay=0.0)
    start = started(recipe, pairs, tmp_path / "start").network.state_dict()
    changes = {}
    for name, change in {"usual": {}, "clipped": {"clip": 1e-12}, "last": {"ema": 0.0}}.items():
        run = started(replace(recipe, optimizer=replace(optimizer, **change)), pairs, tmp_path / name)
        for step in range(10):
            run.advance(run.task.sampler.batch(step), step / 10)
        ends = run.average.state_dict(), run.network.state_dict()
        changes[name] = [max(float((end[key] - start[key]).abs().max()) for key in ends[0]) for end in ends]
        same_weights = all(torch.equal(value, ends[1][key]) for key, value in ends[0].items())
        assert same_weights == (name == "last")
    assert max(changes["clipped"]) < 1e-5
    assert min(changes["usual"]) > 1e-3
    assert settings_of(recipe, validate=True).average == recipe.optimizer.ema == 0.9


def _as_blurred_as_the_source(k, images):
    images[1] = np.kron(images[0][1:], np.ones((1, 2, 2))) * 250  # counts of a fine pixel per nanomaggy of a coarse one
    return {}


def test_early_stopping_keeps_the_best(pairs, write_pairs, tmp_path):
    others = write_pairs(8, planes=_as_blurred_as_the_source)  # sharpening, which is what is learnt, is wrong here
    recipe = small(steps=200, validation_steps=2, patience=3)
    trained = train(recipe, pairs, tmp_path, validation=others)
    losses = [row["flux_loss"] for row in trained.history]
    best = int(np.argmin(losses))
    assert trained.steps < 200 and len(losses) - 1 - best == 3
    again = train(recipe, pairs, tmp_path, validation=others)  # there is nothing left to do
    assert again.steps == trained.steps and same(trained, again)
    until_best = train(recipe, pairs, tmp_path / "best", validation=others, stop_after=trained.history[best]["step"])
    assert same(trained, until_best)
    with pytest.raises(ValueError, match="needs validation pairs"):
        train(recipe, pairs, tmp_path / "none")
    with pytest.raises(ValueError, match="flux_loss, nll_loss, rmse_gain"):
        train(small(score="loss"), pairs, tmp_path / "unknown", validation=others)


def test_parts_of_a_split_set(write_pairs, tmp_path):
    names = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    split = write_pairs(12, row=lambda k: {"split": names[k]})
    ours = train(small(), split, tmp_path / "split")
    explicit = train(small(), split.subset(range(6)), tmp_path / "parts", validation=split.subset(range(6, 9)))
    assert same(ours, explicit) and scores(ours) == scores(explicit)


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("lightning_fabric"), reason="needs Lightning Fabric")
def test_two_processes_average_their_gradients(pairs, others, tmp_path):
    """Two processes make the step that one would make with both batches; interrupted, they end alike."""
    recipe = small(steps=4, augment={"dihedral": 1.0}, validation_steps=2)
    trained = train(recipe, pairs, tmp_path / "two", validation=others, devices=2)
    for stop in (3, None):
        parts = train(recipe, pairs, tmp_path / "parts", validation=others, devices=2, stop_after=stop)
    assert same(trained, parts) and scores(trained) == scores(parts)
    run, other = (started(recipe, pairs, tmp_path / name) for name in ("one", "other"))
    other.task.sampler.rank = 1
    for step in range(2):  # no adversary yet, whose noise differs between processes
        both = [r.task.sampler.batch(step) for r in (run, other)]
        joined = type(both[0])(*(torch.cat(parts) for parts in zip(*(b[:2] for b in both), strict=True)), None)
        run.advance(joined, step / 4)
    first = train(recipe, pairs, tmp_path / "first", devices=2, stop_after=2)
    ours, theirs = run.average.state_dict(), first.model.state_dict()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)


def test_bf16_is_close_to_full_precision(pairs, others, tmp_path):
    ends = [
        train(small(steps=6), pairs, tmp_path / name, validation=others, precision=name).history[-1]["flux_loss"]
        for name in ("32-true", "bf16-mixed")
    ]
    assert ends[0] != ends[1] and ends[0] == pytest.approx(ends[1], rel=0.05)


# -- what goes wrong


def test_other_recipe_in_the_folder_is_refused(pairs, tmp_path):
    train(small(), pairs, tmp_path, stop_after=1)
    with pytest.raises(ValueError, match=r"another recipe \(differs in \[optimizer\] clip\)"):
        train(replace(small(), optimizer=replace(small().optimizer, clip=2.0)), pairs, tmp_path)
    with pytest.raises(ValueError, match=r"another recipe \(differs in \[loss\] structure\)"):
        train(replace(small(), loss=replace(small().loss, structure=0.1)), pairs, tmp_path)
    longer = train(small(steps=12), pairs, tmp_path)  # but it may be made longer
    assert longer.steps == 12


def test_other_number_of_pairs_is_warned_of(pairs, tmp_path):
    train(small(), pairs, tmp_path, stop_after=1)
    with pytest.warns(GaltransWarning, match="going on with 5 pairs, where the training began with 12"):
        train(small(), pairs.subset(range(5)), tmp_path, stop_after=2)


def test_a_second_training_in_the_folder_is_refused(pairs, tmp_path):
    train(small(), pairs, tmp_path, stop_after=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with locked(tmp_path), pytest.raises(OSError, match="is being written to by process"):
        train(small(), pairs, tmp_path, stop_after=2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_other_pairs_of_the_same_number_are_refused(pairs, others, tmp_path):
    train(small(), pairs.subset(range(6)), tmp_path, validation=others, stop_after=1)
    with pytest.raises(ValueError, match="began with other pairs; choose another folder, or those pairs"):
        train(small(), pairs.subset(range(1, 7)), tmp_path, validation=others, stop_after=2)
    for validation in (None, others.subset(range(len(others) - 1))):
        with pytest.raises(ValueError, match="began with other validation pairs"):
            train(small(), pairs.subset(range(6)), tmp_path, validation=validation, stop_after=2)
    assert train(small(), pairs.subset(range(6)), tmp_path, validation=others, stop_after=2).steps == 2


def test_corrupt_checkpoint_the_previous_is_used(pairs, tmp_path):
    whole = train(small(), pairs, tmp_path / "whole")
    folder = tmp_path / "run"
    train(small(checkpoint_minutes=0.0), pairs, folder, stop_after=5)
    assert read_state(folder)["step"] == 5 and (folder / PREVIOUS).exists()
    content = bytearray((folder / CURRENT).read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    (folder / CURRENT).write_bytes(content)
    with pytest.warns(GaltransWarning, match=r"checkpoint\.pt is damaged: its checksum is wrong; going on .* step 5"):
        assert same(train(small(), pairs, folder), whole)
    for path in (folder / CURRENT, folder / PREVIOUS):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="delete them to start afresh"):
        train(small(), pairs, folder)


@pytest.fixture
def no_room():
    """Let files grow to 20 kB only, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_the_previous_stays(no_room, tmp_path):
    write_state(tmp_path, {"step": 1})
    with pytest.raises(OSError, match=r"0\.4 MB in .*: there is no room for it .* the one before stays"):
        write_state(tmp_path, {"step": 2, "model": torch.zeros(100_000)})
    assert read_state(tmp_path)["step"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {CURRENT}


def test_no_room_in_the_middle_is_a_warning_and_an_error_at_the_end(pairs, no_room, tmp_path):
    with (
        pytest.warns(GaltransWarning, match="the training goes on and tries again later"),
        pytest.raises(OSError, match="there is no room for it"),
    ):
        train(small(checkpoint_minutes=0.0), pairs, tmp_path, stop_after=2)
    assert read_state(tmp_path) is None


def test_infinite_loss_leaves_the_checkpoint(pairs, tmp_path):
    train(small(), pairs, tmp_path, stop_after=2)
    run = started(small(), pairs, tmp_path)
    batch = run.task.sampler.batch(2)
    with pytest.raises(FloatingPointError, match="not finite at step 3"):
        run.advance(batch._replace(source=batch.source * torch.nan), 0.2)
    assert read_state(tmp_path)["step"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "16"}, "precision must be one of 32-true, bf16-mixed, got '16'"),
        ({"device": "tpu"}, "device must be auto, cpu, cuda"),
        ({"devices": 0}, "devices positive; got 'cpu', 0"),
        ({"device": "cuda:99"}, "CUDA devices; use device='cpu'"),
    ],
)
def test_no_such_device(options, message):
    with pytest.raises(ValueError, match=message):
        choose_devices(**({"device": "cpu"} | options))
