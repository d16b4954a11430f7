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
formula of Woodbury. Chi-squared with that :math:`C` keeps its distribution. The vectors are those of the light: a
distorted image holds the distorted noise of the translation too, of which a few vectors could explain most of the
noise in the residual. They are therefore zero where they do not stand out of that noise, and what it adds to their
products is subtracted.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft
from scipy.ndimage import binary_dilation, binary_propagation, gaussian_filter, minimum_filter

from astro_galtrans.moments import SIGMA_TO_FWHM
from astro_galtrans.psf import both_halves, moffat_transform
from astro_galtrans.statistics.weighted import MAD_TO_SIGMA
from astro_galtrans.surveys import MOFFAT_BETA

from .blanksky import roughness

__all__ = ["Comparison", "Correlation", "Noise", "Tolerance", "compare", "measure_correlation", "measure_own_factor"]

SMOOTH = 1.5  # pixels, about the sigma of a PSF: light that stands out of its own noise does so at that width
SEEN = 5  # sigma of smoothed light that is no noise: none in 10^6 pixels
UNSURE = 0.3  # relative error of the noise of a galaxy from which on it tells nothing of other galaxies
LAG, CLIPPED = 3, 4  # pixels to which interpolation correlates noise; sigma beyond which a pixel is no mere noise
# Width over the PSF's, and Moffat exponent: of wide wings, and of those of turbulence alone (Trujillo et al. 2001); and
# of the halo of real stars, which is 2 to 3 times as wide as their core (`astro_galtrans.pairs.simulated.render`).
WINGS, HALO = ((1, 2.8), (1, 4.765)), (2.4, 2.5)


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
    halo: float = 0.0  #: share of that PSF's light in a halo that is wider than any Moffat profile
    light: float = 0.0  #: of the light in each pixel: no model of a PSF holds for a star a thousand times the noise

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
    own_electrons: np.ndarray  #: ``[C]``: its electrons per flux unit, infinite for no photon noise

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
    own: np.ndarray  #: variance of the translation's own noise in a pixel of the source
    own_share: np.ndarray  #: share of that in the variance of a pixel of sky
    residual: np.ndarray  #: ``[n, C, H, W]``: residual in sigma, after what is tolerated; NaN where not compared
    significance: np.ndarray  #: ``[n, C, H, W]``: the map of matched filtering; NaN where not compared
    dark: np.ndarray  #: bool ``[n, C, H, W]``: pixels that are compared, and in which there is no light to speak of
    degraded: np.ndarray  #: ``[n, C, H, W]``: the translation as the source would have seen it
    source: np.ndarray  #: ``[n, C, H, W]``


@dataclass(frozen=True, eq=False)
class Correlation:
    """
    How the noise of residuals differs from white noise of the size that was stated, in each band.

    Galaxies differ: some frames were resampled, and the sky is not equally bright in all. The noise that is measured in
    the stamp of a galaxy is shrunk towards the median of all galaxies, the more so the larger its error is compared
    with the scatter among galaxies (James & Stein 1961).
    """

    middle: np.ndarray  #: ``[3, C]``: logarithms of rms over what it should be: of residuals, of the map, of sums
    scatter: np.ndarray  #: ``[3, C]``: of these among galaxies, errors taken out

    def corrected(self, found):
        """Return a `Comparison` whose statistics are corrected for the noise of each galaxy."""
        each, error, independent = _noise_of(found)
        apart = np.nan_to_num(each - self.middle[:, None])
        share = self.scatter[:, None] ** 2 / (self.scatter[:, None] ** 2 + error**2)
        # the few frames that were resampled stand out by themselves, though most galaxies are alike
        share = np.maximum(share, 1 - (2 * error / np.maximum(np.abs(apart), 1e-9)) ** 2)
        residual, width, sums = np.exp(self.middle[:, None] + share * apart)
        images = (array[..., None, None].astype(np.float32) for array in (residual, width))
        return replace(
            found, chi2=found.chi2 / residual**2, independent=found.dof * independent,
            # White noise averages out over the pixels of a galaxy; correlated noise averages out less.
            flux_sigma=found.flux_sigma * np.maximum(width, sums), residual=found.residual / next(images),
            significance=found.significance / next(images),
        )  # fmt: skip


