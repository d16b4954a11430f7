"""
The pipeline against the bare network, and its tiles against MONAI's sliding window.

On one simulated frame, interleaved and repeated, medians of ratios (absolute times depend on the machine and its load):

- ``pipeline``: `astro_galtrans.translate` on a CCDData cube with WCS, mask and uncertainty, over the network alone on
  the same pixels (strips side by side, no overlap, results dropped);
- ``tiles``: the same network through `astro_galtrans.tiling`, and ``monai.inferers.sliding_window_inference`` with the
  same overlap;
- throughput in source Mpixel/s, and the share of the speed at which the machine multiplies two 2048 x 2048 float32
  matrices.

Run as ``python benchmarks/translate.py [-m NAME ...] [--size 768] [--repeat 3] [--rst FILE]``; needs
``pip install monai``. Each network against itself elsewhere: ``benchmarks/swin.py``.
"""

import argparse
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS
from torch.utils.flop_counter import FlopCounterMode

from astro_galtrans import list_translators, load_translator, translate
from astro_galtrans.exceptions import DomainWarning
from astro_galtrans.tiling import plan_tiles


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("-m", "--models", nargs="+")
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rst")
    options = parser.parse_args()
    warnings.simplefilter("ignore", DomainWarning)
    image, rows = frame(options.size), []
    for name in options.models or list_translators():
        rows.append(measure(load_translator(name), image, options.repeat))
        print(rows[-1], flush=True)
    if options.rst:
        Path(options.rst).write_text(table(rows))


def frame(size):
    """Sky noise and some stars, as an SDSS cube."""
    rng = np.random.default_rng(1)
    sky = np.array([0.055, 0.018, 0.027, 0.044, 0.217], dtype="f4")[:, None, None]
    data = sky * rng.standard_normal((5, size, size), dtype="f4")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (150.0, 2.0), (size / 2, size / 2)
    wcs.wcs.cdelt = -1.1e-4, 1.1e-4
    noise = StdDevUncertainty(np.broadcast_to(sky, data.shape).copy())
    return CCDData(data, unit="nmgy", wcs=wcs, uncertainty=noise, mask=np.zeros(data.shape, bool))


def measure(translator, image, repeat):
    n = 1 if translator.spec.stochastic else None
    source = (image.data / image.uncertainty.array / 2).astype("f4")
    shape = source.shape[1:]
    gemm_rate, flops = gemm(), network_flops(translator)
    whole, bare, ours, theirs = [], [], [], []
    for _ in range(repeat):
        whole.append(timed(lambda: translate(image, translator, bands="ugriz", n_samples=n, seed=1)))
        bare.append(timed(lambda: alone(translator, source)))
        ours.append(timed(lambda: forward_tiles(translator, source)))
        theirs.append(timed(lambda: monai_tiles(translator, source)))
    pixels = shape[0] * shape[1]
    return {
        "translator": translator.name,
        "pipeline / bare": ratio(whole, bare),
        "tiles / bare": ratio(ours, bare) if not translator.spec.stochastic else None,
        "MONAI / our tiles": ratio(theirs, ours),
        "Mpixel/s": pixels / 1e6 / statistics.median(whole),
        "share of GEMM": flops * pixels / statistics.median(bare) / gemm_rate,
    }


def ratio(a, b):
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def gemm():
    """Floating-point operations per second of a 2048 x 2048 float32 matrix product."""
    a = torch.randn(2048, 2048)
    torch.mm(a, a)
    return 2 * 2048**3 / statistics.median(timed(lambda: torch.mm(a, a)) for _ in range(5))


def network_flops(translator, side=64):
    """Floating-point operations per source pixel of all evaluations."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        evaluations(translator, torch.zeros(1, len(translator.bands_in), side, side))
    return counter.get_total_flops() / side**2


def evaluations(translator, x):
    """All that a translation asks of the network, for one strip."""
    model = translator.model
    if not translator.spec.stochastic:
        model(x)
        return
    estimate, known = model.described(x)
    for _ in range(model.evaluations() - 1):  # those of the denoiser
        model.denoise(known, estimate.mean, torch.ones(1))


@torch.inference_mode()
def alone(translator, source):
    rows = 600_000 // source.shape[2] // 8 * 8
    for strip in torch.from_numpy(source)[None].split(rows, dim=2):
        evaluations(translator, strip)


def plan_of(translator, shape, tile=None):
    spec = translator.spec
    return plan_tiles(shape, scale=spec.scale, multiple_of=spec.multiple_of, margin=spec.margin, tile=tile)


def forward_tiles(translator, source):
    """One evaluation of the network on every tile, blended: the same work as `monai_tiles` does."""
    from astro_galtrans.models.base import TranslationModel

    plan = plan_of(translator, source.shape[1:], tile=SIDE)
    return list(TranslationModel.predict(translator.model, source, plan))


SIDE = 256  # of the square tiles in the comparison with MONAI


@torch.inference_mode()
def monai_tiles(translator, source):
    from monai.inferers import sliding_window_inference

    def network(x):
        return torch.cat(translator.model(x), dim=1)

    overlap = 2 * translator.spec.margin / SIDE
    x = torch.from_numpy(source)[None]
    return sliding_window_inference(x, (SIDE, SIDE), 1, network, overlap=overlap, mode="gaussian")


def table(rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    cells = [list(rows[0])] + [[_text(value) for value in row.values()] for row in rows]
    for row in cells:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def _text(value):
    return value if isinstance(value, str) else "" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main()
