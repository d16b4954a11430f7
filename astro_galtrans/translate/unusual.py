"""What is unusual of an image for a translator, in words: few sentences, and the probable cause where there is one."""

import numpy as np
from astropy.nddata import NDData

from astro_galtrans import domain
from astro_galtrans.exceptions import DomainError
from astro_galtrans.psf import measured_fwhm

__all__ = ["unlike_its_survey", "unlike_stars"]

SURE_RATIO = 100.0  # of fluxes, beyond which no survey is deeper or shallower than another; see `domain.UNIT_RATIO`
FAINT = 5.0  # sigma of the training's noise: with too small a unit nothing in an image is brighter
OF_FLUXES = ("sky_rms", "peak", "sky_level")


def unlike_its_survey(stack, measured, card, reading=None):
    """
    Compare an image with those that a translator was trained on.

    Parameters
    ----------
    stack : `~astro_galtrans.bandstack.BandStack`
        As read, in its own unit.
    measured : dict
        From `astro_galtrans.domain.measure`, in the unit of the training, whose name is ``flux_unit``.
    card : dict
        Of the translator.
    reading : dict, optional
        The arguments ``unit``, ``zeropoint`` and ``strict`` of `astro_galtrans.bandstack.read`, where given.

    Returns
    -------
    dict of str to str
        Sentences, by what they are about.

    Raises
    ------
    DomainError
        With ``strict``, if there is anything to tell.
    """
    reading, limits = reading or {}, card["validity"]
    target, source = stack.meta.get("GTTARGET"), card["source"]["survey"]
    told = domain.in_words(domain.violations(measured, limits))
    ratio = domain.flux_ratio(measured, limits)
    if target not in {None, source}:
        told = {"translated": (  # all that is unlike those of the training follows from this
            f"the image is a result of {stack.meta.get('GTMODEL', 'a translator')}, an image of {target} (GTTARGET), "
            f"and the translator takes images of {source}: give the image that it was made of"
        )}  # fmt: skip
    elif ratio:
        told = _with_unit(told, ratio, stack, measured, limits["sky_rms"], reading)
    return _checked(told, reading.get("strict"))


def _with_unit(told, ratio, stack, measured, limits, reading):
    """Say that the unit may be wrong: instead of what follows from that, if it must be, and beside it, if it may be."""
    read, limits = _unit_read(stack, reading), {band: pair for band, pair in limits.items() if np.iterable(pair)}
    unit, zeropoint = domain.other_unit(ratio, stack.zeropoint)
    counts = "" if stack.notes.get("zeropoint") else "unit='adu' with "
    fits = f"unit={unit!r}" if unit else f"{counts}zeropoint={zeropoint:.1f}"
    dark = all(peak is None or peak < FAINT * max(limits.get(band, [0])) for band, peak in measured["peak"].items())
    if max(ratio, 1 / ratio) < SURE_RATIO or (ratio < 1 and not dark):
        hint = f"; this is also so of an image whose unit is not {read}; {fits} would fit the numbers"
        return {key: text + hint if key[0] == "sky_rms" else text for key, text in told.items()}
    band, rms = next((band, rms) for band, rms in measured["sky_rms"].items() if rms and band in limits)
    low, high = limits[band]
    rest = {key: text for key, text in told.items() if key[0] not in OF_FLUXES}
    return {"unit": (
        f"fluxes are about {ratio:.2g} times those of the training in all bands (sky rms in band {band} is {rms:.4g} "
        f"{measured['flux_unit']}, instead of {low:.4g} to {high:.4g}): the unit is probably not {read}; "
        f"{fits} would fit the numbers"
    )} | rest  # fmt: skip


def _unit_read(stack, reading):
    """Say in which unit an image was taken to be, and what said so."""
    label = stack.labels.get(stack.bands[0], "the image")
    said = f"{label} says" if issubclass(stack.origin.kind, NDData) else f"the header of {label} says"
    if reading.get("unit") is not None:
        said = f"unit={str(reading['unit'])!r} says"
    source = stack.notes.get("zeropoint") or ("zeropoint=" if reading.get("zeropoint") is not None else "")
    counts = f" with zero point {stack.zeropoint:.4g} ({source})" if source else ""
    return f"{stack.unit}{counts}, as {said}"


def unlike_stars(measured, seen, request):
    """
    Compare the PSF that a network is told with the stars in an image or, where there are none, with its training.

    Parameters
    ----------
    measured : dict
        From `astro_galtrans.domain.measure`.
    seen : `~astro_galtrans.observe.Seen` or None
        None if the network is told nothing.
    request : `~astro_galtrans.translate.request.Request`

    Returns
    -------
    dict of str to str
        As `unlike_its_survey`.

    Raises
    ------
    DomainError
        With ``strict`` in the request, if there is anything to tell.
    """
    if seen is None:
        return {}
    translator, stars = request.translator, measured["fwhm"]
    told = measured_fwhm(seen.observation.fwhm, seen.observation.beta, measured["pixel_scale"])
    told = {band: width for band, width in zip(translator.bands_in, told, strict=True) if band in stars}
    without = {band: width for band, width in told.items() if stars[band] is None}
    limits = {"fwhm": translator.card["validity"].get("fwhm")} | domain.star_limits(told)
    found = domain.violations({"fwhm": without, "stars": stars}, limits)
    return _checked(domain.in_words(found), request.strict)


def _checked(told, strict):
    if strict and told:
        msg = "the image is outside the translator's range: " + "; ".join(told.values())
        raise DomainError(msg)
    return told
