"""Centres, radii and sums over light: compiled loops against the same in torch."""

import numpy as np
import pytest
import torch
from photutils.aperture import EllipticalAperture
from scipy.optimize import fmin
from skimage.transform import rotate

from astro_galtrans.measure.morphology import compiled
from astro_galtrans.measure.morphology.apertures import Ellipses, EllipticalSums
from astro_galtrans.measure.morphology.asymmetry import sums_turned
from astro_galtrans.measure.morphology.centre import EXTENT_CAS, asymmetry_centre
from astro_galtrans.measure.morphology.core import measure_core
from astro_galtrans.measure.morphology.cutouts import cut_out
from astro_galtrans.measure.morphology.moments import centroid
from astro_galtrans.measure.morphology.petrosian import Light, fraction_radii, petrosian_radius
from astro_galtrans.measure.morphology.sky import sky_boxes

pytest.importorskip("numba")


def difficult_galaxies(rng):
    """Eighteen galaxies: as they are, masked, cut by the edges; then one of noise, and one of a single bright pixel."""
    y, x = np.mgrid[:64, :64]
    images, masks = [], []
    for k in range(18):
        shift = rng.integers(-24, 24, 2) if k % 3 == 2 else rng.uniform(-2, 2, 2)
        radius = np.hypot(x - 31.5 - shift[0], (y - 31.5 - shift[1]) * rng.uniform(1, 2))
        clump = np.hypot(x - 35 - shift[0], y - 28 - shift[1])
        images.append(20 * np.exp(-radius / rng.uniform(1, 5)) + 4 * np.exp(-(clump**2) / 4))
        masks.append((np.hypot(*(x - 26, y - 34) if k % 6 else (x - 50, y - 50)) < 4) & (k % 3 == 1))
    images += [np.zeros((64, 64)), 50.0 * ((x == 31) & (y == 33))]
    masks += [np.zeros((64, 64), dtype=bool)] * 2
    images = np.array(images) + 0.2 * rng.normal(size=(20, 64, 64))
    segmap = images > 1
    segmap[:, 31, 31] = True
    return images, segmap, np.array(masks)


@pytest.fixture
def stamps(rng):
    """Their cutouts, all that there are."""
    images, segmap, masks = (torch.from_numpy(t) for t in difficult_galaxies(rng))
    found, _ = cut_out(images, segmap, mask=masks, gain=torch.full((len(images),), 200.0))
    assert len(found) > 15
    return found


@pytest.fixture
def by_both(monkeypatch):
    """Call a function with compiled loops and without."""

    def call(function, *args):
        monkeypatch.setattr(compiled, "ENABLED", True)
        ours = function(*args)
        monkeypatch.setattr(compiled, "ENABLED", False)
        return ours, function(*args)

    return call


def test_centre_is_that_of_torch(stamps, by_both):
    x, y = centroid(stamps)
    radius = torch.linspace(3, 25, len(stamps)).double()
    start = stamps.flag.clone()

    def search():
        stamps.flag = start.clone()
        found = asymmetry_centre(stamps, x, y, radius, torch.full_like(x, 0.1))
        return torch.stack(found), stamps.flag

    (ours, our_flag), (theirs, their_flag) = by_both(search)
    assert torch.equal(our_flag, their_flag)
    assert torch.isin(our_flag, torch.tensor([0, 1, 2])).all()
    assert float((ours - theirs).abs().max()) < 5e-3  # X_TOLERANCE is 2e-3
    assert float((ours - theirs).abs().median()) < 1e-6
    assert bool((ours != torch.stack([x, y])).any(0).all())


def test_centre_is_scipys(stamps):
    x, y = centroid(stamps)
    radius = torch.full_like(x, 6.0)
    ours = torch.stack(asymmetry_centre(stamps, x, y, radius, torch.zeros_like(x)), 1)
    rows, columns = np.mgrid[: stamps.image.shape[1], : stamps.image.shape[2]]
    alone = [k for k in range(6) if not stamps.mask[k].any()]
    for k in alone:
        image = stamps.image[k].numpy()
        image = image[: stamps.ny[k], : stamps.nx[k]]
        inside = np.s_[: image.shape[0], : image.shape[1]]

        def asymmetry(point, image=image, inside=inside):
            turned = rotate(image, 180, center=point, mode="constant")
            distance = np.hypot(columns[inside] - point[0], rows[inside] - point[1])
            weight = np.clip(EXTENT_CAS * 6 + 0.5 - distance, 0, 1)
            return (weight * np.abs(turned - image)).sum() / (weight * np.abs(image)).sum()

        expected = fmin(asymmetry, [float(x[k]), float(y[k])], xtol=2e-3, ftol=1e-4, disp=False)
        assert np.abs(ours[k].numpy() - expected).max() < 5e-3


