"""Spectra as the truth: redshifts and synthetic photometry of `specutils.Spectrum`."""

from .measure import redshift
from .result import Flag, RedshiftResult
from .templates import Template, default_templates

__all__ = ["Flag", "RedshiftResult", "Template", "default_templates", "redshift"]
