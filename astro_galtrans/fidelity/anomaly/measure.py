r"""
How implausible a translated image is, given the source: invented and lost structure, found without a true image.

Whatever the target survey would have seen, degraded to the PSF, pixels and filters of the source it must agree with
what the source saw, within the noise of the source. Each galaxy gets three probabilities that a perfect translation
disagrees as much as this one:

``score_chi2``
    of chi-squared over all pixels: anything that is widely wrong;
``score_peak``
    of the highest peak, of either sign, of the map of matched filtering: compact structure that is invented or lost,
    corrected for where one looked (``astro_galtrans.fidelity.anomaly.blanksky``);
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
from scipy.stats import false_discovery_control

from astro_galtrans.domain import sky_rms as measured_noise
from astro_galtrans.fidelity.compare import sides
from astro_galtrans.statistics import sigma_mad
from astro_galtrans.statistics.logprob import log_any, log_chi2_sf, score

from .blanksky import blank_sky, log_peak_probability
from .colour_terms import ColourTerms, fit_colour_terms, measure_fluxes
from .degrade import BATCH, Degrader
from .residuals import Noise, Tolerance, compare, measure_correlation, measure_own_factor
from .result import AnomalyResult

__all__ = ["anomalies", "measure_own_noise"]

FITTED = 2000  # galaxies that colour terms are fitted to: their error is then far below the scatter tolerated
CORRELATED = 256  # galaxies whose residuals tell how noise is correlated: some 10^5 pixels of sky
NOISE_FROM = 48  # stamps in which a translation's own noise is measured: enough for a median
WINGS_UNKNOWN = 0.5  # Moffat exponents scatter about 3.5 by so much of the range of `residuals.WINGS`
SHARE = 0.05  # false discovery rate of anomalous galaxies (Benjamini & Hochberg 1995): one in twenty is so by chance


def anomalies(
    source, translated, *, target=None, noise="stated", own_noise=None, colour_terms="fit", tolerance=None,
    worst=12, seed=0, progress=True,
):  # fmt: skip
    """
    Score how implausible translations are, given the source images.

    Parameters
    ----------
    source : `~astro_galtrans.stamps.Stamps`
        With PSF, and noise: the variance of pixels, or else sky noise and, where the survey knows them, electrons.
        Pixels that are masked or not finite are left out.
    translated : `~astro_galtrans.stamps.Stamps`, array-like or dict of str to these
        Translations by name, of whose samples the first is looked at; with whole numbers of their pixels in one of the
        source. Bands that both surveys have are compared. Arrays need ``target``, which says whose images they are;
        the PSF of translations is that of the target, or else of the first of them.
    target : `~astro_galtrans.stamps.Stamps`, optional
        True images. Colour terms are then measured on them, so that an error common to all translations is not taken
        for one, and they are scored too, as ``"target"``: a check of what is said of noise and PSF.
    noise : {"stated", "measured"}, optional
        Take the noise for white, and as it is stated; or measure size and correlation of the residuals' noise of each
        galaxy in its pixels without light: for images that were resampled, or whose noise is not known well.
    own_noise : sequence of float or dict of str to it, optional
        White noise in a pixel of the translations themselves, per band of the target; measured by default.
    colour_terms : "fit", None or `~astro_galtrans.fidelity.anomaly.colour_terms.ColourTerms`, optional
        Between the filters: measured on the galaxies given, none, or known.
    tolerance : `~astro_galtrans.fidelity.anomaly.residuals.Tolerance`, optional
        What is not known exactly.
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
    TypeError
        If nothing says of which survey the images are.
    ValueError
        If numbers, shapes or bands do not fit; the message names the argument, and the band.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.fidelity import anomalies
    >>> from astro_galtrans.stamps import Stamps
    >>> from astro_galtrans.surveys import get_survey
    >>> axis = 0.396 * (np.arange(32) - 15.5)  # arcsec
    >>> light = lambda x, y: np.exp(-0.5 * ((axis - x) ** 2 + (axis[:, None] - y) ** 2) / 0.6**2)
    >>> clean = np.tile(3 * light(0, 0), (20, 2, 1, 1))
    >>> source = clean + np.random.default_rng(1).normal(0, 0.02, clean.shape)
    >>> clean[7] += 0.5 * light(2.4, -2)  # invented
    >>> source, translated = (Stamps(images, get_survey("sdss").select("gr"), psf=1.3) for images in (source, clean))
    >>> found = anomalies(source, {"mine": translated}, colour_terms=None, progress=False)
    >>> found["galaxies"]["row", "kind"][0].as_void().item()
    (7, 'invented')
    """
    if noise not in {"stated", "measured"}:
        msg = f"noise must be 'stated' or 'measured', got {noise!r}"
        raise ValueError(msg)
    models = sides(source, target, translated)
    models.pop("source")
    degrader = Degrader(source, next(iter(models.values())))
    judge = _Judge(degrader, source, _tolerance(tolerance or Tolerance(), source.psf), seed)
    galaxies, terms, maps = [], [], []
    for name, stamps in models.items():
        stamps, own = stamps.sample(), own_noise.get(name) if isinstance(own_noise, dict) else own_noise
        judge.noise = judge.noise_of(measure_own_noise(stamps) if own is None else own, stamps)
        if target is None or name == "target":
            judge.terms = _terms(colour_terms, judge, stamps, progress)
        judge.correlation = judge.correlation_of(stamps) if noise == "measured" else None
        galaxies.append(judge.table(stamps, name, progress))
        terms.append(judge.terms.table())
        terms[-1].add_column([name] * len(terms[-1]), name="model", index=0)
        maps.append(judge.maps(stamps, name, np.asarray(galaxies[-1]["row"])[: min(worst, len(stamps))]))
    rows = [row for table in galaxies for row in _statistics(table, degrader.bands)]
    names = ["model", "band", "quantity", "statistic", "value", "low", "high", "n"]
    tables = {
        "statistics": QTable(rows=rows, names=names), "galaxies": vstack(galaxies, metadata_conflicts="silent"),
        "terms": vstack(terms), "maps": vstack(maps),
    }  # fmt: skip
    about = {
        "bands": list(degrader.bands), "pixel_scale": source.pixel_scale, "galaxies": len(source), "noise": noise,
        "margin": degrader.margin,
        "compared at the target's PSF": list(degrader.degraded), "tolerance": vars(judge.tolerance),
        "equivalent_fwhm": np.round(degrader.fwhm, 3).tolist(),
        "equivalent_target_fwhm": np.round(degrader.target_fwhm, 3).tolist(),
        "not compared": [band for band in source.bands if band not in degrader.bands],
    }  # fmt: skip
    if isinstance(colour_terms, str):  # where too few galaxies are bright for a fit, filters count as errors
        few = {str(row["band"]) for table in terms for row in table if row["n"] == 0}
        about["too few galaxies to fit colour terms"] = [band for band in degrader.bands if band in few]
    return AnomalyResult(tables, about)


def _tolerance(tolerance, psf):
    """Return a tolerance in which the wings of the PSF are unknown where only its FWHM is given."""
    if tolerance.wings is not None:
        return tolerance
    only_fwhm = not hasattr(psf, "transform") and np.ndim(psf) < 3
    return replace(tolerance, wings=WINGS_UNKNOWN if only_fwhm else 0.0)


def measure_own_noise(stamps):
    """Return the noise of translations themselves, ``[C]``: rms in a pixel, from differences of neighbouring pixels."""
    rows = np.unique(np.linspace(0, len(stamps) - 1, NOISE_FROM).astype(int))
    images = stamps.sample().read(rows)
    found = [[measured_noise(plane, np.isfinite(plane)) or np.nan for plane in stamp] for stamp in images]
    return np.nan_to_num(np.nanmedian(np.array(found, dtype=float), axis=0))


def _terms(colour_terms, judge, stamps, progress):
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
    rows = np.unique(np.linspace(0, len(stamps) - 1, FITTED).astype(int))
    fluxes = measure_fluxes(judge.degrader, judge.source, stamps, judge.noise, rows=rows, progress=progress)
    terms = fit_colour_terms(bands, *fluxes)
    judge.terms, judge.correlation = replace(terms, scatter=np.zeros(len(bands))), None  # which is to be measured
    parts = judge.some(stamps)
    error, sigma = (np.concatenate([getattr(part, f"flux_{name}") for part in parts]) for name in ("error", "sigma"))
    return terms.scaled(error, sigma)


class _Judge:
    """Degrader, noise, colour terms and calibration on blank sky with which translations are scored."""

    def __init__(self, degrader, source, tolerance, seed):
        self.degrader, self.source, self.tolerance = degrader, source, tolerance
        self.noise = self.terms = self.correlation = None
        self._sky = source.sky_rms[:, degrader.in_source]
        if source.variance is None and not np.isfinite(self._sky).all():
            unknown = ", ".join(np.array(degrader.bands)[~np.isfinite(self._sky).all(axis=0)])
            msg = f"the noise of {source.name} is not known in {unknown}; give sky_rms or variance to its Stamps"
            raise ValueError(msg)
        self._size = tuple(n - 2 * degrader.margin for n in degrader.shape)
        middle = degrader.matched(np.array([len(source) // 2])).point()[0]
        self._blank = blank_sky(middle, degrader.frequencies.shape, self._size, seed=seed)

    def noise_of(self, own, stamps):
        """Return the noise of the source with that of a translation, given per band of the target."""
        bands = stamps.bands
        own = np.array(own, dtype=float)
        if own.shape != (len(bands),) or not (own >= 0).all():
            msg = f"own_noise must be one number, zero or positive, per band ({', '.join(bands)}), got {own}"
            raise ValueError(msg)
        electrons = self.source.electrons[self.degrader.in_source]
        # A translation that shows the noise of its survey's sky shows that of photons too; a smooth one does not.
        share = np.minimum(own / stamps.sky_rms.mean(axis=0), 1) ** 2
        with np.errstate(divide="ignore"):
            photons = np.nan_to_num(stamps.electrons, nan=np.inf) / np.nan_to_num(share)
        where = self.degrader.in_target
        return Noise(self._sky, electrons, np.maximum(own, 1e-30)[where], photons[where])  # zero would divide

    def compare(self, stamps, rows):
        """`~astro_galtrans.fidelity.anomaly.residuals.Comparison` of some galaxies."""
        self.degrader.terms, flux = self.terms.matrix, self.tolerance.flux
        calibration = self.terms.tolerated if flux is None else np.full(len(self.degrader.bands), flux)
        variance = None if self.source.variance is None else np.asarray(self.source.variance[rows])
        noise = self.noise.of(rows)  # which colour terms mix as they do light
        noise = replace(noise, own=np.sqrt(self.terms.matrix**2 @ noise.own**2))
        found = compare(
            self.degrader.matched(rows), self.source.read(rows), stamps.read(rows), noise, self.tolerance,
            calibration, variance=variance, mask=self.source.bad(rows),
        )  # fmt: skip
        return found if self.correlation is None else self.correlation.corrected(found)

    def some(self, stamps):
        """Compare some galaxies, in batches."""
        rows = np.unique(np.linspace(0, len(stamps) - 1, CORRELATED).astype(int))
        return [self.compare(stamps, part) for part in np.array_split(rows, -(-len(rows) // BATCH))]

    def correlation_of(self, stamps):
        """Measure the noise on some galaxies: the translation's own, and what is not white or not as stated."""
        self.correlation = None
        factor = measure_own_factor(self.some(stamps))
        self.noise = replace(self.noise, own=self.noise.own * np.where(np.isfinite(factor), factor, 1))
        return measure_correlation(self.some(stamps))

    def table(self, stamps, name, progress):
        """A row per galaxy, the worst first."""
        from astro_galtrans._progress import tqdm

        parts = []
        with tqdm(total=len(stamps), desc=name, unit="galaxy", disable=None if progress else True) as bar:
            for block in stamps.blocks(BATCH):
                rows = np.arange(block.start, block.stop)
                parts.append(self._scores(self.compare(stamps, rows)) | {"row": rows})
                bar.update(len(rows))
        columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        scored = np.isfinite(columns["score"])  # not those without a good pixel
        columns["anomalous"] = np.zeros(len(scored), bool)
        if scored.any():
            columns["anomalous"][scored] = false_discovery_control(10.0 ** -columns["score"][scored]) <= SHARE
        first = "row", "score", "anomalous", "score_chi2", "score_peak", "score_flux"
        names = sorted(columns, key=lambda key: (*first, key).index(key))
        order = np.lexsort((columns["row"], -columns["score"]))
        return QTable({"model": np.full(len(stamps), name)} | {key: columns[key][order] for key in names})

    def maps(self, stamps, name, rows):
        """Maps of some galaxies as a table with images in its columns."""
        found = self.compare(stamps, rows)
        names = "source", "degraded", "residual", "significance"
        table = QTable({"model": np.full(len(rows), name), "row": rows})
        for key in names:
            table[key] = getattr(found, key).astype(np.float32)
        return table

    def _scores(self, found):
        """Columns of a batch: of the galaxy, and of each band."""
        peak, y, x = _extreme(found.significance)
        correlation = self._between_bands(found)
        apart = np.linalg.inv(np.linalg.cholesky(correlation)).astype(np.float32)
        maps = np.nan_to_num(found.significance)
        white = np.einsum("nab,nbyx->nayx", apart, maps)
        # In bright stars errors of the PSF are alike in all bands, unlike noise: there the plain sum is the lower one.
        squares = np.minimum(*((each.astype(float) ** 2).sum(axis=1) for each in (white, maps)))
        highest = squares.reshape(len(squares), -1).argmax(axis=1)
        together = np.divmod(highest, squares.shape[-1])
        log_p = self._probabilities(found, peak, squares.max(axis=(1, 2)), correlation)
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

    def _between_bands(self, found):
        """Correlation of noise between bands, ``[n, C, C]``: colour terms mix the noise of target bands."""
        own = self.terms.matrix * self.noise.own
        own /= np.sqrt((own**2).sum(axis=1, keepdims=True))
        share = np.sqrt(found.own_share)
        mixed = (own @ own.T) * share[:, :, None] * share[:, None]
        return np.where(np.eye(own.shape[0]), 1, mixed)

    def _probabilities(self, found, peak, together, correlation):
        """Logarithms of the three probabilities of each galaxy."""
        bands, (single, both) = peak.shape[1], self._blank.factors
        share = np.where(found.dof > 0, found.independent / np.maximum(found.dof, 1), 0)
        each = log_peak_probability(peak**2, 1, self._size, found.roughness, single)
        every = log_peak_probability(together, bands, self._size, found.roughness.mean(axis=1), both)
        z, weight = np.nan_to_num(found.flux_error / found.flux_sigma), np.nan_to_num(1 / found.flux_sigma)
        grey = (z * weight).sum(axis=1) ** 2 / np.maximum((weight**2).sum(axis=1), 1e-30)
        coloured = (z**2).sum(axis=1) - grey  # errors that differ between bands are independent of a common one
        flux = np.stack([log_chi2_sf(grey, 1), log_chi2_sf(np.maximum(coloured, 0), bands - 1)])
        # of bands whose noise is correlated, fewer pixels are independent
        fewer = 1 / np.maximum((correlation**2).sum(axis=2), 1)
        independent = (found.independent * fewer).sum(axis=1)
        return {
            "chi2": log_chi2_sf((found.chi2 * share * fewer).sum(axis=1), independent),
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


def _statistics(table, bands):
    """Rows of the statistics of a model in each band, and in all together."""
    model, n = str(table["model"][0]), len(table)
    found = []
    for band in ("all", *bands):
        if band == "all":
            ratio, error = table["chi2_dof"], table["flux_error"]
        else:
            ratio, error = table[f"chi2_{band}"] / np.maximum(table[f"dof_{band}"], 1), table[f"flux_error_{band}"]
        middle, low, high = np.nanpercentile(ratio, [50, 16, 84])
        error = error[np.isfinite(error)] if np.isfinite(error).any() else np.array([np.nan])
        figures = {
            ("chi2_dof", "median"): middle, ("chi2_dof", "percentile_16"): low, ("chi2_dof", "percentile_84"): high,
            ("flux_error", "bias"): np.median(error), ("flux_error", "scatter"): sigma_mad(error),
        }  # fmt: skip
        if band == "all":
            for kind in ("score", "score_chi2", "score_peak", "score_flux"):
                figures[kind, "share_above_2"] = np.mean(np.asarray(table[kind]) > 2)
            figures["anomalous", "number"] = np.count_nonzero(table["anomalous"])
        found += [(model, band, *what, float(value), np.nan, np.nan, n) for what, value in figures.items()]
    return found
