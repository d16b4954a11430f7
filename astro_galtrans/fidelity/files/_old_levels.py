"""The levels that compare with the target, called as before: to be deleted when they take `Stamps` themselves."""

import numpy as np

from astro_galtrans.measure.psf import as_psf, psf_images
from astro_galtrans.units import flux_factor

__all__ = ["gallery", "morphology_fidelity", "photometry_fidelity", "pixel_fidelity"]

PSF_RADIUS = 4.0  # arcsec: of the PSFs for Sersic fits


def _imaging(target, translated, bootstrap):
    return dict(
        bands=target.bands, pixel_scale=target.pixel_scale, sky_rms=target.sky_rms[0], mask=target.mask,
        resamples=bootstrap.resamples, seed=bootstrap.seed,
    ), {name: stamps.images for name, stamps in translated.items()}  # fmt: skip


def gallery(result, metric, target, stamps, *, model, source=None):
    """Call it as before."""
    known = {"sky_rms": target.sky_rms[0]}
    if source is not None:
        area = (target.shape[1] / source.shape[1]) ** 2
        known |= {"source": source.images}
        known |= {"source_factor": flux_factor(source.survey.zeropoint, target.survey.zeropoint) / area}
    return result.gallery(metric, target.images, stamps.images, model=model, **known)


def pixel_fidelity(target, translated, *, bootstrap, **options):
    """Call it as before."""
    from astro_galtrans.fidelity.pixel.measure import pixel_fidelity

    imaging, images = _imaging(target, translated, bootstrap)
    return pixel_fidelity(target.images, images, variance=target.variance, **imaging, **options)


def photometry_fidelity(target, translated, *, bootstrap, **options):
    """Call it as before."""
    from astro_galtrans.fidelity.photometry import photometry_fidelity

    imaging, images = _imaging(target, translated, bootstrap)
    return photometry_fidelity(target.images, images, **imaging, **options)


def morphology_fidelity(target, translated, *, bootstrap, **options):
    """Call it as before."""
    from astro_galtrans.fidelity.morphology import morphology_fidelity

    imaging, images = _imaging(target, translated, bootstrap)
    pixel = target.pixel_scale
    psf = as_psf(target.psf, len(target), target.bands, pixel, "target_psf")
    known = {
        "variance": target.variance, "gain": list(target.electrons), "zeropoint": target.survey.zeropoint,
        "psf": list(psf_images(psf, pixel, 2 * round(PSF_RADIUS / pixel) + 1)),
    }  # fmt: skip
    if not np.isfinite(known["gain"]).all():
        known.pop("gain")
    return morphology_fidelity(target.images, images, **imaging, **known, **options)
