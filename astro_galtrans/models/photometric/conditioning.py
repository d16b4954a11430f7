r"""
Samples of an image whose aperture fluxes are given: the light of the translation, noise, and a linear Gaussian update.

An image :math:`y_0` is made of three parts.

- *The light that the translation shows.* In blank sky it shows smoothed noise of its source, which the target does not
  have. A local Wiener filter (Lee 1980, IEEE Trans. PAMI 2, 165) takes it out: a pixel is drawn to what is expected
  there, the less the more its neighbourhood scatters beyond the stated errors. Expected is the local mean of its band,
  with the details that all bands together show: galaxies look much alike in neighbouring bands.
- *Errors of its structure*, drawn relative to the light and alike in all bands, on scales from the PSF to a galaxy.
- *Noise* of the target survey, of sky and photons, white.

Its fluxes :math:`A y_0` are then brought to those asked for, f, by the update of a Gaussian image of covariance S,

.. math:: y = y_0 + S A^T (A S A^T)^{-1} (f - A y_0) , \qquad S = N + B V B ,

which has :math:`A y = f` exactly. N is the variance of the noise and V that of the light in each pixel; B blurs, since
light that is added or taken away has a PSF. All sources of an image are updated together, so that those that overlap
agree.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, sparse
from scipy.ndimage import gaussian_filter
from scipy.sparse.linalg import splu

from astro_galtrans.covariance import correlation_transforms

from .apertures import RADII

__all__ = ["Conditioned", "Errors", "kept", "light_of"]

LOCAL = 5.0  # sigma (pixels) of the Gaussian that a neighbourhood is: three of a typical PSF
EXCESS = 2.0  # by how much the mean square of noise may exceed its variance in the few independent pixels within
# Chosen so that a classifier of hand-made features (structure, colours of details, noise) tells samples from real
# targets least well: how much of the stated error is structure, its largest share of the light, and how much of the
# stated variance takes part in updates where there is hardly any light.
STRUCTURE, MOST_STRUCTURE, FAINT_SHARE = 0.5, 0.5, 0.1
# Shares of the variance stated beside the target's noise that are errors of samples, in blank sky and in light: filter
# and sampled fluxes take out noise of the source. With them 68 % of the pixels of simulated pairs are within one sigma.
LEFT_IN_SKY, LEFT_IN_LIGHT = 0.1, 0.7
# Light is nowhere less than this (softening units): pixels of exactly zero would be read as pixels without data.
DARKEST = np.float32(1e-6)
BROAD = 20.0  # pixels; errors on larger scales are those of fluxes, which are drawn


@dataclass(frozen=True, eq=False)
class Errors:
    """What a card states of the errors of pixels, in softening units of the target."""

    noise: np.ndarray  #: sky rms of the target survey in a pixel, ``[C]``
    photons: np.ndarray  #: variance of the photons' noise per flux, ``[C]``
    amplitudes: np.ndarray  #: of the correlated errors, ``[C, K, N]``, see `astro_galtrans.covariance`
    lengths: tuple  #: of their scales (pixels), ``[K]``
    sharpest: float = 0.0  #: sigma (pixels) of the target's PSF: no light has details as fine as a smaller scale

    def white(self, mean):
        """Return the variance of the survey's own noise in pixels of fluxes ``[C, H, W]``."""
        sky, photons = (np.asarray(part, np.float32)[:, None, None] for part in (self.noise, self.photons))
        return sky**2 + photons * np.maximum(mean, 0)

    @property
    def scales(self):
        """Share of the variance of structure on each scale, ``[K]``, of sum 1; 0 for all if there are no errors."""
        lengths, power = np.array(self.lengths), np.square(self.amplitudes).mean(axis=(0, 2))
        power[(lengths < self.sharpest) | (lengths > BROAD)] = 0
        return power / power.sum() if power.any() else power

    def structure(self, rng, shape):
        """Return a field of unit variance, float32 ``[H, W]``, with the correlations of the errors of structure."""
        field, transforms = np.zeros(shape, np.float32), correlation_transforms(tuple(shape), self.lengths)
        for share, transform in zip(self.scales, transforms, strict=True):
            if share:
                white = rng.standard_normal(shape, np.float32)
                field += fft.irfft2(fft.rfft2(white) * np.sqrt(np.float32(share) * transform), shape)
        return field


def light_of(mean, variance):
    """
    Return the light that a translation shows ``[C, H, W]``, without the noise of its source.

    Parameters
    ----------
    mean, variance : `~numpy.ndarray`
        ``[C, H, W]``: the translation, and the variance of its errors beside the target's noise.
    """
    local, common = _local(mean), np.sum(mean / _typical(variance), axis=0, keepdims=True)
    floor = np.sqrt(len(mean))  # the noise of a sum over bands
    details = (np.maximum(common, 0) + floor) / (np.maximum(_local(common), 0) + floor)
    expected = np.maximum(local, 0) * details
    own = mean - expected
    scatter, noise = _local(np.square(own)), EXCESS * _local(variance)
    share = 1 - np.divide(noise, scatter, out=np.ones_like(noise), where=scatter > noise)
    return np.maximum(expected + share * own, DARKEST)


