"""A small study of simulated pairs, made once."""

import pytest

RECIPE = """
levels = ["pixel", "photometry"]

[data]
number = 24
training = 0

[bootstrap]
resamples = 60

[tasks.inter]
translators = ["srgan-sdss-cfhtls"]
"""


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    """File of a study of two levels and one translator."""
    file = tmp_path_factory.mktemp("recipe") / "small.toml"
    file.write_text(RECIPE)
    return file


@pytest.fixture(scope="session")
def study(recipe, tmp_path_factory):
    """Folder of that study, finished."""
    pytest.importorskip("galsim")
    pytest.importorskip("matplotlib")
    pytest.importorskip("pyarrow")
    from astro_galtrans.study import run_study

    folder = tmp_path_factory.mktemp("study") / "out"
    run_study(recipe, folder, progress=False)
    return folder
