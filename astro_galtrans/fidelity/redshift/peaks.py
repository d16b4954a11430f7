r"""
What translation does to peak fluxes and colours, and how much these alone tell of the redshift.

The peak of a galaxy in a band is the highest pixel within 2 arcsec of the stamp's centre; its total is the flux in an
aperture of 6 arcsec diameter (`astro_galtrans.photoz.features`). Both are compared as asinh magnitudes,
which exist for negative fluxes too, and as colours of neighbouring bands.
"""

from itertools import pairwise

import numpy as np
from astropy.table import QTable
from astropy.units import mag

from astro_galtrans import photoz
from astro_galtrans.fidelity.plots import redshift as plots
from astro_galtrans.fidelity.result import Result
from astro_galtrans.photoz.scores import information
from astro_galtrans.stamps._old_lazy import batches
from astro_galtrans.stamps._sides import sides
from astro_galtrans.statistics import bootstrap, sigma_mad

from .selection import redshift_grid

__all__ = ["PeakFidelity", "peak_fidelity", "peaks_and_totals", "signal_to_noise"]

KINDS = "peak", "total"
FEATURES = {"peak": "peaks", "total": "total"}  # of the photometric estimator


class PeakFidelity(Result):
    """
    Tables ``information`` (nats that peaks or totals hold, per set of images) and ``scatter`` (bias and scatter of
    each magnitude and colour, per model).
    """

    title = "Peak fluxes"

    def plot_peak_information(self):
        """Information of peak and total fluxes in source, target and translations, as bars; None if not measured."""
        if "information" not in self.tables:
            return None
        table, bars = self["information"], {}
        for row in table:
            bars.setdefault(str(row["images"]), {})[str(row["features"])] = row["value"], row["low"], row["high"]
        return plots.information_bars(bars, {}, n=int(table["n"][0]))

    def plot_peak_scatter(self):
        """Bias and scatter that translation adds to each peak, total and colour."""
        return plots.magnitude_scatter(self["scatter"])


def peaks_and_totals(images, *, bands, pixel_scale, sky_rms):
    """
    Measure asinh magnitudes of the peak and of the total flux, without zero point.

    Parameters
    ----------
    images : array-like
        ``[N, C, H, W]``, square stamps centred on their galaxy.
    bands : sequence of str
        Names of the bands.
    pixel_scale : float
        In arcsec.
    sky_rms : sequence of float
        Sky noise of a pixel in each band, in the images' flux unit.

    Returns
    -------
    dict of str to tuple of `numpy.ndarray`
        ``"peak"`` and ``"total"`` to the magnitudes ``[N, C]`` and to what the sky noise makes of their errors.
    """
    import torch

    measure, flux = _fluxes(images, bands, pixel_scale, sky_rms)
    rows = {"peak": -1, "total": measure.total_row}
    with torch.inference_mode():
        magnitude = photoz.asinh_magnitudes(flux, measure.noise)
        error = 1.0857 / 2 / torch.sqrt(1 + (flux / (2 * measure.noise)) ** 2)  # softening and noise are the same
    return {kind: (magnitude[:, row].double().numpy(), error[:, row].double().numpy()) for kind, row in rows.items()}


def signal_to_noise(images, *, bands, pixel_scale, sky_rms):
    """
    Measure the total flux of the middle band over its sky noise.

    Parameters
    ----------
    images, bands, pixel_scale, sky_rms
        As for `peaks_and_totals`.

    Returns
    -------
    `numpy.ndarray`
        ``[N]``.
    """
    measure, flux = _fluxes(images, bands, pixel_scale, sky_rms)
    middle = len(bands) // 2
    return (flux[:, measure.total_row, middle] / measure.noise[measure.total_row, middle]).double().numpy()


def _fluxes(images, bands, pixel_scale, sky_rms):
    """How stamps are measured, and their fluxes ``[N, A + 1, C]``."""
    import torch

    size = min(np.shape(images[:1])[-2:])
    measure = photoz.Photometry(tuple(bands), float(pixel_scale), tuple(map(float, sky_rms)), size)
    with torch.inference_mode():
        parts = [measure.fluxes(torch.from_numpy(np.array(part, dtype=np.float32))) for part in batches(images)]
        return measure, torch.cat(parts)


