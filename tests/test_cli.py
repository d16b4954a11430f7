"""``galtrans`` as a user calls it."""

import hashlib
import importlib.util
import json
import logging
import os
import pty
import re
import shlex
import subprocess
import sys
import termios
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from astropy import log
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import QTable

from astro_galtrans import list_translators, translate
from astro_galtrans.cli import main
from astro_galtrans.cli._common import in_options, print_table
from astro_galtrans.cli._main import make_parser
from astro_galtrans.demo import preview
from astro_galtrans.models.shipped import find_weights
from helpers import make_bands, make_cube, make_wcs, shared_data

pytestmark = pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")

SWIN = ["-m", "swin-sdss-cfhtls", "--psf", "1.3"]  # the frames of these tests have no stars


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


def test_bare_command_and_module_print_help(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert "translate" in text and "usage: galtrans" in text
    done = subprocess.run([sys.executable, "-m", "astro_galtrans"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: galtrans")


@pytest.mark.parametrize("name", list_translators())
def test_info_fits_on_a_screen(name, capsys):
    assert main(["info", name]) == 0
    text = capsys.readouterr().out
    _, *lines = text.splitlines()  # the first is the card's own description
    assert len(lines) < 40 and max(map(len, lines)) <= 120
    for word in ("Science needs training on real pairs", "seeing", "depth", "flux bias", "within 1 sigma", "Cite: "):
        assert word in text
    assert hashlib.sha256(find_weights(name).read_bytes()).hexdigest() in text
    assert main(["info", "--full", name]) == 0
    text = capsys.readouterr().out
    for word in ("recipe", "seed", "validity", "scores", "within_1_sigma"):
        assert word in text
    assert main(["info", "--json", name]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == name


def on_terminal(command):
    """What a command writes to a terminal of 100 columns, and its exit status."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, "-m", "astro_galtrans", *command]
    done = subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    text = b""
    with suppress(OSError):  # how Linux says that nobody has the terminal any more
        while part := os.read(ours, 100_000):
            text += part
    os.close(ours)
    return text.decode(), done.wait()


def test_messages_do_not_run_into_the_bar(tmp_path):
    """Each image of a folder has a warning, in a line of its own, while the bar stands."""
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(3):
        cube = make_cube((24, 30), seed=seed, wcs=make_wcs((24, 30), pixel_scale=0.7))
        cube.meta["BANDS"] = "u,g,r,i,z"
        cube.write(folder / f"{seed}.fits")
    text, status = on_terminal(["translate", str(folder), "-m", "srgan-sdss-cfhtls", "-o", f"{tmp_path}/out/"])
    assert status == 0 and re.search(r"100%\|[^\r]*\| 3/3 \[[^\r]*image", text)
    lines = [line.removesuffix("\r").rpartition("\r")[2] for line in text.split("\n")]
    told = [line for line in lines if "DomainWarning" in line]
    assert [line[:39] for line in told] == [f"galtrans: DomainWarning: {k}: pixel scale" for k in range(3)], told


def test_translate_bands_to_one_file(frames, tmp_path, capsys):
    output = tmp_path / "out.fits"
    assert main(["translate", *frames, *SWIN, "-o", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    cube = CCDData.read(output)
    assert cube.shape == (5, 48, 60) and cube.unit == "adu"
    with fits.open(output) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus][1:] in (["UNCERT"], ["MASK", "UNCERT"])
    assert main(["translate", *frames, *SWIN, "-o", str(output)]) == 1
    error = capsys.readouterr().err
    assert "exists" in error and "--overwrite to replace it" in error and "=True" not in error
    assert main(["translate", *frames, *SWIN, "-o", str(output), "--overwrite"]) == 0


def test_planes_and_sky_are_options_of_translate(frames, tmp_path):
    with fits.open(frames[0]) as band:
        light = band[0].data > np.percentile(band[0].data, 95)
        planes = fits.Header([("MP_BAD", 0), ("HIERARCH MP_DETECTED", 5)])
        band.append(fits.ImageHDU(np.where(light, 32, 0).astype("i4"), planes, name="MASK"))
        band.writeto(tmp_path / "with_mask.fits")
    output = tmp_path / "out.fits"
    command = ["translate", str(tmp_path / "with_mask.fits"), *frames[1:], *SWIN, "-o", str(output)]
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


def test_strict_refuses_a_wrong_checksum(frames, tmp_path, capsys):
    with fits.open(frames[2]) as band:
        band.writeto(frames[2], overwrite=True, checksum=True)
    with fits.open(frames[2]) as band:
        start = band[0].fileinfo()["datLoc"]
    content = bytearray(Path(frames[2]).read_bytes())
    content[start + 3] ^= 1  # the last bit of the first pixel
    Path(frames[2]).write_bytes(content)
    output = tmp_path / "out.fits"
    command = ["translate", *frames, "-m", "swin-sdss-cfhtls", "-o", str(output)]
    assert main([*command, "--strict"]) == 1
    assert "OSError: " in (error := capsys.readouterr().err) and "r.fits: HDU 0 does not match its checksum" in error
    assert not output.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(command) == 0
    assert "GaltransWarning: " in (error := capsys.readouterr().err) and "does not match its checksum" in error
    assert output.exists()


def test_seed_repeats_a_sample(frames, tmp_path):
    images = []
    for k, seed in enumerate((3, 3, 4)):
        output = tmp_path / f"{k}.fits"
        command = ["translate", *frames, "-m", "diffusion-sdss-cfhtls", "-o", str(output), "--seed", str(seed)]
        command += ["--psf", "1.3"]
        assert main([*command, "--n-samples", "1"]) == 0
        images.append(CCDData.read(output).data)
    np.testing.assert_array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["-m", "swim-sdss-cfhtls"], "swin-sdss-cfhtls"),
        (["--n-samples", "3"], "is deterministic and has one answer; leave out --n-samples 3"),
        (["--n-samples", "3", "-m", "diffusion-sdss-cfhtls", "--seed", "-1"], "seed must be an integer of 0 or more"),
        (["--unit", "parsec"], "pass --unit if the image states a wrong one"),
        (["--zeropoint", "u=25,g=25"], "--zeropoint"),
        (["--preview", "x.jpg"], "expected a name that ends in .png"),
        (["-o", "x.png"], "end in .fits, .fit, .fts, a folder's in /; for a picture beside the FITS file"),
        (["-o", "x.npy"], "is written as FITS"),
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
    error = capsys.readouterr().err
    assert "missing bands: u, r, i, z" in error
    _, command = error.split(": galtrans ")
    options = make_parser().parse_args(shlex.split(command.partition(" (")[0]))
    assert options.recipe == "swin" and options.source_bands == ["g"]
    assert (options.source, options.target) == ("sdss", "cfhtls-wide")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "message", "told"),
    [
        (["pairs", "d", "--source", "a", "--target", "b"], "no unit; pass unit=",
         "pass --source-unit or --target-unit"),
        (["pairs", "d", "--source", "a", "--target", "b"], "zeropoint=25.1 contradicts the unit nmgy",
         "--source-zeropoint 25.1 or --target-zeropoint 25.1 contradicts the unit nmgy"),
        (["check", "a"], "does not say; pass bands=, e.g. bands=['g', 'r']", "pass --bands, e.g. --bands g r"),
        (["check", "a"], "bits; bad_planes='none' or bad_planes=3.", "--bad-planes none or --bad-planes 3."),
        (["translate", "a", "-m", "b", "-o", "c"], "align=True resamples", "leaving out --no-align resamples"),
        (["translate", "a", "-m", "b", "-o", "c"], "my_unit.fits: unit, strict and other words; name='x'; seed_unit=3",
         "my_unit.fits: unit, strict and other words; name='x'; seed_unit=3"),
    ],
)  # fmt: skip
def test_messages_speak_of_options(command, message, told):
    assert in_options(message, make_parser().parse_args(command)).endswith(told)


def test_a_zero_point_for_each_band(tmp_path):
    bands = make_bands((24, 30))
    paths, zeropoints = [], dict(zip("ugriz", (25.1, 25.0, 24.9, 24.8, 24.7), strict=True))
    for band, ccd in bands.items():
        counts = 10 ** (0.4 * (zeropoints[band] - 22.5))
        paths.append(str(tmp_path / f"{band}.fits"))
        noise = None if ccd.uncertainty is None else StdDevUncertainty(ccd.uncertainty.array * counts)
        options = {"wcs": ccd.wcs, "mask": ccd.mask, "uncertainty": noise, "meta": {"FILTER": band}}
        CCDData(ccd.data * counts, unit="adu", **options).write(paths[-1])
    text = ",".join(f"{band}={value}" for band, value in zeropoints.items())
    output = tmp_path / "out.fits"
    assert main(["translate", *paths, *SWIN, "-o", str(output), "--zeropoint", text]) == 0
    expected = translate(bands, "swin-sdss-cfhtls", psf=1.3)
    found = CCDData.read(output)
    for plane, band in zip(found.data, "ugriz", strict=True):
        np.testing.assert_allclose(plane, expected[band].data, rtol=2e-3, atol=0.05)
    with pytest.raises(SystemExit):
        main(["translate", *paths, *SWIN, "-o", str(output), "--zeropoint", "g=x"])


def test_images_of_the_psf(frames, tmp_path, capsys):
    y, x = np.indices((31, 31)) - 15
    images = {band: (1 + (x**2 + y**2) / (8 + k)) ** -2.5 for k, band in enumerate("ugriz")}
    for band, image in images.items():
        fits.writeto(tmp_path / f"psf-{band}.fits", image)
    text = ",".join(f"{band}={tmp_path}/psf-{band}.fits" for band in images)
    command = ["translate", *frames, "-m", "swin-sdss-cfhtls", "-o", str(tmp_path / "out.fits"), "--psf"]
    assert main([*command, text]) == 0
    found = CCDData.read(tmp_path / "out.fits")
    assert found.header["GTFLUXES"] == "u,g,r,i,z"
    expected = translate(frames, "swin-sdss-cfhtls", psf=images)
    np.testing.assert_array_equal(found.data, expected[0].data)
    fits.writeto(tmp_path / "cube.fits", np.zeros((2, 5, 5)))
    (tmp_path / "text.fits").write_text("no FITS")
    wrong = {
        "none.fits": "there is no file",
        "cube.fits": "has no image",
        "text.fits": "is no FITS file",
        "x": "is no PSF",
    }
    for value, message in wrong.items():
        with pytest.raises(SystemExit):
            main([*command, f"g={tmp_path / value if '.' in value else value}"])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            ["translate", "a.fits", "-m", "b", "-o", "c", "--prevew", "d.png"],
            "galtrans translate: .*did you mean --preview",
        ),
        (["--verbse", "list"], r"galtrans list: .* --verbse \(did you mean --verbose"),
        (["list", "extra"], "arguments: extra; galtrans list --help says what there is"),
    ],
)
def test_an_argument_that_is_not_known_is_told_with_the_nearest(command, told, capsys):
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 2
    assert re.search(told, capsys.readouterr().err)


@pytest.mark.parametrize("bands", [["u", "g", "r", "i", "z"], ["u,g,r,i,z"], ["u,g", "r,i,z"]])
def test_bands_with_spaces_or_commas_between_them(bands, tmp_path):
    cube, output = tmp_path / "cube.fits", tmp_path / "out.fits"
    make_cube((24, 30)).write(cube)
    assert main(["translate", str(cube), *SWIN, "-o", str(output), "--bands", *bands]) == 0
    assert fits.getheader(output)["GTBANDS"] == "u,g,r,i,z"


def test_tables_are_printed_for_readers(capsys):
    print_table(QTable({"row": [3], "score": [2122.376709428675], "ra": [149.9955943750938] * u.deg}))
    printed = capsys.readouterr().out
    assert "3  2122 149.995594" in printed and "deg" in printed


def test_bands_that_come_twice(capsys):
    with pytest.raises(SystemExit):
        main(["check", "a.fits", "--bands", "g,r", "g"])
    assert "argument --bands: bands are named twice: g" in capsys.readouterr().err


def test_quiet_hides_warnings(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(log, "level", log.level)  # put back what the command sets
    frames = [str(tmp_path / f"{band}.fits") for band in "ugriz"]
    for path, ccd in zip(frames, make_bands((64, 64)).values(), strict=True):
        ccd.write(path)
    with fits.open(frames[2], mode="update") as band:
        band[0].data += 5.0  # much sky
    command = ["translate", *frames, "-m", "swin-sdss-cfhtls", "--overwrite", "-o", str(tmp_path / "out.fits")]
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # this module ignores them
        assert main(command) == 0
        assert "--subtract-background takes it out" in capsys.readouterr().err
        assert main(["-q", *command]) == 0
        assert not capsys.readouterr().err and log.level == logging.ERROR
        assert main(["-v", "list"]) == 0 and log.level == logging.DEBUG


@pytest.mark.parametrize("bands", ["ugriz", "r"])
def test_preview_shows_source_and_result(frames, tmp_path, capsys, bands):
    image = pytest.importorskip("matplotlib.image")
    output, picture = tmp_path / "out.fits", tmp_path / "out.png"
    if bands == "ugriz":
        command = ["translate", *frames, *SWIN, "-o", str(output), "--preview", str(picture)]
        assert main(command) == 0
        assert capsys.readouterr().out.split() == [str(output), str(picture)]
    else:
        one = CCDData.read(frames[2])
        preview({"r": one}, {"r": one}, picture)
    pixels = image.imread(picture)[..., :3]
    drawn = np.ptp(pixels, axis=(0, 2)) > 0
    middle = len(drawn) // 2
    assert drawn[:middle].mean() > 0.5 and drawn[middle:].mean() > 0.5
    coloured = np.ptp(pixels, axis=2).max() > 0
    assert coloured == (bands == "ugriz")


def test_completion_of_shells(capsys):
    if importlib.util.find_spec("shtab") is None:
        with pytest.raises(SystemExit):
            main(["--print-completion", "bash"])
        assert "astro_galtrans[completion]" in capsys.readouterr().err
        return
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", "bash"])
    assert end.value.code == 0
    assert "--subtract-background" in capsys.readouterr().out


def test_simulate_and_train(tmp_path, capsys):
    pytest.importorskip("galsim")
    pytest.importorskip("speclite")
    for name, seed in (("train", "1"), ("held-out", "2")):
        assert main(["simulate", str(tmp_path / name), "-n", "1", "--size", "40", "--seed", seed]) == 0
    command = ["train", "capsule", str(tmp_path / "train"), str(tmp_path / "held-out"), "--steps", "2"]
    assert main([*command, "-o", str(tmp_path / "run")]) == 0
    path = capsys.readouterr().out.strip().splitlines()[-1]
    assert main(["info", path]) == 0
    text = capsys.readouterr().out
    assert "2 steps" in text and text.startswith("capsule-sdss-cfhtls-own: ")


def test_demo_makes_files_and_a_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    names = {Path(line).stem for line in capsys.readouterr().out.split()}
    fields = {name for name in list_translators() if "-cfhtls-sdss" not in name and "deblend" not in name}
    assert names == {"galtrans-demo"} | fields
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
    command = ["translate", str(tmp_path), *SWIN, "-o", f"{tmp_path}/out/"]
    (tmp_path / "a").mkdir()
    assert main(command) == 0
    assert "1 images translated, 0 failed" in capsys.readouterr().out
    assert main(command) == 0
    assert "0 images translated, 1 skipped: made before by the same request, 0 failed" in capsys.readouterr().out
    assert main([*command, "--unit", "uJy"]) == 1
    captured = capsys.readouterr()
    assert "exists and was made with options" in captured.err and "1 failed" in captured.out
