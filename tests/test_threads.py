"""Public functions leave the state that threads share alone, and give in threads what they give alone."""

import os
import random
import re
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from decimal import getcontext
from locale import getlocale
from pathlib import Path

import crash
import numpy as np
import pytest
import torch
from astropy import units as u
from matplotlib import rcParams

import astro_galtrans
from astro_galtrans import domain, load_translator, translate
from astro_galtrans.bandstack import read, write_fits
from astro_galtrans.batch import translate_file
from astro_galtrans.cli import main
from helpers import make_bands, make_ccd

MODEL = "swin-sdss-cfhtls"


def state():
    """What all threads of a process share and a function could leave changed."""
    return {
        "filters": list(warnings.filters), "showwarning": warnings.showwarning, "numpy errors": np.geterr(),
        "units": len(u.get_current_unit_registry().all_units),
        "equivalencies": len(u.get_current_unit_registry().equivalencies),
        "threads": torch.get_num_threads(), "default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(), "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(), "matplotlib": dict(rcParams), "recursion": sys.getrecursionlimit(),  # noqa: NPY002
        "random": random.getstate(), "environment": dict(os.environ), "folder": Path.cwd(),
        "print": np.get_printoptions(), "decimal": getcontext().prec, "locale": getlocale(),
    }  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("threads") / "r.fits"
    write_fits(make_ccd((24, 30)), path)
    return path


def calls(file, folder):
    """Each public function once, as a function of nothing."""
    images = make_bands((24, 30))
    files = {}
    for band, image in images.items():
        files[band] = folder / f"{band}.fits"
        write_fits(image, files[band])
    translator, ccd = load_translator(MODEL), make_ccd((24, 30))
    good = np.isfinite(ccd.data)
    return {
        "read": lambda: read(file), "write_fits": lambda: write_fits(ccd, folder / "w.fits", overwrite=True),
        "translate": lambda: translate(images, MODEL, psf=1.3),
        "samples": lambda: translate(images, "diffusion-sdss-cfhtls", seed=1, psf=1.3),
        "target grid": lambda: translate(images, MODEL, output_grid="target", psf=1.3),
        "file": lambda: translate_file(
            list(files.values()), translator, folder / "o.fits", overwrite=True, psf=1.3
        ),
        "stamps": lambda: translator.stamps(np.zeros((2, 5, 16, 16), "f4"), seed=1),
        "list": lambda: (astro_galtrans.list_translators(), astro_galtrans.list_surveys()),
        "survey": lambda: astro_galtrans.get_survey("sdss").describe(),
        "domain": lambda: domain.measure([ccd.data], [~good], ["r"], 0.4),
    }  # fmt: skip


def test_nothing_shared_is_changed(file, tmp_path):
    for name, call in calls(file, tmp_path).items():
        call()  # once, for what is loaded on the way
        before = state()
        call()
        after = state()
        assert {key for key in before if before[key] != after[key]} == set(), name


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.GaltransWarning")
@pytest.mark.parametrize("name", ["simulate", "pairs", "train", "calibrate", "fidelity", "redshift", "zspec"])
def test_nothing_shared_is_changed_by_commands(name, tmp_path):
    """Simulation, pairs, training, fidelity, photo-z and spectra, the second time: the first loads what they need."""
    for turn in ("first", "second"):
        work, out = tmp_path / turn / "in", tmp_path / turn / "out"
        work.mkdir(parents=True)
        out.mkdir()
        command = crash.COMMANDS[name](work, out)
        before = state()
        assert main(command) == 0
        after = state()
    assert {key for key in before if before[key] != after[key]} == set()


def test_library_code_sets_nothing_that_threads_share():
    """While a function runs, other threads would see what it sets, even if it is put back afterwards."""
    setters = re.compile(
        r"catch_warnings\(|simplefilter\(|filterwarnings\(|set_num_threads\(|np\.seterr\(|os\.chdir\("
        r"|os\.environ\[.*\] =|np\.random\.seed\(|matplotlib\.use\(|rcParams\[.*\] =|add_enabled_units\("
    )
    package = Path(astro_galtrans.__file__).parent
    examples = re.compile(r"^ *(>>>|\.\.\.) .*$", re.MULTILINE)
    texts = {str(p.relative_to(package)): p.read_text(encoding="utf8") for p in package.rglob("*.py")}
    found = {name for name, text in texts.items() if setters.search(examples.sub("", text))}
    # programs of their own; the reference for tests, which runs statmorph in processes; the code of other processes
    programs = {"cli/_main.py", "study/steps.py", "models/shipped.py"}  # the last for a command
    assert found == programs | {"measure/morphology/reference.py", "bandstack/_trust.py", "training/fluxes.py"}


def test_threads_translate_as_one_does():
    stacks = [make_bands((24, 30), seed=k) for k in range(4)]
    alone = [translate(images, MODEL, psf=1.3)["r"].data for images in stacks]
    before, interval = state(), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda images: translate(images, MODEL, psf=1.3)["r"].data, 10 * stacks))
    finally:
        sys.setswitchinterval(interval)
    for number, found in enumerate(together):
        np.testing.assert_array_equal(found, alone[number % 4])
    after = state()
    assert {key for key in before if before[key] != after[key]} == set()
