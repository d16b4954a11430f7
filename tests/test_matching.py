"""The linear answer, against images that are known at the other PSF."""

import numpy as np
import pytest

from astro_galtrans.matching import kernel_reach, match, matching_kernels
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.psf import MoffatPSF, SampledPSF, psf_images

PIXEL = 0.4


def gaussian(shape, fwhm, pixel, x=0.0, y=0.0):
    """Flux per pixel of a Gaussian of unit flux, ``x`` and ``y`` arcsec from the centre: integrals over pixels."""
    from scipy.special import erf

    sigma = fwhm / 2.3548200450309493

    def along(n, at):
        edges = (np.arange(n + 1) - n / 2) * pixel - at
        return np.diff(erf(edges / (sigma * np.sqrt(2)))) / 2

    return np.multiply.outer(along(shape[0], y), along(shape[1], x))


def fine(parts, scale):
    channels, _, height, width = parts.shape
    parts = parts.reshape(channels, scale, scale, height, width).transpose(0, 3, 1, 4, 2)
    return parts.reshape(channels, scale * height, scale * width)


def matched(image, source, target, scale, **options):
    reach = kernel_reach([source, target], PIXEL)
    psfs = (MoffatPSF([fwhm], np.inf) for fwhm in (source, target))
    return fine(match(image[None], matching_kernels(*psfs, PIXEL, scale, reach, **options)), scale)[0]


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_broader_psf_is_reached(scale):
    """A Gaussian seen with a Gaussian PSF is a Gaussian seen with a broader one: known in closed form."""
    galaxy, source, target = 1.5, 1.0, 1.4
    image = gaussian((40, 40), np.hypot(galaxy, source), PIXEL, x=0.13, y=-0.31)
    truth = gaussian((40 * scale,) * 2, np.hypot(galaxy, target), PIXEL / scale, x=0.13, y=-0.31)
    ours = matched(image, source, target, scale, noise=1e-6)
    np.testing.assert_allclose(ours, truth, atol=3e-3 * truth.max())


def test_a_sharper_psf_is_approached():
    image = gaussian((40, 40), 1.3, PIXEL)
    truth = gaussian((80, 80), 1.1, PIXEL / 2)
    answers = gaussian((80, 80), 1.3, PIXEL / 2), *(matched(image, 1.3, 1.1, 2, noise=n) for n in (1e-3, 1e-4))
    errors = [np.abs(answer - truth).max() / truth.max() for answer in answers]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 * errors[0]


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_flux_of_a_constant_image_stays(scale):
    ours = matched(np.full((9, 30), 4.0), 1.2, 0.8, scale)
    np.testing.assert_allclose(ours, 4.0 / scale**2, rtol=1e-5)


def test_small_images():
    assert np.isfinite(matched(np.ones((1, 3)), 1.2, 0.8, 2)).all()


def test_noise_grows_less_the_more_of_it_there_is():
    noise = np.random.default_rng(1).normal(size=(64, 64))
    rms = [matched(noise, 1.3, 0.8, 2, noise=level).std() for level in (1e-4, 1e-3, 1e-2)]
    assert rms[0] > 2 * rms[1] > 4 * rms[2]


def test_psf_images_do_as_profiles():
    source, target = MoffatPSF([1.2]), MoffatPSF([0.9])
    images = SampledPSF(psf_images(source, PIXEL, 41), PIXEL)
    reach = kernel_reach([1.2], PIXEL)
    ours, theirs = (matching_kernels(psf, target, PIXEL, 2, reach) for psf in (images, source))
    # what the image cannot tell: frequencies beyond its pixels'
    np.testing.assert_allclose(ours, theirs, atol=0.03 * theirs.max())


def test_stars_come_out_with_the_psf_whatever_the_seeing():
    widths = []
    for seeing in (0.9, 1.2, 1.6):
        image = gaussian((41, 41), seeing, PIXEL)
        widths.append(gaussian_fwhm(matched(image, seeing, 1.8, 1, noise=1e-5)) * PIXEL)
    assert np.ptp(widths) < 0.01 * widths[0]
    assert widths[0] == pytest.approx(np.hypot(1.8, PIXEL * np.sqrt(8 * np.log(2) / 12)), rel=0.01)
