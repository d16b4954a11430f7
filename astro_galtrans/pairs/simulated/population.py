"""
The simulated sky: scenes of galaxies and stars, with their truth.

A scene is what a perfect telescope would see in a stamp: elliptical Sersic profiles and point sources (stars, and the
knots of star-forming discs), each with a flux in every band of both surveys. Distributions are simple and stated
here; they are made to cover what survey frames hold, not to be a model of galaxy formation:

- r magnitudes: number counts, shallower for the central galaxy than for the field, so that bright ones are well
  sampled;
- redshift: ``p(z | r)`` proportional to ``z^2 exp(-(z/z0)^1.5)`` (Baugh & Efstathiou 1993), median 0.1 at r = 17.8;
- sizes: log-normal around ``1.9 arcsec * 10^(-0.1 (r - 17.8))``, 0.2 dex;
- two populations: early types (bulge-dominated, old, little dust) and late types (discs with dust and knots), in shares
  that depend on luminosity and redshift as in SDSS and VVDS, so that colours follow the magnitude as there;
- blends, if asked for: a fainter galaxy over the central one, in the source only, see `_blend`.
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from .colours import galaxy_colours, pivot_wavelengths, star_colours

__all__ = ["KINDS", "Profile", "Sample", "Scene", "draw_scene"]

#: Kinds of stamp and how often each is drawn.
KINDS = {"galaxy": 0.66, "field": 0.14, "star": 0.12, "blank": 0.08}

Z_MAX = 1.2  # where the table of colours ends; hardly a galaxy of r < 22 is beyond
FIELD_R = (18.0, 24.0)  # r magnitudes of neighbours: from rare ones to what only the deeper survey shows
STAR_R = (12.5, 22.5)  # from stars that saturate in SDSS to its limit
BLEND_FAINTER = 3.0  # mag in r that the galaxy over another is fainter, at most
# Arcsec between the centres: in SDSS's seeing nothing tells nearer ones from a single galaxy, and two whose distance is
# larger than the sum of their half-light radii by more than the reach are no blend
BLEND_NEAREST, BLEND_REACH = 1.0, 2.0
# Redshifts, and log(p / (1 - p)) for the share p of early types among galaxies of M_r = -21.1
EARLY_SHARE = (0.0, 0.08, 0.15, 0.3, 0.6, 1.2), (0.6, -0.14, -0.58, -0.52, -2.2, -3.8)
# Scatter (mag) of real spectra around the templates, and of zero points, at observed wavelengths (Angstrom)
WIGGLE = (3000, 4000, 5000, 6166, 7600, 9200, 13000, 22000), (0.12, 0.06, 0.03, 0.0, 0.03, 0.05, 0.08, 0.1)


@dataclass(frozen=True)
class Profile:
    """An elliptical Sersic profile: index, half-light radius (arcsec), reduced shear, centre (arcsec)."""

    n: float
    half_light_radius: float
    g1: float
    g2: float
    x: float
    y: float
    magnitudes: np.ndarray  #: AB, source bands then target bands


@dataclass(frozen=True)
class Sample:
    """Which central galaxies are drawn; the defaults are for training translators."""

    r_bright: float = 14.5  #: r magnitude
    r_faint: float = 22.0
    z_max: float = Z_MAX  #: redshift; beyond, it is drawn again
    offset: float | None = None  #: largest offset (arcsec) from the centre; None: small for most, anywhere for some


@dataclass
class Scene:
    """Everything in a stamp, and the truth about its central source."""

    kind: str
    profiles: list = field(default_factory=list)
    points: list = field(default_factory=list)  #: (x, y, magnitudes) of stars and knots
    truth: dict = field(default_factory=dict)
    blend: "Scene | None" = None  #: what only the source shows, of sources within `reach` of the central galaxy
    reach: float = 0.0  #: arcsec

    def part(self, r, x, y):
        """Return the scene that a source belongs to: the blend, if it is near the central galaxy and fainter."""
        central = self.truth
        near = self.blend and r > central["r"] and np.hypot(x - central["x"], y - central["y"]) < self.reach
        return self.blend if near else self


def draw_scene(rng, surveys, extent, kind=None, sample=None, blends=0.0):
    """
    `Scene` of a stamp ``extent`` arcsec wide, with magnitudes in the bands of both surveys.

    Neighbours are drawn a little beyond the stamp, so that their light reaches into it. ``kind`` is one of `KINDS`, by
    default drawn; ``sample`` says which central galaxies to draw, ``blends`` the share of them with another galaxy over
    them in the source only.
    """
    kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
    sample = sample or Sample()
    scene = Scene(kind)
    centre = _offset(rng, extent, sample.offset)
    if kind == "galaxy":
        r = _counts(rng, sample.r_bright, sample.r_faint, slope=0.12)
        scene.truth = _add_galaxy(scene, rng, surveys, r, *centre, z_max=sample.z_max)
        if blends and rng.random() < blends:  # no draw without blends: pairs of a seed stay what they are
            _blend(scene, rng, surveys)
    if kind == "star":
        scene.truth = _add_star(scene, rng, surveys, _counts(rng, *STAR_R, slope=0.02), *centre)
    if kind != "blank":
        _add_field(scene, rng, surveys, extent)
    return scene


def _offset(rng, extent, reach=None):
    if reach is None:  # mostly centred to sub-pixel accuracy as cutouts are, sometimes anywhere as in frames
        reach = 0.4 if rng.random() < 0.6 else extent / 2
    return rng.uniform(-reach, reach, 2)


def _counts(rng, bright, faint, slope):
    """Magnitude from counts ``dN/dm ~ 10^(slope m)``."""
    low, high = 10 ** (slope * bright), 10 ** (slope * faint)
    return float(np.log10(rng.uniform(low, high)) / slope)


def _add_field(scene, rng, surveys, extent):
    half = extent / 2 + 4.0
    area = (2 * half / 60) ** 2  # arcmin^2
    for _ in range(rng.poisson(25 * area)):  # galaxies to r = 24 per arcmin^2
        r = _counts(rng, *FIELD_R, slope=0.33)
        add = _add_galaxy if r < 21.5 else _add_faint_galaxy  # SDSS shows no structure in fainter ones
        place = rng.uniform(-half, half, 2)
        add(scene.part(r, *place), rng, surveys, r, *place)
    for _ in range(rng.poisson(4 * area)):  # stars to r = 22.5 per arcmin^2 at intermediate galactic latitude
        r, place = _counts(rng, *STAR_R, slope=0.15), rng.uniform(-half, half, 2)
        _add_star(scene.part(r, *place), rng, surveys, r, *place)


def _blend(scene, rng, surveys):
    """
    Add a galaxy that the source shows over the central one, and the target does not.

    It is the fainter of the two: a network that sees a part of the sky, without its middle, can tell which one to take
    away. So that nothing contradicts this, other sources as near that are fainter are left out of the target, too.
    """
    central = scene.truth
    r = central["r"] + rng.uniform(0, BLEND_FAINTER)
    radius = _radius(rng, r)
    scene.blend, scene.reach = Scene("galaxy"), BLEND_REACH + central["half_light_radius"] + radius
    separation, angle = rng.uniform(BLEND_NEAREST, scene.reach), rng.uniform(0, 2 * np.pi)
    x, y = central["x"] + separation * np.cos(angle), central["y"] + separation * np.sin(angle)
    _add_galaxy(scene.blend, rng, surveys, r, x, y, radius=radius)
    central |= {"blend_r": r, "separation": separation}


def _redshift(rng, r, z_max=Z_MAX):
    median = 0.1 * 10 ** (0.16 * (r - 17.8))
    # if t ~ Gamma(2) then z = z0 t^(2/3) follows z^2 exp(-(z/z0)^1.5); its median is 1.412 z0
    z = np.inf
    while z > z_max:
        z = float(np.clip(median / 1.412 * rng.gamma(2.0) ** (2 / 3), 0.003, Z_MAX))
    return z


def _add_galaxy(scene, rng, surveys, r, x, y, z_max=Z_MAX, radius=None):
    z = _redshift(rng, r, z_max)
    early, sed_type = _spectral_type(rng, r, z)
    bulge_fraction = rng.uniform(0.5, 1.0) if early else rng.beta(1.2, 4.0)
    bulge_fraction = float(0.0 if bulge_fraction < 0.02 else bulge_fraction if bulge_fraction < 0.98 else 1.0)
    radius = radius or _radius(rng, r)
    dust = float(min(rng.exponential(0.03 if early else 0.08), 0.6))
    angle = rng.uniform(0, np.pi)
    q_disc, q_bulge = rng.uniform(0.25 if not early else 0.5, 1.0), rng.uniform(0.55, 1.0)
    has_knots = not early and bulge_fraction < 0.9
    knot_share = rng.uniform(0.03, 0.35) if has_knots else 0.0  # of the disc's light

    wiggle = _wiggle(rng, surveys)
    total = _magnitudes(surveys, r, 1.0, sed_type, z, dust) + wiggle
    redder = max(sed_type - rng.uniform(0.0, 1.2) * (1 - bulge_fraction), 0.0)  # the bulge than the whole galaxy
    bulge = _magnitudes(surveys, r, bulge_fraction, redder, z, dust) + wiggle
    disc = _rest(total, bulge)
    knots = _magnitudes(surveys, r, (1 - bulge_fraction) * knot_share, 3.0, z, dust) + wiggle
    parts = []
    if bulge_fraction:
        parts.append(total if bulge_fraction == 1 else bulge)
        n = float(rng.choice([2.0, 3.0, 4.0]))  # few values, since GalSim tabulates each Sersic index anew
        size = radius * (1.0 if bulge_fraction > 0.7 else rng.uniform(0.25, 0.7))
        scene.profiles.append(Profile(n, max(size, 0.1), *_shear(q_bulge, angle), x, y, parts[-1]))
    if bulge_fraction < 1:
        parts.append(_rest(disc, knots) if has_knots else disc)
        scene.profiles.append(Profile(1.0, radius, *_shear(q_disc, angle), x, y, parts[-1]))
    if has_knots:
        parts.append(knots)
        _add_knots(scene, rng, knots, radius, q_disc, angle, x, y)
    truth = {"z": z, "r": r, "half_light_radius": radius, "bulge_fraction": bulge_fraction, "x": x, "y": y, "ebv": dust}
    return truth | {"magnitudes": -2.5 * np.log10(np.sum([10 ** (-0.4 * part) for part in parts], axis=0))}


def _rest(total, part):
    """Magnitudes of what is left of a total without a part: never less than some per cent, whatever their colours."""
    flux = 10 ** (-0.4 * total)
    return -2.5 * np.log10(np.maximum(flux - 10 ** (-0.4 * part), 0.03 * flux))


def _spectral_type(rng, r, z):
    """
    Whether a galaxy is an early type, and its place along `SED_TYPES`.

    Luminous galaxies are early types more often, and less often in the past; star-forming ones are bluer the fainter
    they are, and in the past. The numbers follow the types that fit galaxies of SDSS (r < 17.8) and VVDS (i < 22.5).
    """
    luminosity = r - _distance_modulus(z) - z  # absolute magnitude, with a K correction of about z
    x = 1.15 * (-21.1 - luminosity) + np.interp(z, *EARLY_SHARE)
    if rng.random() < 1 / (1 + np.exp(-x)):
        return True, float(min(rng.exponential(0.18), 1.5))
    mean = 1.58 + 0.126 * np.clip(luminosity + 22, 0, 4) + min(1.33 * z, 0.845)
    return False, float(np.clip(rng.normal(mean, 0.55), 0.4, 3.0))


def _distance_modulus(z):
    return np.interp(np.log(z), *_distances())


@cache
def _distances():
    from astropy.cosmology import Planck18

    z = np.geomspace(0.003, Z_MAX, 60)
    return np.log(z), Planck18.distmod(z).value


def _wiggle(rng, surveys):
    """Magnitudes to add in each band: what the spectrum differs from the templates, smooth in wavelength, 0 in r."""
    error = rng.normal(0, WIGGLE[1])
    pivots = np.concatenate([pivot_wavelengths(survey) for survey in surveys])
    return np.interp(np.log(pivots), np.log(WIGGLE[0]), error)


def _add_faint_galaxy(scene, rng, surveys, r, x, y):
    z = _redshift(rng, r)
    magnitudes = _magnitudes(surveys, r, 1.0, _spectral_type(rng, r, z)[1], z, 0.1) + _wiggle(rng, surveys)
    shape = _shear(rng.uniform(0.3, 1.0), rng.uniform(0, np.pi))
    scene.profiles.append(Profile(1.0, _radius(rng, r), *shape, x, y, magnitudes))


def _radius(rng, r):
    return float(np.clip(1.9 * 10 ** (-0.1 * (r - 17.8) + rng.normal(0, 0.2)), 0.15, 6.0))


def _magnitudes(surveys, r, fraction, sed_type, z, dust):
    colours = [galaxy_colours(survey, sed_type, z, dust) for survey in surveys]
    return np.concatenate(colours) + r - 2.5 * np.log10(max(fraction, 1e-6))


def _shear(axis_ratio, angle):
    g = (1 - axis_ratio) / (1 + axis_ratio)
    return g * np.cos(2 * angle), g * np.sin(2 * angle)


def _add_knots(scene, rng, magnitudes, radius, axis_ratio, angle, x, y):
    """Spread a flux over point-like star-forming regions that follow the disc."""
    count = int(rng.integers(3, 20))
    shares = rng.exponential(1.0, count)
    # an exponential disc of half-light radius R has scale length R / 1.678, and radii r that are Gamma(2) distributed
    distance, phi = radius / 1.678 * rng.gamma(2.0, 1.0, count), rng.uniform(0, 2 * np.pi, count)
    major, minor = distance * np.cos(phi), axis_ratio * distance * np.sin(phi)
    dx, dy = major * np.cos(angle) - minor * np.sin(angle), major * np.sin(angle) + minor * np.cos(angle)
    for k, share in enumerate(shares / shares.sum()):
        scene.points.append((x + dx[k], y + dy[k], magnitudes - 2.5 * np.log10(share)))


def _temperature(rng):
    """Temperature (K) of a star: in shares as the g-r of stars of r < 19 in Stripe 82 shows them."""
    share = rng.random()
    if share < 0.4:  # the turn-off of the thick disc and halo
        return 5700 * np.exp(rng.normal(0, 0.07))
    if share < 0.75:  # M dwarfs
        return 3450 * np.exp(rng.normal(0, 0.07))
    low, high = (4000, 5400) if share < 0.97 else (6500, 9500)  # K dwarfs; the horizontal branch and blue stragglers
    return low * (high / low) ** rng.random()


def _add_star(scene, rng, surveys, r, x, y):
    dust = min(rng.exponential(0.03), 0.3)  # E(B-V) of the foreground, away from the Milky Way's disc
    kind = _temperature(rng), rng.uniform(), dust
    colours = np.concatenate([star_colours(survey, *kind) for survey in surveys])
    scene.points.append((x, y, r + colours))
    truth = {"z": 0.0, "r": r, "half_light_radius": 0.0, "bulge_fraction": 0.0, "x": x, "y": y, "ebv": 0.0}
    return truth | {"magnitudes": r + colours}
