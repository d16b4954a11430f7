"""Shifts and blurs against scipy and against what they have to conserve."""

import numpy as np
import pytest
from scipy.ndimage import fourier_shift, gaussian_filter

from astro_galtrans.training.augment import apply_linear, blur_matrix, dihedral, draw_change, shift_matrix
from astro_galtrans.training.recipe import Augment


def test_a_shift_is_fouriers_of_the_mirrored_image(rng):
    image = rng.normal(size=(12, 12))
    mirrored = np.block([[image, image[:, ::-1]], [image[::-1], image[::-1, ::-1]]])
    expected = np.fft.ifft2(fourier_shift(np.fft.fft2(mirrored), (0.3, -0.45))).real[:12, :12]
    found = apply_linear(image, shift_matrix(12, 0.3), shift_matrix(12, -0.45))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_whole_pixels_are_moved_exactly(rng):
    row = rng.normal(size=16)
    np.testing.assert_allclose((shift_matrix(16, 2.0) @ row)[2:], row[:-2], atol=1e-6)
    np.testing.assert_allclose(shift_matrix(16, 0.0), np.eye(16), atol=1e-6)


def test_white_noise_stays_white(rng):
    noise = rng.normal(size=(200, 64, 64))
    moved = apply_linear(noise, shift_matrix(64, 0.5), shift_matrix(64, 0.5))[:, 8:-8, 8:-8]
    assert moved.std() == pytest.approx(1.0, abs=0.02)  # all but what the highest frequency of all loses
    assert np.mean(moved[..., 1:] * moved[..., :-1]) == pytest.approx(0, abs=0.02)


def test_a_blur_is_scipys(rng):
    image = rng.normal(size=(20, 20))
    fwhm = 2.5
    blur = blur_matrix(20, fwhm)
    expected = gaussian_filter(image, fwhm / np.sqrt(8 * np.log(2)), mode="reflect", truncate=10)
    np.testing.assert_allclose(apply_linear(image, blur, blur), expected, atol=1e-9)
    np.testing.assert_array_equal(blur_matrix(5, 0.0), np.eye(5))


def test_the_dihedral_group_has_eight_elements():
    image = np.arange(9).reshape(1, 3, 3)
    assert len({dihedral(image, k).tobytes() for k in range(8)}) == 8
    np.testing.assert_array_equal(dihedral(image, 0), image)


def test_things_happen_as_often_as_asked_for():
    augment = Augment(dihedral=0.5, shift=0.3, seeing=0.2, noise=0.1)
    rng = np.random.default_rng(1)
    changes = [draw_change(rng, augment, 0.4) for _ in range(4000)]
    assert np.mean([c.turns != 0 for c in changes]) == pytest.approx(0.5 * 7 / 8, abs=0.03)
    assert np.mean([c.shift != (0.0, 0.0) for c in changes]) == pytest.approx(0.3, abs=0.03)
    assert np.mean([c.seeing > 0 for c in changes]) == pytest.approx(0.2, abs=0.03)
    assert np.mean([c.noise > 0 for c in changes]) == pytest.approx(0.1, abs=0.03)
    assert max(c.seeing for c in changes) <= 0.7 / 0.4  # pixels
