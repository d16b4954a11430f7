"""
Real galaxies, SDSS r to KiDS r: a one-band translator, trained on simulated pairs, beside what KiDS saw.

Six GAMA galaxies (``gama_sdss_kids``) have images in both surveys, without WCS: they are paired by the centre of the
galaxy and the pixel scales (SDSS resampled to 0.339 arcsec, KiDS 0.2 arcsec). The two surveys are described from these
images in ``surveys/gama-*.ecsv``; noise of the simulated source is resampled as SWarp does (Lanczos-3), since the
real one is so: neighbours are correlated by 0.29.

Run as ``python benchmarks/gama.py DATA -o DIR [--number 1024] [--hours 0.5] [--rst FILE] [--png FILE]``; what is in
DIR is not made again. Measured:

- fluxes in apertures on each galaxy, translated over KiDS, beside SDSS over KiDS; and after a flux factor from the
  other five galaxies (in 6 arcsec), since zero points of two surveys need not be what they are said to be;
- the same of the data alone, without a network: SDSS over KiDS blurred to SDSS, with the Gaussian that the PSF images
  ask for. What is not 1 there, or not the same in all apertures, no knowledge of the two PSFs explains: a perfect
  translator would show it too;
- the width of point sources (the SDSS PSF image of each galaxy, in noise, translated) against the KiDS PSF image's,
  both as `astro_galtrans.moments.gaussian_fwhm` measures it;
- the RMS of translated minus KiDS over pixels with signal, beside that of the resampled SDSS image.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS
from photutils.aperture import CircularAperture
from photutils.centroids import centroid_com
from reproject import reproject_interp
from scipy.ndimage import gaussian_filter
from tqdm.auto import tqdm

from astro_galtrans import load_translator
from astro_galtrans._photutils import aperture_sums
from astro_galtrans.moments import SIGMA_TO_FWHM, gaussian_fwhm
from astro_galtrans.pairs.simulated import PairSettings
from astro_galtrans.pairs.simulated.build import SIGNAL
from astro_galtrans.pairs.simulated.population import Sample, draw_scene
from astro_galtrans.pairs.simulated.render import draw_seeing, render_pair
from astro_galtrans.pairs.store import PairHeader, PairStore, PairWriter
from astro_galtrans.surveys import get_survey

HERE = Path(__file__).parent / "surveys"
SDSS, KIDS = (get_survey(HERE / f"gama-{name}.ecsv") for name in ("sdss", "kids"))
NATIVE = 0.396  # arcsec; pixels that the SDSS images were resampled from
APERTURES = 3.0, 6.0, 10.0  # diameter, arcsec
STAR = 10 ** (-0.4 * 17.0)  # flux of the point sources that are translated
RECIPE = """
name = "srgan-gama"
description = "SDSS r to KiDS r of GAMA galaxies: SRResNet generator"

[network]
name = "srgan"
settings = {{ adversarial_start = 1.0, width = 24, blocks = 4, fine_width = 12 }}

[data]
crop = 40
batch_size = 8

[optimizer]
learning_rate = 3.0e-3

[run]
steps = 8000
hours = {hours}
validation_steps = 200
validation_pairs = 64
picture_steps = 0
checkpoint_minutes = 2.0
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("data", type=Path, help="folder gama_sdss_kids")
    parser.add_argument("-o", "--output", type=Path, default=Path("gama"))
    parser.add_argument("--number", type=int, default=1024)
    parser.add_argument("--hours", type=float, default=0.5, help="time for the training")
    parser.add_argument("--rst", type=Path)
    parser.add_argument("--png", type=Path)
    options = parser.parse_args()
    translator = load_translator(make_translator(options.output, options.number, options.hours))
    galaxies = [Galaxy(options.data, path.name[1:7]) for path in sorted(options.data.glob("SDSS/*fitim.fits"))]
    rows = [galaxy.measure(translator) for galaxy in galaxies]
    recalibrate(rows)
    print(json.dumps(rows, indent=1))
    print(json.dumps({k: translator.card[k] for k in ("scores", "calibration")}, indent=1))
    if options.rst:
        options.rst.write_text(table(rows))
    if options.png:
        picture(options.png, galaxies)


# -- the translator


