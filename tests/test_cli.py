"""``galtrans`` as a user calls it."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from astro_galtrans import list_translators
from astro_galtrans.cli import main
from helpers import make_bands, shared_data

pytestmark = pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")


@pytest.fixture
def frames(tmp_path):
    paths = []
    for band, ccd in make_bands((24, 30)).items():
        paths.append(str(tmp_path / f"{band}.fits"))
        ccd.write(paths[-1])
    return paths


def test_list_names_all_four(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for name in ("swin", "srgan", "capsule", "diffusion"):
        assert f"{name}-sdss-cfhtls" in text


@pytest.mark.parametrize("name", list_translators())
def test_info_prints_the_card(name, capsys):
    assert main(["info", name]) == 0
    text = capsys.readouterr().out
    assert "Science needs training on real pairs" in text
    for word in ("recipe", "seed", "validity", "scores", "within_1_sigma"):
        assert word in text
    assert main(["info", "--json", name]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == name


def test_translate_bands_to_one_file(frames, tmp_path, capsys):
    output = tmp_path / "out.fits"
    assert main(["translate", *frames, "-m", "swin-sdss-cfhtls", "-o", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    cube = CCDData.read(output)
    assert cube.shape == (5, 48, 60) and cube.unit == "adu"
    with fits.open(output) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus][1:] in (["UNCERT"], ["MASK", "UNCERT"])
    assert main(["translate", *frames, "-m", "swin-sdss-cfhtls", "-o", str(output)]) == 1
    assert "exists" in capsys.readouterr().err
    assert main(["translate", *frames, "-m", "swin-sdss-cfhtls", "-o", str(output), "--overwrite"]) == 0


def test_planes_and_sky_are_options_of_translate(frames, tmp_path):
    with fits.open(frames[0]) as band:
        light = band[0].data > np.percentile(band[0].data, 95)
        planes = fits.Header([("MP_BAD", 0), ("HIERARCH MP_DETECTED", 5)])
        band.append(fits.ImageHDU(np.where(light, 32, 0).astype("i4"), planes, name="MASK"))
        band.writeto(tmp_path / "with_mask.fits")
    output = tmp_path / "out.fits"
    command = ["translate", str(tmp_path / "with_mask.fits"), *frames[1:], "-m", "swin-sdss-cfhtls", "-o", str(output)]
    command.append("--overwrite")
    assert main(command) == 0
    header = fits.getheader(output)
    assert header["GTMASKED"].endswith(": MASK: BAD")
    assert "GTSKY" not in header
    assert main([*command, "--bad-planes", "DETECTED,BAD", "--subtract-background", "32"]) == 0
    header = fits.getheader(output)
    assert header["GTMASKED"].endswith(": MASK: DETECTED BAD")
    assert header["GTSKY"].endswith("boxes of 32 pixels")
    assert main([*command, "--bad-planes", "DETECTD"]) == 1


def test_seed_repeats_a_sample(frames, tmp_path):
    images = []
    for k, seed in enumerate((3, 3, 4)):
        output = tmp_path / f"{k}.fits"
        command = ["translate", *frames, "-m", "diffusion-sdss-cfhtls", "-o", str(output), "--seed", str(seed)]
        assert main([*command, "--n-samples", "1"]) == 0
        images.append(CCDData.read(output).data)
    np.testing.assert_array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["-m", "swim-sdss-cfhtls"], "swin-sdss-cfhtls"),
        (["--n-samples", "3"], "deterministic"),
        (["--device", "cuda"], "cuda"),
        (["--bands", "u", "g", "r", "i", "q"], "q"),
        (["--tile", "9"], "tile"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(frames, tmp_path, capsys, change, message):
    import torch

    if "cuda" in change and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    output = tmp_path / "out.fits"
    assert main(["translate", *frames, "-m", "swin-sdss-cfhtls", "-o", str(output), *change]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("galtrans: ") and message in error
    assert not output.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g.fits", "i.fits", "r.fits", "u.fits", "z.fits"]


def test_missing_bands_are_named(tmp_path, capsys):
    frame = shared_data("sdss_frame", "frame-g-000094-1-0131.fits.bz2")
    assert main(["translate", str(frame), "-m", "swin-sdss-cfhtls", "-o", str(tmp_path / "out.fits")]) == 1
    assert "u, r, i, z" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_simulate_and_train(tmp_path, capsys):
    pytest.importorskip("galsim")
    pytest.importorskip("speclite")
    for name, seed in (("train", "1"), ("held-out", "2")):
        assert main(["simulate", str(tmp_path / name), "-n", "1", "--size", "40", "--seed", seed]) == 0
    command = ["train", "capsule", str(tmp_path / "train"), str(tmp_path / "held-out"), "--steps", "2"]
    assert main([*command, "-o", str(tmp_path / "run")]) == 0
    path = capsys.readouterr().out.strip().splitlines()[-1]
    assert main(["info", path]) == 0
    assert "steps: 2" in capsys.readouterr().out


def test_demo_makes_files_and_a_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    names = {Path(line).stem for line in capsys.readouterr().out.split()}
    assert names == {"galtrans-demo"} | {name for name in list_translators() if "-sdss-" in name}
    source = CCDData.read(tmp_path / "demo" / "swin-sdss-cfhtls.fits")
    assert source.shape == (5, 224, 224)
    picture = tmp_path / "demo" / "galtrans-demo.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(os.name != "posix", reason="closes a stream as a POSIX shell does")
@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_stop_no_run(frames, tmp_path, closed):
    """A library's messages do not end up in the output either, which would get the number of the closed stream."""
    out = tmp_path / "out" / "x.fits"
    out.parent.mkdir()
    code = "import sys; from astro_galtrans.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "translate", *frames, "-m", "swin-sdss-cfhtls", "-o", str(out)]
    assert subprocess.run(f"{shlex.join(words)} {closed}", shell=True, timeout=120, check=False).returncode == 0
    assert CCDData.read(out).shape == (5, 48, 60)
    folder = tmp_path / "many"
    words[words.index("-o") + 1] = f"{folder}/"
    assert subprocess.run(f"{shlex.join(words)} {closed}", shell=True, timeout=120, check=False).returncode == 0
    assert len(list(folder.iterdir())) == 1


def test_a_folder_says_what_it_skipped(frames, tmp_path, capsys):
    command = ["translate", str(tmp_path), "-m", "swin-sdss-cfhtls", "-o", f"{tmp_path}/out/"]
    (tmp_path / "a").mkdir()
    assert main(command) == 0
    assert "1 images translated, 0 failed" in capsys.readouterr().out
    assert main(command) == 0
    assert "0 images translated, 1 skipped: made before by the same request, 0 failed" in capsys.readouterr().out
    assert main([*command, "--unit", "uJy"]) == 1
    captured = capsys.readouterr()
    assert "exists and was made with options" in captured.err and "1 failed" in captured.out
