"""The split into training, validation and test by position on the sky, so that no galaxy is in two parts."""

from hashlib import blake2b

import numpy as np

from astro_galtrans.pairs.store import SPLITS

__all__ = ["split_by_name", "split_on_sky"]

BETWEEN = ""  # part of a stamp that reaches into cells of two parts
QUASI_RANDOM = np.array([0.7548776662466927, 0.5698402909980532])  # 1/p and 1/p^2, where p^3 = p + 1


def split_on_sky(ra, dec, cell, fractions, seed=0):
    """
    Part ("train", "validation", "test", or "" for none) of each stamp, by cells of the sky.

    ``ra`` and ``dec`` ``[n, 4]`` (deg) are the corners of the stamps, which are smaller than a cell. A cell is ``cell``
    arcmin high in declination and about as wide. Its part is a fixed function of its row and column, the additive
    quasi-random sequence of Roberts (2018): any handful of neighbouring cells holds nearly the shares ``fractions``
    asked for, where a hash would leave many a small field without a test part. A stamp that reaches into a cell of
    another part belongs to none, so that stamps of two parts share no sky. Another ``seed`` gives another split.
    """
    band = np.floor((dec + 90) * 60 / cell).astype(np.int64)
    middle = np.clip((band + 0.5) * cell / 60 - 90, -90, 90)
    around = np.maximum(1, np.floor(360 * 60 * np.cos(np.radians(middle)) / cell)).astype(np.int64)
    number = np.floor(ra % 360 / 360 * around).astype(np.int64) % around
    cells = np.stack([band, number], axis=-1)
    places = (cells @ QUASI_RANDOM + _uniform(f"{seed}")) % 1
    parts = [{_part(place, fractions) for place in stamp} for stamp in places]
    return [part.pop() if len(part) == 1 else BETWEEN for part in parts]


def split_by_name(names, fractions, seed=0):
    """Part of each object without a position on the sky, by a hash of its name; arguments as for `split_on_sky`."""
    return [_part(_uniform(f"{seed}:{name}"), fractions) for name in names]


def _uniform(text):
    """Number from 0 to 1 that is a fixed function of a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48


def _part(place, fractions):
    edges = np.cumsum(fractions) / sum(fractions)
    return SPLITS[int(np.searchsorted(edges[:-1], place, side="right"))]
