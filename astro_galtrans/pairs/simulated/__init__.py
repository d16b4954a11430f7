"""Simulated pairs of survey images: a galaxy population, two surveys' optics and noise, and the pair set on disk."""

from .build import PairSettings, simulate_pair, simulate_pairs
from .population import Sample

__all__ = ["PairSettings", "Sample", "simulate_pair", "simulate_pairs"]
