"""
The training loop against the bare network, its memory, two processes against one, and pairs from frames.

- ``loop / bare``: time of a step of `astro_galtrans.training.fit`'s loop (data, checks, averaging, everything) over
  that of forward, backward and optimizer on a batch that is already there. Steps of both alternate, and the ratio is
  that of medians; the data path alone, ``data``, is what a step costs without prefetching, in percent of a bare step.
- memory: resident set of a process that has trained for some steps on 10^3 and on 10^5 pairs (shards that are
  links to a few).
- ``2 processes / 1``: images per second of ``devices=2`` over those of one process, each with one thread.
- pairs per second from SDSS frames (`astro_galtrans.pairs.observed.build_pairs`), with ``--frames FOLDER``.

Run as ``python benchmarks/train.py PAIRS [--steps 40] [--networks swin srgan ...] [--frames STRIPE82] [--rst FILE]``;
PAIRS is made with ``galtrans simulate PAIRS -n 1024``.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from astro_galtrans.loop import Training, choose_devices
from astro_galtrans.pairs.store import PairStore, shard_path
from astro_galtrans.training import fit, load_recipe
from astro_galtrans.training.task import TranslatorTask, settings_of

CPU = torch.device("cpu")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--networks", nargs="+", default=["swin", "srgan", "capsule", "diffusion"])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--frames", type=Path)
    parser.add_argument("--rst", type=Path)
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)  # the process that is measured
    options = parser.parse_args()
    if options.memory:
        train_briefly(options.memory)
        return
    if options.device == "cpu":
        torch.set_num_threads(1)
    rows = [speed(name, options) for name in options.networks]
    extra = memory(options.pairs)
    if options.device == "cpu":
        extra.append(processes(options))
    if options.frames:
        extra.append(frames(options.frames))
    text = table(rows, extra)
    print(text)
    if options.rst:
        options.rst.write_text(text)


def speed(name, options):
    """Images per second of the loop and of the bare network, step by step in turns."""
    recipe = load_recipe(
        name, steps=10**6, data={"workers": options.workers, "batch_size": options.batch_size}, picture_steps=0,
        augment={"shift": 0.25, "noise": 0.25, "seeing": 0.1},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        devices = choose_devices(options.device, precision=options.precision)
        task = partial(TranslatorTask, recipe, PairStore(options.pairs), None, Path(folder), None)
        runs = [Training(devices, task, settings_of(recipe, validate=False)) for _ in range(2)]
        sampler = runs[0].task.sampler
        resident = sampler.batch(0).map(lambda part: part.to(devices.device))
        batches = runs[1].task.batches(0, 10**6, devices.device)
        steps = [lambda: bare(runs[0], resident), lambda: runs[1].advance(next(batches), 0.0)]
        for step in 3 * steps:
            step()
        times = [[], []]
        for _ in range(options.steps):
            for step, seconds in zip(steps, times, strict=True):
                seconds.append(timed(step, devices.device))
        data = statistics.median(timed(partial(sampler.batch, k), CPU) for k in range(20))
        batches.close()
    alone, whole = (statistics.median(seconds) for seconds in times)
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    row = {
        "network": name,
        "bare, images/s": f"{options.batch_size / alone:.1f}",
        "loop, images/s": f"{options.batch_size / whole:.1f}",
        "loop / bare": f"{ratio:.3f}",
        "data": f"{100 * data / alone:.1f} %",
    }
    print(row, flush=True)
    return row


def bare(run, batch):
    """Forward, backward and the optimizer's step on a batch that is there."""
    with run.devices.autocast():
        loss = sum(next(iter(run.network.losses(batch.source, batch.target, 0.0, run.generator))).values())
    run.optimizers[0].zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), 1.0)
    run.optimizers[0].step()


def timed(function, device):
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def memory(pairs):
    """Peak resident set after the same short training on few and on many pairs."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in (10**3, 10**5):
            store = Path(folder) / str(number)
            store.mkdir()
            (store / "pairs.json").write_bytes((pairs / "pairs.json").read_bytes())
            shards = sorted(pairs.glob("shard-*.h5"))
            for k in range(-(-number // 64)):
                link(shards[k % len(shards)], shard_path(store, k))
            command = [sys.executable, __file__, str(pairs), "--memory", str(store)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append((f"memory with {len(PairStore(store))} pairs", f"{done.stdout.split()[-1]} MB"))
            print(rows[-1], flush=True)
    return rows


def link(source, place):
    try:
        place.hardlink_to(source)
    except OSError:  # another file system
        place.symlink_to(source.resolve())


def train_briefly(store):
    import resource

    torch.set_num_threads(1)
    recipe = load_recipe("srgan", steps=20, picture_steps=0, data={"crop": 16, "batch_size": 64})
    with tempfile.TemporaryDirectory() as folder:
        fit(recipe, PairStore(store), folder, device="cpu", progress=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def processes(options):
    """Images per second of two processes over those of one."""
    rates = []
    for devices in (1, 2):
        recipe = load_recipe("srgan", steps=options.steps, picture_steps=0, log_steps=options.steps)
        with tempfile.TemporaryDirectory() as folder:
            trained = fit(recipe, PairStore(options.pairs), folder, device="cpu", devices=devices, progress=False)
        rates.append(devices * 12 * trained.steps / (3600 * trained.hours))  # the clock runs from the first step on
    print("processes", rates, flush=True)
    return "2 processes / 1 (srgan)", f"{rates[1] / rates[0]:.2f}"


def frames(folder):
    """Pairs per second from ten SDSS frames of two epochs."""
    from astro_galtrans.pairs.observed import build_pairs

    runs = sorted({path.name.split("-")[1] for path in folder.glob("sdss-*.fits*")})
    sides = [{p.name.split("-")[2][0]: str(p) for p in folder.glob(f"sdss-{run}-*")} for run in runs]
    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        store = build_pairs(*sides, output, source_survey="sdss", target_survey="sdss", progress=False)
        return "pairs/s from frames", f"{len(store) / (time.perf_counter() - start):.1f}"


def table(rows, extra):
    """Rows as RST."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [list(rows[0]), *(list(row.values()) for row in rows)]:
        lines += [f"   {'* -' if k == 0 else '  -'} {cell}" for k, cell in enumerate(row)]
    lines += ["", ".. list-table::", ""]
    for row in extra:
        lines += [f"   {'* -' if k == 0 else '  -'} {cell}" for k, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
