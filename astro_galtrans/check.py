"""What the package understands of an image, in words: the first thing to ask of a strange file."""

import numpy as np

from astro_galtrans.models.checkpoint import read_card
from astro_galtrans.models.shipped import find_weights, list_weights

from . import domain
from .bandstack import read, select, to_unit
from .geometry import pixel_scale
from .saturation import mask_saturated
from .translate.unusual import unlike_its_survey

__all__ = ["describe_image"]


def describe_image(image, bands=None, *, translators=None, **options):
    """
    Say what was understood of an image, without translating it.

    Parameters
    ----------
    image : object
        As for `~astro_galtrans.translate`.
    bands : str or iterable of str, optional
        Band of each plane, where keys or headers do not say.
    translators : list of str, optional
        Names or files of translators to compare the image with; all that come with the package by default.
    **options
        Of `astro_galtrans.bandstack.read`: ``unit``, ``zeropoint``, ``bad_planes``.

    Returns
    -------
    str
        Lines of text: bands, unit, zero point and where it is from, pixels and place on the sky, what masks pixels,
        what the noise is from; by band the bad pixels, sky, noise, seeing and brightest pixel; and which translators
        take the image, with what lies outside their range.

    Raises
    ------
    ValueError, TypeError, OSError
        If the image cannot be read, as for `~astro_galtrans.translate`.
    """
    stack = mask_saturated(read(image, bands, **options), warn=False)
    zeropoint = stack.notes.get("zeropoint", "by the unit, or as given")
    lines = [
        f"bands: {', '.join(stack.bands)}",
        f"unit: {stack.unit}, one of which is AB magnitude {stack.zeropoint:.4g} ({zeropoint})",
        *_place(stack),
        f"bad pixels by: {stack.notes.get('bad_planes', 'no mask' if stack.mask is None else 'a mask')}",
        f"noise from: {stack.notes.get('noise', 'no uncertainty' if stack.variance is None else 'an uncertainty')}",
        *(f"{name}: {text}" for name, text in stack.notes.items() if name not in {"zeropoint", "bad_planes", "noise"}),
        *_table(stack),
    ]
    verdicts = {}  # translators of one source say the same
    for name in list_weights() if translators is None else translators:
        verdicts.setdefault(_verdict(stack, name, options), []).append(name)
    for verdict, names in verdicts.items():
        lines += [f"{', '.join(names)}:", *(f"  {line}" for line in verdict.splitlines())]
    return "\n".join(lines)


def _place(stack):
    """Size of the image and of its pixels, and its centre."""
    middle = stack.planes[len(stack.bands) // 2]
    height, width = middle.data.shape
    sky = middle.wcs.pixel_to_world((width - 1) / 2, (height - 1) / 2)
    yield f"image: {width} x {height} pixels of {pixel_scale(middle.wcs, middle.data.shape):.4g} arcsec"
    yield f"centre: {sky.icrs.to_string('decimal', precision=5)} (ICRS)"
    if not stack.on_one_grid:
        yield "grids: the bands lie on different ones, and are resampled to that of the middle band"


def _table(stack):
    """Measured figures, a line per band, in the unit of the image."""
    measured = _measured(stack)
    yield "band   bad pixels   sky level     sky rms   seeing (arcsec)   brightest"
    for band, plane in zip(stack.bands, stack.planes, strict=True):
        bad = ~np.isfinite(plane.data) if plane.mask is None else plane.mask | ~np.isfinite(plane.data)
        level, rms, fwhm, peak = (measured[name][band] for name in ("sky_level", "sky_rms", "fwhm", "peak"))
        cells = [f"{'unknown' if value is None else format(value, '.4g'):>{n}}"
                 for value, n in ((level, 11), (rms, 11), (fwhm, 17), (peak, 11))]  # fmt: skip
        yield f"{band:5}{bad.mean():11.1%} {' '.join(cells)}"
    if stack.seeing:
        told = ", ".join(f"{band} {fwhm:.4g}" for band, fwhm in stack.seeing.items())
        yield f"seeing by the header (arcsec), which counts where there are no stars: {told}"


def _measured(stack):
    planes = stack.planes
    middle = planes[len(planes) // 2]
    data, masks = [plane.data for plane in planes], [plane.mask for plane in planes]
    return domain.measure(data, masks, stack.bands, pixel_scale(middle.wcs, middle.data.shape))


def _verdict(stack, name, reading):
    """Whether a translator takes the image, in words."""
    card = read_card(find_weights(name))
    bands = [band for band in card["network"]["in_bands"] if band in stack.bands]
    missing = [band for band in card["network"]["in_bands"] if band not in bands]
    if len(bands) < card["source"].get("fewest_bands", len(bands) + len(missing)):
        return f"needs {', '.join(missing)} as well"
    source = card["source"]
    ours = to_unit(select(stack, bands), source["unit"], source["zeropoint"])
    measured = _measured(ours) | {"flux_unit": source["unit"]}
    outside = unlike_its_survey(stack, measured, card, reading).values()
    return "the image is like those of its training" if not outside else "\n".join(outside)