def peak_fidelity(
    source, target, translated, z_spec, *, bands, pixel_scale, sky_rms, target_sky_rms, target_bands=None,
    target_pixel_scale=None, grid=None, train=None, test=None, folds=5, resamples=1000, seed=0,
    progress=True, **settings,
):  # fmt: skip
    """
    Measure what peaks and totals tell of the redshift, and what translation adds to them.

    Parameters
    ----------
    source, target : array-like
        ``[N, C, H, W]``: stamps of the same galaxies, centred, in the flux unit of their survey.
    translated : array-like or dict of str to array-like
        ``[N, C, H, W]``, or ``[N, S, C, H, W]``, of which the first sample is looked at.
    z_spec : array-like
        ``[N]``: redshifts.
    bands, pixel_scale, sky_rms, target_sky_rms, target_bands, target_pixel_scale
        As for `~astro_galtrans.fidelity.redshift.measure.redshift_fidelity`.
    grid : array-like, optional
        Redshift grid of the estimators.
    train, test : array-like of int, optional
        Galaxies to train estimators of redshift on, and to measure; by default all are measured, by estimators trained
        on the other folds.
    folds : int, optional
        Number of folds; 0 to leave the information out.
    resamples : int, optional
        Bootstrap resamples.
    seed : int, optional
        Seed of the folds, the estimators and the bootstrap.
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
    """
    from astro_galtrans._progress import tqdm

    z_spec = np.ma.filled(np.ma.asarray(z_spec, dtype=float), np.nan)
    found = sides(
        source, target, translated, len(z_spec), bands=bands, pixel_scale=pixel_scale, sky_rms=sky_rms,
        target_bands=target_bands, target_pixel_scale=target_pixel_scale, target_sky_rms=target_sky_rms,
    )  # fmt: skip
    grid = redshift_grid(grid, z_spec, None)
    usable = np.isfinite(z_spec) & (z_spec >= grid[0]) & (z_spec <= grid[-1])
    train, test = ([] if rows is None else np.asarray(rows)[usable[rows]] for rows in (train, test))
    test = test if len(test) else np.flatnonzero(usable)
    measured, informed = {}, []
    for side in tqdm(found.values(), desc="peaks", unit="set", disable=None if progress else True):
        measured[side.name] = peaks_and_totals(side.view(test), **side.imaging)
        for kind in KINDS if folds else ():
            options = settings | side.imaging | {"features": FEATURES[kind], "grid": grid, "seed": seed}
            gain = _gain(side, z_spec, train, test, folds, options)
            informed.append((side.name, kind, *bootstrap(np.mean, gain, n=resamples, seed=seed)))
    tables = {"scatter": _scatter(measured, found["target"].bands, {"n": resamples, "seed": seed})}
    if informed:
        names = ["images", "features", "value", "low", "high", "n"]
        tables = {"information": QTable(rows=informed, names=names)} | tables
    counts = {"galaxies": len(test), "training": len(train), "without redshift": int(np.count_nonzero(~usable))}
    return PeakFidelity(tables, counts | {"folds": 0 if len(train) else folds, "seed": seed})


def _gain(side, z_spec, train, test, folds, options):
    """Information in each galaxy tested, from an estimator that has not seen it."""
    if len(train):
        estimator = photoz.train_photometric(side.view(train), z_spec[train], **options)
        return information(estimator.predict(side.view(test)), z_spec[test], estimator.prior)
    pdfs = photoz.cross_validated(photoz.train_photometric, side.view(test), z_spec[test], folds=folds, **options)
    return information(pdfs, z_spec[test], photoz.training_prior(z_spec[test], options["grid"]))


def _scatter(measured, bands, resampling):
    """Bias and scatter of each magnitude and colour of each translation against the real target."""
    rows = []
    for name in (name for name in measured if name not in {"source", "target"}):
        for kind in KINDS:
            (ours, _), (real, error) = measured[name][kind], measured["target"][kind]
            for label, difference, noise in _quantities(ours - real, error, bands):
                value, low, high, n = bootstrap(_bias_and_scatter, difference, **resampling)
                spread = (value[1], low[1], high[1], np.median(noise))
                rows.append((name, kind, label, value[0], low[0], high[0], *spread, n))
    columns = ["model", "flux", "quantity", "bias", "bias_low", "bias_high", "scatter", "scatter_low", "scatter_high"]
    table = QTable(rows=rows, names=[*columns, "sky_noise", "n"])
    for column in [*columns[3:], "sky_noise"]:
        table[column].unit = mag
    return QTable(table)


def _quantities(difference, error, bands):
    """Yield the label, differences and errors of each magnitude, and of each colour of neighbouring bands."""
    for k, band in enumerate(bands):
        yield band, difference[:, k], error[:, k]
    for k, pair in enumerate(pairwise(bands)):
        yield " - ".join(pair), difference[:, k] - difference[:, k + 1], np.hypot(error[:, k], error[:, k + 1])


def _bias_and_scatter(values):
    return np.array([np.median(values), sigma_mad(values)])
