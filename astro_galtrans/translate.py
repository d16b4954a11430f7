"""
The data flow: an image of one survey goes in, its translation to another comes out, in nine steps.

Nothing here knows a network by name. What there is to know of one, its spec and its card say.
"""

import warnings
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from html import escape
from math import ceil
from operator import index

import numpy as np
from astropy.convolution import Gaussian2DKernel
from astropy.io.fits import Header
from astropy.stats import gaussian_fwhm_to_sigma
from astropy.wcs.wcsapi import BaseHighLevelWCS, BaseLowLevelWCS

from astro_galtrans.models._card import check_card
from astro_galtrans.models.checkpoint import Checkpoint, load
from astro_galtrans.models.describe import describe
from astro_galtrans.models.shipped import find_weights, list_weights, pick_device

from . import background, domain, uncertainty
from ._release import __version__
from .bandstack import read, select, to_unit, write_like
from .covariance import Covariance
from .exceptions import GaltransError, GaltransWarning
from .geometry import align_planes, fill_masked, output_mask, pixel_scale, resample, rescale_wcs
from .scaling import AsinhScaling
from .surveys import get_survey
from .tiling import Tile, TilePlan, plan_tiles
from .units import flux_factor, parse_unit

__all__ = ["Translator", "list_translators", "load_translator", "translate"]

MIN_SIDE = 4  # pixels, from which an image of one value is no image
LOST_SHARE = 0.1  # of an image: more than the edge of a stamp that bands some pixels apart do not share
HOURS = 6  # of a training that is suggested; the shipped translators were trained for less than half an hour
WHOLE = "14 to 37"  # hours that 40000 steps of 12 crops take at the rates of docs/tables/train.rst
ROWS = 128  # output rows converted at once: a step that needs temporary arrays keeps them small


