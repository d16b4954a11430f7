r"""
Photometry through the galaxy's own profile: a multi-Gaussian expansion of all bands together, as a matched filter.

The profile is a sum of elliptical Gaussians of one shape, that of the adaptive moments
(`~astro_galtrans.measure.moments`), and of several sizes, none of them negative (Emsellem, Monnet & Bacon
1994, A&A 285, 723; Cappellari 2002, MNRAS 333, 400). It is fitted to the sum of all bands, each weighted with the
signal-to-noise it has in this galaxy, so it is known far better than in the faintest band. As weight it measures that
band's flux with the least sky noise that any weight has, whatever mixture of bulge and disc the galaxy is. Its powers
below one suit bright galaxies, where photons make the noise. How the light is shared out between the Gaussians says
bulge or disc.
"""

import torch
from torch.nn import functional as F

from astro_galtrans.measure.magnitudes import asinh_magnitudes, colours_and_magnitude

from .moments import COARSE, adaptive_moments, all_bands, offsets

__all__ = ["expansion", "matched_features"]

SIZES = 0.4, 0.55, 0.75, 1.0, 1.4, 2.0, 2.8, 4.0  #: of the Gaussians, in units of the adaptive one
POWERS = 1.0, 0.5, 0.25  #: of the profile, as weights
ROUNDS = 200  #: of the fit


def matched_features(stamps, sky_rms, pixel_scale):
    """
    Return colours and a magnitude through the profile and its powers, and what the profile looks like.

    Parameters
    ----------
    stamps : `torch.Tensor`
        float32 ``[B, C, S, S]``, in a flux unit.
    sky_rms : sequence of float
        ``[C]``: sky noise of a pixel, in that unit.
    pixel_scale : float
        Size of a pixel (arcsec).

    Returns
    -------
    `torch.Tensor`
        ``[B, F]``.
    """
    sky = torch.tensor(sky_rms, dtype=torch.float32)
    scaled, pixel_scale = _folded(stamps / sky[:, None, None], pixel_scale)
    ellipse = adaptive_moments(all_bands(scaled, pixel_scale), pixel_scale)
    radius2 = ellipse.radius2(*offsets(scaled.shape[-1], pixel_scale))  # [B, P]
    flux = scaled.flatten(start_dim=2)
    image = _deepest(flux, torch.exp(-0.5 * radius2))
    amplitude, profile = expansion(image, radius2)
    weights = torch.stack([profile**power for power in POWERS], dim=1)
    weights = weights / weights.amax(dim=-1, keepdim=True).clamp(min=1e-6)
    noise = weights.square().sum(dim=-1).sqrt()[..., None]  # [B, A, 1], in units of sky rms
    told = colours_and_magnitude(asinh_magnitudes(torch.einsum("bap,bcp->bac", weights, flux) * sky, noise * sky))
    return torch.cat([told.flatten(start_dim=1), _looks(ellipse, amplitude, profile, image, radius2)], dim=1)


def expansion(image, radius2):
    """
    Fit a sum of Gaussians, none of them negative, by least squares.

    The fit multiplies amplitudes by what keeps them positive (Lee & Seung 2001): no galaxy needs a solver of its own.

    Parameters
    ----------
    image : `torch.Tensor`
        ``[B, P]``: pixels.
    radius2 : `torch.Tensor`
        ``[B, P]``: square of their distance from the centre, in units of the galaxy's size.

    Returns
    -------
    amplitude : `torch.Tensor`
        ``[B, K]``: of Gaussians whose widths are `SIZES`.
    profile : `torch.Tensor`
        ``[B, P]``: their sum.
    """
    gaussians = torch.stack([torch.exp(-0.5 * radius2 / size**2) for size in SIZES], dim=1)
    overlap = torch.einsum("bip,bjp->bij", gaussians, gaussians)
    overlap = overlap + 1e-3 * torch.diag_embed(overlap.diagonal(dim1=1, dim2=2))
    seen = torch.einsum("bip,bp->bi", gaussians, image).clamp(min=1e-6)
    amplitude = seen / overlap.sum(dim=-1)
    for _ in range(ROUNDS):
        amplitude = amplitude * seen / ((overlap @ amplitude[..., None])[..., 0] + 1e-9)
    return amplitude, torch.einsum("bi,bip->bp", amplitude, gaussians)


def _folded(scaled, pixel_scale):
    """Stamps with pixels at least as coarse as shapes are measured on, in units of their own sky noise."""
    fold = min(round(COARSE / pixel_scale), scaled.shape[-1] // 8)
    if fold < 2 or scaled.shape[-1] % fold:
        return scaled, pixel_scale
    return fold * F.avg_pool2d(scaled, fold), fold * pixel_scale


def _deepest(flux, weight):
    """The sum of all bands with the best signal-to-noise within a weight, ``[B, P]``, with noise 1."""
    signal = torch.einsum("bp,bcp->bc", weight, flux) / weight.square().sum(dim=1, keepdim=True).sqrt()
    share = signal.clamp(min=0) + 1e-3
    return torch.einsum("bc,bcp->bp", share / share.square().sum(dim=1, keepdim=True).sqrt(), flux)


def _looks(ellipse, amplitude, profile, image, radius2):
    """Shares of light within each Gaussian and all smaller ones, size, misfit, and signal-to-noise."""
    sizes = torch.tensor(SIZES)
    light = amplitude * sizes**2
    light = light / light.sum(dim=1, keepdim=True).clamp(min=1e-12)
    size = 0.25 * ellipse.determinant.log() + (light * sizes).sum(dim=1, keepdim=True).clamp(min=0.1).log()
    near = (radius2 < 9).float()
    misfit = ((image - profile).square() * near).sum(dim=1, keepdim=True) / near.sum(dim=1, keepdim=True).clamp(min=1)
    signal = (image * profile).sum(dim=1, keepdim=True) / profile.square().sum(dim=1, keepdim=True).sqrt().clamp(1e-6)
    logs = [value.clamp(min=0.1).log() for value in (misfit, signal)]
    return torch.cat([light.cumsum(dim=1)[:, :-1], size, *logs], dim=1)
