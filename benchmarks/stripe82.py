"""
Whole SDSS frames through the translators: five real frames of one Stripe 82 field, each band on a grid of its own.

For each translator, in a process of its own: wall time against the bare network on the same pixels, peak memory, and
what became of the sources with r < 19: positions against the input catalogue, and aperture fluxes against the input's,
once the input is brought to the target's filters with colour terms fitted to the filter curves of the training.

Run as ``python benchmarks/stripe82.py FOLDER [-m NAME ...] [-o DIR] [--rst FILE]``, with the frames
``sdss-004192-[ugriz]4-0300.fits.fz`` in FOLDER. Nothing is known of the truth but what SDSS measured: this shows that
positions, fluxes and colours survive on a real frame, not that detail is right.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from astro_galtrans.statistics import sigma_mad

APERTURES = {"3": 3.0, "6": 6.0}  # diameter, arcsec
BRIGHT = 19.0
SAMPLES = 1  # of a translator that samples: one sample is what a real frame of the target survey would look like


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("folder")
    parser.add_argument("-m", "--models", nargs="+")
    parser.add_argument("-o", "--output", default="stripe82")
    parser.add_argument("--rst")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what the processes of their own do
    options = parser.parse_args()
    Path(options.output).mkdir(exist_ok=True, parents=True)
    if options.one:
        run_one(options.folder, options.one, Path(options.output))
        return
    from astro_galtrans import list_translators

    results = {}
    for name in options.models or list_translators():
        command = [sys.executable, __file__, options.folder, "-o", options.output, "--one", name]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONWARNINGS": "default"})
        results[name] = json.loads((Path(options.output) / f"{Path(name).stem}.json").read_text())
        print(json.dumps({name: results[name]}, indent=1), flush=True)
    if options.rst:
        Path(options.rst).write_text(table(results))


def frames(folder):
    return [str(Path(folder) / f"sdss-004192-{band}4-0300.fits.fz") for band in "ugriz"]


def run_one(folder, name, output):
    from astro_galtrans import load_translator
    from astro_galtrans.batch import translate_file

    path = output / f"{Path(name).stem}.fits"
    translator = load_translator(name)
    n_samples = SAMPLES if translator.spec.stochastic else None
    start = time.monotonic()
    translate_file(frames(folder), translator, path, overwrite=True, seed=1, n_samples=n_samples)
    whole = time.monotonic() - start
    # ru_maxrss is in KiB on Linux; taken before the check, which needs memory of its own
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    bare = bare_seconds(translator, (1489, 2048))
    found = {"wall_s": whole, "bare_s": bare, "ratio": whole / bare, "peak_GiB": peak} | compare(folder, path)
    (output / f"{Path(name).stem}.json").write_text(json.dumps(found))


def bare_seconds(translator, shape, rows=290):
    """Time the network alone on the same pixels: strips side by side, no overlap, nothing kept."""
    import torch

    model = translator.model
    source = torch.randn(1, model.in_channels, *shape) * 0.5  # the image, or it and what tells how it was taken
    strips = list(source.split(rows - rows % model.spec.multiple_of, dim=2))
    if translator.spec.stochastic:
        strips = strips[:2]  # a sampler takes minutes: a part of the frame tells
    start = time.monotonic()
    with torch.inference_mode():
        for strip in strips:
            if not translator.spec.stochastic:
                model(strip)
                continue
            estimate, known = model.described(strip)
            for _ in range(model.evaluations() - 1):  # those of the denoiser
                model.denoise(known, estimate.mean, torch.ones(1))
    share = sum(strip.shape[2] for strip in strips) / shape[0]
    return (time.monotonic() - start) / share


def compare(folder, path):
    """Positions and fluxes of bright, isolated sources: before and after."""
    from astropy.nddata import CCDData

    from astro_galtrans.bandstack import read
    from astro_galtrans.geometry import align_planes

    stack = read(frames(folder))
    data, _, _, _ = align_planes(stack.planes, 2)
    wcs = stack.grids[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cube = CCDData.read(path)
    x, y = catalogue(data[2])
    sky = wcs.pixel_to_world(x, y)
    xt, yt = cube.wcs.celestial.world_to_pixel(sky)
    before = {k: photometry(data, x, y, d / 0.396) for k, d in APERTURES.items()}
    after = {k: photometry(cube.data, xt, yt, d / 0.198) / 1000 for k, d in APERTURES.items()}  # counts to nanomaggy
    r = 22.5 - 2.5 * np.log10(before["6"][2])
    bright = (r < BRIGHT) & (r > 15.5) & (before["6"] > 0).all(axis=0) & (after["6"] > 0).all(axis=0)
    shift = offsets(data[2], cube.data[2], x, y, xt, yt, bright, cube.wcs, wcs)
    found = {"n": int(bright.sum()), "offset_arcsec": shift}
    for key in APERTURES:
        ratio = after[key] / to_megacam(before[key])
        bias = np.nanmedian(ratio[:, bright], axis=1)
        found[f"bias_{key}"] = (bias - 1).tolist()
        found[f"scatter_{key}"] = sigma_mad(ratio[:, bright], axis=1, ignore_nan=True).tolist()
    return {k: np.round(v, 4).tolist() for k, v in found.items()}


def catalogue(image):
    """Bright, isolated sources away from the edges, in pixels."""
    from astropy.stats import mad_std
    from photutils.segmentation import SourceCatalog, detect_sources

    sigma = mad_std(image)
    found = SourceCatalog(image, detect_sources(image, 5 * sigma, n_pixels=9))
    x, y = found.x_centroid, found.y_centroid
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(len(x))
    edge = 30
    use = (apart.min(axis=1) > 25) & (x > edge) & (y > edge)
    use &= (x < image.shape[1] - edge) & (y < image.shape[0] - edge) & (found.max_value < 60)
    return x[use], y[use]


def photometry(planes, x, y, diameter):
    from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture

    positions = np.transpose([x, y])
    aperture, ring = CircularAperture(positions, diameter / 2), CircularAnnulus(positions, 2 * diameter, 3 * diameter)
    fluxes = []
    for plane in planes:
        plane = np.asarray(plane, dtype=float)
        background = np.array([ApertureStats(plane, a).median for a in ring])
        fluxes.append(ApertureStats(plane, aperture).sum - background * aperture.area)
    return np.array(fluxes)


def to_megacam(flux):
    """SDSS fluxes through the MegaCam filters, as far as the colour with the neighbouring band tells."""
    from astro_galtrans.pairs.simulated.colours import galaxy_colours, star_colours

    stars = [star_colours(s, np.linspace(3500, 9000, 30)) for s in ("sdss", "cfhtls-wide")]
    galaxies = [galaxy_colours(s, np.linspace(0, 2, 30), 0.15, 0.1) for s in ("sdss", "cfhtls-wide")]
    sdss, mega = (np.concatenate(both).T for both in zip(stars, galaxies, strict=True))
    with np.errstate(invalid="ignore"):
        magnitudes = 22.5 - 2.5 * np.log10(flux)
    result = []
    for k, (a, b) in enumerate([(0, 1), (1, 2), (1, 2), (2, 3), (3, 4)]):  # u-g, g-r, g-r, r-i, i-z
        slope, constant = np.polyfit(sdss[a] - sdss[b], mega[k] - sdss[k], 1)
        result.append(magnitudes[k] + slope * (magnitudes[a] - magnitudes[b]) + constant)
    return 10 ** (-0.4 * (np.array(result) - 22.5))


def offsets(before, after, x, y, xt, yt, use, wcs_after, wcs_before):
    """Median distance on the sky of centroids in the r band, before and after."""
    from photutils.centroids import centroid_2dg, centroid_sources

    def centroids(image, x, y, box):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return centroid_sources(np.asarray(image, float), x[use], y[use], box_size=box, centroid_func=centroid_2dg)

    a = wcs_before.pixel_to_world(*centroids(before, x, y, 11))
    b = wcs_after.celestial.pixel_to_world(*centroids(after, xt, yt, 21))
    return float(np.nanmedian(a.separation(b).arcsec))


def table(results):
    header = ("translator", "peak memory (GiB)", "wall / bare network", "offset (arcsec)")
    header += ('6" flux bias, u g r i z (%)', "scatter (%)")
    lines = [".. list-table::", "   :header-rows: 1", ""]
    rows = [header]
    for name, s in results.items():
        rows.append(
            (name, f"{s['peak_GiB']:.2f}", f"{s['ratio']:.2f}", f"{s['offset_arcsec']:.3f}",
             " ".join(f"{100 * v:+.1f}" for v in s["bias_6"]), " ".join(f"{100 * v:.1f}" for v in s["scatter_6"]))
        )  # fmt: skip
    for row in rows:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
