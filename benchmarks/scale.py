"""
Many images and large ones: what `translate` costs beside the bare network, and how its memory grows.

- ``stamp``: one stamp of 64 x 64 x 5 pixels, as a cube, as bands on one grid, and as slices of five frames on grids of
  their own: CPU time over that of the bare network on the same pixels;
- ``many``: stamps a second of the bare network in batches of four, of a loop with a torch DataLoader as a user would
  write it (planes and network, no check, no uncertainty), and of ``translate`` on lists of images and on `Stamps`;
- ``memory``: peak memory of an iterator of N images, and of mosaics of several sides, each in a process of its own. The
  mosaics are memory-mapped files of noise, five bands, through a network that only interpolates, and one through Swin;
- ``fidelity``: peak memory of the comparison of N galaxies of a survey with real ones (pixels, photometry, morphology),
  in a process of its own. All shards are links to one of 250 galaxies, and so are the tables of all but one.

Run as ``python benchmarks/scale.py [stamp many memory fidelity] [-m NAME] [--side 2000 6000] [--folder DIR] [--zarr]
[--rst FILE]``. Rows of the table in the file are replaced by those of the same name, and others kept. A mosaic of
20,000 x 20,000 needs 30 GB in ``--folder``, with ``--zarr`` 10 GB. Times are CPU times of one thread: other work on the
machine matters little.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from astropy.wcs import WCS

from astro_galtrans import load_translator, translate, translate_mosaic
from astro_galtrans.models.base import Estimate, TranslationModel
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.stamps import Stamps
from astro_galtrans.survey import compare_shards, translate_catalogue
from astro_galtrans.translate import Translator

BANDS = "ugriz"
SKY = np.array([0.055, 0.018, 0.027, 0.044, 0.217], "f4")  # nanomaggy in a pixel of SDSS
BATCH = 4
SHARD = 250  # galaxies


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("parts", nargs="*", default=["stamp", "many", "memory", "fidelity"])
    parser.add_argument("-m", "--model", default="swin-sdss-cfhtls")
    parser.add_argument("--number", type=int, default=32)
    parser.add_argument("--galaxies", type=int, nargs="+", default=[2000, 8000, 32000])
    parser.add_argument("--side", type=int, nargs="+", default=[2000, 4000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--zarr", action="store_true", help="mosaics of one file, to zarr: less disk")
    parser.add_argument("--rst", type=Path)
    parser.add_argument("--peak", nargs="+", help=argparse.SUPPRESS)  # one measurement of memory, in this process
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if options.peak:
        peak(options)
        return
    for part in options.parts:
        for row in {"stamp": stamp, "many": many, "memory": memory, "fidelity": fidelity}[part](options):
            print(*row, sep="   ", flush=True)
            if options.rst:
                write_rows(options.rst, [row], "beside it")


def frames(shape, seed=0, shift=0.0):
    """Noise and a galaxy in five bands; each is moved by multiples of ``shift`` pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape) - np.reshape(shape, (2, 1, 1)) / 2
    images = {}
    for k, (band, sky) in enumerate(zip(BANDS, SKY, strict=True)):
        data = sky * rng.standard_normal(shape, "f4") + 20 * sky * np.exp(-np.hypot(y, x) / 4).astype("f4")
        noise = StdDevUncertainty(np.full(shape, sky))
        wcs = grid(shape)
        wcs.wcs.crpix += shift * (k - 2), -shift * (k - 2)
        images[band] = CCDData(data, unit="nmgy", wcs=wcs, uncertainty=noise, meta={"FILTER": band})
    return images


def grid(shape):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (150.0, 2.0)
    wcs.wcs.crpix, wcs.wcs.cdelt = (shape[1] / 2, shape[0] / 2), (-1.1e-4, 1.1e-4)
    return wcs


def cube_of(images):
    planes = list(images.values())
    noise = StdDevUncertainty(np.stack([plane.uncertainty.array for plane in planes]))
    return CCDData(np.stack([plane.data for plane in planes]), unit="nmgy", wcs=planes[0].wcs, uncertainty=noise)


def cpu(functions, repeat=5):
    """Shortest CPU time of some calls of each function (s); in turns, so that other work troubles all of them."""
    times = [[] for _ in functions]
    for round_number in range(repeat + 1):
        for function, own in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            if round_number:  # the first call loads and caches
                own.append(time.process_time() - start)
    return list(map(min, times))


