r"""
Calibration of a trained network, on pairs that it never saw, and the range of images it is good for.

*Flux.* The factor of a band is the median ratio of true to predicted flux of bright sources
(`astro_galtrans.training.compare`).

*Standard deviation.* The factor :math:`k` of a band is the one with which 68.27 % of the pixels with signal lie within
one standard deviation, :math:`r^2 \le k^2 \sigma^2 + e`, where :math:`r` is the residual of the corrected flux and
:math:`e` the variance by which this target's sky differs from the survey's typical one. The left side and :math:`e`
known, :math:`k^2` is that quantile of :math:`(r^2 - e) / \sigma^2`. Without variances of the targets :math:`e = 0`, and
the statement holds for targets as noisy as those of the pairs.

*Correlation.* Neighbouring pixels share errors; how, is fitted to errors of aperture fluxes
(`astro_galtrans.training.correlation`). It is fitted twice where the pairs tell the PSF of their source with its wings:
of the network alone, and of translations whose fluxes agree with the image (`astro_galtrans.consistency`).
"""

import numpy as np

from astro_galtrans._progress import tqdm
from astro_galtrans.consistency import Consistency
from astro_galtrans.statistics import sigma_mad
from astro_galtrans.uncertainty import ONE_SIGMA

from .compare import APERTURE, BRIGHT, compare, main_sources, signal_to_noise
from .correlation import fit_covariance, patches
from .observed import source_entry, target_entry

__all__ = ["ENOUGH", "FEWEST", "calibrate", "consistent_correlation"]

#: Bright sources that are enough for a flux factor (with an error of a quarter of their scatter), and fewest for any.
ENOUGH, FEWEST = 20, 5
FAINT = 10.0  # signal-to-noise ratio that a source must have to stand in for a bright one
FLUX_PAIRS = 2000  # pairs among which bright sources are looked for: a bound on the time that calibration takes
SMALLEST = 1e-3  # factor of the standard deviation, so that no error of zero is stated
CORRELATION_PAIRS = 512, 192  # for the correlation, of a deterministic network and of one that samples, which is slow
SPREAD_PAIRS = 192  # pairs for the factor of the standard deviation; each has some thousand pixels with signal


def calibrate(model, scalings, pairs, *, colour_terms=None, n_samples=1, seed=0, progress=True):
    """
    Return the factors per output band that make flux unbiased and the standard deviation right, and from what.

    The dict has ``"flux"`` and ``"std"``, one factor per band; ``"flux_error"``, the standard error of the flux
    factors; ``"sources"``, the number of sources measured, and ``"selection"``, how these were chosen; ``"pairs"``, the
    number of pairs; ``"correlation"``, the `~astro_galtrans.covariance.Covariance` of the errors as a dict, where the
    pairs tell it; and ``"correlation_consistent"``, what `consistent_correlation` returns, where they tell their PSFs
    and ``colour_terms`` are given, those of the card. With fewer than `FEWEST` sources the flux factors are 1, and
    ``"selection"`` says so. It is a `ValueError` if a band has no good pixel with signal in any pair.
    """
    bright, selection = select_sources(pairs)
    spread = range(min(SPREAD_PAIRS, len(pairs)))
    together = range(min(CORRELATION_PAIRS[model.spec.stochastic], len(pairs)))
    scale, places, indices = pairs.header.target_pixel_scale, main_sources(pairs), sorted({*bright, *spread, *together})
    bar = tqdm(indices, desc="calibrating", unit="pair", disable=None if progress else True)
    ratios, pixels, cut = [], [], []
    for pair in compare(model, scalings, pairs, bar, n_samples=n_samples, seed=seed):
        cut += patches(pair, places[pair.index], scale, seed)
        if pair.index in bright and pair.aperture is not None:
            ratios.append(pair.flux(pair.target) / pair.flux(pair.mean))
        if pair.index in spread:
            pixels.append([_pixels(pair, band) for band in range(len(pair.target))])
    flux, error = _flux_factors(np.reshape(ratios, (len(ratios), len(scalings[1].softening))))
    std = [_spread_factor(np.concatenate(band, axis=1), k, name) for band, k, name in
           zip(zip(*pixels, strict=True), flux, pairs.header.target_bands, strict=True)]  # fmt: skip
    if len(ratios) < FEWEST:
        selection = f"none: only {len(ratios)} of the sources have signal-to-noise above {FAINT:g}; flux as it comes"
    found = {
        "flux": flux.tolist(), "std": std, "flux_error": error, "sources": len(ratios), "selection": selection,
        "pairs": len(pairs), "aperture": APERTURE,
    }  # fmt: skip
    covariance = fit_covariance(cut, pairs.header, flux, std)
    if covariance is None:
        return found
    found["correlation"] = covariance.to_dict()
    options = {"n_samples": n_samples, "seed": seed, "progress": progress}
    consistent = consistent_correlation(model, scalings, pairs, together, found, colour_terms, **options)
    return found | ({"correlation_consistent": consistent} if consistent else {})


