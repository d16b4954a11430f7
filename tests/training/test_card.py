"""Calibration and scores against answers known in advance, on pairs that are described by header and table alone."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData
from photutils.aperture import CircularAperture
from reproject import reproject_interp
from toy_network import BANDS, ToyTranslator, toy_card

from helpers import make_wcs

pytest.importorskip("h5py")

from astro_galtrans import aperture_error, get_survey, load_translator
from astro_galtrans.bandstack import write_fits
from astro_galtrans.models import checkpoint, registry
from astro_galtrans.pairs.store import PairHeader, PairStore, PairWriter
from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.surveys import Band, Survey
from astro_galtrans.training import load_recipe, recalibrate, train
from astro_galtrans.training.calibration import calibrate
from astro_galtrans.training.card import convergence, thinned
from astro_galtrans.training.compare import classical, compare, predict_flux
from astro_galtrans.training.data import matched_scalings
from astro_galtrans.training.scores import score
from astro_galtrans.training.train import _parts
from astro_galtrans.training.validity import validity_range
from astro_galtrans.translate import Translator
from astro_galtrans.uncertainty import ONE_SIGMA

SIZE, PIXEL, SKY, GAIN = 32, 0.4, 0.02, np.array([1.3, 0.8])


def survey(name, zeropoint=22.5, sky=SKY):
    bands = tuple(Band(band, 1.3, sky, np.nan, "", "a test") for band in "gr")
    return Survey(name, name, PIXEL, "nanomaggy" if zeropoint == 22.5 else "adu", zeropoint, bands)


def star(flux, x=0.0, y=0.0):
    """Gaussian of FWHM 1.3 arcsec at (x, y) arcsec from the centre."""
    offset = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL
    sigma = 1.3 / 2.3548
    image = np.exp(-0.5 * ((offset - x) ** 2 + (offset[:, None] - y) ** 2) / sigma**2)
    return flux * image / image.sum()


def write_pairs(directory, number=40, *, noise=SKY, flux=60.0, table=True, variance=None, **planes):
    """Pairs of one grid: the target is the source's noise-free image times `GAIN`, and noise."""
    rng = np.random.default_rng(8)
    writer = PairWriter(directory, PairHeader(survey("here"), survey("there"), 1, SIZE))
    for k in range(number):
        x, y = rng.uniform(-1.5, 1.5, 2)
        clean = np.stack([star(flux, x, y), star(0.7 * flux, x, y)])
        source = clean + rng.normal(0, 1e-4 * SKY, clean.shape)  # the source is all but free of noise
        target = GAIN[:, None, None] * clean + rng.normal(0, noise, clean.shape)
        row = {"index": k} | ({"kind": "source", "x": x, "y": y} if table else {})
        own = {name: make(k, target) for name, make in planes.items()}
        if variance:
            own["target_variance"] = np.full(target.shape, variance)
        writer.add(source, target, row, signal=clean > 0.1, **own)
    writer.close()
    return PairStore(directory)


@pytest.fixture
def toy():
    """A translator that gives its source back, since the pairs have scale 1."""
    return ToyTranslator.from_preset("tiny", "gr", "gr", 1).eval()


@pytest.fixture
def scalings(tmp_path):
    return matched_scalings(PairHeader(survey("here"), survey("there"), 1, SIZE), 2.0)


def test_flux_factor_is_the_ratio_of_fluxes(toy, scalings, tmp_path):
    found = calibrate(toy, scalings, write_pairs(tmp_path), progress=False)
    np.testing.assert_allclose(found["flux"], GAIN, atol=4 * max(found["flux_error"]))
    assert max(found["flux_error"]) < 2e-3
    assert found["sources"] == 40 and found["selection"] == "signal-to-noise above 100"


