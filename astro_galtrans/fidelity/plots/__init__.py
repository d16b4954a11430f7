"""Figures of what the comparisons found."""
