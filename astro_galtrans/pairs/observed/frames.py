"""
The images of a survey: an index of what they cover and how they look, and their pixels on request.

A frame is one band of one image with a grid of its own. An index of frames is small whatever the images hold; pixels
are read again where pairs are cut, and a bounded number of them is kept.
"""

import os
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from astropy.io.fits import HDUList

from astro_galtrans._files import fingerprint
from astro_galtrans._progress import tqdm
from astro_galtrans.background import subtracted
from astro_galtrans.bands import OPTICAL_BANDS, parse_bands
from astro_galtrans.bandstack import find_files, read
from astro_galtrans.domain import SKY_LEVEL, seeing_from_stars, sky_level, sky_rms
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.geometry import pixel_scale
from astro_galtrans.moments import SIGMA_TO_FWHM
from astro_galtrans.statistics.weighted import MAD_TO_SIGMA

from .coordinates import pixel_to_sky, sky_to_pixel, unit_vectors
from .stars import star_psf

__all__ = ["Frame", "Frames", "expand", "measured_frame", "open_frames", "smoothing"]

KEPT_BYTES = 2 << 30  #: pixels kept for the next pairs, 2 GiB: five bands of a frame of 10,000 x 10,000 in float32
SAMPLE = 1 << 20  # pixels from which the level of the sky is taken: its error is then a thousandth of their noise
WINDOW = 1024  # side of the middle part in which the noise of the smoothed sky is measured (pixels)


@dataclass(frozen=True, eq=False)
class Frame:
    """One band of an image, without its pixels."""

    label: str  #: file, or which of the objects given
    band: str
    entry: tuple = field(repr=False)  #: of `expand`
    wcs: object = field(repr=False)
    shape: tuple[int, int]
    unit: str
    zeropoint: float
    pixel_scale: float  #: arcsec
    level: float  #: of the sky (flux unit per pixel)
    sky_rms: float
    smooth_rms: float  #: rms of the sky smoothed as `smoothing` says
    fwhm: float  #: of its stars (arcsec); NaN if there are too few
    psf: np.ndarray | None = field(repr=False)  #: ``[k, k]``, sum 1; None if there are too few stars
    centre: np.ndarray = field(repr=False)  #: unit vector
    radius: float = field(repr=False)  #: of a circle around all of it (rad)

    @property
    def fingerprint(self):
        """Short hash that tells an image from another of the same name."""
        numbers = [*self.shape, *self.centre, self.level, self.sky_rms]
        return fingerprint(np.array(numbers, float).tobytes())[:12]

    def sky(self, x, y):
        """Sky positions ``ra, dec`` (deg) of pixel coordinates."""
        return pixel_to_sky(self.wcs, x, y)

    def pixels(self, ra, dec):
        """Pixel coordinates ``x, y`` of sky positions (deg)."""
        return sky_to_pixel(self.wcs, ra, dec)

    @property
    def corners(self):
        """Sky positions ``ra, dec`` (deg) of the centres of the corner pixels."""
        height, width = self.shape
        return self.sky([0, width - 1, width - 1, 0], [0, 0, height - 1, height - 1])

    def near(self, other):
        """Whether another frame may share sky with this one."""
        return self.centre @ other.centre > np.cos(min(np.pi, self.radius + other.radius))

    def edge_distance(self, ra, dec):
        """Pixels from sky positions (deg) to the nearest edge, positive inside; minus infinity well outside."""
        ra, dec = np.asarray(ra, float), np.asarray(dec, float)
        inside = np.full(ra.shape, -np.inf)
        near = unit_vectors(ra, dec) @ self.centre > np.cos(min(self.radius + 1e-3, np.pi))
        if near.any():
            x, y = self.pixels(ra[near], dec[near])
            edge = np.minimum(np.minimum(x, self.shape[1] - 1 - x), np.minimum(y, self.shape[0] - 1 - y)) + 0.5
            inside[near] = np.where(np.isfinite(edge), edge, -np.inf)
        return inside


