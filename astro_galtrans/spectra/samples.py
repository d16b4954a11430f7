"""A spectrum as arrays of its usable pixels: wavelengths in vacuum, flux per wavelength, inverse variances."""

import warnings
from dataclasses import dataclass

import astropy.units as u
import numpy as np

from astro_galtrans.bandstack import mask_marks
from astro_galtrans.exceptions import GaltransWarning

__all__ = ["Samples", "air_to_vacuum", "samples"]

#: Unit to which calibrated flux is brought.
FLUX = u.Unit("1e-17 erg / (s cm2 Angstrom)")
#: With fewer usable pixels, or a shorter range in ln(wavelength), there is no telling a line from the continuum.
FEWEST_PIXELS = 50
SHORTEST_RANGE = 0.02
#: The power of the flux that each of astropy's kinds of uncertainty stands for.
POWERS = {"std": 1, "var": 2, "ivar": -2}
#: What the card VACUUM may hold, as a logical value, a number or a text.
MEANINGS = dict.fromkeys(("T", "TRUE", "1", "YES"), "vacuum") | dict.fromkeys(("F", "FALSE", "0", "NO"), "air")
AIR_LIMIT = 2000.0  # Angstrom: shorter wavelengths are in vacuum by convention


@dataclass(frozen=True)
class Samples:
    """Usable pixels of a spectrum, in order of wavelength; those of several arms may interleave."""

    wavelength: np.ndarray  #: in vacuum (Angstrom)
    flux: np.ndarray  #: per wavelength
    ivar: np.ndarray  #: inverse variance of the flux, > 0
    unit: u.Unit  #: of the flux
    medium: str  #: "vacuum", "air" (converted) or "vacuum (assumed)"
    noise: str  #: "given", or "estimated" from the scatter between pixels
    pixels: int  #: number of pixels of the spectrum, usable or not

    @property
    def signal_to_noise(self):
        """Median of flux over noise per pixel."""
        return float(np.median(self.flux * np.sqrt(self.ivar)))


def samples(spectrum, medium="auto"):
    """
    `Samples` of a `~specutils.Spectrum`, or of a list of them: arms or exposures of one object, in one flux unit.

    ``medium`` of the wavelengths is "vacuum", "air", or "auto": that of the header cards ``VACUUM``, ``AIRORVAC`` and
    ``CTYPE1``, and vacuum without them. Raises TypeError if there is no `~specutils.Spectrum`, ValueError if it is not
    one-dimensional, its axis is not one of wavelength, frequency or energy, or it has too few usable pixels.
    """
    arms = list(spectrum) if isinstance(spectrum, list | tuple) else [spectrum]
    if not arms:
        msg = "there is no spectrum in the list"
        raise ValueError(msg)
    parts = [_arm(arm, medium) for arm in arms]
    units = {part.unit for part in parts}
    if len(units) > 1:
        msg = f"the arms of one spectrum have different flux units: {', '.join(sorted(map(str, units)))}"
        raise ValueError(msg)
    return _checked(parts[0] if len(parts) == 1 else _joined(parts))


def _joined(parts):
    wavelength, flux, ivar = (np.concatenate([getattr(p, k) for p in parts]) for k in ("wavelength", "flux", "ivar"))
    order = np.argsort(wavelength, kind="stable")
    noise = "given" if all(part.noise == "given" for part in parts) else "estimated"
    pixels = sum(part.pixels for part in parts)
    return Samples(wavelength[order], flux[order], ivar[order], parts[0].unit, parts[0].medium, noise, pixels)


def _arm(spectrum, medium):
    wavelength = _wavelength(spectrum)
    flux, unit = _flux(spectrum, wavelength)
    good = np.isfinite(flux) & np.isfinite(wavelength) & (wavelength > 0)
    if spectrum.mask is not None:
        good &= ~np.asarray(spectrum.mask, dtype=bool)
    ivar, noise = _inverse_variance(spectrum, flux, wavelength, unit, good)
    good &= np.isfinite(ivar) & (ivar > 0)
    # of what is left, which has noise: pixels without data often are zero, and have no weight
    native = np.asarray(spectrum.flux.value, dtype=float)[None, None]
    good = ~mask_marks(native, ~good[None, None], "the spectrum")[0, 0]
    medium = _medium(spectrum, medium)
    if medium == "air":
        wavelength = air_to_vacuum(wavelength)
    order = np.argsort(wavelength[good], kind="stable")
    wavelength, flux, ivar = (values[good][order] for values in (wavelength, flux, ivar))
    return Samples(wavelength, flux, ivar, unit, medium, noise, len(good))


