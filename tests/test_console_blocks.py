"""
The console blocks of README and documentation, run: page by page, in order, in a folder that holds what they name.

``tox -e console`` runs them in a fresh environment that has the extras which README names, and pytest. Commands are
made cheaper by the options in `LESS`, and the inputs are small: frames of four galaxies, and sets of 64 pairs.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# half an hour of commands, which "tox -e console" runs in an environment of its own
if not os.environ.get("GALTRANS_CONSOLE"):
    pytest.skip("set GALTRANS_CONSOLE=1 to run the commands of the documentation", allow_module_level=True)
pytest.importorskip("galsim")
pytest.importorskip("speclite")

ROOT = Path(__file__).parents[1]
#: Pages, and the folders that their commands find beside the inputs that are there for all: name, and of what.
PAGES = {
    "README.rst": {},
    "docs/user_guide/calibrate.rst": {"my-pairs": "observed"},
    "docs/user_guide/command_line.rst": {},
    "docs/user_guide/fidelity.rst": {"pairs": "observed", "z-test": "set", "translated": "translations"},
    "docs/user_guide/redshift.rst": {},
    "docs/user_guide/scale.rst": {},
    "docs/user_guide/simulate.rst": {},
    "docs/user_guide/train.rst": {"my-pairs": "observed", "pairs": "set", "other-pairs": "others"},
}
#: Options that take the cost out of a command.
LESS = {
    "train": "--steps 2 --device cpu", "redshift": "--estimator photometric --epochs 2", "fidelity": "--number 12",
    "anomalies": "--number 12", "study --preset": "--number 24 --training 48",
}  # fmt: skip
REPLACED = {r"-n \d+": "-n 64", r"--n-samples \d+": "--n-samples 1", r"--workers \d+": "--workers 1"}
LONG = r"train \w+ --source"  # simulates a thousand pairs to validate with; tests/test_any_pair.py does what it does
# Pixels of a stamp, stamps along a side of a frame, and frames: in cells of the sky enough that each part gets some.
SIDE, ROWS, FRAMES = 80, 2, 56


def commands(page):
    """Return the commands in the code blocks of a page, with their continued lines."""
    joined = re.sub(r"\\\n\s*", " ", (ROOT / page).read_text(encoding="utf8"))
    found = re.findall(r"^ +(?:\$ )?galtrans (.+)$", joined, flags=re.MULTILINE)
    return [command for command in found if not re.match(LONG, command)]


def reduced(command):
    for pattern, less in REPLACED.items():
        command = re.sub(pattern, less, command)
    shared = "--shards" in command  # which are small as they are
    less = [options for start, options in LESS.items() if command.startswith(start) and not shared]
    return " ".join([command, *less])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return a folder with the files that pages speak of."""
    from astropy.io import fits
    from astropy.table import QTable, vstack

    from astro_galtrans.models.shipped import find_weights
    from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs

    folder = tmp_path_factory.mktemp("world")
    for side in ("mine", "theirs", "stamps"):
        (folder / side).mkdir()
    tables = [write_frames(folder, number) for number in range(FRAMES)]
    for kind in ("ecsv", "fits", "parquet"):
        vstack([QTable(table) for table in tables]).write(folder / f"objects.{kind}")
    for copy, of in {"frames": "mine", "survey": "mine", "sdss": "mine", "cfhtls": "theirs"}.items():
        shutil.copytree(folder / of, folder / copy)
    files = ["--source", folder / "mine", "--target", folder / "theirs", "--catalogue", folder / "objects.ecsv"]
    run(["pairs", folder / "observed", *files], folder)
    run(["translate", folder / "mine", "-m", "srgan-sdss-cfhtls", "-o", f"{folder / 'translations'}/"], folder)
    with fits.open(folder / "mine" / "0.fits") as hdus:
        for band in "ugriz":
            hdus[band].writeto(folder / f"{band}.fits")
            hdus[band].writeto(folder / f"frame-{band}.fits")
    _, store = (
        simulate_pairs(folder / name, 64, PairSettings(kind="galaxy", size=48, seed=seed), workers=1, progress=False)
        for seed, name in ((1, "others"), (2, "set"))
    )
    np.save(folder / "x.npy", np.stack([store.source(k) for k in range(64)]))
    for name in ("y.npy", "mine.npy"):
        np.save(folder / name, np.stack([store.target(k) for k in range(64)]))
    for k in range(64):
        np.save(folder / "stamps" / f"{k:02d}.npy", store.target(k))
    shutil.copy(find_weights("srgan-sdss-cfhtls"), folder / "mine.safetensors")
    (folder / "runs/swin").mkdir(parents=True)
    shutil.copy(find_weights("swin-sdss-cfhtls"), folder / "runs/swin/swin-sdss-cfhtls-own.safetensors")
    return folder


