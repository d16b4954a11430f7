"""A block of real stamps: sums over its pixels, and power spectra, that each translation of them gives."""

import numpy as np
import torch

from astro_galtrans.fidelity.compare import EXCLUDED
from astro_galtrans.measure.residuals import REGIONS, SUMS, pixel_sums, source_pixels

__all__ = ["SUMMED", "Block", "frequencies", "power_spectra"]

LEAST = 0.5  # share of a stamp's pixels that must be good for the galaxy to count: below, its middle may be missing
FEWEST_SKY = 100  # pixels of blank sky to measure noise in: its rms is then good to 7 %
TAPER = 0.25  # share of the stamp's side that the window takes to fall to zero at both ends together
SUMMED = [(region, name) for region in REGIONS for name in SUMS] + [("all", "ssim")]
SUMMED += [("sky", name) for name in ("pixels", "variation", "variation_real")]
#: Regions and names of all sums; the last ones add up to numbers of galaxies, as columns of `compare.excluded`, and of
#: those with a pixel in a region.
SUMMED += [("galaxies", name) for name in ("n", *EXCLUDED, "all", "source", "sky")]


class Block:
    """
    Real stamps, prepared once for all translations.

    ``ends`` is the data range, ``[C, 2]``, and ``softening`` that of asinh-scaled flux, ``[C]``.
    """

    def __init__(self, target, rows, ends, softening):
        y = torch.from_numpy(target.read(rows))
        noise = torch.from_numpy(np.broadcast_to(target.noise(rows), y.shape).copy())
        bad = ~torch.isfinite(y) | torch.from_numpy(target.bad(rows))
        self._bad = bad | ~(torch.isfinite(noise) & (noise > 0))
        self._y, self._noise = torch.where(self._bad, 0, y), torch.where(self._bad, 1, noise)
        self._sky, self._scale = torch.from_numpy(target.sky(rows)), target.pixel_scale
        self._softening = torch.as_tensor(softening, dtype=torch.float32)[:, None, None]
        width = np.diff(np.arcsinh(ends / np.asarray(softening)[:, None]), axis=1)
        self._width = torch.as_tensor(width, dtype=torch.float32)[:, :, None]
        self._source = source_pixels(self._y, self._bad, self._sky, self._scale)
        self._scaled, self._spectra = self._asinh(self._y), power_spectra(self._y)
        self.measurable = _enough(~self._bad)  #: ``[n, C]``, bool: has the real stamp enough good pixels?

    def _asinh(self, stamps):
        """Asinh-scaled flux in units of its data range."""
        return torch.asinh(stamps / self._softening) / self._width

    def measure(self, images, samples=None, std=None):
        """
        Return the sums `SUMMED` over the pixels of a translation ``[n, C, H, W]``, and its power.

        The sums are ``[n, C, S]``: zero where a galaxy cannot be measured, NaN where they need ``samples`` ``[n, S, C,
        H, W]`` or a stated uncertainty ``std`` ``[n, C, H, W]`` that there is not. The power is the logarithm of the
        ratio of the power spectra of translated and real stamp, ``[n, C, K]``: NaN where a galaxy cannot be measured,
        or either has no power at some frequency.
        """
        images, samples, std = (None if part is None else torch.from_numpy(part) for part in (images, samples, std))
        finite = torch.isfinite(images)
        measurable = _enough(finite)
        bad = self._bad | ~finite | ~_usable(samples, std)
        measured = (measurable & self.measurable & (~bad).any(-1).any(-1)).numpy()
        ours = torch.where(bad, self._y, images)  # no difference where there is nothing to compare
        samples = None if samples is None else torch.where(bad[:, None], 0, samples)
        std = None if std is None else torch.where(bad, 1, std)
        sums = pixel_sums(self._y, ours, bad, self._source, self._noise, samples=samples, std=std)
        sums |= self._similarity(ours, bad) | self._sky_sums(ours, bad)
        ours = torch.where(bad, 0, ours)
        real = torch.where(bad, 0, self._y) if bool((bad & ~self._bad).any()) else None
        pair = power_spectra(ours), self._spectra if real is None else power_spectra(real)
        sums = {key: np.where(measured, part.numpy(), 0) for key, part in sums.items()}
        sums |= _galaxies(sums, self.measurable.numpy(), measurable.numpy())
        blank = np.full(measured.shape, np.nan)
        sums = np.stack([sums.get(key, blank) for key in SUMMED], axis=-1).astype(np.float32)
        return sums, _log_ratio(*(part.numpy() for part in pair), measured)

    def _similarity(self, ours, bad):
        # torchmetrics mirrors the borders; its map is needed, as bad pixels do not count
        from torchmetrics.functional.image import structural_similarity_index_measure

        found = structural_similarity_index_measure(
            self._asinh(ours), self._scaled, data_range=1.0, reduction="none", return_full_image=True
        )
        return {("all", "ssim"): torch.where(bad, 0, found[1]).sum((-1, -2))}

    def _sky_sums(self, ours, bad):
        """Squares about the stamp's mean in blank sky, of pixels far from the sources of both stamps."""
        away = ~bad & ~self._source & ~source_pixels(ours, bad, self._sky, self._scale)
        number = away.sum((-1, -2)).float()
        enough = number >= FEWEST_SKY
        squares = [torch.where(enough, _variation(part, away, number), 0) for part in (ours, self._y)]
        found = zip(("pixels", "variation", "variation_real"), (number * enough, *squares), strict=True)
        return {("sky", name): values for name, values in found}


