"""
The Swin network against the authors' SwinIR, against attention written plainly, and against its own promises.

``data/swinir.npz`` holds what the authors' code answers: `SwinIR` of BasicSR 1.4.2 (``basicsr/archs/swinir_arch.py``),
in evaluation mode, ``in_chans=5, embed_dim=60, depths=[4]*4, num_heads=[6]*4, window_size=8, mlp_ratio=2, upscale=2,
upsampler="pixelshuffledirect"``, parameters from `official_parameter` and images from `official_image`, in float64,
rounded to float32. Images whose sides are no multiples of 8 were padded by reflection and the answer cropped, as the
authors' repository has it.
"""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from astro_galtrans.models import swin
from astro_galtrans.models.swin import SwinIR, SwinTranslator

OFFICIAL = Path(__file__).parent / "data" / "swinir.npz"


def official_parameter(name, shape):
    """Return the value of a parameter of the reference network: a function of its name and shape."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).uniform(-1, 1, shape)
    if name.endswith("bias_table"):
        return noise
    if len(shape) > 1:
        return noise * np.sqrt(3 / np.prod(shape[1:]))
    return 0.1 * noise + ("norm" in name and name.endswith("weight"))


def official_image(shape):
    """Return the image ``[5, H, W]`` of that size."""
    return np.random.default_rng(shape).uniform(-1, 1, (5, *shape)).astype(np.float32)


def official_network():
    network = SwinIR(5, 5).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(official_parameter(name, tuple(parameter.shape))))
    return network


def shaken(**settings):
    """Return an untrained translator whose parameters are all at work."""
    torch.manual_seed(1)
    model = SwinTranslator.from_preset("tiny", "gri", "gri", 2, **settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


# The network of the paper


@pytest.mark.parametrize("shape", [(16, 24), (9, 11)])
def test_answers_as_the_authors_code(shape):
    truth = np.load(OFFICIAL)["{}x{}".format(*shape)]
    with torch.inference_mode():
        answer = official_network()(torch.from_numpy(official_image(shape))[None])[0]
    assert np.abs(truth).max() > 1  # else the tolerance would say little
    np.testing.assert_allclose(answer, truth, rtol=0, atol=1e-5)


def test_answers_the_same_with_and_without_gradients():
    network, image = official_network(), torch.from_numpy(official_image((17, 8)))[None]
    with torch.inference_mode():
        fast = network(image)
    # the fused path sums in another order: they agree to rounding, as with the authors' code
    torch.testing.assert_close(network(image).detach(), fast, rtol=0, atol=1e-5)


def test_loads_an_official_state_dict():
    """One holds masks and position indices too, in every block with shifted windows and in every block."""
    network = official_network()
    official = network.state_dict()
    for group in range(4):
        for block in range(4):
            prefix = f"layers.{group}.residual_group.blocks.{block}."
            official[prefix + "attn.relative_position_index"] = torch.zeros(64, 64, dtype=torch.long)
            if block % 2:
                official[prefix + "attn_mask"] = torch.zeros(64, 64, 64)
    keys = set(official)
    fresh = SwinIR(5, 5)
    fresh.load_state_dict(official, strict=True)
    assert set(official) == keys  # the caller's dict is left alone
    assert all(torch.equal(value, official[name]) for name, value in fresh.state_dict().items())
    with pytest.raises(RuntimeError, match="Unexpected key"):
        fresh.load_state_dict(official | {"layers.0.residual_group.blocks.0.attn.mask": torch.zeros(1)})


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"depths": (6,) * 6, "width": 180, "upsampler": "pixelshuffle"}, 11_752_487),
        ({"depths": (6,) * 4}, 910_152),
    ],
    ids=["classical", "light"],
)
def test_has_as_many_parameters_as_the_authors_models(settings, count):
    with torch.device("meta"):
        network = SwinIR(3, 3, **settings)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("upsampler", ["pixelshuffledirect", "pixelshuffle"])
@pytest.mark.parametrize("resi", ["1conv", "3conv"])
def test_every_way_up(scale, upsampler, resi):
    network = SwinIR(2, 3, scale=scale, depths=(2,), width=12, heads=2, upsampler=upsampler, resi=resi)
    with torch.inference_mode():
        assert network(torch.randn(1, 2, 9, 5)).shape == (1, 3, 9 * scale, 5 * scale)


def test_denoises_by_a_residual():
    network = SwinIR(3, 3, scale=1, depths=(2,), width=12, heads=2, upsampler="")
    torch.nn.init.zeros_(network.conv_last.weight)
    torch.nn.init.constant_(network.conv_last.bias, 0.25)
    image = torch.randn(1, 3, 10, 13)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), image + 0.25)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 50, "heads": 4}, "heads must divide width, got width=50 and heads=4"),
        ({"window": 7}, "window must be even and at least 2, got 7"),
        ({"resi": "2conv"}, "resi must be '1conv' or '3conv', got '2conv'"),
        ({"upsampler": "nearest"}, "upsampler must be .* got 'nearest'"),
        ({"upsampler": ""}, "at scale 1"),
        ({"depths": ()}, "depths must be"),
        ({"depths": (2, 0)}, "depths must be"),
    ],
)
def test_wrong_settings_say_what_would_do(settings, message):
    with pytest.raises(ValueError, match=message):
        SwinIR(3, 3, **settings)


# Attention


def plain_attention(qkv, bias):
    """Return attention as the paper writes it, window by window and head by head; tokens ``[N*M, 3*h*d]``."""
    heads, size, _ = bias.shape
    windows = qkv.reshape(-1, size, 3, heads, qkv.shape[1] // (3 * heads))
    out = np.empty(windows[:, :, 0].shape)
    for n, window in enumerate(windows):
        for head in range(heads):
            q, k, v = window[:, :, head].swapaxes(0, 1)
            out[n, :, head] = softmax(q @ k.T / np.sqrt(q.shape[1]) + bias[head], axis=1) @ v
    return out.reshape(len(qkv), -1)


@pytest.mark.parametrize(("heads", "depth"), [(1, 4), (2, 3), (6, 10)])
def test_attention_is_the_papers(rng, heads, depth):
    qkv, bias = rng.normal(size=(3 * 16, 3 * heads * depth)), 3 * rng.normal(size=(heads, 16, 16))
    ours = swin._Attention.apply(torch.from_numpy(qkv), torch.from_numpy(bias))
    np.testing.assert_allclose(ours, plain_attention(qkv, bias), rtol=1e-12, atol=1e-13)


def test_attention_has_the_gradient_of_finite_differences(rng):
    qkv = torch.from_numpy(rng.normal(size=(3 * 4, 3 * 2 * 3))).requires_grad_()
    bias = torch.from_numpy(rng.normal(size=(2, 4, 4))).requires_grad_()
    assert torch.autograd.gradcheck(swin._Attention.apply, (qkv, bias))


def test_attention_survives_large_scores():
    """A score of 10,000 is no overflow: all weight goes to one token."""
    qkv = torch.zeros(4, 3)
    qkv[:, 0] = qkv[2, 1] = 100.0
    qkv[:, 2] = torch.arange(4.0)
    assert torch.equal(swin._Attention.apply(qkv, torch.zeros(1, 4, 4)), torch.full((4, 1), 2.0))


def felt_by(block, shape, place):
    """Return which pixels of an image the block's output at ``place`` depends on."""
    order, window = (1, *shape), block.attn.window
    image = torch.randn(1, *shape, 6, dtype=torch.float64, requires_grad=True)
    there = swin._change_order(order, window, None, block.shift, image.device)
    back = swin._change_order(order, window, block.shift, None, image.device)
    tokens = block(image.view(-1, 6), there, swin._windows_per_kind(order, window, block.shift))
    swin._Gather.apply(tokens, *back).view(*shape, 6)[place].sum().backward()
    return (image.grad[0].abs().sum(dim=-1) > 1e-30).numpy()


