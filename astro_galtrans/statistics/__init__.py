"""Statistics that every comparison needs: bootstrap, weighted order statistics, probabilities of extremes."""

from .bootstrap import Interval, bootstrap

__all__ = ["Interval", "bootstrap"]
