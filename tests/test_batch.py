"""Files to images: grouping by band, skipping what is done, and going on after a failure."""

import json
import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from astro_galtrans.batch import find_images, is_folder, translate_file, translate_files
from astro_galtrans.cli import main
from helpers import make_bands, make_cube

MODEL = "swin-sdss-cfhtls"


@pytest.fixture
def frames(tmp_path):
    """Two fields of five frames each, named as SDSS names them."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for field in ("0131", "0132"):
        for band, ccd in make_bands((24, 30)).items():
            ccd.write(folder / f"frame-{band}-000094-1-{field}.fits")
    return folder


def test_bands_of_one_field_are_one_image(frames):
    images = find_images([frames])
    assert list(images) == ["frame-x-000094-1-0131", "frame-x-000094-1-0132"]
    assert [len(files) for files in images.values()] == [5, 5]
    assert find_images(sorted(frames.iterdir())) == images


def test_names_as_surveys_have_them(tmp_path):
    names = ["sdss-004192-g4-0300.fits.fz", "sdss-004192-r4-0300.fits.fz", "stamp-g.fits", "stamp-r.fits", "urge.fits"]
    images = find_images([tmp_path / name for name in names])
    assert {name: len(files) for name, files in images.items()} == {"sdss-004192-x4-0300": 2, "stamp-x": 2, "urge": 1}


def test_list_of_files(frames, tmp_path):
    first, second = find_images([frames]).values()
    listing = tmp_path / "images.txt"
    listing.write_text("# two fields\n" + " ".join(first) + "\n\n" + " ".join(second) + "\n")
    assert [sorted(f) for f in find_images([f"@{listing}"]).values()] == [first, second]


def test_what_cannot_be_sorted(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no FITS file"):
        find_images([tmp_path])
    with pytest.raises(FileNotFoundError, match="no list of files"):
        find_images([f"@{tmp_path / 'none.txt'}"])
    with pytest.raises(ValueError, match="two images would be called '1-a'"):
        find_images([tmp_path / "1" / "a.fits", tmp_path / "2" / "1" / "a.fits"])
    listing = tmp_path / "images.txt"
    listing.write_text("a-g.fits a-r.fits\na-i.fits a-z.fits\n")
    with pytest.raises(ValueError, match=r"two images would be called 'a-x' \(a-g.fits and a-i.fits\)"):
        find_images([f"@{listing}"])


def test_folders_with_files_of_the_same_names(tmp_path):
    names = "cube.fits", "f-g.fits", "f-r.fits"
    places = [tmp_path / folder / name for folder in ("north", "south") for name in names]
    places.append(tmp_path / "south" / "alone.fits")
    for place in places:
        place.parent.mkdir(exist_ok=True)
        place.touch()
    images = find_images([tmp_path / "north", tmp_path / "south", places[0]])  # a file that is named twice is one
    assert {name: len(files) for name, files in images.items()} == {
        "north-cube": 1, "north-f-x": 2, "south-cube": 1, "south-f-x": 2, "alone": 1,
    }  # fmt: skip
    assert find_images([tmp_path / "*" / "*.fits"]) == find_images([tmp_path / "north", tmp_path / "south"])


def test_quoted_globs_and_folders_stand_for_their_files(frames, tmp_path):
    assert find_images([f"{frames}/frame-?-000094-1-0131.fits"]) == find_images(frames.glob("*0131.fits"))
    with pytest.raises(FileNotFoundError, match="matches no file"):
        find_images([f"{frames}/frame-?-1.fits"])
    with pytest.raises(FileNotFoundError, match=r"\*.fits matches no file"):
        translate_file([f"{tmp_path}/none-*.fits"], "swin-sdss-cfhtls", tmp_path / "out.fits")
    assert main(["check", f"{frames}/*0132.fits"]) == 0
    translate_file([f"{frames}/*0132.fits"], "swin-sdss-cfhtls", tmp_path / "out.fits", psf=1.3, progress=False)
    assert fits.getheader(tmp_path / "out.fits")["GTBANDS"] == "u,g,r,i,z"


def test_several_images_into_one_file_are_refused_before_the_work(frames, tmp_path):
    """With the folder that would do; the bands of one image, in files whose names do not tell, are no such images."""
    for number in (1, 2):
        cube = make_cube((24, 30))
        cube.meta["BANDS"] = "u,g,r,i,z"
        cube.write(tmp_path / f"{number}.fits")
    files, progress = [tmp_path / "1.fits", tmp_path / "2.fits"], []
    with pytest.raises(ValueError, match=r"2 images, such as .*1.fits and .*2.fits, .* in a slash: .*/out/$"):
        translate_file(files, MODEL, tmp_path / "out.fits", progress=progress.append)
    with pytest.raises(
        ValueError, match=r"2 images, such as .*-g-.*-0131.fits and .*-g-.*-0132.fits, do not go into one"
    ):
        translate_file([frames], MODEL, tmp_path / "out.fits", progress=progress.append)
    assert not progress
    for name, ccd in zip(("first", "second"), make_bands((24, 30), "gr").values(), strict=True):
        ccd.write(tmp_path / f"{name}.fits")
    translate_file([tmp_path / "first.fits", tmp_path / "second.fits"], MODEL, tmp_path / "out.fits", psf=1.3)
    assert fits.getheader(tmp_path / "out.fits")["GTBANDS"] == "g,r"


def test_folder_by_slash_or_by_being_one(tmp_path):
    assert is_folder("new/") and is_folder(tmp_path) and not is_folder(tmp_path / "out.fits")


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")
def test_failure_does_not_stop_and_done_is_skipped(frames, tmp_path):
    for band in "ugiz":  # two bands would do
        (frames / f"frame-{band}-000094-1-0131.fits").unlink()
    (frames / "broken.fits").write_bytes(b"SIMPLE  =                    T")
    failures = translate_files([frames], MODEL, tmp_path / "out", psf=1.3, progress=False)
    assert set(failures) == {"frame-x-000094-1-0131", "broken"}
    assert "two" in failures["frame-x-000094-1-0131"]
    (done,) = (tmp_path / "out").iterdir()
    before = done.stat().st_mtime_ns
    translate_files([frames], MODEL, tmp_path / "out", psf=1.3, progress=False)
    assert done.stat().st_mtime_ns == before
    cube = CCDData.read(done)
    assert cube.shape == (5, 48, 60) and cube.uncertainty is not None
    assert np.isfinite(cube.data).all()
    with fits.open(done) as hdus:
        hdus.verify("exception")


@pytest.mark.filterwarnings("default")
def test_warnings_of_a_folder_run_name_the_image(frames, tmp_path, capsys):
    """Those of its pixels, which arise as it is read, and those of its range; a run of one image need not name it."""
    path = frames / "frame-r-000094-1-0132.fits"
    with fits.open(path, mode="update") as hdus:
        hdus[0].data[3:6, 3:6] = -9999
    main(["translate", str(frames), "-m", MODEL, "-o", f"{tmp_path}/out/", "--psf", "2.5"])
    lines = capsys.readouterr().err.splitlines()
    (marks,) = (line for line in lines if "-9999" in line)
    assert marks.startswith("galtrans: GaltransWarning: frame-x-000094-1-0132: ")
    told = [line for line in lines if "DomainWarning" in line]
    assert {re.match(r"galtrans: DomainWarning: ([-\w]+): ", line)[1] for line in told} == set(find_images([frames]))


def test_existing_file_is_refused_before_the_work(frames, tmp_path):
    output = tmp_path / "out.fits"
    output.write_bytes(b"precious")
    with pytest.raises(OSError, match="exists"):
        translate_file(next(iter(find_images([frames]).values())), "no-such-model", output)
    assert output.read_bytes() == b"precious"


# -- folders as users have them


@pytest.fixture
def cubes(tmp_path):
    """Two images of one file each."""
    folder = tmp_path / "cubes"
    folder.mkdir()
    for seed in (1, 2):
        write_cube(folder / f"a{seed}.fits", seed)
    return folder


def write_cube(path, seed=1, **changes):
    cube = make_cube((24, 30), seed=seed)
    header = cube.wcs.to_header()
    header["BUNIT"], header["BANDS"] = "nmgy", "u,g,r,i,z"
    header.update(changes)
    fits.PrimaryHDU(cube.data, header).writeto(path)


def run(cubes, out, model=MODEL, **options):
    """What became of each image, and the failures."""
    told = {}
    failures = translate_files([cubes], model, out, progress=False, report=told.__setitem__, **options)
    return told, failures


quiet = pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.GaltransWarning")


@quiet
@pytest.mark.parametrize("kind", ["system", "text", "bytes", "constant"])
def test_a_bad_file_does_not_stop_the_others(cubes, tmp_path, kind):
    bad = cubes / "a0.fits"
    if kind == "system":
        write_cube(bad, RADESYS="XYZ")
    elif kind == "text":
        write_cube(bad, OBSERVER="Andre")
        bad.write_bytes(bad.read_bytes().replace(b"Andre", b"Andr\xe9"))
    elif kind == "bytes":
        bad.write_bytes(np.random.default_rng(1).bytes(5000))
    else:
        write_cube(bad)
        with fits.open(bad, mode="update") as hdus:
            hdus[0].data[:] = 7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy tells of characters that are not ASCII
        told, failures = run(cubes, tmp_path / "out")
    assert (told["a1"], told["a2"]) == ("translated", "translated")
    # text that is not ASCII hurts nobody but the card that it is on
    assert told["a0"] == ("translated" if kind == "text" else "failed") and ("a0" in failures) == (kind != "text")


@quiet
def test_the_same_request_is_skipped_and_another_is_an_error(cubes, tmp_path):
    out = tmp_path / "out"
    assert run(cubes, out)[0] == {"a1": "translated", "a2": "translated"}
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run(cubes, out)[0] == {"a1": "skipped", "a2": "skipped"}
    for changes, match in (
        ({"model": "srgan-sdss-cfhtls"}, rf"other weights, translator {MODEL} \(asked for: srgan-sdss-cfhtls\)"),
        ({"unit": "uJy"}, r'options \{\} \(asked for: \{"unit": "uJy"\}\)'),
    ):
        told, failures = run(cubes, out, **changes)
        assert told == {"a1": "failed", "a2": "failed"}
        assert re.search(match, failures["a1"]), failures
    (cubes / "a1.fits").unlink()
    write_cube(cubes / "a1.fits", seed=3)
    told, failures = run(cubes, out)
    assert told == {"a1": "failed", "a2": "skipped"} and "another input" in failures["a1"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert run(cubes, out, "srgan-sdss-cfhtls", overwrite=True)[0] == {"a1": "translated", "a2": "translated"}
    assert fits.getheader(out / "a1.fits")["GTMODEL"] == "srgan-sdss-cfhtls"


def test_a_file_of_somebody_else_is_not_taken_for_a_result(cubes, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(out / "a1.fits")
    (cubes / "a2.fits").unlink()
    told, failures = run(cubes, out)
    assert told == {"a1": "failed"} and "translator not recorded" in failures["a1"]


@pytest.mark.parametrize("name", ["itself", "relative", "symlink", "output is a link", "output is a hard link"])
def test_inputs_are_never_replaced(cubes, tmp_path, name, monkeypatch):
    before = {path.name: path.read_bytes() for path in cubes.iterdir()}
    out = tmp_path / "out"
    if name == "itself":
        out = cubes
    elif name == "relative":
        monkeypatch.chdir(cubes)
        out = "."
    elif name == "symlink":
        out.symlink_to(cubes, target_is_directory=True)
    else:
        out.mkdir()
        link = os.link if name == "output is a hard link" else os.symlink
        link(cubes / "a1.fits", out / "a1.fits")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="would replace an input, or lie beside it"):
            translate_files([cubes], MODEL, out, overwrite=overwrite, progress=False)
    with pytest.raises(ValueError, match="would replace an input"):
        translate_file([cubes / "a1.fits"], MODEL, Path(out) / "a1.fits", overwrite=True)
    assert {path.name: path.read_bytes() for path in cubes.iterdir()} == before


@quiet
def test_every_image_has_noise_of_its_own(cubes, tmp_path):
    """The noise drawn for an image is what two seeds differ by; of two images it does not agree, and it is repeated."""
    model = "diffusion-sdss-cfhtls"
    for name, seed in (("5", 5), ("6", 6), ("again", 5)):
        assert not run(cubes, tmp_path / name, model, seed=seed)[1]
    drawn = []
    for name in ("a1.fits", "a2.fits"):
        one, other = (fits.getdata(tmp_path / seed / name) for seed in "56")
        drawn.append(((one - other) / fits.getdata(tmp_path / "5" / name, "UNCERT")).ravel())
    assert abs(np.corrcoef(*drawn)[0, 1]) < 0.1
    headers = [fits.getheader(tmp_path / "5" / f"a{k}.fits") for k in (1, 2)]
    assert headers[0]["GTSEED"] != headers[1]["GTSEED"]
    assert [json.loads(header["GTOPTION"])["seed"] for header in headers] == [5, 5]
    np.testing.assert_array_equal(
        fits.getdata(tmp_path / "5" / "a1.fits"), fits.getdata(tmp_path / "again" / "a1.fits")
    )


def test_what_a_killed_run_left_is_no_image(cubes, tmp_path):
    (cubes / ".0123456789ab-a3.fits").write_bytes(b"half")
    assert list(find_images([cubes])) == ["a1", "a2"]


@quiet
def test_the_next_run_sweeps_up(cubes, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for folder, name in ((out, "a1.fits"), (tmp_path, "one.fits"), (tmp_path, "another.fits")):
        (folder / f".0123456789ab-{name}").write_bytes(b"half")
    run(cubes, out)
    translate_file([cubes / "a1.fits"], MODEL, tmp_path / "one.fits", progress=False)
    assert sorted(path.name for path in out.iterdir()) == ["a1.fits", "a2.fits"]
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".0123456789ab-another.fits"]


@quiet
def test_no_standard_error_is_no_reason_to_stop(cubes, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert translate_files([cubes], MODEL, tmp_path / "out") == {}
    translate_file([cubes / "a1.fits"], MODEL, tmp_path / "one.fits")
    assert len(list((tmp_path / "out").iterdir())) == 2 and (tmp_path / "one.fits").exists()
