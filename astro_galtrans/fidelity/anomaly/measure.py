r"""
How implausible a translated image is, given the source: invented and lost structure, found without a true image.

Whatever the target survey would have seen, degraded to the PSF, pixels and filters of the source it must agree with
what the source saw, within the noise of the source. Each galaxy gets three probabilities that a perfect translation
disagrees as much as this one:

``score_chi2``
    of chi-squared over all pixels: anything that is widely wrong;
``score_peak``
    of the highest peak, of either sign, of the map of matched filtering: compact structure that is invented or lost,
    corrected for where one looked (`astro_galtrans.fidelity.anomaly.blanksky`);
``score_flux``
    of the error of the flux.

A score is :math:`-\log_{10} p`, and the galaxy's ``score`` that of the least of the three, corrected for there being
three: a perfect translation has a score above 2 in one galaxy of a hundred. Structure below the noise or the
resolution of the source cannot be told to be wrong without a true image.

Colour terms between filters are taken out (`astro_galtrans.fidelity.anomaly.colour_terms`), and what is not known
exactly is tolerated (`astro_galtrans.fidelity.anomaly.residuals.Tolerance`).
"""

from dataclasses import replace

import numpy as np
from astropy.table import QTable, vstack

from astro_galtrans.domain import sky_rms as measured_noise
from astro_galtrans.stamps._old_lazy import View, checked_images, named
from astro_galtrans.statistics import sigma_mad
from astro_galtrans.statistics.logprob import log_any, log_chi2_sf, score
from astro_galtrans.surveys import MOFFAT_BETA
from astro_galtrans.units import flux_factor

from .blanksky import blank_sky, log_peak_probability
from .colour_terms import ColourTerms, fit_colour_terms, measure_fluxes
from .degrade import Degrader
from .residuals import Noise, Tolerance, compare, measure_correlation, measure_own_factor
from .result import AnomalyResult

__all__ = ["anomalies", "measure_own_noise"]

BATCH = 32
FITTED = 2000  # galaxies that colour terms are fitted to
CORRELATED = 256  # galaxies whose residuals tell how noise is correlated
NOISE_FROM = 48  # stamps in which a translation's own noise is measured
WINGS_UNKNOWN = 0.5  # Moffat exponents scatter about 3.5 by so much of the range from 2.8 to 4.765
SHARE = 0.05  # of galaxies called anomalous, so many may be called so by chance


