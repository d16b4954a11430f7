"""Numbers that are no measurements: marks for "no data" among the pixels, and standard deviations that mean "bad"."""

import numpy as np
from scipy.ndimage import binary_opening

from astro_galtrans._warn import warn

__all__ = ["mask_marks", "worthless"]

#: What pipelines write where there is no datum: IRAF and SDSS pipelines, the lowest 16 and 32 bit integers, databases.
MARKS = (-99.0, -999.0, -9999.0, -99999.0, -32768.0, -2147483648.0)
HUGE = 1e20  # no flux in any unit a survey uses: 1e30 and the largest float are marks, too
FAR = 10.0  # sigma below the sky: a count of -99 may be noise where the noise is 50
GAP = np.ones((3, 3), bool)  # zeros in such a block are a gap: single ones are common where noise was rounded
SAMPLE = 100_000  # pixels that tell sky and noise
#: SExtractor marks bad pixels by a weight of 1e30. Between that and the deepest pixels of a mosaic there is nothing.
WORTHLESS_STD, WORTHLESS_RATIO = 1e18, 1e6


def mask_marks(data, mask, label):
    """
    Mask ``[planes, H, W]``, or None, of pixels that are masked or hold a mark for "no data" in the file's own values.

    A warning names number and value of the marks in each plane of the image, which is called ``label``.
    """
    found = np.zeros(data.shape, bool)
    for k, plane in enumerate(data):
        usable = np.isfinite(plane) if mask is None else np.isfinite(plane) & ~mask[k]
        told = _marked(plane, usable, found[k])
        if told:
            where = f"{label}, plane {k}" if len(data) > 1 else label
            msg = f"{where}: {'; '.join(told)}: usual marks for pixels without data, which are masked"
            warn(msg, stacklevel=2)
    if not found.any():
        return mask
    return found if mask is None else mask | found


def _marked(plane, usable, found):
    """Set ``found`` where a plane holds marks, and list what they are."""
    told = []
    if not usable.any():
        return told
    low, high = (ends(plane, where=usable, initial=0) for ends in (np.min, np.max))
    if max(-low, high) >= HUGE:
        found |= usable & (np.abs(plane) >= HUGE)
        told.append(f"{np.count_nonzero(found)} pixels beyond {HUGE:g}")
    values = [value for value in MARKS if value >= low] + [0.0]
    marks = {value: usable & (plane == value) for value in values}
    marks = {value: where for value, where in marks.items() if where.any()}
    if not marks:
        return told
    rest = (usable & ~found & ~np.logical_or.reduce(list(marks.values())))[:: max(1, plane.size // SAMPLE // 10)]
    sample = plane[:: max(1, plane.size // SAMPLE // 10)][rest][:SAMPLE].astype(float)
    if not sample.size:
        return told
    sky = np.median(sample)
    spread = 1.4826 * np.median(np.abs(sample - sky))
    for value, where in marks.items():
        if value == 0 and not (spread and value < sky - FAR * spread):
            where = binary_opening(where, GAP) if _noisy(sample) else np.False_
        elif not value < sky - FAR * spread:
            continue
        if where.any():
            found |= where
            told.append(f"{np.count_nonzero(where)} pixels of {value:g}")
    return told


def _noisy(sample):
    """Whether values are those of noise around zero that was not rounded: of both signs, and hardly any comes twice."""
    counts = np.unique(sample[:20_000], return_counts=True)[1]
    distinct = sample.size >= 2 * GAP.size and counts.max() <= max(2, 0.01 * counts.sum())
    return distinct and np.mean(sample < 0) > 0.05  # a model without noise fades to zero, and has nothing below


def worthless(array, variance, label):
    """
    Pixels whose stated uncertainty is no number to use and which have to be masked, bool.

    ``array`` holds standard deviations or variances as given, or is None for inverse variances, where a negative one is
    no weight; ``variance`` is the same as float64 variances. Negative values and values far above all others give a
    warning; infinities, NaN and inverse variances of zero and below are the usual ways to mark a bad pixel.
    """
    bad = ~(variance >= 0) | np.isinf(variance)  # an inverse variance of zero comes as an infinity
    low, positive = variance.min(), array is None or array.min() >= 0
    if positive and low > 0 and variance.max() <= min(WORTHLESS_RATIO**2 * low, WORTHLESS_STD**2):
        return bad  # none of the values below can be there, as in most images, and the percentile takes time
    negative = np.zeros(variance.shape, bool) if array is None else array < 0
    step = max(1, variance.size // SAMPLE)
    sample = variance.flat[::step][~(bad | negative).flat[::step]]
    typical = np.percentile(sample[sample > 0], 10) if (sample > 0).any() else np.inf
    if not np.isfinite(typical) and not bad.all():
        msg = f"the {label} is zero everywhere, which says nothing of the noise: remove it, or give what it is"
        warn(msg, stacklevel=2)
    with np.errstate(invalid="ignore"):
        above = np.isfinite(variance) & (variance > min(WORTHLESS_RATIO**2 * typical, WORTHLESS_STD**2))
    for where, what in ((negative, "are negative"), (above, "are so large that they can only mark bad pixels")):
        if where.any():
            msg = f"{np.count_nonzero(where)} values of the {label} {what}; these pixels are masked"
            warn(msg, stacklevel=2)
    return bad | negative | above
