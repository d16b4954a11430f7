"""A deterministic translator with a photometric sampler, through the public API: stamps, frames, files."""

import numpy as np
import pytest
import torch
from photutils.aperture import CircularAperture
from toy_network import SKY_RMS, ToyTranslator, toy_card

from astro_galtrans import Translator, aperture_error, draw_samples, fluxes, load_translator, translate
from astro_galtrans.covariance import LENGTHS, NODES, Covariance
from astro_galtrans.exceptions import CheckpointError
from astro_galtrans.models import checkpoint, registry
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.models.photometric.sampler import PhotometricSampler
from astro_galtrans.training.flow import FlowSettings
from astro_galtrans.training.sampler import add_sampler
from helpers import BANDS, aperture_sum, make_bands

SIZES = {"gaussian_width": 8, "width": 8, "blocks": 1}


def correlation(amplitude=0.1):
    noise = 0.2 * np.array(SKY_RMS) * 10 ** (0.4 * 7.5) / 4
    amplitudes = np.full((5, len(LENGTHS), len(NODES)), amplitude)
    lengths = tuple(0.198 * length for length in LENGTHS)
    return Covariance(BANDS, 30.0, 0.198, lengths, tuple(noise), (50.0,) * 5, amplitudes, np.eye(5)).to_dict()


def card(**changes):
    made = toy_card(**changes)
    made["calibration"] |= {"flux": [1.1] * 5, "correlation": correlation()}
    return made


@pytest.fixture(scope="module")
def plain():
    return Translator(Checkpoint(ToyTranslator.from_preset("tiny", BANDS, BANDS, 2).eval(), card(), "0" * 64))


@pytest.fixture(scope="module")
def toy(plain):
    """The toy with an untrained sampler: fluxes are those of the translation, with a scatter of one in arcsinh."""
    model = ToyTranslator.from_preset("tiny", BANDS, BANDS, 2).eval()
    model.sampler = PhotometricSampler(model.spec, **SIZES).configure(plain.card)
    model.sampler.flow.spread.fill_(0.1)
    return Translator(Checkpoint(model, plain.card, "1" * 64))


def planes(result):
    return np.stack([image.data for image in result.values()])


def test_its_own_answer_stays(plain, toy):
    images = make_bands()
    for name, there in translate(images, plain).items():
        here = translate(images, toy)[name]
        np.testing.assert_array_equal(here.data, there.data)
        np.testing.assert_array_equal(here.uncertainty.array, there.uncertainty.array)
        assert "GTNSAMP" not in here.meta
    assert toy.samples and not plain.samples and not toy.mean.samples


def test_mean_of_samples_and_all_of_them(toy):
    images = make_bands()
    mean, samples = (translate(images, toy, n_samples=4, seed=5, combine=c) for c in ("mean", None))
    assert len(samples) == 4
    np.testing.assert_allclose(planes(mean), np.mean([planes(s) for s in samples], axis=0), rtol=1e-4, atol=1e-3)
    assert mean["g"].meta["GTNSAMP"] == 4
    assert not np.array_equal(planes(samples[0]), planes(samples[2]))


def test_samples_one_by_one_are_those_of_the_list(toy):
    images = make_bands()
    lazily = draw_samples(images, toy, 3, seed=5)
    for here, there in zip(lazily, translate(images, toy, n_samples=3, seed=5, combine=None), strict=True):
        np.testing.assert_array_equal(planes(here), planes(there))
        assert here["r"].meta == there["r"].meta | {"GTDATE": here["r"].meta["GTDATE"]}


