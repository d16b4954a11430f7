"""What is compiled, when, and where it is kept; and what happens without numba."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import astro_galtrans
from astro_galtrans.measure.morphology import _jit, measure_morphology

PACKAGE = Path(astro_galtrans.__file__).parent


def run(code, folder=None, **environment):
    """The output of a new interpreter, which finds the package in a folder, if given."""
    path = {} if folder is None else {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **path, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None  # as if it were not installed
import numpy as np
from astro_galtrans.measure.morphology import measure_morphology, segment

class Images:
    def __len__(self):
        raise AssertionError("the images are looked at")

try:
    measure_morphology(Images(), sky_rms=1.0)
except ImportError as error:
    print("astro_galtrans[morphology]" in str(error))
images = np.random.default_rng(1).normal(0, 1, (2, 64, 64)) + 50 * np.eye(64)
print(segment(images, sky_rms=1.0).any((1, 2)).all())
print("torch" in sys.modules)
"""


def test_without_numba_it_says_what_to_install_before_any_work():
    assert run(WITHOUT_NUMBA) == ["True", "True", "False"]


WITHOUT_SERSIC = """
import sys
import numpy as np
from astro_galtrans.measure.morphology import measure_morphology
y, x = np.mgrid[:48, :48] - 23.5
table = measure_morphology(50 * np.exp(-np.hypot(x, y) / 3)[None], sky_rms=1.0, sersic=False)
print(table["flag_sersic"][0], any("sersic" in name for name in sys.modules if "astro_galtrans" in name))
"""


def test_loops_of_what_is_not_asked_for_are_not_even_imported():
    assert run(WITHOUT_SERSIC) == ["4", "False"]


def test_a_bar_counts_the_loops_that_are_compiled(monkeypatch):
    """Only these: not those of numba."""
    monkeypatch.setattr(_jit, "LOOPS", [])
    monkeypatch.setattr(_jit, "FOLDER", None)  # what is found on disk is not compiled
    loop = _jit.compile_loop(lambda x: np.zeros(3).sum() + 2 * x)
    with _jit.compiling(progress=False) as progress:
        assert loop(21.0) == 42
        assert loop(np.float32(1)) == 2
    assert progress.number == 2
    with _jit.compiling(progress=False) as progress:
        assert loop(1.0) == 2
    assert progress.number == 0


def test_a_loop_is_compiled_for_one_set_of_types(drawn):
    how = {"segmap": drawn.segmaps, "progress": False, "threads": 1}
    for more in ({"gain": drawn.gain}, {"sky_rms": 0.3, "psf": np.ones((3, 3))}, {"variance": drawn.images**2 + 1}):
        measure_morphology(drawn.images, **how, **more)
    compiled = {loop.py_func.__name__: loop.signatures for loop in _jit.LOOPS}
    assert {name for name, signatures in compiled.items() if len(signatures) > 1} <= {"take", "blur"}


# -- a copy of the package with two small loops, one of which calls the other, in files of their own

CALLED = """
from ._jit import compile_loop

@compile_loop
def called(x):
    return x + {}
"""
CALLER = """
from ._jit import compile_loop
from .called import called

@compile_loop
def caller(x):
    return 2 * called(x)
"""
CALL = """
from astro_galtrans.measure.morphology.caller import caller
from astro_galtrans.measure.morphology._jit import FOLDER
print(caller(1.0), FOLDER, sum(caller.stats.cache_hits.values()))
"""


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "astro_galtrans", ignore=shutil.ignore_patterns("__pycache__", "data"))
    folder = tmp_path / "astro_galtrans" / "measure" / "morphology"
    (folder / "caller.py").write_text(CALLER)
    (folder / "called.py").write_text(CALLED.format(1))
    return folder


def test_a_change_of_a_called_loop_is_seen(copy, tmp_path):
    environment = {"NUMBA_CACHE_DIR": ""}
    value, first, hits = run(CALL, tmp_path, **environment)
    assert (value, hits) == ("4.0", "0")
    assert Path(first).parent == copy / "__pycache__"
    assert run(CALL, tmp_path, **environment) == ["4.0", first, "1"]
    (copy / "called.py").write_text(CALLED.format(2))
    value, second, hits = run(CALL, tmp_path, **environment)
    assert (value, hits) == ("6.0", "0")
    assert list(copy.glob("__pycache__/morphology-*")) == [Path(second)]  # what nothing reads any more is gone


def test_a_package_that_cannot_be_written_to_keeps_loops_elsewhere(copy, tmp_path):
    (copy / "__pycache__").write_text("a file where a folder is wanted: nothing can be written there, not even by root")
    cache, chosen = tmp_path / "cache", tmp_path / "chosen"
    environment = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    for hits in ("0", "1"):
        value, folder, found = run(CALL, tmp_path, **environment)
        assert (value, found) == ("4.0", hits)
        assert Path(folder).parent == cache / "astro_galtrans"
    _, folder, _ = run(CALL, tmp_path, **environment | {"NUMBA_CACHE_DIR": str(chosen)})
    assert Path(folder).parent == chosen
    cache.rename(tmp_path / "was")
    cache.write_text("another file")
    assert run(CALL, tmp_path, **environment)[:2] == ["4.0", "None"]
