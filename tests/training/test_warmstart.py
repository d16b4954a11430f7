"""Fine-tuning: weights and scaling of another translator, and what of it does not fit."""

import numpy as np
import pytest
import torch

from astro_galtrans import get_survey
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.models import checkpoint
from astro_galtrans.pairs.store import PairHeader
from astro_galtrans.training import fit, load_recipe
from astro_galtrans.training.data import matched_scalings
from astro_galtrans.training.task import build_network
from astro_galtrans.training.warmstart import warm_start

SETTINGS = {"width": 8, "blocks": 1}


def header(source="ugriz", target="ugriz", scale=2):
    return PairHeader(get_survey("sdss").select(source), get_survey("cfhtls-wide").select(target), scale, 24)


def network(header, seed=0, name="srgan", **settings):
    torch.manual_seed(seed)
    return build_network(load_recipe(name, network={"settings": SETTINGS | settings}), header)


@pytest.fixture
def written(tmp_path):
    """Write a translator g, r to r whose softening is three times the usual; return its file and network."""

    def write(header, **settings):
        model, path = network(header, 5, **settings), tmp_path / "other.safetensors"
        scalings = [{"kind": "asinh", "softening": [3 * b for b in s.softening]} for s in matched_scalings(header, 2.0)]
        ends = [
            {"survey": survey.name, "unit": survey.flux_unit, "zeropoint": survey.zeropoint, "pixel_scale": 0.396,
             "scaling": scaling, "sky_rms": survey.sky_rms().tolist()}
            for survey, scaling in zip((header.source, header.target), scalings, strict=True)
        ]  # fmt: skip
        calibration = {"flux": [1.0] * len(header.target_bands), "std": [1.0] * len(header.target_bands)}
        card = {"name": "other", "source": ends[0], "target": ends[1], "calibration": calibration, "validity": {}}
        checkpoint.save(path, model, card)
        return path, model

    return write


def test_weights_and_scaling_are_taken_over(written):
    path, theirs = written(header("gr", "r"))
    ours, before = network(header("gr", "r")), matched_scalings(header("gr", "r"), 2.0)
    scalings = warm_start(ours, path, header("gr", "r"), before)
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in ours.state_dict().items())
    for taken, usual in zip(scalings, before, strict=True):
        np.testing.assert_allclose(taken.softening, 3 * np.array(usual.softening))


def test_other_bands_start_afresh_where_they_must(written):
    path, theirs = written(header())
    fewer, before = header("gri", "r"), matched_scalings(header("gri", "r"), 2.0)
    ours = network(fewer)
    told = r"these start afresh: .*generator\.first\.0\.weight \(8, 3, 3, 3\) \(there"
    with pytest.warns(GaltransWarning, match=told):
        scalings = warm_start(ours, path, fewer, before)
    middle = "generator.blocks.0.conv1.weight"
    assert torch.equal(ours.state_dict()[middle], theirs.state_dict()[middle])
    np.testing.assert_allclose(scalings[0].softening, 3 * np.array(before[0].softening))


def test_another_scale_keeps_its_own_scaling(written):
    path, _ = written(header("gr", "r"))
    before = matched_scalings(header("gr", "r", scale=1), 2.0)
    with pytest.warns(GaltransWarning) as caught:
        assert warm_start(network(header("gr", "r", 1)), path, header("gr", "r", 1), before) == before
    assert any("its scaling is not taken over (softening there [" in str(w.message) for w in caught)


def test_what_cannot_start_it(written):
    path, _ = written(header("gr", "r"))
    capsule = build_network(load_recipe("capsule"), header("gr", "r"))
    with pytest.raises(ValueError, match="is a srgan network and cannot start a capsule"):
        warm_start(capsule, path, header("gr", "r"), None)
    with pytest.raises(ValueError, match="unknown translator 'swim"):
        warm_start(capsule, "swim-sdss-cfhtls", header("gr", "r"), None)


def test_fine_tuning_begins_at_the_translator_and_is_resumed(written, pairs, others, tmp_path):
    path, _ = written(pairs.header)
    recipe = load_recipe("srgan", steps=4, validation_steps=2, picture_steps=0, network={"settings": SETTINGS},
                         data={"crop": 16, "batch_size": 2},
                         optimizer={"learning_rate": 0.0, "muon_rate": 0.0})  # fmt: skip
    options = {"validation": others, "device": "cpu", "progress": False}
    trained = fit(recipe, pairs, tmp_path / "run", init=path, stop_after=3, **options)
    weights = checkpoint.load(path).model.state_dict()
    assert all(torch.allclose(v, weights[k], atol=1e-6) for k, v in trained.model.state_dict().items())
    resumed = fit(recipe, pairs, tmp_path / "run", **options)  # what it began from is in the checkpoint
    assert resumed.scalings == trained.scalings and resumed.steps == 4
    with pytest.raises(ValueError, match=r"began from .*other\.safetensors, not swin-sdss-cfhtls"):
        fit(recipe, pairs, tmp_path / "run", init="swin-sdss-cfhtls", **options)
