r"""
Metrics of galaxies batch by batch, in memory that does not grow: histograms of fine cells.

Each score of each galaxy goes to a histogram of fixed size, which keeps the number of galaxies in a cell and the sum of
their scores. Two accumulators are merged by adding them, so batches may be spread over processes. What comes out:

- ``bias_mean``, ``crps``, ``cde_loss``, ``information``, ``zero_density``, ``outlier_005``, ``outlier_015``: exact;
- ``bias_median``, and quantiles of dz in general: to the width of a cell, 4e-4 max(abs(dz), 0.001); so ``sigma_mad`` to
  1.4826 times two cells, and ``sigma_iqr`` likewise; ``outlier_rail`` to the galaxies in the cells of its cut;
- ``pit_ks``: to the width of a cell, 6e-5, and narrower near 0 and 1. The squared distances ``pit_cvm`` and ``pit_ad``
  use the mean of each cell; their error is below 0.1 % (tested), plus 3e-10 N and 4e-9 N for N galaxies.

Intervals need no weights per galaxy. The number of times that a bootstrap draws the galaxies of a cell is multinomial
whatever happens inside the cell, so resampling the cells gives the same intervals as resampling galaxies, to the
accuracy above. The cost is that of the occupied cells, some 10 ms per resample, once at the end.

With ``exact=True`` the scores themselves are kept instead, which is how `~astro_galtrans.photoz.metrics` measures
samples in memory.
"""

from collections import Counter

import numpy as np
from astropy.table import vstack

from astro_galtrans._columns import because, plain, redshifts, same_length, sort_out
from astro_galtrans.statistics.bootstrap import bin_edges, in_bins

from .pdfs import segment
from .scores import NEAREST, every_score, scaled_residual, summarise, to_table

__all__ = ["Accumulator", "BinnedAccumulator"]

SCORES = "dz", "pit", "crps", "cde_loss", "zero_density", "information"


class _Cells:
    """A histogram that also keeps the sum of the values in each cell; the outermost cells take what lies beyond."""

    def __init__(self, edges):
        self.edges = edges
        self.counts, self.sums = np.zeros(len(edges) - 1, dtype=np.int64), np.zeros(len(edges) - 1)

    def add(self, values):
        """Take in values ``[n]``: -inf is allowed, NaN is not."""
        index, cells = segment(self.edges, values), len(self.counts)
        self.counts += np.bincount(index, minlength=cells)
        self.sums += np.bincount(index, weights=values, minlength=cells)

    def merge(self, other):
        """Take in all values of another histogram with the same edges."""
        self.counts += other.counts
        self.sums += other.sums

    def ordered(self):
        """Means of the occupied cells, in order, and their counts, ``[m]`` each."""
        filled = np.flatnonzero(self.counts)
        values = self.sums[filled] / self.counts[filled]
        # the mean of equal values may round to beyond the edge: a galaxy must stay on its side of an outlier's cut
        lowest, highest = self.edges[filled], np.nextafter(self.edges[filled + 1], -np.inf)
        lowest[filled == 0] = -np.inf
        highest[filled == len(self.counts) - 1] = np.inf
        return np.clip(values, lowest, highest), self.counts[filled]


class _Kept:
    """The values themselves, with the methods of `_Cells`."""

    def __init__(self):
        self.parts = []

    def add(self, values):
        self.parts.append(values)

    def merge(self, other):
        self.parts += other.parts

    def ordered(self):
        values = np.sort(np.concatenate([np.zeros(0), *self.parts]))
        return values, np.ones(len(values), dtype=int)


