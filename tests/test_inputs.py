"""Planes of networks that are told how an image was taken."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from astro_galtrans.inputs import Inputs, Observation
from astro_galtrans.models.base import ModelSpec
from astro_galtrans.models.blocks import MatchedSkip, split_estimate
from astro_galtrans.models.registry import get_model_class

BANDS = ("u", "g", "r")


def entries(softening=(1.0, 2.0, 4.0)):
    source = {
        "pixel_scale": 0.4, "zeropoint": 22.5, "fwhm": [1.3, 1.2, 1.1], "sky_rms": [0.1, 0.2, 0.3],
        "scaling": {"kind": "asinh", "softening": list(softening)},
    }  # fmt: skip
    fine = [s * 10 ** (0.4 * 2.5) / 4 for s in softening]  # the same surface brightness in the target's unit and pixels
    scaling = {"kind": "asinh", "softening": fine}
    return source, source | {"zeropoint": 25.0, "fwhm": [0.9, 0.8, 0.7], "scaling": scaling}


def inputs(in_bands=BANDS, out_bands=BANDS, observed=True):
    return Inputs(ModelSpec("any", in_bands, out_bands, 2, 1, 8, False, observed), *entries())


def image(seed=0):
    return np.random.default_rng(seed).normal(size=(3, 24, 20)).astype(np.float32)


def test_an_image_alone_for_networks_that_are_told_nothing():
    truth = np.arcsinh(image() / [[[1]], [[2]], [[4]]])
    np.testing.assert_allclose(inputs(observed=False).planes(image()), truth, rtol=1e-5)


def test_planes_are_in_their_places():
    made, x = inputs(), image()
    seen = Observation(np.array([1.3, 2.4, 1.1]), np.array([0.1, 0.2, 0.6]), np.ones(3, bool))
    planes = made.planes(x, seen)
    assert planes.shape == (made.channels, 24, 20)
    assert planes.dtype == np.float32
    np.testing.assert_allclose(planes[:3], made.source.forward(x))
    np.testing.assert_allclose(planes[15:18, 3, 4], [0, 3 * np.log(2), 0], atol=1e-6)
    np.testing.assert_allclose(planes[18:21, 0, 0], [0, 0, np.log(2)], atol=1e-6)
    assert (planes[21:] == 1).all()


def test_the_skip_connection_is_the_linear_answer():
    made, x = inputs(), image()
    planes = torch.from_numpy(made.planes(x))[None]
    skip = MatchedSkip(BANDS, BANDS, 2)(planes)[0].numpy()
    np.testing.assert_array_equal(skip, made.matched(x, made.typical))


def test_the_linear_answer_keeps_flux():
    made, x = inputs(), np.zeros((3, 40, 40), np.float32)
    x[:, 18:22, 18:22] = 1.0
    answer = made.target.inverse(made.matched(x, made.typical))
    np.testing.assert_allclose(answer.sum(axis=(1, 2)), 16 * 10 ** (0.4 * 2.5), rtol=1e-3)  # 2.5 mag of zero point


def test_a_missing_band_is_made_from_its_neighbour():
    made, x = inputs(), image()
    seen = replace(made.typical, present=np.array([True, False, True]))
    planes, other = made.planes(x, seen), made.planes(np.where([[[0]], [[1]], [[0]]], 1e6, x), seen)
    np.testing.assert_array_equal(planes, other)  # whatever the band holds
    assert np.isfinite(planes).all()
    assert not planes[[1, 16, 19, 22]].any()
    assert planes[3 + 4 : 3 + 8].std() > 0.01


def test_bands_of_other_names():
    source, target = entries()
    target |= {"fwhm": [0.8], "scaling": {"kind": "asinh", "softening": [3.0]}}
    made = Inputs(ModelSpec("any", BANDS, ("y",), 2, 1, 8, False, True), source, target)
    assert made.planes(image()).shape == (12 + 4, 24, 20)


def test_typical_numbers_are_needed():
    source, target = entries()
    spec = ModelSpec("any", BANDS, BANDS, 2, 1, 8, False, True)
    with pytest.raises(ValueError, match=r"needs a typical target FWHM for every band, got \[0.9, None, 0.7\]"):
        Inputs(spec, source, target | {"fwhm": [0.9, None, 0.7]})


@pytest.mark.parametrize("name", ["swin", "srgan", "capsule", "diffusion"])
def test_networks_start_from_the_linear_answer(name):
    torch.manual_seed(0)
    network = get_model_class(name).from_preset("tiny", BANDS, BANDS, 2, observed=True).eval()
    planes = torch.from_numpy(inputs().planes(image()))[None]
    with torch.inference_mode():
        torch.testing.assert_close(network(planes).mean, network.skip(planes), rtol=0, atol=1e-6)
    network.prepare_training()
    terms = list(network.losses(planes, network.skip(planes) + 0.1, 1.0, torch.Generator().manual_seed(1)))
    assert all(torch.isfinite(value) for part in terms for value in part.values())


def test_corrections_of_the_linear_answer_are_bounded():
    raw, skip = torch.tensor([[-1e6, -1.0, 0.0, 2.0, 1e6]]), torch.full((1, 5), 3.0)
    raw = torch.stack([raw, torch.zeros_like(raw)], dim=1)[..., None]  # [B, 2 C_out, H, W]
    mean, _ = split_estimate(raw, skip[:, None, :, None], bounded=True)
    np.testing.assert_allclose(mean.ravel() - 3, [-5, -1, 0, 2, 5], rtol=0.01)
    free, _ = split_estimate(raw, skip[:, None, :, None])
    np.testing.assert_allclose(free.ravel() - 3, raw[0, 0].ravel())
