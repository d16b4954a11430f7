"""Arrays that are read when they are sliced: numpy arrays as they are, everything else as a `dask.array.Array`."""

import numpy as np

__all__ = ["as_array", "joined", "middle", "rows_of"]

CHUNK = 64  #: stamps read at a time: 5 bands of 64 x 64 pixels are 5 MiB


class _Rows:
    """What dask slices: a function that reads one stamp, seen as an array ``[N, ...]``."""

    def __init__(self, read, number, shape, dtype):
        self._read, self.shape, self.dtype = read, (number, *shape), np.dtype(dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, key):
        rows, *rest = key if isinstance(key, tuple) else (key,)
        chosen = np.arange(self.shape[0])[rows]
        stamps = np.empty((chosen.size, *self.shape[1:]), self.dtype)
        for stamp, row in zip(stamps, np.atleast_1d(chosen), strict=True):
            stamp[:] = self._read(int(row))
        return stamps.reshape(*chosen.shape, *self.shape[1:])[(*[slice(None)] * chosen.ndim, *rest)]


def rows_of(read, number, shape, dtype=np.float32):
    """Lazy array ``[number, *shape]`` of stamps that a function of their row reads one by one."""
    return _lazy(_Rows(read, number, shape, dtype))


def as_array(images):
    """
    Stamps as a numpy or dask array, which can be sliced, joined and averaged, without reading them.

    Taken are these, a list of arrays of one shape, and anything else with a ``shape``, a ``dtype`` and slices: HDF5
    data sets, zarr arrays, memory maps of numpy.
    """
    if type(images) is np.ndarray or hasattr(images, "dask"):
        return images
    if isinstance(images, np.memmap) or (hasattr(images, "dtype") and hasattr(images, "shape")):
        return _lazy(images)
    return np.asarray(images)


def _lazy(images):
    from dask import array

    # Without a name dask hashes the pixels: all of them would be read.
    chunks = (CHUNK, *images.shape[1:])
    return array.from_array(
        images, chunks=chunks, name=False, asarray=True, fancy=isinstance(images, np.ndarray | _Rows)
    )


def joined(parts):
    """
    Several sets of stamps ``[N_k, ...]`` after one another, such as those of training and of test.

    Where there are samples, ``[N_k, S_k, C, H, W]``, and their numbers differ, those that are missing are NaN.
    """
    from dask import array

    parts = [as_array(part) for part in parts]
    if len(parts) == 1:
        return parts[0]
    if parts[0].ndim == 5:
        samples = max(part.shape[1] for part in parts)
        parts = [_padded(array.asarray(part), samples - part.shape[1]) for part in parts]
    return array.concatenate(parts)


def _padded(stamps, missing):
    """Stamps ``[N, S, C, H, W]`` with so many samples more, all NaN."""
    from dask import array

    widths = [(0, missing if axis == 1 else 0) for axis in range(5)]
    return array.pad(stamps, widths, constant_values=np.nan) if missing else stamps


def middle(images, side):
    """Middle ``side`` x ``side`` pixels of stamps ``[N, ..., H, W]``; ValueError if it is not there to the pixel."""
    images = as_array(images)
    shape = images.shape[-2:]
    if any(n < side or (n - side) % 2 for n in shape):
        msg = f"the middle {side} x {side} pixels of stamps of {shape[0]} x {shape[1]} pixels cannot be taken"
        raise ValueError(msg)
    y, x = ((n - side) // 2 for n in shape)
    return images[..., y : y + side, x : x + side]
