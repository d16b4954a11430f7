r"""
PSFs as transfer functions on the frequencies of a stamp, from a FWHM or from images.

All are of the PSF without the pixel: finer pixels are summed to coarser ones elsewhere, so that pixels need no transfer
function of their own. Images of PSFs are taken to be integrated over the pixels they are on, whose response, a sinc
along each axis, is divided out.

The transform of a Moffat profile of core :math:`r_0 = \mathrm{FWHM} / (2 \sqrt{2^{1/\beta} - 1})` is
:math:`2 / \Gamma(\nu) \, (k r_0 / 2)^\nu K_\nu(k r_0)` with :math:`\nu = \beta - 1` (Trujillo et al. 2001, MNRAS 328,
977); for an infinite :math:`\beta` the profile is a Gaussian.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft, special

from astro_galtrans.moments import SIGMA_TO_FWHM, gaussian_fwhm
from astro_galtrans.surveys import MOFFAT_BETA

__all__ = [
    "Frequencies", "MoffatPSF", "SampledPSF", "as_psf", "both_halves", "equivalent_fwhm", "image_fwhm", "measured_fwhm",
    "moffat_transform", "profile_fwhm", "psf_images", "star_fwhm", "summing",
    "widths",
]  # fmt: skip

TABLE = 60.0, 6000  # largest k r0, and steps: linear interpolation is good to 1e-5


@dataclass(frozen=True)
class Frequencies:
    """Frequencies of the transform of a padded stamp of the source, on pixels that are ``scale`` times finer."""

    shape: tuple[int, int]  #: padded rows and columns (source pixels)
    scale: int
    pixel_scale: float  #: of the source (arcsec)

    @property
    def fine(self):
        """Rows and columns (fine pixels)."""
        return tuple(self.scale * n for n in self.shape)

    @property
    def fine_pixel(self):
        """Side of a fine pixel (arcsec)."""
        return self.pixel_scale / self.scale

    def along(self, *, fine=True):
        """Frequencies along y, as a column, and along x (radian per arcsec), in the order of ``rfft2``."""
        (rows, columns), pixel = (self.fine, self.fine_pixel) if fine else (self.shape, self.pixel_scale)
        return 2 * np.pi * fft.fftfreq(rows, pixel)[:, None], 2 * np.pi * fft.rfftfreq(columns, pixel)

    def radius(self, *, fine=True):
        """Absolute frequencies (radian per arcsec), ``[ky, kx]``."""
        return np.hypot(*self.along(fine=fine))

    def coarse(self, spectrum):
        """Return the part of fine spectra ``[..., ky, kx]`` that source pixels resolve, aliases left out."""
        rows, columns = self.shape
        half = (rows + 1) // 2
        kept = [spectrum[..., :half, : columns // 2 + 1], spectrum[..., half - rows :, : columns // 2 + 1]]
        return np.concatenate(kept, axis=-2) if self.scale > 1 else spectrum

    def finer(self, spectrum):
        """Undo `coarse`, with zeros for what source pixels do not resolve."""
        rows, columns = self.shape
        half, shape = (rows + 1) // 2, (*spectrum.shape[:-2], self.fine[0], self.fine[1] // 2 + 1)
        wide = np.zeros(shape, spectrum.dtype)
        wide[..., :half, : columns // 2 + 1] = spectrum[..., :half, :]
        wide[..., half - rows :, : columns // 2 + 1] = spectrum[..., half:, :]
        return wide


class MoffatPSF:
    """
    Round Moffat profiles.

    Parameters
    ----------
    fwhm : array-like
        FWHM (arcsec) per band ``[C]``, or per galaxy and band ``[N, C]``.
    beta : float or array-like, optional
        Exponent, for all or as ``fwhm``; infinite for a Gaussian.

    Raises
    ------
    ValueError
        If a FWHM is not positive or an exponent not above 1.
    """

    floor = 1e-3  #: transfer below which light is lost beyond recovery

    def __init__(self, fwhm, beta=MOFFAT_BETA):
        self.fwhm = np.atleast_2d(np.asarray(fwhm, dtype=float))
        self.beta = np.broadcast_to(np.asarray(beta, dtype=float), self.fwhm.shape)
        if not (np.isfinite(self.fwhm) & (self.fwhm > 0)).all() or not (self.beta > 1).all():
            msg = f"FWHM must be positive and beta above 1, got FWHM {fwhm!r} and beta {beta!r}"
            raise ValueError(msg)

    def __len__(self):
        return len(self.fwhm)

    def __getitem__(self, rows):
        """Return the PSFs of some galaxies."""
        return MoffatPSF(self.fwhm[rows], self.beta[rows])

    @property
    def bands(self):
        """Number of bands."""
        return self.fwhm.shape[1]

    def transform(self, frequencies, rows, bands):
        """
        Return transfer functions, float32 ``[n or 1, C, ky, kx]`` on fine `Frequencies`, of some galaxies and bands.

        Where all galaxies share the PSF there is one row.
        """
        rows = np.zeros(1, int) if len(self) == 1 else np.asarray(rows)
        radius = frequencies.radius()
        out = np.empty((len(rows), len(bands), *radius.shape), np.float32)
        for n, row in enumerate(rows):
            for c, band in enumerate(bands):
                out[n, c] = moffat_transform(radius, self.fwhm[row, band], self.beta[row, band])
        return out


def moffat_transform(radius, fwhm, beta):
    """
    Return the transform of a round Moffat profile of unit flux at frequencies ``radius`` (radian per arcsec).

    The FWHM is in arcsec; an infinite ``beta`` is a Gaussian.
    """
    if np.isinf(beta):
        return np.exp(-0.5 * (np.asarray(radius) * fwhm / SIGMA_TO_FWHM) ** 2)
    core = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return np.interp(np.asarray(radius) * core, np.linspace(0, *TABLE), _moffat_table(beta), right=0)


@lru_cache(maxsize=64)
def _moffat_table(beta):
    x, nu = np.linspace(0, *TABLE)[1:], beta - 1
    return np.append(1.0, 2 / special.gamma(nu) * (x / 2) ** nu * special.kv(nu, x))


class SampledPSF:
    """
    PSFs as images.

    Parameters
    ----------
    images : array-like
        ``[C, k, k]``, or one per galaxy ``[N, C, k, k]``, centred, k odd; an array, or anything with a length that
        gives arrays for arrays of indices. The sum is taken for one.
    pixel_scale : float
        Of their pixels (arcsec): those of the survey's stamps.

    Raises
    ------
    ValueError
        If they have other axes, an even side, or a sum that is not positive.
    """

    floor = 0.02  #: as of `MoffatPSF`; stacks of stars are noisy

    def __init__(self, images, pixel_scale):
        images = images if hasattr(images, "shape") else np.asarray(images)
        self._images = np.asarray(images)[None] if len(np.shape(images)) == 3 else images
        self.pixel_scale, shape = float(pixel_scale), np.shape(self._images[:1])
        if len(shape) != 4 or shape[-1] % 2 == 0 or shape[-2] % 2 == 0:
            msg = f"PSF images must be [C, k, k] or [N, C, k, k] with k odd, got {np.shape(images)}"
            raise ValueError(msg)
        self.bands = shape[1]

    def __len__(self):
        return len(self._images)

    def __getitem__(self, rows):
        """Return the PSFs of some galaxies."""
        return SampledPSF(self._images[rows], self.pixel_scale)

    def transform(self, frequencies, rows, bands):
        """As `MoffatPSF.transform`."""
        rows = np.zeros(1, int) if len(self) == 1 else np.asarray(rows)
        images = np.asarray(self._images[rows])[:, bands].astype(float)
        total = images.sum(axis=(-2, -1), keepdims=True)
        if not (total > 0).all():
            msg = f"PSF images of sum zero or less, or NaN, of galaxies {rows[~(total > 0).all(axis=(1, 2, 3))][:10]}"
            raise ValueError(msg)
        fine = np.isclose(self.pixel_scale, frequencies.fine_pixel, rtol=0.02)
        if not fine and not np.isclose(self.pixel_scale, frequencies.pixel_scale, rtol=0.02):
            msg = (
                f"PSF images of {self.pixel_scale:g} arcsec per pixel for stamps of {frequencies.pixel_scale:g} and "
                f"{frequencies.fine_pixel:g}"
            )
            raise ValueError(msg)
        shape = frequencies.fine if fine else frequencies.shape
        y, x = frequencies.along(fine=fine)
        pixel = np.sinc(y * self.pixel_scale / (2 * np.pi)) * np.sinc(x * self.pixel_scale / (2 * np.pi))
        found = fft.rfft2(_wrapped(images / total, shape)) / pixel
        return (found if fine else frequencies.finer(found)).astype(np.complex64)


def _wrapped(images, shape):
    """Images in an array of some shape, their middle in its first pixel, what is beyond cut off."""
    for axis, n in zip((-2, -1), shape, strict=True):
        k = images.shape[axis]
        if k > n:
            edge = (k - n + 1) // 2
            images = np.take(images, np.arange(edge, k - edge), axis=axis)
    out = np.zeros((*images.shape[:-2], *shape))
    out[..., : images.shape[-2], : images.shape[-1]] = images
    return np.roll(out, [-(n // 2) for n in images.shape[-2:]], axis=(-2, -1))


def psf_images(psf, pixel_scale, side, number=64):
    """
    Return the median image ``[C, side, side]`` (side odd) of the PSFs of some ``number`` of galaxies.

    It is integrated over pixels of that scale, which a sampled PSF must have too, and has the sum 1.
    """
    frequencies = Frequencies((2 * side, 2 * side), 1, pixel_scale)
    rows = np.unique(np.linspace(0, len(psf) - 1, number).astype(int))
    transfer = np.median(psf.transform(frequencies, rows, np.arange(psf.bands)).real, axis=0)
    y, x = frequencies.along()
    half = pixel_scale / (2 * np.pi)
    images = fft.irfft2(transfer * np.sinc(y * half) * np.sinc(x * half), s=frequencies.shape)
    middle = np.roll(images, (side // 2, side // 2), axis=(-2, -1))[..., :side, :side]
    return middle / middle.sum(axis=(-2, -1), keepdims=True)


def as_psf(psf, number, bands, pixel_scale, what, beta=MOFFAT_BETA):
    """
    Return PSFs as objects with a ``transform``, as many as galaxies and bands; ``what`` is how to call them in errors.

    They are given as such, as FWHM (arcsec; one, ``[C]`` or ``[N, C]``) of Moffat profiles of exponent ``beta``, or as
    images ``[C, k, k]`` or ``[N, C, k, k]``.
    """
    if not hasattr(psf, "transform"):
        psf = np.full(len(bands), psf) if np.ndim(psf) == 0 else psf
        psf = MoffatPSF(psf, beta) if np.ndim(psf) < 3 else SampledPSF(psf, pixel_scale)
    if len(psf) not in {1, number} or psf.bands != len(bands):
        msg = (
            f"{what} is for {len(psf)} galaxies and {psf.bands} bands; there are {number} galaxies (or give one for "
            f"all) and {len(bands)} bands: {', '.join(bands)}"
        )
        raise ValueError(msg)
    return psf


def summing(frequencies):
    """
    Return the transfer function of the sum over the finer pixels of a source pixel, ``[ky, kx]`` of source pixels.

    It is relative to the middle of the pixel's first finer pixel, and one in the limit of an image without structure.
    """
    step, along = frequencies.fine_pixel, frequencies.along(fine=False)
    y, x = (sum(np.exp(1j * k * step * n) for n in range(frequencies.scale)) / frequencies.scale for k in along)
    return (y * x).astype(np.complex64)


def both_halves(columns):
    """Return how many columns of a whole transform of an image each column of its ``rfft2`` stands for."""
    weight = np.full(columns // 2 + 1, 2.0, np.float32)
    weight[0] = 1
    if columns % 2 == 0:
        weight[-1] = 1
    return weight


def equivalent_fwhm(transfer, frequencies):
    r"""
    Return the FWHM (arcsec) of the Gaussian with the noise-equivalent area of a PSF, :math:`1 / \int \mathrm{PSF}^2`
    (King 1983), of transfer functions ``[..., ky, kx]`` on fine frequencies.
    """
    weight = both_halves(frequencies.fine[1])
    area = np.prod(frequencies.fine) * frequencies.fine_pixel**2
    square = np.einsum("...yx,x->...", np.abs(transfer) ** 2, weight, dtype=float) / area
    return SIGMA_TO_FWHM / np.sqrt(4 * np.pi * square)


def image_fwhm(image):
    """Return the FWHM (pixels) of the Gaussian with the noise-equivalent area of a PSF's image, of any sum."""
    return SIGMA_TO_FWHM / np.sqrt(4 * np.pi * np.sum(np.square(image / image.sum())))


