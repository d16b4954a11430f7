"""Photometric sampler: samples of a translation whose aperture fluxes follow the density that pairs show."""
