"""
Photometry of stamps: fluxes in circles and in Kron's ellipse, peaks, sizes, positions and widths.

All stamps have one shape and their galaxy in the middle, so that a circle is one array of weights for all of them and
its fluxes are a matrix product.
"""

import math

import numpy as np
import torch
from astropy import units as u
from photutils.aperture import CircularAperture
from scipy.ndimage import label

from astro_galtrans._progress import tqdm
from astro_galtrans.measure.magnitudes import asinh_magnitudes
from astro_galtrans.measure.smoothing import FWHM_TO_SIGMA, SMOOTHING, detected
from astro_galtrans.moments import adaptive_moments
from astro_galtrans.stamps.stamps import check_noise
from astro_galtrans.units import parse_unit

from .tables import galaxy_table

__all__ = ["DIAMETERS", "Photometer", "aperture_weights", "peak_flux", "photometry"]

DIAMETERS = 1.0, 2.0, 3.0, 6.0  #: of the circular apertures (arcsec)
MAGNITUDE = 3.0  # diameter of the aperture of the asinh magnitude (arcsec): as wide as spectrographs' fibres
PIXELS = 2**20  #: of a block of stamps: Kron's ellipses need some dozens of planes as large in float64
PEAK_RADIUS = 2.0  # where the peak is sought, lest it be a neighbour's (arcsec)
KRON_SCALE, KRON_LEAST, KRON_REACH = 2.5, 1.4, 6.0  # photutils' kron_params, and the ellipse the moment is taken in
WINDOW = 4.0  # half the side of the part that centroid and width are measured in (arcsec)
NARROWEST = 0.3  # sigma (pixels) below which a Gaussian falls between pixels and its weighted moments mean nothing
TOUCHING = np.zeros((3, 3, 3), bool)  # which pixels of a stack of stamps are neighbours: the eight around, of one stamp
TOUCHING[1] = True


def aperture_weights(shape, radii, centre=None):
    """
    Return the share of each pixel that lies in circles, exactly, by photutils: ``[R, H, W]`` of radii in pixels.

    The centre is (x, y) in pixels; that of the stamp by default.
    """
    centre = ((shape[1] - 1) / 2, (shape[0] - 1) / 2) if centre is None else centre
    weights = np.zeros((len(radii), *shape))
    for plane, radius in zip(weights, radii, strict=True):
        if radius > 0:
            plane += CircularAperture(centre, radius).to_mask(method="exact").to_image(shape)
    return weights


def peak_flux(stamps, pixel_scale):
    """Return the highest pixel of stamps ``[..., H, W]`` within 2 arcsec (and a pixel at least) of the centre."""
    return stamps[..., _near_centre(stamps.shape[-2:], pixel_scale)].amax(-1)


def _near_centre(shape, pixel_scale):
    y, x = (torch.arange(n) - (n - 1) / 2 for n in shape)
    return torch.hypot(y[:, None], x) <= max(PEAK_RADIUS / pixel_scale, 1)


