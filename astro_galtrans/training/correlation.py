r"""
The correlation of a translator's errors, measured on the calibration pairs.

Aperture fluxes are what users add up, so the amplitudes of `astro_galtrans.covariance` are fitted to errors of aperture
fluxes: at the main sources, at other places with signal and anywhere, in circles from a pixel to six arcsec. The
likelihood is that of Student's t with four degrees of freedom, whose tails are those of real errors, scaled so that the
fitted standard deviation is what 68.27 % of the errors lie within, as for single pixels.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from photutils.aperture import CircularAperture
from scipy import optimize, stats

from astro_galtrans.covariance import LENGTHS, NODES, Covariance, brightness_weights, quadratic_forms
from astro_galtrans.uncertainty import ONE_SIGMA

__all__ = ["Patch", "fit_covariance", "patches"]

DIAMETERS = 1.0, 2.0, 3.0, 6.0  # of the circles (arcsec), beside that of a pixel
REACH = max(DIAMETERS) / 2 + 0.3  # half the side of a patch (arcsec): the largest circle, and its offset within a pixel
FREEDOM = 4.0  # of Student's t: the excess kurtosis of errors of bright galaxies' fluxes is large
ONE_SIGMA_T = stats.t.ppf((1 + ONE_SIGMA) / 2, FREEDOM)  # of t where 68.27 % lie within
PRIOR = 1e-3  # weight of small amplitudes, which decides where the data do not, as for nodes that no pixel reaches
COLOUR_APERTURE = 3.0  # diameter (arcsec) of the circles whose errors are compared between bands
SOURCE_WEIGHT = 4.0  # of a source in the likelihood, beside any place: it is at sources that fluxes are measured
FEWEST = 20  # sources from which a correlation is measured


class Patch(NamedTuple):
    """Part of a pair around a place: images ``[C, h, w]`` in the target's flux unit, not yet calibrated."""

    target: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    excess: np.ndarray  #: variance of the target's sky beyond the survey's typical one, ``[C]``
    centre: tuple[float, float]  #: x and y in the patch (pixels)
    source: bool  #: whether it is that of the pair's main source, and not of any place


def patches(pair, place, pixel_scale, seed=0):
    """
    Cut patches from a pair, where all pixels are good: at its main source, at a pixel with signal and at any two.

    Parameters
    ----------
    pair : `~astro_galtrans.training.compare.Comparison`
    place : tuple of float or None
        x and y of the main source (arcsec from the stamp's centre), if there is one to be measured.
    pixel_scale : float
        Of the target (arcsec).
    seed : int, optional
        Of the other places.

    Returns
    -------
    list of `Patch`
    """
    rng, shape, reach = np.random.default_rng([seed, pair.index]), pair.target.shape[1:], int(REACH / pixel_scale)
    inside = np.zeros(shape, bool)
    inside[reach : shape[0] - reach, reach : shape[1] - reach] = True
    centres = []
    if place is not None:
        centres.append([(n - 1) / 2 + offset / pixel_scale for n, offset in zip(shape[::-1], place, strict=True)])
    for candidates, number in ((pair.signal.any(axis=0) & inside, 1), (inside, 2)):
        found = np.argwhere(candidates)[:, ::-1]
        centres += found[rng.integers(len(found), size=number)].tolist() if len(found) else []
    cut = []
    for k, (x, y) in enumerate(centres):
        left, low = round(x) - reach, round(y) - reach
        box = np.s_[:, low : low + 2 * reach + 1, left : left + 2 * reach + 1]
        if inside[round(y), round(x)] and pair.good[box].all():
            planes = (image[box].copy() for image in (pair.target, pair.mean, pair.std))
            cut.append(Patch(*planes, pair.excess[:, 0, 0], (x - left, y - low), place is not None and k == 0))
    return cut


def fit_covariance(cut, header, flux, std):
    """
    Fit the covariance of a translator's errors.

    Parameters
    ----------
    cut : list of `Patch`
    header : `~astro_galtrans.pairs.store.PairHeader`
    flux, std : sequence of float
        Calibration factors per band.

    Returns
    -------
    `~astro_galtrans.covariance.Covariance` or None
        None if the target survey's noise is not known, or there are too few sources.
    """
    survey, scale = header.target, header.target_pixel_scale
    noise, widths = survey.sky_rms(scale), [band.fwhm for band in survey.bands]
    if not np.isfinite(noise).all() or sum(patch.source for patch in cut) < FEWEST:
        return None
    count = len(noise)
    start = Covariance(
        header.target_bands, survey.zeropoint, scale, lengths=tuple((scale * np.array(LENGTHS)).tolist()),
        noise=tuple(noise.tolist()), electrons=tuple(float(np.nan_to_num(band.electrons)) for band in survey.bands),
        amplitudes=np.zeros((count, len(LENGTHS), len(NODES))), between=np.eye(count),
        fwhm=tuple(widths) if np.isfinite(widths).all() else (),
    )  # fmt: skip
    bands = [_Errors(cut, k, start, flux[k], std[k]) for k in range(count)]
    amplitudes = np.array([band.fit() for band in bands])
    return replace(start, amplitudes=amplitudes, between=_between_bands(bands, amplitudes))


