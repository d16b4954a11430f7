"""
Whole images through a network that sees tiles: plan the tiles, cut them, blend what comes back.

Tiles form a regular grid, so that a weight is the product of one vector per axis, and the vectors of an axis sum to one
at every pixel. Blending is then a sum, ``output[tile] += w_y * w_x * values``, without a plane of weights to divide by.
A tile has no weight in the margin next to a cut edge, where the network missed its surroundings; it has all the weight
where no other tile does, so that its values are passed on there bit for bit.
"""

from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import NamedTuple

import numpy as np

__all__ = ["Blender", "Tile", "TilePlan", "blend_window", "cut", "plan_tiles", "tiled_map"]


class Tile(NamedTuple):
    """Rows ``y0 <= y < y1`` and columns ``x0 <= x < x1`` of the source image."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self):
        """Rows and columns of the tile."""
        return self.y1 - self.y0, self.x1 - self.x0


@dataclass(frozen=True)
class TilePlan:
    """How an image is cut: a regular grid of tiles, row by row, as `plan_tiles` makes it."""

    shape: tuple[int, int]  #: rows and columns of the source image
    tiles: tuple[Tile, ...]  #: in source pixels
    scale: int  #: output pixels per source pixel along each axis
    margin: int  #: source pixels next to a cut edge that are not used
    apart: bool = False  #: whether each tile is an image of its own, all below each other

    @classmethod
    def stacked(cls, count, shape, scale):
        """Return the plan of as many images of some rows and columns, below each other, each a tile."""
        height, width = shape
        tiles = tuple(Tile(k * height, (k + 1) * height, 0, width) for k in range(count))
        return cls((count * height, width), tiles, scale, 0, apart=True)

    @property
    def output_shape(self):
        """Rows and columns of the output image."""
        return self.scale * self.shape[0], self.scale * self.shape[1]

    @cached_property
    def axis_weights(self):
        """Weights along y and along x: two dicts from a tile's ``(start, stop)`` to its vector on the output grid."""
        spans = {(tile.y0, tile.y1) for tile in self.tiles}, {(tile.x0, tile.x1) for tile in self.tiles}
        axes = zip(self.shape, spans, strict=True)
        return tuple(_axis_weights(n, sorted(span), self.margin, self.scale) for n, span in axes)


def plan_tiles(shape, *, scale=1, multiple_of=1, margin=0, tile=None, max_pixels=600_000):
    """
    Return the `TilePlan` that cuts an image into overlapping tiles.

    Neighbours overlap by at least twice the margin, so that every pixel is out of the margin of some tile. Origins and
    sizes are multiples of ``multiple_of``, counted from the image's origin. All tiles have the same size, except that
    those at the image's far edge may be smaller and of any size.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the source image.
    scale : int, optional
        Output pixels per source pixel along each axis.
    multiple_of : int, optional
        What tile origins and sizes must be multiples of.
    margin : int, optional
        Source pixels next to a cut edge whose result may not be used.
    tile : int or tuple of int, optional
        Rows and columns of a tile (rounded up to the multiple). By default, of all tiles with at most ``max_pixels``
        pixels, the shape that has the fewest pixels computed twice.
    max_pixels : int, optional
        Largest number of source pixels in a tile whose size is chosen; it bounds a network's memory.

    Raises
    ------
    ValueError
        If a number is out of range, or the tile is too small for its margins; the message says what would do.
    """
    shape = _pair(shape, "shape", least=1)
    scale, multiple_of, max_pixels = (
        _at_least(value, 1, name)
        for value, name in ((scale, "scale"), (multiple_of, "multiple_of"), (max_pixels, "max_pixels"))
    )
    grid = _Grid(multiple_of, _at_least(margin, 0, "margin"))
    sizes = grid.best(shape, max_pixels) if tile is None else grid.requested(shape, _pair(tile, "tile", least=1))
    rows, columns = (grid.spans(n, size) for n, size in zip(shape, sizes, strict=True))
    tiles = tuple(Tile(*row, *column) for row in rows for column in columns)
    return TilePlan(shape, tiles, scale, grid.margin)


