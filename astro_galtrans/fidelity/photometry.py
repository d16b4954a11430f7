r"""
Photometry: fluxes, colours, positions, widths and profiles of translated galaxies against real ones.

=============================  ===========================================================================  ==========
quantity                       what it is                                                                   pairs by
=============================  ===========================================================================  ==========
``flux_1`` ... ``flux_6``      flux in a circle of so many arcsec diameter about the stamp's centre         ratio
``flux_kron``                  flux in Kron's ellipse (2.5 times the first moment, 1.4 at least)            ratio
``kron_radius``                its semimajor axis (arcsec)                                                  ratio
``peak``                       highest pixel within 2 arcsec of the centre                                  ratio
``fwhm``                       FWHM of the round Gaussian most like it, by adaptive moments (arcsec)        ratio
``centroid_x``, ``_y``         position by adaptive moments, from the stamp's centre (arcsec)               difference
``shift``                      distance of the two positions (arcsec); ``bias`` is its median               itself
``colour``                     difference of asinh magnitudes of neighbouring bands in 3 arcsec             difference
=============================  ===========================================================================  ==========

``bias`` is the median of translated over (or minus) real, and ``scatter`` 1.4826 times the median absolute deviation
from it. Circles and Kron's ellipse are those of photutils. Flux ratios are of galaxies whose real flux is above 3 sigma
of the sky noise; asinh magnitudes (Lupton, Gunn & Szalay 1999), softened by that noise, exist for all.
"""

from itertools import pairwise

import numpy as np
from astropy import units as u
from astropy.table import QTable

from astro_galtrans.fidelity.plots import images as fidelity_plots
from astro_galtrans.stamps._compared import compared

from ._pairs import Pair, binned_rows, statistics_rows
from ._profile_sums import ProfileSums
from .paired import PairedStatistics, by_values, galaxy_rows, to_qtable

__all__ = ["DIAMETERS", "PhotometryFidelity", "photometry_fidelity"]

DIAMETERS = 1.0, 2.0, 3.0, 6.0  #: of the circular apertures (arcsec)
COLOUR = 3.0  # diameter of the aperture that colours are of (arcsec)
LEAST_SNR = 3.0  # of a real flux, for a ratio
POGSON = 2.5 * np.log10(np.e)
PAIRS = {"centroid_x": "difference", "centroid_y": "difference", "shift": "itself"}  # all others by their ratio
BINNED = "flux_3", "flux_6", "flux_kron", "peak", "fwhm", "shift", "colour"
PIXELS = 2**20  # in float64 at once: Kron's ellipses need some dozens of such planes


