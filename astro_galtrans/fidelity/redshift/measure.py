r"""
What a translation keeps of the redshift: four readings of each model, and their ratios.

===========  ====================  ==================  =============================================================
reading      estimator trained on  applied to          question
===========  ====================  ==================  =============================================================
target       real target           real target         what the target survey knows
source       real source           real source         what could be known at all: a translation cannot add to it
retrained    translations          translations        how much of that the translation carried over
plug_in      real target           translations        what a user gets who trusts translations as if real
averaged     real target           all samples         the same for a translator that samples: PDFs averaged over them
===========  ====================  ==================  =============================================================

Information is :math:`I = \langle \ln p(z_\mathrm{spec} \mid \mathrm{image}) - \ln p(z_\mathrm{spec}) \rangle` in nats,
p(z) being the training distribution. *Retention* is I(retrained) / I(source); the *plug-in penalty* is
sigma_mad(plug_in) / sigma_mad(source), and I(plug_in) / I(source). If samples are draws from the true
:math:`p(y \mid x)`, then :math:`E[p(z \mid y')] = p(z \mid x)`, so I(averaged) / I(source), the *posterior
consistency*, goes to 1. All are measured on the same held-out galaxies, which intervals of ratios resample together.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from astropy.table import QTable, vstack

from astro_galtrans.fidelity.plots import redshift as plots
from astro_galtrans.fidelity.result import Result
from astro_galtrans.photoz.metrics import pdf_metrics, point_metrics
from astro_galtrans.photoz.pdfs import GridPDF
from astro_galtrans.photoz.scores import information, scaled_residual
from astro_galtrans.stamps._sides import RESERVED, sides
from astro_galtrans.statistics import bootstrap, sigma_mad
from astro_galtrans.statistics.bootstrap import bin_edges, in_bins

from .judges import Judges
from .selection import FEWEST, columns, redshift_grid, split, usable_redshifts

__all__ = ["READINGS", "RedshiftFidelity", "redshift_fidelity"]

OUTLIER = 0.05  # of abs(dz), the SDSS convention
IN_BINS = "sigma_mad", "bias_median", "outlier_005", "information"
READINGS = "target", "source", "retrained", "plug_in", "averaged"
RATIOS = {  # quantity: statistic, reading above, reading below
    "retention": ("information", "retrained", "source"),
    "plug_in_scatter": ("sigma_mad", "plug_in", "source"),
    "plug_in_information": ("information", "plug_in", "source"),
    "consistency": ("information", "averaged", "source"),
    "target_scatter": ("sigma_mad", "target", "source"),
    "target_information": ("information", "target", "source"),
}


class RedshiftFidelity(Result):
    """
    What `redshift_fidelity` measured.

    ``readings``
        Every metric of every reading of every model, with its interval.
    ``ratios``
        Retention, plug-in penalty and posterior consistency, with paired intervals; those of the target beside them.
        NaN where the source shows no information, and without interval where it might show none.
    ``samples``
        Scatter, outliers and information of the plug-in estimator's PDFs averaged over 1, 2, 4, ... samples, for
        translators that sample: does the average approach what the source tells, and how many samples does it take?
    ``bins``
        ``sigma_mad``, ``bias_median``, ``outlier_005`` and ``information`` in bins of magnitude, redshift and
        signal-to-noise.
    ``galaxies``
        One row per galaxy of the test set: ``z_phot``, ``information`` and ``pit`` of each reading.
    ``stacks``
        Mean PDF of each reading on the redshift grid.
    ``counts``
        How many galaxies were given, left out and why, trained on and tested on.
    """

    title = "Redshift fidelity"

    @property
    def models(self):
        """Names of the translations."""
        return list(dict.fromkeys(str(model) for model in self["ratios"]["model"]))

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
            for name in (_column(quantity, reading), _column(quantity, reading, model)):
                if name in table.colnames:
                    found[reading] = np.asarray(table[name])
        return found

    def value(self, reading, metric, model=""):
        """
        Return a metric of a reading: value, low, high.

        Parameters
        ----------
        reading : str
            One of `READINGS`.
        metric : str
            A metric of the table ``readings``.
        model : str, optional
            Name of the translation; none for target and source.
        """
        table = self["readings"]
        row = table[(table["model"] == model) & (table["reading"] == reading) & (table["metric"] == metric)]
        if len(row) != 1:
            msg = f"there is no {metric!r} of reading {reading!r} of model {model!r}"
            raise KeyError(msg)
        return tuple(float(row[name][0]) for name in ("value", "low", "high"))

    def plot_redshifts(self, model=None):
        """
        Photometric against spectroscopic redshift of each reading of a model, with residuals.

        Parameters
        ----------
        model : str, optional
            Name of the translation; the first by default.
        """
        model = model or self.models[0]
        return plots.redshift_panels(self["galaxies"]["z_spec"], self.of(model, "z_phot"), title=model)

    def plot_pit(self, model=None):
        """
        PIT histogram of each reading of a model.

        Parameters
        ----------
        model : str, optional
            Name of the translation; the first by default.
        """
        model = model or self.models[0]
        return plots.pit_histograms(self.of(model, "pit"), title=model)

    def plot_stack(self, model=None):
        """
        Stacked PDFs of each reading of a model over the histogram of redshifts.

        Parameters
        ----------
        model : str, optional
            Name of the translation; the first by default.
        """
        model = model or self.models[0]
        stacks = self.of(model, "stack")
        return plots.stacked_pdfs(self["stacks"]["z"], stacks, self["galaxies"]["z_spec"], title=model)

    def plot_bins(self, by="magnitude"):
        """
        Scatter and information of all readings of all models, side by side over bins; None if there are none.

        Parameters
        ----------
        by : str, optional
            ``"magnitude"``, ``"z_spec"`` or ``"snr"``.
        """
        table = self["bins"]
        table = table[table["by"] == by]
        if not len(table):
            return None
        panels = {model: [_binned(table, model, metric) for metric in BINNED] for model in self.models}
        title, logarithmic = f"n = {len(self['galaxies']):,}", by == "snr"
        labels = {"xlabel": LABELS.get(by, by), "ylabels": list(BINNED.values())}
        return plots.metric_over_bins(panels, **labels, logarithmic=logarithmic, title=title)

    def plot_information(self):
        """Information of each model as bars, against that of source and target."""
        table = self["readings"]
        table = table[table["metric"] == "information"]
        bars = {model: {} for model in self.models}
        limits = {}
        for row in table:
            where = bars[str(row["model"])] if row["model"] else limits
            where[str(row["reading"])] = float(row["value"]), float(row["low"]), float(row["high"])
        return plots.information_bars(bars, limits, n=len(self["galaxies"]))

    def figures(self):
        """Yield the name and figure of everything there is to draw, for every model."""
        yield "information", self.plot_information()
        for by in dict.fromkeys(map(str, self["bins"]["by"])):
            yield f"bins_{by}", self.plot_bins(by)
        for model in self.models:
            for kind in ("redshifts", "pit", "stack"):
                yield f"{kind}_{model}", getattr(self, f"plot_{kind}")(model)


LABELS = {"z_spec": r"$z_\mathrm{spec}$", "snr": "signal-to-noise"}
BINNED = {"sigma_mad": r"$\sigma_\mathrm{MAD}$", "information": "information (nats)"}


def _binned(table, model, metric):
    """Reading to x, value, low and high of a metric in bins, for target, source and one model."""
    chosen, found = table[(table["metric"] == metric) & np.isfinite(table["value"])], {}
    for reading in READINGS:
        rows = chosen[(chosen["reading"] == reading) & np.isin(chosen["model"], ["", model])]
        if len(rows):
            found[reading] = tuple(np.asarray(rows[name], dtype=float) for name in ("middle", "value", "low", "high"))
    return found


def redshift_fidelity(
    source, target, translated, z_spec, *, bands, pixel_scale, sky_rms, target_sky_rms, target_bands=None,
    target_pixel_scale=None, estimator="image", train=None, test=None, grid=None, ebv=None, magnitudes=None, snr=None,
    bins=5, floor=0.0, resamples=1000, seed=0, directory=None, progress=True, **options,
):  # fmt: skip
    """
    Measure what translations keep of the redshift.

    Parameters
    ----------
    source, target : array-like
        ``[N, C, H, W]``: stamps of the same galaxies as the two surveys see them, galaxy at the centre, flux per pixel
        in the survey's unit. Arrays, or anything with a length that gives arrays for slices and arrays of indices.
    translated : array-like or dict of str to array-like
        Translations of the source, by name: ``[N, C, H, W]``, or ``[N, S, C, H, W]`` with S samples each. Of training
        galaxies only the first sample is looked at. Same bands, pixels and unit as the target.
    z_spec : array-like
        ``[N]``: redshifts. Galaxies without one (NaN, masked), with a negative one, or with one outside the grid are
        counted and left out.
    bands : sequence of str
        Bands of the source.
    pixel_scale : float
        Of the source (arcsec).
    sky_rms, target_sky_rms : sequence of float
        Sky noise of a pixel per band of source and target, each in its own flux unit.
    target_bands : sequence of str, optional
        Bands of target and translations; those of the source by default.
    target_pixel_scale : float, optional
        Of target and translations (arcsec); by default from the same field in another number of pixels.
    estimator : "image", "photometric", callable or dict, optional
        Who judges: one of the package's estimators, trained here; a function of ``(images, z_spec, *, bands,
        pixel_scale, sky_rms, grid, ebv, seed, ...)`` that trains one (with ``directory`` if one is given); or fitted
        ones, ``{"target": ..., "source": ..., NAME: ...}``, where the readings of what is not there are left out.
    train, test : array-like or float, optional
        Galaxies that train and that test: numbers, one bool per galaxy, or for ``test`` a share to draw. What is in
        neither argument is not used; if only one is given the rest is the other. A quarter tests by default.
    grid : array-like, optional
        Redshift grid of the PDFs; by default from zero to 5 % above the highest redshift.
    ebv : array-like, optional
        ``[N]``: Galactic reddening E(B-V), told to the estimators (mag).
    magnitudes, snr : array-like, optional
        ``[N]``: magnitude and signal-to-noise of each galaxy, to bin by.
    bins : int or dict, optional
        Number of bins of equally many galaxies; or edges by the name of what is binned: ``"magnitude"``, ``"z_spec"``,
        ``"snr"``.
    floor : float, optional
        Share of the prior in every PDF when its information is counted, see
        `~astro_galtrans.photoz.scores.information`. Zero takes PDFs literally.
    resamples : int, optional
        Bootstrap resamples; 0 for no intervals.
    seed : int, optional
        Seed of the split, the estimators and the bootstrap.
    directory : path-like, optional
        Where trained estimators are kept, and found again by a later call with the same images and settings.
    progress : bool, optional
        Show progress on a terminal.
    **options
        For the function that trains.

    Returns
    -------
    `RedshiftFidelity`

    Raises
    ------
    ValueError
        If numbers of images and redshifts differ, shapes, bands or pixel scales do not fit, training and test sets
        overlap (the message names the rows) or there are fewer than 20 galaxies to test on.

    Warns
    -----
    GaltransWarning
        If galaxies are left out; the message names the rows.
    """
    z_spec = np.ma.filled(np.ma.asarray(z_spec, dtype=float), np.nan)
    compared = sides(
        source, target, translated, len(z_spec), bands=bands, pixel_scale=pixel_scale, sky_rms=sky_rms,
        target_bands=target_bands, target_pixel_scale=target_pixel_scale, target_sky_rms=target_sky_rms,
    )  # fmt: skip
    given = columns({"magnitude": magnitudes, "snr": snr, "ebv": ebv}, len(z_spec))
    grid = redshift_grid(grid, z_spec, estimator)
    usable, counts = usable_redshifts(z_spec, grid)
    train, test = split(train, test, usable, seed, trains=not isinstance(estimator, dict))
    options = options | {"grid": grid, "seed": seed}
    judges = Judges(estimator, z_spec, train, ebv=given.pop("ebv", None), directory=directory, options=options)
    known = {"z_spec": z_spec[test]} | {name: values[test] for name, values in given.items()}
    settings = {"floor": floor, "resamples": resamples, "seed": seed}
    pdfs = _readings(judges, compared, test, progress)
    measured = [_measure(*found, known["z_spec"], settings) for found in pdfs]
    readings = [reading for reading in measured if reading.name]
    counts |= {"training": len(train), "test": len(test)}
    tables = {
        "readings": vstack([_labelled(r.metrics, model=r.model, reading=r.name) for r in readings]),
        "ratios": _ratios(readings, list(compared)[2:], known["z_spec"], settings),
        "samples": _by_samples(measured, known["z_spec"], settings),
        "bins": _binned_metrics(readings, known, bins, settings),
        "galaxies": _galaxies(readings, test, known),
        "stacks": QTable({"z": readings[0].grid} | {_column("stack", r.name, r.model): r.stack for r in readings}),
        "counts": QTable({"galaxies": list(counts), "n": list(counts.values())}),
    }
    name = estimator if isinstance(estimator, str) else "given"
    return RedshiftFidelity(tables, {"estimator": name} | settings)


@dataclass(frozen=True, eq=False)
class _Reading:
    """What one reading says of each galaxy of the test set."""

    name: str  #: empty for an average over some of the samples
    model: str  #: empty for target and source
    samples: int  #: of how many the PDFs are the average
    metrics: QTable | None  #: of those with a name
    z_phot: np.ndarray  #: medians of the PDFs
    information: np.ndarray
    pit: np.ndarray
    grid: np.ndarray
    stack: np.ndarray  #: mean PDF


def _readings(judges, compared, test, progress):
    """Yield name, model, number of samples, PDFs of the test set and prior of each reading."""
    from astro_galtrans._progress import tqdm

    translations = [side for name, side in compared.items() if name not in RESERVED]
    trusting = judges.of(compared["target"])
    with tqdm(total=2 + 2 * len(translations), unit="reading", disable=None if progress else True) as bar:
        yield "target", "", 1, judges.predict(trusting, compared["target"], test), trusting.prior
        bar.update()
        for side in (compared["source"], *translations):
            own = judges.of(side)
            name, model = ("source", "") if side.name == "source" else ("retrained", side.name)
            if own is not None:
                yield name, model, 1, judges.predict(own, side, test), own.prior
            bar.update()
        for side in translations:
            for number, pdfs in _averages(judges, trusting, side, test):
                name = "plug_in" if number == 1 else "averaged" if number == side.samples else ""
                yield name, side.name, number, pdfs, trusting.prior
            bar.update()


def _averages(judges, trusting, side, test):
    """Yield the PDFs of the first sample, and of 2, 4, ... and all samples the average."""
    total, last = 0.0, side.samples or 1
    for number in range(1, last + 1):
        pdfs = judges.predict(trusting, side, test, number - 1)
        total = total + pdfs.density
        if number == last or number.bit_count() == 1:
            yield number, pdfs if number == 1 else GridPDF(pdfs.z, total / number)


def _measure(name, model, samples, pdfs, prior, z_spec, settings):
    z_phot, gain = pdfs.median(), information(pdfs, z_spec, prior, settings["floor"])
    metrics = _metrics(pdfs, z_phot, prior, z_spec, settings) if name else None
    return _Reading(name, model, samples, metrics, z_phot, gain, pdfs.cdf(z_spec), pdfs.z, pdfs.stack())


def _metrics(pdfs, z_phot, prior, z_spec, settings):
    point = point_metrics(z_phot, z_spec, resamples=settings["resamples"], seed=settings["seed"])
    metrics = vstack([point, pdf_metrics(pdfs, z_spec, prior=prior, **settings)], metadata_conflicts="silent")
    metrics.meta.clear()
    return metrics


def _labelled(table, **labels):
    """A table with columns of one value each put before its own."""
    table = table.copy()
    for name, value in reversed(labels.items()):
        table.add_column([value] * len(table), name=name, index=0)
    return table


def _by_samples(readings, z_spec, settings):
    """`IN_BINS` of the plug-in estimator by the number of samples that were averaged, for models that have several."""
    sampled = {reading.model for reading in readings if reading.samples > 1}
    every, rows = np.ones(len(z_spec), dtype=bool), []
    for reading in readings:
        if reading.model in sampled and reading.name in {"plug_in", "averaged", ""}:
            found = _metrics_of(reading, every, z_spec, settings)
            rows += [(reading.model, reading.samples, *metric) for metric in found]
    names = ["model", "samples", "metric", "value", "low", "high", "n"]
    return QTable(rows=rows or None, names=names, dtype=["str", "i8", "str", "f8", "f8", "f8", "i8"])


def _ratios(readings, models, z_spec, settings):
    """Every ratio of every model, the galaxies resampled together above and below the line."""
    by_name = {(reading.name, reading.model): reading for reading in readings}
    rows = []
    for model in models:
        for quantity, (statistic, above, below) in RATIOS.items():
            pair = [by_name.get((name, model), by_name.get((name, ""))) for name in (above, below)]
            if None in pair:
                continue
            found = _ratio(statistic, *pair, z_spec, settings)
            rows.append((model, quantity, statistic, above, below, *found))
    names = ["model", "quantity", "statistic", "above", "below", "value", "low", "high", "n"]
    return QTable(rows=rows or None, names=names, dtype=["str"] * 5 + ["f8"] * 3 + ["i8"])


def _ratio(statistic, above, below, z_spec, settings):
    function = {"information": np.mean, "sigma_mad": sigma_mad}[statistic]
    columns = [
        reading.information if statistic == "information" else scaled_residual(reading.z_phot, z_spec)
        for reading in (above, below)
    ]

    def quotient(a, b):
        part, whole = function(a), function(b)
        return part / whole if whole > 0 else np.nan  # a share of nothing, or of less, means nothing

    return bootstrap(quotient, *columns, n=settings["resamples"], seed=settings["seed"])


def _binned_metrics(readings, known, bins, settings):
    """Four metrics of every reading in bins of all that is known of the galaxies."""
    rows = []
    for by, values in known.items():
        edges = bin_edges(values, bins.get(by, 5) if isinstance(bins, dict) else bins)
        index = in_bins(values, edges)
        for k, (low, high) in enumerate(pairwise(edges)):
            inside = index == k
            middle = np.median(values[inside]) if inside.any() else (low + high) / 2
            for reading in readings:
                place = by, low, high, middle, reading.model, reading.name
                rows += [(*place, *metric) for metric in _metrics_of(reading, inside, known["z_spec"], settings)]
    names = ["by", "bin_low", "bin_high", "middle", "model", "reading", "metric", "value", "low", "high", "n"]
    return QTable(rows=rows, names=names)


def _metrics_of(reading, inside, z_spec, settings):
    """Name, value, low, high and number of each metric of some galaxies; NaN where they are too few."""
    n = int(inside.sum())
    if n < FEWEST:
        return [(metric, np.nan, np.nan, np.nan, n) for metric in IN_BINS]
    columns = scaled_residual(reading.z_phot[inside], z_spec[inside]), reading.information[inside]
    found = bootstrap(_summary, *columns, n=settings["resamples"], seed=settings["seed"])
    return [(metric, *(float(part[k]) for part in found[:3]), n) for k, metric in enumerate(IN_BINS)]


def _summary(dz, gain):
    """The metrics `IN_BINS`."""
    return np.array([sigma_mad(dz), np.median(dz), np.mean(np.abs(dz) > OUTLIER), np.mean(gain)])


def _galaxies(readings, test, known):
    table = QTable({"row": test} | known)
    for reading in readings:
        for quantity in ("z_phot", "information", "pit"):
            table[_column(quantity, reading.name, reading.model)] = getattr(reading, quantity)
    return table


def _column(quantity, reading, model=""):
    return "_".join(filter(None, (quantity, reading, model)))
