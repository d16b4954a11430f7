"""What is known of the sources of a translation: where they are, their fluxes there and in the source image."""

from dataclasses import dataclass

import numpy as np

from .apertures import REACH, Patches, patches
from .detection import detect

__all__ = ["Sources", "find_sources"]


@dataclass(frozen=True, eq=False)
class Sources:
    """The sources of an image, the brightest first; fluxes are in units of the softening of network units."""

    patches: Patches  #: about their places on the target's pixels
    positions: np.ndarray  #: x and y (target pixels), ``[n, 2]``
    x: np.ndarray  #: fluxes in the source image, float32 ``[n, A, C]``
    m: np.ndarray  #: fluxes in the translation, float32 ``[n, A, C']``
    numbers: np.ndarray  #: what the network is told of the image, float32 ``[n, 3 C]``, or ``[n, 0]``

    def __len__(self):
        return len(self.positions)

    @property
    def whole(self):
        """Whether all apertures lie on the image, bool ``[n]``."""
        return self.patches.inside.all(axis=1)


def find_sources(planes, mean, spec, pixel_scale, source_noise):
    """
    Find and measure the `Sources` of a translation.

    Parameters
    ----------
    planes : `~numpy.ndarray`
        ``[K, H, W]``: what the network sees, see `astro_galtrans.inputs`.
    mean : `~numpy.ndarray`
        ``[C', scale*H, scale*W]``: the translation, flux in softening units.
    spec : `~astro_galtrans.models.base.ModelSpec`
        Of the network.
    pixel_scale : float
        Of the target (arcsec).
    source_noise : `~numpy.ndarray`
        ``[C]``: typical sky rms of a pixel of the source, in its softening units.
    """
    bands = len(spec.in_bands)
    image = np.sinh(planes[:bands])
    numbers = planes[-3 * bands :, 0, 0] if spec.observed else np.empty(0, np.float32)
    noise = source_noise * (np.exp(numbers[bands : 2 * bands]) if spec.observed else 1)
    by_band = dict(zip(spec.in_bands, noise, strict=True))
    positions = detect(mean, [by_band.get(band, noise.mean()) for band in spec.out_bands], pixel_scale)
    positions = positions[_from_edge(positions, mean.shape[1:]) * pixel_scale > NEAREST]
    fine = patches(positions, mean.shape[1:], pixel_scale)
    coarse = patches((positions + 0.5) / spec.scale - 0.5, image.shape[1:], pixel_scale * spec.scale)
    told = np.broadcast_to(numbers, (len(positions), len(numbers)))
    return Sources(fine, positions, coarse.fluxes(image), fine.fluxes(mean), told)


# arcsec to the edge from which fluxes of a source are sampled: the training had sources with all of their apertures on
NEAREST = REACH


def _from_edge(positions, shape):
    """Distance of positions from the nearest edge of an image (pixels)."""
    far = np.array(shape[::-1]) - 1
    return np.minimum(positions, far - positions).min(axis=1, initial=np.inf)
