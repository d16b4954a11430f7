"""Images of a survey, and which of their objects go into which shard."""

import glob
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord

from astro_galtrans._files import fingerprint
from astro_galtrans.bandstack import Windows, split_extension
from astro_galtrans.batch import find_images

__all__ = ["CELL", "Field", "Part", "assigned", "find_fields", "identity", "in_shards"]

CELL = 2048  # source pixels a side that are read at once: of five bands with their noise 170 MB


class Field(NamedTuple):
    """One image of a survey: the files of its bands, and where the middle one lies."""

    name: str
    files: list
    shape: tuple
    wcs: object


class Part(NamedTuple):
    """Objects of one shard that lie in one cell of an image."""

    field: Field
    number: int  # of the field
    rows: np.ndarray  # in the catalogue
    places: np.ndarray  # [n, 2] right ascension and declination (deg)
    pixels: np.ndarray  # [n, 2] (y, x) in the image

    def of(self, objects):
        """Return the part with some of its objects."""
        return Part(self.field, self.number, self.rows[objects], self.places[objects], self.pixels[objects])


def find_fields(images, translator, reading, report):
    """Return images of a survey; those that cannot be opened are reported and left out."""
    patterns = [images] if isinstance(images, str | Path) else images
    files = []
    for item in map(str, patterns):
        pattern = glob.has_magic(item) and not Path(item).exists()
        found = sorted(glob.glob(item, recursive=True)) if pattern else [item]  # noqa: PTH207 - of any root
        if not found:
            msg = f"there is no file {item}"
            raise FileNotFoundError(msg)
        files += [str(Path(file).absolute()) if Path(file).exists() else file for file in found]
    fields = []
    for name, group in find_images(files).items():
        image = group if len(group) > 1 else group[0]
        try:
            windows = Windows(image, translator.bands_in, reading.get("bands"))
        except (OSError, ValueError) as err:
            report(f"{name}: {err}")
            continue
        fields.append(Field(name, image, windows.shape, windows.wcs))
    if not fields:
        msg = f"none of {len(files)} files can be read as an image of {', '.join(translator.bands_in)}"
        raise ValueError(msg)
    return fields


def identity(fields):
    """Return what tells these images from others: names, sizes and times of their files, wherever they lie."""
    names = chain.from_iterable(field.files if isinstance(field.files, list) else [field.files] for field in fields)
    paths = [split_extension(name)[0] for name in names]
    return fingerprint({"files": [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]})


def assigned(fields, places):
    """Return a list of `Part`, one for each cell of each image that has objects, and which objects lie on no image."""
    best, owner = np.full(places.shape[1], -1.0), np.full(places.shape[1], -1)
    pixels = np.zeros((places.shape[1], 2))
    known = np.flatnonzero(np.isfinite(places).all(axis=0))
    for number, field in enumerate(fields):
        rows = known[_near(field, places[:, known])]
        if not rows.size:
            continue
        x, y = field.wcs.world_to_pixel(SkyCoord(*places[:, rows], unit="deg"))
        found = np.stack([y, x], axis=1)
        edge = np.min([found + 0.5, np.array(field.shape) - 0.5 - found], axis=(0, 2))  # how far from the nearest
        edge[~np.isfinite(edge)] = -1
        better = edge > best[rows]
        best[rows[better]], owner[rows[better]], pixels[rows[better]] = edge[better], number, found[better]
    cells = np.maximum(pixels // CELL, 0).astype(int)
    order = np.lexsort([np.arange(len(owner)), cells[:, 1], cells[:, 0], owner])
    order = order[owner[order] >= 0]
    keys = np.column_stack([owner, cells])[order]
    starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)]) if len(order) else []
    groups = np.split(order, starts[1:]) if len(order) else []
    numbers = (int(owner[rows[0]]) for rows in groups)
    parts = [Part(fields[k], k, rows, places[:, rows].T, pixels[rows]) for k, rows in zip(numbers, groups, strict=True)]
    return parts, owner < 0


def _near(field, places):
    """Which positions are within the circle around an image: projections also put the other side of the sky on it."""
    height, width = field.shape
    x, y = (
        np.array([(width - 1) / 2, -0.5, width - 0.5, -0.5, width - 0.5]),
        np.array([(height - 1) / 2, -0.5, -0.5, height - 0.5, height - 0.5]),
    )
    outline = field.wcs.pixel_to_world(x, y).icrs
    radius = outline[0].separation(outline[1:]).max()
    return np.flatnonzero(outline[0].separation(SkyCoord(*places, unit="deg")) <= 1.01 * radius)


def in_shards(parts, size):
    """Return lists of parts with at most ``size`` objects in all; parts are divided where that is needed."""
    shards, room = [[]], size
    for part in parts:
        start = 0
        while start < len(part.rows):
            if not room:
                shards.append([])
                room = size
            taken = slice(start, start + room)
            shards[-1].append(part.of(taken))
            room -= len(shards[-1][-1].rows)
            start = taken.stop
    return shards
