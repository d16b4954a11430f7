"""One writer to a folder: a lock that dies with its owner, and the sweeping up after owners that were killed."""

import os
import re
import socket
import threading
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None

__all__ = ["LOCK_FILE", "die_with_parent", "held", "locked", "sweep"]

LOCK_FILE = ".galtrans-lock"
#: Names under which this package writes files before they are renamed.
STRAY = re.compile(r"\.[0-9a-f]{12,32}-.+|\..+\.\d+\.tmp|\.checkpoint\.pt\.tmp|(pairs\.\d+|summary)\.tmp")


@contextmanager
def locked(directory, name="", *, below=False):
    """
    Hold a folder against other writers, and remove what killed ones left half-written.

    The kernel holds the lock and drops it when the process ends, however it ends: a file that names an owner who is
    gone is no lock. It holds across machines where the file system passes locks on, as NFS and Lustre do by default.

    Parameters
    ----------
    directory : path-like
        A folder that exists.
    name : str, optional
        Hold this file of the folder only, against others who would write the same one.
    below : bool, optional
        Remove what is half-written in the folders below, too, which nobody else writes to.

    Raises
    ------
    OSError
        If another process, or another thread of this one, writes to the folder; the message names process and host.
    """
    path = Path(directory) / (f"{LOCK_FILE}-{name}" if name else LOCK_FILE)
    descriptor = _take(path)
    try:
        for folder in (path.parent, *(path.parent.rglob("*/") if below else ())):
            sweep(folder, name and f"-{name}")
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def held(directory):
    """Make a folder if it is missing, and hold it and all below; after an error it is gone if nothing is in it."""
    directory = Path(directory)
    new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with locked(directory, below=True):
            yield
    except BaseException:
        if new:
            with suppress(OSError):  # there is something in it
                directory.rmdir()
        raise


def sweep(folder, name=""):
    """
    Remove what killed runs left half-written.

    Parameters
    ----------
    folder : path-like
        That nobody else writes to.
    name : str, optional
        End of the names: only what was to become this file.
    """
    for file in Path(folder).iterdir():
        if STRAY.fullmatch(file.name) and file.name.endswith(name) and file.is_file():
            file.unlink(missing_ok=True)


def _take(path):
    """Descriptor of the lock file, locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                with suppress(OSError):  # a full disk: who holds the lock is a courtesy, that it is held is not
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
                return descriptor
        except BlockingIOError as err:
            owner = os.pread(descriptor, 200, 0).decode("utf8", "replace").strip() or "another process"
            os.close(descriptor)
            msg = f"{path.parent} is being written to by {owner}; wait until it ends, or choose another folder"
            raise OSError(msg) from err
        os.close(descriptor)  # its owner removed the file between our opening and our locking it


def die_with_parent():
    """End this worker process when its parent ends, even if that was killed and could not say so."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent):
    parent.join()
    os._exit(1)  # the main thread waits for work that nobody will send
