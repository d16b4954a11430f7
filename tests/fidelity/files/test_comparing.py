"""Fidelity on all levels from pairs, stamps and frames."""

import re
from dataclasses import replace

import numpy as np
import pytest
import scenes
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable, Table
from numpy.testing import assert_allclose
from toy_network import ToyTranslator, toy_card

from astro_galtrans._locks import locked
from astro_galtrans.cli import main
from astro_galtrans.fidelity.anomaly.residuals import Tolerance
from astro_galtrans.fidelity.anomaly.result import AnomalyResult
from astro_galtrans.fidelity.files import anomalies_from_files, fidelity_from_files
from astro_galtrans.fidelity.files.frames import are_frames
from astro_galtrans.fidelity.files.inputs import from_store
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.pairs.store import PairHeader, PairStore, PairWriter
from astro_galtrans.stamps import Stamps
from astro_galtrans.statistics.bootstrap import Bootstrap
from astro_galtrans.surveys import get_survey
from astro_galtrans.translate import Translator
from helpers import make_survey, make_wcs

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

N = 24
SURVEYS = get_survey("sdss").select("gri"), get_survey("cfhtls-wide").select("gri")
QUICK = dict(levels=["anomaly"], progress=False)


@pytest.fixture(scope="module")
def images():
    """Galaxies as in `scenes`: the seeing is not that of the surveys, but the table says what it is."""
    return scenes.pairs(N, seed=21, faint=20)[:2]


