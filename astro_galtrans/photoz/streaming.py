r"""
Metrics of more galaxies than fit in memory, from histograms of fine cells.

Each score of each galaxy goes to a histogram of fixed size, which keeps the number of galaxies in a cell and the sum of
their scores. Two accumulators are merged by adding them, so batches may be spread over processes. What comes out:

- ``bias_mean``, ``crps``, ``cde_loss``, ``information``, ``zero_density``, ``outlier_005``, ``outlier_015``: exact;
- ``bias_median``, and quantiles of dz in general: to the width of a cell, 4e-4 max(abs(dz), 0.001); so ``sigma_mad`` to
  1.4826 times two cells, and ``sigma_iqr`` likewise; ``outlier_rail`` to the galaxies in the cells of its cut;
- ``pit_ks``: to the width of a cell, 6e-5, and narrower near 0 and 1. The squared distances ``pit_cvm`` and ``pit_ad``
  use the mean of each cell; their error is below 0.1 % (tested), plus 3e-10 N and 4e-9 N for N galaxies.

Intervals need no weights per galaxy. The number of times that a bootstrap draws the galaxies of a cell is multinomial
whatever happens inside the cell, so resampling the cells gives the same intervals as resampling galaxies, to the
accuracy above. (The Poisson bootstrap, one Poisson weight per galaxy and resample, is the usual way in streams. Its
weights in a cell add up to one Poisson number: the same shortcut, for a total that varies.) The cost is that of the
occupied cells, some 10 ms per resample, once at the end.
"""

from functools import partial

import numpy as np

from astro_galtrans._columns import because, plain, redshifts, same_length, sort_out
from astro_galtrans.statistics import weighted as counted
from astro_galtrans.statistics.bootstrap import bin_edges, in_bins

from . import scores
from .tables import PIT_METRICS, POINT_METRICS, pit_statistics, point_statistics, stack_bins, summarise, to_table

__all__ = ["Accumulator", "BinnedAccumulator", "Cells"]


class Cells:
    """
    A histogram that also keeps the sum of the values in each cell.

    Parameters
    ----------
    edges : `numpy.ndarray`
        ``[M + 1]``, strictly increasing. Values beyond go to the first or last cell; their sum is kept all the same.
    """

    def __init__(self, edges):
        self.edges = edges
        self.counts = np.zeros(len(edges) - 1, dtype=np.int64)
        self.sums = np.zeros(len(edges) - 1)

    def add(self, values):
        """
        Take in values.

        Parameters
        ----------
        values : `numpy.ndarray`
            ``[n]``; -inf is allowed, NaN is not.
        """
        cells = len(self.counts)
        index = np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, cells - 1)
        self.counts += np.bincount(index, minlength=cells)
        self.sums += np.bincount(index, weights=values, minlength=cells)

    def merge(self, other):
        """
        Take in all values of another histogram with the same edges.

        Parameters
        ----------
        other : Cells
            The other one.
        """
        self.counts += other.counts
        self.sums += other.sums

    def occupied(self):
        """
        Return the means of the occupied cells, in order, and their counts.

        Returns
        -------
        values, counts : `numpy.ndarray`
            ``[m]``.
        """
        filled = np.flatnonzero(self.counts)
        values = self.sums[filled] / self.counts[filled]
        # the mean of equal values may round to beyond the edge: a galaxy must stay on its side of an outlier's cut
        lowest, highest = self.edges[filled], np.nextafter(self.edges[filled + 1], -np.inf)
        lowest[filled == 0] = -np.inf
        highest[filled == len(self.counts) - 1] = np.inf
        return np.clip(values, lowest, highest), self.counts[filled]


