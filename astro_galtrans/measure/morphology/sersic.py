"""
Sersic models of many galaxies at once, as statmorph fits them with astropy: the same model, first guess and path.

Pixels have the value at their centre, and the PSF is convolved with the model within the cutout, as
``statmorph.ConvolvedSersic2D`` does it. Residuals are in float64; the Jacobian, of analytic derivatives, in float32.
"""

import math

import torch

from .compiled import kernels
from .cutouts import BAD, CATASTROPHIC, SUSPECT
from .minpack import FAILED, levenberg_marquardt
from .sersic_loops import CompiledProblem
from .sersic_problem import SMALLEST_N, Problem

__all__ = ["PARAMETERS", "fit_sersic", "measure_sersic", "sersic_model"]

PARAMETERS = "amplitude", "rhalf", "n", "xc", "yc", "ellip", "theta"
ANNULUS = 1.0  # statmorph's annulus_width
CALLS, X_TOLERANCE = 500, 1e-5  # statmorph's maxiter and acc
GUESS = 1.0, 3.5  # range of the first guess of n


def measure_sersic(stamps, geometry, values, psf=None):
    """
    Fit Sersic models.

    Parameters
    ----------
    stamps : `~astro_galtrans.measure.morphology.cutouts.Stamps`
        The galaxies.
    geometry : `~astro_galtrans.measure.morphology.core.Geometry`
        Centres of least asymmetry, shape about them and sky.
    values : dict of str to `torch.Tensor`
        ``concentration`` and ``rhalf_ellip``, ``[N]``.
    psf : `torch.Tensor`, optional
        ``[N, k, k]`` or ``[1, k, k]``.

    Returns
    -------
    dict of str to `torch.Tensor`
        ``sersic_`` and the names of `PARAMETERS`, chi2_dof, aic, bic, and ``flag_sersic``, ``[N]``.
    """
    start, flag = first_guess(stamps, geometry, values)
    sigma = stamps.weightmap(geometry.sky.sigma.nan_to_num(0.0))
    used = (stamps.image != 0) & (sigma != 0)
    weight = torch.where(used, 1 / torch.where(used, sigma, 1.0), 0.0)
    number = used.sum((1, 2))
    enough = (number > len(PARAMETERS)) & torch.isfinite(start).all(1)
    rows = torch.nonzero(enough).ravel()
    x, chi2 = start.clone(), torch.full_like(start[:, 0], torch.nan)
    flag = torch.where(enough, flag, torch.where(torch.isfinite(start).all(1), BAD, CATASTROPHIC))
    if len(rows):
        mine = psf if psf is None or len(psf) == 1 else psf[rows]
        fit = fit_sersic(stamps.image[rows], weight[rows], start[rows], frame=stamps.frame[rows], psf=mine)
        x[rows], chi2[rows] = fit.x, fit.norm**2
        flag[rows] = torch.maximum(flag[rows], _flag(fit))
    x[flag == CATASTROPHIC] = torch.nan
    chi2[flag == CATASTROPHIC] = torch.nan
    return _columns(x, chi2, number, stamps) | {"flag_sersic": flag}


def _flag(fit):
    """Flag as statmorph does: 1 if n is at its bound, 2 if the fit did not converge, 4 if astropy would give up."""
    flag = torch.where(fit.x[:, 2] <= SMALLEST_N, SUSPECT, 0)
    flag = torch.where((fit.info < 1) | (fit.info > 4), BAD, flag)
    return torch.where(fit.info == FAILED, CATASTROPHIC, flag)


def _columns(x, chi2, number, stamps):
    amplitude, radius, n, xc, yc, ellip, theta = x.unbind(1)
    radius, ellip, theta = _fixed(radius, ellip, theta)
    free = len(PARAMETERS)
    columns = dict(zip(PARAMETERS, (amplitude, radius, n), strict=False))
    columns |= {"xc": xc + stamps.xmin, "yc": yc + stamps.ymin, "ellip": ellip}
    columns |= {"theta": theta - torch.floor(theta / math.pi) * math.pi, "chi2_dof": chi2 / (number - free)}
    spread = number * torch.log(chi2 / number)
    small = torch.where(number < 40 * free, 2 * free * (free + 1) / (number - free - 1), 0.0)  # Cavanaugh (1997)
    columns |= {"aic": spread + 2 * free + small, "bic": spread + free * torch.log(number)}
    return {f"sersic_{name}": value for name, value in columns.items()}