def test_std_factor_makes_one_sigma_hold(toy, scalings, tmp_path):
    pairs = write_pairs(tmp_path)
    factors = calibrate(toy, scalings, pairs, progress=False)
    within = score(toy, scalings, pairs, factors, progress=False)
    np.testing.assert_allclose(within["within_1_sigma"], ONE_SIGMA, atol=1e-3)  # on the same pairs: by definition
    # by hand, for one band
    ratios = []
    for k in range(len(pairs)):
        mean, std = predict_flux(toy, scalings[1], scalings[0].forward(pairs.source(k)))
        flux, signal = factors["flux"][1], pairs.signal(k)[1]
        ratios.append((np.abs(pairs.target(k)[1] - flux * mean[1]) / (flux * std[1]))[signal])
    assert factors["std"][1] == pytest.approx(np.quantile(np.concatenate(ratios), ONE_SIGMA), rel=1e-3)


def test_known_noise_of_a_shallow_target_is_not_charged_to_the_translator(toy, tmp_path):
    scalings = [AsinhScaling((20.0, 20.0))] * 2  # all but linear: the stated error is the same everywhere, as the noise
    usual = calibrate(toy, scalings, write_pairs(tmp_path / "a"), progress=False)
    shallow = write_pairs(tmp_path / "b", noise=2 * SKY, variance=4 * SKY**2)
    told = calibrate(toy, scalings, shallow, progress=False)
    untold = calibrate(toy, scalings, write_pairs(tmp_path / "c", noise=2 * SKY), progress=False)
    np.testing.assert_allclose(told["std"], usual["std"], rtol=0.15)
    np.testing.assert_allclose(untold["std"], 2 * np.array(usual["std"]), rtol=0.1)
    within = score(toy, scalings, shallow, told, progress=False)["within_1_sigma"]
    np.testing.assert_allclose(within, ONE_SIGMA, atol=1e-3)


def test_bad_pixels_are_left_out(toy, scalings, tmp_path):
    def bad(k, target):
        mask = np.zeros(target.shape, bool)
        mask[:, 2:6, 3:9] = True
        mask[:, 16, 16] = k < 10  # in the aperture of these
        target[mask] = 1e5
        return mask

    found = calibrate(toy, scalings, write_pairs(tmp_path / "a", target_mask=bad), progress=False)
    assert found["sources"] == 30
    np.testing.assert_allclose(found["flux"], GAIN, rtol=4e-3)
    pairs = write_pairs(tmp_path / "b", target_mask=bad)
    assert score(toy, scalings, pairs, found, progress=False)["rmse_sigma"][0] < 2


def test_with_too_few_sources_flux_is_left_as_it_is(toy, scalings, tmp_path):
    found = calibrate(toy, scalings, write_pairs(tmp_path / "a", number=4), progress=False)
    assert found["flux"] == [1, 1] and found["flux_error"] is None
    assert found["selection"].startswith("none: only 4 of the sources")
    faint = write_pairs(tmp_path / "b", flux=5.0)
    found = calibrate(toy, scalings, faint, progress=False)
    assert found["sources"] == 20 and found["selection"].startswith("the 20 brightest, down to")


def test_without_positions_the_source_is_in_the_middle(toy, scalings, tmp_path):
    middle = calibrate(toy, scalings, write_pairs(tmp_path, table=False), progress=False)
    np.testing.assert_allclose(middle["flux"], GAIN, rtol=5e-3)  # a ratio: the offsets hardly matter


def test_no_signal_is_an_error(toy, scalings, tmp_path):
    with pytest.raises(ValueError, match="no good pixel with signal in band g"):
        calibrate(toy, scalings, write_pairs(tmp_path, flux=0.1), progress=False)


def test_classical_answer_is_that_of_reproject(tmp_path, rng):
    header = PairHeader(survey("here"), replace(survey("there", 30.0), bands=survey("x").bands[:1]), 2, SIZE)
    source = star(50.0)[None] + rng.normal(0, SKY, (2, SIZE, SIZE))
    ours = classical(source, header)
    coarse, fine = make_wcs((SIZE, SIZE), PIXEL), make_wcs((2 * SIZE, 2 * SIZE), PIXEL / 2)
    theirs = reproject_interp((source[0], coarse), fine, (2 * SIZE, 2 * SIZE), order="bicubic", return_footprint=False)
    inside = np.s_[20:-20, 20:-20]  # beyond, the two continue an image differently
    np.testing.assert_allclose(ours[0][inside], 1000 / 4 * theirs[inside], atol=1e-3 * 250 * SKY)
    assert ours.shape == (1, 2 * SIZE, 2 * SIZE)
    without = classical(source[:1], replace(header, source=header.source.select("r"), target=header.target))
    assert np.isnan(without).all()  # no g in the source: nothing to resample


