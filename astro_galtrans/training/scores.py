"""
Scores of a translator on pairs that were neither trained on nor used for its calibration.

They go into its card and into the table of translators in the documentation.
"""

import numpy as np
import torch

from astro_galtrans._progress import tqdm
from astro_galtrans.measure.residuals import pixel_sums
from astro_galtrans.statistics import sigma_mad

from .compare import BRIGHT, classical, compare, main_sources, signal_to_noise

__all__ = ["score"]

DIGITS = 4  # of the scores in the card


def score(model, scalings, pairs, factors, *, number=None, n_samples=1, seed=0, progress=True):
    """
    Score a calibrated network on pairs, beside the classical answer.

    Parameters
    ----------
    model : `~astro_galtrans.models.base.TranslationModel`
    scalings : (AsinhScaling, AsinhScaling)
        Of source and target.
    pairs : `~astro_galtrans.pairs.store.PairStore`
    factors : dict
        The calibration of the card: ``"flux"`` and ``"std"``.
    number : int, optional
        How many pairs, the first; all by default.
    n_samples, seed : int, optional
        Samples averaged, for stochastic networks.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    dict
        Per output band, None where there is nothing to tell:

        - ``rmse_sigma``: RMS of translation minus target over good pixels with signal, in sigma of the target's sky;
          ``classical_rmse_sigma`` of the classical answer, the source resampled with cubic splines, flux conserved;
          ``rmse_gain_on_classical``: by which share the one is smaller than the other;
        - ``flux_bias``, ``flux_scatter``: median, minus one, and scatter (from the median absolute deviation) of the
          ratio of fluxes of bright sources in an aperture of 3 arcsec; ``classical_...`` likewise;
        - ``within_1_sigma``, ``within_2_sigma``: share of the pixels with signal within so many standard deviations.

        Of all bands: ``rmse_all``, ``rmse_gain_all_bands`` (bands that the source has too), ``median_pair_rmse``,
        ``median_pair_rmse_gain``, ``n_pairs``, ``n_galaxies`` and, for simulated pairs, ``pairs_seed``.

    Examples
    --------
    >>> import tempfile
    >>> from astro_galtrans import load_translator
    >>> from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
    >>> from astro_galtrans.scaling import AsinhScaling
    >>> from astro_galtrans.training import score
    >>> translator = load_translator("srgan-sdss-cfhtls")
    >>> card = translator.card
    >>> scalings = [AsinhScaling.from_dict(card[end]["scaling"]) for end in ("source", "target")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pairs = simulate_pairs(folder, 64, PairSettings(kind="galaxy", size=32), workers=1, progress=False)
    ...     scores = score(translator.model, scalings, pairs, card["calibration"], number=8, progress=False)
    >>> len(scores["rmse_gain_on_classical"])  # of each band
    5
    """
    sky = pairs.header.target.sky_rms(pairs.header.target_pixel_scale)[:, None, None]
    ours, theirs, total = Sums(sky), Sums(sky), len(pairs) if number is None else min(number, len(pairs))
    places = main_sources(pairs)
    bar = tqdm(range(total), desc="scoring", unit="pair", disable=None if progress else True)
    for pair in compare(model, scalings, pairs, bar, factors=factors, n_samples=n_samples, seed=seed):
        bright = pair.aperture is not None and signal_to_noise(pairs, pair.index, places[pair.index]) > BRIGHT
        ours.add(pair, pair.mean, bright=bright, std=np.sqrt(np.maximum(pair.std**2 + pair.excess, 0)))
        theirs.add(pair, classical(pair.source, pairs.header), bright=bright)
    found = ours.scores() | {f"classical_{k}": v for k, v in theirs.scores().items()} | _gains(ours, theirs)
    found |= {"n_pairs": total, "n_galaxies": len(ours.fluxes)}
    if pairs.header.simulation:
        found["pairs_seed"] = pairs.header.simulation["seed"]
    if model.spec.stochastic:
        found["n_samples"] = n_samples
    return {key: _rounded(value) for key, value in found.items()}


class Sums:
    """Sums over pairs, from which the scores of one kind of image (translated or resampled) follow."""

    def __init__(self, sky):
        self.sky, bands = sky, len(sky)
        self.squares, self.count, self.within = np.zeros(bands), np.zeros(bands), np.zeros((2, bands))
        self.fluxes, self.per_pair = [], []

    def add(self, pair, image, *, bright, std=None):
        """Add the errors of an image of a pair and, with its standard deviations, how many pixels lie within them."""
        planes = {"y": pair.target, "ours": image, "noise": self.sky} | ({} if std is None else {"std": std})
        signal = torch.from_numpy(pair.signal)[None]
        planes = {name: torch.from_numpy(np.asarray(plane, float))[None] for name, plane in planes.items()}
        sums = pixel_sums(bad=~signal, source=signal, **planes)
        squares, count = (sums["source", name][0].numpy() for name in ("scaled_square", "pixels"))
        self.squares += squares
        self.count += count
        if std is not None:
            self.within += [sums["source", f"within_{k}"][0].numpy() for k in (1, 2)]
        known = np.isfinite(squares)  # not so in a band that the classical answer lacks
        if count[known].any():
            self.per_pair.append(np.sqrt(squares[known].sum() / count[known].sum()))
        if bright:
            self.fluxes.append(pair.flux(image) / pair.flux(pair.target))

    @property
    def rmse(self):
        """RMSE per band in sigma of the sky; NaN where there is no signal."""
        with np.errstate(invalid="ignore"):
            return np.sqrt(self.squares / self.count)

    def scores(self):
        """Return the scores so far."""
        count = np.where(np.isfinite(self.squares), self.count, 0).sum()
        with np.errstate(invalid="ignore"):  # no signal at all
            found = {"rmse_sigma": self.rmse, "rmse_all": np.sqrt(np.nansum(self.squares) / count)}
        found["median_pair_rmse"] = np.median(self.per_pair) if self.per_pair else np.nan
        nothing = np.full(len(self.sky), np.nan)
        bias = np.median(self.fluxes, axis=0) if self.fluxes else nothing
        scatter = sigma_mad(self.fluxes, axis=0) if self.fluxes else nothing
        found |= {"flux_bias": bias - 1, "flux_scatter": scatter}
        if self.within.any():
            found |= {f"within_{k}_sigma": part / self.count for k, part in zip((1, 2), self.within, strict=True)}
        return found


def _gains(ours, theirs):
    """By which share the RMSE is smaller than the classical one, over bands that both have."""
    both = np.isfinite(theirs.squares) & (theirs.count > 0)
    nothing = not (both.any() and theirs.per_pair)  # two surveys without a band in common
    ratio = np.nan if nothing else ours.squares[both].sum() / theirs.squares[both].sum()
    per_pair = np.nan if nothing else np.median(ours.per_pair) / np.median(theirs.per_pair)
    return {
        "rmse_gain_on_classical": 1 - ours.rmse / theirs.rmse,
        "rmse_gain_all_bands": 1 - np.sqrt(ratio),
        "median_pair_rmse_gain": 1 - per_pair,
    }


def _rounded(value):
    """Plain, rounded numbers that JSON can hold: None for what is not known."""
    if np.ndim(value):
        return [_rounded(v) for v in np.asarray(value).tolist()]
    if isinstance(value, int):
        return value
    return round(float(value), DIGITS) if np.isfinite(value) else None
