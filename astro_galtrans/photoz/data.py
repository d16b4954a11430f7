"""
Stamps as input of networks: read once, cut to the middle, with blank pixels filled, measured, and scaled.

What is kept in memory is arcsinh of flux over twice the sky rms in half precision, whose rounding (5e-4 of the value)
is far below the noise; photometry is done before, in single precision.
"""

import time
import warnings

import numpy as np
import torch

from astro_galtrans._columns import name_rows
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.measure.adaptive import adaptive_features, matched_features

__all__ = ["DrawnPhotometry", "TrainingStamps", "checked_images", "crop_size", "measured", "read", "scaled"]

READ = 256  # stamps read at a time: a bound on memory
DRAWS = 8  #: realisations of added noise in which stamps are measured once; measuring in each step doubles the time


def checked_images(images, bands, size=None):
    """
    Return images as an array-like of four axes, once their bands and size fit.

    They are ``[N, C, H, W]``, of numpy or of anything with a length and slices; ``size`` is the number of pixels needed
    along each side.
    """
    images = np.asarray(images) if isinstance(images, list | tuple) else images
    shape = tuple(getattr(images, "shape", None) or (len(images), *np.shape(images[:1])[1:]))
    if len(shape) != 4 or shape[1] != len(bands):
        msg = f"images must be [N, {len(bands)}, H, W] for bands {', '.join(bands)}, got shape {shape}"
        raise ValueError(msg)
    theirs = getattr(images, "bands", None)
    if theirs is not None and tuple(theirs) != tuple(bands):
        msg = f"the estimator is for bands {', '.join(bands)}, but the images are in {', '.join(theirs)}"
        raise ValueError(msg)
    if size is not None and min(shape[2:]) < size:
        msg = f"stamps of {shape[2]} x {shape[3]} pixels are smaller than the {size} x {size} the estimator looks at"
        raise ValueError(msg)
    return images


