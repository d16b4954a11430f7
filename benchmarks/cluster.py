"""
A survey and a mosaic on several processes that die: the bytes are those of one process.

Stamps of a catalogue go through a translator, and a mosaic through a network that interpolates, each in three ways: in
one process; on a scheduler with workers of which one is killed on the way (kill -9); and on a scheduler that is killed,
after which a new one is started and the same command given again. Time is wall-clock time on whatever else the machine
does.

Run as ``python benchmarks/cluster.py [stamps mosaic] [--number 5000] [--side 6000] [--folder DIR] [--rst FILE]``.
"""

import argparse
import hashlib
import os
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
from astropy.io import fits
from astropy.table import Table

from astro_galtrans import translate_mosaic
from astro_galtrans.survey import cluster

FIELD = 2000  # pixels a side of an image of the survey
MODULE = [sys.executable, "-m"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("parts", nargs="*", default=["stamps", "mosaic"])
    parser.add_argument("-m", "--model", default="srgan-sdss-cfhtls")
    parser.add_argument("--number", type=int, default=5000)
    parser.add_argument("--side", type=int, default=6000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--rst", type=Path)
    parser.add_argument("--translate", nargs=2, help=argparse.SUPPRESS)  # a mosaic, in this process
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.translate:
        with cluster(scheduler=options.translate[1] or None) as client:
            paths = sorted(options.folder.glob("*.fits"), key=lambda path: "ugriz".index(path.stem))
            translate_mosaic(paths, scale.interpolator(1), options.translate[0], client=client)
        return
    rows = []
    for part in options.parts:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for row in {"stamps": stamps, "mosaic": mosaic}[part](options, Path(folder)):
                rows.append(row)
                print(*row, sep="   ", flush=True)
    if options.rst:
        options.rst.write_text(scale.table(rows).replace("beside it", "same bytes as one process"), encoding="utf8")


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

    def command(output, scheduler):
        return [
            *MODULE, "astro_galtrans", "-q", "translate", "--catalogue", str(folder / "objects.parquet"), "--images",
            str(folder / "*.fits"), "-m", options.model, "--shard", "128", "-o", str(output),
            *(["--scheduler", scheduler] if scheduler else []),
        ]  # fmt: skip

    yield from three_ways(f"{options.number:,} stamps of 64 x 64 x 5", command, folder, content_of_shards, begun_shards)


def mosaic(options, folder):
    for path, sky in zip((folder / f"{band}.fits" for band in scale.BANDS), scale.SKY, strict=True):
        header = scale.grid((options.side, options.side)).to_header()
        header["BUNIT"], header["FILTER"] = "nmgy", path.stem
        noise = np.random.default_rng(1).standard_normal((options.side, options.side), "f4")
        fits.writeto(path, sky * noise, header)

    def command(output, scheduler):
        return [sys.executable, __file__, "--folder", str(folder), "--translate", f"{output}.zarr", scheduler or ""]

    what = f"mosaic of {options.side:,} x {options.side:,} x 5"
    yield from three_ways(what, command, folder, content_of_mosaic, begun_mosaic)


def three_ways(what, command, folder, content, begun):
    """Run a command in one process, with a worker killed, and with the scheduler killed; yield rows of the table."""
    one = folder / "one"
    start = time.perf_counter()
    subprocess.run(command(one, None), check=True)
    alone = content(one)
    yield f"{what}, one process", f"{time.perf_counter() - start:.0f} s", ""
    for name, output in (("a worker killed", folder / "two"), ("scheduler killed, run again", folder / "three")):
        start = time.perf_counter()
        with processes() as (address, scheduler, workers):
            running = subprocess.Popen(command(output, address), stderr=subprocess.PIPE, text=True)
            while not begun(output) and running.poll() is None:
                time.sleep(0.02)
            victim = workers[0] if "worker" in name else scheduler
            os.kill(child_of(victim) if "worker" in name else victim.pid, signal.SIGKILL)
            error = running.communicate()[1]
        if running.returncode:
            print(f"exit status {running.returncode}: {error.strip().splitlines()[-1]}", flush=True)
            with processes() as (address, *_):
                subprocess.run(command(output, address), check=True, stderr=subprocess.DEVNULL)
        yield f"{what}, two workers, {name}", f"{time.perf_counter() - start:.0f} s", str(content(output) == alone)


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
    return any(path.is_file() and "/c/" in str(path) for path in output.parent.glob(f".*{output.name}.zarr*/**/*"))


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
    group = zarr.open_group(f"{output}.zarr", mode="r")
    for _, array in sorted(group.arrays()):
        rows = range(0, array.shape[-2], 1024)
        for start in rows:
            digest.update(np.ascontiguousarray(array[..., start : start + 1024, :]).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
