"""Many images in one call: which inputs are many, and how their results are put together again."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from astropy.io.fits import HDUList
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.wcs import WCS

from astro_galtrans.bandstack import BandStack, bands_of, read_pixels, write_like
from astro_galtrans.exceptions import Failure, GaltransWarning
from astro_galtrans.geometry import check_celestial, pixel_scale
from astro_galtrans.psf import as_psf, measured_fwhm, widths
from astro_galtrans.stamps import Stamps, image_column, target_survey
from astro_galtrans.units import parse_unit

from .pipeline import ASSUMED, bar, results, warn_of_outside
from .results import OF_ONE_IMAGE

__all__ = ["Many", "are_images", "several"]

NAMED = 5  # failures that a warning names


@dataclass(frozen=True)
class Many:
    """Many images, and how to make an output of their results."""

    images: Iterable  #: of what `astro_galtrans.translate.prepare.prepare` takes
    total: int | None
    gather: Callable  #: from results and request to the output

    def translated(self, request, *, record, progress):
        """Return the output, of the kind that came in."""
        return self.gather(self._results(request, record, progress), request)

    def _results(self, request, record, progress):
        """Yield results, then say how many of the images failed or are unlike those of the training."""
        outside, failures, assumed, count = {}, [], [], 0
        with bar(progress, self.total, "image") as step:
            for result in results(self.images, request, record=record):
                if isinstance(result, Failure):
                    failures.append(result)
                else:
                    for key, text in result.image.outside.items():
                        outside.setdefault(key, []).append((result.index, text))
                    if result.image.lost:
                        outside.setdefault("lost", []).append((result.index, result.image.lost))
                    if result.image.seen and result.image.seen.assumed:
                        assumed.append(result)
                yield result
                count += 1
                if step is not None:
                    step(1)
        warn_of_outside(outside, count, "images")
        if assumed:
            told = f"no stars tell the PSF of {len(assumed)} of {count} images"
            warnings.warn(ASSUMED.format(told, assumed[0].image.seen.psf), GaltransWarning, stacklevel=4)
        if failures:
            named = "; ".join(map(str, failures[:NAMED])) + ("; ..." if len(failures) > NAMED else "")
            msg = f"{len(failures)} of {count} images could not be translated: {named}"
            warnings.warn(msg, GaltransWarning, stacklevel=4)


def several(images, request, column=None):
    """Return `Many` for a collection of images, and None for one image; see `astro_galtrans.translate`."""
    if hasattr(images, "source_mask") and hasattr(images, "header"):  # a store of pairs
        images = Stamps.from_pairs(images, "source")
    if isinstance(images, Stamps):
        return _of_stamps(images)
    if hasattr(images, "colnames"):
        return _of_table(images, column, request)
    if isinstance(images, NDData) and np.prod(np.shape(images.data)[:-3]) > 1:
        return _of_stack(images, request)
    if isinstance(images, Iterator):
        return Many(images, None, _objects)
    listed = isinstance(images, list | tuple) and not isinstance(images, HDUList)
    if listed and are_images(images, request.translator, request.reading["bands"]):
        return Many(images, len(images), lambda found, request: type(images)(_objects(found, request)))
    return None


def are_images(items, translator, bands=None):
    """Whether each item of a list holds the bands that a translator needs; otherwise they are bands of one image."""
    needed, fewest, first = set(translator.bands_in), translator.fewest_bands, True
    for item in items:
        container = isinstance(item, Mapping | list | tuple) and not isinstance(item, HDUList)
        try:
            names = needed if container or isinstance(item, BandStack) else bands_of(item, bands)
        except (OSError, TypeError, ValueError):  # its own error comes when it is read; another one may tell
            continue
        if len(needed & set(names)) < fewest:
            return False
        # with several bands the first item settles it; of the bands of one image, one may be all that is needed
        first = False
        if fewest > 1 or container:
            break
    return not first


def _objects(found, request):
    """Yield objects of the kinds that came in, or a list of samples for each; failures as they are."""
    for result in found:
        if isinstance(result, Failure):
            yield result
        else:
            objects = [write_like(stack) for stack in result.stacks(request)]
            yield objects if request.sampling.apart else objects[0]


def _of_table(table, column, request):
    name = image_column(table, column)
    values = table[name]
    if values.ndim > 2:
        array = np.ma.asarray(getattr(values, "value", values))
        mask = None if array.mask is np.ma.nomask else array.mask
        many = _of_stack(NDData(array.data, unit=values.unit, mask=mask), request)
    else:
        many = Many(values, len(values), _objects)

    def gather(found, request):
        failures = [""] * len(table)
        whole = many.gather(_noted(found, failures), request)
        new = table.copy()
        if isinstance(whole, NDData):
            new[name] = whole.data * whole.unit
            new[f"{name}_std"] = whole.uncertainty.array * whole.unit
            new[f"{name}_mask"] = np.zeros(whole.data.shape, bool) if whole.mask is None else whole.mask
        else:
            objects = np.empty(len(table), object)
            for row, item in enumerate(whole):
                objects[row] = None if isinstance(item, Failure) else item
            new[name] = objects
        if any(failures):
            new["failure"] = failures
        return new

    return Many(many.images, many.total, gather)


def _noted(found, failures):
    """Pass on results, and note the reasons of failures."""
    for result in found:
        if isinstance(result, Failure):
            failures[result.index] = f"{type(result.error).__name__}: {result.error}"
        yield result


def _of_stack(stack, request):
    """Images of an NDData ``[..., C, H, W]``, which share a unit and, if they have one, a WCS."""
    reading, translator = request.reading, request.translator
    shape = np.shape(stack.data)
    names = bands_of(stack, reading["bands"])
    if None in names:
        msg = f"the stack of images has {shape[-3]} bands; name them in order with bands="
        raise ValueError(msg)
    found = read_pixels(stack, names, unit=reading["unit"], zeropoint=reading["zeropoint"])
    planes = [None if plane is None else plane.reshape(-1, *shape[-3:]) for plane in found[:3]]
    # where nothing says how large pixels are, they are those of the training
    wcs = _grid(translator.source["pixel_scale"]) if stack.wcs is None else check_celestial(stack.wcs)
    images = (
        BandStack(*(None if plane is None else plane[k] for plane in planes), wcs, names, found.unit, found.zeropoint)
        for k in range(len(planes[0]))
    )

    def gather(found, request):
        data, variance, mask, first = _arrays(found, request, len(planes[0]))
        described = next(first.stacks(request))
        known = {"unit": described.unit, "wcs": None if stack.wcs is None else described.wcs, "meta": dict(stack.meta)}
        known["meta"] |= {key: value for key, value in described.meta.items() if key not in OF_ONE_IMAGE}
        if request.sampling.stochastic:
            known["meta"]["GTSEED"] = request.sampling.seed
        whole = [
            None if array is None else array.reshape(*shape[:-3], *array.shape[1:]) for array in (data, variance, mask)
        ]
        kind = type(stack) if type(stack) in {CCDData, NDData} else NDData
        if whole[0].shape != whole[1].shape:  # samples have one uncertainty, and NDData one of its data's shape
            whole[1:] = (
                None if w is None else np.broadcast_to(w[..., None, :, :, :], whole[0].shape) for w in whole[1:]
            )
        return kind(whole[0], uncertainty=StdDevUncertainty(np.sqrt(whole[1])), mask=whole[2], **known)

    return Many(images, len(planes[0]), gather)


def _of_stamps(stamps):
    if stamps.n_samples is not None:
        msg = f"{stamps.name} has {stamps.n_samples} samples of each galaxy; take one, or their mean: stamps.sample()"
        raise ValueError(msg)

    def gather(found, request):
        data, variance, mask, first = _arrays(found, request, len(stamps))
        translator = request.translator
        scale = pixel_scale(first.parts[0][3], data.shape[-2:])
        return Stamps(data, target_survey(translator), scale, variance=variance, mask=mask, name=translator.name)

    return Many(_stacks(stamps), len(stamps), gather)


def _stacks(stamps):
    """Yield each of some stamps as a `BandStack`; they are read in blocks."""
    wcs, unit = _grid(stamps.pixel_scale), parse_unit(stamps.survey.flux_unit)
    psf = as_psf(stamps.psf, len(stamps), stamps.bands, stamps.pixel_scale, f"the PSF of {stamps.name}")
    for rows in stamps.blocks(CHUNK):
        profiles = widths(psf, np.arange(len(stamps))[rows], stamps.pixel_scale)
        seeing = measured_fwhm(profiles, pixel_scale=stamps.pixel_scale)
        images, mask = stamps.read(rows), None if stamps.mask is None else stamps.bad(rows)
        variance = None if stamps.variance is None else np.asarray(stamps.variance[rows])
        for k, image in enumerate(images):
            yield BandStack(
                image, None if variance is None else variance[k],
                None if mask is None else np.broadcast_to(mask[k], image.shape),
                wcs, stamps.bands, unit, stamps.survey.zeropoint,
                seeing=dict(zip(stamps.bands, seeing[k].tolist(), strict=True)),
            )  # fmt: skip


CHUNK = 64  # stamps read at once: 5 bands of 64 x 64 pixels are 5 MiB


def _arrays(found, request, number):
    """Data ``[N, (S,) C', H', W']``, variance and mask ``[N, C', H', W']`` of all images, and the first result."""
    arrays, first, failures = None, None, []
    for result in found:
        if isinstance(result, Failure):
            failures.append(result)
            continue
        if arrays is None:
            first, shape = result, result.parts[0][0].shape
            samples = (len(result.parts),) if request.sampling.apart else ()
            arrays = np.full((number, *samples, *shape), np.nan, np.float32), np.full((number, *shape), np.nan, "f4")
            masked, bad = np.ones((number, *shape), bool), False
        data, variance, mask, _ = zip(*result.parts, strict=True)
        arrays[0][result.index] = data if request.sampling.apart else data[0]
        arrays[1][result.index] = np.mean(variance, axis=0)
        masked[result.index] = False if mask[0] is None else mask[0]
        bad |= mask[0] is not None
        # only what the first one is described by is kept: it would hold its planes, too
        result.parts = [result.parts[0]] if result is first else []
    if arrays is None:
        msg = f"none of {number} images could be translated" + (f"; {failures[0]}" if failures else "")
        raise ValueError(msg)
    return *arrays, masked if bad or failures else None, first


def _grid(scale):
    """WCS of stamps whose place on the sky is not known: pixels of ``scale`` arcsec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ("RA---TAN", "DEC--TAN"), (-scale / 3600, scale / 3600)
    wcs.wcs.set()
    return wcs
