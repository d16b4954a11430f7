"""
What a network sees of an image: its pixels and, if the network asks for it, how the image was taken.

A network that is *observed* gets, beside the image, planes that tell it the PSF and the noise of this image: without
them it can only assume those of the images it was trained on, so that a star comes out the wider the worse the seeing
was. The planes, all on the source's pixels, are

- the image in network units, ``C``;
- the linear answer of `astro_galtrans.matching` in network units of the target, ``C' * scale**2`` (the finer pixels of
  a pixel as channels), which has the target's PSF where the data carry the light;
- the logarithm of the PSF's FWHM and of the sky noise over what is typical of the survey, ``C`` each;
- one where the image has the band, ``C``: a band that is missing is zero in all planes.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from .matching import kernel_reach, match, matching_kernels
from .psf import MoffatPSF
from .scaling import AsinhScaling
from .surveys import MOFFAT_BETA
from .units import flux_factor

__all__ = ["Inputs", "Observation", "input_channels"]


def input_channels(n_in, n_out, scale, observed):
    """Return the number of planes that a network sees."""
    return 4 * n_in + n_out * scale**2 if observed else n_in


@dataclass(frozen=True, eq=False)
class Observation:
    """How an image was taken, per band ``[C]``."""

    fwhm: np.ndarray  #: FWHM of the PSF, a Moffat profile, without the pixel (arcsec)
    noise: np.ndarray  #: sky rms in a pixel (flux unit of the image)
    present: np.ndarray  #: bool: does the image have the band?
    beta: float = MOFFAT_BETA  #: exponent of the profile

    def rows(self, number):
        """Return the observations of ``number`` images, of arrays ``[C]`` that all share or ``[N, C]``."""
        fwhm, noise, present = (
            np.broadcast_to(values, (number, np.shape(values)[-1])) for values in (self.fwhm, self.noise, self.present)
        )
        return [replace(self, fwhm=f, noise=n, present=p) for f, n, p in zip(fwhm, noise, present, strict=True)]


class Inputs:
    """
    The planes that a network is given of an image.

    Parameters
    ----------
    spec : `~astro_galtrans.models.base.ModelSpec`
        Of the network.
    source, target : dict
        As in a translator's card: ``pixel_scale``, ``zeropoint``, ``scaling``, ``fwhm`` and, for the source,
        ``sky_rms``.

    Raises
    ------
    ValueError
        If the network is observed and a typical FWHM or sky rms is not known.
    """

    def __init__(self, spec, source, target):
        self.spec, self.pixel_scale = spec, source["pixel_scale"]
        self.source, self.target = (AsinhScaling.from_dict(end["scaling"]) for end in (source, target))
        self.factor = flux_factor(source["zeropoint"], target["zeropoint"])
        if not spec.observed:
            return
        known = {"source FWHM": source.get("fwhm"), "target FWHM": target.get("fwhm"), "sky rms": source["sky_rms"]}
        for what, values in known.items():
            if values is None or not all(v is not None and v > 0 for v in values):
                msg = f"a network that is told PSF and noise needs a typical {what} for every band, got {values}"
                raise ValueError(msg)
        self.fwhm, self.target_fwhm, self.sky_rms = (np.array(values, float) for values in known.values())

    @property
    def reach(self):
        """Pixels around an image that its planes depend on, at the widest PSF that is asked for (two arcsec or so)."""
        if not self.spec.observed:
            return 0
        return kernel_reach([2 * self.fwhm.max(), *self.target_fwhm], self.pixel_scale)

    @property
    def channels(self):
        """Number of planes."""
        return input_channels(len(self.spec.in_bands), len(self.spec.out_bands), self.spec.scale, self.spec.observed)

    @cached_property
    def typical(self):
        """The `Observation` of a typical image of the survey."""
        return Observation(self.fwhm, self.sky_rms, np.ones(len(self.fwhm), bool))

    def planes(self, image, observation=None):
        """
        Return what the network sees of an image ``[C, H, W]`` (flux per pixel, finite), float32 ``[K, H, W]``.

        ``observation`` is the `Observation`; without one the image is taken for a typical one of its survey. A missing
        band may hold anything.
        """
        image = np.asarray(image, np.float32)
        if not self.spec.observed:
            return self.source.forward(image)
        seen = observation or self.typical
        return self.stacked(image, self.matched(image, seen), seen)

    def stacked(self, image, matched, observation):
        """Return the planes of an image whose linear answer, as of `matched`, is known."""
        present = np.asarray(observation.present, bool)
        image = np.where(present[:, None, None], image, np.float32(0))
        width = 3 * np.log(np.where(present, observation.fwhm / self.fwhm, 1))  # seeing varies by a third at most
        noise = np.log(np.where(present, observation.noise / self.sky_rms, 1))
        numbers = np.concatenate([width, noise, present]).astype(np.float32)
        constant = np.broadcast_to(numbers[:, None, None], (len(numbers), *image.shape[1:]))
        return np.concatenate([self.source.forward(image), _coarse(matched, self.spec.scale), constant])

    def matched(self, image, observation):
        """
        Return the linear answer in network units of the target, float32 ``[C', scale*H, scale*W]``.

        An output band is made from the input band of its name, else from the nearest that the image has.
        """
        chosen = self._nearest(np.asarray(observation.present, bool))
        kernels = self._kernels(np.asarray(observation.fwhm, float)[chosen], observation.beta)
        parts = match(np.asarray(image, np.float32)[chosen], kernels)  # [C', s^2, H, W]
        parts *= self._gain(chosen)[:, None, None, None]
        return _fine(np.arcsinh(parts, out=parts), self.spec.scale)

    def _kernels(self, fwhm, beta):
        return _moffat_kernels(tuple(fwhm), beta, tuple(self.target_fwhm), self.pixel_scale, self.spec.scale)

    def _nearest(self, present):
        """Index of the input band that each output band is made from."""
        spec, there = self.spec, np.flatnonzero(present)
        places = np.linspace(0, len(spec.in_bands) - 1, len(spec.out_bands))
        own = [spec.in_bands.index(b) if b in spec.in_bands else place
               for b, place in zip(spec.out_bands, places, strict=True)]  # fmt: skip
        return there[np.abs(np.subtract.outer(own, there)).argmin(axis=1)]

    def _gain(self, chosen):
        """Factor from source flux in a finer pixel to softening units of the target ``[C']``."""
        spec, soft = self.spec, np.array(self.source.softening)
        same = np.array([b == spec.in_bands[k] for b, k in zip(spec.out_bands, chosen, strict=True)])
        # of another band the same signal-to-noise ratio is a better guess than the same flux
        other = spec.scale**2 / soft[chosen]
        return np.where(same, self.factor / np.array(self.target.softening), other).astype(np.float32)


@lru_cache(maxsize=64)
def _moffat_kernels(fwhm, beta, target_fwhm, pixel_scale, scale):
    # images of one PSF, given or typical of the survey, come in thousands
    reach = kernel_reach([*fwhm, *target_fwhm], pixel_scale)
    return matching_kernels(MoffatPSF(fwhm, beta), MoffatPSF(target_fwhm), pixel_scale, scale, reach)


def _fine(parts, scale):
    """Finer pixels of every pixel ``[C, scale**2, H, W]`` as an image ``[C, scale*H, scale*W]``."""
    channels, _, height, width = parts.shape
    parts = parts.reshape(channels, scale, scale, height, width).transpose(0, 3, 1, 4, 2)
    return parts.reshape(channels, scale * height, scale * width)


def _coarse(image, scale):
    """Undo `_fine`, the finer pixels as channels ``[C * scale**2, H, W]``."""
    channels, height, width = image.shape
    parts = image.reshape(channels, height // scale, scale, width // scale, scale).transpose(0, 2, 4, 1, 3)
    return parts.reshape(-1, height // scale, width // scale)
