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
from itertools import product

import numpy as np
from astropy.table import QTable

from astro_galtrans._columns import plain
from astro_galtrans.fidelity.compare import BOOTSTRAP, bins_of, by_values, sides
from astro_galtrans.photoz.metrics import pdf_metrics, point_metrics
from astro_galtrans.photoz.scores import information, scaled_residual
from astro_galtrans.stamps.stamps import same_galaxies
from astro_galtrans.statistics import bootstrap as resampled
from astro_galtrans.statistics import sigma_mad

from .judges import Judges, imaging
from .result import RATIOS, RedshiftFidelity, column
from .selection import FEWEST, redshift_grid, split, usable_redshifts

__all__ = ["redshift_fidelity"]

OUTLIER = 0.05  # of abs(dz), the SDSS convention
IN_BINS = "sigma_mad", "bias_median", "outlier_005", "information"
LABELS = {"model": "str", "reading": "str", "quantity": "str", "statistic": "str", "samples": "i8"}
FIGURES = {"value": "f8", "low": "f8", "high": "f8", "n": "i8"}
PLACES = {"by": "str", "bin_low": "f8", "bin_high": "f8", "middle": "f8"}


def redshift_fidelity(
    source, target, translated, z_spec, *, estimator="image", train=None, test=None, grid=None, ebv=None, by=None,
    bins=5, floor=0.0, bootstrap=BOOTSTRAP, directory=None, progress=True, **options,
):  # fmt: skip
    """
    Measure what translations keep of the redshift.

    Parameters
    ----------
    source, target : `~astro_galtrans.stamps.Stamps`
        The same N galaxies as the two surveys see them.
    translated : `~astro_galtrans.stamps.Stamps`, array-like or dict of str to these
        Translations of the source by name, in the bands, pixels and unit of the target. Of galaxies that train only
        the first sample is looked at.
    z_spec : array-like
        ``[N]``: redshifts. Galaxies without one (NaN, masked), with a negative one, or with one outside the grid are
        counted and left out.
    estimator : "image", "photometric", callable or dict, optional
        Who judges: one of the package's estimators, trained here; a function of ``(images, z_spec, *, bands,
        pixel_scale, sky_rms, grid, ebv, seed, ...)`` that trains one (with ``directory`` if one is given), where
        images are a numpy or dask array ``[n, C, H, W]``; or fitted estimators, ``{"target": ..., "source": ...,
        NAME: ...}``, where readings whose estimator is missing are left out.
    train, test : array-like or float, optional
        Galaxies that train and that test: numbers, one bool per galaxy, or for ``test`` a share to draw. Galaxies in
        neither argument are not used; if only one is given the rest is the other. A quarter tests by default.
    grid : array-like, optional
        Redshift grid of the PDFs; by default from zero to 5 % above the highest redshift.
    ebv : array-like, optional
        ``[N]``: Galactic reddening E(B-V), told to the estimators (mag).
    by : dict of str to array-like, optional
        Properties ``[N]`` of the galaxies to bin by, such as ``{"magnitude": r, "snr": snr}``; beside ``"z_spec"``,
        which is always there.
    bins : int or dict, optional
        Number of bins of equally many galaxies; or edges by the name of the property.
    floor : float, optional
        Share of the prior in every PDF when its information is counted, see
        `~astro_galtrans.photoz.scores.information`. Zero takes PDFs literally.
    bootstrap : `~astro_galtrans.statistics.bootstrap.Bootstrap`, optional
        How intervals are made. Its seed is that of the split and of the estimators too.
    directory : path-like, optional
        Where trained estimators are kept, and found again by a later call with the same images and settings.
    progress : bool, optional
        Show progress on a terminal.
    **options
        For the function that trains.

    Returns
    -------
    `~astro_galtrans.fidelity.redshift.result.RedshiftFidelity`

    Raises
    ------
    TypeError
        If source or target is no `~astro_galtrans.stamps.Stamps`.
    ValueError
        If numbers of images and redshifts differ, shapes, bands or pixel scales do not fit, training and test sets
        overlap (the message names the rows) or there are fewer than 20 galaxies to test on.

    Warns
    -----
    GaltransWarning
        If galaxies are left out; the message names the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.fidelity import redshift_fidelity
    >>> from astro_galtrans.stamps import Stamps
    >>> from astro_galtrans.surveys import get_survey
    >>> rng = np.random.default_rng(1)
    >>> z_spec = rng.uniform(0.1, 0.5, 200)
    >>> x = 0.396 * (np.arange(20) - 9.5)
    >>> colours = 40 * 10 ** np.outer(z_spec, [-1.2, 0, 0.4])
    >>> clean = colours[:, :, None, None] * np.exp(-0.5 * (x**2 + x[:, None] ** 2))
    >>> source, target = (
    ...     Stamps(clean + rng.normal(0, noise, clean.shape), get_survey("sdss").select("gri"), sky_rms=[noise] * 3)
    ...     for noise in (0.5, 0.1)
    ... )
    >>> found = redshift_fidelity(
    ...     source, target, {"copy": source.images}, z_spec, estimator="photometric", epochs=5, bins=2, progress=False
    ... )
    >>> found.models
    ['copy']
    """
    z_spec = plain(z_spec)
    compared = sides(source, target, translated)
    same_galaxies(source=source, z_spec=z_spec)
    for stamps in compared.values():
        imaging(stamps)  # whose errors are better raised before the first training than after it
    given = by_values(({} if ebv is None else {"ebv": ebv}) | dict(by or {}), len(z_spec))
    grid = redshift_grid(grid, z_spec, estimator)
    usable, counts = usable_redshifts(z_spec, grid)
    train, test = split(train, test, usable, bootstrap.seed, trains=not isinstance(estimator, dict))
    options = {"seed": bootstrap.seed} | options | {"grid": grid}
    judges = Judges(estimator, z_spec, train, ebv=given.pop("ebv", None), directory=directory, options=options)
    known = {"z_spec": z_spec[test]} | {name: values[test] for name, values in given.items()}
    intervals = {"n": bootstrap.resamples, "seed": bootstrap.seed, "level": bootstrap.level}
    settings = {"floor": floor} | vars(bootstrap)
    measured = [_measure(*found, known["z_spec"], settings) for found in _readings(judges, compared, test, progress)]
    whole = [reading for reading in measured if reading.name != "fewer"]
    counts |= {"training": len(train), "test": len(test)}
    rows = [row for reading in measured for row in reading.rows] + _ratios(whole, intervals)
    tables = {
        "statistics": _table(rows, LABELS | FIGURES),
        "bins": _table(_binned(whole, known, bins, intervals), PLACES | LABELS | FIGURES),
        "galaxies": _galaxies(whole, test, known),
        "stacks": QTable({"z": whole[0].grid} | {column("stack", r.name, r.model): r.stack for r in whole}),
        "counts": QTable({"galaxies": list(counts), "n": list(counts.values())}),
    }
    name = estimator if isinstance(estimator, str) else "given"
    return RedshiftFidelity(tables, {"estimator": name} | settings)