class Accumulator:
    """
    Metrics of points and PDFs, batch by batch, in fixed memory.

    Parameters
    ----------
    prior : GridPDF, optional
        Redshift distribution that the estimator was trained on (one row), for the information.
    floor : float, optional
        Weight of the prior mixed into each PDF for the information.
    convention : str, optional
        ``"exact"`` or ``"qp"``: see `~astro_galtrans.photoz.scores`.
    z_range : tuple of float, optional
        Redshifts that the estimator can give, where points come without PDFs; with PDFs it is their grid.
    """

    def __init__(self, *, prior=None, floor=0.0, convention="exact", z_range=None):
        self.prior, self.floor, self.convention, self.z_range = prior, floor, convention, z_range
        self.counts = {}
        self.cells = {"dz": Cells(_residual_edges()), "pit": Cells(_pit_edges())}
        self.cells |= {name: Cells(_signed_log(1e6, 4096)) for name in ("crps", "cde_loss", "zero_density")}
        if prior is not None:
            self.cells["information"] = Cells(_signed_log(1e6, 4096))

    def add(self, pdfs, z_spec, *, z_phot=None):
        """
        Take in a batch of galaxies.

        Parameters
        ----------
        pdfs : GridPDF or None
            Their PDFs, or `None` if there are point estimates only.
        z_spec : array-like
            Spectroscopic redshifts; missing, negative ones and those outside the grid are excluded and counted.
        z_phot : array-like, optional
            Point estimates; the medians of the PDFs if not given.

        Raises
        ------
        ValueError
            If there are neither PDFs nor points, lengths differ, or settings are out of range.
        """
        if pdfs is None and z_phot is None:
            msg = "a batch needs PDFs or point estimates (z_phot)"
            raise ValueError(msg)
        same_length(pdfs=pdfs, z_spec=z_spec, z_phot=z_phot)
        z_spec, z_range = redshifts(z_spec), self.z_range if pdfs is None else (pdfs.z[0], pdfs.z[-1])
        z_phot = pdfs.median() if z_phot is None else redshifts(z_phot)
        usable, counts = sort_out(z_spec, z_phot, z_range)
        measured = {"dz": scores.scaled_residual(z_phot[usable], z_spec[usable])}
        if pdfs is not None:
            within, _ = sort_out(z_spec, None, z_range)
            each = pdfs if within.all() else pdfs[within]
            measured |= scores.every_score(each, z_spec[within], self.prior, self.floor, self.convention)
        if "information" in measured:
            nats = measured["information"]
            counts["prior_zero"] = int(np.isnan(nats).sum())
            measured["information"] = nats[~np.isnan(nats)]
        self._count(counts)
        for name, values in measured.items():
            self.cells[name].add(values)

    def merge(self, other):
        """
        Take in all galaxies of another accumulator, and return this one.

        Parameters
        ----------
        other : Accumulator
            One with the same settings.

        Raises
        ------
        ValueError
            If prior, floor or convention differ.
        """
        if not self._alike(other):
            msg = "accumulators to merge must have the same prior, floor and convention"
            raise ValueError(msg)
        self._count(other.counts)
        for name, cells in self.cells.items():
            cells.merge(other.cells[name])
        return self

    def table(self, *, resamples=1000, seed=0, level=0.68, strict=True):
        """
        Return the metrics of all galaxies so far.

        Parameters
        ----------
        resamples, seed, level : int, int, float, optional
            Of the bootstrap; 0 resamples for no intervals.
        strict : bool, optional
            Is it an error if fewer than two galaxies were measured, or are the metrics NaN?

        Returns
        -------
        `~astropy.table.QTable`
            Rows of `~astro_galtrans.photoz.metrics.point_metrics` and, if PDFs were added, of
            `~astro_galtrans.photoz.metrics.pdf_metrics`.

        Raises
        ------
        ValueError
            If fewer than two galaxies were measured, and strict.
        """
        settings, metrics = dict(resamples=resamples, seed=seed, level=level), {}
        where = because(self.counts) if strict else None
        for names, score, statistic in self._groups():
            values, counts = self.cells[score].occupied()
            # partial and not a closure: the loop moves on
            metrics |= summarise(names, partial(statistic, values), counts, where=where, **settings)
        counts = {"galaxies": 0} | self.counts
        return to_table(metrics, counts, settings | dict(convention=self.convention, floor=self.floor))

    def pit_histogram(self, bins=20):
        """
        Return how many PIT values fall in bins of equal width.

        Parameters
        ----------
        bins : int, optional
            Number of bins.

        Returns
        -------
        `numpy.ndarray`
            ``[bins]``, int; right to the galaxies in the cells of the edges, exact if bins is a power of two.
        """
        values, counts = self.cells["pit"].occupied()
        index = np.minimum((values * bins).astype(int), bins - 1)
        return np.bincount(index, weights=counts, minlength=bins).astype(int)

    def _groups(self):
        """Metrics, the histogram they are of, and the function that gives them; those of PDFs if there were any."""
        yield POINT_METRICS, "dz", point_statistics
        if self.cells["pit"].counts.any():
            yield PIT_METRICS, "pit", pit_statistics
            yield from (((name,), name, _mean) for name in self.cells if name not in {"dz", "pit"})

    def _count(self, counts):
        for reason, number in counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + number

    def _alike(self, other):
        if (self.floor, self.convention, self.prior is None) != (other.floor, other.convention, other.prior is None):
            return False
        if self.prior is None or self.prior is other.prior:
            return True
        same_grid = np.array_equal(self.prior.z, other.prior.z)
        return same_grid and np.array_equal(self.prior.density, other.prior.density)


