r"""
A degraded translation against what the source survey saw: statistics of a batch of stamps.

With the residual :math:`d = m - x` of a translation brought to the source's PSF, pixels and filters, and the noise
:math:`\sigma` of the source, each galaxy and band gets

- chi-squared with its degrees of freedom, the number of pixels;
- the map of matched filtering :math:`S = (d \sigma^{-2} \star P) / \sqrt{\sigma^{-2} \star P^2}`, the significance at
  every pixel of a point source that the translation has too much (positive, *invented*) or too little (negative,
  *lost*), :math:`P` being the PSF;
- the relative error of the flux, :math:`e = (m^T C^{-1} d) / (m^T C^{-1} m)`, with its uncertainty.

What is not known exactly, but is no fault of the translation, is marginalised: each such effect, one sigma of it, is a
vector :math:`t_k`, and the covariance is :math:`C = \mathrm{diag}(\sigma^2) + \sum_k t_k t_k^T`, inverted by the
formula of Woodbury. Chi-squared with that :math:`C` keeps its distribution.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft
from scipy.ndimage import binary_dilation, binary_propagation, gaussian_filter, minimum_filter

from astro_galtrans.moments import SIGMA_TO_FWHM
from astro_galtrans.psf import both_halves, moffat_transform
from astro_galtrans.statistics.weighted import MAD_TO_SIGMA

from .blanksky import roughness

__all__ = ["Comparison", "Correlation", "Noise", "Tolerance", "compare", "measure_correlation", "measure_own_factor"]

SMOOTH = 1.5  # pixels, about the sigma of a PSF: light that stands out of its own noise does so at that width
MEDIAN_VARIANCE = 1.36  # of a standard deviation by the median of absolute values: its relative variance, times N
SPREAD = 0.2  # relative, of how deep the images of a survey are, and of what interpolation makes of their noise
# Chi-squared over the square of a deviation that N of its own pixels tell scatters by sqrt(3.44 / N), not sqrt(2 / N):
# 4 (1.36 + 0.5 - 2 * 0.5) / N, the relative variances of a median of absolute values and of an rms being 1.36 and 0.5.
KNOWN_FROM_SKY = 2 / 3.44
STANDS_OUT = 5.0, 2.5  # sigma of a smoothed residual at the edge that comes from beyond it, and of what belongs to it
INWARD = 1.5  # margins inside the edge as far as which such light is followed: farther in it is the galaxy's
LAG, CLIPPED = 3, 4  # pixels to which interpolation correlates noise; sigma beyond which a pixel is no mere noise
WINGS = 2.8, 4.765  # Moffat exponents: wide wings, and those of turbulence alone (Trujillo et al. 2001)


@dataclass(frozen=True)
class Tolerance:
    """
    One sigma of what is not known exactly but is no fault of a translation; zero for what is known.

    By default the PSF of the source is taken to be known as well as from a few stars; its wings too if it is an image,
    and not if it is a FWHM.
    """

    flux: float | None = None  #: relative calibration of a galaxy in a band; None: the scatter about the colour terms
    width: float = 0.02  #: relative, of the FWHM of the source's PSF
    ellipticity: float = 0.02  #: of that PSF, (a - b) / (a + b) in each of two components
    wings: float | None = None  #: of that PSF; 1 is from a Moffat profile of exponent 4.765 to one of 2.8
    shift: float = 0.0  #: registration, along each axis (arcsec)
    sky: float = 0.0  #: level of the sky, in units of the noise of a pixel

    def __post_init__(self):
        for name, value in vars(self).items():
            if value is not None and not (np.isfinite(value) and value >= 0):
                msg = f"a tolerance must be zero or positive, got {name}={value}"
                raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise of the source, and of the translation itself, in the common bands."""

    sky: np.ndarray  #: ``[1 or N, C]``: rms of the source's sky in a pixel
    electrons: np.ndarray  #: ``[C]``: electrons per flux unit, NaN for no photon noise
    own: np.ndarray  #: ``[C]``: rms of white noise in a pixel of the translation, its own flux unit
    photons: np.ndarray  #: ``[C]``: variance per flux of the translation's own photon noise, its own flux unit

    def of(self, rows):
        """Return the noise of some galaxies."""
        return self if len(self.sky) == 1 else replace(self, sky=self.sky[rows])


