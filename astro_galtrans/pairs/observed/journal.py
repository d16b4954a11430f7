"""The record of what became of every object: an interrupted run continues from it, and every loss is counted."""

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

from astropy.table import Table

from astro_galtrans._files import whole_file
from astro_galtrans.pairs.store import SPLITS

__all__ = [
    "BEYOND", "DAMAGED", "EDGE", "MASKED", "NOTHING", "OFFSET", "OUTSIDE", "REASONS", "Journal", "Rejected",
    "read_summary",
]  # fmt: skip

FILE, SUMMARY = "progress.jsonl", "summary.ecsv"

EDGE, OUTSIDE, MASKED = "edge", "not in target", "masked"
NOTHING, BEYOND, OFFSET, DAMAGED = "no counterpart", "beyond search", "offset", "damaged"

#: Why an object made no pair, in the order in which it is looked at.
REASONS = {
    EDGE: "not wholly inside a source image in all bands",
    OUTSIDE: "not wholly inside a target image in all bands",
    MASKED: "too many bad pixels, or bad ones in the middle",
    NOTHING: "the target shows nothing like it within the search radius",
    BEYOND: "the best match is at the edge of the search radius",
    OFFSET: "still off after registration",
    DAMAGED: "an image of it cannot be read or cut",
}


class Rejected(Exception):  # noqa: N818 - it is a reason, not an error
    """An object makes no pair; ``reason`` is one of `REASONS`, ``detail`` what else is known."""

    def __init__(self, reason, detail=""):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Journal:
    """
    Records of finished images (tiles) in the folder of a store, each a line of ``progress.jsonl``.

    ``fresh`` begins anew: a folder without pairs may have records of a run with other settings.
    """

    def __init__(self, directory, *, fresh=False):
        self.path = Path(directory) / FILE
        self.counts, self.finished, self._waiting = Counter(), set(), []
        if fresh:
            self.path.unlink(missing_ok=True)
        elif self.path.exists():
            for line in self.path.read_text(encoding="utf8").splitlines():
                with suppress(ValueError):  # the end of an interrupted write
                    self._count(json.loads(line))

    def _count(self, record):
        self.finished.add(record["tile"])
        self.counts.update(record["counts"])

    def record(self, tile, counts, rejected, n_pairs):
        """
        Note a finished tile, which `settle` writes: the number of objects by what became of them, and those rejected.

        A rejected object is a list of right ascension and declination (deg), row of the catalogue, reason and details;
        ``n_pairs`` are the pairs of the store, unwritten ones included, when the tile was finished.
        """
        self._waiting.append((n_pairs, {"tile": tile, "counts": dict(counts), "rejected": rejected}))

    def settle(self, n_written):
        """Write the records of tiles all of whose pairs are on disk: others are made again after an interruption."""
        ready = [record for n, record in self._waiting if n <= n_written]
        self._waiting = [entry for entry in self._waiting if entry[0] > n_written]
        if ready:
            # an interrupted write may have left half a line, which the next record must not continue
            start = "" if not self.path.exists() or self.path.read_bytes()[-1:] in {b"\n", b""} else "\n"
            with self.path.open("a", encoding="utf8") as file:
                file.write(start + "".join(json.dumps(record) + "\n" for record in ready))
            for record in ready:
                self._count(record)

    def summary(self):
        """Table of what became of the objects, with how many of each."""
        rows = [("objects", self.counts["objects"], "in the source images"), ("pairs", self.counts["pairs"], "made")]
        rows += [("blank", self.counts["blank"], "of these, stamps of empty sky")]
        rows += [(part, self.counts[part], f"of these, the {part} part") for part in SPLITS]
        rows += [("between", self.counts["between"], "of these, on both sides of a border: in no part")]
        rows += [(name, self.counts[name], text) for name, text in REASONS.items()]
        rows += [("unreadable", self.counts["unreadable"], "images that were left out")]
        return Table(rows=rows, names=("what", "number", "meaning"))

    def write_summary(self):
        """Write ``summary.ecsv`` and return the table."""
        table = self.summary()
        with whole_file(self.path.with_name(SUMMARY)) as file:
            table.write(file, format="ascii.ecsv")
        return table


def read_summary(directory):
    """
    Return what became of the objects of a store made from images: columns ``what``, ``number`` and ``meaning``.

    Parameters
    ----------
    directory : path-like
        Folder of the store.

    Examples
    --------
    >>> import tempfile, warnings
    >>> from importlib.resources import files
    >>> from astro_galtrans.pairs.observed import build_pairs, read_summary
    >>> data = files("astro_galtrans") / "data"
    >>> images = [data / "sample_sdss.fits.fz"], [data / "sample_cfhtls-wide.fits.fz"]
    >>> surveys = dict(source_survey="sdss", target_survey="cfhtls-wide")
    >>> with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # five objects in one place are too few to set some apart for tests
    ...     pairs = build_pairs(*images, folder, size=32, minimum=1, progress=False, **surveys)
    ...     summary = read_summary(folder)
    >>> summary["what"][:2].tolist()
    ['objects', 'pairs']
    """
    return Table.read(Path(directory) / SUMMARY, format="ascii.ecsv")