class _Errors:
    """Errors of a band's aperture fluxes, and what their variances are made of."""

    def __init__(self, cut, k, known, flux, std):
        rows = []
        for patch in cut:
            mean, sigma = flux * patch.mean[k].astype(float), flux * std * patch.std[k].astype(float)
            maps = brightness_weights(mean, sigma) * sigma
            noise = np.maximum(known.white(known.bands[k], mean, known.pixel_scale) + patch.excess[k], 0)
            for diameter in (known.pixel_scale, *DIAMETERS):
                box, weights = _circle(patch.centre, diameter / 2 / known.pixel_scale)
                error, white = np.sum(weights * (patch.target[k] - mean)[box]), np.sum(weights**2 * noise[box])
                forms = quadratic_forms((weights * maps[:, *box])[None], LENGTHS)
                rows.append((error, white, forms, patch.source, patch.source and diameter == COLOUR_APERTURE))
        self.error, self.white, self.forms, source, self.colour = map(np.array, zip(*rows, strict=True))
        weights = np.where(source, SOURCE_WEIGHT, 1.0)
        self.weights = weights / weights.sum()

    def fit(self):
        """Amplitudes ``[K, N]`` of the greatest likelihood."""
        start = np.full((len(LENGTHS), len(NODES)), 0.3)
        bounds = [(0, None)] * start.size
        found = optimize.minimize(self._cost, start.ravel(), jac=True, method="L-BFGS-B", bounds=bounds)
        return found.x.reshape(start.shape)

    def variances(self, amplitudes):
        """Variance of the correlated part, and half of its derivative by the amplitudes."""
        half = np.einsum("akmn,kn->akm", self.forms, amplitudes)
        return np.einsum("akm,km->a", half, amplitudes), half

    def _cost(self, flat):
        amplitudes = flat.reshape(len(LENGTHS), -1)
        correlated, half = self.variances(amplitudes)
        variance = self.white + correlated
        ratio = (self.error * ONE_SIGMA_T) ** 2 / (FREEDOM * variance)
        cost = 0.5 * np.log(variance) + (FREEDOM + 1) / 2 * np.log1p(ratio)
        slope = self.weights * (0.5 - (FREEDOM + 1) / 2 * ratio / (1 + ratio)) / variance
        gradient = 2 * np.einsum("a,akm->km", slope, half) + 2 * PRIOR * amplitudes
        return np.sum(self.weights * cost) + PRIOR * np.sum(amplitudes**2), gradient.ravel()


def _circle(centre, radius):
    """Box of an aperture, and the share of each of its pixels that lies inside."""
    mask = CircularAperture(centre, radius).to_mask(method="exact")
    box = mask.bbox
    return (slice(box.iymin, box.iymax), slice(box.ixmin, box.ixmax)), mask.data


def _between_bands(bands, amplitudes):
    """
    Correlation of the correlated errors of source fluxes between bands, ``[C][C]``.

    The survey's noise, which bands do not share, is in the errors and dilutes the correlation; this is undone. Errors
    beyond three sigma count as three.
    """
    variance = np.array([band.variances(a)[0][band.colour] for band, a in zip(bands, amplitudes, strict=True)])
    white, error = (np.array([getattr(band, name)[band.colour] for band in bands]) for name in ("white", "error"))
    pulls, share = np.clip(error / np.sqrt(white + variance), -3, 3), np.sqrt(variance / (white + variance))
    raw = (pulls @ pulls.T) / np.maximum(share @ share.T, 1e-12)
    spread = np.sqrt(np.maximum(np.diag(raw), 1e-12))
    values, vectors = np.linalg.eigh(np.clip(raw / np.outer(spread, spread), -1, 1))
    valid = vectors * np.maximum(values, 0) @ vectors.T  # rounding and noise may make one that no errors have
    scale = np.sqrt(np.diag(valid))
    return np.clip(valid / np.outer(scale, scale), -1, 1)
