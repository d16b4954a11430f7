"""Every name on the first page of the reference has an Examples section, which pytest runs with the docstrings."""

import re
from importlib import import_module
from inspect import getdoc
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "reference" / "index.rst").read_text(encoding="utf8")
MODULES = re.findall(r"automodapi:: (\S+)\n((?:   :.*\n)*)", PAGE)
NAMES = [
    (module, name)
    for module, options in MODULES
    for name in re.findall(r":include: (\S+)", options) or import_module(module).__all__
    if callable(getattr(import_module(module), name)) and not module.endswith("exceptions")
]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_it_has_an_example_that_runs(module, name):
    _, _, example = getdoc(getattr(import_module(module), name)).partition("\nExamples\n--------\n")
    assert ">>> " in example and "+SKIP" not in example


def test_pages_are_read():
    assert len(NAMES) > 50
