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
X_TOLERANCE = 1e-4  # pixels; statmorph's 1e-6 changes no asymmetry by more than 1e-6


def turned(values, x, y, half, *, nearest=False):
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
    nearest : bool, optional
        Take the nearest pixel rather than interpolate (masks).

    Returns
    -------
    straight, turned : `torch.Tensor`
        ``[N, 2 half + 1, 2 half + 1]``.
    """
    ix, iy = torch.round(x).long(), torch.round(y).long()
    straight = window(values, ix, iy, half)
    whole_x, part_x = _whole_and_part(x, ix)
    whole_y, part_y = _whole_and_part(y, iy)
    mirrored = window(values, ix + whole_x, iy + whole_y, half + 1).flip(1, 2)[:, :-1, :-1]
    return straight, _between(mirrored, part_x, part_y, nearest)


def _whole_and_part(x, ix):
    """Twice the distance of points from their pixels, in whole pixels and the rest."""
    twice = 2 * (x - ix)
    whole = torch.floor(twice)
    return whole.long(), twice - whole


def _between(mirrored, part_x, part_y, nearest):
    """Interpolate between the four neighbours in a mirrored window, or take the nearest."""
    part_x, part_y = (t[:, None, None].to(torch.promote_types(mirrored.dtype, torch.float32)) for t in (part_x, part_y))
    if nearest:
        rows = torch.where(part_y < 0.5, mirrored[:, 1:], mirrored[:, :-1])
        return torch.where(part_x < 0.5, rows[:, :, 1:], rows[:, :, :-1])
    rows = torch.lerp(mirrored[:, 1:], mirrored[:, :-1], part_y)
    return torch.lerp(rows[:, :, 1:], rows[:, :, :-1], part_x)


class _Sums:
    """Sums of an image and of its difference from itself turned, in circles about points that move."""

    def __init__(self, stamps, radius, dtype, half):
        self.image, self.half = stamps.image.to(dtype), half
        self.radius, self.nx, self.ny = radius, stamps.nx, stamps.ny
        self.masked = stamps.mask.flatten(1).any(1)
        self.mask, self.frame, self.dtype = stamps.mask, stamps.frame, dtype

    def __call__(self, x, y, rows, powers=(1,)):
        """For each power: the sums of |turned - image|^p and of |image|^p; and the area."""
        whole = len(rows) == len(self.image)
        image, radius = (self.image, self.radius) if whole else (self.image[rows], self.radius[rows])
        straight, other = turned(image, x, y, self.half)
        near = (x - torch.round(x)).to(self.dtype), (y - torch.round(y)).to(self.dtype)
        weights = circle_weights(radius.to(self.dtype), *near, self.half)
        area = math.pi * radius**2
        if not self._free(x, y, rows):
            weights = weights * self._symmetric(x, y, rows)
            area = weights.sum((1, 2)).to(area.dtype)
        difference = (other - straight).abs_()
        straight = straight.abs()
        sums = [(_dot(weights, difference**p), _dot(weights, straight**p)) for p in powers]
        return [tuple(t.to(area.dtype) for t in pair) for pair in sums], area

    def _free(self, x, y, rows):
        """Are all circles inside their frames, and nothing masked?"""
        r = self.radius[rows] - 0.5
        inside = (x >= r) & (y >= r) & (x <= self.nx[rows] - 1 - r) & (y <= self.ny[rows] - 1 - r)
        return bool((inside & ~self.masked[rows]).all())

    def _symmetric(self, x, y, rows):
        """Pixels of the frame of which neither they nor those opposite are masked."""
        mask, opposite = turned(self.mask[rows], x, y, self.half, nearest=True)
        frame = window(self.frame[rows], torch.round(x).long(), torch.round(y).long(), self.half)
        return frame & ~mask & ~opposite


def _dot(a, b):
    return torch.bmm(a.flatten(1)[:, None], b.flatten(1)[:, :, None])[:, 0, 0]


def _half(radius, stamps):
    """Half the size of windows for circles of these radii."""
    return min(int(radius.max()) + 2, max(stamps.image.shape[1:])) if len(radius) else 1


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
    radius = EXTENT_CAS * petrosian
    centre = start.clone()
    order = torch.argsort(radius)
    for rows in order.split(max(len(order) // 4, 16)):  # windows as small as they can be
        part = stamps.select(rows, shrink=False)
        sums = _Sums(part, radius[rows], torch.float32, _half(radius[rows], stamps))
        sky = sky_asymmetry[rows]

        def function(points, which, part=part, sums=sums, sky=sky):
            x, y = points.unbind(1)
            out = (x < 0) | (x >= part.nx[which]) | (y < 0) | (y >= part.ny[which])
            x, y = (torch.minimum(t.clamp(min=0), n[which] - 1.0) for t, n in ((x, part.nx), (y, part.ny)))
            ((difference, total),), area = sums(x, y, which)
            out |= total == 0
            part.flag[which[out]] = part.flag[which[out]].clamp(min=SUSPECT)
            return torch.where(out, OUT_OF_RANGE, (difference - area * sky[which]) / total)

        centre[rows] = minimise(function, start[rows], X_TOLERANCE)
        stamps.flag[rows] = part.flag
    return centre


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
    radius = EXTENT_CAS * petrosian
    sums = _Sums(stamps, radius, torch.float64, _half(radius, stamps))
    rows = torch.arange(len(stamps), device=x.device)
    ((difference, total), (difference2, total2)), area = sums(x, y, rows, powers=(1, 2))
    stamps.raise_flag(total == 0, SUSPECT)
    noise = area * sky_sigma**2
    asymmetry = torch.where(total == 0, OUT_OF_RANGE, (difference - area * sky_asymmetry) / total)
    return asymmetry, torch.where(total == 0, OUT_OF_RANGE, (difference2 - 2 * noise) / (total2 - noise))
