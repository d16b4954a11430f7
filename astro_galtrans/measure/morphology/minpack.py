"""
Levenberg-Marquardt fits of many galaxies at once, step for step as MINPACK makes them (Moré 1978; lmdif and lmpar).

Only the normal equations of a galaxy are kept, J^T J and J^T r. In coordinates scaled by MINPACK's own scale factors,
where the matrix has a diagonal of about 1, and turned to its eigenvectors, the length of a step and its slope with the
Levenberg-Marquardt parameter are explicit, so that parameter is found without further decompositions.
"""

from dataclasses import dataclass, fields

import torch

__all__ = ["FAILED", "Fit", "levenberg_marquardt"]

FACTOR = 100.0  # of the first step's bound, in lengths of the scaled parameters
SUFFICIENT = 1e-4  # part of the predicted reduction with which a step is accepted
PAR_ITERATIONS = 10  # of lmpar
FAILED = 9  # not one of MINPACK's: the function is not finite, which astropy's fitter takes for an error
TINY = 2.2250738585072014e-308
EPS = 2.220446049250313e-16


@dataclass
class Fit:
    """
    State of the fits, ``[N, ...]``, float64.

    Parameters
    ----------
    x : `torch.Tensor`
        ``[N, P]``: parameters.
    norm : `torch.Tensor`
        ``[N]``: square root of the sum of squared residuals.
    matrix, gradient : `torch.Tensor`
        ``[N, P, P]`` and ``[N, P]``: J^T J and J^T r.
    scale : `torch.Tensor`
        ``[N, P]``: scale factors of the parameters.
    delta, par, length : `torch.Tensor`
        ``[N]``: bound of the scaled step, Levenberg-Marquardt parameter, length of the scaled parameters.
    calls : `torch.Tensor`
        ``[N]``: evaluations, counted as if the Jacobian were made of differences.
    info : `torch.Tensor`
        ``[N]``: MINPACK's reason to stop, 0 while it goes on.
    """

    x: torch.Tensor
    norm: torch.Tensor
    matrix: torch.Tensor
    gradient: torch.Tensor
    scale: torch.Tensor
    delta: torch.Tensor
    par: torch.Tensor
    length: torch.Tensor
    calls: torch.Tensor
    info: torch.Tensor

    def select(self, rows):
        """Return the state of some fits."""
        return Fit(*(getattr(self, f.name)[rows] for f in fields(self)))

    def store(self, rows, part):
        """Put the state of some fits back."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(part, field.name)


def levenberg_marquardt(residual, normal, start, *, f_tolerance=1.49012e-8, x_tolerance=1.49012e-8, calls=500):
    """
    Minimise sums of squares.

    Parameters
    ----------
    residual : callable
        Of parameters ``[n, P]`` and the rows of the fits, ``[n]``: the norms of the residuals, ``[n]``, and anything
        that ``normal`` can use, indexed by rows.
    normal : callable
        Of parameters, rows and what ``residual`` gave: J^T J and J^T r.
    start : `torch.Tensor`
        ``[N, P]``, float64: initial parameters.
    f_tolerance, x_tolerance : float, optional
        Relative, of the sum of squares and of the parameters.
    calls : int, optional
        Evaluations of the function at most, of which a Jacobian costs P.

    Returns
    -------
    `Fit`
        ``info`` from 1 to 4 is success, 5 too many evaluations, `FAILED` a function that is not finite.
    """
    fit = _begin(residual, normal, start)
    fit.info[~_finite(fit)] = FAILED
    rows = torch.nonzero(fit.info == 0).ravel()
    tolerances = f_tolerance, x_tolerance, calls
    first = torch.ones(len(start), dtype=torch.bool, device=start.device)
    while len(rows):
        part = fit.select(rows)
        accepted, kept = _step(part, residual, rows, first[rows], tolerances)
        first[rows] = first[rows] & ~accepted
        again = torch.nonzero(accepted & (part.info == 0)).ravel()
        if len(again):
            _linearise(part, again, normal(part.x[again], rows[again], kept[again]))
            part.info[~_finite(part)] = FAILED
        fit.store(rows, part)
        rows = rows[part.info == 0]
    return fit


def _begin(residual, normal, start):
    rows = torch.arange(len(start), device=start.device)
    norm, kept = residual(start, rows)
    matrix, gradient = normal(start, rows, kept)
    zero = torch.zeros_like(norm)
    scale = matrix.diagonal(dim1=1, dim2=2).sqrt()
    scale = torch.where(scale == 0, 1.0, scale)
    length = (scale * start).norm(dim=1)
    delta = torch.where(length == 0, FACTOR, FACTOR * length)
    calls = torch.full_like(rows, 1 + start.shape[1])
    fit = Fit(start.clone(), norm, matrix, gradient, scale, delta, zero, length, calls, torch.zeros_like(rows))
    fit.info[_cosine(fit) <= 0] = 4
    return fit


def _finite(fit):
    """Can the fit go on?"""
    return torch.isfinite(fit.norm) & torch.isfinite(fit.matrix.sum((1, 2))) & torch.isfinite(fit.gradient.sum(1))


def _cosine(fit):
    """The largest cosine between the residuals and a column of the Jacobian."""
    columns = fit.matrix.diagonal(dim1=1, dim2=2).sqrt()
    product = columns * fit.norm[:, None]
    return torch.where(product > 0, fit.gradient.abs() / product, 0.0).amax(1)


def _linearise(part, rows, normal):
    """Take over new normal equations; scale factors never shrink."""
    part.matrix[rows], part.gradient[rows] = normal
    columns = part.matrix[rows].diagonal(dim1=1, dim2=2).sqrt()
    part.scale[rows] = torch.maximum(part.scale[rows], columns)
    part.calls[rows] += part.x.shape[1]
    part.info[rows[_cosine(part.select(rows)) <= 0]] = 4


def _step(part, residual, rows, first, tolerances):
    """One step of each fit: which were accepted, and what the residuals' function kept."""
    move, par, model = _bounded(part)
    pnorm = (part.scale * move).norm(dim=1)
    part.delta = torch.where(first, torch.minimum(part.delta, pnorm), part.delta)
    trial = part.x + move
    norm, kept = residual(trial, rows)
    part.calls += 1
    failed = ~torch.isfinite(norm)
    norm = torch.where(failed, torch.inf, norm)
    actual = torch.where(0.1 * norm < part.norm, 1 - (norm / part.norm) ** 2, -1.0)
    damping = par * (pnorm / part.norm) ** 2
    predicted = model / part.norm**2 + 2 * damping
    slope = -(model / part.norm**2 + damping)
    ratio = torch.where(predicted != 0, actual / predicted, 0.0)
    _resize(part, par, pnorm, norm, actual, slope, ratio)
    accepted = ratio >= SUFFICIENT
    part.x = torch.where(accepted[:, None], trial, part.x)
    part.norm = torch.where(accepted, norm, part.norm)
    part.length = torch.where(accepted, (part.scale * trial).norm(dim=1), part.length)
    _finish(part, actual, predicted, ratio, tolerances)
    part.info[failed] = FAILED
    return accepted, kept


