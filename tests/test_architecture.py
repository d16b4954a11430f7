"""The house rules, checked: who imports whom, what importing the package costs, style, and the README's commands."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What `import astro_galtrans` loads beyond `astropy.nddata`: nothing but itself and the standard library.
COST_OF_IMPORT = """
import sys
import astropy.nddata
before = set(sys.modules)
import astro_galtrans
after = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(after - set(sys.stdlib_module_names)))
"""


def run(*command, cwd=ROOT):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    return done.returncode, done.stdout + done.stderr


def test_importing_the_package_costs_nothing(tmp_path):
    code, out = run(sys.executable, "-c", COST_OF_IMPORT, cwd=tmp_path)
    assert code == 0, out
    assert out.split() == ["astro_galtrans"]


def test_imports_go_one_way_and_torch_stays_where_it_belongs():
    code, out = run(sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())")
    assert code == 0, out
    assert "3 kept, 0 broken" in out


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff is not installed")
def test_style():
    code, out = run(sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    assert code == 0, out


def test_docstrings_are_numpydoc():
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "astro_galtrans").rglob("*.py"))
    code, out = run(sys.executable, "-m", "numpydoc.hooks.validate_docstrings", *files)
    assert code == 0, out


@pytest.mark.parametrize("page", ["README.rst", "CONTRIBUTING.rst"])
def test_ci_runs_the_command_people_are_told(page):
    command = next(line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "-m venv" in line)
    assert command in [line.strip() for line in (ROOT / page).read_text().splitlines()]