@dataclass(frozen=True, eq=False)
class Comparison:
    """Statistics of a batch of galaxies from `compare`: ``[n, C]``, maps ``[n, C, H, W]``."""

    chi2: np.ndarray
    dof: np.ndarray
    independent: np.ndarray  #: number of independent pixels: ``dof``, but where noise is correlated
    flux_error: np.ndarray
    flux_sigma: np.ndarray
    roughness: np.ndarray
    beam: np.ndarray  #: pixels of the source that the PSF correlates in a map of matched filtering
    own: np.ndarray  #: variance of the translation's own noise in a pixel of the source
    residual: np.ndarray  #: ``[n, C, H, W]``: residual in sigma, after what is tolerated; NaN where not compared
    significance: np.ndarray  #: ``[n, C, H, W]``: the map of matched filtering; NaN where not compared
    degraded: np.ndarray  #: ``[n, C, H, W]``: the translation as the source would have seen it
    source: np.ndarray  #: ``[n, C, H, W]``


@dataclass(frozen=True, eq=False)
class Correlation:
    """How the noise of residuals differs from white noise of the size that was stated, per band ``[C]``."""

    residual: np.ndarray  #: rms of residuals, in units of what it should be
    significance: np.ndarray  #: that of the map of matched filtering
    flux: np.ndarray  #: that of sums over extended light
    independent: np.ndarray  #: share of independent pixels: one over the sum of squared correlations

    def corrected(self, found):
        """
        Return a `Comparison` whose statistics are corrected for this noise.

        It is that of a typical image. How deep an image is and how it was resampled differs: the sky of each galaxy
        tells the noise of its pixels, and that of all its bands how much it is correlated.
        """
        residual, maps = (
            each / size[:, None, None].astype(np.float32)
            for each, size in ((found.residual, self.residual), (found.significance, self.significance))
        )
        scale = _deviation(residual, found.independent * self.independent)
        together = (maps / _to_maps(scale)).reshape(len(maps), 1, -1, maps.shape[-1])
        width = scale * _deviation(together, (found.dof / found.beam).sum(axis=1, keepdims=True))
        return replace(
            found, chi2=found.chi2 / (self.residual * scale) ** 2,
            independent=found.independent * self.independent * KNOWN_FROM_SKY, residual=residual / _to_maps(scale),
            flux_sigma=found.flux_sigma * self.flux * width, significance=maps / _to_maps(width),
        )  # fmt: skip


def _deviation(maps, number):
    """Standard deviation ``[n, C]`` of maps that are expected to have 1, from so many independent values in each."""
    some = np.isfinite(maps).any(axis=(2, 3), keepdims=True)  # a galaxy may have no usable pixel
    found = MAD_TO_SIGMA * np.nanmedian(np.abs(np.where(some, maps, 0)), axis=(2, 3))
    found = np.log(np.where(found > 0, found, 1))
    own = MEDIAN_VARIANCE / np.maximum(number, 1)
    return np.exp(found * SPREAD**2 / (SPREAD**2 + own))


def _to_maps(values):
    return values[..., None, None].astype(np.float32)


def measure_own_factor(parts):
    """
    Measure a translation's own noise after degrading, over what would be left of white noise, ``[C]``.

    ``parts`` is a list of `Comparison`. Pixels below zero tell, where there is no light of sources.
    """
    degraded, own = (np.concatenate([getattr(part, name) for part in parts]) for name in ("degraded", "own"))
    inside = np.isfinite(np.concatenate([part.residual for part in parts]))
    below = np.where(inside & (degraded < 0), degraded, np.nan)
    return MAD_TO_SIGMA * np.nanmedian(-below, axis=(0, 2, 3)) / np.sqrt(np.median(own, axis=0))


