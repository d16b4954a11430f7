"""
Images of a scene in two surveys: PSF, pixels, noise.

GalSim gives the Fourier transforms of profiles and PSFs. They are summed, band by band, in Fourier space, where a shift
is a phase and a convolution a product. One pass therefore draws all bands of a survey, some ten times faster than a
drawing of each in real space, and those of both surveys if their grids are the same. A grid is as fine as the survey's
sharpest PSF asks for, padded, and periodic: light that leaves it on one side comes back on the other, alike for both
surveys.
"""

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from astro_galtrans._optional import require
from astro_galtrans.psf import MoffatPSF, psf_images, star_fwhm
from astro_galtrans.surveys import get_survey

from .noise import RESAMPLINGS, add_noise, draw_residual

__all__ = ["Seeing", "draw_seeing", "render_pair"]

PADDING = 6.3  # arcsec of scene beyond each edge of the stamp, 16 pixels of SDSS: for neighbours, and wings of the PSF
LONG_END = 0.75, 1.85  # seeing over the typical one from the best nights to the worst: r of SDSS 0.8" to 1.9"
NOISE_SPREAD = 0.2, 0.1  # log-normal scatter of the sky's rms, common to all bands and per band
NOISE_LIMITS = 0.5, 2.5  # ... within these times the survey's
# Reduced shear per component, of all bands and per band: |g| is then 0.035 in the median, 0.01 to 0.08, as in the
# psField models of the Stripe 82 frames (u 0.02, g 0.04, r 0.02, i 0.02, z 0.055); Moffat exponents of 3.0 to 3.6
SHEAR = 0.02
# Light in wings: mean and scatter of its share, range of its width over the core's, and exponent. Of bright stars of
# the Stripe 82 frames 0.87 (0.97) of the light within 7.4 arcsec is within 1.5 (3), where a Moffat profile 0.95, 1.
# Cores of exponent 3.5 with wings of 0.13 to 0.20 of the light, 2.3 to 3.1 times as wide, agree with all bands.
WINGS, WING_WIDTH, WING_BETA = (0.16, 0.05), (2.1, 3.4), 2.5
FINENESS = 0.3  # largest pixel of the grid in FWHM of the sharpest PSF: beyond its Nyquist frequency no light is left


@dataclass(frozen=True)
class Seeing:
    """
    PSF of each band: Moffat profiles of one exponent, with FWHM (arcsec) and reduced shear; and the noise.

    Wings are a second Moffat profile, of exponent `WING_BETA` and the same shear, that holds a share of the light.
    """

    beta: float
    fwhm: tuple[float, ...]
    g1: float | tuple[float, ...] = 0.0  #: of all bands, or of each
    g2: float | tuple[float, ...] = 0.0
    wings: float = 0.0  #: share of the light in the wings
    wing_width: float = 1.0  #: FWHM of the wings over that of the core
    noise: tuple[float, ...] | None = None  #: sky rms of each band over the survey's; None: that of the survey
    resampling: str = "none"  #: one of `~astro_galtrans.pairs.simulated.noise.RESAMPLINGS`
    residual: np.ndarray | None = None  #: sky that is left, see `~astro_galtrans.pairs.simulated.noise.draw_residual`

    def sky_rms(self, survey, pixel_scale=None):
        """Sky rms of each band of an image of a survey, in pixels of a given size (its flux unit)."""
        return survey.sky_rms(pixel_scale) * (1.0 if self.noise is None else np.array(self.noise))

    def measured_fwhm(self, pixel_scale):
        """FWHM (arcsec) that is measured of stars in each band, pixel and wings included; shear left out."""
        profiles = (self.beta, 1 - self.wings, 1.0), (WING_BETA, self.wings, self.wing_width)
        return [star_fwhm([(fwhm * width, beta, share) for beta, share, width in profiles if share], pixel_scale)
                for fwhm in self.fwhm]  # fmt: skip

    def psf_images(self, pixel_scale, side):
        """Images of the PSF in each band on pixels of that scale (arcsec), ``[C, side, side]``; shear left out."""
        fwhm = np.array(self.fwhm)
        core = psf_images(MoffatPSF(fwhm, self.beta), pixel_scale, side)
        wings = psf_images(MoffatPSF(self.wing_width * fwhm, WING_BETA), pixel_scale, side)
        return (1 - self.wings) * core + self.wings * wings