def write_frames(folder, number):
    """Write a frame of both surveys, a mosaic of simulated galaxies, and return their catalogue."""
    from astropy import units as u
    from astropy.io import fits
    from astropy.table import QTable
    from astropy.wcs import WCS

    from astro_galtrans.pairs.simulated import PairSettings, Sample, simulate_pair

    sample = Sample(r_bright=16, r_faint=19, z_max=0.4, offset=0)
    settings = PairSettings(kind="galaxy", size=SIDE, seed=number, sample=sample, seeing_spread=0.0)
    pairs = [simulate_pair(settings, k) for k in range(ROWS**2)]
    place = np.indices((ROWS, ROWS)).reshape(2, -1) * SIDE + (SIDE - 1) / 2
    for side, name, pixel in (("source", "mine", 0.396), ("target", "theirs", 0.198)):
        images = np.stack([getattr(pair, side) for pair in pairs])
        add_stars(images, settings.surveys[side == "target"], pixel)
        bands, rows = images.shape[1], images.shape[2] * ROWS
        frame = images.reshape(ROWS, ROWS, bands, -1, rows // ROWS).transpose(2, 0, 3, 1, 4).reshape(bands, rows, rows)
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (150.0, 2.0 + 0.3 * number)
        wcs.wcs.crpix, wcs.wcs.cdelt = [(rows + 1) / 2] * 2, (-pixel / 3600, pixel / 3600)
        header = wcs.to_header()
        header["BUNIT"] = "nmgy" if side == "source" else "adu"
        header["MAGZERO"] = 22.5 if side == "source" else 30.0
        planes = [fits.ImageHDU(plane, header, name=band) for band, plane in zip("ugriz", frame, strict=True)]
        for plane, band in zip(planes, "ugriz", strict=True):
            plane.header["FILTER"] = band
        fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(folder / name / f"{number}.fits")
        if side == "source":
            ra, dec = wcs.pixel_to_world_values(place[1], place[0])
    return QTable({"ra": ra * u.deg, "dec": dec * u.deg, "z": [pair.truth["z"] for pair in pairs]})


def add_stars(images, survey, pixel):
    """Add a star of 17 mag in two corners of each stamp, so that frames tell their PSF."""
    from astro_galtrans.psf import MoffatPSF, psf_images

    half = round(4 / pixel)  # arcsec
    star = psf_images(MoffatPSF([band.fwhm for band in survey.bands]), pixel, 2 * half + 1)
    images[..., half : 3 * half + 1, half : 3 * half + 1] += 10 ** (0.4 * (survey.zeropoint - 17)) * star
    images[..., -3 * half - 1 : -half, half : 3 * half + 1] += 10 ** (0.4 * (survey.zeropoint - 17)) * star


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page(page, world, tmp_path):
    shutil.copytree(world, tmp_path / "page")
    for name, of in PAGES[page].items():
        shutil.copytree(world / of, tmp_path / "page" / name)
    assert commands(page)
    for command in map(reduced, commands(page)):
        run(command, tmp_path / "page")


def run(command, folder):
    """Run words, or a line, whose patterns the shell expands as it does for a reader."""
    start, line = [sys.executable, "-m", "astro_galtrans"], isinstance(command, str)
    whole = f"{shlex.join(start)} {command}" if line else [*start, *map(str, command)]
    done = subprocess.run(whole, shell=line, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
