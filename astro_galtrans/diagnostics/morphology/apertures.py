r"""
Sums over circles and ellipses, with the exact area of every pixel that the edge cuts, for many galaxies at once.

The area of an ellipse to the lower left of a point (x, y), :math:`F(x, y)`, is separable. With :math:`A_x(x)` and
:math:`A_y(y)` the areas to the left of and below the point,

.. math::
    F = \begin{cases}
    xy - \frac{\sigma_y}{2} x^2 - \frac{\sigma_x}{2} y^2 + \frac{A_x + A_y}{2} + c & \text{in the ellipse} \\
    [\text{above}]\,A_x + [\text{right}]\,A_y - [\text{above and right}]\,A & \text{outside of it}
    \end{cases}

where the lines :math:`y = \sigma_y x` and :math:`x = \sigma_x y` halve its vertical and horizontal chords. The area in
a pixel is F's mixed difference over the pixel's corners, so the sum over an image v is that of F times v's mixed
difference D over all corners. Along a column of corners the ellipse holds one stretch, and sums of D over a stretch
are differences of v at its ends: what is left is O(n) operations for a sum over n x n pixels. It agrees with
photutils' ``method="exact"`` to rounding.
"""

import math

import torch

TIE = 1e-9  # pixels

__all__ = ["EllipticalSums", "area_in_rectangle", "circle_weights", "ellipse_weights", "window"]


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


class EllipticalSums:
    """
    Sums over concentric ellipses of one shape per galaxy.

    Parameters
    ----------
    values : `torch.Tensor`
        ``[N, n, n]``, n odd: windows on what to sum; nothing is counted beyond them.
    dx, dy : `torch.Tensor`
        ``[N]``, float64: the centre of the ellipses relative to that of the windows' central pixel.
    elongation, theta : `torch.Tensor`, optional
        ``[N]``: ratio of the axes, and angle of the major one from x to y in radians; circles by default.
    """

    def __init__(self, values, dx, dy, elongation=None, theta=None):
        half = values.shape[-1] // 2
        edges = torch.arange(-half, half + 2, device=values.device, dtype=dx.dtype) - 0.5
        self.x, self.y = edges - dx[:, None], edges - dy[:, None]
        self.shape = _Shape(dx, elongation, theta)
        padded = torch.nn.functional.pad(values, (1, 1, 1, 1))
        # Sums of D and of v's steps along x up to a corner of a column; sums of D up to a corner of a row.
        self.columns, self.column_runs = padded.diff(dim=2).flatten(1), padded.cumsum(1).diff(dim=2).flatten(1)
        self.rows = padded.diff(dim=1).flatten(1)

    def select(self, rows):
        """
        Return the sums of some galaxies.

        Parameters
        ----------
        rows : `torch.Tensor`
            Bool ``[N]`` or indices.
        """
        chosen = object.__new__(type(self))
        chosen.__dict__ = {name: value[rows] for name, value in self.__dict__.items() if name != "shape"}
        chosen.shape = self.shape.select(rows)
        return chosen

    def __call__(self, a):
        """
        Return the sums over ellipses.

        Parameters
        ----------
        a : `torch.Tensor`
            ``[N, K]``, float64: the semimajor axes, K of each galaxy.

        Returns
        -------
        `torch.Tensor`
            ``[N, K]``.
        """
        shape, x, y, a = self.shape, self.x[:, None], self.y[:, None], a[:, :, None]
        highest = torch.floor(shape.top * a - x[:, :, :1]) + 1  # the first corners right of the highest point
        left, start, stop = _chords(x, a, shape.width, shape.upward, shape.sigma_y, self.y, highest)
        columns, runs = self.columns, self.column_runs
        place = torch.arange(x.shape[2], device=x.device)
        first, last = (index * x.shape[2] + place for index in (start, stop))
        p0, p1, c0, c1 = (_at(part, index) for part in (columns, runs) for index in (first, last))
        y0, y1 = (index + self.y[:, :1, None] for index in (start, stop))
        inner = shape.corner * a**2 - shape.sigma_y / 2 * x**2
        beyond = (place >= highest) * (math.pi / shape.q * a**2)
        sums = (inner - left / 2) * (p1 - p0) + (beyond - left) * p0 + beyond * (p1 - p0)
        sums += x * (p1 * y1 - c1 - p0 * y0 + c0)
        below, start, stop = _chords(y, a, shape.height, shape.sideward, shape.sigma_x, self.x, highest)
        place = place * (x.shape[2] + 1)
        r0, r1 = (_at(self.rows, index + place) for index in (start, stop))
        sums -= below / 2 * (r1 + r0) + shape.sigma_x / 2 * y**2 * (r1 - r0)
        return sums.sum(2)


def _chords(along, a, extent, reach, slope, across, outside):
    """Areas on the lower side of lines, and the first and one past the last corner on each that the ellipse holds."""
    sine = along / (a * extent)
    square = 1 - sine**2
    sine, cosine = sine.clamp(-1, 1), square.clamp(min=0).sqrt()
    area = (torch.asin(sine) + sine * cosine + math.pi / 2) * (a**2 * (extent * reach))
    middle = slope * along - across[:, :1, None]
    reach = a * reach * cosine + TIE  # a corner on the edge is in, along both axes
    miss = square < -TIE
    start = torch.where(miss, outside, torch.ceil(middle - reach))
    stop = torch.where(miss, outside, torch.floor(middle + reach) + 1)
    start, stop = (t.clamp_(0, along.shape[2]).long() for t in (start, stop))
    return area, start, torch.maximum(start, stop)


def _at(part, index):
    """Entries ``[N, K, n]`` of each galaxy's ``[N, M]``."""
    return part.gather(1, index.flatten(1)).view(index.shape)