def measure_correlation(parts):
    """
    Measure the noise of the residuals of a list of `Comparison`.

    Most pixels of stamps are sky, and medians are not moved by the others.
    """
    residual, maps = (np.concatenate([getattr(p, name) for p in parts]) for name in ("residual", "significance"))
    sizes = [MAD_TO_SIGMA * np.nanmedian(np.abs(each), axis=(0, 2, 3)) for each in (residual, maps)]
    sky = np.where(np.abs(residual) < CLIPPED * sizes[0][:, None, None], residual, np.nan)
    lags = range(-LAG, LAG + 1)
    correlations = np.array([_correlation(sky, y, x) for y in lags for x in lags])
    # White noise averages out over the pixels of a galaxy; correlated noise averages out less.
    flux = np.maximum(sizes[1], sizes[0] * np.sqrt(np.maximum(correlations.sum(axis=0), 0)))
    return Correlation(*sizes, flux, 1 / (correlations**2).sum(axis=0))


def _correlation(images, y, x):
    """Correlation of pixels that are so far apart, per band."""
    if x < 0:
        return _correlation(images, -y, -x)
    height, width = images.shape[-2:]
    first = images[..., max(0, -y) : height - max(0, y), : width - x]
    second = images[..., max(0, y) : height + min(0, y), x:]
    return np.nanmean(first * second, axis=(0, 2, 3), dtype=float) / np.nanmean(images**2, axis=(0, 2, 3), dtype=float)


def compare(matched, source, translated, noise, tolerance, calibration, *, variance, mask):
    """
    Return the `Comparison` of a batch of galaxies, whose PSFs are ``matched``.

    Stamps of the source are ``[n, C, H, W]``, not finite where left out; translated ones ``[n, C', sH, sW]``.
    ``calibration`` ``[C]`` is the relative flux error tolerated; ``variance`` stands for that of sky and photons, and
    ``mask`` (``[n, C or 1, H, W]``) is True for pixels to leave out.
    """
    usable = _usable(matched, source, mask)
    broken = ~np.isfinite(translated).all(axis=(1, 2, 3))  # has no transform: no comparison
    scene = matched.scene(np.where(broken[:, None, None, None], 0, translated))
    spectrum = matched.spectrum(scene)
    degraded, given = matched.image(spectrum), matched.source(np.where(np.isfinite(source), source, 0))
    usable &= ~broken[:, None, None, None]
    power = _mean_power(matched.target_noise(), matched)
    own = noise.own**2 * power
    sigma2 = _variance(matched, degraded, noise, variance) + own[:, :, None, None]
    flux = np.clip(degraded, 0, None) / (matched.degrader.factor * matched.degrader.scale**2)  # per fine pixel
    sigma2 = sigma2 + (noise.photons * power)[..., None, None] * flux
    residual = degraded - given
    usable &= ~_light_from_outside(residual / np.sqrt(sigma2), matched.degrader.margin)
    distortions = list(_distortions(matched, tolerance))
    effects = _effects(matched, spectrum, degraded, sigma2, tolerance.sky, distortions)
    calibration = np.broadcast_to(np.asarray(calibration, dtype=float), degraded.shape[1:2])
    light = _light(degraded, own)
    weight = np.where(usable, 1 / sigma2, 0).astype(np.float32)
    effects.insert(0, light * calibration.astype(np.float32)[:, None, None])
    shared = _own_products(
        matched, noise.own[:, None, None] ** 2, weight, light, [None] * bool(tolerance.sky) + distortions
    )
    fitted = _marginalised(
        [residual, light, *effects], weight, calibration, (shared, _own_spread(matched, own, weight, light))
    )
    cleaned = np.where(usable, residual - fitted.pop("explained"), 0)
    # what was explained is common to all sources of a stamp; each has an error of its own, too
    weight = weight / (1 + weight * np.square(calibration[:, None, None] * light)).astype(np.float32)
    chi2 = (weight * np.square(cleaned)).sum(axis=(2, 3), dtype=float) + fitted.pop("cost")
    point = matched.point()
    maps = _matched_filter(matched, cleaned, weight, point, own)
    dof = usable.sum(axis=(2, 3))
    nowhere = np.where(usable, np.float32(1), np.float32(np.nan))
    return Comparison(
        **fitted, chi2=chi2, dof=dof, independent=dof * _independent(matched),
        residual=cleaned * np.sqrt(weight) * nowhere,
        roughness=np.broadcast_to(roughness(point, matched.frequencies.shape), dof.shape),
        beam=np.broadcast_to(_beam(matched), dof.shape),
        own=np.broadcast_to(own, dof.shape),
        significance=maps * nowhere, degraded=degraded, source=given,
    )  # fmt: skip