def make_translator(folder, number, hours):
    """Simulate pairs of the two surveys and train on them; return the path of the translator."""
    from astro_galtrans.training import load_recipe, train

    path = folder / "run" / "srgan-gama.safetensors"
    if not path.exists():
        pairs = [simulate(folder / name, n, s) for name, n, s in (("train", number, 1), ("held-out", 256, 2))]
        recipe = folder / "recipe.toml"
        recipe.write_text(RECIPE.format(hours=hours))
        train(load_recipe(recipe), *pairs, path.parent)
    return path


def simulate(folder, number, seed):
    """Simulate pairs with resampled noise; an unfinished set is completed."""
    sample = Sample(r_bright=14.5, r_faint=20.0)  # the six have 15.8 < r < 17.5
    settings = PairSettings(SDSS, KIDS, scale=2, size=64, seed=seed, seeing_spread=0.04, sample=sample)
    writer = PairWriter(folder, PairHeader(SDSS, KIDS, 2, 64, simulation=settings.to_dict()))
    sky = KIDS.sky_rms(settings.target_pixel_scale)[:, None, None]
    with writer:
        for index in tqdm(range(number), desc="simulating", disable=None):
            if index not in writer.indices:
                source, target, clean, row = simulate_pair(settings, index)
                writer.add(source, target, row, signal=clean > SIGNAL * sky)
    return PairStore(folder)


def simulate_pair(settings, index):
    """As `astro_galtrans.pairs.simulated.simulate_pair`, but that the noise of the source is resampled."""
    rng = np.random.default_rng([settings.seed, index])
    surveys = settings.surveys
    scene = draw_scene(rng, surveys, settings.size * SDSS.pixel_scale, None, settings.sample)
    seeings = draw_seeing(rng, SDSS, settings.seeing_spread), draw_seeing(rng, KIDS, 0.0)
    source, clean, _ = render_pair(scene, rng, surveys, seeings, settings.size, settings.scale, noise=False)
    band = KIDS.bands[0]
    sigma = np.hypot(KIDS.sky_rms(settings.target_pixel_scale)[0], np.sqrt(np.clip(clean, 0, None) / band.electrons))
    target = clean + sigma * rng.standard_normal(clean.shape)
    truth = {name: value for name, value in scene.truth.items() if name != "magnitudes"}
    row = {"index": index, "kind": scene.kind, "fwhm_r": seeings[0].fwhm[0]} | truth
    return with_resampled_noise(rng, source), target, clean, row


def with_resampled_noise(rng, image):
    """Add noise of white native pixels, interpolated to those of the image, of the rms that the survey states."""
    along_y, along_x = (lanczos(rng, n) for n in image.shape[-2:])
    noise = along_y @ rng.standard_normal((along_y.shape[1], along_x.shape[1])) @ along_x.T
    noise /= np.sqrt(np.square(along_y).sum(axis=1).mean() * np.square(along_x).sum(axis=1).mean())
    band = SDSS.bands[0]
    return image + np.hypot(band.sky_rms, np.sqrt(np.clip(image, 0, None) / band.electrons)) * noise


def lanczos(rng, n):
    """Matrix that interpolates native pixels to ``n`` of the resampled image, from a random phase on."""
    place = 3 + rng.random() + np.arange(n) * SDSS.pixel_scale / NATIVE
    offset = place[:, None] - np.arange(int(place[-1]) + 4)
    weight = np.where(np.abs(offset) < 3, np.sinc(offset) * np.sinc(offset / 3), 0)
    return weight / weight.sum(axis=1, keepdims=True)


# -- the galaxies


