"""Extent and asymmetries of the outskirts against statmorph, the clipped sky against astropy."""

import numpy as np
import pytest
import torch
from astropy.stats import sigma_clipped_stats
from photutils.background import ModeEstimatorBackground

from astro_galtrans.measure.morphology.core import measure_core
from astro_galtrans.measure.morphology.shape import clipped_sky, measure_shape, segmap_shape

RADII = "rmax_circ", "rmax_ellip", "rhalf_circ", "rhalf_ellip"


def test_outline_is_statmorphs(drawn):
    _, geometry = measure_core(drawn.stamps)
    segmap = segmap_shape(drawn.stamps, geometry).numpy()
    different = segmap != drawn.masks("_segmap_shape_asym")
    assert different.sum() <= 2  # the annulus of sky depends on the Petrosian radius, which is known to 1e-4 pixels


@pytest.mark.parametrize("which", ["drawn", "observed"])
def test_values_are_statmorphs(which, request):
    galaxies = request.getfixturevalue(which)
    values = measure_shape(galaxies.stamps, measure_core(galaxies.stamps)[1])
    for name in RADII:
        np.testing.assert_allclose(values[name].numpy(), galaxies.values(name), atol=0.01, err_msg=name)
    for name in ("outer_asymmetry", "shape_asymmetry"):
        np.testing.assert_allclose(values[name].numpy(), galaxies.values(name), atol=2e-3, err_msg=name)


def test_clipped_sky_is_astropys(rng):
    images = rng.normal(0, 1, (5, 30, 40))
    images[:, :6] += rng.exponential(4, (5, 6, 40))  # what is to be clipped
    sky = rng.random(images.shape) < 0.8
    mode, sigma = clipped_sky(*map(torch.from_numpy, (images, sky)))
    estimator = ModeEstimatorBackground(median_factor=2.5, mean_factor=1.5)
    for k in range(5):
        mean, median, std = sigma_clipped_stats(images[k], mask=~sky[k], sigma=3, maxiters=None, cenfunc=estimator)
        assert sigma[k].item() == pytest.approx(std, rel=1e-10)
        assert mode[k].item() == pytest.approx(2.5 * median - 1.5 * mean, abs=1e-12)


def test_no_sky_is_not_a_number():
    mode, sigma = clipped_sky(torch.ones(1, 4, 4, dtype=torch.float64), torch.zeros(1, 4, 4, dtype=torch.bool))
    assert torch.isnan(mode).all()
    assert torch.isnan(sigma).all()
