"""Redshift PDFs on a common grid: piecewise linear densities, whose statistics have closed forms."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from scipy.integrate import cumulative_trapezoid

from astro_galtrans._columns import name_rows, table_hdu
from astro_galtrans.bandstack import open_fits, write_hdulist

__all__ = ["GridPDF", "segment"]

TOLERANCE = 1e-3  # an integral this far from 1 is rounding, of densities in text files for instance


@dataclass(frozen=True, eq=False)
class GridPDF:
    """
    Probability densities of redshift, one per galaxy, on a common grid.

    Between grid points a density is linear, outside the grid it is zero, so its integral is that of the trapezoidal
    rule and its cumulative distribution is a quadratic spline. Everything below is exact for that function.

    Parameters
    ----------
    z : array-like
        ``[K]``: redshifts of the grid, strictly increasing.
    density : array-like
        ``[N, K]``, or ``[K]`` for one galaxy: densities, not negative. Each row integrates to 1 within 0.001, and is
        then normalised to rounding. For densities of any norm see `normalised`.

    Raises
    ------
    ValueError
        If the grid does not increase, or rows of density are negative, not finite or do not integrate to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.photoz import GridPDF
    >>> z = np.linspace(0, 1, 201)
    >>> pdfs = GridPDF.normalised(z, np.exp(-0.5 * ((z - [[0.3], [0.5]]) / 0.05) ** 2))
    >>> len(pdfs), pdfs.mean().round(2).tolist()
    (2, [0.3, 0.5])
    """

    z: np.ndarray
    density: np.ndarray

    def __post_init__(self):
        z, density = _checked(self.z, self.density)
        norm = np.trapezoid(density, z, axis=1)
        if (wrong := np.abs(norm - 1) > TOLERANCE).any():
            msg = (
                f"PDFs must integrate to 1 on their grid, but {name_rows(wrong)} do not (first: {norm[wrong][0]:.6g}); "
                "GridPDF.normalised(z, density) divides by the integral"
            )
            raise ValueError(msg)
        for name, array in (("z", z), ("density", density / norm[:, None])):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def normalised(cls, z, density):
        """Return PDFs proportional to densities of any positive norm, such as likelihoods, or probabilities of bins."""
        z, density = _checked(z, density)
        norm = np.trapezoid(density, z, axis=1)
        if (empty := norm <= 0).any():
            msg = f"a PDF is nowhere above zero in {name_rows(empty)}"
            raise ValueError(msg)
        return cls(z, density / norm[:, None])

    @classmethod
    def concatenate(cls, pdfs):
        """Return the galaxies of several sets as one set; it is a `ValueError` if their grids differ."""
        pdfs = _same_grid(pdfs)
        return cls(pdfs[0].z, np.concatenate([each.density for each in pdfs]))

    @classmethod
    def average(cls, pdfs):
        """
        Return the mean density of each galaxy over several sets: those of an ensemble's members, or of samples.

        A generator of sets is read one at a time. It is a `ValueError` if grids or numbers of galaxies differ.
        """
        pdfs = iter(pdfs)
        if (first := next(pdfs, None)) is None:
            msg = "there are no PDFs to average"
            raise ValueError(msg)
        total, count = first.density.copy(), 1
        for each in pdfs:
            _same_grid([first, each])
            if len(each) != len(first):
                msg = f"PDFs to average must be of the same galaxies, got {len(first)} and {len(each)} rows"
                raise ValueError(msg)
            total += each.density
            count += 1
        return cls(first.z, total / count)

    def __len__(self):
        return len(self.density)

    def __getitem__(self, rows):
        return GridPDF(self.z, np.atleast_2d(self.density[rows]))

    def __repr__(self):
        return f"<GridPDF: {len(self)} PDFs on {len(self.z)} redshifts from {self.z[0]:g} to {self.z[-1]:g}>"

    @cached_property
    def cumulative(self):
        """``[N, K]``: the cumulative distribution at the grid's redshifts."""
        cumulative = cumulative_trapezoid(self.density, self.z, axis=1, initial=0)
        return np.minimum(cumulative, 1, out=cumulative)

    def pdf(self, z_true):
        """
        Return the density of each galaxy at one redshift, ``[N]``: zero outside the grid, NaN where the redshift is
        NaN.

        Parameters
        ----------
        z_true : float or array-like
            One redshift, or one per galaxy; a set of a single PDF (a prior) takes any number.

        Raises
        ------
        ValueError
            If there are not as many redshifts as PDFs.
        """
        row, z = self._paired(z_true)
        k = segment(self.z, z)
        share = (z - self.z[k]) / (self.z[k + 1] - self.z[k])
        density = self.density[row, k] * (1 - share) + self.density[row, k + 1] * share
        return np.where((z < self.z[0]) | (z > self.z[-1]), 0.0, density)

    def cdf(self, z_true):
        """
        Return the probability of each galaxy to be below a redshift, ``[N]``, NaN where the redshift is NaN: its PIT
        value, if the redshift is the true one.

        Parameters
        ----------
        z_true : float or array-like
            As for `pdf`.
        """
        row, z = self._paired(z_true)
        z = np.clip(z, self.z[0], self.z[-1])
        k = segment(self.z, z)
        step, width = z - self.z[k], self.z[k + 1] - self.z[k]
        low, high = self.density[row, k], self.density[row, k + 1]
        return np.clip(self.cumulative[row, k] + step * (low + (high - low) * step / (2 * width)), 0, 1)

    def quantile(self, q):
        """
        Return the redshift below which each galaxy is with probability q, ``[N]``.

        Parameters
        ----------
        q : float or array-like
            One probability from 0 to 1 for all, or one per galaxy; a set of a single PDF takes any number.
        """
        row, q = self._paired(q, "probabilities")
        if not ((q >= 0) & (q <= 1)).all():
            msg = "probabilities must be from 0 to 1"
            raise ValueError(msg)
        k = np.clip((self.cumulative[row] <= q[:, None]).sum(axis=1) - 1, 0, len(self.z) - 2)
        width, low, high = self.z[k + 1] - self.z[k], self.density[row, k], self.density[row, k + 1]
        rest = np.maximum(q - self.cumulative[row, k], 0)
        # the root of a quadratic in the form that does not cancel; zero density where nothing is left to go
        root = low + np.sqrt(np.maximum(low**2 + 2 * (high - low) / width * rest, 0))
        step = np.divide(2 * rest, root, out=np.zeros_like(rest), where=root > 0)
        return self.z[k] + np.minimum(step, width)

    def mean(self):
        """Return the mean redshift of each galaxy, ``[N]``."""
        width, low, high = np.diff(self.z), self.z[:-1], self.z[1:]
        weight = np.zeros(len(self.z))
        weight[:-1] += width * (2 * low + high) / 6
        weight[1:] += width * (low + 2 * high) / 6
        return self.density @ weight

    def median(self):
        """Return the median redshift of each galaxy, ``[N]``."""
        return self.quantile(0.5)

    def mode(self):
        """Return the grid's redshift of highest density of each galaxy, ``[N]``, the first of equals."""
        return self.z[self.density.argmax(axis=1)]

    def stack(self):
        """Return the mean density of all galaxies, ``[K]``: a plain estimate of their redshift distribution."""
        return self.density.mean(axis=0)

    def to_table(self):
        """Table of ``z_mean``, ``z_median``, ``z_mode``, and the ends of the central 68 %, ``z_low``, ``z_high``."""
        columns = self.mean(), self.median(), self.mode(), self.quantile(0.16), self.quantile(0.84)
        return QTable(columns, names=["z_mean", "z_median", "z_mode", "z_low", "z_high"])

    def write(self, path, *, overwrite=False):
        """Write a FITS file with two tables: ``GRID`` (column ``z``) and ``PDF`` (column ``density``, vectors)."""
        grid, pdf = QTable({"z": self.z}), QTable({"density": self.density})
        tables = [table_hdu(grid, "GRID"), table_hdu(pdf, "PDF")]
        write_hdulist(fits.HDUList([fits.PrimaryHDU(), *tables]), path, overwrite)

    @classmethod
    def read(cls, path):
        """Return the PDFs in a file that `write` wrote."""
        hdus = open_fits(Path(path))
        return cls(hdus["GRID"].data["z"], hdus["PDF"].data["density"])

    def _paired(self, values, what="redshifts"):
        """Row and value of each pair: N PDFs with one or N values, or one PDF with any number of values."""
        values = np.atleast_1d(np.asarray(values, dtype=float))
        if values.ndim != 1 or (len(values) != len(self) and 1 not in {len(values), len(self)}):
            msg = f"expected one or {len(self)} {what} for {len(self)} PDFs, got shape {values.shape}"
            raise ValueError(msg)
        return np.broadcast_arrays(np.arange(len(self)), values)


