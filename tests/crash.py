"""
A command, ended at each of its file-system events in turn: ``python crash.py COMMAND FOLDER STEP``.

Everything is imported once; each run is a fork of this process. A hook for audit events sees whatever opens, renames or
removes a file below the output, and at the k-th event kills the process, or says that the disk is full or read-only,
and goes on saying so. What a hook does not see, a write that stops half-way, the kernel does itself: RLIMIT_FSIZE sets
how large a file may become, for HDF5's C code too.
"""

import contextlib
import csv
import errno
import fnmatch
import hashlib
import importlib
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from astropy import units as u
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from astropy.table import Table

from astro_galtrans.cli import main
from astro_galtrans.pairs.store import PairHeader, PairWriter
from astro_galtrans.surveys import get_survey
from helpers import make_bands, make_wcs

MODEL = "swin-sdss-cfhtls"
SIZE = 24
#: Records of work that is not finished. They change from event to event, and the next run goes on by them.
ON_THE_WAY = "checkpoint*.pt", "losses.csv", "validation.csv", "progress.jsonl"
TIMES = {"seconds", "hours", "created", "training", "card_sha256"}  # keys of cards and columns of logs
LEAST_LOG = 300  # bytes: the limit on the size of a file holds for the log, too, which must have room for the message
TENSORBOARD = "events.out.tfevents.*"  # their names have the time


# -- the commands, and what they need


def frames(work, name="image"):
    paths = []
    for band, ccd in make_bands((24, 30)).items():
        paths.append(str(work / f"{name}-{band}.fits"))
        ccd.write(paths[-1], overwrite=True)
    return paths


def translate(work, out):
    return ["translate", *frames(work), "-m", MODEL, "-o", str(out / "x.fits")]


def translate_folder(work, out):
    for name in ("one", "two"):
        frames(work, name)
    return ["translate", str(work), "-m", MODEL, "-o", f"{out}/many/"]


def translate_catalogue(work, out):
    Table({"ra": [351.6, 351.6, 351.6], "dec": [0.1, 0.1, 0.1]}).write(work / "objects.ecsv")
    return ["translate", *frames(work), "-m", "srgan-sdss-cfhtls", "--catalogue", str(work / "objects.ecsv"), "--size",
            "16", "--shard", "2", "-o", str(out / "x.zarr"), "--fits", str(out / "fits")]  # fmt: skip


def measure(work, out):
    made = translate_catalogue(work, work)
    subprocess.run([sys.executable, "-m", "astro_galtrans", *made[:-2]], check=True)  # zarr starts threads
    return ["measure", str(work / "x.zarr"), "-o", str(out / "tables")]


def simulate(_work, out):
    return ["simulate", str(out / "pairs"), "-n", "1", "--size", "16", "--workers", "1", "--source-bands", "r",
            "--target-bands", "r"]  # fmt: skip


def pairs(work, out):
    """Nine round galaxies as two surveys see them, in three source images."""
    rng, sky = np.random.default_rng(1), {}
    for side, scale, size, fwhm in (("source", 0.396, 150, 3.2), ("target", 0.198, 300, 4.0)):
        wcs = make_wcs((size, size), scale)
        y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * scale
        places = [(a, b) for a in (-18, 0, 18) for b in (-18, 0, 18)]
        sigma = fwhm * scale / 2.355
        light = sum(np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / sigma**2) for a, b in places)
        sky[side] = (200 * light + rng.normal(0, 1, light.shape)).astype("f4"), wcs
    for side, (data, wcs) in sky.items():
        for k in range(2 if side == "source" else 1):
            part = slice(75 * k, 75 * k + 75) if side == "source" else slice(None)
            header = wcs[part].to_header()
            header["FILTER"], header["BUNIT"] = "r", "nmgy" if side == "source" else "adu"
            header["MAGZERO"] = 22.5 if side == "source" else 30.0
            fits.PrimaryHDU(data[part], header).writeto(work / f"{side}-{k}.fits", overwrite=True)
    return ["pairs", str(out / "pairs"), "--source", str(work / "source-?.fits"), "--target", f"{work}/target-0.fits",
            "--source-survey", "sdss", "--target-survey", "cfhtls-wide", "--source-bands", "r", "--target-bands", "r",
            "--size", "16", "--minimum", "1", "--cell", "0.1"]  # fmt: skip


