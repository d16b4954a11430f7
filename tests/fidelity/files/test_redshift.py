"""Fidelity from files: stores of pairs, a translator or stamps, and a folder that is found again."""

import numpy as np
import pytest
from toy_network import BANDS, SKY_RMS, ToySampler, ToyTranslator, toy_card

from astro_galtrans._locks import locked
from astro_galtrans.cli import main
from astro_galtrans.fidelity.files import redshift_from_files
from astro_galtrans.fidelity.files.redshift import joined_stamps
from astro_galtrans.fidelity.redshift.result import RedshiftFidelity
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.pairs.store import PairHeader, PairStore, PairWriter
from astro_galtrans.stamps import Stamps, translated
from astro_galtrans.stamps.translated import open_translated
from astro_galtrans.statistics.bootstrap import Bootstrap
from astro_galtrans.surveys import get_survey
from astro_galtrans.translate import Translator

SIZE = 24
FACTOR = 10 ** (0.4 * 7.5) / 4  # nanomaggies to counts of zero point 30, in pixels of a quarter of the area


def make_translator(cls=ToyTranslator, **changes):
    return Translator(Checkpoint(cls.from_preset("tiny", BANDS, BANDS, 2).eval(), toy_card(**changes), "0" * 64))


def write_store(folder, number, seed, **columns):
    """Round galaxies whose colours grow with redshift; the target has finer pixels and less noise."""
    rng = np.random.default_rng(seed)
    header = PairHeader(get_survey("sdss"), get_survey("cfhtls-wide"), scale=2, size=SIZE)
    sky = np.array(SKY_RMS)[:, None, None]
    with PairWriter(folder, header, shard=64) as writer:
        for index in range(number):
            z = rng.uniform(0.1, 0.5)
            colours = 10 ** (0.4 * (z - 0.3) * np.array([-3, -2, 0, 1, 1.5]))[:, None, None]
            source, target = (colours * profile(n, 0.396 * SIZE / n) for n in (SIZE, 2 * SIZE))
            source = source + rng.normal(0, 1, source.shape) * sky
            target = target * FACTOR * 4 + rng.normal(0, 0.2, target.shape) * sky * FACTOR
            row = {"index": index, "kind": "galaxy", "z": z, "r": rng.uniform(17, 20)}
            row |= {name: values[index] for name, values in columns.items()}
            writer.add(np.float32(source), np.float32(target), row, signal=np.ones(target.shape, bool))
    return folder


def profile(pixels, scale):
    axis = (np.arange(pixels) - (pixels - 1) / 2) * scale
    return 8 * scale**2 * np.exp(-0.5 * (axis**2 + axis[:, None] ** 2))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return write_store(folder / "train", 128, 1), write_store(folder / "test", 64, 2)


def test_pair_images_are_the_middle_with_bad_pixels_filled(tmp_path):
    header = PairHeader(get_survey("sdss"), get_survey("cfhtls-wide"), scale=2, size=SIZE)
    source, target = np.ones((5, SIZE, SIZE), np.float32), np.ones((5, 2 * SIZE, 2 * SIZE), np.float32)
    source[1, 10, 12], target[2, 20, 20] = np.nan, 99.0
    mask = target > 50
    with PairWriter(tmp_path / "pairs", header) as writer:
        planes = dict(source_mask=np.zeros(source.shape, bool), target_mask=mask, signal=mask)
        writer.add(source, target, {"index": 0, "z": 0.1}, **planes)
    store = PairStore(tmp_path / "pairs")
    for side, pixels in (("source", 20), ("target", 40)):
        stamps = Stamps.from_pairs(store, side, crop=20)
        assert stamps.images.shape == (1, 5, pixels, pixels)
        np.testing.assert_allclose(stamps.read(), 1, rtol=1e-6)
    with pytest.raises(ValueError, match="crop must be 24"):
        Stamps.from_pairs(store, "source", crop=21)


