"""
The batch of cutouts that every measurement of morphology works on, and how they are cut out of stamps.

statmorph measures on a cutout around the source, 2.5 times as large as the source's bounding box and of 48 pixels or
more, and several of its filters mirror the image at the edges of that cutout. Cutouts differ in size from galaxy to
galaxy, so each lies in the lower left corner of a canvas that holds the largest; ``frame`` has its pixels.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from .segmentation import central_label

__all__ = ["BAD", "CATASTROPHIC", "GOOD", "SUSPECT", "Cutouts", "cut_out", "same_size"]

GOOD, SUSPECT, BAD, CATASTROPHIC = 0, 1, 2, 4  # statmorph's flags
EXTENT, SMALLEST = 2.5, 48  # statmorph's cutout_extent and min_cutout_size
OUTLIER = 10  # statmorph's n_sigma_outlier


@dataclass
class Cutouts:
    """A batch of cutouts on canvases ``[N, H, W]``, whose pixel [0, 0] is the lower left one of the cutout."""

    image: np.ndarray  # float64, zero where masked and outside the cutout (statmorph's _cutout_stamp_maskzeroed)
    frame: np.ndarray  # bool: the pixels of the cutout
    mask: np.ndarray  # bool: pixels to ignore: other sources, the user's mask, NaN, outliers (_mask_stamp)
    segment: np.ndarray  # bool: the source's pixels, masked ones too
    empty: np.ndarray  # bool: pixels of no source and not in the user's mask, where the sky may be found
    raw: np.ndarray  # the image with its masked pixels as they were given, for the weight map
    sigma: np.ndarray | None  # standard deviation of each pixel, if the user gave it
    gain: np.ndarray | None  # [N]: electrons per unit of flux, which makes the weight map where sigma is missing
    nx: np.ndarray  # [N], int64, as all that follow: size of each cutout
    ny: np.ndarray
    xmin: np.ndarray  # where it begins in the input image
    ymin: np.ndarray
    row: np.ndarray  # of the input
    flag: np.ndarray  # statmorph's flag as it stands; changed in place by raise_flag

    def __len__(self):
        return len(self.image)

    @property
    def valid(self):
        """Bool ``[N, H, W]``: pixels of the cutout that are not masked, over which statmorph counts areas."""
        return self.frame & ~self.mask

    @cached_property
    def source_image(self):
        """Flux of the source's pixels, zero elsewhere (``_cutout_stamp_maskzeroed_no_bg``)."""
        return np.where(self.segment, self.image, 0.0)

    @property
    def diagonal(self):
        """Length of each cutout's diagonal, ``[N]`` float64: statmorph's largest radius."""
        return np.hypot(self.nx, self.ny)

    def weightmap(self, sky_sigma):
        """
        Return the standard deviation of each pixel, zero where masked (``_weightmap_stamp``); ``sky_sigma`` is for
        lack of ``sigma``.
        """
        sigma = self.sigma
        if sigma is None:
            sigma = np.sqrt(np.abs(self.raw) / self.gain[:, None, None] + sky_sigma[:, None, None] ** 2)
        return np.where(self.valid, sigma, 0.0)

    def raise_flag(self, where, level):
        """Raise the flag of some galaxies (bool ``[N]`` or indices) to a level, never lowering it."""
        self.flag[where] = np.maximum(self.flag[where], level)

    def select(self, rows):
        """Return the batch of some rows (bool ``[N]`` or indices) on the smallest canvas that holds their cutouts."""
        height, width = self.image.shape[1:]
        if len(self.ny[rows]):
            height, width = self.ny[rows].max(), self.nx[rows].max()
        changes = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in changes.items():
            if value is not None:
                value = value[:, :height, :width] if value.ndim == 3 else value
                changes[name] = np.ascontiguousarray(value[rows])  # another order of memory is compiled anew
        return replace(self, **changes)


