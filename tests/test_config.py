"""Defaults from astropy's configuration: read from a file, changed for a while, refused where they make no sense."""

import numpy as np
import pytest
from astropy.config import set_temp_config
from toy_network import ToyTranslator, toy_card

from astro_galtrans import conf, load_translator
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.translate import Translator
from helpers import make_bands


def test_defaults_come_from_the_users_file(tmp_path):
    (tmp_path / "astropy").mkdir()
    (tmp_path / "astropy" / "astro_galtrans.cfg").write_text("device = cpu\ntile_pixels = 4096\n")
    with set_temp_config(tmp_path):
        conf.reload()
        assert (conf.device, conf.tile_pixels, conf.cache_dir) == ("cpu", 4096, "")
    conf.reload()
    assert (conf.device, conf.tile_pixels) == ("", 600_000)


def test_the_device_of_the_configuration():
    with conf.set_temp("device", "no-such"), pytest.raises(ValueError, match="device 'no-such' is not available here"):
        load_translator("swin-sdss-cfhtls")
    with conf.set_temp("device", "no-such"):
        assert load_translator("swin-sdss-cfhtls", "cpu").model.device.type == "cpu"


def test_tiles_of_the_configuration():
    """Smaller tiles are more calls of the network, and the same image."""
    model = ToyTranslator.from_preset("tiny", ("r",), ("r",), 2).eval()
    translator, sizes = Translator(Checkpoint(model, toy_card("r"), "0" * 64)), []
    model.register_forward_pre_hook(lambda _model, inputs: sizes.append((len(inputs[0]), inputs[0][0, 0].numel())))
    image = make_bands((80, 80), "r")
    whole = translator(image)["r"].data
    assert sizes == [(1, 6400)]
    sizes.clear()
    with conf.set_temp("tile_pixels", 1600):
        np.testing.assert_allclose(translator(image)["r"].data, whole, rtol=1e-5, atol=1e-5)
    assert sum(number for number, _ in sizes) > 4 and max(pixels for _, pixels in sizes) <= 1600
    with pytest.raises(TypeError, match="too small"):
        conf.tile_pixels = 7
