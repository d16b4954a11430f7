r"""
Colour terms between the filters of two surveys, measured on images of the same galaxies.

Filters of one name differ a little, so that the ratio of the fluxes of two surveys depends on colour. The light of a
source band is described as a sum of that of the target's band of that name and its neighbours,

.. math:: f_{s,b} = \sum_j M_{bj} f_{t,j} , \qquad j = b - 1, b, b + 1 ,

which interpolates the spectrum. The sum is linear, so that it holds pixel by pixel. The coefficients are a robust fit
(Huber 1964) to the fluxes of many galaxies, each weighted by its noise and by the scatter about the fit, so that single
galaxies whose flux is wrong do not change them.
"""

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import QTable

from astro_galtrans.statistics.sums import excess_scatter, fit_sum

__all__ = ["ColourTerms", "fit_colour_terms", "measure_fluxes"]

FEWEST = 30  #: galaxies for a fit of three coefficients: ten for each
APERTURE = 2.0  #: radius (arcsec) of the fluxes: most of a galaxy's light at ground-based seeing, few neighbours
SIGNAL = 5.0  # sigma: fainter fluxes hardly count in the fit, and are not Gaussian relative to the target's
LIMIT = 0.03  #: scatter of flux ratios that galaxies' spectra can make between filters of one name; more is error
BATCH = 32  # galaxies transformed at once


@dataclass(frozen=True, eq=False)
class ColourTerms:
    """Colour terms of the bands that two surveys have in common."""

    bands: tuple
    matrix: np.ndarray  #: ``[C, C]``: source flux from target fluxes
    scatter: np.ndarray  #: ``[C]``: relative scatter left, noise taken out
    number: np.ndarray  #: ``[C]``, int: galaxies in the fit; 0 where there were too few for one

    @classmethod
    def none(cls, bands, scatter=0.0):
        """Return terms that change nothing, with this scatter of flux ratios."""
        zero = np.zeros(len(bands), int)
        return cls(tuple(bands), np.eye(len(bands)), np.broadcast_to(np.asarray(scatter, float), zero.shape), zero)

    @classmethod
    def from_table(cls, table):
        """Return the terms in a table that `table` made."""
        bands = tuple(map(str, table["band"]))
        matrix = np.stack([np.asarray(table[f"from_{band}"], dtype=float) for band in bands], axis=1)
        return cls(bands, matrix, np.asarray(table["scatter"], dtype=float), np.asarray(table["n"]))

    def scaled(self, error, sigma):
        """
        Return the terms without the flux errors ``[N, C]``, of uncertainty ``sigma``, that are left with them.

        Fluxes in an aperture miss light in the wings of PSFs that are not known exactly; those that are fitted with
        such wings tolerated do not. The scatter of either stays tolerated: few galaxies are bright enough to show it.
        """
        matrix, scatter = np.array(self.matrix), np.array(self.scatter)
        for b in np.flatnonzero(self.number):
            good = sigma[:, b] < 1 / SIGNAL  # False for NaN
            if good.sum() >= FEWEST:
                shift = np.median(error[good, b])
                matrix[b] *= 1 - shift
                scatter[b] = max(scatter[b], excess_scatter(error[good, b] - shift, sigma[good, b]))
        return replace(self, matrix=matrix, scatter=scatter)

    @property
    def tolerated(self):
        """Scatter that is taken for that of the spectra of galaxies, ``[C]``."""
        return np.minimum(self.scatter, LIMIT)

    def table(self):
        """Return the terms as a table, a row per band."""
        table = QTable({"band": list(self.bands), "n": self.number, "scatter": self.scatter})
        for k, band in enumerate(self.bands):
            table[f"from_{band}"] = self.matrix[:, k]
        return table


def measure_fluxes(degrader, source, target, noise, *, rows=None, progress=True):
    """
    Return fluxes in the source with their noise, ``[N, C]`` each, and what target bands contribute to them.

    The contributions ``[N, C, C]``, source band first, are at the PSF of the source band. ``noise`` is a
    `~astro_galtrans.fidelity.anomaly.residuals.Noise`, ``rows`` are the galaxies to measure (all by default).
    """
    from astro_galtrans._progress import tqdm

    rows, n = np.arange(len(source)) if rows is None else np.asarray(rows), len(degrader.bands)
    aperture, found = _aperture(degrader), []
    for start in tqdm(range(0, len(rows), BATCH), desc="colour terms", disable=None if progress else True):
        part = rows[start : start + BATCH]
        matched = degrader.matched(part)
        scene, given = matched.scene(np.nan_to_num(target.read(part))), matched.source(source.read(part))
        parts = np.zeros((len(given), n, n))
        for step in (-1, 0, 1):
            where = np.arange(max(0, -step), n - max(0, step))
            image = matched.image(matched.spectrum(scene, np.eye(n, k=step)))
            parts[:, where, where + step] = _sums(image, aperture)[:, where]
        found.append((_sums(given, aperture), parts))
    flux, parts = (np.concatenate(each) for each in zip(*found, strict=True))
    clipped = np.clip(np.nan_to_num(flux), 0, None) / np.where(np.isnan(noise.electrons), np.inf, noise.electrons)
    return flux, np.sqrt(aperture.sum() * noise.of(rows).sky ** 2 + clipped), parts


def _aperture(degrader):
    y, x = (np.arange(n) - (n - 1) / 2 for n in degrader.shape)
    inside = np.hypot(y[:, None], x) * degrader.frequencies.pixel_scale <= APERTURE
    return inside.astype(np.float32)


def _sums(images, aperture):
    return np.einsum("nbyx,yx->nb", images, aperture, dtype=float)


def fit_colour_terms(bands, flux, sigma, parts):
    """
    Return the `ColourTerms` that fit what `measure_fluxes` returned, where that is finite.

    Bands with fewer than 30 galaxies of five sigma get terms that change nothing.
    """
    terms = ColourTerms.none(bands)
    scatter, number = np.array(terms.scatter), terms.number
    for b in range(len(bands)):
        near = np.arange(max(0, b - 1), min(len(bands), b + 2))
        good = np.isfinite(flux[:, b]) & np.isfinite(parts[:, b]).all(axis=1)
        good &= parts[:, b, b] > SIGNAL * sigma[:, b]  # a cut in the source's flux, which has noise, would bias the fit
        if good.sum() < FEWEST:
            continue
        row, scatter[b] = fit_sum(parts[good, b][:, near], flux[good, b], sigma[good, b], list(near).index(b))
        terms.matrix[b, near], number[b] = row, good.sum()
    return ColourTerms(tuple(bands), terms.matrix, scatter, number)
