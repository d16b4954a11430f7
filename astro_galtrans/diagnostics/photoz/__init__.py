"""Photometric redshifts: estimators that give a PDF per galaxy, trained here or brought along."""

from .density import default_grid, training_prior
from .estimators import ImageEstimator, MagnitudeEstimator, PhotometricEstimator, load
from .loop import TrainingSettings
from .photometry import FEATURES, Photometry, asinh_magnitudes
from .training import cross_validated, train_image, train_magnitudes, train_photometric
from .wrap import WrappedEstimator, wrap

__all__ = [
    "FEATURES",
    "ImageEstimator",
    "MagnitudeEstimator",
    "Photometry",
    "PhotometricEstimator",
    "TrainingSettings",
    "WrappedEstimator",
    "asinh_magnitudes",
    "cross_validated",
    "default_grid",
    "load",
    "train_image",
    "train_magnitudes",
    "train_photometric",
    "training_prior",
    "wrap",
]
