"""Conditional diffusion: the standardised residual, the denoiser around the network, and the samples."""

import numpy as np
import pytest
import torch

from astro_galtrans.models.diffusion import DiffusionTranslator, UNet, sample_generator, standardise, unstandardise
from astro_galtrans.models.schedule import white_noise
from astro_galtrans.tiling import plan_tiles

SMALL = dict(
    regression_widths=(8,), regression_blocks=(1,), encoder_width=8, features=8, denoiser_widths=(24, 24),
    denoiser_blocks=(1, 1), embedding=32,
)  # fmt: skip


def build(scale=2, **changes):
    torch.manual_seed(0)
    return DiffusionTranslator.from_preset("tiny", "gr", "gr", scale, **(SMALL | changes)).eval()


def shaken(scale=2, **changes):
    """Return a network whose last layers are not the zeros of an untrained one."""
    model = build(scale, **changes)
    for name, parameter in model.named_parameters():
        if name.endswith("head.weight"):
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def draw(model, source, n_samples=1, seed=5, tile=None):
    spec = model.spec
    plan = plan_tiles(source.shape[1:], scale=spec.scale, multiple_of=spec.multiple_of, margin=spec.margin, tile=tile)
    return list(model.predict(source, plan, n_samples=n_samples, seed=seed))


def blank(rng, shape=(24, 20)):
    return rng.normal(0, 0.5, (2, *shape)).astype(np.float32)


def test_residual_is_the_flux_error_in_standard_deviations(rng):
    """Fluxes m + std z with z of unit variance, in double precision."""
    softening, flux, std = 0.3, 10 ** rng.uniform(-1, 3, (2, 4, 5)), 0.2
    z = rng.normal(size=flux.shape)
    mean, target = (torch.from_numpy(np.arcsinh(f / softening)) for f in (flux, flux + std * z))
    log_std = torch.from_numpy(np.log(std / np.hypot(flux, softening)))  # d flux / d u = softening cosh u
    np.testing.assert_allclose(standardise(target, mean, log_std), z, atol=1e-9)
    values, spread = unstandardise(z.copy(), mean.numpy(), log_std.numpy())
    np.testing.assert_allclose(values, target, atol=1e-12)
    np.testing.assert_allclose(spread * softening * np.cosh(values), std, rtol=1e-12)


def test_untrained_it_draws_white_noise_of_the_stated_size(rng):
    """With a network that says nothing, the samples are the mean plus the noise that was drawn, whatever the steps."""
    model = build()
    source = blank(rng)
    (values, _), *_ = draw(model, source, seed=5)
    noise = white_noise((48, 40), sample_generator(5, 0)).numpy()
    mean, log_std = (part[0].detach().numpy() for part in model(torch.from_numpy(source)[None]))
    expected = np.sinh(mean[0]) + np.cosh(mean[0]) * np.exp(log_std[0]) * noise
    np.testing.assert_allclose(np.sinh(values[0]), expected, atol=0.003)


def test_untrained_the_denoiser_is_that_of_white_noise():
    """Zero output is E[u | noisy] = noisy / (1 + sigma^2) for u of unit variance, at every level."""
    model, sigma = build(), torch.tensor([0.05, 1.0, 30.0])
    noisy = torch.randn(3, 2, 12, 12) * torch.sqrt(1 + sigma**2)[:, None, None, None]
    with torch.inference_mode():
        state = noisy / torch.sqrt(1 + sigma**2)[:, None, None, None]
        _, known = model.described(torch.randn(3, 2, 6, 6))
        denoised = model.denoise(known, state, sigma)
    torch.testing.assert_close(denoised, noisy / (1 + sigma[:, None, None, None] ** 2))


def test_untrained_the_loss_is_that_of_white_noise():
    """The weighted error is 1 for residuals of unit variance (times 0.1, its share of the loss)."""
    model, generator = build(), torch.Generator().manual_seed(1)
    source = torch.randn(32, 2, 16, 16, generator=generator)
    with torch.no_grad():
        mean, log_std = model(source)
        flux = torch.sinh(mean) + torch.cosh(mean) * log_std.exp() * white_noise(mean.shape, generator)
        terms = next(model.losses(source, torch.asinh(flux), 0.5, generator))
    assert float(terms["denoise"]) == pytest.approx(0.1, rel=0.02)


