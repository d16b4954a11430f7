"""Statistics that every comparison needs: bootstrap, weighted order statistics, probabilities of extremes."""

from .bootstrap import Bootstrap, Interval, bootstrap

__all__ = ["Bootstrap", "Interval", "bootstrap"]
