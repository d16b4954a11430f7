r"""
Photometry: fluxes, colours, positions, widths and profiles of translated galaxies against real ones.

=============================  ===========================================================================  ==========
quantity                       what it is                                                                   pairs by
=============================  ===========================================================================  ==========
``flux_1`` ... ``flux_6``      flux in a circle of so many arcsec diameter about the stamp's centre         ratio
``flux_kron``                  flux in Kron's ellipse (2.5 times the first moment, 1.4 at least)            ratio
``kron_radius``                its semimajor axis (arcsec)                                                  ratio
``peak``                       highest pixel within 2 arcsec of the centre                                  ratio
``area``                       isophotal area: of the source above 3 sigma in the smoothed stamp            ratio
``fwhm``                       FWHM of the round Gaussian most like it, by adaptive moments (arcsec)        ratio
``centroid_x``, ``_y``         position by adaptive moments, from the stamp's centre (arcsec)               difference
``shift``                      distance of the two positions (arcsec); ``bias`` is its median               itself
``colour``                     difference of asinh magnitudes of neighbouring bands in 3 arcsec             difference
=============================  ===========================================================================  ==========

They are measured by `astro_galtrans.measure.photometry`, in both images with the noise and the mask of the real one.
``bias`` is the median of translated over (or minus) real, and ``scatter`` 1.4826 times the median absolute deviation
from it. Ratios of fluxes in circles are of galaxies whose real flux is above 3 sigma of the sky noise; asinh magnitudes
(Lupton, Gunn & Szalay 1999), softened by that noise, exist for all.
"""

from itertools import pairwise

import numpy as np
from astropy.table import vstack

from astro_galtrans import measure
from astro_galtrans.fidelity.plots import images as plots
from astro_galtrans.measure.photometry import DIAMETERS
from astro_galtrans.measure.profiles import Rings
from astro_galtrans.measure.tables import galaxy_table

from ._profile_sums import profile_tables
from .compare import BOOTSTRAP, by_values, compare, side_by_side
from .paired import PairedStatistics, checked, measured_alike, settings_of

__all__ = ["PhotometryFidelity", "photometry_fidelity", "quantities_of"]

LEAST_SNR = 3.0  # of a real flux, for a ratio: below, the ratio is that of noise
BINNED_BY = 3.0  # diameter of the aperture whose real flux is binned by (arcsec), or the nearest that there is
PAIRED_BY = {"centroid_x": "difference", "centroid_y": "difference", "shift": "itself"}  # all others by their ratio
BINNED = "flux_3", "flux_6", "flux_kron", "peak", "fwhm", "shift", "colour"


class PhotometryFidelity(PairedStatistics):
    """
    What `photometry_fidelity` measured.

    ``statistics``
        ``bias``, ``scatter``, rank correlation and distances of each quantity, by ``model`` and ``band``; colours under
        the band ``"g - r"``.
    ``bins``
        ``bias`` and ``scatter`` in bins of flux (in 3 arcsec), and of what else was asked for.
    ``profiles``
        Mean light profiles of real and translated galaxies, each divided by the real flux, their ``ratio`` with its
        interval, and that of the fluxes within the ring's outer edge, ``growth``.
    ``colour_profiles``
        Colour of the mean profiles, and the ``difference`` of the two with its interval.
    ``galaxies``, ``colours``
        Each quantity of each galaxy in the translated image, and with ``_target`` in the real one.
    """

    title = "Photometry fidelity"
    key, claim = {"quantity": "flux_kron", "statistic": "bias"}, "the median ratio of translated to real Kron flux"
    shown = {
        "flux_3": 'flux in 3", ratio', "flux_6": 'flux in 6", ratio', "flux_kron": "Kron flux, ratio",
        "peak": "peak, ratio", "area": "isophotal area, ratio", "fwhm": "FWHM, ratio", "shift": "shift (arcsec)",
        "colour": "colour (mag)",
    }  # fmt: skip

    def plot_colours(self):
        """Bias and scatter of the colours of all models; None of a single band."""
        if len(self.bands) < 2:
            return None
        colours = [" - ".join(pair) for pair in pairwise(self.bands)]
        shown, perfect = self._panels()
        return plots.by_band(self["statistics"], shown, colours, lines=perfect)

    def plot_profiles(self):
        """Light profiles of translations over those of the real images, and curves of growth; None without profiles."""
        if "profiles" not in self.tables:
            return None
        rows = {"ratio": ("radius", "light, ratio"), "growth": ("outer_radius", "flux within, ratio")}
        return plots.over_radius(self["profiles"], rows, 1)

    def plot_colour_profiles(self):
        """Colour profiles of real and translated galaxies; None of a single band."""
        rows = {"translated": ("radius", "colour (mag)"), "difference": ("radius", "difference (mag)")}
        return plots.over_radius(self["colour_profiles"], rows, 0) if "colour_profiles" in self.tables else None


