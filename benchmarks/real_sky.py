"""
Translators on the real sky, at all seeings, and on simulations with other assumptions than those of their training.

For each translator (all that ship, or names and files given with ``-m``):

- *seeing*: stars and discs in 0.84 to 1.73 times the typical seeing of the survey (SDSS *r*: 0.87 to 1.8 arcsec): FWHM
  of the stars that come out over that of the target survey, and the flux of the discs in 3 arcsec;
- *simulators*: biases, scatters and pulls of aperture fluxes on pairs of our simulator, and of another one with
  Kolmogorov PSFs, power-law spectra with a break, smaller and rounder galaxies of any Sersic index, and 1.5 times the
  noise. A pull is the error over the stated one: that of the package where it states one for apertures, else the
  pixels' standard deviations added in quadrature;
- *frame*, of translators that take SDSS images: stars of r < 19 of a Stripe 82 field against what SDSS measured, fluxes
  brought to the target's filters by the colours of Pickles' stars and to the aperture by the target's PSF; the
  sky that comes out over that of the target survey; and detections at 5 sigma of the sky that comes out, and at 5 sigma
  of the source (`astro_galtrans.significance`), and how many of them a second epoch confirms, beside those in the SDSS
  image itself;
- *W3*, of translators that take CFHTLS images, with ``--w3 FOLDER``: sources of a real image in g, r and i, their
  fluxes in 6 arcsec through the colour terms of the card over those in the image.

Run as ``python benchmarks/real_sky.py DATA [-m NAME ...] [--stamps 48] [--rst FILE]``; DATA holds the frames
``sdss-004192-[ugriz]4-0300.fits.fz`` and ``sdss-006377-[ugriz]4-0399.fits.fz``, and ``psField-004192-4-0300.fit``.
"""

import argparse
import inspect
import warnings
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.stats import mad_std
from astropy.wcs import WCS
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
from scipy.ndimage import map_coordinates, maximum_filter
from scipy.signal import fftconvolve

import astro_galtrans
from astro_galtrans import get_survey, list_translators, load_translator, significance, translate
from astro_galtrans._photutils import aperture_sums
from astro_galtrans.bandstack import read
from astro_galtrans.geometry import align_planes
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.pairs.simulated import PairSettings, Sample, simulate_pair
from astro_galtrans.pairs.simulated.colours import _colours, _curves, star_colours
from astro_galtrans.pairs.simulated.population import Profile, Scene
from astro_galtrans.pairs.simulated.render import WING_BETA, WING_WIDTH, WINGS, Seeing, render_pair
from astro_galtrans.statistics import sigma_mad

FACTORS = 0.84, 1.0, 1.3, 1.5, 1.73  # of the typical seeing
APERTURES = 3.0, 6.0  # diameters, arcsec
SAMPLES = 4  # of translators that sample, to bound the time
FRAMES = "sdss-004192-{}4-0300.fits.fz", "sdss-006377-{}4-0399.fits.fz"
BRIGHT = 14.8, 19.0  # r of stars: not saturated, and measured well
PSF_FIELD = "psField-004192-4-0300.fit"
TILE, GRID = 80, 6  # pixels around each star, tiles in a row of the mosaic of them
SECTION = slice(500, 1012), slice(200, 712)  # of the frame, for its sky and its faint sources
CONFIRMED = 2.0  # sigma in the second epoch: a source of 5 sigma has it, 98 % of noise has not


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("data")
    parser.add_argument("-m", "--models", nargs="+")
    parser.add_argument("--w3", type=Path, help="folder with CFHTLS-test_[gri].fits")
    parser.add_argument("--stamps", type=int, default=48)
    parser.add_argument("--rst")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    results = {"SDSS itself": {"frame": sdss_itself(Path(options.data))}}
    for name in options.models or list_translators():
        translator = load_translator(name)
        found = {"seeing": seeing(translator)}
        found |= {f"{kind.__name__} simulator": pulls(translator, kind, options.stamps) for kind in (our, other)}
        if translator.source["survey"] == "sdss":
            found["frame"] = frame(translator, Path(options.data))
        elif options.w3:
            found["w3"] = w3(translator, options.w3)
        results[translator.name] = found
        print(translator.name, found, flush=True)
    if options.rst:
        Path(options.rst).write_text(table(results))


