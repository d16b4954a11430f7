"""
Sums over the pixels of residuals, which the statistics of pixels are made of: torch functions of ``[n, C, H, W]``.

They are here, and not beside the comparison of whole sets, so that what trains translators can use them too.
"""

import torch

from astro_galtrans.measure.smoothing import SMOOTHING, detected, smooth

__all__ = ["REGIONS", "SUMS", "pixel_sums", "source_pixels"]

REGIONS = "all", "source"  #: all good pixels; those of sources, by `source_pixels` of the real stamp
SUMS = (
    "pixels", "residual", "absolute", "square", "scaled", "scaled_absolute", "scaled_square",
    "chi2", "within_1", "within_2", "crps", "in_range",
)  # fmt: skip


def pixel_sums(y, ours, bad, source, noise, *, samples=None, std=None):
    """
    Return sums over the pixels of stamps, ``[n, C]`` by region and name, of `REGIONS` and `SUMS`.

    Real and translated stamps are finite, ``bad`` pixels are left out, ``source`` ones are of sources (``[n, C, H,
    W]``); ``noise`` is that of the real pixels. Sums that need ``samples`` ``[n, S, C, H, W]`` or a stated uncertainty
    ``std`` are absent without.
    """
    maps = {"pixels": torch.ones_like(y)} | _maps(ours - y, noise, std) | _forecast(y, ours, samples, std)
    regions = dict(zip(REGIONS, (~bad, ~bad & source), strict=True))
    return {
        (region, name): torch.where(where, plane, 0).sum((-1, -2))
        for region, where in regions.items() for name, plane in maps.items()
    }  # fmt: skip


def _maps(residual, noise, std):
    scaled = residual / noise
    maps = {
        "residual": residual, "absolute": residual.abs(), "square": residual**2,
        "scaled": scaled, "scaled_absolute": scaled.abs(), "scaled_square": scaled**2,
    }  # fmt: skip
    if std is not None:
        normal = (residual / std).abs()
        maps |= {"chi2": normal**2, "within_1": (normal <= 1).float(), "within_2": (normal <= 2).float()}
    return maps


def _forecast(y, ours, samples, std):
    """CRPS of samples, of the Gaussian that is stated, or of a point; and whether truth lies among the samples."""
    if samples is None:
        return {"crps": (ours - y).abs() if std is None else gaussian_crps((ours - y) / std) * std}
    lowest, highest = samples.amin(1), samples.amax(1)
    return {"crps": ensemble_crps(samples, y), "in_range": ((lowest <= y) & (y <= highest)).float()}


def gaussian_crps(normal):
    """
    Return the CRPS of a Gaussian in units of its standard deviation (Gneiting & Raftery 2007, JASA 102, 359, eq. 21);
    ``normal`` is truth minus mean, in the same unit.
    """
    density = torch.exp(-(normal**2) / 2) / (2 * torch.pi) ** 0.5
    return normal * torch.erf(normal / 2**0.5) + 2 * density - torch.pi**-0.5


def ensemble_crps(samples, y):
    r"""
    Return the CRPS of samples, :math:`\langle |y_i - y| \rangle - \frac{1}{2 S (S - 1)} \sum_{ij} |y_i - y_j|`.

    With :math:`S - 1` in place of S its expectation is the CRPS of the distribution that the samples are from, whatever
    their number (Ferro 2014, QJRMS 140, 1917), so that models with 4 and with 32 samples are compared as equals.
    Samples are ``[n, S, C, H, W]``, S > 1.
    """
    number = samples.shape[1]
    apart = sum((samples[:, k:] - samples[:, :-k]).abs().sum(1) for k in range(1, number))
    return (samples - y[:, None]).abs().mean(1) - apart / (number * (number - 1))


def source_pixels(stamps, bad, noise, pixel_scale):
    """
    Return the pixels of sources, bool ``[n, C, H, W]``: above 3 sigma in the stamp smoothed to 1 arcsec, and all within
    1.5 arcsec of these; ``bad`` ones are not looked at.
    """
    above = detected(torch.where(bad, 0, stamps), noise, pixel_scale)[1]
    near = torch.ones(2 * round(1.5 * SMOOTHING / pixel_scale) + 1)
    return smooth((above & ~bad).float(), near) > 0.5