@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize("shape", [(16, 24), (8, 16), (8, 8)])
@pytest.mark.parametrize("place", [(0, 0), (3, 4), (5, 7), (7, 3)])
def test_a_pixel_attends_to_its_window_and_no_further(shift, shape, place):
    """Shifted windows are windows cut ``shift`` pixels earlier; at the edges they are smaller, not wrapped."""
    block = swin.SwinBlock(6, 2, 8, shift, 12).double()
    y, x = np.indices(shape)
    same = ((y + shift) // 8 == (place[0] + shift) // 8) & ((x + shift) // 8 == (place[1] + shift) // 8)
    np.testing.assert_array_equal(felt_by(block, shape, place), same)


def test_bias_depends_on_the_offset_only(rng):
    """Shown by a table that holds each offset's own number, (dy + 7) * 15 + dx + 7."""
    attention = swin.WindowAttention(4, 1, 8, 0)
    with torch.no_grad():
        attention.relative_position_bias_table[:, 0] = torch.arange(225)
    y, x = (axis.ravel() for axis in np.indices((8, 8)))
    offsets = (y[:, None] - y + 7) * 15 + x[:, None] - x + 7
    np.testing.assert_array_equal(attention.bias().detach()[0, 0], offsets)


# The order of tokens, and the caches


@pytest.mark.parametrize(("before", "after"), [(None, 0), (0, 2), (2, None), (2, 0)])
def test_a_change_of_order_is_undone_by_its_inverse(before, after):
    index, inverse = swin._change_order((2, 8, 12), 4, before, after, torch.device("cpu"))
    rows = torch.arange(2 * 8 * 12.0)[:, None]
    there = swin._Gather.apply(rows, index, inverse)
    assert not torch.equal(there, rows)
    assert torch.equal(swin._Gather.apply(there, inverse, index), rows)


def test_gather_has_the_gradient_of_indexing(rng):
    rows = torch.from_numpy(rng.normal(size=(16, 2))).requires_grad_()
    index, inverse = swin._change_order((1, 4, 4), 2, 0, 1, rows.device)
    assert torch.autograd.gradcheck(lambda rows: swin._Gather.apply(rows, index, inverse), (rows,))
    assert torch.equal(swin._Gather.apply(rows, index, inverse), rows[index.long()])


def test_chunks_leave_no_trace(monkeypatch):
    model, source = shaken(), torch.randn(2, 3, 21, 26)
    answers, gradients = [], []
    for most in (1000, 3):
        monkeypatch.setattr(swin, "CHUNK", most)
        estimate = model(source)
        answers.append(estimate.mean.detach())
        loss = estimate.mean.square().mean() + estimate.log_std.mean()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    torch.testing.assert_close(*answers, rtol=1e-5, atol=1e-5)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_trains_after_inference_at_the_same_size():
    """What inference mode left in the caches must not stop a gradient."""
    swin._change_order.cache_clear()
    model, source = shaken(), torch.randn(1, 3, 16, 16)
    with torch.inference_mode():
        model(source)
    model(source).mean.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_runs_in_bfloat16():
    model, source = shaken(), torch.randn(1, 3, 20, 20)
    with torch.inference_mode():
        full = model(source).mean
        with torch.autocast("cpu", torch.bfloat16):
            half = model(source).mean
    assert (half - full).abs().max() < 0.05 * full.std()


# The translator


@pytest.mark.parametrize(
    ("settings", "reach"),
    [
        ({}, 23),
        ({"depths": (1,)}, 11),
        ({"depths": (2,), "window": 4}, 9),
        ({"depths": (3, 1), "resi": "3conv", "upsampler": "pixelshuffle"}, 31),
    ],
)
def test_margin_is_the_exact_reach(settings, reach):
    """Cut an image at a multiple of the window: the margin next to the cut changes, to its last pixel, and no more."""
    model = shaken(**settings).double()
    assert model.margin == reach
    source = torch.randn(1, 3, 8, 96, dtype=torch.float64)
    with torch.inference_mode():
        whole, cut = model(source).mean[..., :96], model(source[..., :48]).mean
    changed = (whole - cut).abs().amax(dim=(0, 1, 2)).view(48, 2).amax(dim=1) > 1e-13
    assert not changed[: 48 - reach].any()
    assert changed[48 - reach]


def test_a_deep_network_hardly_reaches_beyond_its_margin():
    """36 blocks could reach 151 pixels; what comes from beyond 32 is far below 0.001."""
    model = shaken(depths=(6,) * 6, width=12, heads=2)
    assert model.margin == 32
    source = torch.randn(1, 3, 8, 192)
    with torch.inference_mode():
        whole, cut = model(source).mean, model(source[..., :96]).mean
    assert (whole[..., :128] - cut[..., :128]).abs().max() < 1e-3
    assert (whole[..., :192] - cut).abs().max() > 1e-3


def test_tile_origins_are_multiples_of_the_window():
    assert shaken(window=4).spec.multiple_of == 4
    assert shaken().spec.multiple_of == 8
