"""Redshift of a spectrum."""

from dataclasses import replace

import astropy.units as u
import numpy as np
from astropy.table import QTable

from .fitting import ExactFit, Scan, separate_peaks
from .result import Flag, RedshiftResult, shares
from .samples import FEWEST_PIXELS, samples
from .templates import Mixture, default_mixture

__all__ = ["checked_range", "redshift"]

#: Standard deviations of emission lines to try (km/s): narrow, usual and broad ones; the first is used for the scan.
DISPERSIONS = (120.0, 70.0, 220.0)
#: Number of peaks of the scan that are fitted exactly.
PEAKS = 4
#: A peak that lowers chi-squared by less may be noise, whose highest peak does so by 11 to 25 in typical spectra.
LEAST_GAIN = 30.0
#: The second peak may be the right one if its gain is within this of the first: 3.5 sigma.
LEAST_MARGIN = 12.0


def redshift(spectrum, *, z_range=(-0.01, 1.2), templates=None, medium="auto"):
    """
    Measure the redshift of a galaxy from its spectrum; return a `RedshiftResult`.

    The spectrum is modelled as a mixture of templates over a smooth free continuum; chi-squared is scanned over all
    redshifts by weighted cross-correlation (Tonry & Davis 1979, AJ 84, 1511, as generalised in
    ``astro_galtrans.spectra.correlation``), and its highest peaks are fitted again on the pixels themselves.

    Parameters
    ----------
    spectrum : `~specutils.Spectrum` or list of them
        Flux per wavelength, per frequency, or in counts, with an uncertainty if there is one, and a mask (True: bad).
        Several are arms of one object. Wavelengths are observed.
    z_range : tuple of float, optional
        Lowest and highest redshift to look at.
    templates : sequence of `Template`, optional
        Mixed with amplitudes that are not negative; `default_templates` by default.
    medium : str, optional
        Medium of the wavelengths: ``"vacuum"``, ``"air"``, or ``"auto"``, from the header (vacuum if that has no card).

    Raises
    ------
    TypeError, ValueError
        If the spectrum cannot be used, or the range of redshifts or the templates cannot; the message says why.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from astropy.nddata import StdDevUncertainty
    >>> from specutils import Spectrum
    >>> from astro_galtrans import spectra
    >>> wavelength = np.arange(3600, 9300, 2.0)
    >>> template = spectra.default_templates()[0]
    >>> flux = template(wavelength / 1.2) + np.random.default_rng(1).normal(0, 0.1, len(wavelength))
    >>> spectrum = Spectrum(
    ...     spectral_axis=wavelength * u.AA, flux=flux * u.Unit("1e-17 erg / (s cm2 AA)"),
    ...     uncertainty=StdDevUncertainty(np.full(len(flux), 0.1)))
    >>> found = spectra.redshift(spectrum)
    >>> bool(abs(found.z - 0.2) < 3 * found.uncertainty)
    True
    """
    low, high = checked_range(z_range)
    mixtures = _mixtures(templates)
    data = _usable(samples(spectrum, medium), mixtures[0], (low, high))
    scan, exact = Scan(data, mixtures[0], (low, high)), ExactFit(data)
    mixture, peaks = _refined_peaks(scan, exact, mixtures)
    return _result(data, scan, exact, mixture, peaks, (low, high))


def checked_range(z_range):
    """Lowest and highest redshift as floats; ValueError unless they are above -1 and in order."""
    low, high = map(float, z_range)
    if not -1 < low < high or not np.isfinite(high):
        msg = f"z_range has to be two redshifts above -1, the second the larger, not {tuple(z_range)}"
        raise ValueError(msg)
    return low, high


def _mixtures(templates):
    """Mixtures of templates to try; the first is used for the scan."""
    if templates is None:
        return [default_mixture(dispersion) for dispersion in DISPERSIONS]
    templates = tuple(templates)
    if not templates or not all(callable(t) and hasattr(t, "coverage") for t in templates):
        msg = f"templates have to be one or more spectra.Template, not {templates!r}"
        raise ValueError(msg)
    return [Mixture(templates)]


