"""FITS files that lie, are damaged or were made to harm: errors at once, in a process that lives on."""

import bz2
import gzip
import io
import lzma
import os
import re
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits

from astro_galtrans.bandstack import read
from astro_galtrans.exceptions import GaltransWarning
from helpers import make_cube

BLOCK = 2880


@pytest.fixture
def header():
    header = make_cube((24, 30), "gr").wcs.to_header()
    header["BUNIT"], header["BANDS"] = "nmgy", "g,r"
    return header


@pytest.fixture
def pixels():
    return make_cube((24, 30), "gr").data.astype("f4")


@pytest.fixture
def good(tmp_path, pixels, header):
    path = tmp_path / "good.fits"
    fits.PrimaryHDU(pixels, header).writeto(path)
    return path


def with_card(path, keyword, value):
    """The file's bytes with another value on a card."""
    content = path.read_bytes()
    at = content.index(f"{keyword:8}=".encode())
    return content[:at] + f"{keyword:8}= {value:>20}".encode().ljust(80) + content[at + 80 :]


def refused(path, match):
    start = time.perf_counter()
    with pytest.raises(OSError, match=match) as caught:
        read(path)
    assert path.name in str(caught.value)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("keyword", "value", "match"),
    [
        ("NAXIS", 2**31, "NAXIS = 2147483648 is not between 0 and 999"),
        ("NAXIS", -1, "NAXIS = -1 is not between"),
        ("NAXIS1", 10**9, r"should end at byte .* truncated"),
        ("NAXIS2", -5, "NAXIS2 = -5"),
        ("NAXIS3", "'three'", "expected a whole number"),
        ("BITPIX", 10**6, "BITPIX = 1000000"),
    ],
)
def test_a_header_that_claims_what_is_not_there(good, keyword, value, match):
    good.write_bytes(with_card(good, keyword, value))
    refused(good, match)


def test_a_table_of_a_milliard_columns(tmp_path, pixels, header):
    path = tmp_path / "table.fits"
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(5))])
    fits.HDUList([fits.PrimaryHDU(pixels, header), table]).writeto(path)
    path.write_bytes(with_card(path, "TFIELDS", 10**9))
    refused(path, "TFIELDS = 1000000000")


def test_a_header_of_twenty_thousand_cards(tmp_path, pixels, header):
    cards = [fits.Card(f"K{k}", k) for k in range(20_000)]
    fits.PrimaryHDU(pixels, fits.Header([*header.cards, *cards])).writeto(tmp_path / "long.fits")
    refused(tmp_path / "long.fits", "more than 8000 cards")


@pytest.mark.parametrize("missing", [BLOCK, 3 * BLOCK, 5 * BLOCK + 1000])
def test_a_file_that_ends_early(good, missing):
    content = good.read_bytes()
    good.write_bytes(content[: max(len(content) - missing, 500)])
    refused(good, "truncated")


def test_rubbish_behind_the_image(good):
    good.write_bytes(good.read_bytes() + b"<html>" * 480)
    refused(good, "HDU 1 does not begin with SIMPLE or XTENSION")


def test_names_of_cards_with_control_characters(good):
    good.write_bytes(good.read_bytes().replace(b"RADESYS ", b"RADE\0YS ", 1))
    refused(good, "a card 'RADE.x00YS ', whose name holds control characters")


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_a_small_file_that_unpacks_to_gigabytes(tmp_path, good, suffix, pack):
    packed = pack(bytes(2**20))
    path = tmp_path / f"bomb.fits.{suffix}"
    path.write_bytes(pack(good.read_bytes()) + 600 * packed)
    with pytest.raises(OSError, match=r"unpacks to more than 537 MB; if that is meant, unpack it with"):
        read(path)


@pytest.mark.parametrize(("suffix", "pack"), [("xz", lzma.compress), ("zip", lambda data: b"PK\x03\x04" + data)])
def test_other_packings_are_named(tmp_path, good, suffix, pack):
    path = tmp_path / f"packed.fits.{suffix}"
    path.write_bytes(pack(good.read_bytes()))
    with pytest.raises(OSError, match=f"it is packed by {suffix}, which is not read; unpack it first"):
        read(path)


@pytest.mark.parametrize("suffix", ["gz", "bz2"])
def test_packed_files_are_read(tmp_path, good, suffix):
    path = tmp_path / f"packed.fits.{suffix}"
    path.write_bytes({"gz": gzip, "bz2": bz2}[suffix].compress(good.read_bytes()))
    np.testing.assert_array_equal(read(path).data, read(good).data)


