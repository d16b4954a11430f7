"""The range of images that a translator is good for: those of its pairs, as `astro_galtrans.domain` measures images."""

import numpy as np

from astro_galtrans.domain import sky_rms
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.psf import measured_fwhm
from astro_galtrans.surveys import MOFFAT_BETA

from .data import bad_pixels

__all__ = ["validity_range"]

RARE = 0.5, 99.5  # percentiles that limit a range, so that a few odd pairs do not widen it
MARGIN_FWHM = 0.1  # headers and programs differ by about a tenth in what they call FWHM
MARGIN_SKY = 0.25  # a quarter more or less noise is still within what one survey has
MARGIN_PIXEL = 0.01  # the tolerance with which pixel scales are compared everywhere
MEASURED = 300  # pairs whose sky and PSF are measured: 0.5 % of them is one or two


def validity_range(pairs):
    """
    Return the range of inputs that pairs cover, as `astro_galtrans.domain.violations` reads it.

    ``pixel_scale`` (arcsec), and per band ``fwhm`` (arcsec), ``sky_rms`` (flux unit of the source) and ``peak``
    (largest pixel). For simulated pairs, seeing and sky noise are those of the simulation. For real ones sky noise is
    measured in the images, and seeing is the columns ``fwhm_<band>`` of the table or measured on the pairs' PSFs;
    without either it is not limited.
    """
    header, survey = pairs.header, pairs.header.source
    simulated = header.simulation is not None
    widths = _simulated_fwhm(pairs) if simulated else _measured_fwhm(pairs)
    sky = _simulated_sky(pairs) if simulated else _measured_sky(pairs)
    return {
        "pixel_scale": _around([survey.pixel_scale] * 2, MARGIN_PIXEL),
        "fwhm": {band: _around(limits, MARGIN_FWHM) for band, limits in widths.items()},
        "sky_rms": {band: _around(limits, MARGIN_SKY) for band, limits in zip(survey.band_names, sky.T, strict=True)},
        "peak": {band: float(f"{peak:.4g}") for band, peak in zip(survey.band_names, _peaks(pairs), strict=True)},
    }


def _around(limits, margin):
    low, high = limits
    return [float(f"{(1 - margin) * low:.4g}"), float(f"{(1 + margin) * high:.4g}")]


def _peaks(pairs):
    """Largest good pixel of each band."""
    peaks = np.full(len(pairs.header.source_bands), -np.inf)
    for k in range(len(pairs)):
        image = pairs.source(k)
        good = ~bad_pixels(image, pairs.source_mask(k))
        np.maximum(peaks, image.max(axis=(1, 2), where=good, initial=-np.inf), out=peaks)
    return peaks


def _simulated_fwhm(pairs):
    """Limits of the seeing by band, as measured of stars: pixel and wings included."""
    survey, table = pairs.header.source, pairs.table
    limits = {}
    for band in survey.band_names:
        if f"star_fwhm_{band}" in table.colnames:
            limits[band] = np.percentile(table[f"star_fwhm_{band}"], RARE)
            continue
        fwhm = np.asarray(table[f"fwhm_{band}"], float)
        beta = np.asarray(table["beta"], float) if "beta" in table.colnames else np.full(len(fwhm), MOFFAT_BETA)
        seen = [measured_fwhm(*psf, survey.pixel_scale) for psf in zip(fwhm, beta, strict=True)]
        limits[band] = np.percentile(seen, RARE)
    return limits


def _simulated_sky(pairs):
    """Limits of the sky rms ``[2, C]``."""
    survey, table = pairs.header.source, pairs.table
    if f"noise_{survey.band_names[0]}" not in table.colnames:
        return np.tile(survey.sky_rms(), (2, 1))
    return np.stack([np.percentile(table[f"noise_{band}"], RARE) for band in survey.band_names], axis=1)


def _measured_fwhm(pairs):
    """Limits of the seeing of real pairs, by band; bands of which nothing is known are left out."""
    limits = {}
    for k, band in enumerate(pairs.header.source_bands):
        name = f"fwhm_{band}"
        known = np.asarray(pairs.table[name], float) if name in pairs.table.colnames else _psf_fwhm(pairs, k)
        known = known[np.isfinite(known)]
        if known.size:
            limits[band] = np.percentile(known, RARE)
    return limits


def _psf_fwhm(pairs, band):
    widths = []
    for k in _sample(pairs):
        psfs = pairs.psf(k)
        if psfs is None:
            return np.array([])
        psf = psfs[0][band]
        odd = psf[: psf.shape[0] - 1 + psf.shape[0] % 2, : psf.shape[1] - 1 + psf.shape[1] % 2]
        widths.append(pairs.header.source.pixel_scale * (gaussian_fwhm(odd) or np.nan))
    return np.array(widths)


def _measured_sky(pairs):
    """Limits of the sky rms of real pairs, ``[2, C]``: measured in the images, as of an image to be translated."""
    values = []
    for k in _sample(pairs):
        image = pairs.source(k)
        good = ~bad_pixels(image, pairs.source_mask(k))
        found = [sky_rms(plane, flags) for plane, flags in zip(image, good, strict=True)]
        values.append([np.nan if rms is None else rms for rms in found])
    return np.nanpercentile(values, RARE, axis=0)


def _sample(pairs):
    return np.unique(np.linspace(0, len(pairs) - 1, MEASURED).round().astype(int))
