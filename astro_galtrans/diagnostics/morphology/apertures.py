r"""
Sums over circles and ellipses, with the exact area of every pixel that the edge cuts, for many galaxies at once.

The area of an ellipse to the lower left of a point (x, y), :math:`F(x, y)`, is separable: with :math:`A_x(x)` and
:math:`A_y(y)` the areas to the left and below,

.. math::
    F = \begin{cases}
    xy - \frac{\sigma_y}{2} x^2 - \frac{\sigma_x}{2} y^2 + \frac{A_x + A_y}{2} + c & \text{in the ellipse} \\
    [y > \sigma_y x]\,A_x + [x > \sigma_x y]\,A_y - [y > \sigma_y x]\,[x > \sigma_x y]\,A & \text{outside of it}
    \end{cases}

where the lines :math:`y = \sigma_y x` and :math:`x = \sigma_x y` halve its vertical and horizontal chords. The area in
a pixel is F's mixed difference over the pixel's corners, so the sum over an image is that of F times the image's mixed
difference D at all corners. Of that product only :math:`A_x` and :math:`A_y`, one number per row and column, depend on
the size of the ellipse, and so do the stretches of each row and column that are inside: with running sums of the rest,
a sum over n x n pixels takes O(n) operations. It agrees with photutils' ``method="exact"`` to rounding.
"""

import math

import torch

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
        ``[N, n, n]`` float64, n odd: windows on what to sum; nothing is counted beyond them.
    dx, dy : `torch.Tensor`
        ``[N]``: the centre of the ellipses relative to that of the windows' central pixel.
    elongation, theta : `torch.Tensor`, optional
        ``[N]``: ratio of the axes, and angle of the major one from x to y in radians; circles by default.
    """

    def __init__(self, values, dx, dy, elongation=None, theta=None):
        half = values.shape[-1] // 2
        edges = torch.arange(-half, half + 2, device=values.device, dtype=values.dtype) - 0.5
        self.x, self.y = edges - dx[:, None], edges - dy[:, None]
        self.shape = shape = _Shape(dx, elongation, theta)
        x, y = self.x[:, None, :], self.y[:, :, None]
        sigma_x, sigma_y, q = shape.sigma_x[:, None, None], shape.sigma_y[:, None, None], shape.q[:, None, None]
        above, right = y > sigma_y * x, x > sigma_x * y
        corners = _mixed_difference(values)
        above_d, right_d = corners * above, corners * right
        both_d = above_d * right
        quadratic = corners * (x * y - sigma_y / 2 * x**2 - sigma_x / 2 * y**2)
        area = (corners * shape.corner[:, None, None] + both_d * math.pi) / q
        self.columns, self.rows, self.both = above_d.sum(1), right_d.sum(2), both_d.sum((1, 2)) * math.pi / shape.q
        by_column = torch.stack([corners / 2 - above_d, quadratic, area], -1).transpose(1, 2)
        self.by_column, self.by_row = _running(by_column), _running((corners / 2 - right_d)[..., None])

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
            ``[N, K]``: the semimajor axes, K of each galaxy.

        Returns
        -------
        `torch.Tensor`
            ``[N, K]``.
        """
        shape, a = self.shape, a[:, :, None]
        left, chord = _segment(self.x[:, None] / (a * shape.width[:, None, None]))
        below, breadth = _segment(self.y[:, None] / (a * shape.height[:, None, None]))
        in_x, quadratic, area = self._inside(self.by_column, self.x, self.y, a, chord * shape.upward, shape.sigma_y, 0)
        (in_y,) = self._inside(self.by_row, self.y, self.x, a, breadth * shape.sideward, shape.sigma_x, 1)
        by_x = (left * (in_x + self.columns[:, None])).sum(2)
        by_y = (below * (in_y + self.rows[:, None])).sum(2)
        a = a[:, :, 0]
        return quadratic.sum(2) + a**2 * ((by_x + by_y) / shape.q[:, None] + area.sum(2) - self.both[:, None])

    def _inside(self, running, along, across, a, reach, slope, axis):
        """Sums over the corners that an ellipse holds of each line: along each column (axis 0) or row (1)."""
        n = along.shape[1]
        middle = slope[:, None] * along - across[:, :1]  # in pixels from the first corner
        reach = a * reach
        first, last = ((middle[:, None] + sign * reach).round_().clamp_(0, n - 1).long() for sign in (-1, 1))
        line = torch.arange(n, device=along.device) * (n + 1)
        start, stop = (
            first + ~self._holds(first, along, across, a, axis),
            last + self._holds(last, along, across, a, axis),
        )
        stop = torch.maximum(start, stop)
        start, stop = (start + line).flatten(1), (stop + line).flatten(1)
        return [(part.gather(1, stop) - part.gather(1, start)).view(reach.shape) for part in running.unbind(-1)]

    def _holds(self, index, along, across, a, axis):
        """Is the corner of each line in the ellipse? The same arithmetic for rows and columns, so that they agree."""
        across = across.gather(1, index.flatten(1)).view(index.shape)
        along = along[:, None]
        x, y = (along, across) if axis == 0 else (across, along)
        return self.shape.radius2(x, y) < a**2