def stamp(options):
    translator = load_translator(options.model)
    images = frames((64, 64))
    cube, big = cube_of(images), frames((200, 200), shift=0.6)
    slices = {band: image[60:124, 60:124] for band, image in big.items()}
    planes = torch.from_numpy(translator.inputs.planes(cube.data))[None]

    def network():
        with torch.inference_mode():
            translator.model(planes)

    calls = {
        "a cube": lambda: translate(cube, translator, bands=BANDS),
        "bands on one grid": lambda: translate(images, translator),
        "five grids": lambda: translate(slices, translator),
    }
    bare, *times = cpu([network, *calls.values()], 15)
    own = named(options.model)
    yield f"one stamp, {own}bare network", f"{1e3 * bare:.0f} ms", ""
    for name, seconds in zip(calls, times, strict=True):
        yield f"one stamp, {own}{name}", f"{1e3 * seconds:.0f} ms", f"{seconds / bare:.2f} x"


def named(model):
    """What names of rows say of a network that is not Swin."""
    return "" if model.startswith("swin") else f"{model.partition('-')[0]}, "


class Cutouts(torch.utils.data.Dataset):
    """What a user would write."""

    def __init__(self, cubes, inputs):
        self.cubes, self.inputs = cubes, inputs

    def __len__(self):
        return len(self.cubes)

    def __getitem__(self, k):
        return torch.from_numpy(self.inputs.planes(self.cubes[k].data))


def many(options):
    translator, number = load_translator(options.model), options.number
    sets = [frames((64, 64), seed) for seed in range(number)]
    cubes = [cube_of(images) for images in sets]
    slices = {band: image[60:124, 60:124] for band, image in frames((200, 200), shift=0.6).items()}
    arrays, noise = (np.stack([f(cube) for cube in cubes]) for f in (lambda c: c.data, lambda c: c.uncertainty.array))
    inputs = translator.inputs
    planes = torch.from_numpy(np.stack([inputs.planes(array) for array in arrays]))

    def network():
        with torch.inference_mode():
            for batch in planes.split(BATCH):
                translator.model(batch)

    def loop():
        with torch.inference_mode():
            for batch in torch.utils.data.DataLoader(Cutouts(cubes, inputs), batch_size=BATCH):
                np.sinh(translator.model(batch).mean.numpy())

    calls = {
        "DataLoader loop": loop,
        "Stamps": lambda: translate(Stamps(arrays, "sdss", variance=noise**2), translator),
        "list of cubes": lambda: translate(cubes, translator, bands=BANDS),
        "list of dicts, one grid": lambda: translate(sets, translator),
        "list of dicts, five grids": lambda: translate([slices] * number, translator),
        "loop over cubes": lambda: [translate(cube, translator, bands=BANDS) for cube in cubes],
    }
    bare, *times = cpu([network, *calls.values()])
    own = named(options.model)
    yield f"{number} stamps, {own}bare network", f"{number / bare:.0f} /s", ""
    for name, seconds in zip(calls, times, strict=True):
        yield f"{number} stamps, {own}{name}", f"{number / seconds:.0f} /s", f"{bare / seconds:.2f} of the bare network"


def memory(options):
    for number in (64, 256, 1024):
        yield f"peak memory, iterator of {number} stamps", measured(options, "stamps", number), ""
    for side in options.side:
        yield f"peak memory, mosaic of {side} x {side} x 5", measured(options, "mosaic", side), ""
    yield f"peak memory, mosaic of 1500 x 1500 x 5, {options.model}", measured(options, "network", 1500), ""


def fidelity(options):
    for number in options.galaxies:  # most tables being links, the time says nothing
        used = measured(options, "fidelity", number).partition(" in")[0]
        yield f"peak memory, fidelity of {number:,} galaxies of a survey", used, ""


def measured(options, *what):
    """Run one measurement in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "-m",
        options.model,
        "--folder",
        str(options.folder),
        *(["--zarr"] if options.zarr else []),
        "--peak",
        *map(str, what),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def peak(options):
    what, number = options.peak[0], int(options.peak[1])
    start = time.perf_counter()
    if what == "stamps":
        for _ in translate((frames((64, 64), seed) for seed in range(number)), interpolator(2)):
            pass
    elif what == "fidelity":
        compare_linked(options, number)
    else:
        mosaic(options, number, load_translator(options.model) if what == "network" else interpolator(1))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{used:.2f} GB in {time.perf_counter() - start:.0f} s")


def mosaic(options, side, translator):
    """A mosaic in a file for each band, to FITS; or in one file of integers for all bands, to zarr."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        paths = {band: Path(folder) / f"{BANDS[0] if options.zarr else band}.fits" for band in BANDS}
        for path, sky in dict(zip(paths.values(), SKY, strict=True)).items():
            write_sky(path, side, sky, integers=options.zarr)
        translate_mosaic(paths, translator, Path(folder) / f"out.{'zarr' if options.zarr else 'fits'}")