def expand(images):
    """
    List the images of a path, glob, folder, object, mapping of band to any of these, or list of any of these.

    Each entry, ``(label, what to read, band or None)``, holds all bands of one image, or one that a mapping names.
    Raises FileNotFoundError if a glob or folder matches nothing.
    """
    if isinstance(images, Mapping):
        return [(f"{band} of {label}", item, band) for band, part in images.items() for label, item, _ in expand(part)]
    if isinstance(images, str | os.PathLike):
        return [(path, path, None) for path in find_files(images)]
    if isinstance(images, list | tuple) and not isinstance(images, HDUList):
        # a path in a list may be a folder or glob; a list or mapping in it is the bands of one image
        entries = []
        for k, item in enumerate(images):
            entries += expand(item) if isinstance(item, str | os.PathLike) else [(f"image {k}", item, None)]
        return entries
    return [("the image", images, None)]


class Frames:
    """
    The frames of a survey, and their pixels.

    ``failures`` says of each image that could not be read why; ``reader`` gives the
    `~astro_galtrans.bandstack.BandStack` of an entry of `expand`.
    """

    def __init__(self, frames, failures, reader):
        self.frames, self.failures, self._reader = frames, failures, reader
        self._kept = OrderedDict()

    @property
    def bands(self):
        """Bands of the frames, by increasing wavelength as far as that is known."""
        found = dict.fromkeys(frame.band for frame in self.frames)
        known = [band for band in OPTICAL_BANDS if band in found]
        return tuple(known + [band for band in found if band not in known])

    def of_band(self, band):
        """Return the frames of a band."""
        return [frame for frame in self.frames if frame.band == band]

    def pixels(self, frame):
        """Pixels of a frame: data, variance or None, mask or None."""
        key = frame.label
        if key not in self._kept:
            stack = self._reader(frame.entry)
            self._kept[key] = dict(zip(stack.bands, stack.planes, strict=True))
            while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        plane = self._kept[key][frame.band]
        return plane.data, plane.variance, plane.mask

    def footprint(self):
        """Describe in words what the frames cover."""
        corners = [np.concatenate(part) for part in zip(*(frame.corners for frame in self.frames), strict=True)]
        ra, dec = corners[0] % 360, corners[1]
        ra = (ra + 180) % 360 - 180 if np.ptp(ra) > 180 else ra  # around the zero of right ascension
        place = f"RA {ra.min() % 360:.5f} to {ra.max() % 360:.5f}, Dec {dec.min():+.5f} to {dec.max():+.5f} deg"
        return f"{len(self.frames)} frames in {', '.join(self.bands)}: {place}"


def _bytes(planes):
    arrays = [array for plane in planes.values() for array in plane[:3] if array is not None]
    return sum(array.nbytes for array in arrays)


def open_frames(
    images, bands=None, *, unit=None, zeropoint=None, bad_planes=None, subtract_background=False, progress=True,
    what="images",
):  # fmt: skip
    """
    Index the images of a survey as `Frames`: each image is read once, measured, and not kept.

    ``bands`` are those to take (all by default), or their names where images do not say which they hold; ``unit``,
    ``zeropoint`` and ``bad_planes`` are as for `astro_galtrans.bandstack.read`, and messages call the images ``what``.
    ``subtract_background`` subtracts the sky of each image (a number is the side of the boxes in pixels); without it a
    warning names images that still have their sky. Images that cannot be read go into ``failures``. Raises ValueError
    if none can be read, or bands asked for are missing.
    """
    wanted = None if bands is None else parse_bands(bands)
    reader = partial(
        _read, wanted=wanted, subtract=subtract_background, unit=unit, zeropoint=zeropoint, bad_planes=bad_planes
    )
    frames, failures, with_sky, seen = [], {}, [], set()
    for entry in tqdm(expand(images), desc=what, unit="image", disable=None if progress else True):
        try:
            stack = reader(entry)
            planes = dict(zip(stack.bands, stack.planes, strict=True))
            seen |= planes.keys()
            planes = {band: plane for band, plane in planes.items() if wanted is None or band in wanted}
            new = [measured_frame(entry, band, stack, plane) for band, plane in planes.items()]
        except (OSError, ValueError, TypeError, KeyError) as err:
            failures[str(entry[0])] = f"{type(err).__name__}: {err}"
            continue
        frames += new
        if not subtract_background:
            with_sky += filter(None, (_sky_left(frame, planes[frame.band]) for frame in new))
    if not frames and not failures:
        msg = f"none of the {what} is in bands {', '.join(wanted)}; they are in {', '.join(sorted(seen))}"
        raise ValueError(msg)
    if not frames:
        some = "; ".join(f"{label}: {why}" for label, why in list(failures.items())[:3])
        msg = f"none of the {what} can be used ({len(failures)} tried): {some}"
        raise ValueError(msg)
    if with_sky:
        some = ", ".join(with_sky[:3])
        msg = (
            f"{len(with_sky)} of the {what} have a level of the sky that is not zero ({some}), and their stamps will "
            "have it, too: pass subtract_background=True, or images whose sky is subtracted"
        )
        warnings.warn(msg, GaltransWarning, stacklevel=3)
    found = Frames(frames, failures, reader)
    missing = [band for band in wanted or () if band not in found.bands]
    if missing:
        reasons = "".join(f"; {label}: {why}" for label, why in list(failures.items())[:3])
        msg = f"bands missing among the {what}: {', '.join(missing)}; they have {', '.join(found.bands)}{reasons}"
        raise ValueError(msg)
    return found


