"""
Saturated pixels: by a level, or found in the image, and masked, since a flux cut off looks like that of a fainter star.

Where neither a mask nor a level tells them, they show. Light comes through a PSF, so that no pixel of a bright source
is much fainter than those on both sides of it, and a core is not flat and steep at its edge at once. A detector that is
full gives flat cores; pipelines that interpolate over them, as SDSS's, leave cores with holes.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy import ndimage

from . import _warn
from .bands import parse_band
from .domain import sky_rms

__all__ = ["mask_saturated", "saturated_cores"]

BRIGHT = 300.0  # sigma of the sky, below which no detector is full: photon noise is a per cent there, and tells a hole
HOLE = 0.8  # of the fainter of two neighbours, left and right or above and below: two stars two pixels apart leave 0.82
FLAT = 0.98  # least over greatest flux of a pixel and its four neighbours: the peak of a PSF of FWHM 6 pixels has 0.93
STEEP = 0.5, 7  # of the flux, to which a flat core falls within the box (pixels); a large galaxy falls slowly
REST = 0.95  # of the faintest pixel that shows it: what touches it and is as bright is saturated, too
BESIDE = np.ones((3, 3), bool)  # charge spills over: pixels beside saturated ones are not to be trusted


def saturated_cores(data, mask=None, noise=None):
    """
    Find saturated cores of bright sources, flat or with holes.

    Parameters
    ----------
    data : `~numpy.ndarray`
        ``[H, W]``.
    mask : `~numpy.ndarray` of bool, optional
        True where a pixel is bad.
    noise : float, optional
        Sky rms of the other pixels; measured by default.

    Returns
    -------
    `~numpy.ndarray` of bool
        True where a pixel is saturated, or beside such a pixel.
    """
    good = np.isfinite(data) if mask is None else np.isfinite(data) & ~mask
    noise = sky_rms(data, good) if noise is None else noise
    lowest, found = BRIGHT * (noise or np.inf), np.zeros(data.shape, bool)
    bright = good & (data > lowest)
    if bright.any():
        regions, _ = ndimage.label(ndimage.binary_dilation(bright, BESIDE))  # with holes of two pixels
        for place in ndimage.find_objects(regions):
            box = tuple(slice(max(part.start - STEEP[1], 0), part.stop + STEEP[1]) for part in place)
            found[box] |= _cut_off(data[box], good[box], lowest)
    return found


def _cut_off(data, good, lowest):
    """Saturated pixels around a bright source."""
    flux = np.where(good & (data > lowest), data, 0)
    padded = np.pad(flux, 1, mode="edge")
    left, right, below, above = padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]
    hole = flux < HOLE * np.maximum(np.minimum(left, right), np.minimum(below, above))
    cross = flux, left, right, below, above
    steep = ndimage.minimum_filter(np.where(good, data, np.inf), STEEP[1]) < STEEP[0] * flux
    flat = steep & (np.min(cross, axis=0) > FLAT * np.max(cross, axis=0))
    seeds = good & (hole | flat | _basin(flux, lowest))
    regions, number = ndimage.label((flux > 0) | seeds, BESIDE)
    faintest = ndimage.minimum(data, np.where(seeds, regions, 0), np.arange(1, number + 1))
    shown = np.isin(np.arange(1, number + 1), regions[seeds])
    found = data >= np.append(np.inf, np.where(shown, REST * faintest, np.inf))[regions]
    return ndimage.binary_dilation(found, BESIDE) if found.any() else found


def _basin(flux, lowest):
    """Pixels that brighter ones surround: some levels are tried, from the lowest to the brightest pixel's."""
    levels = np.geomspace(lowest, max(flux.max(), lowest), 12)
    return np.any([ndimage.binary_fill_holes(flux > level) & (flux < HOLE * level) for level in levels], axis=0)


def mask_saturated(stack, level=None, *, warn=True, noise=None):
    """
    Mask saturated pixels of a stack, and warn of them.

    Parameters
    ----------
    stack : `~astro_galtrans.bandstack.BandStack`
    level : float or mapping of str to float, optional
        Flux in a pixel from which it is saturated, in the unit of the stack, for all bands or by band. Cores that show
        it are found in any case, see `saturated_cores`.
    warn : bool, optional
        Warn if there are any.
    noise : dict, optional
        Sky rms of the stack's pixels by band; measured by default.

    Returns
    -------
    `~astro_galtrans.bandstack.BandStack`
        With these pixels masked; its ``notes`` say how many they are.

    Raises
    ------
    ValueError
        If a level is not a positive number, or of a band that the stack does not have.

    Warns
    -----
    GaltransWarning
        If there are saturated pixels.
    """
    levels, planes, noise = _levels(level, stack.bands), [], noise or {}
    told = [stack.notes["saturation"]] if "saturation" in stack.notes else []
    for band, plane in zip(stack.bands, stack.planes, strict=True):
        above = plane.good & (plane.data >= levels.get(band, np.inf))
        rms = None if above.any() else noise.get(band)  # the brightest pixels belong to the noise that is given
        shown = saturated_cores(plane.data, ~plane.good | above, rms) & ~above
        parts = (above, "above the level"), (shown, "in cut-off cores")
        counts = [f"{np.count_nonzero(part)} {how}" for part, how in parts if part.any()]
        if counts:
            told.append(f"{band}: {', '.join(counts)}")
            plane = plane._replace(mask=above | shown if plane.mask is None else plane.mask | above | shown)
        planes.append(plane)
    if not told:
        return stack
    text = "; ".join(told)
    if warn:
        msg = f"saturated pixels are masked ({text}): fluxes of these sources are lower limits at best"
        _warn.warn(msg, stacklevel=4)
    return replace(stack.with_planes(planes), notes=stack.notes | {"saturation": text})


def _levels(level, bands):
    """Level of each band that has one."""
    given = {parse_band(b): v for b, v in level.items()} if isinstance(level, Mapping) else dict.fromkeys(bands, level)
    given = {band: float(value) for band, value in given.items() if value is not None}
    wrong = {band: value for band, value in given.items() if not value > 0}
    if wrong or not given.keys() <= set(bands):
        msg = f"saturation must be a positive flux per pixel, or one by band of {', '.join(bands)}; got {level!r}"
        raise ValueError(msg)
    return given
