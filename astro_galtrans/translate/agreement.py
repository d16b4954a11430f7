"""What the image itself tells of its translation: the fluxes of bright sources, and stars."""

import numpy as np

from astro_galtrans.covariance import Covariance
from astro_galtrans.points import find_points, redraw

__all__ = ["consistent_bands", "make_consistent", "points_of"]


def make_consistent(flux, image, request, number=0):
    """
    Bring fluxes, in place, to those of the image where its PSF tells them, and draw its bright stars.

    ``image`` is a `~astro_galtrans.translate.prepare.Prepared` one; ``number`` is that of the sample.
    """
    translator = request.translator
    if consistent_bands(image.seen, translator, request.sampling):
        seen = translator.inputs.source.inverse(image.planes[: len(translator.bands_in)])
        translator.consistency.apply(flux, seen, image.seen.images, image.seen.observation.noise, image.mask)
    if image.points:
        scale, (_, inside, outside) = translator.spec.scale, _bands_of_stars(image.seen, translator)
        seeing = image.seen.observation.fwhm[inside]
        fwhm, pixel_scale = np.take(translator.target["fwhm"], outside), translator.source["pixel_scale"] / scale
        noise = _noise(translator, request.sampling, pixel_scale, [image.seed, number])
        redraw(flux, image.points, scale, outside, seeing, fwhm, pixel_scale, noise)


def _noise(translator, sampling, pixel_scale, seed):
    """Return what draws the target survey's noise in the pixels of a band, of their flux, for samples; else None."""
    covariance = translator.card["calibration"].get("correlation")
    if not sampling.stochastic or covariance is None:
        return None
    covariance, rng = Covariance.from_dict(covariance), np.random.default_rng(seed)
    averaged = 1 if sampling.apart else sampling.n

    def draw(band, flux):
        return rng.normal(0, np.sqrt(covariance.white(translator.bands_out[band], flux, pixel_scale) / averaged))

    return draw


def points_of(flux, bad, seen, translator):
    """Return the bright stars of an image that has some of the bands of the network, ``[C, H, W]``."""
    own, inside, _ = _bands_of_stars(seen, translator)
    if not own:
        return []
    images, of_image = [seen.images[k] for k in inside], seen.observation
    flux, bad = flux[own], None if bad is None else bad[own]
    fwhm, noise = of_image.fwhm[inside], of_image.noise[inside]
    return find_points(flux, images, fwhm, noise, translator.source["pixel_scale"], bad)


def _bands_of_stars(seen, translator):
    """Bands whose stars are drawn anew: their places in the image, among the network's bands, and in its result."""
    terms = translator.consistency  # None where the target leaves sources out
    if terms is None or seen is None or seen.assumed:
        return [[], [], []]
    present = np.flatnonzero(seen.observation.present).tolist()
    both = zip(terms.inside, terms.outside, strict=True)
    bands = [(present.index(inside), inside, outside) for inside, outside in both if inside in present]
    return [list(places) for places in zip(*bands, strict=True)] or [[], [], []]


def consistent_bands(seen, translator, sampling):
    """Bands whose PSF is known with its wings, so that their fluxes follow those of the image."""
    drawn = sampling.stochastic and translator.model.sampler is not None  # which has conditioned fluxes on the image's
    if seen is None or not seen.images or drawn:
        return []
    chosen = (translator.bands_in[k] for k in translator.consistency.inside)
    return [band for band in chosen if seen.images[translator.bands_in.index(band)] is not None]