def draw_seeing(rng, survey, spread=0.13, long_end=0.0):
    """
    `Seeing` of one exposure of a survey, whose FWHM and sky noise scatter around the survey's typical ones.

    ``spread`` is the log-normal scatter of the FWHM common to all bands; a quarter of it is added per band. A share
    ``long_end`` of exposures has a FWHM uniform within `LONG_END` instead. With ``spread`` 0 the PSF is the survey's
    typical one, round, and so is the noise: what a translation should give, whatever the source.
    """
    typical = np.array([band.fwhm for band in get_survey(survey).bands])
    if spread == 0:
        return Seeing(3.5, tuple(typical))
    common, each = rng.normal(0, spread), rng.normal(0, spread / 4, len(typical))
    if rng.random() < long_end:
        common = np.log(rng.uniform(*LONG_END))
    g1, g2 = rng.normal(0, SHEAR, 2)[:, None] + rng.normal(0, SHEAR, (2, len(typical)))
    noise = np.exp(rng.normal(0, NOISE_SPREAD[0]) + rng.normal(0, NOISE_SPREAD[1], len(typical)))
    fwhm = typical * np.exp(common + each)
    resampling = str(rng.choice(list(RESAMPLINGS), p=list(RESAMPLINGS.values())))
    residual = draw_residual(rng, get_survey(survey))
    noise = np.clip(noise, *NOISE_LIMITS)
    wings, wing_width = float(np.clip(rng.normal(*WINGS), 0, 0.3)), float(rng.uniform(*WING_WIDTH))
    shape = _draw_beta(rng), tuple(fwhm), tuple(g1), tuple(g2), wings, wing_width
    return Seeing(*shape, tuple(noise), resampling, residual)


def _draw_beta(rng):
    """Moffat exponent: mostly as the PSFs of SDSS have it, 3.0 to 3.6, else up to that of pure turbulence, 4.765."""
    return float(np.clip(rng.normal(3.2, 0.15), 2.8, 3.8) if rng.random() < 0.6 else rng.uniform(2.6, 4.765))


def render_pair(scene, rng, surveys, seeings, size, scale, noise=True):
    """
    Draw a `Scene` as two surveys see it: source, target, and the target without noise.

    The images are float32 ``[C, size, size]`` and ``[C', scale*size, scale*size]`` in flux units of their surveys per
    pixel; ``seeings`` is the `Seeing` of each survey. Without ``noise``, neither sky nor photon noise is added.
    """
    source, target = (get_survey(name) for name in surveys)
    stamp = size + 2 * int(np.ceil(PADDING / source.pixel_scale))
    parts, grids = (1, scale), []  # pixels of each image per source pixel; each survey is drawn on a grid that suits it
    for part, seeing in zip(parts, seeings, strict=True):
        step = int(np.ceil(source.pixel_scale / part / (FINENESS * min(seeing.fwhm))))
        grids.append(_grid(stamp, source.pixel_scale, part * step))
    spectra = _spectra(scene, grids, (len(source.bands), len(target.bands)))
    if scene.blend:  # what only the source shows
        spectra[0][:] += _scene_spectrum(scene.blend, grids[0], slice(None, len(source.bands)), len(source.bands))
    x, y = (
        _observe(spectrum, survey, seeing, grid, size * part, part)
        for spectrum, survey, seeing, grid, part in zip(spectra, (source, target), seeings, grids, parts, strict=True)
    )
    if not noise:
        return x.astype("f4"), y.astype("f4"), y.astype("f4")
    noisy = (
        add_noise(
            rng, image, survey, seeing.sky_rms(survey, source.pixel_scale / part), seeing.resampling, seeing.residual
        ).astype("f4")
        for image, survey, seeing, part in zip((x, y), (source, target), seeings, parts, strict=True)
    )
    return *noisy, y.astype("f4")


@dataclass(frozen=True)
class _Grid:
    n: int
    fine: int  # its pixels per source pixel
    pixel_scale: float  # of the source (arcsec)
    pixel: float  # arcsec
    kx: np.ndarray  # [n // 2 + 1] rad / arcsec
    ky: np.ndarray  # [n] in the order of numpy.fft


@cache
def _grid(stamp, pixel_scale, fine):
    n, pixel = stamp * fine, pixel_scale / fine
    kx, ky = (2 * np.pi * frequencies(n, pixel) for frequencies in (np.fft.rfftfreq, np.fft.fftfreq))
    return _Grid(n, fine, pixel_scale, pixel, kx, ky)


def _transform(profile, grid):
    """Fourier transform of a centred, point-symmetric GalSim profile of unit flux: real, ``[ky, kx]``."""
    galsim = require("galsim", extra="simulate")
    half = grid.n // 2
    image = galsim.ImageCD(galsim.BoundsI(0, half, -half, half - 1), scale=float(grid.kx[1]))
    profile.drawKImage(image=image, recenter=False)
    return np.fft.ifftshift(image.array.real, axes=0)