def measure_own_factor(parts):
    """
    Measure a translation's own noise after degrading, over what would be left of white noise, ``[C]``.

    ``parts`` is a list of `Comparison`. Pixels below zero tell, where there is no light of sources.
    """
    degraded, own = (np.concatenate([getattr(part, name) for part in parts]) for name in ("degraded", "own"))
    inside = np.isfinite(np.concatenate([part.residual for part in parts]))
    below = np.where(inside & (degraded < 0), degraded, np.nan)
    # seeing differs from galaxy to galaxy, and with it what the degrading leaves of the noise
    return MAD_TO_SIGMA * np.nanmedian(-below / np.sqrt(own)[..., None, None], axis=(0, 2, 3))


def measure_correlation(parts):
    """
    Measure the noise of the residuals of a list of `Comparison`.

    Returns
    -------
    `Correlation`
    """
    each, error = (np.concatenate(both, axis=1) for both in zip(*(_noise_of(part)[:2] for part in parts), strict=True))
    each = np.where(error < UNSURE, each, np.nan)
    middle = np.nan_to_num(_quiet(np.nanmedian, each, axis=1))
    scatter = _quiet(np.nanmean, (each - middle[:, None]) ** 2 - error**2, axis=1)
    return Correlation(middle, np.sqrt(np.clip(np.nan_to_num(scatter), 0, None)))


def _noise_of(found):
    """
    Noise of each galaxy in its pixels without light: the three logarithms of which `Correlation` has the median, their
    errors, each ``[3, n, C]``, and the share of independent pixels ``[n, C]``.
    """
    sky = np.where(found.dark, found.residual, np.nan)
    number = np.maximum(np.isfinite(sky).sum(axis=(2, 3)), 1)
    sizes = np.array([_clipped_rms(np.where(found.dark, image, np.nan)) for image in (sky, found.significance)])
    sky = np.where(np.abs(sky) < CLIPPED * sizes[0][..., None, None], sky, np.nan)
    lags = [(y, x) for y in range(-LAG, LAG + 1) for x in range(-LAG, LAG + 1)]
    correlations = np.array([_correlation(sky, *lag) for lag in lags])
    # Measured correlations of white noise scatter about zero: their squares sum up to their number over that of pixels.
    squares = np.maximum(np.nansum(correlations**2, axis=0) - (len(lags) - 1) / number, 1)
    sums = sizes[0] * np.sqrt(np.maximum(np.nansum(correlations, axis=0), 0.1))
    # A map that was filtered with a Gaussian PSF has one independent pixel in pi over its roughness.
    of_map = np.sqrt(np.pi / found.roughness / (2 * number))
    error = np.array([np.sqrt(squares / (2 * number)), of_map, of_map])
    return np.log(np.array([*sizes, sums])), error, 1 / squares


def _clipped_rms(images):
    """Root mean square of maps ``[n, C, H, W]`` where they are finite, outliers left out: NaN for none, ``[n, C]``."""
    size = MAD_TO_SIGMA * _quiet(np.nanmedian, np.abs(images), axis=(2, 3))
    kept = np.abs(images) < CLIPPED * size[..., None, None]
    return np.sqrt(_quiet(np.nanmean, np.where(kept, images, np.nan) ** 2, axis=(2, 3)))


def _correlation(images, y, x):
    """Correlation of pixels that are so far apart, per galaxy and band."""
    if x < 0:
        return _correlation(images, -y, -x)
    height, width = images.shape[-2:]
    first = images[..., max(0, -y) : height - max(0, y), : width - x]
    second = images[..., max(0, y) : height + min(0, y), x:]
    return _quiet(np.nanmean, first * second, axis=(2, 3)) / _quiet(np.nanmean, images**2, axis=(2, 3))


