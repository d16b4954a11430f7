"""One writer to a folder; a lock that dies with its owner; nothing left of those that were killed."""

import signal
import subprocess
import sys
import time

import pytest

from astro_galtrans._locks import LOCK_FILE, locked

HOLD = """
import sys, time
from astro_galtrans._locks import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""

WORKERS = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from astro_galtrans._locks import die_with_parent
if __name__ == "__main__":
    with ProcessPoolExecutor(2, mp_context=get_context("fork"), initializer=die_with_parent) as pool:
        pids = {pool.submit(os.getpid).result() for _ in range(20)} | set(pool._processes)
        print(*pids, flush=True)
        time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_writer_is_told_of_the_first(tmp_path, holder):
    with pytest.raises(OSError, match=rf"is being written to by process {holder.pid} on \S+; wait"), locked(tmp_path):
        pass


def test_a_lock_dies_with_its_owner(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK_FILE).exists()  # of an owner who is gone
    with locked(tmp_path):
        pass
    assert not (tmp_path / LOCK_FILE).exists()


def test_one_process_is_two_writers_too(tmp_path):
    with locked(tmp_path), pytest.raises(OSError, match="being written to"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_what_killed_runs_left_is_swept_up(tmp_path):
    left = [".0123456789ab-a.fits", ".shard-00001.h5.4711.tmp", ".checkpoint.pt.tmp", "pairs.4711.tmp"]
    own = ["a.fits", "notes.tmp", ".hidden", ".config-file", "checkpoint.pt"]
    for name in left + own:
        (tmp_path / name).touch()
    with locked(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(own)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_workers_die_with_their_parent():
    from pathlib import Path

    parent = subprocess.Popen([sys.executable, "-c", WORKERS], stdout=subprocess.PIPE, text=True)
    pids = parent.stdout.readline().split()
    parent.kill()
    parent.wait()
    parent.stdout.close()

    def alive(pid):
        stat = Path(f"/proc/{pid}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(map(alive, pids)):
        time.sleep(0.05)
    assert pids and not any(map(alive, pids))
