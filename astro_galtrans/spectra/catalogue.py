"""A catalogue of spectroscopic redshifts from files of spectra."""

import hashlib
import os
import time
import warnings
from contextlib import nullcontext
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.table import QTable

from astro_galtrans._columns import name_rows
from astro_galtrans._files import whole_file
from astro_galtrans._locks import locked
from astro_galtrans._positions import sky_positions
from astro_galtrans._progress import tqdm
from astro_galtrans.bandstack import find_files
from astro_galtrans.exceptions import GaltransWarning

from .measure import checked_range, redshift
from .reading import READER_ERRORS, read
from .result import Flag

__all__ = ["catalogue", "find_spectra", "match"]

#: Seconds between two writings of an unfinished catalogue: an interruption loses no more than that.
PATIENCE = 30.0
COLUMNS = {
    "file": ("U1", None, "file of the spectrum"),
    "object": ("U1", None, "name or row in the file; empty if it is alone"),
    "ra": (float, u.deg, "position from the file; NaN if it has none"),
    "dec": (float, u.deg, "position from the file; NaN if it has none"),
    "z_spec": (float, None, "redshift if it has no flag, else NaN"),
    "z_err": (float, None, "its uncertainty, 1 sigma"),
    "z": (float, None, "best redshift, whatever its quality"),
    "flag": (int, None, "sum of: " + ", ".join(f"{flag.value} {flag.name}" for flag in Flag)),
    "template": ("U1", None, "leading templates"),
    "kind": ("U1", None, "absorption, emission, or both"),
    "sn": (float, None, "median signal-to-noise per pixel"),
    "delta_chi2": (float, None, "chi-squared gained over a smooth continuum"),
    "margin": (float, None, "chi-squared gained over the second peak"),
    "r": (float, None, "ratio of Tonry & Davis (1979)"),
    "reduced_chi2": (float, None, "of the best fit"),
    "medium": ("U1", None, "what wavelengths refer to"),
    "note": ("U1", None, "why there is no redshift"),
    "sha256": ("U1", None, "of the file: a file that changed is measured again"),
}
#: Columns that are attributes of a `RedshiftResult` of the same name.
SAME_NAME = "z", "template", "kind", "delta_chi2", "margin", "r", "reduced_chi2", "medium"


def catalogue(files, output=None, *, z_range=(-0.01, 1.2), medium="auto", file_format=None, progress=True):
    """
    Measure the redshifts of all spectra in some files.

    Parameters
    ----------
    files : path-like or list of path-like
        Files, and folders for the FITS files in them.
    output : path-like, optional
        ECSV file for the catalogue. It is written as the work goes on, whole each time, and files that it holds already
        with the same content are not measured again, so that an interrupted run can be repeated.
    z_range, medium : optional
        As for `redshift`.
    file_format : str, optional
        As for `read`.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    `~astropy.table.QTable`
        One row per spectrum; the columns have descriptions. Spectra that could not be measured have the flag
        `Flag.UNREADABLE` and a note.

    Raises
    ------
    FileNotFoundError
        If a file or folder does not exist, or a folder has no FITS file.
    ValueError
        If ``output`` holds redshifts measured with other settings.
    OSError
        If another process writes to ``output``.

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
    ...     table = spectra.catalogue(folder, progress=False)
    >>> print(f"{table['z'][0]:.3f}")
    0.200
    """
    settings = {"z_range": list(checked_range(z_range)), "medium": medium, "format": file_format}
    paths = find_spectra(files)
    with nullcontext() if output is None else locked(Path(output).parent, Path(output).name):
        rows = _earlier(output, settings)
        done = {(row["file"], row["sha256"]) for row in rows}
        todo = {path: found for path in paths if (str(path), found := _sha256(path)) not in done}
        names = set(map(str, todo))
        rows = [row for row in rows if row["file"] not in names]
        try:
            _measure_all(rows, todo, output, settings, progress)
        finally:
            if output is not None and rows:
                _write(_table(rows, settings), output)
    table = _table(rows, settings)
    _report(table)
    return table


def find_spectra(files):
    """
    List files, those that globs match, and the FITS files in folders: `pathlib.Path` in the order given, none twice.

    Parameters
    ----------
    files : path-like or list of path-like

    Raises
    ------
    FileNotFoundError
        If a file or folder does not exist, or a folder has no FITS file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astro_galtrans.spectra import find_spectra
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "a.fits").touch()
    ...     print([path.name for path in find_spectra([folder])])
    ['a.fits']
    """
    items = [files] if isinstance(files, str | os.PathLike) else list(files)
    found = dict.fromkeys(Path(path) for item in items for path in find_files(item))
    missing = next((path for path in found if not path.exists()), None)
    if missing:
        msg = f"there is no file {missing}"
        raise FileNotFoundError(msg)
    return list(found)


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _measure_all(rows, todo, output, settings, progress):
    written = time.monotonic()
    for path, content in tqdm(todo.items(), unit="file", disable=None if progress else True):
        rows.extend(row | {"sha256": content} for row in _measure_file(path, settings))
        if output is not None and time.monotonic() - written > PATIENCE:
            _write(_table(rows, settings), output)
            written = time.monotonic()


def _measure_file(path, settings):
    """Rows of one file, which are added to the catalogue together: an interrupted run has whole files only."""
    try:
        targets = read(path, settings["format"])
    except ValueError as err:
        return [_failed(path, "", np.nan, np.nan, err)]
    return [_measure(target, settings) for target in targets]


