"""
The photometric sampler: a part that any deterministic network can be given, which draws samples of its translations.

1. Sources are detected in the translation, and measured in it and in the source image.
2. The density that pairs have shown (`astro_galtrans.models.photometric.flow`) gives fluxes of the target.
3. The image is drawn with these fluxes (`astro_galtrans.models.photometric.conditioning`).

The network is evaluated once; a sample costs eight evaluations of a small network on a row of fluxes per source, and
noise.
"""

import numpy as np
import torch
from astropy.stats import gaussian_fwhm_to_sigma
from torch import nn

from astro_galtrans.covariance import Covariance
from astro_galtrans.units import flux_factor

from .apertures import COUNT
from .conditioning import Conditioned, Errors, kept
from .flow import FluxFlow
from .measure import find_sources

__all__ = ["PhotometricSampler"]


class PhotometricSampler(nn.Module):
    """
    Draw samples of the translations of a deterministic network.

    Parameters
    ----------
    spec : `~astro_galtrans.models.base.ModelSpec`
        Of the network.
    **settings
        Sizes of the `~astro_galtrans.models.photometric.flow.FluxFlow`.
    """

    def __init__(self, spec, **settings):
        super().__init__()
        self.settings = settings
        sizes = COUNT * len(spec.in_bands), COUNT * len(spec.out_bands), 3 * len(spec.in_bands) * spec.observed
        self.flow = FluxFlow(*sizes, **settings)

    def configure(self, card):
        """Take from a translator's card what is stated of noise, scales, errors and calibration; return itself."""
        source, target, calibration = (card[name] for name in ("source", "target", "calibration"))
        covariance = Covariance.from_dict(calibration["correlation"])
        softening, scale = np.array(target["scaling"]["softening"]), target["pixel_scale"]
        unit = flux_factor(covariance.zeropoint, target["zeropoint"]) * scale / covariance.pixel_scale
        electrons = np.array(covariance.electrons) * softening
        self.pixel_scale = scale
        self.source_noise = np.array(source["sky_rms"]) / source["scaling"]["softening"]
        self.factor, self.std_factor = (
            np.array(calibration[name], np.float32)[:, None, None] for name in ("flux", "std")
        )
        self.errors = Errors(
            np.array(covariance.noise) * unit / softening,
            np.divide(1, electrons, out=np.zeros_like(electrons), where=electrons > 0),
            np.array(covariance.amplitudes), tuple((np.array(covariance.lengths) / scale).tolist()),
            min(covariance.fwhm, default=0.0) * gaussian_fwhm_to_sigma / scale,
        )  # fmt: skip
        return self

    def samples(self, planes, estimate, plan, spec, n_samples, seeds):
        """
        Yield samples of a translation, values and standard deviations in network units.

        Parameters
        ----------
        planes : `~numpy.ndarray`
            ``[K, H, W]``: what the network has seen.
        estimate : tuple of `~numpy.ndarray`
            Mean and standard deviation ``[C, scale*H, scale*W]`` in network units.
        plan : `~astro_galtrans.tiling.TilePlan`
            Whose tiles are images of their own if it says so.
        spec : `~astro_galtrans.models.base.ModelSpec`
            Of the network.
        n_samples : int
        seeds : int or list of int
            Of all images, or of each.
        """
        values, std = estimate
        mean = self.factor * np.sinh(values)
        sigma = self.factor * np.cosh(values) * std
        parts = [slice(tile.y0, tile.y1) for tile in plan.tiles] if plan.apart else [slice(0, plan.shape[0])]
        seeds = seeds if isinstance(seeds, list) else [[seeds, k] for k in range(len(parts))]
        fine = [slice(spec.scale * part.start, spec.scale * part.stop) for part in parts]
        sources, images = [], []
        for part, rows in zip(parts, fine, strict=True):
            found = find_sources(planes[:, part], mean[:, rows], spec, self.pixel_scale, self.source_noise)
            use = kept(found.patches, found.positions, self.pixel_scale)
            sources.append(found)
            images.append(Conditioned(mean[:, rows], self.std_factor * sigma[:, rows], found.patches, use, self.errors))
            sigma[:, rows] = images[-1].std / self.std_factor  # which multiplies it again where the error is stated
        for index in range(n_samples):
            fluxes, sample = self._fluxes(sources, seeds, index), np.empty_like(mean)
            for image, rows, flux, seed in zip(images, fine, fluxes, seeds, strict=True):
                # two samples share their noise, with both signs: the mean of an even number is free of it
                rng = np.random.default_rng([*np.atleast_1d(seed), 0, index // 2])
                sample[:, rows] = image.draw(rng, flux, (-1) ** index) / self.factor
            values = np.arcsinh(sample, out=sample)
            yield values, sigma / self.factor / np.cosh(values)

    def _fluxes(self, sources, seeds, index):
        """Fluxes ``[n, A, C]`` of the sources of each image in one sample, all through the flow at once."""
        rngs = [np.random.default_rng([*np.atleast_1d(seed), 1, index]) for seed in seeds]
        sizes = [(len(each), self.flow.n_y) for each in sources]
        noise = [rng.standard_normal(size, np.float32) for rng, size in zip(rngs, sizes, strict=True)]
        count = sum(map(len, noise))
        if not count:
            return [part.reshape(0, COUNT, self.flow.n_y // COUNT) for part in noise]
        columns = ((each.x, each.m, each.numbers) for each in sources)
        known = [np.concatenate(column).reshape(count, -1) for column in zip(*columns, strict=True)]
        device = self.flow.mean.device
        parts = [torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in (*known, np.concatenate(noise))]
        drawn = self.flow.sample(*parts).cpu().numpy().reshape(count, COUNT, -1)
        return np.split(drawn, np.cumsum([len(each) for each in noise])[:-1])