def _usable(data, templates, z_range):
    """`Samples` that all templates cover at all redshifts of the range: chi-squared over others would not compare."""
    low, high = templates.coverage[0] * (1 + z_range[1]), templates.coverage[1] * (1 + z_range[0])
    if not np.ptp(data.flux) > 0:
        msg = f"the flux is the same ({data.flux[0]:g}) in all {len(data.flux)} usable pixels"
        raise ValueError(msg)
    kept = (data.wavelength >= low) & (data.wavelength <= high)
    if kept.all():
        return data
    if kept.sum() < FEWEST_PIXELS:
        msg = (
            f"the templates cover {low:.0f} to {high:.0f} Angstrom at all redshifts from {z_range[0]:g} to "
            f"{z_range[1]:g}; the spectrum, {data.wavelength[0]:.0f} to {data.wavelength[-1]:.0f}, has only "
            f"{kept.sum()} pixels there"
        )
        raise ValueError(msg)
    return replace(data, wavelength=data.wavelength[kept], flux=data.flux[kept], ivar=data.ivar[kept])


def _refined_peaks(scan, exact, mixtures):
    """Mixture that fits the best peak best, and the peaks fitted with it: rows of z, width, gain, best first."""
    peaks = _refined(exact, mixtures[0], separate_peaks(scan, PEAKS))
    mixture = max(mixtures, key=lambda mixture: exact(mixture, peaks[:1, 0])[0][0])
    return mixture, peaks if mixture is mixtures[0] else _refined(exact, mixture, peaks[:, 0])


def _refined(exact, mixture, redshifts):
    peaks = np.array([exact.refine(mixture, z) for z in redshifts])
    return peaks[np.argsort(peaks[:, 2])[::-1]]


def _result(data, scan, exact, mixture, peaks, z_range):
    mixture = exact.significant(mixture, peaks[0, 0])  # others fit noise, and would move and sharpen the peak
    peaks[0, :2] = exact.refine(mixture, peaks[0, 0])[:2]
    z, width, gain = peaks[0]
    gains, amplitudes = exact(mixture, [z])
    amplitudes = amplitudes[0]
    freedom = len(data.flux) - len(exact.basis.functions) - np.count_nonzero(amplitudes) - 1
    reduced = (exact.chi2_continuum - gains[0]) / max(freedom, 1)
    scale = max(reduced, 1.0)
    margin = (gain - peaks[1, 2]) / scale if len(peaks) > 1 else np.inf
    model, continuum = exact.model(mixture, amplitudes, z)
    # a template's share in the gain is its amplitude times its correlation; the shares add up to the gain a.b
    each = amplitudes * (mixture(exact.log_wavelength - np.log10(1 + z)) @ (exact.data.ivar * exact.residual))
    name, kind = shares(mixture.templates, amplitudes, each)
    return RedshiftResult(
        z=float(z),
        uncertainty=float(width * np.sqrt(scale)),
        template=name,
        kind=kind,
        flag=_flag(z, width, gain / scale, margin, z_range),
        delta_chi2=float(gain / scale),
        margin=float(margin),
        r=scan.tonry_davis(mixture, amplitudes, z),
        reduced_chi2=float(reduced),
        signal_to_noise=data.signal_to_noise,
        pixels=len(data.flux),
        medium=data.medium,
        noise=data.noise,
        amplitudes={t.name: float(a) for t, a in zip(mixture.templates, amplitudes, strict=True)},
        peaks=QTable(
            {"z": peaks[:, 0], "uncertainty": peaks[:, 1] * np.sqrt(scale), "delta_chi2": peaks[:, 2] / scale},
            meta={"scale": float(scale)},
        ),
        curve=QTable({"z": scan.redshifts[::-1], "delta_chi2": scan.gain[::-1] / scale}),
        fit=_fit_table(data, model, continuum),
    )


def _flag(z, width, gain, margin, z_range):
    edge = 3e-4 * (1 + z)
    raised = {
        Flag.COMPETING: margin < LEAST_MARGIN,
        Flag.WEAK: gain < LEAST_GAIN,
        Flag.EDGE: z - z_range[0] < edge or z_range[1] - z < edge,
        Flag.NO_CURVATURE: not np.isfinite(width),
    }
    return Flag(sum(flag for flag, is_raised in raised.items() if is_raised))


def _fit_table(data, model, continuum):
    flux = {"flux": data.flux, "sigma": 1 / np.sqrt(data.ivar), "model": model, "continuum": continuum}
    return QTable({"wavelength": data.wavelength * u.AA} | {name: column * data.unit for name, column in flux.items()})
