"""Galaxies whose images are known exactly: Gaussians, seen with Gaussian PSFs, integrated over pixels."""

import numpy as np
from scipy.special import erf

from astro_galtrans.psf import MoffatPSF
from astro_galtrans.stamps import Stamps
from helpers import make_survey

TO_SIGMA = 1 / np.sqrt(8 * np.log(2))
BANDS = "gri"
PIXEL, SCALE, SIDE = 0.396, 2, 32
FWHM, TARGET_FWHM = np.array([1.3, 1.2, 1.1]), np.array([0.85, 0.8, 0.7])
SKY, ELECTRONS = np.array([0.02, 0.027, 0.044]), np.array([1050.0, 931.0, 796.0])
ZEROPOINT, TARGET_ZEROPOINT = 22.5, 30.0
FACTOR = 1000.0  # of 7.5 magnitudes
COLOURS = np.array([1.0, 1.5, 1.8])
SURVEYS = (
    make_survey(BANDS, PIXEL, SKY, zeropoint=ZEROPOINT, electrons=ELECTRONS),
    make_survey(BANDS, PIXEL / SCALE, zeropoint=TARGET_ZEROPOINT),
)


def stamps(source, target=None, *, psf=FWHM, target_psf=TARGET_FWHM, surveys=SURVEYS, **known):
    """Stamps of the source, or of both surveys, with Gaussian PSFs; of the source more may be known."""
    found = Stamps(source, surveys[0], psf=MoffatPSF(psf, np.inf), name="source", **known)
    return found if target is None else (found, of_target(target, psf=target_psf, surveys=surveys))


def of_target(target, *, psf=TARGET_FWHM, surveys=SURVEYS):
    """Stamps of the target survey, real ones or translations."""
    return Stamps(target, surveys[1], psf=MoffatPSF(psf, np.inf), name="translated")


def gaussian(n, pixel, sigma, x=0.0, y=0.0):
    """A Gaussian of flux 1, place and sigma in arcsec, integrated over pixels ``[n, n]``."""
    edges = (np.arange(n + 1) - n / 2) * pixel
    along_x, along_y = (np.diff(0.5 * erf((edges - c) / (sigma * np.sqrt(2)))) for c in (x, y))
    return along_y[:, None] * along_x


def pairs(number, seed=0, *, colours=COLOURS, faint=3.0, bright=100.0, x=0.0, noise=True):
    """Galaxies in source and target (there at x), noise in the source only; their fluxes ``[N, C]``, source's unit."""
    rng = np.random.default_rng(seed)
    flux = np.exp(rng.uniform(np.log(faint), np.log(bright), number))[:, None] * np.broadcast_to(colours, (number, 3))
    sigma = rng.uniform(0.3, 1.0, number)
    source, target = (
        np.array([[gaussian(n, pixel, np.hypot(s, fwhm * TO_SIGMA), place) for fwhm in psf] for s in sigma])
        for n, pixel, psf, place in ((SIDE, PIXEL, FWHM, 0), (SCALE * SIDE, PIXEL / SCALE, TARGET_FWHM, x))
    )
    source, target = (images * flux[:, :, None, None] for images in (source, target))
    if noise:
        variance = SKY[:, None, None] ** 2 + source / ELECTRONS[:, None, None]
        source = source + rng.standard_normal(source.shape) * np.sqrt(variance)
    return source.astype(np.float32), (FACTOR * target).astype(np.float32), flux
