"""
Whether an image is like those a translator was trained on: what is measured of it, compared with the translator's card.

Measured are the pixel scale, and per band the level and the noise of the sky, the seeing and the brightest pixel;
`violations` compares them with a ``validity`` range such as::

    {"pixel_scale": [0.38, 0.41], "fwhm": {"r": [0.9, 1.6]}, "sky_rms": {"r": [0.02, 0.04]}, "peak": {"r": 90.0}}

What stars show is also compared with the PSF that a network is told: a width given in pixels instead of arcsec, or a
PSF that varies across a mosaic, is a violation too.

A quantity that the card does not limit, or that the image does not tell, is not compared. Sky noise is estimated from a
sample of pixels and seeing from a few dozen stars, so that a survey frame takes a fraction of a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log10

import numpy as np
from astropy.stats import mad_std

from .moments import SIGMA_TO_FWHM, Ellipse, round_moments

__all__ = [
    "SKY_LEVEL", "Violation", "find_stars", "flux_ratio", "in_words", "measure", "other_unit",
    "seeing_from_stars", "sky_level", "sky_rms", "star_limits", "violations",
]  # fmt: skip

MAD_TO_SIGMA = 1.482602  # of a Gaussian, to the median of its deviations from the centre
RMS_WITHIN_3_SIGMA = 0.98658  # rms of a Gaussian of sigma 1 that is cut at 3 sigma
MIN_STARS = 5  # fewer do not show where sizes crowd
STAR_SIZES = 0.1  # relative difference from the typical size: PSFs vary less across a frame, galaxies more

STARS_AGREE = 0.15  # relative: stars this far from the PSF that a network is told contradict it, see `STAR_SIZES`

# what is measured: (name in messages, unit or None for that of fluxes, what to expect below the range, and above it)
QUANTITIES = {
    "pixel_scale": ("pixel scale", "arcsec", "sizes are taken for larger", "sizes are taken for smaller"),
    "fwhm": ("seeing (FWHM)", "arcsec", "sources come out too sharp", "sources come out too blurred"),
    "stars": ("FWHM of stars", "arcsec", "sources come out too sharp", "sources come out too blurred"),
    "sky_rms": ("sky rms", None, "faint detail is taken for noise", "noise is taken for detail"),
    "peak": ("brightest pixel", None, "", "fluxes of bright cores are extrapolated"),
    "sky_level": (
        "level of the sky", None, "too much sky was subtracted; subtract_background=True does it anew",
        "sky was left in; subtract_background=True takes it out",
    ),
}  # fmt: skip

# Largest level of the sky, in units of its noise, where a card does not say. Networks are trained on images without
# sky: half a sigma of it in every pixel changes aperture magnitudes by 0.1 to 0.2. It cannot be much lower, since
# `sky_level` finds 0.27 in real stamps that a galaxy fills.
SKY_LEVEL = 0.3


@dataclass(frozen=True)
class Violation:
    """One quantity of an image that lies outside a translator's range, or contradicts what was given."""

    quantity: str  #: key of the validity range
    band: str | None  #: None for what all bands share
    value: float  #: what the image has
    low: float
    high: float
    flux_unit: str = "flux units"  #: of the numbers, if these are fluxes

    @property
    def side(self):
        """``"below"`` or ``"above"`` the range."""
        return "below" if self.value < self.low else "above"

    def __str__(self):
        return _sentence([self])


def in_words(found):
    """
    Return one sentence for each quantity that is too low, or too high, in some bands: few where many bands are.

    Parameters
    ----------
    found : iterable of `Violation`

    Returns
    -------
    dict of (str, str) to str
        Quantity, and ``"below"`` or ``"above"``, to the sentence.
    """
    groups = {}
    for violation in found:
        groups.setdefault((violation.quantity, violation.side), []).append(violation)
    return {key: _sentence(members) for key, members in groups.items()}


def _sentence(members):
    first = members[0]
    title, unit, below, above = QUANTITIES[first.quantity]
    one = len(members) == 1
    where = f" in band {first.band}" if one and first.band else ""
    values = ", ".join(f"{'' if one else f'{v.band} '}{v.value:.4g}" for v in members)
    ranges = (f"at most {v.high:.4g}" if v.low == -np.inf else f"from {v.low:.4g} to {v.high:.4g}" for v in members)
    allowed = ", ".join(f"{'' if one else f'{v.band} '}{text}" for v, text in zip(members, ranges, strict=True))
    claim = "the translator was trained on"
    if first.quantity == "stars":
        claim = "by the PSF that was given, or measured elsewhere in the mosaic, it would be"
    expect = below if first.side == "below" else above
    return f"{title}{where} is {values} {unit or first.flux_unit}; {claim} {allowed}: {expect}"


