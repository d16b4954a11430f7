"""
Pairs of images on disk: one store for simulated and for real pairs, read at random without loading it whole.

A store is a folder: ``pairs.json`` (`PairHeader`: the two surveys, scale, size, where the pairs are from) and
``shard-00000.h5``, ``shard-00001.h5``, ... (HDF5) with some dozens of pairs each. Every shard is written under another
name and then renamed, so that it is whole or absent; more pairs are more shards. The user guide (:ref:`pair-store`)
lists the datasets of a shard and the columns of its table. Images are stored contiguously: any HDF5 program reads them,
and this package reads part of a stamp straight from its place in the file.
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
)  # fmt: skip
from ._shards import shard_path, write_shard
from ._store import Crop, PairStore
from ._writer import PairWriter

__all__ = [
    "FORMAT_VERSION", "HEADER_FILE", "MAX_SCALE", "SPLITS", "Crop", "PairHeader", "PairStore", "PairWriter",
    "default_scale", "header_of_pairs", "read_header", "shard_path", "write_shard",
]  # fmt: skip