@pytest.fixture
def ellipses(stamps, rng):
    """Ellipses around the centroids, of any shape; the first is a circle around the middle of a pixel."""
    elongation, theta = rng.uniform(1, 4, len(stamps)), rng.uniform(0, 6, len(stamps))
    elongation[0] = 1
    x, y = centroid(stamps)
    x[0], y[0] = 30.0, 31.0
    return Ellipses(x, y, torch.from_numpy(elongation), torch.from_numpy(theta))


def same(ours, theirs, tolerance):
    """Check that all tensors are the same, and that they are not all one number."""
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.double().numpy(), other.double().numpy(), atol=tolerance, rtol=1e-10)
    assert len(ours[0].unique()) > len(ours[0]) / 2


def test_petrosian_radii_are_those_of_torch(stamps, ellipses, by_both):
    def radii(guess=None):
        return petrosian_radius(Light(stamps), ellipses, stamps.diagonal * ellipses.q, guess)

    ours, theirs = by_both(radii)
    same(ours, theirs, 1e-8)
    guess = theirs[0] * torch.linspace(0.3, 2, len(stamps))  # some are beyond the first root
    same(*by_both(radii, guess), 1e-8)
    assert bool((ours[0][stamps.mask.flatten(1).any(1)] > 1.1).any())


def test_radii_of_fractions_are_those_of_torch(stamps, ellipses, by_both):
    total = torch.linspace(-1, 80, len(stamps)).double()
    ours, theirs = by_both(lambda: fraction_radii(Light(stamps), ellipses, total, (0.2, 0.8, 0.5)))
    same(ours, theirs, 1e-8)
    assert bool((ours[0][3:] < total[3:, None]).all())


def test_sums_are_those_of_torch(stamps, ellipses, by_both):
    rows = torch.tensor([0, 0, 3, 1, len(stamps) - 1])
    a = torch.tensor([1e-3, 1.0, 7.5, 30, 500]).double().expand(5, -1)  # 1 and 7.5: corners and edges on the circle

    def sums():
        every, some = EllipticalSums(stamps.image), ellipses[rows]
        return every(ellipses, a[:1].expand(len(stamps), -1)), every(some, a, rows), Light(stamps).area(some, a, rows)

    same(*by_both(sums), 1e-9)


@pytest.mark.parametrize("enabled", [True, False], ids=["compiled", "torch"])
def test_sums_are_photutils(stamps, ellipses, monkeypatch, enabled):
    monkeypatch.setattr(compiled, "ENABLED", enabled)
    a = torch.linspace(0.5, 40, 7).double().expand(len(stamps), -1)
    ours = EllipticalSums(stamps.image)(ellipses, a).numpy()
    for k in range(len(stamps)):
        place = float(ellipses.x[k]), float(ellipses.y[k])
        theta, q = float(torch.atan2(ellipses.sin[k], ellipses.cos[k])), float(ellipses.q[k])
        for found, axis in zip(ours[k], a[k].tolist(), strict=True):
            aperture = EllipticalAperture(place, axis, axis / q, theta=theta)
            expected = aperture.do_photometry(stamps.image[k].numpy(), method="exact")[0].item()
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-8)


def test_sums_turned_are_those_of_torch(stamps, ellipses, by_both):
    outer = torch.linspace(0, 70, len(stamps)).double()
    inner = torch.where(torch.arange(len(stamps)) % 3 == 0, 0.0, outer / 2)
    ours, theirs = by_both(lambda: sums_turned(stamps, stamps.image, ellipses, outer, inner).unbind(1))
    same(ours, theirs, 1e-8)
    assert not bool(torch.stack(ours)[:, 0].any())


