"""Files that appear whole or not at all, and fingerprints of what they were made from."""

import hashlib
import io
import json
import pickle
import uuid
from contextlib import contextmanager
from pathlib import Path

import numpy as np

__all__ = ["FITS_SUFFIXES", "CheckedFile", "files_in", "fingerprint", "named", "whole_file"]

#: Ends of names that are FITS.
FITS_SUFFIXES = tuple(f".{kind}{packed}" for kind in ("fits", "fit", "fts") for packed in ("", ".fz", ".gz", ".bz2"))


def files_in(folder, suffixes=FITS_SUFFIXES):
    """Sorted files in a folder whose names end so; a hidden file is one that a killed run had not finished."""
    found = (path for path in Path(folder).iterdir() if path.name.lower().endswith(suffixes))
    return sorted(path for path in found if not path.name.startswith("."))


@contextmanager
def whole_file(path):
    """
    Yield the name of a temporary file; when the block ends without an error, it is renamed to ``path``.

    Whoever reads ``path`` sees the old file or the new one, never half of one; after an error the old one is there.

    Parameters
    ----------
    path : path-like
        File to write; one that is there is replaced. Its folder has to exist.

    Yields
    ------
    `~pathlib.Path`
        In the same folder, so that the renaming is one step of the file system, and with the same suffixes, from which
        astropy and matplotlib tell the format and the compression.
    """
    path = Path(path)
    # unlike a process number, this also keeps threads, and processes on other machines that share a disk, apart
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        with named(path):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named(path):
    """Add the name of an output to the error of a write that failed, on a full disk say, which has none."""
    try:
        yield
    except OSError as err:
        if err.filename is None and err.errno is not None:  # without a number Python would print the name only
            err.filename = str(path)
        raise


class CheckedFile(io.BufferedIOBase):
    """
    A file opened for writing that tells of every write that fails.

    Numpy writes to plain files through C's buffers (``tofile``, which astropy and ``numpy.save`` call), and does not
    notice when the last buffer finds no room on the disk: the file is cut short, and nobody knows. To this object,
    which is no plain file to them, they write through Python.

    Parameters
    ----------
    path : path-like
    """

    def __init__(self, path):
        self._file = Path(path).open("wb")  # noqa: SIM115 - closed with this object

    @property
    def name(self):
        """Path of the file: astropy looks up how full its disk is when a write fails."""
        return self._file.name

    def writable(self):
        """Return True."""
        return True

    def write(self, data):
        """Write bytes; return how many."""
        return self._file.write(data)

    def tell(self):
        """Return the position in the file."""
        return self._file.tell()

    def flush(self):
        """Hand what is buffered to the system."""
        if not self._file.closed:
            self._file.flush()

    def close(self):
        """Write what is buffered, and close the file."""
        try:
            self._file.close()
        finally:
            super().close()


def fingerprint(*parts):
    """
    Return the SHA-256 of some bytes, strings, arrays and settings, in hexadecimal digits.

    Parameters
    ----------
    *parts : bytes, str, `numpy.ndarray` or dict
        Of an array, type and shape count as well. Settings are a dict, in which arrays and tables count with all their
        values; what cannot be pickled, such as a lambda function, differs in every session.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode())
            part = np.ascontiguousarray(part)
        elif isinstance(part, dict):
            part = json.dumps(part, default=_text, sort_keys=True)
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def _text(value):
    try:
        return pickle.dumps(value).hex()
    except (pickle.PicklingError, AttributeError, TypeError):
        return repr(value)
