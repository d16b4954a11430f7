"""What the results of pixels, photometry and morphology have in common."""

import numpy as np
from astropy.table import QTable

from astro_galtrans.fidelity.plots import images as fidelity_plots
from astro_galtrans.statistics.resampling import centre_and_scatter, paired_statistics

from .result import Result

__all__ = [
    "EXCLUDED",
    "PairedResult",
    "PairedStatistics",
    "by_values",
    "excluded",
    "galaxy_rows",
    "paired_row",
    "spread_row",
    "to_qtable",
]

EXCLUDED = "not_in_target", "not_in_translated", "not_in_both"  #: columns that count what could not be measured


class PairedResult(Result):
    """
    Comparison of real and translated images of the same galaxies.

    ``statistics`` has a row per model, band and quantity; ``bins`` the same in bins; ``galaxies`` a row per galaxy,
    model and band. In all of them ``n`` counts the galaxies measured, and ``not_in_target``, ``not_in_translated`` and
    ``not_in_both`` those that could not be measured in the real image alone, in the translated alone, in either.
    """

    @property
    def models(self):
        """Names of the translations."""
        return list(dict.fromkeys(map(str, self["statistics"]["model"])))

    @property
    def bands(self):
        """Names of the bands."""
        return list(dict.fromkeys(map(str, self["galaxies"]["band"])))

    def rows(self, name, **where):
        """
        Return the rows of a table with these entries.

        Parameters
        ----------
        name : str
            Of the table.
        **where
            Column to entry.

        Raises
        ------
        KeyError
            If there is no such row, or no such column.
        """
        table = self[name]
        chosen = np.ones(len(table), dtype=bool)
        for column, entry in where.items():
            if column not in table.colnames:
                msg = f"table {name!r} has no column {column!r}; there are {', '.join(table.colnames)}"
                raise KeyError(msg)
            chosen &= np.asarray(table[column]) == entry
        if not chosen.any():
            msg = f"table {name!r} has no row with {', '.join(f'{k} = {v!r}' for k, v in where.items())}"
            raise KeyError(msg)
        return table[chosen]

    def of_galaxies(self, quantity, model=None, band=None):
        """
        Return a quantity of each galaxy, ``[N]``.

        Parameters
        ----------
        quantity : str
            A column of ``galaxies``.
        model, band : str, optional
            The first model and the middle band by default.
        """
        rows = self.rows("galaxies", model=model or self.models[0], band=band or self.bands[len(self.bands) // 2])
        if quantity not in rows.colnames:
            msg = f"there is no {quantity!r} of each galaxy; there are {', '.join(rows.colnames[3:])}"
            raise KeyError(msg)
        return np.asarray(rows[quantity], dtype=float)

    def scores(self, metric, model=None, band=None):
        """
        Return a figure of each galaxy that is larger the worse its translation is, ``[N]``; NaN where it has none.

        Parameters
        ----------
        metric : str
            A quantity of each galaxy.
        model, band : str, optional
            The first model and the middle band by default.
        """
        raise NotImplementedError

    def gallery(self, metric, target, translated, *, sky_rms, model=None, band=None, **options):
        """
        Draw the galaxies that are best, as usual and worst by a metric.

        Parameters
        ----------
        metric : str
            A quantity of each galaxy, see `scores`.
        target, translated : array-like
            Real stamps, and those of the model: the images that were compared.
        sky_rms : array-like
            ``[C]``: sky noise of a pixel.
        model, band : str, optional
            The first model and the middle band by default.
        **options
            Of `~astro_galtrans.fidelity.plots.gallery.gallery`: ``source``, ``source_factor``, ``show``, ``number``,
            ``sample``.
        """
        from astro_galtrans.fidelity.plots.gallery import gallery

        model, band = model or self.models[0], band or self.bands[len(self.bands) // 2]
        scores = self.scores(metric, model, band)
        labels = {"label": metric, "title": f"{model}, by {metric} in {band}"}
        return gallery(scores, target, translated, bands=self.bands, sky_rms=sky_rms, **labels | options)


class PairedStatistics(PairedResult):
    """What the results have in common whose statistics are of quantities measured in both images."""

    def scores(self, metric, model=None, band=None):
        """
        Return how far translated is from real: the absolute difference, or log10 of the ratio, of each galaxy.

        Parameters
        ----------
        metric : str
            A quantity of each galaxy.
        model, band : str, optional
            The first model and the middle band by default.
        """
        kinds = {str(row["quantity"]): str(row["pair"]) for row in self["statistics"]}
        ours = self.of_galaxies(metric, model, band)
        if kinds.get(metric) == "itself":
            return np.abs(ours)
        real = self.of_galaxies(f"{metric}_target", model, band)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.abs(np.log10(ours / real)) if kinds.get(metric) == "ratio" else np.abs(ours - real)

    def value(self, quantity, statistic="bias", model=None, band=None):
        """
        Return a statistic: value, low, high.

        Parameters
        ----------
        quantity, statistic : str
            Their names.
        model, band : str, optional
            The first model, and the middle band (or what the quantity has instead of bands) by default.
        """
        rows = self.rows("statistics", model=model or self.models[0], quantity=quantity)
        bands = list(map(str, rows["band"]))
        band = band or bands[len(bands) // 2]
        row = self.rows("statistics", model=model or self.models[0], quantity=quantity, band=band)[0]
        return tuple(float(row[f"{statistic}{end}"]) for end in ("", "_low", "_high"))

    def _by_band(self, labels, bands):
        """Bias and scatter of quantities with these labels, band by band."""
        panels = self._panels(self["statistics"], labels)
        return fidelity_plots.by_band(panels, bands, lines=self._perfect(labels))

    def _over_bins(self, labels, by, band, **options):
        """Bias and scatter of quantities with these labels in bins of one band."""
        if "bins" not in self.tables:
            return None
        by, band = by or str(self["bins"]["by"][0]), band or self.bands[len(self.bands) // 2]
        panels = self._panels(self.rows("bins", by=by, band=band), labels, "middle")
        return fidelity_plots.over_bins(panels, by, lines=self._perfect(labels), title=band, **options)

    def _panels(self, table, labels, *first):
        panels = {}
        for quantity in (name for name in labels if name in table["quantity"]):
            chosen = table[table["quantity"] == quantity]
            for statistic in ("bias", "scatter"):
                columns = *first, statistic, f"{statistic}_low", f"{statistic}_high"
                panels[f"{labels[quantity]}, {statistic}"] = {
                    model: tuple(chosen[chosen["model"] == model][name] for name in columns) for model in self.models
                }
        return panels

    def _perfect(self, labels):
        """Label of each bias to that of a perfect translation."""
        table = self["statistics"]
        pairs = {str(row["quantity"]): str(row["pair"]) for row in table}
        return {f"{labels[name]}, bias": float(pairs[name] == "ratio") for name in labels if name in pairs}


def to_qtable(rows, meta=None):
    """
    Return a table of rows.

    Parameters
    ----------
    rows : list of dict
        Columns that a row lacks are NaN there. Without a row there is no table, but None.
    meta : dict, optional
        The table's.
    """
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row))
    return QTable({name: [row.get(name, np.nan) for row in rows] for name in names}, meta=meta)


def paired_row(real, translated, *, ratio=False, **settings):
    """
    Return the columns of a paired comparison, those that are NaN in either left out.

    Parameters
    ----------
    real, translated : `numpy.ndarray`
        ``[N]``: a quantity in the real and in the translated images; NaN where it could not be measured.
    ratio : bool, optional
        Pair by ratio instead of difference; galaxies whose real value is not positive are then not measurable.
    **settings
        ``n``, ``seed`` and ``level`` of the bootstrap.

    Returns
    -------
    dict
        Statistic, and with ``_low`` and ``_high`` the ends of its interval; `excluded`.
    """
    in_real = np.isfinite(real) & ((real > 0) if ratio else True)
    both = in_real & np.isfinite(translated)
    found = paired_statistics(real[both], translated[both], ratio=ratio, **settings)
    return _flat(found) | excluded(in_real, np.isfinite(translated))


def spread_row(differences, in_real, in_translated, **settings):
    """
    Return median and scatter of differences that are already made, those that are NaN left out.

    Parameters
    ----------
    differences : `numpy.ndarray`
        ``[N]``.
    in_real, in_translated : `numpy.ndarray`
        ``[N]``, bool: where the quantity could be measured.
    **settings
        ``n``, ``seed`` and ``level`` of the bootstrap.
    """
    found = centre_and_scatter(differences[in_real & in_translated], **settings)
    return _flat(found) | excluded(in_real, in_translated)


def _flat(intervals):
    row = {}
    for name, part in intervals.items():
        row |= {name: part.value, f"{name}_low": part.low, f"{name}_high": part.high}
    return row


def excluded(real, translated):
    """
    Return how many galaxies were measured, and how many could not be where.

    Parameters
    ----------
    real, translated : `numpy.ndarray`
        ``[N]``, bool: which could be measured in the real and in the translated image.

    Returns
    -------
    dict
        ``n`` and `EXCLUDED` to numbers.
    """
    parts = real & translated, ~real & translated, real & ~translated, ~real & ~translated
    return {name: int(np.count_nonzero(part)) for name, part in zip(("n", *EXCLUDED), parts, strict=True)}


def galaxy_rows(number, names, bands, columns):
    """
    Return a table with a row per galaxy, model and band.

    Parameters
    ----------
    number : int
        Of galaxies.
    names, bands : sequence of str
        Of the M models and C bands.
    columns : dict
        Column to ``[N, M, C]``.
    """
    shape = number, len(names), len(bands)
    index = np.indices(shape).reshape(3, -1)
    table = QTable({"row": index[0], "model": np.array(names)[index[1]], "band": np.array(bands)[index[2]]})
    for name, values in columns.items():
        table[name] = np.broadcast_to(values, shape).reshape(-1)
    return table


def by_values(by, number):
    """
    Return what to bin by as columns of float, NaN where masked.

    Parameters
    ----------
    by : dict or None
        Name to ``[N]``.
    number : int
        Of galaxies.

    Raises
    ------
    ValueError
        If a column is not of that length.
    """
    found = {}
    for name, values in (by or {}).items():
        column = np.ma.filled(np.ma.asarray(getattr(values, "value", values), dtype=float), np.nan)
        if column.shape != (number,):
            msg = f"what to bin by, {name!r}, has shape {column.shape}; there are {number} galaxies"
            raise ValueError(msg)
        found[str(name)] = column
    return found