def violations(measured, validity):
    """
    Yield what lies outside a translator's range.

    Parameters
    ----------
    measured : dict
        From `measure`; None is not compared. ``flux_unit`` may name the unit of its fluxes.
    validity : dict
        Of the translator's card: ``pixel_scale`` is ``[low, high]``; ``fwhm``, ``sky_rms`` and ``peak`` hold such a
        pair, or only the highest value, per band. Bands and quantities it does not name are not limited, but for
        ``sky_level``, which has to be zero to ``SKY_LEVEL`` times the noise.

    Yields
    ------
    `Violation`
    """
    for quantity in QUANTITIES:
        values, limits = measured.get(quantity), validity.get(quantity)
        if quantity == "sky_level" and values and limits is None:
            limits = {band: _sky_limits(band, measured, validity) for band in values}
        if not isinstance(values, Mapping):
            values, limits = {None: values}, {None: limits}
        for band, value in values.items():
            limit = (limits or {}).get(band)
            if value is None or limit is None:
                continue
            low, high = limit if np.iterable(limit) else (-np.inf, limit)
            if not low <= value <= high:
                yield Violation(quantity, band, value, low, high, measured.get("flux_unit", "flux units"))


#: AB magnitude of one unit that numbers may have been meant in.
ZEROPOINTS = {"nanomaggy": 22.5, "Jy": 8.9, "mJy": 16.4, "uJy": 23.9, "nJy": 31.4, "maggy": 0.0}
UNIT_RATIO = 8.0  # images of one survey are 0.4 to 2.3 times as noisy as is typical; a stack of six has 0.4 of it
SAME_RATIO = 3.0  # by which bands may differ: a wrong unit multiplies all alike, and each has a noise of its own


def flux_ratio(measured, validity):
    """
    Return how many times the fluxes of all bands seem too large, or too small, as in an image of the wrong unit.

    Parameters
    ----------
    measured, validity : dict
        As for `violations`.

    Returns
    -------
    float or None
        Noise of the sky over that of the training; None where bands disagree or there is no such difference.
    """
    ratios = []
    for band, limits in (validity.get("sky_rms") or {}).items():
        rms = measured["sky_rms"].get(band)
        if rms and np.iterable(limits) and limits[0] > 0:
            ratios.append(rms / np.sqrt(limits[0] * limits[1]))
    if len(ratios) < 2 or max(ratios) > SAME_RATIO * min(ratios):
        return None
    ratio = float(np.exp(np.mean(np.log(ratios))))
    return ratio if max(ratio, 1 / ratio) >= UNIT_RATIO else None


def other_unit(ratio, zeropoint):
    """
    Return the unit, or zero point, in which the numbers of an image would be as those of the training.

    Parameters
    ----------
    ratio : float
        From `flux_ratio`.
    zeropoint : float
        AB magnitude of one unit that the image was taken to be in.

    Returns
    -------
    unit : str or None
        The nearest, if it is near.
    zeropoint : float
        AB magnitude of one count.
    """
    fitting = zeropoint + 2.5 * log10(ratio)
    near = min(ZEROPOINTS, key=lambda unit: abs(ZEROPOINTS[unit] - fitting))
    return (near if abs(ZEROPOINTS[near] - fitting) < 1 else None), fitting


def star_limits(fwhm):
    """Return the range of ``stars`` for `violations`, of PSFs by band whose FWHM (arcsec) a network is told."""
    return {"stars": {band: [(1 - STARS_AGREE) * width, (1 + STARS_AGREE) * width] for band, width in fwhm.items()}}


def _sky_limits(band, measured, validity):
    """Levels of the sky that are near enough to zero, for the noise of the image or of the training."""
    trained = (validity.get("sky_rms") or {}).get(band) or 0
    # half the highest noise of the training: an image without noise is compared with that of its survey
    noise = max(measured.get("sky_rms", {}).get(band) or 0, np.max(trained) / 2)
    return [-SKY_LEVEL * noise, SKY_LEVEL * noise] if noise else None


