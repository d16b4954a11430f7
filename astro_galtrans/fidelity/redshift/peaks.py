r"""
What translation does to peak fluxes and colours, and how much these alone tell of the redshift.

The peak of a galaxy in a band is the highest pixel within 2 arcsec of the stamp's centre; its total is the flux in an
aperture of 6 arcsec diameter (`astro_galtrans.photoz.features`). Both are compared as asinh magnitudes,
which exist for negative fluxes too, and as colours of neighbouring bands.
"""

from itertools import pairwise

import numpy as np
from astropy.table import QTable

from astro_galtrans import photoz
from astro_galtrans._columns import plain
from astro_galtrans.fidelity.compare import BOOTSTRAP, sides
from astro_galtrans.fidelity.plots import redshift as plots
from astro_galtrans.fidelity.result import Result
from astro_galtrans.photoz.scores import information
from astro_galtrans.stamps.stamps import same_galaxies
from astro_galtrans.statistics import bootstrap as resampled
from astro_galtrans.statistics import sigma_mad

from .judges import imaging
from .selection import redshift_grid

__all__ = ["PeakFidelity", "peak_fidelity", "peaks_and_totals", "signal_to_noise"]

FEATURES = {"peak": "peaks", "total": "total"}  # quantity: what the photometric estimator is told of it
POGSON = 2.5 / np.log(10)  # magnitudes per relative change of a flux


class PeakFidelity(Result):
    """
    What `peak_fidelity` measured.

    ``statistics``
        Quantities are ``peak`` and ``total``. Their ``information`` (nats) is that of all bands together, for each set
        of images (``source`` and ``target`` among the models); ``bias`` and ``scatter`` (mag) are those of each
        translation against the target, with ``band`` a magnitude (``g``) or a colour (``g - r``); ``sky_noise`` (mag)
        is the scatter that the target's sky noise makes.
    """

    title = "Peak fluxes"
    key, claim = {"quantity": "peak", "statistic": "information"}, "what peak fluxes tell of the redshift (nats)"

    def plot_peak_information(self):
        """Information of peak and total fluxes in source, target and translations, as bars; None if not measured."""
        table, bars = self["statistics"], {}
        table = table[table["statistic"] == "information"]
        if not len(table):
            return None
        for row in table:
            bars.setdefault(str(row["model"]), {})[str(row["quantity"])] = row["value"], row["low"], row["high"]
        return plots.information_bars(bars, {}, n=int(table["n"][0]))

    def plot_peak_scatter(self):
        """Bias and scatter that translation adds to each peak, total and colour."""
        table = self["statistics"]
        return plots.magnitude_scatter(table[table["statistic"] != "information"])


def peaks_and_totals(stamps):
    """
    Return asinh magnitudes ``[N, C]`` of ``"peak"`` and ``"total"`` flux, without zero point, and their errors by sky
    noise.
    """
    import torch

    measure, flux = _fluxes(stamps)
    rows = {"peak": -1, "total": measure.total_row}
    with torch.inference_mode():
        magnitude = photoz.asinh_magnitudes(flux, measure.noise)
        # the derivative of an asinh magnitude whose softening is the noise
        error = POGSON / 2 / torch.sqrt(1 + (flux / (2 * measure.noise)) ** 2)
    return {kind: (magnitude[:, row].double().numpy(), error[:, row].double().numpy()) for kind, row in rows.items()}


def signal_to_noise(stamps):
    """Return the total flux of the middle band over its sky noise, ``[N]``; of several samples, that of the first."""
    measure, flux = _fluxes(stamps)
    middle = len(stamps.bands) // 2
    return (flux[:, measure.total_row, middle] / measure.noise[measure.total_row, middle]).double().numpy()


def _fluxes(stamps):
    """How stamps are measured, and their fluxes ``[N, A + 1, C]``."""
    import torch

    stamps = stamps.sample()
    measure = photoz.Photometry(*imaging(stamps).values(), min(stamps.shape))
    with torch.inference_mode():
        return measure, torch.cat([measure.fluxes(torch.from_numpy(stamps.read(rows))) for rows in stamps.blocks()])


