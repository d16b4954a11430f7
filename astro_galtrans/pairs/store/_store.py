"""A store opened for reading."""

import json
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from astro_galtrans._files import fingerprint

from ._header import SPLITS, read_header
from ._shards import Shards

__all__ = ["Crop", "PairStore"]

LOOKED_AT = 32  # pairs, spread over a set, whose pixels tell whether it holds images
HUGE = 1e20  # no flux in any unit: what is larger marks pixels without data
ARCSEC = "x", "y", "dx", "dy", "half_light_radius"  # columns of the table in arcsec


class Crop(NamedTuple):
    """The same part of the sky cut from both images of a pair."""

    source: np.ndarray  #: float32 ``[C, size, size]``
    target: np.ndarray  #: float32 ``[C', scale * size, scale * size]``
    source_mask: np.ndarray | None  #: bool, True where bad; None if the pairs have no masks
    target_mask: np.ndarray | None


class PairStore:
    """
    A set of pairs opened for reading; images stay on disk until asked for.

    It may be read from several threads and processes, forked or spawned.

    Parameters
    ----------
    directory : path-like
        Folder of the store.

    Raises
    ------
    FileNotFoundError
        If the folder is not a set of pairs, or holds no finished shard.
    ValueError
        If it was written by another version of the format, points to other files, or holds something else than the
        format says.

    Examples
    --------
    >>> import tempfile
    >>> from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
    >>> from astro_galtrans.pairs.store import PairStore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = simulate_pairs(folder, 64, PairSettings(kind="star", size=16), workers=1, progress=False)
    ...     pairs = PairStore(folder)
    ...     print(pairs.source(0).shape, pairs.target(0).shape, float(pairs.table["z"][0]))
    (5, 16, 16) (5, 32, 32) 0.0
    """

    def __init__(self, directory):
        self.directory = Path(directory)
        self.header = read_header(self.directory)
        self._shards = Shards(self.directory, self.header)
        self._chosen = None  # numbers of the pairs in this subset
        self._whole = self
        if not self._shards.paths:
            msg = f"{self.directory} holds no finished shard of pairs; the command that began it goes on with it"
            raise FileNotFoundError(msg)

    def __len__(self):
        return len(self._shards) if self._chosen is None else len(self._chosen)

    def __repr__(self):
        h = self.header
        what = f"{h.source.name} {''.join(h.source_bands)} -> {h.target.name} {''.join(h.target_bands)}"
        return f"<PairStore {self.directory}: {len(self)} pairs {what}, scale {h.scale}, {h.size} pixels>"

    @property
    def damaged(self):
        """Paths of shards that could not be read and were left out."""
        return list(self._shards.damaged)

    @cached_property
    def table(self):
        """What is known of every pair, a `~astropy.table.Table` in the order of the pairs."""
        from astropy.table import Table

        if self._chosen is not None:
            return self._whole.table[self._chosen]
        table = Table(self._shards.table())
        for name in table.colnames:
            if name in ARCSEC or name.startswith(("fwhm_", "target_fwhm_")):
                table[name].unit = "arcsec"
            elif name in {"ra", "dec"}:
                table[name].unit = "deg"
        return table

    @cached_property
    def fingerprint(self):
        """SHA-256 of what is known of the pairs (surveys, settings, every row of the table): others have another."""
        table = self._shards.table()
        rows = slice(None) if self._chosen is None else self._chosen
        columns = (part for name in sorted(table) for part in (name, str(table[name][rows].tolist())))
        header = self.header.to_dict()
        header.pop("version")
        return fingerprint(json.dumps(header, sort_keys=True), *columns)

    def column(self, name):
        """One column of the table as an array, without reading the others; or None if there is no such column."""
        values = self._shards.table(only=name).get(name)
        return values if values is None or self._chosen is None else values[self._chosen]

    def _number(self, index):
        """Number in the whole store of a pair of this subset."""
        n = len(self)
        if not -n <= index < n:
            msg = f"pair {index} of a set of {n}"
            raise IndexError(msg)
        index = int(index) % n
        return index if self._chosen is None else int(self._chosen[index])

    def _read(self, name, index):
        return self._shards.read(name, self._number(index))

    def _bits(self, name, index):
        bits = self._read(name, index)
        return None if bits is None else bits[..., : bits.shape[-2]]

    def source(self, index):
        """Source image of a pair, float32 ``[C, size, size]``, in the source's flux unit per pixel."""
        return self._read("source", index)

    def target(self, index):
        """Target image of a pair, float32 ``[C', scale*size, scale*size]``, in the target's flux unit per pixel."""
        return self._read("target", index)

    def source_variance(self, index):
        """Variance of the source image, or None."""
        return self._read("source_variance", index)

    def target_variance(self, index):
        """Variance of the target image, or None."""
        return self._read("target_variance", index)

    def source_mask(self, index):
        """Which pixels of the source image are bad, bool, or None."""
        return self._bits("source_mask", index)

    def target_mask(self, index):
        """Which pixels of the target image are bad, bool, or None."""
        return self._bits("target_mask", index)

    def signal(self, index):
        """
        Return which target pixels hold signal, bool ``[C', scale*size, scale*size]``.

        These are pixels whose noise-free flux (simulated pairs) or smoothed flux (real ones) exceeds three sigma of the
        sky.
        """
        return self._bits("signal", index)

    def psf(self, index):
        """PSFs of a pair: source ``[C, k, k]`` and target ``[C', k', k']``, each on its own pixels; or None."""
        psfs = self._read("source_psf", index), self._read("target_psf", index)
        return None if any(psf is None for psf in psfs) else psfs

    def crop(self, index, y, x, size):
        """
        Return the `Crop` of part of a pair, without reading the rest.

        Parameters
        ----------
        index : int
            Which pair.
        y, x : int
            Lower left corner (source pixels).
        size : int
            Side (source pixels).

        Raises
        ------
        IndexError
            If the part is not inside the stamp.
        """
        if min(y, x) < 0 or max(y, x) + size > self.header.size:
            msg = f"a part of {size} pixels at ({y}, {x}) is not inside stamps of {self.header.size}"
            raise IndexError(msg)
        number, scale, window = self._number(index), self.header.scale, np.array([y, x, size, size])
        small, large = (tuple(map(int, factor * window)) for factor in (1, scale))
        read = self._shards.read
        return Crop(
            read("source", number, small),
            read("target", number, large),
            read("source_mask", number, small),
            read("target_mask", number, large),
        )

    def subset(self, indices):
        """
        Return a `PairStore` limited to some pairs, without reading them.

        Parameters
        ----------
        indices : array_like
            Numbers of pairs of this set, in the order wanted, or one bool per pair.
        """
        indices = np.asarray(indices)
        indices = np.flatnonzero(indices) if indices.dtype == bool else indices.astype(np.int64)
        if len(indices) and not (-len(self) <= indices.min() and indices.max() < len(self)):
            msg = f"pairs {indices.min()} to {indices.max()} of a set of {len(self)}"
            raise IndexError(msg)
        chosen = indices if self._chosen is None else self._chosen[indices]
        part = object.__new__(PairStore)  # not PairStore(directory), which would look at all shards again
        part.directory, part.header, part._shards = self.directory, self.header, self._shards
        part._chosen, part._whole = chosen % len(self._shards), self._whole
        return part

    def split(self, name):
        """
        Return a `PairStore` limited to the training, validation or test part.

        Parameters
        ----------
        name : str
            "train", "validation" or "test".

        Raises
        ------
        ValueError
            If there is no such part, or the set was not split.
        """
        parts = self.column("split")
        if name not in SPLITS or parts is None:
            why = "this set is not split" if name in SPLITS else f"parts are {', '.join(SPLITS)}"
            msg = f"no part {name!r} of {self.directory}: {why}"
            raise ValueError(msg)
        return self.subset(parts == name)

    def check_images(self):
        """
        Look at some pairs, spread over the set, before the long work that their images are for.

        Raises
        ------
        ValueError
            If a band of either side has no finite pixel, one value everywhere, or values that no flux has.
        """
        rows = np.unique(np.linspace(0, len(self) - 1, LOOKED_AT).astype(int)) if len(self) else ()
        for side, bands in (("source", self.header.source_bands), ("target", self.header.target_bands)):
            planes = np.array([getattr(self, side)(row) for row in rows])
            for k, band in enumerate(bands if len(planes) else ()):
                values = planes[:, k][np.isfinite(planes[:, k])]
                if not values.size:
                    wrong = "no pixel is finite"
                elif values.min() == values.max():
                    wrong = f"all pixels are {values[0]:.4g}"
                elif np.abs(values).max() >= HUGE:
                    wrong = f"pixels reach {np.abs(values).max():.1g}, which is no flux: mask what has no data"
                else:
                    continue
                msg = f"there are no images in {self.directory}: in {len(rows)} pairs, {side} band {band}, {wrong}"
                raise ValueError(msg)

    def images(self, plane="source"):
        """
        Return all images of one kind as a `dask.array.Array` ``[N, C, H, W]``, which is read when it is sliced.

        Parameters
        ----------
        plane : str, optional
            "source" or "target".

        Raises
        ------
        ValueError
            If ``plane`` is neither.
        """
        if plane not in {"source", "target"}:
            msg = f"images are 'source' or 'target', got {plane!r}"
            raise ValueError(msg)
        from astro_galtrans.stamps.lazy import rows_of

        header = self.header
        survey, side = (header.source, header.size) if plane == "source" else (header.target, header.target_size)
        return rows_of(getattr(self, plane), len(self), (len(survey.bands), side, side))
