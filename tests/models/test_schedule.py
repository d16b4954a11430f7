"""The sampler against data whose ideal denoiser, probability flow and samples are known in closed form."""

import tracemalloc

import numpy as np
import pytest
import torch

from astro_galtrans.models.schedule import (
    churned_level,
    loss_weight,
    noise_levels,
    preconditioning,
    random_levels,
    sample,
    slope,
    white_noise,
)

MEAN, STD = 0.7, 0.4


def denoised(noisy, sigma, mean=MEAN, std=STD):
    """E[z | noisy] for z ~ N(mean, std^2) and noisy = z + sigma n: the precision-weighted mean of the two."""
    return (std**2 * noisy + sigma**2 * mean) / (std**2 + sigma**2)


def ideal(x, sigma, **data):
    """Return the same as the sampler asks for it, of a state scaled by 1 / sqrt(1 + sigma^2)."""
    return denoised(np.hypot(1, sigma) * x, sigma, **data)


def trajectory(x, sigma, other):
    """Where the probability flow takes a state of that data from one noise level to another (a Gaussian stays one)."""
    deviate = (np.hypot(1, sigma) * x - MEAN) / np.hypot(STD, sigma)
    return (MEAN + deviate * np.hypot(STD, other)) / np.hypot(1, other)


def test_noise_levels_are_equation_5():
    steps, low, high, rho = 18, 0.002, 80.0, 7
    levels = noise_levels(steps, low, high, rho)
    i = np.arange(steps)
    expected = (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    np.testing.assert_allclose(levels[:-1], expected, rtol=1e-12)
    assert levels[-1] == 0
    assert np.all(np.diff(levels) < 0)


def test_one_step_goes_from_the_highest_level_to_zero():
    assert noise_levels(1, 0.1, 5.0) == [pytest.approx(5.0), 0.0]


@pytest.mark.parametrize(("steps", "low", "high"), [(0, 0.1, 1.0), (4, 1.0, 1.0), (4, 0.0, 1.0), (4, 2.0, 1.0)])
def test_levels_that_do_not_fall_are_refused(steps, low, high):
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max"):
        noise_levels(steps, low, high)


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 20.0])
def test_preconditioning_gives_unit_variance(sigma, sigma_data):
    """The network's input, its target, and its weighted error at zero output have unit variance (EDM app. B.6)."""
    rng = np.random.default_rng(1)
    z, n = sigma_data * rng.normal(size=200_000), rng.normal(size=200_000)
    c_skip, c_out, c_in, c_noise = (float(c) for c in preconditioning(torch.tensor(sigma).double(), sigma_data))
    x = z + sigma * n
    assert np.std(c_in * x) == pytest.approx(1, rel=0.01)
    assert np.std((z - c_skip * x) / c_out) == pytest.approx(1, rel=0.01)
    weighted = loss_weight(torch.tensor(sigma).double(), sigma_data) * torch.from_numpy(c_skip * x - z).square()
    assert float(weighted.mean()) == pytest.approx(1, rel=0.02)
    assert c_noise == pytest.approx(np.log(sigma) / 4)


def test_zero_output_is_the_ideal_denoiser_of_white_noise():
    sigma, x = torch.tensor([0.1, 1.0, 9.0]), torch.tensor([0.4, -2.0, 11.0])
    c_skip = preconditioning(sigma, 1.0)[0]
    torch.testing.assert_close(c_skip * x, denoised(x, sigma, mean=0.0, std=1.0))


def test_random_levels_are_log_normal_and_spread_over_every_batch():
    generator = torch.Generator().manual_seed(3)
    batches = torch.stack([random_levels(16, -0.4, 1.2, generator) for _ in range(2000)]).log()
    assert float(batches.mean()) == pytest.approx(-0.4, abs=0.01)
    assert float(batches.std()) == pytest.approx(1.2, rel=0.01)
    assert float(batches.mean(1).std()) < 0.15  # 1.2 / sqrt(16) if they were independent


