"""Compiled loops against the same in torch, on galaxies with all that may go wrong."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from astro_galtrans.measure.morphology import compiled
from astro_galtrans.measure.morphology.apertures import Ellipses
from astro_galtrans.measure.morphology.core import measure_core
from astro_galtrans.measure.morphology.cutouts import BAD, cut_out
from astro_galtrans.measure.morphology.filters import box_filter, gaussian_filter
from astro_galtrans.measure.morphology.gini_m20 import gini_and_m20, gini_segment, signal_to_noise
from astro_galtrans.measure.morphology.mid import measure_mid, segmap_mid
from astro_galtrans.measure.morphology.shape import measure_shape, segmap_shape

pytest.importorskip("numba")


def hard_galaxies(images, segmaps):
    """Galaxies as drawn, of few grey levels, at an edge, in heavy noise, masked, and without light; and their mask."""
    rng = np.random.default_rng(3)
    shifted = [(np.roll(a, (26, -9), (1, 2)), np.roll(a, (2, 20), (1, 2))) for a in (images, segmaps)]
    coarse, noisy = np.round(images), images + rng.normal(0, 3, images.shape)
    dark = np.where(segmaps[:2] > 0, 0.0, images[:2])
    dark[:, 20, 20] = 1e-3
    many = np.concatenate([images, coarse, *shifted[0], noisy, images, dark])
    maps = np.concatenate([segmaps, segmaps, *shifted[1], segmaps, segmaps, segmaps[:2]])
    maps[:, 32, 32] = np.where(maps[:, 32, 32] == 0, 1, maps[:, 32, 32])
    maps[-2:, 20, 20] = maps[-2:, 32, 32]
    mask = rng.random(many.shape) < 0.03
    mask[:18] = False
    many[5, 3:8, 3:8] = np.nan
    return [torch.from_numpy(a) for a in (many, maps, mask)]


@pytest.fixture
def both(drawn, monkeypatch):
    """Run a function of stamps with compiled loops and without; what each returns, and the flags it leaves."""
    images, segmaps, mask = hard_galaxies(drawn.images, drawn.segmaps)
    gain = torch.full((len(images),), 200.0, dtype=torch.float64)

    def run(function):
        for enabled in (True, False):
            monkeypatch.setattr(compiled, "ENABLED", enabled)
            stamps, _ = cut_out(images, segmaps, mask=mask, gain=gain)
            yield function(stamps), stamps.flag

    return run


def assert_alike(one, other):
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("labels", ["integers", "bool"])
@pytest.mark.parametrize("with_sigma", [False, True])
def test_cutouts(drawn, monkeypatch, rng, labels, with_sigma):
    images, segmaps, mask = hard_galaxies(drawn.images, drawn.segmaps)
    images[7, 30:34, 40] = torch.inf
    images[8, 5, 5:8] = torch.tensor([1e5, 0, -1e5])  # outliers
    images[9] = images[9].abs().neg()
    segmaps[10] = 0
    segmaps = segmaps == 1 if labels == "bool" else segmaps
    sigma = torch.from_numpy(rng.exponential(size=images.shape)) if with_sigma else None
    if with_sigma:
        sigma[11, 20:40, 20] = torch.nan
    answers = []
    for enabled in (True, False):
        monkeypatch.setattr(compiled, "ENABLED", enabled)
        stamps, lost = cut_out(images, segmaps, mask=mask if with_sigma else None, sigma=sigma)
        assert lost.tolist() == [9, 10]
        answers.append({name: value for name, value in vars(stamps).items() if value is not None})
    assert answers[0].keys() == answers[1].keys()
    torch.testing.assert_close(*answers, rtol=0, atol=0, equal_nan=True)
    assert answers[0]["mask"][8].any()


def test_mid(both):
    def run(stamps):
        whole = segmap_mid(stamps, stamps.segment)
        return whole, measure_mid(stamps, whole), measure_mid(stamps, stamps.segment & (stamps.image > 2))

    loops, without = both(run)
    assert_alike(loops, without)
    (_, values, _), flag = loops
    assert (values["multimode"] > 0).sum() > 6
    assert flag.max() > 0


def test_gini_and_m20(both):
    def run(stamps):
        x, y = stamps.nx / 2.0 + 0.3, stamps.ny / 2.0
        size = torch.linspace(1, 30, len(stamps), dtype=torch.float64)  # the largest reach beyond the cutouts
        segment = gini_segment(stamps, Ellipses(x, y, 1 + size / 30, size), size)
        noise = signal_to_noise(stamps, segment, torch.full_like(x, 0.3))
        return segment, gini_and_m20(stamps, segment), gini_and_m20(stamps, segment & (stamps.image > 8)), noise

    loops, without = both(run)
    assert_alike(loops, without)
    (segment, (gini, _), (some, _), _), _ = loops
    assert segment.flatten(1).any(1).all()
    assert torch.isfinite(gini).sum() > 20
    assert torch.isnan(some).sum() == 2  # those without light


def test_shape(both):
    geometry = None

    def run(stamps):
        nonlocal geometry
        geometry = geometry or measure_core(stamps)[1]  # the same for both
        geometry.sky.size[:3] = geometry.rpetro_ellip[:3] = 0  # no ring, and no box either
        stamps.flag.zero_()
        return segmap_shape(stamps, geometry), measure_shape(stamps, geometry)

    loops, without = both(run)
    assert_alike(loops, without)
    (_, values), flag = loops
    assert (values["rmax_ellip"] > 5).sum() > 20
    assert (flag[:3] == BAD).all()
    assert (flag < BAD).any()


@pytest.mark.parametrize("mode", ["reflect", "constant"])
def test_gaussian_filter_is_scipys(rng, mode):
    images = torch.from_numpy(rng.normal(size=(3, 20, 31)))
    sigma = torch.tensor([0.0, 1.3, 9.0], dtype=torch.float64)
    sizes = torch.tensor([[20, 31], [15, 31], [20, 7]])
    found = gaussian_filter(images, sigma, *(sizes.T if mode == "reflect" else ()))
    for k, (ny, nx) in enumerate(sizes.tolist() if mode == "reflect" else [(20, 31)] * 3):
        truth = ndimage.gaussian_filter(images[k, :ny, :nx].numpy(), sigma[k].item(), mode=mode)
        np.testing.assert_allclose(found[k, :ny, :nx].numpy(), truth, atol=1e-14)


def test_box_filter_is_scipys(rng):
    images, sizes = torch.from_numpy(rng.normal(size=(4, 20, 31))), torch.tensor([0, 3, 4, 25])
    found = box_filter(images, sizes, *(torch.full((4,), n) for n in (20, 31)))
    for k, size in enumerate(sizes.tolist()):
        truth = ndimage.uniform_filter(images[k].numpy(), max(size, 1))
        np.testing.assert_allclose(found[k].numpy(), truth, atol=1e-14)


def test_pixels_are_ordered_as_numpy_does(rng):
    from astro_galtrans.measure.morphology.kernels.order import falling

    values = (
        np.concatenate([rng.normal(size=300), np.round(rng.normal(size=300), 1), 1 + 1e-12 * rng.normal(size=30)]) + 0.0
    )
    np.testing.assert_array_equal(falling(values), np.argsort(-values, kind="stable"))


def test_regions_are_those_of_labels(rng):
    from astro_galtrans.measure.morphology.kernels.regions import connected_regions

    allowed = rng.random((20, 17, 23)) < 0.4
    seed = rng.integers(0, 17 * 23, 20)
    for k, region in enumerate(connected_regions(allowed, seed)):
        labels, _ = ndimage.label(allowed[k], np.ones((3, 3)))
        label = labels.flat[seed[k]]
        np.testing.assert_array_equal(region, (labels == label) & (label > 0))
