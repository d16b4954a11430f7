"""
FITS files from anywhere: what a file claims of itself is held against its bytes before astropy believes it.

Astropy allocates what a header asks for, and its C decompressors trust the numbers around a tile: a damaged file can
hang, fill the memory or end the process. So the layout is walked first, card by card, with nothing allocated. This also
finds files that are cut short, for which astropy has only a warning, and warnings belong to all threads of a process.
"""

import bz2
import gzip
import os
import subprocess
import sys
import zlib
from io import BytesIO
from math import ceil, prod

import numpy as np
from astropy.io import fits

from astro_galtrans._plain import limit
from astro_galtrans._warn import warn

__all__ = ["is_fits", "open_fits"]

BLOCK, CARD = 2880, 80
#: Headers of drizzled and stacked images list hundreds of exposures in thousands of cards; astropy's time for a header
#: grows with the square of their number.
MOST_CARDS = 8000
MOST_AXES = MOST_COLUMNS = 999  # of the FITS standard, sections 4.4.1.1 and 7.3.1
#: A file may unpack to 100 times its size (noise packs two- to fivefold), and a small one to this many MB.
MOST_UNPACKED, MOST_RATIO = 512, 100
OTHER_PACKING = {b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"\x1f\x9d": "compress (.Z)", b"\x28\xb5\x2f\xfd": "zstd"}
FIRST_WORDS = ("SIMPLE", "XTENSION")
COLUMN_BYTES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
#: Settings of the decompressors, and what these can take: astropy's Rice decoder reads beyond its memory with other
#: sizes of a pixel, and never ends with blocks of no pixel.
SETTINGS = {
    "RICE_1": {"BLOCKSIZE": range(1, 4097), "BYTEPIX": (1, 2, 4)},
    "RICE_ONE": {"BLOCKSIZE": range(1, 4097), "BYTEPIX": (1, 2, 4)},
    "HCOMPRESS_1": {"SMOOTH": (0, 1)},
    "GZIP_1": {}, "GZIP_2": {}, "PLIO_1": {}, "NOCOMPRESS": {},
}  # fmt: skip
ISOLATED = frozenset({"HCOMPRESS_1"})  # astropy's decoder writes where a damaged tile leads it: not in this process
LARGE_TILE = 2**20  # bytes, packed: deflate packs up to 1032 times, so that a smaller tile cannot fill the memory


def open_fits(path, *, strict=False):
    """
    Read a FITS file into memory, once its layout is known to be sound.

    Parameters
    ----------
    path : `~pathlib.Path`
        A plain, gzipped or bzipped file.
    strict : bool, optional
        Raise, instead of warning, if the checksums in a header are not those of its HDU.

    Returns
    -------
    `~astropy.io.fits.HDUList`

    Raises
    ------
    OSError
        If there is no such file, or it is empty, truncated, damaged, not FITS, or unpacks to far more than its size;
        the message names it.

    Warns
    -----
    GaltransWarning
        If the checksums in a header are not those of its HDU.
    """
    if not path.exists():
        msg = f"there is no file {path}"
        raise FileNotFoundError(msg)
    if path.is_dir():
        msg = f"{path} is a directory; expected a FITS file"
        raise IsADirectoryError(msg)
    if path.stat().st_size == 0:
        msg = f"{path} is an empty file"
        raise OSError(msg)
    try:
        with _unpacked(path) as file:
            layout = check_layout(file)
            wrong = _wrong_checksums(file, layout)
            file.seek(0)
            file = _decompressed(file) if any(cards.get("ZCMPTYPE") in ISOLATED for cards, *_ in layout) else file
            with fits.open(file, memmap=False, lazy_load_hdus=False) as hdulist:
                for hdu in hdulist:
                    # read here, where the file is open and a fault is the file's: pixels, and the value of every card
                    _ = hdu.data, [card.value for card in hdu.header.cards]
    except Exception as err:  # of many kinds: OSError, EOFError, zlib.error, TypeError from a buffer too short, ...
        msg = f"{path} cannot be read; it is truncated, damaged or not FITS: {' '.join(str(err).split())}"
        raise OSError(msg) from err
    for number, card in wrong:
        msg = f"{path}: HDU {number} does not match its checksum ({card}); it was damaged or edited since"
        if strict:
            raise OSError(msg)
        warn(msg, stacklevel=2)
    return hdulist