def photometry(stamps, *, diameters=DIAMETERS, rings=None, progress=True):
    """
    Measure fluxes, sizes, positions and widths of galaxies.

    Parameters
    ----------
    stamps : `~astro_galtrans.stamps.Stamps`
        Without an axis of samples (see `Stamps.sample <astro_galtrans.stamps.Stamps.sample>`). Masked pixels count as
        zero; where another pixel has no value, nothing is measured in that band.
    diameters : sequence of float, optional
        Of the circular apertures (arcsec). Those larger than the stamps are left out.
    rings : `~astro_galtrans.measure.profiles.Rings`, optional
        Of a light profile, which is measured with the rest.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    `~astropy.table.QTable`
        A row per galaxy and band; NaN where something could not be measured. Fluxes are in the survey's unit.

        - ``row``, ``band``: which galaxy, and in which band;
        - ``flux_1`` and so on: in a circle of so many arcsec diameter about the stamp's centre, and ``flux_1_err``, its
          error from the noise of the sky;
        - ``flux_kron``, ``kron_radius``: in Kron's ellipse (2.5 times the first moment, at least 1.4), and that
          ellipse's semimajor axis;
        - ``peak``: the highest pixel within 2 arcsec of the centre;
        - ``area``: isophotal area of the source, see `Photometer.segments`;
        - ``fwhm``, ``centroid_x``, ``centroid_y``: of the round Gaussian most like it, by adaptive moments; positions
          are from the stamp's centre;
        - ``mag``: asinh magnitude (Lupton, Gunn & Szalay 1999) in 3 arcsec (or the nearest aperture that there is),
          softened by the sky noise;
        - ``rings``: the flux in each of the K rings, if there are any, ``[K]``.

    Raises
    ------
    ValueError
        If there is an axis of samples, no aperture fits on the stamps, or the sky noise is not known.

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
    >>> table = measure.photometry(target, progress=False)
    >>> ratio = table["flux_6"].value / clean.sum(axis=(1, 2, 3))
    >>> print(f"{np.median(ratio):.1f}")
    1.0
    """
    check_noise(stamps)
    if stamps.n_samples is not None:
        msg = f"{stamps.name} has {stamps.n_samples} samples; choose one, or their mean, with sample()"
        raise ValueError(msg)
    photometer = Photometer(stamps.shape, stamps.pixel_scale, _fitting(diameters, stamps))
    blocks = list(stamps.blocks(max(1, PIXELS // int(np.prod(stamps.images.shape[1:])))))
    bar = tqdm(blocks, desc=f"photometry, {stamps.name}", unit="block", disable=None if progress else True)
    with torch.inference_mode():
        parts = [_measure(photometer, stamps, rows, rings) for rows in bar]
    table = galaxy_table(stamps.bands, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    table["mag"] += stamps.survey.zeropoint
    for name in table.colnames[2:]:
        table[name] = u.Quantity(table[name], UNITS.get(name) or parse_unit(stamps.survey.flux_unit), copy=False)
    return table


UNITS = dict.fromkeys(("kron_radius", "fwhm", "centroid_x", "centroid_y"), u.arcsec)
UNITS |= {"area": u.arcsec**2, "mag": u.mag}


def _fitting(diameters, stamps):
    """Apertures that are not larger than the stamps."""
    reach = min(stamps.shape) * stamps.pixel_scale
    fitting = [float(d) for d in diameters if 0 < d <= reach]
    if not fitting:
        msg = f"no aperture of {list(diameters)} arcsec diameter fits on stamps of {reach:.3g} arcsec"
        raise ValueError(msg)
    return fitting


def _measure(photometer, stamps, rows, rings):
    """Each quantity ``[n, C]`` of a block of stamps."""
    images = np.where(stamps.bad(rows), 0, stamps.read(rows))
    whole, scale = np.isfinite(images).all(axis=(-1, -2)), photometer.scale
    noise = np.broadcast_to(stamps.sky(rows)[..., 0, 0], whole.shape)
    images = np.where(whole[..., None, None], images, 0)
    profiles = {} if rings is None else {"rings": np.where(whole[..., None], rings.sums(images), np.nan)}
    images, sky = torch.from_numpy(images), torch.from_numpy(noise.copy())
    flux, sky, flat = photometer.apertures(images), sky.flatten(), images.flatten(0, 1)
    central, others = photometer.segments(flat, sky)
    kron, axis = photometer.kron(flat, central, others).T
    x, y, fwhm = photometer.adaptive(flat).T
    found = {"flux_kron": kron, "kron_radius": scale * axis, "peak": peak_flux(flat, scale), "fwhm": scale * fwhm,
             "centroid_x": scale * x, "centroid_y": scale * y, "area": scale**2 * central.sum((1, 2))}  # fmt: skip
    found = {name: values.double().numpy().reshape(whole.shape) for name, values in found.items()}
    errors = photometer.noise * noise[..., None].astype(float)
    for k, diameter in enumerate(photometer.diameters):
        found |= {f"flux_{diameter:g}": flux[..., k].double().numpy(), f"flux_{diameter:g}_err": errors[..., k]}
    k = int(np.argmin(np.abs(np.array(photometer.diameters) - MAGNITUDE)))
    found["mag"] = asinh_magnitudes(flux[..., k].double(), torch.from_numpy(errors[..., k])).numpy()
    return {name: np.where(whole, values, np.nan) for name, values in found.items()} | profiles


class Photometer:
    """How stamps of one shape are measured, in circles of these diameters (arcsec)."""

    def __init__(self, shape, pixel_scale, diameters):
        self.shape, self.scale, self.diameters = shape, pixel_scale, diameters
        weights = aperture_weights(shape, np.array(diameters) / 2 / pixel_scale)
        self._weights = torch.from_numpy(weights).float()
        self.noise = np.sqrt((weights**2).sum(axis=(1, 2)))  #: of each aperture's flux, in units of a pixel's
        self._near = _near_centre(shape, pixel_scale)

    def apertures(self, stamps):
        """Return the fluxes of stamps ``[..., H, W]`` in the circular apertures, ``[..., A]``."""
        return torch.einsum("...hw,ahw->...a", stamps, self._weights)

    def adaptive(self, stamps):
        """
        Return centroid and FWHM of the round Gaussian that matches each source, see `astro_galtrans.moments`.

        Of stamps ``[N, H, W]`` it is ``[N, 3]``: x and y from the stamp's centre, and FWHM (pixels); NaN where there is
        no such Gaussian.
        """
        half = int(np.ceil(WINDOW / self.scale))
        edges = [max(0, n // 2 - half) for n in self.shape]
        rows, columns = (slice(edge, n - edge) for edge, n in zip(edges, self.shape, strict=True))
        start, widest = 1.5 * SMOOTHING / self.scale * FWHM_TO_SIGMA, WINDOW / 2 / self.scale
        found, good = adaptive_moments(
            stamps[:, rows, columns].numpy(), start, (NARROWEST, widest), PEAK_RADIUS / self.scale, circular=True
        )
        width = np.sqrt(found.xx) / FWHM_TO_SIGMA
        return torch.from_numpy(np.where(good, [found.x, found.y, width], np.nan).T).float()

    def segments(self, stamps, noise):
        """
        Return the pixels of the central source, and those of all others, bool ``[N, H, W]``; ``noise`` is ``[N]``.

        A source is what is connected and above 3 sigma in the stamp smoothed to 1 arcsec; the central one holds the
        brightest pixel of these within 2 arcsec of the centre.
        """
        smoothed, above = detected(stamps, noise[:, None, None], self.scale)
        seed = torch.where(self._near, smoothed, -torch.inf).flatten(1).argmax(1)
        labels, _ = label(above.numpy(), TOUCHING)
        own = labels.reshape(len(labels), -1)[np.arange(len(labels)), seed.numpy()]
        central = above & torch.from_numpy(labels == own[:, None, None])  # what is not above is labelled 0
        return central, above & ~central

    def kron(self, stamps, central, others):
        """
        Return flux and semimajor axis (pixels) of Kron's ellipse, ``[N, 2]``; NaN where there is no source.

        They are those of photutils' SourceCatalog with other sources masked; pixels of the source and of all others
        come from `segments`.
        """
        alone = torch.where(others, 0, stamps).double()
        positive = torch.where(central, alone.clamp(min=0), 0)
        x0, y0, major, minor, theta = _ellipse(positive)
        radius = _elliptical_radius(self.shape, x0, y0, major, minor, theta)
        inside = (radius <= KRON_REACH) & ~others
        flux = torch.where(inside, alone, 0).sum((1, 2))
        moment = torch.where(inside, alone * radius, 0).sum((1, 2))
        kron = torch.where((flux > 0) & (moment > 0), moment / flux, KRON_LEAST)
        kron = torch.where(kron > KRON_REACH, torch.nan, kron.clamp(min=KRON_LEAST))
        axis = KRON_SCALE * kron * major
        found = torch.stack([torch.full_like(axis, torch.nan), axis], dim=1)
        rows = torch.isfinite(found[:, 1]) & (minor > 0)
        if rows.any():
            found[rows, 0] = self._elliptical_sum(alone[rows], axis[rows], (major / minor)[rows], theta[rows],
                                                  x0[rows], y0[rows])  # fmt: skip
        return torch.where(rows[:, None], found, torch.nan).float()

    def _elliptical_sum(self, stamps, axis, elongation, theta, x0, y0):
        height, width = self.shape
        half = max(height, width) // 2
        weights = ellipse_weights(axis, x0 - width // 2, y0 - height // 2, half, elongation, theta)
        top, left = half - height // 2, half - width // 2
        return (weights[:, top : top + height, left : left + width] * stamps).sum((1, 2))


def _ellipse(stamps):
    """Centroid, and axes and angle of the Gaussian of the same second moments, ``[N]`` each; NaN where it is empty."""
    height, width = stamps.shape[1:]
    y, x = torch.arange(height, dtype=stamps.dtype), torch.arange(width, dtype=stamps.dtype)
    total = stamps.sum((1, 2))
    total = torch.where(total > 0, total, torch.nan)
    columns, rows = stamps.sum(1), stamps.sum(2)
    x0, y0 = (columns @ x) / total, (rows @ y) / total
    dx, dy = x - x0[:, None], y - y0[:, None]
    xx, yy = (columns * dx**2).sum(1) / total, (rows * dy**2).sum(1) / total
    xy = torch.einsum("nhw,nh,nw->n", stamps, dy, dx) / total
    thin = xx * yy - xy**2 < 1 / 144  # a line of pixels: SExtractor's and photutils' remedy
    xx, yy = (torch.where(thin, part + 1 / 12, part) for part in (xx, yy))
    middle, apart = (xx + yy) / 2, torch.hypot((xx - yy) / 2, xy)
    axes = torch.sqrt(middle + apart), torch.sqrt((middle - apart).clamp(min=0))
    return x0, y0, *axes, torch.atan2(2 * xy, xx - yy) / 2


def _elliptical_radius(shape, x0, y0, major, minor, theta):
    """Distance of each pixel from the centre in units of the ellipse, ``[N, H, W]``."""
    y, x = (torch.arange(n, dtype=x0.dtype) for n in shape)
    dx, dy = (x - x0[:, None])[:, None, :], (y - y0[:, None])[:, :, None]
    cos, sin = torch.cos(theta)[:, None, None], torch.sin(theta)[:, None, None]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    return torch.hypot(along / major[:, None, None], across / minor[:, None, None])


def ellipse_weights(a, dx, dy, half, elongation, theta):
    """
    Return the exact area of each pixel of a window that lies in an ellipse, ``[N, 2 half + 1, 2 half + 1]``, 0 to 1.

    It is the mixed difference, over the pixel's corners, of the area of the ellipse to the lower left of a point, which
    `.morphology.apertures` derives in closed form. All ellipses are done at once: photutils needs 0.5 ms for each.

    All others are float64 ``[N]``: semimajor axis (pixels), centre relative to that of the central pixel, ratio of the
    axes, and angle of the major one from x to y (radian).
    """
    edges = torch.arange(-half, half + 2, dtype=a.dtype) - 0.5
    a, dx, dy, q, theta = (t[:, None, None] for t in (a, dx, dy, elongation, theta))
    area = _lower_left(a, edges - dx, edges[:, None] - dy, q, torch.cos(theta), torch.sin(theta))
    return area.diff(dim=1).diff(dim=2)


def _lower_left(a, x, y, q, cos, sin):
    """The area of an ellipse to the lower left of points x, y from its centre, ``[N, Y, X]``."""
    alpha, gamma, beta = cos**2 + (q * sin) ** 2, sin**2 + (q * cos) ** 2, cos * sin * (1 - q**2)
    sigma_y, sigma_x = -beta / gamma, -beta / alpha  # the lines that halve vertical and horizontal chords
    left, below = (_segment(t * q / (a * n.sqrt())) * a**2 / q for t, n in ((x, gamma), (y, alpha)))
    corner = (torch.asin(-beta / (alpha * gamma).sqrt()) / 2 - math.pi / 4) / q * a**2
    inner = x * y + (left - sigma_y * x**2) / 2 + ((below - sigma_x * y**2) / 2 + corner)
    outer = (y > sigma_y * x) * left + (x > sigma_x * y) * (below - (y > sigma_y * x) * (math.pi / q * a**2))
    radius2 = (x * cos + y * sin) ** 2 + (q * (y * cos - x * sin)) ** 2
    return torch.where(radius2 < a**2, inner, outer)


def _segment(sine):
    """The area of the unit circle left of a line."""
    sine = sine.clamp(-1, 1)
    return torch.asin(sine) + sine * torch.sqrt(1 - sine**2) + math.pi / 2
