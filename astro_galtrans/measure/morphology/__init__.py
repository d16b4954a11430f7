"""Morphology of many galaxies at once, by statmorph's names, definitions and flags."""

from .measure import measure_morphology
from .segmentation import segment

__all__ = ["measure_morphology", "segment"]
