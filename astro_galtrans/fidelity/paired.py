"""What the results of pixels, photometry and morphology have in common: figures of each galaxy, and their pictures."""

from dataclasses import asdict, replace

import numpy as np

from astro_galtrans.fidelity.plots import images as plots
from astro_galtrans.stamps.stamps import check_noise, translations

from .compare import APART
from .result import Result

__all__ = ["PairedResult", "PairedStatistics", "checked", "measured_alike", "readings", "settings_of"]

TAKES = {"first": (0,), "mean": ("mean",), "both": (0, "mean")}  # what is looked at of several samples


def checked(target, translated, take):
    """Return translations by name as `Stamps`, once they can be compared with real images."""
    check_noise(target)
    if target.n_samples is not None:
        msg = f"real images have no samples, {target.name} has {target.n_samples}; choose one with sample()"
        raise ValueError(msg)
    if take not in TAKES:
        msg = f"take must be one of {', '.join(TAKES)}, got {take!r}"
        raise ValueError(msg)
    return translations(target, translated)


def readings(name, stamps, take):
    """
    Return the names that a translation has in tables, and which of its samples is meant by each.

    That is 0 for the first one, or ``"mean"``, as `~astro_galtrans.stamps.Stamps.sample` takes them.
    """
    takes = TAKES[take] if (stamps.n_samples or 1) > 1 else (0,)
    return {f"{name}, mean" if which == "mean" and len(takes) > 1 else name: which for which in takes}


def measured_alike(target, translated, take):
    """Return each reading as `Stamps` with noise, mask, variance and PSF of the real ones: both are measured alike."""
    return {
        label: replace(target, images=stamps.sample(which).images, name=label)
        for name, stamps in translated.items()
        for label, which in readings(name, stamps, take).items()
    }


def settings_of(target, translated, bootstrap):
    """Return what the meta data of a result say of its input."""
    samples = {name: stamps.n_samples for name, stamps in translated.items() if stamps.n_samples}
    about = {"galaxies": len(target), "bands": list(target.bands), "pixel_scale": target.pixel_scale}
    return about | {"samples": samples} | asdict(bootstrap)


class PairedResult(Result):
    """
    Comparison of real and translated images of the same galaxies.

    Besides ``statistics`` and ``bins`` there is ``galaxies``, with a row per model, galaxy and band. ``n`` counts the
    galaxies measured; ``not_in_target``, ``not_in_translated`` and ``not_in_both`` count those that could not be
    measured in the real image alone, in the translated alone, in either.
    """

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
        rows = self.rows("galaxies", model=model or self.models[0], band=band or self._middle)
        if quantity not in rows.colnames:
            msg = f"there is no {quantity!r} of each galaxy; there are {', '.join(rows.colnames[3:])}"
            raise KeyError(msg)
        return np.asarray(rows[quantity], dtype=float)

    def gallery(self, metric, target, translated, *, model=None, band=None, **options):
        """
        Draw the galaxies that are best, as usual and worst by a metric.

        Parameters
        ----------
        metric : str
            A quantity of each galaxy, see ``scores``.
        target, translated : `~astro_galtrans.stamps.Stamps`
            Real stamps, and those of the model: the images that were compared. Translated stamps may be an array.
        model, band : str, optional
            The first model and the middle band by default.
        **options
            Of `~astro_galtrans.fidelity.plots.gallery.gallery`: ``source``, ``show``, ``number``, ``sample``.
        """
        from astro_galtrans.fidelity.plots.gallery import gallery

        model, band = model or self.models[0], band or self._middle
        labels = {"label": metric, "title": f"{model}, by {metric} in {band}"}
        return gallery(self.scores(metric, model, band), target, translated, **labels | options)

    @property
    def _middle(self):
        return self.bands[len(self.bands) // 2]

    def _panels(self):
        """Labels of panels to the labels of the rows they show, and to the value of a perfect translation."""
        raise NotImplementedError

    def plot_bands(self):
        """The main figures of all models, band by band."""
        shown, perfect = self._panels()
        return plots.by_band(self["statistics"], shown, self.bands, lines=perfect)

    def plot_bins(self, by=None, band=None):
        """
        The main figures of all models in bins; None if nothing was binned.

        Parameters
        ----------
        by : str, optional
            What was binned; the first by default.
        band : str, optional
            The middle one by default.
        """
        if "bins" not in self.tables:
            return None
        by, band, (shown, perfect) = by or str(self["bins"]["by"][0]), band or self._middle, self._panels()
        return plots.over_bins(self.rows("bins", by=by, band=band), shown, by, lines=perfect, title=band)


class PairedStatistics(PairedResult):
    """Result whose statistics are of quantities measured in both images: bias and scatter of ratios or differences."""

    shown = {}  #: quantity to its label in figures

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
        apart = self._apart(metric, lambda name: self.of_galaxies(name, model, band))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.abs(np.log10(apart) if self._pairs.get(metric) == "ratio" else apart)

    @property
    def _pairs(self):
        """How each quantity is compared."""
        table = self["statistics"]
        return dict(zip(map(str, table["quantity"]), map(str, table["pair"]), strict=True))

    def _apart(self, quantity, column):
        """Ratio or difference of each galaxy, from a function that gives columns of ``galaxies``."""
        pair = self._pairs.get(quantity, "difference")
        with np.errstate(divide="ignore", invalid="ignore"):
            return APART[pair](column(quantity), None if pair == "itself" else column(f"{quantity}_target"))

    def _panels(self):
        pairs = {name: pair for name, pair in self._pairs.items() if name in self.shown}
        panels = {
            f"{self.shown[name]}, {statistic}": {"quantity": name, "statistic": statistic}
            for name in self.shown if name in pairs for statistic in ("bias", "scatter")
        }  # fmt: skip
        return panels, {f"{self.shown[name]}, bias": float(pair == "ratio") for name, pair in pairs.items()}

    def plot_violins(self, band=None):
        """
        Distributions of the paired ratios (minus one) or differences of all models; None without a table of galaxies.

        Parameters
        ----------
        band : str, optional
            The middle one by default.
        """
        if "galaxies" not in self.tables:
            return None
        band, found, labels = band or self._middle, {}, {}
        for quantity, label in self.shown.items():
            if quantity in self._pairs and quantity in self["galaxies"].colnames:
                ratio = self._pairs[quantity] == "ratio"
                labels[quantity] = f"{label} - 1" if ratio else label
                found[quantity] = {
                    model: self._apart(quantity, lambda name, model=model: self.entering(name, model, band)) - ratio
                    for model in self.models
                }
        return plots.violins(found, ylabels=labels, title=band)

    def entering(self, name, model, band):
        """Return a column of ``galaxies``, NaN for galaxies that enter no statistic."""
        return self.of_galaxies(name, model, band)