def test_seeds_and_tiles(toy):
    images = make_bands(shape=(72, 72))
    one, again, other = (planes(translate(images, toy, n_samples=1, seed=s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    tiled = planes(translate(images, toy, n_samples=1, seed=1, tile=24))
    np.testing.assert_allclose(tiled, one, rtol=1e-3, atol=1e-2)


def test_fluxes_of_sources_scatter_as_the_flow_says(toy):
    """The untrained flow draws every flux log-normal by a tenth: that in 3 arcsec is one of them."""
    images = make_bands()
    samples = list(draw_samples(images, toy, 40, seed=3))
    mean = translate(images, toy)
    y, x = np.unravel_index(mean["r"].data.argmax(), mean["r"].data.shape)
    aperture = CircularAperture((x, y), 1.5 / 0.198)
    drawn = fluxes(samples, aperture)
    assert drawn.shape == (40, 5)
    scatter = np.log(drawn.value).std(axis=0)
    np.testing.assert_allclose(scatter, 0.1, rtol=0.35)
    # the stated errors of pixels would say something else: they know nothing of this flow
    assert not np.allclose(aperture_error(mean, aperture).value, drawn.value.std(axis=0), rtol=0.3)


def test_a_flow_leaves_sources_unlike_those_of_its_training(plain):
    """Its draws would be fluxes of 10 to the power of dozens; the translation's own stay, within the stated errors."""
    model = ToyTranslator.from_preset("tiny", BANDS, BANDS, 2).eval()
    model.sampler = PhotometricSampler(model.spec, **SIZES).configure(plain.card)
    flow = model.sampler.flow
    flow.gaussian[-1].bias.data[flow.n_y :] = -5.0  # standard deviations of exp(5)
    flow.fit_distance(torch.randn(1000, len(flow.mean), generator=torch.Generator().manual_seed(0)) / 100)
    images = make_bands()
    mean = translate(images, plain)["r"].data
    y, x = np.unravel_index(mean.argmax(), mean.shape)
    aperture = CircularAperture((x, y), 1.5 / 0.198)
    samples = draw_samples(images, Translator(Checkpoint(model, plain.card, "2" * 64)), 4, seed=3)
    drawn = fluxes(list(samples), aperture).value[:, BANDS.index("r")]
    truth = aperture_sum(mean, aperture)[0]
    np.testing.assert_allclose(drawn, truth, rtol=0.05)


def test_the_shipped_flow_trusts_galaxies_and_not_what_contradicts_itself():
    """A translation of a negative flux where the source has a galaxy gave samples of 1e10 times its light."""
    flow = load_translator("photometric-sdss-cfhtls").model.sampler.flow
    growth = torch.tensor([0.1, 0.25, 0.5, 0.3, 0.6, 0.9, 1.0, 0.02])[:, None]  # seven apertures and a pixel
    colours = torch.tensor([0.1, 0.4, 1.0, 1.4, 1.7])
    x = (growth * colours * 400 * flow.noise_x.reshape(8, 5)[1]).reshape(1, 40)
    told = torch.tensor([[0.0] * 10 + [1.0] * 5])  # typical PSF and noise, all bands there
    m = (2 * flow.noise_y * torch.sinh(torch.asinh(x / (2 * flow.noise_x)))).reshape(1, 40)
    assert flow.trust(flow.given(x, m, told)).item() > 0.5
    assert flow.trust(flow.given(x, -m, told)).item() == 0


def test_sources_at_the_edge_keep_their_fluxes(toy):
    """None of the training lacked apertures; the toy's flow would draw them wider by far."""
    toy_flow, images = toy.model.sampler.flow, make_bands(shape=(40, 40))
    row, column = np.unravel_index(images["r"].data.argmax(), (40, 40))
    cut = {name: np.roll(image.data, (8 - row, 20 - column), axis=(0, 1)) for name, image in images.items()}
    spread = toy_flow.spread.clone()
    found = []
    for width in (0.1, 3.0):
        toy_flow.spread.fill_(width)
        found.append(toy.stamps(np.stack(list(cut.values()))[None], n_samples=1, seed=1))
    toy_flow.spread.copy_(spread)
    np.testing.assert_array_equal(*found)


def test_stamps_together_are_as_alone(toy):
    images = np.stack([np.stack([b.data for b in make_bands(shape=(40, 40)).values()]) * f for f in (1, 0.5)])
    both = toy.stamps(images, n_samples=2, seed=4)
    again = toy.stamps(images, n_samples=2, seed=4)
    np.testing.assert_array_equal(both, again)
    np.testing.assert_allclose(both[0], toy.stamps(images[:1], n_samples=2, seed=4)[0], rtol=1e-3, atol=1e-2)


def test_noise_is_gone_from_the_mean_of_two(toy):
    """Blank sky: what is left is the light that the translation shows there."""
    blank = make_bands(shape=(40, 40))
    for image in blank.values():
        image.data[...] = 0.0
        image.data[0, 0] = 1e-6
    one, two = (planes(translate(blank, toy, n_samples=n, seed=1)) for n in (1, 2))
    assert np.abs(two).max() < 1e-3 * np.abs(one).max()


def test_more_samples_of_a_deterministic_network_say_what_to_do(plain):
    with pytest.raises(ValueError, match=r"deterministic and has one answer.*--sampler"):
        translate(make_bands(), plain, n_samples=3)


@pytest.fixture
def toy_network(monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "toy", "toy_network:ToyTranslator")
    registry._table.cache_clear()
    yield
    registry._table.cache_clear()


@pytest.mark.usefixtures("toy_network")
def test_survives_a_file(plain, toy, tmp_path):
    path = tmp_path / "sampled-sdss-cfhtls.safetensors"
    made = add_sampler(plain, toy.model.sampler.flow, path, FlowSettings(**SIZES), n_samples=2)
    assert made["name"] == path.stem and made["sampling"] == {"n_samples": 2}
    read, images = load_translator(path), make_bands()
    assert read.samples
    by_default, asked = translate(images, read, seed=1), translate(images, toy, n_samples=2, seed=1)
    np.testing.assert_allclose(planes(by_default), planes(asked), rtol=0.01, atol=1)  # half precision
    np.testing.assert_array_equal(planes(translate(images, read.mean)), planes(translate(images, plain)))


@pytest.mark.usefixtures("toy_network")
def test_a_card_without_correlation_is_no_sampler(toy, tmp_path):
    changed = card()
    del changed["calibration"]["correlation"]
    checkpoint.save(tmp_path / "x.safetensors", toy.model, changed)
    with pytest.raises(CheckpointError, match="sampler, but its card lacks what that needs"):
        load_translator(tmp_path / "x.safetensors")
