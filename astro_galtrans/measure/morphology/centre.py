"""
The point about which a galaxy is least asymmetric (Conselice et al. 2000), for many galaxies at once.

The search takes the steps of SciPy's simplex, as statmorph's does, and is most of what morphology costs, so it is lean:
float32; windows that are gathered anew only where the point passes half a pixel; and the circle's edge a ramp a pixel
wide instead of exact areas. The least asymmetry that it finds is then measured exactly.
"""

import math

import torch

from .compiled import kernels
from .cutouts import BAD, SUSPECT
from .kernels import on_arrays
from .simplex import minimise
from .windows import Windows, between

__all__ = ["EXTENT_CAS", "FRACTION_CAS", "OUT_OF_RANGE", "asymmetry_centre"]

EXTENT_CAS, FRACTION_CAS = 1.5, 0.25  # statmorph's petro_extent_cas and petro_fraction_cas
OUT_OF_RANGE = 100.0  # what statmorph's function returns to keep the minimiser where it belongs
X_TOLERANCE = 2e-3  # pixels; statmorph's 1e-6 takes twice the steps and changes nothing that matters
LAST = 1e-6  # pixels from the end of the image: how far a point is looked at
F_TOLERANCE = 1e-4
GROUPS = 4  # of like circles


def asymmetry_centre(stamps, x, y, petrosian, sky_asymmetry):
    """
    Find the centres that minimise asymmetry, and raise flags as statmorph does.

    Parameters
    ----------
    stamps : Stamps
        The cutouts.
    x, y : `torch.Tensor`
        ``[N]``: the centroids, where the search begins.
    petrosian : `torch.Tensor`
        ``[N]``: circular Petrosian radii about the centroids.
    sky_asymmetry : `torch.Tensor`
        ``[N]``: the sky's mean asymmetry per pixel, 0 where there is no sky box.

    Returns
    -------
    x, y : `torch.Tensor`
        ``[N]``.
    """
    centroid, drift = torch.stack([x, y], 1), FRACTION_CAS * petrosian
    centre = _search(stamps, centroid, petrosian, sky_asymmetry)
    far = torch.nonzero((centre - centroid).norm(dim=1) > drift).ravel()
    if len(far):  # try again from the brightest pixel, and if that drifts too keep the centroid
        stamps.raise_flag(_marks(far, stamps), SUSPECT)
        part = stamps.select(far, shrink=False)
        index = part.source_image.flatten(1).argmax(1)
        width = part.image.shape[2]
        brightest = torch.stack([index % width, index // width], 1).to(centroid)
        again = _search(part, brightest, petrosian[far], sky_asymmetry[far])
        stamps.flag[far] = torch.maximum(stamps.flag[far], part.flag)
        lost = (again - brightest).norm(dim=1) > drift[far]
        centre[far] = torch.where(lost[:, None], centroid[far], again)
        stamps.raise_flag(_marks(far[lost], stamps), BAD)
    return centre.unbind(1)


def _marks(rows, stamps):
    return torch.zeros_like(stamps.flag, dtype=torch.bool).index_fill_(0, rows, True)


def _search(stamps, start, petrosian, sky_asymmetry):
    """The minima of the asymmetry about a moving point."""
    loops = kernels("centre", stamps.image)
    if loops is None:
        return _search_together(stamps, start, petrosian, sky_asymmetry)
    given = stamps.image, stamps.mask, stamps.nx, stamps.ny, start, EXTENT_CAS * petrosian, sky_asymmetry
    centre, lost = on_arrays(loops.search, *given, X_TOLERANCE, F_TOLERANCE)
    stamps.raise_flag(lost, SUSPECT)
    return centre


def _search_together(stamps, start, petrosian, sky_asymmetry):
    """The same with all galaxies side by side; circles in order of size, so that windows can be small."""
    order = torch.argsort(petrosian)
    function = _Asymmetry(stamps.select(order, shrink=False), EXTENT_CAS * petrosian[order], sky_asymmetry[order])
    centre = torch.empty_like(start)
    centre[order] = minimise(function, start[order], X_TOLERANCE, F_TOLERANCE)
    stamps.raise_flag(_marks(order[function.lost], stamps), SUSPECT)
    return centre


class _Asymmetry:
    """Asymmetry about points: what is minimised (statmorph's ``_asymmetry_function``)."""

    def __init__(self, stamps, radius, sky_asymmetry):
        self.size = torch.stack([stamps.nx, stamps.ny], 1)
        self.sky, self.radius = sky_asymmetry, radius
        self.lost = torch.zeros_like(stamps.flag, dtype=torch.bool)  # was the search ever where there is nothing?
        parts = torch.arange(len(stamps), device=radius.device).split(max(-(-len(stamps) // GROUPS), 1))
        self.ends = torch.tensor([0, *(int(part[-1]) + 1 for part in parts)], device=radius.device)
        self.parts = [_Part(stamps.select(part), radius[part]) for part in parts]

    def __call__(self, points, rows):
        size = self.size[rows]
        out = ((points < 0) | (points >= size)).any(1)
        points = torch.minimum(points.clamp(min=0), size - LAST)
        ends = torch.searchsorted(rows, self.ends).tolist()  # rows are in order, and so are the parts
        sums = [
            part(points[a:b], rows[a:b] - start)
            for part, start, a, b in zip(self.parts, self.ends.tolist(), ends, ends[1:], strict=False)
            if a < b
        ]
        difference, total, area = (torch.cat(t).double() for t in zip(*sums, strict=True))
        out |= total == 0
        self.lost[rows] |= out
        return torch.where(out, OUT_OF_RANGE, (difference - area * self.sky[rows]) / total)


class _Part:
    """Galaxies with like circles: sums in the circles of an image's difference from itself turned, and of itself."""

    def __init__(self, stamps, radius):
        self.edge, self.area = (radius + 0.5).float(), math.pi * radius**2
        self.low, self.size = radius - 0.5, torch.stack([stamps.nx, stamps.ny], 1)
        self.masked = stamps.mask.flatten(1).any(1)
        half = int(min(float(radius.max()), max(stamps.image.shape))) + 2
        pixels, whole = (stamps.image, stamps.valid, stamps.mask), 2 * half + 1 > max(stamps.image.shape[1:])
        self.light, self.valid, self.mask = (Windows(t.float(), half, whole=whole) for t in pixels)

    def __call__(self, points, rows):
        place, part = self.light.places(points)
        straight, mirrored = self.light(place, rows)
        y, x = (
            (steps[:-1] + (place[:, k, None] - points[:, k, None])).float() ** 2
            for k, steps in zip((1, 0), self.light.steps, strict=True)
        )
        weights = (y[:, :, None] + x[:, None, :]).sqrt_()
        torch.sub(self.edge[rows, None, None], weights, out=weights).clamp_(0, 1)
        area, low = self.area[rows], self.low[rows, None]
        cut = ((points < low) | (points > self.size[rows] - 1 - low)).any(1) | self.masked[rows]
        cut = torch.nonzero(cut).ravel()
        if len(cut):
            valid = self._valid(weights[cut], place[cut], part[cut], rows[cut])
            weights[cut], area[cut] = valid, valid.sum((1, 2)).double()
        difference = between(mirrored, part).sub_(straight).abs_().mul_(weights).sum((1, 2))
        return difference, weights.mul_(straight.abs()).sum((1, 2)), area

    def _valid(self, weights, place, part, rows):
        """The weights of circles that the frame cuts or a mask."""
        weights.mul_(self.valid(place, rows)[0])
        if bool(self.masked[rows].any()):
            weights.mul_(1 - between(self.mask(place, rows)[1], part >= 0.5))
        return weights
