"""Stamps from frames: pairs cut from the images of two surveys, and translated images cut on the same pixels."""

from pathlib import Path

import numpy as np

from astro_galtrans._files import CheckedFile, fingerprint, whole_file
from astro_galtrans._progress import tqdm
from astro_galtrans.bandstack import find_files, open_fits
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
    """Return whether files are images of the sky, of two or three axes with world coordinates: stamps have neither."""
    paths = [source] if isinstance(source, str | Path) else source if isinstance(source, list | tuple) else []
    if not paths or Path(paths[0]).is_dir():
        return False
    first = Path(find_files(paths[0])[0])
    if first.suffix in {".npy", ""} or not first.is_file():
        return False
    headers = [hdu.header for hdu in open_fits(first) if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
    return any(header["NAXIS"] < 4 and "CTYPE1" in header for header in headers)


def from_frames(source, target, translated, output, options, making, number=None):
    """
    Return the same as `from_store`, of stamps cut out of frames: pairs into ``pairs/``, translations into ``cut/``.

    Both are kept under names made of the content of frames and catalogue, and found again by the same request only.
    ``options`` are those of `~astro_galtrans.pairs.observed.build_pairs`; None stands for its default.
    """
    progress = making["progress"]
    options = {name: value for name, value in options.items() if value is not None}
    ours, theirs = (
        open_frames(
            images, options.get(f"{side}_bands"), unit=options.get(f"{side}_unit"), progress=progress,
            zeropoint=options.get(f"{side}_zeropoint"), what=f"{side} images",
        )
        for side, images in (("source", source), ("target", target))
    )  # fmt: skip
    frames = {
        name: open_frames(item, theirs.bands, progress=progress, what=f"images of {name}")
        for name, item in translated.items()
        if not isinstance(item, Translator)
    }
    # All galaxies are of the test set, and one is enough.
    settings = {"fractions": (0.0, 0.0, 1.0), "minimum": 1} | options
    catalogue = settings.pop("catalogue", None)
    known = Path(catalogue).read_bytes() if isinstance(catalogue, str | Path) else {"catalogue": catalogue}
    folder = fingerprint(_content(ours), _content(theirs), known, settings)[:12]
    store = build_pairs(source, target, output / "pairs" / folder, catalogue, progress=progress, **settings)
    tiles = {frame.label: Tile(frame) for frame in ours.frames}
    cuts, covered = {}, np.ones(len(store), bool)
    for name, images in frames.items():
        file = output / "cut" / f"{name}-{fingerprint(folder, _content(images))[:12]}.npy"
        cuts[name] = cut_translated(store, tiles, images, file, progress=progress)
        covered &= np.isfinite(cuts[name]).all(axis=(1, 2, 3))
    rows = np.flatnonzero(covered)
    cuts = {name: as_array(images)[rows] for name, images in cuts.items()}
    found = from_store(store.subset(rows), translated | cuts, making, number)
    found[-1]["not covered by all translations"] = int((~covered).sum())
    return found


def _content(frames):
    """Return a hash of frames, not of their names: bands, zero points, places and all pixels."""
    parts = (
        fingerprint(frame.band, str(frame.zeropoint), *frame.corners, *_planes(frames.pixels(frame)))
        for frame in frames.frames
    )
    return fingerprint(*parts)


def _planes(pixels):
    return (np.asarray(plane) for plane in pixels if plane is not None)


def cut_translated(pairs, tiles, frames, file, *, progress=True):
    """
    Return translated images cut on the pixels of the target stamps of a store, mapped from an ``.npy`` file.

    The array is ``[N, C', sH, sW]`` in the flux unit of the target, NaN where there is no image; a file that is there
    is kept. ``tiles`` are the source images of the pairs, by label. Nothing is registered: a translation has the world
    coordinates of its source, and where it is off it is wrong.
    """
    if file.exists():
        return np.load(file, mmap_mode="r")
    header, name = pairs.header, file.stem.rpartition("-")[0]
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = (len(pairs), len(header.target_bands), header.target_size, header.target_size)
    covered = False
    rows = tqdm(pairs.table, desc=name, unit="stamp", disable=None if progress else True)
    with whole_file(file) as temporary, CheckedFile(temporary) as out:
        # written through Python: a memory map ends the process where the disk is full
        description = {"descr": np.lib.format.dtype_to_descr(np.dtype("<f4")), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, description)
        for row in rows:
            place = place_of(tiles[str(row["source_file"])], float(row["ra"]), float(row["dec"]), header.size)
            stamp = _stamp(frames, place, header)
            covered |= bool(np.isfinite(stamp).all())
            out.write(stamp.astype("<f4").tobytes())
        if not covered:
            msg = f"{name} covers none of the {len(pairs)} galaxies that source and target show"
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
