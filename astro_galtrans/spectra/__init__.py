"""Spectra as the truth: redshifts and synthetic photometry of `specutils.Spectrum`."""

from .catalogue import catalogue, find_spectra, match
from .measure import redshift
from .photometry import colour_check, synthetic_photometry
from .reading import Target, read
from .result import Flag, RedshiftResult
from .templates import Template, default_templates

__all__ = [
    "Flag", "RedshiftResult", "Target", "Template", "catalogue", "colour_check", "default_templates", "find_spectra",
    "match", "read", "redshift", "synthetic_photometry",
]  # fmt: skip
