"""
The commands that README and documentation show, run: page by page, in order, in a folder that holds what they name.

``tox -e console`` runs them in a fresh environment that has the extras which README names, and pytest. Commands are
made cheaper by the options in `LESS`, and the inputs are small: frames of four galaxies, and sets of 64 pairs.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

# half an hour of commands, which "tox -e console" runs in an environment of its own
if not os.environ.get("GALTRANS_CONSOLE"):
    pytest.skip("set GALTRANS_CONSOLE=1 to run the commands of the documentation", allow_module_level=True)
pytest.importorskip("galsim")
pytest.importorskip("speclite")

ROOT = Path(__file__).parents[1]
GUIDE = "docs/user_guide"
#: Pages, and the folders that their commands find beside the inputs that are there for all: name, and of what.
PAGES = {
    "README.rst": {},
    "docs/getting_started/install.rst": {},
    "docs/study.rst": {},
    f"{GUIDE}/calibrate.rst": {"my-pairs": "observed"},
    f"{GUIDE}/command_line.rst": {},
    f"{GUIDE}/fidelity.rst": {"pairs": "observed", "z-test": "set", "translated": "translations"},
    f"{GUIDE}/input_output.rst": {},
    f"{GUIDE}/keeping_redshift.rst": {"pairs": "many", "my-pairs": "many"},
    f"{GUIDE}/redshift.rst": {},
    f"{GUIDE}/scale.rst": {},
    f"{GUIDE}/simulate.rst": {},
    f"{GUIDE}/study.rst": {},
    f"{GUIDE}/surveys.rst": {},
    f"{GUIDE}/train.rst": {"my-pairs": "observed", "pairs": "set", "other-pairs": "more"},
}
#: Options that take the cost out of a command.
LESS = {
    "train": "--steps 2 --device cpu", "redshift": "--estimator photometric --epochs 2", "fidelity": "--number 12",
    "anomalies": "--number 12", "study --preset": "--number 20 --training 24",
}  # fmt: skip
REPLACED = {
    r"-n \d+": "-n 64", r"--number \d+": "--number 64", r"--n-samples \d+": "--n-samples 1",
    r"--workers \d+": "--workers 1",
    r"train (\w+) --source": r"train small/\1.toml --source",  # the same recipe, of 64 pairs
    "last-release this-release": "quick quick",  # a study that the page has made, with itself
}  # fmt: skip
#: Commands of which another test does what they do, with files that this one has not.
ELSEWHERE = {
    "pairs stripe82-pairs": "tests/pairs/observed/test_build.py", "study study.toml": "tests/study/test_plugin.py",
    "zspec spectra/": "tests/spectra",
}  # fmt: skip
# Pixels of a stamp, stamps along a side of a frame, and frames: in cells of the sky enough that each part gets some.
SIDE, ROWS, FRAMES = 80, 2, 56
FEW = 6  # frames in folders from which no pairs for a training are made


def commands(page):
    """Return the lines of a page's code blocks, continued ones joined, and its double backquotes with an output."""
    joined = re.sub(r"\\\n\s*", " ", (ROOT / page).read_text(encoding="utf8"))
    line, words = r"^ +(?:\$ )?(?:.*/bin/)?((?:\w+=\S+ )?galtrans .+)$", r"``(galtrans [^`A-Z]+ -o [^`A-Z]+)``"
    found = ["".join(each) for each in re.findall(f"{line}|{words}", joined, flags=re.MULTILINE)]
    return [" ".join(each.split()) for each in found if not re.search("galtrans (" + "|".join(ELSEWHERE) + ")", each)]


def reduced(command):
    for pattern, less in REPLACED.items():
        command = re.sub(pattern, less, command)
    shared = "--shards" in command  # which are small as they are
    less = [options for start, options in LESS.items() if f"galtrans {start}" in command and not shared]
    return " ".join([command, *less])


def test_no_page_is_forgotten():
    pages = [ROOT / "README.rst", *(ROOT / "docs").rglob("*.rst")]
    shown = {page.relative_to(ROOT).as_posix() for page in pages if page.parent.name not in ("gallery", "tables")}
    assert {page for page in shown if commands(page)} == {*PAGES}


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
    for kind, number in {"ecsv": FRAMES, "fits": FEW, "parquet": FEW}.items():
        vstack([QTable(table) for table in tables[:number]]).write(folder / f"objects.{kind}")
    for copy, of in {"frames": "mine", "survey": "mine", "sdss": "mine", "cfhtls": "theirs"}.items():
        (folder / copy).mkdir()
        for number in range(FEW):
            shutil.copy(folder / of / f"{number}.fits", folder / copy)
    run("galtrans pairs observed --source mine --target theirs --catalogue objects.ecsv", folder)
    run("galtrans translate sdss -m srgan-sdss-cfhtls -o translations/", folder)
    with fits.open(folder / "mine" / "0.fits") as hdus:
        hdus.writeto(folder / "frame.fits.gz")
        for band in "ugriz":
            hdus[band].writeto(folder / f"{band}.fits")
            hdus[band].writeto(folder / f"frame-{band}.fits")
    shards = "--catalogue objects.parquet --images survey/*.fits -m srgan-sdss-cfhtls -o other.zarr"
    run(f"galtrans translate {shards}", folder)
    np.save(folder / "real.npy", [stamp for number in range(FEW) for stamp in real_stamps(folder, number)])
    # a sampler is trained on no fewer than 200 sources, of half of the pairs
    _, _, store = (
        simulate_pairs(folder / name, number, PairSettings(kind="galaxy", size=48, seed=seed), workers=1)
        for seed, name, number in ((3, "many", 512), (1, "more", 64), (2, "set", 64))
    )
    for name in ("x.npy", "stamps.npy"):
        np.save(folder / name, np.stack([store.source(k) for k in range(64)]))
    for name in ("y.npy", "mine.npy"):
        np.save(folder / name, np.stack([store.target(k) for k in range(64)]))
    for k in range(64):
        np.save(folder / "stamps" / f"{k:02d}.npy", store.target(k))
    (folder / "small").mkdir()
    for name in ("srgan", "swin"):
        recipe = (ROOT / f"astro_galtrans/training/recipes/{name}.toml").read_text()
        (folder / "small" / f"{name}.toml").write_text(f"{recipe}\n[pairs]\nnumber = 64\nheld_out = 64\n")
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


def real_stamps(folder, number):
    """Return the stamps of the target survey of the galaxies of a frame, as shards have those of their translations."""
    from astropy.io import fits

    with fits.open(folder / "theirs" / f"{number}.fits") as hdus:
        frame = np.stack([plane.data for plane in hdus[1:]])
    cells = frame.reshape(len(frame), ROWS, 2 * SIDE, ROWS, 2 * SIDE).transpose(1, 3, 0, 2, 4)
    return cells.reshape(ROWS**2, *cells.shape[2:])[..., SIDE - 64 : SIDE + 64, SIDE - 64 : SIDE + 64]


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
    for command in map(reduced, commands(page)):
        run(command, tmp_path / "page")


def run(line, folder):
    """Run a line in a shell, which expands patterns as it does for a reader, with the program installed here."""
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    start = time.monotonic()
    done = subprocess.run(
        line, shell=True, cwd=folder, env=os.environ | {"PATH": scripts}, check=False, capture_output=True, text=True
    )
    print(f"{time.monotonic() - start:6.0f} s  {line}")  # seen with "-s", and where a page fails
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
