"""Stamps in files, of whatever kind, as lazy arrays."""

import json
from pathlib import Path

import numpy as np

from astro_galtrans.bandstack import open_fits
from astro_galtrans.geometry import fill_masked

__all__ = ["SETTINGS_FILE", "PairImages", "TranslatedStamps", "chunk_file", "open_stamps"]

SETTINGS_FILE = "translation.json"


class PairImages:
    """
    The source or target stamps of a store as a lazy array ``[N, C, H, W]``, bad pixels filled from their surroundings.

    Parameters
    ----------
    store : `~astro_galtrans.pairs.store.PairStore`
    plane : str
        ``"source"`` or ``"target"``.
    crop : int, optional
        Side of the middle part to take (source pixels); all by default.

    Raises
    ------
    ValueError
        If the part is larger than the stamps, or not in their middle to the pixel.
    """

    def __init__(self, store, plane, crop=None):
        size = store.header.size
        if crop is not None and not (0 < crop <= size and (size - crop) % 2 == 0):
            msg = f"crop must be {size} (the source stamps' pixels) or less by an even number, got {crop}"
            raise ValueError(msg)
        self._read, self._mask = getattr(store, plane), getattr(store, f"{plane}_mask")
        scale = 1 if plane == "source" else store.header.scale
        side, whole = scale * (crop or size), scale * size
        self._cut = slice((whole - side) // 2, (whole + side) // 2)
        bands = store.header.source_bands if plane == "source" else store.header.target_bands
        self.shape, self.dtype, self.ndim = (len(store), len(bands), side, side), np.dtype(np.float32), 4

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return self._stamp(rows)
        rows = np.arange(len(self))[rows]
        stamps = np.empty((len(rows), *self.shape[1:]), np.float32)
        for stamp, row in zip(stamps, rows, strict=True):
            stamp[:] = self._stamp(row)
        return stamps

    def _stamp(self, row):
        stamp, mask = self._read(row), self._mask(row)
        bad = ~np.isfinite(stamp) if mask is None else mask | ~np.isfinite(stamp)
        return (fill_masked(stamp, bad) if bad.any() else stamp)[:, self._cut, self._cut]


class TranslatedStamps:
    """
    Stamps that `translate_pairs` wrote, as a lazy array ``[N, S, C, H, W]``.

    Parameters
    ----------
    directory : path-like
        Their folder.

    Raises
    ------
    FileNotFoundError
        If it is no such folder, or not all stamps are there yet.
    """

    def __init__(self, directory):
        directory = Path(directory)
        if not (directory / SETTINGS_FILE).exists():
            msg = f"{directory} holds no translated stamps (no {SETTINGS_FILE})"
            raise FileNotFoundError(msg)
        settings = json.loads((directory / SETTINGS_FILE).read_text(encoding="utf8"))
        self.chunk, number = settings["chunk"], settings["number"]
        self._files = [chunk_file(directory, k) for k in range(-(-number // self.chunk))]
        missing = [file.name for file in self._files if not file.exists()]
        if missing:
            msg = (
                f"{directory} is not complete: {len(missing)} of {len(self._files)} files are missing; translate again"
            )
            raise FileNotFoundError(msg)
        first = np.load(self._files[0], mmap_mode="r")
        self.shape, self.dtype, self.ndim = (number, *first.shape[1:]), first.dtype, first.ndim

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return self[[rows]][0]
        rows = np.arange(len(self))[rows]
        stamps = np.empty((len(rows), *self.shape[1:]), self.dtype)
        chunk = rows // self.chunk
        for k in np.unique(chunk):
            stamps[chunk == k] = np.load(self._files[k], mmap_mode="r")[rows[chunk == k] % self.chunk]
        return stamps


def chunk_file(folder, k):
    """File of a folder of translated stamps with the k-th chunk of them."""
    return folder / f"{k:05d}.npy"


def open_stamps(path):
    """
    Open stamps that are already translated, in whatever they are kept.

    Parameters
    ----------
    path : path-like
        A ``.npy`` file or a FITS image ``[N, C, H, W]`` or ``[N, S, C, H, W]``; a folder of `translate_pairs`; or a
        folder of one FITS or ``.npy`` file per galaxy, ``[C, H, W]`` or ``[S, C, H, W]``, in the order of their names.

    Returns
    -------
    array-like

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ValueError
        If a file holds no stamps.
    """
    path = Path(path)
    if path.is_dir():
        return TranslatedStamps(path) if (path / SETTINGS_FILE).exists() else _FileStamps(path)
    if not path.exists():
        msg = f"there are no translated stamps {path}"
        raise FileNotFoundError(msg)
    return _read_array(path)


class _FileStamps:
    """One file per galaxy as a lazy array."""

    def __init__(self, folder):
        self._files = sorted(p for p in folder.iterdir() if p.suffix in {".npy", ".fits", ".fz"} and p.name[0] != ".")
        if not self._files:
            msg = f"{folder} holds no stamps (.npy or .fits)"
            raise FileNotFoundError(msg)
        first = _read_array(self._files[0])
        self.shape, self.dtype, self.ndim = (len(self._files), *first.shape), first.dtype, first.ndim + 1

    def __len__(self):
        return len(self._files)

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return _read_array(self._files[rows])
        files = [self._files[row] for row in np.arange(len(self))[rows]]
        if not files:
            return np.empty((0, *self.shape[1:]), self.dtype)
        stamps = [_read_array(file) for file in files]
        other = [file.name for file, stamp in zip(files, stamps, strict=True) if stamp.shape != self.shape[1:]]
        if other:
            msg = f"stamps of different shapes: {other[0]} is not {self.shape[1:]} as {self._files[0].name}"
            raise ValueError(msg)
        return np.array(stamps)


def _read_array(path):
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    data = next((hdu.data for hdu in open_fits(path) if hdu.is_image and hdu.header["NAXIS"] >= 3), None)
    if data is None:
        msg = f"{path} holds no image of three or more axes"
        raise ValueError(msg)
    return data.astype(np.float32, copy=False)