def anomalies(
    source, translated, *, bands, pixel_scale, sky_rms, psf, target_psf, target_bands=None, target=None,
    zeropoint=None, target_zeropoint=None, electrons=None, beta=MOFFAT_BETA, own_noise=None, variance=None, mask=None,
    noise="stated", colour_terms="fit", tolerance=None, degrade_source=False, worst=12, seed=0, progress=True,
):  # fmt: skip
    """
    Score how implausible translations are, given the source images.

    Parameters
    ----------
    source : array-like
        ``[N, C, H, W]``: stamps of the source survey, background-subtracted flux per pixel. Pixels that are not finite
        are left out. An array, or anything with a length that gives arrays for slices and arrays of indices.
    translated : array-like or dict of str to array-like
        Translations by name: ``[N, C', sH, sW]``, or ``[N, S, C', sH, sW]`` of which the first sample is looked at; s
        is a whole number.
    bands : sequence of str
        Bands of the source. Only those that the target has too are compared.
    pixel_scale : float
        Of the source (arcsec).
    sky_rms : sequence of float
        Sky noise of a pixel of the source, per band.
    psf, target_psf : float or array-like
        PSFs of source and target: FWHM (arcsec), one, per band or per galaxy and band; or images, see
        `astro_galtrans.measure.psf.as_psf`.
    target_bands : sequence of str, optional
        Bands of the translations; those of the source by default.
    target : array-like, optional
        ``[N, C', sH, sW]``: true images, if there are any. Colour terms are then measured on them, so that an error
        common to all translations is not taken for one, and they are scored too, as ``"target"``: a check of what is
        said of noise and PSF.
    zeropoint, target_zeropoint : float, optional
        AB magnitude of one flux unit of each survey. Without them both have the same unit.
    electrons : sequence of float, optional
        Electrons per flux unit of the source, per band, for photon noise; NaN or nothing for none.
    beta : float, optional
        Exponent of the Moffat profiles of PSFs that are given by FWHM; infinite for Gaussians.
    own_noise : sequence of float or dict of str to it, optional
        White noise in a pixel of the translations themselves, per band of the target; measured by default.
    variance : array-like, optional
        ``[N, C, H, W]``: noise variance of the source, instead of ``sky_rms`` and ``electrons``.
    mask : array-like, optional
        ``[N, C, H, W]`` or ``[N, H, W]``: True for pixels of the source to leave out.
    noise : {"stated", "measured"}, optional
        Take the noise for white, and as it is stated; or measure size and correlation of the residuals' noise, most
        pixels being sky. For images that were resampled, or whose noise is not known well.
    colour_terms : "fit", None or `~astro_galtrans.fidelity.anomaly.colour_terms.ColourTerms`, optional
        Between the filters: measured on the galaxies given, none, or known.
    tolerance : `~astro_galtrans.fidelity.anomaly.residuals.Tolerance`, optional
        What is not known exactly.
    degrade_source : bool, optional
        Compare at the target's PSF: for targets that are less sharp than the source.
    worst : int, optional
        Number of galaxies of each model whose maps are kept.
    seed : int, optional
        Of the blank sky that is simulated.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    `~astro_galtrans.fidelity.anomaly.result.AnomalyResult`

    Raises
    ------
    ValueError
        If numbers, shapes or bands do not fit, or the target's PSF is broader than the source's and ``degrade_source``
        is False; the message names the argument, and the band.
    """
    bands, target_bands, models = list(bands), list(target_bands or bands), named(translated)
    if "target" in models:
        msg = "a translation cannot be called 'target'; choose another name"
        raise ValueError(msg)
    if noise not in {"stated", "measured"}:
        msg = f"noise must be 'stated' or 'measured', got {noise!r}"
        raise ValueError(msg)
    models = ({} if target is None else {"target": target}) | models
    _check(source, models, bands, target_bands, variance, mask)
    factor = 1.0 if None in {zeropoint, target_zeropoint} else flux_factor(target_zeropoint, zeropoint)
    degrader = Degrader(
        len(source), np.shape(source[:1])[-2:], np.shape(next(iter(models.values()))[:1])[-2:], pixel_scale=pixel_scale,
        psf=psf, target_psf=target_psf, bands=bands, target_bands=target_bands, factor=factor, beta=beta,
        degrade_source=degrade_source,
    )  # fmt: skip
    sky, electrons = _per_band("sky_rms", sky_rms, bands), _per_band("electrons", electrons, bands)
    tolerance = _tolerance(tolerance or Tolerance(), psf)
    judge = _Judge(degrader, source, sky, electrons, tolerance, variance, mask, seed)
    galaxies, terms, maps = [], [], []
    for name, images in models.items():
        images, own = View(images), own_noise.get(name) if isinstance(own_noise, dict) else own_noise
        judge.noise = judge.noise_of(images, measure_own_noise(images) if own is None else own)
        if target is None or name == "target":
            judge.terms = _terms(colour_terms, judge, images, progress)
        judge.correlation = judge.correlation_of(images) if noise == "measured" else None
        table = judge.table(images, name, progress)
        galaxies.append(table)
        terms.append(judge.terms.table())
        maps.append(judge.maps(images, name, np.asarray(table["row"])[: min(worst, len(table))]))
    for table, name in zip(terms, models, strict=True):
        table.add_column(np.full(len(table), name), name="model", index=0)
    tables = {
        "summary": vstack([_summary(table, degrader.bands) for table in galaxies]),
        "galaxies": vstack(galaxies, metadata_conflicts="silent"), "terms": vstack(terms), "maps": vstack(maps),
    }  # fmt: skip
    about = {"bands": list(degrader.bands), "pixel_scale": float(pixel_scale), "galaxies": len(source)}
    about |= {
        "noise": noise,
        "margin": degrader.margin,
        "degrade_source": bool(degrade_source),
        "tolerance": vars(tolerance),
    }
    about |= {"equivalent_fwhm": _rounded(degrader.fwhm), "equivalent_target_fwhm": _rounded(degrader.target_fwhm)}
    return AnomalyResult(tables, about | {"not compared": [band for band in bands if band not in degrader.bands]})


