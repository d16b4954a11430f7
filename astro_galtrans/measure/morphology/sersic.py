"""
Sersic models of many galaxies, as statmorph fits them with astropy: the same model, first guess and path.

Pixels have the value at their centre, and the PSF is convolved with the model within the cutout, as
``statmorph.ConvolvedSersic2D`` does it. Residuals are in float64; the Jacobian, of analytic derivatives, in float32.
"""

import math

import numpy as np

from .apertures import elliptical_sums
from .cutouts import BAD, CATASTROPHIC, SUSPECT
from .minpack import FAILED, levenberg_marquardt
from .petrosian import ANNULUS
from .sersic_loops import SMALLEST_N
from .sersic_problem import Problem

__all__ = ["PARAMETERS", "fit_sersic", "measure_sersic", "sersic_model"]

PARAMETERS = "amplitude", "rhalf", "n", "xc", "yc", "ellip", "theta"
CALLS, X_TOLERANCE = 500, 1e-5  # statmorph's maxiter and acc
GUESS = 1.0, 3.5  # range of the first guess of n


def measure_sersic(cutouts, geometry, values, psf=None):
    """
    Fit Sersic models: ``sersic_`` and the names of `PARAMETERS`, chi2_dof, aic, bic, and ``flag_sersic``, ``[N]``.

    ``values`` has ``concentration`` and ``rhalf_ellip``; a PSF is ``[N, k, k]`` or ``[1, k, k]``.
    """
    start, flag = first_guess(cutouts, geometry, values)
    sigma = cutouts.weightmap(np.nan_to_num(geometry.sky.sigma))
    used = (cutouts.image != 0) & (sigma != 0)
    weight = np.divide(1.0, sigma, where=used, out=np.zeros_like(sigma))
    number, defined = used.sum((1, 2)), np.isfinite(start).all(1)
    rows = np.flatnonzero((number > len(PARAMETERS)) & defined)
    x, chi2 = start.copy(), np.full(len(start), np.nan)
    kept = flag[rows]
    flag = np.where(defined, BAD, CATASTROPHIC)
    if len(rows):
        mine = psf if psf is None or len(psf) == 1 else psf[rows]
        fit = fit_sersic(cutouts.image[rows], weight[rows], start[rows], frame=cutouts.frame[rows], psf=mine)
        x[rows], chi2[rows], flag[rows] = fit.x, fit.norm**2, np.maximum(kept, _flag(fit))
    x[flag == CATASTROPHIC] = chi2[flag == CATASTROPHIC] = np.nan
    return _columns(x, chi2, number, cutouts) | {"flag_sersic": flag}


def _flag(fit):
    """Flag as statmorph does: 1 if n is at its bound, 2 if the fit did not converge, 4 if astropy would give up."""
    flag = np.where(fit.x[:, 2] <= SMALLEST_N, SUSPECT, 0)
    flag = np.where((fit.info < 1) | (fit.info > 4), BAD, flag)
    return np.where(fit.info == FAILED, CATASTROPHIC, flag)


def _columns(x, chi2, number, cutouts):
    amplitude, radius, n, xc, yc, ellip, theta = x.T
    radius, ellip, theta = _fixed(radius, ellip, theta)
    free = len(PARAMETERS)
    columns = dict(zip(PARAMETERS, (amplitude, radius, n), strict=False))
    columns |= {"xc": xc + cutouts.xmin, "yc": yc + cutouts.ymin, "ellip": ellip}
    columns |= {"theta": theta - np.floor(theta / math.pi) * math.pi, "chi2_dof": chi2 / (number - free)}
    spread = number * np.log(chi2 / number)
    small = np.where(number < 40 * free, 2 * free * (free + 1) / (number - free - 1), 0.0)  # Cavanaugh (1997)
    columns |= {"aic": spread + 2 * free + small, "bic": spread + free * np.log(number)}
    return {f"sersic_{name}": value for name, value in columns.items()}


def _fixed(radius, ellip, theta):
    """The same ellipse with a positive semimajor axis and an ellipticity from 0 to 1 (statmorph's _postfitting_fix)."""
    radius, ellip = np.abs(radius), np.where(ellip > 1, 2 - ellip, ellip)
    swap = ellip < 0
    radius = np.where(swap, (1 - ellip) * radius, radius)
    theta = np.where(swap, theta + math.pi / 2, theta)
    return radius, np.where(swap, ellip / (ellip - 1), ellip), theta


def first_guess(cutouts, geometry, values):
    """
    Guess the parameters ``[N, 7]`` as statmorph does.

    Flag 2 where the half-light radius is less than half a pixel, or the flux there is not positive.
    """
    n = (10**-1.5 * values["concentration"] ** 3.5).clip(*GUESS)
    radius, ellip = values["rhalf_ellip"], geometry.ellipticity
    inner, outer = radius - ANNULUS / 2, radius + ANNULUS / 2
    small = inner < 0
    rings = np.stack([np.where(small, radius, inner), outer], 1)
    planes = cutouts.image, cutouts.valid.astype(np.float64)
    flux, area = (np.diff(elliptical_sums(plane, geometry.ellipses, rings))[:, 0] for plane in planes)
    amplitude = np.where(area > 1e-9, flux / area, 0.0)
    flag = np.where(small | (amplitude <= 0), BAD, 0)
    start = [np.abs(amplitude), radius, n, geometry.x, geometry.y, ellip, geometry.theta]
    return np.stack(start, 1), flag


def fit_sersic(image, weight, start, *, frame=None, psf=None):
    """
    Fit Sersic models as astropy's ``LevMarLSQFitter`` would: a `.minpack.Fit`, whose ``norm**2`` is chi2.

    ``weight`` is one over the standard deviation, 0 for pixels to ignore; ``start`` the `PARAMETERS`, ``[N, 7]``.
    Models exist in ``frame`` (bool), rectangles from the first pixel on; light beyond is not convolved into them.
    """
    problem = Problem(image, weight, frame, psf)
    fit = levenberg_marquardt(problem.residual, problem.normal, start, x_tolerance=X_TOLERANCE, calls=CALLS)
    fit.x[:, 2] = np.maximum(fit.x[:, 2], SMALLEST_N)  # the function is constant below, so steps may end there
    return fit


def sersic_model(parameters, shape, *, psf=None):
    """Draw Sersic models (`astropy.modeling.models.Sersic2D`), ``[N, H, W]``, of `PARAMETERS` ``[N, 7]``."""
    image = np.zeros((len(parameters), *shape))
    return Problem(image, image, None, psf).model(parameters, np.arange(len(parameters)))