def segment(grid, values):
    """Return the index of the interval of a rising grid that holds each value; first or last for values outside."""
    return np.clip(np.searchsorted(grid, values, side="right") - 1, 0, len(grid) - 2)


def _checked(z, density):
    """Grid and densities as float64, or an error that names what is wrong with them."""
    z, density = np.array(z, dtype=float), np.atleast_2d(np.asarray(density, dtype=float))
    if z.ndim != 1 or len(z) < 2 or not (np.diff(z) > 0).all():  # NaN fails too
        msg = f"a redshift grid must have two or more strictly increasing values, got shape {z.shape}: {z}"
        raise ValueError(msg)
    if density.ndim != 2 or density.shape[1] != len(z):
        msg = f"densities must be [N, {len(z)}] on a grid of {len(z)} redshifts, got shape {density.shape}"
        raise ValueError(msg)
    if (bad := ~(np.isfinite(density).all(axis=1) & (density >= 0).all(axis=1))).any():
        msg = f"densities must be finite and not negative, which fails in {name_rows(bad)}"
        raise ValueError(msg)
    return z, density


def _same_grid(pdfs):
    """The sets as a list, or an error if they are not on one grid."""
    pdfs = list(pdfs)
    if not pdfs or any(not np.array_equal(each.z, pdfs[0].z) for each in pdfs):
        grids = ", ".join(f"{len(each.z)} redshifts from {each.z[0]:g} to {each.z[-1]:g}" for each in pdfs)
        msg = f"PDFs must be on one redshift grid, got {grids or 'none'}"
        raise ValueError(msg)
    return pdfs