def ends(translator):
    surveys = (get_survey(end["survey"]) for end in (translator.source, translator.target))
    return [s.select(bands) for s, bands in zip(surveys, (translator.bands_in, translator.bands_out), strict=True)]


def translated(translator, data, sky, psf=None):
    """Translation of ``[C, H, W]``; versions that take the PSF are told it."""
    source = ends(translator)[0]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (150.0, 2.0), (1.0, 1.0)
    wcs.wcs.cdelt = -source.pixel_scale / 3600, source.pixel_scale / 3600
    noise = StdDevUncertainty(np.broadcast_to(np.asarray(sky)[:, None, None], data.shape).copy())
    unit = translator.source["unit"]
    image = CCDData(np.asarray(data, "f4"), unit=unit, wcs=wcs, uncertainty=noise)
    known = psf is not None and "psf" in inspect.signature(translate).parameters
    options = {"psf": psf} if known else {}
    if unit == "adu":
        options["zeropoint"] = translator.source["zeropoint"]
    n_samples = SAMPLES if translator.spec.stochastic else None
    bands = ",".join(translator.bands_in)
    return translate(image, translator, bands=bands, n_samples=n_samples, seed=1, device="cpu", **options)


def apertures(planes, x, y, diameter):
    """Fluxes ``[C, N]`` in circles (pixels)."""
    circle = CircularAperture(np.transpose([x, y]), diameter / 2)
    return np.array([aperture_sums(np.asarray(plane, float), circle) for plane in planes])


def stated_error(result, x, y, diameter):
    """Error of a flux in a circle (pixels): the package's own, or pixels in quadrature."""
    own = getattr(astro_galtrans, "aperture_error", None)
    circle = CircularAperture((x, y), diameter / 2)
    if own is not None:
        return np.ravel(own(result, circle))
    return np.sqrt([aperture_sums(plane.astype(float) ** 2, circle)[0] for plane in result.uncertainty.array])


def seeing(translator):
    """FWHM of stars over the target's, and flux of discs in 3 arcsec over the true one, per seeing and band."""
    source, target = surveys = ends(translator)
    scale, n, side = translator.spec.scale, 16, 256
    pixel = source.pixel_scale / scale
    rng = np.random.default_rng(4)
    at = (np.indices((4, 4)).reshape(2, -1) - 1.5) * side / 4.6 * source.pixel_scale
    at = at + rng.uniform(-0.5, 0.5, at.shape) * source.pixel_scale
    star = np.concatenate([18 + star_colours(survey, 5300.0) for survey in surveys])
    disc = star + 0.5
    is_star = np.arange(n) % 2 == 0
    points = [(*xy, star) for xy in at.T[is_star]]
    scene = Scene("field", [Profile(1.0, 1.0, 0.0, 0.0, *xy, disc) for xy in at.T[~is_star]], points)
    x, y = at / pixel + (side * scale - 1) / 2
    found = {"fwhm": [], "disc": []}
    for factor in FACTORS:
        widths = [tuple(factor * band.fwhm for band in source.bands), tuple(band.fwhm for band in target.bands)]
        seeings = [Seeing(3.5, widths[0], wings=WINGS[0], wing_width=np.mean(WING_WIDTH)), Seeing(3.5, widths[1])]
        image, _, clean = render_pair(scene, rng, surveys, seeings, side, scale)
        drawn = [galsim_psf(with_wings(width), source) for width in widths[0]]
        psf = dict(zip(source.band_names, drawn, strict=True))
        out = translated(translator, image, source.sky_rms(), psf).data
        found["fwhm"].append(stars_fwhm(out, x[is_star], y[is_star]) / stars_fwhm(clean, x[is_star], y[is_star]))
        got, true = (apertures(image, x[~is_star], y[~is_star], 3 / pixel) for image in (out, clean))
        found["disc"].append(np.median(got / true, axis=1) - 1)
    return {name: np.array(values) for name, values in found.items()}