def translate(
    image, translator, *, bands=None, zeropoint=None, unit=None, n_samples=None, combine="mean", seed=None,
    output_grid=None, align=True, bad_planes=None, subtract_background=None, strict=False, tile=None, batch_size=1,
    device=None, progress=None,
):  # fmt: skip
    """
    Translate an image of one survey into what another would have seen.

    Parameters
    ----------
    image : `~astropy.nddata.NDData`, FITS HDU, `~astropy.io.fits.HDUList`, path, or list or dict of them
        Background-subtracted images in all bands that the translator needs, see `astro_galtrans.bandstack.read`. Bands
        it does not need are left out. The image is not changed.
    translator : str, `~pathlib.Path` or `Translator`
        A name from `list_translators`, the path of a translator file, or what `load_translator` returns.
    bands : str or iterable of str, optional
        Band of each plane, where keys or headers do not say.
    zeropoint : float or mapping of str to float, optional
        AB magnitude of one count, for an image in counts whose header has none.
    unit : str or `~astropy.units.UnitBase`, optional
        Unit of the pixels; it overrides what the image says.
    n_samples : int, optional
        Number of samples of a translator that samples; by default what its card recommends.
    combine : {"mean", None}, optional
        Give the mean of the samples, or with None a list of all of them.
    seed : int, optional
        Seed of the samples. Without one it is drawn, and recorded in the result's ``meta``.
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
        Raise, instead of warning, if the image is unlike those the translator was trained on, or a file does not match
        its checksums.
    tile : int or tuple of int, optional
        Rows and columns of the tiles the image is cut into, in its pixels; by default chosen to bound the memory. The
        result does not depend on it.
    batch_size : int, optional
        Number of tiles the network sees at once.
    device : str or `torch.device`, optional
        Where to compute; by default on CUDA where available. A `Translator` stays where it is by default.
    progress : callable, optional
        Called with 1 after each evaluation of the network on a tile.

    Returns
    -------
    object
        The same kind of object as ``image``, new: float32 flux per pixel in the target survey's unit, WCS on the finer
        grid, standard deviation, mask (of pixels that a bad one has touched), provenance in ``meta``, and for CCDData
        the target survey's PSF in ``psf`` (a Gaussian of its seeing). With ``combine=None`` a list of them, one per
        sample.

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
        With ``strict``, if the image is outside the translator's range.
    GaltransError
        If the network's result is not finite.

    Warns
    -----
    DomainWarning
        If the image is outside the range of those the translator was trained on, or its sky was not subtracted.
    GaltransWarning
        If much of the image is masked because its bands cover different sky, or a file holds what is not understood.
    """
    translator = _ready(translator, device)
    spec, card = translator.spec, translator.card
    sampling = _sampling(translator, n_samples, combine, seed)
    grid = _grid(output_grid, card)

    # 1. Any accepted input to bands on one grid, in the unit that the network was trained with.
    stack = read(image, bands, zeropoint=zeropoint, unit=unit, align=align, bad_planes=bad_planes, strict=strict)
    _check_bands(stack, translator)
    stack = to_unit(select(stack, spec.in_bands), card["source"]["unit"], card["source"]["zeropoint"])
    _check_information(stack)
    stack = background.subtracted(stack, subtract_background)
    outside = _compare_with_training(stack, translator, strict)
    stack, alignment = _on_one_grid(stack)
    bad = _bad_pixels(stack)

    # 2. Flux to network units.
    filled = fill_masked(stack.data, bad).astype(np.float32, copy=False)
    source = AsinhScaling.from_dict(card["source"]["scaling"]).forward(filled)
    del filled

    # 3. Tiles that overlap by what the network needs to see; and, before it starts its work, what else can go wrong.
    shape = source.shape[1:]
    plan = plan_tiles(shape, scale=spec.scale, multiple_of=spec.multiple_of, margin=spec.margin, tile=tile)
    wcs, mask = rescale_wcs(stack.wcs, spec.scale, shape), _mask(bad, translator)

    # 4. and 5. Batches of tiles through the network, blended to whole images, one sample after the other.
    predictions = translator.model.predict(
        source, plan, n_samples=sampling.n, seed=sampling.seed, batch_size=batch_size, progress=progress
    )

    provenance = stack.notes | _provenance(translator, sampling, alignment, outside)
    images = []
    # 6. Network units to flux of the target survey, and samples to their mean.
    for flux, variance in sampling.gather(map(partial(_to_flux, card=card), predictions)):
        # 7. The variance of its error: what the network states, calibrated, and unusual noise of the input.
        result = flux, _error_variance(variance, stack, translator), mask, wcs
        # 8. The grid that was asked for, if it is not the finer one.
        result = result if grid is None else resample(*result, grid)
        # 9. The same kind of object as came in, which says how it was made.
        provenance["sample"] = len(images) if sampling.apart else None
        images.append(write_like(_as_stack(result, stack, translator, provenance, bad)))
    return images if combine is None else images[0]


