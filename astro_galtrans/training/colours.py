"""Colour terms between the filters of two surveys, from the magnitudes of simulated galaxies and stars."""

import numpy as np

from astro_galtrans.statistics.sums import fit_sum

__all__ = ["colour_terms"]

FEWEST = 30  # sources for a fit of three coefficients: ten for each
EXACT = 1e-3  # relative noise of magnitudes without any, below all scatter between filters


def colour_terms(pairs):
    """
    Return the colour terms that a card has of pairs, a dict as `~astro_galtrans.consistency.Consistency` takes it.

    The flux in a band of the source is fitted as a sum of those in the target's band of that name and its neighbours.
    Pairs that were not simulated tell only fluxes in apertures, which depend on PSFs, too: of them there are no terms
    (None), nor of those whose target leaves sources out, of surveys without a common band, or of too few sources.
    """
    header = pairs.header
    bands = [band for band in header.source_bands if band in header.target_bands]
    if header.simulation is None or header.simulation.get("blends") or not bands:
        return None
    names = [[f"mag_{survey.name}_{band}" for band in bands] for survey in (header.source, header.target)]
    source, target = (
        10 ** (-0.4 * np.stack([np.asarray(pairs.column(name), float) for name in side], 1)) for side in names
    )
    there = np.isfinite(source).all(axis=1) & np.isfinite(target).all(axis=1)
    if there.sum() < FEWEST:
        return None
    source, target, matrix, scatter = source[there], target[there], np.zeros((len(bands), len(bands))), []
    for b in range(len(bands)):
        near = np.arange(max(0, b - 1), min(len(bands), b + 2))
        matrix[b, near], left = fit_sum(target[:, near], source[:, b], EXACT * source[:, b], list(near).index(b))
        scatter.append(float(f"{left:.3g}"))
    return {"bands": bands, "matrix": (matrix.round(4) + 0.0).tolist(), "scatter": scatter}
