r"""
A translated image as the source survey would have seen it: PSF, pixels, flux scale, filters.

The light of a fine pixel is summed over the ``scale`` times ``scale`` of them in a source pixel, which is exact. The
PSF is changed in Fourier space, from :math:`\tilde P_t` of the target to :math:`\tilde P_s` of the source,

.. math::

    \tilde m_b = \tilde P_{s,b} \sum_j M_{bj} \frac{\tilde P_{t,j}^*}{|\tilde P_{t,j}|^2 + \epsilon^2} \, \tilde y'_j ,

where the ratio, the matching kernel, is regularised as Wiener did. The matrix :math:`M` holds the colour terms between
the filters of the two surveys (`astro_galtrans.fidelity.anomaly.colour_terms`): light of a source band as light of
target bands, pixel by pixel, so that a companion of another colour is treated by its own.

A source that is sharper than the target cannot be predicted from it; in such a band of a galaxy the source is degraded
to the target's PSF instead, and its noise becomes correlated.
"""

import numpy as np
from scipy import fft

from astro_galtrans.psf import Frequencies, as_psf, equivalent_fwhm, summing
from astro_galtrans.units import flux_factor

__all__ = ["Degrader", "Matched", "common_bands", "degrade"]

REACH = 1.3  # FWHM: 90 % of a Moffat profile's light is within it; pixels closer to the edge see what is not known
BROADER = 1.02  # ratio of widths from which on one is broader: they are known to about 2 %, see `Tolerance`
PROBED = 64  # galaxies whose PSFs are compared: enough for the median of a survey's seeing
BATCH = 32  # galaxies transformed at once: in 5 bands of 128 x 128 pixels 10 MiB an array


