"""Extent and asymmetries of the outskirts against statmorph, the clipped sky against astropy."""

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from photutils.background import ModeEstimatorBackground

from astro_galtrans.measure.morphology.core import measure_core
from astro_galtrans.measure.morphology.shape import clipped_sky, measure_shape, segmap_shape

RADII = "rmax_circ", "rmax_ellip", "rhalf_circ", "rhalf_ellip"


def test_outline_is_statmorphs(drawn):
    _, geometry = measure_core(drawn.cutouts)
    segmap = segmap_shape(drawn.cutouts, geometry)
    different = segmap != drawn.masks("_segmap_shape_asym")
    assert different.sum() <= 2  # the annulus of sky depends on the Petrosian radius, which is known to 1e-4 pixels


@pytest.mark.parametrize("which", ["drawn", "observed"])
def test_values_are_statmorphs(which, request):
    galaxies = request.getfixturevalue(which)
    values = measure_shape(galaxies.cutouts, measure_core(galaxies.cutouts)[1])
    for name in RADII:
        np.testing.assert_allclose(values[name], galaxies.values(name), atol=0.01, err_msg=name)
    for name in ("outer_asymmetry", "shape_asymmetry"):
        np.testing.assert_allclose(values[name], galaxies.values(name), atol=2e-3, err_msg=name)


def test_clipped_sky_is_astropys(rng):
    estimator = ModeEstimatorBackground(median_factor=2.5, mean_factor=1.5)
    for number in (3, 700, 960):
        sky = rng.normal(0, 1, number)
        sky[: number // 5] += rng.exponential(4, number // 5)  # what is to be clipped
        mode, sigma = clipped_sky(sky)
        mean, median, std = sigma_clipped_stats(sky, sigma=3, maxiters=None, cenfunc=estimator)
        assert sigma == pytest.approx(std, rel=1e-10)
        assert mode == pytest.approx(2.5 * median - 1.5 * mean, abs=1e-12)


def test_no_sky_is_not_a_number():
    assert np.isnan(clipped_sky(np.empty(0))).all()
