"""Source, target and translated stamps as one table of what is compared, checked once."""

from dataclasses import dataclass

import numpy as np

from ._old_lazy import View, checked_images, named, sample_count

__all__ = ["Side", "sides"]

RESERVED = "source", "target"


@dataclass(frozen=True, eq=False)
class Side:
    """One set of stamps, and what an estimator must know of it."""

    name: str
    images: object  #: array-like ``[N, C, H, W]`` or ``[N, S, C, H, W]``
    bands: tuple[str, ...]
    pixel_scale: float  #: arcsec
    sky_rms: tuple[float, ...]  #: of a pixel, per band, in the flux unit of the stamps

    @property
    def samples(self):
        """Number of samples, or None for stamps without that axis."""
        return sample_count(self.images)

    @property
    def imaging(self):
        """What the trainers of `astro_galtrans.photoz` ask for."""
        return {"bands": self.bands, "pixel_scale": self.pixel_scale, "sky_rms": self.sky_rms}

    def view(self, rows, sample=0):
        """Return the stamps of some galaxies, ``[n, C, H, W]``."""
        return View(self.images, rows, sample)


def sides(
    source, target, translated, number, *, bands, pixel_scale, sky_rms, target_bands, target_pixel_scale, target_sky_rms
):
    """
    Return the `Side` of source, target and each translation, by name.

    Raises
    ------
    ValueError
        If numbers of images, bands, shapes, pixel scales or sky noise do not fit; the message names the argument.
    """
    of_source = _imaging("", bands, pixel_scale, sky_rms)
    if target_pixel_scale is None:  # the same field on another grid
        target_pixel_scale = of_source[1] * np.shape(source[:1])[-1] / max(np.shape(target[:1])[-1], 1)
    of_target = _imaging("target_", target_bands or bands, target_pixel_scale, target_sky_rms)
    found = {"source": Side("source", source, *of_source), "target": Side("target", target, *of_target)}
    for name, images in named(translated).items():
        if name in RESERVED:
            msg = f"a translation cannot be called {name!r}; choose another name"
            raise ValueError(msg)
        found[name] = Side(name, images, *of_target)
    for side in found.values():
        checked_images(side.name, side.images, number, side.bands, samples=side.name not in RESERVED)
    _same_field(found)
    return found


def _imaging(prefix, bands, pixel_scale, sky_rms):
    bands = tuple(bands)
    scale, sky = np.asarray(pixel_scale, dtype=float), np.asarray(sky_rms, dtype=float)
    if scale.ndim or not (np.isfinite(scale) and scale > 0):
        msg = f"{prefix}pixel_scale must be a positive number of arcsec, got {pixel_scale!r}"
        raise ValueError(msg)
    if sky.shape != (len(bands),) or not (np.isfinite(sky) & (sky > 0)).all():
        msg = f"{prefix}sky_rms must be one positive number per band ({', '.join(bands)}), got {sky_rms!r}"
        raise ValueError(msg)
    return bands, float(scale), tuple(map(float, sky))


def _same_field(found):
    """Translations must have the shape of the real target's stamps: a pixel scale that is off shows here."""
    shape = np.shape(found["target"].images[:1])[-2:]
    for name, side in found.items():
        other = np.shape(side.images[:1])[-2:]
        if name != "source" and other != shape:
            msg = (
                f"stamps of {name} have {other[0]} x {other[1]} pixels and those of target {shape[0]} x {shape[1]}; "
                "both must show the same field at the target's pixel scale"
            )
            raise ValueError(msg)
    extents = [np.array(np.shape(found[k].images[:1])[-2:]) * found[k].pixel_scale for k in RESERVED]
    if not np.allclose(*extents, rtol=0.1):
        text = " and ".join(f"{extent[0]:.1f} x {extent[1]:.1f} arcsec" for extent in extents)
        msg = f"stamps of source and target cover {text}; is a pixel scale wrong?"
        raise ValueError(msg)
