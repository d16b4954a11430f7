"""Writing pairs one by one."""

from contextlib import ExitStack
from pathlib import Path

from astro_galtrans._locks import locked
from astro_galtrans._optional import require

from ._header import claim
from ._shards import FLOATS, PATTERN, Shards, shard_path, write_shard

__all__ = ["PairWriter"]

PLANES = (*FLOATS[2:], "source_mask", "target_mask", "signal")


class PairWriter:
    """
    A store opened for writing: pairs are added one by one and appear in the folder as whole shards.

    An interrupted run loses the pairs since its last shard, and none before; open the folder again and go on with the
    pairs that are not in `indices`.

    Parameters
    ----------
    directory : path-like
        Folder of the store, created if missing; shards are added to one that exists.
    header : `PairHeader`
    shard : int, optional
        Pairs in a shard.

    Attributes
    ----------
    indices : set of int
        Column ``index`` of the pairs in finished shards.

    Raises
    ------
    ImportError
        If the package h5py is not installed.
    ValueError
        If the folder holds pairs of other surveys or settings, or of another version of the format.
    OSError
        If another process writes to the folder; the message names it.
    """

    def __init__(self, directory, header, shard=64):
        require("h5py", extra="train")  # before anything is written, so that nothing is left behind without it
        self.directory, self.header, self.shard = Path(directory), header, shard
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = ExitStack()
        self._lock.enter_context(locked(self.directory))
        try:
            claim(self.directory, header)
            done = Shards(self.directory, header)
        except BaseException:
            self._release()
            raise
        self.indices = set(map(int, done.table().get("index", ())))
        self._count = len(done)
        numbers = [int(path.stem.partition("-")[2]) for path in self.directory.glob(PATTERN)]
        self._next = max(numbers, default=-1) + 1  # damaged shards keep their numbers: nothing is overwritten
        self._pairs = []

    def __len__(self):
        return self._count + len(self._pairs)

    @property
    def written(self):
        """Number of pairs in finished shards."""
        return self._count

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:  # after an error, the pairs since the last shard are made again by who goes on
            self.close()
        self._release()

    def _release(self):
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def add(self, source, target, row, **planes):
        """
        Add one pair.

        Parameters
        ----------
        source, target : array_like
            Images ``[C, size, size]`` and ``[C', scale*size, scale*size]`` in the flux units of their surveys.
        row : dict
            Row of the table: numbers and strings. ``index`` says which pair it is.
        **planes
            ``signal``, ``source_mask``, ``target_mask`` (bool), ``source_variance``, ``target_variance``,
            ``source_psf``, ``target_psf``; all pairs of a shard have the same ones.

        Raises
        ------
        ValueError
            If a shape is not that of the header, or a plane is not known or missing.
        """
        if self._lock is None:
            msg = f"the writer of {self.directory} was closed; open another"
            raise ValueError(msg)
        pair = {"source": source, "target": target} | {k: v for k, v in planes.items() if v is not None}
        self._check(pair)
        self._pairs.append((pair, row))
        if len(self._pairs) == self.shard:
            self.flush()

    def _check(self, pair):
        strange = set(pair) - {"source", "target", *PLANES}
        if strange:
            msg = f"{', '.join(sorted(strange))} is no plane of a pair; known are {', '.join(PLANES)}"
            raise ValueError(msg)
        h = self.header
        for name, image in pair.items():
            small = name.startswith("source")
            side, bands = (h.size, h.source_bands) if small else (h.target_size, h.target_bands)
            expected, shape = (len(bands), side, side), tuple(image.shape)
            if shape != expected and not (name.endswith("_psf") and shape[:1] == expected[:1] and len(shape) == 3):
                msg = f"the {name} of a pair has the shape {shape}; the header says {expected}"
                raise ValueError(msg)
        shapes = {name: tuple(image.shape) for name, image in pair.items()}
        before = {name: tuple(image.shape) for name, image in self._pairs[0][0].items()} if self._pairs else shapes
        if shapes != before:
            msg = f"planes of a pair are {shapes}, and the pair before had {before}; a shard has the same ones for all"
            raise ValueError(msg)

    def flush(self):
        """Write the pairs since the last shard as a shard, even if they are few."""
        if not self._pairs:
            return
        pairs, rows = zip(*self._pairs, strict=True)
        planes = {name: [pair[name] for pair in pairs] for name in pairs[0]}
        write_shard(shard_path(self.directory, self._next), planes, list(rows))
        self.indices |= {int(row["index"]) for row in rows if "index" in row}
        self._count, self._next, self._pairs = self._count + len(rows), self._next + 1, []

    def close(self):
        """Write the pairs that are left, and let others write to the folder."""
        self.flush()
        self._release()
