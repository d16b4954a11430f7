"""
Fidelity of translations from files: pairs, frames or stamps, and translators or images that are already translated.

What is costly, cut and translated stamps and trained estimators, is kept in the output folder under names made from its
content and settings, so that a run that was interrupted, or is repeated with one more translator, does not repeat what
is done, and another request never finds it.
"""

from astro_galtrans.fidelity.files.anomalies import anomalies_from_files
from astro_galtrans.fidelity.files.comparing import fidelity_from_files
from astro_galtrans.fidelity.files.inputs import is_store
from astro_galtrans.fidelity.files.levels import LEVELS
from astro_galtrans.fidelity.files.redshift import redshift_from_files

__all__ = ["LEVELS", "anomalies_from_files", "fidelity_from_files", "is_store", "redshift_from_files"]
