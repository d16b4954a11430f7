"""Stamps for `benchmarks/morphology.py`: real galaxies of four surveys and simulated ones, with segmentation maps."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
from photutils.segmentation import SourceCatalog, SourceFinder

from astro_galtrans._photutils import NO_BAR
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.surveys import get_survey

__all__ = ["GalaxySet", "galaxy_sets"]

THRESHOLD, PIXELS = 1.5, 9  # of detection: sigma of the sky, connected pixels
FAINTEST = 20.0  # r of the Stripe 82 galaxies
EXTENDED = 1.25  # a galaxy's half-light radius over that of the stars
STAMP = {"stripe82": 96, "w3": 96}


@dataclass
class GalaxySet:
    """Stamps of one size, with what is known of them: the arguments of `measure_morphology`."""

    name: str
    images: np.ndarray
    segmap: np.ndarray
    gain: float | None = None
    variance: np.ndarray | None = None
    psf: np.ndarray | None = None

    def arguments(self):
        """What is known of the stamps, by the names of `measure_morphology`."""
        known = {"segmap": self.segmap, "gain": self.gain, "variance": self.variance, "psf": self.psf}
        return {name: value for name, value in known.items() if value is not None}


def galaxy_sets(data, pairs=None, number=500):
    """All sets that the folders have, of ``number`` galaxies at most; those of one survey begin with its name."""
    data = Path(data)
    for galaxies in (*stripe82(data / "sdss_stripe82"), *w3(data / "cfhtls_w3")):
        yield replace(galaxies, images=galaxies.images[:number], segmap=galaxies.segmap[:number])
    yield from gama(data / "gama_sdss_kids")
    if pairs is not None:
        yield simulated(pairs, number)


def stripe82(folder):
    """Extended sources, r < 20, of both epochs in g, r and i."""
    for epoch in "004192", "006377":
        for band in "gri":
            path = next(iter(sorted(folder.glob(f"sdss-{epoch}-{band}4-*.fits.fz"))), None)
            if path is None:
                continue
            survey = get_survey("sdss")
            one = survey.bands["ugriz".index(band)]
            psf = moffat(one.fwhm / survey.pixel_scale, 25)
            image = fits.getdata(path, "SCI").astype(np.float64)
            limit = 10 ** (0.4 * (22.5 - FAINTEST))
            found = cut(image, STAMP["stripe82"], lambda catalogue: catalogue.segment_flux > limit)  # noqa: B023
            yield GalaxySet(f"Stripe 82 {epoch} {band}", *found, gain=one.electrons, psf=psf)


def w3(folder):
    """Sources of the CFHTLS W3 field with a signal-to-noise ratio over 15, in g, r and i."""
    for band in "gri":
        path, survey = folder / f"CFHTLS-test_{band}.fits", get_survey("cfhtls-wide")
        if path.exists():
            one = survey.bands["ugriz".index(band)]
            psf = moffat(one.fwhm / survey.pixel_scale, 31)
            image = fits.getdata(path).astype(np.float64)
            sky = mad_std(image)
            found = cut(image, STAMP["w3"], lambda c: c.segment_flux > 15 * sky * np.sqrt(c.area.value))  # noqa: B023
            yield GalaxySet(f"CFHTLS W3 {band}", *found, gain=fits.getheader(path)["GAIN"], psf=psf)


def cut(image, size, bright):
    """Stamps and labels around extended sources; a stamp at the edge of the image is left out."""
    image = image - np.median(image)
    labels = SourceFinder(n_pixels=PIXELS, **NO_BAR)(image, THRESHOLD * mad_std(image))
    catalogue = SourceCatalog(image, labels)
    radius = catalogue.flux_radius(0.5).value
    stars = np.nanpercentile(radius[bright(catalogue)], 10)
    x, y = (np.round(v).astype(int) for v in (catalogue.x_centroid, catalogue.y_centroid))
    half = size // 2
    use = bright(catalogue) & (radius > EXTENDED * stars)
    use &= (x >= half) & (y >= half) & (x + half <= image.shape[1]) & (y + half <= image.shape[0])
    where = [np.s_[y[k] - half : y[k] + half, x[k] - half : x[k] + half] for k in np.flatnonzero(use)]
    return np.array([image[w] for w in where]), np.array([labels.data[w] for w in where])


def gama(folder):
    """Six galaxies in SDSS and KiDS, each with its own size, noise, PSF and segmentation map."""
    for path in sorted(folder.glob("*/*fitim.fits")):
        image, segmap, sigma, psf = (
            fits.getdata(path.with_name(path.name.replace("fitim", kind))).astype(np.float64)
            for kind in ("fitim", "segim", "sigma", "psfim")
        )
        scale = 1e12  # these fluxes are of the order of 1e-10
        yield GalaxySet(
            f"GAMA {path.parent.name} {path.name[:7]}", scale * image[None], segmap[None].astype(int),
            variance=(scale * sigma[None]) ** 2, psf=psf,
        )  # fmt: skip


def simulated(pairs, number, band="r"):
    """Simulated galaxies of the target survey in one band, with their own PSFs' width."""
    store = PairStore(pairs)
    channel, survey = store.header.target_bands.index(band), get_survey(store.header.target.name)
    images = np.stack([store.target(k)[channel] for k in range(min(number, len(store)))]).astype(np.float64)
    one = survey.bands[channel]
    segmap = np.array([segments(image) for image in images])
    psf = moffat(one.fwhm / store.header.target_pixel_scale, 31)
    return GalaxySet(f"simulated {survey.name} {band}", images, segmap, gain=one.electrons, psf=psf)


def segments(image):
    found = SourceFinder(n_pixels=PIXELS, **NO_BAR)(image, THRESHOLD * mad_std(image))
    return np.zeros(image.shape, int) if found is None else found.data


def moffat(fwhm, size, beta=3.5):
    """A Moffat PSF on ``size`` pixels, of sum 1."""
    y, x = np.mgrid[:size, :size] - size // 2
    core = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
    profile = (1 + (x**2 + y**2) / core**2) ** -beta
    return profile / profile.sum()
