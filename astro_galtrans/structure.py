"""
Structure of galaxies as smooth functions of their pixels: Gini, M20, concentration and asymmetry with gradients.

The definitions are those of Lotz et al. (2004), which `astro_galtrans.measure.morphology` measures exactly. Here a
pixel belongs to a galaxy by a weight between 0 and 1, and every step in the definitions (which pixels are the
brightest, which the edge of an aperture cuts) is a ramp, so that the values can be part of a training loss. With
weights of 0 and 1 Gini is that of Lotz et al. exactly. Images are ``[..., H, W]``, background-subtracted flux, and
``weight`` of the same shape says how far each pixel belongs to the galaxy; every function returns ``[...]``, finite and
with finite gradients for images that are finite.
"""

import torch

__all__ = ["asymmetry", "centroid", "concentration", "gini", "m20"]

TINY = 1e-12
STEP = 0.5  # pixels between two points of the curve of growth
SHARPNESS = 0.02  # share of the light over which M20's choice of pixels goes from yes to no


def centroid(flux, weight):
    """
    Return the mean position ``x, y`` (pixels) of the positive flux.

    Parameters
    ----------
    flux, weight : `torch.Tensor`
        ``[..., H, W]``.
    """
    light = flux.clamp(min=0) * weight
    total = light.sum((-2, -1)) + TINY
    y, x = _steps(flux)
    return (light * x).sum((-2, -1)) / total, (light * y).sum((-2, -1)) / total


def gini(flux, weight):
    """
    Return the Gini coefficient of the absolute fluxes (Lotz et al. 2004, eq. 6), each pixel counting by its weight.

    Parameters
    ----------
    flux, weight : `torch.Tensor`
        ``[..., H, W]``.
    """
    value, order = flux.abs().flatten(-2).sort(dim=-1)
    share = weight.expand_as(flux).flatten(-2).gather(-1, order)
    rank, number = share.cumsum(-1), share.sum(-1)
    excess = (share * value * (2 * rank - share - number[..., None])).sum(-1)
    return excess / ((number - 1).clamp(min=1) * (share * value).sum(-1) + TINY)


def m20(flux, weight, sharpness=SHARPNESS):
    """
    Return M20, the logarithm of the share of the second moment in the brightest fifth (Lotz et al. 2004, eq. 8).

    Parameters
    ----------
    flux, weight : `torch.Tensor`
        ``[..., H, W]``; only positive flux counts.
    sharpness : float, optional
        Share of the light over which a pixel changes from belonging to the brightest to not belonging to them; with
        0.001 the value agrees with the definition's to about as much.
    """
    light = flux.clamp(min=0) * weight
    (x, y), (dy, dx) = centroid(flux, weight), _steps(flux)
    moment = light * ((dx - x[..., None, None]) ** 2 + (dy - y[..., None, None]) ** 2)
    _, order = flux.detach().flatten(-2).sort(dim=-1, descending=True)
    light, moment = light.flatten(-2).gather(-1, order), moment.flatten(-2).gather(-1, order)
    brighter = (light.cumsum(-1) - light) / (light.sum(-1, keepdim=True) + TINY)
    bright = torch.sigmoid((0.2 - brighter) / sharpness)
    return torch.log10(((bright * moment).sum(-1) + TINY) / (moment.sum(-1) + TINY))


def concentration(flux, radius, centre=None, *, inner=0.2, outer=0.8):
    """
    Return five times the logarithm of the ratio of the radii that hold 80 % and 20 % of the light (Conselice 2003).

    Parameters
    ----------
    flux : `torch.Tensor`
        ``[..., H, W]``.
    radius : float or `torch.Tensor`
        ``[...]``: pixels that hold all the light, such as 1.5 Petrosian radii.
    centre : tuple of `torch.Tensor`, optional
        x and y, ``[...]``; the centroid within the whole image by default.
    inner, outer : float, optional
        The two shares.
    """
    x, y = centroid(flux, torch.ones_like(flux)) if centre is None else centre
    dy, dx = _steps(flux)
    distance = torch.sqrt((dx - x[..., None, None]) ** 2 + (dy - y[..., None, None]) ** 2 + TINY)
    growth = _curve_of_growth(flux.flatten(-2), distance.flatten(-2) / STEP)
    radius = torch.as_tensor(radius, dtype=flux.dtype, device=flux.device).expand(flux.shape[:-2])
    last = (radius / STEP).clamp(max=growth.shape[-1] - 1.001)[..., None]
    k = last.floor().long()
    total = torch.lerp(growth.gather(-1, k), growth.gather(-1, k + 1), last - k)
    growth = growth / torch.where(total.abs() > TINY, total, TINY)
    ratio = _reaches(growth, k, outer) / _reaches(growth, k, inner).clamp(min=1e-3)
    return 5 * torch.log10(ratio.clamp(min=1e-3))


def asymmetry(flux, weight, centre=None):
    """
    Return the weighted mean difference of images from themselves turned by 180 degrees, over the mean absolute flux.

    The asymmetry of the sky is not subtracted: it is the same constant for two images with the same sky.

    Parameters
    ----------
    flux, weight : `torch.Tensor`
        ``[..., H, W]``; the weights may be those of an aperture.
    centre : tuple of `torch.Tensor`, optional
        x and y, ``[...]``, of the point to turn about; the centroid by default.
    """
    x, y = centroid(flux, weight) if centre is None else centre
    (dy, dx), (height, width) = _steps(flux), flux.shape[-2:]
    dx, dy = 2 * x[..., None, None] - dx, 2 * y[..., None, None] - dy
    grid = torch.stack(torch.broadcast_tensors(2 * dx / (width - 1) - 1, 2 * dy / (height - 1) - 1), -1)
    images = flux.reshape(-1, 1, height, width)
    turned = torch.nn.functional.grid_sample(images, grid.reshape(-1, height, width, 2), align_corners=True)
    difference = (turned.view(flux.shape) - flux).abs()
    return (weight * difference).sum((-2, -1)) / ((weight * flux.abs()).sum((-2, -1)) + TINY)


def _steps(flux):
    """Coordinates of the pixels: y ``[H, 1]`` and x ``[W]``."""
    y, x = (torch.arange(n, device=flux.device, dtype=flux.dtype) for n in flux.shape[-2:])
    return y[:, None], x


def _curve_of_growth(flux, distance):
    """Flux within each whole number of steps from a centre; the edge of an aperture is a ramp one step wide."""
    number = int(distance.detach().max()) + 3
    first = torch.ceil(distance.detach() - 0.5)
    inside = first - distance + 0.5  # the share that is within the first aperture that has any
    first, zero = first.long(), flux.new_zeros(*flux.shape[:-1], number)
    return zero.scatter_add(-1, first, inside * flux).scatter_add(-1, first + 1, (1 - inside) * flux).cumsum(-1)


def _reaches(growth, last, share):
    """Step at which a curve of growth first reaches a share, interpolated; ``last`` + 1 at the latest."""
    beyond = growth.detach() >= share
    beyond = beyond | (torch.arange(growth.shape[-1], device=growth.device) > last)
    k = beyond.to(torch.uint8).argmax(-1, keepdim=True).clamp(min=1)
    low, high = growth.gather(-1, k - 1), growth.gather(-1, k)
    return (k - 1 + ((share - low) / (high - low).clamp(min=TINY)).clamp(0, 1))[..., 0]