def _quiet(function, images, axis):
    """Mean or median of what is not NaN; NaN, without a warning, where there is nothing."""
    some = ~np.isnan(images).all(axis=axis, keepdims=True)
    return np.where(some.squeeze(axis), function(np.where(some, images, 0), axis=axis), np.nan)


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
    left, area = _mean_power(matched.target_noise(), matched), matched.degrader.factor * matched.degrader.scale**2
    own = noise.own**2 * left
    photons = np.clip(degraded, 0, None) * (left / (area * noise.own_electrons))[:, :, None, None]
    of_source = _variance(matched, degraded, noise, variance)
    sigma2 = of_source + own[:, :, None, None] + photons + (tolerance.light * degraded) ** 2
    usable &= ~_from_outside(matched.degrader, degraded - given, sigma2)
    weight = np.where(usable, 1 / sigma2, 0).astype(np.float32)
    residual = degraded - given
    calibration = np.broadcast_to(np.asarray(calibration, dtype=float), degraded.shape[1:2])
    transfers = [calibration.astype(np.float32)[None, :, None, None], *_distortions(matched, tolerance)]
    # the sky is a constant, without noise of its own
    effects, faintest = _effects(matched, spectrum, noise, transfers), np.sqrt(sigma2.min(axis=(2, 3), keepdims=True))
    if tolerance.sky:
        effects.append(np.broadcast_to(faintest * tolerance.sky, degraded.shape))
        transfers.append(np.zeros((1, 1, 1, 1), np.float32))
    smooth, smooth_noise = _smooth(degraded), _smoothed_noise(matched, noise.own)
    light = np.where(smooth > SEEN * smooth_noise, degraded, 0)  # lest noise of the translation be taken for flux
    shared = _own_products(matched, noise.own[:, None, None] ** 2, weight, [light, *effects], transfers)
    spread = _spread(matched, own, of_source, weight, light)
    fitted = _marginalised([residual, light, *effects], weight, calibration, (shared, spread))
    cleaned = np.where(usable, residual - fitted.pop("explained"), 0)
    point = matched.point()
    maps = _matched_filter(matched, cleaned, weight, point, own)
    dof = usable.sum(axis=(2, 3))
    nowhere = np.where(usable, np.float32(1), np.float32(np.nan))
    return Comparison(
        **fitted, dof=dof, independent=dof * _independent(matched), residual=cleaned * np.sqrt(weight) * nowhere,
        roughness=np.broadcast_to(roughness(point, matched.frequencies.shape), dof.shape),
        own=np.broadcast_to(own, dof.shape), own_share=own / faintest[..., 0, 0] ** 2,
        significance=maps * nowhere, degraded=degraded, source=given,
        dark=usable & (smooth < np.maximum(faintest, 3 * smooth_noise)),  # mere noise is dark, whatever its sign
    )  # fmt: skip


def _usable(matched, source, mask):
    """Pixels to compare: finite, not masked, and far enough from the edge; in each common band."""
    degrader = matched.degrader
    usable, m = (np.isfinite(source) & ~mask)[:, degrader.in_source], degrader.margin
    if matched.sharper.any():  # the convolution has spread bad pixels
        whole = minimum_filter(usable.view(np.uint8), (1, 1, 2 * m + 1, 2 * m + 1)).view(bool)
        usable = np.where(matched.sharper[..., None, None], whole, usable)
    inside = np.zeros(usable.shape[-2:], bool)
    inside[m : inside.shape[0] - m, m : inside.shape[1] - m] = True
    return usable & inside