@dataclass(frozen=True, eq=False)
class _Reading:
    """What one reading says of each galaxy of the test set."""

    name: str  #: one of `READINGS`, or "fewer": an average over fewer samples than there are
    model: str  #: empty for target and source
    samples: int  #: whose PDFs were averaged
    rows: list  #: of the table of statistics
    z_phot: np.ndarray  #: medians of the PDFs
    dz: np.ndarray  #: their errors, over 1 + z
    information: np.ndarray
    pit: np.ndarray
    grid: np.ndarray
    stack: np.ndarray  #: mean PDF


def _readings(judges, compared, test, progress):
    """Yield name, model, number of samples, PDFs of the test set and prior of each reading."""
    from astro_galtrans._progress import tqdm

    translations = {name: stamps for name, stamps in compared.items() if name not in {"source", "target"}}
    trusting = judges.of("target", compared["target"])
    with tqdm(total=2 + 2 * len(translations), unit="reading", disable=None if progress else True) as bar:
        yield "target", "", 1, judges.predict(trusting, compared["target"], test), trusting.prior
        bar.update()
        for side, stamps in ({"source": compared["source"]} | translations).items():
            own = judges.of(side, stamps)
            name, model = ("source", "") if side == "source" else ("retrained", side)
            if own is not None:
                yield name, model, 1, judges.predict(own, stamps.sample(), test), own.prior
            bar.update()
        for model, stamps in translations.items():
            for number, pdfs in judges.averages(trusting, stamps, test):
                name = "plug_in" if number == 1 else "averaged" if number == stamps.n_samples else "fewer"
                yield name, model, number, pdfs, trusting.prior
            bar.update()


