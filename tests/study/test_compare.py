"""Two studies compared: significance of paired differences, and the exit status of the command."""

import json
import shutil

import numpy as np
import pytest
from astropy.table import Table

from astro_galtrans.cli import main
from astro_galtrans.statistics import Bootstrap
from astro_galtrans.study import compare_studies
from astro_galtrans.study.compare import _compared, _holm


def altered(study, folder, change):
    """A copy of a study, of whose translator the numbers per galaxy are changed."""
    shutil.copytree(study, folder, ignore=shutil.ignore_patterns("cache"))
    file = folder / "tables" / "galaxies_inter.ecsv"
    table = Table.read(file)
    change(table, table["model"] == "srgan-sdss-cfhtls")
    table.write(file, overwrite=True)
    return folder


def test_a_study_is_no_worse_than_itself(study, capsys):
    table = compare_studies(study, study)
    assert (table["p"] == 1).all() and (table["change"] == "").all() and (table["difference"] == 0).all()
    assert main(["study", "compare", str(study), str(study)]) == 0
    assert "0 of" in capsys.readouterr().out


def test_what_got_worse_is_found_and_is_the_exit_status(study, tmp_path, capsys):
    def change(table, ours):
        table["rmse_r"][ours] *= 2
        table["flux_bias_r"][ours] = (table["flux_bias_r"][ours] - 1) * 0.1 + 1

    worse = altered(study, tmp_path / "worse", change)
    table = compare_studies(study, worse)
    changed = table[table["change"] != ""]
    assert ("rmse", "r", "worse") in set(zip(changed["metric"], changed["band"], changed["change"], strict=True))
    assert not set(changed["metric"]) - {"rmse", "flux_bias"}
    assert table["change"][0] == "worse"
    assert main(["study", "compare", str(study), str(worse)]) == 3
    assert "1 of" in capsys.readouterr().out
    assert main(["study", "compare", str(study), str(worse), "--tolerance", "1.5"]) == 0
    assert main(["study", "compare", str(worse), str(study)]) in {0, 3}  # only the other way round is it better
    back = compare_studies(worse, study)
    assert set(back["change"][(back["metric"] == "rmse") & (back["band"] == "r")]) == {"better", ""}


def test_translators_of_other_names_are_compared_when_told(study):
    table = compare_studies(study, study, models={"second": "resampled"})
    rows = table[table["model"] == "second → resampled"]
    changes = [str(change) for change in rows["change"]]
    assert changes.count("worse") >= 5 and "better" not in changes


def test_false_alarms_are_as_rare_as_is_said(rng):
    """Two estimators of the same galaxies, neither better: one comparison of all in twenty is called different."""
    alarms, runs, number = 0, 60, 200
    for _ in range(runs):
        truth = rng.lognormal(0, 1, number)
        old, new = (Table({"model": ["a"] * number}) for _ in range(2))
        for table in (old, new):
            for column in ("rmse_r", "flux_scatter_r", "ssim_r", "flux_bias_g"):
                table[column] = truth * rng.lognormal(0, 0.3, number)
        p = [row["p"] for row in _compared("t", old, new, {}, Bootstrap(200))]
        assert len(p) == 4
        alarms += (_holm(np.array(p)) < 0.05).any()
    assert alarms <= 8  # 3 expected; more than 8 in one of 200 times


def test_a_shift_is_found_that_only_paired_data_show(rng):
    truth = rng.lognormal(0, 1, 100)
    tables = [Table({"model": ["a"] * 100, "rmse_r": truth * factor}) for factor in (1, 1.03)]
    (row,) = _compared("t", *tables, {}, Bootstrap(300))
    assert row["p"] < 1e-3 and row["difference"] == pytest.approx(0.03 * np.median(truth))
    unpaired = np.hypot(*(1.2533 * np.std(np.asarray(t["rmse_r"])) / 10 for t in tables))
    assert row["error"] < unpaired / 5


def test_holm_on_an_example_done_by_hand():
    np.testing.assert_allclose(_holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_studies_that_cannot_be_paired(study, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no finished study"):
        compare_studies(study, tmp_path)
    other = altered(study, tmp_path / "other", lambda *_: None)
    about = json.loads((other / "summary.json").read_text())
    about["tasks"]["inter"]["pixels fingerprint"] = "0"
    (other / "summary.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="judged different galaxies in the task 'inter'"):
        compare_studies(study, other)
    about["tasks"] = {"intra": about["tasks"]["inter"]}
    (other / "summary.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"no task in common: .* has inter, .* intra"):
        compare_studies(study, other)
