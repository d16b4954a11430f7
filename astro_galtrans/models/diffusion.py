r"""
Conditional diffusion: samples of what the target survey would have seen, given the source.

The mean of all possible answers is smooth; a sample looks like an image, with noise. So the work is split, as in
CorrDiff (Mardani et al. 2023, arXiv:2309.15214):

1. a *regression* network gives the mean flux of every target pixel given the source, and its standard deviation s;
2. a *diffusion* model (Ho et al. 2020; Saharia et al. 2021; here with the preconditioning, training and sampler of
   Karras et al. 2022, arXiv:2206.00364) samples what is left, standardised pixel by pixel,

   .. math:: z = (\sinh y - \sinh m) / (s \cosh m),

   where y is the target and m the mean, both in network units. z has zero mean and unit variance whatever the
   brightness, so :math:`\sigma_{data} = 1`, and an untrained denoiser (F = 0) already draws white noise of the right
   amplitude; it learns how neighbouring pixels and bands are correlated. Since z is linear in flux, a z of zero mean
   leaves the flux without bias.

Both networks are small U-Nets on the *source* grid: target pixels enter and leave as ``scale**2`` channels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from astro_galtrans.tiling import tiled_map

from .base import Estimate, Prediction, TranslationModel
from .blocks import conv, crop_to, pad_to_multiple, split_estimate
from .losses import weighted_mean
from .schedule import loss_weight, noise_levels, preconditioning, random_levels, sample, stacked_noise, white_noise

__all__ = ["DiffusionTranslator"]

SIGMA_DATA = 1.0  # by construction of z


class DiffusionTranslator(TranslationModel):
    """
    Regression of the mean, diffusion of the standardised residual.

    Parameters
    ----------
    in_bands, out_bands, scale
        As for `TranslationModel`.
    regression_widths, denoiser_widths : sequence of int
        Channels of each level of the two U-Nets; each level has half the resolution of the one before.
    regression_blocks, denoiser_blocks : sequence of int
        Residual blocks of each level, on the way down and again on the way up.
    embedding : int
        Length of the vector that tells the denoiser the noise level.
    steps : int
        Steps of the sampler.
    sigma_min, sigma_max, rho : float
        Its noise levels, see `~astro_galtrans.models.schedule.noise_levels`.
    heun, churn : bool, float
        Its order and stochasticity, see `~astro_galtrans.models.schedule.sample`.
    level_mean, level_std : float
        Mean and standard deviation of ln(sigma) in training.
    """

    name = "diffusion"
    stochastic = True
    _SAMPLER = dict(
        steps=10, sigma_min=0.05, sigma_max=80.0, rho=7.0, heun=False, churn=0.0, level_mean=0.0, level_std=1.4
    )  # fmt: skip
    PRESETS = {
        "tiny": dict(
            regression_widths=(24, 64), regression_blocks=(1, 2), denoiser_widths=(24, 64), denoiser_blocks=(1, 1),
            embedding=64, **_SAMPLER,
        ),
        "paper": dict(
            regression_widths=(64, 128, 256, 512), regression_blocks=(2, 2, 2, 2),
            denoiser_widths=(64, 128, 256, 512), denoiser_blocks=(2, 2, 2, 2),
            embedding=256, **_SAMPLER,
        ),
    }  # fmt: skip

    def __init__(
        self, in_bands, out_bands, scale, *, regression_widths, regression_blocks, denoiser_widths, denoiser_blocks,
        embedding, steps, sigma_min, sigma_max, rho, heun, churn, level_mean, level_std, observed=False,
    ):  # fmt: skip
        super().__init__(in_bands, out_bands, scale, observed)
        n_in, n_fine = self.in_channels, len(self.out_bands) * self.scale**2
        self.levels = noise_levels(steps, sigma_min, sigma_max, rho)
        self.heun, self.churn = bool(heun), float(churn)
        self.level_mean, self.level_std = float(level_mean), float(level_std)
        self.regression = UNet(n_in, 2 * n_fine, regression_widths, regression_blocks)
        self.embed = nn.Sequential(nn.Linear(1, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.denoiser = UNet(n_in + 3 * n_fine, n_fine, denoiser_widths, denoiser_blocks, embedding)
        self.multiple_of = max(self.regression.stride, self.denoiser.stride)
        self.margin = max(self.regression.radius, self.denoiser.radius)

    def forward(self, source):
        """Source ``[B, C_in, H, W]`` to the mean of all samples and its `Estimate` of their spread."""
        raw = F.pixel_shuffle(self.regression(source), self.scale)
        return Estimate(*split_estimate(raw, self.skip(source), bounded=self.observed))  # [B, C_out, sH, sW] each

    def denoise(self, source, estimate, state, sigma):
        r"""
        Expected standardised residual given a noisy one, :math:`D_\theta(x; \sigma)` (Karras et al. 2022, Eq. 7).

        Parameters
        ----------
        source : `torch.Tensor`
            ``[B, C_in, H, W]``.
        estimate : Estimate
            Of the source.
        state : `torch.Tensor`
            ``[B, C_out, scale*H, scale*W]``: residual plus noise, brought to unit variance: :math:`c_{in} x`.
        sigma : `torch.Tensor`
            ``[B]``: standard deviation of the noise in x.
        """
        c_skip, c_out, c_in, c_noise = preconditioning(sigma[:, None, None, None], SIGMA_DATA)
        coarse = (F.pixel_unshuffle(part, self.scale) for part in (*estimate, state))
        raw = self.denoiser(torch.cat([source, *coarse], dim=1), self.embed(c_noise.flatten(1)))
        return c_skip / c_in * state + c_out * F.pixel_shuffle(raw, self.scale)

    def losses(self, source, target, progress, generator=None, weight=None):
        """Yield the regression's two terms and the denoiser's weighted squared error (Karras et al. 2022, Eq. 8)."""
        estimate = self(source)
        fixed = Estimate(*(x.detach() for x in estimate))
        residual = standardise(target, *fixed)
        sigma = random_levels(len(source), self.level_mean, self.level_std, generator, source.device)
        level = sigma[:, None, None, None]
        noisy = residual + level * white_noise(residual.shape, generator, source.device)
        error = self.denoise(source, fixed, noisy * torch.rsqrt(level.square() + SIGMA_DATA**2), sigma) - residual
        weighted = weighted_mean(loss_weight(level, SIGMA_DATA) * error.square(), weight)
        yield self.content_losses(estimate, source, target, weight) | {"denoise": 0.1 * weighted}

    def evaluations(self, n_samples=1):
        """Return how often `predict` evaluates a network on a tile: once for the mean, at all levels for a sample."""
        steps = len(self.levels) - 1
        return 1 + n_samples * (2 * steps - 1 if self.heun else steps)

    @torch.inference_mode()
    def predict(self, source, plan, *, n_samples=1, seed=None, batch_size=1, progress=None):
        """
        Draw samples of a whole image and yield a `Prediction` for each.

        The sampler sees the whole image and only its network evaluations are tiled; its noise is drawn on the
        whole output grid, band by band. So a sample depends on ``seed`` and its index, and not on tiles or batches.
        Parameters are those of `TranslationModel.predict`. ``std`` is that of any one sample, at that sample's values.
        """
        n_out, options = len(self.out_bands), {"batch_size": batch_size, "progress": progress}

        def regress(tile):
            return torch.cat(self(self._tensor(tile)), dim=1).cpu().numpy()

        estimate = tiled_map(regress, [source], plan, channels=2 * n_out, **options)  # [2 C_out, sH, sW]

        def denoise(state, sigma):
            def evaluate(source, estimate, state):
                level = torch.full((len(source),), sigma, device=self.device)
                parts = Estimate(*self._tensor(estimate).chunk(2, dim=1))
                return self.denoise(self._tensor(source), parts, self._tensor(state), level).cpu().numpy()

            return tiled_map(evaluate, [source, estimate, state], plan, channels=n_out, **options)

        roots = seed if isinstance(seed, list) else [np.random.SeedSequence(seed).entropy]
        for index in range(n_samples):
            generator = [sample_generator(root, index) for root in roots]
            state = np.empty_like(estimate[:n_out])
            for plane in state:
                plane[...] = stacked_noise(plane.shape, generator).numpy()
            residual = sample(denoise, state, self.levels, heun=self.heun, churn=self.churn, generators=generator)
            yield unstandardise(residual, *np.split(estimate, 2))

    def _tensor(self, array):
        return torch.from_numpy(array).to(self.device)


def sample_generator(seed, index):
    """Random numbers of one sample: a CPU `torch.Generator`, so that they are the same on every device."""
    state = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))


def standardise(target, mean, log_std):
    """Flux residual of the target in units of its expected standard deviation, all tensors in network units."""
    return (torch.sinh(target) - torch.sinh(mean)) / (torch.cosh(mean) * torch.exp(log_std))


def unstandardise(residual, mean, log_std):
    """`Prediction` of a residual: the inverse of `standardise` on numpy planes, in place."""
    spread = np.empty_like(residual)
    for z, m, s, std in zip(residual, mean, log_std, spread, strict=True):
        flux_std = np.cosh(m) * np.exp(s)
        z[...] = np.arcsinh(np.sinh(m) + flux_std * z)
        std[...] = flux_std / np.cosh(z)  # the same flux at every sample's own slope
    return Prediction(residual, spread)


class UNet(nn.Module):
    """
    U-Net of pre-activation residual blocks; any image size, finite receptive field, starts from zero.

    ``widths`` and ``blocks`` are the channels of each level and the residual blocks on either side of it. ``embedding``
    is the length of the noise-level vector that modulates each block, 0 for none.
    """

    def __init__(self, n_in, n_out, widths, blocks, embedding=0):
        super().__init__()
        if len(widths) != len(blocks):
            msg = f"widths and blocks must name as many levels, got {tuple(widths)} and {tuple(blocks)}"
            raise ValueError(msg)
        self.stride, self.radius = 2 ** (len(widths) - 1), _radius(blocks) + 2  # 2: stem and head
        self.stem = conv(n_in, widths[0])
        self.body = Level(widths, blocks, embedding)
        self.head = conv(widths[0], n_out)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x, embedding=None):
        """``[B, n_in, H, W]`` to ``[B, n_out, H, W]``."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.stride)
        return crop_to(self.head(self.body(self.stem(x), embedding)), height, width)


