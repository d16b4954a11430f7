"""The orthonormal pyramid against scipy's transforms, and its coefficients' covariance against numpy's."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from astro_galtrans.models.pyramid import Pyramid, coloured, whitened
from astro_galtrans.models.schedule import white_noise


@pytest.fixture(params=[(2, 1), (2, 3), (3, 2), (4, 2)], ids=str)
def pyramid(request):
    return Pyramid(*request.param)


def image(pyramid, bands=2):
    shape = 3 * pyramid.side, 2 * pyramid.side
    return white_noise((2, bands, *shape), torch.Generator().manual_seed(1))


def test_coefficients_hold_the_image(pyramid):
    pixels = image(pyramid)
    coefficients = pyramid.analyse(pixels)
    assert [part.shape[2] for part in coefficients] == pyramid.details
    assert [pixels.shape[-1] // part.shape[-1] for part in coefficients] == pyramid.grids()
    assert sum(part.numel() for part in coefficients) == pixels.numel()
    torch.testing.assert_close(pyramid.synthesise(coefficients), pixels, rtol=0, atol=1e-5)


def test_it_is_orthonormal(pyramid):
    """Scalar products of two images are those of their coefficients, so that white noise stays white."""
    a, b = image(pyramid), image(pyramid).flip(-1)
    products = zip(pyramid.analyse(a), pyramid.analyse(b), strict=True)
    assert float(sum((x * y).sum() for x, y in products)) == pytest.approx(float((a * b).sum()), rel=1e-4)


def test_the_finest_level_is_a_cosine_transform_of_blocks(pyramid):
    side, pixels = pyramid.folds[0], image(pyramid)
    expected = dctn(pixels[1, 0, side : 2 * side, :side].numpy(), norm="ortho").ravel()[1:]
    np.testing.assert_allclose(pyramid.analyse(pixels)[0][1, 0, :, 1, 0], expected, atol=1e-5)


def test_sums_of_the_largest_blocks_come_last(pyramid):
    pixels, side = image(pyramid), pyramid.side
    sums = pixels.numpy().reshape(2, 2, 3, side, 2, side).sum(axis=(3, 5))
    np.testing.assert_allclose(pyramid.analyse(pixels)[-1][:, :, 0], sums / side, rtol=1e-4, atol=1e-5)


def test_an_error_that_all_pixels_share_is_one_coefficient(pyramid):
    """A twentieth in each pixel, beside which the noise is 1, and as much as ``side`` twentieths in the coarsest."""
    coefficients = pyramid.analyse(torch.full((1, 1, pyramid.side, pyramid.side), 0.05))
    assert coefficients[-1].item() == pytest.approx(0.05 * pyramid.side)
    assert all(float(part.abs().max()) < 1e-6 for part in coefficients[:-1])


def test_whitened_bands_are_independent():
    """With slopes and standard deviations of numpy's regression of each band on those before it."""
    rng = np.random.default_rng(1)
    covariance = np.cov(rng.normal(size=(4, 6)))
    bands = rng.multivariate_normal(np.zeros(4), covariance, 20_000).T
    slopes = [np.linalg.solve(covariance[:k, :k], covariance[:k, k]) for k in range(1, 4)]
    left = [covariance[0, 0]] + [covariance[k, k] - slopes[k - 1] @ covariance[:k, k] for k in range(1, 4)]
    log_std, slopes, given = (
        torch.tensor(np.asarray(values), dtype=torch.float32).view(1, -1, number, 1, 1)
        for values, number in ((0.5 * np.log(left), 1), (np.concatenate(slopes), 1), (bands, 20_000))
    )
    white = whitened(given, log_std, slopes)
    np.testing.assert_allclose(np.cov(white[0, :, :, 0, 0]), np.eye(4), atol=0.03)
    torch.testing.assert_close(coloured(white, log_std, slopes), given, rtol=0, atol=1e-5)