@dataclass(frozen=True, eq=False, repr=False)
class Translator:
    """
    A network with all that is needed to apply it: flux scalings, surveys, calibration and the range of valid inputs.

    It is called like `translate`: ``translator(image, ...)``.

    Parameters
    ----------
    checkpoint : `~astro_galtrans.models.checkpoint.Checkpoint`
        Network and card.
    """

    checkpoint: Checkpoint

    def __call__(self, image, **options):
        """Translate an image; options as for `translate`."""
        return translate(image, self, **options)

    def __repr__(self):
        ends = (
            f"{end['survey']} {','.join(bands)} ({end['pixel_scale']:.3g} arcsec)"
            for end, bands in ((self.source, self.bands_in), (self.target, self.bands_out))
        )
        count = sum(parameter.numel() for parameter in self.model.parameters())
        return f"<Translator {self.name}: {' to '.join(ends)}, {self.spec.name} network with {count:,} parameters>"

    def _repr_html_(self):
        return f"<pre>{escape(describe(self.card, self.checkpoint.sha256))}</pre>"

    @property
    def model(self):
        """The network."""
        return self.checkpoint.model

    @property
    def card(self):
        """The card: what was saved with the network, see `astro_galtrans.models.checkpoint.save`."""
        return self.checkpoint.card

    @property
    def name(self):
        """The name of the translator."""
        return self.card["name"]

    @property
    def spec(self):
        """The network's `~astro_galtrans.models.base.ModelSpec`."""
        return self.model.spec

    @property
    def bands_in(self):
        """The bands an image must have."""
        return self.spec.in_bands

    @property
    def bands_out(self):
        """The bands of the translation."""
        return self.spec.out_bands

    @property
    def source(self):
        """Survey, unit, zero point, pixel scale (arcsec) and noise of the images it takes, from the card."""
        return self.card["source"]

    @property
    def target(self):
        """Survey, unit, zero point and pixel scale (arcsec) of the translations, from the card."""
        return self.card["target"]

    def stamps(self, images, *, n_samples=None, seed=None):
        """
        Translate many small images of one size at once: arrays in, arrays out, samples apart.

        For what measures translators. No image is checked against the range of the training, and none may have pixels
        that are not finite.

        Parameters
        ----------
        images : array_like
            ``[N, C, H, W]``: flux per pixel in the unit and zero point of `source`, bands as `bands_in`.
        n_samples : int, optional
            Number of samples of a translator that samples; by default what its card recommends.
        seed : int, optional
            Seed of the samples. The same images in the same order and the same seed give the same samples.

        Returns
        -------
        `numpy.ndarray`
            float32 ``[N, n_samples, C', scale*H, scale*W]``: flux per pixel in the unit and zero point of `target`.

        Raises
        ------
        ValueError
            If the shape does not fit, a pixel is not finite (the message names the images), or the translator is
            deterministic and more than one sample is asked for.
        GaltransError
            If the network's result is not finite.
        """
        images = _checked_stamps(images, self)
        sampling = _sampling(self, n_samples, None, seed)
        count, channels, height, width = images.shape
        # One image of all stamps below each other, each a tile without overlap: tiles never see one another.
        canvas = images.swapaxes(0, 1).reshape(channels, -1, width)
        canvas = AsinhScaling.from_dict(self.source["scaling"]).forward(canvas)
        tiles = tuple(Tile(k * height, (k + 1) * height, 0, width) for k in range(count))
        plan = TilePlan(canvas.shape[1:], tiles, self.spec.scale, 0)
        samples = self.model.predict(canvas, plan, n_samples=sampling.n, seed=sampling.seed, batch_size=count)
        flux = np.array([_to_flux(sample, self.card).values for sample in samples])  # [S, C', N * scale*H, scale*W]
        shape = (sampling.n, flux.shape[1], count, self.spec.scale * height, self.spec.scale * width)
        return np.ascontiguousarray(flux.reshape(shape).transpose(2, 0, 1, 3, 4))

    def to(self, device):
        """Return this translator on a device: itself, or a copy if it lives on another."""
        device, own = pick_device(device), self.model.device
        if device.type == own.type and device.index in {None, own.index}:
            return self
        return Translator(replace(self.checkpoint, model=deepcopy(self.model).to(device)))


def list_translators():
    """Return the names of the translators that come with the package, sorted."""
    return list_weights()


def load_translator(name_or_path, device="cpu"):
    """
    Load a translator; the ones that come with the package are kept in memory.

    Parameters
    ----------
    name_or_path : str or `~pathlib.Path`
        A name from `list_translators`, or the path of a translator file.
    device : str or `torch.device`, optional
        Where it shall compute; None for CUDA where available.

    Returns
    -------
    `Translator`

    Raises
    ------
    ValueError
        If the name is unknown (the message gives the nearest ones), or there is no such device.
    FileNotFoundError
        If the path leads nowhere.
    CheckpointError
        If the file is damaged or of another version.
    """
    path, device = find_weights(name_or_path), pick_device(device)
    if name_or_path in list_weights():
        return _load_shipped(path, device)
    return _load(path, device)


