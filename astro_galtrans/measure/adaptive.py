r"""
Photometry that follows the galaxy: fluxes in ellipses of its own shape, and through its own profile.

The shape is that of the adaptive moments (`astro_galtrans.moments`), measured on the sum of all bands, each weighted
with the signal-to-noise it has in this galaxy. `adaptive_features` measures fluxes in Gaussians of that shape, the same
in all bands: the adaptive Gaussian is close to the filter with the least noise, and smaller and larger ones tell bulge
from disc. Circles of fixed size do neither for a galaxy seen edge-on, or far smaller or larger than they are.

`matched_features` goes one step further. The profile is a sum of elliptical Gaussians of that shape and several sizes,
none of them negative: a multi-Gaussian expansion (Emsellem, Monnet & Bacon 1994, A&A 285, 723; Cappellari 2002, MNRAS
333, 400). It is fitted to the sum of all bands, so it is known far better than in the faintest band. As weight it
measures that band's flux with the least sky noise that any weight has, whatever mixture of bulge and disc the galaxy
is. How the light is shared out between the Gaussians says bulge or disc.
"""

import torch
from torch.nn import functional as F

from astro_galtrans.measure.magnitudes import asinh_magnitudes, colours_and_magnitude
from astro_galtrans.moments import Ellipse, adaptive_moments

__all__ = ["adaptive_features", "expansion", "galaxy_ellipse", "matched_features"]

SCALES = 0.5, 0.75, 1.0, 1.5, 2.2  #: of the Gaussian weights, in units of the adaptive one
EDGES = 2.0, 3.5  #: of the elliptical apertures, in the same unit: 86 % and 99.8 % of a Gaussian's light
# Of the search for the ellipse (arcsec). It starts from a small galaxy in the seeing of SDSS (FWHM 2.6) and stays
# between a sharp PSF and a nearby galaxy; a centre further off than 1 arcsec would be a neighbour's.
START, LIMITS, FARTHEST = 1.1, (0.5, 4.0), 1.0
COARSE = 0.3  #: shapes are measured on pixels at least so large (arcsec): half the sigma of the narrowest is enough
SIZES = 0.4, 0.55, 0.75, 1.0, 1.4, 2.0, 2.8, 4.0  #: of the expansion's Gaussians, in units of the adaptive one
POWERS = 1.0, 0.5, 0.25  #: of the profile, as weights; flatter ones suit bright galaxies, where photons make the noise
ROUNDS = 200  #: of the fit; its profile is then within a sixth of a pixel's noise of that of non-negative least squares


def adaptive_features(stamps, sky_rms, pixel_scale):
    """
    Return colours and a magnitude in all ellipses, the sizes in the bands, and the galaxy's shape, ``[B, F]``.

    Stamps are float32 ``[B, C, S, S]``; ``sky_rms`` ``[C]`` is the sky noise of a pixel, in the same flux unit.
    """
    sky, scaled = _in_noise(stamps, sky_rms)
    ellipse = galaxy_ellipse(scaled, pixel_scale)
    radius2 = ellipse.radius2(*_offsets(stamps.shape[-1], pixel_scale))  # [B, P]
    weights = [torch.exp(-0.5 * radius2 / scale**2) for scale in SCALES]
    weights = torch.stack(weights + [(radius2 < edge**2).float() for edge in EDGES], dim=1)  # [B, A, P]
    noise = weights.square().sum(dim=-1).sqrt().clamp(min=1e-3)[..., None]  # [B, A, 1], in units of sky rms
    flux = torch.einsum("bap,bcp->bac", weights, scaled.flatten(start_dim=2))
    magnitudes = colours_and_magnitude(asinh_magnitudes(flux * sky, noise * sky))
    return torch.cat([magnitudes.flatten(start_dim=1), _shape(ellipse, weights, radius2, scaled, flux, noise)], dim=1)


def _shape(ellipse, weights, radius2, scaled, flux, noise):
    """Size of the galaxy in each band relative to that of all, its own size, its elongation, its concentration."""
    own = SCALES.index(1.0)
    spread = torch.einsum("bp,bcp->bc", weights[:, own] * radius2, scaled.flatten(start_dim=2))
    relative = spread / (flux[:, own].abs() + 3 * noise[:, own])  # to the softened flux: a band may hold none
    size = 0.25 * ellipse.determinant.log()
    half, cross = (ellipse.xx - ellipse.yy) / 2, ellipse.xy
    elongation = 2 * torch.hypot(half, cross) / (ellipse.xx + ellipse.yy)
    total = torch.asinh(flux.sum(dim=-1) / noise[..., 0] / 2)
    return torch.cat([relative, size, elongation, total[:, 1:] - total[:, :-1]], dim=1)


