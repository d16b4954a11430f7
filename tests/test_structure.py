"""Gradients of structure, against the definitions and against analytic profiles."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from astro_galtrans import structure


@pytest.fixture
def galaxies(rng):
    """Three inclined exponential discs with noise, and the pixels within 12 of their centres."""
    y, x = np.mgrid[:41, :41].astype(float)
    images = [
        100 * np.exp(-np.hypot(x - 20.3, (y - 19.6) / q) / 3) + rng.normal(0, 0.5, x.shape) for q in (1.0, 0.7, 0.4)
    ]
    weight = (np.hypot(x - 20.3, y - 19.6) < 12).astype(float)
    return torch.tensor(np.array(images)), torch.tensor(weight)


def test_gini_with_hard_weights_is_that_of_lotz(galaxies):
    flux, weight = galaxies
    values = np.sort(np.abs(flux[0].numpy()[weight.numpy() > 0]))
    n = len(values)
    wanted = ((2 * np.arange(1, n + 1) - n - 1) * values).sum() / (values.mean() * n * (n - 1))
    assert structure.gini(flux, weight)[0].item() == pytest.approx(wanted, rel=1e-10)


def test_gini_of_equal_pixels_is_zero_and_of_one_bright_pixel_is_one():
    flux, weight = torch.ones(8, 8), torch.ones(8, 8)
    assert structure.gini(flux, weight).item() == pytest.approx(0, abs=1e-6)
    flux = torch.zeros(8, 8)
    flux[3, 4] = 5
    assert structure.gini(flux, weight).item() == pytest.approx(1, abs=1e-6)


def test_sharp_m20_is_that_of_lotz(galaxies):
    flux, weight = galaxies[0][1].numpy().clip(min=0) * galaxies[1].numpy(), galaxies[1]
    y, x = np.mgrid[:41, :41]
    xc, yc = (flux * x).sum() / flux.sum(), (flux * y).sum() / flux.sum()
    moment = flux * ((x - xc) ** 2 + (y - yc) ** 2)
    values = np.sort(flux.ravel())
    threshold = values[values.cumsum() >= 0.8 * values.sum()][0]
    wanted = np.log10(moment[flux >= threshold].sum() / moment.sum())
    assert structure.m20(galaxies[0], weight, sharpness=1e-4)[1].item() == pytest.approx(wanted, abs=0.01)
    assert structure.m20(galaxies[0], weight)[1].item() == pytest.approx(wanted, abs=0.1)


def test_concentration_of_an_exponential_disc():
    y, x = np.mgrid[:101, :101].astype(float)
    flux = torch.tensor(np.exp(-np.hypot(x - 50.2, y - 49.9) / 8))

    def share(r, total=48.0):
        return (1 - (1 + r / 8) * math.exp(-r / 8)) / (1 - (1 + total / 8) * math.exp(-total / 8))

    r20, r80 = (brentq(lambda r, f=f: share(r) - f, 0.1, 48) for f in (0.2, 0.8))
    centre = torch.tensor(50.2, dtype=torch.float64), torch.tensor(49.9, dtype=torch.float64)
    assert structure.concentration(flux, 48.0, centre).item() == pytest.approx(5 * math.log10(r80 / r20), rel=0.01)


def test_asymmetry_is_zero_of_a_symmetric_image_and_counts_what_is_on_one_side():
    y, x = np.mgrid[:33, :33].astype(float)
    flux = torch.tensor(np.exp(-((x - 16) ** 2 + (y - 16) ** 2) / 18))
    middle = torch.tensor(16.0, dtype=torch.float64), torch.tensor(16.0, dtype=torch.float64)
    assert structure.asymmetry(flux, torch.ones_like(flux), middle).item() < 1e-12
    spot = torch.zeros_like(flux)
    spot[16, 25] = 1.0
    total = flux.sum() + 1.0
    both = structure.asymmetry(flux + spot, torch.ones_like(flux), middle)
    assert both.item() == pytest.approx(2.0 / total.item(), rel=1e-6)


MEASURES = {
    "gini": structure.gini,
    "m20": structure.m20,
    "concentration": lambda flux, weight: structure.concentration(flux * weight, 15.0),
    "asymmetry": structure.asymmetry,
}


@pytest.mark.parametrize("name", MEASURES)
def test_gradients_agree_with_differences(name, galaxies):
    flux, weight = galaxies[0].clone().requires_grad_(), galaxies[1]
    MEASURES[name](flux, weight).sum().backward()
    assert torch.isfinite(flux.grad).all() and flux.grad.abs().max() > 0
    for y, x in ((20, 20), (18, 23), (24, 17)):
        step = torch.zeros_like(flux)
        step[0, y, x] = 1e-4
        with torch.no_grad():
            up, down = (MEASURES[name](flux + sign * step, weight)[0] for sign in (1, -1))
        assert flux.grad[0, y, x].item() == pytest.approx(((up - down) / 2e-4).item(), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("image", [torch.zeros(1, 20, 20), -torch.ones(1, 20, 20)], ids=["empty", "negative"])
def test_images_without_light_have_finite_gradients(name, image):
    flux = image.clone().requires_grad_()
    value = MEASURES[name](flux, torch.ones(20, 20))
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(flux.grad).all()
