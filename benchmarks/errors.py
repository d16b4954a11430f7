"""
Stated errors of aperture fluxes and significances of detections, against pairs, simulated fields and a second epoch.

*Errors*: 68 % of the errors of aperture fluxes of held-out pairs lie within so many stated ones (1 is right), by
magnitude of the galaxy, and at any place. *Simulated fields*: share of peaks of the significance map above 5 where the
noise-free image has, within 0.9 arcsec, at least half of the flux. *Second epoch*: share of peaks above 5 in the
translation of one epoch of SDSS Stripe 82 where the image of the other epoch has a point source above 2 sigma in the
same band, and above 3 in g, r or i; and the same of peaks above 5 times the scatter of the translation's own sky.

Run as ``python benchmarks/errors.py TRANSLATOR PAIRS [-n 512] [--frames FOLDER]``. TRANSLATOR is one whose card has the
correlation of errors (``galtrans calibrate``), PAIRS others than it was calibrated with, from ``galtrans simulate``.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.stats import mad_std
from astropy.wcs import WCS
from photutils.aperture import CircularAperture
from scipy.ndimage import maximum_filter
from scipy.signal import oaconvolve

from astro_galtrans import aperture_error, cutout, load_translator, significance
from astro_galtrans.covariance import Covariance
from astro_galtrans.domain import sky_rms
from astro_galtrans.pairs.simulated import PairSettings, simulate_pair
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.psf import MoffatPSF, psf_images
from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.training.compare import compare, main_sources

DIAMETERS = 1.0, 2.0, 3.0, 6.0
CLASSES = {"galaxies r < 18": (0, 18), "18 to 20": (18, 20), "20 to 22": (20, 22.5), "any place": None}
FIELDS, FIELD_SIDE, SEED = 10, 256, 5151
PLACES = (351.62, 0.06), (351.66, 0.12), (351.69, 0.17), (351.6, 0.16)  # on both epochs
EPOCHS, SIDE = ("004192", "006377"), 150 * u.arcsec


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("translator")
    parser.add_argument("pairs")
    parser.add_argument("-n", "--number", type=int, default=512)
    parser.add_argument("--frames", help="folder with the SDSS frames of two epochs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of sky left in and of saturated stars
    translator = load_translator(options.translator)
    print("bands", *translator.bands_out)
    for row in pulls(translator, PairStore(options.pairs), options.number):
        print(*row)
    print("simulated fields", *purity(translator))
    if options.frames:
        print(*second_epoch(translator, Path(options.frames)), sep="\n")


def plain_wcs(side, scale):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], (150, 2), ((side + 1) / 2,) * 2
    wcs.wcs.cdelt = -scale / 3600, scale / 3600
    return wcs


def pulls(translator, pairs, number):
    card, scale, rng = translator.card, pairs.header.target_pixel_scale, np.random.default_rng(3)
    scalings = [AsinhScaling.from_dict(card[end]["scaling"]) for end in ("source", "target")]
    meta = {"BANDS": ",".join(translator.bands_out), "MAGZERO": translator.target["zeropoint"],
            "GTCOVAR": Covariance.from_dict(card["calibration"]["correlation"]).to_text()}  # fmt: skip
    found, places, n = [], main_sources(pairs), card.get("sampling", {}).get("n_samples", 1)
    indices = range(min(number, len(pairs)))
    for pair in compare(translator.model, scalings, pairs, indices, factors=card["calibration"], n_samples=n):
        side = pair.mean.shape[-1]
        image = CCDData(pair.mean, unit=translator.target["unit"], uncertainty=StdDevUncertainty(pair.std),
                        wcs=plain_wcs(side, scale), meta=meta)  # fmt: skip
        around = [(np.nan, *rng.uniform(-0.36, 0.36, 2) * side * scale)]
        around += [] if places[pair.index] is None else [(pairs.table["r"][pair.index], *places[pair.index])]
        for r, *place in around:
            centre = [(side - 1) / 2 + offset / scale for offset in place]
            apertures = [CircularAperture(centre, d / 2 / scale) for d in DIAMETERS]
            weights = np.array([a.to_mask(method="exact").to_image((side, side)) for a in apertures])
            if not pair.good[:, weights.any(axis=0)].all():
                continue
            error = np.einsum("ayx,cyx->ac", weights, pair.target - pair.mean)
            found.append((r, *(error / aperture_error(image, apertures).value.T).ravel()))
    found = np.array(found)
    for name, limits in CLASSES.items():
        chosen = np.isnan(found[:, 0]) if limits is None else (found[:, 0] >= limits[0]) & (found[:, 0] < limits[1])
        within = np.quantile(np.abs(found[chosen, 1:]), 0.6827, axis=0).reshape(len(DIAMETERS), -1)
        for diameter, values in zip(DIAMETERS, within, strict=True):
            yield f"{name} ({np.count_nonzero(chosen)}), {diameter:g} arcsec:", *(f"{value:.2f}" for value in values)


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
