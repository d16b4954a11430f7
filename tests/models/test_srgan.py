"""SRGAN: the generator's geometry, the discriminator, and the order of play between them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from astro_galtrans.models.srgan import Discriminator, Generator, ResidualBlock, SRGANTranslator

SMALL = dict(width=6, blocks=2, fine_width=4, kernel=3, norm=False)


def small(scale=2, **changes):
    """Return a translator of two bands, small enough to look into."""
    settings = SMALL | {"discriminator": ((8, 2), (8, 2))} | changes
    return SRGANTranslator.from_preset("tiny", "gr", "gr", scale, **settings)


@pytest.fixture
def batch():
    """Return a source and a target with structure."""
    x = torch.linspace(-3, 3, 16)
    blob = 2 * torch.exp(-(x[:, None] ** 2) - x**2)
    source = (blob + 0.3 * torch.randn(2, 2, 16, 16)).float()
    target = F.interpolate(source, scale_factor=2, mode="bicubic") + 0.1 * torch.randn(2, 2, 32, 32)
    return source, target


def reach(generator, size, row):
    """Return how far from its source pixel, along y, an output pixel of row ``row`` depends on the source."""
    source = torch.randn(1, 2, size, 1, dtype=torch.float64, requires_grad=True)
    out = generator(source)
    scale = out.shape[-2] // size
    (gradient,) = torch.autograd.grad(out[0, :, row, 0].sum(), source)
    rows = gradient[0].abs().sum(dim=(0, 2)).nonzero()
    return (rows - row // scale).abs().max().item()


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(("kernel", "norm"), [(3, False), (9, False), (5, True)])
def test_margin_is_the_receptive_radius(scale, kernel, norm):
    model = small(scale, kernel=kernel, norm=norm).double().eval()
    torch.nn.init.normal_(model.generator.last.weight)
    size = 2 * model.margin + 9
    middle = scale * (size // 2)
    assert max(reach(model.generator, size, middle + phase) for phase in range(scale)) == model.margin


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_shift_by_a_source_pixel_shifts_the_output(scale):
    model = small(scale).double()
    torch.nn.init.normal_(model.generator.last.weight)
    source = torch.randn(1, 2, 40, 40, dtype=torch.float64)
    shifted = torch.roll(source, (1, 2), dims=(2, 3))
    edge = scale * (model.margin + 2)
    inner = (..., slice(edge, -edge), slice(edge, -edge))
    with torch.inference_mode():
        expected = torch.roll(model(source).mean, (scale, 2 * scale), dims=(2, 3))
        torch.testing.assert_close(model(shifted).mean[inner], expected[inner])


def test_paper_preset_has_the_parameters_of_srresnet():
    """Counted by hand from figure 4 of Ledig et al. 2017: k9n64, 16 x (k3n64, k3n64), k3n64, 2 x k3n256, k9."""
    width, bands = 64, 3
    conv = 9 * width * width
    norm = 2 * width
    first = 81 * bands * width + width + 1
    block = 2 * (conv + norm) + 1
    merge = conv + norm
    subpixel = 4 * conv + 4 * width + 1
    last = 81 * width * 2 * bands + 2 * bands
    with torch.device("meta"):
        generator = SRGANTranslator.from_preset("paper", "gri", "gri", 4).generator
    expected = first + 16 * block + merge + 2 * subpixel + last
    assert sum(p.numel() for p in generator.parameters()) == expected


def test_residual_block_against_scipy():
    from scipy.ndimage import correlate

    block = ResidualBlock(1, norm=False).double()
    x = np.random.default_rng(1).normal(size=(7, 8))
    (k1, k2), (b1, b2) = zip(*((c.weight[0, 0].detach().numpy(), c.bias.item()) for c in (block.conv1, block.conv2)),
                             strict=True)  # fmt: skip
    y = correlate(x, k1, mode="constant") + b1
    y = np.where(y > 0, y, block.act.weight.item() * y)
    expected = x + correlate(y, k2, mode="constant") + b2
    found = block(torch.from_numpy(x)[None, None]).detach().numpy()[0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_nothing_is_clamped():
    model = small()
    with torch.no_grad():
        model.generator.last.bias[:2] = torch.tensor([50.0, -50.0])
    source = torch.randn(1, 2, 8, 8)
    difference = model(source).mean - model.skip(source)
    torch.testing.assert_close(difference.mean(dim=(0, 2, 3)), torch.tensor([50.0, -50.0]))


def test_batch_normalisation_is_local_once_trained():
    generator = Generator(2, 2, 1, **SMALL | {"norm": True})
    for _ in range(3):
        generator(torch.randn(4, 2, 8, 8))  # running statistics
    generator.eval()
    torch.nn.init.normal_(generator.last.weight)
    one, other = torch.randn(2, 1, 2, 8, 8)
    together = generator(torch.cat([one, other]))
    torch.testing.assert_close(together[:1], generator(one))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 3), (32, 32)])
def test_discriminator_judges_any_size(shape):
    discriminator = Discriminator(5, ((4, 2), (6, 1), (8, 2)))
    image = torch.randn(1, 2, 2 * shape[0], 2 * shape[1])
    logits, features = discriminator(torch.randn(1, 3, *shape), image)
    assert logits.shape[:2] == (1, 1)
    assert logits.numel() >= 1
    assert [f.shape[1] for f in features] == [4, 6, 8]


def test_discriminator_is_lipschitz():
    """Spectral normalisation: no layer's matrix has a singular value above one."""
    discriminator = Discriminator(4, ((8, 2), (16, 2)))
    with torch.no_grad():
        for layer in discriminator.layers:
            layer.parametrizations.weight.original.mul_(7)
    for _ in range(50):  # power iterations
        discriminator(torch.randn(1, 2, 8, 8), torch.randn(1, 2, 8, 8))
    for layer in (*discriminator.layers, discriminator.judge):
        matrix = layer.weight.detach().flatten(1).numpy()
        assert np.linalg.norm(matrix, ord=2) == pytest.approx(1, abs=0.02)