@dataclass(frozen=True)
class _Grid:
    """Rules that every axis obeys."""

    multiple: int
    margin: int

    def up(self, size):
        """Round up to the multiple."""
        return -(-size // self.multiple) * self.multiple

    @property
    def overlap(self):
        """Least overlap of neighbours: origins are multiples, so an overlap of equal tiles is one too."""
        return self.up(2 * self.margin)

    @property
    def least(self):
        """Least size of a tile that does not cover its axis, which needs pixels beyond its margins."""
        return self.multiple * ((2 * self.margin + self.multiple) // self.multiple + 1)

    def spans(self, n, size):
        """Return the ``(start, stop)`` of the tiles along an axis of ``n`` pixels, evenly spread."""
        if size >= n:
            return [(0, n)]
        last, steps = self.up(n - size), self.count(n, size) - 1
        starts = (step * (last // self.multiple) // steps * self.multiple for step in range(steps + 1))
        return [(start, min(start + size, n)) for start in starts]

    def count(self, n, size):
        """Return how many tiles of a size an axis needs."""
        return 1 if size >= n else 1 - (size - n) // (size - self.overlap)

    def shrink(self, n, count):
        """Return the smallest tile of which ``count`` cover the axis."""
        return n if count == 1 else max(self.up(-(-(n + (count - 1) * self.overlap) // count)), self.least)

    def total(self, n, size):
        """Return the pixels of all tiles along an axis."""
        return sum(stop - start for start, stop in self.spans(n, size))

    def requested(self, shape, tile):
        """Check and round the sizes that a caller asks for."""
        sizes = tuple(min(self.up(size), n) for size, n in zip(tile, shape, strict=True))
        if any(size < min(self.least, n) for size, n in zip(sizes, shape, strict=True)):
            msg = (
                f"a tile of {tile} pixels is too small for an image of {shape} with a margin of {self.margin} on "
                f"each side and origins at multiples of {self.multiple}: ask for {self.least} or more, or leave it out"
            )
            raise ValueError(msg)
        return sizes

    def best(self, shape, max_pixels):
        """Return the tile size that costs fewest pixels in all; of equals, the one with the fewest rows of tiles."""
        best, cost = None, np.inf
        height, width = shape
        for count in range(1, height + 1):
            rows = self.shrink(height, count)
            total = self.total(height, rows)
            if total * width >= cost:  # more rows of tiles only add overlap
                break
            columns = width if rows * width <= max_pixels else max_pixels // rows // self.multiple * self.multiple
            if columns >= min(self.least, width):
                columns = self.shrink(width, self.count(width, columns))
                if total * self.total(width, columns) < cost:
                    best, cost = (rows, columns), total * self.total(width, columns)
            if rows <= self.least:
                break
        if best is None:
            least = min(self.least, height) * min(self.least, width)
            msg = f"max_pixels={max_pixels} is too few for a margin of {self.margin}: allow at least {least}"
            raise ValueError(msg)
        return best


def _at_least(value, least, name):
    value = index(value)
    if value < least:
        msg = f"{name} must be an integer of at least {least}, got {value}"
        raise ValueError(msg)
    return value


def _pair(value, name, least):
    pair = tuple(value) if np.iterable(value) else (value, value)
    if len(pair) != 2:
        msg = f"{name} must be two integers (rows, columns), got {value!r}"
        raise ValueError(msg)
    return tuple(_at_least(side, least, name) for side in pair)


def cut(array, tile, factor=1):
    """
    Return a tile (in source pixels) of an array ``[..., factor*H, factor*W]``, as a view.

    Parameters
    ----------
    array : `numpy.ndarray`
    tile : `Tile`
    factor : int, optional
        Pixels of the array per source pixel.
    """
    return array[..., factor * tile.y0 : factor * tile.y1, factor * tile.x0 : factor * tile.x1]


def blend_window(plan, tile):
    """
    Return the weights of a tile in the blend: float32 vectors along y and x on the output grid, to be multiplied.

    They are zero within the margin of a cut edge, one up to a true border of the image, and a linear ramp over the rest
    of the overlap. At every pixel the weights of all tiles sum to one.
    """
    along_y, along_x = plan.axis_weights
    return along_y[tile.y0, tile.y1], along_x[tile.x0, tile.x1]


def _axis_weights(n, spans, margin, scale):
    """Weights of the tiles along one axis; they sum to one at each of its ``scale * n`` pixels."""
    starts = [scale * (start + margin if start > 0 else 0) for start, _ in spans]  # without the margins
    stops = [scale * (stop - margin if stop < n else n) for _, stop in spans]
    weights, total = {}, np.zeros(scale * n)
    for i, (start, stop) in enumerate(spans):
        centre = np.arange(scale * start, scale * stop) + 0.5
        rise = _ramp(centre - starts[i], stops[i - 1] - starts[i]) if start > 0 else 1.0
        fall = _ramp(stops[i] - centre, stops[i] - starts[i + 1]) if stop < n else 1.0
        weights[start, stop] = np.minimum(rise, fall) + np.zeros_like(centre)
        total[scale * start : scale * stop] += weights[start, stop]
    # two ramps already sum to one; dividing matters where small tiles make three overlap
    return {(a, b): (w / total[scale * a : scale * b]).astype(np.float32) for (a, b), w in weights.items()}


def _ramp(distance, length):
    # without an overlap to spare the ramp is a step: pixel centres lie half a pixel from it
    return np.clip(distance / max(length, 0.5), 0.0, 1.0)


class Blender:
    """
    Assemble the output image from tiles.

    Parameters
    ----------
    channels : int
        Channels of the output.
    plan : `TilePlan`
        How the image was cut.
    """

    def __init__(self, channels, plan):
        self.plan = plan
        self._output = np.zeros((channels, *plan.output_shape), dtype=np.float32)
        self._missing = set(plan.tiles)

    def add(self, tile, values):
        """
        Blend in the result for one tile.

        Parameters
        ----------
        tile : `Tile`
            A tile of the plan, each once, in any order.
        values : `numpy.ndarray`
            ``[channels, scale*h, scale*w]``; what lies in a margin is ignored, whatever it is.

        Raises
        ------
        ValueError
            If the tile is not of the plan, was added before, or the shape is not that of its output.
        """
        if tile not in self._missing:
            msg = f"{tile} was added before, or is not a tile of the plan"
            raise ValueError(msg)
        target = cut(self._output, tile, self.plan.scale)
        if values.shape != target.shape:
            msg = f"the result for {tile} must have shape {target.shape}, got {values.shape}"
            raise ValueError(msg)
        along_y, along_x = blend_window(self.plan, tile)
        for y in _segments(along_y):
            for x in _segments(along_x):
                _accumulate(target[:, y, x], values[:, y, x], along_y[y, None], along_x[x])
        self._missing.remove(tile)

    def finish(self):
        """
        Return the image, float32 ``[channels, scale*H, scale*W]``, not a copy.

        Raises
        ------
        ValueError
            If tiles are missing.
        """
        if self._missing:
            msg = f"{len(self._missing)} of {len(self.plan.tiles)} tiles were not added, such as {min(self._missing)}"
            raise ValueError(msg)
        return self._output


def _segments(weights):
    """Slices in which a vector of weights rises, stays at one and falls, without its zeros."""
    used, one = np.flatnonzero(weights), np.flatnonzero(weights == 1)
    start, stop = (used[0], used[-1] + 1) if used.size else (0, 0)
    flat, fall = (one[0], one[-1] + 1) if one.size else (stop, stop)
    return [slice(a, b) for a, b in ((start, flat), (flat, fall), (fall, stop)) if a < b]


def _accumulate(target, values, along_y, along_x):
    # most pixels belong to one tile: copying them costs half of what adding does, and is exact
    if along_y[0, 0] == along_x[0] == 1:
        target[...] = values
    else:
        target += values * (along_y * along_x)


def tiled_map(evaluate, arrays, plan, *, channels, batch_size=1, progress=None):
    """
    Apply a function of image tiles to a whole image; return float32 ``[channels, scale*H, scale*W]``.

    Parameters
    ----------
    evaluate : callable
        Takes a batch ``[B, C_k, f_k*h, f_k*w]`` of each array and returns ``[B, channels, scale*h, scale*w]``.
    arrays : list of `numpy.ndarray`
        Each ``[C_k, f_k*H, f_k*W]``, on the source grid (``f_k = 1``) or on the output grid (``f_k = scale``).
    plan : `TilePlan`
        How to cut the image.
    channels : int
        Channels of the result.
    batch_size : int, optional
        Tiles evaluated at once.
    progress : callable, optional
        Called with 1 after each tile.

    Raises
    ------
    ValueError
        If an array is on neither grid, or ``evaluate`` returns another shape than it must.
    """
    factors = [_factor(array, plan) for array in arrays]
    blender = Blender(channels, plan)
    for batch in _batches(plan.tiles, _at_least(batch_size, 1, "batch_size")):
        inputs = [np.stack([cut(a, tile, f) for tile in batch]) for a, f in zip(arrays, factors, strict=True)]
        for tile, values in zip(batch, evaluate(*inputs), strict=True):
            blender.add(tile, values)
            if progress is not None:
                progress(1)
    return blender.finish()


def _factor(array, plan):
    """Pixels of an array per source pixel."""
    for factor in (1, plan.scale):
        if array.ndim == 3 and array.shape[1:] == (factor * plan.shape[0], factor * plan.shape[1]):
            return factor
    msg = f"expected an array of shape (C, H, W) with (H, W) {plan.shape} or {plan.output_shape}, got {array.shape}"
    raise ValueError(msg)


def _batches(tiles, batch_size):
    """Yield lists of at most ``batch_size`` tiles of one shape."""
    by_shape = {}
    for tile in tiles:
        by_shape.setdefault(tile.shape, []).append(tile)
    for alike in by_shape.values():
        yield from (alike[i : i + batch_size] for i in range(0, len(alike), batch_size))
