"""Tiles, the source images in the reference band: which objects belong to each, and where their stamps lie."""

from dataclasses import dataclass, field

import numpy as np

from .catalogue import detect, found_objects
from .cutting import StampGrid
from .split import split_on_sky

__all__ = ["Place", "Tile", "blank_places", "objects_of", "place_of", "split_of"]

TRIES = 100  # random places tried per blank stamp wanted: enough where one place in a hundred is empty


@dataclass
class Tile:
    """A source image in the reference band."""

    frame: object  #: `~astro_galtrans.pairs.observed.frames.Frame`
    objects: object = None  #: its `~astro_galtrans.pairs.observed.catalogue.Objects`, if they are not the catalogue's
    row: dict = field(default_factory=dict)  #: further columns of its pairs
    _near: dict = field(default_factory=dict)

    def nearby(self, frames, band):
        """Frames of a band that may share sky with the tile."""
        key = id(frames), band
        if key not in self._near:
            self._near[key] = [frame for frame in frames.of_band(band) if frame.near(self.frame)]
        return self._near[key]


@dataclass
class Place:
    """An object's place in its tile, and the grid of its stamp."""

    tile: Tile
    x: float  #: pixels of the tile
    y: float
    grid: StampGrid

    @property
    def corners(self):
        """Sky positions ``ra, dec`` (deg) of the outermost pixels of the stamp."""
        n = self.grid.size - 1
        return self.tile.frame.sky(np.array([0, n, n, 0]) + self.grid.x, np.array([0, 0, n, n]) + self.grid.y)

    def frame_in(self, frames, band):
        """Frame of a band that holds the whole stamp (the one it lies farthest inside), or None."""
        corners, best, farthest = self.corners, None, 0.0
        for frame in self.tile.nearby(frames, band):
            inside = frame.edge_distance(*corners).min()
            if inside > farthest:
                best, farthest = frame, inside
        return best

    @property
    def inside(self):
        """Whether the tile holds the whole stamp."""
        (height, width), n = self.tile.frame.shape, self.grid.size
        return min(self.grid.x, self.grid.y) >= 0 and self.grid.x + n <= width and self.grid.y + n <= height

    @property
    def offset(self):
        """Position ``x, y`` of the object from the stamp's centre (pixels of the tile)."""
        middle = (self.grid.size - 1) / 2
        return self.x - self.grid.x - middle, self.y - self.grid.y - middle


def place_of(tile, ra, dec, size):
    """`Place` of the stamp of an object at ``ra, dec`` (deg): whole pixels of the tile, centred as these allow."""
    x, y = (float(c) for c in tile.frame.pixels(ra, dec))
    column, row = (int(np.rint(c - (size - 1) / 2)) for c in (x, y))
    return Place(tile, x, y, StampGrid(tile.frame.wcs, column, row, size))


def objects_of(tile, tiles, catalogue, pixels, settings):
    """
    `Objects` of a tile, and which pixels belong to anything detected (None without detection).

    Where tiles overlap, an object belongs to the one in which it lies farthest inside. Without a catalogue objects are
    detected; ``pixels()`` gives data, variance and mask of the tile's frame if they are needed.
    """
    limits = {"faint": settings.faint, "bright": settings.bright}
    objects, segments = tile.objects, None
    if objects is None and catalogue is not None:
        objects = catalogue[tile.frame.edge_distance(catalogue.ra, catalogue.dec) > 0]
        too_faint = objects.magnitude > (np.inf if settings.faint is None else settings.faint)
        too_bright = objects.magnitude < (-np.inf if settings.bright is None else settings.bright)
        objects = objects[~(too_faint | too_bright)]  # an object without a magnitude is neither, and stays
    if objects is None or settings.blank > 0:
        data, _, mask = pixels()
        found, segments = detect(tile.frame, data, mask, threshold=settings.detection, **limits)
        objects = found if objects is None else objects
    return objects[_own(tile, tiles, objects)], segments


def _own(tile, tiles, objects):
    here, own, before = tile.frame.edge_distance(objects.ra, objects.dec), np.ones(len(objects), bool), True
    for other in tiles:
        if other is tile:
            before = False
        elif len(objects) and other.frame.near(tile.frame):
            there = other.frame.edge_distance(objects.ra, objects.dec)
            own &= (here > there) | ((here == there) & (not before))  # a tie goes to the first
    return own


def blank_places(tile, segments, wanted, size, seed):
    """
    `Place` of random stamps in which nothing is detected, none overlapping another, and `Objects` at their centres.

    There may be fewer than ``wanted``. ``segments`` are the pixels ``[H, W]`` that belong to anything detected.
    """
    rng = np.random.default_rng([seed, *tile.frame.label.encode()[-32:]])
    taken, places, (height, width) = segments.copy(), [], tile.frame.shape
    for _ in range(TRIES * wanted if min(height, width) >= size else 0):
        row, column = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
        window = slice(row, row + size), slice(column, column + size)
        if not taken[window].any():
            taken[window] = True
            middle = (size - 1) / 2
            places.append(Place(tile, column + middle, row + middle, StampGrid(tile.frame.wcs, column, row, size)))
        if len(places) == wanted:
            break
    sky = tile.frame.sky([place.x for place in places], [place.y for place in places]) if places else ([], [])
    return places, found_objects(*sky)


def split_of(tile, places, settings):
    """Part of each stamp ("train", "validation", "test", or "" for none), or that which the tile's ``row`` names."""
    if "split" in tile.row or not places:
        return [tile.row.get("split")] * len(places)
    around = places[0].grid.size * np.array([[0, 1, 1, 0], [0, 0, 1, 1]]) - 0.5
    corner = np.array([(place.grid.x, place.grid.y) for place in places])
    x, y = (corner[:, [k]] + around[k] for k in range(2))
    ra, dec = tile.frame.sky(x.ravel(), y.ravel())
    return split_on_sky(ra.reshape(-1, 4), dec.reshape(-1, 4), settings.cell, settings.fractions, settings.seed)
