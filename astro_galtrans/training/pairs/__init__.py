"""Pairs of stamps from the images of two real surveys, written as a `~astro_galtrans.pairstore.PairStore`."""

from .build import PairOptions, build_pairs

__all__ = ["PairOptions", "build_pairs"]
