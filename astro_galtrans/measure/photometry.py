"""Photometry of a batch of stamps: circles, Kron ellipses, peaks, centroids and widths; torch and matrices."""

import numpy as np
import torch
from scipy.ndimage import label

from astro_galtrans.measure.smoothing import FWHM_TO_SIGMA, gaussian, smooth
from astro_galtrans.moments import adaptive_moments

from .overlap import ellipse_weights
from .profiles import aperture_weights

__all__ = ["Photometer"]

PEAK_RADIUS = 2.0  # where the peak is sought, lest it be a neighbour's (arcsec)
DETECTION, SMOOTHING = 3.0, 1.0  # sigma of the smoothed stamp above which pixels belong to the source; FWHM (arcsec)
KRON_SCALE, KRON_LEAST, KRON_REACH = 2.5, 1.4, 6.0  # photutils' kron_params, and the ellipse the moment is taken in
WINDOW = 4.0  # half the side of the part that centroid and width are measured in (arcsec)
NARROWEST = 0.3  # sigma (pixels) below which a Gaussian falls between pixels and its weighted moments mean nothing
TOUCHING = np.zeros((3, 3, 3), bool)  # which pixels of a stack of stamps are neighbours: the eight around, of one stamp
TOUCHING[1] = True


class Photometer:
    """
    How stamps of one shape are measured.

    Parameters
    ----------
    shape : tuple of int
        ``(H, W)`` of a stamp.
    pixel_scale : float
        In arcsec.
    diameters : sequence of float
        Of the circular apertures (arcsec).
    """

    def __init__(self, shape, pixel_scale, diameters):
        self.shape, self.scale = shape, pixel_scale
        weights = aperture_weights(shape, np.array(diameters) / 2 / pixel_scale)
        self._weights = torch.from_numpy(weights).float()
        self.noise = np.sqrt((weights**2).sum(axis=(1, 2)))  #: of each aperture's flux, in units of a pixel's
        y, x = (torch.arange(n) - (n - 1) / 2 for n in shape)
        self._near = torch.hypot(y[:, None], x) <= max(PEAK_RADIUS / pixel_scale, 1)
        sigma = max(FWHM_TO_SIGMA * SMOOTHING / pixel_scale, 0.7)
        self._kernel = gaussian(sigma, int(3 * sigma + 0.5))

    def apertures(self, stamps):
        """
        Return the fluxes in the circular apertures, ``[..., A]``.

        Parameters
        ----------
        stamps : `torch.Tensor`
            ``[..., H, W]``, finite.
        """
        return torch.einsum("...hw,ahw->...a", stamps, self._weights)

    def peak(self, stamps):
        """
        Return the highest pixel near the centre, ``[...]``.

        Parameters
        ----------
        stamps : `torch.Tensor`
            ``[..., H, W]``, finite.
        """
        return stamps[..., self._near].amax(-1)

    def adaptive(self, stamps):
        """
        Return centroid and FWHM of the round Gaussian that matches each source, see `astro_galtrans.moments`.

        Parameters
        ----------
        stamps : `torch.Tensor`
            ``[N, H, W]``, finite.

        Returns
        -------
        `torch.Tensor`
            ``[N, 3]``: x and y from the stamp's centre, and FWHM (pixels); NaN where there is no such Gaussian.
        """
        half = int(np.ceil(WINDOW / self.scale))
        edges = [max(0, n // 2 - half) for n in self.shape]
        rows, columns = (slice(edge, n - edge) for edge, n in zip(edges, self.shape, strict=True))
        start, widest = 1.5 * SMOOTHING / self.scale * FWHM_TO_SIGMA, WINDOW / 2 / self.scale
        found, good = adaptive_moments(
            stamps[:, rows, columns].numpy(), start, (NARROWEST, widest), PEAK_RADIUS / self.scale, circular=True
        )
        width = np.sqrt(found.xx) / FWHM_TO_SIGMA
        return torch.from_numpy(np.where(good, [found.x, found.y, width], np.nan).T).float()

    def segments(self, stamps, noise):
        """
        Return the pixels of the central source, and those of all others.

        A source is what is connected and above 3 sigma in the stamp smoothed to 1 arcsec; the central one holds the
        brightest pixel of these within 2 arcsec of the centre.

        Parameters
        ----------
        stamps : `torch.Tensor`
            ``[N, H, W]``, finite.
        noise : `torch.Tensor`
            ``[N]``: of a pixel of the sky.
        """
        smoothed = smooth(stamps, self._kernel, mode="zeros")
        above = smoothed > (DETECTION * noise * (self._kernel**2).sum())[:, None, None]
        seed = torch.where(self._near, smoothed, -torch.inf).flatten(1).argmax(1)
        labels, _ = label(above.numpy(), TOUCHING)
        own = labels.reshape(len(labels), -1)[np.arange(len(labels)), seed.numpy()]
        central = above & torch.from_numpy(labels == own[:, None, None])  # what is not above is labelled 0
        return central, above & ~central

    def kron(self, stamps, noise):
        """
        Return flux and radius of Kron's ellipse, as photutils' SourceCatalog (others masked) finds it.

        Parameters
        ----------
        stamps : `torch.Tensor`
            ``[N, H, W]``, finite.
        noise : `torch.Tensor`
            ``[N]``: of a pixel of the sky.

        Returns
        -------
        `torch.Tensor`
            ``[N, 2]``: flux, and semimajor axis of the aperture (pixels); NaN where there is no source.
        """
        central, others = self.segments(stamps, noise)
        alone = torch.where(others, 0, stamps).double()
        positive = torch.where(central, alone.clamp(min=0), 0)
        x0, y0, major, minor, theta = _ellipse(positive)
        radius = _elliptical_radius(self.shape, x0, y0, major, minor, theta)
        inside = (radius <= KRON_REACH) & ~others
        flux = torch.where(inside, alone, 0).sum((1, 2))
        moment = torch.where(inside, alone * radius, 0).sum((1, 2))
        kron = torch.where((flux > 0) & (moment > 0), moment / flux, KRON_LEAST)
        kron = torch.where(kron > KRON_REACH, torch.nan, kron.clamp(min=KRON_LEAST))
        axis = KRON_SCALE * kron * major
        found = torch.stack([torch.full_like(axis, torch.nan), axis], dim=1)
        rows = torch.isfinite(found[:, 1]) & (minor > 0)
        if rows.any():
            found[rows, 0] = self._elliptical_sum(alone[rows], axis[rows], (major / minor)[rows], theta[rows],
                                                  x0[rows], y0[rows])  # fmt: skip
        return torch.where(rows[:, None], found, torch.nan).float()

    def _elliptical_sum(self, stamps, axis, elongation, theta, x0, y0):
        height, width = self.shape
        half = max(height, width) // 2
        weights = ellipse_weights(axis, x0 - width // 2, y0 - height // 2, half, elongation, theta)
        top, left = half - height // 2, half - width // 2
        return (weights[:, top : top + height, left : left + width] * stamps).sum((1, 2))


def _ellipse(stamps):
    """Centroid, and axes and angle of the Gaussian of the same second moments, ``[N]`` each; NaN where it is empty."""
    height, width = stamps.shape[1:]
    y, x = torch.arange(height, dtype=stamps.dtype), torch.arange(width, dtype=stamps.dtype)
    total = stamps.sum((1, 2))
    total = torch.where(total > 0, total, torch.nan)
    columns, rows = stamps.sum(1), stamps.sum(2)
    x0, y0 = (columns @ x) / total, (rows @ y) / total
    dx, dy = x - x0[:, None], y - y0[:, None]
    xx, yy = (columns * dx**2).sum(1) / total, (rows * dy**2).sum(1) / total
    xy = torch.einsum("nhw,nh,nw->n", stamps, dy, dx) / total
    thin = xx * yy - xy**2 < 1 / 144  # a line of pixels: SExtractor's and photutils' remedy
    xx, yy = (torch.where(thin, part + 1 / 12, part) for part in (xx, yy))
    middle, apart = (xx + yy) / 2, torch.hypot((xx - yy) / 2, xy)
    axes = torch.sqrt(middle + apart), torch.sqrt((middle - apart).clamp(min=0))
    return x0, y0, *axes, torch.atan2(2 * xy, xx - yy) / 2


def _elliptical_radius(shape, x0, y0, major, minor, theta):
    """Distance of each pixel from the centre in units of the ellipse, ``[N, H, W]``."""
    y, x = (torch.arange(n, dtype=x0.dtype) for n in shape)
    dx, dy = (x - x0[:, None])[:, None, :], (y - y0[:, None])[:, :, None]
    cos, sin = torch.cos(theta)[:, None, None], torch.sin(theta)[:, None, None]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    return torch.hypot(along / major[:, None, None], across / minor[:, None, None])