@pytest.fixture(scope="module")
def store(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "store"
    with PairWriter(folder, PairHeader(*SURVEYS, scale=2, size=scenes.SIDE), shard=16) as writer:
        for k, (source, target) in enumerate(zip(*images, strict=True)):
            row = {"index": k, "kind": "star" if k == 3 else "galaxy", "z": 0.1 + 0.01 * k, "r": 18 + 0.1 * k}
            seeing = {f"fwhm_{band}": fwhm for band, fwhm in zip("gri", scenes.FWHM, strict=True)}
            writer.add(source, target, row | seeing, signal=target > 0)
    return folder


def make_translator():
    model = ToyTranslator.from_preset("tiny", tuple("gri"), tuple("gri"), 2).eval()
    return Translator(Checkpoint(model, toy_card("gri", name="toy"), "0" * 64))


def of_both(source, target):
    """Stamps of both surveys in memory."""
    return Stamps(source, SURVEYS[0]), Stamps(target, SURVEYS[1], scenes.PIXEL / 2)


def saved(path, stamps):
    np.save(path, stamps)
    return path


def test_a_store_and_stamps_of_its_galaxies(store, images, tmp_path):
    galaxies = np.arange(N) != 3
    paths = {
        "all": saved(tmp_path / "all.npy", images[1]),
        "galaxies": saved(tmp_path / "galaxies.npy", np.stack([images[1][galaxies]] * 2, axis=1)),
    }
    results = fidelity_from_files(store, translated=paths, output=tmp_path / "out", **QUICK)
    found = results["anomaly"]
    assert found.models == ["target", "all", "galaxies"] and found.meta["galaxies"] == N - 1
    assert_allclose(found.scores("all"), found.scores("target"), atol=0.2)
    assert_allclose(found.scores("all"), found.scores("galaxies"))
    # seeing is from the table, and not the survey's; a Moffat profile has the area of a Gaussian wider by the root of
    # 3.44 / 2.27
    assert_allclose(found.meta["equivalent_fwhm"], scenes.FWHM * np.sqrt(3.44 / 2.27), rtol=0.01)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "anomaly/report.html" in page and AnomalyResult.read(tmp_path / "out" / "anomaly").models == found.models


def test_stamps_of_the_middle_are_compared_with_the_middle(store, images, tmp_path):
    middle = images[1][:, :, 8:-8, 8:-8]
    found, _, by, _ = from_store(store, {"middle": saved(tmp_path / "m.npy", middle)}, {}, number=5)
    rows = [0, 1, 2, 4, 5]
    assert found["source"].images.shape == (5, 3, 24, 24) and found["target"].images.shape == (5, 3, 48, 48)
    np.testing.assert_array_equal(found["middle"].read(), middle[rows])
    assert_allclose(found["target"].read(), middle[rows], rtol=1e-6)
    assert_allclose(by["redshift"], 0.1 + 0.01 * np.array(rows))


def test_stamps_in_files(images, tmp_path, capsys):
    source, target = images
    fits.writeto(tmp_path / "x.fits", source)
    (tmp_path / "y").mkdir()
    for k, stamp in enumerate(target):
        fits.writeto(tmp_path / "y" / f"{k:02d}.fits", stamp)
    wrong = np.array(target)
    wrong[5] *= 1.3
    np.save(tmp_path / "wrong.npy", wrong)
    command = ["fidelity", *(str(tmp_path / name) for name in ("x.fits", "y")), f"mine={tmp_path / 'wrong.npy'}"]
    command += ["-o", str(tmp_path / "out"), "--skip", "pixel", "photometry", "morphology", "--no-colour-terms"]
    command += ["--source-survey", "sdss", "--target-survey", "cfhtls-wide", "--source-bands", "gri"]
    command += ["--target-bands", "g,r,i", "--source-fwhm", "1.3,1.2,1.1", "--target-fwhm", "0.85,0.8,0.7"]
    assert main(command) == 0
    assert capsys.readouterr().out.strip().endswith("index.html")
    found = AnomalyResult.read(tmp_path / "out" / "anomaly")
    assert found.models == ["target", "mine"] and found.scores("mine").argmax() == 5


def test_anomalies_of_a_store_have_the_columns_of_its_table(store, images, tmp_path):
    wrong = np.array(images[1])
    wrong[7] *= 1.3
    options = dict(options={"anomaly": {"colour_terms": None}}, progress=False)
    table = anomalies_from_files(store, {"mine": saved(tmp_path / "mine.npy", wrong)}, tmp_path / "out", **options)
    assert table["model"][0] == "mine" and table["row"][0] == 7 and (np.diff(table["score"]) <= 0).all()
    assert 3 not in table["row"]  # a star
    assert_allclose(table["z"], PairStore(store).table["z"][table["row"]])
    written = QTable.read(tmp_path / "out" / "anomalies.ecsv")
    assert written.colnames == table.colnames and len(written) == 2 * (N - 1)


def test_anomalies_without_a_true_image(images, tmp_path, capsys):
    """Stamps of the source alone are translated and ranked by the command."""
    np.save(tmp_path / "x.npy", images[0][:, [0, 0, 1, 2, 2]])
    command = ["anomalies", str(tmp_path / "x.npy"), "-m", "srgan-sdss-cfhtls", "-o", str(tmp_path / "out")]
    command += ["--source-survey", "sdss", "--target-fwhm", "0.8", "--show", "3"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert f"of {N} galaxies are anomalous" in told and told.strip().endswith("index.html")
    assert len(QTable.read(tmp_path / "out" / "anomalies.ecsv")) == N
    assert main([*command[:2], f"mine={tmp_path / 'x.npy'}", *command[2:]]) == 1
    assert "nothing says of which survey mine is: give --target (real images)" in capsys.readouterr().err


def test_the_index_shows_this_run_alone(images, tmp_path):
    source, target = of_both(*images)
    for name in ("first", "second"):
        settings = dict(levels=["pixel"], number=6, bootstrap=Bootstrap(5), bins=1, progress=False)
        fidelity_from_files(source, target, {name: 1.1 * images[1]}, tmp_path, **settings)
        page = (tmp_path / "index.html").read_text()
        assert f"pixel/gallery_{name}.png" in page and page.count("gallery_") == page.count(f"gallery_{name}")
        assert (tmp_path / "pixel" / f"gallery_{name}.png").exists()


def test_a_folder_holds_one_run(images, tmp_path):
    """Nothing of the levels, translations and format of an earlier run is left; what is not the package's stays."""
    source, target = of_both(*images)
    settings = dict(number=6, bootstrap=Bootstrap(5), progress=False)
    fidelity_from_files(
        source, target, {"first": 1.1 * images[1], "other": images[1]}, tmp_path, levels=["pixel", "photometry"],
        bins=1, by={"magnitude": np.arange(6.0)}, **settings,
    )  # fmt: skip
    (tmp_path / "pixel" / "notes.txt").touch()
    before = {path.name for path in (tmp_path / "pixel").iterdir()}
    assert {"gallery_first.png", "bins.ecsv"} <= before
    second = {"second": images[1]}
    fidelity_from_files(source, target, second, tmp_path, levels=["pixel"], bins=1, format="fits", **settings)
    assert not (tmp_path / "photometry").exists()
    left = {path.name for path in (tmp_path / "pixel").iterdir()}
    assert "notes.txt" in left and not [name for name in left if "first" in name or name.endswith("ecsv")]
    shown = re.findall(r'data-file="([^"]+)"', (tmp_path / "pixel" / "report.html").read_text())
    assert {name for name in left if name.endswith("png")} == {*shown, "gallery_second.png"}


def test_two_writers_of_a_folder(images, tmp_path):
    source, target = of_both(*images)
    with locked(tmp_path), pytest.raises(OSError, match=rf"{tmp_path} is being written to by process"):
        fidelity_from_files(source, target, images[1], tmp_path, **QUICK)


def test_stamps_and_a_translator(images, tmp_path):
    """Stamps are translated as pairs are; what was translated is found again, and other stamps are not taken for it."""
    source, target = of_both(*images)
    translator = make_translator()
    settings = dict(output=tmp_path, number=5, **QUICK)
    found = fidelity_from_files(source, target, translator, **settings)["anomaly"]
    assert found.models == ["target", "toy"] and found.meta["galaxies"] == 5
    pixels = fidelity_from_files(source, target, translator, **settings | {"levels": ["pixel"]})["pixel"]
    assert 0 < pixels.value("coverage_1", model="toy")[0] <= 1  # of the uncertainty that the translator states
    direct = {"toy": translator.stamps(source.read(slice(5)))}
    again = fidelity_from_files(source, target, direct, **settings)["anomaly"]
    assert_allclose(again.scores("toy"), found.scores("toy"), rtol=1e-4)
    assert len(list((tmp_path / "translated").iterdir())) == 1
    brighter = fidelity_from_files(Stamps(1.5 * source.read(), SURVEYS[0]), target, translator, **settings)["anomaly"]
    assert len(list((tmp_path / "translated").iterdir())) == 2
    assert not np.allclose(brighter.scores("toy"), found.scores("toy"), rtol=1e-2)


@pytest.mark.slow
def test_all_levels(store, images, tmp_path):
    paths = {"same": saved(tmp_path / "same.npy", images[1])}
    results = fidelity_from_files(store, None, paths, tmp_path / "out", bootstrap=Bootstrap(20), bins=2, progress=False)
    assert list(results) == ["pixel", "photometry", "morphology", "anomaly"]
    for level in results:
        assert (tmp_path / "out" / level / "report.html").exists()
    assert results["pixel"].value("rmse", model="same")[0] == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert all(f"{level}/report.html" in page for level in results)


# -- frames


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A field in two surveys and two translations, one of which moved a galaxy; and its catalogue."""
    folder, rng = tmp_path_factory.mktemp("field"), np.random.default_rng(5)
    side, pixel = 256, scenes.PIXEL
    places = [(x, y) for x in (-30, -10, 10, 30) for y in (-30, -10, 10, 30)]
    places = np.array(places) + rng.uniform(-2, 2, (16, 2))
    sets = {"x": (1, scenes.FWHM, 1.0), "y": (2, scenes.TARGET_FWHM, scenes.FACTOR)}
    sets |= dict.fromkeys(("good", "bad"), (2, scenes.TARGET_FWHM, scenes.FACTOR))
    for name, (scale, seeing, factor) in sets.items():
        wcs = make_wcs((scale * side, scale * side), pixel_scale=pixel / scale)
        for k, band in enumerate("gri"):
            sigma = np.hypot(0.4, seeing[k] * scenes.TO_SIGMA)
            image = np.zeros((scale * side, scale * side))
            for number, (x, y) in enumerate(places):
                moved = 1.0 if name == "bad" and number == 6 else 0.0
                image += 60 * scenes.COLOURS[k] * scenes.gaussian(scale * side, pixel / scale, sigma, x + moved, y)
            noise = {"x": scenes.SKY[k], "y": 1.2e-3}.get(name, 0)
            data = factor * (image + rng.normal(0, noise, image.shape) if noise else image)
            ccd = CCDData(data.astype(np.float32), unit="nmgy" if name == "x" else "adu", wcs=wcs)
            ccd.meta["FILTER"] = band
            ccd.meta["ZP"] = 22.5 if name == "x" else 30.0
            (folder / name).mkdir(exist_ok=True)
            ccd.write(folder / name / f"{band}.fits")
    wcs = make_wcs((side, side), pixel_scale=pixel)
    sky = wcs.pixel_to_world(*(places.T / pixel + (side - 1) / 2))
    Table({"ra": sky.ra.deg, "dec": sky.dec.deg}).write(folder / "objects.ecsv")
    return folder


def test_frames_are_known_by_a_quoted_glob(field, tmp_path):
    assert are_frames(f"{field}/x/?.fits") and are_frames([field / "x" / "g.fits"])
    assert not are_frames(saved(tmp_path / "stamps.npy", np.zeros(3)))
    with pytest.raises(FileNotFoundError, match=r"none/\*.fits matches no file"):
        fidelity_from_files(f"{field}/none/*.fits", field / "y", field / "good", tmp_path, **QUICK)


@pytest.mark.filterwarnings("ignore:the target images have pixels of 0.198 arcsec")
@pytest.mark.filterwarnings("ignore:no pair is in")
def test_frames_and_a_catalogue(field, tmp_path):
    psfs = [
        [scenes.gaussian(25, pixel, fwhm * scenes.TO_SIGMA) for fwhm in seeing]
        for pixel, seeing in ((scenes.PIXEL, scenes.FWHM), (scenes.PIXEL / 2, scenes.TARGET_FWHM))
    ]
    exact = {"anomaly": {"colour_terms": None, "tolerance": Tolerance()}}
    found = fidelity_from_files(
        field / "x", field / "y", {"good": field / "good", "bad": field / "bad"}, tmp_path, frames=cutting(field),
        psf=dict(zip(("source", "target"), psfs, strict=True)), options=exact, **QUICK,
    )["anomaly"]  # fmt: skip
    store = PairStore(next((tmp_path / "pairs").iterdir()))
    assert len(store) == found.meta["galaxies"] > 10
    truth = np.flatnonzero(store.table["row"] == 6)[0]
    assert found.scores("bad").argmax() == truth and found.scores("bad")[truth] > 100
    assert (np.delete(found.scores("bad"), truth) < 4).all() and (found.scores("good") < 4).all()
    assert np.median(found.scores("good")) < 2
    # a translation's noise is measured over all its galaxies: one that is wrong changes the others' scores a little
    assert_allclose(np.delete(found.scores("bad"), truth), np.delete(found.scores("good"), truth), atol=1.0)
    (file,) = (tmp_path / "cut").glob("good-*.npy")
    cut = np.load(file)
    sky = 1.2 * np.ones(3)[:, None, None]
    middle = np.abs(cut - np.asarray(store.images("target")))[..., 24:40, 24:40]
    assert np.median(middle / sky) < 3


def cutting(field):
    return dict(catalogue=field / "objects.ecsv", source_survey="sdss", target_survey="cfhtls-wide", size=32)


@pytest.mark.filterwarnings("ignore:the target images have pixels of 0.198 arcsec")
@pytest.mark.filterwarnings("ignore:no pair is in")
def test_other_frames_under_the_same_name_are_not_taken_for_the_first(field, tmp_path):
    """A translation that was made again, with a galaxy elsewhere, must not get the figures of the one before."""
    settings = dict(frames=cutting(field), options={"anomaly": {"colour_terms": None}}, **QUICK)
    mine = tmp_path / "mine"
    mine.mkdir()

    def scores(which):
        for file in (field / which).iterdir():
            (mine / file.name).write_bytes(file.read_bytes())
        result = fidelity_from_files(field / "x", field / "y", {"mine": mine}, tmp_path / "out", **settings)
        return result["anomaly"].scores("mine")

    good, bad = scores("good"), scores("bad")
    (pairs,) = (tmp_path / "out" / "pairs").iterdir()
    moved = np.flatnonzero(PairStore(pairs).table["row"] == 6)[0]
    assert bad[moved] > good[moved] + 5
    files = sorted((tmp_path / "out" / "cut").glob("mine-*.npy"))
    assert len(files) == 2
    assert_allclose(scores("good"), good)  # the first ones are found again
    assert sorted((tmp_path / "out" / "cut").glob("mine-*.npy")) == files
    # Other objects are other pairs: those of the first catalogue must not be among them.
    fewer = Table.read(field / "objects.ecsv")[:5]
    result = fidelity_from_files(
        field / "x", field / "y", {"mine": mine}, tmp_path / "out",
        **settings | {"frames": cutting(field) | {"catalogue": fewer}},
    )  # fmt: skip
    assert result["anomaly"].meta["galaxies"] <= 5 < len(good)


def test_mistakes_are_said_before_anything_is_done(store, images, field, tmp_path):
    source, target = of_both(*images)
    wrong, out = images[1], tmp_path / "out"
    with pytest.raises(ValueError, match="levels must be some of pixel, photometry, morphology, anomaly, got shape"):
        fidelity_from_files(source, target, target, out, levels=["shape"])
    with pytest.raises(ValueError, match=r"options must be some of pixel, .*, anomaly, translate, got anomalies"):
        fidelity_from_files(source, target, target, out, options={"anomalies": {}})
    with pytest.raises(ValueError, match="nothing to judge"):
        fidelity_from_files(store, output=out)
    with pytest.raises(ValueError, match="leave the target out"):
        fidelity_from_files(store, target, target, out)
    with pytest.raises(ValueError, match="target's images are needed"):
        fidelity_from_files(source, None, target, out)
    with pytest.raises(TypeError, match=r"files and arrays do not say whose they are: give Stamps\.from_files"):
        fidelity_from_files(images[0], target, wrong, out)
    with pytest.raises(ValueError, match="few has 3 rows, target 24"):
        fidelity_from_files(source, target, {"few": wrong[:3]}, out, **QUICK)
    with pytest.raises(ValueError, match="two has 2 bands, the survey cfhtls-wide has 3: g, r, i"):
        fidelity_from_files(source, target, {"two": wrong[:, :2]}, out, **QUICK)
    with pytest.raises(ValueError, match=r"few has 3 stamps; there are 23 galaxies .*number=3"):
        fidelity_from_files(store, None, {"few": wrong[:3]}, out)
    with pytest.raises(ValueError, match=r"stamps of odd have 31 pixels along a side, not 64"):
        fidelity_from_files(store, None, {"odd": wrong[:, :, :31, :31]}, out)
    with pytest.raises(ValueError, match="two translations have the same name, x, x; give a dict"):
        fidelity_from_files(store, None, [tmp_path / "a" / "x.npy", tmp_path / "b" / "x.npy"], out)
    with pytest.raises(ValueError, match="the seeing of mine is not known in r; give psf="):
        fidelity_from_files(Stamps(images[0], make_survey("gri", fwhm=[1, np.nan, 1])), target, wrong, out, **QUICK)
    with pytest.raises(ValueError, match="bands missing among the images of gr: i; they have g, r"):
        fidelity_from_files(
            field / "x", field / "y", {"gr": [field / "good" / "g.fits", field / "good" / "r.fits"]}, tmp_path / "f",
            frames={"catalogue": field / "objects.ecsv", "size": 32}, **QUICK,
        )  # fmt: skip
    assert not out.exists()


def test_seeing_that_is_not_known_is_said(images, tmp_path):
    source, target = of_both(*images)
    for unknown in (np.full((N, 3), np.nan), np.full(3, np.nan)):
        with pytest.raises(ValueError, match="seeing of sdss is not known in g, r, i; give psf="):
            fidelity_from_files(replace(source, psf=unknown), target, {"mine": images[1]}, tmp_path, **QUICK)


def test_a_name_that_leads_out_of_the_output_is_refused_before_any_work(images, tmp_path):
    with pytest.raises(ValueError, match=r"name of a translation is '\.\./up'; expected up to 100 letters"):
        fidelity_from_files(*of_both(*images), {"../up": images[1]}, tmp_path / "out", **QUICK)
    assert not list(tmp_path.iterdir())
