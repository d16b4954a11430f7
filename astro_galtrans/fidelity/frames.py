"""Stamps from frames: pairs cut from the images of two surveys, and translated images cut on the same pixels."""

import os
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from astro_galtrans.training.pairs import build_pairs
from astro_galtrans.training.pairs.cutting import LocalMap, cut
from astro_galtrans.training.pairs.frames import open_frames
from astro_galtrans.training.pairs.tiles import Tile, place_of
from astro_galtrans.units import flux_factor

__all__ = ["cut_pairs", "cut_translated"]


def cut_pairs(source, target, directory, catalogue, **options):
    """
    Cut pairs of the galaxies of a catalogue, or of those found; see `~astro_galtrans.training.pairs.build_pairs`.

    Parameters
    ----------
    source, target : path-like or list of path-like
        Images with world coordinates.
    directory : path-like
        Folder of the store.
    catalogue : path-like, `~astropy.table.Table` or None
    **options
        For `~astro_galtrans.training.pairs.build_pairs`; those that are None are left out.

    Returns
    -------
    `~astro_galtrans.pairstore.PairStore`
    """
    options = {name: value for name, value in options.items() if value is not None}
    return build_pairs(source, target, directory, catalogue, fractions=(0.0, 0.0, 1.0), minimum=1, **options)


def cut_translated(pairs, source, translated, file, *, unit=None, zeropoint=None, progress=True):
    """
    Cut translated images on the pixels of the target stamps of a store.

    Nothing is registered: a translation has the world coordinates of its source, and where it is off it is wrong.

    Parameters
    ----------
    pairs : `~astro_galtrans.pairstore.PairStore`
        Made from ``source``.
    source : path-like or list of path-like
        Images that the pairs were made from.
    translated : path-like or list of path-like
        Translated images, with world coordinates.
    file : path-like
        ``.npy`` file to write, appearing whole; what is there is kept.
    unit, zeropoint : optional
        For images that do not say, as for `astro_galtrans.bandstack.read`.
    progress : bool, optional
        Show progress on a terminal.

    Returns
    -------
    `numpy.ndarray`
        ``[N, C', sH, sW]``, mapped from the file, in the flux unit of the target; NaN where there is no image.

    Raises
    ------
    ValueError
        If the translations lack a band of the target, or cover no pair.
    """
    file, header = Path(file), pairs.header
    if file.exists():
        return np.load(file, mmap_mode="r")
    bands, shape = header.target_bands, (header.target_size,) * 2
    frames = open_frames(translated, unit=unit, zeropoint=zeropoint, progress=progress, what="translated images")
    missing = [band for band in bands if band not in frames.bands]
    if missing:
        msg = f"{file.stem}: bands missing among the translated images: {', '.join(missing)}; they have {frames.bands}"
        raise ValueError(msg)
    tiles = {frame.label: Tile(frame) for frame in open_frames(source, progress=progress, what="source images").frames}
    temporary = file.with_name(f".{os.getpid()}-{file.name}")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        stamps = np.lib.format.open_memmap(temporary, "w+", np.float32, (len(pairs), len(bands), *shape))
        for stamp, row in zip(
            stamps, tqdm(pairs.table, desc=file.stem, disable=None if progress else True), strict=True
        ):
            place = place_of(tiles[str(row["source_file"])], float(row["ra"]), float(row["dec"]), header.size)
            stamp[:] = _stamp(frames, place, header)
        covered = np.isfinite(stamps).all(axis=(1, 2, 3))
        stamps.flush()
        if not covered.any():
            msg = f"{file.stem} covers none of the {len(pairs)} galaxies that source and target show"
            raise ValueError(msg)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return np.load(file, mmap_mode="r")


def _stamp(frames, place, header):
    """All bands of a translated stamp; NaN where no frame holds it."""
    grid = place.grid._replace(scale=header.scale)
    stamp = np.full((len(header.target_bands), *grid.shape), np.nan, np.float32)
    for plane, band in zip(stamp, header.target_bands, strict=True):
        inside = [(frame.edge_distance(*place.corners).min(), frame) for frame in place.tile.nearby(frames, band)]
        distance, frame = max(inside, key=lambda pair: pair[0], default=(0, None))
        if frame is None or distance <= 0:
            continue
        found = cut(frames.pixels(frame), LocalMap(grid, frame.wcs), grid.shape)
        plane[:] = flux_factor(frame.zeropoint, header.target.zeropoint) * found.data
    return stamp
