r"""
Morphology of translated galaxies against real ones, by statmorph's quantities and names.

Both images are measured alike by `~astro_galtrans.measure.morphology.measure_morphology`: one segmentation rule,
with the real image's sky noise as the noise of both. A galaxy enters a statistic if in both images ``flag`` is 1 or
less and ``sn_per_pixel`` 2.5 or more (Lotz et al. 2004), and ``flag_sersic`` too is 1 or less for what is of the Sersic
fit.

Concentration, Gini and M20 depend on resolution and depth: translated and real images share these, source images do
not, and are never compared here. Lengths are in arcsec.
"""

import numpy as np

from astro_galtrans.fidelity.plots import images as fidelity_plots
from astro_galtrans.stamps._compared import compared

from ._pairs import Pair, binned_rows, statistics_rows
from .paired import PairedStatistics, by_values, excluded, galaxy_rows, to_qtable

__all__ = ["QUANTITIES", "MorphologyFidelity", "morphology_fidelity"]

QUANTITIES = (
    "gini", "m20", "gini_m20_bulge", "gini_m20_merger", "concentration", "asymmetry", "smoothness", "r20", "r50", "r80",
    "rpetro_circ", "rpetro_ellip", "rhalf_circ", "rhalf_ellip", "ellipticity_asymmetry", "sersic_n", "sersic_rhalf",
    "sersic_ellip", "intensity", "multimode", "deviation", "outer_asymmetry", "shape_asymmetry", "sn_per_pixel",
)  #: statmorph's names  # fmt: skip
OTHERS = "flux_circ", "flag", "flag_sersic"
LENGTHS = "r20", "r50", "r80", "rpetro_circ", "rpetro_ellip", "rhalf_circ", "rhalf_ellip", "sersic_rhalf"
BINNED = "gini", "m20", "concentration", "asymmetry", "smoothness", "rhalf_ellip", "ellipticity_asymmetry", "sersic_n"
WORST_FLAG, LEAST_SN = 1, 2.5
BUDGET = 2**25  # pixels of all samples of some galaxies in memory at once: 128 MiB
SHOWN = {
    "gini": "Gini", "m20": r"$M_{20}$", "concentration": "C", "asymmetry": "A", "smoothness": "S",
    "rhalf_ellip": "half-light radius (arcsec)", "ellipticity_asymmetry": "ellipticity", "sersic_n": "Sersic n",
}  # fmt: skip
REASONS = "no_source", "flag", "sn_per_pixel", "flag_sersic"