@pytest.mark.parametrize("enabled", [True, False], ids=["compiled", "torch"])
def test_sums_turned_are_those_of_skimage(stamps, ellipses, monkeypatch, enabled):
    monkeypatch.setattr(compiled, "ENABLED", enabled)
    outer, inner = torch.full_like(ellipses.x, 14), torch.full_like(ellipses.x, 3)
    found = sums_turned(stamps, stamps.image, ellipses, outer, inner).numpy()
    for k in range(len(stamps)):
        inside = np.s_[k, : stamps.ny[k], : stamps.nx[k]]
        image, mask = stamps.image[inside].numpy(), stamps.mask[inside].numpy()
        place, q = (float(ellipses.x[k]), float(ellipses.y[k])), float(ellipses.q[k])
        theta = float(torch.atan2(ellipses.sin[k], ellipses.cos[k]))
        weight = sum(
            sign * EllipticalAperture(place, a, a / q, theta=theta).to_mask(method="exact").to_image(image.shape)
            for sign, a in ((1, 14), (-1, 3))
        )
        opposite = rotate(mask.astype(float), 180, center=place, order=0) > 0.5
        weight *= ~mask & ~opposite
        step = rotate(image, 180, center=place) - image
        planes = np.abs(step), np.abs(image), np.ones_like(image), step**2, image**2
        np.testing.assert_allclose(found[k], [(weight * plane).sum() for plane in planes], rtol=1e-6, err_msg=str(k))


def test_boxes_of_sky_are_those_of_torch(stamps, rng, by_both):
    for k, share in enumerate(torch.linspace(0, 1, len(stamps))):  # from no sky to nothing else
        stamps.empty[k] = stamps.frame[k] & torch.from_numpy(rng.random(stamps.frame[k].shape) < float(share) ** 0.05)
    stamps.empty[1, 20:37, 9:27] = True
    names = "x", "y", "size", "mean", "asymmetry"
    ours, theirs = by_both(lambda: [getattr(sky_boxes(stamps), name) for name in names])
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
    assert {0, 4, 16, 32} <= set(ours[2].tolist())


def test_what_is_nowhere_has_no_sums(stamps):
    x, y = (torch.tensor(t).double() for t in ([-300, 1000, 30, torch.nan, 20], [20, 30, 5000, 20, 20]))
    places, rows = Ellipses(x, y), torch.arange(5)
    a = torch.tensor([0, -1, 5, torch.nan]).double().expand(5, -1)
    sums = EllipticalSums(stamps.image)(places, a, rows)
    assert float(sums[:3, :3].abs().max()) < 1e-10
    assert not bool(sums[:, :2].any())
    assert bool(sums[:, 3].isnan().all() & sums[3, 2].isnan() & (sums[4, 2] != 0))
    some, zero = stamps.select(rows), torch.zeros_like(x)
    turned = sums_turned(some, some.image, places, torch.tensor([5, 5, 5, 5, torch.nan]).double(), zero)
    assert not bool(turned.any())
    assert bool(sums_turned(some, some.image, places, a[:, 2], zero)[4].all())


CORE = {
    **dict.fromkeys(("xc_asymmetry", "yc_asymmetry", "rpetro_circ", "rpetro_ellip", "r20", "r50", "r80"), 5e-3),
    **dict.fromkeys(("concentration", "asymmetry", "smoothness", "gini", "m20", "sn_per_pixel"), 2e-3),
    **dict.fromkeys(("sky_mean", "sky_median", "sky_sigma", "flux_circ", "flux_ellip", "rms_asymmetry2"), 2e-3),
}


@pytest.mark.parametrize("which", ["drawn", "observed"])
@pytest.mark.parametrize("enabled", [True, False], ids=["compiled", "torch"])
def test_values_are_statmorphs(which, enabled, request, monkeypatch):
    monkeypatch.setattr(compiled, "ENABLED", enabled)
    galaxies = request.getfixturevalue(which)
    values, _ = measure_core(galaxies.stamps)
    for name, tolerance in CORE.items():
        theirs = galaxies.values(name)
        np.testing.assert_allclose(values[name].numpy(), theirs, atol=tolerance, rtol=1e-3, err_msg=name)


def test_loops_need_no_place_on_disk():
    found = {}
    exec(compile("def double(x):\n    return 2 * x\n", "<nowhere>", "exec"), found)
    assert compiled.compile_loop(found["double"])(21.0) == 42
