"""Files that appear whole or not at all."""

import hashlib
import resource

import numpy as np
import pytest
from astropy.io import fits

from astro_galtrans import translate_mosaic
from astro_galtrans._files import fingerprint, whole_file
from astro_galtrans.bandstack import write_hdulist
from helpers import make_bands


@pytest.fixture
def no_room():
    """Let files grow to 20 kB only, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_fits_on_a_disk_that_is_full(no_room, tmp_path):
    with pytest.raises(OSError, match="File too large"):
        write_hdulist(fits.HDUList([fits.PrimaryHDU(np.ones((200, 200)))]), tmp_path / "image.fits")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.fits", "out.zarr"])
def test_a_mosaic_on_a_disk_that_is_full(no_room, tmp_path, name):
    with pytest.raises(OSError, match=f"File too large: '.*{name}'"):
        translate_mosaic(make_bands((120, 100)), "srgan-sdss-cfhtls", tmp_path / name, block=64, psf=1.3)
    assert not (tmp_path / name).exists()


def test_a_file_appears_whole_and_only_when_it_is_done(tmp_path):
    path = tmp_path / "table.fits.gz"
    path.write_text("old")
    with whole_file(path) as place:
        place.write_text("new")
        assert path.read_text() == "old"
        assert place.parent == tmp_path
        assert place.name.endswith(".fits.gz")  # from which astropy tells to compress
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write():
        with whole_file(path) as place:
            place.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_raises_and_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "file"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_fingerprint_is_the_sha256_of_its_parts_and_tells_arrays_apart():
    assert fingerprint("one", b"two") == hashlib.sha256(b"onetwo").hexdigest()
    values = np.arange(6, dtype=np.float32)
    alike = [values, values.reshape(2, 3), values.reshape(3, 2), values.view(np.int32), values[::-1]]
    assert len({fingerprint(array) for array in alike}) == len(alike)
    assert fingerprint(values[::-1]) == fingerprint(values[::-1].copy())
