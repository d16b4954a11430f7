"""
Errors of what is measured on a translation: of aperture fluxes, of colours, and of a point source at every pixel.

Neighbouring pixels of a translation share their errors, so that the standard deviations of its pixels must not be added
in quadrature. What is here does it right, with the covariance that the translator's card states
(`astro_galtrans.covariance`) and every translation carries in its ``meta``.
"""

import numpy as np
from astropy import units as u
from photutils.aperture import Aperture, SkyAperture
from scipy.signal import oaconvolve

from .bandstack import PROVENANCE_CARDS, read
from .covariance import Covariance, quadratic_forms
from .geometry import pixel_scale
from .psf import MoffatPSF, psf_images

__all__ = ["aperture_covariance", "aperture_error", "fluxes", "significance"]

PSF_REACH = 2.5  # half the side of the image of a PSF, in its FWHM: beyond lie a few per cent of the light


def aperture_error(result, apertures, *, noise=True):
    """
    Return the standard deviation of aperture fluxes of a translation.

    Parameters
    ----------
    result : `~astropy.nddata.NDData`, `~astropy.io.fits.HDUList`, path, or list or dict of them
        What `astro_galtrans.translate` returned, or the file it was written to.
    apertures : `~photutils.aperture.Aperture` or sequence of them
        In pixels or on the sky, each with one position or many.
    noise : bool, optional
        With the target survey's own noise: the error of the flux as a forecast of what that survey would have measured.
        If False, the error of the flux as an estimate of the true one, as the survey would see it without noise.

    Returns
    -------
    `~astropy.units.Quantity`
        In the unit of the image, ``[C, n]`` of bands and positions; without the first axis for an image of one plane,
        and without the last for one position. NaN for an aperture that no good pixel lies in; masked pixels are left
        out of all.

    Raises
    ------
    ValueError
        If the image has no standard deviations, or is not a translation of a translator that knows how its errors are
        correlated.
    TypeError
        If the apertures are none of photutils'.

    Notes
    -----
    Measure on the grid that the translation has by itself, or on the target survey's own. A resampling to much coarser
    pixels (``output_grid``) takes the variances of pixels for those of white noise, and the errors come out too small.

    Examples
    --------
    >>> from astro_galtrans.demo import sample
    >>> from photutils.aperture import CircularAperture
    >>> from astro_galtrans import aperture_error, translate
    >>> result = translate(sample("sdss"), "srgan-sdss-cfhtls")
    >>> error = aperture_error(result, CircularAperture((111.5, 111.5), 7.6))
    >>> error.shape, error.unit  # of the five bands
    ((5,), Unit("adu"))
    """
    return np.sqrt(_variances(result, apertures, noise=noise, between=False))


def aperture_covariance(result, apertures, *, noise=True):
    """
    Return the covariance of aperture fluxes between the bands of a translation, which the error of a colour needs.

    The variance of the colour g - r in magnitudes is :math:`(1.086)^2 (C_{gg} / f_g^2 + C_{rr} / f_r^2 - 2 C_{gr} / f_g
    f_r)`.

    Parameters
    ----------
    result, apertures, noise
        As for `aperture_error`.

    Returns
    -------
    `~astropy.units.Quantity`
        In the square of the image's unit, ``[C, C, n]``; without the last axis for one position.

    Raises
    ------
    ValueError, TypeError
        As `aperture_error`.

    Examples
    --------
    >>> from astro_galtrans.demo import sample
    >>> from photutils.aperture import CircularAperture
    >>> from astro_galtrans import aperture_covariance, translate
    >>> result = translate(sample("sdss"), "srgan-sdss-cfhtls")
    >>> aperture_covariance(result, CircularAperture((111.5, 111.5), 7.6)).shape
    (5, 5)
    """
    return _variances(result, apertures, noise=noise, between=True)