def _variation(stamps, where, number):
    mean = torch.where(where, stamps, 0).sum((-1, -2)) / number.clamp(min=1)
    return torch.where(where, stamps - mean[..., None, None], 0).square().sum((-1, -2))


def _enough(good):
    return good.float().mean((-1, -2)) >= LEAST


def _usable(samples, std):
    """Pixels where samples and uncertainty, if there are any, have a value."""
    usable = torch.ones((), dtype=torch.bool)
    if samples is not None:
        usable = torch.isfinite(samples).all(dim=1)
    if std is not None:
        usable = usable & torch.isfinite(std) & (std > 0)
    return usable


def _galaxies(sums, real, ours):
    """Ones for galaxies that count in the columns of `compare.excluded`, and for those with a pixel in a region."""
    parts = real & ours, ~real & ours, real & ~ours, ~real & ~ours
    found = {("galaxies", name): part for name, part in zip(("n", *EXCLUDED), parts, strict=True)}
    return found | {("galaxies", region): sums[region, "pixels"] > 0 for region in ("all", "source", "sky")}


def _log_ratio(power, other, measured):
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log(power) - np.log(other)
    return np.where(np.isfinite(found).all(axis=-1, keepdims=True) & measured[..., None], found, np.nan)


def frequencies(shape, pixel_scale):
    """
    Return the middles of the bins of spatial frequency (cycles per arcsec), up to the Nyquist frequency.

    They are as wide as the lowest frequency of the shorter side of a stamp of that shape (pixels).
    """
    side = min(shape)
    return np.arange(1, side // 2 + 1) / (side * pixel_scale)


def power_spectra(stamps):
    """
    Return the mean squared modulus of the Fourier transform of stamps ``[n, C, H, W]`` in rings of frequency.

    Stamps are tapered by a Tukey window, as a galaxy that is cut off would leak into all frequencies. The result is
    ``[n, C, K]``, at `frequencies`.
    """
    height, width = stamps.shape[-2:]
    window = _tukey(height)[:, None] * _tukey(width)
    transform = torch.fft.rfft2(stamps * window)
    power = transform.real**2 + transform.imag**2
    return power.flatten(-2) @ _rings(height, width)


def _tukey(size):
    """Tukey (1967) window: flat, with cosine ends."""
    place = (torch.arange(size) + 0.5) / size
    edge = torch.minimum(place, 1 - place) / (TAPER / 2)
    return torch.sin(torch.pi / 2 * edge.clamp(max=1)) ** 2


def _rings(height, width):
    """``[F, K]``: weight of each Fourier mode in each ring's mean; modes that are stored once for two count twice."""
    side = min(height, width)
    y, x = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    ring = torch.round(torch.hypot(y, x) * side).long() - 1  # the constant is in none
    twice = torch.where((x == 0) | (x == 0.5), 1.0, 2.0).expand(height, -1)
    weights = (ring[..., None] == torch.arange(side // 2)) * twice[..., None]
    weights = weights.flatten(0, 1)
    return weights / weights.sum(0)