class Accumulator:
    """
    Metrics of points and PDFs, batch by batch, in fixed memory.

    Parameters
    ----------
    prior : GridPDF, optional
        Redshift distribution that the estimator was trained on (one row), for the information.
    floor : float, optional
        Weight of the prior mixed into each PDF for the information.
    z_range : tuple of float, optional
        Redshifts that the estimator can give, where points come without PDFs; with PDFs it is their grid.
    points : bool, optional
        Whether to measure points at all.
    exact : bool, optional
        Keep every score instead of histograms: nothing is rounded, but memory grows with the number of galaxies.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.photoz import Accumulator
    >>> rng, sample = np.random.default_rng(1), Accumulator()
    >>> for _ in range(3):  # batches of 100 galaxies, as they are read
    ...     z_spec = rng.uniform(0.1, 0.5, 100)
    ...     sample.add(None, z_spec, z_phot=z_spec + rng.normal(0, 0.02, 100))
    >>> table = sample.table(resamples=50)
    >>> table["metric"][:2].tolist(), table.meta["counts"]["galaxies"]
    (['bias_mean', 'bias_median'], 300)
    """

    def __init__(self, *, prior=None, floor=0.0, z_range=None, points=True, exact=False):
        self.prior, self.floor, self.z_range, self.points, self.exact = prior, floor, z_range, points, exact
        self.counts, self.scores = Counter(galaxies=0), {}

    def add(self, pdfs, z_spec, *, z_phot=None, prior=None):
        """
        Take in a batch of galaxies.

        Parameters
        ----------
        pdfs : GridPDF or None
            Their PDFs, or `None` if there are point estimates only; it is a `ValueError` if there are neither.
        z_spec : array-like
            Spectroscopic redshifts; missing, negative ones and those outside the grid are excluded and counted.
        z_phot : array-like, optional
            Point estimates; the medians of the PDFs if not given.
        prior : GridPDF, optional
            In place of the accumulator's own: one row, or one per galaxy.
        """
        if pdfs is None and z_phot is None:
            msg = "a batch needs PDFs or point estimates (z_phot)"
            raise ValueError(msg)
        same_length(pdfs=pdfs, z_phot=z_phot, z_spec=z_spec)
        z_spec, z_range = redshifts(z_spec), self.z_range if pdfs is None else (pdfs.z[0], pdfs.z[-1])
        counts, found = {}, {}
        if self.points:
            z_phot = pdfs.median() if z_phot is None else redshifts(z_phot)
            usable, counts = sort_out(z_spec, z_phot, z_range)
            found["dz"] = scaled_residual(z_phot[usable], z_spec[usable])
        if pdfs is not None:
            usable, others = sort_out(z_spec, None, z_range)  # a missing point does not cost the PDF
            prior = _own_rows(self.prior if prior is None else prior, usable)
            pdfs = pdfs if usable.all() else pdfs[usable]
            found |= every_score(pdfs, z_spec[usable], prior, self.floor)
            counts = others | counts
        if "information" in found:
            outside = np.isnan(found["information"])
            counts["prior_zero"] = int(outside.sum())
            found["information"] = found["information"][~outside]
        self.counts.update(counts)
        for name, values in found.items():
            self._kept(name).add(values)

    def merge(self, other):
        """Take in all galaxies of another accumulator, and return this one; it is a `ValueError` if settings differ."""
        for name in ("floor", "z_range", "points", "exact"):
            if (mine := getattr(self, name)) != (its := getattr(other, name)):
                msg = f"accumulators to merge must have the same {name}, got {mine} and {its}"
                raise ValueError(msg)
        if not _same_pdfs(self.prior, other.prior):
            msg = f"accumulators to merge must have the same prior, got {self.prior} and {other.prior}"
            raise ValueError(msg)
        self.counts.update(other.counts)
        for name, kept in other.scores.items():
            self._kept(name).merge(kept)
        return self

    def table(self, *, resamples=1000, seed=0, level=0.68):
        """
        Return the table of metrics of all galaxies so far.

        It has the rows of `~astro_galtrans.photoz.metrics.point_metrics` and, if PDFs were added, of
        `~astro_galtrans.photoz.metrics.pdf_metrics`. It is a `ValueError` if fewer than two galaxies were measured.

        Parameters
        ----------
        resamples, seed, level : int, int, float, optional
            Of the bootstrap; 0 resamples for no intervals.
        """
        settings = dict(resamples=resamples, seed=seed, level=level)
        return self._table(self.scores or {"dz"}, settings, because(self.counts))

    def pit_histogram(self, bins=20):
        """
        Return how many PIT values fall in bins of equal width, ``[bins]``; exact if their number is a power of two, as
        then no cell is cut by an edge.
        """
        values, counts = self._ordered("pit")
        return np.histogram(values, bins, (0, 1), weights=counts)[0].astype(int)

    def _kept(self, name):
        if name not in self.scores:
            self.scores[name] = _Kept() if self.exact else _Cells(_edges(name))
        return self.scores[name]

    def _ordered(self, name):
        """Scores in order, and their counts."""
        return self.scores[name].ordered() if name in self.scores else (np.zeros(0), np.zeros(0, dtype=int))

    def _table(self, scores, settings, where=None):
        """The metrics of some scores; NaN for too few galaxies unless ``where`` asks for an error."""
        metrics = {}
        for name in (name for name in SCORES if name in scores):
            metrics |= summarise(name, *self._ordered(name), where=where, **settings)
        return to_table(metrics, self.counts, settings | ({"floor": self.floor} if "pit" in scores else {}))


