"""Set-up of the test run: what the header reports, and the same answer every time on any number of cores."""

import os
import sys

# Before torch and OpenBLAS are loaded: parallel workers would otherwise fight over the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from pytest_astropy_header.display import PYTEST_HEADER_MODULES, TESTED_VERSIONS


def pytest_configure(config):
    """Report the versions that matter for a bug report."""
    config.option.astropy_header = True
    PYTEST_HEADER_MODULES.clear()
    packages = ["Numpy", "Scipy", "Astropy", "Torch", "Reproject", "Photutils", "GalSim", "Speclite", "gwcs"]
    PYTEST_HEADER_MODULES.update({name: name.lower() for name in packages})
    from astro_galtrans import __version__

    TESTED_VERSIONS["astro_galtrans"] = __version__


@pytest.fixture(autouse=True)
def _repeatable():
    """Seed the global generators, so that a test's result does not depend on which ran before it."""
    np.random.seed(2508)  # noqa: NPY002 - the old global state is what other packages draw from
    if "torch" in sys.modules:  # most tests of images and WCS never load it
        sys.modules["torch"].manual_seed(3291)


@pytest.fixture
def rng():
    """Return a numpy generator with a fixed seed."""
    return np.random.default_rng(20250804)