def _load(path, device):
    checkpoint = load(path, device)
    check_card(checkpoint.card, path)
    return Translator(checkpoint)


_load_shipped = cache(_load)


def _ready(translator, device):
    if not isinstance(translator, Translator):
        return load_translator(translator, device)
    return translator if device is None else translator.to(device)


def _checked_stamps(images, translator):
    images = np.asarray(images, dtype=np.float32)
    if images.ndim != 4 or images.shape[1] != len(translator.bands_in) or not images.size:
        bands = ", ".join(translator.bands_in)
        msg = f"{translator.name} takes stamps [N, {len(translator.bands_in)}, H, W] in {bands}, got {images.shape}"
        raise ValueError(msg)
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if bad.size:
        msg = f"{bad.size} stamps have pixels that are not finite: {bad[:10].tolist()}; fill or leave them out"
        raise ValueError(msg)
    return images


@dataclass(frozen=True)
class _Sampling:
    """How often to ask the network, and what to make of the answers."""

    n: int
    seed: int | None
    stochastic: bool
    apart: bool

    def gather(self, samples):
        """Yield flux and variance of the mean of all samples, or of each."""
        mean = uncertainty.SampleMean(posterior=self.stochastic)
        for sample in samples:
            mean.add(*sample)
            del sample  # it is large, and would stay until the next one is there
            if self.apart:
                yield mean.mean, mean.variance
                mean = uncertainty.SampleMean(posterior=self.stochastic)
        if not self.apart:
            flux, variance = mean.mean, mean.variance
            del mean
            yield flux, variance


def _sampling(translator, n_samples, combine, seed):
    stochastic = translator.spec.stochastic
    if combine not in {"mean", None}:
        msg = f"combine must be 'mean' or None (all samples), got {combine!r}"
        raise ValueError(msg)
    if not stochastic and n_samples not in {None, 1}:
        msg = f"{translator.name} is deterministic and has one answer; leave out n_samples={n_samples!r}"
        raise ValueError(msg)
    recommended = translator.card.get("sampling", {}).get("n_samples", 1)
    n = index(recommended if n_samples is None else n_samples)
    if n < 1:
        msg = f"n_samples must be 1 or more, got {n}"
        raise ValueError(msg)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else index(seed)
    if seed < 0:
        msg = f"seed must be an integer of 0 or more, got {seed}"
        raise ValueError(msg)
    return _Sampling(n, seed if stochastic else None, stochastic, combine is None)


def _grid(output_grid, card):
    """What `~astro_galtrans.geometry.resample` understands, or None."""
    if isinstance(output_grid, str) and output_grid == "target":
        target = card["target"]
        # a survey of the user's own is known to the card only; earlier cards name one that the package knows
        return target.get("native_pixel_scale") or get_survey(target["survey"]).pixel_scale
    if output_grid is None or isinstance(output_grid, Header | BaseHighLevelWCS | BaseLowLevelWCS):
        return output_grid
    msg = f"output_grid must be 'target', a WCS, a FITS header or None, got {output_grid!r}"
    raise ValueError(msg)


def _check_bands(stack, translator):
    """Raise if the image lacks bands that the network needs, and say how to get a network that does without."""
    missing = [band for band in translator.bands_in if band not in stack.bands]
    if not missing:
        return
    ends = f"--source {translator.source['survey']} --target {translator.target['survey']}"
    own = ",".join(band for band in translator.bands_in if band in stack.bands)
    msg = (
        f"missing bands: {', '.join(missing)}; {translator.name} needs {', '.join(translator.bands_in)}, and the image "
        f"has {', '.join(stack.bands)}"
    )
    if own:
        msg += (
            f". To train a translator for {own} on simulated pairs: galtrans train {translator.spec.name} {ends} "
            f"--source-bands {own} --hours {HOURS} -o run (takes {HOURS} hours after the simulation; without --hours "
            f"{WHOLE} hours on 2 CPU cores, depending on the network)"
        )
    raise ValueError(msg)