class BinnedAccumulator:
    """
    An `Accumulator` per bin of any quantity, such as magnitude, redshift or signal-to-noise.

    Parameters
    ----------
    edges : array-like or `~astropy.units.Quantity`
        ``[M + 1]``: edges of the bins. A bin holds its lower edge; the last one its upper edge too.
    name : str, optional
        The quantity's name in the table.
    **settings
        Those of `Accumulator`.

    Raises
    ------
    ValueError
        If edges do not increase.
    """

    def __init__(self, edges, *, name="bin", **settings):
        self.unit, self.name, self.outside = getattr(edges, "unit", None), name, 0
        self.edges = bin_edges([], np.asarray(edges))
        self.bins = [Accumulator(**settings) for _ in self.edges[1:]]

    def add(self, pdfs, z_spec, by, *, z_phot=None):
        """
        Take in a batch of galaxies.

        Parameters
        ----------
        pdfs, z_spec, z_phot
            As for `Accumulator.add`.
        by : array-like or `~astropy.units.Quantity`
            The quantity that is binned; galaxies outside all bins are counted.

        Raises
        ------
        ValueError
            If lengths differ.
        """
        same_length(pdfs=pdfs, z_spec=z_spec, by=by, z_phot=z_phot)
        index = in_bins(plain(by, self.unit), self.edges)
        z_spec, z_phot = redshifts(z_spec), None if z_phot is None else redshifts(z_phot)
        self.outside += int((index < 0).sum())
        for i in np.unique(index[index >= 0]):
            rows = index == i
            each, points = (None if column is None else column[rows] for column in (pdfs, z_phot))
            self.bins[i].add(each, z_spec[rows], z_phot=points)

    def merge(self, other):
        """
        Take in all galaxies of another one, and return this one.

        Parameters
        ----------
        other : BinnedAccumulator
            One with the same bins and settings.

        Raises
        ------
        ValueError
            If they differ.
        """
        if self.unit != other.unit or not np.array_equal(self.edges, other.edges):
            msg = f"accumulators to merge must have the same bins, got {self.edges} and {other.edges}"
            raise ValueError(msg)
        for mine, its in zip(self.bins, other.bins, strict=True):
            mine.merge(its)
        self.outside += other.outside
        return self

    def table(self, *, resamples=1000, seed=0, level=0.68):
        """
        Return the metrics of all bins; NaN in those of fewer than two galaxies.

        Parameters
        ----------
        resamples, seed, level : int, int, float, optional
            Of the bootstrap; 0 resamples for no intervals.

        Returns
        -------
        `~astropy.table.QTable`
            As that of `Accumulator.table`, with the bin's edges in ``<name>_low`` and ``<name>_high``.
        """
        tables = [each.table(resamples=resamples, seed=seed, level=level, strict=False) for each in self.bins]
        counts = {"outside_bins": self.outside}
        for each in self.bins:
            counts |= {reason: counts.get(reason, 0) + number for reason, number in each.counts.items()}
        meta = {key: value for key, value in tables[0].meta.items() if key != "counts"}
        stacked = stack_bins(tables, self.edges, self.name, self.unit)
        stacked.meta = meta | {"counts": counts}
        return stacked


def _mean(values, counts):
    return [counted.mean(values, counts)]


def _signed_log(largest, cells, smallest=1e-3):
    """Edges from -largest to largest: linear below ``smallest`` and logarithmic above."""
    end = np.arcsinh(largest / smallest)
    return smallest * np.sinh(np.linspace(-end, end, cells + 1))


def _residual_edges():
    """Edges for dz, with the outliers' cuts among them: abs(dz) > 0.05 is a union of cells."""
    cuts = [side for cut in (0.05, 0.15) for side in (-cut, np.nextafter(cut, 1))]
    return np.union1d(_signed_log(100, 65536), cuts)


def _pit_edges():
    """Edges for PIT values: 16,384 equal cells, and towards 0 and 1 cells of at most 5 % for the tails' sake."""
    tail = np.geomspace(scores.NEAREST, 2**-8, 640)
    return np.union1d(np.linspace(0, 1, 2**14 + 1), np.concatenate([tail, 1 - tail]))