def _usable(matched, source, mask):
    """Pixels to compare: finite, not masked, and far enough from the edge; in each common band."""
    usable, m = (np.isfinite(source) & ~mask)[:, matched.degrader.in_source], matched.degrader.margin
    if matched.sharper.any():  # the convolution has spread bad pixels
        spread = minimum_filter(usable.view(np.uint8), (1, 1, 2 * m + 1, 2 * m + 1)).view(bool)
        usable = np.where(matched.sharper[..., None, None], spread, usable)
    inside = np.zeros(usable.shape[-2:], bool)
    inside[m : inside.shape[0] - m, m : inside.shape[1] - m] = True
    return usable & inside


def _light_from_outside(significance, margin):
    """
    Where sources beyond the edge shine in: what stands out in the outermost pixels, as far as it is connected.

    A bright star outside is seen by the broader PSF of the source, and hardly by that of the target.
    """
    smooth = gaussian_filter(np.nan_to_num(significance), (0, 0, SMOOTH, SMOOTH), mode="constant")
    smooth *= 2 * np.sqrt(np.pi) * SMOOTH  # white noise has unit variance again, correlated noise more
    smooth /= np.maximum(MAD_TO_SIGMA * np.median(np.abs(smooth), axis=(2, 3), keepdims=True), 1)
    depth = np.minimum.outer(*(np.minimum(np.arange(n), np.arange(n)[::-1]) for n in smooth.shape[-2:]))
    seeds, region = (np.abs(smooth) > limit for limit in STANDS_OUT)
    seeds &= depth < margin
    region &= depth < (1 + INWARD) * margin
    found, near = np.zeros(smooth.shape, bool), np.ones((3, 3), bool)
    for where in zip(*np.nonzero(seeds.any(axis=(2, 3))), strict=True):
        found[where] = binary_dilation(binary_propagation(seeds[where], near, region[where]), near, iterations=2)
    return found


def _variance(matched, degraded, noise, variance):
    """Variance of the source's pixels: the photon noise is that of the translation, if it were true."""
    if variance is None:
        electrons = np.where(np.isnan(noise.electrons), np.inf, noise.electrons)[:, None, None]
        variance = noise.sky[..., None, None] ** 2 + np.clip(degraded, 0, None) / electrons
    else:
        variance = np.asarray(variance, float)[:, matched.degrader.in_source]
    kernel = matched.source_noise()
    return variance if kernel is None else variance * _mean_power(kernel, matched)[:, :, None, None]


def _mean_power(transfer, matched):
    """Variance that white noise of variance one has after a filter."""
    pixels = matched.frequencies.shape
    return (np.abs(transfer) ** 2 * both_halves(pixels[1])).sum(axis=(-2, -1)) / np.prod(pixels)


