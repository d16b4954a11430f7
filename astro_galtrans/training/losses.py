"""Terms that a recipe may add to the loss of any network: differences in aperture fluxes and in morphology."""

import torch
import torch.nn.functional as F

from astro_galtrans import structure
from astro_galtrans.models.losses import bounded_square

__all__ = ["aperture_loss", "extra_terms", "structure_loss"]

# Flux of the smoothed target, in softening fluxes, above which a pixel belongs to a galaxy. The step there is a sigmoid
# of that width, so that the loss does not jump as a pixel crosses the threshold.
THRESHOLD, WIDTH = 1.0, 0.2
SMALLEST = 20.0  # pixels of the smallest galaxy that is measured: in fewer, Gini and M20 follow the noise
SQUARES = 4, 16  # target pixels: 0.8 and 3.2 arcsec for CFHTLS, the core of a galaxy and an aperture
RELATIVE = 0.05  # a flux error by this share weighs as much as that of the source's noise
#: Typical scatter of each measure between galaxies: a difference by so much weighs 1.
SCATTER = {"gini": 0.05, "m20": 0.25, "concentration": 0.4, "asymmetry": 0.1}


def extra_terms(settings):
    """Return the terms that a recipe's section ``loss`` asks for, functions of mean, target, weight and reference."""

    def structure_term(mean, target, weight=None, reference=None):  # noqa: ARG001 - all terms are called alike
        return settings.structure * structure_loss(mean, target, weight)

    def aperture_term(mean, target, weight=None, reference=None):
        return settings.aperture * aperture_loss(mean, target, reference, weight)

    terms = {"structure": structure_term, "aperture": aperture_term}
    return {name: term for name, term in terms.items() if getattr(settings, name) > 0}


def aperture_loss(mean, target, reference, weight=None):
    """
    Return the mean squared error of fluxes summed in squares, relative to an error that grows with the flux.

    An error that all pixels of a galaxy share is small in each beside their noise, and large in their sum. Images are
    ``[B, C, H, W]`` in network units; ``reference`` is the linear answer or another image that the source alone
    decides, so that the minimum is the mean flux. Squares have a side of `SQUARES` pixels of the target.
    """
    error = torch.sinh(mean.float()) - torch.sinh(target.float())
    error, total = error if weight is None else error * weight, 0.0
    for side in SQUARES:
        flux = F.avg_pool2d(torch.sinh(reference.float()), side)
        # sky noise of the source, half a softening flux in a pixel, averaged over the square
        scale = (0.5 / side) ** 2 + (RELATIVE * flux).square()
        total = total + bounded_square(F.avg_pool2d(error, side) * torch.rsqrt(scale)).mean()
    return total


def structure_loss(mean, target, weight=None):
    """
    Return the mean difference of Gini, M20, concentration and asymmetry between prediction and target ``[B, C, H, W]``.

    All are measured within the target's own segment and around its centroid, band by band; ``weight`` tells how much
    each pixel of the target counts. The differences, in units of the measures' scatter between galaxies, go through
    Huber's loss, so that a few odd galaxies do not dominate. Crops without a source in a band do not count.
    """
    flux, truth = torch.sinh(mean.float()), torch.sinh(target.float())
    if weight is not None:
        truth = torch.where(weight > 0, truth, 0.0)
    smooth = F.avg_pool2d(truth, 3, stride=1, padding=1, count_include_pad=False)
    segment = torch.sigmoid((smooth - THRESHOLD) / WIDTH) * (smooth > 0)
    segment = segment if weight is None else segment * weight
    flux, truth = torch.where(segment > 0, flux, 0.0), torch.where(segment > 0, truth, 0.0)
    counted = (segment.sum((2, 3)) > SMALLEST).to(flux.dtype)
    centre = structure.centroid(truth, segment)
    ours, theirs = (_measures(image, segment, centre) for image in (flux, truth))
    difference = sum(
        F.smooth_l1_loss((ours[name] - theirs[name]) / scatter, torch.zeros_like(counted), reduction="none")
        for name, scatter in SCATTER.items()
    )
    return (difference * counted).sum() / counted.sum().clamp(min=1)


def _measures(flux, segment, centre):
    radius = min(flux.shape[-2:]) / 2
    return {
        "gini": structure.gini(flux, segment),
        "m20": structure.m20(flux, segment),
        "concentration": structure.concentration(flux * segment, radius, centre),
        "asymmetry": structure.asymmetry(flux, segment, centre),
    }
