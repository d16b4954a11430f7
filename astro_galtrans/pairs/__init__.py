"""Pairs of images of the same galaxies in two surveys: on disk, cut from real images, simulated."""
