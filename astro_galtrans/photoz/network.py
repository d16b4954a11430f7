"""
The two networks: a dense one on photometry, and an inception-like one on stamps and their photometry.

The image network follows Pasquet et al. (2019, A&A 621, A26): blocks of parallel convolutions of several sizes,
pooling, dense layers. Theirs has 27 million parameters and learnt photometry from half a million galaxies; ours is to
learn from thousands, in minutes, so photometry is built in: fixed apertures, ellipses that follow the galaxy and its
own profile as a matched filter (``astro_galtrans.measure.adaptive``), and apertures whose weights the convolutions
choose for each galaxy (`LearnedApertures`). It starts from a dense network on the first three, trained before, and
learns to correct it.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .density import MixtureHead

__all__ = ["DenseNetwork", "Inception", "InceptionNetwork", "LearnedApertures", "Standardise"]


class Standardise(nn.Module):
    """Shift and scale features to mean 0 and standard deviation 1 in the training set, and clip outliers at 8."""

    def __init__(self, features):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def fit(self, features):
        """Take mean and standard deviation from training features ``[N, F]``."""
        self.mean.copy_(features.mean(dim=0))
        self.std.copy_(features.std(dim=0).clamp(min=1e-6))

    def forward(self, features):
        """``[B, F]`` to ``[B, F]``."""
        return ((features - self.mean) / self.std).clamp(-8, 8)


class DenseNetwork(nn.Module):
    """
    Photometry ``[B, F]`` to the mixture of a PDF.

    ``width`` and ``depth`` are size and number of the hidden layers, ``dropout`` is the share of hidden values set to 0
    at random in training.
    """

    def __init__(self, features, grid, width=192, depth=3, dropout=0.0):
        super().__init__()
        self.standardise = Standardise(features)
        self.body = _dense(features, width, depth, dropout)
        self.head = MixtureHead(width, grid)

    def forward(self, features):
        """Features ``[B, F]`` to a `Mixture`."""
        return self.head(self.known(features))

    def known(self, features):
        """Features ``[B, F]`` to the input of the last layer, ``[B, width]``."""
        return self.body(self.standardise(features))


class InceptionNetwork(nn.Module):
    """
    Stamps and their photometry to the mixture of a PDF: a dense network's, corrected by what the convolutions see.

    ``features`` is the number of photometric features, E(B-V) included, ``fold`` the pixels along each axis that are
    folded into channels at the entrance, ``width`` the channels of the convolutions, ``dense`` the size of the dense
    layers, and ``dropout`` the share of the values, in those after the convolutions, that is set to 0 at random in
    training.
    """

    def __init__(self, bands, features, grid, fold, width=32, dense=256, dropout=0.1):
        super().__init__()
        self.fold, self.photometric = fold, DenseNetwork(features, grid, dense, 3)
        self.stem = _convolution(bands * fold**2, width, 3)
        self.fine, self.middle, self.coarse = (Inception(n, width) for n in (width, 2 * width, 2 * width))
        self.apertures = LearnedApertures(2 * width, bands)
        self.body = _dense(dense + self.apertures.features + 4 * width, dense, 2, dropout)
        self.correction = nn.Linear(dense, self.head.out.out_features)
        nn.init.zeros_(self.correction.weight)  # the dense network's answer at first
        nn.init.zeros_(self.correction.bias)

    @property
    def head(self):
        """The last layer, which gives the mixture and holds the redshift grid."""
        return self.photometric.head

    def forward(self, stamps, features):
        """
        Return the mixture of each galaxy's PDF from stamps ``[B, C, S, S]`` (arcsinh of flux over twice the sky rms)
        and their photometry ``[B, F]``.
        """
        x = F.pixel_unshuffle(stamps, self.fold).contiguous(memory_format=torch.channels_last)
        x = self.fine(self.stem(x))  # [B, 2 W, n, n] of n = S / fold
        apertures = self.apertures(x, 2 * stamps.sinh())  # of flux in units of sky rms
        x = self.middle(F.avg_pool2d(x, 2))  # [B, 2 W, n/2, n/2]
        x = self.coarse(F.avg_pool2d(x, 2))  # [B, 2 W, n/4, n/4]
        seen = x.mean(dim=(2, 3)), x.amax(dim=(2, 3))
        known = self.photometric.known(features)
        return self.head(known, self.correction(self.body(torch.cat([known, apertures, *seen], dim=1))))


class Inception(nn.Module):
    """
    Convolutions of 1, 3 and 5 pixels and a pooling by 2, side by side: ``[B, n, H, W]`` to ``[B, 2 width, H, W]``.

    The 5-pixel branch is two 3-pixel convolutions (Szegedy et al. 2016), a third cheaper.
    """

    def __init__(self, channels, width):
        super().__init__()
        half, third = width // 2, max(width // 3, 1)
        self.point = _convolution(channels, half, 1)
        self.near = nn.Sequential(_convolution(channels, third, 1), _convolution(third, half, 3))
        far = _convolution(third, third, 3), _convolution(third, half, 3)
        self.far = nn.Sequential(_convolution(channels, third, 1), *far)
        self.pooled = _convolution(channels, half, 1)

    def forward(self, x):
        """``[B, n, H, W]`` to ``[B, 2 width, H, W]``."""
        pooled = F.interpolate(self.pooled(F.avg_pool2d(x, 2)), x.shape[-2:])
        return torch.cat([self.point(x), self.near(x), self.far(x), pooled], dim=1)


class LearnedApertures(nn.Module):
    """
    Fluxes in apertures whose weights depend on the galaxy, as asinh magnitudes and colours.

    The convolutions choose the weight of each pixel (high in a bulge, or a disc, and low in a neighbour). The flux is
    the weighted sum of pixels, with the same weights in each band, so colours are those of one part of the galaxy.
    """

    def __init__(self, channels, bands, apertures=8):
        super().__init__()
        self.choose = nn.Conv2d(channels, apertures, 1)
        self.features = apertures * (2 * bands - 1)

    def forward(self, x, flux):
        """Maps ``[B, n, h, w]`` and fluxes ``[B, C, H, W]`` in units of sky rms, to ``[B, features]``."""
        size = max(flux.shape[-1] // 2, x.shape[-1])  # half the resolution suffices, as the weights are smooth
        flux = F.adaptive_avg_pool2d(flux, size) * (flux.shape[-1] / size)
        logits = F.interpolate(self.choose(x), (size, size), mode="bilinear") + self._centred(flux)
        weight = logits.flatten(start_dim=2).softmax(dim=-1)  # [B, A, H W]
        weight = weight / weight.square().sum(dim=-1, keepdim=True).sqrt()  # so that the noise of the sum is 1
        signal = torch.einsum("bap,bcp->bac", weight, flux.flatten(start_dim=2))
        magnitude = torch.asinh(signal / 2)
        # arcsinh(50 / 2) is 4: the feature of a galaxy of signal-to-noise 50, a typical one, is about 0
        return torch.cat([magnitude - 4, magnitude[..., 1:] - magnitude[..., :-1]], dim=2).flatten(start_dim=1)

    @staticmethod
    def _centred(flux):
        """Logarithm of the weights before training: a Gaussian with a sigma of a tenth of the stamp."""
        y, x = (torch.linspace(-1, 1, n, device=flux.device) for n in flux.shape[-2:])
        return -0.5 * (y[:, None] ** 2 + x**2) / 0.2**2


def _convolution(channels, width, size):
    convolution = nn.Conv2d(channels, width, size, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _dense(features, width, depth, dropout):
    layers = []
    for k in range(depth):
        layers += [nn.Linear(width if k else features, width), nn.SiLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
