r"""
Photometry that follows the galaxy: where it is, how large, how elongated, and its fluxes in ellipses of that shape.

Shape and place are adaptive moments (Bernstein & Jarvis 2002, AJ 123, 583; Hirata & Seljak 2003, MNRAS 343, 459):
the elliptical Gaussian that, as a weight, finds itself in the image. They are measured on the sum of all bands, each
weighted with the signal-to-noise it has in this galaxy. The Gaussian is close to the filter that measures fluxes with
the least noise; smaller and larger ones of the same shape, the same in all bands, tell bulge from disc. Circles of
fixed size do neither for a galaxy seen edge-on, or far smaller or larger than they are.
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from astro_galtrans.measure.magnitudes import asinh_magnitudes, colours_and_magnitude

__all__ = ["Ellipse", "adaptive_features", "adaptive_moments"]

SCALES = 0.5, 0.75, 1.0, 1.5, 2.2  #: of the Gaussians, in units of the adaptive one
EDGES = 2.0, 3.5  #: of the ellipses with an edge, in the same unit
START = 1.1  #: width of the Gaussian that the search starts from (arcsec, one sigma)
NARROWEST, WIDEST = 0.5, 4.0  #: it stays within (arcsec, one sigma)
FARTHEST = 1.0  #: the centre stays so close to the stamp's, along each axis (arcsec)
STEPS, STRETCH = 6, 1.3  #: of the search, each longer than the moments say: for a Gaussian they go half the way
COARSE = 0.3  #: shapes are measured on pixels at least so large, where the stamp's are smaller (arcsec)


class Ellipse(NamedTuple):
    """Centre (arcsec from the stamp's) and second moments (arcsec^2) of elliptical Gaussians, each ``[B, 1]``."""

    x: torch.Tensor
    y: torch.Tensor
    xx: torch.Tensor
    yy: torch.Tensor
    xy: torch.Tensor

    @property
    def determinant(self):
        """Of the matrix of second moments, arcsec^4."""
        return self.xx * self.yy - self.xy**2

    def radius2(self, x, y):
        """Square of the distance from the centre in units of sigma, ``[B, P]``, at offsets ``[P]`` (arcsec)."""
        dx, dy = x - self.x, y - self.y
        return (self.yy * dx**2 - 2 * self.xy * dx * dy + self.xx * dy**2) / self.determinant


def adaptive_features(stamps, sky_rms, pixel_scale):
    """
    Return colours and a magnitude in all ellipses, the sizes in the bands, and the galaxy's shape.

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
    scaled = stamps / sky[:, None, None]
    ellipse = adaptive_moments(all_bands(scaled, pixel_scale), pixel_scale)
    radius2 = ellipse.radius2(*offsets(stamps.shape[-1], pixel_scale))  # [B, P]
    weights = [torch.exp(-0.5 * radius2 / scale**2) for scale in SCALES]
    weights = torch.stack(weights + [(radius2 < edge**2).float() for edge in EDGES], dim=1)  # [B, A, P]
    noise = weights.square().sum(dim=-1).sqrt().clamp(min=1e-3)[..., None]  # [B, A, 1], in units of sky rms
    flux = torch.einsum("bap,bcp->bac", weights, scaled.flatten(start_dim=2))
    told = colours_and_magnitude(asinh_magnitudes(flux * sky, noise * sky))
    return torch.cat([told.flatten(start_dim=1), _shape(ellipse, weights, radius2, scaled, flux, noise)], dim=1)


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


def adaptive_moments(image, pixel_scale):
    """
    Return the elliptical Gaussian that finds itself when it weights an image.

    A Gaussian of covariance M, weighted with itself, has the covariance M / 2; the search is for the M that makes this
    so. It is bounded, so that a stamp with nothing in it has an answer too.

    Parameters
    ----------
    image : `torch.Tensor`
        ``[B, S, S]``, background subtracted.
    pixel_scale : float
        Size of a pixel (arcsec).

    Returns
    -------
    `Ellipse`
    """
    if (fold := min(round(COARSE / pixel_scale), image.shape[-1] // 8)) > 1 and image.shape[-1] % fold == 0:
        image, pixel_scale = F.avg_pool2d(image[:, None], fold)[:, 0], fold * pixel_scale
    x, y = offsets(image.shape[-1], pixel_scale)
    flux, zero = image.flatten(start_dim=1), image.new_zeros(len(image), 1)
    ellipse = Ellipse(zero, zero, zero + START**2, zero + START**2, zero)
    least = 1e-3 * flux.abs().amax(dim=1, keepdim=True) + 1e-30  # the sum of a blank stamp may be anything
    for _ in range(STEPS):
        weighted = flux * torch.exp(-0.5 * ellipse.radius2(x, y))
        total = weighted.sum(dim=1, keepdim=True).clamp(min=least)
        dx, dy = x - ellipse.x, y - ellipse.y
        moments = ((weighted * power).sum(dim=1, keepdim=True) / total for power in (dx, dy, dx**2, dy**2, dx * dy))
        ellipse = _moved(ellipse, *moments)
    return ellipse


def _moved(ellipse, x, y, xx, yy, xy):
    """The next guess, within bounds."""
    x, y = ((old + STRETCH * step).clamp(-FARTHEST, FARTHEST) for old, step in ((ellipse.x, x), (ellipse.y, y)))
    moments = ((1 - STRETCH) * old + 2 * STRETCH * new for old, new in zip(ellipse[2:], (xx, yy, xy), strict=True))
    return Ellipse(x, y, *_bounded(*moments))


def _bounded(xx, yy, xy):
    """Second moments whose axes are neither too short nor too long."""
    mean, half = (xx + yy) / 2, (xx - yy) / 2
    spread = torch.hypot(half, xy).clamp(min=1e-9)
    long, short = ((mean + sign * spread).clamp(NARROWEST**2, WIDEST**2) for sign in (1, -1))
    mean, stretch = (long + short) / 2, (long - short) / 2 / spread
    return mean + stretch * half, mean - stretch * half, stretch * xy


def all_bands(scaled, pixel_scale):
    """The sum of all bands ``[B, S, S]``, each weighted with what signal-to-noise it has in the middle."""
    x, y = offsets(scaled.shape[-1], pixel_scale)
    weight = torch.exp(-0.5 * (x**2 + y**2) / START**2)
    signal = (scaled.flatten(start_dim=2) @ weight) / weight.square().sum().sqrt()
    share = signal.clamp(min=0) + 1e-3
    return torch.einsum("bc,bchw->bhw", share / share.sum(dim=1, keepdim=True), scaled)


def offsets(size, pixel_scale):
    """Offsets of all pixels from the centre, x and y, ``[P]`` each (arcsec)."""
    axis = (torch.arange(size) - (size - 1) / 2) * pixel_scale
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x.flatten(), y.flatten()
