"""Multimode, intensity and deviation against statmorph, and clumps against scipy's labels."""

import warnings

import numpy as np
import pytest
import statmorph
import torch
from scipy import ndimage

from astro_galtrans.measure.morphology.cutouts import cut_out
from astro_galtrans.measure.morphology.mid import measure_mid, segmap_mid
from astro_galtrans.measure.morphology.multimode import clump_areas, multimode

EIGHT = np.ones((3, 3))


def measured(galaxies):
    gini = torch.from_numpy(galaxies.masks("_segmap_gini"))
    segmap = segmap_mid(galaxies.stamps, gini)
    return segmap, measure_mid(galaxies.stamps, segmap)


def test_segmentation_map_is_statmorphs(drawn):
    segmap, _ = measured(drawn)
    np.testing.assert_array_equal(segmap.numpy(), drawn.masks("_segmap_mid"))


@pytest.mark.parametrize("name", ["multimode", "intensity", "deviation"])
def test_statistics_are_statmorphs(drawn, name):
    _, values = measured(drawn)
    np.testing.assert_allclose(values[name].numpy(), drawn.values(name), rtol=1e-9, atol=1e-12)
    assert (values[name] > 0).sum() >= 3  # the galaxies are not all of one clump


@pytest.mark.parametrize("name", ["multimode", "intensity", "deviation"])
def test_statistics_of_a_real_galaxy_are_statmorphs(observed, name):
    _, values = measured(observed)
    np.testing.assert_allclose(values[name].numpy(), observed.values(name), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("levels", [None, 8], ids=["distinct", "with ties"])
def test_clumps_are_those_of_labels(rng, levels):
    images = ndimage.gaussian_filter(rng.normal(size=(4, 21, 17)), (0, 1, 1)).clip(0)
    if levels:
        images = np.round(images / images.max() * levels)
    largest, second, threshold = (t.numpy() for t in clump_areas(torch.from_numpy(images)))
    checked = 0
    for k, image in enumerate(images):
        for i in range((image > 0).sum()):
            if i + 1 < threshold.shape[1] and threshold[k, i + 1] == threshold[k, i]:
                continue  # pixels of the same value are added one by one, and all are there after the last
            labels, number = ndimage.label(image >= threshold[k, i], EIGHT)
            areas = np.sort(np.bincount(labels.ravel())[1:])[::-1]
            assert (largest[k, i], second[k, i]) == (areas[0], areas[1] if number > 1 else 0)
            checked += 1
    assert checked > 20


def test_one_clump_has_no_second_mode():
    y, x = np.mgrid[:15, :15] - 7
    image = torch.from_numpy(np.exp(-(x**2 + y**2) / 8.0) * (x**2 + y**2 < 40))[None]
    assert multimode(image, (image > 0).sum((1, 2))).item() == 0


def test_two_equal_clumps():
    image = torch.zeros(1, 9, 21, dtype=torch.float64)
    image[0, 2:7, 2:7] = image[0, 2:7, 12:17] = torch.linspace(1, 2, 25, dtype=torch.float64).view(5, 5)
    assert multimode(image, torch.tensor([60])).item() == pytest.approx(1)


def test_a_segment_at_the_edge_of_the_image(rng):
    y, x = np.mgrid[:48, :48]
    image = 20 * np.exp(-((x - 3.2) ** 2 + (y - 24) ** 2) / 60) + rng.normal(0, 0.5, (48, 48))
    labels, _ = ndimage.label(image > 1.5, EIGHT)
    segmap = (labels == labels[24, 3]).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = statmorph.SourceMorphology(image, segmap, 1, gain=1.0)
    segmap[24, 24] = 1  # the label that is looked for is that in the middle; the pixel is then taken away again
    stamps, _ = cut_out(*(torch.from_numpy(a)[None] for a in (image, segmap)), gain=torch.ones(1))
    at = 24 - int(stamps.ymin), 24 - int(stamps.xmin)
    stamps.segment[0, *at] = False
    values = measure_mid(stamps, segmap_mid(stamps, stamps.segment))
    for name in ("multimode", "intensity", "deviation"):
        assert values[name].item() == pytest.approx(getattr(source, name), rel=1e-9)
