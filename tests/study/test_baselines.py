"""What translators are compared with: a Wiener filter that knows PSF and noise, and another draw of the noise."""

import numpy as np
import pytest
from scipy.special import erf

from astro_galtrans.stamps import Stamps
from astro_galtrans.study.baselines import baseline, cannot
from helpers import make_survey

SCALE, SIDE, PIXEL = 2, 48, 0.4


def gaussian(sigma, pixels, pixel, flux):
    """A round Gaussian source, summed into pixels."""
    edges = (np.arange(pixels + 1) - pixels / 2) * pixel / (sigma * np.sqrt(2))
    across = np.diff(erf(edges)) / 2
    return flux * across * across[:, None]


@pytest.fixture(scope="module")
def sides():
    """Source and target of Gaussian sources of 0.5 arcsec, seen with Gaussian PSFs, and the noise-free target."""
    from astro_galtrans.psf import MoffatPSF

    rng, fwhm, noise = np.random.default_rng(3), (1.4, 0.7), (0.1, 0.02)
    flux = np.array([300.0, 1000.0, 3000.0, 10000.0])
    found, clean = [], None
    for end, side, pixel, width, sigma in zip(
        ("source", "target"), (SIDE, SCALE * SIDE), (PIXEL, PIXEL / SCALE), fwhm, noise, strict=True
    ):
        seen = np.hypot(0.5, width / 2.3548)
        images = np.array([[gaussian(seen, side, pixel, f)] for f in flux])
        clean = images
        survey = make_survey("r", pixel, sigma, fwhm=width)
        images = (images + rng.normal(0, sigma, images.shape)).astype(np.float32)
        found.append(Stamps(images, survey, pixel, [sigma], MoffatPSF([width], np.inf), name=end))
    return *found, clean


def test_the_wiener_filter_brings_the_source_to_the_psf_of_the_target(sides):
    source, target, clean = sides
    found = baseline("wiener", None, source, target, progress=False)
    total = 3 * 0.1 * SIDE  # three sigma of the noise of all pixels of the source
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), clean.sum(axis=(1, 2, 3)), rtol=1e-3, atol=total)
    peak = found.max(axis=(1, 2, 3)) / clean.max(axis=(1, 2, 3))
    assert (peak > 0.85).all()
    assert (source.read().max(axis=(1, 2, 3)) / SCALE**2 / clean.max(axis=(1, 2, 3)) < 0.6).all()  # before


def test_the_filter_is_that_of_wiener(sides):
    """Where the source is bright, the noise is the least that is assumed: the same filter, whole and by numpy's FFT."""
    source, target, _ = sides
    found, fine = baseline("wiener", None, source, target, progress=False)[-1, 0], SCALE * SIDE
    k = 2 * np.pi * np.fft.fftfreq(fine, PIXEL / SCALE)
    square = np.add.outer(k**2, k**2)
    seen, wanted = (np.exp(-square * (width / 2.3548) ** 2 / 2) for width in (1.4, 0.7))
    pixel, finer = (np.sinc(k * side / (2 * np.pi)) for side in (PIXEL, PIXEL / SCALE))
    centre = np.exp(0.5j * k * PIXEL * (1 - 1 / SCALE))
    seen = seen * np.multiply.outer(pixel * centre, pixel * centre)
    wanted = wanted * np.multiply.outer(finer, finer)
    power = (np.abs(seen) ** 2).reshape(SCALE, SIDE, SCALE, SIDE).sum(axis=(0, 2)) / SCALE**2
    transfer = wanted * seen.conj() / (np.tile(power, (SCALE, SCALE)) + 1e-3) * (1 + 1e-3)
    image = np.fft.ifft2(transfer * np.tile(np.fft.fft2(source.read()[-1, 0]), (SCALE, SCALE))).real / SCALE**2
    np.testing.assert_allclose(found, image, atol=0.01 * image.max())


def test_the_second_draw_is_the_truth_with_other_noise(study):
    from astro_galtrans.pairs.store import PairStore

    store = PairStore(next((study / "cache" / "pairs").iterdir())).subset(range(6))
    target = Stamps.from_pairs(store, "target")
    found = baseline("second", store, None, target, workers=1, progress=False)
    difference = (found - target.read()) / np.sqrt(2 * target.sky_rms[:, :, None, None] ** 2)
    sky = np.median(np.abs(difference), axis=(0, 2, 3)) * 1.4826
    np.testing.assert_allclose(sky, 1, rtol=0.03)
    np.testing.assert_allclose(difference.mean(axis=(0, 2, 3)), 0, atol=0.02)
    again = baseline("second", store, None, target.middle(40), workers=1, progress=False)
    assert again.shape[-2:] == (40, 40)
    assert cannot("second", store) is None


def test_pairs_of_another_simulation_have_no_second_draw(study, tmp_path):
    import json
    import shutil

    from astro_galtrans.pairs.store import HEADER_FILE, PairStore

    shutil.copytree(next((study / "cache" / "pairs").iterdir()), tmp_path / "pairs")
    header = json.loads((tmp_path / "pairs" / HEADER_FILE).read_text())
    header["simulation"]["seed"] += 1
    (tmp_path / "pairs" / HEADER_FILE).write_text(json.dumps(header))
    assert cannot("second", PairStore(tmp_path / "pairs")) == "the pairs were simulated by another version"