def test_losses_repeat_with_their_generator():
    model, source, target = shaken(), torch.randn(3, 2, 8, 8), torch.randn(3, 2, 16, 16)
    first, again, other = (
        float(next(model.losses(source, target, 0.0, torch.Generator().manual_seed(seed)))["denoise"].detach())
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_denoiser_does_not_bend_the_regression():
    model = shaken()
    terms = next(model.losses(torch.randn(2, 2, 8, 8), torch.randn(2, 2, 16, 16), 0.0))
    gradients = torch.autograd.grad(terms["denoise"], list(model.regression.parameters()), allow_unused=True)
    assert gradients == (None,) * len(gradients)


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_at_most_eight_evaluations_a_sample(preset):
    model = build(**{name: DiffusionTranslator.PRESETS[preset][name] for name in DiffusionTranslator._SAMPLER})
    source, calls = np.zeros((2, 8, 8), np.float32), []
    model.denoiser.register_forward_hook(lambda *_: calls.append(1))
    draw(model, source, n_samples=2)
    assert len(calls) == model.evaluations(2) - 1 <= 2 * 8


def test_a_sample_is_its_seed_and_index(rng):
    """However many are drawn; and each seed has its own."""
    model, source = shaken(), blank(rng)
    three = draw(model, source, n_samples=3)
    two = draw(model, source, n_samples=2)
    for sample_of_three, sample_of_two in zip(three[:2], two, strict=True):
        np.testing.assert_array_equal(sample_of_three.values, sample_of_two.values)
    others = [three[1], three[2], *draw(model, source, seed=6), *draw(model, source, seed=None)]
    for other in others:
        assert abs(np.corrcoef(three[0].values.ravel(), other.values.ravel())[0, 1]) < 0.9
        assert not np.any(three[0].values == other.values)


def test_bands_have_noise_of_their_own(rng):
    (values, _), *_ = draw(build(), blank(rng, (40, 40)))
    mean = build()(torch.zeros(1, 2, 1, 1)).mean  # of blank sky
    assert float(mean.detach().abs().max()) < 1e-6
    residual = values - draw(build(), blank(rng, (40, 40)), seed=1)[0].values
    assert abs(np.corrcoef(residual[0].ravel(), residual[1].ravel())[0, 1]) < 0.2


def test_flux_error_is_the_same_at_every_sample(rng):
    """The stated error is that of the flux; in network units it depends on where on the curve a sample lies."""
    model, source = shaken(), 2 * blank(rng)
    first, second = draw(model, source, n_samples=2)
    np.testing.assert_allclose(first.std * np.cosh(first.values), second.std * np.cosh(second.values), rtol=1e-4)
    mean, log_std = (part[0].detach().numpy() for part in model(torch.from_numpy(source)[None]))
    np.testing.assert_allclose(first.std * np.cosh(first.values), np.exp(log_std) * np.cosh(mean), rtol=1e-4)


@pytest.mark.parametrize(("scale", "churn"), [(1, 0.0), (2, 0.0), (2, 5.0), (3, 0.0)])
def test_tiles_do_not_change_a_sample(rng, scale, churn):
    """Also where the image is not a multiple of the pyramid's blocks."""
    model = shaken(scale, churn=churn, steps=4)
    source = blank(rng, (31, 4 * model.margin + 21))
    (whole,), (tiled,) = (draw(model, source, tile=tile) for tile in (source.shape[1:], (31, 3 * model.margin)))
    np.testing.assert_allclose(tiled.values, whole.values, atol=1e-4)
    np.testing.assert_allclose(tiled.std, whole.std, rtol=1e-4)


def test_churn_repeats_with_the_seed(rng):
    model, source = shaken(churn=5.0, steps=4), blank(rng)
    (first,), (again,) = draw(model, source), draw(model, source)
    (still,) = draw(shaken(steps=4), source)
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, still.values)


