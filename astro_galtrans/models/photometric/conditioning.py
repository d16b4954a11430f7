r"""
Samples of an image whose aperture fluxes are given: the translation, noise, and a linear Gaussian update.

An image :math:`y_0` is drawn of the translation and its stated errors (`astro_galtrans.covariance`): the noise of the
target survey, white, and the errors of the translation, correlated over pixels to a whole galaxy. Its fluxes
:math:`A y_0` are then brought to those asked for, f, by the update of a Gaussian image of covariance S,

.. math:: y = y_0 + S A^T (A S A^T)^{-1} (f - A y_0) , \qquad S = N + B V B ,

which changes pixels where the translation is uncertain, and has :math:`A y = f` exactly. N is the variance of the noise
and V that of the errors in each pixel; B blurs, since light that is added or taken away has a PSF. All sources of an
image are updated together, so that those that overlap agree.

What a translation shows of blank sky is noise of its source, which the target does not have: with a variance c of
error beside the target's noise, and a local mean square :math:`\langle m^2 \rangle`, the share
:math:`w = 1 - c / \langle m^2 \rangle` of a pixel is light (a local Wiener filter). The image is drawn as
:math:`w m` with errors of variance :math:`w c`, where that is not negative.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, sparse
from scipy.ndimage import gaussian_filter
from scipy.sparse.linalg import splu

from astro_galtrans.covariance import NODES, correlation_transforms

from .apertures import RADII

__all__ = ["Conditioned", "Errors", "kept", "light_share"]

LOCAL = 5.0  # sigma (pixels) of the Gaussian that squares are averaged with: three of a typical PSF
EXCESS = 1.5  # by how much the mean square of noise may exceed its variance in the few independent pixels within


@dataclass(frozen=True, eq=False)
class Errors:
    """What a card states of the errors of pixels, in softening units of the target."""

    noise: np.ndarray  #: sky rms of the target survey in a pixel, ``[C]``
    photons: np.ndarray  #: variance of the photons' noise per flux, ``[C]``
    amplitudes: np.ndarray  #: of the correlated errors, ``[C, K, N]``, see `astro_galtrans.covariance`
    between: np.ndarray  #: their correlation between bands, ``[C, C]``
    lengths: tuple  #: of their scales (pixels), ``[K]``
    sharpest: float = 0.0  #: sigma (pixels) of the target's PSF: no light has details as fine as a smaller scale

    def white(self, mean):
        """Return the variance of the survey's own noise in pixels of fluxes ``[C, H, W]``."""
        sky, photons = (np.asarray(part, np.float32)[:, None, None] for part in (self.noise, self.photons))
        return sky**2 + photons * np.maximum(mean, 0)

    def correlated(self, rng, mean, std, variance):
        """
        Return errors of a translation ``[C, H, W]``.

        Their amplitudes are those stated for pixels of some flux and standard deviation, but no more than a variance
        allows: they are fitted to aperture fluxes, and what they say of a pixel may be too much.
        """
        drawn, shape = np.zeros_like(mean), mean.shape[1:]
        place = np.log(np.clip(np.divide(mean, std, out=np.zeros_like(mean), where=std > 0), NODES[0], NODES[-1]))
        scales = range(len(self.lengths))

        def maps(k):
            bands = zip(place, self.amplitudes, strict=True)
            return std * np.stack([np.interp(at, np.log(NODES), a[k]) for at, a in bands], dtype=np.float32)

        limit = sum(np.square(maps(k)) for k in scales)
        limit = np.sqrt(np.minimum(1, np.divide(variance, limit, out=np.zeros_like(limit), where=limit > 0)))
        transforms = np.sqrt(correlation_transforms(shape, self.lengths))
        root = np.linalg.cholesky(self.between + 1e-6 * np.eye(len(mean))).astype(np.float32)
        for k in scales:
            if self.lengths[k] >= self.sharpest:
                white = np.tensordot(root, rng.standard_normal(mean.shape, np.float32), 1)
                drawn += maps(k) * fft.irfft2(fft.rfft2(white) * transforms[k], shape)
        return limit * drawn


def light_share(mean, variance):
    """Return the share of light, not noise, in a translation ``[C, H, W]``, whose errors have some variance, 0 to 1."""
    square = gaussian_filter(np.square(mean), (0, LOCAL, LOCAL))
    noise = EXCESS * gaussian_filter(variance, (0, LOCAL, LOCAL))
    return np.maximum(0, 1 - np.divide(noise, square, out=np.ones_like(noise), where=square > 0))


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
        self.mean, self.std, self.errors, self.rows = mean, std, errors, rows
        self.white = errors.white(mean)
        self.own = np.maximum(np.square(std) - self.white, 0)
        self.share = light_share(mean, self.own)
        self.light = self.share * self.own
        self.apertures, self._solvers = _matrix(patches, rows), []
        if rows.any():
            self.blurred = _matrix(patches, rows, self._blurred)
            pairs = (self.apertures, self.white), (self.blurred, self._spread(self.light))
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
        noise = sign * np.sqrt(self.white) * rng.standard_normal(self.mean.shape, np.float32)
        errors = sign * np.sqrt(self.share) * self.errors.correlated(rng, self.mean, self.std, self.own)
        image = np.maximum(self.share * self.mean + errors, 0) + noise  # there is no negative light
        for c, solver in enumerate(self._solvers):
            plane = image[c].ravel()
            lacking = fluxes[:, :, c][self.rows] - self.apertures @ plane.astype(float)
            weights = solver.solve(lacking)
            plane += self.white[c].ravel() * (self.apertures.T @ weights).astype(np.float32)
            light = self._spread(self.light[c]) * (self.blurred.T @ weights).reshape(self.light[c].shape)
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
