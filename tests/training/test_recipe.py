"""Recipes: the shipped ones load, every field is documented, and a misspelt one is named."""

from dataclasses import fields
from pathlib import Path

import pytest

from astro_galtrans import get_survey
from astro_galtrans.models.checkpoint import load, read_card, save
from astro_galtrans.models.registry import get_model_class
from astro_galtrans.models.shipped import find_weights
from astro_galtrans.training import list_recipes, load_recipe, recalibrate, train
from astro_galtrans.training.recipe import SECTIONS, build_recipe, describe_fields

SWIN = Path(__file__).parents[2] / "astro_galtrans" / "training" / "recipes" / "swin.toml"


def test_a_recipe_for_each_network_and_one_for_blends():
    assert list_recipes() == ["capsule", "diffusion", "srgan", "srgan-deblend", "swin"]


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes(name):
    recipe = load_recipe(name, steps=7)
    assert recipe.network.name == name.removesuffix("-deblend") and recipe.run.steps == 7
    network = recipe.network
    model = get_model_class(network.name).from_preset(network.preset, "ugriz", "ugriz", 2, **network.settings)
    assert model.spec.scale == 2
    assert build_recipe(recipe.to_dict()) == recipe


def test_names_follow_from_the_surveys():
    recipe = load_recipe("swin").for_surveys(get_survey("sdss"), get_survey("cfhtls-wide").select("gri"))
    assert recipe.name == "swin-sdss-cfhtls-own"  # the name without the ending is that of a shipped translator
    assert load_recipe("swin").for_surveys(get_survey("des"), get_survey("hsc-wide")).name == "swin-des-hsc"
    assert recipe.description.startswith("sdss ugriz to cfhtls-wide gri")
    own = load_recipe("swin", name="mine").for_surveys(get_survey("sdss"), get_survey("sdss"))
    assert own.name == "mine"


def test_the_name_of_a_shipped_translator_is_refused(tmp_path):
    with pytest.raises(ValueError, match="swin-sdss-cfhtls is the name of a translator that comes with the package"):
        train(load_recipe("swin", name="swin-sdss-cfhtls"), None, None, tmp_path)
    with pytest.raises(ValueError, match=r"ends in \.safetensors, by which it is found; got mine\.pt"):
        recalibrate("swin-sdss-cfhtls", None, "mine.pt")


def test_changes_of_sections_and_of_the_run():
    recipe = load_recipe("swin", hours=2, data={"batch_size": 64}, augment={"noise": 0.5})
    assert (recipe.run.hours, recipe.data.batch_size, recipe.data.crop, recipe.augment.noise) == (2.0, 64, 40, 0.5)
    with pytest.raises(ValueError, match=r"unknown field 'hour'; the nearest known is 'hours'"):
        load_recipe("swin", hour=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("crop = ", "corp = "), r"unknown field 'corp'; the nearest known is 'crop'"),
        (("[data]", "[dada]"), r"unknown field 'dada'; the nearest known is 'data'"),
        (("dihedral = ", "dihedrals = "), r"unknown field 'dihedrals'; the nearest known is 'dihedral'"),
        (("crop = 40", "crop = 'x'"), r"'crop' in .* must be int, got 'x'"),
        (("steps = ", "#"), r"lacks the field 'steps'"),
        (("[run]", "[run"), "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    text = SWIN.read_text()
    assert change[0] in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(*change, 1))
    with pytest.raises(ValueError, match=message):
        load_recipe(path)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("run", "steps", -5), ("run", "hours", -1.0), ("run", "hours", float("nan")), ("run", "log_steps", 0),
        ("run", "patience", -1), ("data", "batch_size", 0), ("data", "crop", 0), ("data", "bright_share", 1.5),
        ("optimizer", "ema", 2.0), ("optimizer", "clip", -1.0), ("optimizer", "learning_rate", float("inf")),
        ("augment", "dihedral", -0.1), ("loss", "structure", -1.0), ("pairs", "number", 0),
    ],
)  # fmt: skip
def test_settings_without_sense_are_refused_with_their_range(section, name, value):
    with pytest.raises(ValueError, match=rf"'{name}' in \[{section}\] of swin must be from \S+ to \S+, got {value}"):
        load_recipe("swin", **{section: {name: value}})


@pytest.mark.parametrize("name", ["../swin", "/tmp/swin", "a/b", "a\\b", "..", "a\x1b[2J", "x" * 200])
def test_names_stay_in_their_folder(name):
    with pytest.raises(ValueError, match="expected up to 100 letters, digits, spaces and"):
        load_recipe("swin", name=name)


def test_no_such_recipe():
    with pytest.raises(FileNotFoundError, match="capsule, diffusion, srgan, srgan-deblend, swin"):
        load_recipe("swim")


def test_every_field_is_described_and_in_the_documentation():
    tables = describe_fields()
    assert set(tables) == {"", *SECTIONS}
    for section, kind in SECTIONS.items():
        assert [row[0] for row in tables[section]] == [f.name for f in fields(kind)]
        assert all(len(meaning) > 10 for *_, meaning in tables[section])
    page = (SWIN.parents[3] / "docs" / "user_guide" / "train_recipe.rst").read_text()
    for section, rows in tables.items():
        for name, kind, default, meaning in rows:
            told = f"``{default}``" if default else "must be given"
            shown = f"   * - ``{name}``\n     - {kind}\n     - {told}\n     - {meaning}\n"
            assert shown in page, f"[{section}] {name} is not there as it should be: run docs/recipe_fields.py"


def test_a_translator_gives_the_recipe_that_it_was_trained_with():
    own = load_recipe("srgan-sdss-cfhtls", steps=7)
    card = read_card(find_weights("srgan-sdss-cfhtls"))["training"]["recipe"]
    assert own.name == "srgan-sdss-cfhtls-own"  # not that of the shipped one
    assert own.run.steps == 7
    assert own.network.settings == card["network"]["settings"]
    assert own.optimizer.learning_rate == card["optimizer"]["learning_rate"]
    assert own.pairs.seed == card["pairs"]["seed"]


def test_a_translator_without_a_recipe_gives_none(tmp_path):
    there = load(find_weights("srgan-sdss-cfhtls"))
    kept = {name: value for name, value in there.card.items() if name not in {"training", "created"}}
    save(tmp_path / "mute.safetensors", there.model, kept | {"training": {"steps": 3}})
    with pytest.raises(ValueError, match="does not say how it was trained"):
        load_recipe(tmp_path / "mute.safetensors")
