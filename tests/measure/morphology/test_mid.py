"""Multimode, intensity and deviation against statmorph, and clumps against scipy's labels."""

import warnings

import numpy as np
import pytest
import statmorph
from scipy import ndimage

from astro_galtrans.measure.morphology.cutouts import cut_out
from astro_galtrans.measure.morphology.mid import measure_mid, segmap_mid
from astro_galtrans.measure.morphology.multimode import clearest_threshold, clump_areas

EIGHT = np.ones((3, 3))


def measured(galaxies):
    gini = galaxies.masks("_segmap_gini")
    segmap = segmap_mid(galaxies.cutouts, gini)
    return segmap, measure_mid(galaxies.cutouts, segmap)


def test_segmentation_map_is_statmorphs(drawn):
    segmap, _ = measured(drawn)
    np.testing.assert_array_equal(segmap, drawn.masks("_segmap_mid"))


@pytest.mark.parametrize("name", ["multimode", "intensity", "deviation"])
def test_statistics_are_statmorphs(drawn, name):
    _, values = measured(drawn)
    np.testing.assert_allclose(values[name], drawn.values(name), rtol=1e-9, atol=1e-12)
    assert (values[name] > 0).sum() >= 3  # the galaxies are not all of one clump


@pytest.mark.parametrize("name", ["multimode", "intensity", "deviation"])
def test_statistics_of_a_real_galaxy_are_statmorphs(observed, name):
    _, values = measured(observed)
    np.testing.assert_allclose(values[name], observed.values(name), rtol=1e-6, atol=1e-9)


def clumps(image):
    """Areas of the two largest clumps above each positive value of an image, from the brightest on, and the values."""
    y, x = np.nonzero(image > 0)
    flux, step = image[y, x], image.shape[1] + 2
    order = np.argsort(-flux, kind="stable").astype(np.int32)
    place = ((y + 1) * step + x + 1).astype(np.int32)
    return *clump_areas(place, flux, order, step, step * (len(image) + 2)), flux[order]


@pytest.mark.parametrize("levels", [None, 8], ids=["distinct", "with ties"])
def test_clumps_are_those_of_labels(rng, levels):
    images = ndimage.gaussian_filter(rng.normal(size=(4, 21, 17)), (0, 1, 1)).clip(0)
    if levels:
        images = np.round(images / images.max() * levels)
    checked = 0
    for image in images:
        for largest, second, threshold in zip(*clumps(image), strict=True):
            labels, number = ndimage.label(image >= threshold, EIGHT)
            areas = np.sort(np.bincount(labels.ravel())[1:])[::-1]
            assert (largest, second) == (areas[0], areas[1] if number > 1 else 0)
            checked += 1
    assert checked > 400


def multimode(image, number):
    largest, second, _ = clumps(image)
    return clearest_threshold(largest, second, number, image.sum())


def test_one_clump_has_no_second_mode():
    y, x = np.mgrid[:15, :15] - 7
    image = np.exp(-(x**2 + y**2) / 8.0) * (x**2 + y**2 < 40)
    assert multimode(image, (image > 0).sum()) == 0


def test_two_equal_clumps():
    image = np.zeros((9, 21))
    image[2:7, 2:7] = image[2:7, 12:17] = np.linspace(1, 2, 25).reshape(5, 5)
    assert multimode(image, 60) == pytest.approx(1)


def test_a_segment_at_the_edge_of_the_image(rng):
    y, x = np.mgrid[:48, :48]
    image = 20 * np.exp(-((x - 3.2) ** 2 + (y - 24) ** 2) / 60) + rng.normal(0, 0.5, (48, 48))
    labels, _ = ndimage.label(image > 1.5, EIGHT)
    segmap = (labels == labels[24, 3]).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = statmorph.SourceMorphology(image, segmap, 1, gain=1.0)
    segmap[24, 24] = 1  # the label that is looked for is that in the middle; the pixel is then taken away again
    cutouts = cut_out(image[None], segmap[None], gain=np.ones(1))
    cutouts.segment[0, 24 - cutouts.ymin[0], 24 - cutouts.xmin[0]] = False
    values = measure_mid(cutouts, segmap_mid(cutouts, cutouts.segment))
    for name in ("multimode", "intensity", "deviation"):
        assert values[name].item() == pytest.approx(getattr(source, name), rel=1e-9)