class MorphologyFidelity(PairedStatistics):
    """
    What `morphology_fidelity` measured.

    ``statistics``
        ``bias`` (median of translated minus real), ``scatter`` (1.4826 times the median absolute deviation from it),
        ``spearman``, ``ks`` and ``wasserstein`` of each quantity, by ``model`` and ``band``.
    ``bins``
        ``bias`` and ``scatter`` in bins of magnitude, size (the real half-light radius) and of what else was asked for.
    ``counts``
        Why galaxies are left out: how many have no source, a flag above 1, too low ``sn_per_pixel``, a Sersic fit that
        failed, in each set of images; and of how many this is so in real and in translated image alike.
    ``galaxies``
        Each quantity and flag of each galaxy in the translated image, and with ``_target`` in the real one, also of
        galaxies that enter no statistic.
    """

    title = "Morphology fidelity"

    def plot_bands(self):
        """Bias and scatter of the main quantities of all models, band by band."""
        return self._by_band(SHOWN, self.bands)

    def plot_bins(self, by=None, band=None):
        """
        Bias and scatter of the main quantities of all models in bins.

        Parameters
        ----------
        by : str, optional
            What was binned; the magnitude by default.
        band : str, optional
            The middle one by default.
        """
        return self._over_bins(SHOWN, by, band)

    def plot_violins(self, band=None):
        """
        Distributions of the paired differences of all models.

        Parameters
        ----------
        band : str, optional
            The middle one by default.
        """
        band, found = band or self.bands[len(self.bands) // 2], {}
        for model in self.models:
            rows = self.rows("galaxies", model=model, band=band)
            columns = {name: np.asarray(rows[name], dtype=float) for name in rows.colnames[3:]}
            real, ours = _entering(columns, "_target"), _entering(columns)
            for quantity in (name for name in SHOWN if name in self["statistics"]["quantity"]):
                found.setdefault(quantity, {})[model] = ours[quantity] - real[quantity]
        return fidelity_plots.violins(found, ylabels=SHOWN, title=f"{band}, translated - target")


def morphology_fidelity(
    target, translated, *, bands, pixel_scale, sky_rms, mask=None, variance=None, gain=None, psf=None, zeropoint=0.0,
    by=None, bins=5, take="first", sersic=True, engine="batched", resamples=1000, seed=0, level=0.68,
    progress=True, **settings,
):  # fmt: skip
    """
    Compare the morphology of translated and real galaxies.

    Parameters
    ----------
    target : array-like
        ``[N, C, H, W]``: real stamps, background-subtracted flux per pixel, galaxy in the middle. An array, or anything
        with a length that gives arrays for slices.
    translated : array-like or dict of str to array-like
        Translations of the same galaxies by name, ``[N, C, H, W]`` or, with S samples each, ``[N, S, C, H, W]``; unit
        and pixels of the target.
    bands : sequence of str
        Names of the bands.
    pixel_scale : float
        Of the target (arcsec).
    sky_rms : array-like
        ``[C]`` or ``[N, C]``: sky noise of a pixel of the target, for the segmentation of both images.
    mask : array-like, optional
        ``[N, C, H, W]`` or ``[N, H, W]``: True for pixels to ignore in both images.
    variance : array-like, optional
        ``[N, C, H, W]``: noise variance of the target's pixels, taken for both images.
    gain : array-like, optional
        ``[C]``: electrons per unit of flux of the target, which makes the noise where ``variance`` is not given; that
        of the sky alone by default.
    psf : sequence of array-like, optional
        ``C`` PSFs of the target, ``[h, w]`` or ``[N, h, w]`` each and all of one size, for the Sersic fits.
    zeropoint : float, optional
        Of the target, for the magnitudes that are binned.
    by : dict of str to array-like, optional
        What else to bin by: name to ``[N]``.
    bins : int or dict, optional
        Number of bins of equally many galaxies, or edges by name (``"magnitude"``, ``"size"``, ...).
    take : {"first", "mean", "both"}, optional
        Of several samples, look at the first, at their mean, or at both.
    sersic : bool, optional
        Fit Sersic models?
    engine : {"batched", "statmorph"}, optional
        Who measures.
    resamples, seed, level : int, int, float, optional
        Of the bootstrap over galaxies: number, seed, probability of the intervals; no intervals for 0 resamples.
    progress : bool, optional
        Show progress on a terminal.
    **settings
        Of `~astro_galtrans.measure.morphology.measure_morphology`.

    Returns
    -------
    `MorphologyFidelity`

    Raises
    ------
    ValueError
        If lengths, bands or shapes do not fit; the message names the argument.
    """
    stamps = compared(
        target, translated, bands=bands, pixel_scale=pixel_scale, sky_rms=sky_rms, mask=mask, variance=variance,
        take=take,
    )  # fmt: skip
    by = by_values(by, len(stamps))
    settings |= {"sersic": sersic, "engine": engine, "progress": False}
    given = {"gain": _gain(gain, stamps.bands), "psf": _psf(psf, stamps), "settings": settings}
    real, ours = _measure(stamps, given, progress)
    bootstrap = {"n": resamples, "seed": seed, "level": level}
    names = [name for name in QUANTITIES if sersic or not name.startswith("sersic")]
    pairs = list(_pairs(stamps, _entering(real), _entering(ours), names))
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = zeropoint - 2.5 * np.log10(real["flux_circ"][:, 0])
    by = {"magnitude": magnitude, "size": real["rhalf_circ"][:, 0]} | by
    binned = [pair for pair in pairs if pair.head["quantity"] in BINNED]
    tables = {
        "statistics": to_qtable(statistics_rows(pairs, bootstrap, progress)),
        "bins": to_qtable(list(binned_rows(binned, by, bins, bootstrap))),
        "counts": to_qtable(list(_counts(stamps, real, ours, REASONS if sersic else REASONS[:-1]))),
        "galaxies": _galaxies(stamps, real, ours),
    }
    meta = {
        "galaxies": len(stamps), "bands": stamps.bands, "pixel_scale": stamps.pixel_scale, "engine": engine,
        "worst_flag": WORST_FLAG, "least_sn_per_pixel": LEAST_SN, "zeropoint": zeropoint, "take": take,
        "samples": {model.name: model.samples for model in stamps.models if model.samples},
        "resamples": resamples, "seed": seed, "level": level,
    }  # fmt: skip
    return MorphologyFidelity({name: table for name, table in tables.items() if table is not None}, meta)


def _gain(gain, bands):
    """Electrons per unit of flux in each band, or None."""
    if gain is None:
        return None
    gain = np.asarray(gain, dtype=float)
    if gain.shape not in {(), (len(bands),)}:
        msg = f"gain must be one number, or one per band ({', '.join(bands)}), got an array of shape {gain.shape}"
        raise ValueError(msg)
    return np.broadcast_to(gain, len(bands))


def _psf(psf, stamps):
    """PSFs as ``[N or 1, C, h, w]``, or None."""
    if psf is None:
        return None
    parts = [np.asarray(part, dtype=float) for part in psf]
    parts = [part[None] if part.ndim == 2 else part for part in parts]
    shapes = {part.shape for part in parts}
    fitting = len(parts) == len(stamps.bands) and len(shapes) == 1 and parts[0].ndim == 3
    if not fitting or len(parts[0]) not in {1, len(stamps)}:
        msg = (
            f"psf must be one for each band ({', '.join(stamps.bands)}), [h, w] or [N, h, w] and of one size; "
            f"got {len(parts)} of shape {', '.join(map(str, sorted(shapes)))}"
        )
        raise ValueError(msg)
    return np.stack(parts, axis=1)


def _measure(stamps, given, progress):
    """
    Every quantity and flag of all galaxies: of the real images ``[N, 1, C]``, of the readings ``[N, M, C]``.

    Lengths are in arcsec. All images of a block of galaxies go to the engine at once: it likes large batches.
    """
    found, shape = {}, (len(stamps), 1 + len(stamps.names), len(stamps.bands))
    for rows, y, _ in stamps.blocks(desc="morphology", progress=progress, size=stamps.block_size(BUDGET)):
        readings = (reading for model in stamps.models for reading in model.read(rows))
        images = np.stack([y, *(stack for _, stack, *_ in readings)], axis=1)
        for name, values in _measure_block(images, rows, stamps, given).items():
            found.setdefault(name, np.full(shape, np.nan))[rows] = values
    return {name: part[:, :1] for name, part in found.items()}, {name: part[:, 1:] for name, part in found.items()}


def _measure_block(images, rows, stamps, given):
    """Quantities ``[n, 1 + M, C]`` of images ``[n, 1 + M, C, H, W]``."""
    from astro_galtrans.measure.morphology import measure_morphology

    shape = images.shape

    def alike(values, *rest):
        """What is the same for real and translated images, ``[n or 1, C, ...]``, for each of the images."""
        return np.broadcast_to(values[:, None], (*shape[:3], *rest)).reshape(-1, *rest)

    sky = stamps.sky_rms if len(stamps.sky_rms) == 1 else stamps.sky_rms[rows]
    mask, psf, gain = stamps.masked(rows), given["psf"], given["gain"]
    inputs = {"sky_rms": alike(sky), "mask": alike(mask, *shape[3:]) if mask.any() else None}
    inputs["variance"] = None if stamps.variance is None else alike(stamps.variance[rows], *shape[3:])
    inputs["gain"] = None if gain is None else alike(gain[None])
    if psf is not None:
        inputs["psf"] = alike(psf if len(psf) == 1 else psf[rows], *psf.shape[2:])
    table = measure_morphology(images.reshape(-1, *shape[3:]), **inputs, **given["settings"])
    names = [name for name in (*QUANTITIES, *OTHERS) if name in table.colnames]
    found = {name: np.asarray(table[name], dtype=float).reshape(shape[:3]) for name in names}
    return {name: part * stamps.pixel_scale if name in LENGTHS else part for name, part in found.items()}


def _entering(found, ending=""):
    """The quantities, NaN where a galaxy does not enter statistics."""
    flag, sersic, signal = (found[f"{name}{ending}"] for name in ("flag", "flag_sersic", "sn_per_pixel"))
    good = (flag <= WORST_FLAG) & (signal >= LEAST_SN)
    fitted = good & (sersic <= WORST_FLAG)
    where = {name: fitted if name.startswith("sersic") else good for name in QUANTITIES}
    return {name: np.where(where[name], found[f"{name}{ending}"], np.nan) for name in QUANTITIES}


def _pairs(stamps, real, ours, names):
    """Yield the `Pair` of every quantity of every reading and band."""
    for m, model in enumerate(stamps.names):
        for c, band in enumerate(stamps.bands):
            for name in names:
                head = {"model": model, "band": band, "quantity": name, "pair": "difference"}
                unit = {"unit": "arcsec" if name in LENGTHS else ""}
                yield Pair(head | unit, real[name][:, 0, c], ours[name][:, m, c], c)


def _counts(stamps, real, ours, reasons):
    """Yield how many galaxies are left out for which reason, in real images, in translated ones, and in both."""
    bad, worse = _reasons(real), _reasons(ours)
    for m, model in enumerate(stamps.names):
        for c, band in enumerate(stamps.bands):
            for reason in reasons:
                numbers = excluded(~bad[reason][:, 0, c], ~worse[reason][:, m, c])
                yield {"model": model, "band": band, "reason": reason} | numbers


def _reasons(found):
    """Where a galaxy is left out for each of `REASONS`."""
    signal = found["sn_per_pixel"]
    return {
        "no_source": found["flag"] >= 4,
        "flag": (found["flag"] > WORST_FLAG) & (found["flag"] < 4),
        "sn_per_pixel": ~(signal >= LEAST_SN) & (found["flag"] < 4),
        "flag_sersic": found["flag_sersic"] > WORST_FLAG,
    }


def _galaxies(stamps, real, ours):
    """A row for each galaxy, reading and band."""
    columns = {}
    for name, values in ours.items():
        columns |= {name: values, f"{name}_target": real[name]}
    table = galaxy_rows(len(stamps), stamps.names, stamps.bands, columns)
    for name in ("flag", "flag_target", "flag_sersic", "flag_sersic_target"):
        table[name] = table[name].astype(int)
    return table