def crop_size(side, pixel_scale, field, multiple):
    """Return the side (pixels) of the part that networks see: a field (arcsec), as a multiple, within the stamp."""
    size = min(round(field / pixel_scale / multiple) or 1, side // multiple) * multiple
    if size == 0:
        msg = f"stamps of {side} pixels are too small: at this pixel scale the network needs {multiple} at least"
        raise ValueError(msg)
    return size


def read(images, size, batch_size=READ):
    """
    Yield slices of rows and the middle of their stamps, float32 ``[n, C, size, size]``.

    Pixels that are not finite become 0, blank sky, and a warning at the end counts them; a stamp without any finite
    pixel in a band is a `ValueError` that names the rows.
    """
    pixels, stamps = 0, np.zeros(len(images), bool)
    for start in range(0, len(images), batch_size):
        rows = slice(start, min(start + batch_size, len(images)))
        batch, blank = _filled(images[rows], size)
        pixels += int(blank.sum())
        stamps[rows] = blank.any(axis=(1, 2, 3))
        if (empty := blank.all(axis=(2, 3)).any(axis=1)).any():
            where = np.zeros(len(images), bool)
            where[rows] = empty
            msg = f"stamps without a single finite pixel in some band: {name_rows(where)}; leave them out"
            raise ValueError(msg)
        yield rows, batch
    if pixels:
        msg = f"{pixels} pixels that are not finite were taken as blank sky, in {name_rows(stamps)}"
        warnings.warn(msg, GaltransWarning, stacklevel=2)


def _filled(images, size):
    """The middle of stamps as a float32 tensor, and which pixels were not finite."""
    images = np.asarray(images)
    y, x = ((n - size) // 2 for n in images.shape[-2:])
    batch = np.array(images[..., y : y + size, x : x + size], dtype=np.float32)
    blank = ~np.isfinite(batch)
    batch[blank] = 0
    return torch.from_numpy(batch), blank


def scaled(stamps, sky_rms):
    """Return arcsinh of stamps ``[n, C, S, S]`` over twice the sky rms of each band, as a tensor in half precision."""
    sky = torch.tensor(sky_rms, dtype=torch.float32)[:, None, None]
    return torch.asinh(stamps / (2 * sky)).half()


def measured(stamps, photometry):
    """
    Return the photometry that an image network sees of stamps ``[B, C, size, size]``, ``[B, F]``: in fixed apertures,
    in ellipses, and with a matched filter.
    """
    fixed = photometry.features(photometry.fluxes(stamps))
    imaging = photometry.sky_rms, photometry.pixel_scale
    return torch.cat([fixed, adaptive_features(stamps, *imaging), matched_features(stamps, *imaging)], dim=1)


class TrainingStamps:
    """
    Stamps ``[N, C, H, W]`` and redshifts ``[N]`` to train an image network on.

    ``photometry`` says how stamps are measured and how large a part is cut out of them, ``extra`` ``[N, E]`` are
    further features such as the reddening, ``memory`` is the number of bytes up to which scaled stamps are kept (more
    are read again for every batch), ``noise`` the share of the sky noise that is drawn once more in ``drawn``.
    """

    def __init__(self, images, z, photometry, *, extra, memory, noise, seed):
        start = time.monotonic()
        self.images, self.photometry = images, photometry
        self.z = torch.as_tensor(np.asarray(z), dtype=torch.float32)
        self._sky = torch.tensor(photometry.sky_rms, dtype=torch.float32)[:, None, None]
        shape = len(images), len(photometry.bands), photometry.size, photometry.size
        self.kept = torch.empty(shape, dtype=torch.float16) if 2 * np.prod(shape, dtype=float) <= memory else None
        self._seed, features = seed, []
        for rows, stamps in read(images, photometry.size):
            draws = (self._noise(range(rows.start, rows.stop), draw) for draw in range(DRAWS if noise else 0))
            seen = [stamps, *(stamps + noise * draw * self._sky for draw in draws)]
            features.append(torch.stack([torch.cat([measured(each, photometry), extra[rows]], dim=1) for each in seen]))
            if self.kept is not None:
                self.kept[rows] = scaled(stamps, photometry.sky_rms)
        self.features, *drawn = torch.cat(features, dim=1)
        self.drawn = DrawnPhotometry(self.features, drawn, self.z)
        self.seconds = time.monotonic() - start

    def batch(self, rows, noise=0.0):
        """
        Return scaled stamps, float32 ``[n, C, S, S]``, and their photometry ``[n, F]``, the inputs of an image network.

        ``noise`` is the share of the sky noise that is drawn once more.
        """
        stamps = self._stamps(rows)
        if not noise:
            return stamps, self.features[rows]
        # stamps and their photometry must have the same noise, so it is one of the realisations that were measured
        draw = int(torch.randint(DRAWS, ()))
        return torch.asinh(stamps.sinh() + noise / 2 * self._noise(rows.tolist(), draw)), self.drawn.drawn[draw, rows]

    def _noise(self, rows, draw):
        """Noise in units of sky rms, the same whenever it is asked for."""
        noise, generator = torch.empty(len(rows), len(self._sky), *2 * [self.photometry.size]), torch.Generator()
        for stamp, row in zip(noise, rows, strict=True):
            stamp.normal_(generator=generator.manual_seed((self._seed * DRAWS + draw) * len(self.z) + row))
        return noise

    def _stamps(self, rows):
        if self.kept is not None:
            return self.kept[rows].float()
        order = torch.argsort(rows)  # a file is read from front to back
        stamps, _ = _filled(self.images[rows[order].numpy()], self.photometry.size)
        return scaled(stamps, self.photometry.sky_rms)[torch.argsort(order)].float()


class DrawnPhotometry:
    """
    Photometry ``[N, F]`` to train a dense network on, and ``drawn``, the same measured in several realisations of added
    noise.
    """

    def __init__(self, features, drawn, z):
        self.features, self.z = features, z
        self.drawn = torch.stack(drawn) if drawn else features[None]

    def batch(self, rows, noise=0.0):
        """Return a tuple of the features ``[n, F]`` of some rows, or of one of their draws each if there is noise."""
        if not noise:
            return (self.features[rows],)
        return (self.drawn[torch.randint(len(self.drawn), (len(rows),)), rows],)
