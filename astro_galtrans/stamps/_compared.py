"""Real and translated stamps side by side: checked once, then read in blocks that fit in memory."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ._old_lazy import named, sample_count

__all__ = ["TAKES", "Compared", "Model", "compared"]

BUDGET = 2**23  # pixels of one set of stamps in memory at once: 32 MiB
RESERVED = "source", "target"
TAKES = {"first": ("first",), "mean": ("mean",), "both": ("first", "mean")}  #: what is looked at of several samples


@dataclass(frozen=True, eq=False)
class Model:
    """One set of translated stamps, and what is looked at of it."""

    name: str
    images: object  #: array-like ``[N, C, H, W]`` or ``[N, S, C, H, W]``
    std: object  #: array-like ``[N, C, H, W]`` or None: the uncertainty that is stated
    takes: tuple  #: of several samples: "first", "mean" or both

    @property
    def samples(self):
        """Number of samples, or None for stamps without that axis."""
        return sample_count(self.images)

    @property
    def readings(self):
        """Names under which this model appears in tables, with what each takes."""
        if (self.samples or 1) == 1:
            return {self.name: "first"}
        alone = len(self.takes) == 1
        return {self.name if alone or take == "first" else f"{self.name}, mean": take for take in self.takes}

    def read(self, rows):
        """
        Yield the name, stamps ``[n, C, H, W]``, samples and stated uncertainty of each reading, of some galaxies.

        Samples ``[n, S, C, H, W]`` come with the first reading only. An uncertainty goes with the mean where there is
        one: that of a single draw is larger.
        """
        stack = np.array(self.images[rows], dtype=np.float32, order="C")
        several = stack.ndim == 5 and stack.shape[1] > 1
        for k, (name, take) in enumerate(self.readings.items()):
            images = stack if stack.ndim == 4 else stack.mean(axis=1) if take == "mean" else stack[:, 0].copy()
            stated = self.std is not None and (take == "mean" or len(self.readings) == 1)
            std = np.array(self.std[rows], dtype=np.float32, order="C") if stated else None
            yield name, images, stack if several and k == 0 else None, std


@dataclass(frozen=True, eq=False)
class Compared:
    """Stamps of the target survey and translations of the same galaxies."""

    target: object  #: array-like ``[N, C, H, W]``
    models: tuple
    bands: tuple
    pixel_scale: float  #: arcsec
    sky_rms: np.ndarray  #: ``[N or 1, C]``, in the flux unit of the stamps
    mask: object = None  #: array-like ``[N, C, H, W]`` or ``[N, H, W]``, or None: True is bad
    variance: object = None  #: array-like ``[N, C, H, W]`` or None: noise of the real pixels, that of the sky otherwise

    def __len__(self):
        return len(self.target)

    @property
    def names(self):
        """Names of all readings of all models."""
        return [name for model in self.models for name in model.readings]

    @property
    def shape(self):
        """Shape of a stamp, ``(H, W)``."""
        return np.shape(self.target[:1])[-2:]

    def block_size(self, budget=BUDGET):
        """Galaxies of which all samples of a model hold no more pixels than the budget."""
        deepest = max(model.samples or 1 for model in self.models)
        return max(1, budget // (deepest * len(self.bands) * int(np.prod(self.shape))))

    def sky_noise(self, rows):
        """Sky noise of some galaxies, ``[n or 1, C, 1, 1]``."""
        values = self.sky_rms if len(self.sky_rms) == 1 else self.sky_rms[rows]
        return values[:, :, None, None].astype(np.float32)

    def pixel_noise(self, rows):
        """Noise of the real pixels of some galaxies, in a shape that broadcasts to ``[n, C, H, W]``."""
        if self.variance is None:
            return self.sky_noise(rows)
        with np.errstate(invalid="ignore"):  # a negative variance has no root: that pixel is bad
            return np.sqrt(np.asarray(self.variance[rows], dtype=np.float32))

    def blocks(self, *, desc, progress=True, size=None):
        """
        Yield rows, real stamps ``[n, C, H, W]`` and which of their pixels are bad, block by block.

        Parameters
        ----------
        desc : str
            What the progress bar says.
        progress : bool, optional
            Show it on a terminal.
        size : int, optional
            Galaxies in a block; by default what fits the budget.
        """
        from tqdm.auto import tqdm

        size = size or self.block_size()
        with tqdm(total=len(self), desc=desc, unit="galaxy", disable=None if progress else True) as bar:
            for start in range(0, len(self), size):
                rows = slice(start, min(start + size, len(self)))
                stamps = np.array(self.target[rows], dtype=np.float32, order="C")
                yield rows, stamps, ~np.isfinite(stamps) | self.masked(rows)
                bar.update(rows.stop - rows.start)

    def masked(self, rows):
        """Pixels that the mask says are bad, in a shape that broadcasts to ``[n, C, H, W]``."""
        if self.mask is None:
            return np.zeros((1, 1, 1, 1), bool)
        mask = np.asarray(self.mask[rows]).astype(bool)
        return mask if mask.ndim == 4 else mask[:, None]


def compared(target, translated, *, bands, pixel_scale, sky_rms, std=None, mask=None, variance=None, take="first"):
    """
    Check that translated stamps can be compared with real ones.

    Parameters
    ----------
    target : array-like
        ``[N, C, H, W]``: real stamps.
    translated : array-like or dict of str to array-like
        ``[N, C, H, W]`` or ``[N, S, C, H, W]``: translations by name.
    bands : sequence of str
        Names of the C bands.
    pixel_scale : float
        In arcsec.
    sky_rms : array-like
        ``[C]`` or ``[N, C]``: sky noise of a pixel of the real stamps.
    std : array-like or dict of str to array-like, optional
        ``[N, C, H, W]``: uncertainty that a translation states, by the names of ``translated``.
    mask : array-like, optional
        ``[N, C, H, W]`` or ``[N, H, W]``: True is bad.
    variance : array-like, optional
        ``[N, C, H, W]``: noise variance of the real pixels.
    take : {"first", "mean", "both"}, optional
        What to look at where there are several samples.

    Returns
    -------
    `Compared`

    Raises
    ------
    ValueError
        If lengths, bands, shapes or numbers do not fit; the message names the argument.
    """
    bands, models = tuple(bands), named(translated)
    _check_stamps("target", target, len(target), bands)
    for name, images in models.items():
        if name in RESERVED:
            msg = f"a translation cannot be called {name!r}; choose another name"
            raise ValueError(msg)
        _check_stamps(name, images, len(target), bands, np.shape(target[:1])[-2:], samples=True)
    if take not in TAKES:
        msg = f"take must be one of {', '.join(TAKES)}, got {take!r}"
        raise ValueError(msg)
    scale = np.asarray(pixel_scale, dtype=float)
    if scale.ndim or not (np.isfinite(scale) and scale > 0):
        msg = f"pixel_scale must be a positive number of arcsec, got {pixel_scale!r}"
        raise ValueError(msg)
    stated = _stated(std, models, target, bands)
    found = tuple(Model(name, images, stated.get(name), TAKES[take]) for name, images in models.items())
    if variance is not None:
        _check_stamps("variance", variance, len(target), bands, np.shape(target[:1])[-2:])
    sky = _sky(sky_rms, len(target), bands)
    return Compared(target, found, bands, float(scale), sky, _checked_mask(mask, target), variance)


def _check_stamps(name, images, number, bands, side=None, *, samples=False):
    wanted = "[N, C, H, W] or [N, S, C, H, W] (S samples)" if samples else "[N, C, H, W]"
    if number == 0 or len(images) != number:
        msg = f"{name} has {len(images)} images, the target {number}; give both of the same galaxies, in order"
        raise ValueError(msg)
    shape = np.shape(images[:1])
    if len(shape) not in ({4, 5} if samples else {4}) or 0 in shape[1:]:
        msg = f"{name} must be {wanted}, got ({len(images)}, {', '.join(map(str, shape[1:]))})"
        raise ValueError(msg)
    if shape[-3] != len(bands):
        msg = f"{name} has {shape[-3]} bands where {len(bands)} are named: {', '.join(bands)}"
        raise ValueError(msg)
    if side is not None and shape[-2:] != side:
        msg = f"stamps of {name} have {shape[-2]} x {shape[-1]} pixels, those of the target {side[0]} x {side[1]}"
        raise ValueError(msg)


def _stated(std, models, target, bands):
    """Stated uncertainties by name of the model."""
    if std is None:
        return {}
    if not isinstance(std, Mapping):
        if len(models) > 1:
            msg = f"std must be a dict by name where there are several translations ({', '.join(models)})"
            raise ValueError(msg)
        std = {next(iter(models)): std}
    unknown = [name for name in std if name not in models]
    if unknown:
        msg = f"std names {', '.join(map(str, unknown))}, which is no translation; there are {', '.join(models)}"
        raise ValueError(msg)
    for name, values in std.items():
        _check_stamps(f"std of {name}", values, len(target), bands, np.shape(target[:1])[-2:])
    return dict(std)


def _sky(sky_rms, number, bands):
    sky = np.atleast_2d(np.asarray(sky_rms, dtype=float))
    if sky.shape not in {(1, len(bands)), (number, len(bands))} or not (np.isfinite(sky) & (sky > 0)).all():
        wanted = f"one positive number per band ({', '.join(bands)}), or per galaxy and band"
        msg = f"sky_rms must be {wanted}, got {sky_rms!r}"
        raise ValueError(msg)
    return sky


def _checked_mask(mask, target):
    if mask is None:
        return None
    shape, wanted = np.shape(mask[:1])[1:], np.shape(target[:1])[1:]
    if len(mask) != len(target) or shape not in {wanted, wanted[-2:]}:
        wanted = (len(target), *wanted)
        msg = f"mask must have the target's shape {wanted}, with or without bands, got {(len(mask), *shape)}"
        raise ValueError(msg)
    return mask
