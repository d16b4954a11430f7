"""The two steps of a fit: a scan of all redshifts on a coarse grid, and exact chi-squared near one redshift."""

import numpy as np
from scipy import fft
from scipy.signal import find_peaks

from .correlation import STEP, chi2_gain, correlate, non_negative, smooth_basis

__all__ = ["ExactFit", "Scan", "separate_peaks"]

#: Peaks nearer to each other than this in log10(1 + z), 1000 km/s, belong to one redshift: a broad peak has ripples.
PEAK_DISTANCE = 1.45e-3
#: Redshifts of the exact fits, in steps of the scan from the best redshift so far: two rounds, each finer.
REFINEMENT = (-1.8, -1.2, -0.6, 0.0, 0.6, 1.2, 1.8), (-0.3, -0.15, 0.0, 0.15, 0.3)
#: A template that lowers chi-squared by less than 3 sigma squared may only follow the noise, and is left out.
SIGNIFICANT = 9.0
#: The width of a peak is read at this many times the width that the curvature at its very top gives: there, the steps
#: of the templates' tables, and templates of almost no amplitude, bend the parabola.
READ_WIDTH_AT = 2.0
#: But no nearer than this, in steps of the scan: the templates' tables have steps of their own.
NEAREST_READING = 0.3
#: Distance in log10(1 + z) to either side of the peak, 34,000 km/s, over which Tonry & Davis' ratio takes its noise.
RATIO_REACH = 0.05


class Scan:
    """
    Chi-squared of `Samples` and a template `Mixture` as a function of redshift, on the grid of `correlation`.

    Each pixel is added, with its weight, to the cell of the grid that it falls into. Nothing is interpolated, so that
    the noise of cells is as independent as that of pixels; a pixel is at most half a cell, 35 km/s, from its place.
    """

    def __init__(self, data, templates, z_range):
        cell = np.round(np.log10(data.wavelength) / STEP).astype(int)
        self._first, self._size = cell[0], cell[-1] - cell[0] + 1
        self.weights = np.bincount(cell - cell[0], data.ivar, self._size)
        flux = np.bincount(cell - cell[0], data.ivar * data.flux, self._size)
        self.flux = np.divide(flux, self.weights, out=np.zeros(self._size), where=self.weights > 0)
        self.basis = smooth_basis((self._first + np.arange(self._size)) * STEP, self.weights)
        low, high = np.log10(1 + np.asarray(z_range)) / STEP
        self.shifts = np.arange(np.floor(low), np.ceil(high) + 1).astype(int)[::-1]
        sampled = self._sample(templates, self.shifts)
        matrix, vector = correlate(self.weights, self.flux, sampled, self.basis, len(self.shifts))
        self.gain = chi2_gain(matrix, vector, non_negative(matrix, vector, self._power(sampled), tolerance=0.1))

    @property
    def redshifts(self):
        """Redshift of each element of ``gain``, decreasing."""
        return 10 ** (self.shifts * STEP) - 1

    def _sample(self, templates, shifts):
        return templates(np.arange(self._first - shifts[0], self._first + self._size - shifts[-1]) * STEP)

    def _power(self, sampled):
        """Power of the templates under the weights, at every shift [shift, template]."""
        length = fft.next_fast_len(sampled.shape[1], real=True)
        product = np.conj(fft.rfft(self.weights, length)) * fft.rfft(sampled**2, length)
        return fft.irfft(product, length)[:, : len(self.shifts)].T

    def tonry_davis(self, templates, amplitudes, z):
        """
        Ratio r of a mixture's peak at ``z`` to the peaks that noise and mismatch make: Tonry & Davis (1979), equation
        23.

        It is ``h / (sqrt(2) sigma_a)``, with the height h of the correlation's peak and the rms sigma_a of the part
        that is antisymmetric about the peak, which a perfect template would not have.
        """
        reach = round(RATIO_REACH / STEP)
        shifts = round(np.log10(1 + z) / STEP) + np.arange(reach, -reach - 1, -1)
        sampled = (amplitudes @ self._sample(templates, shifts))[None]
        matrix, vector = correlate(self.weights, self.flux, sampled, self.basis, len(shifts))
        power = np.maximum(matrix[:, 0, 0], 1e-6 * matrix[reach, 0, 0])
        correlation = vector[:, 0] / np.sqrt(power)
        antisymmetric = 0.5 * (correlation - correlation[::-1])
        return float(correlation[reach] / (np.sqrt(2) * antisymmetric.std() + np.finfo(float).tiny))


