"""Gini coefficient, M20 and signal-to-noise in a segmentation map (Lotz et al. 2004; Rodriguez-Gomez et al. 2019)."""

import math

import torch

from .apertures import EllipticalSums
from .compiled import kernels
from .cutouts import BAD, SUSPECT
from .filters import gaussian_filter
from .flood import connected_region
from .kernels import on_arrays
from .petrosian import ANNULUS

__all__ = ["gini_and_m20", "gini_segment", "signal_to_noise"]

SMOOTHING = 0.2  # statmorph's petro_fraction_gini
DIM = 0.8  # the light that M20's bright pixels do not hold


def gini_segment(stamps, ellipses, petrosian):
    """
    Find the pixels of a galaxy: those of the smoothed image as bright as its mean at the Petrosian ellipse.

    Parameters
    ----------
    stamps : Stamps
        The cutouts. Several regions raise flag 1 (the one with the brightest pixel is kept), none or all pixels flag 2.
    ellipses : Ellipses
        The shapes of the galaxies, around their centroids.
    petrosian : `torch.Tensor`
        ``[N]``: the Petrosian semimajor axes.

    Returns
    -------
    `torch.Tensor`
        ``[N, H, W]``, bool.
    """
    if loops := kernels("gini", stamps.image):
        galaxies = stamps.image, stamps.ny, stamps.nx, ellipses.packed, petrosian
        segment, number, connected = on_arrays(loops.gini_segment, *galaxies)
    else:
        segment, number, connected = _segment(stamps, ellipses, petrosian)
    stamps.raise_flag((number == 0) | (number == stamps.nx * stamps.ny), BAD)
    stamps.raise_flag(connected != number, SUSPECT)
    return segment


def _segment(stamps, ellipses, petrosian):
    """The segments, how many pixels are above the threshold, and how many of them are connected."""
    smooth = gaussian_filter(stamps.image, SMOOTHING * petrosian).mul_(stamps.frame)
    outer, inner = petrosian + ANNULUS / 2, petrosian - ANNULUS / 2
    flux = EllipticalSums(smooth)(ellipses, torch.stack([outer, inner], 1))
    # statmorph's mean here is over the whole annulus, where it lies beyond the edges too.
    threshold = (flux[:, 0] - flux[:, 1]) / (math.pi * (outer**2 - inner**2) / ellipses.q)
    above = stamps.frame & (smooth >= threshold[:, None, None])
    brightest = smooth.masked_fill(~stamps.frame, -torch.inf).flatten(1).argmax(1)
    segment = connected_region(above, brightest)
    return segment, above.sum((1, 2)), segment.sum((1, 2))


def gini_and_m20(stamps, segment):
    """
    Measure the Gini coefficient and M20.

    Parameters
    ----------
    stamps : Stamps
        The cutouts; flag 2 where a value is undefined.
    segment : `torch.Tensor`
        ``[N, H, W]``, bool: the pixels to use.

    Returns
    -------
    gini, m20 : `torch.Tensor`
        ``[N]``; NaN where undefined.
    """
    if loops := kernels("gini", stamps.image):
        gini, m20 = on_arrays(loops.gini_and_m20, stamps.image, segment, stamps.ny, stamps.nx)
    else:
        flux, x, y, count = _packed(stamps.image, segment)
        gini, m20 = _gini(flux, count), _m20(flux, x, y)
    stamps.raise_flag(torch.isnan(gini) | torch.isnan(m20), BAD)
    return gini, m20


def _packed(image, segment):
    """Fluxes and positions of each galaxy's pixels, ``[N, most]``, zeros after them, and how many there are."""
    row, y, x = torch.nonzero(segment, as_tuple=True)
    count = segment.sum((1, 2))
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    size = len(image), max(int(count.max()) if len(count) else 0, 1)
    packed = (torch.zeros(size, device=image.device, dtype=image.dtype) for _ in range(3))
    return *(t.index_put_((row, place), v.to(t)) for t, v in zip(packed, (image[segment], x, y), strict=True)), count


def _gini(flux, count):
    """Eq. 6 of Lotz et al. (2004); the zeros beyond a galaxy's pixels come first in order and weigh nothing."""
    ordered = flux.abs().sort(dim=1).values
    total, n = ordered.sum(1), count[:, None]
    rank = torch.arange(1, flux.shape[1] + 1, device=flux.device) - (flux.shape[1] - n)
    value = ((2 * rank - n - 1) * ordered).sum(1) / ((count - 1) * total)
    return torch.where((count > 1) & (total != 0), value, torch.nan)


def _m20(flux, x, y):
    """Eqs. 7 and 8 of Lotz et al. (2004): what share of the moment the brightest pixels have that hold 20 %."""
    total = flux.sum(1, keepdim=True)
    xc, yc = (flux * x).sum(1, keepdim=True) / total, (flux * y).sum(1, keepdim=True) / total
    moment = flux * ((x - xc) ** 2 + (y - yc) ** 2)
    ordered = flux.sort(dim=1).values
    enough = ordered.cumsum(1) / total >= DIM
    threshold = ordered.gather(1, enough.to(torch.uint8).argmax(1, keepdim=True))
    bright = torch.where(flux >= threshold, moment, 0.0).sum(1)
    ratio = bright / moment.sum(1)
    valid = (total[:, 0] > 0) & enough.any(1) & (bright > 0) & (moment.sum(1) > 0)
    return torch.where(valid, torch.log10(ratio), torch.nan)


def signal_to_noise(stamps, segment, sky_sigma):
    """
    Return the mean signal-to-noise ratio of the pixels of a segmentation map that are not negative.

    Parameters
    ----------
    stamps : Stamps
        The cutouts; flag 2 where there is no such pixel.
    segment : `torch.Tensor`
        ``[N, H, W]``, bool.
    sky_sigma : `torch.Tensor`
        ``[N]``.
    """
    if loops := kernels("gini", stamps.image):
        planes = (
            stamps.image,
            stamps.raw,
            segment,
            stamps.mask,
            stamps.raw[:0] if stamps.sigma is None else stamps.sigma,
        )
        gain = torch.ones_like(sky_sigma) if stamps.gain is None else stamps.gain.to(sky_sigma)
        ratio = on_arrays(loops.signal_to_noise, *planes, gain, sky_sigma)
    else:
        ratio = _signal_to_noise(stamps, segment, sky_sigma)
    stamps.raise_flag(torch.isnan(ratio), BAD)
    return ratio


def _signal_to_noise(stamps, segment, sky_sigma):
    sigma = stamps.weightmap(sky_sigma).abs()
    used = segment & (stamps.image >= 0) & (sigma > 0)
    ratio = torch.where(used, stamps.image / torch.where(used, sigma, 1.0), 0.0).sum((1, 2))
    return ratio / used.sum((1, 2))  # 0 / 0 is not a number
