r"""
Registration: how far two images of the same sky are apart, and the corrections that follow from many pairs.

The offset of a pair is where the cross-correlation of its stamps peaks, found to a fraction of a pixel by evaluating
the Fourier sum on a fine lattice around the peak (Guizar-Sicairos, Thurman & Fienup 2008, Opt. Lett. 33, 156) and a
parabola through its highest point. Only pixels with signal take part, so that sky noise does not move the peak. World
coordinates of surveys differ by tens of milliarcsec: a part that is common to a whole image, and one that varies across
it. Both are estimated from many pairs, since the offset of a single one is as uncertain as the position of a galaxy,
:math:`\mathrm{FWHM} / (2.35\,S/N)`.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["LIKENESS", "METHODS", "Offset", "corrections", "measure_offset"]

METHODS = "local", "global", "each", "none"
NEIGHBOURS = 25  # pairs whose median is the local correction: it is four times as certain as the offset of one
FEWEST = 5  # pairs without which there is no correction: the median of fewer follows a single wrong one
FINE = 0.05  # pixels between points of the lattice around the peak; a parabola finds it between them
SIGNAL = 3.0  # sigma of the smoothed sky above which a pixel takes part
LIKENESS = 0.3  #: correlation coefficient below which two images do not show the same
PEAK = 5.0  # sigma of the smoothed sky that the highest pixel must reach, or it may be noise and is not registered
EXPECTED = 10.0  # sigma of the other image's sky: a source this bright in one image must be seen in the other


class Offset(NamedTuple):
    """Result of a cross-correlation; NaN where there is too little signal."""

    dx: float  #: the second image's content lies this far along x (pixels)
    dy: float
    likeness: float  #: correlation coefficient at the peak
    beyond: bool  #: whether the peak is at the edge of the search radius


def measure_offset(first, second, noise, sigma, radius):
    """
    `Offset` between two sky-subtracted images ``[H, W]`` on the same grid and in the same unit, bad pixels filled.

    ``sigma`` are the two Gaussian sigmas (pixels) with which the images are smoothed to find signal, ``noise`` the rms
    of their skies after that; ``radius`` is how far to search (pixels).
    """
    (a, peak), (b, _) = (_signal(image, *how) for image, *how in zip((first, second), noise, sigma, strict=True))
    if not (a.any() and b.any()):
        missed = a.any() and peak > EXPECTED * noise[1]
        return Offset(np.nan, np.nan, 0.0 if missed else np.nan, beyond=False)
    reach = int(np.ceil(radius)) + 1
    n = tuple(size + 2 * reach for size in a.shape)
    spectrum = np.conj(np.fft.fft2(a, n)) * np.fft.fft2(b, n)
    correlation = np.fft.ifft2(spectrum).real
    lags = np.arange(-reach, reach + 1)
    near = correlation[np.ix_(lags, lags)]
    inside = np.hypot(lags[:, None], lags) <= radius
    peak = np.unravel_index(np.argmax(np.where(inside, near, -np.inf)), near.shape)
    y, x = (float(lags[k]) for k in peak)
    # a peak is higher than what lies around it, also where that is beyond the radius
    around = near[max(peak[0] - 1, 0) : peak[0] + 2, max(peak[1] - 1, 0) : peak[1] + 2]
    dy, dx, height = _refine(spectrum, y, x)
    return Offset(dx, dy, height / np.sqrt((a**2).sum() * (b**2).sum()), beyond=bool(around.max() > near[peak]))


def _signal(image, noise, sigma):
    """Image of what exceeds the sky noise, fading towards the edge of the stamp, and its highest smoothed pixel."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(image, sigma, mode="constant")
    weight = np.clip(smooth / noise / SIGNAL - 0.5, 0, 1)  # a hard threshold would follow the noise
    taper = [np.clip(np.minimum(np.arange(n) + 1, n - np.arange(n)) / max(1, n // 8), 0, 1) for n in image.shape]
    peak = float((smooth * weight).max())
    if peak <= PEAK * noise:
        return np.zeros_like(image), peak
    # in a correlation the other image is the filter: further smoothing than half a PSF makes the peak less certain
    return gaussian_filter(image, sigma / 2, mode="constant") * weight * taper[0][:, None] * taper[1], peak


def _refine(spectrum, y, x):
    """Position ``y, x`` and height of the correlation's peak near ``(y, x)``."""
    steps = np.arange(-1, 1 + FINE / 2, FINE)
    waves = [
        np.exp(2j * np.pi * np.outer(start + steps, np.fft.fftfreq(n)))
        for n, start in zip(spectrum.shape, (y, x), strict=True)
    ]
    fine = (waves[0] @ spectrum @ waves[1].T).real / spectrum.size
    row, column = np.unravel_index(np.argmax(fine), fine.shape)
    place = []
    for start, k, line in ((y, row, fine[:, column]), (x, column, fine[row])):
        k = int(np.clip(k, 1, len(steps) - 2))
        left, middle, right = line[k - 1 : k + 2]
        bend = left - 2 * middle + right
        beside = 0.5 * (left - right) / bend if bend < 0 else 0.0
        place.append(start + steps[k] + FINE * float(np.clip(beside, -1, 1)))
    return *place, float(fine.max())


def corrections(x, y, offsets, method):
    """
    Shift ``[n, 2]`` to apply to each pair of an image, from the measured ``offsets`` ``[n, 2]`` of all (NaN: not
    measured).

    ``x`` and ``y`` are the positions of the pairs in the image. By ``method`` the shift is the median of all offsets
    ("global"), that plus the median residual of the nearest other pairs ("local"), a pair's own offset ("each"), or
    zero.
    """
    known = np.isfinite(offsets).all(axis=1)
    shift = np.zeros_like(offsets)
    if method == "each":
        shift[known] = offsets[known]
    if method in {"local", "global"} and known.sum() >= FEWEST:
        whole = np.median(offsets[known], axis=0)
        shift[:] = whole
        if method == "local" and known.sum() > FEWEST:
            shift += _local(x, y, offsets - whole, known)
    return shift


def _local(x, y, offsets, known):
    shift, places = np.zeros_like(offsets), np.flatnonzero(known)
    for k in range(len(x)):
        others = places[places != k]  # with its own offset among them, a pair would be corrected towards its noise
        distance = np.hypot(x[others] - x[k], y[others] - y[k])
        nearest = others[np.argsort(distance)[:NEIGHBOURS]]
        if len(nearest) >= FEWEST:
            shift[k] = np.median(offsets[nearest], axis=0)
    return shift
