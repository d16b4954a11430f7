"""
The batch of cutouts that every measurement of morphology works on, and how they are cut out of stamps.

statmorph measures on a cutout around the source, 2.5 times as large as the source's bounding box and of 48 pixels or
more, and several of its filters mirror the image at the edges of that cutout. Cutouts differ in size from galaxy to
galaxy, so each lies in the lower left corner of a canvas that holds the largest; ``frame`` has its pixels.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from .segmentation import central_label

__all__ = ["BAD", "CATASTROPHIC", "GOOD", "SUSPECT", "Cutouts", "cut_out"]

GOOD, SUSPECT, BAD, CATASTROPHIC = 0, 1, 2, 4  # statmorph's flags
EXTENT, SMALLEST = 2.5, 48  # statmorph's cutout_extent and min_cutout_size
OUTLIER = 10  # statmorph's n_sigma_outlier


@dataclass
class Cutouts:
    """
    A batch of cutouts, ``[N, H, W]``, in float64; pixel [0, 0] of a canvas is the lower left one of its cutout.

    Parameters
    ----------
    image : `numpy.ndarray`
        Flux, zero where masked and outside the cutout (statmorph's ``_cutout_stamp_maskzeroed``).
    frame : `numpy.ndarray`
        Bool: the pixels of the cutout.
    mask : `numpy.ndarray`
        Bool: pixels of the cutout to ignore: other sources, the user's mask, NaN, outliers (``_mask_stamp``).
    segment : `numpy.ndarray`
        Bool: the source's pixels, masked ones too.
    empty : `numpy.ndarray`
        Bool: pixels of the cutout that belong to no source and are not in the user's mask: where the sky may be found.
    raw : `numpy.ndarray`
        The image with its masked pixels as they were given: for the weight map.
    sigma : `numpy.ndarray` or None
        Standard deviation of each pixel, if the user gave it.
    gain : `numpy.ndarray` or None
        ``[N]``: electrons per unit of flux, which makes the weight map where ``sigma`` is missing.
    nx, ny : `numpy.ndarray`
        ``[N]``, int64: size of each cutout.
    xmin, ymin : `numpy.ndarray`
        ``[N]``, int64: where it begins in the input image.
    row : `numpy.ndarray`
        ``[N]``, int64: the row of the input.
    flag : `numpy.ndarray`
        ``[N]``, int64: statmorph's flag as it stands; changed in place by `raise_flag`.
    """

    image: np.ndarray
    frame: np.ndarray
    mask: np.ndarray
    segment: np.ndarray
    empty: np.ndarray
    raw: np.ndarray
    sigma: np.ndarray | None
    gain: np.ndarray | None
    nx: np.ndarray
    ny: np.ndarray
    xmin: np.ndarray
    ymin: np.ndarray
    row: np.ndarray
    flag: np.ndarray

    def __len__(self):
        return len(self.image)

    @property
    def valid(self):
        """Bool ``[N, H, W]``: pixels of the cutout that are not masked, over which statmorph counts areas."""
        return self.frame & ~self.mask

    @property
    def source_image(self):
        """Flux of the source's pixels, zero elsewhere (``_cutout_stamp_maskzeroed_no_bg``)."""
        return np.where(self.segment, self.image, 0.0)

    @property
    def diagonal(self):
        """Length of each cutout's diagonal, ``[N]`` float64: statmorph's largest radius."""
        return np.hypot(self.nx, self.ny)

    def weightmap(self, sky_sigma):
        """
        Return the standard deviation of each pixel, zero where masked (statmorph's ``_weightmap_stamp``).

        Parameters
        ----------
        sky_sigma : `numpy.ndarray`
            ``[N]``: of the sky box; used only where the user gave no ``sigma``.
        """
        sigma = self.sigma
        if sigma is None:
            sigma = np.sqrt(np.abs(self.raw) / self.gain[:, None, None] + sky_sigma[:, None, None] ** 2)
        return np.where(self.valid, sigma, 0.0)

    def raise_flag(self, where, level):
        """
        Raise the flag of some galaxies to a level, never lowering it.

        Parameters
        ----------
        where : `numpy.ndarray`
            ``[N]``, bool.
        level : int
            `SUSPECT`, `BAD` or `CATASTROPHIC`.
        """
        self.flag[where] = np.maximum(self.flag[where], level)

    def select(self, rows, *, shrink=True):
        """
        Return the batch of some rows.

        Parameters
        ----------
        rows : `numpy.ndarray`
            Bool ``[N]`` or indices.
        shrink : bool, optional
            To the smallest canvas that holds their cutouts?
        """
        height, width = self.image.shape[1:]
        if shrink and len(self.ny[rows]):
            height, width = self.ny[rows].max(), self.nx[rows].max()
        changes = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in changes.items():
            if value is not None:
                value = value[:, :height, :width] if value.ndim == 3 else value
                changes[name] = np.ascontiguousarray(value[rows])  # another order of memory is compiled anew
        return replace(self, **changes)


def cut_out(images, segmap, *, mask=None, sigma=None, gain=None):
    """
    Cut the source in the middle out of each stamp.

    Parameters
    ----------
    images : `numpy.ndarray`
        ``[N, H, W]``, float64, background-subtracted.
    segmap : `numpy.ndarray`
        ``[N, H, W]``: bool (the source), or labels, of which that in the centre is the source (`central_label`).
    mask, sigma : `numpy.ndarray`, optional
        ``[N, H, W]``: pixels to ignore (bool); standard deviation of each pixel.
    gain : `numpy.ndarray`, optional
        ``[N]``: electrons per unit of flux.

    Returns
    -------
    Cutouts
        Of those galaxies that can be measured: those with a source in the centre whose flux is positive. All others
        have statmorph's flag 4.
    """
    label = central_label(segmap)
    found = np.flatnonzero(label > 0)
    boxes = np.array([_box(segmap[row] == label[row]) for row in found], np.int64).reshape(-1, 4)
    xmin, ymin, nx, ny = np.ascontiguousarray(boxes.T)
    size = len(found), *(int(n.max(initial=1)) for n in (ny, nx))
    frame, ignored, segment, empty = np.zeros((4, *size), bool)
    image, raw, noise = np.zeros(size), np.full(size, np.nan), None if sigma is None else np.full(size, np.nan)
    for k, (row, x, y, width, height) in enumerate(zip(found, *boxes.T, strict=True)):
        there, here = np.s_[row, y : y + height, x : x + width], np.s_[k, :height, :width]
        labels, frame[here], raw[here] = segmap[there], True, images[there]
        segment[here] = labels == label[row]
        away = (labels != 0) & ~segment[here]
        away = away if mask is None else away | mask[there]
        empty[here] = ~segment[here] & ~away
        ignored[here] = away | ~np.isfinite(raw[here]) | _outliers(raw[here])
        if sigma is not None:
            noise[here] = sigma[there]
            ignored[here] |= ~np.isfinite(noise[here])
        image[here] = np.where(ignored[here], 0.0, raw[here])
    cutouts = Cutouts(
        image, frame, ignored, segment, empty, raw, noise, None if gain is None else gain[found],
        nx, ny, xmin, ymin, row=found, flag=np.full(len(found), GOOD),
    )  # fmt: skip
    lit = cutouts.source_image.sum((1, 2)) > 0
    return cutouts if lit.all() else cutouts.select(lit)


def _box(mine):
    """Corner in x and y, and size, of the cutout around a source: statmorph's ``_slice_stamp``."""
    (y0, y1), (x0, x1) = ((line.argmax(), len(line) - line[::-1].argmax()) for line in (mine.any(1), mine.any(0)))
    reach = max(int(max(y1 - y0, x1 - x0) * (EXTENT / 2)), SMALLEST // 2)
    y, x = y0 + (y1 - y0) // 2, x0 + (x1 - x0) // 2
    ymin, xmin = max(y - reach, 0), max(x - reach, 0)
    return xmin, ymin, min(x + reach, mine.shape[1]) - xmin, min(y + reach, mine.shape[0]) - ymin


def _outliers(image):
    """Pixels 10 sigma from the mean of their eight neighbours (statmorph's ``_get_badpixels``; Lotz et al. 2004)."""
    # The edge pixel repeats. Only NaN counts as 0, as in statmorph: an infinite pixel spoils its neighbourhood.
    filled = np.pad(np.where(np.isnan(image), 0.0, image), 1, mode="edge")
    with np.errstate(invalid="ignore"):
        mean = _around(filled)
        variance = _around(filled**2) - mean**2
        return (variance >= 0) & ((image - mean) ** 2 > OUTLIER**2 * variance)


def _around(padded):
    """The mean of each inner pixel's eight neighbours."""
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return (total - padded[1:-1, 1:-1]) / 8
