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
from astropy.table import QTable

from astro_galtrans import measure

from .compare import BOOTSTRAP, by_values, compare, excluded, side_by_side, to_qtable
from .paired import PairedStatistics, checked, measured_alike, settings_of

__all__ = ["QUANTITIES", "MorphologyFidelity", "enters", "morphology_fidelity", "quantities_of"]

QUANTITIES = (
    "gini", "m20", "gini_m20_bulge", "gini_m20_merger", "concentration", "asymmetry", "smoothness", "r20", "r50", "r80",
    "rpetro_circ", "rpetro_ellip", "rhalf_circ", "rhalf_ellip", "ellipticity_asymmetry", "sersic_n", "sersic_rhalf",
    "sersic_ellip", "intensity", "multimode", "deviation", "outer_asymmetry", "shape_asymmetry", "sn_per_pixel",
)  #: statmorph's names  # fmt: skip
OTHERS = "flux_circ", "flag", "flag_sersic"  # also kept of each galaxy
BINNED = "gini", "m20", "concentration", "asymmetry", "smoothness", "rhalf_ellip", "ellipticity_asymmetry", "sersic_n"
WORST_FLAG, LEAST_SN = 1, 2.5  # statmorph's "suspect"; Lotz et al. (2004), below which Gini and M20 are biased


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
    key, claim = {"quantity": "gini", "statistic": "bias"}, "the median difference of the Gini coefficient"
    shown = {
        "gini": "Gini", "m20": r"$M_{20}$", "concentration": "C", "asymmetry": "A", "smoothness": "S",
        "rhalf_ellip": "half-light radius (arcsec)", "ellipticity_asymmetry": "ellipticity", "sersic_n": "Sersic n",
    }  # fmt: skip

    def entering(self, name, model, band):
        """Return a column of ``galaxies``, NaN for galaxies that enter no statistic."""
        end = "_target" if name.endswith("_target") else ""
        columns = {k: self.of_galaxies(f"{k}{end}", model, band) for k in ("flag", "flag_sersic", "sn_per_pixel")}
        return np.where(enters(columns, name), self.of_galaxies(name, model, band), np.nan)


def morphology_fidelity(
    target, translated, *, by=None, bins=5, take="first", bootstrap=BOOTSTRAP, progress=True, **options
):  # fmt: skip
    """
    Compare the morphology of translated and real galaxies.

    Parameters
    ----------
    target : `~astro_galtrans.stamps.Stamps`
        Real images. Both images are measured with their sky noise, variance (or electrons), mask and PSF.
    translated, take
        As for `~astro_galtrans.fidelity.pixel.measure.pixel_fidelity`; by default the first of several samples.
    by, bins, bootstrap, progress : optional
        As there; there are always bins of ``"magnitude"`` and ``"size"``.
    **options
        Of `astro_galtrans.measure.morphology`: ``sersic``, ``engine`` and so on.

    Returns
    -------
    `MorphologyFidelity`

    Raises
    ------
    ValueError
        If numbers, bands or shapes do not fit, or the target's noise is not known.

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
    >>> from astro_galtrans.fidelity import morphology_fidelity
    >>> found = morphology_fidelity(target, {"brighter": 1.1 * clean + rng.normal(0, 1, clean.shape)}, progress=False)
    >>> print(f"{abs(found.value('gini', 'bias')[0]):.1f}")
    0.0
    """
    translated, by = checked(target, translated, take), by_values(by, len(target))
    images, options = measured_alike(target, translated, take), {"progress": progress} | options
    real = _kept(measure.morphology(target, **options))
    ours = {name: _kept(measure.morphology(stamps, **options)) for name, stamps in images.items()}
    sersic = options.get("sersic", True)
    shape = len(target), len(target.bands)
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = target.survey.zeropoint - 2.5 * np.log10(np.asarray(real["flux_circ"]))
    by = {"magnitude": magnitude.reshape(shape), "size": np.asarray(real["rhalf_circ"]).reshape(shape)} | by
    quantities = {name: "difference" for name in QUANTITIES if sersic or not name.startswith("sersic")}
    entering, others = _entering_table(real), {name: _entering_table(table) for name, table in ours.items()}
    settings = {"by": by, "bins": bins, "binned": BINNED, "bootstrap": bootstrap, "progress": progress}
    tables = compare(entering, others, quantities, **settings)
    tables |= {"counts": to_qtable(list(_counts(real, ours, sersic=sersic))), "galaxies": side_by_side(ours, real)}
    meta = {
        "engine": options.get("engine", "batched"), "worst_flag": WORST_FLAG, "least_sn_per_pixel": LEAST_SN,
        "zeropoint": target.survey.zeropoint, "take": take,
    }  # fmt: skip
    return MorphologyFidelity(tables, settings_of(target, translated, bootstrap) | meta)


def quantities_of(columns):
    """Return where the real values of quantities are, if not in ``NAME_target``, and by what each is compared."""
    return {}, {name: "difference" for name in QUANTITIES if name in columns}


def _kept(table):
    """The columns that are compared, and those that say why a galaxy is not."""
    return table["row", "band", *QUANTITIES, *OTHERS]


def enters(table, quantity):
    """Return which galaxies enter the statistics of a quantity, by the columns of a table."""
    flag, sersic, signal = (np.asarray(table[name]) for name in ("flag", "flag_sersic", "sn_per_pixel"))
    good = (flag <= WORST_FLAG) & (signal >= LEAST_SN)
    return good & (sersic <= WORST_FLAG) if quantity.startswith("sersic") else good


def _entering_table(table):
    """The quantities, NaN where a galaxy does not enter their statistics."""
    found = QTable(table, copy=True)
    for name in QUANTITIES:
        found[name][~enters(table, name)] = np.nan
    return found


def _counts(real, ours, *, sersic):
    """Yield how many galaxies are left out for which reason, in real images, in translated ones, and in both."""
    bad = _reasons(real, sersic=sersic)
    for model, table in ours.items():
        worse = _reasons(table, sersic=sersic)
        for band in dict.fromkeys(map(str, real["band"])):
            here = real["band"] == band
            for reason in bad:
                numbers = excluded(~bad[reason][here], ~worse[reason][here])
                yield {"model": model, "band": band, "reason": reason} | numbers


def _reasons(table, *, sersic):
    """Where a galaxy is left out, by reason."""
    flag, signal = np.asarray(table["flag"]), np.asarray(table["sn_per_pixel"])
    found = {
        "no_source": flag >= 4,
        "flag": (flag > WORST_FLAG) & (flag < 4),
        "sn_per_pixel": ~(signal >= LEAST_SN) & (flag < 4),
    }
    return found | ({"flag_sersic": np.asarray(table["flag_sersic"]) > WORST_FLAG} if sersic else {})
