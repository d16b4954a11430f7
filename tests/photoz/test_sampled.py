"""PDFs averaged over samples, by Python and by the command, against estimators whose answer is known."""

import numpy as np
import pytest
from astropy.table import Table

from astro_galtrans import load_translator, photoz
from astro_galtrans.cli import main
from astro_galtrans.stamps import Stamps
from helpers import make_bands

GRID = np.linspace(0, 1, 201)
NAME = "photometric-sdss-cfhtls"


@pytest.fixture(scope="module")
def stamps():
    images = np.stack([plane.data for plane in make_bands(shape=(40, 40)).values()])
    return Stamps(np.stack([images, 0.5 * images, 0.2 * images]), "sdss", psf=1.4)


def test_average_is_that_of_every_sample_by_itself(stamps):
    def brightness(images):
        return 0.2 + 0.05 * np.log10(1 + np.maximum(images[:, 2].sum(axis=(1, 2)), 0))

    judge, translator = photoz.wrap(brightness, GRID, width=0.01), load_translator(NAME)
    found = photoz.predict_averaged(judge, translator, stamps, n_samples=6, seed=3, progress=False)
    drawn = Stamps.from_translator(translator, stamps, n_samples=6, seed=3, progress=False).read()
    truth = np.mean([judge.predict(drawn[:, k]).density for k in range(6)], axis=0)
    np.testing.assert_allclose(found.density, truth, rtol=1e-6, atol=1e-9)
    assert (np.diff(found.median()) < 0).all()  # from the brightest to the faintest


def test_a_deterministic_translator_is_no_sampler(stamps):
    judge = photoz.wrap(lambda images: np.full(len(images), 0.2), GRID, width=0.01)
    plain = load_translator("srgan-sdss-cfhtls")
    with pytest.raises(ValueError, match=r"srgan-sdss-cfhtls is deterministic.*calibrate --sampler"):
        photoz.predict_averaged(judge, plain, stamps, progress=False)
    assert len(photoz.predict_averaged(judge, plain, stamps, n_samples=1, progress=False)) == 3


def test_an_estimator_of_magnitudes_is_told_of(stamps):
    rng = np.random.default_rng(1)
    z = rng.uniform(0, 0.4, 60)
    estimator = photoz.train_magnitudes(19 + np.outer(z, [5, 2, 0]), z, bands="gri", epochs=1, progress=False)
    with pytest.raises(TypeError, match=r"takes magnitudes, not images.*fluxes\(sample, apertures\)"):
        photoz.predict_averaged(estimator, load_translator(NAME), stamps, progress=False)


@pytest.fixture
def estimator(tmp_path):
    """The file of one that was trained on images of as many pixels as the translations."""
    rng, translator = np.random.default_rng(2), load_translator(NAME)
    imaging = {"bands": translator.bands_out, "pixel_scale": translator.target["pixel_scale"], "sky_rms": [1.0] * 5}
    images, z = rng.normal(size=(40, 5, 80, 80)), rng.uniform(0, 0.5, 40)
    photoz.train_photometric(images, z, **imaging, epochs=1, progress=False).save(tmp_path / "judge.safetensors")
    return tmp_path / "judge.safetensors"


def test_the_command_gives_the_same(estimator, stamps, tmp_path, capsys):
    np.save(tmp_path / "stamps.npy", stamps.read())
    files = [str(estimator), str(tmp_path / "stamps.npy"), "-m", NAME, "-o", str(tmp_path / "z.ecsv")]
    known = ["--survey", "sdss", "--fwhm", "1.4", "--n-samples", "4", "--seed", "5"]
    assert main(["photoz", *files, *known, "--pdfs", str(tmp_path / "z.fits")]) == 0
    truth = photoz.predict_averaged(
        photoz.load(estimator), load_translator(NAME), stamps, n_samples=4, seed=5, progress=False
    )
    np.testing.assert_allclose(Table.read(tmp_path / "z.ecsv")["z_median"], truth.median(), rtol=1e-4)
    np.testing.assert_allclose(photoz.GridPDF.read(tmp_path / "z.fits").density, truth.density, rtol=1e-3, atol=1e-6)
    assert main(["photoz", *files, *known]) == 1
    assert "z.ecsv is there already; --overwrite replaces it" in capsys.readouterr().err
    assert main(["photoz", *files[:-1], str(tmp_path / "y.ecsv")]) == 1
    assert "give --survey" in capsys.readouterr().err