def _from_outside(degrader, residual, variance):
    """
    Return which pixels near the edge show light of a source beyond the edge.

    The broader PSF of the source survey brings such light in, and no translation of the stamp can know of it. Its
    pixels are connected with an excess of light at the edge itself.
    """
    excess = _smooth(-residual / np.sqrt(variance))
    # noise may be correlated, and smoothed noise is then larger than that of independent pixels
    excess /= np.maximum(MAD_TO_SIGMA * np.median(np.abs(excess), axis=(2, 3), keepdims=True), 1e-30)
    edge, zone = np.ones((2, *residual.shape[-2:]), bool)
    for where, m in ((edge, degrader.margin), (zone, 3 * degrader.margin)):
        where[m : where.shape[0] - m, m : where.shape[1] - m] = False
    plane = np.ones((1, 1, 3, 3), bool)
    found = binary_propagation((excess > SEEN) & edge, plane, mask=(excess > 2) & zone)
    return binary_dilation(found, plane, iterations=2)


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


def _effects(matched, spectrum, noise, transfers):
    """
    Images ``[n, C, H, W]`` of one sigma of each effect that changes the light, where they stand out of their own noise.

    Elsewhere they would be a pattern of the translation's noise, which explains, and so hides, that noise itself.
    """
    seen, found, blurred = matched.coarse(spectrum), [], matched.target_noise()
    for transfer in transfers:
        image = matched.quick_image(seen * transfer)
        own = noise.own * np.sqrt(_mean_power(blurred * transfer, matched))
        found.append(np.where(_smooth(np.abs(image)) > 3 * own[:, :, None, None].astype(np.float32), image, 0))
    return found


def _distortions(matched, tolerance):
    """Transfer functions of small changes of the source's PSF and of registration, ``[n or 1, C, ky, kx]`` each."""
    y, x = matched.frequencies.along(fine=False)
    fwhm, found = matched.fwhm[..., None, None], []
    # A PSF wider by a Gaussian of variance s2 is multiplied by exp(-k2 s2 / 2); a FWHM larger by e is s2 = 2 e sigma2.
    sigma2 = (fwhm / SIGMA_TO_FWHM) ** 2
    for size, pattern in (
        (tolerance.width, x**2 + y**2),
        (tolerance.ellipticity, x**2 - y**2),  # second moments of (1 + 2 g) sigma2 and (1 - 2 g) sigma2
        (tolerance.ellipticity, 2 * x * y),
    ):
        if size:
            found.append((-size * sigma2 * pattern).astype(np.float32))
    if tolerance.shift:
        found += [np.complex64(1j * tolerance.shift) * (pattern + 0 * sigma2) for pattern in (x, y)]
    for size, one, other in ((tolerance.wings, *WINGS), (tolerance.halo, HALO, (1, MOFFAT_BETA))):
        if size:
            wide, narrow = (_profiles(np.hypot(y, x), ratio * matched.fwhm, beta) for ratio, beta in (one, other))
            # Frequencies that the PSF suppresses would divide by zero; an error of its wings is suppressed there too.
            found.append(size * (wide - narrow) / np.maximum(narrow, 1e-2))
    return found


def _profiles(radius, fwhm, beta):
    """Transforms ``[n or 1, C, ky, kx]`` of Moffat profiles of these FWHMs (arcsec)."""
    return np.array([[moffat_transform(radius, each, beta) for each in row] for row in fwhm], np.float32)


def _smooth(images):
    """Images smoothed as by a PSF, with nothing beyond the edge: a mirror would count the noise there twice."""
    return gaussian_filter(images, (0, 0, SMOOTH, SMOOTH), mode="constant")


def _smoothed_noise(matched, own):
    """Rms ``[n or 1, C, 1, 1]`` of the noise of a translation in its degraded image, if that is smoothed."""
    y, x = matched.frequencies.along(fine=False)
    blur = np.exp(-0.5 * (SMOOTH * matched.frequencies.pixel_scale) ** 2 * (y**2 + x**2))
    return (own * np.sqrt(_mean_power(matched.target_noise() * blur, matched)))[..., None, None].astype(np.float32)


