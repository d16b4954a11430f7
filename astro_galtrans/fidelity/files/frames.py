"""Stamps from frames: pairs cut from the images of two surveys, and translated images cut on the same pixels."""

from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from astro_galtrans._files import whole_file
from astro_galtrans.bands import parse_bands
from astro_galtrans.pairs.observed import build_pairs
from astro_galtrans.pairs.observed.cutting import LocalMap, cut
from astro_galtrans.pairs.observed.frames import open_frames
from astro_galtrans.pairs.observed.tiles import Tile, place_of
from astro_galtrans.units import flux_factor

__all__ = ["cut_pairs", "cut_translated", "open_translated"]


def cut_pairs(source, target, directory, catalogue, **options):
    """
    Cut pairs of the galaxies of a catalogue, or of those found; see `~astro_galtrans.pairs.observed.build_pairs`.

    Parameters
    ----------
    source, target : path-like or list of path-like
        Images with world coordinates.
    directory : path-like
        Folder of the store.
    catalogue : path-like, `~astropy.table.Table` or None
    **options
        For `~astro_galtrans.pairs.observed.build_pairs`; those that are None are left out.

    Returns
    -------
    `~astro_galtrans.pairs.store.PairStore`
    """
    options = {name: value for name, value in options.items() if value is not None}
    return build_pairs(source, target, directory, catalogue, fractions=(0.0, 0.0, 1.0), minimum=1, **options)


def open_translated(translated, target, target_bands=None, *, progress=True):
    """
    Index translated images, and make sure that they have the bands of the target.

    Parameters
    ----------
    translated : dict of str to path-like or list of path-like
        Translated images by name, with world coordinates.
    target : path-like or list of path-like
        Images of the target survey.
    target_bands : str or sequence of str, optional
        Bands to compare; all of the target by default.
    progress : bool, optional
        Show progress on a terminal.

    Returns
    -------
    dict of str to `~astro_galtrans.pairs.observed.frames.Frames`

    Raises
    ------
    ValueError
        If a translation lacks bands.
    """
    wanted = (
        open_frames(target, progress=progress, what="target images").bands if target_bands is None else target_bands
    )
    found = {}
    for name, images in translated.items():
        found[name] = open_frames(images, progress=progress, what=f"images of {name}")
        missing = [band for band in parse_bands(wanted) if band not in found[name].bands]
        if missing:
            have = ", ".join(found[name].bands)
            msg = f"bands missing among the images of {name}: {', '.join(missing)}; they have {have}"
            raise ValueError(msg)
    return found


def cut_translated(pairs, source, frames, file, *, progress=True):
    """
    Cut translated images on the pixels of the target stamps of a store.

    Nothing is registered: a translation has the world coordinates of its source, and where it is off it is wrong.

    Parameters
    ----------
    pairs : `~astro_galtrans.pairs.store.PairStore`
        Made from ``source``.
    source : path-like or list of path-like
        Images that the pairs were made from.
    frames : `~astro_galtrans.pairs.observed.frames.Frames`
        Translated images.
    file : path-like
        ``.npy`` file to write, appearing whole; what is there is kept.
    progress : bool, optional
        Show progress on a terminal.

    Returns
    -------
    `numpy.ndarray`
        ``[N, C', sH, sW]``, mapped from the file, in the flux unit of the target; NaN where there is no image.

    Raises
    ------
    ValueError
        If the translations cover no pair.
    """
    file, header = Path(file), pairs.header
    if file.exists():
        return np.load(file, mmap_mode="r")
    tiles = {frame.label: Tile(frame) for frame in open_frames(source, progress=progress, what="source images").frames}
    shape = (len(header.target_bands),) + 2 * (header.target_size,)
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as temporary:
        stamps = np.lib.format.open_memmap(temporary, "w+", np.float32, (len(pairs), *shape))
        rows = tqdm(pairs.table, desc=file.stem, unit="stamp", disable=None if progress else True)
        for stamp, row in zip(stamps, rows, strict=True):
            place = place_of(tiles[str(row["source_file"])], float(row["ra"]), float(row["dec"]), header.size)
            stamp[:] = _stamp(frames, place, header)
        stamps.flush()
        if not np.isfinite(stamps).all(axis=(1, 2, 3)).any():
            msg = f"{file.stem} covers none of the {len(pairs)} galaxies that source and target show"
            raise ValueError(msg)
    return np.load(file, mmap_mode="r")


def _stamp(frames, place, header):
    """All bands of a translated stamp; NaN where no frame holds it."""
    grid = place.grid._replace(scale=header.scale)
    stamp = np.full((len(header.target_bands), *grid.shape), np.nan, np.float32)
    for plane, band in zip(stamp, header.target_bands, strict=True):
        frame = place.frame_in(frames, band)
        if frame is None:
            continue
        found = cut(frames.pixels(frame), LocalMap(grid, frame.wcs), grid.shape)
        plane[:] = flux_factor(frame.zeropoint, header.target.zeropoint) * found.data
    return stamp