def test_white_noise_repeats_with_its_generator():
    first, again = (white_noise((3, 5), torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, white_noise((3, 5), torch.Generator().manual_seed(8)))


def test_slope_is_that_of_the_flow():
    """Against the derivative of the exact trajectory of Gaussian data."""
    t, step, x = 0.8, 1e-5, 1.3
    later, earlier = (trajectory(x, np.tan(t), np.tan(t + d)) for d in (step, -step))
    assert slope(x, ideal(x, np.tan(t)), t) == pytest.approx((later - earlier) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("heun", [False, True])
def test_samples_of_gaussian_data(kind, heun):
    """Ten steps from pure noise; the errors of discretisation and of 200,000 pixels allowed for."""
    x = white_noise((2, 250, 400), torch.Generator().manual_seed(2))
    drawn = sample(ideal, x.numpy() if kind == "numpy" else x, noise_levels(10, 0.05, 80.0), heun=heun)
    assert float(drawn.mean()) == pytest.approx(MEAN, rel=0.04 if heun else 0.12)
    assert float(drawn.std()) == pytest.approx(STD, rel=0.05 if heun else 0.02)


def test_many_steps_reach_the_distribution():
    x = white_noise((1, 200, 500), torch.Generator().manual_seed(2)).numpy()
    drawn = sample(ideal, x, noise_levels(60, 0.005, 200.0), heun=True)
    assert drawn.mean() == pytest.approx(MEAN, abs=0.005)
    assert drawn.std() == pytest.approx(STD, rel=0.01)


@pytest.mark.parametrize("variance", [0.05, 0.2, 1.0, 5.0, 20.0, 100.0, 400.0])
def test_ten_steps_keep_the_variance_of_every_mode(variance):
    """For a linear denoiser the sample is proportional to the noise it began with: no Monte Carlo error."""
    std = np.sqrt(variance)
    drawn = sample(lambda x, sigma: ideal(x, sigma, mean=0.0, std=std), np.ones((1, 1)), noise_levels(10, 0.05, 80.0))
    assert drawn.item() == pytest.approx(std, rel=0.001 if variance == 1 else 0.012)


@pytest.mark.parametrize("variance", [0.05, 0.2, 1.0, 5.0, 10.0])
def test_six_steps_keep_that_of_modes_near_unit_variance(variance):
    std = np.sqrt(variance)
    levels = noise_levels(6, 0.1, 20.0, 5.0)  # of the presets of the diffusion model
    drawn = sample(lambda x, sigma: ideal(x, sigma, mean=0.0, std=std), np.ones((1, 1)), levels)
    assert drawn.item() == pytest.approx(std, rel=0.015)


def test_the_image_is_changed_in_place():
    x = np.ones((2, 3, 4), dtype=np.float32)
    assert sample(ideal, x, noise_levels(3, 0.02, 40.0)) is x
    assert not np.any(x == 1)


@pytest.mark.parametrize(("heun", "order"), [(False, 1), (True, 2)])
def test_order_of_convergence(heun, order):
    """Twice the steps, half or a quarter of the error, against the exact solution of the flow."""
    start, low, high = np.array([[1.4, -0.8]]), 0.1, 10.0

    def error(steps):
        levels = noise_levels(steps, low, high)[:-1]  # stop at the lowest level, where the solution is known too
        return np.abs(sample(ideal, start.copy(), levels, heun=heun) - trajectory(start, high, low)).max()

    orders = [np.log2(error(n) / error(2 * n)) for n in (64, 128)]
    np.testing.assert_allclose(orders, order, atol=0.2)


@pytest.mark.parametrize(("heun", "expected"), [(False, (0, 1, 2, 3)), (True, (0, 1, 1, 2, 2, 3, 3))])
def test_the_denoiser_is_called_as_in_algorithm_1(heun, expected):
    """Once in a step, or at both its ends but for the last."""
    seen, levels = [], noise_levels(4, 0.1, 10.0)

    def denoise(x, sigma):
        seen.append(sigma)
        return ideal(x, sigma)

    sample(denoise, np.zeros((1, 1, 1)), levels, heun=heun)
    np.testing.assert_allclose(seen, [levels[k] for k in expected])


@pytest.mark.parametrize(("heun", "images"), [(False, 1.3), (True, 2.3)])
def test_little_is_held_beside_the_image(heun, images):
    """The denoiser's output, and for Heun's method a slope, so that whole survey frames fit in memory."""
    image = np.zeros((20, 100, 100), dtype=np.float32)
    tracemalloc.start()
    sample(lambda x, sigma: x / np.float32(1 + sigma), image, noise_levels(4, 0.1, 10.0), heun=heun)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images * image.nbytes


def test_churned_samples_have_the_same_distribution():
    generator = torch.Generator().manual_seed(4)
    levels = noise_levels(40, 0.01, 100.0)
    x = white_noise((1, 300, 300), generator).numpy()
    still = sample(ideal, x.copy(), levels)
    churned = sample(ideal, x.copy(), levels, heun=True, churn=10.0, generators=[generator])
    assert np.corrcoef(still.ravel(), churned.ravel())[0, 1] < 0.5  # fresh noise went in
    assert churned.mean() == pytest.approx(MEAN, abs=0.01)
    assert churned.std() == pytest.approx(STD, rel=0.03)


def test_churn_raises_the_level_by_at_most_root_two():
    assert churned_level(3.0, 8, 0.0) == 3.0
    assert churned_level(3.0, 8, 1.6) == pytest.approx(3.6)
    assert churned_level(3.0, 8, 100.0) == pytest.approx(3 * np.sqrt(2))
