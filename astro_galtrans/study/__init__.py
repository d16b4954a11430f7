"""
Whole studies: translators on the pairs of one or several tasks, judged at all levels beside what needs no network.

Each step is kept under a name made of its content, so that a study goes on where it was interrupted, and only what
changed runs again. `run_study` writes tables, figures, a summary and a page; `compare_studies` tells whether one study
is significantly worse than another.
"""

from .compare import compare_studies
from .recipe import Study, list_presets, load_study
from .run import run_study

__all__ = ["Study", "compare_studies", "list_presets", "load_study", "run_study"]
