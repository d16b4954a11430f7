"""
The shards of a store: written whole, and read in parts.

Datasets are contiguous, so that a few rows of a stamp are a few reads at known places of the file. Such reads take
microseconds, need no lock, and work across forks, none of which is true of HDF5's own reading.
"""

import io
import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from astro_galtrans._files import CheckedFile, whole_file
from astro_galtrans._optional import require
from astro_galtrans.exceptions import GaltransWarning

__all__ = ["BITS", "FLOATS", "Shards", "shard_path", "write_shard"]

FLOATS = "source", "target", "source_variance", "target_variance", "source_psf", "target_psf"
BITS = "source_mask", "target_mask", "signal"
OPEN_FILES = 128  # kept open at once: well below 256, the least limit of files that systems set for a process
MOST_RATIO = 100  # bytes of a table per byte of its file: HDF5 stores no bytes for values that were never written
PATTERN = "shard-*.h5"


class Place(NamedTuple):
    """Where a dataset lies in its file."""

    offset: int | None  #: bytes; None if another program wrote it in chunks
    shape: tuple[int, ...]
    dtype: str


def shard_path(directory, number):
    """Return the path of a store's shard."""
    return Path(directory) / f"shard-{number:05d}.h5"


def write_shard(path, planes, rows):
    """
    Write a shard under another name, then rename it, so that it appears whole.

    Parameters
    ----------
    path : path-like
        From `shard_path`.
    planes : dict of str to array_like
        Arrays ``[n, ...]`` by name (see `astro_galtrans.pairs.store`); masks and ``signal`` are bool, packed here.
        What is None is left out.
    rows : list of dict
        One row of the table per pair.
    """
    h5py = require("h5py", extra="train")
    content = io.BytesIO()  # HDF5 ends the process where a disk has no room for what it still holds at the end
    with h5py.File(content, "w") as file:
        for name in FLOATS + BITS:
            if planes.get(name) is not None:
                file.create_dataset(name, data=_stored(name, planes[name]))
        file.create_dataset("table", data=_structured(rows))
    with whole_file(path) as place, CheckedFile(place) as file:
        file.write(content.getbuffer())


def _stored(name, values):
    return np.packbits(np.asarray(values, bool), axis=-1) if name in BITS else np.asarray(values, "<f4")


def _structured(rows):
    """Rows as a structured array: int64, float64 or UTF-8 of fixed length; what a row lacks is NaN or empty."""
    h5py = require("h5py", extra="train")
    columns, fields = {}, []
    for name in dict.fromkeys(key for row in rows for key in row):
        column = _column([row.get(name) for row in rows])
        columns[name] = column
        fields.append((name, h5py.string_dtype("utf-8", column.itemsize) if column.dtype.kind == "S" else column.dtype))
    table = np.empty(len(rows), fields)
    for name, column in columns.items():
        table[name] = column
    return table


def _column(values):
    if any(isinstance(v, str) for v in values):
        return np.array([("" if v is None else str(v)).encode() or b"\0" for v in values])
    whole = all(isinstance(v, int | np.integer) for v in values)
    return np.array([np.nan if v is None else v for v in values], np.int64 if whole else np.float64)


class Shards:
    """
    The finished shards of a store: their ``paths``, those that are ``damaged``, and ``starts``.

    ``starts`` ``[n + 1]`` is the number of each shard's first pair, and of one beyond the last. A damaged shard is
    named in a warning and left out. Raises ValueError if a shard points to other files, or holds something else than
    the format and the header (for the shapes of the datasets, if it is given) say.
    """

    def __init__(self, directory, header=None):
        self.paths, self.damaged, self._layouts, known = [], [], [], {}
        for path in sorted(directory.glob(PATTERN)):
            try:
                layout = _layout(path, header)
            except (OSError, KeyError, RuntimeError) as err:  # h5py's ways to say that a file is not whole
                self._report(path, err)
                continue
            self.paths.append(path)
            # shards of the same length are laid out alike: a million pairs need not hold as many copies
            self._layouts.append(known.setdefault(tuple(layout.items()), layout))
        counts = [layout["source"].shape[0] for layout in self._layouts]
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._open = lru_cache(OPEN_FILES)(_Handle)  # of this object: its files are closed with it

    def _report(self, path, err):
        self.damaged.append(path)
        msg = f"{path} cannot be read and is left out; delete it and make the pairs again to have them back: {err}"
        warnings.warn(msg, GaltransWarning, stacklevel=4)

    def __getstate__(self):
        # open files do not go to another process
        return {name: value for name, value in vars(self).items() if name != "_open"}

    def __setstate__(self, state):
        vars(self).update(state)
        self._open = lru_cache(OPEN_FILES)(_Handle)

    def __len__(self):
        return int(self.starts[-1])

    def _shard(self, index):
        return int(np.searchsorted(self.starts, index, side="right")) - 1

    def read(self, name, index, window=None):
        """
        Pair ``index`` of dataset ``name``, ``[C, height, width]``, float32 or bool; None if its shard has no such
        dataset.

        ``window`` is ``(y, x, height, width)`` in pixels, by default everything. Bits at the end of rows whose length
        is no multiple of eight are False.
        """
        shard = self._shard(index)
        place = self._layouts[shard].get(name)
        if place is None:
            return None
        row, bits = index - int(self.starts[shard]), name in BITS
        _, _, height, width = place.shape
        y, x, h, w = window or (0, 0, height, 8 * width if bits else width)
        if place.offset is None:
            rows = _read_chunked(self.paths[shard], name, row, slice(y, y + h))
        else:
            rows = self._open(self.paths[shard]).rows(place, row, y, h)
        rows = np.unpackbits(rows, axis=-1).view(bool) if bits else rows
        return rows[..., x : x + w] if bits else np.ascontiguousarray(rows[..., x : x + w], np.float32)

    def table(self, only=None):
        """Columns of the tables of all shards by name, or only the one asked for."""
        h5py, parts = require("h5py", extra="train"), []
        for path in self.paths:
            with h5py.File(path, "r") as file:
                parts.append(_columns(file["table"], only))
        names = dict.fromkeys(name for part in parts for name in part.dtype.names)
        return {name: _join(name, parts) for name in names}