def separate_peaks(scan, number):
    """Return the redshifts of the highest peaks of a scan, ``number`` at most, highest first, `PEAK_DISTANCE` apart."""
    padded = np.concatenate([[-np.inf], scan.gain, [-np.inf]])  # so that the ends of the range may be peaks too
    peaks = find_peaks(padded, distance=round(PEAK_DISTANCE / STEP))[0] - 1
    order = np.argsort(scan.gain[peaks])[::-1][:number]
    return [float(z) for z in scan.redshifts[peaks[order]]]


class ExactFit:
    """Fits of templates to the pixels of `Samples` themselves, at any redshift."""

    def __init__(self, data):
        self.data = data
        self.log_wavelength = np.log10(data.wavelength)
        self.basis = smooth_basis(self.log_wavelength, data.ivar)
        self.residual = data.flux - self.basis.functions.T @ self.basis.project(data.flux)
        self.chi2_continuum = float((self.residual**2 * data.ivar).sum())

    def __call__(self, templates, redshifts):
        """By how much the templates lower chi-squared [redshift], and their amplitudes [redshift, template]."""
        shift = np.log10(1 + np.asarray(redshifts, dtype=float))
        sampled = templates(self.log_wavelength - shift[:, None]).swapaxes(0, 1)
        power = (sampled**2 * self.data.ivar).sum(axis=-1)
        sampled = sampled - self.basis.project(sampled) @ self.basis.functions
        weighted = sampled * self.data.ivar
        matrix, vector = weighted @ sampled.swapaxes(1, 2), weighted @ self.residual
        amplitudes = non_negative(matrix, vector, power)
        return chi2_gain(matrix, vector, amplitudes), amplitudes

    def significant(self, templates, z):
        """Return the mixture without the templates that each lower chi-squared by less than `SIGNIFICANT`."""
        while len(templates) > 1:
            gain = self(templates, [z])[0][0]
            fewer = [templates.only([j for j in range(len(templates)) if j != k]) for k in range(len(templates))]
            losses = [gain - self(mixture, [z])[0][0] for mixture in fewer]
            if min(losses) > SIGNIFICANT:
                break
            templates = fewer[int(np.argmin(losses))]
        return templates

    def refine(self, templates, z):
        """
        Redshift of a peak to a fraction of a pixel, the change of redshift that raises chi-squared by 1, and the peak's
        gain.

        ``z`` is where the scan has the peak. The width is infinite if chi-squared rises to one side of ``z`` only.
        """
        place = np.log10(1 + z)
        for offsets in REFINEMENT:
            grid = place + np.array(offsets) * STEP
            gain, _amplitudes = self(templates, 10**grid - 1)
            best = int(np.clip(np.argmax(gain), 1, len(grid) - 2))
            place, width, top = _vertex(grid[best - 1 : best + 2], gain[best - 1 : best + 2])
        return 10**place - 1, np.log(10) * 10**place * self._width(templates, place, width, top), top

    def _width(self, templates, place, width, top):
        """Half the width of the peak where chi-squared is higher by 1, read further out: see `READ_WIDTH_AT`."""
        if not np.isfinite(width):
            return width
        offset = max(READ_WIDTH_AT * width, NEAREST_READING * STEP)
        gain, _amplitudes = self(templates, 10 ** (place + offset * np.array([-1, 1])) - 1)
        drop = top - gain.mean()
        return offset / np.sqrt(drop) if drop > 0 else np.inf

    def model(self, templates, amplitudes, z):
        """Continuum plus templates, and the continuum alone, at the pixels."""
        lines = amplitudes @ templates(self.log_wavelength - np.log10(1 + z))
        continuum = self.basis.functions.T @ self.basis.project(self.data.flux - lines)
        return continuum + lines, continuum


def _vertex(x, y):
    """Top of the parabola through three equidistant points: where, how far from there it is lower by 1, how high."""
    curvature = 2 * y[1] - y[0] - y[2]
    if not curvature > 0:
        return x[np.argmax(y)], np.inf, float(y.max())
    offset = np.clip(0.5 * (y[2] - y[0]) / curvature, -1, 1)
    height = y[1] + 0.25 * (y[2] - y[0]) * offset
    return x[1] + offset * (x[1] - x[0]), (x[1] - x[0]) * np.sqrt(2 / curvature), float(height)