# The width that is measured of a star (`gaussian_fwhm`) is that of the best-matching Gaussian, pixel and wings
# included. It is tabulated over FWHM (pixels) and exponent of Moffat profiles.
WIDTHS = np.geomspace(1.9, 40.0, 28)
EXPONENTS = np.array([2.2, 2.5, 2.8, 3.2, MOFFAT_BETA, 4.0, 4.765, 6.0, 10.0])


def measured_fwhm(fwhm, beta=MOFFAT_BETA, pixel_scale=1.0):
    """
    Return the FWHM that `~astro_galtrans.moments.gaussian_fwhm` measures of stars with a Moffat PSF.

    Parameters
    ----------
    fwhm : array-like
        FWHM of the profile without the pixel, in the unit of ``pixel_scale``. Below two pixels, where what is measured
        depends on where in the pixel the star is, and above 40 the ratio of the widths is that at the limit.
    beta : float, optional
        Exponent of the profile.
    pixel_scale : float, optional
        Side of a pixel.
    """
    pixels = np.asarray(fwhm, float) / pixel_scale
    return pixel_scale * pixels * np.interp(pixels, WIDTHS, _widths_at(float(beta)) / WIDTHS)


def profile_fwhm(measured, beta=MOFFAT_BETA, pixel_scale=1.0):
    """Undo `measured_fwhm`: return the FWHM of the Moffat profile of which this width is measured."""
    pixels, widths = np.asarray(measured, float) / pixel_scale, _widths_at(float(beta))
    return pixel_scale * pixels * np.interp(pixels, widths, WIDTHS / widths)


