"""Recipes of studies: presets, fields, and what a wrong name gets."""

from pathlib import Path

import pytest

from astro_galtrans.study import list_presets, load_study
from astro_galtrans.study.recipe import LEVELS, SECTIONS, build_study, describe_fields


@pytest.mark.parametrize("name", list_presets())
def test_presets_are_recipes_that_say_what_they_are(name):
    study = load_study(name)
    assert study.description and set(study.levels) == set(LEVELS) and {"intra", "inter"} <= set(study.tasks)
    assert build_study(study.to_dict()) == study


def test_sizes_of_the_presets():
    quick, standard, paper = (load_study(name) for name in ("quick", "standard", "paper"))
    assert quick.data.number + quick.data.training == 600 and standard.data.number == 2000
    assert paper.training.preset == "paper" and all(len(task.train) == 4 for task in paper.tasks.values())
    assert load_study("quick", number=40).data.number == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1\n[tasks.a]", "unknown field 'sed'; the nearest known is 'seed'"),
        ("levels = ['pixels']\n[tasks.a]", "unknown name 'pixels'; the nearest known is 'pixel'"),
        ("baselines = ['weiner']\n[tasks.a]", "unknown name 'weiner'; the nearest known is 'wiener'"),
        ("[data]\nnumbr = 3\n[tasks.a]", r"\[data\] of .* unknown field 'numbr'; the nearest known is 'number'"),
        ("[data]\nnumber = 3\n[tasks.a]", "'number' in .* must be from 20 to inf, got 3"),
        ("[tasks.a]\ntrain = ['swim']", "unknown name 'swim'; the nearest known is 'swin'"),
        ("[tasks.a]\nsorce = 'sdss'", "unknown field 'sorce'; the nearest known is 'source'"),
        ("[redshift]\nestimator = 'images'\n[tasks.a]", "unknown name 'images'; the nearest known is 'image'"),
        ("baselines = []\n[tasks.a]", "has nothing to judge"),
        ("seed = 1", r"needs a section \[tasks.NAME\]"),
        ("tasks = 3", r"needs a section \[tasks.NAME\]"),
        ("data = 3\n[tasks.a]", r"\[data\] of .* must be a table with the fields number, "),
        ("[tasks.'../a']", "the name of a task is '../a'"),
        ("seed = ", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_said(text, message, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_study(file)


def test_an_unknown_preset():
    with pytest.raises(FileNotFoundError, match="presets are paper, quick, standard; nearest standard"):
        load_study("standart")


def test_paths_are_relative_to_the_recipe(tmp_path):
    (tmp_path / "own.safetensors").touch()
    (tmp_path / "pairs").mkdir()
    text = "[tasks.a]\npairs = 'pairs'\ntranslators = ['own.safetensors', 'swin-sdss-sdss']"
    (tmp_path / "recipe.toml").write_text(text)
    task = load_study(tmp_path / "recipe.toml").tasks["a"]
    assert task.pairs == str(tmp_path / "pairs")
    assert task.translators == [str(tmp_path / "own.safetensors"), "swin-sdss-sdss"]


def test_each_field_is_described():
    described = describe_fields()
    assert set(described) == {"", *SECTIONS, "tasks.NAME"}
    assert all(meaning for rows in described.values() for *_, meaning in rows)


def test_the_documentation_has_every_field():
    page = (Path(__file__).parents[2] / "docs" / "user_guide" / "study_recipe.rst").read_text()
    for section, rows in describe_fields().items():
        for name, kind, default, meaning in rows:
            told = f"``{default}``" if default else "must be given"
            shown = f"   * - ``{name}``\n     - {kind}\n     - {told}\n     - {meaning}\n"
            assert shown in page, f"[{section}] {name} is not there as it should be: run docs/recipe_fields.py"
