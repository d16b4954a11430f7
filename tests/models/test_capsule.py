"""Capsules: squashing and routing against the papers' formulae in numpy, and the network's geometry."""

import numpy as np
import pytest
import torch
from astropy.utils import minversion

from astro_galtrans.models.capsule import CapsuleTranslator, ConvCapsules, capsule_length, margin_loss, squash


def small(scale=2, **changes):
    """Return a translator of two bands, small enough to look into."""
    settings = {"width": 6, "levels": ((2, 3), (3, 4)), "blocks": 1} | changes
    return CapsuleTranslator.from_preset("tiny", "gr", "gr", scale, **settings)


def squash_numpy(s):
    """Equation 1 of Sabour et al. 2017, for vectors along the last axis."""
    length = np.linalg.norm(s, axis=-1, keepdims=True)
    return length**2 / (1 + length**2) * s / length


def route_numpy(votes, rounds):
    """Procedure 1 of Sabour et al. 2017 at one pixel: votes [I, J, A] to parents [J, A] and couplings [I, J]."""
    logits = np.zeros(votes.shape[:2])
    for _ in range(rounds):
        coupling = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        parents = squash_numpy(np.einsum("ij,ija->ja", coupling, votes))
        logits += np.einsum("ija,ja->ij", votes, parents)
    return parents, coupling


def test_squash_is_equation_1(rng):
    s = rng.normal(size=(2, 3, 4, 5, 6))  # [B, J, A, h, w]
    found = squash(torch.from_numpy(s)).numpy()
    expected = np.moveaxis(squash_numpy(np.moveaxis(s, 2, -1)), -1, 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_squash_is_finite_on_blank_sky():
    blank = torch.zeros(1, 2, 4, 3, 3, requires_grad=True)
    capsules = squash(blank)
    capsule_length(capsules).sum().backward()
    assert (capsules == 0).all()
    assert torch.isfinite(blank.grad).all()


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 30.0, 1e15])
def test_squash_keeps_lengths_below_one(size):
    s = size * torch.nn.functional.normalize(torch.randn(1, 2, 8, 3, 3), dim=2)
    s.requires_grad_()
    v = squash(s)
    v.sum().backward()
    # torch 2.6 rounds components to float32 otherwise: 1 - 1e-30 may come out as 1 + 1e-7
    assert v.detach().norm(dim=2).max() <= (1 if minversion("torch", "2.7") else 1 + 2 * torch.finfo(v.dtype).eps)
    assert torch.isfinite(s.grad).all()


def test_squash_gradient_against_differences():
    s = torch.randn(1, 2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(squash, s)
    assert torch.autograd.gradcheck(squash, torch.full_like(s, 1e-3).requires_grad_())


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_routing_is_procedure_1(iterations):
    layer = ConvCapsules((3, 4), (2, 5), kernel=1, iterations=iterations).double()
    children = torch.randn(1, 3, 4, 2, 2, dtype=torch.float64)
    found = layer(children).detach().numpy()
    kernels = layer.vote.weight.detach().numpy().reshape(3, 2, 5, 4)  # [I, J, A, a]
    for y, x in np.ndindex(2, 2):
        votes = np.einsum("ijka,ia->ijk", kernels, children[0, :, :, y, x].numpy())
        expected, _ = route_numpy(votes, iterations)
        np.testing.assert_allclose(found[0, :, :, y, x], expected, atol=1e-5)


def test_votes_come_from_the_neighbourhood():
    """A kernel of 3 is nine kernels of 1 on shifted children: votes add up before routing."""
    layer = ConvCapsules((2, 3), (2, 4), kernel=3, iterations=3).double()
    children = torch.randn(1, 2, 3, 3, 3, dtype=torch.float64)
    kernels = layer.vote.weight.detach().numpy().reshape(2, 2, 4, 3, 3, 3)  # [I, J, A, a, ky, kx]
    votes = np.einsum("ijkayx,iayx->ijk", kernels, children[0].numpy())
    expected, _ = route_numpy(votes, 3)
    np.testing.assert_allclose(layer(children).detach().numpy()[0, :, :, 1, 1], expected, atol=1e-5)


def test_votes_that_agree_are_listened_to():
    layer = ConvCapsules((3, 2), (2, 2), kernel=1, iterations=3)
    votes = torch.zeros(1, 3, 2, 2, 1, 1)  # [B, I, J, A, h, w]
    votes[0, :, 0, :, 0, 0] = torch.tensor([[2.0, 0.0], [2.0, 0.1], [-1.0, 0.0]])  # two agree on the first parent
    votes[0, :, 1, :, 0, 0] = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, -0.5]])  # nobody does on the second
    coupling = layer._agree(votes)[0, :, 0, 0, 0, 0]
    _, expected = route_numpy(votes[0, ..., 0, 0].numpy(), 3)
    np.testing.assert_allclose(coupling.numpy(), expected[:, 0], rtol=1e-4)
    assert coupling[:2].min() > 0.7
    assert coupling[2] < 0.5


