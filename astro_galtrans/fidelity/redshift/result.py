"""What `astro_galtrans.fidelity.redshift.measure.redshift_fidelity` returns: tables and pictures."""

import numpy as np

from astro_galtrans.fidelity.plots import redshift as plots
from astro_galtrans.fidelity.result import Result

__all__ = ["RATIOS", "READINGS", "RedshiftFidelity", "column"]

READINGS = "target", "source", "retrained", "plug_in", "averaged"
RATIOS = {  #: quantity: metric, reading above the line; below is the source
    "retention": ("information", "retrained"),
    "plug_in_scatter": ("sigma_mad", "plug_in"),
    "plug_in_information": ("information", "plug_in"),
    "consistency": ("information", "averaged"),
    "target_scatter": ("sigma_mad", "target"),
    "target_information": ("information", "target"),
}
LABELS = {"z_spec": r"$z_\mathrm{spec}$", "snr": "signal-to-noise"}
BINNED = {"sigma_mad": r"$\sigma_\mathrm{MAD}$", "information": "information (nats)"}


class RedshiftFidelity(Result):
    """
    What `redshift_fidelity` measured.

    ``statistics``
        One long table: ``model`` (empty for target and source), ``reading``, ``quantity``, ``statistic``, ``samples``,
        ``value`` with its interval ``low``, ``high``, and the number of galaxies ``n``. Quantities are the metrics of
        `~astro_galtrans.photoz.point_metrics` and `~astro_galtrans.photoz.pdf_metrics`, which are statistics already:
        ``statistic`` is ``"value"``. ``samples`` counts the samples whose PDFs are averaged: the reading ``averaged``
        has all of them, ``fewer`` has 2, 4, ...: does the average approach what the source tells, and how many samples
        does it take? Ratios (``retention``, ``consistency``, ...) stand at the reading above their line, with paired
        intervals. They are NaN where the source shows no information, and without interval where it might show none.
    ``bins``
        ``sigma_mad``, ``bias_median``, ``outlier_005`` and ``information`` in bins of what ``by`` names, with the same
        columns and ``bin_low``, ``bin_high`` and the median ``middle``.
    ``galaxies``
        One row per galaxy of the test set: ``z_phot``, ``information`` and ``pit`` of each reading.
    ``stacks``
        Mean PDF of each reading on the redshift grid.
    ``counts``
        How many galaxies were given, left out and why, trained on and tested on.
    """

    title = "Redshift fidelity"
    key = {"quantity": "retention"}
    claim = "the share that it kept of the source images' information about the redshift"

    @property
    def models(self):
        """Names of the translations."""
        return [name for name in dict.fromkeys(map(str, self["statistics"]["model"])) if name]

    @property
    def ratios(self):
        """The rows of ``statistics`` that are `RATIOS`, of all models."""
        return self["statistics"][np.isin(self["statistics"]["quantity"], list(RATIOS))]

    def of(self, model, quantity):
        """
        Return a column of ``galaxies`` (or of ``stacks``, for ``"stack"``) for each reading of a model.

        Parameters
        ----------
        model : str
            Name of the translation.
        quantity : str
            ``"z_phot"``, ``"information"``, ``"pit"`` or ``"stack"``.
        """
        table = self["stacks" if quantity == "stack" else "galaxies"]
        found = {}
        for reading in READINGS:
            for name in (column(quantity, reading), column(quantity, reading, model)):
                if name in table.colnames:
                    found[reading] = np.asarray(table[name])
        return found

    def plot_redshifts(self, model=None):
        """Photometric against spectroscopic redshift of each reading of a model (the first by default)."""
        model = model or self.models[0]
        return plots.redshift_panels(self["galaxies"]["z_spec"], self.of(model, "z_phot"), title=model)

    def plot_pit(self, model=None):
        """PIT histogram of each reading of a model (the first by default)."""
        model = model or self.models[0]
        return plots.pit_histograms(self.of(model, "pit"), title=model)

    def plot_stack(self, model=None):
        """Stacked PDFs of each reading of a model (the first by default) over the histogram of redshifts."""
        model = model or self.models[0]
        stacks = self.of(model, "stack")
        return plots.stacked_pdfs(self["stacks"]["z"], stacks, self["galaxies"]["z_spec"], title=model)

    def plot_bins(self, by="magnitude"):
        """Scatter and information of all readings in bins of a property, models side by side; None without bins."""
        table = self["bins"]
        table = table[table["by"] == by]
        panels = {model: [_binned(table, model, quantity) for quantity in BINNED] for model in self.models}
        if not any(map(any, panels.values())):
            return None
        title, logarithmic = f"n = {len(self['galaxies']):,}", by == "snr"
        labels = {"xlabel": LABELS.get(by, by), "ylabels": list(BINNED.values())}
        return plots.metric_over_bins(panels, **labels, logarithmic=logarithmic, title=title)

    def plot_information(self):
        """Information of each model as bars, against that of source and target."""
        table = self["statistics"]
        bars, limits = {model: {} for model in self.models}, {}
        for row in table[(table["quantity"] == "information") & np.isin(table["reading"], READINGS)]:
            where = bars[str(row["model"])] if row["model"] else limits
            where[str(row["reading"])] = float(row["value"]), float(row["low"]), float(row["high"])
        return plots.information_bars(bars, limits, n=len(self["galaxies"]))

    def _figures(self):
        yield "information", self.plot_information()
        for by in dict.fromkeys(map(str, self["bins"]["by"])):
            yield f"bins_{by}", self.plot_bins(by)
        for model in self.models:
            for kind in ("redshifts", "pit", "stack"):
                yield f"{kind}_{model}", getattr(self, f"plot_{kind}")(model)


def column(quantity, reading, model=""):
    """Return the name of a column of galaxies or stacks; target and source have no model."""
    return "_".join(filter(None, (quantity, reading, model)))


def _binned(table, model, quantity):
    """Reading to middle, value, low and high of a quantity in bins, for target, source and one model."""
    chosen, found = table[(table["quantity"] == quantity) & np.isfinite(table["value"])], {}
    for reading in READINGS:
        rows = chosen[(chosen["reading"] == reading) & np.isin(chosen["model"], ["", model])]
        if len(rows):
            found[reading] = tuple(np.asarray(rows[name], dtype=float) for name in ("middle", "value", "low", "high"))
    return found
