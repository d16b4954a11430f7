"""
Pairs of images on disk: one store for simulated and for real pairs, read at random without loading it whole.

A store is a folder: ``pairs.json`` (`PairHeader`: the two surveys, scale, size, where the pairs are from) and
``shard-00000.h5``, ``shard-00001.h5``, ... (HDF5) with some dozens of pairs each. Every shard is written beside its
place and renamed, so that it is whole or not there; more pairs are more shards. In a shard, along the first axis the
pairs:

===================  =================================  ==========================================================
dataset              type, shape                        what
===================  =================================  ==========================================================
``source``           float32 ``[n, C, size, size]``     source survey's flux unit per pixel
``target``           float32 ``[n, C', S, S]``          target survey's flux unit per (finer) pixel, S = scale size
``source_variance``  float32, as ``source``             optional
``target_variance``  float32, as ``target``             optional
``source_mask``      uint8 ``[n, C, size, size/8]``     optional; bits along x, highest first (`numpy.packbits`): 1
                                                        is a bad pixel
``target_mask``      uint8 ``[n, C', S, S/8]``          optional; likewise
``signal``           uint8 ``[n, C', S, S/8]``          bits: 1 where the target shows more than sky
``source_psf``       float32 ``[n, C, k, k]``           optional; PSF of each band on the source's pixels, sum 1
``target_psf``       float32 ``[n, C', k', k']``        optional; the same on the target's pixels
``table``            compound ``[n]``                   a row per pair: redshift, place, magnitudes, seeing, split, ...
===================  =================================  ==========================================================

Rounded up to whole bytes where a side is no multiple of eight. Images are stored contiguously: any HDF5 program reads
them, and this one reads part of a stamp straight from its place in the file.
"""

from ._header import (
    FORMAT_VERSION,
    HEADER_FILE,
    MAX_SCALE,
    SPLITS,
    PairHeader,
    default_scale,
    header_of_pairs,
    read_header,
)
from ._shards import shard_path, write_shard
from ._store import Crop, Images, PairStore
from ._writer import PairWriter

__all__ = [
    "FORMAT_VERSION",
    "HEADER_FILE",
    "MAX_SCALE",
    "SPLITS",
    "Crop",
    "Images",
    "PairHeader",
    "PairStore",
    "PairWriter",
    "default_scale",
    "header_of_pairs",
    "read_header",
    "shard_path",
    "write_shard",
]
