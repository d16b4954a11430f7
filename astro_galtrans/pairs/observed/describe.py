"""The description of a survey, completed with what its images show."""

import warnings
from dataclasses import replace

import numpy as np

from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.surveys import Band, Survey, get_survey

__all__ = ["describe"]

SAME_SCALE = 0.005  # relative difference of pixel scales that surveys have within themselves, by distortion


def describe(frames, survey=None, bands=None, name="source"):
    """
    `~astro_galtrans.surveys.Survey` with the pixel scale, sky noise and seeing (medians) of its `Frames`.

    Name, flux unit, zero point and filters are those of ``survey``, and so is seeing that cannot be measured; without a
    survey, unit and zero point are those of the images, and ``name`` is its name. ``bands`` are those to describe, in
    order; by default all that the survey has and the images show. Raises ValueError if a band is missing.
    """
    if survey is None:
        first, unknown = frames.frames[0], tuple(Band(band, np.nan, np.nan) for band in frames.bands)
        known = Survey(name, f"the {name} images", first.pixel_scale, first.unit, first.zeropoint, unknown)
    else:
        known = get_survey(survey)
    typical = {band.name: band for band in known.bands}
    wanted = tuple(band for band in (bands or typical) if band in typical and frames.of_band(band))
    missing = [band for band in bands or () if band not in wanted]
    if not wanted or missing:
        msg = (
            f"bands missing in the {name}: {', '.join(missing) or 'all'}; survey {known.name!r} has"
            f" {', '.join(typical)}, its images have {', '.join(frames.bands)}"
        )
        raise ValueError(msg)
    scale = _median(frame.pixel_scale for band in wanted for frame in frames.of_band(band))
    scale = float(f"{scale:.6g}")
    if abs(scale / known.pixel_scale - 1) < SAME_SCALE:
        scale = known.pixel_scale
    elif survey is not None:
        said = f"{known.pixel_scale:.4g} arcsec of {known.name!r}"
        msg = f"the {name} images have pixels of {scale:.4g} arcsec, not the {said}; so will the pairs"
        warnings.warn(msg, GaltransWarning, stacklevel=3)
    measured = tuple(_band(typical[band], frames.of_band(band), known.zeropoint) for band in wanted)
    return replace(known, pixel_scale=scale, bands=measured)


def _band(band, frames, zeropoint):
    factors = [10 ** (0.4 * (zeropoint - frame.zeropoint)) for frame in frames]
    rms = _median(f * frame.sky_rms for f, frame in zip(factors, frames, strict=True))
    fwhm = _median(frame.fwhm for frame in frames)
    source = f"{band.source}; sky and seeing measured in {len(frames)} images".lstrip("; ")
    return replace(
        band,
        fwhm=float(f"{fwhm:.4g}") if np.isfinite(fwhm) else band.fwhm,
        sky_rms=float(f"{rms:.4g}") if np.isfinite(rms) else band.sky_rms,
        depth=np.nan,  # it would be that of the noise before it was measured
        aperture=np.nan,
        source=source,
    )


def _median(values):
    values = np.array(list(values), float)
    return float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else np.nan