def write_sky(path, side, sky, *, integers):
    """Write noise and galaxies row by row, digitised as real images are: what is made of it can be compressed, too."""
    header, rng, step = grid((side, side)).to_header(), np.random.default_rng(1), sky / 8
    header["BUNIT"], header["FILTER"] = "nmgy", path.stem
    y, x = np.indices((256, side)) % 128 - 64  # a galaxy every 128 pixels
    rows = np.rint(8 * (rng.standard_normal((256, side), "f4") + 20 * np.exp(-np.hypot(y, x) / 4)))
    kind = np.int16 if integers else np.float32
    header = fits.PrimaryHDU(np.broadcast_to(kind(0), (side, side)), header).header
    if integers:
        header["BSCALE"] = float(step)
    stream = fits.StreamingHDU(path, header)
    for start in range(0, side, 256):
        part = np.roll(rows, start, axis=1)[: side - start]
        stream.write((part if integers else step * part).astype(kind))
    stream.close()


def compare_linked(options, number):
    """Compare so many galaxies, of which all shards are one."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        folder, rng = Path(folder), np.random.default_rng(1)
        x, y = rng.uniform(30, 770, (2, SHARD)).round().astype(int)
        galaxy = np.exp(-np.hypot(*np.indices((41, 41)) - 20) / 3).astype("f4")
        for (band, image), sky in zip(frames((800, 800)).items(), SKY, strict=True):
            for place, brightness in zip(zip(y, x, strict=True), rng.uniform(5, 50, SHARD), strict=True):
                image.data[tuple(slice(k - 20, k + 21) for k in place)] += brightness * sky * galaxy
            image.write(folder / f"{band}.fits")
        objects, translated, one = Table(grid((800, 800)).pixel_to_world_values(x, y), names=["ra", "dec"]), [], []
        for name in ("srgan", "capsule"):
            one.append(folder / f"{name}-one.zarr")
            known = {"size": 24, "progress": False}
            translate_catalogue(objects, [folder / "*.fits"], f"{name}-sdss-cfhtls", one[-1], **known)
            translated.append(folder / f"{name}.zarr")
            links(one[-1], translated[-1], "shard-000000.zarr", range(-(-number // SHARD)))
            settings = json.loads((one[-1] / "survey.json").read_text())
            settings["shards"] = -(-number // SHARD)
            (translated[-1] / "survey.json").write_text(json.dumps(settings))
        compare_shards(one[0], {"ours": one[1]}, folder / "one", progress=False)
        for level in ("pixel", "photometry", "morphology"):
            links(folder / "one", folder / "all", f"{level}-000000.parquet", range(1, -(-number // SHARD)))
        compare_shards(translated[0], {"ours": translated[1]}, folder / "all", progress=False)


def links(there, here, first, numbers):
    here.mkdir(exist_ok=True)
    for number in numbers:
        (here / first.replace("000000", f"{number:06d}")).symlink_to(there / first)


class Interpolator(TranslationModel):
    """The least that a network can do: its own skip connection, which interpolates."""

    name = "interpolator"
    PRESETS = {"tiny": {}}
    margin = 3

    def __init__(self, in_bands, out_bands, scale):
        super().__init__(in_bands, out_bands, scale)
        self.unused = torch.nn.Parameter(torch.zeros(1))  # a network is where its parameters are

    def forward(self, source):
        """Source ``[B, C_in, H, W]`` to an `Estimate`."""
        mean = self.skip(source)
        return Estimate(mean, torch.full_like(mean, -1.5))


def interpolator(scale):
    model = Interpolator(BANDS, BANDS, scale).eval()
    model.skip.requires_grad_(requires_grad=False)
    softening = AsinhScaling(4 * SKY).to_dict()
    source = {"survey": "sdss", "unit": "nanomaggy", "zeropoint": 22.5, "pixel_scale": 0.396, "scaling": softening,
              "sky_rms": SKY.tolist()}  # fmt: skip
    target = source | {"pixel_scale": 0.396 / scale, "native_pixel_scale": 0.396}
    ones = {"flux": [1.0] * 5, "std": [1.0] * 5}
    card = {"name": "interpolator", "source": source, "target": target, "calibration": ones, "validity": {}}
    return Translator(Checkpoint(model, card, ""))


def write_rows(path, rows, head):
    """Write rows of three cells into a table; those of the same name are replaced, others that are there are kept."""
    cells = re.findall(r"^   [* ] -(.*)$", path.read_text(encoding="utf8") if path.exists() else "", re.MULTILINE)
    there = list(zip(*(iter(cell.strip() for cell in cells),) * 3, strict=True))[1:]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [("", "", head), *{row[0]: row for row in (*there, *rows)}.values()]:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}".rstrip() for k, cell in enumerate(row)]
    path.write_text("\n".join(lines) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
