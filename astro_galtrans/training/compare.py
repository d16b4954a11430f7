r"""
Held-out pairs beside the translations of their sources, from which calibration and scores are measured.

Everything is read from the pairs themselves (header, table, images), so that simulated and real ones are treated alike:

- *Bad pixels* of the source are filled before the network sees them, and left out of every statistic together with the
  target pixels they cover; so are bad pixels of the target.
- *The main source* of a pair lies at ``x``, ``y`` of the table (arcsec from the stamp's centre; the centre, if the
  table has no such columns). Flux statistics leave out stars, sources nearer than `APERTURE` to the edge, and those
  with a bad pixel in the aperture.
- *Bright* is a source whose signal-to-noise ratio in the source image, in the aperture and the middle band, is above
  `BRIGHT`. The flux of a fainter one is pulled towards that of a typical galaxy, as the mean given a noisy source has
  to be, and this would be mistaken for a bias.
- *The target's own noise* is part of the error of a forecast. A translator states the error for images of the target
  survey's typical depth, :math:`\sigma_t`. Where a pair knows the variance of its target, the sky's part of it,
  :math:`v_{sky}` (lower quartile over the stamp), is compared with that, and the excess
  :math:`v_{sky} - \sigma_t^2`, of either sign, is the target's and not the translator's.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import zoom

from astro_galtrans.measure.photometry import aperture_weights
from astro_galtrans.tiling import plan_tiles
from astro_galtrans.uncertainty import SampleMean
from astro_galtrans.units import flux_factor

from .data import read_pair, signal_pixels
from .observed import Observations, inputs_of

__all__ = ["APERTURE", "BRIGHT", "Comparison", "classical", "compare", "main_sources", "predict_flux"]

APERTURE = 3.0  #: diameter (arcsec) of the aperture of flux statistics: twice the seeing from the ground, so most light
BRIGHT = 100.0  #: signal-to-noise ratio in the source image; r = 19.3 for SDSS


class Comparison(NamedTuple):
    """A pair and the translation of its source, images ``[C', H, W]`` in the target's flux unit."""

    index: int
    source: np.ndarray  #: filled where it was bad, ``[C, h, w]`` in the source's flux unit
    target: np.ndarray
    good: np.ndarray  #: target pixels that can be used
    signal: np.ndarray  #: good target pixels with signal
    excess: np.ndarray  #: variance per band that this target's sky has beyond the survey's typical one, ``[C', 1, 1]``
    aperture: np.ndarray | None  #: weights ``[H, W]`` of the pixels in it; None if there is no source to be measured
    mean: np.ndarray
    std: np.ndarray

    def flux(self, image):
        """Flux of the main source in each band of ``image``."""
        return np.einsum("chw,hw->c", np.asarray(image, float), self.aperture)


def compare(model, scalings, pairs, indices, *, factors=None, n_samples=1, seed=0, consistency=None):
    """
    Translate pairs, one after the other, and yield a `Comparison` of each.

    ``factors`` are the calibration factors ``"flux"`` and ``"std"`` to apply. A network that samples averages
    ``n_samples``; pair ``i`` is sampled with ``seed + i``. A `~astro_galtrans.consistency.Consistency` brings fluxes to
    those of the source, as it does in translations; pairs whose PSFs are not known are then left out.
    """
    flux, spread = (np.asarray((factors or {}).get(name, 1.0)).reshape(-1, 1, 1) for name in ("flux", "std"))
    places, observations = main_sources(pairs), Observations(pairs)
    inputs = inputs_of(model.spec, pairs.header, scalings)
    for index in map(int, indices):
        psf = consistency and observations.psf(index)
        if consistency and any(psf[band] is None for band in consistency.inside):
            continue
        source, target, good = read_pair(pairs, index)
        observation = observations[index]
        planes = inputs.planes(source, observation)
        mean, std = predict_flux(model, scalings[1], planes, n_samples=n_samples, seed=seed + index)
        aperture = None
        if places[index] is not None:
            aperture = _aperture(places[index], target.shape[1:], pairs.header.target_pixel_scale)
            if (aperture[~good.all(axis=0)] > 0).any():
                aperture = None
        signal = signal_pixels(pairs, index) & good
        images = (flux * mean).astype(np.float32), (flux * spread * std).astype(np.float32)
        if consistency:
            consistency.apply(images[0], source, psf, observation.noise)
        yield Comparison(index, source, target, good, signal, _excess(pairs, index), aperture, *images)


def predict_flux(model, scaling, planes, *, n_samples=1, seed=0):
    """
    Translate one stamp, given as planes ``[K, H, W]`` of `~astro_galtrans.inputs.Inputs`: mean and (uncalibrated)
    standard deviation in the target's flux unit, whose scaling is ``scaling``.
    """
    spec = model.spec
    plan = plan_tiles(planes.shape[1:], scale=spec.scale, multiple_of=spec.multiple_of, margin=spec.margin)
    samples, sampling = SampleMean(posterior=spec.stochastic), {}
    if spec.stochastic:  # one that was given a sampler is measured without
        sampling = {"n_samples": n_samples, "seed": seed}
    for p in model.predict(np.ascontiguousarray(planes), plan, **sampling):
        samples.add(scaling.inverse(p.values), (scaling.derivative(p.values) * p.std) ** 2)
    return samples.mean, np.sqrt(samples.variance)


def classical(source, header):
    """
    Return the source resampled to the finer grid, the answer that needs no network and has to be beaten.

    From ``[C, H, W]`` in the source's flux unit, finite, to ``[C', scale*H, scale*W]`` in the target's, NaN in bands
    that the source does not have. It takes cubic splines, as ``reproject_interp(order="bicubic")`` does, conserves flux
    and matches zero points; the outermost pixels, where reproject has none, continue the image.
    """
    scale, factor = header.scale, flux_factor(header.source.zeropoint, header.target.zeropoint)
    planes = np.full((len(header.target_bands), *(scale * n for n in source.shape[1:])), np.nan)
    for k, band in enumerate(header.target_bands):
        if band in header.source_bands:
            plane = np.asarray(source[header.source_bands.index(band)], float)
            planes[k] = zoom(plane, scale, order=3, mode="nearest", grid_mode=True) if scale > 1 else plane
    return planes * factor / scale**2


def main_sources(pairs):
    """
    Return where each pair's main source is, as x and y in arcsec from the stamp's centre.

    It is None for a pair without a source, with a star, or with one too near the edge.
    """
    table, header = pairs.table, pairs.header
    x, y = (np.asarray(table[name], float) if name in table.colnames else np.zeros(len(pairs)) for name in "xy")
    extent = header.size * header.source.pixel_scale
    inside = np.maximum(np.abs(x), np.abs(y)) <= extent / 2 - APERTURE  # not so for a NaN
    if "kind" in table.colnames:
        inside &= np.isin(np.asarray(table["kind"], str), ["galaxy", "source"])
    return [place if use else None for *place, use in zip(x, y, inside, strict=True)]


def signal_to_noise(pairs, index, place):
    """Signal-to-noise ratio of a source in the source image, middle band, with the noise of the survey's sky."""
    survey = pairs.header.source
    band, area = len(survey.bands) // 2, np.pi * (APERTURE / 2 / survey.pixel_scale) ** 2
    plane = np.asarray(pairs.source(index)[band], float)
    flux = np.sum(_aperture(place, plane.shape, survey.pixel_scale) * np.where(np.isfinite(plane), plane, 0))
    return flux / (survey.sky_rms()[band] * np.sqrt(area))


def _aperture(place, shape, pixel_scale):
    """Weight of each pixel ``[H, W]`` in the aperture on a place (arcsec from the stamp's centre)."""
    centre = [(n - 1) / 2 + offset / pixel_scale for n, offset in zip(shape[::-1], place, strict=True)]
    return aperture_weights(shape, [APERTURE / 2 / pixel_scale], centre)[0]


def _excess(pairs, index):
    variance = pairs.target_variance(index)
    typical = pairs.header.target.sky_rms(pairs.header.target_pixel_scale) ** 2
    if variance is None:
        return np.zeros((len(typical), 1, 1))
    # the lower quartile is of pixels without a source, whose photon noise adds to the variance of the others
    sky = [np.quantile(plane[np.isfinite(plane)], 0.25) if np.isfinite(plane).any() else np.nan for plane in variance]
    return np.nan_to_num(np.array(sky) - typical)[:, None, None]
