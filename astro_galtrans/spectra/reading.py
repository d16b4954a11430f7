"""
Files of spectra, one or many to a file.

They are read by specutils, except SDSS' images of spectra (spSpec and spPlate): specutils 2 places their wavelengths a
pixel too far to the red, refuses those of four rows, and masks half of some good spectra.
"""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.io.registry import IORegistryError
from astropy.nddata import InverseVariance, StdDevUncertainty

from astro_galtrans.bandstack import is_fits, open_fits

from .samples import FLUX

__all__ = ["Target", "read"]

#: What the readers raise at files that are not what they expect.
READER_ERRORS = (ValueError, TypeError, LookupError, OSError, ArithmeticError, AttributeError, IORegistryError)
SDSS = "SDSS 2.5-M"  # what TELESCOP says
#: Header cards with the position of the target. In SDSS files RA and DEC are those of the plate's centre, up to 1.5
#: degrees away, and are not taken.
POSITION_CARDS = (("RAOBJ", "DECOBJ"), ("PLUG_RA", "PLUG_DEC"), ("RA_TARG", "DEC_TARG"), ("RA_OBJ", "DEC_OBJ"))
#: Bits of SDSS' masks (that of all exposures together, "and") that make a pixel unusable: FULLREJECT, NOSKY, BRIGHTSKY,
#: NODATA, BADFLUXFACTOR, BADSKYCHI. The others are about the fibre as a whole, or the pixel's error accounts for them.
SDSS_BAD = sum(1 << bit for bit in (18, 22, 23, 24, 26, 27))


@dataclass(frozen=True)
class Target:
    """
    One object of a file of spectra.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from specutils import Spectrum
    >>> from astro_galtrans import spectra
    >>> wavelength = np.arange(3600, 9300, 2.0)
    >>> flux = spectra.default_templates()[0](wavelength / 1.2)
    >>> flux += np.random.default_rng(1).normal(0, 0.1, len(wavelength))
    >>> spectrum = Spectrum(spectral_axis=wavelength * u.AA, flux=flux * u.Unit("1e-17 erg / (s cm2 AA)"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     spectrum.write(f"{folder}/a.fits", format="tabular-fits")
    ...     (target,) = spectra.read(f"{folder}/a.fits")
    >>> target.name, target.ra, len(target.arms)
    ('', nan, 1)
    """

    file: str
    name: str  #: what the file calls it, or the number of its row; empty if it is alone
    ra: float  #: degrees, NaN if unknown
    dec: float  #: degrees, NaN if unknown
    arms: tuple = field(repr=False)  #: its `specutils.Spectrum`, or several: those of a spectrograph's arms


def read(path, file_format=None):
    """
    Read a file of spectra to a list of `Target`.

    Parameters
    ----------
    path : path-like
        SDSS ``spec-*.fits``, ``spSpec-*.fit`` or ``spPlate-*.fits``, DESI ``coadd-*.fits`` or ``spectra-*.fits``, or
        whatever specutils reads.
    file_format : str, optional
        Name of the reader, as ``Spectrum.read.list_formats()`` has them; by default the file's content decides.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or no reader takes it; the message names the file.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from specutils import Spectrum
    >>> from astro_galtrans import spectra
    >>> wavelength = np.arange(3600, 9300, 2.0)
    >>> flux = spectra.default_templates()[0](wavelength / 1.2)
    >>> flux += np.random.default_rng(1).normal(0, 0.1, len(wavelength))
    >>> spectrum = Spectrum(spectral_axis=wavelength * u.AA, flux=flux * u.Unit("1e-17 erg / (s cm2 AA)"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     spectrum.write(f"{folder}/a.fits", format="tabular-fits")
    ...     targets = spectra.read(f"{folder}/a.fits")
    >>> len(targets)
    1
    """
    path = Path(path)
    if not path.is_file():
        msg = f"there is no file {path}"
        raise FileNotFoundError(msg)
    try:
        hdus = _fits(path)
        if hdus and (file_format is None or file_format.startswith("SDSS")) and (found := _sdss_image(path, hdus)):
            return found
        # specutils gets the path, which not all its readers can do without, unless units in the file would make it
        # warn: filters of warnings, which would hide that, belong to all threads of a process.
        if not (hdus and _plain_units(hdus)):
            return _targets(path, hdus, _open(str(path), file_format))
        with TemporaryDirectory() as folder:
            fits.HDUList(hdus).writeto(place := Path(folder) / path.name.removesuffix(".gz").removesuffix(".bz2"))
            return _targets(path, hdus, _open(str(place), file_format))
    except READER_ERRORS as err:
        reason = (str(err).strip() or "no reason given").splitlines()[0]
        msg = f"{path} cannot be read as a spectrum ({type(err).__name__}: {reason})"
        raise ValueError(msg) from err


def _fits(path):
    """Contents of a FITS file, packed or not, once its layout is known to be sound; None of any other file."""
    if not is_fits(path):
        return None
    try:
        return open_fits(path)
    except OSError as err:
        msg = f"the file is cut short or damaged: {err}"
        raise OSError(msg) from err


