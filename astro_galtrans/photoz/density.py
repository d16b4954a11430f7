r"""
Densities of redshift as networks give them, and their likelihood.

The softmax over hundreds of redshift bins of Pasquet et al. (2019) needs a hundred thousand galaxies to learn that
neighbouring bins are neighbours. Here a network gives a mixture of Gaussians (Bishop 1994), cut at the ends of the
redshift grid, and the PDF is the piecewise linear function through its values at the grid's points, the one that
`~astro_galtrans.photoz.pdfs.GridPDF` holds. Training maximises the likelihood of that function, so that
information in nats is what the network was asked for. Its integral, by the trapezoidal rule, is that of the Gaussians
to :math:`2 e^{-2 \pi^2 \sigma^2 / h^2}` on a grid of step h: to 3e-5 for the narrowest allowed,
:math:`\sigma = 0.75 h`.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from astro_galtrans.photoz.pdfs import GridPDF

__all__ = [
    "Mixture", "MixtureHead", "blend", "default_grid", "interpolate_log", "log_density", "log_likelihood",
    "normalise_log", "training_prior",
]  # fmt: skip

POINTS = 256  #: redshifts of a default grid
FLOOR = 0.01  #: uniform share of the training distribution, without which it could be zero between two galaxies


def default_grid(z_spec):
    """
    Return 256 redshifts, evenly from zero to 5 % beyond the highest of a training sample.

    Parameters
    ----------
    z_spec : array-like
        ``[N]``: redshifts, finite and not negative.

    Examples
    --------
    >>> from astro_galtrans.photoz import default_grid
    >>> grid = default_grid([0.1, 0.25, 0.4])
    >>> len(grid), round(float(grid[-1]), 4)
    (256, 0.42)
    """
    return np.linspace(0.0, 1.05 * max(float(np.max(z_spec)), 1e-3), POINTS)


def training_prior(z_spec, grid):
    """
    Return the redshift distribution of a training sample, one `~astro_galtrans.photoz.pdfs.GridPDF`: a kernel density
    estimate, never zero.

    The kernel is Gaussian with Silverman's width, 0.9 min(std, IQR / 1.349) N^(-1/5), but at least one grid step; what
    it spreads beyond the grid's ends is reflected. A hundredth of it is uniform.

    Parameters
    ----------
    z_spec : array-like
        ``[N]``: redshifts within the grid.
    grid : array-like
        ``[K]``: redshifts.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.photoz import default_grid, training_prior
    >>> z_spec = np.random.default_rng(1).normal(0.2, 0.05, 500).clip(0)
    >>> prior = training_prior(z_spec, default_grid(z_spec))
    >>> len(prior), prior.mean().round(2).tolist()
    (1, [0.2])
    """
    z, grid = np.asarray(z_spec, float), np.asarray(grid, float)
    spread = min(np.std(z), np.subtract(*np.percentile(z, [75, 25])) / 1.349)
    width = max(0.9 * spread * len(z) ** -0.2, np.diff(grid).max())
    # counted in fine bins first: the sum below is then over bins, however many galaxies there are
    counts, edges = np.histogram(z, bins=np.linspace(grid[0], grid[-1], 4001))
    centre = (edges[1:] + edges[:-1]) / 2
    mirrored = np.concatenate([2 * grid[0] - centre, centre, 2 * grid[-1] - centre])
    kernel = np.exp(-0.5 * ((grid[:, None] - mirrored) / width) ** 2)
    density = kernel @ np.tile(counts, 3)
    density /= np.trapezoid(density, grid)
    return GridPDF.normalised(grid, (1 - FLOOR) * density + FLOOR / (grid[-1] - grid[0]))


class Mixture(NamedTuple):
    """Gaussians in redshift, each ``[B, M]``."""

    log_weight: torch.Tensor
    mean: torch.Tensor
    sigma: torch.Tensor


def log_density(mixture, grid):
    """Logarithm of the normalised density of a `Mixture` at the grid's points ``[K]``: ``[B, K]``."""
    log_weight, mean, sigma = (part[..., None] for part in mixture)
    height = log_weight - sigma.log() - 0.5 * ((grid - mean) / sigma) ** 2
    return normalise_log(torch.logsumexp(height, dim=1), grid)


