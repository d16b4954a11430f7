"""
Loops over galaxies and pixels, compiled by numba: how they are compiled, where machine code is kept, what they share.

Each operation of numpy passes over all pixels of all galaxies, and most quantities would take hundreds of such passes,
bound by memory. A compiled loop stays with one galaxy, whose cutout the processor's cache holds, until it is done.
"""

import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from astro_galtrans._config import conf
from astro_galtrans._optional import require
from astro_galtrans._progress import tqdm

numba = require("numba", extra="morphology")
event = require("numba.core.event", extra="morphology")

__all__ = ["RELAXED", "compile_loop", "compiling", "falling", "folder_in", "part_of_loop"]

# Sums may be taken in any order, which lets them use vector instructions; infinities and NaN keep their meaning.
RELAXED = {"reassoc", "nsz", "arcp", "contract"}
LOOPS = []  # all loops of the modules imported so far


# -- where machine code is kept


def folder_in(base):
    """
    Return the folder in ``base`` for the machine code of the loops as they are now, made if need be; None if not
    writable.

    numba compiles a loop anew when the file of that loop has changed, but not when a loop of another file that it
    calls has. So the folder's name is a digest of all modules here, and of the versions of what compiles them.
    """
    digest = hashlib.sha256(f"{numba.__version__} {np.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    folder = Path(base) / f"morphology-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions tell too little: the file system may be read-only
            return folder
    except OSError:
        return None


def _folder():
    """Where the user wants numba's files, else beside the modules, else among the user's caches; None if nowhere."""
    if chosen := numba.config.CACHE_DIR or conf.cache_dir:
        return folder_in(chosen)
    beside = Path(__file__).parent / "__pycache__"
    if found := folder_in(beside):
        for former in set(beside.glob("morphology-*")) - {found}:  # of loops that are no more: some megabytes each
            shutil.rmtree(former, ignore_errors=True)
        return found
    return folder_in(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "astro_galtrans")


FOLDER = _folder()


def compile_loop(function=None, *, fastmath=RELAXED):
    """
    Compile a function of numpy arrays and numbers for this CPU, at its first call; the result is kept on disk.

    Each combination of types is compiled on its own, so there should be one. ``fastmath`` are LLVM's flags.
    """
    if function is None:
        return lambda function: compile_loop(function, fastmath=fastmath)
    settings = {"nogil": True, "fastmath": fastmath, "error_model": "numpy", "no_cfunc_wrapper": True}
    given, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(FOLDER or "")  # read when the function is wrapped
    try:
        loop = numba.njit(cache=FOLDER is not None, **settings)(function)
    finally:
        numba.config.CACHE_DIR = given
    LOOPS.append(loop)
    return loop


def part_of_loop(function):
    """
    Make a function part of each compiled one that calls it.

    For functions with one caller, which need no machine code of their own, and those that take functions, which numba
    cannot keep on disk.
    """
    return numba.njit(inline="always", error_model="numpy")(function)


@contextmanager
def compiling(progress):
    """Show a progress bar as soon as a loop has to be compiled, which takes some seconds once and is kept on disk."""
    listener = _Progress(progress)
    try:
        with event.install_listener("numba:compile", listener):
            yield listener
    finally:
        if listener.bar is not None:
            listener.bar.close()


class _Progress(event.Listener):
    """Counts the loops that numba has compiled; what it finds on disk is no event."""

    def __init__(self, progress):
        self.bar, self.progress, self.number = None, progress, 0

    def on_start(self, event):
        if self.bar is None:
            left = sum(not loop.signatures for loop in LOOPS)
            self.bar = tqdm(total=left, desc="compiling loops (once)", unit="loop", leave=False,
                            disable=None if self.progress else True)  # fmt: skip

    def on_end(self, event):
        if event.data["dispatcher"] in LOOPS:  # not one of numba's own
            self.bar.update()
            self.number += 1


# -- sorting

DIGIT = 256  # a byte


@compile_loop
def falling(values):
    """
    Return the indices of values (``[M]``, float64, finite) from the highest to the lowest; equal ones stay in order.

    A radix sort of the values in float32, four passes of eight bits; what float32 cannot tell apart is then sorted by
    insertion. numba's own sort compares, and takes five times as long.
    """
    number = len(values)
    key, order = _keys(values), np.empty(number, np.int32)
    for i in range(number):
        order[i] = i
    spare_key, spare = np.empty(number, np.uint32), np.empty(number, np.int32)
    for shift in (0, 8, 16, 24):
        _pass(shift, key, order, spare_key, spare)
        key, spare_key, order, spare = spare_key, key, spare, order
    for i in range(1, number):
        index, j = order[i], i
        while j > 0 and values[order[j - 1]] < values[index]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = index
    return order


@part_of_loop
def _keys(values):
    """Integers that fall as the values rise: the bits of a float32, its sign taken into account."""
    single = np.empty(len(values), np.float32)
    bits = single.view(np.uint32)
    for i in range(len(bits)):
        single[i] = values[i]  # `bits` is a view of the same memory
        negative = bits[i] >> np.uint32(31)
        bits[i] = bits[i] if negative else ~bits[i] & np.uint32(0x7FFFFFFF)
    return bits


@part_of_loop
def _pass(shift, key, order, new_key, new_order):
    """Sort by one digit."""
    place = np.zeros(DIGIT + 1, np.int64)
    for i in range(len(key)):
        place[((key[i] >> np.uint32(shift)) & np.uint32(DIGIT - 1)) + 1] += 1
    for d in range(DIGIT):
        place[d + 1] += place[d]
    for i in range(len(key)):
        digit = (key[i] >> np.uint32(shift)) & np.uint32(DIGIT - 1)
        j = place[digit]
        place[digit] = j + 1
        new_key[j], new_order[j] = key[i], order[i]
