"""
SRGAN: a residual generator, and a discriminator that judges it.

Ledig et al. 2017, CVPR, "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network"
(arXiv:1609.04802), with what later work changed:

* no batch normalisation in the small preset (Lim et al. 2017, EDSR, arXiv:1707.02921): dividing by the batch's
  spread makes the flux of one galaxy depend on its neighbours in the batch;
* features of the discriminator in place of a photographic VGG, to which five bands of sky mean nothing
  (Wang et al. 2018, pix2pixHD, arXiv:1711.11585);
* a patch discriminator with spectral normalisation (Miyato et al. 2018, arXiv:1802.05957) and without dense
  layers, so that any image size works.

No output is clamped and there is no tanh: fluxes have no upper bound. In shapes, B is the batch, C the bands (C_in,
C_out), w the feature maps of the generator, s the scale, and H, W are source pixels.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from .base import Estimate, TranslationModel
from .blocks import SKIP_RADIUS, conv, split_estimate, start_from_skip

__all__ = ["Discriminator", "Generator", "ResidualBlock", "SRGANTranslator"]

#: Sub-pixel stages of each scale: a factor 4 is two doublings, as in the paper.
STAGES = {1: (), 2: (2,), 3: (3,), 4: (2, 2)}


class ResidualBlock(nn.Module):
    """conv - [BN] - PReLU - conv - [BN] + identity: figure 4 of Ledig et al. 2017."""

    def __init__(self, width, norm):
        super().__init__()
        # a bias before a normalisation would be subtracted again
        self.conv1, self.norm1 = conv(width, width, bias=not norm), _norm(width, norm)
        self.act = nn.PReLU()
        self.conv2, self.norm2 = conv(width, width, bias=not norm), _norm(width, norm)

    def forward(self, x):
        """Features ``[B, w, H, W]`` to the same."""
        y = self.act(self.norm1(self.conv1(x)))  # [B, w, H, W]
        return x + self.norm2(self.conv2(y))  # [B, w, H, W]


class Generator(nn.Module):
    """
    SRResNet: all but the last convolutions at the source's resolution.

    Parameters
    ----------
    in_channels, out_channels, scale : int
        C_in, C_out and s.
    width, blocks : int
        Feature maps, and number of residual blocks.
    fine_width : int
        Feature maps at the target's resolution.
    kernel : int
        Side of the first and last kernel (9 in the paper).
    norm : bool
        Batch normalisation in the residual blocks. It uses running statistics once trained, and so is local.
    """

    def __init__(self, in_channels, out_channels, scale, *, width, blocks, fine_width, kernel, norm):
        super().__init__()
        self.first = nn.Sequential(conv(in_channels, width, kernel), nn.PReLU())
        self.blocks = nn.Sequential(*(ResidualBlock(width, norm) for _ in range(blocks)))
        self.merge = nn.Sequential(conv(width, width, bias=not norm), _norm(width, norm))
        widths = (width, *(fine_width for _ in STAGES[scale]))
        stages = zip(widths, widths[1:], STAGES[scale], strict=False)
        self.upsample = nn.Sequential(*(_subpixel(a, b, factor) for a, b, factor in stages))
        self.last = start_from_skip(conv(widths[-1], 2 * out_channels, kernel))

    def forward(self, x):
        """Source ``[B, C_in, H, W]`` to residual and log std, ``[B, 2 C_out, sH, sW]``."""
        shallow = self.first(x)  # [B, w, H, W]
        deep = shallow + self.merge(self.blocks(shallow))  # [B, w, H, W]
        return self.last(self.upsample(deep))  # [B, 2 C_out, sH, sW]


class Discriminator(nn.Module):
    """
    A stack of strided convolutions that judges overlapping patches of an image, given the source.

    Parameters
    ----------
    channels : int
        C_in + C_out.
    layers : sequence of (int, int)
        Feature maps and stride of each layer.
    """

    def __init__(self, channels, layers):
        super().__init__()
        widths = (channels, *(width for width, _ in layers))
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 3, stride, padding=1)) for a, (b, stride) in zip(widths, layers, strict=False)
        )
        self.judge = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, source, image):
        """Source ``[B, C_in, H, W]`` and image ``[B, C_out, sH, sW]`` to (logits of patches, features per layer)."""
        given = F.interpolate(source, image.shape[-2:], mode="bilinear")  # [B, C_in, sH, sW]
        x = torch.cat([given, image], dim=1).contiguous(memory_format=torch.channels_last)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)  # [B, width, sH / strides, sW / strides]
            features.append(x)
        return self.judge(x), features  # [B, 1, h, w]


class SRGANTranslator(TranslationModel):
    """
    SRResNet generator, trained on flux first and against a discriminator at the end.

    Parameters
    ----------
    in_bands, out_bands, scale
        As for `TranslationModel`.
    width, blocks, fine_width, kernel, norm
        As for `Generator`.
    discriminator : sequence of (int, int)
        As ``layers`` of `Discriminator`.
    adversarial_start : float
        Share of the training after which the discriminator joins; before, it costs nothing.
    adversarial_weight, feature_weight : float
        Weights of its terms beside the flux error's 1 (1e-3 for the adversarial term in the paper).
    """

    name = "srgan"
    training_only = ("discriminator",)
    PRESETS = {
        "tiny": dict(
            width=40, blocks=5, fine_width=16, kernel=3, norm=False, discriminator=((24, 2), (48, 2), (64, 2)),
            adversarial_start=0.7, adversarial_weight=1e-3, feature_weight=1e-2,
        ),
        "paper": dict(
            width=64, blocks=16, fine_width=64, kernel=9, norm=True,
            discriminator=((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2)),
            adversarial_start=0.5, adversarial_weight=1e-3, feature_weight=1e-2,
        ),
    }  # fmt: skip

    def __init__(
        self, in_bands, out_bands, scale, *, discriminator, adversarial_start, adversarial_weight, feature_weight,
        observed=False, **generator,
    ):  # fmt: skip
        super().__init__(in_bands, out_bands, scale, observed)
        self.generator = Generator(self.in_channels, len(self.out_bands), self.scale, **generator)
        self.discriminator = None  # a translator does not need it; see `prepare_training`
        self.discriminator_layers = discriminator
        self.adversarial_start = adversarial_start
        self.adversarial_weight, self.feature_weight = adversarial_weight, feature_weight
        self.margin = _receptive_radius(self.scale, generator["blocks"], generator["kernel"])

    def forward(self, source):
        """Source ``[B, C_in, H, W]`` of any H and W to an `Estimate`."""
        # channels last is the layout the CPU's convolutions are fastest in
        raw = self.generator(source.contiguous(memory_format=torch.channels_last))  # [B, 2 C_out, sH, sW]
        return Estimate(*split_estimate(raw, self.skip(source), bounded=self.observed))

    def prepare_training(self):
        """Build the discriminator, once."""
        if self.discriminator is None:
            channels = len(self.in_bands) + len(self.out_bands)
            self.discriminator = Discriminator(channels, self.discriminator_layers).to(self.device)

    def optimizer_groups(self):
        """Parameters of the generator, and of the discriminator if there is one."""
        players = (self.generator, self.discriminator)
        return [list(player.parameters()) for player in players if player is not None]

    def losses(self, source, target, progress, generator=None, weight=None):
        """
        Yield the generator's terms, then, once the adversary has joined, the discriminator's.

        The discriminator sees survey images, which have noise, while the generator's mean has none; the absence of
        noise would be all that it ever learnt. It is therefore shown the mean plus a draw of the noise that the
        generator states. That noise is detached, since the likelihood alone trains it. Bad pixels of the target are
        replaced by those of the generated image, so that both images are the same there.
        """
        estimate = self(source)
        terms = self.content_losses(estimate, source, target, weight)
        if progress < self.adversarial_start:
            yield terms
            return
        std = estimate.log_std.detach().exp()
        image = estimate.mean + std * torch.randn(std.shape, generator=generator, device=std.device, dtype=std.dtype)
        if weight is not None:
            target = torch.where(weight > 0, target, image.detach())
        source = source[:, : len(self.in_bands)]  # the image alone, without planes that tell how it was observed
        yield terms | self._adversarial_losses(source, target, image)
        real, _ = self.discriminator(source, target)
        fake, _ = self.discriminator(source, image.detach())
        # -log D(y) - log(1 - D(G(x))), eq. 2
        yield {"discriminator": F.softplus(-real).mean() + F.softplus(fake).mean()}

    def _adversarial_losses(self, source, target, image):
        if self.discriminator is None:
            msg = "the adversarial terms need a discriminator: call prepare_training() before building the optimizers"
            raise RuntimeError(msg)
        self.discriminator.requires_grad_(False)  # this step moves the generator alone
        logits, features = self.discriminator(source, image)
        with torch.no_grad():
            _, wanted = self.discriminator(source, target)
        self.discriminator.requires_grad_(True)
        distances = [F.l1_loss(a, b) for a, b in zip(features, wanted, strict=True)]
        return {
            "adversarial": self.adversarial_weight * F.softplus(-logits).mean(),  # -log D(G(x)), eq. 6
            "feature": self.feature_weight * torch.stack(distances).mean(),
        }


def _norm(width, norm):
    return nn.BatchNorm2d(width) if norm else nn.Identity()


def _subpixel(a, b, factor):
    """``[B, a, H, W]`` to ``[B, b, factor H, factor W]`` (Shi et al. 2016, arXiv:1609.05158)."""
    return nn.Sequential(conv(a, b * factor**2), nn.PixelShuffle(factor), nn.PReLU())


def _receptive_radius(scale, blocks, kernel):
    """Source pixels on each side that a target pixel depends on, followed from the target back to the source."""
    radius = kernel // 2  # last convolution, in target pixels
    for factor in reversed(STAGES[scale]):
        radius = -(-radius // factor) + 1
    return max(radius + 1 + 2 * blocks + kernel // 2, SKIP_RADIUS)
