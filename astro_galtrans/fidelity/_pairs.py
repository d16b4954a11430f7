"""A quantity measured in real and translated images, and the rows that it gives in tables."""

from dataclasses import dataclass
from itertools import pairwise
from warnings import warn

import numpy as np

from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.statistics.bootstrap import bin_edges, in_bins

from .paired import paired_row, spread_row

__all__ = ["BINS", "Pair", "binned_rows", "edges_of", "statistics_rows"]

BINS = 5  #: how many where it is not said


@dataclass(frozen=True, eq=False)
class Pair:
    """
    A quantity in real and translated images, ``[N]`` each, NaN where it could not be measured.

    ``head`` holds what tells it from others: ``model``, ``band``, ``quantity``, ``pair`` and ``unit``. ``pair`` says
    how the two are compared: by their "ratio" or "difference", or "itself" where ``ours`` is a comparison already and
    ``real`` only says where it could be made.
    """

    head: dict
    real: np.ndarray
    ours: np.ndarray
    column: int  #: of the band, or of the first one of a colour

    def statistics(self, settings):
        """
        Return the columns of all statistics of all galaxies.

        Parameters
        ----------
        settings : dict
            ``n``, ``seed`` and ``level`` of the bootstrap.
        """
        if self.head["pair"] == "itself":
            return self.spread(slice(None), settings)
        return paired_row(self.real, self.ours, ratio=self.head["pair"] == "ratio", **settings)

    def spread(self, rows, settings):
        """
        Return the columns of bias and scatter of some galaxies.

        Parameters
        ----------
        rows : slice or `numpy.ndarray`
            Which.
        settings : dict
            ``n``, ``seed`` and ``level`` of the bootstrap.
        """
        real, ours, kind = self.real[rows], self.ours[rows], self.head["pair"]
        in_real = np.isfinite(real) & ((real > 0) | (kind != "ratio"))
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = ours / real if kind == "ratio" else ours if kind == "itself" else ours - real
        return spread_row(apart, in_real, np.isfinite(ours), **settings)


def edges_of(name, values, bins):
    """
    Return the edges of bins, or None, with a warning, where there are too few different values for so many.

    Parameters
    ----------
    name : str
        What is binned.
    values : `numpy.ndarray`
        ``[N]``.
    bins : int or dict
        Number of bins of equally many galaxies, or edges (or their number) by name.
    """
    wanted = bins.get(name, BINS) if isinstance(bins, dict) else bins
    if np.ndim(wanted) == 0 and len(np.unique(values[np.isfinite(values)])) <= wanted:
        warn(
            f"{name} has too few different values for {wanted} bins, and is not binned by",
            GaltransWarning,
            stacklevel=2,
        )
        return None
    return bin_edges(values, wanted)


def statistics_rows(pairs, settings, progress):
    """
    Return a row for each pair.

    Parameters
    ----------
    pairs : list of `Pair`
        What is compared.
    settings : dict
        ``n``, ``seed`` and ``level`` of the bootstrap.
    progress : bool
        Show it on a terminal.
    """
    from tqdm.auto import tqdm

    bar = tqdm(pairs, desc="bootstrap", unit="quantity", disable=None if progress else True)
    return [pair.head | pair.statistics(settings) for pair in bar]


def binned_rows(pairs, by, bins, settings):
    """
    Yield bias and scatter of each pair in bins.

    Parameters
    ----------
    pairs : list of `Pair`
        What is compared.
    by : dict of str to `numpy.ndarray`
        Name to ``[N]``, or to ``[N, C]`` for what has its own bins in each band.
    bins : int or dict
        Number of bins of equally many galaxies, or edges by name.
    settings : dict
        ``n``, ``seed`` and ``level`` of the bootstrap.
    """
    for name, given in by.items():
        columns = [given] if given.ndim == 1 else list(given.T)
        every = [edges_of(name, values, bins) for values in columns]
        for pair in pairs:
            values, edges = (part[0 if given.ndim == 1 else pair.column] for part in (columns, every))
            if edges is None:
                continue
            place = in_bins(values, edges)
            for k, (low, high) in enumerate(pairwise(edges)):
                rows = place == k
                middle = np.median(values[rows]) if rows.any() else (low + high) / 2
                where = {"by": name, "bin_low": low, "bin_high": high, "middle": middle}
                yield where | pair.head | pair.spread(rows, settings)