def with_wings(fwhm):
    """PSF as stars of SDSS frames have it: a core of that FWHM (arcsec), and wings."""
    core, wings = galsim.Moffat(3.5, fwhm=fwhm), galsim.Moffat(WING_BETA, fwhm=np.mean(WING_WIDTH) * fwhm)
    return (1 - WINGS[0]) * core + WINGS[0] * wings


def galsim_psf(profile, survey):
    return profile.drawImage(nx=51, ny=51, scale=survey.pixel_scale).array


def stars_fwhm(planes, x, y, half=12):
    """Median FWHM (pixels) of stars per band."""
    widths = []
    for plane in planes:
        cut = [plane[j - half : j + half + 1, i - half : i + half + 1] for i, j in np.rint([x, y]).astype(int).T]
        widths.append(np.nanmedian([gaussian_fwhm(np.asarray(c, float)) or np.nan for c in cut]))
    return np.array(widths)


def pulls(translator, simulator, number):
    """Bias and scatter (relative, of fluxes above 10 sigma) and pull of aperture fluxes: ``[aperture, band]`` each."""
    surveys, scale = ends(translator), translator.spec.scale
    pixel = surveys[0].pixel_scale / scale
    errors, stated, truth = [], [], []
    for index in range(number):
        source, clean, sky, psf, (dx, dy) = simulator(translator, index)
        result = translated(translator, source, sky, psf)
        x, y = (offset / pixel + (clean.shape[-1] - 1) / 2 for offset in (dx, dy))
        for diameter in APERTURES:
            got, true = (apertures(image, [x], [y], diameter / pixel)[:, 0] for image in (result.data, clean))
            errors.append(got - true)
            truth.append(true)
            stated.append(stated_error(result, x, y, diameter / pixel))
    errors, stated, truth = (np.reshape(v, (number, len(APERTURES), -1)) for v in (errors, stated, truth))
    relative = np.where(truth > 10 * stated, errors / truth, np.nan)
    bias = np.nanmedian(relative, axis=0)
    scatter, pull = (
        sigma_mad(values, axis=0, ignore_nan=True)
        for values in (relative, errors / stated)  # NaN: masked
    )
    return {"bias": bias, "scatter": scatter, "pull": pull}


def our(translator, index):
    source, target = ends(translator)
    sample = Sample(r_bright=16, r_faint=21, offset=0.2)
    options = {"source_bands": source.band_names, "target_bands": target.band_names, "kind": "galaxy", "sample": sample}
    pair = simulate_pair(PairSettings(source.name, target.name, seed=20251127, size=64, **options), index)
    row, bands = pair.truth, source.band_names
    psf = {}
    for band in bands:
        core, wide = row[f"fwhm_{band}"], row["wing_width"] * row[f"fwhm_{band}"]
        wings = row["wings"] * galsim.Moffat(WING_BETA, fwhm=wide)
        psf[band] = galsim_psf((1 - row["wings"]) * galsim.Moffat(row["beta"], fwhm=core) + wings, source)
    return pair.source, pair.clean, [row[f"noise_{b}"] for b in bands], psf, (row["x"], row["y"])


