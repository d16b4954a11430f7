"""
Fidelity of translations from files: a store of pairs, and translators or stamps that are already translated.

What is costly, translated stamps and trained estimators, is kept in the output folder and found again, so that a run
that was interrupted, or is repeated with one more translator, does not repeat what is done.
"""

from .redshift import redshift_from_files
from .stamps import PairImages, TranslatedStamps, open_stamps
from .translating import translate_pairs

__all__ = ["PairImages", "TranslatedStamps", "open_stamps", "redshift_from_files", "translate_pairs"]
