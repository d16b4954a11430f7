"""Asinh magnitudes (Lupton, Gunn & Szalay 1999, AJ 118, 1406), defined for negative fluxes too, and their colours."""

import numpy as np
import torch

__all__ = ["asinh_magnitudes", "colours_and_magnitude"]

POGSON = 2.5 * np.log10(np.e)  # magnitudes per e-folding of the flux


def asinh_magnitudes(flux, softening):
    """
    Return asinh magnitudes without zero point; below ``softening`` (a sky noise, say) they are linear in flux.

    Examples
    --------
    >>> import torch
    >>> from astro_galtrans.photoz import asinh_magnitudes
    >>> magnitudes = asinh_magnitudes(torch.tensor([100.0, 0.0, -0.1]), torch.tensor(0.1))
    >>> [round(float(magnitude), 2) for magnitude in magnitudes]
    [-5.0, 2.5, 3.02]
    """
    return -POGSON * (torch.asinh(flux / (2 * softening)) + torch.log(softening))


def colours_and_magnitude(magnitudes):
    """
    Return the colours of neighbouring bands and the magnitude of the middle one, of magnitudes ``[..., C]``.

    The content is that of the magnitudes, in a form in which brightness and colour are apart.
    """
    middle = magnitudes.shape[-1] // 2
    return torch.cat([magnitudes[..., :-1] - magnitudes[..., 1:], magnitudes[..., middle : middle + 1]], dim=-1)