def store(work, number=80):
    """Round galaxies whose colours grow with redshift."""
    rng, folder = np.random.default_rng(1), work / "store"
    header = PairHeader(get_survey("sdss"), get_survey("cfhtls-wide"), 2, SIZE)
    with PairWriter(folder, header, shard=16) as writer:
        for index in range(number if not writer.indices else 0):
            z, images = rng.uniform(0.1, 0.5), []
            for side, factor in ((SIZE, 1), (2 * SIZE, 250)):
                axis = (np.arange(side) - (side - 1) / 2) * 0.396 * SIZE / side
                colours = 10 ** (0.4 * (z - 0.3) * np.array([-3, -2, 0, 1, 1.5]))[:, None, None]
                image = 3 * colours * np.exp(-0.5 * (axis**2 + axis[:, None] ** 2))
                images.append(np.float32(factor * (image + rng.normal(0, 0.05, image.shape))))
            part = ("train", "train", "validation", "test")[index % 4]
            row = {"index": index, "kind": "galaxy", "z": z, "r": rng.uniform(17, 20), "split": part}
            writer.add(*images, row, signal=images[1] > 100)
    return folder


RECIPE = """
[network]
name = "capsule"
preset = "tiny"
[data]
crop = 16
batch_size = 2
[run]
steps = 3
validation_steps = 1
checkpoint_minutes = 1.0e-5
"""


def train(work, out):
    recipe = work / "recipe.toml"
    recipe.write_text(RECIPE)
    return ["train", str(recipe), str(store(work)), "-o", str(out / "run"), "--device", "cpu"]


def calibrate(work, out):
    return ["calibrate", MODEL, str(store(work)), "-o", str(out / "new.safetensors")]


def fidelity(work, out):
    rng = np.random.default_rng(1)
    for name, side in (("a", 12), ("b", 24), ("mine", 24)):
        np.save(work / f"{name}.npy", rng.normal(1, 0.1, (8, 1, side, side)).astype("f4"))
    paths = [str(work / f"{name}.npy") for name in ("a", "b", "mine")]
    return ["fidelity", *paths, "-o", str(out / "report"), "--skip", "photometry", "morphology", "anomaly", "--bins",
            "1", "--source-survey", "sdss", "--target-survey", "cfhtls-wide", "--source-bands", "r", "--target-bands",
            "r"]  # fmt: skip


def redshift(work, out):
    return ["redshift", str(store(work)), "-o", str(out / "z"), "-m", MODEL, "--estimator", "photometric", "--epochs",
            "1", "--bins", "1", "--no-peaks"]  # fmt: skip


def zspec(work, out):
    """Two spectra of emission lines."""
    from specutils import Spectrum

    wavelength = np.arange(3800.0, 8000.0, 4.0)
    for k, z in enumerate((0.08, 0.1)):
        flux = np.random.default_rng(k).normal(3, 1, len(wavelength))
        for line, strength in ((3728.5, 24), (4862.69, 18), (5008.24, 48), (6564.61, 54)):
            flux += strength * np.exp(-0.5 * ((wavelength / (1 + z) - line) / 2) ** 2)
        unit = u.Unit("1e-17 erg / (s cm2 Angstrom)")
        spectrum = Spectrum(flux=flux * unit, spectral_axis=wavelength * u.AA, uncertainty=StdDevUncertainty(flux**0))
        spectrum.write(work / f"{k}.fits", format="tabular-fits", overwrite=True)
    return ["zspec", f"{work}/0.fits", f"{work}/1.fits", "-o", str(out / "z.ecsv"), "--z-max", "0.2"]


# TensorBoard writes its files in a thread of its own, whose tracebacks are none of our messages
sys.modules["torch.utils.tensorboard"] = None

COMMANDS = {f.__name__.replace("_", "-"): f for f in
            (translate, translate_folder, translate_catalogue, measure, simulate,
             pairs, train, calibrate, fidelity, redshift, zspec)}  # fmt: skip


# -- faults


class Events:
    """Audit hook: counts what happens below a folder, and at the event ``at`` does what ``kind`` says."""

    NAMES = "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "crash.write"

    def __init__(self, folder, kind=None, at=None):
        self.folder, self.kind, self.at, self.count = f"{folder}/", kind, at, 0

    def __call__(self, event, args):
        if event == "open":
            if not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event not in self.NAMES:
            return
        if not isinstance(args[0], str | bytes | os.PathLike) or not os.fsdecode(args[0]).startswith(self.folder):
            return
        self.count += 1
        if self.at is None or self.count <= self.at:
            return
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "read-only" or event in {"open", "os.mkdir", "crash.write"}:
            number = {"full": errno.ENOSPC, "read-only": errno.EROFS}[self.kind]
            raise OSError(number, os.strerror(number), os.fsdecode(args[0]))


