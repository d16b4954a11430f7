"""Pairs of stamps from the images of two real surveys, written as a `~astro_galtrans.pairs.store.PairStore`."""

from .build import PairOptions, build_pairs
from .from_stamps import StampSet, pairs_from_stamps
from .journal import read_summary

__all__ = ["PairOptions", "StampSet", "build_pairs", "pairs_from_stamps", "read_summary"]
