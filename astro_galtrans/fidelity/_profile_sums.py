"""Mean light and colour profiles of real and translated galaxies, summed block by block."""

from itertools import pairwise

import numpy as np
from astropy import units as u

from astro_galtrans.measure.profiles import Rings
from astro_galtrans.statistics.bootstrap import interval
from astro_galtrans.statistics.resampling import StreamedSums

from .paired import to_qtable

__all__ = ["ProfileSums"]

WITHIN = 3.0  # diameter of the circle whose real flux profiles are divided by (arcsec)
LEAST_SNR = 3.0  # of that flux


class ProfileSums:
    """
    Sums of the profiles of all galaxies, for each reading.

    Light profiles are divided by the galaxy's real flux in the same band, so that all galaxies count alike; those that
    colours are made of by that in the middle band. A galaxy counts if this flux is above 3 sigma of the sky noise, and
    all its pixels have a value in both images.

    Parameters
    ----------
    stamps : `~astro_galtrans.stamps._compared.Compared`
        What is compared.
    edges : array-like or None
        Of the rings (arcsec).
    settings : dict
        ``n``, ``seed`` and ``level`` of the bootstrap.
    """

    def __init__(self, stamps, edges, settings):
        self._stamps, self._level = stamps, settings["level"]
        self._rings = Rings(stamps.shape, stamps.pixel_scale, edges)
        inner = self._rings.edges[1:] <= max(WITHIN / 2, self._rings.edges[1])
        self._inner, self._noise = inner, np.sqrt((self._rings.weights[inner].sum(0) ** 2).sum())
        shape = 2, 3, len(stamps.bands), len(inner)  # for light and for colours: real, translated, how many
        self._sums = {name: StreamedSums(shape, settings["n"], settings["seed"]) for name in stamps.names}

    def add(self, real, images, noise):
        """
        Take in galaxies.

        Parameters
        ----------
        real : `numpy.ndarray`
            ``[n, C, H, W]``.
        images : dict of str to `numpy.ndarray`
            Those of each reading.
        noise : `numpy.ndarray`
            ``[n, C]``: of a pixel of the sky.
        """
        profile, whole = self._profile(real)
        flux = profile[..., self._inner].sum(-1)
        bright = whole & (flux > LEAST_SNR * self._noise * noise)
        middle = len(self._stamps.bands) // 2
        scales = (flux, bright), (flux[:, middle, None], bright & bright[:, middle, None])
        for name, stack in images.items():
            ours, finite = self._profile(stack)
            parts = []
            for scale, usable in scales:
                usable = np.broadcast_to((usable & finite)[..., None], profile.shape)
                scale = np.where(usable, np.broadcast_to(scale, flux.shape)[..., None], 1)
                parts.append([np.where(usable, part / scale, 0) for part in (profile, ours)] + [usable])
            self._sums[name].add(np.moveaxis(np.array(parts, dtype=float), 2, 0))

    def _profile(self, stack):
        whole = np.isfinite(stack).all(axis=(-1, -2))
        return self._rings.sums(np.where(whole[..., None, None], stack, 0)), whole

    def light(self):
        """Return the table ``profiles``: a row for each reading, band and ring."""
        rows = []
        for name, sums in self._sums.items():
            total, draws = sums.total[0], sums.draws[:, 0]
            with np.errstate(divide="ignore", invalid="ignore"):
                real, ours = total[:2] / total[2] / self._rings.area
                ratio = interval(*(part[..., 1, :, :] / part[..., 0, :, :] for part in (total, draws)), 0, self._level)
                grown = (np.cumsum(part[..., :2, :, :], axis=-1) for part in (total, draws))
                growth = interval(*(part[..., 1, :, :] / part[..., 0, :, :] for part in grown), 0, self._level)
            columns = {"target": real, "translated": ours} | _named("ratio", ratio) | _named("growth", growth)
            rows += self._rows(name, self._stamps.bands, columns, total[2, :, 0])
        table = to_qtable(rows)
        for column in ("radius", "outer_radius"):
            table[column].unit = u.arcsec
        for column in ("target", "translated"):
            table[column].unit = u.arcsec**-2
        return table

    def colours(self):
        """Return the table ``colour_profiles``: a row for each reading, colour and ring; None of a single band."""
        pairs = [" - ".join(pair) for pair in pairwise(self._stamps.bands)]
        if not pairs:
            return None
        rows = []
        for name, sums in self._sums.items():
            (real, ours), (real_draws, our_draws) = (_colours(part) for part in (sums.total[1], sums.draws[:, 1]))
            apart = interval(ours - real, our_draws - real_draws, 0, self._level)
            columns = {"target": real, "translated": ours} | _named("difference", apart)
            number = sums.total[1, 2, :, 0]
            rows += self._rows(name, pairs, columns, np.minimum(number[1:], number[:-1]))
        table = to_qtable(rows)
        for column in ("target", "translated", "difference", "difference_low", "difference_high"):
            table[column].unit = u.mag
        for column in ("radius", "outer_radius"):
            table[column].unit = u.arcsec
        return table

    def _rows(self, name, bands, columns, number):
        radii = {"radius": self._rings.middles, "outer_radius": self._rings.edges[1:]}
        for c, band in enumerate(bands):
            for k in range(len(radii["radius"])):
                head = {"model": name, "band": band} | {key: part[k] for key, part in radii.items()}
                yield head | {key: part[c, k] for key, part in columns.items()} | {"n": int(number[c])}


def _colours(sums):
    """Colours of neighbouring bands of the mean profiles, real and translated, ``[..., C - 1, K]`` each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = -2.5 * np.log10(sums[..., :2, :, :] / sums[..., 2:3, :, :])
        colour = magnitude[..., :-1, :] - magnitude[..., 1:, :]
    colour = np.where(np.isfinite(colour), colour, np.nan)  # a mean profile below zero has no magnitude
    return colour[..., 0, :, :], colour[..., 1, :, :]


def _named(name, parts):
    return dict(zip((name, f"{name}_low", f"{name}_high"), parts[:3], strict=True))
