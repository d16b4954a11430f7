"""Morphology of `~astro_galtrans.stamps.Stamps`: a table with a row per galaxy and band."""

import numpy as np
from astropy import units as u

from astro_galtrans._progress import tqdm
from astro_galtrans.measure.tables import galaxy_table
from astro_galtrans.psf import as_psf, psf_images

from .measure import measure_morphology

__all__ = ["LENGTHS", "morphology"]

LENGTHS = (
    "rpetro_circ", "rpetro_ellip", "rmax_circ", "rmax_ellip", "rhalf_circ", "rhalf_ellip", "r20", "r50", "r80",
    "sersic_rhalf",
)  #: quantities that the engine gives in pixels, and the table in arcsec  # fmt: skip
PSF_RADIUS = 4.0  # arcsec: wide enough for ground-based PSFs, whose light beyond is a percent
PIXELS = 2**25  # of a block of stamps, 128 MiB: the engine is fastest on hundreds of images at once


def morphology(stamps, *, sersic=True, progress=True, **options):
    """
    Measure the morphology of galaxies in every band, with statmorph's names and definitions.

    Noise is that of the stamps' ``variance``, or else of the sky and of the electrons, where the survey knows them.
    Sersic models are convolved with the PSF: images as they are given, or a typical one of given FWHM.

    Parameters
    ----------
    stamps : `~astro_galtrans.stamps.Stamps`
        Without an axis of samples (see `Stamps.sample <astro_galtrans.stamps.Stamps.sample>`). Masked pixels are
        ignored.
    sersic : bool, optional
        Fit Sersic models?
    progress : bool, optional
        Show progress bars of blocks, galaxies and the compilation of loops on a terminal?
    **options
        Other options of `~astro_galtrans.measure.morphology.measure_morphology`: ``engine``, ``threads``
        and so on.

    Returns
    -------
    `~astropy.table.QTable`
        A row per galaxy and band: ``row``, ``band``, and statmorph's quantities by its names, NaN where they could not
        be measured; ``flag`` and ``flag_sersic``. Radii are in arcsec, positions in pixels, angles in radians.

    Raises
    ------
    ValueError
        If there is an axis of samples.

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
    >>> from astro_galtrans import measure
    >>> table = measure.morphology(target, progress=False)
    >>> print(f"{np.median(table['asymmetry']):.1f}")
    0.0
    """
    if stamps.n_samples is not None:
        msg = f"{stamps.name} has {stamps.n_samples} samples; choose one, or their mean, with sample()"
        raise ValueError(msg)
    psf = _psf(stamps) if sersic else None
    blocks = list(stamps.blocks(max(1, PIXELS // int(np.prod(stamps.images.shape[1:])))))
    hidden = None if progress and len(blocks) > 1 else True  # of one block the bar of galaxies tells more
    bar = tqdm(blocks, desc=f"morphology, {stamps.name}", unit="block", disable=hidden)
    parts = [_measure(stamps, rows, psf, {"sersic": sersic, "progress": progress} | options) for rows in bar]
    table = galaxy_table(stamps.bands, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    for name in LENGTHS:
        table[name] = np.asarray(table[name]) * stamps.pixel_scale * u.arcsec
    return table


def _psf(stamps):
    """PSFs ``[1 or N, C, h, w]``, or None where the survey knows none."""
    images = getattr(stamps.psf, "ndim", 0) > 2  # a PSF object is no array
    if not images and not hasattr(stamps.psf, "transform") and not np.isfinite(stamps.psf).all():
        return None
    psf = as_psf(stamps.psf, len(stamps), stamps.bands, stamps.pixel_scale, f"psf of {stamps.name}")
    if images:
        return np.asarray(stamps.psf).reshape(len(psf), psf.bands, *np.shape(stamps.psf)[-2:])
    return psf_images(psf, stamps.pixel_scale, 2 * round(PSF_RADIUS / stamps.pixel_scale) + 1)[None]


def _measure(stamps, rows, psf, options):
    """Every quantity of some galaxies, ``[n, C]``; all bands go to the engine at once, as it likes large batches."""
    images = stamps.read(rows)
    shape = images.shape[:2]

    def flat(values):
        """An array ``[1 or n, 1 or C, ...]`` with one entry for each image."""
        if values is None:
            return None
        rest = values.shape[2:]
        return (values if values.shape[:2] == shape else np.broadcast_to(values, (*shape, *rest))).reshape(-1, *rest)

    known = {"psf": psf, "sky_rms": stamps.sky_rms if np.isfinite(stamps.sky_rms).all() else None}
    known = {name: part[rows] if part is not None and len(part) > 1 else part for name, part in known.items()}
    known["gain"] = stamps.electrons[None] if np.isfinite(stamps.electrons).all() else None
    known["mask"] = None if stamps.mask is None else stamps.bad(rows)
    known["variance"] = None if stamps.variance is None else np.asarray(stamps.variance[rows])
    known = {name: flat(values) for name, values in known.items()}
    table = measure_morphology(images.reshape(-1, *images.shape[2:]), **known, **options)
    return {name: np.asarray(table[name]).reshape(shape) for name in table.colnames}
