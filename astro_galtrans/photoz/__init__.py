"""Photometric redshifts: estimators that give a PDF per galaxy, trained here or brought along."""

from astro_galtrans.measure.magnitudes import asinh_magnitudes

from .density import default_grid, training_prior
from .estimators import ImageEstimator, MagnitudeEstimator, PhotometricEstimator, load
from .features import FEATURES, Photometry
from .metrics import pdf_metrics, pdf_metrics_in_bins, point_metrics, point_metrics_in_bins
from .pdfs import GridPDF
from .sampled import predict_averaged
from .streaming import Accumulator, BinnedAccumulator
from .task import TrainingSettings
from .training import cross_validated, train_image, train_magnitudes, train_photometric
from .wrap import WrappedEstimator, wrap

__all__ = [
    "Accumulator", "BinnedAccumulator", "FEATURES", "GridPDF", "ImageEstimator", "MagnitudeEstimator", "Photometry",
    "PhotometricEstimator", "TrainingSettings", "WrappedEstimator", "asinh_magnitudes", "cross_validated",
    "default_grid", "load", "pdf_metrics", "pdf_metrics_in_bins", "point_metrics", "point_metrics_in_bins",
    "predict_averaged", "train_image", "train_magnitudes", "train_photometric", "training_prior", "wrap",
]  # fmt: skip
