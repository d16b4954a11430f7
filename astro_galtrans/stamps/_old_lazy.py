"""Lazy looks at sets of stamps, so that no more of them is in memory than is looked at."""

from collections.abc import Mapping

import numpy as np

__all__ = ["Joined", "Middle", "View", "batches", "checked_images", "named", "sample_count"]

BATCH = 256


class View:
    """
    Some rows of a set of stamps, and one sample or the mean of all where there are several.

    Parameters
    ----------
    images : array-like
        ``[N, C, H, W]`` or ``[N, S, C, H, W]``: an array, or anything with a length that gives arrays for slices and
        arrays of indices.
    rows : array-like of int, optional
        Which, and in which order; all by default.
    sample : int or "mean", optional
        Which sample of the five-dimensional; the first by default.
    """

    def __init__(self, images, rows=None, sample=0):
        self._images, self._sample = images, sample
        self._rows = np.arange(len(images)) if rows is None else np.asarray(rows)
        probe = self[:1]
        self.shape, self.dtype, self.ndim = (len(self), *probe.shape[1:]), probe.dtype, probe.ndim

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return self[[rows]][0]
        chosen = self._rows[rows]
        start, stop = (int(chosen[0]), int(chosen[-1]) + 1) if len(chosen) else (0, 0)
        consecutive = stop - start == len(chosen) and (np.diff(chosen) == 1).all()
        images = np.asarray(self._images[slice(start, stop) if consecutive else chosen])
        if images.ndim != 5:
            return images
        return images.mean(axis=1) if self._sample == "mean" else images[:, self._sample]

    def __array__(self, dtype=None, copy=None):
        whole = np.concatenate(list(batches(self))) if len(self) else self[:0]
        return whole if dtype is None else whole.astype(dtype)


class Joined:
    """
    Several sets of stamps after one another, such as those of training and of test.

    Parameters
    ----------
    parts : sequence of array-like
        Each ``[N_k, C, H, W]`` or ``[N_k, S_k, C, H, W]``. Where numbers of samples differ, what is missing is NaN:
        of galaxies that only train an estimator no more than the first sample is looked at.
    """

    def __init__(self, parts):
        self._parts = list(parts)
        self._starts = np.cumsum([0, *map(len, self._parts)])
        probes = [np.asarray(part[:1]) for part in self._parts]
        self._samples = max(probe.shape[1] for probe in probes) if probes[0].ndim == 5 else None
        self.dtype, self.ndim = probes[0].dtype, probes[0].ndim
        tail = probes[0].shape[1:] if self._samples is None else (self._samples, *probes[0].shape[2:])
        self.shape = len(self), *tail

    def __len__(self):
        return int(self._starts[-1])

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return self[[rows]][0]
        rows = np.arange(len(self))[rows]
        images = np.full((len(rows), *self.shape[1:]), np.nan, self.dtype)
        part = np.searchsorted(self._starts, rows, side="right") - 1
        for k in np.unique(part):
            here = part == k
            found = np.asarray(self._parts[k][rows[here] - self._starts[k]])
            if self._samples is None:
                images[here] = found
            else:
                images[here, : found.shape[1]] = found
        return images


class Middle:
    """
    The middle of stamps.

    Parameters
    ----------
    images : array-like
        ``[N, ..., H, W]``.
    side : int
        Pixels along each side.

    Raises
    ------
    ValueError
        If the stamps are smaller, or the part is not in their middle to the pixel.
    """

    def __init__(self, images, side):
        shape = np.shape(images[:1])
        if any(n < side or (n - side) % 2 for n in shape[-2:]):
            msg = f"the middle {side} x {side} pixels of stamps of {shape[-2]} x {shape[-1]} pixels cannot be taken"
            raise ValueError(msg)
        self._images, y, x = images, *((n - side) // 2 for n in shape[-2:])
        self._cut = ..., slice(y, y + side), slice(x, x + side)
        self.shape, self.ndim = (len(images), *shape[1:-2], side, side), len(shape)
        self.dtype = np.asarray(images[:1]).dtype

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        return np.asarray(self._images[rows])[self._cut]


def batches(images, size=BATCH):
    """
    Yield a set of stamps as arrays.

    Parameters
    ----------
    images : array-like
        The stamps.
    size : int, optional
        How many at most in an array.
    """
    for start in range(0, len(images), size):
        yield np.asarray(images[start : start + size])


def named(translated):
    """Return translations as a dict of name to stamps."""
    if isinstance(translated, Mapping):
        if not translated:
            msg = "translated is an empty dict; give at least one set of translated images"
            raise ValueError(msg)
        return {str(name): images for name, images in translated.items()}
    return {"translated": translated}


def sample_count(images):
    """Return the number of samples of a set of stamps, or None for stamps without that axis."""
    shape = np.shape(images[:1])
    return shape[1] if len(shape) == 5 else None


def checked_images(name, images, number, bands, *, samples=False):
    """
    Check length and shape of a set of stamps.

    Parameters
    ----------
    name : str
        What to call it.
    images : array-like
        The stamps.
    number : int
        Of galaxies.
    bands : sequence of str
        Names of the bands.
    samples : bool, optional
        May there be an axis of samples?

    Raises
    ------
    ValueError
        If there are not as many as galaxies, or the shape is not that of stamps in these bands.
    """
    if len(images) != number:
        msg = f"{name} has {len(images)} images for {number} redshifts; they must be of the same galaxies, in order"
        raise ValueError(msg)
    shape = np.shape(images[:1])
    wanted = "[N, C, H, W] or [N, S, C, H, W] (S samples)" if samples else "[N, C, H, W]"
    if len(shape) not in ({4, 5} if samples else {4}) or 0 in shape[1:]:
        msg = f"{name} must be {wanted}, got ({len(images)}, {', '.join(map(str, shape[1:]))})"
        raise ValueError(msg)
    if shape[-3] != len(bands):
        msg = f"{name} has {shape[-3]} bands where {len(bands)} are named: {', '.join(bands)}"
        raise ValueError(msg)
