r"""
The density of the fluxes of a source in the target, given those in the source image and in the translation.

Fluxes enter as :math:`t = \operatorname{arcsinh}(f / 2 s)`, where s is the sky noise of the aperture: the logarithm of
a bright flux, and in units of its error a faint one. The density of :math:`t_y - t_m`, target minus translation, is
built of two networks.

1. A *Gaussian* whose mean and precision, all correlations included, depend on what is given. It whitens the difference:
   errors of a bright source are a few per cent and common to all apertures, those of a faint one are the sky's.
2. A *flow* (conditional flow matching, Lipman et al. 2023, arXiv:2210.02747) from unit normal numbers to the whitened
   difference, whose density it learns where that is not normal: colours of galaxies lie on curves.

Sources unlike those of the training, such as stars brighter than any or galaxies cut by the edge, are known by the
Mahalanobis distance of what is given of them. Networks say nothing of use there, up to fluxes a million times too high,
so the farther out such a source is, the more its fluxes are drawn to those of the translation (`FluxFlow.trust`).

A flow along straight paths, :math:`w_t = (1 - t) n + t w`, has as its velocity the mean of :math:`w - n` given
:math:`w_t`, which is learnt as a regression. Since n and w are alike, few steps follow it.
"""

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["FluxFlow"]

FREQUENCIES = 8  # of the cosines that tell the flow its time
LIMIT = 8.0  # standard deviations beyond which an input is no farther from the mean than this
FARTHEST = 20.0  # the same of drawn differences: of the training sources one in a thousand has a flux that is farther
ROBUST = 3.0  # standard deviations from which the likelihood is linear: a few sources are saturated, or blended
TAIL = 4.0  # ... from which the flow sees the logarithm of a difference
USUAL = 0.99  # share of the training rows that are nearer than the distance from which a source counts as unlike them
RIDGE = 0.01  # added to unit variances: fluxes of one source in neighbouring apertures are nearly the same