def test_discriminator_compares_with_the_source():
    discriminator = Discriminator(4, ((8, 2),)).eval()
    image = torch.randn(1, 2, 8, 8)
    first, second = (discriminator(torch.randn(1, 2, 4, 4), image)[0] for _ in range(2))
    assert not torch.allclose(first, second)


def test_discriminator_learns_to_tell_noise_free_from_real(batch):
    source, target = batch
    discriminator = Discriminator(4, ((8, 2), (8, 2)))
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2)
    smooth = F.avg_pool2d(target, 3, stride=1, padding=1)
    for _ in range(40):
        real, fake = discriminator(source, target)[0], discriminator(source, smooth)[0]
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert real.mean() > fake.mean()
    assert loss < 0.8 * 2 * np.log(2)  # what not knowing costs


def test_before_its_start_the_adversary_costs_nothing(batch):
    model = small(adversarial_start=0.5)
    (terms,) = model.losses(*batch, 0.49)  # no discriminator is needed
    assert terms.keys() == {"flux", "nll"}
    estimate = model(batch[0])
    expected = model.content_losses(estimate, *batch)
    assert all(torch.equal(terms[key], expected[key]) for key in terms)


def test_terms_after_the_start(batch):
    model = small(adversarial_start=0.5)
    model.prepare_training()
    first, second = model.losses(*batch, 0.5)
    assert first.keys() == {"flux", "nll", "adversarial", "feature"}
    assert second.keys() == {"discriminator"}


def test_adversary_must_be_prepared(batch):
    with pytest.raises(RuntimeError, match="call prepare_training"):
        list(small().losses(*batch, 1.0))


def test_logistic_losses_are_binary_cross_entropies(batch):
    model = small(adversarial_weight=0.25)
    model.prepare_training()
    model.discriminator.eval()  # no power iterations in between
    source, target = batch
    first, second = model.losses(source, target, 1.0, torch.Generator().manual_seed(2))
    mean, log_std = model(source)
    fake = mean + log_std.exp() * torch.randn(mean.shape, generator=torch.Generator().manual_seed(2))
    false, true = model.discriminator(source, fake)[0], model.discriminator(source, target)[0]
    cross_entropy = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(first["adversarial"], 0.25 * cross_entropy(false, torch.ones_like(false)))
    expected = cross_entropy(true, torch.ones_like(true)) + cross_entropy(false, torch.zeros_like(false))
    torch.testing.assert_close(second["discriminator"], expected)


def test_players_move_apart(batch):
    """The generator's terms have no gradient for the discriminator, nor the discriminator's for the generator."""
    model = small()
    model.prepare_training()
    ours, theirs = model.optimizer_groups()
    for moving, resting, terms in zip((ours, theirs), (theirs, ours), model.losses(*batch, 1.0), strict=True):
        model.zero_grad()
        sum(terms.values()).backward()
        assert all(p.grad is None for p in resting)
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in moving)


def test_adversary_does_not_touch_the_uncertainty(batch):
    model = small()
    model.prepare_training()
    terms = next(iter(model.losses(*batch, 1.0)))
    (gradient,) = torch.autograd.grad(terms["adversarial"] + terms["feature"], [model.generator.last.bias])
    assert (gradient[:2] != 0).all()  # the mean of both bands
    assert (gradient[2:] == 0).all()  # log std


def test_noise_comes_from_the_given_generator(batch):
    model = small()
    model.prepare_training()
    model.discriminator.eval()

    def adversarial(seed):
        return next(iter(model.losses(*batch, 1.0, torch.Generator().manual_seed(seed))))["adversarial"]

    assert adversarial(1) == adversarial(1)
    assert adversarial(1) != adversarial(2)


def test_discriminator_is_for_training_only():
    model = small()
    bare = model.state_dict().keys()
    model.prepare_training()
    discriminator = model.discriminator
    model.prepare_training()
    assert model.discriminator is discriminator
    assert model.inference_state_dict().keys() == bare
    assert any(key.startswith("discriminator.") for key in model.state_dict())
    assert len(model.optimizer_groups()) == 2
