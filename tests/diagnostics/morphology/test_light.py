"""Centres, radii and sums over light: compiled loops against the same in torch."""

import numpy as np
import pytest
import torch
from scipy.optimize import fmin
from skimage.transform import rotate

from astro_galtrans.diagnostics.morphology import compiled
from astro_galtrans.diagnostics.morphology.centre import EXTENT_CAS, asymmetry_centre
from astro_galtrans.diagnostics.morphology.moments import centroid
from astro_galtrans.diagnostics.morphology.stamps import cut_out

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
