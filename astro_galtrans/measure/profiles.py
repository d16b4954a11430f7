"""
Light in rings of many stamps at once, about one centre.

Each pixel's share in each ring is that of photutils' apertures (``method="exact"``), computed once for all stamps, so
that a profile is a product with one matrix. It is that of `photutils.profiles.RadialProfile`, and its running sum that
of `~photutils.profiles.CurveOfGrowth`.
"""

import numpy as np

from .photometry import aperture_weights

__all__ = ["Rings"]

WIDTH = 0.25  # least width of a ring (arcsec): a third of a sharp ground-based PSF, below which profiles hold no more
MOST = 24  # rings, as many points as a drawn profile needs


class Rings:
    """
    Concentric rings on stamps of one shape.

    Parameters
    ----------
    shape : tuple of int
        ``(H, W)`` of a stamp.
    pixel_scale : float
        In arcsec.
    edges : array-like, optional
        ``[K + 1]``: radii of the edges (arcsec); by default up to 24 rings to the edge of the stamp, of equal width, a
        pixel and 0.25 arcsec at least.

    Raises
    ------
    ValueError
        If edges do not increase from zero or more.
    """

    def __init__(self, shape, pixel_scale, edges=None):
        reach = min(shape) / 2 * pixel_scale
        if edges is None:
            width = max(WIDTH, pixel_scale, reach / MOST)
            edges = width * np.arange(int(reach / width + 1e-9) + 1)
        self.edges = np.asarray(edges, dtype=float)
        if self.edges.ndim != 1 or len(self.edges) < 2 or self.edges[0] < 0 or not (np.diff(self.edges) > 0).all():
            msg = f"edges of rings must be two or more increasing radii in arcsec, from zero or more, got {edges}"
            raise ValueError(msg)
        circles = aperture_weights(shape, self.edges / pixel_scale)
        self.weights = np.diff(circles, axis=0).astype(np.float32)  #: ``[K, H, W]``: share of each pixel in each ring
        self.area = self.weights.sum(axis=(1, 2)) * pixel_scale**2  #: ``[K]`` (arcsec squared), without what is outside

    @property
    def middles(self):
        """Radii halfway between the edges, ``[K]`` (arcsec)."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    def sums(self, stamps):
        """Return the flux in each ring, ``[..., K]``, of finite stamps ``[..., H, W]``."""
        flat = stamps.reshape(-1, self.weights[0].size)
        return (flat @ self.weights.reshape(len(self.weights), -1).T).reshape(*stamps.shape[:-2], -1)