class _Shape:
    """What the areas of ellipses of one shape depend on, ``[N, 1, 1]`` each, for a semimajor axis of 1."""

    def __init__(self, like, elongation, theta):
        q = torch.ones_like(like) if elongation is None else elongation
        theta = torch.zeros_like(like) if theta is None else theta
        cos, sin, self.q = (t[:, None, None] for t in (torch.cos(theta), torch.sin(theta), q))
        alpha, gamma = cos**2 + (self.q * sin) ** 2, sin**2 + (self.q * cos) ** 2
        beta = cos * sin * (1 - self.q**2)
        self.sigma_y, self.sigma_x = -beta / gamma, -beta / alpha
        self.upward, self.sideward = 1 / torch.sqrt(gamma), 1 / torch.sqrt(alpha)  # half the chords through the centre
        self.width, self.height = torch.sqrt(gamma) / self.q, torch.sqrt(alpha) / self.q
        self.top = self.sigma_x * self.height  # x of the highest point
        self.corner = (torch.asin(-beta / torch.sqrt(alpha * gamma)) / 2 - math.pi / 4) / self.q
        self.cos, self.sin = cos, sin

    def select(self, rows):
        chosen = object.__new__(type(self))
        chosen.__dict__ = {name: value[rows] for name, value in self.__dict__.items()}
        return chosen

    def radius2(self, x, y):
        """The squared semimajor axis of the ellipse through each point."""
        return (x * self.cos + y * self.sin) ** 2 + (self.q * (y * self.cos - x * self.sin)) ** 2


def _segment(sine):
    """Area of the unit circle left of a line, and half the chord that the line makes."""
    sine = sine.clamp(-1, 1)
    cosine = torch.sqrt(1 - sine**2)
    return torch.asin(sine) + sine * cosine + math.pi / 2, cosine


def ellipse_weights(a, dx, dy, half, elongation=None, theta=None):
    """
    Return the area of each pixel of a window that lies in an ellipse.

    Parameters
    ----------
    a : `torch.Tensor`
        ``[N]``: the semimajor axes.
    dx, dy : `torch.Tensor`
        ``[N]``: the centre relative to that of the window's central pixel.
    half : int
        The windows have 2 half + 1 pixels a side.
    elongation, theta : `torch.Tensor`, optional
        ``[N]``: ratio and angle of the axes; circles by default.

    Returns
    -------
    `torch.Tensor`
        ``[N, 2 half + 1, 2 half + 1]``, from 0 to 1.
    """
    edges = torch.arange(-half, half + 2, device=a.device, dtype=a.dtype) - 0.5
    area = _corner_area(a, edges - dx[:, None], edges - dy[:, None], _Shape(a, elongation, theta))
    along = area[:, :, 1:] - area[:, :, :-1]
    return along[:, 1:] - along[:, :-1]


def circle_weights(radius, dx, dy, half):
    """
    Return the area of each pixel of a window that lies in a circle; `ellipse_weights` in fewer passes.

    Parameters
    ----------
    radius : `torch.Tensor`
        ``[N]``; its dtype is that of the answer.
    dx, dy : `torch.Tensor`
        ``[N]``: the centre relative to that of the window's central pixel.
    half : int
        The windows have 2 half + 1 pixels a side.

    Returns
    -------
    `torch.Tensor`
        ``[N, 2 half + 1, 2 half + 1]``, from 0 to 1.
    """
    edges = torch.arange(-half, half + 2, device=radius.device, dtype=radius.dtype) - 0.5
    x, y, square = edges - dx[:, None], edges - dy[:, None], (radius**2)[:, None]
    left, below = (_segment(t / radius[:, None])[0] * square for t in (x, y))
    positive, one = (x > 0).to(x.dtype), torch.ones_like(x)
    inner = torch.bmm(torch.stack([y, one, below / 2], 2), torch.stack([x, left / 2 - math.pi / 4 * square, one], 1))
    outer = torch.bmm(
        torch.stack([(y > 0).to(x.dtype), below], 2), torch.stack([left - math.pi * square * positive, positive], 1)
    )
    inside = ((y**2)[:, :, None] < (square - x**2)[:, None, :]).to(x.dtype)
    area = torch.lerp(outer, inner, inside)  # a torch.where costs five times as much
    along = area[:, :, 1:] - area[:, :, :-1]
    return along[:, 1:] - along[:, :-1]


def area_in_rectangle(a, x, y, elongation=None, theta=None):
    """
    Return the area of an ellipse that lies in a rectangle.

    Parameters
    ----------
    a : `torch.Tensor`
        ``[N]``: the semimajor axes.
    x, y : `torch.Tensor`
        ``[N, 2]``: the rectangle's sides relative to the ellipse's centre.
    elongation, theta : `torch.Tensor`, optional
        ``[N]``: ratio and angle of the axes; circles by default.
    """
    area = _corner_area(a, x, y, _Shape(a, elongation, theta))
    return area[:, 1, 1] - area[:, 0, 1] - area[:, 1, 0] + area[:, 0, 0]


def _corner_area(a, x, y, shape):
    """F at all points of a grid, ``[N, Y, X]``."""
    a, x, y = a[:, None, None], x[:, None, :], y[:, :, None]
    left, below = (_segment(t / (a * n))[0] * a**2 / shape.q for t, n in ((x, shape.width), (y, shape.height)))
    inner = x * y + (left - shape.sigma_y * x**2) / 2 + ((below - shape.sigma_x * y**2) / 2 + shape.corner * a**2)
    above, right = y > shape.sigma_y * x, x > shape.sigma_x * y
    outer = above * left + right * (below - above * (math.pi / shape.q * a**2))
    return torch.where(shape.radius2(x, y) < a**2, inner, outer)