def _rounded(values):
    return [round(float(value), 3) for value in values]


def _check(source, models, bands, target_bands, variance, mask):
    """Shapes that fit, before anything is done."""
    number, shape = len(source), np.shape(source[:1])[1:]
    checked_images("source", source, number, bands)
    for name, images in models.items():
        if len(images) != number:
            msg = f"{name} has {len(images)} images, the source {number}; give both of the same galaxies, in order"
            raise ValueError(msg)
        checked_images(name, images, number, target_bands, samples=name != "target")
        first = np.shape(next(iter(models.values()))[:1])[-2:]
        if np.shape(images[:1])[-2:] != first:
            msg = f"stamps of {name} have {np.shape(images[:1])[-2:]} pixels, those of {next(iter(models))} {first}"
            raise ValueError(msg)
    for name, planes in (("variance", variance), ("mask", mask)):
        wanted = {shape} if name == "variance" else {shape, shape[1:]}
        if planes is not None and (len(planes) != number or np.shape(planes[:1])[1:] not in wanted):
            got = (len(planes), *np.shape(planes[:1])[1:])
            msg = f"{name} must have the shape of the source, {(number, *shape)}, got {got}"
            raise ValueError(msg)


def _per_band(name, values, bands):
    if values is None:
        return np.full(len(bands), np.nan)
    values = np.array(values, dtype=float)
    if values.shape != (len(bands),) or not (np.isnan(values) | (values > 0)).all():
        msg = f"{name} must be one positive number per band ({', '.join(bands)}), got {values}"
        raise ValueError(msg)
    return values


def _tolerance(tolerance, psf):
    """With wings of the PSF unknown where only its FWHM is given."""
    if tolerance.wings is not None:
        return tolerance
    only_fwhm = not hasattr(psf, "transform") and np.ndim(psf) < 3
    return replace(tolerance, wings=WINGS_UNKNOWN if only_fwhm else 0.0)


def measure_own_noise(images):
    """
    Measure the noise of translations themselves, from differences of neighbouring pixels.

    Parameters
    ----------
    images : array-like
        ``[N, C, H, W]``.

    Returns
    -------
    `numpy.ndarray`
        ``[C]``: rms in a pixel, the median over some stamps.
    """
    rows = np.unique(np.linspace(0, len(images) - 1, NOISE_FROM).astype(int))
    found = [[measured_noise(plane, np.isfinite(plane)) or np.nan for plane in stamp] for stamp in images[rows]]
    return np.nan_to_num(np.nanmedian(np.array(found, dtype=float), axis=0))


def _terms(colour_terms, judge, images, progress):
    bands = judge.degrader.bands
    if colour_terms is None:
        return ColourTerms.none(bands)
    if isinstance(colour_terms, ColourTerms):
        if tuple(colour_terms.bands) != bands:
            msg = f"colour terms are for {', '.join(colour_terms.bands)}; the surveys share {', '.join(bands)}"
            raise ValueError(msg)
        return colour_terms
    if colour_terms != "fit":
        msg = f"colour_terms must be 'fit', None or ColourTerms, got {colour_terms!r}"
        raise ValueError(msg)
    rows = np.unique(np.linspace(0, len(images) - 1, FITTED).astype(int))
    return fit_colour_terms(
        bands, *measure_fluxes(judge.degrader, judge.source, images, judge.noise, rows=rows, progress=progress)
    )