class Degrader:
    """
    Brings stamps of the target survey to the PSF, pixels, bands (by name) and flux unit of the source survey.

    Where the PSF of the target is the broader one, the source is brought to it instead, see `Matched.source`; in the
    bands ``degraded`` that is so of a typical galaxy. Stamps that do not show the same field on whole numbers of
    pixels, surveys without a common band, and PSFs that do not fit are a `ValueError`.
    """

    def __init__(self, source, target):
        number, pixel_scale = len(source), source.pixel_scale
        self.shape, self.scale = source.shape, _scale(source.shape, target.shape)
        self.factor = np.float32(flux_factor(target.survey.zeropoint, source.survey.zeropoint))
        self.in_source, self.in_target = common_bands(source.bands, target.bands)
        self.bands = tuple(source.bands[k] for k in self.in_source)
        self._psf = as_psf(source.psf, number, source.bands, pixel_scale, "psf of the source")
        self._target_psf = as_psf(target.psf, number, target.bands, pixel_scale / self.scale, "psf of the target")
        self.frequencies = Frequencies(self.shape, self.scale, pixel_scale)
        probed = np.unique(np.linspace(0, number - 1, PROBED).astype(int))
        widths = (equivalent_fwhm(each, self.frequencies) for each in self.transfers(probed))
        self.fwhm, self.target_fwhm = (np.median(each, axis=0) for each in widths)  #: typical, per common band (arcsec)
        there = self.target_fwhm > BROADER * self.fwhm
        self.degraded = tuple(np.array(self.bands)[there].tolist())
        self.margin = int(np.ceil(REACH * max(np.where(there, self.target_fwhm, self.fwhm)) / pixel_scale))
        if 2 * self.margin + 4 > min(self.shape):
            size = " x ".join(map(str, self.shape))
            msg = f"stamps of {size} pixels are too small for PSFs that reach {self.margin} pixels"
            raise ValueError(msg)
        padded = tuple(2 * fft.next_fast_len((n + 1) // 2 + self.margin, real=True) for n in self.shape)
        self.frequencies = Frequencies(padded, self.scale, pixel_scale)
        self.terms = np.eye(len(self.bands))

    def transfers(self, rows):
        """Transfer functions of the PSFs of source and target in the common bands, of some galaxies."""
        return (
            self._psf.transform(self.frequencies, rows, self.in_source),
            self._target_psf.transform(self.frequencies, rows, self.in_target),
        )

    def matched(self, rows):
        """Return the `Matched` PSFs of some galaxies."""
        own, target = self.transfers(rows)
        common, kernel = own, None
        widths = [equivalent_fwhm(each, self.frequencies) for each in (own, target)]
        sharper = widths[1] > BROADER * widths[0]  # [n or 1, C]
        if sharper.any():
            where = sharper[..., None, None]
            common = np.where(where, target, own)
            kernel = np.where(where, target * _inverse(own, self._psf.floor), np.float32(1))
        return Matched(self, common, _inverse(target, self._target_psf.floor), kernel, widths[0], sharper)


class Matched:
    """
    Matched PSFs of a batch of galaxies, made by `Degrader.matched`.

    ``common`` ``[n or 1, C, ky, kx]`` is the transfer function of the PSF at which images are compared, ``inverse`` the
    regularised inverse of that of the target, ``kernel`` what the source is convolved with (None for nothing), ``fwhm``
    ``[n or 1, C]`` the width of the source's PSF (arcsec), ``sharper`` whether it is degraded.
    """

    def __init__(self, degrader, common, inverse, kernel, fwhm, sharper):
        self.degrader, self.common, self.frequencies = degrader, common, degrader.frequencies
        self.fwhm, self.sharper = fwhm, sharper
        self._inverse, self._kernel = inverse, kernel

    def scene(self, images):
        """
        Transform of target stamps ``[n, C', sH, sW]`` with their PSF taken out, in the source's flux unit.

        It is complex64 ``[n, C, ky, kx]``, of the common bands.
        """
        images = np.asarray(images, np.float32)[:, self.degrader.in_target] * self.degrader.factor
        padded = _padded(images, self.degrader.scale * self.degrader.margin, self.frequencies.fine)
        return fft.rfft2(padded) * self._inverse

    def spectrum(self, scene, terms=None):
        """Bring a `scene` to the common PSF and, by colour terms ``[C, C]``, to the filters of the source."""
        terms = np.asarray(self.degrader.terms if terms is None else terms, np.float32)
        mixed = scene if np.array_equal(terms, np.eye(len(terms))) else np.einsum("bj,njyx->nbyx", terms, scene)
        return mixed * self.common

    def image(self, spectrum):
        """Image, float32 ``[n, C, H, W]`` on the source's pixels, of a fine spectrum ``[n, C, ky, kx]``."""
        scale, margin, (rows, columns) = self.degrader.scale, self.degrader.margin, self.degrader.shape
        fine = fft.irfft2(spectrum, s=self.frequencies.fine)
        y, x = (slice(scale * margin, scale * (margin + n)) for n in (rows, columns))
        cut = fine[..., y, x].reshape(*fine.shape[:-2], rows, scale, columns, scale)
        return np.einsum("...yixj->...yx", cut)

    def quick_image(self, spectrum):
        """Image on the source's pixels of a spectrum from `coarse`: much quicker than `image`."""
        margin, (rows, columns) = self.degrader.margin, self.degrader.shape
        image = fft.irfft2(spectrum, s=self.frequencies.shape)
        return image[..., margin : margin + rows, margin : margin + columns]

    def coarse(self, spectrum):
        """Part of a fine spectrum that source pixels resolve, summed over the fine pixels in each of them."""
        return self.frequencies.coarse(spectrum) * summing(self.frequencies)

    def source(self, images):
        """Source stamps ``[n, C, H, W]`` at the common PSF, in the common bands."""
        images = np.asarray(images, np.float32)[:, self.degrader.in_source]
        if self._kernel is None:
            return images
        padded = _padded(images, self.degrader.margin, self.frequencies.shape)
        return self.quick_image(fft.rfft2(padded) * self.frequencies.coarse(self._kernel))

    def source_noise(self):
        """Transfer function of the source's white noise, on the frequencies of its pixels; None if it stays white."""
        return None if self._kernel is None else self.frequencies.coarse(self._kernel)

    def target_noise(self):
        """Transfer function of white noise in fine pixels to noise in the source's pixels, ``[n, C, ky, kx]``."""
        # Noise at frequencies that the source's pixels do not resolve is left out: the common PSF suppresses it.
        kernel = self.coarse(self.common * self._inverse)
        return np.abs(kernel) * (self.degrader.factor * self.degrader.scale)

    def point(self):
        """Spectrum of a point source of unit flux in the middle of the first pixel, on padded source pixels."""
        y, x = self.frequencies.along(fine=False)
        half = self.frequencies.pixel_scale / (2 * np.pi)
        return self.frequencies.coarse(self.common) * (np.sinc(y * half) * np.sinc(x * half))


def _inverse(transfer, floor):
    """Regularised inverse of a transfer function, which is one where that is one."""
    power = np.abs(transfer) ** 2
    return np.conj(transfer) * ((1 + floor**2) / (power + floor**2))


def _padded(images, margin, shape):
    """Images with so many pixels mirrored before them, and as many as it takes after them."""
    widths = [(margin, n - margin - m) for m, n in zip(images.shape[-2:], shape, strict=True)]
    return np.pad(images, [(0, 0), (0, 0), *widths], mode="symmetric")


def _scale(shape, target_shape):
    scale = target_shape[0] // shape[0]
    if scale < 1 or tuple(scale * n for n in shape) != tuple(target_shape):
        msg = (
            f"translated stamps of {target_shape[0]} x {target_shape[1]} pixels, source of {shape[0]} x {shape[1]}; "
            "both must show the same field, with a whole number of translated pixels in each of the source"
        )
        raise ValueError(msg)
    return scale


def common_bands(bands, target_bands):
    """Return the indices in source and target of the bands that both have, in the order of the source."""
    bands, target_bands = list(bands), list(target_bands)
    common = [band for band in bands if band in target_bands]
    if not common:
        msg = f"no band is in both surveys: {', '.join(bands)} and {', '.join(target_bands)}"
        raise ValueError(msg)
    return [bands.index(band) for band in common], [target_bands.index(band) for band in common]


def degrade(translated, source, *, terms=None):
    """
    Return images of the target survey as the source survey sees them: float32 ``[N, C, H, W]`` in the source's unit.

    C counts the bands that both `~astro_galtrans.stamps.Stamps` have, in the order of the source; ``terms`` ``[C, C]``
    are the colour terms between them. Of several samples the first is taken. A galaxy that the source shows sharper
    than the target keeps the PSF of the target. Errors are those of `Degrader`.
    """
    images, degrader, found = translated.sample(), Degrader(source, translated), []
    for rows in images.blocks(BATCH):
        matched = degrader.matched(np.arange(rows.start, rows.stop))
        found.append(matched.image(matched.spectrum(matched.scene(images.read(rows)), terms)))
    return np.concatenate(found)
