"""
A survey and a mosaic on several processes that die: the bytes are those of one process.

Stamps of a catalogue go through a translator, and a mosaic through a network that interpolates, each in three ways: in
one process; on a local cluster of two processes of which one is killed on the way (kill -9); and on a scheduler that is
killed, after which a new one is started and the same command given again. The part ``tasks`` measures an empty task,
with all that a block of a mosaic is sent with. Time is wall-clock time on whatever else the machine does; memory is
that of the largest process at its peak, which counts what of the files the system holds for it. Threads are as they
come: ``OMP_NUM_THREADS`` is not set.

Run as ``python benchmarks/cluster.py [stamps mosaic tasks] [--number 5000] [--size 64] [--side 12000]
[--kill worker scheduler] [--folder DIR] [--rst FILE]``; it takes half an hour on two cores, and 3 GB in ``--folder``.
Rows of the table in the file are replaced by those of the same name, and others kept.
"""

import argparse
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scale
import zarr
from astropy.table import Table

from astro_galtrans import load_translator, translate_mosaic
from astro_galtrans.bandstack import Windows
from astro_galtrans.survey import cluster
from astro_galtrans.translate.mosaic import Plan
from astro_galtrans.translate.request import Request, Sampling

FIELD = 2000  # pixels a side of an image of the survey
MODULE = [sys.executable, "-m"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("parts", nargs="*", default=["stamps", "mosaic", "tasks"])
    parser.add_argument("-m", "--model", default="capsule-sdss-cfhtls")  # the quickest
    parser.add_argument("--number", type=int, default=5000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--side", type=int, default=12000)
    parser.add_argument("--kill", nargs="+", default=["worker", "scheduler"], choices=["worker", "scheduler"])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--rst", type=Path)
    parser.add_argument("--translate", help=argparse.SUPPRESS)  # a mosaic, on these workers
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--scheduler", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.translate:
        with cluster(options.workers, options.scheduler) as client:
            paths = sorted(options.folder.glob("*.fits"), key=lambda path: "ugriz".index(path.stem))
            translate_mosaic(paths, scale.interpolator(1), options.translate, client=client)
        return
    os.environ.pop("OMP_NUM_THREADS", None)
    for part in options.parts:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for row in {"stamps": stamps, "mosaic": mosaic, "tasks": tasks}[part](options, Path(folder)):
                print(*row, sep="   ", flush=True)
                if options.rst:  # row by row: the whole takes long
                    scale.write_rows(options.rst, [row], "same bytes as one process")


def stamps(options, folder):
    """Noise and galaxies in two images of five bands each, and a catalogue of places in them."""
    for number in range(2):
        for band, image in scale.frames((FIELD, FIELD), number).items():
            image.wcs.wcs.crval[1] += 0.2 * number
            image.write(folder / f"frame-{band}-{number}.fits")
    rng = np.random.default_rng(1)
    half = 1.1e-4 * (FIELD / 2 - 40)
    ra, dec = 150 + rng.uniform(-half, half, options.number), 2 + rng.uniform(-half, half, options.number)
    dec[options.number // 2 :] += 0.2
    Table({"ra": ra, "dec": dec}).write(folder / "objects.parquet")

    def command(output, *workers):
        return [
            *MODULE, "astro_galtrans", "-q", "translate", "--catalogue", str(folder / "objects.parquet"), "--images",
            str(folder / "*.fits"), "-m", options.model, "--shard", "128", "-o", str(output),
            "--size", str(options.size), *workers,
        ]  # fmt: skip

    what = f"{options.number:,} stamps of {options.size} x {options.size} x 5, {options.model.partition('-')[0]}"
    yield from killed(what, options.kill, command, folder, content_of_shards, begun_shards)


def mosaic(options, folder):
    for path, sky in zip((folder / f"{band}.fits" for band in scale.BANDS), scale.SKY, strict=True):
        scale.write_sky(path, options.side, sky, integers=True)

    def command(output, *workers):
        return [sys.executable, __file__, "--folder", str(folder), "--translate", str(output), *workers]

    what = f"mosaic of {options.side:,} x {options.side:,} x 5"
    yield from killed(what, options.kill, command, folder, content_of_mosaic, begun_mosaic)


def killed(what, victims, command, folder, content, begun):
    """Run a command in one process, and with a worker or the scheduler killed; yield rows of the table."""
    output = folder / "out.zarr"
    start = time.perf_counter()
    memory = ended(subprocess.Popen(command(output)))
    yield f"{what}, one process", spent(start, memory), ""
    alone = content(output)
    for name in victims:
        shutil.rmtree(output)  # a mosaic takes gigabytes
        start = time.perf_counter()
        if name == "worker":
            running = subprocess.Popen(command(output, "--workers", "2"))
            wait_until(begun, output, running)
            os.kill(child_of(running), signal.SIGKILL)
            yield f"{what}, two workers, a worker killed", spent(start, ended(running)), str(content(output) == alone)
            continue
        with processes() as (address, scheduler, _):
            running = subprocess.Popen(command(output, "--scheduler", address), stderr=subprocess.PIPE, text=True)
            wait_until(begun, output, running)
            scheduler.kill()
            error = running.communicate()[1].strip()
        print(f"exit status {running.returncode} after {time.perf_counter() - start:.0f} s: {error.splitlines()[-1]}")
        with processes() as (address, *_):
            memory = ended(subprocess.Popen(command(output, "--scheduler", address)))
        yield f"{what}, two workers, scheduler killed, run again", spent(start, memory), str(content(output) == alone)


def wait_until(begun, output, running):
    while not begun(output):
        if running.poll() is not None:
            msg = "the command ended before anything could be killed; take more stamps, or a larger mosaic"
            raise RuntimeError(msg)
        time.sleep(0.02)


def ended(process):
    """Wait until a program ends well; peak memory of the largest of it and its own processes (GB)."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return used.ru_maxrss / 2**20


def spent(start, memory):
    return f"{time.perf_counter() - start:.0f} s, {memory:.2f} GB a process"


def tasks(options, _folder, number=200):
    """Time of a task that does nothing."""
    translator = load_translator(options.model)
    reading = {"bands": None, "zeropoint": None, "unit": None, "align": True, "bad_planes": None, "strict": False}
    request = Request(translator, Sampling.of(translator, None, "mean", None), None, reading, None, None, None)
    plan = Plan(Windows(scale.frames((64, 64)), scale.BANDS), request, 1024)
    with cluster(workers=2) as client:
        client.gather(client.map(empty, range(2), plan=plan, pure=False))
        start = time.perf_counter()
        client.gather(client.map(empty, range(number), plan=plan, pure=False))
        yield "an empty task of dask, two workers", f"{1e3 * (time.perf_counter() - start) / number:.0f} ms", ""


def empty(number, plan):
    return number, plan.side


@contextmanager
def processes():
    """A scheduler and two workers, each a program of its own; address and programs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    # workers import the network that only interpolates from this folder
    known = os.pathsep.join(filter(None, [str(Path(__file__).parent.resolve()), os.environ.get("PYTHONPATH")]))
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": os.environ | {"PYTHONPATH": known}}
    scheduler = subprocess.Popen(
        [*MODULE, "distributed.cli.dask_scheduler", "--port", str(port), "--dashboard-address", ":0"], **silent
    )
    started = [*MODULE, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    workers = [subprocess.Popen(started, **silent) for _ in range(2)]
    try:
        yield address, scheduler, workers
    finally:
        for process in (*workers, scheduler):
            process.terminate()
        for process in (*workers, scheduler):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def child_of(nanny):
    """Process number of the worker below its nanny: the one with the most memory."""
    numbers = subprocess.run(["pgrep", "-P", str(nanny.pid)], capture_output=True, text=True, check=True).stdout.split()
    return max(map(int, numbers), key=lambda n: int(Path(f"/proc/{n}/statm").read_text().split()[1]))


def begun_shards(output):
    return len(list(output.glob("shard-*.zarr"))) >= 2


def begun_mosaic(output):
    return any(path.is_file() and "/c/" in str(path) for path in output.parent.glob(f".*{output.name}*/**/*"))


def content_of_shards(output):
    """Digest of all arrays, shard by shard."""
    digest = hashlib.sha256()
    for path in sorted(output.glob("shard-*.zarr")):
        group = zarr.open_group(path, mode="r")
        for name in ("row", "flux", "std", "mask", "wcs", "flags", "seed"):
            digest.update(group[name][:].tobytes())
    return digest.hexdigest()


def content_of_mosaic(output):
    digest = hashlib.sha256()
    group = zarr.open_group(output, mode="r")
    for _, array in sorted(group.arrays()):
        rows = range(0, array.shape[-2], 1024)
        for start in rows:
            digest.update(np.ascontiguousarray(array[..., start : start + 1024, :]).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
