"""Statistics that every comparison needs: bootstrap, weighted order statistics, probabilities of extremes."""

from .bootstrap import Bootstrap, Interval, bootstrap
from .weighted import sigma_mad

__all__ = ["Bootstrap", "Interval", "bootstrap", "sigma_mad"]
