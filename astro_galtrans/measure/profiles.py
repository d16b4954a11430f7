"""
Light and colour profiles of many stamps at once, about one centre.

Each pixel's share in each ring is that of photutils' apertures (``method="exact"``), computed once for all stamps, so
that profiles and curves of growth are products with one matrix. They are those of `photutils.profiles.RadialProfile`
and `~photutils.profiles.CurveOfGrowth`.
"""

import numpy as np

from astro_galtrans.stamps._old_lazy import batches

from .photometry import aperture_weights

__all__ = ["Rings", "curves_of_growth", "radial_profiles"]

WIDTH = 0.25  # of a ring at least (arcsec)
MOST = 24  # rings


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
        """
        Return the flux in each ring.

        Parameters
        ----------
        stamps : `numpy.ndarray`
            ``[..., H, W]``, finite.

        Returns
        -------
        `numpy.ndarray`
            ``[..., K]``.
        """
        flat = stamps.reshape(-1, self.weights[0].size)
        return (flat @ self.weights.reshape(len(self.weights), -1).T).reshape(*stamps.shape[:-2], -1)


def radial_profiles(images, *, pixel_scale, edges=None):
    """
    Return the mean surface brightness of stamps in rings around their centre.

    Parameters
    ----------
    images : array-like
        ``[N, C, H, W]``, flux per pixel.
    pixel_scale : float
        In arcsec.
    edges : array-like, optional
        As for `Rings`.

    Returns
    -------
    radius : `numpy.ndarray`
        ``[K]``: middles of the rings (arcsec).
    profile : `numpy.ndarray`
        ``[N, C, K]``: flux per square arcsec.
    """
    rings = Rings(np.shape(images[:1])[-2:], pixel_scale, edges)
    return rings.middles, np.concatenate([rings.sums(part) for part in batches(images)]) / rings.area


def curves_of_growth(images, *, pixel_scale, edges=None):
    """
    Return the flux of stamps within circles around their centre.

    Parameters
    ----------
    images : array-like
        ``[N, C, H, W]``, flux per pixel.
    pixel_scale : float
        In arcsec.
    edges : array-like, optional
        As for `Rings`, the first zero.

    Returns
    -------
    radius : `numpy.ndarray`
        ``[K]``: radii of the circles (arcsec).
    flux : `numpy.ndarray`
        ``[N, C, K]``.
    """
    rings = Rings(np.shape(images[:1])[-2:], pixel_scale, edges)
    sums = np.concatenate([rings.sums(part) for part in batches(images)])
    return rings.edges[1:], np.cumsum(sums, axis=-1)
