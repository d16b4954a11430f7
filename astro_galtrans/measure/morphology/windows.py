"""
Windows on images, and on the same images turned by 180 degrees.

Turned about any point, every pixel falls the same fraction of a pixel beside another: the turned image is the mirrored
one, shifted by whole pixels and interpolated between four neighbours with the same weights everywhere, which is what
skimage's rotation by 180 degrees comes to.
"""

import torch

__all__ = ["Windows", "between", "turned", "window"]


def window(values, x, y, half):
    """
    Gather square windows around a pixel of each image.

    Parameters
    ----------
    values : `torch.Tensor`
        ``[N, H, W]``.
    x, y : `torch.Tensor`
        ``[N]``, int64: the central pixels.
    half : int
        The windows have 2 half + 1 pixels a side.

    Returns
    -------
    `torch.Tensor`
        ``[N, 2 half + 1, 2 half + 1]``; zero (False) beyond the image.
    """
    height, width = values.shape[1:]
    steps = torch.arange(-half, half + 1, device=values.device)
    iy, ix = y[:, None] + steps, x[:, None] + steps
    index = iy.clamp(0, height - 1)[:, :, None] * width + ix.clamp(0, width - 1)[:, None, :]
    found = values.flatten(1).gather(1, index.flatten(1)).view(index.shape)
    inside_y, inside_x = (iy >= 0) & (iy < height), (ix >= 0) & (ix < width)
    return found * inside_y[:, :, None] * inside_x[:, None, :]


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
    windows = Windows(values.to(x.dtype), half)
    place, part = windows.places(torch.stack([x, y], 1))
    straight, mirrored = windows(place, torch.arange(len(x), device=x.device))
    if values.dtype == torch.bool:
        return straight.bool(), between(mirrored, part >= 0.5).bool()
    return straight, between(mirrored, part)


class Windows:
    """
    Windows on images, straight and mirrored through points, gathered anew only where a point passes half a pixel.

    Parameters
    ----------
    values : `torch.Tensor`
        ``[N, H, W]``; zero beyond the edges.
    half : int
        Each window is ``2 half + 1`` pixels around the pixel nearest to the point.
    whole : bool, optional
        Or else each is the whole image.
    """

    def __init__(self, values, half, *, whole=False):
        number, *shape = values.shape
        self.half, self.whole = half, whole
        size = shape if self.whole else [2 * half + 1] * 2
        self.steps = [torch.arange(n + 1, device=values.device) for n in size]
        self.pad = max(shape) + 1 if self.whole else half + 2
        padded = torch.nn.functional.pad(values, [self.pad] * 4)
        self.last = torch.tensor([n - 1 for n in padded.shape[:0:-1]], device=values.device)
        self.straight, self.mirrored = _views(padded, size), _views(padded.flip(1, 2), [n + 1 for n in size])
        self.place = torch.full((number, 4), torch.iinfo(torch.int64).min, device=values.device)
        self.kept = [padded.new_empty(number, ny, nx) for ny, nx in (size, [n + 1 for n in size])]

    def places(self, points):
        """The first pixels of windows and of their mirror images, ``[M, 4]``, and the rest of a pixel between these."""
        first = torch.zeros_like(points) if self.whole else torch.round(points) - self.half
        whole = torch.floor(2 * points)
        return torch.cat([first, whole + 1 - first], 1).long(), 2 * points - whole

    def __call__(self, place, rows):
        """Windows and mirrored windows at places; the latter are one pixel larger."""
        moved = torch.nonzero((place != self.place[rows]).any(1)).ravel()
        if len(moved):
            which, where = (rows, place) if len(moved) == len(rows) else (rows[moved], place[moved])
            ix, iy = (where[:, :2] + self.pad).unbind(1)
            jx, jy = (self.last - self.pad - where[:, 2:]).unbind(1)
            self.kept[0].index_copy_(0, which, self.straight[which, iy, ix])
            self.kept[1].index_copy_(0, which, self.mirrored[which, jy, jx])
            self.place[which] = where
        return self.kept if len(rows) == len(self.place) else [t.index_select(0, rows) for t in self.kept]


def _views(padded, size):
    """All windows of a size as a view: by image, first row, first column."""
    number, height, width = padded.shape
    places = height - size[0] + 1, width - size[1] + 1
    image, row, column = padded.stride()
    return padded.as_strided((number, *places, *size), (image, row, column, row, column))


def between(mirrored, part):
    """
    Interpolate between the four neighbours in mirrored windows.

    Parameters
    ----------
    mirrored : `torch.Tensor`
        ``[M, h + 1, w + 1]``.
    part : `torch.Tensor`
        ``[M, 2]``: of a pixel along x and y, from 0 to 1.

    Returns
    -------
    `torch.Tensor`
        ``[M, h, w]``.
    """
    part_x, part_y = part.to(mirrored.dtype)[:, :, None, None].unbind(1)
    rows = torch.lerp(mirrored[:, 1:], mirrored[:, :-1], part_y)
    return torch.lerp(rows[:, :, 1:], rows[:, :, :-1], part_x)