def measure(data, mask, bands, pixel_scale, noise=None):
    """
    Measure what can be compared with a translator's range.

    Parameters
    ----------
    data : `numpy.ndarray` or sequence of `numpy.ndarray`
        ``[C, H, W]``, or one ``[H, W]`` per band: flux per pixel in the source survey's unit, best before bands are
        aligned, since resampling makes sky noise correlated and smaller.
    mask : `numpy.ndarray`, sequence or None
        True where a pixel is bad; not finite pixels are bad anyway. A sequence may hold None.
    bands : sequence of str
        Names of the bands.
    pixel_scale : float
        Side of a pixel (arcsec).
    noise : dict, optional
        Sky rms of these very pixels by band, where `sky_rms` has measured it before.

    Returns
    -------
    dict
        ``pixel_scale`` and, by band, ``fwhm`` (arcsec, see `seeing_from_stars`), ``sky_rms``, ``peak`` and
        ``sky_level`` (flux unit): floats, or None where the image does not tell.
    """
    masks = [None] * len(bands) if mask is None else mask
    result = {"pixel_scale": float(pixel_scale), "fwhm": {}, "sky_rms": {}, "peak": {}, "sky_level": {}}
    for band, plane, bad in zip(bands, data, masks, strict=True):
        good = np.isfinite(plane) if bad is None else np.isfinite(plane) & ~np.asarray(bad, dtype=bool)
        rms = sky_rms(plane, good) if noise is None else noise[band]
        result["fwhm"][band] = seeing_from_stars(plane, good, rms, pixel_scale)
        result["sky_rms"][band] = rms
        result["peak"][band] = float(np.max(plane, where=good, initial=-np.inf)) if good.any() else None
        result["sky_level"][band] = sky_level(plane, good, rms)
    return result


