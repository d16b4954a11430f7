r"""
Adaptive moments: where a source is, how wide and how elongated, from the elliptical Gaussian that matches it best.

An image is weighted with a Gaussian of centre :math:`\mathbf{r}_0` and covariance :math:`M`. Of the weighted image, the
centroid and the covariance :math:`C` are measured. The Gaussian matches if the centroid is its own centre and
:math:`C = M / 2`, since the product of two equal Gaussians has half of their covariance. A Gaussian source is therefore
matched by itself, pixel included; any other source by the Gaussian most like it where it is bright (Bernstein & Jarvis
2002, AJ 123, 583, section 3; Hirata & Seljak 2003, MNRAS 343, 459, whose form in GalSim is ``hsm.FindAdaptiveMom``).

This is the one implementation in the package, for seeing and PSFs of frames, centroids and widths of galaxies, and the
ellipses of photometric redshifts.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["SIGMA_TO_FWHM", "Ellipse", "adaptive_moments", "gaussian_fwhm", "round_moments"]

SIGMA_TO_FWHM = np.sqrt(8 * np.log(2))  #: FWHM of a Gaussian of sigma 1
# 2 C is half of the way from M to the moments of a Gaussian source. One and a half times that step leaves a quarter of
# the error for a Gaussian; it also converges for a point (minus a half) and for wings, where less than twice is safe.
STRETCH = 1.5
STEPS, TOLERANCE = 100, 1e-6  # the most steps; the change, relative to the size, below which the search has ended
NARROWEST_FWHM = 1.3  # pixels: what is narrower is a hot pixel or a cosmic ray, as no PSF is so undersampled


class Ellipse(NamedTuple):
    """Centres and second moments of elliptical Gaussians: arrays (or tensors) of one shape, in one unit of length."""

    x: np.ndarray  #: from the centre of the image
    y: np.ndarray
    xx: np.ndarray  #: covariance, in that unit squared
    yy: np.ndarray
    xy: np.ndarray

    @property
    def determinant(self):
        """Determinant of the covariance; its fourth root is the sigma of the round Gaussian of the same area."""
        return self.xx * self.yy - self.xy**2

    def radius2(self, x, y):
        """Square of the distance of points from the centre, in units of sigma; shapes broadcast."""
        dx, dy = x - self.x, y - self.y
        return (self.yy * dx**2 - 2 * self.xy * dx * dy + self.xx * dy**2) / self.determinant


def adaptive_moments(images, start, limits, reach, *, circular=False):
    """
    `Ellipse` ``[N]`` (pixels) of the Gaussians that match sources when used as weights, and whether there is one
    ``[N]``.

    ``images`` ``[N, H, W]`` are finite and background-subtracted, with a source near the centre of each. The search
    starts from a round Gaussian of sigma ``start``; ``limits`` are the least and largest sigma along any axis,
    ``reach`` is how far the centre may be from that of the image along each axis (pixels). ``circular`` matches round
    Gaussians, which is quicker. Where the search does not end inside the bounds, the last guess within them is
    returned, which is finite for blank images too.
    """
    y, x = (np.arange(n) - (n - 1) / 2 for n in images.shape[1:])
    guess, found = np.zeros((5, len(images))), np.zeros(len(images), bool)
    guess[2:4] = start**2
    going = np.arange(len(images))
    for _ in range(STEPS):
        before = guess[:, going]
        flux, *moments = _weighted(images[going], x, y, Ellipse(*before), circular)
        going, before, moments = going[flux > 0], before[:, flux > 0], np.array(moments)[:, flux > 0]
        if not len(going):
            break
        after, inside = _bounded(before, moments, limits, reach)
        guess[:, going] = after
        size = np.sqrt((after[2] + after[3]) / 2)
        moving = (np.abs(after - before) > TOLERANCE * np.stack([size, size, *[size**2] * 3])).any(axis=0)
        found[going] = inside & ~moving
        going = going[moving]
    return Ellipse(*guess), found


def _weighted(images, x, y, guess, circular):
    """Flux, centroid relative to the weight's, and covariance of weighted images; meaningless without positive flux."""
    dx, dy = x - guess.x[:, None], y - guess.y[:, None]
    if circular:  # the weight is a product of factors along x and y: sums along an axis are products with a vector
        weight_x, weight_y = (np.exp(-0.5 * d**2 / guess.xx[:, None]) for d in (dx, dy))
        columns = (weight_y[:, None] @ images)[:, 0] * weight_x
        rows = (images @ weight_x[..., None])[..., 0] * weight_y
    else:
        place = Ellipse(*(value[:, None, None] for value in guess))
        weighted = images * np.exp(-0.5 * place.radius2(x, y[:, None]))
        columns, rows = weighted.sum(axis=1), weighted.sum(axis=2)
    flux = columns.sum(axis=1)
    total = np.where(flux > 0, flux, 1)
    mean_x, mean_y = (columns * dx).sum(axis=1) / total, (rows * dy).sum(axis=1) / total
    xx, yy = (columns * dx**2).sum(axis=1) / total - mean_x**2, (rows * dy**2).sum(axis=1) / total - mean_y**2
    if circular:
        return flux, mean_x, mean_y, (xx + yy) / 2, (xx + yy) / 2, np.zeros_like(xx)
    xy = ((weighted @ dx[..., None])[..., 0] * dy).sum(axis=1) / total - mean_x * mean_y
    return flux, mean_x, mean_y, xx, yy, xy


def _bounded(before, moments, limits, reach):
    """Next guess within the bounds, and whether it was inside them."""
    centre = before[:2] + 2 * moments[:2]  # the centroid of a product of equal Gaussians is halfway between theirs
    xx, yy, xy = (1 - STRETCH) * before[2:] + 2 * STRETCH * moments[2:]
    mean, half = (xx + yy) / 2, (xx - yy) / 2
    spread = np.hypot(half, xy)
    axes = np.stack([mean + spread, mean - spread])  # squares of the semi-axes
    clipped = np.clip(axes, limits[0] ** 2, limits[1] ** 2)
    inside = (np.abs(centre) < reach).all(axis=0) & (axes == clipped).all(axis=0)
    mean, stretch = clipped.mean(axis=0), (clipped[0] - clipped[1]) / 2 / np.maximum(spread, 1e-30)
    after = [*np.clip(centre, -reach, reach), mean + stretch * half, mean - stretch * half, stretch * xy]
    return np.stack(after), inside


def gaussian_fwhm(box):
    """
    FWHM (pixels) of the round Gaussian that matches the source near the centre of a sky-subtracted box ``[k, k]``, k
    odd.

    For a PSF with wings it lies between the width at half maximum and that of the noise-equivalent area (such as the
    ``psf_width`` of SDSS); it includes the pixel. None if there is no such Gaussian of at least 1.3 pixels (a hot
    pixel, a cosmic ray, noise) and less than half of the box.
    """
    ellipse, found = round_moments(box[None])
    return float(SIGMA_TO_FWHM * np.sqrt(ellipse.xx[0])) if found[0] else None


def round_moments(boxes):
    """
    Round Gaussians that match the stars near the centres of sky-subtracted boxes ``[N, k, k]``, k odd.

    The result is that of `adaptive_moments`; FWHM of less than 1.3 pixels or more than half of the box are not found.
    """
    half = boxes.shape[-1] // 2
    limits = NARROWEST_FWHM / SIGMA_TO_FWHM, half / SIGMA_TO_FWHM
    return adaptive_moments(boxes, half / 5, limits, half / 2, circular=True)