def peak_fidelity(
    source, target, translated, z_spec, *, train=None, test=None, grid=None, folds=5, bootstrap=BOOTSTRAP,
    progress=True, **settings,
):  # fmt: skip
    """
    Measure what peaks and totals tell of the redshift, and what translation adds to them.

    Parameters
    ----------
    source, target, translated, z_spec
        As for `~astro_galtrans.fidelity.redshift.measure.redshift_fidelity`; of several samples the first is measured.
    train, test : array-like of int, optional
        Galaxies to train estimators of redshift on, and to measure; by default all are measured, by estimators trained
        on the other folds.
    grid : array-like, optional
        Redshift grid of the estimators.
    folds : int, optional
        Number of folds; 0 to leave the information out.
    bootstrap : `~astro_galtrans.statistics.bootstrap.Bootstrap`, optional
        How intervals are made. Its seed is that of the folds and of the estimators too.
    progress : bool, optional
        Show a progress bar on a terminal.
    **settings
        For `~astro_galtrans.photoz.train_photometric`.

    Returns
    -------
    `PeakFidelity`

    Raises
    ------
    ValueError
        If images do not match the redshifts, or there are too few galaxies to train on.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.stamps import Stamps
    >>> from astro_galtrans.surveys import Band, Survey
    >>> rng = np.random.default_rng(1)
    >>> axis = 0.2 * (np.arange(48) - 23.5)  # arcsec
    >>> clean = rng.uniform(50, 200, (40, 1, 1, 1)) * np.exp(-0.5 * (axis**2 + axis[:, None] ** 2) / 0.6**2)
    >>> survey = Survey("mine", "", 0.2, "adu", 30.0, [Band("r", fwhm=0.7, sky_rms=1.0)])
    >>> target = Stamps(clean + rng.normal(0, 1, clean.shape), survey)
    >>> from astro_galtrans.fidelity import peak_fidelity
    >>> z_spec = rng.uniform(0, 0.4, 40)
    >>> found = peak_fidelity(target, target, {"brighter": 1.1 * clean}, z_spec, progress=False)
    >>> found.models
    ['source', 'target', 'brighter']
    """
    from astro_galtrans._progress import tqdm

    z_spec = plain(z_spec)
    compared = sides(source, target, translated)
    same_galaxies(source=source, z_spec=z_spec)
    grid = redshift_grid(grid, z_spec, None)
    usable = np.isfinite(z_spec) & (z_spec >= grid[0]) & (z_spec <= grid[-1])
    train, test = ([] if rows is None else np.asarray(rows)[usable[rows]] for rows in (train, test))
    test = test if len(test) else np.flatnonzero(usable)
    intervals = {"n": bootstrap.resamples, "seed": bootstrap.seed, "level": bootstrap.level}
    measured, rows = {}, []
    for name, stamps in tqdm(compared.items(), desc="peaks", unit="set", disable=None if progress else True):
        stamps = stamps.sample()
        measured[name] = peaks_and_totals(stamps[test])
        for kind, features in FEATURES.items() if folds else ():
            options = settings | imaging(stamps) | {"features": features, "grid": grid, "seed": bootstrap.seed}
            gain = _gain(stamps, z_spec, train, test, folds, options)
            rows.append((name, "", kind, "information", *resampled(np.mean, gain, **intervals)))
    rows += _scatter(measured, target.bands, intervals)
    names = ["model", "band", "quantity", "statistic", "value", "low", "high", "n"]
    counts = {"galaxies": len(test), "training": len(train), "without redshift": int(np.count_nonzero(~usable))}
    counts |= {"folds": 0 if len(train) else folds, "seed": bootstrap.seed}
    return PeakFidelity({"statistics": QTable(rows=rows, names=names)}, counts)


def _gain(stamps, z_spec, train, test, folds, options):
    """Information in each galaxy tested, from an estimator that has not seen it."""
    images = stamps[test].images
    if len(train):
        estimator = photoz.train_photometric(stamps[train].images, z_spec[train], **options)
        return information(estimator.predict(images), z_spec[test], estimator.prior)
    pdfs = photoz.cross_validated(photoz.train_photometric, images, z_spec[test], folds=folds, **options)
    return information(pdfs, z_spec[test], photoz.training_prior(z_spec[test], options["grid"]))


def _scatter(measured, bands, intervals):
    """Rows of bias and scatter of each magnitude and colour of each translation against the real target."""
    rows = []
    for name in (name for name in measured if name not in {"source", "target"}):
        for kind in FEATURES:
            (ours, _), (real, error) = measured[name][kind], measured["target"][kind]
            for band, difference, noise in _magnitudes_and_colours(ours - real, error, bands):
                for statistic, function in (("bias", np.median), ("scatter", sigma_mad)):
                    rows.append((name, band, kind, statistic, *resampled(function, difference, **intervals)))
                rows.append((name, band, kind, "sky_noise", np.median(noise), np.nan, np.nan, len(noise)))
    return rows


def _magnitudes_and_colours(difference, error, bands):
    """Yield the label, differences and errors of each magnitude, and of each colour of neighbouring bands."""
    for k, band in enumerate(bands):
        yield band, difference[:, k], error[:, k]
    for k, pair in enumerate(pairwise(bands)):
        yield " - ".join(pair), difference[:, k] - difference[:, k + 1], np.hypot(error[:, k], error[:, k + 1])
