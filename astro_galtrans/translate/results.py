"""What the network says of an image, as flux, uncertainty and provenance."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from math import ceil

import numpy as np
from scipy.ndimage import convolve

from astro_galtrans import uncertainty
from astro_galtrans._release import __version__
from astro_galtrans.exceptions import GaltransError
from astro_galtrans.geometry import output_mask, pixel_scale
from astro_galtrans.psf import MoffatPSF, psf_images
from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.units import flux_factor, parse_unit

from .agreement import consistent_bands

__all__ = ["OF_ONE_IMAGE", "as_stack", "error_variance", "mask_of_result", "to_flux"]

OF_ONE_IMAGE = "GTDOMAIN", "GTFILLED", "GTSTARS"  # cards that a set of images, or a mosaic in blocks, has not
PSF_REACH = 4.0  # FWHM: 99 % of a Moffat profile's light
ROWS = 128  # output rows converted at once: a step that needs temporary arrays keeps them small


def to_flux(prediction, card):
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


def error_variance(variance, stack, translator, seen=None):
    """Calibrate, in place, and add the noise of the input that exceeds what the network learnt."""
    spec, factors = translator.spec, translator.card["calibration"]["std"]
    for k, band in enumerate(spec.out_bands):
        extra = None
        if stack.variance is not None and band in stack.bands:
            extra = _unusual_noise(stack, band, translator, seen)
        std = uncertainty.combine(variance[k : k + 1], factors[k], extra)
        np.square(std, out=std)  # in the memory of ``variance``: a stack holds variances
    return variance


def _unusual_noise(stack, band, translator, seen):
    """Variance in the target's pixels of input noise beyond that of the sky, and of photons if the card counts them."""
    source, target = translator.source, translator.target
    to_target = flux_factor(source["zeropoint"], target["zeropoint"]) ** 2
    i, k = stack.bands.index(band), translator.bands_in.index(band)
    # a network that is told the noise of the image has taken account of it
    known = source["sky_rms"][k] if seen is None else max(source["sky_rms"][k], seen.observation.noise[k])
    with np.errstate(invalid="ignore"):
        noise = stack.variance[i : i + 1].astype(np.float32)
        if "electrons" in source:  # per flux unit
            noise -= np.maximum(stack.data[i], 0) / source["electrons"][k]
    noise[~np.isfinite(noise)] = 0  # of a bad pixel, which the mask tells of
    noise *= to_target
    if noise.max() <= noise.dtype.type(to_target * known**2):
        return None  # as in most images
    return uncertainty.propagate_variance(noise, to_target * known**2, translator.spec.scale)


def mask_of_result(bad, translator, seen=None):
    """
    Mask of the output: what a bad pixel of any band may have touched.

    The light it should have shown is spread over a PSF, so the answer suffers to one and a half FWHM of the widest that
    the network was trained on, in source or target. The network looks further, up to its margin, but what it sees there
    is the filled-in value, which is a likely one: a hole of 5 x 5 pixels in a galaxy changes no pixel beyond by 0.2
    standard deviations. A single bad pixel, which its neighbours tell, reaches to one and a half FWHM of the image,
    as it was ``seen``, or of the target if that is wider.
    """
    if bad is None:
        return None
    spec, validity = translator.spec, translator.card["validity"].get("fwhm", {})
    trained = [np.max(fwhm) for fwhm in validity.values()]
    bad = bad.any(axis=0)
    if seen is None or not bad.any():
        mask = output_mask(bad, spec.scale, _reach(translator, trained))
    else:
        own = np.asarray(seen.observation.fwhm)[np.asarray(seen.observation.present, bool)]
        more = bad & (convolve(bad.view(np.uint8), np.ones((3, 3), np.uint8), mode="constant") > 1)
        mask = output_mask(bad, spec.scale, _reach(translator, own))
        mask |= output_mask(more, spec.scale, _reach(translator, trained))
    return np.broadcast_to(mask, (len(translator.bands_out), *mask.shape))


def _reach(translator, fwhm):
    """How far a bad pixel reaches (source pixels), for PSFs of these FWHM (arcsec) in the source."""
    spec, target = translator.spec, (fwhm for fwhm in translator.card["target"].get("fwhm", ()) if fwhm)
    widest = max((*fwhm, *target), default=0.0)
    # the linear answer carries a filled-in value further, by what it adds to the sharpest light, and samples by their
    # blocks of several pixels
    further = (4 if spec.stochastic else 3) if spec.observed else 0
    return min(spec.margin, ceil(1.5 * widest / translator.source["pixel_scale"])) + further


def as_stack(part, image, translator, sampling, number=None):
    """
    Return a `~astro_galtrans.bandstack.BandStack` of a result, which says how it was made.

    ``part`` is data, variance, mask and WCS, of the `~astro_galtrans.translate.prepare.Prepared` image; ``number`` is
    that of the sample, None for the mean of all.
    """
    data, variance, mask, wcs = part
    target = translator.target
    new = replace(
        image.stack, data=data, variance=variance, mask=mask, wcs=wcs,
        bands=translator.bands_out, unit=parse_unit(target["unit"]), zeropoint=target["zeropoint"],
        psf=_target_psf(target, pixel_scale(wcs, data.shape)),
    )  # fmt: skip
    provenance = image.stack.notes | _provenance(translator, sampling, image)
    new = new.with_provenance(**provenance, sample=number)
    new.meta["GTFILLED"] = 0 if image.bad is None else int(np.count_nonzero(image.bad))
    return new


def _target_psf(target, scale):
    """PSF of the target survey on pixels of a scale (arcsec): Moffat profiles of the card's FWHM; None without any."""
    widths = target.get("fwhm") or [None]
    if not all(fwhm and np.isfinite(fwhm) for fwhm in widths):
        return None
    return _moffat_images(tuple(widths), float(f"{scale:.5g}")).copy()


@lru_cache(maxsize=16)  # of the stamps of a survey it is the same, and takes as long as reading them
def _moffat_images(widths, scale):
    side = 2 * ceil(PSF_REACH * max(widths) / scale) + 1
    return psf_images(MoffatPSF(widths), scale, side).astype(np.float32)


def _provenance(translator, sampling, image):
    consistent = consistent_bands(image.seen, translator, sampling)
    return {
        "translator": translator.name,
        "weights_hash": translator.checkpoint.sha256 or None,
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": image.seed,
        "samples": sampling.n if sampling.stochastic else None,
        "alignment": image.alignment,
        "source": translator.source["survey"],
        "target": translator.target["survey"],
        "source_bands": image.stack.bands,
        "psf": image.seen and image.seen.psf,
        "stars": len(image.points) or None,
        "fluxes": consistent or None,
        "scale": translator.spec.scale,
        "calibration": translator.card["calibration"]["std"],
        "covariance": translator.correlation(consistent),
        "domain": "; ".join(image.outside.values()) or None,
    }
