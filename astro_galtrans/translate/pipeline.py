"""The nine steps from images to translations, for one image and for batches of them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import index
from os import PathLike

import numpy as np

from astro_galtrans._progress import tqdm
from astro_galtrans._warn import about_image, warn
from astro_galtrans.bandstack import write_like
from astro_galtrans.exceptions import DomainWarning, Failure, GaltransWarning
from astro_galtrans.geometry import resample
from astro_galtrans.tiling import TilePlan

from .agreement import make_consistent
from .prepare import Prepared, prepare
from .request import Request, Sampling, output_grid_of
from .results import as_stack, error_variance, to_flux
from .translator import ready

__all__ = [
    "Result", "bar", "batch_of", "checked_batch", "draw_samples", "evaluated", "results", "translate",
    "warn_of_outside",
]  # fmt: skip

ASSUMED = "{}: what is typical of the survey is assumed, FWHM in arcsec {}; give the image's own as psf="
#: Source pixels that a network sees at once by default: four stamps of 64 x 64. On a CPU larger batches are no faster,
#: and slower once their activations (1 kB a pixel) leave its cache; a GPU is kept busy by as much as fills a tile.
BATCH_PIXELS = {"cpu": 1 << 14, "other": 600_000}
MOST_AT_ONCE = 256  # images, however small


def translate(
    images, translator, *, bands=None, zeropoint=None, unit=None, n_samples=None, combine="mean", seed=None,
    output_grid=None, align=True, bad_planes=None, subtract_background=None, strict=False, tile=None, batch_size=None,
    device=None, progress=None, on_error="raise", column=None, psf=None,
    saturation=None,
):  # fmt: skip
    """
    Translate an image of one survey, or many, into what another would have seen.

    Parameters
    ----------
    images : `~astropy.nddata.NDData`, FITS HDU, `~astropy.io.fits.HDUList`, path, or list or dict of them
        Background-subtracted images in all bands that the translator needs, see `astro_galtrans.bandstack.read`. Bands
        it does not need are left out. Nothing in it is changed. One image is any of these; a list whose first item
        holds one band is one image, too, and a dict always is. Many images are a list whose first item holds several
        bands (a dict, list or HDUList of bands, a cube, a file of several bands), an iterator of images, a
        `~astropy.table.Table` with a column of images, an NDData ``[N, C, H, W]``, `~astro_galtrans.stamps.Stamps`,
        or a store of pairs, whose sources are taken.
    translator : str, `~pathlib.Path` or `Translator`
        A name from `list_translators`, the path of a translator file, or what `load_translator` returns.
    bands : str or iterable of str, optional
        Band of each plane, where keys or headers do not say.
    zeropoint : float or mapping of str to float, optional
        AB magnitude of one count, for an image in counts whose header has none.
    unit : str or `~astropy.units.UnitBase`, optional
        Unit of the pixels; it overrides what the image says.
    n_samples : int, optional
        Number of samples of a translator that samples; by default what its card recommends. A deterministic translator
        that was given a sampler draws samples if asked for, and otherwise gives its own answer.
    combine : {"mean", None}, optional
        Give the mean of the samples, or with None a list of all of them.
    seed : int, optional
        Seed of the samples. Without one it is drawn. Each of many images has a seed of its own, made of this one and
        its number; ``meta`` records it, and the image alone gives the same with it.
    output_grid : "target", `~astropy.wcs.WCS` or `~astropy.io.fits.Header`, optional
        Grid to resample the result to: with the target survey's own pixels, or any. By default each pixel of the image
        becomes ``scale`` x ``scale``, and nothing is resampled.
    align : bool, optional
        Bring bands on different grids to that of the middle band; if False, such bands are an error.
    bad_planes : str, int or iterable of these, optional
        Planes of masks of bits that mark bad pixels; by default what the survey's convention says, see
        `astro_galtrans.bandstack.read`.
    subtract_background : bool or int, optional
        Subtract the sky of each band, see `astro_galtrans.background.subtract_background`; a number is the side of
        its boxes (pixels).
    strict : bool, optional
        Raise, instead of warning, if an image is unlike those the translator was trained on, or a file does not match
        its checksums.
    tile : int or tuple of int, optional
        Rows and columns of the tiles an image is cut into, in its pixels; by default chosen to bound the memory. The
        result does not depend on it.
    batch_size : int, optional
        Number of images, or tiles of a large one, that the network sees at once; by default chosen to bound the memory.
    device : str or `torch.device`, optional
        Where to compute; by default on CUDA where available. A `Translator` stays where it is by default.
    progress : bool or callable, optional
        True shows a bar with the time left, on terminals and in notebooks. A function is called with 1 after each
        evaluation of the network on a tile, or after each of many images.
    on_error : {"raise", "record"}, optional
        Whether one of many images that cannot be translated ends the run, or is recorded while the others go on.
    column : str, optional
        Column of a table that holds the images; by default the only one that does.
    psf : float, `~astropy.units.Quantity`, `~numpy.ndarray`, dict of them by band, or function, optional
        PSF of the images, for translators that are told: the FWHM of stars as measured in them (arcsec), or images of
        the PSF on their pixels, ``[k, k]``, or a function of a pixel ``(x, y)`` that gives any of these for the middle
        of an image, or of a block of dask arrays. By default what CCDData carries as ``psf``, or what the stars in the
        image tell; without either what is typical of the survey, with a warning. ``meta`` records it. Images that reach
        to three FWHM, or bright stars, also tell fluxes, with which the translation is made to agree.
    saturation : float or mapping of str to float, optional
        Flux in a pixel from which it is saturated, in the images' unit, for all bands or by band. Saturated pixels are
        masked; so are those that a card (SATURATE, SATLEVEL) tells, and cut-off cores that show in the image.

    Returns
    -------
    object
        Of one image the same kind of object as it, new: float32 flux per pixel in the target survey's unit, WCS on the
        finer grid, standard deviation, mask (of pixels that a bad one has touched), provenance in ``meta``, and for
        CCDData the target survey's PSF in ``psf`` (a Moffat profile of its seeing). With ``combine=None`` a list of
        them, one per sample. Of objects that hold dask arrays NDData of dask arrays, computed when they are asked for.

        Of many images the same kind of collection: a list, an iterator, a table with the column replaced, an NDData,
        Stamps. With ``on_error="record"`` a list or iterator has a `~astro_galtrans.exceptions.Failure` in place of an
        image that failed, a table the reasons in a column ``failure``; NDData and Stamps have NaN there, and a warning
        names them.

    Raises
    ------
    ValueError
        If bands, unit, zero point or WCS are missing or do not fit, a band has no usable pixel, or an argument is no
        sensible one.
    OSError
        If a file does not exist, is damaged, or is not FITS.
    CheckpointError
        If the translator file is damaged.
    DomainError
        With ``strict``, if an image is outside the translator's range.
    GaltransError
        If the network's result is not finite.

    Warns
    -----
    DomainWarning
        If an image is outside the range of those the translator was trained on, or its sky was not subtracted; of many
        images once per quantity, with their number.
    GaltransWarning
        If much of the image is masked because its bands cover different sky, pixels are saturated, or a file holds what
        is not understood.

    Examples
    --------
    >>> from astro_galtrans.demo import sample
    >>> from astro_galtrans import translate
    >>> image = sample("sdss")  # CCDData by band
    >>> result = translate(image, "srgan-sdss-cfhtls")
    >>> result["r"].shape, result["r"].unit, result["r"].uncertainty.uncertainty_type
    ((224, 224), Unit("adu"), 'std')
    """
    from .many import several
    from .mosaic import is_lazy

    translator = ready(translator, device)
    if on_error not in {"raise", "record"}:
        msg = f"on_error must be 'raise' or 'record', got {on_error!r}"
        raise ValueError(msg)
    request = _request(
        translator, Sampling.of(translator, n_samples, combine, seed), bands=bands, zeropoint=zeropoint, unit=unit,
        output_grid=output_grid, align=align, bad_planes=bad_planes, subtract_background=subtract_background,
        strict=strict, tile=tile, batch_size=batch_size, psf=psf, saturation=saturation,
    )  # fmt: skip
    if is_lazy(images):
        return _lazy(images, request)
    many = several(images, request, column)
    if many is not None:
        return many.translated(request, record=on_error == "record", progress=progress)
    image = _one(images, request)
    evaluations = len(image.plan.tiles) * translator.model.evaluations(request.sampling.n)
    with bar(progress, evaluations, "tile") as step:
        ((parts),) = evaluated([image], request, step)
    objects = [write_like(stack) for stack in Result(0, image, parts).stacks(request)]
    return objects if combine is None else objects[0]


def draw_samples(image, translator, n_samples, *, seed=None, device=None, **options):
    """
    Draw samples of the translation of one image one after the other, for images too large to hold all samples.

    Parameters
    ----------
    image : object
        As for `translate`, one image.
    translator : str, `~pathlib.Path` or `Translator`
        One that samples, or that was given a sampler.
    n_samples : int
        How many.
    seed : int, optional
        Of the samples; drawn by default.
    device : str or `torch.device`, optional
        As for `translate`.
    **options
        What else `translate` takes of one image: ``bands``, ``zeropoint``, ``unit``, ``output_grid``, ``align``,
        ``bad_planes``, ``subtract_background``, ``strict``, ``tile``, ``batch_size``, ``psf``, ``saturation``.

    Yields
    ------
    object
        What `translate` with ``combine=None`` has in its list: each sample is made when it is asked for.

    Raises
    ------
    ValueError
        As `translate`.

    Examples
    --------
    >>> from astro_galtrans import draw_samples
    >>> from astro_galtrans.demo import sample
    >>> samples = draw_samples(sample("sdss"), "diffusion-sdss-cfhtls", 32, seed=1)  # none is made yet
    >>> next(samples)["r"].shape
    (224, 224)
    """
    translator = ready(translator, device)
    request = _request(translator, Sampling.of(translator, n_samples, None, seed), **options)
    image = _one(image, request)
    for number, (part,) in enumerate(_parts([image], request)):
        yield write_like(as_stack(part, image, translator, request.sampling, number))


def _request(
    translator, sampling, *, bands=None, zeropoint=None, unit=None, output_grid=None, align=True, bad_planes=None,
    subtract_background=None, strict=False, tile=None, batch_size=None, psf=None, saturation=None,
):  # fmt: skip
    """`Request` of the options of `translate` that concern one image."""
    reading = {
        "bands": bands, "zeropoint": zeropoint, "unit": unit, "align": align, "bad_planes": bad_planes,
        "strict": strict,
    }  # fmt: skip
    return Request(
        translator, sampling, output_grid_of(output_grid, translator.card), reading, subtract_background, tile,
        checked_batch(batch_size), psf, saturation=saturation,
    )  # fmt: skip


def _one(image, request):
    """One `Prepared` image, with warnings of what is unusual."""
    image = prepare(image, request, request.sampling.seed)
    for text in image.outside.values():
        warn(text, DomainWarning, stacklevel=3)
    if image.lost:
        warn(image.lost, stacklevel=3)
    if image.seen and image.seen.assumed:
        warn(ASSUMED.format("no stars tell the PSF", image.seen.psf), stacklevel=3)
    return image


@dataclass(eq=False)
class Result:
    """One image after the network: ``parts`` are data, variance, mask and WCS, of each sample or of their mean."""

    index: int
    image: Prepared
    parts: list

    def stacks(self, request):
        """Yield a `~astro_galtrans.bandstack.BandStack` of each part, with provenance."""
        apart = request.sampling.apart
        for number, part in enumerate(self.parts):
            yield as_stack(part, self.image, request.translator, request.sampling, number if apart else None)


def results(images, request, *, record=False, seeds=None, names=None):
    """
    Translate many images, as many at a time as the network sees at once.

    Parameters
    ----------
    images : iterable
        As for `prepare`, or an Exception in place of one that could not be had.
    request : `Request`
    record : bool, optional
        Yield a `Failure` in place of an image that cannot be translated, instead of raising its error.
    seeds : sequence of int, optional
        A number for each image, of which its seed is made; by default that of its place.
    names : sequence of str, optional
        What warnings call each image; by default its number, and its path if it is one.

    Yields
    ------
    `Result` or `Failure`
        In the order of the images.
    """
    with ThreadPoolExecutor(1) as ahead:  # the next ones are read while the network, which leaves Python, works
        windows = _windows(images, request, record, seeds, names)
        window = next(windows, None)
        while window:
            following = ahead.submit(next, windows, None)
            yield from _run(*window, request, record)
            window = following.result()


def _windows(images, request, record, seeds, names):
    """Yield lists of prepared images, as many as the network sees at once, and the number of the first of each."""
    window, pixels, budget = [], 0, _budget(request.translator)
    for number, image in enumerate(images):
        seed = request.sampling.seed_of(number if seeds is None else int(seeds[number]))
        path = f" ({image})" if isinstance(image, str | PathLike) else ""
        name = f"image {number}{path}" if names is None else names[number]
        window.append(_attempt(number, partial(_prepared, name, image, request, seed), record))
        size = 0 if isinstance(window[-1], Failure) else window[-1].planes[0].size
        pixels += size
        # failures have no size; many of them shall not wait for an image that has
        if len(window) >= (request.batch_size or MOST_AT_ONCE) or not (request.batch_size or pixels + size <= budget):
            yield window, number + 1 - len(window)
            window, pixels = [], 0
    if window:
        yield window, number + 1 - len(window)


def _prepared(name, image, request, seed):
    if isinstance(image, Exception):
        raise image
    with about_image(name):
        return prepare(image, request, seed)


def _attempt(number, action, record):
    """Return what an action does, or the `Failure` of image ``number``; otherwise its error says which image it was."""
    try:
        return action()
    except Exception as err:
        if not record:
            err.add_note(f"(image {number} of those to translate, counted from 0)")
            raise
        return Failure(number, err)


def _run(window, first, request, record):
    """Yield the results of prepared images in their order; those of one shape go through the network together."""
    groups, done = {}, {}
    for number, image in enumerate(window, first):
        if isinstance(image, Failure):
            done[number] = image
        else:
            whole = len(image.plan.tiles) == 1  # a tiled image is a batch of its own
            groups.setdefault(image.plan.shape if whole else number, []).append(number)
    for numbers in groups.values():
        chosen = [window[number - first] for number in numbers]
        try:
            found = evaluated(chosen, request)
        except Exception:
            if len(numbers) == 1 and not record:
                raise
            # one of them is to blame, and the others are not
            found = [
                _attempt(n, partial(_alone, image, request), record) for n, image in zip(numbers, chosen, strict=True)
            ]
        done |= {
            number: parts if isinstance(parts, Failure) else Result(number, image, parts)
            for number, image, parts in zip(numbers, chosen, found, strict=True)
        }
    for number in sorted(done):
        yield done.pop(number)


def _alone(image, request):
    return evaluated([image], request)[0]


def evaluated(images, request, step=None):
    """Parts of each of some images of one shape: data, variance, mask and WCS of each sample, or of their mean."""
    return [list(parts) for parts in zip(*_parts(images, request, step), strict=True)]


def _parts(images, request, step=None):
    """Yield the parts of all images of each sample, or of their mean."""
    translator, sampling = request.translator, request.sampling
    first = images[0]
    planes, plan, seed = first.planes, first.plan, first.seed
    if len(images) > 1:
        # one image of all stamps below each other, each a tile without overlap: tiles never see one another
        planes, seed = np.concatenate([image.planes for image in images], axis=1), [image.seed for image in images]
        plan = TilePlan.stacked(len(images), plan.shape, plan.scale)
    batch = request.batch_size or batch_of(translator, max(np.prod(tile.shape) for tile in plan.tiles))
    # 4. and 5. Batches of tiles through the network, blended to whole images, one sample after the other.
    predictions = translator.model.predict(
        planes, plan, n_samples=sampling.n, seed=seed if sampling.stochastic else None, batch_size=batch, progress=step
    )
    del planes
    # 6. Network units to flux of the target survey, and samples to their mean.
    gathered = sampling.gather(map(partial(to_flux, card=translator.card), predictions))
    for number, (flux, variance) in enumerate(gathered):
        rows, parts = flux.shape[1] // len(images), []
        for k, image in enumerate(images):
            # 7. What the image itself tells of fluxes and stars; and the variance of their errors: what the network
            # states, calibrated, and unusual noise of the input.
            of_image = slice(k * rows, (k + 1) * rows)
            make_consistent(flux[:, of_image], image, request, number)
            error = error_variance(variance[:, of_image], image.stack, translator, image.seen)
            part = flux[:, of_image], error, image.mask, image.wcs
            # 8. The grid that was asked for, if it is not the finer one.
            parts.append(part if request.grid is None else resample(*part, request.grid))
        yield parts


def _budget(translator):
    return BATCH_PIXELS["cpu" if translator.model.device.type == "cpu" else "other"]


def batch_of(translator, pixels):
    """Return how many images, or tiles, of so many pixels a network sees at once by default."""
    return max(1, _budget(translator) // int(pixels))


def checked_batch(batch_size):
    """Return it, if it is None or a number of images."""
    if batch_size is not None and index(batch_size) < 1:
        msg = f"batch_size must be an integer of at least 1, got {batch_size}"
        raise ValueError(msg)
    return batch_size


def warn_of_outside(found, count, what):
    """Say once for each kind of it how many of many images are unlike those of the training.

    ``found`` has numbers of images, and sentences, by what these are about.
    """
    for about, numbered in found.items():
        number, first = numbered[0]
        kind = GaltransWarning if about == "lost" else DomainWarning
        warn(f"{len(numbered)} of {count} {what}, such as number {number}: {first}", kind, stacklevel=5)


def _lazy(images, request):
    """Dask arrays in, dask arrays out; what would need the whole image, or all of its samples, is refused."""
    from .mosaic import lazy_mosaic

    unfit = {
        "output_grid": request.grid, "subtract_background": request.subtract_background,
        "combine": None if not request.sampling.apart else "None",
    }  # fmt: skip
    for name, value in unfit.items():
        if value is not None and value is not False:
            msg = f"{name} cannot be had of dask arrays, which are translated block by block; compute() them before"
            raise ValueError(msg)
    return lazy_mosaic(images, request)


@contextmanager
def bar(progress, total, unit):
    """Yield what is called with 1 after each of ``total`` steps: a bar's, the caller's function, or None."""
    if progress is None or progress is False or callable(progress):
        yield progress or None
        return
    with tqdm(total=total, unit=unit, disable=None) as bar:
        yield bar.update
