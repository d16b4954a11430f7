r"""
Noise schedule, preconditioning and sampler steps of a diffusion model, as pure functions.

Equations and algorithms are those of Karras, Aittala, Aila & Laine 2022, "Elucidating the Design Space of
Diffusion-Based Generative Models" (EDM), NeurIPS 35, arXiv:2206.00364. A noisy image is :math:`z + \sigma n`: z is the
image without noise, n white noise of unit variance.

The sampler is their Alg. 1 with :math:`\sigma(t) = \tan t` and the scaling :math:`s(t) = \cos t`, for z of unit
variance: its state :math:`x = \cos t\,z + \sin t\,n` has unit variance at every time, and where z is white it does not
move at all. Few steps then suffice: ten of Euler's keep the standard deviation of any Gaussian mode of variance 0.05
to 400 to 1%. With the paper's :math:`\sigma(t) = t` eight of Heun's, for 15 evaluations, leave it 10 to 20% too large.
"""

import itertools
import math

import torch

__all__ = [
    "churned_level", "euler_step", "heun_correction", "loss_weight", "noise_levels", "preconditioning", "random_levels",
    "sample", "slope", "stacked_noise", "white_noise",
]  # fmt: skip


def noise_levels(steps, sigma_min, sigma_max, rho=7.0):
    """
    Return the falling noise levels of a sampler from ``sigma_max`` to ``sigma_min``, then zero: ``steps + 1`` (Eq. 5).

    Parameters
    ----------
    steps : int
        Number of steps. Euler's method evaluates the network once in each, Heun's twice but for the last.
    sigma_min, sigma_max : float
        Lowest and highest positive level.
    rho : float, optional
        The larger, the more of the steps lie near ``sigma_min``.

    Raises
    ------
    ValueError
        If there is no step, or the levels do not fall.
    """
    if steps < 1 or not 0 < sigma_min < sigma_max:
        msg = f"need steps >= 1 and 0 < sigma_min < sigma_max, got {steps}, {sigma_min} and {sigma_max}"
        raise ValueError(msg)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    last = max(steps - 1, 1)
    return [(high + i / last * (low - high)) ** rho for i in range(steps)] + [0.0]


def preconditioning(sigma, sigma_data):
    r"""
    Coefficients ``c_skip, c_out, c_in, c_noise`` of the denoiser, of the shape of ``sigma`` (Eq. 7 and Table 1).

    .. math:: D(x; \sigma) = c_{skip} x + c_{out} F(c_{in} x; c_{noise})

    With them, F's input and its training target have unit variance at every noise level, and its errors are amplified
    as little as possible.

    Parameters
    ----------
    sigma : `torch.Tensor`
        Noise levels, positive, any shape.
    sigma_data : float
        Standard deviation of the noise-free images.
    """
    total = sigma.square() + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data * total.rsqrt(), total.rsqrt(), sigma.log() / 4


def loss_weight(sigma, sigma_data):
    """Return the weight of the denoiser's squared error: ``1 / c_out**2``, so that F's is weighted by 1 (Table 1)."""
    return (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()


def random_levels(count, mean, std, generator=None, device=None):
    """
    Noise levels to train on, ``[count]``: ln(sigma) is normal with this mean and standard deviation (Table 1).

    Each level is random, but a batch has one from each of ``count`` equally likely ranges (Kingma et al. 2021,
    arXiv:2107.00630, app. I.1), so that the loss depends less on the draw.
    """
    offset = torch.rand((), generator=generator, device=device if generator is None else generator.device)
    quantile = (torch.arange(count, device=offset.device) + offset) / count
    # float32 can round to 0 or 1, whose normal deviates are infinite
    return (mean + std * torch.special.ndtri(quantile.clamp(1e-6, 1 - 1e-6))).exp().to(device)


def white_noise(shape, generator=None, device=None):
    """Unit normal numbers, drawn on the generator's device and brought to ``device``."""
    source = device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=source).to(device)


def stacked_noise(shape, generators):
    """White noise ``[H, W]`` of as many images below each other, each from a generator of its own."""
    rows = shape[0] // len(generators)
    return torch.cat([white_noise((rows, shape[1]), generator) for generator in generators])


def churned_level(sigma, steps, churn):
    r"""Noise level after the churn of a stochastic sampler, :math:`\sigma + \gamma\sigma` (Alg. 2, lines 4 and 5)."""
    return sigma * (1 + min(churn / steps, math.sqrt(2) - 1))


def slope(x, denoised, t):
    r"""
    Return dx/dt of the probability flow (Alg. 1, line 4).

    .. math:: \left(\frac{\dot\sigma}{\sigma} + \frac{\dot s}{s}\right) x - \frac{\dot\sigma s}{\sigma} D(x/s; \sigma)
              = \frac{x \cos t - D}{\sin t}
    """
    return (math.cos(t) * x - denoised) / math.sin(t)


def euler_step(x, slope, t, t_next):
    """Follow the slope from one time to the next (Alg. 1, line 5)."""
    return x + (t_next - t) * slope


def heun_correction(x_next, slope, slope_next, t, t_next):
    """Turn an Euler step's result into that of a step along the mean of both ends' slopes (Alg. 1, line 8)."""
    return x_next + (t_next - t) / 2 * (slope_next - slope)


def sample(denoise, x, levels, *, heun=False, churn=0.0, generators=(None,)):
    r"""
    Draw a sample: Alg. 1, or with ``churn`` Alg. 2. White noise ``x`` becomes the sample and is returned.

    A survey frame is large, so that the image is changed in place, plane by plane: beside it only the denoiser's output
    is held, and for Heun's method one slope.

    Parameters
    ----------
    denoise : callable
        ``denoise(x, sigma) -> D``: the expected image without noise, given the state
        :math:`x = (z + \sigma n) / \sqrt{1 + \sigma^2}`; a new array, which is overwritten.
    x : array
        ``[C, H, W]``, numpy or torch: white noise of unit variance.
    levels : list of float
        Falling noise levels that end with zero, of `noise_levels`.
    heun : bool, optional
        Correct each step to second order (Alg. 1, lines 6 to 8). It pays where a pixel's possible values fall into
        groups; for nearly Gaussian images more steps serve better than better steps.
    churn : float, optional
        :math:`S_{churn}`: fresh noise added before each step, 0 for none.
    generators : list of `torch.Generator`, optional
        Sources of that noise, one for each of as many images below each other.
    """
    for sigma, sigma_next in itertools.pairwise(levels):
        raised = churned_level(sigma, len(levels) - 1, churn)
        if churn:
            _add_noise(x, sigma, raised, generators)
        _step(denoise, x, raised, sigma_next, heun)
    return x


def _step(denoise, x, sigma, sigma_next, heun):
    t, t_next = math.atan(sigma), math.atan(sigma_next)
    slopes = denoise(x, sigma)
    for plane, d in zip(x, slopes, strict=True):
        d[...] = slope(plane, d, t)
        plane[...] = euler_step(plane, d, t, t_next)
    if heun and sigma_next > 0:  # at zero the slope is not defined
        for plane, d, denoised in zip(x, slopes, denoise(x, sigma_next), strict=True):
            plane[...] = heun_correction(plane, d, slope(plane, denoised, t_next), t, t_next)


def _add_noise(x, sigma, raised, generators):
    for plane in x:
        noise = math.sqrt(raised**2 - sigma**2) * stacked_noise(plane.shape, generators)
        noise = noise if isinstance(plane, torch.Tensor) else noise.numpy()
        plane[...] = (math.hypot(1, sigma) * plane + noise) / math.hypot(1, raised)