def _running(parts):
    """Sums along axis 2 up to each entry, ``[N, lines * (n + 1), parts]``, beginning with none."""
    return torch.nn.functional.pad(parts.cumsum(2), (0, 0, 1, 0)).flatten(1, 2)


class _Shape:
    """What the areas of ellipses of one shape depend on."""

    def __init__(self, like, elongation, theta):
        q = torch.ones_like(like) if elongation is None else elongation
        theta = torch.zeros_like(like) if theta is None else theta
        cos, sin = torch.cos(theta), torch.sin(theta)
        alpha, gamma = cos**2 + (q * sin) ** 2, sin**2 + (q * cos) ** 2  # of a unit semimajor axis
        beta = cos * sin * (1 - q**2)
        self.q, self.cos, self.sin = q, cos, sin
        self.sigma_y, self.sigma_x = -beta / gamma, -beta / alpha
        self.width, self.height = torch.sqrt(gamma) / q, torch.sqrt(alpha) / q
        self.upward, self.sideward = (1 / torch.sqrt(t)[:, None, None] for t in (gamma, alpha))  # half the chords at 0
        self.corner = torch.asin(-beta / torch.sqrt(alpha * gamma)) / 2 - math.pi / 4

    def select(self, rows):
        chosen = object.__new__(type(self))
        chosen.__dict__ = {name: value[rows] for name, value in self.__dict__.items()}
        return chosen

    def radius2(self, x, y):
        """The squared semimajor axis of the ellipse through each point."""
        cos, sin, q = (t[:, None, None] for t in (self.cos, self.sin, self.q))
        return (x * cos + y * sin) ** 2 + (q * (y * cos - x * sin)) ** 2

    def areas(self, a, x, y):
        """Areas in all, left of x, below y, and F's constant."""
        product = a**2 / self.q
        left = _segment(x / (a * self.width)[:, None])[0] * product[:, None]
        below = _segment(y / (a * self.height)[:, None])[0] * product[:, None]
        return math.pi * product, left, below, self.corner * product


def _segment(sine):
    """Area of the unit circle left of a line, and half the chord that the line makes."""
    sine = sine.clamp(-1, 1)
    cosine = torch.sqrt(1 - sine**2)
    return torch.asin(sine) + sine * cosine + math.pi / 2, cosine


def _mixed_difference(values):
    """Mixed differences of images at all corners of their pixels; zero lies beyond the edges."""
    padded = torch.nn.functional.pad(values, (1, 1, 1, 1))
    along = padded[..., :, :-1] - padded[..., :, 1:]
    return along[..., :-1, :] - along[..., 1:, :]


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
    area = torch.where((y**2)[:, :, None] < (square - x**2)[:, None, :], inner, outer)
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
    total, left, below, constant = (t.unflatten(0, (-1, 1)) for t in shape.areas(a, x, y))
    below, total, constant = below.mT, total[:, :, None], constant[:, :, None]
    x, y = x[:, None, :], y[:, :, None]
    sigma_y, sigma_x = shape.sigma_y[:, None, None], shape.sigma_x[:, None, None]
    inner = x * y + ((left - sigma_y * x**2) / 2) + ((below - sigma_x * y**2) / 2 + constant)
    above, right = y > sigma_y * x, x > sigma_x * y
    outer = above * left + right * (below - above * total)
    return torch.where(shape.radius2(x, y) < (a**2)[:, None, None], inner, outer)
