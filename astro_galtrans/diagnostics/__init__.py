"""What a translation kept: diagnostics of fidelity, which know no network and no translator."""

from .pdfs import GridPDF
from .redshift_metrics import (
    Accumulator,
    BinnedAccumulator,
    pdf_metrics,
    pdf_metrics_in_bins,
    point_metrics,
    point_metrics_in_bins,
)
from .statistics import Interval, bootstrap

__all__ = [
    "Accumulator",
    "BinnedAccumulator",
    "GridPDF",
    "Interval",
    "bootstrap",
    "pdf_metrics",
    "pdf_metrics_in_bins",
    "point_metrics",
    "point_metrics_in_bins",
]