def log_likelihood(mixture, grid, z):
    """
    Logarithm of the piecewise linear density at the true redshift ``z`` ``[B]`` of each galaxy, ``[B]``.

    The same as `interpolate_log` of `log_density`, from two grid points and the Gaussians' integral alone.
    """
    log_weight, mean, sigma = mixture
    k, share = _place(grid, z)
    height = [
        torch.logsumexp(log_weight - sigma.log() - 0.5 * ((at[:, None] - mean) / sigma) ** 2, dim=1)
        for at in (grid[k - 1], grid[k])
    ]
    within = torch.special.ndtr((grid[-1] - mean) / sigma) - torch.special.ndtr((grid[0] - mean) / sigma)
    norm = (log_weight.exp() * within).sum(dim=1).clamp(min=1e-6).log() + 0.5 * math.log(2 * math.pi)
    return torch.logaddexp(height[0] + torch.log1p(-share), height[1] + share.log()) - norm


def normalise_log(log_f, grid):
    """Logarithm of the densities ``[B, K]`` on the grid ``[K]`` that integrate to one, by the trapezoidal rule."""
    step = torch.diff(grid) / 2
    zero = torch.zeros_like(step[:1])
    weight = torch.cat([zero, step]) + torch.cat([step, zero])
    return log_f - torch.logsumexp(log_f + weight.log(), dim=-1, keepdim=True)


def interpolate_log(log_f, grid, z):
    """
    Logarithm of a piecewise linear density at one redshift ``z`` ``[B]`` per galaxy, from ``log_f`` ``[B, K]`` on the
    grid.
    """
    k, share = _place(grid, z)
    low, high = log_f.gather(1, (k - 1)[:, None])[:, 0], log_f.gather(1, k[:, None])[:, 0]
    return torch.logaddexp(low + torch.log1p(-share), high + share.log())


def _place(grid, z):
    """Index of the next grid point, and where between the two a redshift lies, 0 to 1."""
    k = torch.searchsorted(grid, z.contiguous(), right=True).clamp(1, len(grid) - 1)
    # both ends lie in the loss as logarithms of the share and of its complement, which have no gradient at 0
    return k, ((z - grid[k - 1]) / (grid[k] - grid[k - 1])).clamp(1e-6, 1 - 1e-6)


def blend(log_f, log_prior, grid, temperature, floor):
    """
    Calibrated densities: the logarithm ``[B, K]`` of a density to the power 1 / temperature (above 1 softens it), mixed
    with a share ``floor`` of the prior, the share of galaxies for which the network is taken to know nothing.

    ``log_prior`` is the logarithm of the training distribution on the grid, ``[K]``.
    """
    softened = normalise_log(log_f / temperature, grid)
    return torch.logaddexp(softened + math.log1p(-floor), log_prior + math.log(floor))


class MixtureHead(nn.Module):
    """The last layer: features ``[B, F]`` to a `Mixture` of Gaussians, which `log_density` turns into a PDF."""

    def __init__(self, features, grid, components=8):
        super().__init__()
        grid = torch.as_tensor(grid, dtype=torch.float32)
        self.register_buffer("grid", grid, persistent=False)
        self.span, self.narrowest = float(grid[-1] - grid[0]), 0.75 * float(torch.diff(grid).max())
        # the Gaussians start evenly over 5 to 80 % of the grid, as few galaxies are near its ends
        places = grid[0] + self.span * torch.linspace(0.05, 0.8, components)
        self.register_buffer("places", places, persistent=False)
        self.out = nn.Linear(features, 3 * components)
        with torch.no_grad():
            self.out.weight.mul_(0.3)  # so that the Gaussians start near their places

    def forward(self, features, correction=0.0):
        """
        Features ``[B, F]`` to a `Mixture`.

        ``correction`` ``[B, 3 M]`` is added to the output of the linear layer: what an image network knows beyond
        photometry.
        """
        weight, shift, width = (self.out(features) + correction).chunk(3, dim=1)
        # the limits let the width grow from 1e-4 of the grid's span to all of it, and no exponential overflow
        sigma = self.narrowest + 0.05 * self.span * width.clamp(-6, 3).exp()
        return Mixture(weight.log_softmax(dim=1), self.places + 0.3 * self.span * shift, sigma)
