"""Stamps: images of many galaxies from one survey, with all that is known of them."""

from .files import SHARDS_FILE, image_column
from .stamps import Stamps
from .translated import target_survey

__all__ = ["SHARDS_FILE", "Stamps", "image_column", "target_survey"]