class FluxFlow(nn.Module):
    """
    Conditional density of fluxes.

    Parameters
    ----------
    n_x, n_y, n_told : int
        Numbers of fluxes of a source in the source image, and in the target, and of numbers known of the image.
    gaussian_width, width, blocks : int
        Width of the Gaussian's network; width and number of residual blocks of the flow's.
    """

    def __init__(self, n_x, n_y, n_told, *, gaussian_width=128, width=256, blocks=3, dropout=0.0):
        super().__init__()
        self.n_y, given = n_y, n_x + n_y + n_told
        for name, size in (("noise_x", n_x), ("noise_y", n_y), ("std", given)):
            self.register_buffer(name, torch.ones(size))
        self.register_buffer("mean", torch.zeros(given))
        self.register_buffer("spread", torch.ones(n_y))
        # lower triangular, its rows one after the other; until it is fitted no source is far
        self.register_buffer("decorrelation", torch.zeros(given * (given + 1) // 2))
        self.register_buffer("usual", torch.ones(()))
        self.gaussian = nn.Sequential(
            nn.Linear(given, gaussian_width), nn.SiLU(), nn.Linear(gaussian_width, gaussian_width), nn.SiLU(),
            nn.Linear(gaussian_width, n_y + n_y * (n_y + 1) // 2),
        )  # fmt: skip
        nn.init.zeros_(self.gaussian[-1].weight)
        nn.init.zeros_(self.gaussian[-1].bias)
        self.enter = nn.Linear(n_y + given + FREQUENCIES, width)
        self.blocks = nn.ModuleList(Block(width, dropout) for _ in range(blocks))
        self.leave = nn.Linear(width, n_y)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def fit_scales(self, x, m, y, told):
        """Take mean and standard deviation of what is given, and of the difference, from training rows."""
        given = self._raw(x, m, told)
        self.mean.copy_(given.mean(dim=0))
        self.std.copy_(given.std(dim=0).clamp(min=1e-3))
        self.spread.copy_(self.difference(m, y).std(dim=0).clamp(min=1e-6))
        self.fit_distance(self.given(x, m, told))

    def fit_distance(self, given):
        """Take from training rows ``[N, G]``, as `given` returns them, what is usual of them."""
        covariance = torch.cov(given.T.double()) + RIDGE * torch.eye(given.shape[1], dtype=torch.float64)
        rows, columns = torch.tril_indices(len(covariance), len(covariance))
        self.decorrelation.copy_(torch.linalg.inv(torch.linalg.cholesky(covariance))[rows, columns])
        self.usual.copy_(self._distance(given).quantile(USUAL))

    def _distance(self, given):
        """Mahalanobis distance of each row from the mean of the training."""
        size = given.shape[1]
        rows, columns = torch.tril_indices(size, size, device=given.device)
        matrix = given.new_zeros(size, size)
        matrix[rows, columns] = self.decorrelation.to(given)
        return (given @ matrix.T).norm(dim=1)

    def trust(self, given):
        """
        Return how much of a drawn difference from the translation holds, ``[N]``: 1 for sources as the training had
        them, falling to 0 for those at twice the distance that is usual there.
        """
        return (2 - self._distance(given) / self.usual).clamp(0, 1)

    def _raw(self, x, m, told):
        return torch.cat([torch.asinh(x / (2 * self.noise_x)), torch.asinh(m / (2 * self.noise_y)), told], dim=1)

    def given(self, x, m, told):
        """Return the input of both networks, ``[N, G]``, from fluxes ``[N, n]`` and numbers of the image."""
        return ((self._raw(x, m, told) - self.mean) / self.std).clamp(-LIMIT, LIMIT)

    def difference(self, m, y):
        """Return target minus translation ``[N, n_y]``, as the Gaussian is of."""
        return (torch.asinh(y / (2 * self.noise_y)) - torch.asinh(m / (2 * self.noise_y))) / self.spread

    def fluxes(self, m, difference):
        """Undo `difference`."""
        return 2 * self.noise_y * torch.sinh(torch.asinh(m / (2 * self.noise_y)) + self.spread * difference)

    def shape(self, given):
        """Return mean ``[N, n_y]`` and root of the precision, lower triangular ``[N, n_y, n_y]``."""
        raw, n = self.gaussian(given), self.n_y
        mean, diagonal, below = raw.split([n, n, n * (n - 1) // 2], dim=1)
        root = torch.diag_embed(torch.exp(diagonal.clamp(-5, 8)))
        rows, columns = torch.tril_indices(n, n, -1, device=given.device)
        root[:, rows, columns] = below
        return mean, root

    def whitened(self, given, difference):
        """Return the difference in units of the Gaussian's, its tails shortened, ``[N, n_y]``."""
        mean, root = self.shape(given)
        return TAIL * torch.asinh(torch.einsum("nij,nj->ni", root, difference - mean) / TAIL)

    def unwhitened(self, given, white):
        """Undo `whitened`."""
        mean, root = self.shape(given)
        long = TAIL * torch.sinh(white / TAIL)[:, :, None]
        return torch.linalg.solve_triangular(root, long, upper=False)[:, :, 0] + mean

    def gaussian_loss(self, given, difference):
        """Return minus the log-likelihood of each row, up to a constant, per flux; robust against outliers."""
        mean, root = self.shape(given)
        white = torch.einsum("nij,nj->ni", root, difference - mean)
        half = ROBUST**2 * (torch.sqrt(1 + (white / ROBUST).square()) - 1)
        return (half - root.diagonal(dim1=1, dim2=2).log()).mean(dim=1)

    def velocity(self, state, time, given):
        """Velocity ``[N, n_y]`` of states at times ``[N, 1]``."""
        waves = torch.cos(torch.pi * time * torch.arange(FREQUENCIES, device=time.device))
        h = self.enter(torch.cat([state, given, waves], dim=1))
        for block in self.blocks:
            h = block(h)
        return self.leave(F.silu(h))

    def flow_loss(self, given, white, generator=None):
        """Squared error of the velocity at random times, of each row."""
        noise = torch.randn(white.shape, generator=generator, device=white.device)
        time = torch.rand(len(white), 1, generator=generator, device=white.device)
        state = (1 - time) * noise + time * white
        return (self.velocity(state, time, given) - (white - noise)).square().mean(dim=1)

    @torch.inference_mode()
    def sample(self, x, m, told, noise, steps=4):
        """Return fluxes of the target ``[N, n_y]`` for unit normal numbers ``noise``; two evaluations in each step."""
        given = self.given(x, m, told)
        state, h = noise, 1 / steps
        for k in range(steps):
            time = torch.full((len(state), 1), k * h, device=state.device)
            half = state + h / 2 * self.velocity(state, time, given)
            state = state + h * self.velocity(half, time + h / 2, given)
        # Far from the training the Gaussian can be so wide that draws overflow, which no trust of zero would undo.
        drawn = self.unwhitened(given, state).nan_to_num().clamp(-FARTHEST, FARTHEST)
        return self.fluxes(m, self.trust(given)[:, None] * drawn)


class Block(nn.Module):
    """A residual block of two dense layers."""

    def __init__(self, width, dropout):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first, self.second, self.drop = nn.Linear(width, width), nn.Linear(width, width), nn.Dropout(dropout)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h):
        return h + self.second(self.drop(F.silu(self.first(F.silu(self.norm(h))))))
