"""Stamps: images of many galaxies from one survey, with all that is known of them."""

from .stamps import Stamps
from .translated import target_survey

__all__ = ["Stamps", "target_survey"]