def test_scores_are_what_they_say(toy, scalings, tmp_path):
    pairs = write_pairs(tmp_path)
    found = score(toy, scalings, pairs, {"flux": GAIN, "std": [1, 1]}, progress=False)
    squares = [
        ((pairs.target(k) - GAIN[:, None, None] * pairs.source(k))[band][pairs.signal(k)[band]] / SKY) ** 2
        for k in range(len(pairs)) for band in (0,)
    ]  # fmt: skip
    assert found["rmse_sigma"][0] == pytest.approx(np.sqrt(np.mean(np.concatenate(squares))), rel=1e-3)
    assert found["rmse_sigma"] == pytest.approx([1, 1], rel=0.05)  # what is left is the target's noise
    np.testing.assert_allclose(found["flux_bias"], 0, atol=2e-3)
    np.testing.assert_allclose(found["classical_flux_bias"], 1 / GAIN - 1, atol=5e-3)  # it knows no gain
    assert found["rmse_gain_on_classical"][0] == pytest.approx(1 - 1 / found["classical_rmse_sigma"][0], abs=0.02)
    assert found["n_pairs"] == 40 and found["n_galaxies"] == 40 and "pairs_seed" not in found


def test_bands_without_a_classical_answer_have_no_gain(tmp_path):
    header = PairHeader(survey("here").select("g"), survey("there"), 1, SIZE)
    writer, rng = PairWriter(tmp_path, header), np.random.default_rng(1)
    for k in range(8):
        clean = np.stack([star(60.0)] * 2)
        writer.add(clean[:1], clean + rng.normal(0, SKY, clean.shape), {"index": k}, signal=clean > 0.1)
    writer.close()
    toy = ToyTranslator.from_preset("tiny", "g", "gr", 1).eval()
    pairs, scalings = PairStore(tmp_path), matched_scalings(header, 2.0)
    found = score(toy, scalings, pairs, {"flux": [1, 1], "std": [1, 1]}, progress=False)
    assert found["rmse_gain_on_classical"][1] is None and found["classical_flux_bias"][1] is None
    assert found["rmse_gain_all_bands"] == pytest.approx(0, abs=0.05)  # both give the source back


