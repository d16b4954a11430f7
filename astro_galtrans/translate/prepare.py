"""One image, read and checked, up to the planes that the network sees."""

from dataclasses import dataclass, replace

import numpy as np

from astro_galtrans import background, domain
from astro_galtrans._config import conf
from astro_galtrans.bandstack import BandStack, read, select, to_unit
from astro_galtrans.exceptions import EmptyImageError
from astro_galtrans.geometry import align_planes, fill_masked, pixel_scale, rescale_wcs
from astro_galtrans.observe import Seen, observe
from astro_galtrans.saturation import mask_saturated
from astro_galtrans.stars import carried_psf
from astro_galtrans.tiling import TilePlan, plan_tiles

from .agreement import points_of
from .results import mask_of_result
from .unusual import unlike_its_survey, unlike_stars

__all__ = ["Prepared", "prepare"]

MIN_SIDE = 4  # pixels, from which an image of one value is no image
LOST_SHARE = 0.1  # of an image: more than the edge of a stamp that bands some pixels apart do not share
HOURS = 6  # of a training that is suggested; the shipped translators were trained for less than half an hour
WHOLE = "14 to 37"  # hours that 40000 steps of 12 crops take at the rates of docs/tables/train.rst


@dataclass(eq=False)
class Prepared:
    """One image, ready for the network, and what is known of its result before the network has seen it."""

    stack: BandStack  #: bands of the network on one grid, in the unit it was trained with
    planes: np.ndarray  #: what the network sees: float32 ``[K, H, W]``, of `~astro_galtrans.inputs.Inputs`
    bad: np.ndarray | None  #: pixels that cannot be used, bool ``[C, H, W]``
    plan: TilePlan  #: the tiles it is cut into
    wcs: object  #: of the result
    mask: np.ndarray | None  #: of the result, bool ``[C', scale*H, scale*W]``
    outside: dict  #: sentences on what lies outside the translator's range, see `astro_galtrans.translate.unusual`
    alignment: str | None  #: which bands were moved, and by how much
    lost: str | None  #: how much is masked since bands cover different sky, if it is much
    seed: int | None  #: of its samples
    seen: Seen | None  #: how it was taken, if the network is told
    points: list  #: its bright stars, see `astro_galtrans.points`


def prepare(image, request, seed=None):
    """
    Read and check one image, and make the planes that the network sees.

    Parameters
    ----------
    image : `~astro_galtrans.bandstack.BandStack` or object
        As for `astro_galtrans.translate`.
    request : `~astro_galtrans.translate.request.Request`
    seed : int, optional
        Seed of its samples.

    Returns
    -------
    `Prepared`
    """
    translator = request.translator
    spec, card = translator.spec, translator.card
    # 1. Any accepted input to bands on one grid, in the unit that the network was trained with.
    stack = image if isinstance(image, BandStack) else read(image, **request.reading)
    _check_bands(stack, translator)
    noise, found = {b: domain.sky_rms(p.data, p.good) for b, p in zip(stack.bands, stack.planes, strict=True)}, stack
    stack = mask_saturated(stack, request.saturation, noise=noise)
    own = [band for band in spec.in_bands if band in stack.bands]
    stack = to_unit(select(stack, own), card["source"]["unit"], card["source"]["zeropoint"])
    _check_information(stack)
    stack = background.subtracted(stack, request.subtract_background)
    untouched = stack.data is found.data and stack.mask is found.mask
    measured = _measured(stack, noise if untouched else None) | {"flux_unit": card["source"]["unit"]}
    outside = unlike_its_survey(found, measured, card, request.reading)
    stack, alignment, lost = _on_one_grid(stack)
    bad = _bad_pixels(stack)
    # 2. Flux to network units.
    filled = fill_masked(stack.data, bad).astype(np.float32, copy=False)
    seen = request.seen or (_seen(image, stack, measured, request) if spec.observed else None)
    outside |= unlike_stars(measured, seen, request)
    points = points_of(filled, bad, seen, translator)
    planes = _planes(filled, own, translator, seen)
    del filled  # it may be as large as the image
    # 3. Tiles that overlap by what the network needs to see; and, before it starts its work, what else can go wrong.
    shape = planes.shape[1:]
    plan = plan_tiles(
        shape, scale=spec.scale, multiple_of=spec.multiple_of, margin=spec.margin, tile=request.tile,
        max_pixels=conf.tile_pixels,
    )  # fmt: skip
    wcs, mask = rescale_wcs(stack.wcs, spec.scale, shape), mask_of_result(bad, translator, seen)
    lost = lost and lost.format(masked=100 * mask.mean())
    return Prepared(stack, planes, bad, plan, wcs, mask, outside, alignment, lost, seed, seen, points)


