"""Asinh magnitudes, which exist for negative fluxes too, and colours of them."""

import numpy as np
import torch

__all__ = ["asinh_magnitudes", "colours_and_magnitude"]

POGSON = 2.5 * np.log10(np.e)


def asinh_magnitudes(flux, softening):
    """
    Asinh magnitudes, without zero point.

    Parameters
    ----------
    flux, softening : `torch.Tensor`
        Of shapes that broadcast, in one unit.
    """
    return -POGSON * (torch.asinh(flux / (2 * softening)) + torch.log(softening))


def colours_and_magnitude(magnitudes):
    """
    Differences of neighbouring bands, and the magnitude of the middle one: the same content, colours set free.

    Parameters
    ----------
    magnitudes : `torch.Tensor`
        ``[..., C]``.
    """
    middle = magnitudes.shape[-1] // 2
    return torch.cat([magnitudes[..., :-1] - magnitudes[..., 1:], magnitudes[..., middle : middle + 1]], dim=-1)
