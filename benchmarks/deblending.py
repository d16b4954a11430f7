"""
Flux of the central galaxy of simulated blends: photutils' watershed on the image, and a translator that takes the
neighbour away.

Each stamp shows a galaxy (r from 16 to 20) and a fainter one over it (`astro_galtrans.pairs.simulated.PairSettings`,
``blends=1``). The Kron flux of the galaxy in the middle, as photutils' `~photutils.segmentation.SourceCatalog` measures
it, is compared with the true flux of the isolated galaxy, on four images of the same sky:

- the image as it is, sources not deblended;
- the image, sources deblended by photutils' watershed (`~photutils.segmentation.deblend_sources`, 32 levels, contrast
  0.001, its defaults), neighbours replaced by their mirror image;
- the translation, sources deblended likewise, since the field still has its other sources;
- the real image without the neighbour, which no deblending can surpass by much.

Run as ``python benchmarks/deblending.py FOLDER [-m NAME_OR_FILE] [-n 500] [--rst FILE]``; the blends are simulated into
FOLDER.
"""

import argparse
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.convolution import convolve
from astropy.stats import bootstrap, mad_std
from astropy.utils.exceptions import AstropyUserWarning
from photutils.segmentation import SourceCatalog, deblend_sources, detect_sources, make_2dgaussian_kernel

from astro_galtrans import translate
from astro_galtrans._photutils import NO_BAR
from astro_galtrans._progress import tqdm
from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
from astro_galtrans.pairs.simulated.population import Sample

SAMPLE = Sample(r_bright=16.0, r_faint=20.0, offset=0.4)
BINS = (1.0, 2.0, 3.0, 9.0)  # separations (arcsec): within the seeing, merged isophotes, and wide
NEAR = 2.0  # arcsec from its true place that a detection may be to count as the galaxy
WRONG = 0.5  # mag: an error that no longer is one of measurement
ROWS = "not deblended", "watershed", "translated", "isolated"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("folder")
    parser.add_argument("-m", "--model", default="srgan-deblend-sdss")
    parser.add_argument("-n", "--number", type=int, default=500)
    parser.add_argument("--band", default="r")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--rst")
    options = parser.parse_args()
    settings = PairSettings("sdss", "sdss", kind="galaxy", sample=SAMPLE, blends=1.0, seed=7101)
    pairs = simulate_pairs(options.folder, options.number, settings, workers=options.workers)
    pairs = pairs.subset(np.arange(options.number))
    found = magnitude_errors(pairs, translate(pairs, options.model).images, options.band)
    text = table(found, np.asarray(pairs.table["separation"]))
    print(text)
    if options.rst:
        Path(options.rst).write_text(text)


def magnitude_errors(pairs, translated, band):
    """Measured less true magnitude of the central galaxy by kind of image, ``[N]`` each; NaN where it is not found."""
    header, k = pairs.header, pairs.header.source_bands.index(band)
    true = np.asarray(pairs.table[f"mag_{header.source.name}_{band}"])
    centre = (header.size - 1) / 2
    errors = {name: np.full(len(pairs), np.nan) for name in ROWS}
    for n, row in enumerate(tqdm(pairs.table, unit="blend")):
        place = [centre + row[axis] / header.source.pixel_scale for axis in ("x", "y")]
        images = pairs.source(n), pairs.source(n), translated[n], pairs.target(n)
        sky = mad_std(smoothed(images[0][k]))  # of the image, for all: the sky of a translation is smoother
        for name, image in zip(ROWS, images, strict=True):
            near = NEAR / header.source.pixel_scale
            flux = kron_flux(np.asarray(image[k], float), place, near, 2.0 * sky, deblended=name != ROWS[0])
            if flux > 0:
                errors[name][n] = header.source.zeropoint - 2.5 * np.log10(flux) - true[n]
    return errors


def smoothed(image):
    return convolve(image, make_2dgaussian_kernel(3.0, size=5), boundary="extend")


def kron_flux(image, place, near, threshold, *, deblended):
    """Kron flux of the source at a place ``(x, y)``, or NaN if none is within ``near`` pixels of it."""
    smooth = smoothed(image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # no source; sources too faint to be deblended
        segments = detect_sources(smooth, threshold, 5)
        if segments is None:
            return np.nan
        if deblended:
            segments = deblend_sources(smooth, segments, 5, **NO_BAR)
        catalogue = SourceCatalog(image, segments, convolved_data=smooth)
        flux = np.atleast_1d(catalogue.kron_flux)
    distance = np.hypot(*(np.atleast_2d(catalogue.centroid) - place).T)
    nearest = np.nanargmin(distance)
    return flux[nearest] if distance[nearest] < near else np.nan


def table(errors, separation):
    """Return bias and scatter of the magnitudes as an RST table."""
    edges = list(pairwise(BINS))
    within = [(separation >= low) & (separation < high) for low, high in edges]
    rows = [["central galaxy", "median error (mag)", "bias", "scatter", "lost or wrong (%)"]]
    rows[0] += [f"scatter, {low:g} to {high:g} arcsec" for low, high in edges]
    for name, error in errors.items():
        lost = 100 * np.mean(~(np.abs(error) < WRONG))
        parts = [told(error[chosen]) for chosen in within]
        size, bias = f"{np.nanmedian(np.abs(error)):.3f}", f"{np.nanmedian(error):+.3f}"
        rows.append([name, size, bias, told(error), f"{lost:.0f}", *parts])
    lines = [".. list-table::", "   :header-rows: 1", ""]
    lines += [f"   {' ' if k else '*'} - {cell}" for row in rows for k, cell in enumerate(row)]
    sizes = ", ".join(str(chosen.sum()) for chosen in within)
    told_of = f"{len(separation)} blends, {sizes} of them in the ranges of separation; wrong: by more than {WRONG} mag."
    return "\n".join([*lines, "", told_of, ""])


def told(error):
    """Scatter of magnitude errors and its bootstrap error."""
    good = error[np.isfinite(error)]
    with np.errstate(all="ignore"):
        spread = bootstrap(good, 200, bootfunc=mad_std).std()
    return f"{mad_std(good):.3f} \u00b1 {spread:.3f}"


if __name__ == "__main__":
    main()
