"""What `astro_galtrans.fidelity.anomaly.measure.anomalies` returns: tables and pictures."""

import numpy as np

from astro_galtrans.fidelity.plots import redshift as plots
from astro_galtrans.fidelity.result import Result
from astro_galtrans.statistics import sigma_mad

__all__ = ["AnomalyResult"]

STATISTICS = {"chi2": "chi-squared", "peak": "highest peak", "flux": "flux"}
SHOWN = 6  # galaxies in a picture


class AnomalyResult(Result):
    """
    What `~astro_galtrans.fidelity.anomaly.measure.anomalies` found.

    ``galaxies``
        A row per model and galaxy, the worst of each model first: the ``score`` and the three scores it is made of;
        whether the galaxy is ``anomalous`` (one in twenty anomalous galaxies is so by chance: Benjamini & Hochberg
        1995); the ``kind`` of its highest peak, the ``band`` where that peak is strongest and its place ``x``, ``y``
        from the centre (arcsec); ``chi2_dof``; the ``flux_error``, (translated - source) / translated. Then the same
        quantities of each band, with the ``peak`` in sigma, positive for invented light.
    ``statistics``
        One long table with ``model``, ``band`` (``"all"`` for the galaxy as a whole), ``quantity``, ``statistic``,
        ``value``, ``low``, ``high`` (NaN: there are no intervals) and the number of galaxies ``n``. Of ``chi2_dof``,
        chi-squared per degree of freedom, there are the ``median``, ``percentile_16`` and ``percentile_84`` over
        galaxies; of ``flux_error`` ``bias`` and ``scatter``; of each score the ``share_above_2``, 0.01 for a perfect
        translation; and the ``number`` of ``anomalous`` galaxies.
    ``terms``
        Colour terms and the scatter about them.
    ``maps``
        Images of the worst galaxies of each model in all bands: the ``source``, the ``degraded`` translation, the
        ``residual`` in sigma and the ``significance`` of point sources.
    """

    title = "Anomalies"
    key = {"quantity": "score", "statistic": "share_above_2", "band": "all"}
    claim = "the share of galaxies with a score above 2 (0.01 for a perfect translation)"
    in_fits = ("maps",)

    def scores(self, model, statistic=None):
        """
        Return scores of a model in the order of the galaxies.

        Parameters
        ----------
        model : str
            Its name.
        statistic : {"chi2", "peak", "flux"}, optional
            Which of the three; the galaxy's score by default.
        """
        table = self["galaxies"][np.asarray(self["galaxies"]["model"]) == model]
        found = np.empty(len(table))
        found[np.asarray(table["row"])] = table["score" if statistic is None else f"score_{statistic}"]
        return found

    def _figures(self):
        yield "probabilities", self.plot_probabilities()
        for model in self.models:
            yield f"worst_{model}", self.plot_worst(model)

    @plots.style()
    def plot_probabilities(self):
        """Share of galaxies above each score, per statistic and model, beside that of a perfect translation."""
        colours = [*plots.COLOURS.values(), *plots.OTHERS]
        size, number = (2.4 * len(STATISTICS) + 0.5, 2.8), len(self.scores(self.models[0]))
        figure, axes = plots.canvas(1, len(STATISTICS), size, f"n = {number:,}")
        for panel, (name, title) in zip(axes[0], STATISTICS.items(), strict=True):
            line = np.linspace(0, 8, 100)
            panel.plot(line, 10**-line, color="0.5", lw=0.8, ls="--", label="perfect")
            for model, colour in zip(self.models, colours, strict=False):
                values = np.sort(self.scores(model, name))[::-1]
                share = np.arange(1, number + 1) / number
                panel.plot(np.minimum(values, 30), share, color=colour, label=model)
            panel.set(title=title, xlabel="score", yscale="log", ylim=(0.5 / number, 1.1), xlim=(0, 12))
        axes[0][0].set(ylabel="share of galaxies above")
        axes[0][-1].legend()
        return figure

    @plots.style()
    def plot_worst(self, model=None):
        """
        Source, degraded translation, residual and significance map of the worst galaxies of a model.

        Parameters
        ----------
        model : str, optional
            Its name; the last by default. Each galaxy is shown in the band where its highest peak is strongest.
        """
        model, table = model or self.models[-1], self["galaxies"]
        if "maps" not in self.tables:
            return None
        maps = self["maps"][np.asarray(self["maps"]["model"]) == model][:SHOWN]
        known = {int(row["row"]): row for row in table[np.asarray(table["model"]) == model][: len(maps)]}
        title = f"{model}: the {len(maps)} most implausible of {self.meta['galaxies']:,}"
        figure, axes = plots.canvas(4, len(maps), (1.35 * len(maps) + 0.5, 5.8), title)
        for column, row in zip(np.transpose(axes), maps, strict=True):
            _draw_galaxy(column, row, known[int(row["row"])], self.bands, self.meta["pixel_scale"])
        for line, label in zip(axes, ("source", "translated,\ndegraded", "residual", "point sources"), strict=True):
            line[0].set_ylabel(label)
        return figure


def _draw_galaxy(axes, maps, galaxy, bands, pixel_scale):
    band = str(galaxy["band"])
    k = bands.index(band)
    half = 0.5 * maps["source"].shape[-1] * pixel_scale, 0.5 * maps["source"].shape[-2] * pixel_scale
    place = dict(origin="lower", extent=(-half[0], half[0], -half[1], half[1]), interpolation="nearest")
    spread = np.nanstd(maps["source"][k]) + 1e-30
    noise = sigma_mad(maps["source"][k], ignore_nan=True) or spread
    top = np.arcsinh(np.nanmax(maps["degraded"][k]) / noise)
    for axis, name in zip(axes[:2], ("source", "degraded"), strict=True):
        axis.imshow(np.arcsinh(maps[name][k] / noise), cmap="gray_r", vmin=-1.5, vmax=max(top, 3), **place)
    for axis, name, limit in zip(axes[2:], ("residual", "significance"), (6, 12), strict=True):
        axis.imshow(maps[name][k], cmap="RdBu_r", vmin=-limit, vmax=limit, **place)
    axes[3].plot(float(galaxy["x"]), float(galaxy["y"]), "o", mfc="none", mec="k", ms=9, mew=0.7)
    score = float(galaxy["score"])
    axes[0].set_title(f"{int(galaxy['row'])}, {band}\n{galaxy['kind']}, score {score:.0f}", fontsize=6.5)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
