"""Adaptive moments against Gaussians, whose moments are known, and against GalSim's."""

import numpy as np
import pytest
from astropy.modeling.models import Moffat2D
from numpy.testing import assert_allclose, assert_array_equal

from astro_galtrans.moments import SIGMA_TO_FWHM, Ellipse, adaptive_moments, gaussian_fwhm

SEARCH = {"start": 4.0, "limits": (0.5, 15.0), "reach": 8.0}


def elliptical(sigma, ratio, angle, centre=(0.0, 0.0), shape=(71, 64)):
    """A Gaussian and its second moments xx, yy, xy (pixels)."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    covariance = turn @ np.diag([sigma**2, (sigma * ratio) ** 2]) @ turn.T
    y, x = (np.arange(n) - (n - 1) / 2 - c for n, c in zip(shape, centre[::-1], strict=True))
    offset = np.stack(np.meshgrid(x, y), axis=-1)
    image = np.exp(-0.5 * np.einsum("...i,ij,...j", offset, np.linalg.inv(covariance), offset))
    return image, (covariance[0, 0], covariance[1, 1], covariance[0, 1])


@pytest.mark.parametrize("sigma", [2.0, 7.0])
@pytest.mark.parametrize(("ratio", "angle"), [(1.0, 0.0), (0.6, 0.4), (0.6, 2.0), (0.4, -0.9)])
def test_moments_of_a_gaussian_are_its_own(sigma, ratio, angle):
    image, moments = elliptical(sigma, ratio, angle, centre=(1.3, -2.2))
    ellipse, found = adaptive_moments(50 * image[None], **SEARCH)
    assert found.all()
    assert_allclose(np.ravel(ellipse), [1.3, -2.2, *moments], atol=1e-4 * sigma**2)
    assert_allclose(ellipse.determinant, (sigma**2 * ratio) ** 2, rtol=2e-4)


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("n", [0.5, 1.0, 2.5, 4.0])
def test_moments_are_galsims(n, circular, rng):
    galsim = pytest.importorskip("galsim")
    galaxy = galsim.Sersic(n, half_light_radius=1.2).shear(g1=0.2, g2=-0.1).shift(0.3, -0.15)
    image = galsim.Convolve(galaxy, galsim.Moffat(3, fwhm=0.9)).drawImage(nx=81, ny=74, scale=0.2, dtype=float)
    for noise in (0, 2e-4):
        image.array[:] += rng.normal(0, noise, image.array.shape)
        theirs = galsim.hsm.FindAdaptiveMom(image, round_moments=circular)
        ellipse, found = adaptive_moments(image.array[None], **SEARCH, circular=circular)
        assert found.all()
        assert_allclose(ellipse.determinant**0.25, theirs.moments_sigma, rtol=1e-4)
        centre = theirs.moments_centroid - image.true_center
        assert_allclose([ellipse.x[0], ellipse.y[0]], [centre.x, centre.y], atol=1e-4)
        if not circular:
            total = ellipse.xx + ellipse.yy
            assert_allclose((ellipse.xx - ellipse.yy) / total, theirs.observed_shape.e1, atol=1e-4)
            assert_allclose(2 * ellipse.xy / total, theirs.observed_shape.e2, atol=1e-4)


@pytest.mark.parametrize("circular", [False, True])
def test_what_is_no_source_is_not_found_and_does_not_disturb_others(circular, rng):
    source = elliptical(3.0, 0.7, 0.5, shape=(71, 65))[0].astype(np.float32)
    nothing = [np.zeros_like(source), np.ones_like(source), -source, 1e3 * (source == source.max())]
    far = np.roll(source, 20, axis=1)  # beyond the reach
    images = np.stack([source, *nothing, far, rng.normal(0, 1, source.shape)])
    ellipse, found = adaptive_moments(images, **SEARCH, circular=circular)
    assert_array_equal(found[:-1], [True] + [False] * 5)
    assert np.isfinite(ellipse).all() and (ellipse.determinant > 0).all()
    assert (np.abs([ellipse.x, ellipse.y]) <= 8).all()
    alone, _ = adaptive_moments(images[:1], **SEARCH, circular=circular)
    assert_allclose(np.array(ellipse)[:, 0], np.array(alone)[:, 0], rtol=1e-12)


def test_radius_is_in_units_of_sigma():
    ellipse = Ellipse(1.0, 2.0, 9.0, 4.0, 0.0)
    assert_allclose(ellipse.radius2(np.array([1.0, 4.0, 1.0]), np.array([2.0, 2.0, 6.0])), [0, 1, 4])


@pytest.mark.parametrize("fwhm", [2.0, 3.3, 6.0])
@pytest.mark.parametrize("offset", [(0, 0), (0.4, -0.3)])
def test_width_of_a_gaussian_is_its_own(fwhm, offset):
    y, x = np.mgrid[-15:16, -15:16]
    source = 7 * np.exp(-0.5 * ((x - offset[0]) ** 2 + (y - offset[1]) ** 2) * (SIGMA_TO_FWHM / fwhm) ** 2)
    assert_allclose(gaussian_fwhm(source), fwhm, rtol=0.04 if fwhm == 2 else 1e-5)  # the narrowest is undersampled


@pytest.mark.parametrize("beta", [2.5, 3.5, 6.0])
def test_width_of_a_psf_with_wings_lies_between_the_usual_definitions(beta):
    rows, columns = np.mgrid[:61, :61]
    psf = Moffat2D(1, 30, 30, 4.0 / 2 / np.sqrt(2 ** (1 / beta) - 1), beta)(columns, rows)
    noise_equivalent = 0.6644 * np.sqrt(psf.sum() ** 2 / (psf**2).sum())
    assert 4.0 < gaussian_fwhm(psf) < noise_equivalent


@pytest.mark.parametrize("what", ["hot pixel", "flat", "nothing", "hole"])
def test_no_width_of_what_is_no_source(what):
    box = np.zeros((21, 21))
    if what == "hot pixel":
        box[10, 10] = 1
    elif what == "flat":
        box += 1
    elif what == "hole":
        box[8:13, 8:13] = -1
    assert gaussian_fwhm(box) is None