def announce():
    """Let the hook hear of what is forced to the disk."""
    fsync = os.fsync

    def sync(descriptor):
        sys.audit("crash.write", str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    os.fsync = sync


def run(command, out, log, kind=None, at=None):
    """Run the command in a fork; return its exit status, number of events and modules."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 99
        with contextlib.suppress(BaseException):
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if kind in {"cut", "no-room"}:
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kind == "cut" else signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (at, at))
            events = Events(out, kind, None if kind in {"cut", "no-room"} else at)
            announce()
            sys.addaudithook(events)
            try:
                code = main(command)
            except SystemExit as err:
                code = err.code if isinstance(err.code, int) else 98
            sys.stdout.flush()
            sys.stderr.flush()
            with os.fdopen(writing, "w") as pipe:
                json.dump([events.count, list(sys.modules)], pipe)
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, *(json.loads(told) if told else (0, []))


# -- what is there


def tree(folder):
    """Content of each file by its name, without what the clock says."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not fnmatch.fnmatch(p.name, TENSORBOARD))
    return {str(p.relative_to(folder)): content(p) for p in files}


def content(path):
    whole = path.read_bytes()
    with contextlib.suppress(Exception):
        if path.suffix == ".pt":  # it says how long it took; what it leads to is compared
            whole = b""
        elif path.suffix == ".safetensors":
            length = 8 + int.from_bytes(whole[:8], "little")
            header = json.loads(whole[8:length])
            cards = {key: timeless(json.loads(value)) for key, value in header.pop("__metadata__").items()}
            whole = json.dumps([cards, header]).encode() + whole[length:]
        elif path.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(whole.decode())))
            whole = json.dumps([timeless(row) for row in rows]).encode()
        elif path.suffix == ".fits":
            whole = re.sub(rb"GTDATE  = .{70}", b"", whole)
    return hashlib.sha256(whole).hexdigest()


def timeless(value):
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def halves(found, whole):
    """Names of files that are neither whole nor known for work that goes on."""
    return sorted(
        name for name, value in found.items()
        if not hidden(name) and whole.get(name) != value
        and not any(fnmatch.fnmatch(Path(name).name, pattern) for pattern in ON_THE_WAY)
    )  # fmt: skip


def hidden(name):
    """Whether it is the name of what is being written, or below a folder that is."""
    return any(part.startswith(".") for part in Path(name).parts)


def differences(found, whole):
    return {name: "stray" if name not in whole else "missing" if name not in found else "differs"
            for name in found.keys() | whole.keys() if found.get(name) != whole.get(name)}  # fmt: skip


def check(command, out, log, whole, kind, at):
    """Return what is wrong after a fault, and after the run that follows."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    status, *_ = run(command, out, log, kind, at)
    said, found, wrong = log.read_text(errors="replace"), tree(out), []
    if half := halves(found, whole):
        wrong.append(f"half-written: {half}")
    if kind in {"full", "read-only", "no-room"}:
        last = (said.strip().splitlines() or ["nothing"])[-1]
        if status == 0 and differences(found, whole):
            wrong.append(f"exit status 0 with {differences(found, whole)}; said {last!r}")
        if status and (status != 1 or "Traceback" in said or not last.startswith("galtrans: ") or str(out) not in last):
            wrong.append(f"status {status}, said {said[-600:]!r}")
        if kind != "read-only" and (strays := [n for n in found if hidden(n)]):
            wrong.append(f"strays {strays}")
    elif status not in {-signal.SIGKILL, -signal.SIGXFSZ, 0} and "was ended from outside" not in said:
        wrong.append(f"killed, but the status is {status}: {said[-600:]}")
    status, *_ = run(command, out, log)
    if status and not (command[0] == "translate" and (out / "x.fits").exists()):  # which is not overwritten
        wrong.append(f"the next run ended with {status}: {log.read_text()[-600:]}")
    if differ := differences(tree(out), whole):
        wrong.append(f"after the next run: {differ}")
    return wrong


def main_(name, work, step):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    inputs, out, log = work / "in", work / "out", work / "log"
    inputs.mkdir()
    out.mkdir()
    command = COMMANDS[name](inputs, out)
    status, events, modules = run(command, out, log)
    for module in modules:  # once, for all forks; a run in this process would start threads, which forks do not have
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    if status:
        sys.exit(f"{shlex.join(command)} ended with {status}: {log.read_text()[-2000:]}")
    whole, failed = tree(out), 0
    sizes = sorted({(p.stat().st_size - 1) for p in out.rglob("*") if p.is_file() and p.stat().st_size > 1})
    print(f"{events} events, files of {[s + 1 for s in sizes]} bytes: {sorted(whole)}", flush=True)
    faults = [(kind, at) for kind in ("kill", "full", "read-only") for at in range(step // 2, events, step)]
    some = sizes[:: max(1, step // 2)]
    faults += [("cut", at) for at in some]
    faults += [("no-room", at) for at in some if at >= LEAST_LOG]
    for kind, at in faults:
        for wrong in check(command, out, log, whole, kind, at):
            failed += 1
            print(f"{kind} at {at}: {wrong}", flush=True)
    print(f"{len(faults)} faults, {failed} failures")
    left = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    print(f"{left:.1f} s of CPU in {2 * len(faults) + 1} runs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main_(sys.argv[1], Path(sys.argv[2]).resolve(), int(sys.argv[3])))