class _Judge:
    """All that is the same for all models."""

    def __init__(self, degrader, source, sky, electrons, tolerance, variance, mask, seed):
        self.degrader, self.source, self.tolerance = degrader, source, tolerance
        self._sky, self._electrons = sky[degrader.in_source], electrons[degrader.in_source]
        self._variance, self._mask = variance, mask
        self.noise = self.terms = self.correlation = None
        self._size = tuple(n - 2 * degrader.margin for n in degrader.shape)
        middle = degrader.matched(np.array([len(source) // 2])).point()[0]
        self._blank = blank_sky(middle, degrader.frequencies.shape, self._size, seed=seed)

    def noise_of(self, images, own):
        """Noise with that of a translation."""
        own = _per_band("own_noise", np.maximum(own, 1e-30), range(images.shape[1]))
        return Noise(self._sky, self._electrons, own[self.degrader.in_target])

    def compare(self, images, rows):
        """`~astro_galtrans.fidelity.anomaly.residuals.Comparison` of some galaxies."""
        self.degrader.terms = self.terms.matrix
        calibration = (
            self.terms.tolerated if self.tolerance.flux is None else np.full(len(self._sky), self.tolerance.flux)
        )
        planes = {
            name: None if planes is None else np.asarray(planes[rows])
            for name, planes in (("variance", self._variance), ("mask", self._mask))
        }
        found = compare(
            self.degrader.matched(rows), np.asarray(self.source[rows], dtype=np.float32), images[rows], self.noise,
            self.tolerance, calibration, **planes,
        )  # fmt: skip
        return found if self.correlation is None else self.correlation.corrected(found)

    def correlation_of(self, images):
        """Measure the noise on some galaxies: the translation's own, and what is not white or not as stated."""
        self.correlation = None
        rows = np.unique(np.linspace(0, len(images) - 1, CORRELATED).astype(int))
        rows = np.array_split(rows, -(-len(rows) // BATCH))
        factor = measure_own_factor([self.compare(images, part) for part in rows])
        self.noise = replace(self.noise, own=self.noise.own * np.where(np.isfinite(factor), factor, 1))
        return measure_correlation([self.compare(images, part) for part in rows])

    def table(self, images, name, progress):
        """A row per galaxy, the worst first."""
        from astro_galtrans._progress import tqdm

        parts = []
        with tqdm(total=len(images), desc=name, unit="galaxy", disable=None if progress else True) as bar:
            for start in range(0, len(images), BATCH):
                rows = np.arange(start, min(start + BATCH, len(images)))
                parts.append(self._scores(self.compare(images, rows)) | {"row": rows})
                bar.update(len(rows))
        columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        anomalous = _discoveries(columns["score"])
        names = ["row", "score", "score_chi2", "score_peak", "score_flux"]
        table = QTable({"model": np.full(len(images), name), **{key: columns.pop(key) for key in names}})
        table.add_column(anomalous, name="anomalous", index=3)
        for key, values in columns.items():
            table[key] = values
        order = np.lexsort((table["row"], -table["score"]))
        return table[order]

    def maps(self, images, name, rows):
        """Maps of some galaxies as a table with images in its columns."""
        found = self.compare(images, rows)
        names = "source", "degraded", "residual", "significance"
        table = QTable({"model": np.full(len(rows), name), "row": rows})
        for key in names:
            table[key] = getattr(found, key).astype(np.float32)
        return table

    def _scores(self, found):
        """Columns of a batch: of the galaxy, and of each band."""
        peak, y, x = _extreme(found.significance)
        squares = np.nansum(found.significance.astype(float) ** 2, axis=1)
        highest = squares.reshape(len(squares), -1).argmax(axis=1)
        together = np.divmod(highest, squares.shape[-1])
        log_p = self._probabilities(found, peak, squares.max(axis=(1, 2)))
        signs = np.take_along_axis(
            found.significance.reshape(*found.significance.shape[:2], -1), highest[:, None, None], axis=2
        )[..., 0]
        strongest = np.abs(np.nan_to_num(signs)).argmax(axis=1)
        z = np.sum(np.nan_to_num(found.flux_error / found.flux_sigma**2), axis=1)
        inverse = np.sum(np.nan_to_num(1 / found.flux_sigma**2, posinf=0), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            flux_error, flux_sigma = z / inverse, 1 / np.sqrt(inverse)
        columns = {f"score_{name}": score(values) for name, values in log_p.items()}
        columns |= {
            "score": score(log_any(np.stack(list(log_p.values())), len(log_p), axis=0)),
            "kind": np.where(np.take_along_axis(signs, strongest[:, None], 1)[:, 0] > 0, "invented", "lost"),
            "band": np.array(self.degrader.bands)[strongest],
            "x": self._arcsec(together[1], 1), "y": self._arcsec(together[0], 0),
            "chi2_dof": found.chi2.sum(axis=1) / np.maximum(found.dof.sum(axis=1), 1),
            "flux_error": flux_error, "flux_sigma": flux_sigma,
        }  # fmt: skip
        each = {"chi2": found.chi2, "dof": found.dof, "peak": peak}
        each |= {"x": self._arcsec(x, 1), "y": self._arcsec(y, 0)}
        each |= {"flux_error": found.flux_error, "flux_sigma": found.flux_sigma}
        for k, band in enumerate(self.degrader.bands):
            columns |= {f"{key}_{band}": values[:, k] for key, values in each.items()}
        return columns

    def _probabilities(self, found, peak, together):
        """Logarithms of the three probabilities of each galaxy."""
        bands, (single, both) = peak.shape[1], self._blank.factors
        share = np.where(found.dof > 0, found.independent / np.maximum(found.dof, 1), 0)
        each = log_peak_probability(peak**2, 1, self._size, found.roughness, single)
        every = log_peak_probability(together, bands, self._size, found.roughness.mean(axis=1), both)
        z, weight = np.nan_to_num(found.flux_error / found.flux_sigma), np.nan_to_num(1 / found.flux_sigma)
        grey = (z * weight).sum(axis=1) ** 2 / np.maximum((weight**2).sum(axis=1), 1e-30)
        coloured = (z**2).sum(axis=1) - grey  # independent of an error that is common to the bands
        flux = np.stack([log_chi2_sf(grey, 1), log_chi2_sf(np.maximum(coloured, 0), bands - 1)])
        return {
            "chi2": log_chi2_sf((found.chi2 * share).sum(axis=1), found.independent.sum(axis=1)),
            "peak": log_any(np.column_stack([each, every]), self._blank.tests, axis=1),
            "flux": log_any(flux, min(bands, 2), axis=0),
        }

    def _arcsec(self, pixel, axis):
        return (pixel - (self.degrader.shape[axis] - 1) / 2) * self.degrader.frequencies.pixel_scale


def _extreme(maps):
    """Value of the largest absolute value of maps ``[n, C, H, W]``, and where it is: each ``[n, C]``."""
    flat = np.nan_to_num(maps).reshape(*maps.shape[:2], -1)
    place = np.abs(flat).argmax(axis=2)
    return np.take_along_axis(flat, place[..., None], 2)[..., 0].astype(float), *np.divmod(place, maps.shape[-1])


def _discoveries(scores):
    """Which galaxies are anomalous, so that of these one in twenty is by chance (Benjamini & Hochberg 1995)."""
    order = np.argsort(-scores)
    allowed = -np.log10(SHARE * np.arange(1, len(scores) + 1) / len(scores))
    passed = np.flatnonzero(scores[order] >= allowed)
    found = np.zeros(len(scores), bool)
    found[order[: passed[-1] + 1 if len(passed) else 0]] = True
    return found


def _summary(table, bands):
    """How a model does in each band, and in all."""
    rows = []
    for band in ("all", *bands):
        if band == "all":
            ratio, error = table["chi2_dof"], table["flux_error"]
        else:
            ratio, error = table[f"chi2_{band}"] / np.maximum(table[f"dof_{band}"], 1), table[f"flux_error_{band}"]
        low, middle, high = np.nanpercentile(ratio, [16, 50, 84])
        bias = np.nanmedian(error) if np.isfinite(error).any() else np.nan
        spread = sigma_mad(error, ignore_nan=True) if np.isfinite(error).any() else np.nan
        rows.append((str(table["model"][0]), band, len(table), middle, low, high, bias, spread))
    names = ["model", "band", "n", "chi2_dof", "chi2_dof_16", "chi2_dof_84", "flux_bias", "flux_scatter"]
    found = QTable(rows=rows, names=names)
    whole = np.asarray(found["band"]) == "all"
    for kind in ("", "_chi2", "_peak", "_flux"):
        share = float(np.mean(np.asarray(table[f"score{kind}"]) > 2))
        found[f"above_2{kind}"] = np.where(whole, share, np.nan)
    found["anomalous"] = np.where(whole, np.count_nonzero(table["anomalous"]), 0)
    return found