class BinnedAccumulator:
    """
    An `Accumulator` per bin of any quantity, such as magnitude, redshift or signal-to-noise.

    Parameters
    ----------
    edges : array-like or `~astropy.units.Quantity`
        ``[M + 1]``: edges of the bins, increasing. A bin holds its lower edge; the last one its upper edge too.
    name : str, optional
        The quantity's name in the table.
    **settings
        Those of `Accumulator`.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from astro_galtrans.photoz import BinnedAccumulator
    >>> rng, sample = np.random.default_rng(1), BinnedAccumulator([17, 19, 21] * u.mag, name="r")
    >>> z_spec, r = rng.uniform(0.1, 0.5, 300), rng.uniform(17, 21, 300) * u.mag
    >>> sample.add(None, z_spec, r, z_phot=z_spec + rng.normal(0, 0.02, 300))
    >>> table = sample.table(resamples=50)
    >>> np.unique(table["r_low"].value).tolist(), table.meta["counts"]["outside_bins"]
    ([17.0, 19.0], 0)
    """

    def __init__(self, edges, *, name="bin", **settings):
        self.unit, self.name, self.outside = getattr(edges, "unit", None), name, 0
        self.edges = bin_edges([], np.asarray(edges))
        self.bins = [Accumulator(**settings) for _ in self.edges[1:]]

    def add(self, pdfs, z_spec, by, *, z_phot=None, prior=None):
        """
        Take in a batch of galaxies.

        Parameters
        ----------
        pdfs, z_spec, z_phot, prior
            As for `Accumulator.add`.
        by : array-like or `~astropy.units.Quantity`
            The quantity that is binned; galaxies outside all bins are counted.
        """
        same_length(pdfs=pdfs, z_phot=z_phot, z_spec=z_spec, by=by)
        index = in_bins(plain(by, self.unit), self.edges)
        z_spec, z_phot = redshifts(z_spec), None if z_phot is None else redshifts(z_phot)
        self.outside += int((index < 0).sum())
        for k, each in enumerate(self.bins):  # empty ones too, whose metrics are NaN
            rows = index == k
            part = None if z_phot is None else z_phot[rows]
            each.add(None if pdfs is None else pdfs[rows], z_spec[rows], z_phot=part, prior=_own_rows(prior, rows))

    def merge(self, other):
        """Take in all galaxies of another one, and return this one; it is a `ValueError` if bins or settings differ."""
        if self.unit != other.unit or not np.array_equal(self.edges, other.edges):
            msg = f"accumulators to merge must have the same bins, got {self.edges} and {other.edges}"
            raise ValueError(msg)
        for mine, its in zip(self.bins, other.bins, strict=True):
            mine.merge(its)
        self.outside += other.outside
        return self

    def table(self, *, resamples=1000, seed=0, level=0.68):
        """
        Return the tables of `Accumulator.table` of all bins, one below the other; NaN for fewer than two galaxies.

        The bin's edges are in ``<name>_low`` and ``<name>_high``. ``outside_bins`` in the meta data counts galaxies in
        no bin, which no other count includes.

        Parameters
        ----------
        resamples, seed, level
            As for `Accumulator.table`.
        """
        settings, tables, counts = dict(resamples=resamples, seed=seed, level=level), [], Counter()
        scores = {name for each in self.bins for name in each.scores} or {"dz"}
        for each, *ends in zip(self.bins, self.edges[:-1], self.edges[1:], strict=True):
            table = each._table(scores, settings)
            columns = [np.full(len(table), end) * (1 if self.unit is None else self.unit) for end in ends]
            table.add_columns(columns, names=[f"{self.name}_low", f"{self.name}_high"], indexes=[0, 0])
            tables.append(table)
            counts.update(each.counts)
        stacked = vstack(tables, metadata_conflicts="silent")
        stacked.meta = tables[0].meta | {"counts": dict(counts) | {"outside_bins": self.outside}}
        return stacked


def _own_rows(prior, rows):
    """The priors of some galaxies; a prior that all galaxies share as it is."""
    return prior if prior is None or len(prior) == 1 else prior[rows]


def _same_pdfs(one, other):
    if one is None or other is None:
        return one is other
    return np.array_equal(one.z, other.z) and np.array_equal(one.density, other.density)


def _edges(score):
    """Edges of the cells of a score's histogram."""
    if score == "dz":  # the outliers' cuts are among them: abs(dz) > 0.05 is a union of cells
        cuts = [side for cut in (0.05, 0.15) for side in (-cut, np.nextafter(cut, 1))]
        return np.union1d(_signed_log(100, 65536), cuts)
    if score == "pit":  # 16,384 equal cells, and towards 0 and 1, where Anderson-Darling looks, cells of at most 5 %
        tail = np.geomspace(NEAREST, 2**-8, 640)
        return np.union1d(np.linspace(0, 1, 2**14 + 1), np.concatenate([tail, 1 - tail]))
    return _signed_log(1e6, 4096)


def _signed_log(largest, cells, smallest=1e-3):
    """Edges from -largest to largest: linear below ``smallest`` and logarithmic above."""
    end = np.arcsinh(largest / smallest)
    return smallest * np.sinh(np.linspace(-end, end, cells + 1))
