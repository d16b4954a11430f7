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

from .compiled import kernels
from .kernels import on_arrays

__all__ = ["Ellipses", "EllipticalSums", "area_in_rectangle", "ellipse_weights"]

TIE = 1e-9  # pixels
PAD = 2  # pixels around an image, so that there is a line of corners on either side that holds nothing
OFFSET = PAD + 0.5  # of the centre of pixel 0 from corner 0


class Ellipses:
    """
    Concentric ellipses of one shape per galaxy, and what their areas depend on, for a semimajor axis of 1.

    Parameters
    ----------
    x, y : `torch.Tensor`
        ``[N]``, float64: their centres in pixels.
    elongation, theta : `torch.Tensor`, optional
        ``[N]``: ratio of the axes, and angle of the major one from x to y in radians; circles by default.
    """

    def __init__(self, x, y, elongation=None, theta=None):
        q = torch.ones_like(x) if elongation is None else elongation
        theta = torch.zeros_like(x) if theta is None else theta
        cos, sin = torch.cos(theta), torch.sin(theta)
        alpha, gamma, beta = cos**2 + (q * sin) ** 2, sin**2 + (q * cos) ** 2, cos * sin * (1 - q**2)
        self.x, self.y, self.q, self.cos, self.sin = x, y, q, cos, sin
        self.sigma_y, self.sigma_x = -beta / gamma, -beta / alpha
        self.upward, self.sideward = gamma**-0.5, alpha**-0.5  # half the chords through the centre
        self.width, self.height = gamma**0.5 / q, alpha**0.5 / q
        self.top = self.sigma_x * self.height  # x of the highest point
        self.corner = (torch.asin(-beta * self.upward * self.sideward) / 2 - math.pi / 4) / q

    @property
    def packed(self):
        """What compiled loops need to know of them, ``[N, 5]``."""
        return torch.stack([self.x, self.y, self.q, self.cos, self.sin], 1)

    def moved(self, x, y):
        """The same ellipses with their centres so much further along x and y."""
        other = self[:]
        other.x, other.y = self.x + x, self.y + y
        return other

    def __len__(self):
        return len(self.x)

    def __getitem__(self, rows):
        chosen = object.__new__(type(self))
        chosen.__dict__ = {name: value[rows] for name, value in self.__dict__.items()}
        return chosen


class EllipticalSums:
    """
    Sums of images over ellipses.

    Parameters
    ----------
    values : `torch.Tensor`
        ``[N, H, W]``: what to sum; nothing is counted beyond the edges.
    """

    def __init__(self, values):
        self.values, self.loops = values, kernels("ellipses", values)
        if self.loops is None:
            self._take(values)

    def _take(self, values):
        padded = torch.nn.functional.pad(values, (PAD, PAD, PAD, PAD))
        self.shape = padded.shape
        nothing = padded[:, :, :1]
        # Sums of D and of v's steps along x up to a corner of a column; sums of D up to a corner of a row.
        self.columns, self.runs = (t.diff(dim=2, append=nothing).flatten() for t in (padded, padded.cumsum(1)))
        self.rows, self.pixels = padded.diff(dim=1, append=padded[:, :1]).flatten(), padded.flatten()

    def __call__(self, ellipses, a, rows=None):
        """
        Return the sums over ellipses.

        Parameters
        ----------
        ellipses : Ellipses
            Their centres and shapes, M of them.
        a : `torch.Tensor`
            ``[M, K]``, float64: the semimajor axes, K for each.
        rows : `torch.Tensor`, optional
            ``[M]``, int64: of which image each is; of all, in order, by default.

        Returns
        -------
        `torch.Tensor`
            ``[M, K]``.
        """
        rows = torch.arange(len(self.values), device=a.device) if rows is None else rows
        if self.loops is not None:
            return on_arrays(self.loops.sums, self.values, ellipses.packed, a, rows)
        _, height, width = self.shape
        corner = ((rows * height - 1) * width)[:, None, None] - 1  # of corner (0, 0) in the flat arrays
        e, reach, a = _expanded(ellipses), _reach(a, max(height, width)), a[:, :, None]
        i, j = _lines(e["x"], reach, width), _lines(e["y"], reach, height)
        x, y = i - (e["x"] + OFFSET), j - (e["y"] + OFFSET)
        area = a**2 * (math.pi / e["q"])
        highest = torch.floor(e["top"] * a + (e["x"] + OFFSET)) + 1  # first corner right of the top
        highest.clamp_(1, width - 1)
        left, low, high = _chords(x, a, e["width"], e["upward"], e["sigma_y"], e["y"] + OFFSET, height, highest)
        first, last = ((t * width + i).long() + corner for t in (low, high))
        p0, p1 = (_at(self.columns, index) for index in (first, last))
        t0, t1 = (
            p * (t - (e["y"] + OFFSET)) - _at(self.runs, index) for p, t, index in ((p0, low, first), (p1, high, last))
        )
        beyond = area * (i >= highest)
        total = (beyond - left) * p0
        total += (e["corner"] * a**2 - e["sigma_y"] / 2 * x**2 - left / 2 + beyond) * (p1 - p0)
        total += x * (t1 - t0)
        below, low, high = _chords(y, a, e["height"], e["sideward"], e["sigma_x"], e["x"] + OFFSET, width, highest)
        place = j.long() * width + corner
        r0, r1 = (_at(self.rows, t.long() + place) for t in (low, high))
        total -= below / 2 * (r1 + r0) + e["sigma_x"] / 2 * y**2 * (r1 - r0)
        last = highest.long() + (j[:, :, -1:].long() + 1) * width + corner
        return total.sum(2) + (area * _at(self.pixels, last))[:, :, 0]  # the last: what all further rows come to