def test_what_is_scored_is_what_translate_gives(tmp_path, monkeypatch):
    there = checkpoint.Checkpoint(ToyTranslator.from_preset("tiny", BANDS, BANDS, 2).eval(), toy_card(), "0" * 64)
    rng, factors = np.random.default_rng(3), {"flux": [0.9, 1.0, 1.1, 1.2, 1.3], "std": [1.0, 2.0, 3.0, 4.0, 5.0]}
    there.card["calibration"] = factors
    source = np.stack([star(30.0)] * 5) + rng.normal(0, 0.02, (5, SIZE, SIZE))
    source = source.astype(np.float32)
    header = PairHeader(get_survey("sdss"), get_survey("cfhtls-wide"), 2, SIZE)
    writer = PairWriter(tmp_path, header)
    writer.add(source, np.zeros((5, 2 * SIZE, 2 * SIZE)), {"index": 0}, signal=np.ones((5, 2 * SIZE, 2 * SIZE), bool))
    writer.close()
    scalings = [AsinhScaling.from_dict(there.card[end]["scaling"]) for end in ("source", "target")]
    pair = next(compare(there.model, scalings, PairStore(tmp_path), [0], factors=factors))
    image = CCDData(source, unit=u.nmgy, wcs=make_wcs((SIZE, SIZE)))
    result = Translator(there)(image, bands=BANDS)
    np.testing.assert_allclose(pair.mean, result.data, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(pair.std, result.uncertainty.array, rtol=1e-4)


def test_validity_of_real_pairs_is_measured(tmp_path):
    psf = np.stack([star(1.0)[1:, 1:]] * 2)  # odd, centred half a pixel off
    writer = PairWriter(tmp_path, PairHeader(survey("here"), survey("there"), 1, SIZE))
    rng = np.random.default_rng(5)
    for k in range(6):
        source = np.stack([star(40.0)] * 2) + rng.normal(0, 2 * SKY, (2, SIZE, SIZE))  # noisier than the survey says
        source[:, 3, 3], mask = 1e4, np.zeros(source.shape, bool)
        mask[:, 3, 3] = True
        writer.add(source, source, {"index": k}, source_mask=mask, target_mask=mask, signal=source > 1,
                   source_psf=psf, target_psf=psf)  # fmt: skip
    writer.close()
    found = validity_range(PairStore(tmp_path))
    low, high = found["fwhm"]["r"]
    assert low == pytest.approx(0.9 * 1.3, rel=0.02) and high == pytest.approx(1.1 * 1.3, rel=0.02)
    assert found["sky_rms"]["g"][0] < 2 * SKY < found["sky_rms"]["g"][1]
    assert found["sky_rms"]["g"][0] > 1.3 * SKY
    assert found["peak"]["g"] == pytest.approx(star(40.0).max(), rel=0.05)
    assert found["pixel_scale"] == [pytest.approx(0.99 * PIXEL), pytest.approx(1.01 * PIXEL)]


@pytest.fixture
def toy_file(tmp_path, monkeypatch, scalings, toy):
    monkeypatch.setitem(registry.BUILT_IN, "toy", "toy_network:ToyTranslator")
    registry._table.cache_clear()
    card = toy_card("gr", scale=1)
    for end, scaling in zip(("source", "target"), scalings, strict=True):
        card[end] |= {"pixel_scale": PIXEL, "zeropoint": 22.5, "unit": "nanomaggy", "scaling": scaling.to_dict()}
    path = tmp_path / "toy.safetensors"
    checkpoint.save(path, toy, card)
    yield path
    registry._table.cache_clear()


def test_recalibrated_on_ones_own_pairs(toy_file, tmp_path, rng):
    card = recalibrate(toy_file, write_pairs(tmp_path / "own"), tmp_path / "new.safetensors", progress=False)
    np.testing.assert_allclose(card["calibration"]["flux"], GAIN, rtol=4e-3)
    assert card["scores"]["n_pairs"] == 20 and card["calibration"]["simulated"] is False
    new = load_translator(tmp_path / "new.safetensors")
    assert new.card == card
    np.testing.assert_allclose(np.abs(card["scores"]["flux_bias"]), 0, atol=3e-3)
    # the survey's noise is all the error there is: nothing else is found, in any form that the translation may have
    wcs = make_wcs((SIZE, SIZE), PIXEL)
    image = {band: CCDData(star(60.0) + rng.normal(0, 1e-4, (SIZE, SIZE)), unit="nmgy", wcs=wcs) for band in "gr"}
    result = new(image)
    write_fits(result, tmp_path / "result.fits")
    aperture = CircularAperture(((SIZE - 1) / 2,) * 2, 1.5 / PIXEL)
    for form in (result, tmp_path / "result.fits"):
        np.testing.assert_allclose(aperture_error(form, aperture).value, SKY * np.sqrt(aperture.area), rtol=0.25)


def test_recalibration_refuses_other_kinds_of_pairs(toy_file, tmp_path):
    pairs = write_pairs(tmp_path / "own")
    pairs.header = replace(pairs.header, target=survey("there", 30.0))
    with pytest.raises(ValueError, match=r"zero points of the pairs are .* it cannot translate them"):
        recalibrate(toy_file, pairs, tmp_path / "new.safetensors")
    with pytest.raises(ValueError, match=r"only 2 pairs .* at least 4 are needed"):
        recalibrate(toy_file, write_pairs(tmp_path / "few", number=4), tmp_path / "new.safetensors")
    assert not (tmp_path / "new.safetensors").exists()


def test_pairs_of_the_training_are_not_held_out(tmp_path):
    pairs = write_pairs(tmp_path / "a")
    with pytest.raises(ValueError, match=r"10 of the pairs to calibrate with .* are those of the training"):
        _parts(pairs.subset(range(30)), pairs.subset(range(20, 40)))
    parts = _parts(pairs.subset(range(30)), pairs.subset(range(30, 40)))
    assert [len(part) for part in parts] == [30, 5, 5]
    with pytest.raises(ValueError, match="not split"):
        _parts(pairs, None)


def test_history_is_thinned_to_thirty_rows():
    history = [{"step": 10 * k, "hours": k / 100, "seconds": 36.0 * k, "flux_loss": 1 / (k + 1)} for k in range(1, 501)]
    short = thinned(history)
    assert short["columns"] == ["hours", "step", "flux_loss"] and len(short["rows"]) == 30
    assert short["rows"][0] == [0.01, 10, 0.5] and short["rows"][-1][:2] == [5.0, 5000]
    assert thinned([]) is None


@pytest.mark.slow
def test_training_on_split_pairs_ends_with_a_translator(tmp_path):
    directory = tmp_path / "pairs"
    parts = ["train"] * 6 + ["validation"] * 6 + ["test"] * 5
    rng, writer = np.random.default_rng(2), PairWriter(directory, PairHeader(survey("here"), survey("there"), 1, SIZE))
    for k, part in enumerate(parts):
        clean = np.stack([star(60.0)] * 2)
        images = (clean + rng.normal(0, SKY, clean.shape) for _ in range(2))
        writer.add(*images, {"index": k, "kind": "source", "x": 0.0, "y": 0.0, "split": part}, signal=clean > 0.1)
    writer.close()
    small = {"settings": {"width": 4, "blocks": 1, "fine_width": 4}}
    recipe = load_recipe("srgan", network=small, data={"crop": 16, "batch_size": 2}, name="tiny",
                         run={"steps": 4, "hours": float("inf"), "validation_steps": 1})  # fmt: skip
    path = train(recipe, PairStore(directory), None, tmp_path / "run", device="cpu", progress=False)
    card = load_translator(path).card
    assert (card["training"]["data"]["pairs"], card["calibration"]["pairs"], card["scores"]["n_pairs"]) == (6, 6, 5)
    assert card["training"]["data"]["simulated"] is False and card["training"]["steps"] == 4
    assert [row[1] for row in card["training"]["history"]["rows"]] == [1, 2, 3, 4]
    assert card["training"]["convergence"]["score"] == "rmse_gain"
    assert card["calibration"]["sources"] == 6 and card["source"]["native_pixel_scale"] == PIXEL


@pytest.mark.parametrize(("score", "values"), [("loss", [1.0, 0.8, 0.5, 0.45]), ("gain", [0.0, 0.2, 0.5, 0.55])])
def test_convergence_is_what_the_last_quarter_brought(score, values):
    history = [{"hours": 1.0 + k, "step": k, score: value} for k, value in enumerate(values)]
    assert convergence(history, score) == pytest.approx(0.1)  # an error of 0.5 became 0.45
    assert convergence(history[:1], score) is None


def test_the_target_surveys_own_pixels_are_in_the_card(toy_file):
    card = checkpoint.read_card(toy_file)
    card["target"] |= {"survey": "nobody else's", "native_pixel_scale": 0.3}
    there = checkpoint.load(toy_file)
    image = CCDData(np.stack([star(30.0)] * 2), unit=u.nmgy, wcs=make_wcs((SIZE, SIZE), PIXEL))
    result = Translator(replace(there, card=card))(image, bands="gr", output_grid="target")
    np.testing.assert_allclose(result.wcs.celestial.proj_plane_pixel_scales()[0].to_value("arcsec"), 0.3, rtol=1e-5)


def test_calibrate_on_the_command_line(toy_file, tmp_path, capsys):
    from astro_galtrans.cli import main

    write_pairs(tmp_path / "own")
    assert main(["calibrate", str(toy_file), str(tmp_path / "own"), "-o", str(tmp_path / "new.safetensors")]) == 0
    text = capsys.readouterr().out
    assert "toy-sdss-cfhtls" in text and "on 20 pairs that it was not trained on" in text
    assert main(["calibrate", str(toy_file), str(tmp_path / "none"), "-o", str(tmp_path / "x.safetensors")]) == 1
    assert "not a set of pairs" in capsys.readouterr().err