def cut_out(images, segmap, *, mask=None, sigma=None, gain=None):
    """
    Cut the source in the middle out of each stamp, `central_label` telling which that is.

    Stamps without a source in the centre, or whose flux is not positive, cannot be measured and are left out:
    statmorph's flag 4. ``mask`` is true on pixels to ignore, ``sigma`` the standard deviation of each, ``gain``
    ``[N]`` electrons per flux.
    """
    label = central_label(segmap)
    mine = (segmap == label[:, None, None]) & (label > 0)[:, None, None]
    away = (segmap != 0) & ~mine
    away = away if mask is None else away | mask
    found = np.flatnonzero(label > 0)
    xmin, ymin, nx, ny = _boxes(mine[found])
    size = len(found), *(int(n.max(initial=1)) for n in (ny, nx))
    frame, ignored, segment = np.zeros((3, *size), bool)
    raw, noise = np.full(size, np.nan), None if sigma is None else np.full(size, np.nan)
    for k, (row, x, y, width, height) in enumerate(zip(found, xmin, ymin, nx, ny, strict=True)):
        there, here = np.s_[row, y : y + height, x : x + width], np.s_[k, :height, :width]
        frame[here], raw[here], segment[here], ignored[here] = True, images[there], mine[there], away[there]
        if sigma is not None:
            noise[here] = sigma[there]
    empty = frame & ~segment & ~ignored
    ignored |= frame & ~np.isfinite(raw if sigma is None else raw + noise)
    for _, here in same_size(ny, nx):
        ignored[here] |= _outliers(raw[here])
    image = np.where(frame & ~ignored, raw, 0.0)
    cutouts = Cutouts(
        image, frame, ignored, segment, empty, raw, noise, None if gain is None else gain[found],
        nx, ny, xmin, ymin, row=found, flag=np.full(len(found), GOOD),
    )  # fmt: skip
    lit = cutouts.source_image.sum((1, 2)) > 0
    return cutouts if lit.all() else cutouts.select(lit)


def _boxes(mine):
    """Corners in x and y, and sizes, of the cutouts around sources, ``[N]`` each: statmorph's ``_slice_stamp``."""
    lines = mine.any(1), mine.any(2)
    (x0, x1), (y0, y1) = ((line.argmax(1), line.shape[1] - line[:, ::-1].argmax(1)) for line in lines)
    reach = np.maximum((np.maximum(x1 - x0, y1 - y0) * (EXTENT / 2)).astype(np.int64), SMALLEST // 2)
    x, y = x0 + (x1 - x0) // 2, y0 + (y1 - y0) // 2
    xmin, ymin = np.maximum(x - reach, 0), np.maximum(y - reach, 0)
    return xmin, ymin, np.minimum(x + reach, mine.shape[2]) - xmin, np.minimum(y + reach, mine.shape[1]) - ymin


def same_size(*sizes):
    """
    Yield which rows share all sizes, ``[N]`` each, the first two those along y and x, and the index of their pixels.

    What NumPy and SciPy do to many cutouts at once costs a fraction of what it costs one by one.
    """
    kinds, kind = np.unique(np.stack(sizes, 1), axis=0, return_inverse=True)
    for k, (height, width, *_) in enumerate(kinds):
        rows = np.flatnonzero(kind == k)
        yield rows, (rows, slice(height), slice(width))


def _outliers(images):
    """Pixels 10 sigma from the mean of their eight neighbours (statmorph's ``_get_badpixels``; Lotz et al. 2004)."""
    # The edge pixel repeats. Only NaN counts as 0, as in statmorph: an infinite pixel spoils its neighbourhood.
    filled = np.pad(np.where(np.isnan(images), 0.0, images), ((0, 0), (1, 1), (1, 1)), mode="edge")
    with np.errstate(invalid="ignore"):
        mean = _around(filled)
        variance = _around(filled**2) - mean**2
        return (variance >= 0) & ((images - mean) ** 2 > OUTLIER**2 * variance)


def _around(padded):
    """The mean of each inner pixel's eight neighbours."""
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return (total - padded[:, 1:-1, 1:-1]) / 8