def other(translator, index):
    """Galaxy drawn by GalSim in real space, with nothing of our simulator but the target's PSF and filters."""
    rng, (source, target) = np.random.default_rng([7, index]), ends(translator)
    r, z = rng.uniform(16, 21), rng.uniform(0.02, 0.5)
    wave = np.arange(2400.0, 24000.0, 10)
    rest = wave / (1 + z)
    spectrum = (rest / 5500) ** rng.uniform(-2.5, 0.5) * np.where(rest < 4000, 1 / rng.uniform(1, 2.2), 1)
    colours = [_colours(_curves(survey), wave, spectrum) for survey in (source, target)]
    radius = float(np.clip(1.3 * 10 ** (-0.1 * (r - 17.8) + rng.normal(0, 0.25)), 0.15, 4))
    shape = galsim.Shear(q=rng.uniform(0.4, 1), beta=rng.uniform(0, np.pi) * galsim.radians)
    x, y = rng.uniform(-0.4, 0.4, 2)
    galaxy = galsim.Sersic(rng.uniform(0.6, 4.5), half_light_radius=radius).shear(shape).shift(x, y)
    factor, jitter = np.exp(rng.normal(0.05, 0.15)), rng.normal(0, 0.03, len(source.bands))
    wide = [factor * np.exp(j) * band.fwhm for j, band in zip(jitter, source.bands, strict=True)]
    psfs = [galsim.Convolve(galsim.Kolmogorov(fwhm=0.93 * w), galsim.Gaussian(fwhm=0.35 * w)) for w in wide]
    seen = [galsim.Moffat(3.5, fwhm=band.fwhm) for band in target.bands]
    pixel, images = source.pixel_scale / translator.spec.scale, []
    sides = (source, psfs, colours[0], source.pixel_scale), (target, seen, colours[1], pixel)
    for survey, blur, colour, scale in sides:
        n = round(64 * source.pixel_scale / scale)
        flux = 10 ** (-0.4 * (r + colour - survey.zeropoint))
        drawn = [galsim.Convolve(galaxy, psf).drawImage(nx=n, ny=n, scale=scale).array for psf in blur]
        images.append(flux[:, None, None] * np.array(drawn))
    sky = 1.5 * source.sky_rms()
    electrons = np.array([band.electrons for band in source.bands])[:, None, None]
    sigma = np.sqrt(sky[:, None, None] ** 2 + np.clip(images[0], 0, None) / electrons)
    noisy = images[0] + sigma * rng.standard_normal(sigma.shape)
    kernels = {b: galsim_psf(psf, source) for b, psf in zip(source.band_names, psfs, strict=True)}
    return noisy, images[1], sky, kernels, (x, y)


def frame(translator, data):
    """Stars, sky and detections of the real field."""
    target, scale = ends(translator)[1], translator.spec.scale
    stack = read({band: str(data / FRAMES[0].format(band)) for band in translator.bands_in})
    planes, *_ = align_planes(stack.planes, 2)
    planes, wcs = np.nan_to_num(planes), stack.grids[2]
    sky = [mad_std(np.diff(plane)) / np.sqrt(2) for plane in planes]
    x, y, total = stars(planes, data)
    mosaic, xm, ym = tiles(planes, x, y)
    out = np.asarray(translated(translator, mosaic, sky).data, float)
    xt, yt = ((v + 0.5) * scale - 0.5 for v in (xm, ym))
    expected = total * 10 ** (-0.4 * colour_terms(total, translator)) * 10 ** (0.4 * (target.zeropoint - 22.5))
    pixel = 0.396 / scale
    model = [galsim.Moffat(3.5, fwhm=band.fwhm) for band in target.bands]
    found = {"n": len(x)}
    for diameter in APERTURES:
        held = np.array([enclosed(psf, diameter, pixel) for psf in model])[:, None]
        ratio = apertures(out, xt, yt, diameter / pixel) / (expected * held)
        found[f"flux_{diameter:g}"] = np.nanmedian(ratio, axis=1) - 1
    reference = [gaussian_fwhm(psf.drawImage(nx=25, ny=25, scale=pixel).array.astype(float)) for psf in model]
    found["fwhm"] = stars_fwhm(out, xt, yt) / reference
    section = planes[(slice(None), *SECTION)]
    result = translated(translator, section, sky)
    out = np.asarray(result.data, float)
    rms = [mad_std(plane[plane < np.percentile(plane, 80)]) for plane in out]
    k = target.band_names.index("r")
    found |= dict(
        zip(
            ("detections", "purity"),
            confirmed(matched(out[k], target["r"].fwhm * scale / 0.396), scale, wcs, data),
            strict=True,
        )
    )
    own = confirmed(np.nan_to_num(significance(result)[k]), scale, wcs, data)
    found |= dict(zip(("significant", "their purity"), own, strict=True))
    return found | {"sky": np.array(rms) / target.sky_rms(pixel)}