def _measure(name, model, samples, pdfs, prior, z_spec, settings):
    z_phot, gain = pdfs.median(), information(pdfs, z_spec, prior, settings["floor"])
    intervals = {key: settings[key] for key in ("resamples", "seed", "level")}
    tables = point_metrics(z_phot, z_spec, **intervals), pdf_metrics(pdfs, z_spec, prior=prior, **settings)
    labels = model, name
    rows = [
        (*labels, str(row["metric"]), "value", samples, *(row[key] for key in FIGURES))
        for table in tables
        for row in table
    ]
    dz = scaled_residual(z_phot, z_spec)
    return _Reading(name, model, samples, rows, z_phot, dz, gain, pdfs.cdf(z_spec), pdfs.z, pdfs.stack())


def _ratios(readings, intervals):
    """Rows of every ratio of every model, the galaxies resampled together above and below the line."""
    by_name, rows = {(reading.name, reading.model): reading for reading in readings}, []
    for model in dict.fromkeys(reading.model for reading in readings if reading.model):
        for quantity, (metric, name) in RATIOS.items():
            above, below = by_name.get((name, "" if name == "target" else model)), by_name.get(("source", ""))
            if above is None or below is None:
                continue
            function = {"information": np.mean, "sigma_mad": sigma_mad}[metric]
            columns = [reading.information if metric == "information" else reading.dz for reading in (above, below)]

            def quotient(part, whole, function=function):
                whole = function(whole)
                return function(part) / whole if whole > 0 else np.nan  # a share of nothing, or of less, means nothing

            found = resampled(quotient, *columns, **intervals)
            rows.append((model, name, quantity, "value", above.samples, *found))
    return rows


def _binned(readings, known, bins, intervals):
    """Rows of `IN_BINS` of every reading in bins of all that is known of the galaxies; NaN where they are too few."""
    rows, unknown = [], np.full((3, len(IN_BINS)), np.nan)
    for (where, inside), reading in product(bins_of(known, bins)[0], readings):
        found = unknown
        if len(inside) >= FEWEST:
            found = resampled(_summary, reading.dz[inside], reading.information[inside], **intervals)[:3]
        labels = *where.values(), reading.model, reading.name
        for k, quantity in enumerate(IN_BINS):
            rows.append((*labels, quantity, "value", reading.samples, *(part[k] for part in found), len(inside)))
    return rows


def _summary(dz, gain):
    """The metrics `IN_BINS`."""
    return np.array([sigma_mad(dz), np.median(dz), np.mean(np.abs(dz) > OUTLIER), np.mean(gain)])


def _table(rows, columns):
    return QTable(rows=rows or None, names=list(columns), dtype=list(columns.values()))


def _galaxies(readings, test, known):
    table = QTable({"row": test} | known)
    for reading in readings:
        for quantity in ("z_phot", "information", "pit"):
            table[column(quantity, reading.name, reading.model)] = getattr(reading, quantity)
    return table