def _columns(dataset, only):
    if only is None:
        return dataset[()]
    there = [only] if only in dataset.dtype.names else []
    part = np.empty(len(dataset), [(name, dataset.dtype[name]) for name in there])
    for name in there:
        part[name] = dataset.fields(name)[()]
    return part


def _join(name, parts):
    """Column of many tables; where a shard lacks it, NaN or empty."""
    there = [part[name] for part in parts if name in part.dtype.names]
    text = any(column.dtype.kind in "SO" for column in there)
    columns = []
    for part in parts:
        if name not in part.dtype.names:
            columns.append(np.full(len(part), "" if text else np.nan))
        else:
            columns.append(np.char.decode(part[name].astype("S"), "utf8") if text else part[name])
    return np.concatenate(columns)


def _layout(path, header):
    """`Place` of each dataset of a shard; what is not in this file or not of the format is refused."""
    h5py = require("h5py", extra="train")
    with h5py.File(path, "r") as file:
        names = [name for name in FLOATS + BITS if name in file or name in {"source", "target"}]
        datasets = {name: _own(file, name, path) for name in names}
        table = _own(file, "table", path)
        if table.ndim != 1 or table.dtype.names is None or table.nbytes > MOST_RATIO * path.stat().st_size:
            msg = f"{path}: the table has shape {table.shape} and type {table.dtype}; expected a row per pair"
            raise ValueError(msg)
        for name, dataset in datasets.items():
            _check_kind(name, dataset, len(table), header, path)
        return {name: Place(d.id.get_offset(), d.shape, d.dtype.str) for name, d in datasets.items()}


def _own(file, name, path):
    """Dataset of a shard, whose values lie in this very file: HDF5 follows links to any file that the user can read."""
    h5py = require("h5py", extra="train")
    link = file.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        msg = f"{path}: {name} is a link ({type(link).__name__}) to somewhere else, which is not followed"
        raise ValueError(msg)
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        msg = f"{path}: {name} is no dataset with its values in this file (a group, external or virtual): refused"
        raise ValueError(msg)
    return dataset


def _check_kind(name, dataset, n_pairs, header, path):
    """Raise unless a dataset has the type and shape of the format."""
    kind, bits = ("u1" if name in BITS else "f4"), name in BITS
    wanted = None
    if header is not None:
        small = name.startswith("source")
        side, bands = (header.size, header.source_bands) if small else (header.target_size, header.target_bands)
        sides = dataset.shape[2:] if name.endswith("_psf") else (side, -(-side // 8) if bits else side)
        wanted = (n_pairs, len(bands), *sides)
    if dataset.dtype.str[1:] != kind or dataset.ndim != 4 or (wanted and dataset.shape != wanted):
        msg = f"{path}: {name} is {dataset.dtype} {dataset.shape}; this store's format says {kind} {wanted}"
        raise ValueError(msg)


def _read_chunked(path, name, row, rows):
    with require("h5py", extra="train").File(path, "r") as file:
        return file[name][row, :, rows]


class _Handle:
    """Open file that several threads may read, closed when nobody uses it any more."""

    def __init__(self, path):
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def __del__(self):
        os.close(self._fd)

    def rows(self, place, row, y, height):
        """Rows ``y`` to ``y + height`` of all bands of one pair."""
        _, n_bands, n_rows, width = place.shape
        dtype = np.dtype(place.dtype)
        out = np.empty((n_bands, height, width), dtype)
        line = width * dtype.itemsize
        for band, plane in enumerate(out):
            start = place.offset + ((row * n_bands + band) * n_rows + y) * line
            if self._read_into(plane, start) != plane.nbytes:
                msg = f"{self._path} ends before its data do; it is damaged"
                raise OSError(msg)
        return out

    def _read_into(self, plane, start):
        if hasattr(os, "preadv"):  # leaves the file's position alone, which processes may share after a fork
            return os.preadv(self._fd, [plane], start)
        with self._path.open("rb") as file:
            file.seek(start)
            return file.readinto(plane)