def sdss_itself(data):
    """Detections of the SDSS image itself: what the others would have if nothing came in or went out."""
    stack = read({"r": str(data / FRAMES[0].format("r"))})
    plane = np.asarray(stack.planes[0].data, float)[SECTION]
    number, purity = confirmed(matched(plane, 1.1 / 0.396), 1, stack.grids[0], data)
    return {"n": "", "detections": number, "purity": purity}


def enclosed(psf, diameter, pixel):
    """Share of a PSF's light in a circle around a pixel's centre, pixel included."""
    image = psf.drawImage(nx=151, ny=151, scale=pixel).array.astype(float)
    return aperture_sums(image, CircularAperture((75, 75), diameter / 2 / pixel))[0]


def stars(planes, data):
    """
    Isolated stars: positions (pixels) and fluxes ``[C, N]`` in nanomaggies.

    Fluxes in 6 arcsec are brought to all of a star's light by the PSF that SDSS measured, as SDSS does.
    """
    from photutils.segmentation import SourceCatalog, detect_sources

    r = planes[2]
    found = SourceCatalog(r, detect_sources(r, 5 * mad_std(r), n_pixels=9))
    x, y = found.x_centroid, found.y_centroid
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(len(x))
    edge = TILE // 2 + 2
    inside = (x > edge) & (y > edge) & (x < r.shape[1] - edge) & (y < r.shape[0] - edge)
    x, y = x[inside & (apart.min(axis=1) > 22)], y[inside & (apart.min(axis=1) > 22)]
    sky = background(planes, x, y)
    fluxes = {d: apertures(planes, x, y, d / 0.396) - sky * np.pi * (d / 0.792) ** 2 for d in APERTURES}
    magnitude = 22.5 - 2.5 * np.log10(np.clip(fluxes[6][2], 1e-3, None))
    compact = fluxes[3][2] / fluxes[6][2]
    bright = (magnitude > BRIGHT[0]) & (magnitude < BRIGHT[1])
    use = bright & (np.abs(compact - np.median(compact[bright & (magnitude < 17.5)])) < 0.04)
    circle = CircularAperture((25, 25), 3 / 0.396)
    held = [aperture_sums(sdss_psf(data, band), circle)[0] for band in range(len(planes))]
    return x[use], y[use], fluxes[6][:, use] / np.array(held)[:, None]


def sdss_psf(data, band, row=744, column=1024):
    """PSF ``[51, 51]`` of SDSS (Lupton et al. 2001, ASP Conf. 238, 269) in the middle of the frame, of sum 1."""
    image = 0
    for mode in fits.getdata(data / PSF_FIELD, band + 1):
        terms = np.multiply.outer((1e-3 * column) ** np.arange(5), (1e-3 * row) ** np.arange(5))
        used = slice(mode["ncol_b"]), slice(mode["nrow_b"])  # the rest of the coefficients is not set
        image = image + np.sum(terms[used] * mode["c"][used]) * mode["rrows"].reshape(mode["rnrow"], mode["rncol"])
    return np.asarray(image / image.sum(), float)


def background(planes, x, y):
    ring = CircularAnnulus(np.transpose([x, y]), 20, 30)
    return np.array([[one.median for one in ApertureStats(plane, ring)] for plane in planes])


