"""The losses that make flux unbiased, against the minima they have in closed form."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import uniform_filter
from scipy.optimize import minimize, root
from toy_network import ToyTranslator

from astro_galtrans.models.base import Estimate
from astro_galtrans.models.losses import gaussian_nll, weighted_flux_mse

SHAPE = 1, 1, 12, 12


@pytest.fixture
def flux(rng):
    """Fluxes of what one and the same source may look like: a skewed distribution, with noise below zero."""
    return rng.gamma(2.0, 1.5, SHAPE) + rng.normal(0, 0.5, SHAPE)


def network_units(flux):
    return torch.asinh(torch.as_tensor(flux))


def minimum(function, start):
    """Return the numbers for which a function of a float64 tensor is smallest."""

    def value_and_slope(x):
        x = torch.tensor(x, requires_grad=True)
        value = function(x)
        value.backward()
        return value.item(), x.grad.numpy()

    return minimize(value_and_slope, start, jac=True, method="BFGS", options={"gtol": 1e-9}).x


def constant(value):
    return value.expand(SHAPE)


def test_smallest_squared_flux_error_is_at_the_mean_flux(flux):
    """Not at the mean asinh magnitude, which is fainter."""
    target, blank = network_units(flux), torch.zeros(SHAPE, dtype=torch.float64)
    (best,) = minimum(lambda m: weighted_flux_mse(constant(m), target, blank), [0.5])
    assert np.sinh(best) == pytest.approx(flux.mean(), rel=1e-6)
    assert np.sinh(target.mean().item()) < 0.95 * flux.mean()  # so the two can be told apart


def test_errors_count_by_the_brightness_of_the_source(flux, rng):
    """From a source of 4 softening fluxes on, errors count relative to it: the minimum is a mean with these weights."""
    source = rng.gamma(1.0, 6.0, SHAPE)
    smooth = uniform_filter(source[0, 0], 3, mode="constant") / uniform_filter(np.ones(SHAPE[2:]), 3, mode="constant")
    weight = 1 / (1 + (smooth / 4) ** 2)
    bright = flux + source  # correlated with the weights, which therefore matter
    expected = np.average(bright[0, 0], weights=weight)
    target, reference = network_units(bright), network_units(source)
    (best,) = minimum(lambda m: weighted_flux_mse(constant(m), target, reference), [1.0])
    assert np.sinh(best) == pytest.approx(expected, rel=1e-6)
    assert expected < 0.95 * bright.mean()


def test_an_error_in_a_source_of_four_softening_fluxes_counts_half():
    target, source = torch.zeros(SHAPE), torch.full(SHAPE, np.arcsinh(4.0))
    mean = torch.full(SHAPE, np.arcsinh(3.0))
    assert weighted_flux_mse(mean, target, torch.zeros(SHAPE)).item() == pytest.approx(9.0, rel=1e-5)
    assert weighted_flux_mse(mean, target, source).item() == pytest.approx(4.5, rel=1e-5)


def test_likeliest_standard_deviation_is_the_rms_flux_error(flux):
    mean = np.arcsinh(2.5)
    rms = np.sqrt(np.mean((flux - 2.5) ** 2))
    estimate, target = torch.full(SHAPE, mean, dtype=torch.float64), network_units(flux)
    (best,) = minimum(lambda log_std: gaussian_nll(estimate, constant(log_std), target), [0.0])
    assert np.exp(best) * np.cosh(mean) == pytest.approx(rms, rel=1e-6)  # of flux, by error propagation at the mean


def test_likelihood_is_scipys(flux, rng):
    mean, std = rng.normal(1, 0.3, SHAPE), rng.uniform(0.2, 2, SHAPE)
    theirs = -stats.norm(np.sinh(mean), std * np.cosh(mean)).logpdf(flux)
    theirs -= np.log(np.cosh(mean)) + 0.5 * np.log(2 * np.pi)  # no part of it tells standard deviations apart
    ours = gaussian_nll(*(torch.as_tensor(x) for x in (mean, np.log(std))), network_units(flux))
    assert ours.item() == pytest.approx(theirs.mean(), rel=1e-9)


def test_likelihood_alone_would_bend_the_mean(flux):
    r"""
    Of both the mean flux :math:`x` and its error, :math:`((x - \mu)^2 + V) / (1 + x^2)` is smallest.

    That is at the larger root of :math:`\mu x^2 + (1 - \mu^2 - V) x - \mu = 0`, brighter than the true mean.
    """
    mean, variance = flux.mean(), flux.var()
    target = network_units(flux)
    best, _ = minimum(lambda x: gaussian_nll(constant(x[0]), constant(x[1]), target), [1.0, 0.0])
    biased = np.roots([mean, 1 - mean**2 - variance, -mean]).max()
    assert np.sinh(best) == pytest.approx(biased, rel=1e-6)
    assert biased > 1.1 * mean


def test_a_network_is_trained_to_the_mean_flux_and_its_rms_error(flux):
    """Both terms together: what the network says of its error does not bend what it says of the flux."""
    model = ToyTranslator.from_preset("tiny", "r", "r", 1).double()
    target, source = network_units(flux), torch.zeros(SHAPE, dtype=torch.float64)

    def slope(x):
        x = torch.tensor(x, requires_grad=True)
        terms = model.content_losses(Estimate(constant(x[0]), constant(x[1])), source, target)
        sum(terms.values()).backward()
        return x.grad.numpy()

    # where descending ends; the slopes are not those of any one function, so this is no minimum
    mean, log_std = root(slope, [1.5, 0.0], method="lm", tol=1e-12).x
    assert np.sinh(mean) == pytest.approx(flux.mean(), rel=1e-6)
    assert np.exp(log_std) * np.cosh(mean) == pytest.approx(flux.std(), rel=1e-6)


def test_pixels_without_weight_do_not_move_the_minimum(flux):
    target, blank = network_units(flux), torch.zeros(SHAPE, dtype=torch.float64)
    weight = torch.ones(SHAPE, dtype=torch.float64)
    weight[..., :5] = 0
    weight[..., 5:8] = 0.5
    (best,) = minimum(lambda m: weighted_flux_mse(constant(m), target, blank, weight), [0.5])
    assert np.sinh(best) == pytest.approx(np.average(flux, weights=weight.numpy()), rel=1e-6)
