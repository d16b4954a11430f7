"""
Rotational asymmetry and the centre that minimises it (Lotz et al. 2004, eq. 10; Sazonova et al. 2024, eq. 27).

Turned by 180 degrees about any point, every pixel falls the same fraction of a pixel beside another: the turned image
is the mirrored one, shifted by whole pixels and interpolated between four neighbours with the same weights everywhere,
which is what skimage's rotation by 180 degrees comes to. The search for the centre follows SciPy's simplex, in float32.
"""

import math

import torch

from .apertures import circle_weights, window
from .simplex import minimise
from .stamps import BAD, SUSPECT

__all__ = ["EXTENT_CAS", "FRACTION_CAS", "asymmetry_centre", "cas_asymmetry", "turned"]

EXTENT_CAS, FRACTION_CAS = 1.5, 0.25  # statmorph's petro_extent_cas and petro_fraction_cas
OUT_OF_RANGE = 100.0  # what statmorph's function returns to keep the minimiser where it belongs
X_TOLERANCE = 1e-3  # pixels; statmorph's 1e-6 takes twice the steps and changes nothing that matters
GROUPS, SMALLEST_GROUP = 4, 32  # groups of circles of like size
MARGIN = 2.5  # pixels around a circle for its centre to move in


def turned(values, x, y, half):
    """
    Return windows on images, and on the same images turned by 180 degrees about a point.

    Parameters
    ----------
    values : `torch.Tensor`
        ``[N, H, W]``; zero beyond the edges.
    x, y : `torch.Tensor`
        ``[N]``: the points.
    half : int
        The windows have 2 half + 1 pixels a side, around the pixel nearest to the point.

    Returns
    -------
    straight, turned : `torch.Tensor`
        ``[N, 2 half + 1, 2 half + 1]``; of bool values the nearest pixel's, of others an interpolation.
    """
    nearest = values.dtype == torch.bool
    place, part_x, part_y = _places(x, y)
    if nearest:
        values, part_x, part_y = values.to(x.dtype), part_x >= 0.5, part_y >= 0.5
    straight, mirrored = _Windows(values, half)(place, torch.arange(len(x), device=x.device))
    other = _between(mirrored, part_x, part_y)
    return (straight.bool(), other.bool()) if nearest else (straight, other)


def _whole_and_part(x, ix):
    """Twice the distance of points from their pixels, in whole pixels and the rest."""
    twice = 2 * (x - ix)
    whole = torch.floor(twice)
    return whole.long(), twice - whole


def _between(mirrored, part_x, part_y):
    """Interpolate between the four neighbours in a mirrored window."""
    part_x, part_y = (t[:, None, None].to(mirrored.dtype) for t in (part_x, part_y))
    rows = torch.lerp(mirrored[:, 1:], mirrored[:, :-1], part_y)
    return torch.lerp(rows[:, :, 1:], rows[:, :, :-1], part_x)


class _Sums:
    """
    Sums of images and of their differences from themselves turned, in circles about points that move.

    The windows change only as a point passes from one half pixel to another, so they are kept between calls.
    """

    def __init__(self, stamps, radius, dtype):
        self.radius, self.dtype = radius, dtype
        self.half = min(int(radius.max()) + 2, max(stamps.image.shape[1:]))
        self.nx, self.ny = stamps.nx, stamps.ny
        self.masked = stamps.mask.flatten(1).any(1)
        self.light = _Windows(stamps.image.to(dtype), self.half)
        self.valid, self.mask = (_Windows(t.to(dtype), self.half) for t in (stamps.valid, stamps.mask))

    def __call__(self, x, y, rows, powers=(1,)):
        """For each power: the sums of |turned - image|^p and of |image|^p; and the area."""
        place, part_x, part_y = _places(x, y)
        straight, mirrored = self.light(place, rows)
        radius = self.radius[rows]
        near = ((x - torch.round(x)).to(self.dtype), (y - torch.round(y)).to(self.dtype))
        weights = circle_weights(radius.to(self.dtype), *near, self.half)
        area = math.pi * radius**2
        if not self._free(x, y, radius, rows):
            opposite = _between(self.mask(place, rows)[1], part_x >= 0.5, part_y >= 0.5)
            weights = (1 - opposite).mul_(self.valid(place, rows)[0]).mul_(weights)
            area = weights.sum((1, 2)).to(radius.dtype)
        difference = _between(mirrored, part_x, part_y).sub_(straight).abs_()
        return [
            (_dot(weights, difference, p).to(area), _dot(weights, straight.abs(), p).to(area)) for p in powers
        ], area

    def _free(self, x, y, radius, rows):
        """Are all circles inside their frames, and nothing masked?"""
        r = radius - 0.5
        inside = (x >= r) & (y >= r) & (x <= self.nx[rows] - 1 - r) & (y <= self.ny[rows] - 1 - r)
        return bool((inside & ~self.masked[rows]).all())


