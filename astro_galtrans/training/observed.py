"""How the source image of a pair was taken: what a network that is told PSF and noise is told in its training."""

import numpy as np

from astro_galtrans.domain import sky_rms
from astro_galtrans.inputs import Inputs, Observation
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.observe import with_wings
from astro_galtrans.pairs.simulated.render import Seeing
from astro_galtrans.psf import measured_fwhm, profile_fwhm

__all__ = ["Observations", "inputs_of", "source_entry", "target_entry"]

PSF_REACH = 8.0  # FWHM from the centre to the edge of the images of simulated PSFs: half a per cent lies beyond


def source_entry(header, scaling):
    """Return what the card says of the source: its survey, the scaling, and the noise of the images trained on."""
    survey = header.source
    entry = _entry(survey, survey.pixel_scale, scaling) | {"sky_rms": survey.sky_rms().tolist()}
    electrons = [band.electrons for band in survey.bands]
    return entry | {"electrons": electrons} if np.isfinite(electrons).all() else entry


def target_entry(header, scaling):
    """Return what the card says of the target."""
    return _entry(header.target, header.target_pixel_scale, scaling)


def _entry(survey, pixel_scale, scaling):
    return {
        "survey": survey.name, "unit": survey.flux_unit, "zeropoint": survey.zeropoint, "pixel_scale": pixel_scale,
        "native_pixel_scale": survey.pixel_scale,  # what ``output_grid="target"`` means
        "fwhm": [band.fwhm if np.isfinite(band.fwhm) else None for band in survey.bands], "scaling": scaling.to_dict(),
    }  # fmt: skip


def inputs_of(spec, header, scalings):
    """Return the `~astro_galtrans.inputs.Inputs` of a network for pairs with that header."""
    return Inputs(spec, source_entry(header, scalings[0]), target_entry(header, scalings[1]))


class Observations:
    """
    The `~astro_galtrans.inputs.Observation` of the source image of every pair, by index.

    PSF and noise are those of the table: ``star_fwhm_<band>``, as measured of stars, or ``fwhm_<band>`` and ``beta`` of
    profiles, and ``noise_<band>``. Where it has none, the FWHM is measured on the pair's PSF, or is the survey's, and
    the noise is measured in the image. The FWHM is always that of the profile of the package's exponent of which the
    same width is measured, as it will be of an image's stars.
    """

    def __init__(self, pairs):
        self.pairs, survey = pairs, pairs.header.source
        names = "fwhm", "star_fwhm", "noise"
        self.fwhm, self.stars, self.noise = (self._columns(name, survey.band_names) for name in names)
        self.beta, wings = pairs.column("beta"), {name: pairs.column(name) for name in ("wings", "wing_width")}
        self.wings = {name: column for name, column in wings.items() if column is not None}  # earlier pairs have none
        self.typical = np.array([band.fwhm for band in survey.bands]), survey.sky_rms()

    def _columns(self, name, bands):
        columns = (self.pairs.column(f"{name}_{band}") for band in bands)
        nothing = np.full(len(self.pairs), np.nan)
        return np.stack([nothing if column is None else np.asarray(column, float) for column in columns], axis=1)

    def __getitem__(self, index):
        fwhm, noise, pixel = self.fwhm[index], self.noise[index], self.pairs.header.source.pixel_scale
        if self.beta is not None:
            fwhm = profile_fwhm(measured_fwhm(fwhm, self.beta[index], pixel), pixel_scale=pixel)
        fwhm = np.where(np.isnan(self.stars[index]), fwhm, profile_fwhm(self.stars[index], pixel_scale=pixel))
        if np.isnan(fwhm).any():
            fwhm = np.where(np.isnan(fwhm), _psf_fwhm(self.pairs, index), fwhm)
        if np.isnan(noise).any():
            noise = np.where(np.isnan(noise), _measured_noise(self.pairs, index), noise)
        both = zip((fwhm, noise), self.typical, strict=True)
        fwhm, noise = (np.where(np.isfinite(v) & (v > 0), v, typical) for v, typical in both)
        return Observation(fwhm, noise, np.ones(len(fwhm), bool))

    def psf(self, index):
        """
        Return per band the image of a pair's PSF ``[k, k]``, or None where nothing shows it with its wings.

        It is that of the profiles that the table has of simulated pairs, or else the pair's PSF image.
        """
        fwhm, pixel = self.fwhm[index], self.pairs.header.source.pixel_scale
        if self.beta is not None and np.isfinite(fwhm).all():
            wings = {name: float(column[index]) for name, column in self.wings.items()}
            side = 2 * int(np.ceil(PSF_REACH * fwhm.max() / pixel)) + 1
            images = Seeing(float(self.beta[index]), tuple(fwhm), **wings).psf_images(pixel, side)
        else:
            images = _psf_images(self.pairs, index) or [None] * len(fwhm)
        widths = [None if image is None else gaussian_fwhm(image) for image in images]
        known = zip(images, widths, self.pairs.header.source_bands, strict=True)
        return [width and with_wings(image, width, band) for image, width, band in known]


def _psf_images(pairs, index):
    """Images of a pair's PSF in the bands of its source, of odd sides, so that they have a middle; none if unknown."""
    psfs = pairs.psf(index)
    images = () if psfs is None else psfs[0]
    return [psf[: psf.shape[0] - 1 + psf.shape[0] % 2, : psf.shape[1] - 1 + psf.shape[1] % 2] for psf in images]


def _psf_fwhm(pairs, index):
    """FWHM (arcsec) of the profiles that match a pair's PSF images, NaN where there are none."""
    pixel, images = pairs.header.source.pixel_scale, _psf_images(pairs, index)
    if not images:
        return np.full(len(pairs.header.source_bands), np.nan)
    return profile_fwhm([pixel * (gaussian_fwhm(psf) or np.nan) for psf in images], pixel_scale=pixel)


def _measured_noise(pairs, index):
    image, mask = np.asarray(pairs.source(index)), pairs.source_mask(index)
    good = np.isfinite(image) if mask is None else np.isfinite(image) & ~mask
    found = (sky_rms(plane, flags) for plane, flags in zip(image, good, strict=True))
    return np.array([np.nan if rms is None else rms for rms in found])
