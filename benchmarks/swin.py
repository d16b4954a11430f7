"""
Throughput of the Swin network: its shipped size, and SwinIR's light size beside the authors' code.

Run ``python benchmarks/swin.py``, or, with a copy of ``models/network_swinir.py`` of the authors' repository
(https://github.com/JingyunLiang/SwinIR), ``python benchmarks/swin.py --official network_swinir.py``. Networks take
turns, so that other work on the machine slows all of them; medians of the turns are shown. FLOPs are those of the
matrix products and convolutions, two per multiply-add.
"""

import argparse
import importlib.util
import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from astro_galtrans.models.swin import SwinIR, SwinTranslator

LIGHT = {"depths": (4,) * 4, "width": 60, "heads": 6, "window": 8, "mlp_ratio": 2.0}
GEMM = 2048


def main():
    """Measure and print one row per network."""
    options = parse()
    torch.set_num_threads(options.threads)
    networks = {name: network.eval() for name, network in build(options).items()}
    image = torch.randn(1, 5, options.size, options.size)
    seconds = take_turns(networks, image, options)
    rate = 2 * GEMM**3 / statistics.median(seconds.pop("GEMM"))
    print(f"{options.threads} thread(s), {options.size} x {options.size} x 5 bands; GEMM {rate / 1e9:.0f} GFLOP/s")
    for name, times in seconds.items():
        print(f"{name:9s} {row(networks[name], image, times, rate)}")
    if options.official:
        compare(networks, image, seconds)


def parse():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", help="file of the authors' network")
    parser.add_argument("--size", type=int, default=256, help="side of the image, a multiple of 8")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="time of the process, not of the wall (for one thread)")
    return parser.parse_args()


def build(options):
    """Return the networks by name."""
    networks = {"tiny": SwinTranslator.from_preset("tiny", "ugriz", "ugriz", 2), "light": SwinIR(5, 5, **LIGHT)}
    if options.official:
        networks["official"] = official(options.official, options.size)
        networks["light"].load_state_dict(networks["official"].state_dict())
    return networks


def official(path, size):
    """Return the authors' network at the light configuration."""
    spec = importlib.util.spec_from_file_location("network_swinir", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SwinIR(
        img_size=size, in_chans=5, embed_dim=60, depths=[4] * 4, num_heads=[6] * 4, window_size=8, mlp_ratio=2,
        upscale=2, upsampler="pixelshuffledirect",
    )  # fmt: skip


@torch.inference_mode()
def take_turns(networks, image, options):
    """Return the seconds of each turn of each network, and of a matrix product."""
    clock = time.process_time if options.cpu_time else time.perf_counter
    matrix = torch.randn(GEMM, GEMM)
    tasks = {name: lambda n=network: n(image) for name, network in networks.items()} | {"GEMM": lambda: matrix @ matrix}
    seconds = {name: [] for name in tasks}
    for turn in range(options.repeat + 1):
        for name, task in tasks.items():
            start = clock()
            task()
            if turn:  # the first one warms up
                seconds[name].append(clock() - start)
    return seconds


def row(network, image, times, rate):
    """Return parameters, throughput and share of the rate of GEMM, as text."""
    with FlopCounterMode(display=False) as counter:
        network(image[..., :64, :64])  # with gradients, where attention is made of products that the counter knows
    pixels = image.shape[-2] * image.shape[-1]
    flop = counter.get_total_flops() * pixels / 64**2
    median = statistics.median(times)
    count = sum(p.numel() for p in network.parameters())
    size = f"{count / 1e3:6.0f} k parameters {flop / pixels / 1e6:5.2f} MFLOP/pixel"
    speed = f"{pixels / median / 1e6:8.4f} source Mpixel/s {flop / median / 1e9:6.1f} GFLOP/s"
    return f"{size} {speed} = {flop / median / rate:.0%} of GEMM"


@torch.inference_mode()
def compare(networks, image, seconds):
    """Print how our light network compares to the authors'."""
    ratio = statistics.median(a / b for a, b in zip(seconds["official"], seconds["light"], strict=True))
    part = image[..., :64, :64]
    difference = (networks["official"](part) - networks["light"](part)).abs().max()
    print(f"light: {ratio:.2f} times the throughput of the authors' code; largest difference {difference:.1e}")


if __name__ == "__main__":
    main()
