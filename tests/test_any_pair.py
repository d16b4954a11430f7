"""Any two surveys: simulated pairs, a few steps of training, a translator file, a translation, with all networks."""

import json
import math
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from scipy.special import erf
from toy_network import ToyTranslator, toy_card

pytest.importorskip("galsim")
pytest.importorskip("h5py")
pytest.importorskip("speclite")

from astro_galtrans import get_survey, list_surveys, load_translator, translate
from astro_galtrans.cli import main
from astro_galtrans.exceptions import DomainWarning
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.models.registry import list_models
from astro_galtrans.pairs.simulated import PairSettings, simulate_pair
from astro_galtrans.pairs.store import PairHeader, PairStore, PairWriter
from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.surveys import Survey
from astro_galtrans.training import load_recipe, train
from astro_galtrans.translate import Translator
from astro_galtrans.units import flux_factor
from helpers import make_wcs

SMALL = {
    "swin": {"depths": [1], "width": 8, "heads": 2, "window": 4},
    "srgan": {"width": 8, "blocks": 1},
    "capsule": {"width": 8, "levels": [[2, 4], [2, 4]]},
    "diffusion": {
        "regression_widths": [8], "regression_blocks": [1], "encoder_width": 8, "features": 4, "steps": 2,
        "denoiser_widths": [8, 8], "denoiser_blocks": [1, 1],
    },
}  # fmt: skip
PAIRS = {
    "fewer bands": {"source": "sdss", "target": "kids", "target_bands": "r"},
    "more bands": {"source": "decals", "target": "hsc-wide"},
    "other bands": {"source": "sdss", "target": "euclid-vis", "source_bands": "g,r,i"},
    "coarser": {"source": "cfhtls-wide", "target": "sdss", "source_bands": "g,r,i", "target_bands": "g,r,i"},
    "intra-domain": {"source": "sdss", "target": "sdss", "source_bands": "r,i", "target_bands": "r,i"},
    "infrared": {"source": "hst-acs-goods", "target": "hst-wfc3-candels"},
}
SIZE = 16