def _measure(target, settings):
    try:
        found = redshift(list(target.arms), z_range=settings["z_range"], medium=settings["medium"])
    except READER_ERRORS as err:
        return _failed(target.file, target.name, target.ra, target.dec, err)
    return {
        "file": target.file,
        "object": target.name,
        "ra": target.ra,
        "dec": target.dec,
        "z_spec": found.z if found.flag == 0 else np.nan,
        "z_err": found.uncertainty,
        "flag": int(found.flag),
        "sn": found.signal_to_noise,
        "note": "",
    } | {name: getattr(found, name) for name in SAME_NAME}


def _failed(file, name, ra, dec, err):
    row = {name: np.nan if kind is float else "" for name, (kind, _unit, _text) in COLUMNS.items()}
    said = " ".join(str(err).split())
    return row | {"file": str(file), "object": name, "ra": ra, "dec": dec, "flag": int(Flag.UNREADABLE), "note": said}


def _table(rows, settings):
    table = QTable(meta={"settings": settings})
    for name, (kind, unit, text) in COLUMNS.items():
        values = np.array([row[name] for row in rows], dtype=None if kind == "U1" and rows else kind)
        table[name] = values if unit is None else values * unit
        table[name].info.description = text
    return table


def _write(table, output):
    with whole_file(output) as file:
        table.write(file, format="ascii.ecsv")


def _earlier(output, settings):
    """Rows of an unfinished catalogue."""
    if output is None or not Path(output).exists():
        return []
    table = QTable.read(output, format="ascii.ecsv")
    if table.meta.get("settings") != settings or set(table.colnames) != set(COLUMNS):
        earlier = table.meta.get("settings")
        msg = f"{output} holds redshifts measured with {earlier}, not {settings}; choose another file"
        raise ValueError(msg)
    return [{name: _plain(row[name], kind) for name, (kind, _u, _t) in COLUMNS.items()} for row in table.filled("")]


def _plain(value, kind):
    return str(value) if kind == "U1" else kind(getattr(value, "value", value))


def _report(table):
    failed = table[(table["flag"] & Flag.UNREADABLE) != 0]
    if len(failed):
        names = "; ".join(str(note) for note in failed["note"][:3])
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        msg = f"{len(failed)} of {len(table)} spectra could not be measured: {names}{more}"
        warnings.warn(msg, GaltransWarning, stacklevel=3)


def match(table, spectra, radius=1.0 * u.arcsec, *, ra="ra", dec="dec"):
    """
    Add spectroscopic redshifts to a table of galaxies, by position.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With columns of right ascension and declination: degrees if they have no unit, or sexagesimal text of hours and
        degrees. A row without a position has no spectrum, and a warning names it.
    spectra : `~astropy.table.QTable`
        What `catalogue` returns.
    radius : `~astropy.units.Quantity`, optional
        Greatest distance on the sky. Of several spectra within it that of least flag counts, then of least uncertainty.
    ra, dec : str, optional
        Names of the columns of ``table``.

    Returns
    -------
    `~astropy.table.Table`
        Copy of ``table`` with columns ``z_spec``, ``z_err`` (NaN without a spectrum, or with a flagged one), ``z_flag``
        (-1 without a spectrum) and ``spectrum`` (the file).

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.table import QTable
    >>> from astro_galtrans.spectra import match
    >>> galaxies = QTable({"ra": [10.0, 20.0] * u.deg, "dec": [0.0, 1.0] * u.deg})
    >>> spectra = QTable({"ra": [20.0] * u.deg, "dec": [1.0001] * u.deg, "z": [0.1], "z_spec": [0.1]})
    >>> spectra["z_err"], spectra["flag"], spectra["file"] = 0.0001, 0, "a.fits"
    >>> match(galaxies, spectra)["z_spec"].tolist()
    [nan, 0.1]
    """
    result = table.copy()
    best = np.full(len(table), -1)
    known = np.flatnonzero(np.isfinite(spectra["ra"]) & np.isfinite(spectra["dec"]) & np.isfinite(spectra["z"]))
    if len(known) and len(table):
        places = np.stack(sky_positions(table, ra, dec))
        lost = np.isnan(places[0])
        if lost.any():
            msg = f"without a position, and so without a spectrum: {name_rows(lost)} of the table"
            warnings.warn(msg, GaltransWarning, stacklevel=2)
        there = SkyCoord(spectra["ra"][known], spectra["dec"][known])
        ours, theirs, _distance, _ = search_around_sky(SkyCoord(*places[:, ~lost], unit="deg"), there, radius)
        ours = np.flatnonzero(~lost)[ours]
        order = np.lexsort((spectra["z_err"][known[theirs]], spectra["flag"][known[theirs]]))[::-1]
        best[ours[order]] = known[theirs[order]]  # the last one written is the best one
    seen = best >= 0
    clear = seen & (np.asarray(spectra["flag"])[best] == 0)
    for name in ("z_spec", "z_err"):
        result[name] = np.where(clear, np.asarray(spectra[name], dtype=float)[best], np.nan)
    result["z_flag"] = np.where(seen, np.asarray(spectra["flag"])[best], -1)
    result["spectrum"] = np.where(seen, np.asarray(spectra["file"], dtype=str)[best], "")
    return result