def test_routing_is_per_pixel():
    layer = ConvCapsules((2, 3), (2, 3), kernel=1)
    children = torch.randn(1, 2, 3, 4, 4)
    changed = children.clone()
    changed[..., 0, 0] = 9.0
    before, after = layer(children), layer(changed)
    assert torch.equal(before[..., 1:, :], after[..., 1:, :])
    assert not torch.equal(before[..., 0, 0], after[..., 0, 0])


def test_new_capsules_are_neither_asleep_nor_saturated():
    """Squashing shrinks short vectors quadratically; lengths must survive several layers of fresh weights."""
    capsules = squash(torch.randn(2, 4, 16, 12, 12))
    for _ in range(4):
        capsules = ConvCapsules((4, 16), (4, 16))(capsules)
    assert 0.1 < capsule_length(capsules).mean() < 0.95


def test_margin_loss_is_equation_4(rng):
    lengths, present = rng.uniform(0, 1, 200), rng.uniform(size=200) < 0.3
    expected = present * np.maximum(0, 0.9 - lengths) ** 2 + 0.5 * ~present * np.maximum(0, lengths - 0.1) ** 2
    found = margin_loss(torch.from_numpy(lengths), torch.from_numpy(present))
    assert found.item() == pytest.approx(expected.mean())


def reach(model, size, row):
    """Return how far from its source pixel, along y, an output pixel of row ``row`` depends on the source."""
    source = torch.randn(1, 2, size, 8, dtype=torch.float64, requires_grad=True)
    mean, log_std = model(source)
    (gradient,) = torch.autograd.grad((mean + log_std)[0, :, row].sum(), source)
    rows = gradient[0].abs().sum(dim=(0, 2)).nonzero()
    return (rows - row // model.scale).abs().max().item()


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize(
    ("levels", "kernel", "blocks"),
    [(((2, 3),), 3, 0), (((2, 3), (2, 3)), 3, 1), (((2, 3), (2, 3), (2, 2)), 5, 2)],
)
def test_margin_is_the_receptive_radius(scale, levels, kernel, blocks):
    model = small(scale, levels=levels, kernel=kernel, blocks=blocks).double()
    torch.nn.init.normal_(model.last[0].weight)
    multiple = model.multiple_of
    assert multiple == 2 ** len(levels)
    middle = multiple * (model.margin // multiple + 2)
    size = 2 * middle + multiple
    assert max(reach(model, size, scale * (middle + phase)) for phase in range(multiple)) == model.margin


def test_settings_may_come_from_json():
    model = small(levels=[[2, 3], [3, 4]])
    assert model(torch.randn(1, 2, 5, 6)).mean.shape == (1, 2, 10, 12)


def test_present_where_the_target_is_bright():
    """An image of 5 x 6 is padded to 8 x 8 and has 4 x 4 capsules; each stands for 4 x 4 target pixels at scale 2."""
    model = small(source_level=0.5)
    target = torch.zeros(1, 2, 10, 12)
    target[..., 4:8, 0:4] = np.arcsinh(1.0)  # flux 1 in both bands: the second row of capsules, first column
    target[..., 8:10, 8:12] = np.arcsinh(0.4)  # too faint
    target[0, 0, 0:4, 4:8] = np.arcsinh(1.5)  # a mean over bands of 0.75
    found = model._present(target, (4, 4))[0]
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[1, 0] = expected[0, 1] = True
    assert torch.equal(found, expected)


def test_margin_term_has_its_weight():
    source, target = torch.ones(1, 2, 8, 8), torch.ones(1, 2, 16, 16)  # sources everywhere
    terms = {}
    for weight in (0.0, 0.5, 1.0):
        torch.manual_seed(1)
        (terms[weight],) = small(margin_weight=weight).losses(source, target, 0.0)
    assert terms[0.0]["margin"] == 0
    assert terms[1.0]["margin"] > 0
    assert terms[1.0]["margin"].item() == pytest.approx(2 * terms[0.5]["margin"].item())
    assert torch.equal(terms[0.0]["flux"], terms[1.0]["flux"])


def test_first_capsule_learns_to_say_a_source():
    """Trained on the margin loss alone, its length tells pixels with a source from blank ones."""
    model = small(width=16, levels=((2, 8), (2, 8)), margin_weight=1.0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    target = torch.zeros(1, 2, 32, 32)
    target[..., 8:16, 12:24] = 2.0
    source = target[..., ::2, ::2] + 0.1 * torch.randn(1, 2, 16, 16)
    for _ in range(60):
        (terms,) = model.losses(source, target, 0.0)
        optimizer.zero_grad()
        terms["margin"].backward()
        optimizer.step()
    lengths = capsule_length(model._evaluate(source)[1])[0, 0].detach()
    present = model._present(target, lengths.shape)[0]
    assert lengths[present].mean() > 0.7
    assert lengths[~present].mean() < 0.3