def _local(images):
    return gaussian_filter(images, (0, LOCAL, LOCAL))


def _typical(variance):
    sigma = np.sqrt(np.median(variance.reshape(len(variance), -1), axis=1))[:, None, None]
    return np.where(sigma > 0, sigma, 1).astype(np.float32)


class Conditioned:
    """
    An image to be sampled with given fluxes.

    Parameters
    ----------
    mean, std : `~numpy.ndarray`
        ``[C, H, W]``: translation and stated standard deviation, noise included (flux in softening units).
    patches : `~astro_galtrans.models.photometric.apertures.Patches`
        Weights of the sources' pixels.
    rows : `~numpy.ndarray`
        bool ``[n, A]``: which fluxes are conditioned on.
    errors : `Errors`
    """

    def __init__(self, mean, std, patches, rows, errors):
        self.errors, self.rows, self.white = errors, rows, errors.white(mean)
        stated = np.maximum(np.square(std) - self.white, 0)
        self.light = light_of(mean, stated)
        lit = np.minimum(self.light / np.sqrt(np.maximum(self.white, np.finfo(np.float32).tiny)), 1)
        #: of the errors of the mean of samples, noise of the target included
        self.std = np.sqrt(self.white + (LEFT_IN_SKY + (LEFT_IN_LIGHT - LEFT_IN_SKY) * lit) * stated)
        relative = np.sqrt(stated) / np.maximum(self.light, np.finfo(np.float32).tiny)
        self.relative = np.minimum(relative.min(axis=0), MOST_STRUCTURE)  # the best band knows the structure of all
        self.changes = np.square(self.relative * self.light) + FAINT_SHARE * stated
        self.apertures, self._solvers = _matrix(patches, rows), []
        if rows.any():
            self.blurred = _matrix(patches, rows, self._blurred)
            pairs = (self.apertures, self.white), (self.blurred, self._spread(self.changes))
            for c in range(len(mean)):
                terms = [matrix.multiply(plane[c].ravel()) @ matrix.T for matrix, plane in pairs]
                self._solvers.append(splu(sum(terms).tocsc()))

    def draw(self, rng, fluxes, sign=1):
        """
        Return a sample ``[C, H, W]`` with the fluxes ``[n, A, C]`` of its sources.

        ``sign`` -1 turns the sign of the noise: of two samples with one noise and both signs the noise is gone from the
        mean.
        """
        sign = np.float32(sign)
        structure = STRUCTURE * self.relative * self.errors.structure(rng, self.light.shape[1:])
        image = self.light * np.maximum(1 + sign * structure, DARKEST)
        image += sign * np.sqrt(self.white) * rng.standard_normal(self.light.shape, np.float32)
        for c, solver in enumerate(self._solvers):
            plane = image[c].ravel()
            weights = solver.solve(fluxes[:, :, c][self.rows] - self.apertures @ plane.astype(float))
            plane += self.white[c].ravel() * (self.apertures.T @ weights).astype(np.float32)
            light = self._spread(self.changes[c]) * (self.blurred.T @ weights).reshape(self.changes[c].shape)
            plane += self._blurred(light[None])[0].ravel().astype(np.float32)
        return image

    def _blurred(self, images):
        """Images ``[n, H, W]`` with the PSF; the blur is symmetric, beyond the edges there is nothing."""
        sigma = self.errors.sharpest
        return gaussian_filter(images, (0, sigma, sigma), mode="constant") if sigma else images

    def _spread(self, variance):
        """The variance that pixels need for that of the blurred image to be about the one given."""
        return max(1.0, 4 * np.pi * self.errors.sharpest**2) * variance


def kept(patches, positions, pixel_scale):
    """
    Return which apertures are conditioned on, bool ``[n, A]``: those that lie on the image, and reach no more than half
    way to a brighter source.

    What an aperture of a faint source next to a bright one holds is mostly the bright one's light, whose flux is drawn
    with that one's. Of single pixels only that of the brightest source is: one pixel shows where two draws disagree.
    """
    rows = patches.inside
    for k, place in enumerate(positions[1:], 1):  # the brightest first
        nearest = np.hypot(*(positions[:k] - place).T).min() * pixel_scale
        rows[k] &= (np.array(RADII) <= nearest / 2) & (np.array(RADII) > 0)
    return rows


def _matrix(patches, rows, blur=None):
    """Weights of the chosen apertures, blurred or not, as a sparse matrix ``[M, H * W]``."""
    height, width = patches.shape
    source, aperture = np.nonzero(rows)
    weights, around = patches.weights[source, aperture], 0
    if blur is not None:
        around = patches.side // 2  # as far as any blur by a PSF reaches
        weights = blur(np.pad(weights, ((0, 0), *[(around, around)] * 2)))
    number, y, x = np.nonzero(weights)
    values = weights[number, y, x].astype(float)
    y, x = (at + patches.corners[source[number], axis] - around for axis, at in enumerate((y, x)))
    on = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    where = number[on], (y * width + x)[on]
    return sparse.csr_array((values[on], where), shape=(len(source), height * width))
