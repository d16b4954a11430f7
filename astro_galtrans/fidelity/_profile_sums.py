"""Mean light and colour profiles of real and translated galaxies; only their sums are kept."""

from itertools import pairwise

import numpy as np
from astropy import units as u

from astro_galtrans.statistics.bootstrap import interval
from astro_galtrans.statistics.resampling import StreamedSums

from .compare import curve_table

__all__ = ["profile_tables"]

PIXELS = 2**20  # of a block of stamps whose profiles are resampled together
RADII = {"radius": u.arcsec, "outer_radius": u.arcsec}
COLOURS = dict.fromkeys(("target", "translated", "difference", "difference_low", "difference_high"), u.mag)

WITHIN = 3.0  # diameter of the circle whose real flux profiles are divided by (arcsec)
LEAST_SNR = 3.0  # of that flux


def profile_tables(target, rings, real, ours, bootstrap):
    """
    Return mean light profiles of galaxies, and colour profiles of several bands, from fluxes in rings ``[N, C, K]``.

    Fluxes are real ones and, by name, translated ones, NaN where they could not be measured. Light profiles are divided
    by the galaxy's real flux in the same band, so that all galaxies count alike; those that colours are made of by that
    in the middle band. A galaxy counts if this flux is above 3 sigma of the sky noise. The table ``profiles`` has a row
    for each model, band and ring, ``colour_profiles`` for each model, colour and ring.
    """
    sums = _ProfileSums(target.bands, ours, rings, bootstrap)
    for rows in target.blocks(max(1, PIXELS // int(np.prod(target.images.shape[1:])))):
        parts = {name: profile[rows] for name, profile in ours.items()}
        sums.add(real[rows], parts, target.sky(rows)[..., 0, 0])
    tables = {"profiles": sums.light()}
    return tables | ({"colour_profiles": sums.colours()} if len(target.bands) > 1 else {})


class _ProfileSums:
    """Sums of the profiles of all galaxies, real and translated, of each translation; block by block."""

    def __init__(self, bands, names, rings, bootstrap):
        self._bands, self._rings, self._level = bands, rings, bootstrap.level
        inner = rings.edges[1:] <= max(WITHIN / 2, rings.edges[1])
        self._inner, self._noise = inner, np.sqrt((rings.weights[inner].sum(0) ** 2).sum())
        shape = 2, 3, len(bands), len(inner)  # for light and for colours: real, translated, how many
        self._sums = {name: StreamedSums(shape, bootstrap.resamples, bootstrap.seed) for name in names}

    def add(self, real, ours, noise):
        """Take in profiles ``[n, C, K]``, with the noise ``[n or 1, C]`` of a pixel of their sky."""
        profile, whole = _finite(real)
        flux = profile[..., self._inner].sum(-1)
        bright = whole & (flux > LEAST_SNR * self._noise * noise)
        middle = len(self._bands) // 2
        scales = (flux, bright), (flux[:, middle, None], bright & bright[:, middle, None])
        for name, translated in ours.items():
            translated, finite = _finite(translated)
            parts = []
            for scale, usable in scales:
                usable = np.broadcast_to((usable & finite)[..., None], profile.shape)
                scale = np.where(usable, np.broadcast_to(scale, flux.shape)[..., None], 1)
                parts.append([np.where(usable, part / scale, 0) for part in (profile, translated)] + [usable])
            self._sums[name].add(np.moveaxis(np.array(parts, dtype=float), 2, 0))

    def _results(self):
        return {name: sums.result() for name, sums in self._sums.items()}

    def light(self):
        """Return the table ``profiles``."""
        curves = []
        for name, (total, draws) in self._results().items():
            total, draws = total[0], draws[:, 0]
            with np.errstate(divide="ignore", invalid="ignore"):
                real, ours = total[:2] / total[2] / self._rings.area
                ratio = [part[..., 1, :, :] / part[..., 0, :, :] for part in (total, draws)]
                growth = [np.cumsum(part[..., :2, :, :], axis=-1) for part in (total, draws)]
                growth = [part[..., 1, :, :] / part[..., 0, :, :] for part in growth]
            columns = {"target": real, "translated": ours, "ratio": ratio, "growth": growth}
            curves += self._curves(name, self._bands, columns, total[2, :, 0])
        return curve_table(curves, {"target": u.arcsec**-2, "translated": u.arcsec**-2} | RADII)

    def colours(self):
        """Return the table ``colour_profiles``."""
        pairs, curves = [" - ".join(pair) for pair in pairwise(self._bands)], []
        for name, (total, draws) in self._results().items():
            (real, ours), (real_draws, our_draws) = (_colours(part) for part in (total[1], draws[:, 1]))
            columns = {"target": real, "translated": ours, "difference": (ours - real, our_draws - real_draws)}
            number = total[1, 2, :, 0]
            curves += self._curves(name, pairs, columns, np.minimum(number[1:], number[:-1]))
        return curve_table(curves, COLOURS | RADII)

    def _curves(self, name, bands, columns, number):
        """Yield labels and columns of each band; of what comes with its resamples, with the ends of its interval."""
        for what, values in list(columns.items()):
            if isinstance(values, tuple | list):
                names = what, f"{what}_low", f"{what}_high"
                columns |= dict(zip(names, interval(*values, 0, self._level)[:3], strict=True))
        for c, band in enumerate(bands):
            radii = {"radius": self._rings.middles, "outer_radius": self._rings.edges[1:]}
            head = {"model": name, "band": band} | radii
            yield head | {what: values[c] for what, values in columns.items()} | {"n": int(number[c])}


def _finite(profile):
    """A profile, zero where it could not be measured, and where it could."""
    whole = np.isfinite(profile).all(axis=-1)
    return np.where(whole[..., None], profile, 0), whole


def _colours(sums):
    """Colours of neighbouring bands of the mean profiles, real and translated, ``[..., C - 1, K]`` each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = -2.5 * np.log10(sums[..., :2, :, :] / sums[..., 2:3, :, :])
        colour = magnitude[..., :-1, :] - magnitude[..., 1:, :]
    colour = np.where(np.isfinite(colour), colour, np.nan)  # a mean profile below zero has no magnitude
    return colour[..., 0, :, :], colour[..., 1, :, :]
