"""A real network, small enough for tests that are not about networks, and the card of a translator made of it."""

from typing import ClassVar

import torch
from torch import nn

from astro_galtrans.models.base import Estimate, Prediction, TranslationModel
from astro_galtrans.models.blocks import split_estimate
from astro_galtrans.scaling import AsinhScaling

BANDS = ("u", "g", "r", "i", "z")
SKY_RMS = (0.055, 0.018, 0.027, 0.044, 0.217)  # nanomaggy per SDSS pixel
COUNTS_PER_NANOMAGGY = 10 ** (0.4 * (30.0 - 22.5))  # what a flux unit becomes in the target's zero point


class ToyTranslator(TranslationModel):
    """The skip connection, plus what one convolution makes of the source (nothing, unless it is trained)."""

    name = "toy"
    PRESETS: ClassVar = {"tiny": {"kernel": 3}}
    margin = 3  # bicubic interpolation reaches two pixels, the convolution one

    def __init__(self, in_bands, out_bands, scale, *, kernel):
        super().__init__(in_bands, out_bands, scale)
        self.conv = nn.Conv2d(len(self.in_bands), 2 * len(self.out_bands) * scale**2, kernel, padding=kernel // 2)
        self.shuffle = nn.PixelShuffle(scale)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, source):
        """Source ``[B, C_in, H, W]`` to an `Estimate`; log_std is -1.5 until it is trained."""
        return Estimate(*split_estimate(self.shuffle(self.conv(source)), self.skip(source)))


class ToySampler(ToyTranslator):
    """The same, with white noise of a standard deviation of 0.1 network units added to each sample."""

    name = "toy-sampler"
    stochastic = True

    def predict(self, source, plan, *, n_samples=1, seed=None, batch_size=1, progress=None):
        """Yield one `Prediction` per sample; the noise is drawn on the whole output grid."""
        seeds = seed if isinstance(seed, list) else [seed]  # of as many images below each other
        generators = [torch.Generator().manual_seed(each) for each in seeds]
        for _ in range(n_samples):
            for mean, std in super().predict(source, plan, batch_size=batch_size, progress=progress):
                channels, height, width = mean.shape
                parts = [torch.randn(channels, height // len(seeds), width, generator=g) for g in generators]
                yield Prediction(mean + 0.1 * torch.cat(parts, dim=1).numpy(), std)


def toy_card(bands=BANDS, *, name="toy-sdss-cfhtls", scale=2, pixel_scale=0.396, sky=None, **changes):
    """Return the card of a translator from nanomaggies to ADU that only changes pixel size and zero point."""
    sky = [SKY_RMS[BANDS.index(band)] for band in bands] if sky is None else sky
    softening = [4 * rms for rms in sky]
    target = [b * COUNTS_PER_NANOMAGGY / scale**2 for b in softening]  # flux per pixel, and pixels are smaller
    source = {"survey": "sdss", "unit": "nanomaggy", "zeropoint": 22.5, "pixel_scale": pixel_scale, "sky_rms": sky}
    return {
        "name": name,
        "description": "interpolates",
        "source": source | {"scaling": AsinhScaling(softening).to_dict()},
        "target": {
            "survey": "cfhtls-wide",
            "unit": "adu",
            "zeropoint": 30.0,
            "pixel_scale": pixel_scale / scale,
            "scaling": AsinhScaling(target).to_dict(),
        },
        "calibration": {"flux": [1.0] * len(bands), "std": [1.0] * len(bands)},
        "validity": {
            "pixel_scale": [0.35 / 0.396 * pixel_scale, 0.45 / 0.396 * pixel_scale],
            "fwhm": {band: [0.9, 2.0] for band in bands},
            "sky_rms": {band: [0.0, 3 * rms] for band, rms in zip(bands, sky, strict=True)},
            "peak": dict.fromkeys(bands, 1000.0),
        },
    } | changes
