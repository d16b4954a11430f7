"""Tiles against the untiled answer: numpy, scipy and exact identities are the truth."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import convolve
from scipy.stats import ks_2samp

from astro_galtrans.tiling import Blender, TilePlan, blend_window, cut, plan_tiles, tiled_map

FRAME = (1489, 2048)  # an SDSS frame

# shape, multiple_of, margin, tile: several tiles, ragged ends, tiny tiles that overlap threefold, one tile, one row
PLANS = [
    ((64, 64), 1, 0, 32),
    ((64, 64), 1, 3, 32),
    ((61, 47), 1, 4, 20),
    ((61, 47), 4, 3, (24, 20)),
    ((61, 47), 8, 5, 24),
    ((53, 90), 8, 0, (16, 40)),
    ((40, 40), 1, 5, 13),
    ((40, 33), 2, 7, 17),
    ((1, 100), 1, 6, 30),
    ((100, 1), 8, 2, 24),
    ((20, 30), 8, 6, 500),
    ((1, 1), 8, 4, None),
    ((1489, 37), 8, 3, None),
]


def _plan(case, scale=1):
    shape, multiple_of, margin, tile = case
    return plan_tiles(shape, scale=scale, multiple_of=multiple_of, margin=margin, tile=tile)


def _blow_up(image, scale):
    return image.repeat(scale, axis=-2).repeat(scale, axis=-1)


def _computed(plan):
    return sum(height * width for height, width in (tile.shape for tile in plan.tiles)) / np.prod(plan.shape)


@pytest.mark.parametrize("case", PLANS)
def test_tiles_lie_on_the_multiples(case):
    shape, multiple_of, margin, size = case
    plan = _plan(case)
    for tile in plan.tiles:
        assert tile.y0 % multiple_of == tile.x0 % multiple_of == 0
        for start, stop, n in ((tile.y0, tile.y1, shape[0]), (tile.x0, tile.x1, shape[1])):
            assert 0 <= start < stop <= n
            assert stop == n or (stop - start) % multiple_of == 0
            assert stop - start == n or stop - start > 2 * margin
    if size is not None:
        assert max(max(tile.shape) for tile in plan.tiles) <= np.max(size) + multiple_of - 1


@pytest.mark.parametrize("case", PLANS)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_weights_sum_to_one(case, scale):
    plan = _plan(case, scale)
    total = np.zeros(plan.output_shape)
    for tile in plan.tiles:
        along_y, along_x = blend_window(plan, tile)
        assert along_y.min() >= 0
        assert along_x.min() >= 0
        cut(total, tile, scale)[...] += np.outer(along_y, along_x)
    assert_allclose(total, 1, atol=3e-7)


def test_window_is_zero_in_margins_one_at_borders_and_a_line_between():
    # two tiles, [0, 60) and [40, 100): the margin of 4 leaves the ramp from 44 to 56
    plan = plan_tiles((1, 100), scale=2, multiple_of=4, margin=4, tile=(1, 60))
    assert [(tile.x0, tile.x1) for tile in plan.tiles] == [(0, 60), (40, 100)]
    _, left = blend_window(plan, plan.tiles[0])
    assert_array_equal(left[: 2 * 44], 1)
    assert_array_equal(left[2 * 56 :], 0)
    assert_allclose(left[2 * 44 : 2 * 56], 1 - (np.arange(24) + 0.5) / 24, rtol=1e-6)
    _, right = blend_window(plan, plan.tiles[1])
    assert_allclose(right[:40], 1 - left[80:], atol=1e-7)
    assert_array_equal(right[40:], 1)


@pytest.mark.parametrize("case", PLANS)
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_identity_comes_back(case, scale):
    plan = _plan(case, scale)
    image = np.random.default_rng(1).normal(10, 3, (2, *plan.shape)).astype(np.float32)
    result = tiled_map(lambda batch: _blow_up(batch, scale), [image], plan, channels=2, batch_size=3)
    assert result.dtype == np.float32
    # where tiles are blended, two products and a sum round; elsewhere the values are copied
    assert_allclose(result, _blow_up(image, scale), rtol=4e-7)
    alone = _tiles_at_each_pixel(plan) == 1
    assert_array_equal(result[:, alone], _blow_up(image, scale)[:, alone])


def _tiles_at_each_pixel(plan):
    """Tiles that contribute to a pixel of the output."""
    count = np.zeros(plan.output_shape, dtype=int)
    for tile in plan.tiles:
        along_y, along_x = blend_window(plan, tile)
        cut(count, tile, plan.scale)[...] += np.outer(along_y > 0, along_x > 0)
    return count


@pytest.mark.parametrize("shape", [(97, 143), (200, 61), (1, 900), (500, 3)])
@pytest.mark.parametrize("margin", [0, 4])
def test_identity_is_exact_where_the_plan_wastes_no_overlap(shape, margin):
    # overlaps of twice the margin: at every pixel one tile decides
    plan = plan_tiles(shape, margin=margin, max_pixels=500)
    decided = _tiles_at_each_pixel(plan) == 1
    image = np.random.default_rng(2).normal(size=(1, *shape)).astype(np.float32)
    result = tiled_map(lambda batch: batch, [image], plan, channels=1)
    assert len(plan.tiles) > 1
    assert decided.mean() > 0.7
    assert_array_equal(result[:, decided], image[:, decided])


@pytest.mark.parametrize(("multiple_of", "tile"), [(1, 23), (4, 24), (1, (50, 17)), (8, (32, 1000)), (2, None)])
@pytest.mark.parametrize("radius", [1, 4])
def test_convolution_tiled_equals_untiled(multiple_of, tile, radius):
    random = np.random.default_rng(3)
    kernel = random.normal(size=(1, 2 * radius + 1, 2 * radius + 1))
    image = random.normal(size=(3, 79, 66)).astype(np.float32)

    def smooth(batch):
        return np.stack([convolve(one, kernel, mode="constant") for one in batch])

    plan = plan_tiles(image.shape[1:], multiple_of=multiple_of, margin=radius, tile=tile, max_pixels=1500)
    assert len(plan.tiles) > 1
    result = tiled_map(smooth, [image], plan, channels=3, batch_size=2)
    assert_allclose(result, smooth(image[None])[0], atol=1e-6 * np.abs(kernel).sum())


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_a_margin_that_is_too_small_shows(margin):
    # the tests above would pass with any tiling if tiles did not matter
    image = np.random.default_rng(4).normal(size=(1, 60, 60)).astype(np.float32)
    kernel = np.ones((1, 9, 9))
    plan = plan_tiles((60, 60), margin=margin, tile=20)
    result = tiled_map(lambda b: np.stack([convolve(i, kernel, mode="constant") for i in b]), [image], plan, channels=1)
    assert np.abs(result - convolve(image, kernel, mode="constant")).max() > 0.1


def test_margins_may_hold_anything():
    plan = plan_tiles((50, 50), margin=5, tile=25)
    image = np.ones((1, 50, 50), dtype=np.float32)
    blender = Blender(1, plan)
    for tile in reversed(plan.tiles):
        along_y, along_x = blend_window(plan, tile)
        blender.add(tile, np.where(np.outer(along_y, along_x) > 0, cut(image, tile), np.nan))
    assert_allclose(blender.finish(), image, rtol=2e-7)


@pytest.mark.parametrize("scale", [2, 3])
def test_arrays_on_both_grids(scale):
    shape = (37, 52)
    random = np.random.default_rng(5)
    coarse = random.normal(size=(2, *shape)).astype(np.float32)
    fine = random.normal(size=(1, scale * shape[0], scale * shape[1])).astype(np.float32)
    plan = plan_tiles(shape, scale=scale, multiple_of=2, margin=3, tile=16)
    seen = []

    def add(low, high):
        seen.append((low.shape, high.shape))
        return _blow_up(low, scale) + high

    result = tiled_map(add, [coarse, fine], plan, channels=2, batch_size=4)
    assert_allclose(result, _blow_up(coarse, scale) + fine, atol=1e-6)
    for low, high in seen:
        assert low[0] == high[0] <= 4
        assert (low[1], high[1]) == (2, 1)
        assert high[2:] == (scale * low[2], scale * low[3])


def test_batches_hold_every_tile_once_and_progress_counts_them():
    plan = plan_tiles((61, 47), multiple_of=8, margin=2, tile=24)
    sizes, steps = [], []

    def evaluate(batch):
        sizes.append(len(batch))
        return batch

    tiled_map(evaluate, [np.zeros((1, 61, 47))], plan, channels=1, batch_size=4, progress=steps.append)
    assert sum(sizes) == len(plan.tiles) == sum(steps)
    assert set(steps) == {1}
    assert max(sizes) == 4


def test_input_is_not_edited():
    image = np.ones((1, 30, 30), dtype=np.float32)

    def spoil(batch):
        batch *= 7
        return batch

    for tile in (None, 12):
        tiled_map(spoil, [image], plan_tiles((30, 30), margin=2, tile=tile), channels=1)
    assert_array_equal(image, 1)


def test_noise_at_tile_borders_is_like_noise_elsewhere():
    # each tile filtered by itself, with the margin its filter needs: sky next to the cuts must not stand out
    shape, margin = (512, 512), 6
    noise = np.random.default_rng(6).normal(size=(1, *shape)).astype(np.float32)
    kernel = np.exp(-0.5 * np.hypot(*np.mgrid[-6:7, -6:7]) ** 2 / 2)[None]
    kernel /= np.sqrt((kernel**2).sum())
    plan = plan_tiles(shape, margin=margin, tile=100)

    def smooth(batch):
        return np.stack([convolve(one, kernel, mode="reflect") for one in batch])

    sky = tiled_map(smooth, [noise], plan, channels=1, batch_size=2)[0]
    border = np.zeros(shape, dtype=bool)
    for tile in plan.tiles:
        border[np.clip([tile.y0 + margin, tile.y1 - margin - 1], 0, 511)] = True
        border[:, np.clip([tile.x0 + margin, tile.x1 - margin - 1], 0, 511)] = True
    spaced = np.zeros(shape, dtype=bool)
    spaced[::5, ::5] = True  # pixels far enough apart to be independent
    near, far = sky[border][::7], sky[~border & spaced]
    assert ks_2samp(near, far).pvalue > 0.01
    assert_allclose(near.std(), far.std(), rtol=0.05)


@pytest.mark.parametrize(("margin", "max_pixels"), [(16, 600_000), (24, 600_000), (28, 600_000), (32, 850_000)])
@pytest.mark.parametrize("multiple_of", [1, 8])
def test_a_frame_costs_little_overlap(margin, max_pixels, multiple_of):
    plan = plan_tiles(FRAME, scale=2, multiple_of=multiple_of, margin=margin, max_pixels=max_pixels)
    assert max(np.prod(tile.shape) for tile in plan.tiles) <= max_pixels
    assert _computed(plan) <= 1.10


@pytest.mark.parametrize("shape", [FRAME, (300, 5000), (997, 1003)])
@pytest.mark.parametrize("margin", [3, 20])
def test_no_other_tile_shape_costs_less(shape, margin):
    max_pixels = 120_000
    chosen = _computed(plan_tiles(shape, margin=margin, max_pixels=max_pixels))
    for rows in range(2 * margin + 20, shape[0] + 40, 40):
        tile = rows, max_pixels // rows
        if tile[1] > 2 * margin + 1:
            assert chosen <= _computed(plan_tiles(shape, margin=margin, tile=tile)) + 1e-12


def test_strips_where_they_cost_nothing_more():
    plan = plan_tiles((4000, 300), margin=8, max_pixels=200_000)
    assert {(tile.x0, tile.x1) for tile in plan.tiles} == {(0, 300)}


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (64, 64), (600, 1000)])
def test_an_image_that_fits_is_one_tile(shape):
    plan = plan_tiles(shape, multiple_of=8, margin=40)
    assert plan.tiles == ((0, shape[0], 0, shape[1]),)


def test_a_plan_is_a_value():
    plan = plan_tiles((40, 50), margin=2, tile=20)
    assert plan == plan_tiles((40, 50), margin=2, tile=20)
    assert isinstance(plan, TilePlan)
    with pytest.raises(AttributeError):
        plan.margin = 3


@pytest.mark.parametrize("tile", [1, 16, (100, 16), (16, 100)])
def test_a_tile_too_small_says_what_would_do(tile):
    with pytest.raises(ValueError, match=r"margin of 6 .* ask for 24 or more"):
        plan_tiles((100, 100), multiple_of=8, margin=6, tile=tile)
    plan = plan_tiles((100, 100), multiple_of=8, margin=6, tile=24)
    assert len(plan.tiles) > 1


def test_max_pixels_too_few_says_what_would_do():
    with pytest.raises(ValueError, match="allow at least 576"):
        plan_tiles((100, 100), multiple_of=8, margin=6, max_pixels=575)
    assert plan_tiles((100, 100), multiple_of=8, margin=6, max_pixels=576).tiles[0].shape == (24, 24)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 0}, "scale must be an integer of at least 1, got 0"),
        ({"margin": -1}, "margin must be"),
        ({"multiple_of": 0}, "multiple_of must be"),
        ({"shape": (0, 4)}, "shape must be"),
        ({"shape": (4, 4, 4)}, "shape must be two integers"),
        ({"tile": (4, 4, 4)}, "tile must be two integers"),
    ],
)
def test_bad_plans(changes, message):
    with pytest.raises(ValueError, match=message):
        plan_tiles(**({"shape": (20, 20)} | changes))


def test_bad_arrays_and_results():
    plan = plan_tiles((20, 30), scale=2, margin=2, tile=15)
    with pytest.raises(ValueError, match=r"\(20, 30\) or \(40, 60\), got \(1, 20, 31\)"):
        tiled_map(lambda batch: batch, [np.zeros((1, 20, 31))], plan, channels=1)
    with pytest.raises(ValueError, match=r"must have shape \(1, 30, 30\), got \(1, 15, 15\)"):
        tiled_map(lambda batch: batch, [np.zeros((1, 20, 30))], plan, channels=1)
    blender = Blender(1, plan)
    with pytest.raises(ValueError, match="tiles were not added"):
        blender.finish()
    blender.add(plan.tiles[0], np.zeros((1, 30, 30)))
    with pytest.raises(ValueError, match="added before"):
        blender.add(plan.tiles[0], np.zeros((1, 30, 30)))
