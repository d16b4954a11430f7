"""Stamps from frames: pairs cut from the images of two surveys, and translated images cut on the same pixels."""

import json
from pathlib import Path

import numpy as np
from astropy.io import fits
from tqdm.auto import tqdm

from astro_galtrans._files import fingerprint, whole_file
from astro_galtrans.bands import parse_bands
from astro_galtrans.pairs.observed import build_pairs
from astro_galtrans.pairs.observed.cutting import LocalMap, cut
from astro_galtrans.pairs.observed.frames import open_frames
from astro_galtrans.pairs.observed.tiles import Tile, place_of
from astro_galtrans.stamps.lazy import as_array
from astro_galtrans.translate import Translator
from astro_galtrans.units import flux_factor

from .inputs import from_store

__all__ = ["are_frames", "cut_translated", "from_frames"]


def are_frames(source):
    """
    Whether files are images of the sky: of two or three axes with world coordinates; stamps have neither.

    Parameters
    ----------
    source : object
        Path-like or list of path-like; everything else is none.
    """
    paths = [source] if isinstance(source, str | Path) else source if isinstance(source, list | tuple) else []
    if not paths or Path(paths[0]).suffix in {".npy", ""} or not Path(paths[0]).is_file():
        return False
    with fits.open(paths[0]) as hdus:
        headers = [hdu.header for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
    return any(header["NAXIS"] < 4 and "CTYPE1" in header for header in headers)


def from_frames(source, target, translated, output, options, making, number=None):
    """
    Cut stamps out of frames: pairs into ``pairs/`` of the output, translations into ``cut/``.

    Parameters
    ----------
    source, target : path-like or list of path-like
        Images with world coordinates.
    translated : dict of str to object
        Frames, or `~astro_galtrans.Translator`.
    output : `~pathlib.Path`
    options : dict
        Of `~astro_galtrans.pairs.observed.build_pairs`; those that are None are left out.
    making, number
        As for `~astro_galtrans.fidelity.files.inputs.from_store`, whose stamps, judging, by and about are returned.

    Raises
    ------
    ValueError
        If a translation lacks bands, or covers no galaxy.
    """
    progress = making["progress"]
    frames = {name: item for name, item in translated.items() if not isinstance(item, Translator)}
    frames = _opened(frames, target, options.get("target_bands"), progress)
    options = {name: value for name, value in options.items() if value is not None}
    # All galaxies are of the test set, and one is enough.
    settings = {"fractions": (0.0, 0.0, 1.0), "minimum": 1, "progress": progress} | options
    store = build_pairs(source, target, output / "pairs", settings.pop("catalogue", None), **settings)
    tiles = {frame.label: Tile(frame) for frame in open_frames(source, progress=progress, what="source images").frames}
    cuts = {name: cut_translated(store, tiles, each, output / "cut", name, progress) for name, each in frames.items()}
    covered = np.ones(len(store), bool)
    for images in cuts.values():
        covered &= np.isfinite(images).all(axis=(1, 2, 3))
    rows = np.flatnonzero(covered)
    cuts = {name: as_array(images)[rows] for name, images in cuts.items()}
    found = from_store(store.subset(rows), translated | cuts, making, number)
    found[-1]["not covered by all translations"] = int((~covered).sum())
    return found


def _opened(translated, target, bands, progress):
    """Index translated images, and make sure that they have the bands of the target."""
    if translated and bands is None:
        bands = open_frames(target, progress=progress, what="target images").bands
    found = {}
    for name, images in translated.items():
        found[name] = open_frames(images, progress=progress, what=f"images of {name}")
        missing = [band for band in parse_bands(bands) if band not in found[name].bands]
        if missing:
            have = ", ".join(found[name].bands)
            msg = f"bands missing among the images of {name}: {', '.join(missing)}; they have {have}"
            raise ValueError(msg)
    return found


def cut_translated(pairs, tiles, frames, folder, name, progress=True):
    """
    Cut translated images on the pixels of the target stamps of a store.

    Nothing is registered: a translation has the world coordinates of its source, and where it is off it is wrong.

    Parameters
    ----------
    pairs : `~astro_galtrans.pairs.store.PairStore`
    tiles : dict of str to `~astro_galtrans.pairs.observed.tiles.Tile`
        Source images that the pairs were made from, by label.
    frames : `~astro_galtrans.pairs.observed.frames.Frames`
        Translated images.
    folder : `~pathlib.Path`
        Where the stamps are kept: in a file named by the translation and the content of its frames and of the pairs,
        so that other frames under the same name are cut anew.
    name : str
        Of the translation.
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
    header, file = pairs.header, folder / f"{name}-{_content(pairs, tiles, frames)[:12]}.npy"
    if file.exists():
        return np.load(file, mmap_mode="r")
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(pairs), len(header.target_bands), header.target_size, header.target_size)
    with whole_file(file) as temporary:
        stamps = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        rows = tqdm(pairs.table, desc=name, unit="stamp", disable=None if progress else True)
        for stamp, row in zip(stamps, rows, strict=True):
            place = place_of(tiles[str(row["source_file"])], float(row["ra"]), float(row["dec"]), header.size)
            stamp[:] = _stamp(frames, place, header)
        stamps.flush()
        if not np.isfinite(stamps).all(axis=(1, 2, 3)).any():
            msg = f"{name} covers none of the {len(pairs)} galaxies that source and target show"
            raise ValueError(msg)
    return np.load(file, mmap_mode="r")


def _content(pairs, tiles, frames):
    """What tells one cut from another: places and pixels of all stamps, and place and every pixel of all frames."""
    table = pairs.table
    header = json.dumps(pairs.header.to_dict(), sort_keys=True, default=str)
    places = (np.asarray(table[name], dtype=float) for name in ("ra", "dec"))
    grids = (np.concatenate(tiles[label].frame.corners) for label in sorted(set(map(str, table["source_file"]))))
    parts = (
        fingerprint(frame.band, str(frame.zeropoint), np.concatenate(frame.corners), *_planes(frames.pixels(frame)))
        for frame in frames.frames
    )
    return fingerprint(header, *places, *grids, *parts)


def _planes(pixels):
    return (np.ascontiguousarray(plane) for plane in pixels if plane is not None)


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