def tiles(planes, x, y):
    """Mosaic of a tile around each star, and where the stars are in it."""
    left, low = np.rint(x).astype(int) - TILE // 2, np.rint(y).astype(int) - TILE // 2
    column, row = np.arange(len(x)) % GRID, np.arange(len(x)) // GRID
    mosaic = np.zeros((len(planes), TILE * (row.max() + 1), TILE * GRID))
    for i, j, a, b in zip(left, low, column, row, strict=True):
        mosaic[:, b * TILE : (b + 1) * TILE, a * TILE : (a + 1) * TILE] = planes[:, j : j + TILE, i : i + TILE]
    return mosaic, x - left + column * TILE, y - low + row * TILE


def colour_terms(total, translator):
    """Target minus SDSS magnitude of stars ``[C', N]``, by the colour with a neighbouring band of Pickles' dwarfs."""
    source, target = ends(translator)
    temperature = np.linspace(3100, 6600, 200)
    theirs, ours = (star_colours(survey, temperature, 0.5, 0.03).T for survey in (source, target))
    magnitudes = 22.5 - 2.5 * np.log10(np.where(total > 0, total, np.nan))
    terms = []
    for k, (a, b) in enumerate([(1, 2), (1, 2), (1, 2), (2, 3), (3, 4)]):  # of u, too: its own colours are noisy
        fit = np.polynomial.Polynomial.fit(theirs[a] - theirs[b], ours[k] - theirs[k], 4)
        terms.append(fit(magnitudes[a] - magnitudes[b]))
    return np.array(terms)


def confirmed(sigmas, scale, wcs, data):
    """Number of peaks above 5 in a map of the section in r, and the share that the second epoch confirms."""
    y, x = np.nonzero((sigmas == maximum_filter(sigmas, 5 * scale)) & (sigmas > 5))
    edge = 20 * scale
    good = (x > edge) & (y > edge) & (x < sigmas.shape[1] - edge) & (y < sigmas.shape[0] - edge)
    x, y = ((v[good] + 0.5) / scale - 0.5 for v in (x, y))
    sky_position = wcs.pixel_to_world(x + SECTION[1].start, y + SECTION[0].start)
    second = read({"r": str(data / FRAMES[1].format("r"))})
    there = matched(np.asarray(second.planes[0].data, float), 1.1 / 0.396)
    seen = map_coordinates(there, second.grids[0].world_to_pixel(sky_position)[::-1], order=1)
    return len(x), float(np.mean(seen > CONFIRMED))


def w3(translator, folder):
    """Fluxes of sources of the W3 image that are bright, alone and not saturated, over those in the image."""
    images = {}
    for band in "gri":
        data, header = fits.getdata(folder / f"CFHTLS-test_{band}.fits", header=True)
        images[band] = CCDData(data.astype("f4"), unit="adu", wcs=WCS(header))
    x, y = bright_and_alone(images["r"].data)
    n_samples = SAMPLES if translator.spec.stochastic else None
    result = translate(images, translator, zeropoint=30.0, n_samples=n_samples, seed=1, device="cpu")
    circles, pixel, scale = APERTURES[1], 0.186, translator.spec.scale
    at = [(v + 0.5) * scale - 0.5 for v in (x, y)]
    got = apertures([result[band].data for band in "gri"], *at, circles * scale / pixel)
    planes = [image.data - np.median(image.data) for image in images.values()]
    terms = translator.card["calibration"]["colour_terms"]
    to_all = np.zeros((5, 3))  # u - g is 1.64 and i - z 0.29, medians of the SDSS main galaxy sample
    to_all[np.arange(5), [0, 0, 1, 2, 2]] = 10 ** (-0.4 * 1.64), 1, 1, 1, 10 ** (0.4 * 0.29)
    as_seen = (np.array(terms["matrix"]) @ to_all @ got)[1:4] * 10 ** (0.4 * 7.5)
    bad = aperture_sums(result["r"].mask.astype(float), CircularAperture(np.transpose(at), 3 * scale / pixel)) > 0
    ratio = (as_seen / apertures(planes, x, y, circles / pixel))[:, ~bad]
    return {"n": ratio.shape[1], "flux_6": np.median(ratio, axis=1) - 1, "scatter": sigma_mad(ratio, axis=1)}