def _phase(x, y, grid):
    # a source at (x, y) from the stamp's centre; the centre of an even grid lies half a pixel before pixel n/2
    centre = (grid.n - 1) / 2 * grid.pixel
    along_x = np.exp(-1j * np.multiply.outer(np.asarray(x) + centre, grid.kx))
    along_y = np.exp(-1j * np.multiply.outer(np.asarray(y) + centre, grid.ky))
    return along_x, along_y


def _spectra(scene, grids, bands):
    """Fourier transforms of a scene in the bands of both surveys, ``[bands, ky, kx]`` each, in AB maggies."""
    split = bands[0]
    if grids[0] is grids[1]:  # all bands at once: the shapes are the same
        spectrum = _scene_spectrum(scene, grids[0], slice(None), sum(bands))
        return spectrum[:split], spectrum[split:]
    parts = slice(None, split), slice(split, None)
    return tuple(_scene_spectrum(scene, *which) for which in zip(grids, parts, bands, strict=True))


def _scene_spectrum(scene, grid, part, bands):
    spectrum = np.zeros((bands, grid.n, grid.n // 2 + 1), complex)
    if scene.points:  # sum over points of flux * phase_y * phase_x: one matrix product per band
        x, y, magnitudes = (np.array(column) for column in zip(*scene.points, strict=True))
        along_x, along_y = _phase(x, y, grid)
        for band, flux in enumerate((10 ** (-0.4 * magnitudes[:, part])).T):
            spectrum[band] += (flux[:, None] * along_y).T @ along_x
    if scene.profiles:
        shapes = [_profile_spectrum(p, grid).ravel() for p in scene.profiles]
        fluxes = 10 ** (-0.4 * np.array([p.magnitudes[part] for p in scene.profiles]))
        spectrum += (fluxes.T @ np.array(shapes)).reshape(spectrum.shape)
    return spectrum


def _profile_spectrum(p, grid):
    galsim = require("galsim", extra="simulate")
    sersic = galsim.Sersic(p.n, half_light_radius=p.half_light_radius).shear(g1=p.g1, g2=p.g2)
    along_x, along_y = _phase(p.x, p.y, grid)
    return _transform(sersic, grid) * along_y[:, None] * along_x


@lru_cache(maxsize=16)  # the typical seeing of a target survey recurs in every pair
def _psf(profiles, g1, g2, stamp, pixel_scale, fine):
    """Transform of a PSF, a sum of Moffat profiles (exponent, FWHM, share of the light) with one shear."""
    galsim = require("galsim", extra="simulate")
    parts = (share * galsim.Moffat(beta, fwhm=fwhm) for beta, fwhm, share in profiles if share)
    return _transform(galsim.Add(list(parts)).shear(g1=g1, g2=g2), _grid(stamp, pixel_scale, fine))


def _observe(spectrum, survey, seeing, grid, size, part):
    """Images ``[C, size, size]`` of a spectrum with PSF and pixel, sampled ``part`` times per source pixel."""
    # a coarse pixel's centre lies (step - 1) / 2 fine pixels after the centre of its first fine pixel
    step = grid.fine // part
    shift, pixel = (step - 1) / 2 * grid.pixel, step * grid.pixel
    pixel_x = np.sinc(grid.kx * pixel / (2 * np.pi)) * np.exp(1j * grid.kx * shift)
    pixel_y = np.sinc(grid.ky * pixel / (2 * np.pi)) * np.exp(1j * grid.ky * shift)
    response = pixel_y[:, None] * pixel_x
    edge = (grid.n // step - size) // 2
    images = np.empty((len(survey.bands), size, size))
    g1, g2 = (np.broadcast_to(g, len(seeing.fwhm)).tolist() for g in (seeing.g1, seeing.g2))
    for k, fwhm in enumerate(seeing.fwhm):
        core, wings = (seeing.beta, fwhm, 1 - seeing.wings), (WING_BETA, seeing.wing_width * fwhm, seeing.wings)
        psf = _psf((core, wings), g1[k], g2[k], grid.n // grid.fine, grid.pixel_scale, grid.fine)
        image = np.fft.irfft2(spectrum[k] * psf * response, s=(grid.n, grid.n))[::step, ::step]
        images[k] = image[edge : edge + size, edge : edge + size]
    # maggies per grid pixel (a sum over samples is the flux at unit sampling) to survey flux per pixel
    return images * step**2 * 10 ** (0.4 * survey.zeropoint)
