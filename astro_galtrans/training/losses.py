"""Terms that a recipe may add to the loss of any network: differences in the morphology of galaxies."""

import torch
import torch.nn.functional as F

from astro_galtrans import structure

__all__ = ["extra_terms", "structure_loss"]

# Flux of the smoothed target, in softening fluxes, above which a pixel belongs to a galaxy. The step there is a sigmoid
# of that width, so that the loss does not jump as a pixel crosses the threshold.
THRESHOLD, WIDTH = 1.0, 0.2
SMALLEST = 20.0  # pixels of the smallest galaxy that is measured: in fewer, Gini and M20 follow the noise
#: Typical scatter of each measure between galaxies: a difference by so much weighs 1.
SCATTER = {"gini": 0.05, "m20": 0.25, "concentration": 0.4, "asymmetry": 0.1}


def extra_terms(settings):
    """Return the terms that a recipe's section ``loss`` asks for, as functions of mean, target and weight."""

    def weighted(mean, target, weight=None):
        return settings.structure * structure_loss(mean, target, weight)

    return {"structure": weighted} if settings.structure > 0 else {}


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