def consistent_correlation(
    model, scalings, pairs, indices, factors, colour_terms, *, n_samples=1, seed=0, progress=True,
):  # fmt: skip
    """
    Return what is different in the covariance of errors where fluxes agree with the image.

    Parameters
    ----------
    model, scalings, pairs, n_samples, seed, progress
        As for `calibrate`.
    indices : sequence of int
        Of the pairs to use; those whose PSF is not known with its wings are left out.
    factors : dict
        With the calibration factors per band, ``"flux"`` and ``"std"``.
    colour_terms : dict or None
        Those of the card.

    Returns
    -------
    dict or None
        ``"amplitudes"`` and ``"between"`` of a `~astro_galtrans.covariance.Covariance`. None if the network is not told
        PSFs, there are no colour terms, or too few sources in pairs with a known PSF.
    """
    header = pairs.header
    ends = {"source": source_entry(header, scalings[0]), "target": target_entry(header, scalings[1])}
    consistency = Consistency.of(ends | {"calibration": {"colour_terms": colour_terms}}, model.spec)
    if consistency is None:
        return None
    places, scale, options = main_sources(pairs), header.target_pixel_scale, {"n_samples": n_samples, "seed": seed}
    options |= {"factors": {"flux": factors["flux"]}, "consistency": consistency}  # the fit has the factors of std
    bar = tqdm(indices, desc="calibrating fluxes", unit="pair", disable=None if progress else True)
    compared = compare(model, scalings, pairs, bar, **options)
    cut = [patch for pair in compared for patch in patches(pair, places[pair.index], scale, seed)]
    covariance = fit_covariance(cut, header, [1.0] * len(header.target_bands), factors["std"])
    return covariance and {name: covariance.to_dict()[name] for name in ("amplitudes", "between")}


def select_sources(pairs):
    """
    Choose the sources from which the flux factors are measured, and say by what, in words for the card.

    They are the indices of the bright ones; where these are fewer than `ENOUGH`, of the brightest that are.
    """
    places = main_sources(pairs)[:FLUX_PAIRS]
    found = {k: signal_to_noise(pairs, k, place) for k, place in enumerate(places) if place is not None}
    bright = {k for k, value in found.items() if value > BRIGHT}
    if len(bright) >= ENOUGH:
        return bright, f"signal-to-noise above {BRIGHT:g}"
    ranked = sorted((k for k in found if found[k] > FAINT), key=found.get, reverse=True)[:ENOUGH]
    least = found[ranked[-1]] if ranked else FAINT
    return set(ranked), f"the {len(ranked)} brightest, down to signal-to-noise {least:.0f}"


def _flux_factors(ratios):
    """Median ratio per band, and its standard error, that of a median of Gaussian values; 1 if there are too few."""
    if len(ratios) < FEWEST:
        return np.ones(ratios.shape[1]), None
    median = np.median(ratios, axis=0)
    scatter = sigma_mad(ratios, axis=0)
    return median, (np.sqrt(np.pi / 2 / len(ratios)) * scatter).tolist()


def _pixels(pair, band):
    """Target, mean, std and excess variance of the pixels with signal, ``[4, n]``."""
    signal = pair.signal[band]
    columns = [image[band][signal] for image in (pair.target, pair.mean, pair.std)]
    return np.array([*columns, np.full(columns[0].shape, pair.excess[band].item())])


def _spread_factor(pixels, flux, band):
    """Factor with which 68.27 % of a band's pixels, those of `_pixels`, lie within one standard deviation."""
    if not pixels.size:
        msg = f"no good pixel with signal in band {band} of any pair: the standard deviation cannot be calibrated"
        raise ValueError(msg)
    target, mean, std, excess = pixels
    squared = ((target - flux * mean) ** 2 - excess) / (flux * std) ** 2
    # of a target less noisy than its variance says, the quantile may be negative
    return float(np.sqrt(max(np.quantile(squared, ONE_SIGMA, method="inverted_cdf"), SMALLEST**2)))