@lru_cache(maxsize=64)
def _widths_at(beta):
    beta = np.clip(beta, EXPONENTS[0], EXPONENTS[-1])
    return np.array([np.interp(beta, EXPONENTS, row) for row in _width_table()])


@lru_cache(maxsize=1)
def _width_table():
    """Measured widths (pixels), ``[width, exponent]``."""
    return np.array([[_measured((width, beta, 1.0)) for beta in EXPONENTS] for width in WIDTHS])


def star_fwhm(profiles, pixel_scale=1.0):
    """
    Return the FWHM that is measured of a star whose PSF is a sum of Moffat profiles, in the unit of ``pixel_scale``.

    Parameters
    ----------
    profiles : list of (float, float, float)
        FWHM without the pixel, exponent, and share of the light of each; the first is the core.
    pixel_scale : float, optional
        Side of a pixel.
    """
    return pixel_scale * float(_measured(*((fwhm / pixel_scale, beta, share) for fwhm, beta, share in profiles)))


def _measured(*profiles):
    """Measured width (pixels) of a sum of Moffat profiles: width (pixels), exponent and share of the light of each."""
    width = profiles[0][0]
    # a box of six FWHM, in pixels fine enough that it has at most some hundred
    coarse = max(1.0, width / 8)
    side = 2 * int(np.ceil(3 * width / coarse)) + 11
    frequencies = Frequencies((2 * side, 2 * side), 1, coarse)
    y, x = frequencies.along()
    transfer = sum(share * moffat_transform(np.hypot(y, x), wide, beta) for wide, beta, share in profiles)
    transfer = transfer * np.sinc(y / (2 * np.pi)) * np.sinc(x / (2 * np.pi))  # the pixel has a side of 1
    image = np.roll(fft.irfft2(transfer, s=frequencies.shape), (side // 2, side // 2), axis=(0, 1))[:side, :side]
    return coarse * gaussian_fwhm(image)


def widths(psf, rows, pixel_scale):
    """
    Return the FWHM ``[n, C]`` (arcsec) of Moffat profiles of the package's exponent that look as wide as some PSFs.

    ``psf`` is a `MoffatPSF` or `SampledPSF`; ``rows`` are the indices ``[n]`` of the galaxies.
    """
    rows = np.zeros(len(rows), int) if len(psf) == 1 else np.asarray(rows)
    if isinstance(psf, MoffatPSF):
        both = zip(psf.fwhm[rows], psf.beta[rows], strict=True)
        seen = [[measured_fwhm(*one, pixel_scale) for one in zip(*row, strict=True)] for row in both]
    else:
        images = np.asarray(psf[rows]._images, float)
        seen = [[pixel_scale * (gaussian_fwhm(image) or np.nan) for image in row] for row in images]
    return profile_fwhm(seen, pixel_scale=pixel_scale)