def _sky_left(frame, image):
    """How much of the sky was left in an image, in words; None if that cannot be seen."""
    level = None if np.isnan(frame.sky_rms) else sky_level(image.data, image.good, frame.sky_rms)
    if level is None or abs(level) <= SKY_LEVEL * frame.sky_rms:
        return None
    sigma = level / frame.sky_rms if frame.sky_rms else np.inf  # a model without noise
    return f"{sigma:.1f} sigma in {frame.band} of {frame.label}"


def _read(entry, wanted, subtract=False, **settings):
    """Read an image: by the names it gives its bands, or by those asked for if it gives none."""
    _, item, band = entry
    try:
        stack = read(item, None if band is None else [band], **settings)
    except ValueError:
        if wanted is None or band is not None:
            raise
        stack = read(item, wanted, **settings)
    return subtracted(stack, subtract)


def measured_frame(entry, band, stack, image, level=None):
    """
    `Frame` of one band of an image: its `~astro_galtrans.bandstack.Plane`, measured.

    ``entry`` is that of `expand`; ``level`` is that of the sky, by default the median.
    """
    data, good, wcs = image.data, image.good, image.wcs
    scale = pixel_scale(wcs, data.shape)
    sky = _median(data, good) if level is None else level
    rms = sky_rms(data, good)
    fwhm = seeing_from_stars(data, good, rms, scale)
    centre, radius = _circle(wcs, data.shape)
    return Frame(
        str(entry[0]), band, entry, wcs, data.shape, str(stack.unit), stack.zeropoint, scale,
        sky, np.nan if rms is None else rms, _smooth_rms(data, good, sky, fwhm, scale),
        np.nan if fwhm is None else fwhm, star_psf(data, good, rms, scale), centre, radius,
    )  # fmt: skip


def _median(data, good):
    step = max(1, int(np.sqrt(data.size / SAMPLE)))
    sample = data[::step, ::step][good[::step, ::step]]
    return float(np.median(sample if sample.size else data[good]))


def smoothing(fwhm, scale):
    """Sigma in pixels with which an image is smoothed to find its signal: that of its PSF, or two pixels."""
    return 2.0 if fwhm is None or not np.isfinite(fwhm) else float(np.clip(fwhm / scale / SIGMA_TO_FWHM, 0.7, 6.0))


def _smooth_rms(data, good, sky, fwhm, scale):
    """Rms of the smoothed sky: noise of resampled and stacked images is correlated, so it is measured."""
    from scipy.ndimage import gaussian_filter

    height, width = (min(n, WINDOW) for n in data.shape)
    y, x = (data.shape[0] - height) // 2, (data.shape[1] - width) // 2
    window = slice(y, y + height), slice(x, x + width)
    part, usable = np.where(good, data, sky)[window], good[window]
    smooth = gaussian_filter(part.astype(np.float64) - sky, smoothing(fwhm, scale))[usable]
    below = smooth[smooth < 0]  # sources are above; 100 pixels give the rms to a tenth
    return float(MAD_TO_SIGMA * np.median(np.abs(below))) if below.size > 100 else np.nan


def _circle(wcs, shape):
    """Centre and radius of a circle around an image."""
    x, y = np.meshgrid(np.linspace(-0.5, shape[1] - 0.5, 5), np.linspace(-0.5, shape[0] - 0.5, 5))
    places = unit_vectors(*pixel_to_sky(wcs, x.ravel(), y.ravel()))
    centre = places.mean(axis=0) / np.linalg.norm(places.mean(axis=0))
    return centre, float(np.arccos(np.clip(places @ centre, -1, 1)).max()) * 1.01  # for edges that bulge between points