def _expanded(ellipses):
    """The ellipses' parameters, ``[N, 1, 1]`` each."""
    return {name: value[:, None, None] for name, value in ellipses.__dict__.items()}


def _reach(a, limit):
    """How many lines of corners on either side of the centre the ellipses may meet."""
    return int(min(float(a.max()), limit)) + 2 if a.numel() else 0


def _lines(centre, reach, size):
    """The lines of corners around a centre, by their numbers as float64; those beyond the image hold nothing."""
    steps = torch.arange(-reach, reach + 1, device=centre.device, dtype=centre.dtype)
    return (torch.round(centre + OFFSET) + steps).clamp_(1, size - 1)


def _chords(along, a, extent, reach, slope, offset, size, outside):
    """Areas on the lower side of lines, and the first and one past the last corner on each that the ellipse holds."""
    sine = along / (a * extent)
    square = 1 - sine**2
    sine, cosine = sine.clamp_(-1, 1), square.clamp(min=0).sqrt_()
    area = (torch.asin(sine).add_(math.pi / 2).addcmul_(sine, cosine)) * (a**2 * (extent * reach))
    middle = slope * along + offset
    half = (a * reach) * cosine + TIE  # a corner on the edge is in, along both axes
    low, high = torch.ceil(middle - half), torch.floor(middle + half).add_(1)
    miss = (square < -TIE).to(low.dtype)
    low, high = torch.lerp(low, outside, miss), torch.lerp(torch.maximum(low, high), outside, miss)
    return area, low.clamp_(1, size - 1), high.clamp_(1, size - 1)


def _at(part, index):
    """Entries of a flat array."""
    return part.index_select(0, index.flatten()).view(index.shape)


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
    ellipses = Ellipses(dx, dy, elongation, theta)
    area = _corner_area(a, edges - dx[:, None], edges - dy[:, None], _expanded(ellipses))
    along = area[:, :, 1:] - area[:, :, :-1]
    return along[:, 1:] - along[:, :-1]


def area_in_rectangle(ellipses, a, nx, ny):
    """
    Return the area of ellipses that lies in images.

    Parameters
    ----------
    ellipses : Ellipses
        Their centres and shapes, N of them.
    a : `torch.Tensor`
        ``[N, K]``: the semimajor axes.
    nx, ny : `torch.Tensor`
        ``[N]``: the sizes of the images in pixels.

    Returns
    -------
    `torch.Tensor`
        ``[N, K]``.
    """
    area = a**2 * (math.pi / ellipses.q)[:, None]
    middle = torch.stack([ellipses.x, ellipses.y, nx - 1 - ellipses.x, ny - 1 - ellipses.y]).amin(0) + 0.5
    cut = torch.nonzero(a.amax(1) > middle).ravel() if a.numel() else ()
    if len(cut):
        number = a.shape[1]
        some, nx, ny = ellipses[cut.repeat_interleave(number)], *(t[cut].repeat_interleave(number) for t in (nx, ny))
        sides = (torch.stack([-0.5 - c, n - 0.5 - c], 1) for c, n in ((some.x, nx), (some.y, ny)))
        f = _corner_area(a[cut].flatten(), *sides, _expanded(some))
        area[cut] = (f[:, 1, 1] - f[:, 0, 1] - f[:, 1, 0] + f[:, 0, 0]).view(-1, number)
    return area


def _corner_area(a, x, y, e):
    """F at all points of a grid, ``[N, Y, X]``."""
    a, x, y = a[:, None, None], x[:, None, :], y[:, :, None]
    left, below = (_segment(t / (a * e[n]))[0] * a**2 / e["q"] for t, n in ((x, "width"), (y, "height")))
    inner = x * y + (left - e["sigma_y"] * x**2) / 2 + ((below - e["sigma_x"] * y**2) / 2 + e["corner"] * a**2)
    above, right = y > e["sigma_y"] * x, x > e["sigma_x"] * y
    outer = above * left + right * (below - above * (math.pi / e["q"] * a**2))
    radius2 = (x * e["cos"] + y * e["sin"]) ** 2 + (e["q"] * (y * e["cos"] - x * e["sin"])) ** 2
    return torch.where(radius2 < a**2, inner, outer)
