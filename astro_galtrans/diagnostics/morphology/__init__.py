"""Morphology of many galaxies at once, by statmorph's names, definitions and flags."""

from .engine import measure_morphology
from .segmentation import segment

__all__ = ["measure_morphology", "segment"]
