"""Recipes: the shipped ones load, and a misspelt field is named."""

import pytest

from astro_galtrans.models.registry import get_model_class
from astro_galtrans.training import list_recipes, load_recipe


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes(name):
    recipe = load_recipe(name, steps=7)
    assert recipe.name == name and recipe.run.steps == 7
    model = get_model_class(recipe.network.name).from_preset(recipe.network.preset, "ugriz", "ugriz", 2)
    assert model.spec.scale == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("crop = ", "corp = "), r"unknown field 'corp'; the nearest known is 'crop'"),
        (("[data]", "[dada]"), r"unknown field 'dada'; the nearest known is 'data'"),
        (("crop = 40", "crop = 'x'"), r"'crop' in .* must be int, got 'x'"),
        (("steps = ", "#"), r"lacks the field 'steps'"),
        (("[run]", "[run"), "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    from importlib.resources import files

    text = files("astro_galtrans").joinpath("training/recipes/swin-sdss-cfhtls.toml").read_text()
    assert change[0] in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(*change))
    with pytest.raises(ValueError, match=message):
        load_recipe(path)


def test_no_such_recipe():
    with pytest.raises(FileNotFoundError, match="swin-sdss-cfhtls"):
        load_recipe("swin")
