"""Noise, sky and saturation of simulated exposures, against statistics and real SDSS frames."""

import numpy as np
import pytest

pytest.importorskip("galsim")
pytest.importorskip("speclite")

from astropy.io import fits
from astropy.stats import mad_std
from scipy import ndimage, stats

from astro_galtrans.pairs.simulated.noise import RESAMPLINGS, add_noise, draw_residual, saturate
from astro_galtrans.surveys import get_survey
from helpers import shared_data

SDSS = get_survey("sdss")


@pytest.mark.parametrize("resampling", list(RESAMPLINGS))
def test_resampled_noise_has_the_stated_rms(resampling, rng):
    sky = 1.3 * SDSS.sky_rms()
    images = np.array([add_noise(rng, np.zeros((5, 64, 64)), SDSS, sky, resampling) for _ in range(50)])
    np.testing.assert_allclose(images.std(axis=(0, 2, 3)), sky, rtol=0.02)
    assert stats.kurtosis(images[:, 2].ravel()) == pytest.approx(0, abs=0.06)
    neighbours = np.mean(images[..., 1:] * images[..., :-1], axis=(0, 2, 3)) / sky**2
    # white noise shifted by a share d of a pixel: d (1 - d) / (d^2 + (1 - d)^2), 0.29 in the mean; scipy for Lanczos
    expected = {"none": 0.0, "bilinear": 0.285, "lanczos3": _lanczos_correlation()}[resampling]
    np.testing.assert_allclose(neighbours, expected, atol=0.06)


def _lanczos_correlation():
    lags = []
    for shift in np.linspace(0, 1, 101):
        at = np.arange(-2, 4) - shift
        taps = np.where(at == 0, 1.0, 3 * np.sin(np.pi * at) * np.sin(np.pi * at / 3) / (np.pi * at + (at == 0)) ** 2)
        correlation = np.correlate(taps, taps, "full")
        lags.append(correlation[6] / correlation[5])
    return np.mean(lags)


def test_photons_of_a_source_count(rng):
    flat = np.full((5, 128, 128), 50.0)
    noisy = add_noise(rng, flat, SDSS, SDSS.sky_rms())
    electrons = np.array([band.electrons for band in SDSS.bands])
    np.testing.assert_allclose(noisy.std(axis=(1, 2)), np.hypot(SDSS.sky_rms(), np.sqrt(50 / electrons)), rtol=0.03)


@pytest.mark.parametrize("band", "ugriz")
def test_sky_left_in_real_frames(band, rng):
    """Medians of boxes of 64 pixels scatter as in the Stripe 82 frames, within half of what noise does not explain."""
    extra = []
    for frame in ("sdss-004192-{}4-0300", "sdss-006377-{}4-0399"):
        with fits.open(shared_data("sdss_stripe82", frame.format(band) + ".fits.fz")) as hdus:
            image = hdus["SCI"].data.astype(float)
        sigma = mad_std(np.diff(image)) / np.sqrt(2)
        sources = ndimage.gaussian_filter(image, 1.5) > 0.6 * sigma  # some 3 sigma of the smoothed noise
        sources = ndimage.binary_dilation(ndimage.binary_opening(sources, iterations=1), iterations=8)
        masked = np.where(sources, np.nan, image)[:1472].reshape(23, 64, 32, 64).swapaxes(1, 2).reshape(-1, 4096)
        boxes = masked[np.isfinite(masked).mean(axis=1) > 0.6]
        noise = np.sqrt(np.pi / 2 / np.isfinite(boxes).sum(axis=1).mean())  # standard error of a median, in sigma
        extra.append(np.sqrt(max((np.nanmedian(boxes, axis=1) / sigma).var() - noise**2, 0)))
    drawn = np.array([draw_residual(rng, SDSS)[0] for _ in range(1000)]).std(axis=0)["ugriz".index(band)]
    assert drawn == pytest.approx(np.mean(extra), rel=0.5, abs=0.01)


def test_saturation(rng):
    level = np.array([band.saturation for band in SDSS.bands])
    assert saturate(rng, np.ones((5, 8, 8)), SDSS).sum() == 0
    image = np.ones((5, 9, 9))
    image[2, 4, 4] = 2 * level[2]
    bad = saturate(rng, image, SDSS)
    expected = np.zeros((5, 9, 9), bool)
    expected[2, 3:6, 3:6] = True
    np.testing.assert_array_equal(bad, expected)
    assert 0.3 * level[2] <= image[2, 4, 4] < level[2]
    # a star of the published limit in seeing of 1.4 arcsec reaches the level: the peak holds 7 % of its flux
    limits = np.array([12.0, 14.1, 14.1, 13.8, 12.3])  # York et al. (2000), table 1
    np.testing.assert_allclose(0.07 * 10 ** (-0.4 * (limits - 22.5)), level, rtol=0.4)
