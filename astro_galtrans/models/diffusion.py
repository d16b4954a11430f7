r"""
Conditional diffusion: samples of what the target survey would have seen, given the source.

The mean of all possible answers is smooth; a sample looks like an image, with noise. So the work is split, as in
CorrDiff (Mardani et al. 2023, arXiv:2309.15214):

1. a *regression* network gives the mean flux of every target pixel given the source, and its standard deviation s;
2. a *diffusion* model (Ho et al. 2020; Saharia et al. 2021; here with the preconditioning, training and sampler of
   Karras et al. 2022, arXiv:2206.00364) samples what is left. Standardised pixel by pixel, that is

   .. math:: z = (\sinh y - \sinh m) / (s \cosh m),

   where y is the target and m the mean, both in network units. Since z is linear in flux, a z of zero mean leaves the
   flux without bias.

What is diffused is not z but its coefficients in an orthonormal `~astro_galtrans.models.pyramid.Pyramid` of blocks,
brought to unit variance by a covariance between bands, :math:`S S^T`, that a small *encoder* expects of each,

.. math:: u = S^{-1} W z .

An error that a galaxy's pixels share, which changes its flux and colours, is small in each pixel beside the noise. In
pixels a denoiser is not rewarded for seeing it: of the squared error of white noise nearly all is in the finest scale.
Among the u it is a number of the coarsest level, of unit variance like all others, and the loss counts all levels
alike. Each level of the denoiser's U-Net is given, and gives, the coefficients of its own level.

u has unit variance, so :math:`\sigma_{data} = 1`. An untrained denoiser (F = 0) draws white noise, whose z is
:math:`W^T S u`; since W is orthonormal the sampler's state is kept as an image, :math:`W^T u`, and its noise is drawn
per pixel of the whole output grid.

The networks work on the *source* grid, at scale 1 the denoiser on pixels of twice the side: target pixels leave the
regression as ``scale**2`` channels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from astro_galtrans.tiling import tiled_map

from .base import Estimate, Prediction, TranslationModel
from .blocks import conv, crop_to, pad_to_multiple, split_estimate
from .losses import bounded_square, weighted_mean
from .pyramid import Pyramid, coloured, whitened
from .schedule import loss_weight, noise_levels, preconditioning, random_levels, sample, stacked_noise, white_noise

__all__ = ["DiffusionTranslator"]

SIGMA_DATA = 1.0  # by construction of u
#: Weight in the loss of the encoder's likelihood and of the denoiser's error. No layer of the regression learns from
#: them, so that it only decides how much they count where gradients are clipped.
SHARE = 0.1
#: ln S, and slopes between bands, stay below: a block of 54 x 54 pixels that share all of their error reaches it.
SCALE_RANGE = 4.0


class DiffusionTranslator(TranslationModel):
    """
    Regression of the mean, diffusion of the standardised residual in a pyramid of scales.

    Parameters
    ----------
    in_bands, out_bands, scale
        As for `TranslationModel`.
    regression_widths, denoiser_widths : sequence of int
        Channels of each level of the two U-Nets; each level has half the resolution of the one before. The pyramid has
        as many levels as the denoiser.
    regression_blocks, denoiser_blocks : sequence of int
        Residual blocks of each level, on the way down and again on the way up.
    encoder_width, features : int
        Channels within the encoder, and of what it tells the denoiser of the source. It is evaluated once for an image,
        the denoiser many times for each sample.
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
    # Six steps of Euler's method keep the standard deviation of a Gaussian mode of variance 0.05 to 10 to 1.4 %; those
    # of the u, whose variances are 1, lie within.
    _SAMPLER = dict(
        steps=6, sigma_min=0.1, sigma_max=20.0, rho=5.0, heun=False, churn=0.0, level_mean=0.0, level_std=1.4
    )  # fmt: skip
    PRESETS = {
        "tiny": dict(
            regression_widths=(24, 64), regression_blocks=(1, 2), encoder_width=24, features=20,
            denoiser_widths=(16, 32, 48), denoiser_blocks=(1, 1, 1), embedding=32, **_SAMPLER,
        ),
        "paper": dict(
            regression_widths=(64, 128, 256, 512), regression_blocks=(2, 2, 2, 2), encoder_width=64, features=64,
            denoiser_widths=(64, 128, 256, 512), denoiser_blocks=(2, 2, 2, 2), embedding=256, **_SAMPLER,
        ),
    }  # fmt: skip

    def __init__(
        self, in_bands, out_bands, scale, *, regression_widths, regression_blocks, encoder_width, features,
        denoiser_widths, denoiser_blocks, embedding, steps, sigma_min, sigma_max, rho, heun, churn, level_mean,
        level_std, observed=False,
    ):  # fmt: skip
        super().__init__(in_bands, out_bands, scale, observed)
        bands, n_in, n_fine = len(self.out_bands), self.in_channels, len(self.out_bands) * self.scale**2
        self.levels = noise_levels(steps, sigma_min, sigma_max, rho)
        self.heun, self.churn = bool(heun), float(churn)
        self.level_mean, self.level_std = float(level_mean), float(level_std)
        self.pyramid = Pyramid(max(self.scale, 2), len(denoiser_widths))
        self.fold = self.pyramid.folds[0] // self.scale  # side of the denoiser's pixels in source pixels
        self.features, self.scales = int(features), bands * (bands + 1) // 2 * len(self.pyramid.details)
        self.regression = UNet(n_in, 2 * n_fine, regression_widths, regression_blocks)
        seen = regression_widths[0] + n_in + 2 * n_fine
        self.encoder = Encoder(seen, encoder_width, self.features, self.scales)
        self.embed = nn.Sequential(nn.Linear(1, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        *details, last, sums = (bands * number for number in self.pyramid.details)
        own = [*details, last + sums]  # coefficients of each level of the denoiser
        given = [self.features + number for number in own]
        self.denoiser = UNet(given, own, denoiser_widths, denoiser_blocks, embedding)
        self.multiple_of = max(self.regression.stride, self.fold * self.denoiser.stride)
        # a denoiser's pixel of two source pixels may begin at either
        seen = self.fold * self.denoiser.radius + self.fold - 1
        self.margin = max(self.regression.radius + self.encoder.radius, seen)

    def forward(self, source):
        """Source ``[B, C_in, H, W]`` to the mean of all samples and its `Estimate` of their spread."""
        return self.described(source)[0]

    def described(self, source):
        """
        Return the `Estimate`, and what is known of the residual, ``[B, features + scales, H, W]``.

        The latter are features for the denoiser, and what `spreads` needs.
        """
        raw, hidden = self.regression(source, hidden=True)
        estimate = Estimate(*split_estimate(F.pixel_shuffle(raw, self.scale), self.skip(source), bounded=self.observed))
        fine = (F.pixel_unshuffle(part, self.scale) for part in estimate)
        known = self.encoder(torch.cat([hidden, source, *fine], dim=1).detach())
        return estimate, known

    def spreads(self, known):
        """Return the arguments ``log_std, slopes`` of `whitened` for each entry of the pyramid's coefficients."""
        maps = SCALE_RANGE * torch.tanh(known[:, self.features :] / SCALE_RANGE)
        sides = (grid // self.scale for grid in self.pyramid.grids())
        parts = maps.chunk(len(self.pyramid.details), dim=1)
        means = (F.avg_pool2d(part, side)[:, :, None] for part, side in zip(parts, sides, strict=True))
        return [part.tensor_split([len(self.out_bands)], dim=1) for part in means]

    def denoise(self, known, state, sigma):
        r"""
        Expected image without noise given a noisy one, :math:`D_\theta(x; \sigma)` (Karras et al. 2022, Eq. 7).

        Both are images :math:`W^T u`.

        Parameters
        ----------
        known : `torch.Tensor`
            Of the source, as `described` returned it.
        state : `torch.Tensor`
            ``[B, C_out, scale*H, scale*W]``: image plus noise, brought to unit variance: :math:`c_{in} x`.
        sigma : `torch.Tensor`
            ``[B]``: standard deviation of the noise in x.
        """
        height, width = state.shape[-2:]
        known, state = self._padded(known), pad_to_multiple(state, self.pyramid.side)
        raw = self.pyramid.synthesise(self._evaluated(known, self.pyramid.analyse(state), sigma))
        c_skip, c_out, c_in, _ = preconditioning(sigma[:, None, None, None], SIGMA_DATA)
        return crop_to(c_skip / c_in * state + c_out * raw, height, width)

    def residual(self, known, state):
        """Return the residual z of a sample of :math:`W^T u`, both ``[B, C_out, scale*H, scale*W]``."""
        height, width = state.shape[-2:]
        coefficients = self.pyramid.analyse(pad_to_multiple(state, self.pyramid.side))
        spreads = self.spreads(self._padded(known))
        scaled = [coloured(u, *spread) for u, spread in zip(coefficients, spreads, strict=True)]
        return crop_to(self.pyramid.synthesise(scaled), height, width)

    def _padded(self, known):
        return pad_to_multiple(known, self.pyramid.side // self.scale)

    def _evaluated(self, known, coefficients, sigma):
        """Output F of the denoiser for scaled noisy coefficients, in their shapes."""
        *fine, last, sums = (part.flatten(1, 2) for part in coefficients)
        own = [*fine, torch.cat([last, sums], dim=1)]
        given = [known[:, : self.features]]
        for fold in (self.fold, *self.pyramid.folds[1:]):
            given.append(F.avg_pool2d(given[-1], fold) if fold > 1 else given[-1])
        noise = preconditioning(sigma[:, None], SIGMA_DATA)[3]
        raw = self.denoiser([torch.cat(both, dim=1) for both in zip(given[1:], own, strict=True)], self.embed(noise))
        raw[-1:] = raw[-1].split([last.shape[1], sums.shape[1]], dim=1)
        return [part.reshape(like.shape) for part, like in zip(raw, coefficients, strict=True)]

    def losses(self, source, target, progress, generator=None, weight=None):
        """Yield the regression's two terms, the scales' likelihood and the denoiser's error (Karras et al., Eq. 8)."""
        estimate, known = self.described(source)
        fixed = Estimate(*(x.detach() for x in estimate))
        side = self.pyramid.side
        residual = standardise(*(pad_to_multiple(part, side) for part in (target, *fixed)))
        weights = self._weights(target if weight is None else weight, known=weight is not None)
        known, residual = self._padded(known), self.pyramid.analyse(residual)
        spreads = self.spreads(known)
        # errors of saturated stars are hundreds of S: beyond 20 they count linearly, lest one star decide a step
        scaled = [whitened(part, *spread) for part, spread in zip(residual, spreads, strict=True)]
        likelihood = (
            weighted_mean(ln_s + bounded_square(part) / 2, w)
            for part, (ln_s, _), w in zip(scaled, spreads, weights, strict=True)
        )
        errors = self._errors(known, [part.detach() for part in scaled], generator)
        denoised = (weighted_mean(error, w) for error, w in zip(errors, weights, strict=True))
        number = len(residual)
        terms = {"scales": SHARE / number * sum(likelihood), "denoise": SHARE / number * sum(denoised)}
        yield self.content_losses(estimate, source, target, weight) | terms

    def _errors(self, known, clean, generator):
        """Weighted squared errors of the denoiser for coefficients u without noise, in their shapes."""
        device = known.device
        sigma = random_levels(len(known), self.level_mean, self.level_std, generator, device)
        level = sigma[:, None, None, None, None]
        c_skip, c_out, c_in, _ = preconditioning(level, SIGMA_DATA)
        noisy = [u + level * white_noise(u.shape, generator, device) for u in clean]
        raw = self._evaluated(known, [c_in * x for x in noisy], sigma)
        errors = (c_skip * x + c_out * f - u for x, f, u in zip(noisy, raw, clean, strict=True))
        return [bounded_square(loss_weight(level, SIGMA_DATA).sqrt() * error) for error in errors]

    def _weights(self, weight, *, known):
        """Weights of the pyramid's coefficients: each counts as the least pixel of its block."""
        if not known:
            return [None] * len(self.pyramid.details)
        lack = -pad_to_multiple(weight, self.pyramid.side)
        return [-F.max_pool2d(lack, side)[:, :, None] for side in self.pyramid.grids()]

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
        n_known = -(-(self.features + self.scales) // self.scale**2)  # planes of the output grid that hold `known`

        def describe(tile):
            estimate, known = self.described(self._tensor(tile))
            known = F.pad(known, (0, 0, 0, 0, 0, n_known * self.scale**2 - known.shape[1]))
            return torch.cat([*estimate, F.pixel_shuffle(known, self.scale)], dim=1).cpu().numpy()

        found = tiled_map(describe, [source], plan, channels=2 * n_out + n_known, **options)
        estimate, known = found[: 2 * n_out], found[2 * n_out :]

        def unpacked(known):
            return F.pixel_unshuffle(self._tensor(known), self.scale)[:, : self.features + self.scales]

        def denoise(state, sigma):
            def evaluate(known, state):
                level = torch.full((len(state),), sigma, device=self.device)
                return self.denoise(unpacked(known), self._tensor(state), level).cpu().numpy()

            return tiled_map(evaluate, [known, state], plan, channels=n_out, **options)

        def colour(known, state):
            return self.residual(unpacked(known), self._tensor(state)).cpu().numpy()

        roots = seed if isinstance(seed, list) else [np.random.SeedSequence(seed).entropy]
        for index in range(n_samples):
            generator = [sample_generator(root, index) for root in roots]
            state = np.empty_like(estimate[:n_out])
            for plane in state:
                plane[...] = stacked_noise(plane.shape, generator).numpy()
            state = sample(denoise, state, self.levels, heun=self.heun, churn=self.churn, generators=generator)
            residual = tiled_map(colour, [known, state], plan, channels=n_out, batch_size=batch_size)
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


class Encoder(nn.Module):
    """What the denoiser is told of the source: a residual block between two convolutions; its scales start from 0."""

    radius = 3  # source pixels: the block's two convolutions and the head

    def __init__(self, n_in, width, features, scales):
        super().__init__()
        self.stem, self.block, self.head = conv(n_in, width, 1), ResidualBlock(width, 0), conv(width, features + scales)
        with torch.no_grad():
            self.head.weight[features:] = 0
            self.head.bias[features:] = 0

    def forward(self, x):
        """``[B, n_in, H, W]`` to ``[B, features + scales, H, W]``."""
        return self.head(F.silu(self.block(self.stem(x), None)))


class UNet(nn.Module):
    """
    U-Net of pre-activation residual blocks; any image size, finite receptive field, starts from zero.

    ``widths`` and ``blocks`` are the channels of each level and the residual blocks on either side of it. ``n_in`` and
    ``n_out`` are the channels of the input and output image, or those of every level: an image goes into each level
    then, and one comes out. ``embedding`` is the length of the noise-level vector that modulates each block, 0 for
    none.
    """

    def __init__(self, n_in, n_out, widths, blocks, embedding=0):
        super().__init__()
        if len(widths) != len(blocks):
            msg = f"widths and blocks must name as many levels, got {tuple(widths)} and {tuple(blocks)}"
            raise ValueError(msg)
        self.single = isinstance(n_in, int)
        ends = [(n_in, n_out)] if self.single else list(zip(n_in, n_out, strict=True))
        self.stride = 2 ** (len(widths) - 1)
        # 2: stem and head, which all levels have where each has an image of its own; a coarse pixel covers many
        self.radius = max(2**k * (_radius(blocks[k:]) + 3) - 1 for k in range(len(ends)))
        self.body = Level(ends, widths, blocks, embedding)

    def forward(self, x, embedding=None, *, hidden=False):
        """
        ``[B, n_in, H, W]`` to ``[B, n_out, H, W]``, or lists of them, each of half the resolution of the one before.

        The image of a list must fit the levels; a single one is padded. With ``hidden``, the channels that the head
        sees are returned too.
        """
        height, width = (x if self.single else x[0]).shape[-2:]
        features, found = self.body([pad_to_multiple(x, self.stride)] if self.single else x, embedding)
        found = crop_to(found[0], height, width) if self.single else found
        return (found, crop_to(features, height, width)) if hidden else found


class Level(nn.Module):
    """
    One level of a U-Net: blocks, all coarser levels, blocks; the coarsest has its blocks once.

    ``ends`` are the channels of input and output images of this level and of those of the coarser that have any.
    """

    def __init__(self, ends, widths, blocks, embedding):
        super().__init__()
        width, coarser = widths[0], widths[1:]
        self.stem = self.head = None
        if ends:
            self.stem, self.head = conv(ends[0][0], width), conv(width, ends[0][1])
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        self.down = nn.ModuleList(ResidualBlock(width, embedding) for _ in range(blocks[0]))
        self.coarser = None
        if coarser:
            self.shrink = nn.Conv2d(width, coarser[0], 2, stride=2)
            self.coarser = Level(ends[1:], coarser, blocks[1:], embedding)
            self.grow = nn.ConvTranspose2d(coarser[0], width, 2, stride=2)
            self.up = nn.ModuleList(ResidualBlock(width, embedding) for _ in range(blocks[0]))

    def forward(self, images, embedding, finer=0):
        """Return the features of this level, and the output images of this and the coarser ones."""
        x, found = finer if self.stem is None else finer + self.stem(images[0]), []
        for block in self.down:
            x = block(x, embedding)
        if self.coarser is not None:
            coarse, found = self.coarser(images[1:], embedding, self.shrink(x))
            x = x + self.grow(coarse)
            for block in self.up:
                x = block(x, embedding)
        return x, found if self.head is None else [self.head(x), *found]


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
