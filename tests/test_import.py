"""The public names: what importing the package gives, and what it does not load."""

import subprocess
import sys

import pytest

import astro_galtrans


def python(code, *arguments):
    """Return what a fresh interpreter prints."""
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_neither_the_package_nor_its_names_load_torch():
    code = "import sys, astro_galtrans as g; [getattr(g, name) for name in g.__all__]; g.list_translators(); "
    assert python(code + "print('torch' in sys.modules, 'astropy' in sys.modules)") == ["False", "True"]


@pytest.mark.parametrize("command", ["--help", "--version", "train --help", "fidelity --help"])
def test_help_of_the_program_loads_no_large_package(command):
    code = """
import contextlib, sys
from astro_galtrans.cli import main
with contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print({"torch", "astropy.io.fits", "scipy", "matplotlib"} & set(sys.modules) or "none")
"""
    assert python(code, *command.split())[-1] == "none"


@pytest.mark.parametrize(
    "first",
    [
        "import astro_galtrans.translate",
        "from astro_galtrans.translate import Translator",
        "import astro_galtrans; astro_galtrans.Translator",
    ],
)
def test_translate_is_the_function_whatever_was_imported_first(first):
    code = f"{first}\nimport astro_galtrans\nfrom astro_galtrans import translate\n"
    assert python(code + "print(callable(translate), callable(astro_galtrans.translate))") == ["True", "True"]


def test_the_module_of_that_name_can_be_imported_from():
    from astro_galtrans.translate import Translator, translate

    assert Translator is astro_galtrans.Translator
    assert translate is astro_galtrans.translate


def test_names_are_listed():
    assert set(astro_galtrans.__all__) <= set(dir(astro_galtrans))


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="'astro_galtrans' has no attribute 'colour'"):
        astro_galtrans.colour  # noqa: B018


def test_version_and_citation():
    assert astro_galtrans.__citation__ is astro_galtrans.__bibtex__
    assert astro_galtrans.__citation__.startswith("@")
    assert f"{{{astro_galtrans.__version__}}}" in astro_galtrans.__citation__
