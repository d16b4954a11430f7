"""Surveys: catalogues of objects through a translator, and what is measured of them, shard by shard on any workers."""

from .catalogue import translate_catalogue
from .judging import compare_shards, measure_shards
from .objects import read_objects, write_objects
from .shards import cluster

__all__ = ["cluster", "compare_shards", "measure_shards", "read_objects", "translate_catalogue", "write_objects"]
