"""Pairs of stamps from the images of two real surveys, written as a `~astro_galtrans.pairstore.PairStore`."""

from .build import PairOptions, build_pairs
from .journal import read_summary
from .stamps import Stamps, pairs_from_stamps

__all__ = ["PairOptions", "Stamps", "build_pairs", "pairs_from_stamps", "read_summary"]
