"""Statistics that every comparison needs: bootstrap, weighted order statistics, probabilities of extremes."""

from .bootstrap import Interval, bootstrap
from .weighted import sigma_mad

__all__ = ["Interval", "bootstrap", "sigma_mad"]
