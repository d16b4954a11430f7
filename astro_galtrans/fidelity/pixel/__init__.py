"""Translated and real images compared pixel by pixel."""