def test_translated_stamps_are_what_the_translator_gives(stores, tmp_path):
    source, translator = Stamps.from_pairs(PairStore(stores[1]), "source", crop=16), make_translator()
    real = Stamps.from_pairs(PairStore(stores[1]), "target", crop=16)
    stamps = Stamps.from_translator(translator, source, real, directory=tmp_path, progress=False)
    assert stamps.images.shape == (64, 1, 5, 32, 32)
    expected = translator.stamps(source.read())
    np.testing.assert_array_equal(stamps.read(), expected)
    np.testing.assert_array_equal(stamps.read([40, 3]), expected[[40, 3]])
    # ten sigma of flux comes out as such: zero point and pixel area
    flux = source.read().sum(axis=(2, 3))
    np.testing.assert_allclose(expected[:, 0].sum(axis=(2, 3)), flux * 10 ** (0.4 * 7.5), rtol=0.05, atol=500)


def test_what_was_translated_is_found_again(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(translated, "CHUNK", 24)
    both = [Stamps.from_pairs(PairStore(stores[1]), side) for side in ("source", "target")]
    sampler = make_translator(ToySampler, name="sampler")

    def translate(folder, n_samples=2):
        settings = dict(n_samples=n_samples, directory=tmp_path / folder, progress=False)
        return Stamps.from_translator(sampler, *both, **settings).read()

    whole = translate("whole")
    assert whole.shape[:2] == (64, 2) and not np.array_equal(whole[:, 0], whole[:, 1])
    translate("cut")
    (folder,) = (tmp_path / "cut").iterdir()
    first, last = folder / "00000.npy", folder / "00002.npy"
    kept = first.stat().st_mtime_ns
    last.unlink()
    with pytest.raises(FileNotFoundError, match="1 of 6 files are missing"):
        open_translated(folder)
    np.testing.assert_array_equal(translate("cut"), whole)
    assert first.stat().st_mtime_ns == kept
    translate("cut", n_samples=1)
    assert len(list((tmp_path / "cut").iterdir())) == 2  # other settings, another folder


def test_translators_for_other_pairs_are_refused(stores, tmp_path):
    for bands, scale, message in ((BANDS, 3, r"makes 3 of each, the pairs have"), (BANDS[:3], 2, "i, z missing")):
        model = ToyTranslator.from_preset("tiny", bands, bands, scale).eval()
        translator = Translator(Checkpoint(model, toy_card(scale=scale), "0" * 64))
        with pytest.raises(ValueError, match=message):
            redshift_from_files(stores[1], translator, tmp_path, training_pairs=stores[0], progress=False)


@pytest.mark.slow
def test_redshift_from_files(stores, tmp_path):
    """The truth as stamps reads as the target, and the whole run is found again."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    truth = np.concatenate([np.asarray(PairStore(folder).images("target")) for folder in stores])
    np.save(tmp_path / "truth.npy", truth)
    compared = {"truth": tmp_path / "truth.npy", "toy": make_translator()}
    settings = dict(
        training_pairs=stores[0], crop=20, estimator="photometric", bins=1, bootstrap=Bootstrap(10), epochs=8,
        batch_size=16, peaks=False, progress=False,
    )  # fmt: skip
    result, peaks = redshift_from_files(stores[1], compared, tmp_path / "out", **settings)
    assert peaks is None and len(result["galaxies"]) == 64
    target = result.value("information", reading="target")
    assert target[0] > 0.2 and result.value("information", reading="plug_in", model="truth") == target
    assert {"report.html", "statistics.ecsv", "information.png"} <= {p.name for p in (tmp_path / "out").iterdir()}
    estimators = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "estimators").glob("*/*.safetensors")}
    assert len(estimators) == 4
    again, _ = redshift_from_files(stores[1], compared, tmp_path / "out", **settings)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "estimators").glob("*/*.safetensors")} == estimators
    np.testing.assert_array_equal(again["statistics"]["value"], result["statistics"]["value"])
    assert RedshiftFidelity.read(tmp_path / "out").models == result.models


@pytest.mark.slow
def test_the_command_line(stores, tmp_path, capsys):
    """A shipped translator and stamps by name; the ratios are printed."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    train, test = (np.asarray(PairStore(folder).images("target")) for folder in stores)
    np.save(tmp_path / "truth.npy", np.concatenate([train[:40], test[:24]]))
    command = ["redshift", str(stores[1]), "--train", str(stores[0]), "-o", str(tmp_path / "out"), "--no-peaks"]
    command += ["--translated", f"truth={tmp_path / 'truth.npy'}", "-m", "srgan-sdss-cfhtls", "--number", "24"]
    command += ["--estimator", "photometric", "--epochs", "2", "--bins", "1", "--train-number", "40"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.strip().endswith("report.html") and "plug_in_information" in out
    result = RedshiftFidelity.read(tmp_path / "out")
    assert result.models == ["truth", "srgan-sdss-cfhtls"] and len(result["galaxies"]) == 24
    assert result.meta["resamples"] == 1000 and set(result["bins"]["by"]) == {"z_spec", "magnitude", "snr"}


def test_the_split_of_one_store_is_used(tmp_path):
    split = np.where(np.arange(128) % 2, "train", "test")
    split[:20] = "validation"
    store = write_store(tmp_path / "pairs", 128, 3, split=split)
    np.save(tmp_path / "x.npy", np.asarray(PairStore(store).images("target")))
    result, _ = redshift_from_files(
        store, tmp_path / "x.npy", tmp_path / "out", estimator="photometric", epochs=2, bins=1, peaks=False,
        bootstrap=Bootstrap(0), progress=False,
    )  # fmt: skip
    np.testing.assert_array_equal(result["galaxies"]["row"], np.flatnonzero(split == "test"))
    counts = dict(zip(result["counts"]["galaxies"], result["counts"]["n"], strict=True))
    assert counts["training"] == (split == "train").sum()


def test_missing_columns_and_nothing_to_judge(stores, tmp_path):
    for wrong, column in (({"z_spec": "z_best"}, "z_best"), ({"magnitude": "mag"}, "mag"), ({"ebv": "ebv"}, "ebv")):
        with pytest.raises(ValueError, match=f"has no column '{column}'; there are index, kind, z, r"):
            redshift_from_files(stores[0], make_translator(), tmp_path, columns=wrong, progress=False)
    with pytest.raises(ValueError, match="nothing to judge"):
        redshift_from_files(stores[0], None, tmp_path)
    np.save(tmp_path / "few.npy", np.zeros((3, 5, 48, 48), np.float32))
    with pytest.raises(ValueError, match="few has 3 rows, target 128"):
        redshift_from_files(stores[0], tmp_path / "few.npy", tmp_path / "out", progress=False)


def test_too_few_galaxies_are_said_before_any_work(stores, tmp_path):
    few = write_store(tmp_path / "few", 30, 3)
    with pytest.raises(ValueError, match="at least 20 usable galaxies each must train and test, got 22 and 8"):
        redshift_from_files(few, make_translator(), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_each_galaxy_of_joined_stores_keeps_its_noise(tmp_path):
    parts = []
    for name, number in (("one", 3), ("other", 2)):
        noise = {f"noise_{band}": sky * (1 + np.arange(number)) for band, sky in zip(BANDS, SKY_RMS, strict=True)}
        parts.append(Stamps.from_pairs(PairStore(write_store(tmp_path / name, number, 4, **noise)), "source"))
    both = joined_stamps(parts, "source")
    assert both.images.shape == (5, 5, SIZE, SIZE)
    np.testing.assert_allclose(both.sky_rms[:, 0] / SKY_RMS[0], [1, 2, 3, 1, 2])
    np.testing.assert_array_equal(both.read([3, 4]), parts[1].read())


def test_two_writers_of_a_folder(stores, tmp_path):
    with locked(tmp_path), pytest.raises(OSError, match=rf"{tmp_path} is being written to by process"):
        redshift_from_files(stores[0], make_translator(), tmp_path, progress=False)
