r"""
Held-out pairs beside the translations of their sources, from which calibration and scores are measured.

Everything is read from the pairs themselves (header, table, images), so that simulated and real ones are treated alike:

- *Bad pixels* of the source are filled before the network sees them, as `astro_galtrans.translate` does, and left out
  of every statistic together with the target pixels they cover; so are bad pixels of the target.
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

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from photutils.aperture import CircularAperture

from astro_galtrans.geometry import fill_masked, output_mask
from astro_galtrans.tiling import plan_tiles
from astro_galtrans.uncertainty import SampleMean
from astro_galtrans.units import flux_factor

from .data import signal_pixels

__all__ = ["APERTURE", "BRIGHT", "Comparison", "classical", "compare", "main_sources", "predict_flux"]

APERTURE = 3.0  #: diameter (arcsec) of the aperture of flux statistics: twice the seeing from the ground, so most light
BRIGHT = 100.0  #: signal-to-noise ratio in the source image; r = 19.3 for SDSS


@dataclass(frozen=True)
class Comparison:
    """A pair and the translation of its source, images ``[C', H, W]`` in the target's flux unit."""

    index: int
    source: np.ndarray  #: filled where it was bad, ``[C, h, w]`` in the source's flux unit
    target: np.ndarray
    signal: np.ndarray  #: good target pixels with signal
    good: np.ndarray  #: good target pixels
    excess: np.ndarray  #: variance per band that this target's sky has beyond the survey's typical one, ``[C', 1, 1]``
    aperture: CircularAperture | None  #: on the main source, in target pixels; None if there is none to be measured
    mean: np.ndarray
    std: np.ndarray

    def flux(self, image):
        """Flux of the main source in each band of ``image``, or None if there is none to be measured."""
        if self.aperture is None:
            return None
        return np.array([self.aperture.do_photometry(plane)[0][0] for plane in np.asarray(image, float)])

    @cached_property
    def residual(self):
        """Target minus translation."""
        return self.target - self.mean


def compare(model, scalings, pairs, indices, *, factors=None, n_samples=1, seed=0):
    """
    Translate pairs, one after the other.

    Parameters
    ----------
    model : `~astro_galtrans.models.base.TranslationModel`
    scalings : (AsinhScaling, AsinhScaling)
        Of source and target.
    pairs : `~astro_galtrans.pairs.store.PairStore`
    indices : iterable of int
        Which pairs.
    factors : dict, optional
        The calibration factors ``"flux"`` and ``"std"`` to apply.
    n_samples, seed : int, optional
        Samples averaged, for stochastic networks; pair ``i`` is sampled with ``seed + i``.

    Yields
    ------
    `Comparison`
    """
    flux, spread = (np.asarray((factors or {}).get(name, 1.0)).reshape(-1, 1, 1) for name in ("flux", "std"))
    apertures = main_sources(pairs)
    for index in map(int, indices):
        source, target, good = _images(pairs, index)
        mean, std = predict_flux(model, scalings, source, n_samples=n_samples, seed=seed + index)
        aperture = apertures[index]
        if aperture is not None and not _clean(aperture, good):
            aperture = None
        signal = signal_pixels(pairs, index) & good
        images = (flux * mean).astype(np.float32), (flux * spread * std).astype(np.float32)
        yield Comparison(index, source, target, signal, good, _excess(pairs, index), aperture, *images)


def predict_flux(model, scalings, source, *, n_samples=1, seed=0):
    """Translate one stamp ``[C, H, W]``: mean and (uncalibrated) standard deviation in the target's flux unit."""
    spec = model.spec
    plan = plan_tiles(source.shape[1:], scale=spec.scale, multiple_of=spec.multiple_of, margin=spec.margin)
    samples = SampleMean(posterior=spec.stochastic)
    for p in model.predict(scalings[0].forward(np.ascontiguousarray(source)), plan, n_samples=n_samples, seed=seed):
        samples.add(scalings[1].inverse(p.values), (scalings[1].derivative(p.values) * p.std) ** 2)
    return samples.mean, np.sqrt(samples.variance)


def classical(source, header):
    """
    Return the source resampled to the finer grid, the answer that needs no network and has to be beaten.

    It takes cubic splines, as ``reproject_interp(order="bicubic")`` does, conserves flux and matches zero points; the
    outermost pixels, where reproject has none, continue the image.

    Parameters
    ----------
    source : `numpy.ndarray`
        ``[C, H, W]`` in the source's flux unit, finite.
    header : `~astro_galtrans.pairs.store.PairHeader`

    Returns
    -------
    `numpy.ndarray`
        ``[C', scale*H, scale*W]`` in the target's flux unit; NaN in bands that the source does not have.
    """
    from scipy.ndimage import zoom

    scale, factor = header.scale, flux_factor(header.source.zeropoint, header.target.zeropoint)
    planes = np.full((len(header.target_bands), *(scale * n for n in source.shape[1:])), np.nan)
    for k, band in enumerate(header.target_bands):
        if band in header.source_bands:
            plane = np.asarray(source[header.source_bands.index(band)], float)
            planes[k] = zoom(plane, scale, order=3, mode="nearest", grid_mode=True) if scale > 1 else plane
    return planes * factor / scale**2


def main_sources(pairs):
    """
    Return the aperture on each pair's main source, in target pixels.

    Parameters
    ----------
    pairs : `~astro_galtrans.pairs.store.PairStore`

    Returns
    -------
    list of `~photutils.aperture.CircularAperture` or None
        None for a pair without a source, with a star, or with one too near the edge.
    """
    table, header = pairs.table, pairs.header
    x, y = (np.asarray(table[name], float) if name in table.colnames else np.zeros(len(pairs)) for name in "xy")
    extent = header.size * header.source.pixel_scale
    inside = np.maximum(np.abs(x), np.abs(y)) <= extent / 2 - APERTURE  # not so for a NaN
    if "kind" in table.colnames:
        inside &= np.isin(np.asarray(table["kind"], str), ["galaxy", "source"])
    pixel, middle = header.target_pixel_scale, (header.size * header.scale - 1) / 2
    return [
        CircularAperture((middle + dx / pixel, middle + dy / pixel), APERTURE / 2 / pixel) if use else None
        for dx, dy, use in zip(x, y, inside, strict=True)
    ]


def signal_to_noise(pairs, index, aperture):
    """Signal-to-noise ratio of a source in the source image, middle band, with the noise of the survey's sky."""
    header = pairs.header
    band = len(header.source_bands) // 2
    # from the target's pixels to the source's: pixel 0 of the coarse grid is centred on (scale - 1) / 2 of the fine one
    x, y = (np.asarray(aperture.positions) - (header.scale - 1) / 2) / header.scale
    own = CircularAperture((x, y), aperture.r / header.scale)
    plane = np.asarray(pairs.source(index)[band], float)
    return own.do_photometry(np.where(np.isfinite(plane), plane, 0))[0][0] / (
        header.source.sky_rms()[band] * np.sqrt(own.area)
    )


def _images(pairs, index):
    """Source with bad pixels filled, target with bad pixels set to 0, and which target pixels are good in all bands."""
    source, target = np.asarray(pairs.source(index)), np.asarray(pairs.target(index))
    holes, bad = ~np.isfinite(source), ~np.isfinite(target)
    for flags, mask in ((holes, pairs.source_mask(index)), (bad, pairs.target_mask(index))):
        if mask is not None:
            flags |= mask
    below = output_mask(holes.any(axis=0), pairs.header.scale, 0)
    return fill_masked(source, holes), np.where(bad, 0, target), ~(bad | below)


def _clean(aperture, good):
    return bool(aperture.do_photometry(np.any(~good, axis=0).astype(float))[0][0] == 0)


def _excess(pairs, index):
    variance = pairs.target_variance(index)
    typical = pairs.header.target.sky_rms(pairs.header.target_pixel_scale) ** 2
    if variance is None:
        return np.zeros((len(typical), 1, 1))
    # the lower quartile is of pixels without a source, whose photon noise adds to the variance of the others
    sky = [np.quantile(plane[np.isfinite(plane)], 0.25) if np.isfinite(plane).any() else np.nan for plane in variance]
    return np.nan_to_num(np.array(sky) - typical)[:, None, None]
