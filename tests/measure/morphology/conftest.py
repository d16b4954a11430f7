"""A few galaxies, as stamps and as statmorph sees them."""

import warnings

import numpy as np
import pytest
import statmorph
from astropy.modeling.models import Sersic2D
from scipy.ndimage import label

from helpers import shared_data

GAIN = 200.0


def drawn_galaxies():
    """Six galaxies on 64 x 64 pixels: smooth, clumpy, with a companion, faint; two neighbours are masked."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:64, :64].astype(float)
    images, segmaps = [], []
    for k, (n, radius, ellip) in enumerate(
        [(1, 5, 0.3), (2.5, 4, 0.1), (1, 7, 0.6), (4, 5, 0.2), (0.7, 6, 0.4), (1, 3, 0)]
    ):
        image = Sersic2D(8, radius, n, 31.3 + 0.4 * k, 32.4 - 0.2 * k, ellip, 0.5 * k)(x, y)
        for _ in range(k % 4):  # knots
            dx, dy = rng.normal(0, 5, 2)
            image += rng.uniform(4, 15) * np.exp(-((x - 32 - dx) ** 2 + (y - 32 - dy) ** 2) / 4)
        if k in {1, 4}:
            image += 30 * np.exp(-((x - 50) ** 2 + (y - 14) ** 2) / 6)
        image += rng.normal(0, 1, image.shape) * np.sqrt(image / GAIN + 0.3**2)
        labels, _ = label(image > 0.9, np.ones((3, 3)))
        mine = labels == labels[32, 32]
        others = (labels > 0) & ~mine & (np.bincount(labels.ravel()) > 8)[labels]
        images.append(image)
        segmaps.append(mine + 2 * others)
    return np.array(images), np.array(segmaps)


class Galaxies:
    """Stamps, the batch of their cutouts and statmorph's own objects."""

    def __init__(self, images, segmaps, gain, labels):
        from astro_galtrans.measure.morphology.cutouts import cut_out

        self.images, self.segmaps, self.gain = images, segmaps, gain
        self.cutouts = cut_out(images, segmaps, gain=np.full(len(images), gain))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.sources = [
                statmorph.SourceMorphology(image, segmap, k, gain=gain)
                for image, segmap, k in zip(images, segmaps, labels, strict=True)
            ]

    def values(self, name):
        """statmorph's values of a quantity."""
        return np.array([getattr(source, name) for source in self.sources])

    def masks(self, name):
        """statmorph's segmentation maps on the batch's canvas."""
        full = np.zeros(self.cutouts.image.shape, dtype=bool)
        for k, source in enumerate(self.sources):
            mask = getattr(source, name)
            full[k, : mask.shape[0], : mask.shape[1]] = mask
        return full


@pytest.fixture(autouse=True)
def quiet():
    """As `measure_morphology` has it around all that it calls: what is not finite ends in flags."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(scope="package")
def drawn():
    """Simulated galaxies."""
    images, segmaps = drawn_galaxies()
    return Galaxies(images, segmaps, GAIN, [1] * len(images))


@pytest.fixture(scope="package")
def observed():
    """A real galaxy in three SDSS bands."""
    from astropy.io import fits

    images = [fits.getdata(shared_data("sdss_cutout", f"stamp-{band}.fits")).astype(float) for band in "gri"]
    images = np.array(images)
    segmaps = []
    for image in images:
        labels, _ = label(image > 0.1, np.ones((3, 3)))
        segmaps.append((labels == labels[image.shape[0] // 2, image.shape[1] // 2]).astype(int))
    return Galaxies(images, np.array(segmaps), 900.0, [1] * 3)