def _own_products(matched, own, weight, images, transfers):
    """
    What the noise of a translation, which is in the residual, in light and in effects alike, adds to their products:
    ``[n, C, K, K]`` of residual, light and effects.
    """
    noise, halves = own * matched.target_noise() ** 2, both_halves(matched.frequencies.shape[1])
    shape = np.broadcast_shapes(*(each.shape for each in (noise, *transfers)))
    filters = np.stack([np.broadcast_to(each, shape) for each in (np.float32(1), np.float32(1), *transfers)], axis=2)
    noise = np.broadcast_to(noise, shape)
    mean = np.einsum("ncyx,ncayx,ncbyx,x->ncab", noise, filters, np.conj(filters), halves, optimize=True).real
    # light and effects are zero where they do not stand out of their noise
    inside = [weight, *(weight * (image != 0) for image in images)]
    inside = np.stack([each.sum(axis=(2, 3), dtype=float) for each in inside], axis=-1)
    return mean / np.prod(matched.frequencies.shape) * np.minimum(inside[..., None], inside[..., None, :])


def _spread(matched, own, of_source, weight, light):
    """What noise that is not white, or that is in the light too, adds to the variance of the product with residual."""
    transfer = matched.target_noise()
    mean, where = _mean_power(transfer, matched), weight * (light != 0)
    squares = _mean_power(transfer**2, matched) / np.where(mean > 0, mean, 1) ** 2  # of correlations, summed
    found = 2 * squares * own**2 * (where**2).sum(axis=(2, 3))
    # Correlated noise does not average out over the light, as white noise of that size would.
    shape = matched.frequencies.shape
    power = np.abs(fft.rfft2(weight * light, s=shape)) ** 2 * both_halves(shape[1])
    power /= np.maximum(power.sum(axis=(2, 3), keepdims=True), 1e-30)
    for kernel, variance in ((transfer, own[:, :, None, None]), (matched.source_noise(), of_source)):
        if kernel is not None:
            left, average = (power * np.abs(kernel) ** 2).sum(axis=(2, 3)), _mean_power(kernel, matched)
            excess = np.maximum(left / np.where(average > 0, average, 1) - 1, 0)
            found += excess * (variance * (weight * light) ** 2).sum(axis=(2, 3))
    return found


def _marginalised(images, weight, calibration, own):
    """Chi-squared and flux error with effects marginalised, and what they explain; of residual, light and effects."""
    vectors = np.stack(images, axis=2).astype(np.float32)
    n, bands, number = vectors.shape[:3]
    flat = vectors.reshape(n, bands, number, -1)
    products = np.matmul(flat * weight.reshape(n, bands, 1, -1), flat.swapaxes(-1, -2)).astype(float)
    corrected = products - own[0]
    # chi-squared keeps the noise, but what effects explain of it must not be the noise that they have in common
    left, size = _projected(np.where(np.arange(number) + np.arange(number)[:, None] == 0, products, corrected), 2)
    explained = np.einsum("nbk,nbkyx->nbyx", size[..., 0].astype(np.float32), vectors[:, :, 2:])
    # calibration (the third) is an error of the flux: it comes last
    others = np.delete(np.arange(number), 2)
    rest, _ = _projected(corrected[..., others[:, None], others], 2)
    light = np.where(rest[..., 1, 1] > 0, rest[..., 1, 1], np.nan)
    noise = light + own[0][..., 1, 1] + own[1]
    sigma = np.hypot(np.sqrt(noise) / light, calibration)
    chi2 = np.maximum(left[..., 0, 0], 0)
    return {"chi2": chi2, "flux_error": rest[..., 0, 1] / light, "flux_sigma": sigma, "explained": explained}


def _projected(products, first):
    """Products of the first two vectors with those from ``first`` on marginalised, and how much of these they hold."""
    outer, n = products[..., first:, :2], products.shape[-1] - first
    size = np.linalg.solve(products[..., first:, first:] + np.eye(n), outer)
    return products[..., :2, :2] - np.einsum("...ka,...kb->...ab", outer, size), size


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
        variance = variance + (norm / total) ** 2 * (left[..., None, None] - own[..., None, None] * total * white)
    top = filtered(residual * weight, point)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, top / np.sqrt(variance), 0).astype(np.float32)
