"""Files to images: grouping by band, skipping what is done, and going on after a failure."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from astro_galtrans.batch import find_images, is_folder, translate_file, translate_files
from helpers import make_bands

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
    with pytest.raises(ValueError, match="two images would be called 'a'"):
        find_images([tmp_path / "1" / "a.fits", tmp_path / "2" / "a.fits"])


def test_folder_by_slash_or_by_being_one(tmp_path):
    assert is_folder("new/") and is_folder(tmp_path) and not is_folder(tmp_path / "out.fits")


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")
def test_failure_does_not_stop_and_done_is_skipped(frames, tmp_path):
    (frames / "frame-z-000094-1-0131.fits").unlink()
    (frames / "broken.fits").write_bytes(b"SIMPLE  =                    T")
    failures = translate_files([frames], MODEL, tmp_path / "out", progress=False)
    assert set(failures) == {"frame-x-000094-1-0131", "broken"}
    assert "z" in failures["frame-x-000094-1-0131"]
    (done,) = (tmp_path / "out").iterdir()
    before = done.stat().st_mtime_ns
    translate_files([frames], MODEL, tmp_path / "out", progress=False)
    assert done.stat().st_mtime_ns == before
    cube = CCDData.read(done)
    assert cube.shape == (5, 48, 60) and cube.uncertainty is not None
    assert np.isfinite(cube.data).all()
    with fits.open(done) as hdus:
        hdus.verify("exception")


def test_existing_file_is_refused_before_the_work(frames, tmp_path):
    output = tmp_path / "out.fits"
    output.write_bytes(b"precious")
    with pytest.raises(OSError, match="exists"):
        translate_file(next(iter(find_images([frames]).values())), "no-such-model", output)
    assert output.read_bytes() == b"precious"
