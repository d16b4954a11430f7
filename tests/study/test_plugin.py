"""The worked example of docs/examples: a network of another package takes part in a study."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from astro_galtrans.models import registry

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_network"


@pytest.fixture
def installed(tmp_path):
    """The example as an installed distribution, on the path of a new process."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    (folder := tmp_path / "site").mkdir()
    (folder / "own_network.py").write_text((EXAMPLE / "own_network.py").read_text())
    about = folder / f"own_network-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
        for group, names in project["entry-points"].items()
    ]
    (about / "entry_points.txt").write_text("\n".join(points))
    package = Path(registry.__file__).parents[2]
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(package)]), "OMP_NUM_THREADS": "1"}


def run(command, environment, folder):
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_example_keeps_the_contract(installed, tmp_path):
    command = ["pytest", "--pyargs", "astro_galtrans.models.contract", "-k", "residual", "-q", "-p", "no:cacheprovider"]
    done = run(command, installed, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_the_example_takes_part_in_a_study(installed, tmp_path):
    """The recipes of the example with few pairs and steps."""
    pytest.importorskip("galsim")
    text = (EXAMPLE / "study.toml").read_text()
    changes = {"number = 300": "number = 20", "training = 300": "training = 0", "number = 5000": "number = 64"}
    changes |= {"held_out = 512": "held_out = 64\nsteps = 6", '"shipped"': ""}
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "study.toml").write_text(f'levels = ["pixel"]\nbaselines = ["resampled"]\n{text}')
    (tmp_path / "residual.toml").write_text((EXAMPLE / "residual.toml").read_text())
    done = run(["astro_galtrans", "study", "study.toml", "-o", "out"], installed, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    about = json.loads((tmp_path / "out" / "summary.json").read_text())
    model = about["tasks"]["inter"]["models"]["residual-sdss-cfhtls"]
    assert model["kind"] == "translator" and model["network"] == "residual" and len(model["weights"]) == 64
    assert {row["model"] for row in about["summary"]} == {"resampled", "residual-sdss-cfhtls"}
    trained = list((tmp_path / "out" / "cache" / "trained").rglob("residual-sdss-cfhtls.safetensors"))
    assert len(trained) == 1
    again = run(["astro_galtrans", "study", "study.toml", "-o", "out"], installed, tmp_path)
    assert again.returncode == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["summary"] == about["summary"]
