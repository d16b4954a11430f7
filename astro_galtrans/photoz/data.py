"""
Stamps as the networks take them: read once, cut to the middle, blanks filled, measured, scaled.

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

__all__ = [
    "DrawnPhotometry", "TrainingStamps", "checked_images", "crop_size", "cut", "measured", "read", "scaled",
    "with_extra",
]  # fmt: skip

READ = 256  # stamps read at a time: a bound on memory
DRAWS = 8  #: realisations of added noise in which stamps are measured; to do so in each step would double the time


def checked_images(images, bands, size=None):
    """
    Return images as an array-like of four axes, once their bands and size fit.

    Parameters
    ----------
    images : array-like
        ``[N, C, H, W]``; numpy, or anything with a length that can be sliced.
    bands : sequence of str
        Names of the bands.
    size : int, optional
        Pixels that are needed along each side.

    Raises
    ------
    ValueError
        If the number of axes or bands is another, or the stamps are too small.
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
    """
    Return the side of the middle that is looked at: a field in pixels, as a multiple, within the stamp.

    Parameters
    ----------
    side : int
        Side of the stamps (pixels).
    pixel_scale, field : float
        Size of a pixel, and side of the wanted field (arcsec).
    multiple : int
        What the answer must be a multiple of.

    Raises
    ------
    ValueError
        If the stamp is smaller than one multiple.
    """
    size = min(round(field / pixel_scale / multiple) or 1, side // multiple) * multiple
    if size == 0:
        msg = f"stamps of {side} pixels are too small: at this pixel scale the network needs {multiple} at least"
        raise ValueError(msg)
    return size


def cut(images, size):
    """Return a view of the middle ``size`` x ``size`` pixels of images ``[..., H, W]``."""
    y, x = ((n - size) // 2 for n in images.shape[-2:])
    return images[..., y : y + size, x : x + size]


def read(images, size, batch_size=READ):
    """
    Yield the middle of all stamps, batch by batch; pixels that are not finite become 0, blank sky.

    Parameters
    ----------
    images : array-like
        ``[N, C, H, W]``.
    size : int
        Side of the middle (pixels).
    batch_size : int, optional
        Stamps in a batch.

    Yields
    ------
    slice
        Which stamps.
    `torch.Tensor`
        float32 ``[n, C, size, size]``.

    Warns
    -----
    GaltransWarning
        At the end, with the number of pixels that were filled.

    Raises
    ------
    ValueError
        If a stamp has no finite pixel at all in a band; the message names the rows.
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
    batch = np.array(cut(np.asarray(images), size), dtype=np.float32)
    blank = ~np.isfinite(batch)
    batch[blank] = 0
    return torch.from_numpy(batch), blank


def scaled(stamps, sky_rms):
    """Return arcsinh of stamps ``[n, C, S, S]`` over twice the sky rms of each band, as a tensor in half precision."""
    sky = torch.tensor(sky_rms, dtype=torch.float32)[:, None, None]
    return torch.asinh(stamps / (2 * sky)).half()


def measured(stamps, photometry):
    """
    Return the photometry that an image network sees: in fixed apertures, in ellipses, and with a matched filter.

    Parameters
    ----------
    stamps : `torch.Tensor`
        float32 ``[B, C, size, size]``.
    photometry : `~astro_galtrans.photoz.features.Photometry`

    Returns
    -------
    `torch.Tensor`
        ``[B, F]``.
    """
    fixed = photometry.features(photometry.fluxes(stamps))
    imaging = photometry.sky_rms, photometry.pixel_scale
    return torch.cat([fixed, adaptive_features(stamps, *imaging), matched_features(stamps, *imaging)], dim=1)


class TrainingStamps:
    """
    Stamps and redshifts to train an image network on.

    Parameters
    ----------
    images : array-like
        ``[N, C, H, W]``.
    z : array-like
        ``[N]``: redshifts.
    photometry : `~astro_galtrans.photoz.features.Photometry`
        How stamps are measured; its ``size`` is what is cut out of them.
    extra : array-like, optional
        ``[N, E]``: further features of each galaxy, such as the reddening.
    memory : float, optional
        Bytes up to which scaled stamps are kept in memory; more are read again for every batch.
    noise : float, optional
        Share of the sky noise that is drawn once more in ``drawn``.
    seed : int, optional
        Seed of the added noise.
    """

    def __init__(self, images, z, photometry, *, extra=None, memory=2**30, noise=0.0, seed=0):
        start = time.monotonic()
        self.images, self.photometry = images, photometry
        self.z = torch.as_tensor(np.asarray(z), dtype=torch.float32)
        self.extra = None if extra is None else torch.as_tensor(np.asarray(extra), dtype=torch.float32)
        self._sky = torch.tensor(photometry.sky_rms, dtype=torch.float32)[:, None, None]
        shape = len(images), len(photometry.bands), photometry.size, photometry.size
        self.kept = torch.empty(shape, dtype=torch.float16) if 2 * np.prod(shape, dtype=float) <= memory else None
        self._seed, features = seed, []
        for rows, stamps in read(images, photometry.size):
            draws = (self._noise(range(rows.start, rows.stop), draw) for draw in range(DRAWS if noise else 0))
            seen = [stamps, *(stamps + noise * draw * self._sky for draw in draws)]
            features.append(torch.stack([with_extra(measured(each, photometry), self._extra(rows)) for each in seen]))
            if self.kept is not None:
                self.kept[rows] = scaled(stamps, photometry.sky_rms)
        self.features, *drawn = torch.cat(features, dim=1)
        self.drawn = DrawnPhotometry(self.features, drawn, self.z)
        self.seconds = time.monotonic() - start

    def batch(self, rows, noise=0.0):
        """
        Return the inputs of an image network.

        Parameters
        ----------
        rows : `torch.Tensor`
            Which galaxies.
        noise : float, optional
            Share of the sky noise that is drawn once more.

        Returns
        -------
        stamps, features : `torch.Tensor`
            Scaled stamps, float32 ``[n, C, S, S]``, and their photometry ``[n, F]``.
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

    def _extra(self, rows):
        return None if self.extra is None else self.extra[rows]

    def _stamps(self, rows):
        if self.kept is not None:
            return self.kept[rows].float()
        order = torch.argsort(rows)  # a file is read from front to back
        stamps, _ = _filled(self.images[rows[order].numpy()], self.photometry.size)
        return scaled(stamps, self.photometry.sky_rms)[torch.argsort(order)].float()


class DrawnPhotometry:
    """
    Photometry to train a dense network on, measured beforehand in several realisations of added noise.

    Parameters
    ----------
    features : `torch.Tensor`
        ``[N, F]``: as it is.
    drawn : list of `torch.Tensor`
        The same with more noise.
    z : `torch.Tensor`
        ``[N]``: redshifts.
    """

    def __init__(self, features, drawn, z):
        self.features, self.z = features, z
        self.drawn = torch.stack(drawn) if drawn else features[None]

    def batch(self, rows, noise=0.0):
        """Return a tuple of the features ``[n, F]`` of some rows, or of one of their draws each if there is noise."""
        if not noise:
            return (self.features[rows],)
        return (self.drawn[torch.randint(len(self.drawn), (len(rows),)), rows],)


def with_extra(features, extra):
    """
    Return features ``[N, F]`` with extra columns ``[N, E]`` appended, if there are any.

    Parameters
    ----------
    features : `torch.Tensor`
    extra : array-like, optional
    """
    if extra is None:
        return features
    return torch.cat([features, torch.as_tensor(np.asarray(extra), dtype=torch.float32)], dim=1)