def _check_information(stack):
    """Raise if a band holds one number everywhere: an image that was lost on the way, and nothing to translate."""
    for band, plane in zip(stack.bands, stack.planes, strict=True):
        values = plane.data[plane.good]
        # a strip of a few pixels may well hold one value
        if values.size and min(plane.data.shape) >= MIN_SIDE and values.min() == values.max():
            msg = f"all pixels of band {band} that can be used hold {values[0]:.4g}: there is no image in it"
            raise ValueError(msg)


def _compare_with_training(stack, translator, strict):
    """Measure the image before bands are aligned, which would change its noise, and warn of what is unusual."""
    planes = stack.planes
    middle = planes[len(planes) // 2]
    measured = domain.measure(
        [plane.data for plane in planes],
        [plane.mask for plane in planes],
        stack.bands,
        pixel_scale(middle.wcs, middle.data.shape),
    )
    return domain.check(measured, translator.card["validity"], strict=strict, stacklevel=4)


def _on_one_grid(stack):
    if stack.on_one_grid:
        return stack, None
    reference = len(stack.bands) // 2
    data, variance, mask, moved = align_planes(stack.planes, reference)
    offsets = ", ".join(f"{stack.bands[k]} by ({dx:+.2f}, {dy:+.2f})" for k, (dx, dy) in moved.items())
    _warn_of_lost_sky(stack, mask, reference)
    report = f"to {stack.bands[reference]}, in pixels (x, y): {offsets}"
    return replace(stack, data=data, variance=variance, mask=mask, wcs=stack.grids[reference]), report


def _warn_of_lost_sky(stack, mask, reference):
    """Say how much of the image is masked since not all bands cover it: most of a stamp, where cut by pixels."""
    before = [np.zeros(plane.data.shape, bool) if plane.mask is None else plane.mask for plane in stack.planes]
    lost = mask.any(axis=0).mean() - max(plane.mean() for plane in before)
    if lost > LOST_SHARE:
        where = f"the grid of band {stack.bands[reference]}"
        msg = (
            f"{100 * lost:.0f} % of the image is masked, since the bands lie on different grids and not all of them "
            f"cover {where}; cut all bands by sky position: astro_galtrans.cutout(images, position, size)"
        )
        warnings.warn(msg, GaltransWarning, stacklevel=4)


def _bad_pixels(stack):
    """Pixels that cannot be used, ``[C, H, W]``, or None; an infinite variance is how weight maps spell "bad"."""
    bad = ~np.isfinite(stack.data)
    if stack.variance is not None:
        bad |= ~np.isfinite(stack.variance)
    if stack.mask is not None:
        bad |= stack.mask
    empty = [band for band, plane in zip(stack.bands, bad, strict=True) if plane.all()]
    if empty:
        msg = f"no usable pixel in {', '.join(empty)}: all are masked or not finite"
        raise ValueError(msg)
    return bad if stack.mask is not None or bad.any() else None


def _to_flux(prediction, card):
    """Flux and its variance, in the memory of the prediction."""
    scaling = AsinhScaling.from_dict(card["target"]["scaling"])
    factor = np.array(card["calibration"]["flux"], dtype=np.float32).reshape(-1, 1, 1)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite, and that is an error below
        for start in range(0, prediction.values.shape[1], ROWS):
            values, std = (array[:, start : start + ROWS] for array in prediction)
            std *= factor * scaling.derivative(values)
            np.square(std, out=std)
            values[...] = factor * scaling.inverse(values)
            if not (np.isfinite(values).all() and np.isfinite(std).all()):
                msg = f"the network's result is not finite around output row {start}; its weights or the image are bad"
                raise GaltransError(msg)
    return prediction


def _error_variance(variance, stack, translator):
    """Calibrate, in place, and add the noise of the input that exceeds what the network learnt."""
    spec, factors = translator.spec, translator.card["calibration"]["std"]
    for k, band in enumerate(spec.out_bands):
        extra = None
        if stack.variance is not None and band in spec.in_bands:
            extra = _unusual_noise(stack, spec.in_bands.index(band), translator)
        std = uncertainty.combine(variance[k : k + 1], factors[k], extra)
        np.square(std, out=std)  # in the memory of ``variance``: a stack holds variances
    return variance


def _unusual_noise(stack, i, translator):
    """Variance in the target's pixels of input noise beyond that of the sky, and of photons if the card counts them."""
    source, target = translator.source, translator.target
    to_target = flux_factor(source["zeropoint"], target["zeropoint"]) ** 2
    with np.errstate(invalid="ignore"):
        noise = stack.variance[i : i + 1].astype(np.float32)
        if "electrons" in source:  # per flux unit
            noise -= np.maximum(stack.data[i], 0) / source["electrons"][i]
    noise[~np.isfinite(noise)] = 0  # of a bad pixel, which the mask tells of
    noise *= to_target
    return uncertainty.propagate_variance(noise, to_target * source["sky_rms"][i] ** 2, translator.spec.scale)


def _mask(bad, translator):
    """
    Mask of the output: what a bad pixel of any band may have touched.

    The light it should have shown is spread over a PSF, so the answer suffers to one and a half FWHM of the widest that
    the network was trained on, in source or target. The network looks further, up to its margin, but what it sees there
    is the filled-in value, which is a likely one: a hole of 5 x 5 pixels in a galaxy changes no pixel beyond by 0.2
    standard deviations.
    """
    if bad is None:
        return None
    source = (np.max(fwhm) for fwhm in translator.card["validity"].get("fwhm", {}).values())
    target = (fwhm for fwhm in translator.card["target"].get("fwhm", ()) if fwhm)
    widest = max((*source, *target), default=0.0)
    reach = min(translator.spec.margin, ceil(1.5 * widest / translator.source["pixel_scale"]))
    mask = output_mask(bad.any(axis=0), translator.spec.scale, reach)
    return np.broadcast_to(mask, (len(translator.bands_out), *mask.shape))


def _as_stack(result, stack, translator, provenance, bad):
    data, variance, mask, wcs = result
    target = translator.target
    new = replace(
        stack, data=data, variance=variance, mask=mask, wcs=wcs,
        bands=translator.bands_out, unit=parse_unit(target["unit"]), zeropoint=target["zeropoint"],
        psf=_target_psf(target, pixel_scale(wcs, data.shape)),
    )  # fmt: skip
    new = new.with_provenance(**provenance)
    new.meta["GTFILLED"] = 0 if bad is None else int(np.count_nonzero(bad))
    return new


def _target_psf(target, scale):
    """PSF of the target survey on pixels of a scale (arcsec): Gaussians of the card's FWHM; None if it has none."""
    widths = target.get("fwhm") or [None]
    if not all(fwhm and np.isfinite(fwhm) for fwhm in widths):
        return None
    sigmas = [gaussian_fwhm_to_sigma * fwhm / scale for fwhm in widths]
    side = 2 * ceil(4 * max(sigmas)) + 1
    kernels = [Gaussian2DKernel(sigma, x_size=side, y_size=side, mode="oversample").array for sigma in sigmas]
    return np.array([kernel / kernel.sum() for kernel in kernels], np.float32)


def _provenance(translator, sampling, alignment, outside):
    covariance = translator.card["calibration"].get("correlation")
    return {
        "translator": translator.name,
        "weights_hash": translator.checkpoint.sha256 or None,
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": sampling.seed,
        "samples": sampling.n if sampling.stochastic else None,
        "alignment": alignment,
        "source": translator.source["survey"],
        "target": translator.target["survey"],
        "source_bands": translator.bands_in,
        "scale": translator.spec.scale,
        "calibration": translator.card["calibration"]["std"],
        "covariance": covariance and Covariance.from_dict(covariance).to_text(),
        "domain": "; ".join(map(str, outside)) or None,
    }
