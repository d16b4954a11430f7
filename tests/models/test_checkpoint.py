"""Translator files: what is saved is what is loaded, and a file that was touched is refused."""

import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn
from toy_network import ToyTranslator, toy_card

from astro_galtrans.exceptions import CheckpointError
from astro_galtrans.models import checkpoint, registry


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "toy", "toy_network:ToyTranslator")
    registry._table.cache_clear()
    yield
    registry._table.cache_clear()


@pytest.fixture
def model():
    model = ToyTranslator.from_preset("tiny", "gr", "gr", 2)
    nn.init.normal_(model.conv.weight)
    return model


@pytest.fixture
def path(tmp_path, model):
    path = tmp_path / "toy.safetensors"
    checkpoint.save(path, model, toy_card("gr"))
    return path


def rewrite(path, change, *, checksum=True):
    """Write the file anew with another card, as somebody with a text editor (and a hash function) would."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    card = json.loads(header["__metadata__"]["astro_galtrans"])
    change(card)
    if checksum:
        rest = {key: value for key, value in card.items() if key != "card_sha256"}
        canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        card["card_sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    header["__metadata__"]["astro_galtrans"] = json.dumps(card)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])


def test_what_is_saved_is_what_is_loaded(path, model):
    loaded = checkpoint.load(path)
    source = torch.randn(1, 2, 9, 7)
    with torch.no_grad():
        for ours, theirs in zip(loaded.model(source), model(source), strict=True):
            assert torch.equal(ours, theirs)
    assert not loaded.model.training
    assert loaded.model.spec == model.spec
    assert loaded.card == checkpoint.read_card(path)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_card_gives_back_what_was_put_in(path):
    card, given = checkpoint.read_card(path), toy_card("gr")
    assert {key: card[key] for key in given} == json.loads(json.dumps(given))
    assert card["network"] == {
        "name": "toy",
        "preset": None,
        "settings": {"kernel": 3},
        "in_bands": ["g", "r"],
        "out_bands": ["g", "r"],
        "scale": 2,
    }
    assert card["versions"]["torch"] == torch.__version__
    assert card["created"].endswith("+00:00")


def test_numbers_of_numpy_are_numbers(tmp_path, model):
    card = toy_card("gr", scores={"rmse": np.float32(0.5), "bias": np.array([1.0, 2.0]), "n": np.int64(3)})
    checkpoint.save(tmp_path / "a.safetensors", model, card)
    assert checkpoint.read_card(tmp_path / "a.safetensors")["scores"] == {"rmse": 0.5, "bias": [1.0, 2.0], "n": 3}


def test_the_safetensors_library_reads_it(path, model):
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(model.state_dict())
        assert torch.equal(file.get_tensor("conv.weight"), model.conv.weight)
        assert json.loads(file.metadata()["astro_galtrans"]) == checkpoint.read_card(path)


def test_half_precision_comes_back_as_float32(tmp_path, model):
    expected = model.conv.weight.detach().half().float()
    checkpoint.save(tmp_path / "half.safetensors", model.half(), toy_card("gr"))
    loaded = checkpoint.load(tmp_path / "half.safetensors").model
    assert loaded.conv.weight.dtype == torch.float32
    assert torch.equal(loaded.conv.weight, expected)


def test_an_adversary_stays_at_home(tmp_path):
    model = registry.get_model_class("srgan").from_preset("tiny", "gr", "gr", 2)
    model.prepare_training()
    assert any(name.startswith("discriminator") for name in model.state_dict())
    checkpoint.save(tmp_path / "a.safetensors", model, toy_card("gr"))
    loaded = checkpoint.load(tmp_path / "a.safetensors").model
    assert not any(name.startswith("discriminator") for name in loaded.state_dict())


def test_loading_leaves_the_random_state_alone(path):
    state = torch.get_rng_state()
    checkpoint.load(path)
    assert torch.equal(torch.get_rng_state(), state)


def test_reading_a_card_needs_no_torch(path):
    code = "import sys; from astro_galtrans.models import checkpoint; "
    code += "checkpoint.read_card(sys.argv[1]); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_changed_weights_are_noticed(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert checkpoint.read_card(path)["name"] == "toy-sdss-cfhtls"  # the header is untouched
    with pytest.raises(CheckpointError, match="weights do not match"):
        checkpoint.load(path)


@pytest.mark.parametrize("read", [checkpoint.load, checkpoint.read_card])
def test_an_edited_card_is_noticed(path, read):
    rewrite(path, lambda card: card["calibration"].update(flux=[2.0, 2.0]), checksum=False)
    with pytest.raises(CheckpointError, match="card does not match"):
        read(path)


def test_exchanged_tensors_are_noticed(tmp_path, path, model):
    # the same bytes under another name or shape are other weights
    content = path.read_bytes().replace(b'"shape":[16,2,3,3]', b'"shape":[2,16,3,3]')
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="weights do not match"):
        checkpoint.load(path)


@pytest.mark.parametrize("read", [checkpoint.load, checkpoint.read_card])
def test_another_format_version_is_named(path, read):
    rewrite(path, lambda card: card.update(format_version=2))
    with pytest.raises(CheckpointError, match=r"format version 2; this .* reads version 1"):
        read(path)


@pytest.mark.parametrize("read", [checkpoint.load, checkpoint.read_card])
@pytest.mark.parametrize("size", [0, 4, 8, 9, 200, -1])
def test_truncated_files_are_refused(path, read, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"truncated"):
        read(path)


@pytest.mark.parametrize("read", [checkpoint.load, checkpoint.read_card])
@pytest.mark.parametrize("content", [b"SIMPLE  =                    T" * 100, b"\x02\0\0\0\0\0\0\0[]", b"\0" * 64])
def test_other_files_are_refused(path, read, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        read(path)


def test_weights_without_a_card_are_refused(tmp_path, model):
    from safetensors.torch import save_file

    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="no translator"):
        checkpoint.load(tmp_path / "bare.safetensors")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "nowhere.safetensors")


def test_surplus_tensors_are_named(tmp_path, model):
    model.more = nn.Linear(1, 1)
    checkpoint.save(tmp_path / "a.safetensors", model, toy_card("gr"))
    with pytest.raises(CheckpointError, match=r"missing tensors \[\], surplus tensors \['more.bias', 'more.weight'\]"):
        checkpoint.load(tmp_path / "a.safetensors")


def test_missing_tensors_are_named(tmp_path, model):
    model.conv.bias = None
    checkpoint.save(tmp_path / "a.safetensors", model, toy_card("gr"))
    with pytest.raises(CheckpointError, match=r"missing tensors \['conv.bias'\]"):
        checkpoint.load(tmp_path / "a.safetensors")


def test_tensors_of_another_shape_are_refused(tmp_path, model):
    model.conv = nn.Conv2d(2, 16, 5)
    checkpoint.save(tmp_path / "a.safetensors", model, toy_card("gr"))
    with pytest.raises(CheckpointError, match=r"size mismatch for conv\.weight"):
        checkpoint.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("change", [{"name": "unheard-of"}, {"settings": {"kernel": 3, "colour": 1}}, {"scale": 7}])
def test_networks_that_cannot_be_built_are_refused(path, change):
    rewrite(path, lambda card: card["network"].update(change))
    with pytest.raises(CheckpointError, match="cannot build"):
        checkpoint.load(path)


def test_a_card_of_another_network_is_not_saved(tmp_path, model):
    with pytest.raises(ValueError, match=r"scale = 3, the model has 2"):
        checkpoint.save(tmp_path / "a.safetensors", model, toy_card("gr", network={"scale": 3}))
    with pytest.raises(ValueError, match="lacks source, validity"):
        checkpoint.save(tmp_path / "a.safetensors", model, {"name": "a", "target": {}, "calibration": {}})
    with pytest.raises(ValueError, match="JSON compliant"):
        checkpoint.save(tmp_path / "a.safetensors", model, toy_card("gr", scores={"rmse": np.nan}))
    with pytest.raises(TypeError, match="got object"):
        checkpoint.save(tmp_path / "a.safetensors", model, toy_card("gr", scores=object()))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing_behind(tmp_path, model):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        checkpoint.save(tmp_path / "folder", model, toy_card("gr"))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
