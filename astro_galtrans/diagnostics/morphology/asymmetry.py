"""
Rotational asymmetry and the centre that minimises it (Lotz et al. 2004, eq. 10; Sazonova et al. 2024, eq. 27).

Turned by 180 degrees about any point, every pixel falls the same fraction of a pixel beside another: the turned image
is the mirrored one, shifted by whole pixels and interpolated between four neighbours with the same weights everywhere,
which is what skimage's rotation by 180 degrees comes to. The search for the centre follows SciPy's simplex, in float32.
"""

import math

import torch

from .apertures import circle_weights
from .centre import EXTENT_CAS, OUT_OF_RANGE, groups
from .stamps import SUSPECT

__all__ = ["cas_asymmetry", "turned"]


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
    windows = _Windows(values.to(x.dtype), half, whole=False)
    rows = torch.arange(len(x), device=x.device)
    place = windows.places(x, y)
    (straight, mirrored), (part_x, part_y) = windows(place, rows), _parts(x, y)
    if values.dtype == torch.bool:
        return straight.bool(), _between(mirrored, part_x >= 0.5, part_y >= 0.5).bool()
    return straight, _between(mirrored, part_x, part_y)


def _parts(x, y):
    """Twice the coordinates of points, less whole pixels."""
    return tuple(2 * t - torch.floor(2 * t) for t in (x, y))


def _between(mirrored, part_x, part_y):
    """Interpolate between the four neighbours in a mirrored window."""
    part_x, part_y = (t[:, None, None].to(mirrored.dtype) for t in (part_x, part_y))
    rows = torch.lerp(mirrored[:, 1:], mirrored[:, :-1], part_y)
    return torch.lerp(rows[:, :, 1:], rows[:, :, :-1], part_x)


class _Windows:
    """
    Windows on images, straight and mirrored through points, gathered anew only where a point passes half a pixel.

    Each is ``2 half + 1`` pixels around the pixel nearest to the point, or the whole image.
    """

    def __init__(self, values, half, *, whole):
        number, *shape = values.shape
        self.half, self.whole = half, whole
        self.size = shape if whole else [2 * half + 1] * 2
        self.shape = [n + 2 for n in shape]
        self.values = torch.nn.functional.pad(values, (1, 1, 1, 1)).flatten()  # zero beyond the edges
        self.place = torch.full((number, 4), torch.iinfo(torch.int64).min, device=values.device)
        ny, nx = self.size
        self.straight, self.mirrored = values.new_empty(number, ny, nx), values.new_empty(number, ny + 1, nx + 1)

    def places(self, x, y):
        """The first pixels of windows, and of mirrored ones, for points: ``[M, 4]``."""
        first = [torch.zeros_like(t) if self.whole else torch.round(t) - self.half for t in (x, y)]
        mirrored = [torch.floor(2 * t) + 1 - start for t, start in zip((x, y), first, strict=True)]
        return torch.stack([*first, *mirrored], 1).long()

    def __call__(self, place, rows):
        """Windows and mirrored windows at places."""
        moved = torch.nonzero((place != self.place[rows]).any(1)).ravel()
        if len(moved):
            which, where = (rows, place) if len(moved) == len(rows) else (rows[moved], place[moved])
            ny, nx = (torch.arange(n + 1, device=rows.device) for n in self.size)
            self.straight[which] = self._gathered(which, where[:, 1, None] + ny[:-1], where[:, 0, None] + nx[:-1])
            self.mirrored[which] = self._gathered(which, where[:, 3, None] - ny, where[:, 2, None] - nx)
            self.place[which] = where
        if len(rows) == len(self.place):
            return self.straight, self.mirrored
        return self.straight[rows], self.mirrored[rows]

    def _gathered(self, which, y, x):
        height, width = self.shape
        y, x = (y + 1).clamp_(0, height - 1), (x + 1).clamp_(0, width - 1)
        index = ((y + which[:, None] * height) * width)[:, :, None] + x[:, None, :]
        return self.values.index_select(0, index.flatten()).view(index.shape)


class _Sums:
    """Sums of images and of their differences from themselves turned, in circles about points that move."""

    def __init__(self, stamps, radius, dtype):
        self.radius, self.dtype, self.nx, self.ny = radius, dtype, stamps.nx, stamps.ny
        self.masked = stamps.mask.flatten(1).any(1)
        half = int(min(float(radius.max()), max(stamps.image.shape))) + 2
        whole = 2 * half + 1 > max(stamps.image.shape[1:])
        pixels = stamps.image, stamps.valid, stamps.mask
        self.light, self.valid, self.mask = (_Windows(t.to(dtype), half, whole=whole) for t in pixels)

    def __call__(self, x, y, rows, powers=(1,)):
        """For each power: the sums of |turned - image|^p and of |image|^p; and the area."""
        place, (part_x, part_y), radius = self.light.places(x, y), _parts(x, y), self.radius[rows]
        straight, mirrored = self.light(place, rows)
        near = ((t - start).to(self.dtype) for t, start in ((x, place[:, 0]), (y, place[:, 1])))
        weights = circle_weights(radius.to(self.dtype), *near, *self.light.size)
        area = math.pi * radius**2
        masked = bool(self.masked[rows].any())
        if masked or not self._inside(x, y, radius, rows):
            weights.mul_(self.valid(place, rows)[0])
            if masked:
                weights.mul_(1 - _between(self.mask(place, rows)[1], part_x >= 0.5, part_y >= 0.5))
            area = weights.sum((1, 2)).to(radius.dtype)
        difference = _between(mirrored, part_x, part_y).sub_(straight).abs_()
        light = straight.abs()
        return [tuple(_dot(weights, v, p).to(area) for v in (difference, light)) for p in powers], area

    def _inside(self, x, y, radius, rows):
        """Are all circles inside their frames?"""
        r = radius - 0.5
        inside = (x >= r) & (y >= r) & (x <= self.nx[rows] - 1 - r) & (y <= self.ny[rows] - 1 - r)
        return bool(inside.all())


def _dot(weights, values, power):
    return (weights * (values if power == 1 else values**power)).sum((1, 2))


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
    values, radius = [torch.zeros_like(x), torch.zeros_like(x)], EXTENT_CAS * petrosian
    for rows in groups(stamps, torch.stack([x, y], 1), radius):
        sums = _Sums(stamps.select(rows), radius[rows], torch.float64)
        terms, area = sums(x[rows], y[rows], torch.arange(len(rows), device=x.device), powers=(1, 2))
        backgrounds = (area * sky_asymmetry[rows], 0), (2 * area * sky_sigma[rows] ** 2, area * sky_sigma[rows] ** 2)
        for value, (difference, total), (below, of_total) in zip(values, terms, backgrounds, strict=True):
            value[rows] = torch.where(total == 0, OUT_OF_RANGE, (difference - below) / (total - of_total))
    stamps.raise_flag(values[0] == OUT_OF_RANGE, SUSPECT)
    return tuple(values)
