"""Pixels without weight: what they hold is no matter to any network's loss, and weights of one change nothing."""

import pytest
import torch

from astro_galtrans.models.registry import get_model_class, list_models


def terms(name, target, weight=None):
    """Return all terms of an untrained network's losses, those of an adversary among them."""
    torch.manual_seed(4)
    network = get_model_class(name).from_preset("tiny", "gri", "gr", 2)
    network.prepare_training()
    torch.manual_seed(5)
    source = torch.randn(2, 3, 16, 16)
    weighted = {} if weight is None else {"weight": weight}
    found = {}
    for part in network.losses(source, target, 1.0, torch.Generator().manual_seed(6), **weighted):
        found |= {key: float(value.detach()) for key, value in part.items()}
    return found


@pytest.mark.parametrize("name", list_models())
def test_bad_pixels_do_not_count(name):
    target = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(7))
    ones = torch.ones_like(target)
    plain, whole = terms(name, target), terms(name, target, ones)
    assert whole == pytest.approx(plain, rel=1e-5)
    weight, garbage = ones.clone(), target.clone()
    weight[..., 8:16, :] = 0
    garbage[..., 8:16, :] = 9.0  # four thousand times the softening flux
    assert terms(name, garbage, weight) == pytest.approx(terms(name, target, weight), rel=1e-5)
    assert terms(name, garbage) != pytest.approx(plain, rel=0.1)


@pytest.mark.parametrize("name", list_models())
def test_half_the_weight_is_half_the_pixelwise_loss(name):
    target = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(7))
    plain, half = terms(name, target), terms(name, target, torch.full_like(target, 0.5))
    pixelwise = {"flux", "nll", "scales", "denoise", "margin"} & set(plain)
    for key in pixelwise:
        assert half[key] == pytest.approx(plain[key] / 2, rel=1e-5)
