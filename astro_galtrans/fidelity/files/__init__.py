"""
Fidelity of translations from files: pairs, frames or stamps, and translators or images that are already translated.

What is costly, translated stamps and trained estimators, is kept in the output folder and found again, so that a run
that was interrupted, or is repeated with one more translator, does not repeat what is done.
"""

from astro_galtrans.fidelity.files.comparing import fidelity_from_files, is_store
from astro_galtrans.fidelity.files.levels import LEVELS
from astro_galtrans.fidelity.files.redshift import redshift_from_files
from astro_galtrans.fidelity.files.translating import translate_pairs
from astro_galtrans.stamps._old_files import PairImages, TranslatedStamps, open_stamps

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
