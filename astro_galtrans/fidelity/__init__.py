"""
Fidelity of translations from files: pairs, frames or stamps, and translators or images that are already translated.

What is costly, translated stamps and trained estimators, is kept in the output folder and found again, so that a run
that was interrupted, or is repeated with one more translator, does not repeat what is done.
"""

from .comparing import fidelity_from_files, is_store
from .levels import LEVELS
from .redshift import redshift_from_files
from .stamps import PairImages, TranslatedStamps, open_stamps
from .translating import translate_pairs

__all__ = [
    "LEVELS",
    "PairImages",
    "TranslatedStamps",
    "fidelity_from_files",
    "is_store",
    "open_stamps",
    "redshift_from_files",
    "translate_pairs",
]