@pytest.mark.parametrize("blocks", [(1, 1), (2, 1), (1, 0, 2), (0, 1, 1)])
def test_a_unet_of_images_of_every_level_sees_as_far_as_it_says(blocks):
    """Of the gradients of any pixel of any level by any level's, in pixels of the first, which all lie on a grid."""
    levels = len(blocks)
    unet = UNet((1,) * levels, (1,) * levels, (3,) * levels, blocks)
    for parameter in unet.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 0.2)
    size = unet.stride * (2 * (unet.radius // unet.stride) + 5)
    images = [torch.zeros(1, 1, size >> k, size >> k, requires_grad=True) for k in range(levels)]
    reach, found, middle = 0, unet(images), size // unet.stride // 2
    for out, image in enumerate(found):
        place = middle << (levels - 1 - out)  # a pixel of this level that begins where a largest block does
        for k, gradient in enumerate(torch.autograd.grad(image[0, 0, place, place], images, retain_graph=True)):
            touched = torch.nonzero(gradient[0, 0]) << k
            below, above = (place << out) - touched.min(), touched.max() + 2**k - 1 - (place << out)
            reach = max(reach, int(below), int(above) - 2**out + 1)
    assert reach <= unet.radius


@pytest.mark.parametrize("blocks", [(1,), (2, 1), (1, 2, 1), (0, 1, 0, 1)])
def test_a_unet_sees_exactly_as_far_as_it_says(blocks):
    """Gradients of one output pixel reach its radius, from some place on the grid, and never beyond."""
    unet = UNet(1, 1, (3,) * len(blocks), blocks)
    for parameter in unet.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 0.2)  # all positive: nothing cancels
    size = 4 * unet.stride + 2 * unet.radius
    reach = 0
    for place in range(unet.radius + unet.stride, unet.radius + 2 * unet.stride):
        image = torch.zeros(1, 1, size, size, requires_grad=True)
        (gradient,) = torch.autograd.grad(unet(image)[0, 0, place, place], image)
        touched = torch.nonzero(gradient[0, 0])
        reach = max(reach, int((touched - place).abs().max()))
    assert reach == unet.radius


def test_levels_must_match():
    with pytest.raises(ValueError, match="as many levels"):
        UNet(1, 1, (4, 8), (1,))


def correlated(shape, generator):
    """Noise of unit variance whose horizontal neighbours have a correlation of 0.5 and whose bands have one of 0.6."""
    white = white_noise((*shape[:-1], shape[-1] + 1), generator)
    smooth = (white[..., 1:] + white[..., :-1]) / 2**0.5
    return torch.stack([smooth[:, 0], 0.6 * smooth[:, 0] + 0.8 * smooth[:, 1]], dim=1)


def trained(errors, steps, generator):
    """Return a network for targets of half the source plus errors, a function of shape and generator."""
    torch.manual_seed(1)
    model = DiffusionTranslator.from_preset("tiny", "gr", "gr", 1, **SMALL)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        source = 0.5 * white_noise((16, 2, 16, 16), generator)
        target = torch.asinh(torch.sinh(source) / 2 + errors(source.shape, generator))
        optimizer.zero_grad()
        sum(next(model.losses(source, target, 0.0, generator)).values()).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def common(shape, generator):
    """White noise of 0.2, and an error of 0.03 that all pixels share, with a correlation of 0.8 between bands."""
    first, other = white_noise((2, shape[0], 1, 1), generator)
    shared = torch.stack([first, 0.8 * first + 0.6 * other], dim=1)
    return 0.2 * white_noise(shape, generator) + 0.03 * shared


@pytest.mark.slow
def test_learns_an_error_that_all_pixels_share():
    """It is 2 % of the variance of a pixel, and 85 % of that of the sum over the image, which is a galaxy's flux."""
    generator = torch.Generator().manual_seed(1)
    model = trained(common, 600, generator)
    sources = 0.5 * white_noise((300, 2, 16, 16), generator).numpy()
    drawn = [draw(model, source, seed=k)[0].values for k, source in enumerate(sources)]
    sums = (np.sinh(drawn) - np.sinh(sources) / 2).sum(axis=(2, 3))
    # in this short training; one that diffuses pixels is at half of it, with a correlation of 0.4
    np.testing.assert_allclose(sums.std(axis=0), np.sqrt(0.2**2 * 256 + (0.03 * 256) ** 2), rtol=0.2)
    assert correlation(*sums.T) == pytest.approx(0.8 * 0.85, abs=0.1)


@pytest.mark.slow
def test_learns_the_distribution_of_correlated_noise():
    """Half the source plus noise of known covariance: samples have its mean, variance and correlations."""
    std, generator = 0.2, torch.Generator().manual_seed(1)
    model = trained(lambda *args: std * correlated(*args), 600, generator)
    source = 0.5 * white_noise((2, 128, 128), generator).numpy()
    (values, spread), *_ = draw(model, source)
    residual = np.sinh(values) - np.sinh(source) / 2
    np.testing.assert_allclose(residual.mean((1, 2)), 0, atol=0.02)
    np.testing.assert_allclose(residual.std((1, 2)), std, rtol=0.1)
    np.testing.assert_allclose((spread * np.cosh(values)).mean((1, 2)), std, rtol=0.05)
    assert correlation(residual[:, :, 1:], residual[:, :, :-1]) == pytest.approx(0.5, abs=0.06)
    assert correlation(residual[:, 1:], residual[:, :-1]) == pytest.approx(0, abs=0.06)
    assert correlation(residual[0], residual[1]) == pytest.approx(0.6, abs=0.06)


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]
