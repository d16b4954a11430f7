"""Translator files made to harm, with consistent checksums: refused, at once and with the reason."""

import copy
import hashlib
import json
import pickle
import resource
import time

import pytest
from safetensors.torch import save as to_bytes
from toy_network import toy_card

from astro_galtrans import load_translator
from astro_galtrans.cli import main
from astro_galtrans.exceptions import CheckpointError
from astro_galtrans.models import checkpoint, registry

MEGABYTES = 1024  # of `ru_maxrss` on Linux


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small real translator, and what its file holds."""
    path = tmp_path_factory.mktemp("whole") / "whole.safetensors"
    model = registry.get_model_class("swin").from_preset("tiny", "gr", "gr", 2)
    checkpoint.save(path, model, toy_card("gr"))
    return path


def crafted(whole, path, *changes):
    """The file with other entries in its card, and the checksum to go with them."""
    content = whole.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    card = json.loads(header["__metadata__"]["astro_galtrans"])
    for entry, value in changes:
        *parents, last = entry.split(".")
        place = card
        for parent in parents:
            place = place[parent]
        if value is KeyError:
            del place[last]
        else:
            place[last] = value
    rest = {key: value for key, value in card.items() if key != "card_sha256"}
    card["card_sha256"] = hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    header["__metadata__"]["astro_galtrans"] = json.dumps(card)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
    return path


def test_the_file_it_is_made_of_is_a_translator(whole, tmp_path):
    assert load_translator(crafted(whole, tmp_path / "a.safetensors")).name == "toy-sdss-cfhtls"


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 65_536}, {"depths": [65_536, 65_536]}, {"depths": [2] * 256}, {"window": 4096}, {"width": 10**12},
        {"mlp_ratio": 1e6}, {"heads": 0}, {"heads": -2}, {"depths": []}, {"window": 0}, {"width": "wide"},
    ],
)  # fmt: skip
def test_networks_far_from_their_weights_are_not_built(whole, tmp_path, settings):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    path = crafted(whole, tmp_path / "a.safetensors", *((f"network.settings.{k}", v) for k, v in settings.items()))
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        load_translator(path)
    assert time.perf_counter() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * MEGABYTES


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("name", "../../elsewhere"), ("name", "/etc/passwd"), ("name", 7), ("name", "\x1b[2Jgone"), ("name", KeyError),
        ("source", KeyError), ("source", []), ("source.zeropoint", "22.5"), ("source.zeropoint", 1e9),
        ("source.pixel_scale", 0), ("source.pixel_scale", -0.4), ("source.sky_rms", [0.1]),
        ("source.sky_rms", [0.1, 0]), ("source.scaling", KeyError), ("target.scaling.softening", [1, "2"]),
        ("target.survey", None), ("target.unit", 3), ("calibration.std", []), ("calibration.std", [1.0, -1.0]),
        ("calibration.flux", {"g": 1}), ("calibration.correlation", {"bands": ["g"]}), ("calibration.correlation", 3),
        ("calibration.correlation_consistent", 3), ("calibration.correlation_consistent", {"amplitudes": [1.0]}),
        ("validity", []), ("validity.pixel_scale", [0.1, 0.2, 0.3]),
        ("validity.fwhm", [1, 2]), ("validity.peak", {"g": "high"}), ("sampling", {"n_samples": 10**9}),
        ("network", []), ("network.name", 5), ("network.name", "no-such"), ("network.scale", 10**6),
        ("network.scale", 2.5), ("network.in_bands", "gr"), ("network.in_bands", ["g", "g"]),
        ("network.in_bands", [f"b{k}" for k in range(1000)]), ("network.out_bands", []), ("network.settings", [1]),
        ("network.settings.width", [[[[[[1]]]]]]), ("description", {"a": 1}),
    ],
)  # fmt: skip
def test_cards_without_sense_are_refused(whole, tmp_path, entry, value):
    with pytest.raises(CheckpointError, match=r"a\.safetensors.*"):
        load_translator(crafted(whole, tmp_path / "a.safetensors", (entry, value)))


def test_headers_without_sense_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    deep = ('{"__metadata__":' + 100_000 * "[").encode()
    for content in (
        (2**40).to_bytes(8, "little") + b"{}",
        len(deep).to_bytes(8, "little") + deep,
        b"\x02\x00\x00\x00\x00\x00\x00\x00{}",
        to_bytes({}, metadata={"astro_galtrans": 10_000 * "["}),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
        with pytest.raises(CheckpointError):
            checkpoint.read_card(path)


def test_cards_do_not_steer_the_terminal(whole, tmp_path, capsys):
    path = crafted(whole, tmp_path / "a.safetensors", ("description", "\x1b[2J\x1b]0;title\x07 plain"))
    assert main(["info", str(path)]) == 0
    text = capsys.readouterr().out
    assert "plain" in text and not {"\x1b", "\x07"} & set(text)
    path = crafted(whole, tmp_path / "\x1b[31m.safetensors", ("name", "\x1b[2J"))
    assert main(["translate", "x.fits", "-m", str(path), "-o", str(tmp_path / "o.fits")]) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_a_card_is_read_only(whole):
    card = load_translator(whole).card
    before = json.dumps(card)
    for change in (
        lambda: card.update(name="other"), lambda: card["calibration"]["std"].append(1), lambda: card.pop("name"),
        lambda: card["source"].__setitem__("zeropoint", 0), lambda: card["calibration"]["std"].__setitem__(0, 9),
        card["calibration"]["std"].sort, lambda: card.__ior__({"name": "x"}), card.clear,
    ):  # fmt: skip
        with pytest.raises(TypeError, match="read-only"):
            change()
    assert json.dumps(card) == before
    mine = copy.deepcopy(card)
    mine["calibration"]["std"][0] = 9
    assert json.dumps(card) == before and mine != card
    assert pickle.loads(pickle.dumps(card)) == card