# -- tile compression


def compressed(path, pixels, header, kind="RICE_1", **options):
    if kind in {"PLIO_1", "HCOMPRESS_1"}:
        pixels = np.round(100 * np.abs(pixels[0])).astype("i4")
        header = header.copy()
        del header["BANDS"]
        header["FILTER"] = "r"
    hdu = fits.CompImageHDU(pixels, header, compression_type=kind, **options)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    return hdu


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS"])
def test_every_compression_is_read(tmp_path, pixels, header, kind):
    path = tmp_path / "x.fits"
    compressed(path, pixels, header, kind)
    with fits.open(path) as hdus:
        expected = hdus[1].data.astype("f4")
    np.testing.assert_array_equal(read(path).data.squeeze(), expected)


@pytest.mark.parametrize(
    ("keyword", "value", "match"),
    [
        ("ZVAL2", 8, r"BYTEPIX \(ZVAL2\) .* is 8"),  # astropy reads beyond its memory and the process ends
        ("ZVAL2", 2**31, "BYTEPIX|ZVAL2"),
        ("ZVAL1", 0, r"BLOCKSIZE \(ZVAL1\)"),  # astropy never ends
        ("ZNAXIS1", 10**5, "tiles|columns|bytes|unpacks"),
        ("ZNAXIS2", 2 * 10**9, "unpacks to"),
        ("ZNAXIS", 10**6, "ZNAXIS = 1000000"),
        ("ZTILE1", 0, "ZTILE1 = 0"),
        ("ZCMPTYPE", "'LZ77'", "ZCMPTYPE is 'LZ77'"),
        ("THEAP", 10**7, "outside"),
    ],
)
def test_a_damaged_setting_of_the_compression(tmp_path, pixels, header, keyword, value, match):
    path = tmp_path / "x.fits"
    compressed(path, pixels, header)
    if keyword == "THEAP":
        content = path.read_bytes()
        at = content.index(b"ZCMPTYPE")
        content = content[: at - 80] + f"THEAP   = {value:>20}".encode().ljust(80) + content[at:]
        path.write_bytes(content)
    else:
        path.write_bytes(with_card(path, keyword, value))
    refused(path, match)


def test_tiles_that_point_outside_their_heap(tmp_path, pixels, header):
    path = tmp_path / "x.fits"
    compressed(path, pixels, header)
    content = bytearray(path.read_bytes())
    end = [m.start() for m in re.finditer(rb"END {77}", content)][1]
    data = -(-end // BLOCK) * BLOCK
    content[data + 4 : data + 8] = (2**31 - 1).to_bytes(4, "big")  # the offset of the first tile
    path.write_bytes(content)
    refused(path, "outside the .* bytes that hold them")


# -- checksums


@pytest.fixture
def summed(tmp_path, pixels, header):
    path = tmp_path / "sums.fits"
    fits.PrimaryHDU(pixels, header).writeto(path, checksum=True)
    return path


def test_right_checksums_are_no_news(tmp_path, pixels, header, summed):
    read(summed)
    compressed(tmp_path / "c.fits", pixels, header)
    with fits.open(tmp_path / "c.fits") as hdus:
        hdus.writeto(tmp_path / "d.fits", checksum=True)
    read(tmp_path / "d.fits")


@pytest.mark.parametrize(("where", "card"), [(-2000, "DATASUM"), (b"nmgy", "CHECKSUM")])
def test_damage_that_a_checksum_shows(summed, where, card):
    content = bytearray(summed.read_bytes())
    if isinstance(where, bytes):
        content = content.replace(b"BANDS   = 'g,r", b"BANDS   = 'u,r")
    else:
        content[where] ^= 0x20
    summed.write_bytes(content)
    told = rf"sums.fits: HDU 0 does not match its checksum \({card}\)"
    with pytest.warns(GaltransWarning, match=told):
        read(summed)
    with pytest.raises(OSError, match=told):
        read(summed, strict=True)


def test_limits_of_sizes_are_named_and_can_be_raised(tmp_path, good, header, pixels, monkeypatch):
    path = tmp_path / "long.fits"
    cards = [fits.Card(f"K{k}", k) for k in range(9_000)]
    fits.PrimaryHDU(pixels, fits.Header([*header.cards, *cards])).writeto(path)
    refused(path, "GALTRANS_MOST_CARDS")
    monkeypatch.setenv("GALTRANS_MOST_CARDS", "10000")
    np.testing.assert_array_equal(read(path).data, read(good).data)
    packed = tmp_path / "packed.fits.gz"
    packed.write_bytes(gzip.compress(good.read_bytes() + bytes(2880 * 500)))
    monkeypatch.setenv("GALTRANS_MOST_UNPACKED", "1")
    with pytest.raises(OSError, match="GALTRANS_MOST_UNPACKED"):
        read(packed)
    monkeypatch.setenv("GALTRANS_MOST_CARDS", "many")
    with pytest.raises(OSError, match="GALTRANS_MOST_CARDS is 'many'; expected a positive whole number"):
        read(good)


# -- threads


def test_threads_read_as_one_does(tmp_path, good):
    """Half of the files are cut in their second header, which astropy only warns of; filters of warnings stay."""
    content, extension = good.read_bytes(), io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((24, 30)))]).writeto(extension)
    cut = tmp_path / "cut.fits"
    cut.write_bytes(content + extension.getvalue()[BLOCK : BLOCK + 1000])
    before, interval = list(warnings.filters), sys.getswitchinterval()

    def one(path):
        try:
            return read(path).data.shape
        except OSError:
            return "error"

    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(one, [cut, good] * 60))
    finally:
        sys.setswitchinterval(interval)
    assert found == ["error", (2, 24, 30)] * 60
    assert warnings.filters == before


