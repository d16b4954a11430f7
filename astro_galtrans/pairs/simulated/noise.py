"""
What an exposure adds to the light of a scene: noise of sky and photons, what is left of the sky, saturated cores.

Sizes are those of SDSS frames of Stripe 82 (runs 4192 and 6377): medians of boxes of 64 pixels without sources scatter
by a few hundredths of the sky's rms more than noise explains, and vary across a box by half as much.
"""

import numpy as np
from scipy.ndimage import binary_dilation, convolve1d

__all__ = ["RESAMPLINGS", "add_noise", "draw_residual", "saturate"]

#: How the noise of a source may be correlated: not, or as by a resampling to another grid.
RESAMPLINGS = {"none": 0.75, "bilinear": 0.125, "lanczos3": 0.125}
RESIDUAL = {"u": 0.02, "g": 0.1, "r": 0.06, "i": 0.04, "z": 0.12}  # rms of the sky's level over its noise per pixel
TYPICAL_RESIDUAL = 0.07  # of other bands
CORE = 0.3, 1.0  # flux in a saturated core over the level of saturation: SDSS's pipeline interpolates over some of it


def draw_residual(rng, survey):
    """Sky left in an image, over the sky's rms: level, and slopes along x and y across a stamp, ``[3, bands]``."""
    size = np.array([RESIDUAL.get(band.name, TYPICAL_RESIDUAL) for band in survey.bands])
    return rng.normal(0, [size, size / 2, size / 2])


def add_noise(rng, image, survey, sky, resampling="none", residual=None):
    """
    Image ``[C, H, W]`` with the noise of photons and of the sky, of rms ``sky`` per band, and the sky that is left.

    The noise of a resampled image is correlated between neighbours, with the same rms.
    """
    electrons = np.array([band.electrons for band in survey.bands])[:, None, None]
    # Gaussian photon noise, none where its size is not known: at less than a few electrons the sky dominates anyway
    photons = np.clip(image, 0, None) / np.where(np.isnan(electrons), np.inf, electrons)
    noise = np.sqrt(sky[:, None, None] ** 2 + photons) * _unit_noise(rng, image.shape, resampling)
    if residual is not None:
        y, x = (np.linspace(-0.5, 0.5, n) for n in image.shape[1:])
        level, along_x, along_y = (sky * part for part in residual)
        noise += level[:, None, None] + along_x[:, None, None] * x + along_y[:, None, None] * y[:, None]
    return image + noise


def _unit_noise(rng, shape, resampling):
    """Gaussian noise of unit variance; resampled, each band is shifted by a part of a pixel of its own."""
    noise = rng.standard_normal(shape)
    if resampling == "none":
        return noise
    for plane in noise:
        for axis in (0, 1):
            taps = _taps(resampling, rng.random())
            convolve1d(plane, taps / np.sqrt((taps**2).sum()), axis, plane, mode="wrap")
    return noise


def _taps(resampling, shift):
    """Weights of the pixels around a point ``shift`` of a pixel after one of them."""
    if resampling == "bilinear":
        return np.array([1 - shift, shift])
    at = np.arange(-2, 4) - shift
    return np.sinc(at) * np.sinc(at / 3)


def saturate(rng, image, survey):
    """
    Cut an image ``[C, H, W]`` off at the survey's saturation, in place; return which pixels are bad, bool.

    A pixel beside a saturated one is bad too. Surveys of which no saturation is known have no bad pixels.
    """
    level = np.array([band.saturation for band in survey.bands])
    core = rng.uniform(*CORE, len(level)) * level
    full = image >= np.where(np.isnan(level), np.inf, level)[:, None, None]
    image[full] = np.broadcast_to(core[:, None, None], image.shape)[full]
    return binary_dilation(full, np.ones((1, 3, 3))) if full.any() else full