def _wavelength(spectrum):
    for name in ("flux", "spectral_axis", "uncertainty", "mask"):
        if not hasattr(spectrum, name):
            msg = f"a specutils.Spectrum is needed, not {type(spectrum).__name__}"
            raise TypeError(msg)
    if spectrum.flux.ndim != 1:
        msg = f"one spectrum is needed, not an array of shape {spectrum.flux.shape}; pass one row, spectrum[i]"
        raise ValueError(msg)
    axis = u.Quantity(spectrum.spectral_axis)
    try:
        wavelength = axis.to_value(u.AA, u.spectral()).astype(float)
    except u.UnitConversionError as err:
        msg = f"the spectral axis is in {axis.unit or 'no unit'}; wavelength, frequency or energy is needed"
        raise ValueError(msg) from err
    step = np.diff(wavelength)
    if not ((step > 0).all() or (step < 0).all()):
        turns = min((step <= 0).sum(), (step >= 0).sum())
        msg = f"the spectral axis neither increases nor decreases throughout ({turns} of {len(step)} steps turn)"
        raise ValueError(msg)
    return wavelength


def _flux(spectrum, wavelength):
    """Flux per wavelength if the unit can be converted, else as it is: a redshift can be measured from counts too."""
    try:
        return spectrum.flux.to_value(FLUX, u.spectral_density(wavelength * u.AA)).astype(float), FLUX
    except u.UnitConversionError:
        return np.asarray(spectrum.flux.value, dtype=float), spectrum.flux.unit


def _inverse_variance(spectrum, flux, wavelength, unit, good):
    if spectrum.uncertainty is None:
        return np.full(flux.shape, 1 / _scatter(flux[good]) ** 2 if good.sum() > 4 else 0.0), "estimated"
    kind = spectrum.uncertainty.uncertainty_type
    if kind not in POWERS:
        msg = f"uncertainties of type {kind!r} are not understood; those known are {', '.join(POWERS)}"
        raise ValueError(msg)
    array = np.array(spectrum.uncertainty.array, dtype=float)
    if (negative := array < 0).any():
        msg = f"{np.count_nonzero(negative)} uncertainties of the spectrum are negative; these pixels are left out"
        warnings.warn(msg, GaltransWarning, stacklevel=2)
        array[negative] = np.nan
    native, given = spectrum.flux.unit, spectrum.uncertainty.unit
    ratio = 1.0 if given is None else given.to(native ** POWERS[kind])
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 and NaN become infinite and NaN, which are left out
        ivar = (array * ratio) ** (-2 / POWERS[kind])
    if unit != native:
        ivar = ivar / (1 * native).to_value(unit, u.spectral_density(wavelength * u.AA)) ** 2
    return ivar, "given"


def _scatter(flux):
    """
    Noise from second differences of every other pixel (DER_SNR; Stoehr et al. 2008, ADASS XVII, 505).

    In noiseless spectra they may all be zero, where a weight would be infinite; the rms of the flux then sets a least
    noise.
    """
    return max(0.6052697 * np.median(np.abs(2 * flux[2:-2] - flux[:-4] - flux[4:])), 1e-6 * np.std(flux)) or 1.0


def _medium(spectrum, medium):
    if medium in {"vacuum", "air"}:
        return medium
    if medium != "auto":
        msg = f"medium is 'auto', 'vacuum' or 'air', not {medium!r}"
        raise ValueError(msg)
    header = spectrum.meta.get("header") or {}
    if "VACUUM" in header:
        said = str(header["VACUUM"]).strip().upper()
        if said not in MEANINGS:
            msg = f"the header card VACUUM is {header['VACUUM']!r}; expected T or F: give medium='vacuum' or 'air'"
            raise ValueError(msg)
        return MEANINGS[said]
    said = str(header.get("AIRORVAC", "")).lower() + str(header.get("CTYPE1", "")).upper()
    if "air" in said or "AWAV" in said:
        return "air"
    return "vacuum" if "vac" in said or "WAVE" in said else "vacuum (assumed)"


def _checked(arrays):
    n = len(arrays.wavelength)
    if n < FEWEST_PIXELS:
        msg = (
            f"only {n} of {arrays.pixels} pixels are usable (finite, not masked, uncertainty finite and not zero); at "
            f"least {FEWEST_PIXELS} are needed"
        )
        raise ValueError(msg)
    low, high = arrays.wavelength[[0, -1]]
    if np.log(high / low) < SHORTEST_RANGE:
        msg = f"the spectrum covers {low:.1f} to {high:.1f} Angstrom only; at least {SHORTEST_RANGE:.0%} is needed"
        raise ValueError(msg)
    return arrays


def air_to_vacuum(wavelength):
    """
    Wavelengths (Angstrom) in vacuum of those in standard air, by VALD's inverse of Ciddor (1996, Applied Optics 35,
    1566).

    Those under 2000 Angstrom are in vacuum by convention, and stay as they are.
    """
    from specutils.utils.wcs_utils import air_to_vac

    wavelength = np.asarray(wavelength, dtype=float)
    in_air = np.maximum(wavelength, AIR_LIMIT) * u.AA  # the formula has poles in the far ultraviolet
    return np.where(wavelength < AIR_LIMIT, wavelength, air_to_vac(in_air, scheme="piskunov").value)