def write_pairs(folder, settings, number):
    writer = PairWriter(folder, PairHeader(*settings.surveys, settings.scale, settings.size, settings.to_dict()))
    sky = settings.surveys[1].sky_rms(settings.target_pixel_scale)[:, None, None]
    for index in range(number):
        source, target, clean, _, row = simulate_pair(settings, index)
        writer.add(source, target, row, signal=clean > 3 * sky)
    writer.close()
    return PairStore(folder)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Pairs to train on and others, made when first asked for."""

    @cache
    def make(name):
        options = PAIRS[name] | {"size": SIZE, "kind": "galaxy"}
        folder = tmp_path_factory.mktemp("pairs")
        return [write_pairs(folder / str(s), PairSettings(seed=s, **options), 10) for s in (1, 2)]

    return make


def as_images(pairs, index):
    """The source of a pair as a user has it: images with a WCS, noise and the cards of the survey."""
    survey, images = pairs.header.source, {}
    for band, data in zip(survey.bands, pairs.source(index), strict=True):
        meta = {"FILTER": band.name} | ({"MAGZERO": survey.zeropoint} if survey.flux_unit == "adu" else {})
        noise = StdDevUncertainty(np.full(data.shape, band.sky_rms, "f4"))
        wcs = make_wcs(data.shape, survey.pixel_scale)
        images[band.name] = CCDData(data, unit=survey.flux_unit, wcs=wcs, uncertainty=noise, meta=meta)
    return images


def train_briefly(network, pairs, others, folder):
    recipe = load_recipe(
        network, steps=2, validation_pairs=2, picture_steps=0, network={"settings": SMALL[network]},
        data={"crop": SIZE, "batch_size": 2},
    )  # fmt: skip
    return train(recipe, pairs, others, folder, progress=False, device="cpu")


def check_translation(path, pairs):
    header = pairs.header
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DomainWarning)  # a stamp of 16 pixels says little about noise and seeing
        result = translate(as_images(pairs, 0), path, seed=3)
        coarse = translate(as_images(pairs, 0), path, seed=3, output_grid="target")
    assert tuple(result) == header.target_bands
    for band, image in result.items():
        assert image.data.shape == (header.scale * SIZE,) * 2
        assert np.isfinite(image.data).all() and (image.uncertainty.array > 0).all()
        assert image.unit == header.target.flux_unit
        sides = coarse[band].wcs.proj_plane_pixel_scales()
        np.testing.assert_allclose([s.to_value("arcsec") for s in sides], header.target.pixel_scale, rtol=1e-6)
    if header.target.flux_unit == "adu":
        assert result[band].meta["MAGZERO"] == header.target.zeropoint


@pytest.mark.parametrize("network", list_models())
@pytest.mark.parametrize(
    "name", [name if name == "fewer bands" else pytest.param(name, marks=pytest.mark.slow) for name in PAIRS]
)
def test_from_simulation_to_translation(sets, tmp_path, name, network):
    pairs, others = sets(name)
    path = train_briefly(network, pairs, others, tmp_path)
    card = load_translator(path).card
    assert (card["source"]["survey"], card["target"]["survey"]) == (PAIRS[name]["source"], PAIRS[name]["target"])
    assert np.isfinite(card["calibration"]["flux"]).all()
    if not {*others.header.source_bands} & {*others.header.target_bands}:
        assert card["scores"]["rmse_gain_all_bands"] is None  # nothing to compare with
    check_translation(path, others)


def test_a_survey_that_knows_little_of_itself(sets, tmp_path):
    """A source described from images: no electrons, no filter curve, a name that the package does not know."""
    stores = []
    for number, there in enumerate(sets("fewer bands")):
        bands = [
            replace(b, electrons=math.nan, filter="", depth=math.nan) for b in there.header.source.select("gr").bands
        ]
        target = replace(there.header.target, name="target of mine", pixel_scale=0.25)
        mine = Survey("mine", "", 0.396, "nanomaggy", 22.5, bands)
        writer = PairWriter(tmp_path / str(number), PairHeader(mine, target, 2, SIZE, observation={}))
        for k in range(len(there)):
            writer.add(there.source(k)[1:3], there.target(k), {"index": k, "x": 0.0, "y": 0.0, "kind": "source"},
                       signal=there.signal(k))  # fmt: skip
        writer.close()
        stores.append(PairStore(tmp_path / str(number)))
    path = train_briefly("srgan", *stores, tmp_path / "run")
    card = load_translator(path).card
    assert "electrons" not in card["source"] and card["source"]["survey"] == "mine"
    json.dumps(card, allow_nan=False)
    check_translation(path, stores[1])


# -- towards a coarser survey


@pytest.fixture(scope="module")
def reverse():
    """CFHTLS Wide to SDSS with a network that changes the flux unit only."""
    source, target = get_survey("cfhtls-wide").select("r"), get_survey("sdss").select("r")
    factor = flux_factor(source.zeropoint, target.zeropoint)
    scalings = AsinhScaling((7.0,)), AsinhScaling((7.0 * factor,))
    ends = {
        end: {
            "survey": survey.name, "unit": survey.flux_unit, "zeropoint": survey.zeropoint, "pixel_scale": 0.186,
            "native_pixel_scale": survey.pixel_scale, "scaling": scaling.to_dict(),
        }
        for end, survey, scaling in zip(("source", "target"), (source, target), scalings, strict=True)
    }  # fmt: skip
    ends["source"]["sky_rms"] = [1e-3]  # what an image has beyond that is propagated
    validity = {"pixel_scale": [0.18, 0.19], "fwhm": {"r": [0.0, 9.0]}, "sky_rms": {"r": [0, 1e9]}, "peak": {"r": 1e9}}
    model = ToyTranslator.from_preset("tiny", ("r",), ("r",), 1).eval()
    return Translator(Checkpoint(model, toy_card(("r",), scale=1, **ends, validity=validity), "0" * 64)), factor


def counts(data, sky=None):
    noise = None if sky is None else StdDevUncertainty(np.full(data.shape, sky, "f4"))
    meta = {"FILTER": "r", "MAGZERO": 30.0}
    return CCDData(data.astype("f4"), unit="adu", wcs=make_wcs(data.shape, 0.186), uncertainty=noise, meta=meta)


def star(shape, pixel, sigma, x, y):
    """Flux of a Gaussian star in each pixel, exactly; (x, y) arcsec from the centre, west and north."""

    def share(n, at):
        edges = (np.arange(n + 1) - n / 2) * pixel - at
        return np.diff(erf(edges / sigma / 2**0.5)) / 2

    return np.outer(share(shape[0], y), share(shape[1], x))


def test_the_coarser_surveys_own_pixels(reverse):
    """Flux, position and shape as in the pixels of 0.396 arcsec that a star falls on."""
    translator, factor = reverse
    flux, sigma, place = 3e6, 0.45, (1.31, -2.17)
    image = counts(flux * star((129, 97), 0.186, sigma, *place))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DomainWarning)
        result = translator(image, output_grid="target")
    sides = [side.to_value("arcsec") for side in result.wcs.proj_plane_pixel_scales()]
    np.testing.assert_allclose(sides, 0.396, rtol=1e-6)
    assert result.unit == "nmgy"
    expected = factor * flux * star(result.shape, 0.396, sigma, *place)  # the grid has the image's centre
    good = ~result.mask
    assert result.data[good].sum() == pytest.approx(factor * flux, rel=1e-4)
    assert np.abs(result.data - expected)[good].max() < 0.01 * expected.max()
    x, y = ((np.indices(result.shape)[axis] * result.data)[good].sum() / result.data[good].sum() for axis in (1, 0))
    there = image.wcs.pixel_to_world(48 + place[0] / 0.186, 64 + place[1] / 0.186)
    assert result.wcs.pixel_to_world(x, y).separation(there).arcsec < 2e-3


def test_noise_in_the_coarser_surveys_pixels(reverse, rng):
    """The variance is that of white noise summed over 4.5 pixels, as the translation of white noise shows."""
    translator, _ = reverse
    sky = 3.5
    image = counts(sky * rng.standard_normal((300, 300)), sky)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DomainWarning)
        fine, coarse = translator(image), translator(image, output_grid="target")
    good = ~coarse.mask
    area = (0.396 / 0.186) ** 2
    seen = coarse.data[good].std() / fine.data.std()
    assert seen == pytest.approx(area**0.5, rel=0.1)  # a sum of independent pixels, but for the spline
    told = np.median(coarse.uncertainty.array[good]) / np.median(fine.uncertainty.array)
    assert told == pytest.approx(seen, rel=0.03)


# -- the command line


def test_a_survey_on_the_command_line(capsys):
    assert main(["survey"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list_surveys()
    assert main(["survey", "euclid-nisp"]) == 0
    text = capsys.readouterr().out
    assert "Euclid-H" in text and "depth: Scaramella" in text
    assert main(["survey", "hsc-wid"]) == 1
    assert "nearest known are hsc-wide" in capsys.readouterr().err


@pytest.mark.slow
def test_one_command_from_survey_names_to_translator(tmp_path, capsys):
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        '[network]\nname = "srgan"\nsettings = {width = 8, blocks = 1}\n[data]\ncrop = 16\nbatch_size = 2\n'
        "[pairs]\nsize = 16\nheld_out = 64\n[run]\nsteps = 2\nvalidation_pairs = 2\npicture_steps = 0\n"
    )
    command = ["train", str(recipe), "--source", "hsc-wide", "--target", "lsst-10yr", "--target-bands", "g,r"]
    assert main([*command, "--number", "64", "--device", "cpu", "-o", str(tmp_path / "run")]) == 0
    card = load_translator(capsys.readouterr().out.strip().splitlines()[-1]).card
    assert card["network"]["in_bands"] == list("grizy")
    assert card["network"]["out_bands"] == ["g", "r"]
    assert (card["name"], card["target"]["survey"]) == ("srgan-hsc-lsst-10yr", "lsst-10yr")
