"""Loops over galaxies and pixels that numba compiles; each module is imported only by `..compiled.kernels`."""