def is_fits(path):
    """
    Whether a file, unpacked if need be, begins as FITS does.

    Parameters
    ----------
    path : `~pathlib.Path`

    Raises
    ------
    OSError
        If there is no such file, or its packing is damaged.
    ValueError
        If it unpacks to far more than its size, or is packed in a way that is not read.
    """
    try:
        with _unpacked(path) as file:
            return file.read(6) == b"SIMPLE"
    except (EOFError, zlib.error) as err:
        msg = f"{path} is packed, and truncated or damaged: {err}"
        raise OSError(msg) from err


def _unpacked(path):
    """Open a file, unpacked: astropy takes the end of a truncated gzip file for the end of its contents."""
    with path.open("rb") as file:
        start = file.read(6)
    other = next((name for mark, name in OTHER_PACKING.items() if start.startswith(mark)), None)
    if other:  # astropy would unpack it whatever its size
        msg = f"it is packed by {other}, which is not read; unpack it first"
        raise ValueError(msg)
    unpack = {b"\x1f\x8b\x08": gzip.open, b"BZh": bz2.open}.get(start[:3])
    if unpack is None:
        return path.open("rb")
    most = _limit(path.stat().st_size)
    with unpack(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        remedy = "unpack it with gunzip or bunzip2, or set GALTRANS_MOST_UNPACKED (MB)"
        msg = f"it unpacks to more than {most / 1e6:.0f} MB; if that is meant, {remedy}"
        raise ValueError(msg)
    return BytesIO(content)


def _limit(size):
    return max(limit("GALTRANS_MOST_UNPACKED", MOST_UNPACKED) * 2**20, MOST_RATIO * size)


DECOMPRESS = """
import io, sys, warnings
from astropy.io import fits
warnings.simplefilter("ignore")
with fits.open(io.BytesIO(sys.stdin.buffer.read())) as hdus:
    plain = [fits.ImageHDU(hdu.data, hdu.header) if isinstance(hdu, fits.CompImageHDU) else hdu for hdu in hdus]
    fits.HDUList(plain).writeto(sys.stdout.buffer)
"""


def _decompressed(file):
    """Unpack tile-compressed images in a process of their own, which a damaged file may end."""
    content = file.read()
    done = subprocess.run(  # noqa: S603 - the code above, and bytes on its standard input
        [sys.executable, "-c", DECOMPRESS], input=content, capture_output=True, timeout=30 + len(content) / 1e6,
        check=False,
    )  # fmt: skip
    if done.returncode:
        msg = f"the decompressor ended with status {done.returncode}; the packed image is damaged"
        raise ValueError(msg)
    return BytesIO(done.stdout)


# The layout: headers of 80-character cards in blocks, each followed by as many bytes as it says.


def check_layout(file):
    """
    Hold the headers of a file against its size.

    Parameters
    ----------
    file : binary file

    Returns
    -------
    list of tuple
        Of each HDU: its mandatory and other cards as a dict of str to str, and the offsets (bytes) where the header
        begins, where the data begin and where they end.

    Raises
    ------
    ValueError
        If a header is cut, claims more than there is, or says something that no FITS file may.
    """
    size, hdus, start = file.seek(0, os.SEEK_END), [], 0
    while start < size:
        cards, first = _header(file, start, len(hdus))
        end = first + _data_size(cards)
        if end > size:
            msg = f"HDU {len(hdus)} should end at byte {end}, and there are {size}: the file is truncated"
            raise ValueError(msg)
        if cards.get("ZIMAGE") == "T":
            _check_tiles(file, cards, first, _limit(size))
        hdus.append((cards, start, first, end))
        start = first + ceil((end - first) / BLOCK) * BLOCK
    return hdus


def _header(file, start, number):
    """Cards of the header at a byte, and where it ends."""
    cards = {}
    file.seek(start)
    most = limit("GALTRANS_MOST_CARDS", MOST_CARDS)
    for _ in range(ceil(most * CARD / BLOCK)):
        block = file.read(BLOCK).decode("latin-1")
        if not cards and not block.startswith(FIRST_WORDS):
            msg = f"HDU {number} does not begin with {' or '.join(FIRST_WORDS)}"
            raise ValueError(msg)
        for k in range(0, len(block), CARD):
            card = block[k : k + CARD]
            if not card[:8].isprintable():
                msg = f"HDU {number} has a card {card[:8]!r}, whose name holds control characters"
                raise ValueError(msg)
            if card[:8].rstrip() == "END":
                return cards, file.tell()
            if card[8:9] == "=":
                cards.setdefault(card[:8].rstrip(), _value(card[9:]))
        if len(block) < BLOCK:
            msg = f"the header of HDU {number} does not end: the file is truncated"
            raise ValueError(msg)
    msg = f"the header of HDU {number} has more than {most} cards; leave some out, or set GALTRANS_MOST_CARDS"
    raise ValueError(msg)


def _value(text):
    text = text.strip()
    if text.startswith("'"):
        return text[1:].replace("''", "\0").partition("'")[0].replace("\0", "'").rstrip()
    return text.partition("/")[0].strip()


def _number(cards, name, default=None, lowest=0, highest=2**62):
    """Whole number on a card."""
    try:
        value = int(cards.get(name, default))
    except (TypeError, ValueError):
        msg = f"{name} is {cards.get(name)!r}; expected a whole number"
        raise ValueError(msg) from None
    if not lowest <= value <= highest:
        msg = f"{name} = {value} is not between {lowest} and {highest}"
        raise ValueError(msg)
    return value


def _data_size(cards):
    """Bytes that a header says its data have (FITS standard, equations 1 and 2)."""
    bits = abs(_number(cards, "BITPIX", lowest=-64, highest=64))
    axes = [_number(cards, f"NAXIS{k + 1}") for k in range(_number(cards, "NAXIS", highest=MOST_AXES))]
    _number(cards, "TFIELDS", 0, highest=MOST_COLUMNS)
    if cards.get("GROUPS") == "T" and axes[:1] == [0]:
        axes = axes[1:]
    if not axes:
        return 0
    return bits // 8 * _number(cards, "GCOUNT", 1) * (_number(cards, "PCOUNT", 0) + prod(axes))


# Tile-compressed images are tables of tiles: descriptors (length, offset) that point into a heap of packed bytes.


def _check_tiles(file, cards, first, limit):
    kind = cards.get("ZCMPTYPE")
    if kind not in SETTINGS:
        msg = f"ZCMPTYPE is {kind!r}; known are {', '.join(SETTINGS)}"
        raise ValueError(msg)
    _check_settings(cards, SETTINGS[kind])
    shape = [_number(cards, f"ZNAXIS{k + 1}", lowest=1) for k in range(_number(cards, "ZNAXIS", lowest=1, highest=99))]
    tile = [min(_number(cards, f"ZTILE{k + 1}", side if k == 0 else 1, lowest=1), side) for k, side in enumerate(shape)]
    pixel = abs(_number(cards, "ZBITPIX", lowest=-64, highest=64)) // 8
    if prod(shape) * pixel > limit:
        remedy = "unpack it with funpack, or set GALTRANS_MOST_UNPACKED (MB)"
        msg = f"a tile-compressed image unpacks to {prod(shape) * pixel / 1e6:.0f} MB; if so, {remedy}"
        raise ValueError(msg)
    rows = _number(cards, "NAXIS2")
    tiles = prod(ceil(side / step) for side, step in zip(shape, tile, strict=True))
    if rows != tiles:
        msg = f"a tile-compressed image of {tiles} tiles comes in a table of {rows} rows"
        raise ValueError(msg)
    for name, values in _descriptors(file, cards, first, rows).items():
        _check_heap(
            file, cards, first, values, {"COMPRESSED_DATA": kind, "GZIP_COMPRESSED_DATA": "GZIP_1"}.get(name), tile
        )


def _check_settings(cards, allowed):
    k = 1
    while f"ZNAME{k}" in cards:
        name = cards[f"ZNAME{k}"].upper()
        if name in allowed and _number(cards, f"ZVAL{k}", lowest=-(2**31)) not in allowed[name]:
            msg = f"{name} (ZVAL{k}) of a tile-compressed image is {cards[f'ZVAL{k}']}, which no decompressor takes"
            raise ValueError(msg)
        k += 1


def _descriptors(file, cards, first, rows):
    """Length and offset of every packed tile, by column, with the bytes of an element."""
    width, offset, columns = _number(cards, "NAXIS1"), 0, []
    for k in range(1, 1 + _number(cards, "TFIELDS")):
        form = cards.get(f"TFORM{k}", "")
        repeat = form[: len(form) - len(form.lstrip("0123456789"))]
        code, element = (form[len(repeat) :] + "  ")[:2]
        if code in "PQ":
            columns.append((cards.get(f"TTYPE{k}"), ">i4" if code == "P" else ">i8", offset, COLUMN_BYTES.get(element)))
        size = int(repeat or 1) * COLUMN_BYTES.get(code, 0)
        offset += ceil(int(repeat or 1) / 8) if code == "X" else size
    if offset != width:
        msg = f"columns of {offset} bytes make a row of NAXIS1 = {width} bytes"
        raise ValueError(msg)
    file.seek(first)
    table = np.frombuffer(file.read(rows * width), np.uint8).reshape(rows, width)
    return {
        name: (table[:, at : at + 2 * np.dtype(kind).itemsize].copy().view(kind).astype(np.int64), element)
        for name, kind, at, element in columns
        if name in {"COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA"}
    }


def _check_heap(file, cards, first, descriptors, kind, tile):
    (lengths, offsets), element = descriptors[0].T, descriptors[1]
    start = _number(cards, "THEAP", _number(cards, "NAXIS1") * _number(cards, "NAXIS2"))
    heap = _number(cards, "NAXIS1") * _number(cards, "NAXIS2") + _number(cards, "PCOUNT") - start
    if element is None or (lengths < 0).any() or (offsets < 0).any() or (offsets + lengths * element > heap).any():
        msg = f"a packed tile lies outside the {heap} bytes that hold them"
        raise ValueError(msg)
    check = TILE_CHECKS.get(kind)
    for length, offset in zip(lengths, offsets, strict=True) if check else ():
        if length:
            file.seek(first + start + offset)
            check(file, int(length * element), tile)


def _check_plio(file, length, _tile):
    """Check that a line list ends where its bytes do: astropy's decoder believes the length that it begins with."""
    words = np.frombuffer(file.read(min(length, 14)), ">i2").astype(int)
    if len(words) < 3 or (words[2] <= 0 and len(words) < 5):
        msg = "a packed tile (PLIO_1) is shorter than its own header"
        raise ValueError(msg)
    short = words[2] > 0
    number, begin = (words[2], 3) if short else ((words[4] << 15) + words[3], words[1])
    if not 0 <= begin <= number <= length // 2:
        msg = f"a packed tile (PLIO_1) claims {number} words and has {length // 2}"
        raise ValueError(msg)


def _check_gzip(file, length, tile):
    if length < LARGE_TILE:
        return
    most = 8 * prod(tile)
    if len(zlib.decompressobj(wbits=31).decompress(file.read(length), most + 1)) > most:
        msg = f"a packed tile (GZIP) unpacks to more than the {most} bytes of its pixels"
        raise ValueError(msg)


TILE_CHECKS = {"PLIO_1": _check_plio, "GZIP_1": _check_gzip, "GZIP_2": _check_gzip}


# Checksums


def _wrong_checksums(file, hdus):
    """Numbers of HDUs, and the card that says something else of them than their bytes do."""
    wrong = []
    for number, (cards, start, first, end) in enumerate(hdus):
        if not (cards.get("DATASUM") or cards.get("CHECKSUM")):
            continue
        file.seek(start)
        header, data = file.read(first - start), file.read(ceil((end - first) / BLOCK) * BLOCK)
        data_sum = _ones_complement(data)
        if cards.get("DATASUM", "").isdigit() and int(cards["DATASUM"]) != data_sum:
            wrong.append((number, "DATASUM"))
        elif cards.get("CHECKSUM") and _fold(_ones_complement(header) + data_sum) not in {0, 0xFFFFFFFF}:
            wrong.append((number, "CHECKSUM"))
    return wrong


def _ones_complement(content):
    """32-bit ones' complement sum of big-endian words (FITS standard, appendix J)."""
    content += bytes(-len(content) % 4)
    return _fold(int(np.frombuffer(content, ">u4").sum(dtype=np.uint64)))


def _fold(total):
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
