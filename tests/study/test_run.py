"""A study: what it writes, what it finds again, and what it leaves alone."""

import json
import shutil
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from astropy.table import Table

from astro_galtrans._locks import locked
from astro_galtrans.cli import main
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.fidelity.anomaly.result import AnomalyResult
from astro_galtrans.study import load_study, run_study


def times(folder):
    """When files were written, but for the settings of translations, which are written before they are looked for."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "translation.json")
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in files}


def figures(folder):
    return json.loads((folder / "summary.json").read_text())["summary"]


def test_tables_in_both_formats_are_the_same(study):
    files = sorted((study / "tables").glob("*.ecsv"))
    assert {"summary.ecsv", "galaxies_inter.ecsv", "statistics.ecsv"} <= {file.name for file in files}
    for file in files:
        ours, theirs = Table.read(file), Table.read(file.with_suffix(".parquet"))
        assert ours.colnames == theirs.colnames and len(ours) == len(theirs)
        for name in ours.colnames:
            empty = "" if ours[name].dtype.kind == "U" else 0
            one, other = (np.ma.filled(np.ma.asarray(table[name]), empty) for table in (ours, theirs))
            if ours[name].dtype.kind == "f":
                np.testing.assert_allclose(one, other, rtol=1e-6)
            else:
                assert [str(v) for v in one] == [str(v) for v in other]


def test_the_summary_says_what_was_judged(study):
    about = json.loads((study / "summary.json").read_text())
    task = about["tasks"]["inter"]
    assert task["galaxies"] == 24 and task["source"] == "sdss" and about["recipe"]["seed"] == 15001
    assert set(task["models"]) == {"resampled", "wiener", "second", "identity", "srgan-sdss-cfhtls"}
    assert len(task["models"]["srgan-sdss-cfhtls"]["weights"]) == 64
    assert {"astro_galtrans", "numpy", "torch", "python"} <= set(about["versions"])


def test_baselines_are_where_they_have_to_be(study):
    table = Table.read(study / "tables" / "summary.ecsv")
    table = table[table["band"] == "r"]

    def value(metric, model):
        return float(table["value"][(table["metric"] == metric) & (table["model"] == model)][0])

    assert value("rmse", "identity") == 0 and value("ssim", "identity") == pytest.approx(1)
    assert value("flux_bias", "identity") == 1 and value("peak_scatter", "identity") == 0
    # two images with independent noise differ by the root of two, plus the photon noise of the source
    assert 2**0.5 <= value("rmse", "second") < 1.7
    assert value("rmse", "wiener") < value("rmse", "resampled")
    assert value("gain", "identity") == 1 and value("worse", "identity") == 0
    assert value("gain", "resampled") < 0 < value("gain", "srgan-sdss-cfhtls")
    galaxies = Table.read(study / "tables" / "galaxies_inter.ecsv")
    ours, theirs = (galaxies["rmse_r"][galaxies["model"] == name] for name in ("srgan-sdss-cfhtls", "wiener"))
    assert value("worse", "srgan-sdss-cfhtls") == pytest.approx(np.mean(ours > theirs))
    assert abs(value("fwhm", "wiener") - 1) < abs(value("fwhm", "resampled") - 1)


def test_the_summary_is_of_the_numbers_per_galaxy(study):
    galaxies = Table.read(study / "tables" / "galaxies_inter.ecsv")
    ours = galaxies[galaxies["model"] == "srgan-sdss-cfhtls"]
    row = next(
        row for row in figures(study)
        if (row["model"], row["metric"], row["band"]) == ("srgan-sdss-cfhtls", "flux_scatter", "r")
    )  # fmt: skip
    ratio = np.ma.filled(np.ma.asarray(ours["flux_scatter_r"], float), np.nan)
    ratio = ratio[np.isfinite(ratio)]
    assert row["n"] == len(ratio)
    assert row["value"] == pytest.approx(1.4826 * np.median(np.abs(ratio - np.median(ratio))), rel=1e-4)


def test_findings_are_answered_from_what_was_measured(study):
    found = json.loads((study / "summary.json").read_text())["findings"]
    structure, *others = found.values()
    assert len(structure) == 1 and structure[0].startswith("inter: holds for")
    assert others == [[], [], []]  # of levels that this study leaves out


def test_the_best_is_marked_among_translations(study):
    table = Table.read(study / "tables" / "summary.ecsv")
    assert not set(table["model"][table["best"]]) & {"identity", "second"}
    some = table[(table["metric"] == "rmse") & (table["band"] == "r")]
    contenders = some[np.isin(some["model"], ["resampled", "wiener", "srgan-sdss-cfhtls"])]
    assert list(contenders["best"]) == list(contenders["value"] == contenders["value"].min())


def test_nothing_runs_twice_and_only_what_is_lost_runs_again(study, recipe, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(study, folder)
    before, numbers = times(folder / "cache"), figures(folder)
    run_study(recipe, folder, progress=False)
    assert times(folder / "cache") == before and figures(folder) == numbers
    lost = next((folder / "cache" / "results").glob("photometry-srgan*"))
    lost.unlink()
    chunk = next((folder / "cache" / "translated").glob("*/00000-variance.npy"))
    chunk.unlink()
    broken = next((folder / "cache" / "results").glob("pixel-wiener*"))
    broken.write_bytes(broken.read_bytes()[:3000])
    baseline = next((folder / "cache" / "baselines").glob("resampled*"))
    baseline.unlink()
    with pytest.warns(GaltransWarning, match=f"{broken.name} cannot be read and is made anew"):
        run_study(recipe, folder, progress=False)
    assert figures(folder) == numbers
    after = times(folder / "cache")
    assert set(after) == set(before)
    again = {path for path in before if after[path] != before[path]}
    made = {path.relative_to(folder / "cache") for path in (lost, chunk, broken, baseline)}
    assert made <= again <= made | {chunk.relative_to(folder / "cache").with_name("00000.npy")}


def test_a_model_more_leaves_the_others_alone(study, recipe, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(study, folder)
    before = times(folder / "cache" / "results")
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace('["srgan', '["capsule-sdss-cfhtls", "srgan'))
    with pytest.raises(OSError, match=r"holds a study of another recipe \(tasks.inter.translators: .* update=True"):
        run_study(other, folder, progress=False)
    assert figures(folder) == figures(study)
    run_study(other, folder, update=True, progress=False)
    after = times(folder / "cache" / "results")
    assert {path: after[path] for path in before} == before
    assert {path.name.rpartition("-")[0] for path in set(after) - set(before)} == {
        "pixel-capsule-sdss-cfhtls", "photometry-capsule-sdss-cfhtls"
    }  # fmt: skip
    old, new = figures(study), figures(folder)
    assert [row for row in new if row["model"] != "capsule-sdss-cfhtls"] == old


def test_two_studies_in_one_folder(study, recipe):
    with locked(study), pytest.raises(OSError, match="is being written to by process"):
        run_study(recipe, study, progress=False)
    with locked(study / "cache"), pytest.raises(OSError, match="is being written to by process"):
        run_study(recipe, study, progress=False)


def test_translators_that_are_unknown_or_for_other_pairs(recipe, study, tmp_path):
    text = recipe.read_text()
    for name, message in (
        ("srgn-sdss-cfhtls", "unknown translator 'srgn-sdss-cfhtls'; the nearest are srgan-sdss-cfhtls"),
        ("srgan-cfhtls-sdss", "srgan-cfhtls-sdss is for pixels of"),
    ):
        file = tmp_path / "recipe.toml"
        file.write_text(text.replace("srgan-sdss-cfhtls", name))
        with pytest.raises(ValueError, match=message):
            run_study(file, tmp_path / "out", cache=study / "cache", progress=False)


@pytest.mark.slow
def test_a_target_that_is_less_sharp_is_judged_at_its_own_psf(tmp_path):
    text = 'levels = ["anomaly"]\nbaselines = ["identity"]\n[data]\nnumber = 20\ntraining = 0\n'
    (tmp_path / "reverse.toml").write_text(text + '[tasks.reverse]\nsource = "cfhtls-wide"\ntarget = "sdss"\n')
    run_study(tmp_path / "reverse.toml", tmp_path / "out", progress=False)
    result = AnomalyResult.read(next((tmp_path / "out" / "cache" / "results").glob("anomaly-identity*")))
    assert result.meta["compared at the target's PSF"] == list("ugriz")
    assert abs(result.value("chi2_dof", "median", model="identity", band="all")[0] - 1) < 0.05


@pytest.mark.slow
def test_killed_while_anomalies_are_measured_it_goes_on_to_the_same_tables(study, recipe, tmp_path):
    file, command = tmp_path / "anomaly.toml", [sys.executable, "-m", "astro_galtrans", "study"]
    file.write_text(recipe.read_text().replace('["pixel", "photometry"]', '["anomaly"]'))
    for name in ("whole", "killed"):
        shutil.copytree(study / "cache", tmp_path / name)
    run_study(file, tmp_path / "first", cache=tmp_path / "whole", progress=False)
    command += [file, "-o", tmp_path / "second", "--cache", tmp_path / "killed"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        for line in run.stdout:
            if "images of srgan-sdss-cfhtls" in line:  # the step before anomalies
                break
        time.sleep(0.5)
        run.kill()
    assert not list((tmp_path / "killed" / "results").glob("anomaly-*"))
    run_study(file, tmp_path / "second", cache=tmp_path / "killed", progress=False)
    for table in (tmp_path / "first" / "tables").glob("*.ecsv"):
        assert table.read_text() == (tmp_path / "second" / "tables" / table.name).read_text()


def test_pairs_without_true_images(study, tmp_path):
    """The source alone is judged: by what a translation says of it."""
    import h5py

    pairs = tmp_path / "pairs"
    shutil.copytree(next((study / "cache" / "pairs").iterdir()), pairs)
    for shard in pairs.glob("*.h5"):
        with h5py.File(shard, "r+") as file:
            file["target"][...] = np.nan
    text = f"levels = ['pixel', 'anomaly', 'redshift']\n[data]\nnumber = 20\n[tasks.own]\npairs = '{pairs}'\n"
    (tmp_path / "own.toml").write_text(text + "translators = ['srgan-sdss-cfhtls']")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaltransWarning)
        run_study(tmp_path / "own.toml", tmp_path / "out", progress=False)
    about = json.loads((tmp_path / "out" / "summary.json").read_text())
    left_out = about["tasks"]["own"]["left out"]
    assert {left_out[name] for name in ("pixel", "redshift", "second", "identity")} == {"there are no true images"}
    assert {row["level"] for row in about["summary"]} == {"anomaly"}
    few = text.replace("'pixel', 'anomaly', 'redshift'", "'anomaly'") + "translators = ['srgan-sdss-cfhtls']"
    (tmp_path / "few.toml").write_text(few + "\n[anomaly]\nnumber = 7\n")
    run_study(tmp_path / "few.toml", tmp_path / "few", cache=tmp_path / "out" / "cache", progress=False)
    assert {row["n"] for row in figures(tmp_path / "few")} == {7}


def test_what_is_shipped_for_blends_is_not_judged_on_other_pairs():
    from astro_galtrans.pairs.simulated import PairSettings
    from astro_galtrans.pairs.store import PairHeader
    from astro_galtrans.study.recipe import Task
    from astro_galtrans.study.steps import translators_of

    task, names = Task(target="sdss", translators=["shipped"]), {}
    for blends in (0.0, 0.7):
        settings = PairSettings(source="sdss", target="sdss", blends=blends)
        header = PairHeader(*settings.surveys, settings.scale, settings.size, simulation=settings.to_dict())
        names[blends] = set(translators_of(task, header))
    assert names[0.7] == {"srgan-deblend-sdss"}
    assert {f"{kind}-sdss-sdss" for kind in ("swin", "srgan", "capsule", "diffusion")} == names[0.0]


def test_wrong_options_of_the_command(capsys):
    for words, message in (
        (["study"], "give one recipe"), (["study", "--preset", "quick"], "the folder of the study, -o DIR"),
        (["study", "compare", "a"], "give the folders of two studies"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.slow
def test_all_levels_and_the_split_of_own_pairs(study, tmp_path):
    """Redshift and peaks too, from a store that is split."""
    from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs

    simulate_pairs(tmp_path / "train", 64, PairSettings(seed=3, kind="galaxy"), progress=False)
    text = (
        "[data]\nnumber = 24\ntraining = 40\n[redshift]\nepochs = 3\n[bootstrap]\nresamples = 20\n[tasks.own]\n"
        f"pairs = '{next((study / 'cache' / 'pairs').iterdir())}'\ntraining_pairs = '{tmp_path / 'train'}'\n"
        "translators = ['diffusion-sdss-cfhtls']\n"
    )
    (tmp_path / "own.toml").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaltransWarning)
        run_study(load_study(tmp_path / "own.toml"), tmp_path / "out", progress=False)
    rows = figures(tmp_path / "out")
    assert {row["level"] for row in rows} == {"pixel", "photometry", "morphology", "anomaly", "redshift"}
    same = [
        next(r["value"] for r in rows if (r["model"], r["metric"]) == (model, metric))
        for model, metric in (("identity", "plug_in_information"), ("target", "retrained_information"))
    ]
    assert same[0] == pytest.approx(same[1])
