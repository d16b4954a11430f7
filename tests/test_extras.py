"""Commands without the extras that they need: said first, by name, and nothing is left behind."""

import sys

import pytest

from astro_galtrans.cli import main

# No such files and folders: what is missing is said before anything is looked for.
TRANSLATE = ["translate", "a.fits", "-m", "swin-sdss-cfhtls", "-o"]
CASES = [
    ("galsim", "simulate", ["simulate", "out"]),
    ("speclite", "simulate", ["train", "swin", "-o", "out", "--number", "64"]),
    ("jinja2", "report", ["fidelity", "x.npy", "y.npy", "mine=m.npy", "-o", "out", "--skip", "morphology", "--detect"]),
    ("matplotlib", "report", ["redshift", "pairs", "--translated", "mine=m.npy", "-o", "out"]),
    ("numba", "morphology", ["fidelity", "x.npy", "y.npy", "mine=m.npy", "-o", "out", "--detect"]),
    ("matplotlib", "report", ["demo", "-o", "out"]),
    ("matplotlib", "report", [*TRANSLATE, "b.fits", "--preview", "b.png"]),
    ("zarr", "scale", [*TRANSLATE, "out", "--catalogue", "objects.ecsv"]),
    ("pyarrow", "scale", [*TRANSLATE, "out", "--catalogue", "objects.parquet"]),
    ("pandas", "scale", [*TRANSLATE, "out", "--catalogue", "objects.parquet"]),
    ("distributed", "scale", [*TRANSLATE, "b.fits", "--block", "--workers", "2"]),
]  # fmt: skip


@pytest.mark.parametrize(("module", "extra", "command"), CASES, ids=[f"{case[2][0]}-{case[0]}" for case in CASES])
def test_what_is_missing_is_said_first(module, extra, command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    for name in ("x.npy", "y.npy"):
        (tmp_path / name).touch()
    assert main(command) == 1
    told = capsys.readouterr().err
    assert f"{module!r} is needed for this" in told and f"'astro_galtrans[{extra}]'" in told and f"'.[{extra}]'" in told
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["x.npy", "y.npy"]