# -- mutated files

MUTATE = """
import resource, sys, warnings
from pathlib import Path
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
warnings.simplefilter("ignore")
from astro_galtrans.bandstack import read
folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
seeds = sorted(folder.glob("seed-*.fits"))
for number in range(first, last):
    rng = np.random.default_rng(number)
    content = bytearray(seeds[number % len(seeds)].read_bytes())
    for _ in range(rng.choice([1, 2, 4, 16])):
        at = int(rng.integers(len(content) - 1))
        kind = rng.integers(4)
        if kind == 0:
            content[at] = int(rng.integers(256))
        elif kind == 1:  # a number on a card
            at = at // 80 * 80
            if content[at + 8 : at + 9] == b"=":
                value = rng.choice([0, 1, -1, 2, 3, 8, 64, 999, 10**6, 2**31 - 1, 2**31, -2**31, 2**62])
                content[at + 10 : at + 30] = f"{value:>20}".encode()
        elif kind == 2:
            del content[at : at + int(rng.choice([1, 80, 2880]))]
        else:
            content[at:at] = content[at : at + int(rng.choice([1, 80, 2880]))]
    path = folder / "mutant.fits"
    path.write_bytes(content)
    print(number, flush=True)
    try:
        read(path)
    except (OSError, ValueError, TypeError):
        pass
print("done")
"""


def test_mutated_files_end_in_a_result_or_an_error(tmp_path, pixels, header):
    """
    No crash, no hang, no other exception, no stray.

    GALTRANS_FUZZ sets how many files are tried; 500 take seconds, 20,000 some minutes.
    """
    fits.PrimaryHDU(pixels, header).writeto(tmp_path / "seed-0.fits")
    noise = fits.ImageHDU(np.full(pixels.shape, 0.1, "f4"), name="UNCERT")
    mask = fits.ImageHDU((pixels > 5).astype("u1"), name="MASK")
    fits.HDUList([fits.PrimaryHDU(pixels, header), noise, mask]).writeto(tmp_path / "seed-1.fits", checksum=True)
    for number, kind in enumerate(("RICE_1", "GZIP_2", "PLIO_1")):
        compressed(tmp_path / f"seed-{number + 2}.fits", pixels, header, kind)
    files = int(os.environ.get("GALTRANS_FUZZ", "500"))
    before = set(tmp_path.iterdir())
    run = subprocess.run(
        [sys.executable, "-c", MUTATE, tmp_path, "0", str(files)],
        capture_output=True, text=True, timeout=60 + files, check=False,
    )  # fmt: skip
    last = (run.stdout.split() or ["none"])[-1]
    assert (run.returncode, last) == (0, "done"), f"mutant {last}: {run.stderr[-1500:]}"
    assert set(tmp_path.iterdir()) - before == {tmp_path / "mutant.fits"}