class Level(nn.Module):
    """One level of a U-Net: blocks, all coarser levels, blocks; the coarsest has its blocks once."""

    def __init__(self, widths, blocks, embedding):
        super().__init__()
        width, coarser = widths[0], widths[1:]
        self.down = nn.ModuleList(ResidualBlock(width, embedding) for _ in range(blocks[0]))
        self.coarser = None
        if coarser:
            self.shrink = nn.Conv2d(width, coarser[0], 2, stride=2)
            self.coarser = Level(coarser, blocks[1:], embedding)
            self.grow = nn.ConvTranspose2d(coarser[0], width, 2, stride=2)
            self.up = nn.ModuleList(ResidualBlock(width, embedding) for _ in range(blocks[0]))

    def forward(self, x, embedding):
        for block in self.down:
            x = block(x, embedding)
        if self.coarser is None:
            return x
        x = x + self.grow(self.coarser(self.shrink(x), embedding))
        for block in self.up:
            x = block(x, embedding)
        return x


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions; between them the noise level scales and shifts the channels (FiLM, Perez et al. 2018)."""

    def __init__(self, width, embedding):
        super().__init__()
        self.conv1, self.conv2 = conv(width, width), conv(width, width)
        self.modulate = nn.Linear(embedding, 2 * width) if embedding else None

    def forward(self, x, embedding):
        h = self.conv1(F.silu(x))
        if self.modulate is not None:
            scale, shift = self.modulate(embedding)[..., None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return x + self.conv2(F.silu(h))


def _radius(blocks):
    # in the level's own pixels: a block reads 2 pixels to each side; a coarse pixel covers two, and this may be either
    inner = 2 * _radius(blocks[1:]) + 1 if len(blocks) > 1 else 0
    return 2 * blocks[0] * (2 if len(blocks) > 1 else 1) + inner