def _resize(part, par, pnorm, norm, actual, slope, ratio):
    """Bound and parameter of the next step."""
    shrink = torch.where(actual >= 0, 0.5, 0.5 * slope / (slope + 0.5 * actual))
    shrink = torch.where((0.1 * norm >= part.norm) | (shrink < 0.1), 0.1, shrink)
    poor, good = ratio <= 0.25, (par == 0) | (ratio >= 0.75)
    smaller = shrink * torch.minimum(part.delta, pnorm / 0.1)
    part.delta = torch.where(poor, smaller, torch.where(good, pnorm / 0.5, part.delta))
    part.par = torch.where(poor, par / shrink, torch.where(good, 0.5 * par, par))


def _finish(part, actual, predicted, ratio, tolerances):
    """MINPACK's tests."""
    f_tolerance, x_tolerance, calls = tolerances

    def settled(tolerance):
        return (actual.abs() <= tolerance) & (predicted <= tolerance) & (0.5 * ratio <= 1)

    part.info[part.calls >= calls] = 5
    part.info[settled(EPS)] = 6
    part.info[part.delta <= EPS * part.length] = 7
    small = part.delta <= x_tolerance * part.length
    part.info[settled(f_tolerance)] = 1
    part.info[small] = 2
    part.info[small & settled(f_tolerance)] = 3


def _bounded(part):
    """
    Return the step within the bound, its Levenberg-Marquardt parameter, and the squared change of the linear model.

    MINPACK's lmpar: the step's length need only agree with the bound to a tenth.
    """
    scale = part.scale
    values, vectors = torch.linalg.eigh(part.matrix / (scale[:, :, None] * scale[:, None, :]))
    values = values.clamp(min=0)
    gradient = part.gradient / scale
    along = (vectors.mT @ gradient[:, :, None])[:, :, 0]
    singular = values <= values[:, -1:] * 1e-15
    gauss = torch.where(singular, 0.0, along / torch.where(singular, 1.0, values))
    length = gauss.norm(dim=1)
    excess = length - part.delta
    inside = excess <= 0.1 * part.delta
    slope = torch.where(singular, 0.0, gauss**2 / torch.where(singular, 1.0, values)).sum(1) / length**2
    low = torch.where(singular.any(1), 0.0, excess / part.delta / slope)
    norm = gradient.norm(dim=1)
    high = norm / part.delta
    high = torch.where(high == 0, TINY / part.delta.clamp(max=0.1), high)
    par = torch.minimum(torch.maximum(part.par, low), high)
    par = torch.where(par == 0, norm / length, par)
    done, step = inside, gauss
    par = torch.where(inside, 0.0, par)
    for iteration in range(1, PAR_ITERATIONS + 1):
        if bool(done.all()):
            break
        par = torch.where(done | (par != 0), par, torch.clamp(0.001 * high, min=TINY))
        damped = values + par[:, None]
        step = torch.where(done[:, None], step, along / damped)
        length, before = step.norm(dim=1), excess
        excess = torch.where(done, excess, length - part.delta)
        done = done | (excess.abs() <= 0.1 * part.delta) | ((low == 0) & (excess <= before) & (before < 0))
        if iteration == PAR_ITERATIONS:
            break
        newton = excess / part.delta / ((step**2 / damped).sum(1) / length**2)
        low = torch.where(excess > 0, torch.maximum(low, par), low)
        high = torch.where(excess < 0, torch.minimum(high, par), high)
        par = torch.where(done, par, torch.maximum(low, par + newton))
    move = -(vectors @ step[:, :, None])[:, :, 0] / scale
    return move, par, (values * step**2).sum(1)