def _seen(image, stack, measured, request):
    """How an image was taken: its PSF given, carried or measured, and its noise."""
    translator, psf = request.translator, carried_psf(image) if request.psf is None else request.psf
    if callable(psf):
        height, width = stack.data.shape[1:]
        psf = psf((width - 1) / 2, (height - 1) / 2)
    return observe(
        stack, translator.bands_in, translator.inputs.typical, measured, measured["pixel_scale"], psf,
        images=translator.consistency is not None,
    )  # fmt: skip


def _planes(image, bands, translator, seen):
    """What the network sees of an image that has some of its bands."""
    if len(bands) < len(translator.bands_in):
        whole = np.zeros((len(translator.bands_in), *image.shape[1:]), np.float32)
        whole[[translator.bands_in.index(band) for band in bands]] = image
        image = whole
    return translator.inputs.planes(image, seen and seen.observation)


def _check_bands(stack, translator):
    """Raise if the image lacks bands that the network needs, and say how to get a network that does without."""
    missing = [band for band in translator.bands_in if band not in stack.bands]
    if len(translator.bands_in) - len(missing) >= translator.fewest_bands:
        return
    ends = f"--source {translator.source['survey']} --target {translator.target['survey']}"
    own = ",".join(band for band in translator.bands_in if band in stack.bands)
    msg = (
        f"missing bands: {', '.join(missing)}; {translator.name} needs {_needed(translator)}, and the image "
        f"has {', '.join(stack.bands)}"
    )
    capitals = [band for band in stack.bands if band.lower() in missing]
    if capitals:
        msg += (
            f". Capitals are filters of other systems (Johnson's): if {', '.join(capitals)} are "
            f"{', '.join(capitals).lower()}, name them so"
        )
    if own:
        msg += (
            f". To train a translator for {own} on simulated pairs: galtrans train {translator.spec.name} {ends} "
            f"--source-bands {own} --hours {HOURS} -o run (takes {HOURS} hours after the simulation; without --hours "
            f"{WHOLE} hours on 2 CPU cores, depending on the network)"
        )
    raise ValueError(msg)


def _needed(translator):
    bands, fewest = ", ".join(translator.bands_in), translator.fewest_bands
    return bands if fewest == len(translator.bands_in) else f"{fewest} of {bands}"


def _check_information(stack):
    """Raise if a band holds one number everywhere: an image that was lost on the way, and nothing to translate."""
    for band, plane in zip(stack.bands, stack.planes, strict=True):
        values = plane.data[plane.good]
        # a strip of a few pixels may well hold one value
        if values.size and min(plane.data.shape) >= MIN_SIDE and values.min() == values.max():
            msg = f"all pixels of band {band} that can be used hold {values[0]:.4g}: there is no image in it"
            raise EmptyImageError(msg)


def _measured(stack, noise):
    """Measure the image before bands are aligned, which would change its noise."""
    planes = stack.planes
    middle = planes[len(planes) // 2]
    return domain.measure(
        [plane.data for plane in planes],
        [plane.mask for plane in planes],
        stack.bands,
        pixel_scale(middle.wcs, middle.data.shape),
        noise,
    )


def _on_one_grid(stack):
    if stack.on_one_grid:
        return stack, None, None
    reference = len(stack.bands) // 2
    names = [f"band {band} ({stack.labels.get(band, 'the image')})" for band in stack.bands]
    data, variance, mask, moved = align_planes(stack.planes, reference, names)
    offsets = ", ".join(f"{stack.bands[k]} by ({dx:+.2f}, {dy:+.2f})" for k, (dx, dy) in moved.items())
    lost = _lost_sky(stack, mask, reference)
    report = f"to {stack.bands[reference]}, in pixels (x, y): {offsets}"
    return replace(stack, data=data, variance=variance, mask=mask, wcs=stack.grids[reference]), report, lost


def _lost_sky(stack, mask, reference):
    """Text that says, if it is much, how much is masked since not all bands cover it: most of a stamp cut by pixels."""
    before = [np.zeros(plane.data.shape, bool) if plane.mask is None else plane.mask for plane in stack.planes]
    lost = mask.any(axis=0).mean() - max(plane.mean() for plane in before)
    if lost <= LOST_SHARE:
        return None
    where = f"the grid of band {stack.bands[reference]}"
    # The result loses more than the image, since its mask grows by the reach of a pixel: its share is filled in later.
    return (
        f"{100 * lost:.0f} % of the image and {{masked:.0f}} % of the result is masked, since the bands lie on "
        f"different grids and not all of them cover {where}; cut all bands by sky position: "
        "astro_galtrans.cutout(images, position, size)"
    )


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
        raise EmptyImageError(msg)
    return bad if stack.mask is not None or bad.any() else None