def fluxes(samples, apertures):
    """
    Return aperture fluxes of samples of a translation, whose standard deviation over samples is the error of a flux.

    Errors of neighbouring pixels are correlated, in each sample as in the target: their variances do not add up to that
    of a flux, and the scatter of the fluxes themselves is right.

    Parameters
    ----------
    samples : iterable
        What `astro_galtrans.translate` returns with ``combine=None``, or `astro_galtrans.draw_samples`, of which one is
        held at a time.
    apertures : `~photutils.aperture.Aperture` or sequence of them
        As for `aperture_error`.

    Returns
    -------
    `~astropy.units.Quantity`
        ``[S, C, n]`` of samples, bands and positions, in the unit of the images; axes of one plane and of one position
        are left out as by `aperture_error`. Masked pixels are left out.

    Raises
    ------
    ValueError, TypeError
        As `aperture_error`.

    Examples
    --------
    >>> from astro_galtrans.demo import sample
    >>> from photutils.aperture import CircularAperture
    >>> from astro_galtrans import fluxes, translate
    >>> samples = translate(sample("sdss"), "diffusion-sdss-cfhtls", n_samples=2, combine=None, seed=1)
    >>> fluxes(samples, CircularAperture((111.5, 111.5), 7.6)).shape  # samples, bands
    (2, 5)
    """
    found = []
    for sample in samples:
        stack = read(sample)
        masks, single = _masks(stack, apertures)
        sums = np.array([_sums(plane, masks) for plane in stack.planes])
        found.append(u.Quantity(_plain(sums, stack, single), stack.unit))
    return u.Quantity(found)


def _sums(plane, masks):
    flux = np.where(plane.good, plane.data, 0)
    parts = _parts(masks, plane.good)
    return [np.sum(weights * flux[box]) if weights.any() else np.nan for box, weights in parts]


def significance(result):
    r"""
    Return maps in which a value of 5 is a detection at five sigma *of the source image*.

    It is the flux of a point source at each pixel, found by a matched filter :math:`P` of the target's PSF, over the
    standard deviation of that flux as an estimate of the true one,

    .. math:: \sum_i P_i \, y_i \Big/ \sqrt{\sum_{ij} P_i P_j \, \mathrm{Cov}_{ij}} .

    The sky of a translation is smoother than that of any image: peaks of it that stand out by five times its own
    scatter are mostly noise of the source image. Thresholds belong on these maps, as in
    ``detect_sources(significance(image), 5)``.

    Parameters
    ----------
    result : object
        As for `aperture_error`.

    Returns
    -------
    `~numpy.ndarray`
        Float32 ``[C, H, W]``, or ``[H, W]`` for an image of one plane; NaN where the image is masked.

    Raises
    ------
    ValueError
        As `aperture_error`, or if the PSF of the target survey is not known.

    Examples
    --------
    >>> from astro_galtrans.demo import sample
    >>> from photutils.segmentation import detect_sources
    >>> from astro_galtrans import significance, translate
    >>> result = translate(sample("sdss"), "srgan-sdss-cfhtls")
    >>> segments = detect_sources(significance(result["r"]), 5.0, 5)
    >>> bool(segments.data.max() > 1)
    True
    """
    stack = read(result)
    covariance = _covariance(stack)
    if not covariance.fwhm:
        msg = "the PSF of the target survey is not known, so that there is no flux of a point source"
        raise ValueError(msg)
    planes = zip(stack.bands, stack.planes, strict=True)
    maps = [_significance(plane, band, covariance, stack) for band, plane in planes]
    return maps[0] if _is_flat(stack) else np.array(maps)


def _variances(result, apertures, *, noise, between):
    """Variances ``[C, n]`` of aperture fluxes, or covariances ``[C, C, n]``, with unit and without needless axes."""
    stack = read(result)
    covariance = _covariance(stack)
    masks, single = _masks(stack, apertures)
    scale = pixel_scale(stack.wcs, stack.data.shape)
    terms = [_terms(plane, band, covariance, masks, scale, stack.zeropoint)
             for band, plane in zip(stack.bands, stack.planes, strict=True)]  # fmt: skip
    white, shared = np.moveaxis(terms, -1, 0)
    found = shared + white if noise else shared
    if between:
        places = [covariance.bands.index(band) for band in stack.bands]
        common = np.array(covariance.between)[np.ix_(places, places)]
        pairs = common[..., None] * np.sqrt(shared[:, None] * shared)
        every = np.arange(len(places))
        pairs[every, every] = found
        found = pairs
    return (
        u.Quantity(found[..., 0] if single else found, stack.unit**2)
        if between
        else (u.Quantity(_plain(found, stack, single), stack.unit**2))
    )


