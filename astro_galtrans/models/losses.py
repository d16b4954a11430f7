r"""
Losses as pure functions of tensors in network units.

Network units are asinh magnitudes, :math:`u = \operatorname{arcsinh}(f/b)`. A network that minimises the squared error
of u predicts the mean asinh magnitude, which is fainter than the mean flux wherever the flux is uncertain. So errors
are taken in flux, and divided by a scale that depends on the *source* only: the minimum is then the mean flux given
the source, without bias, and faint and bright sources weigh alike.
"""

import torch
import torch.nn.functional as F

__all__ = ["RELATIVE", "bounded_square", "gaussian_nll", "weighted_flux_mse", "weighted_mean"]

#: From 1 / RELATIVE = 4 softening fluxes on (8 sigma of the source's sky) errors count relative to the flux. The noise
#: of the target is some 0.2 softening fluxes: an error of 5 % then weighs as much as that noise in a pixel of sky.
RELATIVE = 0.25


#: Error, in units of the expected one, beyond which it counts linearly. Errors of a trained network are below; at the
#: start one saturated star, whose flux is an exponential of what the network gives, would decide many steps.
LARGE = 20.0


def bounded_square(error):
    """Square of an error below `LARGE`; beyond, twice its size times `LARGE`, less a constant (Huber 1964)."""
    return 2 * F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=LARGE)


def weighted_mean(values, weight=None):
    """
    Mean of ``values * weight``; without weights, the mean.

    It is not divided by the mean weight, so that a crop that is half masked counts half.
    """
    return values.mean() if weight is None else (values * weight).mean()


def weighted_flux_mse(mean, target, reference, weight=None):
    r"""
    Mean squared flux error, relative to an error that grows with the local brightness of the source.

    .. math:: \Bigl\langle \frac{(\sinh m - \sinh t)^2}{1 + (\varphi \sinh r)^2} \Bigr\rangle

    with :math:`\varphi` = `RELATIVE`. With 1, the noise of the many sky pixels would outweigh the few bright ones,
    whose relative errors are small but hold nearly all of the squared flux error; with 0, the brightest star of a
    batch would outweigh everything else. Errors beyond `LARGE` count linearly.

    Parameters
    ----------
    mean, target, reference : `torch.Tensor`
        ``[B, C, H, W]``: prediction, truth, and the source on the same grid; smoothed here over 3 x 3 pixels,
        lest a noise dip in a bright source get a large weight.
    weight : `torch.Tensor`, optional
        ``[B, C, H, W]``: how much each pixel counts; 0 for a bad one.
    """
    flux = F.avg_pool2d(torch.sinh(reference), 3, stride=1, padding=1, count_include_pad=False)
    error = (torch.sinh(mean) - torch.sinh(target)) * torch.rsqrt(1 + (RELATIVE * flux).square())
    return weighted_mean(bounded_square(error), weight)


def gaussian_nll(mean, log_std, target, weight=None):
    r"""
    Negative log-likelihood of the target's flux, :math:`\langle \ln s + e^2 / 2 s^2 \rangle`.

    :math:`e = (\sinh m - \sinh t) / \cosh m` is the flux error in network units by error propagation at the mean,
    so that ``std * d flux/d u`` at the mean is the standard deviation of the flux. Its minimum over the mean is not the
    mean flux, for a brighter mean makes the error in network units smaller; callers therefore detach the mean.

    Parameters
    ----------
    mean, log_std, target : `torch.Tensor`
        ``[B, C, H, W]`` in network units.
    weight : `torch.Tensor`, optional
        As for `weighted_flux_mse`.
    """
    error = (torch.sinh(mean) - torch.sinh(target)) / torch.cosh(mean)
    return weighted_mean(log_std + 0.5 * error.square() * torch.exp(-2 * log_std), weight)
