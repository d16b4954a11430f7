"""
Filter curves by name: the package's own, speclite's, GalSim's, trapezoids, and files of the user's.

A survey's description names the curve of each band as

- ``megacam-MP9401``: a column of a table that ships with the package, here ``data/filters/megacam.ecsv``, which says
  what its curves include;
- ``sdss2010-r``: one of speclite's collection;
- ``galsim:ACS_wfc_F814W``: a file of GalSim's folder ``bandpasses``;
- ``trapezoid(6290,1363,120)``: centre, width at half maximum and length of each edge, in Angstrom, where no measured
  curve is at hand;
- ``curve.ecsv`` or any other path: a table of which the first two columns are wavelength (Angstrom, or with its unit)
  and response.
"""

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from astro_galtrans._optional import require

__all__ = ["load_curve"]

STEP = 4.0  #: Angstrom
FAINTEST = 1e-4  # of the peak: what is fainter is not part of the filter, but the noise of a measured curve

_TRAPEZOID = re.compile(r"trapezoid\(\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*\)")


@cache
def load_curve(name):
    """
    Return the wavelengths (Angstrom, in steps of `STEP`) and the response of a filter, the share of photons detected.

    The response is known up to a factor.

    Parameters
    ----------
    name : str
        In one of the forms on top of this module.

    Raises
    ------
    ValueError
        If there is no such curve, or it is not one.
    """
    try:
        wavelength, response = _read(name)
        used = np.flatnonzero(response > FAINTEST * response.max())
        fine = np.arange(wavelength[max(used[0] - 1, 0)], wavelength[min(used[-1] + 1, len(wavelength) - 1)], STEP)
        return fine, np.interp(fine, wavelength, response)
    except (ValueError, OSError, IndexError) as err:
        msg = f"there is no filter curve {name!r} ({err}); name one of speclite's, galsim:NAME or a file"
        raise ValueError(msg) from err


def _read(name):
    trapezoid = _TRAPEZOID.fullmatch(name)
    if trapezoid:
        centre, width, edge = map(float, trapezoid.groups())
        outer, inner = (width + edge) / 2, (width - edge) / 2
        return centre + np.array([-outer, -inner, inner, outer]), np.array([0.0, 1.0, 1.0, 0.0])
    if name.startswith("galsim:"):
        folder = require("galsim", extra="simulate").meta_data.share_dir
        nanometre, response = np.loadtxt(f"{folder}/bandpasses/{name.removeprefix('galsim:')}.dat", unpack=True)[:2]
        return 10 * nanometre, response
    if Path(name).suffix:
        return _from_file(name)
    group, _, column = name.partition("-")
    own = files("astro_galtrans").joinpath(f"data/filters/{group}.ecsv")
    if own.is_file():
        return _shipped(own, column)
    curve = require("speclite.filters", extra="simulate").load_filter(name)
    return curve.wavelength, curve.response


def _shipped(path, column):
    from astropy.table import Table  # only here: the table reader costs more to import than the package

    table = Table.read(path.read_text(encoding="utf8"), format="ascii.ecsv")
    if column not in table.colnames[1:]:
        msg = f"{path.name} has {', '.join(table.colnames[1:])}"
        raise ValueError(msg)
    return np.asarray(table["wavelength"]), np.asarray(table[column])


def _from_file(path):
    from astropy import units as u
    from astropy.table import QTable

    options = {} if Path(path).suffix in {".ecsv", ".fits", ".xml", ".vot"} else {"format": "ascii"}
    wavelength, response = list(QTable.read(path, **options).columns.values())[:2]
    return u.Quantity(wavelength, u.AA).value, np.asarray(response, float)