def matched_features(stamps, sky_rms, pixel_scale):
    """Return colours and a magnitude through the profile and its powers, and numbers that describe it, ``[B, F]``."""
    sky, scaled = _in_noise(stamps, sky_rms)
    scaled, pixel_scale = _folded(scaled, pixel_scale)
    ellipse = galaxy_ellipse(scaled, pixel_scale)
    radius2 = ellipse.radius2(*_offsets(scaled.shape[-1], pixel_scale))  # [B, P]
    flux = scaled.flatten(start_dim=2)
    share = _shares(flux, torch.exp(-0.5 * radius2))
    image = torch.einsum("bc,bcp->bp", share / share.square().sum(dim=1, keepdim=True).sqrt(), flux)  # of noise 1
    amplitude, profile = expansion(image, radius2)
    weights = torch.stack([profile**power for power in POWERS], dim=1)
    weights = weights / weights.amax(dim=-1, keepdim=True).clamp(min=1e-6)
    noise = weights.square().sum(dim=-1).sqrt()[..., None]  # [B, A, 1], in units of sky rms
    fluxes = torch.einsum("bap,bcp->bac", weights, flux)
    magnitudes = colours_and_magnitude(asinh_magnitudes(fluxes * sky, noise * sky))
    described = _described(ellipse, amplitude, profile, image, radius2)
    return torch.cat([magnitudes.flatten(start_dim=1), described], dim=1)


def expansion(image, radius2):
    """
    Return the amplitudes ``[B, K]`` of the Gaussians of widths `SIZES` that fit images ``[B, P]`` best, and their sum.

    The fit is by least squares, no amplitude negative: they are multiplied by factors that keep them positive (Lee &
    Seung 2001), for all galaxies at once. ``radius2`` is the squared distance from the centre, in galaxy sizes.
    """
    gaussians = torch.stack([torch.exp(-0.5 * radius2 / size**2) for size in SIZES], dim=1)
    overlap = torch.einsum("bip,bjp->bij", gaussians, gaussians)
    # neighbouring Gaussians are alike: a little on the diagonal keeps amplitudes from being traded between them
    overlap = overlap + 1e-3 * torch.diag_embed(overlap.diagonal(dim1=1, dim2=2))
    seen = torch.einsum("bip,bp->bi", gaussians, image).clamp(min=1e-6)
    amplitude = seen / overlap.sum(dim=-1)
    for _ in range(ROUNDS):
        amplitude = amplitude * seen / ((overlap @ amplitude[..., None])[..., 0] + 1e-9)
    return amplitude, torch.einsum("bi,bip->bp", amplitude, gaussians)


def _described(ellipse, amplitude, profile, image, radius2):
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


def galaxy_ellipse(scaled, pixel_scale):
    """
    Return the `~astro_galtrans.moments.Ellipse` of the elliptical Gaussian that matches a galaxy in all bands together.

    Stamps ``[B, C, S, S]`` are in units of each band's sky noise; the tensors ``[B, 1]`` are in arcsec, finite for
    blank stamps too.
    """
    scaled, pixel_scale = _folded(scaled, pixel_scale)
    x, y = _offsets(scaled.shape[-1], pixel_scale)
    share = _shares(scaled.flatten(start_dim=2), torch.exp(-0.5 * (x**2 + y**2) / START**2)[None])
    image = torch.einsum("bc,bchw->bhw", share / share.sum(dim=1, keepdim=True), scaled)
    limits = tuple(limit / pixel_scale for limit in LIMITS)
    pixels, _ = adaptive_moments(image.numpy(), START / pixel_scale, limits, FARTHEST / pixel_scale)
    arcsec = [value * pixel_scale ** (1 if k < 2 else 2) for k, value in enumerate(pixels)]
    return Ellipse(*(torch.from_numpy(value).float()[:, None] for value in arcsec))


def _in_noise(stamps, sky_rms):
    """The sky noise ``[C]`` as a tensor, and stamps in units of it."""
    sky = torch.tensor(sky_rms, dtype=torch.float32)
    return sky, stamps / sky[:, None, None]


def _folded(scaled, pixel_scale):
    """Stamps with pixels at least as coarse as shapes are measured on, in units of their own sky noise."""
    fold = min(round(COARSE / pixel_scale), scaled.shape[-1] // 8)
    if fold < 2 or scaled.shape[-1] % fold:
        return scaled, pixel_scale
    return fold * F.avg_pool2d(scaled, fold), fold * pixel_scale


def _shares(flux, weight):
    """Weight of each band ``[B, C]`` in the sum of all: its signal-to-noise within a weight ``[B, P]``."""
    signal = torch.einsum("bp,bcp->bc", weight.expand(len(flux), -1), flux)
    return (signal / weight.square().sum(dim=1, keepdim=True).sqrt()).clamp(min=0) + 1e-3


def _offsets(size, pixel_scale):
    """Offsets of all pixels from the centre, x and y, ``[P]`` each (arcsec)."""
    axis = (torch.arange(size) - (size - 1) / 2) * pixel_scale
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x.flatten(), y.flatten()