def sky_level(plane, good, noise):
    """
    Return the level of the sky, from the darkest parts of an image.

    It is the mean of the lowest quarter of medians of blocks, less what noise alone makes that differ from the level.
    A galaxy that fills a stamp lifts the median of all pixels by half a sigma and more, but not that of the corners.

    Parameters
    ----------
    plane, good : `numpy.ndarray`
        Image and usable pixels, ``[H, W]``.
    noise : float or None
        Sky rms.

    Returns
    -------
    float or None
        In the unit of the image; None with too few usable pixels to tell, as in stamps of less than 32 pixels a side,
        which a galaxy may fill to the corners.
    """
    step = max(1, int(np.sqrt(plane.size / 1_000_000)))  # a million pixels tell it as well as all
    plane, good = plane[::step, ::step], good[::step, ::step]
    side = max(8, min(plane.shape) // 8)
    rows, columns = (n // side for n in plane.shape)
    usable = good & (plane != 0)  # images are padded with zeros, often unmasked
    blocks = np.where(usable, plane, np.nan)[: rows * side, : columns * side].astype(float)
    blocks = blocks.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side * side)
    blocks = blocks[np.isfinite(blocks).mean(axis=1) > 0.5]
    if len(blocks) < 16 or noise is None:  # of fewer blocks the quarter scatters by more than what it shall tell
        return None
    medians = _median(blocks) if np.isfinite(blocks).all() else np.nanmedian(blocks, axis=1)
    medians = np.sort(medians)[: len(blocks) // 4]
    # the mean of the lowest quarter of a Gaussian is 1.271 sigma below its centre; a median scatters by 1.253 / sqrt(n)
    return float(medians.mean() + 1.271 * 1.253 * noise / side)


def sky_rms(plane, good, n_pairs=150_000):
    r"""
    Return the rms of the sky noise in a pixel.

    It is that of differences of neighbouring pixels, over :math:`\sqrt 2`, in the fainter half of the pairs. A galaxy
    that fills the image hardly touches it: light varies little from a pixel to the next, and the sum of a pair, by
    which the half is chosen, is independent of its difference. Noise is taken as white: in a resampled image, where
    neighbours share noise, the result is too small.

    Parameters
    ----------
    plane, good : `numpy.ndarray`
        Image and usable pixels, ``[H, W]``.
    n_pairs : int, optional
        About how many pairs to use along each axis.

    Returns
    -------
    float or None
        None with too few usable pixels to tell.
    """
    step = max(1, int(np.sqrt(plane.size / n_pairs)))
    both = []
    for image, usable in ((plane, good), (plane.T, good.T)):
        left, right = image[::step, :-1:step], image[::step, 1::step]
        used = usable[::step, :-1:step] & usable[::step, 1::step]
        used &= (left != 0) | (right != 0)  # images are padded with zeros, often unmasked
        both.append(np.stack([left[used], right[used]]))
    left, right = np.concatenate(both, axis=1)
    if left.size < 2 * MIN_STARS**2:
        return None
    total = left + right
    difference = (left - right)[total <= _median(total)]
    return float(_clipped_rms(difference) / np.sqrt(2))


def _clipped_rms(values):
    """Robust rms of values around zero: that of a Gaussian whose part within three MAD-sigma is theirs."""
    size = np.abs(values)
    inside = values[size <= 3 * MAD_TO_SIGMA * _median(size)]
    # the rms of what is left also holds for coarsely digitised counts, where a MAD is a multiple of the step
    return np.sqrt(np.mean(inside**2, dtype=float)) / RMS_WITHIN_3_SIGMA


def _median(values):
    """`numpy.median` of finite values ``[..., n]``: without its search for NaN it takes two thirds of the time."""
    half = values.shape[-1] // 2
    parted = np.partition(values, half)
    if values.shape[-1] % 2:
        return parted[..., half]
    return (parted[..., :half].max(axis=-1) + parted[..., half]) / 2


def seeing_from_stars(plane, good, noise, pixel_scale, max_stars=60):
    """
    Return the FWHM of the stars in an image.

    Stars are the sources with peaks above 30 times the noise and no neighbour, whose sizes agree: saturated stars
    and galaxies are larger, by differing amounts.

    Parameters
    ----------
    plane, good : `numpy.ndarray`
        Image and usable pixels, ``[H, W]``.
    noise : float or None
        Sky rms.
    pixel_scale : float
        Side of a pixel (arcsec).
    max_stars : int, optional
        Number of sources to measure, the brightest.

    Returns
    -------
    float or None
        Median FWHM (arcsec, as of `~astro_galtrans.moments.gaussian_fwhm`), or None if fewer than five stars are found.
    """
    if not pixel_scale > 0:
        return None
    half = int(np.clip(round(4 / pixel_scale), 5, 25))  # 4 arcsec, which holds a star in poor seeing
    _, stars = find_stars(plane, good, noise, half, max_stars)
    return float(SIGMA_TO_FWHM * np.median(np.sqrt(stars.xx)) * pixel_scale) if len(stars.xx) else None


def find_stars(plane, good, noise, half, max_stars=60):
    """
    Find stars as `seeing_from_stars` does.

    Parameters
    ----------
    plane, good, noise, max_stars
        As for `seeing_from_stars`.
    half : int
        Half the side of the box around a star (pixels), in which there is no other source.

    Returns
    -------
    boxes : `numpy.ndarray`
        ``[n, 2 half + 1, 2 half + 1]``, sky-subtracted, around the brightest pixel of each star.
    stars : `~astro_galtrans.moments.Ellipse`
        ``[n]`` each: centres relative to the boxes' and widths of the round Gaussians that match the stars (pixels).
        Both are empty if fewer than five stars are found.
    """
    nothing = np.empty((0, 2 * half + 1, 2 * half + 1)), Ellipse(*np.empty((5, 0)))
    if not noise or min(plane.shape) <= 2 * half:
        return nothing
    boxes = _isolated_sources(plane, good, noise, half)[:max_stars]
    if len(boxes) < MIN_STARS:
        return nothing
    sources, found = round_moments(np.stack(boxes))
    if found.sum() < MIN_STARS:
        return nothing
    width = np.where(found, np.sqrt(sources.xx), np.nan)
    # the star locus is where sizes crowd: the densest third of them
    sizes = np.sort(width[found])
    third = max(MIN_STARS, len(sizes) // 3)
    start = np.argmin(sizes[third - 1 :] / sizes[: len(sizes) - third + 1])
    star = np.abs(width / np.median(sizes[start : start + third]) - 1) < STAR_SIZES
    if star.sum() < MIN_STARS:
        return nothing
    return np.stack(boxes)[star], Ellipse(*(values[star] for values in sources))


def _isolated_sources(plane, good, noise, half, max_pixels=200_000):
    """Return sky-subtracted boxes around bright sources without neighbours, brightest first."""
    sample = plane[::4, ::4][good[::4, ::4]]
    if not sample.size:
        return []
    sky = _median(sample)
    if plane.max() <= sky + 30 * noise:  # most stamps, and the median below takes time
        return []
    # where noise is correlated, as in a smoothed image, only the scatter of pixels shows how high its peaks are
    noise = max(noise, mad_std(sample))
    bright = np.flatnonzero((plane > sky + 30 * noise) & good)
    if bright.size > max_pixels:  # an image full of light: the brightest will do
        bright = bright[np.argpartition(plane.flat[bright], -max_pixels)[-max_pixels:]]
    y, x = np.unravel_index(bright, plane.shape)
    inside = (y >= half) & (x >= half) & (y < plane.shape[0] - half) & (x < plane.shape[1] - half)
    y, x = y[inside], x[inside]
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        highest = plane[y, x] >= plane[y + dy, x + dx]
        y, x = y[highest], x[highest]
    order = np.argsort(-plane[y, x])
    offset = np.arange(-half, half + 1)
    outside = np.hypot(offset[:, None], offset) > 0.75 * half
    boxes = []
    for row, column in zip(y[order], x[order], strict=True):
        window = slice(row - half, row + half + 1), slice(column - half, column + half + 1)
        box, peak = plane[window] - sky, plane[row, column] - sky
        # a second pixel as high as the peak is a neighbour, or the flat top of a saturated star
        if good[window].all() and np.count_nonzero(box >= peak) == 1 and box[outside].max() < 0.1 * peak:
            boxes.append(box)
    return boxes
