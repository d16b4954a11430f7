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

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import minimum_filter

from .blanksky import both_halves, roughness
from .psf import SIGMA_TO_FWHM, moffat_transform

__all__ = ["Comparison", "Noise", "Tolerance", "compare"]

WINGS = 2.8, 4.765  # exponents of Moffat profiles with wide wings, and without: pure turbulence


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
    """Noise of the source, and of the translation itself."""

    sky: np.ndarray  #: ``[C]``: rms of the source's sky in a pixel
    electrons: np.ndarray  #: ``[C]``: electrons per flux unit, NaN for no photon noise
    own: np.ndarray  #: ``[C]``: rms of white noise in a pixel of the translation, its own flux unit


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found, all ``[n, C]`` but the maps."""

    chi2: np.ndarray
    dof: np.ndarray
    independent: np.ndarray  #: number of independent pixels: ``dof``, but where noise is correlated
    flux_error: np.ndarray
    flux_sigma: np.ndarray
    roughness: np.ndarray
    residual: np.ndarray  #: ``[n, C, H, W]``: residual in sigma, after what is tolerated; NaN where not compared
    significance: np.ndarray  #: ``[n, C, H, W]``: the map of matched filtering; NaN where not compared
    degraded: np.ndarray  #: ``[n, C, H, W]``: the translation as the source would have seen it
    source: np.ndarray  #: ``[n, C, H, W]``


def compare(matched, source, translated, noise, tolerance, calibration, *, variance=None, mask=None):
    """
    Compare a batch of galaxies.

    Parameters
    ----------
    matched : `~astro_galtrans.diagnostics.degrade.Matched`
        PSFs of these galaxies.
    source : `numpy.ndarray`
        ``[n, C, H, W]``; pixels that are not finite are left out.
    translated : `numpy.ndarray`
        ``[n, C', sH, sW]``.
    noise : `Noise`
        Of the common bands.
    tolerance : `Tolerance`
    calibration : array-like
        ``[C]``: the relative calibration error tolerated.
    variance : `numpy.ndarray`, optional
        ``[n, C, H, W]``: of the source, instead of that from sky and photons.
    mask : `numpy.ndarray`, optional
        ``[n, C, H, W]`` or ``[n, H, W]``: True for pixels to leave out.

    Returns
    -------
    `Comparison`
    """
    usable = _usable(matched.degrader, source, mask)
    broken = ~np.isfinite(translated).all(axis=(1, 2, 3))  # has no transform: no comparison
    scene = matched.scene(np.where(broken[:, None, None, None], 0, translated))
    spectrum = matched.spectrum(scene)
    degraded, given = matched.image(spectrum), matched.source(np.where(np.isfinite(source), source, 0))
    usable &= ~broken[:, None, None, None]
    own = noise.own**2 * _mean_power(matched.target_noise(), matched)
    sigma2 = _variance(matched, degraded, noise, variance) + own[:, :, None, None]
    weight = np.where(usable, 1 / sigma2, 0).astype(np.float32)
    residual = degraded - given
    effects = _effects(matched, spectrum, degraded, sigma2, tolerance, calibration)
    fitted = _marginalised(residual, degraded, weight, effects)
    cleaned = np.where(usable, residual - fitted.pop("explained"), 0)
    point = matched.point()
    maps = _matched_filter(matched, cleaned, weight, point, own)
    dof = usable.sum(axis=(2, 3))
    nowhere = np.where(usable, np.float32(1), np.float32(np.nan))
    return Comparison(
        **fitted, dof=dof, independent=dof * _independent(matched), residual=cleaned * np.sqrt(weight) * nowhere,
        roughness=np.broadcast_to(roughness(point, matched.frequencies.shape), dof.shape),
        significance=maps * nowhere, degraded=degraded, source=given,
    )  # fmt: skip


def _usable(degrader, source, mask):
    """Pixels to compare: finite, not masked, and far enough from the edge; in each common band."""
    usable = np.isfinite(source)
    if mask is not None:
        usable &= ~(mask if mask.ndim == 4 else mask[:, None]).astype(bool)
    m = degrader.margin
    if degrader.degrade_source:  # a bad pixel has spread
        usable = minimum_filter(usable.view(np.uint8), (1, 1, 2 * m + 1, 2 * m + 1)).view(bool)
    inside = np.zeros(usable.shape[-2:], bool)
    inside[m : inside.shape[0] - m, m : inside.shape[1] - m] = True
    return usable[:, degrader.in_source] & inside


def _variance(matched, degraded, noise, variance):
    """Variance of the source's pixels: the photon noise is that of the translation, if it were true."""
    if variance is None:
        photons = (
            np.clip(degraded, 0, None) / np.where(np.isnan(noise.electrons), np.inf, noise.electrons)[:, None, None]
        )
        variance = noise.sky[:, None, None] ** 2 + photons
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


def _effects(matched, spectrum, degraded, sigma2, tolerance, calibration):
    """What is tolerated, one sigma of each: list of images ``[n, C, H, W]``."""
    found = []
    if np.any(calibration):
        found.append(degraded * np.asarray(calibration, np.float32)[:, None, None])
    if tolerance.sky:
        found.append(np.broadcast_to(np.sqrt(sigma2.min(axis=(2, 3), keepdims=True)) * tolerance.sky, degraded.shape))
    seen = matched.coarse(spectrum)
    return found + [matched.quick_image(seen * transfer) for transfer in _distortions(matched, tolerance)]


def _distortions(matched, tolerance):
    """Yield transfer functions of small changes of PSF and registration, ``[C, ky, kx]``."""
    y, x = matched.frequencies.along(fine=False)
    fwhm = matched.degrader.target_fwhm if matched.degrader.degrade_source else matched.degrader.fwhm
    # a Gaussian of variance s2 more: exp(-k2 s2 / 2); of a PSF whose FWHM is by e larger, s2 = 2 e sigma2
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
        # where a PSF lets hardly anything pass, neither do its wings
        yield (tolerance.wings * (wide - narrow) / np.maximum((wide + narrow) / 2, 1e-2)).astype(np.float32)


def _marginalised(residual, model, weight, effects):
    """Chi-squared and flux error with effects marginalised, and the image that they explain."""
    vectors = np.stack([residual, model, *effects], axis=2).astype(np.float32)
    n, bands, number = vectors.shape[:3]
    flat = vectors.reshape(n, bands, number, -1)
    products = np.matmul(flat * weight.reshape(n, bands, 1, -1), flat.swapaxes(-1, -2)).astype(float)
    inner, outer = products[..., :2, :2], products[..., 2:, :2]
    matrix = products[..., 2:, 2:] + np.eye(number - 2)
    size = np.linalg.solve(matrix, outer)
    left = inner - np.einsum("...ka,...kb->...ab", outer, size)
    with np.errstate(divide="ignore", invalid="ignore"):
        error, sigma = left[..., 0, 1] / left[..., 1, 1], 1 / np.sqrt(left[..., 1, 1])
    explained = np.einsum("nbk,nbkyx->nbyx", size[..., 0].astype(np.float32), vectors[:, :, 2:])
    chi2 = np.maximum(left[..., 0, 0], 0)
    return {"chi2": chi2, "flux_error": error, "flux_sigma": sigma, "explained": explained}


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
