"""Measurements of galaxy images: each takes one set of stamps and gives a table with a row per galaxy and band."""