class Galaxy:
    """A galaxy as both surveys see it, on grids that share a sky through the galaxy's centre."""

    def __init__(self, folder, name):
        self.name = name
        self.sdss = read(folder / "SDSS", name, SDSS.pixel_scale)
        self.kids = read(folder / "KiDS", name, KIDS.pixel_scale)
        self.psf_sdss, self.psf_kids = (
            fits.getdata(folder / survey / f"G{name}psfim.fits").astype(float) for survey in ("SDSS", "KiDS")
        )

    @property
    def fwhm(self):
        """FWHM (arcsec) of the PSF images, SDSS and KiDS."""
        return SDSS.pixel_scale * gaussian_fwhm(self.psf_sdss), KIDS.pixel_scale * gaussian_fwhm(self.psf_kids)

    def blurred_kids(self):
        """Return the KiDS image blurred to the PSF of SDSS."""
        wide, narrow = self.fwhm
        sigma = np.sqrt(wide**2 - narrow**2) / SIGMA_TO_FWHM / KIDS.pixel_scale
        return gaussian_filter(np.where(self.kids.mask, 0, self.kids.data.astype(float)), sigma)

    def measure(self, translator):
        """Translate, to the pixels of KiDS, and compare."""
        self.translated = translator(self.sdss, bands="r", output_grid=self.kids.wcs)
        ny, nx = self.kids.shape
        self.image = fit_into(self.translated, self.kids)
        factor = (KIDS.pixel_scale / SDSS.pixel_scale) ** 2
        self.resampled = factor * reproject_interp(
            (self.sdss.data, self.sdss.wcs), self.kids.wcs, (ny, nx), order="bicubic", return_footprint=False
        )
        self.blurred = self.blurred_kids()
        images = {"kids": self.kids.data, "translated": self.image, "sdss": self.resampled, "blurred": self.blurred}
        fluxes = {name: self.fluxes(image) for name, image in images.items()}
        known = np.isfinite(self.image) & np.isfinite(self.resampled) & ~self.kids.mask
        signal = known & (self.kids.data > SIGNAL * KIDS.sky_rms()[0])
        rms = [np.sqrt(np.mean((i - self.kids.data)[signal] ** 2)) for i in (self.image, self.resampled)]
        widths = [point_source_width(translator, self.psf_sdss, seed) for seed in range(5)]
        return {
            "galaxy": f"G{self.name}",
            "r": round(-2.5 * np.log10(fluxes["kids"][-1]), 2),
            "flux_translated": np.round(fluxes["translated"] / fluxes["kids"], 4).tolist(),
            "flux_sdss": np.round(fluxes["sdss"] / fluxes["kids"], 4).tolist(),
            "flux_data": np.round(fluxes["sdss"] / fluxes["blurred"], 4).tolist(),
            "rms_gain": round(1 - rms[0] / rms[1], 3),
            "fwhm": round(float(np.median(widths)), 3),
            "fwhm_sdss": round(self.fwhm[0], 3),
            "fwhm_kids": round(self.fwhm[1], 3),
        }

    def fluxes(self, image):
        """Fluxes in `APERTURES` of an image on the pixels of KiDS; what is not known counts as nothing."""
        x, y = self.kids.wcs.wcs.crpix - 1
        filled = np.where(np.isfinite(image), image, 0)
        return np.array(
            [aperture_sums(filled, CircularAperture((x, y), d / 2 / KIDS.pixel_scale))[0] for d in APERTURES]
        )


def read(folder, name, scale):
    """Read an image with its standard deviation, mask, and a WCS whose origin is the galaxy's centre."""
    data, sigma, segments, mask = (
        fits.getdata(folder / f"G{name}{kind}.fits").astype(np.float32) for kind in ("fitim", "sigma", "segim", "mskim")
    )
    x, y = centre(data.astype(float), segments, scale)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (180.0, 0.0), (x + 1, y + 1)
    wcs.wcs.cdelt = -scale / 3600, scale / 3600
    wcs.array_shape = data.shape
    return CCDData(data, unit=u.mgy, uncertainty=StdDevUncertainty(sigma), mask=mask > 0, wcs=wcs, meta={"FILTER": "r"})


def centre(data, segments, scale):
    """Centre of the galaxy: that of the light within 1.5 arcsec of its peak, which the PSF hardly moves."""
    y, x = np.array(data.shape) // 2
    own = segments[y, x] or np.bincount(segments[segments > 0].astype(int)).argmax()
    peak = np.where(segments == own, data, -np.inf)
    y, x = np.unravel_index(peak.argmax(), data.shape)
    for _ in range(20):
        half = round(1.5 / scale) + 1
        j, i = round(y) - half, round(x) - half
        box = data[j : j + 2 * half + 1, i : i + 2 * half + 1]
        yy, xx = np.mgrid[: box.shape[0], : box.shape[1]]
        weight = np.clip(1.5 - scale * np.hypot(xx + i - x, yy + j - y), 0, None)
        dx, dy = centroid_com(np.clip(box * weight, 0, None))
        x, y = i + dx, j + dy
    return x, y