def bright_and_alone(plane, faintest=23.0, apart=20):
    """Positions (pixels) of sources in a CFHTLS image that have no neighbour within ``apart`` pixels."""
    from photutils.segmentation import SourceCatalog, detect_sources

    found = SourceCatalog(plane, detect_sources(plane, 8 * mad_std(np.diff(plane)) / np.sqrt(2), n_pixels=12))
    x, y, edge = found.x_centroid, found.y_centroid, 40
    near = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(len(x))
    good = (np.minimum(x, y) > edge) & (np.maximum(x, y) < min(plane.shape) - edge) & (near.min(axis=1) > apart)
    good &= found.segment_flux > 10 ** (0.4 * (30 - faintest))
    return x[good], y[good]


def matched(plane, fwhm):
    """Significance of a point source at each pixel, in units of the filtered image's own scatter."""
    half = int(4 * fwhm) + 1
    y, x = np.indices((2 * half + 1, 2 * half + 1)) - half
    narrow, wide = (np.exp(-4 * np.log(2) * (x**2 + y**2) / width**2) for width in (fwhm, 3 * fwhm))
    kernel = narrow / narrow.sum() - wide / wide.sum()  # without the halo of a bright neighbour
    filtered = fftconvolve(plane - np.median(plane), kernel, mode="same")
    return filtered / mad_std(filtered)


def table(results):
    rows = [("translator", "what", *[f"{factor:g} x seeing" for factor in FACTORS])]
    measured = {name: found for name, found in results.items() if "seeing" in found}
    for name, found in measured.items():
        rows.append((name, "FWHM out / target, r", *[f"{v:.2f}" for v in of_r(found["seeing"]["fwhm"])]))
        rows.append(("", 'disc, 3" flux, r (%)', *[f"{100 * v:+.1f}" for v in of_r(found["seeing"]["disc"])]))
    parts = [listed(rows)]
    rows = [("translator", "simulator", "aperture", "bias (%)", "scatter (%)", "pull")]
    forms = {"bias": "+.1%", "scatter": ".1%", "pull": ".1f"}
    for name, found in measured.items():
        for kind in ("our", "other"):
            for k, diameter in enumerate(APERTURES):
                each = [spaced(found[f"{kind} simulator"][key][k], form) for key, form in forms.items()]
                rows.append((name, kind, f'{diameter:g}"', *each))
    parts.append(listed(rows))
    forms = {"fwhm": ".2f", "flux_3": "+.1%", "flux_6": "+.1%", "sky": ".2f"}
    rows = [("translator", "stars", "FWHM out / target", '3" flux (%)', '6" flux (%)', "sky / target's",
             "detections", "confirmed (%)", "significance > 5", "confirmed (%)")]  # fmt: skip
    for name, found in results.items():
        if "frame" in found:
            f = found["frame"]
            each = [spaced(f[key], form) if key in f else "" for key, form in forms.items()]
            own = (f["significant"], f"{100 * f['their purity']:.0f}") if "significant" in f else ("", "")
            rows.append((name, f["n"], *each, f["detections"], f"{100 * f['purity']:.0f}", *own))
    parts.append(listed(rows))
    rows = [("translator", "sources in W3", '6" flux, g r i (%)', "scatter (%)")]
    for name, found in results.items():
        if "w3" in found:
            each = (spaced(found["w3"][key], form) for key, form in (("flux_6", "+.1%"), ("scatter", ".1%")))
            rows.append((name, found["w3"]["n"], *each))
    return "\n".join([*parts, listed(rows)] if len(rows) > 1 else parts)


def of_r(values):
    """Column of the r band, or of the middle one."""
    return values[:, values.shape[1] // 2]


def spaced(values, form):
    return " ".join(format(value, form).replace("%", "") for value in values)


def listed(rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
