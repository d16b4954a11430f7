"""Stamps: images of many galaxies from one survey, with all that is known of them."""

from .stamps import Stamps

__all__ = ["Stamps"]
