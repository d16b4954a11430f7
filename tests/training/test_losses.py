"""What a recipe may add to the loss."""

import numpy as np
import pytest
import torch

from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.training.losses import aperture_loss, extra_terms, structure_loss
from astro_galtrans.training.recipe import Loss, load_recipe


def crop(rng, radius=4.0, knot=0.0, noise=0.5):
    """Two bands of an inclined disc in softening fluxes, in network units."""
    y, x = np.mgrid[:48, :48].astype(float)
    disc = 60 * np.exp(-np.hypot(x - 24, (y - 23) / 0.6) / radius) * (4 / radius) ** 2
    disc += knot * np.exp(-((x - 31) ** 2 + (y - 25) ** 2) / 4)
    flux = np.stack([disc, 0.6 * disc]) + rng.normal(0, noise, (2, *disc.shape))
    return torch.from_numpy(AsinhScaling([1.0, 1.0]).forward(flux.astype("float32")))[None]


def test_the_same_structure_costs_nothing_and_the_more_it_differs_the_more(rng):
    truth = crop(rng, noise=0)
    losses = [structure_loss(crop(rng, knot=knot, noise=0), truth).item() for knot in (0.0, 5.0, 20.0)]
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert losses[0] < losses[1] < losses[2]


def test_brightness_alone_is_not_structure(rng):
    truth = crop(rng, noise=0)
    brighter, smaller = torch.asinh(1.5 * torch.sinh(truth)), crop(rng, radius=3.0, noise=0)
    assert structure_loss(brighter, truth).item() < 0.02 * structure_loss(smaller, truth).item()


def test_descending_its_gradient_brings_structure_closer(rng):
    truth, image = crop(rng), crop(rng, radius=6.0, knot=10.0)
    losses = []
    for _ in range(30):
        image.requires_grad_()
        losses.append(structure_loss(image, truth))
        (gradient,) = torch.autograd.grad(losses[-1], image)
        assert torch.isfinite(gradient).all()
        image = (image - 0.02 * gradient.sign()).detach()
    assert losses[-1] < 0.3 * losses[0]


def test_bad_pixels_and_empty_crops_do_not_count(rng):
    truth, image = crop(rng), crop(rng)
    weight = torch.ones_like(truth)
    weight[..., 20:24, 30:34] = 0
    losses = [structure_loss(image, torch.where(weight > 0, truth, bad), weight) for bad in (0.0, 9.0)]
    assert torch.equal(*losses)
    odd = torch.where(weight > 0, image, 9.0)  # nor does it matter what the prediction is there
    assert structure_loss(odd, truth, weight).item() == pytest.approx(losses[0].item(), rel=1e-6)
    assert structure_loss(image, torch.zeros_like(truth)).item() == 0
    both = torch.cat([image, image]), torch.cat([truth, torch.zeros_like(truth)])
    assert structure_loss(*both).item() == pytest.approx(structure_loss(image, truth).item(), rel=1e-5)


def test_a_recipe_asks_for_it():
    assert extra_terms(Loss()) == {}
    recipe = load_recipe("capsule", loss={"structure": 0.1})
    truth = crop(np.random.default_rng(1))
    term = extra_terms(recipe.loss)["structure"](truth + 0.1, truth)
    assert term.item() == pytest.approx(0.1 * structure_loss(truth + 0.1, truth).item())


def test_errors_that_pixels_share_weigh_more_in_apertures():
    rng = torch.Generator().manual_seed(3)
    sky, noise = torch.zeros(4, 1, 256, 256), 0.1 * torch.randn(4, 1, 256, 256, generator=rng)
    shared = torch.full_like(sky, 0.1)
    same = aperture_loss(shared, sky, sky) / aperture_loss(noise, sky, sky)
    # the mean of n pixels of noise has 1/n of the variance, that of a shared error all of it
    truth = (4**2 + 16**2) / (1 + 1)
    torch.testing.assert_close(same, torch.tensor(truth), rtol=0.25, atol=0)


def test_aperture_errors_of_bright_sources_are_relative():
    source = torch.full((1, 1, 16, 16), 9.0)  # sinh(9) = 4000 softening fluxes
    ours = torch.arcsinh(1.05 * torch.sinh(source))
    torch.testing.assert_close(aperture_loss(ours, source, source), torch.tensor(2.0), rtol=1e-3, atol=0)
    hidden = aperture_loss(ours, source, source, torch.zeros_like(source))
    assert hidden == 0


def test_the_mean_flux_has_the_least_aperture_error():
    bright = torch.arcsinh(torch.tensor([100.0, 300.0])).view(2, 1, 1, 1).expand(2, 1, 16, 16)
    source = torch.full((2, 1, 16, 16), float(np.arcsinh(150.0)))
    losses = {flux: float(aperture_loss(torch.full_like(source, float(np.arcsinh(flux))), bright, source))
              for flux in (180.0, 200.0, 220.0)}  # fmt: skip
    assert min(losses, key=losses.get) == 200.0
