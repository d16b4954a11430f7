"""Morphology of many galaxies at once, by statmorph's names, definitions and flags."""