def _independent(matched):
    """Share of independent pixels, the inverse of the sum of squared correlations."""
    kernel = matched.source_noise()
    if kernel is None:
        return 1.0
    power = np.abs(kernel) ** 2
    mean = _mean_power(kernel, matched)
    return mean**2 / _mean_power(power, matched)


def _beam(matched):
    """Pixels ``[C]`` over which a map of matched filtering is the same: of a Gaussian of twice the PSF's variance."""
    sigma = matched.degrader.common_fwhm / SIGMA_TO_FWHM / matched.frequencies.pixel_scale
    return np.maximum(4 * np.pi * 2 * sigma**2, 1)


def _effects(matched, spectrum, degraded, sigma2, sky, distortions):
    """Images ``[n, C, H, W]`` of one sigma of each effect that is tolerated beside calibration."""
    found = []
    if sky:
        found.append(np.broadcast_to(np.sqrt(sigma2.min(axis=(2, 3), keepdims=True)) * sky, degraded.shape))
    seen = matched.coarse(spectrum)
    return found + [matched.quick_image(seen * transfer) for transfer in distortions]


def _distortions(matched, tolerance):
    """Yield transfer functions of small changes of PSF and registration, ``[C, ky, kx]``."""
    y, x = matched.frequencies.along(fine=False)
    fwhm = matched.degrader.common_fwhm
    # A PSF wider by a Gaussian of variance s2 is multiplied by exp(-k2 s2 / 2); a FWHM larger by e is s2 = 2 e sigma2.
    sigma2 = ((fwhm / SIGMA_TO_FWHM) ** 2)[:, None, None]
    for size, pattern in (
        (tolerance.width, x**2 + y**2),
        (tolerance.ellipticity, x**2 - y**2),  # second moments of (1 + 2 g) sigma2 and (1 - 2 g) sigma2
        (tolerance.ellipticity, 2 * x * y),
    ):
        if size:
            yield (-size * sigma2 * pattern).astype(np.float32)
    for pattern in (x, y) if tolerance.shift else ():
        yield np.broadcast_to(1j * tolerance.shift * pattern, (len(fwhm), len(y), x.size)).astype(np.complex64)
    if tolerance.wings:
        radius = np.hypot(y, x)
        wide, narrow = (np.array([moffat_transform(radius, each, beta) for each in fwhm]) for beta in WINGS)
        # Frequencies that the PSF suppresses would divide by zero; an error of its wings is suppressed there too.
        yield (tolerance.wings * (wide - narrow) / np.maximum((wide + narrow) / 2, 1e-2)).astype(np.float32)


def _light(degraded, own):
    """Degraded translation where it is above its own noise, lest noise be taken for flux; all of it without noise."""
    smooth = gaussian_filter(degraded, (0, 0, SMOOTH, SMOOTH))
    return np.where(smooth > np.sqrt(own)[:, :, None, None].astype(np.float32), degraded, 0)


def _own_products(matched, own, weight, light, transfers):
    """
    What the noise of a translation, which is in the residual, in light and in effects alike, adds to their products:
    ``[n, C, K, K]`` of residual, light and effects but calibration.
    """
    noise, pixels = own * matched.target_noise() ** 2, matched.frequencies.shape
    halves = both_halves(pixels[1]) / np.prod(pixels)
    zero = np.zeros(noise.shape[1:], np.float32)
    filters = np.stack([zero + 1, zero + 1, *(zero if t is None else t for t in transfers)], axis=1)
    mean = np.einsum("ncyx,cayx,cbyx,x->ncab", noise, filters, np.conj(filters), halves, optimize=True).real
    inside = np.repeat(
        (weight * (light != 0)).sum(axis=(2, 3), dtype=float)[..., None, None], filters.shape[1], axis=-1
    )
    whole = weight.sum(axis=(2, 3), dtype=float)[..., None, None]
    of_light = np.arange(filters.shape[1]) == 1
    return mean * np.where(of_light[:, None] | of_light, inside, whole)


