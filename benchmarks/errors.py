"""
Stated errors of aperture fluxes and significances of detections, against pairs, simulated fields and a second epoch.

*Errors*: 68 % of the errors of aperture fluxes of held-out pairs lie within so many stated ones (1 is right), by
magnitude of the galaxy, and at any place. Translators are given the width of the PSF; with ``--psf`` its image, so that
fluxes follow those of the image, and for comparison their errors are also stated as those of the network alone.
*Simulated fields*: share of peaks of the significance map above 5 where the
noise-free image has, within 0.9 arcsec, at least half of the flux. *Second epoch*: share of peaks above 5 in the
translation of one epoch of SDSS Stripe 82 where the image of the other epoch has a point source above 2 sigma in the
same band, and above 3 in g, r or i; and the same of peaks above 5 times the scatter of the translation's own sky.

Run as ``python benchmarks/errors.py PAIRS -m NAME [NAME ...] [-n 512] [--psf] [--rst FILE] [--fields] [--frames
FOLDER]``. NAME is a translator whose card has the correlation of errors (``galtrans calibrate``), PAIRS are others than
it was calibrated with, from ``galtrans simulate``.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.stats import mad_std
from astropy.wcs import WCS
from photutils.aperture import CircularAperture
from scipy.ndimage import maximum_filter
from scipy.signal import oaconvolve

from astro_galtrans import aperture_error, cutout, load_translator, significance
from astro_galtrans.domain import sky_rms
from astro_galtrans.pairs.simulated import PairSettings, simulate_pair
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.psf import MoffatPSF, measured_fwhm, psf_images
from astro_galtrans.training.compare import main_sources
from astro_galtrans.training.data import read_pair
from astro_galtrans.training.observed import Observations
from astro_galtrans.uncertainty import ONE_SIGMA

DIAMETERS = 1.0, 2.0, 3.0, 6.0
CLASSES = {
    "galaxies": (0, 22.5), "galaxies r < 18": (0, 18), "18 to 20": (18, 20), "20 to 22": (20, 22.5), "any place": None,
}  # fmt: skip
TABLED = 3.0, 6.0  # diameters of the table
FIELDS, FIELD_SIDE, SEED = 10, 256, 5151
PLACES = (351.62, 0.06), (351.66, 0.12), (351.69, 0.17), (351.6, 0.16)  # on both epochs
EPOCHS, SIDE = ("004192", "006377"), 150 * u.arcsec


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("pairs")
    parser.add_argument("-m", "--models", nargs="+", required=True)
    parser.add_argument("-n", "--number", type=int, default=512)
    parser.add_argument("--psf", action="store_true", help="give images of the PSF, not its width")
    parser.add_argument("--rst", help="table to write, of all galaxies")
    parser.add_argument("--fields", action="store_true", help="count true detections in simulated fields")
    parser.add_argument("--frames", help="folder with the SDSS frames of two epochs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of sky left in and of saturated stars
    pairs, rows = PairStore(options.pairs), []
    for name in options.models:
        translator = load_translator(name)
        print(translator.name, *translator.bands_out)
        for kind, found in pulls(translator, pairs, options.number, images=options.psf).items():
            for where, number, diameter, values in within(found):
                print(f"{kind}; {where} ({number}), {diameter:g} arcsec:", *values, flush=True)
                if where == "galaxies" and diameter in TABLED:
                    rows.append((translator.name, kind, f"{diameter:g}", *values))
        if options.fields:
            print("simulated fields", *purity(translator))
        if options.frames:
            print(*second_epoch(translator, Path(options.frames)), sep="\n")
    if options.rst:
        Path(options.rst).write_text(table(rows, translator.bands_out))


def plain_wcs(side, scale):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], (150, 2), ((side + 1) / 2,) * 2
    wcs.wcs.cdelt = -scale / 3600, scale / 3600
    return wcs


def pulls(translator, pairs, number, *, images):
    """Magnitude (NaN: any place) and errors over stated ones, ``[n, 1 + diameters * bands]``, by what is stated."""
    scale, rng = pairs.header.target_pixel_scale, np.random.default_rng(3)
    wcs = plain_wcs(pairs.header.size, pairs.header.source.pixel_scale)
    meta = {"BANDS": ",".join(translator.bands_in), "MAGZERO": translator.source["zeropoint"]}
    observations, places, found = Observations(pairs), main_sources(pairs), {}
    for index in range(min(number, len(pairs))):
        source, target, good = read_pair(pairs, index)
        unit, mask = translator.source["unit"], pairs.source_mask(index)
        image = CCDData(source, unit=unit, wcs=wcs, meta=meta, mask=mask)
        widths = measured_fwhm(observations[index].fwhm, pixel_scale=pairs.header.source.pixel_scale)
        psf = dict(zip(translator.bands_in, observations.psf(index) if images else widths, strict=True))
        result = translator(image, psf=psf, seed=index if translator.samples else None)
        good = good if result.mask is None else good & ~result.mask
        side = target.shape[-1]
        around = [(np.nan, *rng.uniform(-0.36, 0.36, 2) * side * scale)]
        around += [] if places[index] is None else [(pairs.table["r"][index], *places[index])]
        for r, *place in around:
            centre = [(side - 1) / 2 + offset / scale for offset in place]
            apertures = [CircularAperture(centre, d / 2 / scale) for d in DIAMETERS]
            weights = np.array([a.to_mask(method="exact").to_image((side, side)) for a in apertures])
            if not good[:, weights.any(axis=0)].all():
                continue
            error = np.einsum("ayx,cyx->ac", weights, target - result.data)
            for kind, stated in stated_errors(translator, result, apertures).items():
                found.setdefault(kind, []).append((r, *(error / stated.T).ravel()))
    return found


def stated_errors(translator, result, apertures):
    """Stated errors ``[C, n]`` by what they are of."""
    if "GTFLUXES" not in result.meta:
        return {"network alone": aperture_error(result, apertures).value}
    found, own = {}, result.meta["GTCOVAR"]
    for kind, text in {"network alone": translator.correlation(), "fluxes that follow the image": own}.items():
        result.meta["GTCOVAR"] = text
        found[kind] = aperture_error(result, apertures).value
    return found


def within(found):
    """Yield class, number of places, diameter and, per band, within how many stated errors 68 % of the errors lie."""
    found = np.array(found)
    for name, limits in CLASSES.items():
        chosen = np.isnan(found[:, 0]) if limits is None else (found[:, 0] >= limits[0]) & (found[:, 0] < limits[1])
        share = np.quantile(np.abs(found[chosen, 1:]), ONE_SIGMA, axis=0).reshape(len(DIAMETERS), -1)
        for diameter, values in zip(DIAMETERS, share, strict=True):
            yield name, np.count_nonzero(chosen), diameter, [f"{value:.2f}" for value in values]


def table(rows, bands):
    """Return rows of translator, what errors are stated, diameter and values as an RST table."""
    head = ["translator", "stated errors of", "diameter (arcsec)", *bands]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        lines += [f"   * - {row[0]}", *(f"     - {cell}" for cell in row[1:])]
    return "\n".join(lines) + "\n"


def peaks(plane, threshold=5.0):
    plane = np.nan_to_num(plane)
    return np.argwhere((plane == maximum_filter(plane, 9)) & (plane > threshold))


def matched(plane, fwhm, scale):
    """Flux of a point source at each pixel."""
    psf = psf_images(MoffatPSF(fwhm), scale, 2 * int(np.ceil(2.5 * fwhm / scale)) + 1)[0]
    return oaconvolve(np.nan_to_num(plane), psf, mode="same") / np.sum(psf**2)


def purity(translator):
    """Yield number of peaks and share of true ones, per band."""
    surveys = translator.source["survey"], translator.target["survey"]
    settings = PairSettings(*surveys, seed=SEED, size=FIELD_SIDE, kind="field")
    scale, wcs, true = settings.target_pixel_scale, plain_wcs(FIELD_SIDE, settings.surveys[0].pixel_scale), {}
    for k in range(FIELDS):
        pair = simulate_pair(settings, k)
        meta = {"BANDS": ",".join(translator.bands_in), "MAGZERO": translator.source["zeropoint"]}
        image = CCDData(pair.source, unit=translator.source["unit"], wcs=wcs, meta=meta, mask=pair.source_mask)
        result = translator(image)
        planes = zip(translator.bands_out, significance(result), result.data, pair.clean, strict=True)
        for band, detected, data, clean in planes:
            fwhm = settings.surveys[1][band].fwhm
            there = maximum_filter(matched(clean, fwhm, scale), 9)
            flux = matched(data, fwhm, scale)
            true.setdefault(band, []).extend(there[y, x] > 0.5 * flux[y, x] for y, x in peaks(detected))
    return [f"{band}: {np.mean(found):.1%} of {len(found)}" for band, found in true.items()]


def second_epoch(translator, folder):
    """Yield share of confirmed peaks, per band and kind of map."""
    files = [[next(folder.glob(f"sdss-{epoch}-{band}4-*.fits*")) for band in "ugriz"] for epoch in EPOCHS]
    later = {band: seen(path) for band, path in zip("ugriz", files[1], strict=True)}
    found = {}
    for place in PLACES:
        images = cutout(files[0], SkyCoord(*place, unit="deg"), SIDE)
        result = translator(images, subtract_background=True)
        for band, detected in zip(result, significance(result), strict=True):
            flux = matched(result[band].data, translator.target["fwhm"][translator.bands_out.index(band)], 0.198)
            own = flux / mad_std(flux[np.abs(detected) < 3])
            for kind, plane in (("significance", detected), ("own scatter", own)):
                sky = result[band].wcs.pixel_to_world(*peaks(plane).T[::-1])
                values = {b: at(*later[b], sky) for b in "ugriz"}
                sure = np.fmax(np.fmax(values["g"], values["r"]), values["i"]) > 3
                found.setdefault((band, kind), []).extend(zip(values[band] > 2, sure, strict=True))
    for key, rows in found.items():
        same, sure = np.mean(rows, axis=0)
        yield f"{', '.join(key)}: {len(rows)} peaks, {same:.1%} in the same band, {sure:.1%} in g, r or i"


def seen(path):
    """Significance of a point source in an SDSS frame, highest within a pixel, and its WCS."""
    with fits.open(path) as hdus:
        image, wcs = hdus["SCI"].data.astype(float), WCS(hdus["SCI"].header)
    psf = psf_images(MoffatPSF(1.3), 0.396, 13)[0]
    noise = sky_rms(image, np.isfinite(image)) * np.sqrt(np.sum(psf**2))
    return maximum_filter(oaconvolve(image, psf, mode="same") / noise, 3), wcs


def at(plane, wcs, sky):
    x, y = (np.rint(v).astype(int) for v in wcs.world_to_pixel(sky))
    inside = (x > 3) & (y > 3) & (x < plane.shape[1] - 4) & (y < plane.shape[0] - 4)
    return np.where(inside, plane[np.clip(y, 0, plane.shape[0] - 1), np.clip(x, 0, plane.shape[1] - 1)], np.nan)


if __name__ == "__main__":
    main()