def _fixed(radius, ellip, theta):
    """The same ellipse with a positive semimajor axis and an ellipticity from 0 to 1 (statmorph's _postfitting_fix)."""
    radius, ellip = radius.abs(), torch.where(ellip > 1, 2 - ellip, ellip)
    swap = ellip < 0
    radius = torch.where(swap, (1 - ellip) * radius, radius)
    theta = torch.where(swap, theta + math.pi / 2, theta)
    return radius, torch.where(swap, ellip / (ellip - 1), ellip), theta


def first_guess(stamps, geometry, values):
    """
    Guess the parameters as statmorph does.

    Parameters
    ----------
    stamps, geometry, values
        As in `measure_sersic`.

    Returns
    -------
    start : `torch.Tensor`
        ``[N, 7]``, float64.
    flag : `torch.Tensor`
        ``[N]``, int64: 2 where the half-light radius is less than half a pixel, or the flux there is not positive.
    """
    n = (10**-1.5 * values["concentration"] ** 3.5).clamp(*GUESS)
    radius, ellip = values["rhalf_ellip"], geometry.ellipticity
    inner, outer = radius - ANNULUS / 2, radius + ANNULUS / 2
    small = inner < 0
    inner = torch.where(small, radius, inner)
    rings = torch.stack([outer, inner], 1)
    every = torch.arange(len(stamps), device=radius.device)
    flux, area = (
        of(geometry.ellipses, rings, every).diff(dim=1)[:, 0] for of in (geometry.light.flux, geometry.light.area)
    )
    amplitude = torch.where(area < -1e-9, flux / area, 0.0)
    flag = torch.where(small | (amplitude <= 0), BAD, 0)
    start = [amplitude.abs(), radius, n, geometry.x, geometry.y, ellip, geometry.theta]
    return torch.stack(start, 1), flag


def fit_sersic(image, weight, start, *, frame=None, psf=None):
    """
    Fit Sersic models by Levenberg-Marquardt, as astropy's ``LevMarLSQFitter`` would.

    Parameters
    ----------
    image : `torch.Tensor`
        ``[N, H, W]``, float64.
    weight : `torch.Tensor`
        ``[N, H, W]``: one over the standard deviation, 0 for pixels to ignore.
    start : `torch.Tensor`
        ``[N, 7]``: `PARAMETERS`, angle in radians.
    frame : `torch.Tensor`, optional
        ``[N, H, W]``, bool: where the model exists, rectangles from the first pixel on; light beyond is not convolved
        into them.
    psf : `torch.Tensor`, optional
        ``[N, k, k]`` or ``[1, k, k]``; it is normalised.

    Returns
    -------
    `~astro_galtrans.measure.morphology.minpack.Fit`
        Its ``x`` are the parameters, ``norm**2`` is chi2.
    """
    loops = kernels("sersic", image)
    given = image, weight, frame, psf
    problem = Problem(*given) if loops is None else CompiledProblem(loops, *given)
    fit = levenberg_marquardt(problem.residual, problem.normal, start, x_tolerance=X_TOLERANCE, calls=CALLS)
    fit.x[:, 2].clamp_(min=SMALLEST_N)  # the function is constant below, so steps may end there
    return fit


def sersic_model(parameters, shape, *, psf=None):
    """
    Draw Sersic models (`astropy.modeling.models.Sersic2D`).

    Parameters
    ----------
    parameters : `torch.Tensor`
        ``[N, 7]``: `PARAMETERS`.
    shape : tuple of int
        ``(H, W)``.
    psf : `torch.Tensor`, optional
        ``[N, k, k]`` or ``[1, k, k]``.

    Returns
    -------
    `torch.Tensor`
        ``[N, H, W]``.
    """
    image = torch.zeros(len(parameters), *shape, dtype=parameters.dtype, device=parameters.device)
    problem = Problem(image, image, None, psf)
    return problem.model(parameters, torch.arange(len(parameters), device=parameters.device))