def _own_spread(matched, own, weight, light):
    """What the noise of a translation adds to the variance of the product of light and residual."""
    transfer, point = matched.target_noise(), matched.point()
    mean, where = _mean_power(transfer, matched), weight * (light != 0)
    safe = np.where(mean > 0, mean, 1)
    squares = _mean_power(transfer**2, matched) / safe**2  # of correlations, summed
    # correlated noise does not average out over light, as white noise of that size would: as over a point source
    excess = _mean_power(transfer * point, matched) / (safe * _mean_power(point, matched)) - 1
    correlated = 2 * squares * own**2 * (where**2).sum(axis=(2, 3))
    return correlated + excess * own * ((weight * light) ** 2).sum(axis=(2, 3))


def _marginalised(images, weight, calibration, own):
    """What effects explain, what that costs chi-squared, and the flux error without; of residual, light and effects."""
    vectors = np.stack(images, axis=2).astype(np.float32)
    n, bands, number = vectors.shape[:3]
    flat = vectors.reshape(n, bands, number, -1)
    products = np.matmul(flat * weight.reshape(n, bands, 1, -1), flat.swapaxes(-1, -2)).astype(float)
    # the translation's own noise is in residual and effects alike; what it makes of their products is no effect
    by_noise = np.concatenate([(calibration * own[0][..., 0, 1])[..., None], own[0][..., 0, 2:]], axis=-1)
    inner, outer = products[..., 2:, 2:] + np.eye(number - 2), products[..., 2:, 0]
    size = np.linalg.solve(inner, (outer - by_noise)[..., None])[..., 0]
    explained = np.einsum("nbk,nbkyx->nbyx", size.astype(np.float32), vectors[:, :, 2:])
    # calibration (the third) is an error of the flux: it comes last
    others = np.delete(np.arange(number), 2)
    rest = _projected(products[..., others[:, None], others] - own[0], 2)
    light = np.where(rest[..., 1, 1] > 0, rest[..., 1, 1], np.nan)
    noise = light + own[0][..., 1, 1] + own[1]
    sigma = np.hypot(np.sqrt(noise) / light, calibration)
    cost = np.square(size).sum(axis=-1)
    return {"cost": cost, "flux_error": rest[..., 0, 1] / light, "flux_sigma": sigma, "explained": explained}


def _projected(products, first):
    """Products of the first two vectors, with those from ``first`` on marginalised."""
    outer, n = products[..., first:, :2], products.shape[-1] - first
    size = np.linalg.solve(products[..., first:, first:] + np.eye(n), outer)
    return products[..., :2, :2] - np.einsum("...ka,...kb->...ab", outer, size)


def _matched_filter(matched, residual, weight, point, own):
    """Significance of a point source at every pixel."""
    pixels = matched.frequencies.shape
    square = fft.rfft2(fft.irfft2(point, s=pixels) ** 2)
    rows, columns = residual.shape[-2:]

    def filtered(image, kernel):
        return fft.irfft2(fft.rfft2(image, s=pixels) * np.conj(kernel), s=pixels)[..., :rows, :columns]

    norm, total, white = filtered(weight, square), square[..., :1, :1].real, 1.0
    coloured = matched.source_noise()
    if coloured is not None:  # what the filter leaves of the noise, over what it would leave if that were white
        left = _mean_power(coloured * point, matched) / _mean_power(coloured, matched)
        white = left[..., None, None] / total
    variance = white * norm
    if own.any():  # that of the translation is not white either
        transfer = matched.target_noise()
        left = own * (_mean_power(transfer * point, matched) / _mean_power(transfer, matched))
        variance = variance + (norm / total) ** 2 * (left[..., None, None] - own[..., None, None] * total)
    top = filtered(residual * weight, point)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, top / np.sqrt(variance), 0).astype(np.float32)