class _Windows:
    """Windows on images around points, straight and mirrored through the points, gathered anew only where they move."""

    def __init__(self, values, half):
        self.values, self.half = values, half
        self.place = torch.full((len(values), 4), torch.iinfo(torch.int64).min, device=values.device)
        n = 2 * half + 1
        self.straight, self.mirrored = values.new_empty(len(values), n, n), values.new_empty(len(values), n + 1, n + 1)

    def __call__(self, place, rows):
        moved = (place != self.place[rows]).any(1)
        if bool(moved.any()):
            which, where = rows[moved], place[moved]
            values = self.values[which]
            self.straight[which] = window(values, where[:, 0], where[:, 1], self.half)
            self.mirrored[which] = window(values, where[:, 2], where[:, 3], self.half + 1).flip(1, 2)[:, :-1, :-1]
            self.place[which] = where
        if len(rows) == len(self.values):
            return self.straight, self.mirrored
        return self.straight[rows], self.mirrored[rows]


def _places(x, y):
    """The pixels around which windows and mirrored windows lie, and the rest of a pixel between the latter."""
    ix, iy = torch.round(x).long(), torch.round(y).long()
    (whole_x, part_x), (whole_y, part_y) = _whole_and_part(x, ix), _whole_and_part(y, iy)
    return torch.stack([ix, iy, ix + whole_x, iy + whole_y], 1), part_x, part_y


def _dot(weights, values, power):
    return (weights * (values if power == 1 else values**power)).sum((1, 2))


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
    """The minima of the asymmetry about a moving point, in groups of like circles so that windows are small."""
    radius, centre = EXTENT_CAS * petrosian, start.clone()
    edge = (torch.stack([stamps.nx, stamps.ny], 1) - start).minimum(start).amin(1)
    hard = stamps.mask.flatten(1).any(1) | (edge < radius + MARGIN)
    for some in (hard, ~hard):
        rows = torch.nonzero(some).ravel()
        rows = rows[torch.argsort(radius[rows])]
        for group in rows.split(max(len(rows) // GROUPS, SMALLEST_GROUP)) if len(rows) else ():
            part = stamps.select(group, shrink=False)
            function = _Function(part, radius[group], sky_asymmetry[group])
            centre[group] = minimise(function, start[group], X_TOLERANCE)
            stamps.flag[group] = part.flag
    return centre


class _Function:
    """The asymmetry about points: what is minimised (statmorph's ``_asymmetry_function``)."""

    def __init__(self, stamps, radius, sky_asymmetry):
        self.stamps, self.sky, self.sums = stamps, sky_asymmetry, _Sums(stamps, radius, torch.float32)

    def __call__(self, points, rows):
        x, y = points.unbind(1)
        nx, ny = self.stamps.nx[rows], self.stamps.ny[rows]
        out = (x < 0) | (x >= nx) | (y < 0) | (y >= ny)
        x, y = torch.minimum(x.clamp(min=0), nx - 1.0), torch.minimum(y.clamp(min=0), ny - 1.0)
        ((difference, total),), area = self.sums(x, y, rows)
        out |= total == 0
        if bool(out.any()):
            self.stamps.flag[rows[out]] = self.stamps.flag[rows[out]].clamp(min=SUSPECT)
        return torch.where(out, OUT_OF_RANGE, (difference - area * self.sky[rows]) / total)


def cas_asymmetry(stamps, x, y, petrosian, sky_asymmetry, sky_sigma):
    """
    Measure the asymmetry, and the squared root-mean-square asymmetry.

    Parameters
    ----------
    stamps : Stamps
        The cutouts.
    x, y : `torch.Tensor`
        ``[N]``: the centres.
    petrosian : `torch.Tensor`
        ``[N]``: circular Petrosian radii about the centroids, 1.5 of which are looked at.
    sky_asymmetry, sky_sigma : `torch.Tensor`
        ``[N]``: of the sky per pixel, 0 where there is no sky box.

    Returns
    -------
    asymmetry, rms_asymmetry2 : `torch.Tensor`
        ``[N]``.
    """
    sums = _Sums(stamps, EXTENT_CAS * petrosian, torch.float64)
    rows = torch.arange(len(stamps), device=x.device)
    ((difference, total), (difference2, total2)), area = sums(x, y, rows, powers=(1, 2))
    stamps.raise_flag(total == 0, SUSPECT)
    noise = area * sky_sigma**2
    asymmetry = torch.where(total == 0, OUT_OF_RANGE, (difference - area * sky_asymmetry) / total)
    return asymmetry, torch.where(total == 0, OUT_OF_RANGE, (difference2 - 2 * noise) / (total2 - noise))