def photometry_fidelity(
    target, translated, *, diameters=DIAMETERS, edges=None, by=None, bins=5, take="first",
    bootstrap=BOOTSTRAP, progress=True,
):  # fmt: skip
    """
    Compare fluxes, colours, positions, widths and profiles of translated and real galaxies.

    Parameters
    ----------
    target : `~astro_galtrans.stamps.Stamps`
        Real images. Their masked pixels are zero in both images; other pixels without a value make a galaxy not
        measurable.
    translated, take
        As for `~astro_galtrans.fidelity.pixel.measure.pixel_fidelity`; by default the first of several samples.
    diameters : sequence of float, optional
        Of the circular apertures (arcsec). Those larger than the stamp are left out.
    edges : array-like, optional
        Edges of the rings of the profiles (arcsec), see `~astro_galtrans.measure.profiles.Rings`.
    by, bins, bootstrap, progress : optional
        As for `~astro_galtrans.fidelity.pixel.measure.pixel_fidelity`; there are always bins of ``"flux"``.

    Returns
    -------
    `PhotometryFidelity`

    Raises
    ------
    ValueError
        If numbers, bands or shapes do not fit, the target's noise is not known, or no aperture fits on the stamps.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.stamps import Stamps
    >>> from astro_galtrans.surveys import Band, Survey
    >>> rng = np.random.default_rng(1)
    >>> axis = 0.2 * (np.arange(48) - 23.5)  # arcsec
    >>> clean = rng.uniform(50, 200, (40, 1, 1, 1)) * np.exp(-0.5 * (axis**2 + axis[:, None] ** 2) / 0.6**2)
    >>> survey = Survey("mine", "", 0.2, "adu", 30.0, [Band("r", fwhm=0.7, sky_rms=1.0)])
    >>> target = Stamps(clean + rng.normal(0, 1, clean.shape), survey)
    >>> from astro_galtrans.fidelity import photometry_fidelity
    >>> found = photometry_fidelity(target, {"brighter": 1.1 * clean}, progress=False)
    >>> print(f"{found.value('flux_3')[0]:.2f}")
    1.10
    """
    translated, by = checked(target, translated, take), by_values(by, len(target))
    rings = Rings(target.shape, target.pixel_scale, edges)
    images = measured_alike(target, translated, take)
    options = {"diameters": diameters, "rings": rings, "progress": progress}
    real = measure.photometry(target, **options)
    ours = {name: measure.photometry(stamps, **options) for name, stamps in images.items()}
    colours = [_colours(table, target.bands) for table in (real, *ours.values())]
    circles = {name: float(name.removeprefix("flux_")) for name in real.colnames if f"{name}_err" in real.colnames}
    flux = min(circles, key=lambda name: abs(circles[name] - BINNED_BY))
    settings = {"binned": BINNED, "bins": bins, "bootstrap": bootstrap, "progress": progress}
    settings["by"] = {"flux": np.array(real[flux]).reshape(len(target), -1)} | by
    profiles = {name: _taken(table, "rings", len(target)) for name, table in ({None: real} | ours).items()}
    _prepare(real, ours, circles)
    quantities = _pairs(real.colnames[2:])
    found, every = [compare(real, ours, quantities, **settings)], {"galaxies": side_by_side(ours, real)}
    every["galaxies"].remove_column("shift_target")
    if len(target.bands) > 1:
        real, ours = colours[0], dict(zip(ours, colours[1:], strict=True))
        settings["by"]["flux"] = settings["by"]["flux"][:, :-1]  # colours are binned by the flux of their first band
        found.append(compare(real, ours, {"colour": "difference"}, **settings))
        every["colours"] = side_by_side(ours, real)
    tables = {name: vstack([part[name] for part in found]) for name in found[0]}
    tables |= profile_tables(target, rings, profiles.pop(None), profiles, bootstrap) | every
    meta = {"diameters": list(circles.values()), "least_snr": LEAST_SNR, "take": take}
    return PhotometryFidelity(tables, settings_of(target, translated, bootstrap) | meta)


def _pairs(names):
    return {name: PAIRED_BY.get(name, "ratio") for name in names if name != "mag"}


def quantities_of(columns):
    """
    Return where the real values of quantities are, if not in ``NAME_target``, and by what each is compared.

    ``columns`` are those of ``galaxies`` and ``colours``. The real image has no shift: it only says where one could be.
    """
    names = [name for name in columns if not name.endswith("_target") and name != "colour"]
    pairs = _pairs(names) | ({"colour": "difference"} if "colour" in columns else {})
    return {"shift": "centroid_x_target"}, pairs


def _taken(table, name, number):
    """Take a column out of a table, ``[N, C, ...]``."""
    column = np.asarray(table[name])
    table.remove_column(name)
    return column.reshape(number, -1, *column.shape[1:])


def _prepare(real, ours, circles):
    """Leave out real fluxes that are too faint for a ratio, and put in the distance of the two positions."""
    for name in circles:
        real[name][real[name] < LEAST_SNR * real[f"{name}_err"]] = np.nan
    for table in ours.values():
        table["shift"] = np.hypot(*(table[name] - real[name] for name in ("centroid_x", "centroid_y")))
    real["shift"] = 0 * real["centroid_x"]  # of no meaning, but NaN where the real position could not be measured
    for table in (real, *ours.values()):
        table.remove_columns([f"{name}_err" for name in circles])


def _colours(table, bands):
    """Differences of the magnitudes of neighbouring bands, as a table with a row per galaxy and colour."""
    magnitudes = table["mag"].reshape(-1, len(bands))
    colours = magnitudes[:, :-1] - magnitudes[:, 1:]
    return galaxy_table([" - ".join(pair) for pair in pairwise(bands)], {"colour": colours})