def _plain_units(hdus):
    """Write units so that astropy reads them without a warning; return whether there were others."""
    changed = False
    for hdu in hdus:
        for card in hdu.header["*UNIT*"].cards:
            first, *rest = str(card.value).split("/")
            if len(rest) > 1 and "(" not in card.value:  # erg/cm^2/s/Angstrom, which SDSS writes and FITS discourages
                hdu.header[card.keyword] = f"{first}/({' '.join(rest)})"
                changed = True
    return changed


def _sdss_image(path, hdus):
    """Targets of an spSpec or spPlate file as https://classic.sdss.org/dr7/dm defines them; None of any other file."""
    header, image = hdus[0].header, hdus[0].data
    if not _is_sdss(header) or "COEFF0" not in header or np.ndim(image) != 2:
        return None
    header["VACUUM"] = True  # by definition; some releases leave the card out
    wavelength = 10 ** (header["COEFF0"] + header["COEFF1"] * np.arange(image.shape[1]))  # from the first pixel
    if header.get("FIBERID", 0) > 0:  # spSpec: flux, flux without continuum, error, mask, and in some a fifth row
        arm = _arm(wavelength, image[0], StdDevUncertainty(image[2]), image[3].astype(np.int64), {"header": header})
        return [Target(str(path), "", *_position(arm.meta), (arm,))]
    ivar, mask, plugs, meta = hdus[1].data, hdus[2].data, hdus[5].data, {"header": {"VACUUM": True}}
    arms = [_arm(wavelength, image[k], InverseVariance(ivar[k]), mask[k], meta) for k in range(len(image))]
    names = [str(fibre) for fibre in plugs["FIBERID"]]
    rows = zip(names, map(float, plugs["RA"]), map(float, plugs["DEC"]), arms, strict=True)
    return [Target(str(path), *place, (arm,)) for *place, arm in rows]


def _arm(wavelength, flux, uncertainty, mask, meta):
    from specutils import Spectrum

    bad = (mask & SDSS_BAD) != 0
    axis = wavelength * u.AA
    return Spectrum(flux=flux * FLUX, spectral_axis=axis, uncertainty=uncertainty, mask=bad, meta=meta)


def _is_sdss(header):
    return str(header.get("TELESCOP", "")).strip() == SDSS


def _open(source, file_format):
    """Let specutils read: lists first, for a reader of single spectra takes DESI's files for tables of its own."""
    from specutils import Spectrum, SpectrumList

    try:
        return SpectrumList.read(source, format=file_format)
    except IORegistryError:
        return Spectrum.read(source, format=file_format)


def _targets(path, hdus, found):
    spectra = list(found) if isinstance(found, list) else [found]
    if not spectra:
        msg = "it holds no spectrum"
        raise ValueError(msg)
    if "fibermap" in spectra[0].meta:
        return _desi_targets(path, spectra)
    rows = [row for spectrum in spectra for row in ([spectrum] if spectrum.flux.ndim == 1 else spectrum)]
    rows = [_sdss_mask(hdus, row) for row in rows] if len(rows) == 1 else rows
    names = [""] if len(rows) == 1 else [str(number) for number in range(len(rows))]
    return [Target(str(path), name, *_position(row.meta), (row,)) for name, row in zip(names, rows, strict=True)]


def _desi_targets(path, arms):
    """`Target` list of a DESI file, which has a spectrum of each arm for every row of the fibre map."""
    fibres = arms[0].meta["fibermap"]
    rows = zip(fibres["TARGETID"], fibres["TARGET_RA"], fibres["TARGET_DEC"], strict=True)
    return [
        Target(str(path), str(name), float(ra), float(dec), tuple(_row(arm, i) for arm in arms))
        for i, (name, ra, dec) in enumerate(rows)
    ]


def _row(arm, i):
    """Spectrum of one row without the tables of the whole file, which every row would copy."""
    from specutils import Spectrum

    return Spectrum(
        flux=arm.flux[i],
        spectral_axis=arm.spectral_axis,
        uncertainty=arm.uncertainty[i] if arm.uncertainty is not None else None,
        mask=arm.mask[i] if arm.mask is not None else None,
        meta={"header": {"VACUUM": True}},  # DESI's wavelengths are
    )


def _position(meta):
    header = meta.get("header") or {}
    for cards in POSITION_CARDS + (() if _is_sdss(header) else (("RA", "DEC"),)):
        try:
            return tuple(float(header[card]) for card in cards)
        except (KeyError, ValueError, TypeError):
            continue  # absent, or in hours, minutes and seconds
    return np.nan, np.nan


def _sdss_mask(hdus, spectrum):
    """Specutils masks every pixel with any bit of SDSS' mask set, at times half a good spectrum."""
    if hdus is None or spectrum.mask is None or not _is_sdss(spectrum.meta.get("header") or {}):
        return spectrum
    columns = getattr(hdus[1], "columns", None)
    if columns is not None and "and_mask" in columns.names and len(hdus[1].data) == len(spectrum.mask):
        spectrum.mask = (hdus[1].data["and_mask"] & SDSS_BAD) != 0
    return spectrum
