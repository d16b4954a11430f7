r"""
Losses as pure functions of tensors in network units.

Network units are asinh magnitudes, :math:`u = \operatorname{arcsinh}(f/b)`. A network that minimises squared error in u
predicts the mean asinh magnitude, and its flux is biased low wherever it is unsure. So errors are taken in flux,
and divided by a scale that depends on the *source* only: the minimum is then the mean flux given the source,
without bias, while faint and bright sources weigh alike.
"""

import torch
import torch.nn.functional as F

__all__ = ["gaussian_nll", "weighted_flux_mse"]


def weighted_flux_mse(mean, target, reference, log_std=None):
    r"""
    Mean squared flux error relative to the local brightness of the source.

    .. math:: \langle w\,[(\sinh m - \sinh t) / \cosh r]^2 \rangle

    Parameters
    ----------
    mean, target, reference : `torch.Tensor`
        ``[B, C, H, W]``: prediction, truth, and the source on the same grid; smoothed here over 3 x 3 pixels,
        lest a noise dip in a bright source get a large weight.
    log_std : `torch.Tensor`, optional
        The network's own uncertainty, ``[B, C, H, W]``. With it w goes as 1 / std, normalised to a mean of 1 (the
        beta-NLL of Seitzer et al. 2022, ICLR, beta = 1/2): else the many noisy sky pixels drown the few bright
        ones that are known well. No gradient flows through w.
    """
    flux = F.avg_pool2d(torch.sinh(reference), 3, stride=1, padding=1, count_include_pad=False)
    error = (torch.sinh(mean) - torch.sinh(target)) * torch.rsqrt(1 + flux.square())
    if log_std is None:
        return error.square().mean()
    weight = torch.exp(-log_std.detach())
    return (error.square() * weight).mean() / weight.mean()


def gaussian_nll(mean, log_std, target):
    r"""
    Negative log-likelihood of the target's flux, :math:`\langle \ln s + e^2 / 2 s^2 \rangle`.

    :math:`e = (\sinh m - \sinh t) / \cosh m` is the flux error in network units by error propagation at the mean,
    so that ``std * d flux/d u`` at the mean is the standard deviation of the flux. All ``[B, C, H, W]``.
    """
    error = (torch.sinh(mean) - torch.sinh(target)) / torch.cosh(mean)
    return (log_std + 0.5 * error.square() * torch.exp(-2 * log_std)).mean()
