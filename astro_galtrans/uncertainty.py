r"""
The standard deviation that comes with a translated image, and what it is made of.

The target of a translation is :math:`y`, what the other survey would have recorded, noise included; the error is that
of the reported image as a forecast of :math:`y`. It has three parts.

*The network's own spread.* A deterministic network states the mean and the standard deviation :math:`\sigma` of
:math:`y` given the source, so the error variance of that mean is :math:`\sigma^2`. A network that samples gives draws
:math:`y_i` from :math:`p(y \mid x)`, each with that :math:`\sigma`. Given the source :math:`x`, truth and draws are
independent draws from one distribution, so the mean of :math:`N` draws misses the truth by

.. math:: \mathrm{Var}\Bigl[y - \frac{1}{N} \sum_i y_i \Bigm| x\Bigr] = \sigma^2 \Bigl(1 + \frac{1}{N}\Bigr).

(Averaging over :math:`x`, the law of total variance adds the variance of :math:`E[y - \bar y \mid x]`, which is zero
where the sampler is right.) It matters that :math:`\sigma` is stated and not measured as the spread of the draws: the
spread of two draws has one degree of freedom and is below half of :math:`\sigma` in 38 % of all pixels.

*A calibration factor* per band, measured on pairs that the network never saw
(``astro_galtrans.training.recalibrate``), because networks misjudge themselves.

*Noise of the input beyond that of the images the network was trained on*, of which its stated uncertainty does not
know (`propagate_variance`).

Everything here is per pixel. Neighbouring output pixels share input noise and errors of the network, so the variance of
an aperture flux is larger than the sum of its pixels' variances: see `astro_galtrans.covariance`.
"""

from math import erf, sqrt

import numpy as np

__all__ = ["ONE_SIGMA", "SampleMean", "combine", "propagate_variance"]

ONE_SIGMA = erf(sqrt(0.5))  #: probability of a Gaussian within one standard deviation, 0.6827


class SampleMean:
    """
    Running mean of a network's samples, and the variance of its error.

    Planes are updated in place, one band at a time, so that samples of a large image need not be kept.

    Parameters
    ----------
    posterior : bool
        True for draws from the posterior (a stochastic network), False for one mean (a deterministic network).
    """

    def __init__(self, *, posterior):
        self.posterior = posterior
        self.count = 0
        self._mean = self._within = None

    def add(self, values, variance):
        """
        Add a sample.

        Parameters
        ----------
        values, variance : `numpy.ndarray`
            ``[C, H, W]``, float: the sample and the variance that the network states. Those of the first sample are
            kept and edited, not copied.

        Raises
        ------
        ValueError
            If shapes differ, or a deterministic network gives a second sample.
        """
        if self.count and not self.posterior:
            msg = "a deterministic network has one answer; a second was added"
            raise ValueError(msg)
        if values.shape != variance.shape or (self.count and values.shape != self._mean.shape):
            shape = variance.shape if self._mean is None else self._mean.shape
            msg = f"values and variance of every sample must have one shape, got {values.shape} and {shape}"
            raise ValueError(msg)
        self.count += 1
        if self.count == 1:
            self._mean, self._within = values, variance
            return
        for running, new in ((self._mean, values), (self._within, variance)):
            for plane, update in zip(running, new, strict=True):
                plane += (update - plane) / self.count  # Welford (1962): no large sums in float32

    @property
    def mean(self):
        """Mean of the samples."""
        return self._checked(self._mean)

    @property
    def variance(self):
        """Variance of the error of `mean` as a forecast of the target, before calibration."""
        within = self._checked(self._within)
        return within * within.dtype.type(1 + 1 / self.count) if self.posterior else within

    def _checked(self, array):
        if self.count == 0:
            msg = "there is no sample yet"
            raise ValueError(msg)
        return array


def combine(variance, factor, extra=None):
    """
    Return the standard deviation of the reported flux, ``sqrt(factor**2 * variance + extra)``.

    Parameters
    ----------
    variance : `numpy.ndarray`
        ``[C, H, W]``: error variance that the network states, in flux squared. It is overwritten with the result.
    factor : float or sequence of float
        Calibration factor of the standard deviation, of each band.
    extra : `numpy.ndarray`, optional
        Variance to add, such as that of `propagate_variance`; a shape that broadcasts.

    Raises
    ------
    ValueError
        If a factor is not positive and finite, or there are not as many as bands.
    """
    factor = np.asarray(factor, dtype=variance.dtype)
    if factor.shape not in {(), (1,), (len(variance),)} or not (np.isfinite(factor) & (factor > 0)).all():
        msg = f"expected a positive calibration factor, or one per band ({len(variance)}), got {factor.tolist()}"
        raise ValueError(msg)
    variance *= np.square(factor).reshape(-1, 1, 1)
    if extra is not None:
        variance += extra
    return np.sqrt(variance, out=variance)


def propagate_variance(variance_in, nominal_variance, scale, out=None):
    """
    Return the variance that noise beyond the nominal adds to each output pixel, ``[C, scale*H, scale*W]``.

    A network has learnt the noise of the survey's typical image, which its stated uncertainty contains. For an input
    that is noisier (:math:`v > v_0`), the excess is added. To first order a translation shares the flux of a source
    pixel out among the :math:`s^2` output pixels in its place, :math:`y = x / s^2`, so that each has the variance

    .. math:: (v - v_0)_+ / s^4 .

    These pixels share one error: that of their summed flux is again :math:`v - v_0`, where adding their variances would
    give :math:`(v - v_0) / s^2`. An input quieter than nominal lowers nothing, since the network does not know of it.

    Parameters
    ----------
    variance_in : `numpy.ndarray`
        ``[C, H, W]``: variance of the source image in the *target's* flux unit (times the squared flux factor), in the
        bands of the output. What is not finite stays so.
    nominal_variance : float or sequence of float
        Sky variance of the images the network was trained on, of each band, in the same unit.
    scale : int
        Output pixels per source pixel along each axis.
    out : `numpy.ndarray`, optional
        C-contiguous ``[C, scale*H, scale*W]`` to which the variance is added, to save the memory of another array.

    Raises
    ------
    ValueError
        If a nominal variance is negative or shapes do not fit.
    """
    bands, height, width = variance_in.shape
    nominal = np.asarray(nominal_variance, dtype=variance_in.dtype)
    if nominal.shape not in {(), (1,), (bands,)} or not (nominal >= 0).all():
        msg = f"expected a nominal variance of zero or more, or one per band ({bands}), got {nominal.tolist()}"
        raise ValueError(msg)
    shape = (bands, scale * height, scale * width)
    if out is None:
        out = np.zeros(shape, dtype=variance_in.dtype)
    elif out.shape != shape or not out.flags.c_contiguous:
        msg = f"out must be C-contiguous with shape {shape}, got {out.shape}"
        raise ValueError(msg)
    excess = np.maximum(variance_in - nominal.reshape(-1, 1, 1), 0) / scale**4
    blocks = out.reshape(bands, height, scale, width, scale)  # a view: every source pixel with its block
    blocks += excess[:, :, None, :, None]
    return out
