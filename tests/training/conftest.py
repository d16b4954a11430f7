"""Small sets of pairs whose truth is known: blobs of light on two grids."""

import numpy as np
import pytest

pytest.importorskip("h5py")

from astro_galtrans.pairs.store import PairHeader, PairStore, PairWriter
from astro_galtrans.surveys import get_survey

SCALE, FACTOR = 2, 10 ** (0.4 * (30.0 - 22.5))  # counts of CFHTLS per nanomaggy


def blob(size, pixel, x, y, sigma):
    """Return a Gaussian of unit flux, in pixels of some size, centred (x, y) from the middle; all in source pixels."""
    offset = (np.arange(size) - (size - 1) / 2) * pixel
    image = np.exp(-0.5 * ((offset - x) ** 2 + (offset[:, None] - y) ** 2) / sigma**2)
    return image * pixel**2 / (2 * np.pi * sigma**2)


@pytest.fixture(scope="session")
def write_pairs(tmp_path_factory):
    """Write pairs SDSS g, r to CFHTLS Wide r; returns the store. The target is sharper and less noisy."""

    def write(number=12, size=24, seed=1, noise=1.0, planes=None, row=None, signal=True):
        rng = np.random.default_rng(seed)
        surveys = get_survey("sdss").select("gr"), get_survey("cfhtls-wide").select("r")
        header = PairHeader(*surveys, SCALE, size)
        folder = tmp_path_factory.mktemp("pairs")
        writer = PairWriter(folder, header, shard=8)
        sky = surveys[0].sky_rms()[:, None, None], surveys[1].sky_rms(header.target_pixel_scale)[:, None, None]
        for k in range(number):
            flux, (x, y) = 10 ** rng.uniform(0, 2), rng.uniform(-size / 4, size / 4, 2)
            source = flux * np.stack([blob(size, 1, x, y, 1.6)] * 2)
            target = FACTOR * flux * blob(SCALE * size, 1 / SCALE, x, y, 1.0)[None]
            images = [x + noise * s * rng.normal(size=x.shape) for x, s in zip((source, target), sky, strict=True)]
            own = ({"signal": target > 3 * sky[1]} if signal else {}) | ({} if planes is None else planes(k, images))
            writer.add(*images, {"index": k, **(row(k) if row else {})}, **own)
        writer.close()
        return PairStore(folder)

    return write


@pytest.fixture(scope="session")
def pairs(write_pairs):
    return write_pairs()


@pytest.fixture(scope="session")
def others(write_pairs):
    return write_pairs(8, seed=2)