def _plain(values, stack, single):
    """Values ``[C, n]`` without the axis of bands for an image of one plane, and that of positions for one."""
    values = values[..., 0] if single else values
    return values[0] if _is_flat(stack) else values


def _is_flat(stack):
    return stack.origin.container is None and not stack.origin.cube and len(stack.bands) == 1


def _terms(plane, band, covariance, masks, scale, zeropoint):
    """Variance of the fluxes in a band by the survey's noise, and by the translation's errors, ``[n, 2]``."""
    good = plane.good
    flux = np.where(good, plane.data, 0)
    noise = covariance.white(band, flux, scale, zeropoint)
    lengths, terms = np.array(covariance.lengths) / scale, []
    std = np.sqrt(np.where(good, plane.variance, 0))
    for box, weights in _parts(masks, good):
        if not weights.any():
            terms.append((np.nan, np.nan))
            continue
        maps = weights * covariance.correlated(band, flux[box], std[box])
        terms.append((np.sum(weights**2 * noise[box]), quadratic_forms(maps[:, None], lengths).sum()))
    return terms


def _covariance(stack):
    """Covariance that the translation carries; ValueError if there is none."""
    text = stack.meta.get(PROVENANCE_CARDS["covariance"][0])
    if text is None:
        msg = (
            "the image does not say how the errors of its pixels are correlated (card GTCOVAR): it is no translation, "
            "or one of a translator that was calibrated by an earlier version; galtrans calibrate measures it"
        )
        raise ValueError(msg)
    if stack.variance is None:
        msg = "the image has no standard deviations; pass the CCDData or HDUList that translate returned, or the file"
        raise ValueError(msg)
    try:
        covariance = Covariance.from_text(text)
    except (ValueError, TypeError, RecursionError) as err:
        msg = f"the card GTCOVAR of the image is damaged: {err}"
        raise ValueError(msg) from err
    unknown = [band for band in stack.bands if band not in covariance.bands]
    if unknown:
        msg = f"the covariance of the image is that of {', '.join(covariance.bands)}, and it has {', '.join(unknown)}"
        raise ValueError(msg)
    return covariance


def _masks(stack, apertures):
    """Masks of all positions of apertures, and whether there is but one aperture with one position."""
    apertures = [apertures] if isinstance(apertures, Aperture) else list(apertures)
    for aperture in apertures:
        if not isinstance(aperture, Aperture):
            msg = f"apertures must be photutils apertures, got {type(aperture).__name__}"
            raise TypeError(msg)
    pixels = [aperture.to_pixel(stack.wcs) if isinstance(aperture, SkyAperture) else aperture for aperture in apertures]
    found = [aperture.to_mask(method="exact") for aperture in pixels]
    masks = [mask for part in found for mask in (part if isinstance(part, list) else [part])]
    return masks, len(pixels) == 1 and pixels[0].isscalar


def _parts(masks, good):
    """Yield the box of each aperture on the image and the share of its good pixels in it; empty where it is outside."""
    for mask in masks:
        box, part = mask.get_overlap_slices(good.shape)
        box, part = (box, part) if box else ((slice(0, 0),) * 2,) * 2
        yield box, mask.data[part] * good[box]


def _significance(plane, band, covariance, stack):
    scale, good = pixel_scale(stack.wcs, plane.data.shape), plane.good
    width = covariance.fwhm[covariance.bands.index(band)]
    side = 2 * int(np.ceil(PSF_REACH * width / scale)) + 1
    psf = psf_images(MoffatPSF(width), scale, side)[0]
    flux, std = np.where(good, plane.data, 0), np.sqrt(np.where(good, plane.variance, 0))
    shared = covariance.correlated(band, flux, std)
    # amplitudes hardly change within a PSF: their mean there stands for them in the sum over pairs of pixels
    forms = quadratic_forms(psf[None, None], np.array(covariance.lengths) / scale)[:, 0, 0]
    local = np.tensordot(forms, np.square(shared), 1)
    matched, variance = (oaconvolve(image, psf, mode="same") for image in (flux, local))  # the PSF is round, of sum 1
    known = good & (variance > 0)
    return np.where(known, matched / np.sqrt(np.where(known, variance, 1)), np.nan).astype(np.float32)