def fit_into(translated, kids):
    """Image on the pixels of ``kids``, NaN where the translation does not reach or is masked."""
    image = np.full(kids.shape, np.nan)
    data = np.asarray(translated.data, float)
    plane = data[0] if data.ndim == 3 else data
    bad = np.zeros(plane.shape, bool) if translated.mask is None else np.reshape(translated.mask, plane.shape)
    x, y = np.round(kids.wcs.wcs.crpix - translated.wcs.celestial.wcs.crpix).astype(int)
    rows = slice(max(y, 0), min(y + plane.shape[0], kids.shape[0]))
    columns = slice(max(x, 0), min(x + plane.shape[1], kids.shape[1]))
    part = slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)
    image[rows, columns] = np.where(bad, np.nan, plane)[part]
    return image


def point_source_width(translator, psf, seed, size=65):
    """FWHM (arcsec) of a translated point source, on the pixels of KiDS."""
    rng = np.random.default_rng(seed)
    half, n = size // 2, psf.shape[0] // 2
    image = np.zeros((size, size))
    image[half - n : half + n + 1, half - n : half + n + 1] = STAR * psf / psf.sum()
    image = with_resampled_noise(rng, image)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (180.0, 0.0), (half + 1, half + 1)
    wcs.wcs.cdelt = -SDSS.pixel_scale / 3600, SDSS.pixel_scale / 3600
    fine = wcs.deepcopy()
    fine.wcs.cdelt = -KIDS.pixel_scale / 3600, KIDS.pixel_scale / 3600
    fine.wcs.crpix = 21, 21
    fine.array_shape = 41, 41
    result = translator(CCDData(image, unit=u.mgy, wcs=wcs, meta={"FILTER": "r"}), bands="r", output_grid=fine)
    return KIDS.pixel_scale * gaussian_fwhm(np.squeeze(np.asarray(result.data, float)))


def recalibrate(rows):
    """Add the flux ratios of each galaxy after the flux factor of the other five."""
    ratios = np.array([row["flux_translated"] for row in rows])
    for k, row in enumerate(rows):
        factor = 1 / np.median(np.delete(ratios[:, 1], k))
        row["flux_recalibrated"] = np.round(factor * ratios[k], 4).tolist()


# -- tables and pictures


def table(rows):
    header = (
        "galaxy", "r", "flux, translated / KiDS, in 3, 6, 10 arcsec", "recalibrated on the other five",
        "the data alone: SDSS / blurred KiDS",
        "PSF FWHM: SDSS, translated, KiDS (arcsec)", "RMS against resampled SDSS",
    )  # fmt: skip
    cells = [
        (
            row["galaxy"], f"{row['r']:.2f}", numbers(row["flux_translated"], 3), numbers(row["flux_recalibrated"], 3),
            numbers(row["flux_data"], 3),
            numbers([row["fwhm_sdss"], row["fwhm"], row["fwhm_kids"]], 2), f"{-100 * row['rms_gain']:+.0f} %",
        )
        for row in rows
    ]  # fmt: skip
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (header, *cells):
        lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def numbers(values, digits):
    return ", ".join(f"{value:.{digits}f}" for value in values)


def picture(path, galaxies):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(galaxies), 5, figsize=(15, 3 * len(galaxies)), layout="constrained")
    sky = KIDS.sky_rms()[0]
    for row, galaxy in zip(axes, galaxies, strict=True):
        truth = np.where(galaxy.kids.mask, np.nan, galaxy.kids.data)
        planes = galaxy.resampled, galaxy.image, truth, galaxy.image - truth, galaxy.resampled - truth
        titles = "SDSS, resampled", "translated", "KiDS", "translated - KiDS", "SDSS - KiDS"
        for ax, plane, title in zip(row, planes, titles, strict=True):
            stretch, limit = (np.arcsinh(plane / sky / 3), 6) if " - " not in title else (plane / sky, 20)
            ax.imshow(stretch, origin="lower", vmin=-limit if " - " in title else -1, vmax=limit,
                      cmap="RdBu" if " - " in title else "gray")  # fmt: skip
            ax.set_title(f"G{galaxy.name}: {title}", fontsize=8)
            ax.axis("off")
    figure.savefig(path, dpi=60)


if __name__ == "__main__":
    main()
