r"""
What translators are compared with, as stamps of the target survey.

``resampled``
    The source on the target's pixels, by cubic splines, flux conserved, zero points matched.
``wiener``
    What a careful astronomer does without a network: a Wiener filter, band by band, from the PSF of each source image
    to that of the target (`astro_galtrans.matching`). How much noise it lets through follows from the sky noise
    and the light of the image itself: a white sky of power :math:`P` is seen as
    :math:`\langle x^2 \rangle = P \langle |H|^2 \rangle + \sigma^2`, which gives :math:`\epsilon = \sigma^2 / P`.
``second``
    The true image with another draw of the noise: the best that an image with noise can look.
``identity``
    The true image itself: what a metric shows where nothing is wrong.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_all_start_methods, get_context

import numpy as np

from astro_galtrans._locks import die_with_parent
from astro_galtrans._progress import tqdm
from astro_galtrans.matching import kernel_reach, match, matching_kernels
from astro_galtrans.pairs.simulated import PairSettings, simulate_pair
from astro_galtrans.pairs.simulated.noise import add_noise
from astro_galtrans.psf import Frequencies, as_psf, widths
from astro_galtrans.training.compare import classical
from astro_galtrans.units import flux_factor

__all__ = ["baseline", "cannot"]

# Below, errors of the PSF, which is known to some percent, are amplified more than light is won (the median residual of
# 128 galaxies of each task, of other seeds than those of the presets, is smallest for 1e-3); above, the filter only
# smooths.
EPSILON = 1e-3, 0.3
REACH = 2  # times the kernels of networks: the less noise, the further a filter rings
LEAST_LIGHT = 1e-3  # of the noise: an image without light has some, too, lest the filter be undefined
LOOKED_AT = 32  # PSFs of which the widest says how large the kernels have to be
SECOND = 2  # of the seed of the second draw of noise


def cannot(name, store):
    """Return why a baseline cannot be made of a store of pairs, or None."""
    header = store.header
    missing = [band for band in header.target_bands if band not in header.source_bands]
    if name in {"resampled", "wiener"} and missing:
        return f"the source has no band {', '.join(missing)}"
    if name == "second" and header.simulation is None:
        return "only the simulation knows the images without noise"
    if name == "second":
        again = simulate_pair(PairSettings.from_dict(header.simulation), int(store.table["index"][0]))
        if not np.array_equal(again.target, store.target(0)):
            return "the pairs were simulated by another version"
    return None


def baseline(name, store, source, target, *, workers=None, progress=True):
    """
    Return the images of a baseline, float32 ``[N, C', H', W']`` in the unit of the target.

    Parameters
    ----------
    name : str
        One of `~astro_galtrans.study.recipe.BASELINES`.
    store : `~astro_galtrans.pairs.store.PairStore`
        The pairs.
    source, target : `~astro_galtrans.stamps.Stamps`
        Their stamps, or the middle of these.
    workers : int, optional
        Processes that simulate; as many as there are cores by default.
    progress : bool, optional
        Show a progress bar on a terminal.
    """
    if name == "identity":
        return target.read()
    if name == "second":
        return _second(store, target.shape, workers, progress)
    make = partial(classical, header=store.header) if name == "resampled" else _Wiener(source, target)
    images = np.empty(target.images.shape, np.float32)
    bar = tqdm(total=len(images), desc=name, unit="stamp", disable=None if progress else True)
    with bar:
        for rows in source.blocks(64):
            for row, image in enumerate(source.read(rows), rows.start):
                images[row] = make(image) if name == "resampled" else make(image, row)
            bar.update(rows.stop - rows.start)
    return images


class _Wiener:
    """The PSF-aware linear translation of stamps, one by one."""

    def __init__(self, source, target):
        self.source, self.scale = source, round(source.pixel_scale / target.pixel_scale)
        self.factor = flux_factor(source.survey.zeropoint, target.survey.zeropoint)
        self.bands = [source.bands.index(band) for band in target.bands]
        self.psf, self.wanted = (
            as_psf(each.psf, len(each), each.bands, each.pixel_scale, f"the PSF of {each.name}")
            for each in (source, target)
        )
        self.sky = np.broadcast_to(source.sky_rms, (len(source), len(source.bands)))
        some = np.unique(np.linspace(0, len(source) - 1, LOOKED_AT).astype(int))
        sides = (self.psf, source.pixel_scale), (self.wanted, target.pixel_scale)
        widest = max(np.nanmax(widths(psf, some, scale)) for psf, scale in sides)
        self.reach = REACH * kernel_reach(widest, source.pixel_scale)

    def __call__(self, image, row):
        psf, wanted = (each[[row]] if len(each) > 1 else each for each in (self.psf, self.wanted))
        image, noise = image[self.bands].astype(float), self.sky[row, self.bands]
        epsilon = np.clip(noise**2 / self._light(image, psf, noise), *EPSILON)
        kernels = [
            matching_kernels(_Band(psf, k), _Band(wanted, j), self.source.pixel_scale, self.scale, self.reach, e)
            for j, (k, e) in enumerate(zip(self.bands, epsilon, strict=True))
        ]
        parts = match(image, np.concatenate(kernels))  # [C', s^2, H, W]: the finer pixels of every pixel
        c, _, h, w = parts.shape
        s = self.scale
        parts = parts.reshape(c, s, s, h, w).transpose(0, 3, 1, 4, 2)
        return self.factor * parts.reshape(c, s * h, s * w)

    def _light(self, image, psf, noise):
        """Power of a white sky that explains the light of the image, per band."""
        frequencies = Frequencies(image.shape[1:], self.scale, self.source.pixel_scale)
        y, x = frequencies.along()
        half = self.source.pixel_scale / (2 * np.pi)
        seen = psf.transform(frequencies, [0], self.bands)[0] * (np.sinc(y * half) * np.sinc(x * half))
        power = np.maximum(np.mean(image**2, axis=(1, 2)) - noise**2, LEAST_LIGHT * noise**2)
        return power / np.mean(np.abs(seen) ** 2, axis=(1, 2))


class _Band:
    """One band of a PSF."""

    bands = 1

    def __init__(self, psf, band):
        self._psf, self._band = psf, band

    def transform(self, frequencies, rows, _bands):
        return self._psf.transform(frequencies, rows, [self._band])


def _second(store, shape, workers, progress):
    """The noise-free images, simulated again, with new noise; the middle of these."""
    settings = PairSettings.from_dict(store.header.simulation)
    methods = get_all_start_methods()
    context = get_context("fork" if "fork" in methods else None)
    rows = [int(index) for index in store.table["index"]]
    bar = tqdm(total=len(rows), desc="second", unit="stamp", disable=None if progress else True)
    with bar, ProcessPoolExecutor(workers, mp_context=context, initializer=die_with_parent) as pool:
        images = []
        for image in pool.map(partial(_again, settings, shape), rows, chunksize=8):
            images.append(image)
            bar.update()
    return np.array(images, np.float32)


def _again(settings, shape, index):
    clean, survey = simulate_pair(settings, index).clean, settings.surveys[1]
    y, x = ((full - part) // 2 for full, part in zip(clean.shape[1:], shape, strict=True))
    clean = clean[:, y : y + shape[0], x : x + shape[1]]
    rng = np.random.default_rng([settings.seed, index, SECOND])
    return add_noise(rng, clean, survey, survey.sky_rms(settings.target_pixel_scale))