class PhotometryFidelity(PairedStatistics):
    """
    What `photometry_fidelity` measured.

    ``statistics``
        ``bias``, ``scatter``, rank correlation and distances of each quantity, by ``model`` and ``band``; colours under
        the band ``"g - r"``.
    ``bins``
        ``bias`` and ``scatter`` in bins of flux, and of what else was asked for.
    ``profiles``
        Mean light profiles of real and translated galaxies, each divided by the real flux, their ``ratio`` with its
        interval, and that of the fluxes within the ring's outer edge, ``growth``.
    ``colour_profiles``
        Colour of the mean profiles, and the ``difference`` of the two with its interval.
    ``galaxies``, ``colours``
        Each quantity of each galaxy in the translated image, and with ``_target`` in the real one.
    """

    title = "Photometry fidelity"

    def plot_bands(self):
        """Bias and scatter of the main quantities of all models, band by band."""
        return self._by_band({name: label for name, label in SHOWN.items() if name != "colour"}, self.bands)

    def plot_colours(self):
        """Bias and scatter of the colours of all models; None of a single band."""
        if len(self.bands) < 2:
            return None
        return self._by_band({"colour": SHOWN["colour"]}, list(dict.fromkeys(map(str, self["colours"]["band"]))))

    def plot_bins(self, by=None, band=None):
        """
        Bias and scatter of the main quantities of all models in bins.

        Parameters
        ----------
        by : str, optional
            What was binned; the first by default.
        band : str, optional
            The middle one by default.
        """
        return self._over_bins(SHOWN, by, band, logarithmic=by in {None, "flux"})

    def plot_profiles(self):
        """Light profiles of translations over those of the real images, and curves of growth."""
        return fidelity_plots.profiles(self["profiles"])

    def plot_colour_profiles(self):
        """Colour profiles of real and translated galaxies; None of a single band."""
        return fidelity_plots.colour_profiles(self["colour_profiles"]) if "colour_profiles" in self.tables else None

    def plot_violins(self, band=None):
        """
        Distributions of the paired differences of all models.

        Parameters
        ----------
        band : str, optional
            The middle one by default.
        """
        band, table = band or self.bands[len(self.bands) // 2], self["galaxies"]
        rows = table[table["band"] == band]
        found = {}
        for quantity in (name for name in SHOWN if name in rows.colnames):
            for model in self.models:
                one = rows[rows["model"] == model]
                ours = np.asarray(one[quantity], dtype=float)
                with np.errstate(divide="ignore", invalid="ignore"):
                    paired = ours if quantity == "shift" else ours / np.asarray(one[f"{quantity}_target"]) - 1
                found.setdefault(quantity, {})[model] = paired
        labels = {name: SHOWN[name] if name == "shift" else f"{SHOWN[name]} - 1" for name in found}
        return fidelity_plots.violins(found, ylabels=labels, title=band)


SHOWN = {
    "flux_3": 'flux in 3", ratio', "flux_6": 'flux in 6", ratio', "flux_kron": "Kron flux, ratio",
    "peak": "peak, ratio", "fwhm": "FWHM, ratio", "shift": "shift (arcsec)", "colour": "colour (mag)",
}  # fmt: skip


def photometry_fidelity(
    target, translated, *, bands, pixel_scale, sky_rms, mask=None, diameters=DIAMETERS, redshift=None, by=None, bins=5,
    edges=None, take="first", resamples=1000, seed=0, level=0.68, progress=True,
):  # fmt: skip
    """
    Compare fluxes, colours, positions, widths and profiles of translated and real galaxies.

    Parameters
    ----------
    target : array-like
        ``[N, C, H, W]``: real stamps, background-subtracted flux per pixel, galaxy in the middle. An array, or anything
        with a length that gives arrays for slices.
    translated : array-like or dict of str to array-like
        Translations of the same galaxies by name, ``[N, C, H, W]`` or, with S samples each, ``[N, S, C, H, W]``; unit
        and pixels of the target.
    bands : sequence of str
        Names of the bands; colours are of neighbours.
    pixel_scale : float
        Of the target (arcsec).
    sky_rms : array-like
        ``[C]`` or ``[N, C]``: sky noise of a pixel of the target.
    mask : array-like, optional
        ``[N, C, H, W]`` or ``[N, H, W]``: True for bad pixels, which are zero in both images. Other pixels without a
        value make a galaxy not measurable.
    diameters : sequence of float, optional
        Of the circular apertures (arcsec). Those larger than the stamp are left out.
    redshift : array-like, optional
        ``[N]``: to bin by.
    by : dict of str to array-like, optional
        What else to bin by: name to ``[N]``.
    bins : int or dict, optional
        Number of bins of equally many galaxies, or edges by name (``"flux"``, ``"redshift"``, ...).
    edges : array-like, optional
        Edges of the rings of the profiles (arcsec), see `~astro_galtrans.measure.profiles.Rings`.
    take : {"first", "mean", "both"}, optional
        Of several samples, look at the first, at their mean, or at both.
    resamples, seed, level : int, int, float, optional
        Of the bootstrap over galaxies: number, seed, probability of the intervals; no intervals for 0 resamples.
    progress : bool, optional
        Show progress on a terminal.

    Returns
    -------
    `PhotometryFidelity`

    Raises
    ------
    ValueError
        If lengths, bands or shapes do not fit, or no aperture fits on the stamps.
    """
    stamps = compared(
        target, translated, bands=bands, pixel_scale=pixel_scale, sky_rms=sky_rms, mask=mask, take=take
    )  # fmt: skip
    by = by_values({} if redshift is None else {"redshift": redshift}, len(stamps)) | by_values(by, len(stamps))
    diameters = _fitting(diameters, stamps)
    settings = {"n": resamples, "seed": seed, "level": level}
    real, ours, profiles = _measure(stamps, diameters, edges, settings, progress)
    pairs = list(_pairs(stamps, real, ours))
    binned = [pair for pair in pairs if pair.head["quantity"] in BINNED]
    tables = {
        "statistics": to_qtable(statistics_rows(pairs, settings, progress)),
        "bins": to_qtable(list(binned_rows(binned, {"flux": real["_flux"]} | by, bins, settings))),
        "profiles": profiles.light(),
        "colour_profiles": profiles.colours(),
        "galaxies": _galaxies(stamps, real, ours),
        "colours": _colours(stamps, real, ours),
    }
    meta = {
        "galaxies": len(stamps), "bands": stamps.bands, "pixel_scale": stamps.pixel_scale, "diameters": diameters,
        "least_snr": LEAST_SNR, "samples": {model.name: model.samples for model in stamps.models if model.samples},
        "take": take, "resamples": resamples, "seed": seed, "level": level,
    }  # fmt: skip
    return PhotometryFidelity({name: table for name, table in tables.items() if table is not None}, meta)


def _fitting(diameters, stamps):
    """Apertures that are not larger than the stamp."""
    reach = min(stamps.shape) * stamps.pixel_scale
    fitting = [float(d) for d in diameters if 0 < d <= reach]
    if not fitting:
        msg = f"no aperture of {list(diameters)} arcsec diameter fits on stamps of {reach:.3g} arcsec"
        raise ValueError(msg)
    return fitting


def _measure(stamps, diameters, edges, settings, progress):
    """
    Quantities of all galaxies in the real images and in the readings, and sums of their profiles.

    Returns
    -------
    real, ours : dict
        Quantity to ``[N, C]`` and ``[N, M, C]``; NaN where it could not be measured.
    profiles : `ProfileSums`
    """
    import torch

    from astro_galtrans.measure.photometry import Photometer

    shape = len(stamps), len(stamps.names), len(stamps.bands)
    photometer = Photometer(stamps.shape, stamps.pixel_scale, diameters)
    profiles = ProfileSums(stamps, edges, settings)
    real, ours = {}, {}
    size = min(stamps.block_size(), max(1, PIXELS // (shape[2] * int(np.prod(stamps.shape)))))
    with torch.inference_mode():
        for rows, y, _ in stamps.blocks(desc="photometry", progress=progress, size=size):
            noise = np.broadcast_to(stamps.sky_noise(rows), (len(y), shape[2], 1, 1))[..., 0, 0]
            masked = stamps.masked(rows)
            found = _quantities(photometer, np.where(masked, 0, y), noise, diameters)
            for name, values in found.items():
                real.setdefault(name, np.full((shape[0], shape[2]), np.nan))[rows] = values
            images = {}
            readings = (reading for model in stamps.models for reading in model.read(rows))
            for k, (name, stack, *_) in enumerate(readings):
                images[name] = np.where(masked, 0, stack)
                for quantity, values in _quantities(photometer, images[name], noise, diameters).items():
                    ours.setdefault(quantity, np.full(shape, np.nan))[rows, k] = values
            profiles.add(np.where(masked, 0, y), images, noise)
    _drop_faint(real, diameters)
    apart = (ours[name] - real[name][:, None] for name in ("centroid_x", "centroid_y"))
    ours["shift"] = np.hypot(*apart)
    return real, ours, profiles


def _quantities(photometer, images, noise, diameters):
    """Each quantity ``[n, C]`` of stamps ``[n, C, H, W]``; what colours and ratios need begins with an underscore."""
    import torch

    whole = np.isfinite(images).all(axis=(-1, -2))
    stamps = torch.from_numpy(np.where(whole[..., None, None], images, 0).astype(np.float32))
    flat, sky = stamps.flatten(0, 1), torch.from_numpy(noise.astype(np.float32)).flatten()
    scale = photometer.scale
    flux = photometer.apertures(stamps).numpy().astype(float)
    kron, axis = photometer.kron(flat, sky).unflatten(0, whole.shape).numpy().astype(float).transpose(2, 0, 1)
    x, y, fwhm = photometer.adaptive(flat).unflatten(0, whole.shape).numpy().astype(float).transpose(2, 0, 1)
    found = {f"flux_{diameter:g}": flux[..., k] for k, diameter in enumerate(diameters)}
    found |= {"flux_kron": kron, "kron_radius": scale * axis, "peak": photometer.peak(stamps).numpy().astype(float)}
    found |= {"fwhm": scale * fwhm, "centroid_x": scale * x, "centroid_y": scale * y}
    found |= {f"_noise_{diameter:g}": photometer.noise[k] * noise for k, diameter in enumerate(diameters)}
    k = int(np.argmin(np.abs(np.array(diameters) - COLOUR)))
    found |= {"_flux": flux[..., k], "_magnitude": _asinh_magnitude(flux[..., k], photometer.noise[k] * noise)}
    return {name: np.where(whole, values, np.nan) for name, values in found.items()}


def _asinh_magnitude(flux, softening):
    return -POGSON * (np.arcsinh(flux / (2 * softening)) + np.log(softening))


def _drop_faint(real, diameters):
    """Flux ratios are of galaxies with a flux: the others' real flux is not measurable."""
    for diameter in diameters:
        faint = real[f"flux_{diameter:g}"] < LEAST_SNR * real[f"_noise_{diameter:g}"]
        real[f"flux_{diameter:g}"][faint] = np.nan


def _pairs(stamps, real, ours):
    """Yield the `Pair` of every quantity of every reading and band."""
    known = real | {"shift": real["centroid_x"]}  # where the real position could be measured
    for m, model in enumerate(stamps.names):
        for c, band in enumerate(stamps.bands):
            for name in (name for name in ours if name[0] != "_"):
                kind = PAIRS.get(name, "ratio")
                head = {"model": model, "band": band, "quantity": name, "pair": kind}
                unit = {"unit": "" if kind == "ratio" else "arcsec"}
                yield Pair(head | unit, known[name][:, c], ours[name][:, m, c], c)
        for c, pair in enumerate(pairwise(stamps.bands)):
            head = {"model": model, "band": " - ".join(pair), "quantity": "colour", "pair": "difference", "unit": "mag"}
            colours = (values[..., c] - values[..., c + 1] for values in (real["_magnitude"], ours["_magnitude"][:, m]))
            yield Pair(head, *colours, c)


def _galaxies(stamps, real, ours):
    """A row for each galaxy, reading and band."""
    columns = {}
    for name in (name for name in ours if name[0] != "_"):
        columns[name] = ours[name]
        if name in real:
            columns[f"{name}_target"] = real[name][:, None]
    return galaxy_rows(len(stamps), stamps.names, stamps.bands, columns)


def _colours(stamps, real, ours):
    """A row for each galaxy, reading and colour, or None of a single band."""
    if len(stamps.bands) < 2:
        return None
    colours = [-np.diff(values, axis=-1) for values in (ours["_magnitude"], real["_magnitude"][:, None])]
    names = [" - ".join(pair) for pair in pairwise(stamps.bands)]
    table = galaxy_rows(len(stamps), stamps.names, names, dict(zip(("colour", "colour_target"), colours, strict=True)))
    for name in ("colour", "colour_target"):
        table[name].unit = u.mag
    return QTable(table)
