"""Each `galtrans` command that README and documentation show is one that the command line takes."""

import re
import shlex
from contextlib import nullcontext
from pathlib import Path

import pytest

from astro_galtrans.cli._main import make_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
PAGES += sorted((ROOT / "examples").glob("*.py"))
# what stands for a value in a synopsis, and a value of its kind
STAND_INS = {"COMMAND": "list", "N": "1", "RECIPE": "swin", "BANDS": "g,r"}


def shown(text):
    """Commands in code blocks, with their continued lines, and in double backquotes."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = re.findall(r"^ +(?:\$ )?(?:\S*/bin/)?galtrans (.+)$", joined, flags=re.MULTILINE)
    return lines + [" ".join(words.split()) for words in re.findall(r"``galtrans ([^`]+)``", text)]


COMMANDS = [
    pytest.param(command, id=f"{page.name}: {command}")
    for page in PAGES
    if page.exists() and page.parent.name != "gallery"  # made of the examples
    for command in dict.fromkeys(shown(page.read_text(encoding="utf8")))
]


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_taken(command):
    words = [STAND_INS.get(word, word) for word in shlex.split(command.replace("...", ""), comments=True)]
    if len(words) == 1:  # the command as such is spoken of; its own help has to be there
        words.append("--help")
    if "--print-completion" in words:
        pytest.importorskip("shtab")
    with pytest.raises(SystemExit) if {"--help", "--fields", "--print-completion"} & {*words} else nullcontext() as end:
        assert make_parser().parse_args(words).run is not None
    assert end is None or end.value.code == 0


def test_wrong_options_are_found():
    text = "text\n\n   $ galtrans translate a.fits -m swin -o b.fits \\\n       --overwrites\n\nand ``galtrans list``"
    assert shown(text) == ["translate a.fits -m swin -o b.fits  --overwrites", "list"]
    with pytest.raises(SystemExit) as end:
        make_parser().parse_args(shlex.split(shown(text)[0]))
    assert end.value.code == 2


def test_pages_are_there():
    assert len(COMMANDS) > 30
