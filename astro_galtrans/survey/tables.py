"""Tables of all shards of a survey, read one quantity at a time, so that memory does not grow with their columns."""

from copy import copy

import numpy as np
from astropy.table import QTable

from astro_galtrans._files import whole_file
from astro_galtrans._optional import require

__all__ = ["ShardTables", "table_path", "write_table"]

LABELS = "row", "band", "ra", "dec", "model", "survey_flags", "flag", "flag_sersic"  # columns that are no quantities


def table_path(output, name, number):
    """Return the path of the table of a shard, such as ``photometry-000000.parquet``."""
    return output / f"{name}-{number:06d}.parquet"


def write_table(table, place):
    """Write a table as Parquet or ECSV, by the ending of its name; it appears when it is whole."""
    with whole_file(place) as file:
        table.write(file, format="parquet" if place.suffix == ".parquet" else "ascii.ecsv")


class ShardTables:
    """
    Tables of one kind of all shards.

    Parameters
    ----------
    output : `~pathlib.Path`
        Their folder.
    name : str
        What their names begin with.
    number : int
        Number of shards.
    bands : sequence of str
        Those whose rows are read.
    most : int, optional
        Galaxies that are read at most; of more, so many are taken at random.
    seed : int, optional
        Of that choice.
    """

    def __init__(self, output, name, number, bands, most=None, seed=0):
        parquet = require("pyarrow.parquet", "scale")
        self._read, self._seed = parquet.read_table, seed
        self._paths = [table_path(output, name, k) for k in range(number)]
        self.bands = list(bands)
        lengths = [parquet.read_metadata(path).num_rows for path in self._paths]
        first = QTable.read(self._paths[int(np.argmax(np.array(lengths) > 0))], format="parquet")
        #: Columns with a number for each galaxy and band, and their units.
        self.quantities = {
            name: str(getattr(column, "unit", None) or "") for name, column in first.columns.items()
            if name not in LABELS and column.ndim == 1 and column.dtype.kind in "fiu"
        }  # fmt: skip
        rows = len(first) / max(1, len(np.unique(first["row"])))  # of a galaxy: its bands and models
        self.galaxies = int(sum(lengths) / max(rows, 1))  #: in all shards
        self.columns = first.colnames
        self._share = 1.0 if most is None else min(1.0, most / max(self.galaxies, 1))

    def of_bands(self, bands):
        """Return the same tables, of which rows of other bands are read."""
        other = copy(self)
        other.bands = list(bands)
        return other

    def parts(self, names, model=None, *, every=False):
        """
        Yield columns of each shard by name, ``[n, C, ...]``, of one model.

        They are of the galaxies that are chosen, or of every galaxy.
        """
        where = [("band", "in", self.bands)] + ([] if model is None else [("model", "=", model)])
        for k, path in enumerate(self._paths):
            table = self._read(path, columns=list(dict.fromkeys(names)), filters=where)
            found = {name: _array(table[name], len(self.bands)) for name in table.column_names}
            if self._share < 1 and not every:
                number = len(next(iter(found.values())))
                chosen = np.random.default_rng([self._seed, k]).random(number) < self._share
                found = {name: values[chosen] for name, values in found.items()}
            yield found

    def values(self, names, model=None, of=None):
        """
        Return columns of all galaxies that are chosen, float ``[N, C]`` each.

        ``of`` makes them from the columns of a shard that `parts` yields; by default they are those columns.
        """
        parts = [of(part) if of else [part[name] for name in names] for part in self.parts(names, model)]
        return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def _array(column, bands):
    """A column of Arrow, of numbers or of lists of one length, as an array ``[n, C]`` or ``[n, C, K]``."""
    values = column.combine_chunks()
    if hasattr(column.type, "list_size"):
        return values.flatten().to_numpy().reshape(-1, bands, column.type.list_size)
    return values.to_numpy(zero_copy_only=False).reshape(-1, bands)
