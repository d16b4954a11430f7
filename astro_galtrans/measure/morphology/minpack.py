"""
Levenberg-Marquardt fits of many galaxies at once, step for step as MINPACK makes them (Moré 1978; lmdif and lmpar).

Only the normal equations of a galaxy are kept, J^T J and J^T r. In coordinates scaled by MINPACK's own scale factors,
where the matrix has a diagonal of about 1, and turned to its eigenvectors, the length of a step and its slope with the
Levenberg-Marquardt parameter are explicit, so that parameter is found without further decompositions.
"""

from dataclasses import dataclass, fields

import numpy as np

__all__ = ["FAILED", "Fit", "levenberg_marquardt"]

FACTOR = 100.0  # of the first step's bound, in lengths of the scaled parameters
SUFFICIENT = 1e-4  # part of the predicted reduction with which a step is accepted
PAR_ITERATIONS = 10  # of lmpar
FAILED = 9  # not one of MINPACK's: the function is not finite, which astropy's fitter takes for an error
TINY, EPS = np.finfo(np.float64).tiny, np.finfo(np.float64).eps


@dataclass
class Fit:
    """State of N fits of P parameters, float64."""

    x: np.ndarray  # [N, P]: parameters
    norm: np.ndarray  # [N]: square root of the sum of squared residuals
    matrix: np.ndarray  # [N, P, P]: J^T J
    gradient: np.ndarray  # [N, P]: J^T r
    scale: np.ndarray  # [N, P]: scale factors of the parameters
    delta: np.ndarray  # [N]: bound of the scaled step
    par: np.ndarray  # [N]: Levenberg-Marquardt parameter
    length: np.ndarray  # [N]: length of the scaled parameters
    calls: np.ndarray  # [N]: evaluations, counted as if the Jacobian were made of differences
    info: np.ndarray  # [N]: MINPACK's reason to stop, 0 while it goes on

    def select(self, rows):
        """Return the state of some fits."""
        return Fit(*(getattr(self, f.name)[rows] for f in fields(self)))

    def store(self, rows, part):
        """Put the state of some fits back."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(part, field.name)


def levenberg_marquardt(residual, normal, start, *, f_tolerance=1.49012e-8, x_tolerance=1.49012e-8, calls=500):
    """
    Minimise sums of squares from ``start`` (``[N, P]``) on; ``info`` of the `Fit` is 1 to 4 for success, 5 for too
    many calls.

    ``residual``, of parameters ``[n, P]`` and the rows ``[n]`` of the fits, gives the norms of the residuals ``[n]``
    and anything that ``normal`` can use, which of parameters, rows and that gives J^T J and J^T r. Tolerances are
    relative, of the sum of squares and of the parameters; each Jacobian counts as P of the ``calls``.
    """
    fit = _begin(residual, normal, start)
    fit.info[~_finite(fit)] = FAILED
    rows = np.flatnonzero(fit.info == 0)
    tolerances = f_tolerance, x_tolerance, calls
    first = np.ones(len(start), dtype=bool)
    while len(rows):
        part = fit.select(rows)
        accepted, kept = _step(part, residual, rows, first[rows], tolerances)
        first[rows] = first[rows] & ~accepted
        again = np.flatnonzero(accepted & (part.info == 0))
        if len(again):
            _linearise(part, again, normal(part.x[again], rows[again], kept[again]))
            part.info[~_finite(part)] = FAILED
        fit.store(rows, part)
        rows = rows[part.info == 0]
    return fit


def _begin(residual, normal, start):
    rows = np.arange(len(start))
    norm, kept = residual(start, rows)
    matrix, gradient = normal(start, rows, kept)
    zero = np.zeros_like(norm)
    scale = _lengths(matrix)
    scale = np.where(scale == 0, 1.0, scale)
    length = _norm(scale * start)
    delta = np.where(length == 0, FACTOR, FACTOR * length)
    calls = np.full_like(rows, 1 + start.shape[1])
    fit = Fit(start.copy(), norm, matrix, gradient, scale, delta, zero, length, calls, np.zeros_like(rows))
    fit.info[_cosine(fit) <= 0] = 4
    return fit


def _finite(fit):
    """Return which fits can go on."""
    return np.isfinite(fit.norm) & np.isfinite(fit.matrix.sum((1, 2))) & np.isfinite(fit.gradient.sum(1))


def _cosine(fit):
    """The largest cosine between the residuals and a column of the Jacobian."""
    product = _lengths(fit.matrix) * fit.norm[:, None]
    return np.where(product > 0, np.abs(fit.gradient) / product, 0.0).max(1)


def _norm(vectors):
    return np.sqrt((vectors**2).sum(1))


def _lengths(matrix):
    """Of the columns of the Jacobian."""
    return np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))


def _linearise(part, rows, normal):
    """Take over new normal equations; scale factors never shrink."""
    part.matrix[rows], part.gradient[rows] = normal
    part.scale[rows] = np.maximum(part.scale[rows], _lengths(part.matrix[rows]))
    part.calls[rows] += part.x.shape[1]
    part.info[rows[_cosine(part.select(rows)) <= 0]] = 4


def _step(part, residual, rows, first, tolerances):
    """Make one step of each fit; return which were accepted, and the residuals (``kept``)."""
    move, par, model = _bounded(part)
    pnorm = _norm(part.scale * move)
    part.delta = np.where(first, np.minimum(part.delta, pnorm), part.delta)
    trial = part.x + move
    norm, kept = residual(trial, rows)
    part.calls += 1
    failed = ~np.isfinite(norm)
    norm = np.where(failed, np.inf, norm)
    actual = np.where(0.1 * norm < part.norm, 1 - (norm / part.norm) ** 2, -1.0)
    damping = par * (pnorm / part.norm) ** 2
    predicted = model / part.norm**2 + 2 * damping
    slope = -(model / part.norm**2 + damping)
    ratio = np.where(predicted != 0, actual / predicted, 0.0)
    _resize(part, par, pnorm, norm, actual, slope, ratio)
    accepted = ratio >= SUFFICIENT
    part.x = np.where(accepted[:, None], trial, part.x)
    part.norm = np.where(accepted, norm, part.norm)
    part.length = np.where(accepted, _norm(part.scale * trial), part.length)
    _finish(part, actual, predicted, ratio, tolerances)
    part.info[failed] = FAILED
    return accepted, kept


def _resize(part, par, pnorm, norm, actual, slope, ratio):
    """Set the bound and the parameter of the next step, by how well the linear model predicted this one."""
    shrink = np.where(actual >= 0, 0.5, 0.5 * slope / (slope + 0.5 * actual))
    shrink = np.where((0.1 * norm >= part.norm) | (shrink < 0.1), 0.1, shrink)
    poor, good = ratio <= 0.25, (par == 0) | (ratio >= 0.75)
    smaller = shrink * np.minimum(part.delta, pnorm / 0.1)
    part.delta = np.where(poor, smaller, np.where(good, pnorm / 0.5, part.delta))
    part.par = np.where(poor, par / shrink, np.where(good, 0.5 * par, par))


def _finish(part, actual, predicted, ratio, tolerances):
    """Make MINPACK's tests of convergence."""
    f_tolerance, x_tolerance, calls = tolerances

    def settled(tolerance):
        return (np.abs(actual) <= tolerance) & (predicted <= tolerance) & (0.5 * ratio <= 1)

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
    values, vectors = np.linalg.eigh(part.matrix / (scale[:, :, None] * scale[:, None, :]))
    values = values.clip(min=0)
    gradient = part.gradient / scale
    along = (vectors.mT @ gradient[:, :, None])[:, :, 0]
    singular = values <= values[:, -1:] * 1e-15
    gauss = np.where(singular, 0.0, along / np.where(singular, 1.0, values))
    length = _norm(gauss)
    excess = length - part.delta
    inside = excess <= 0.1 * part.delta
    slope = np.where(singular, 0.0, gauss**2 / np.where(singular, 1.0, values)).sum(1) / length**2
    low = np.where(singular.any(1), 0.0, excess / part.delta / slope)
    norm = _norm(gradient)
    high = norm / part.delta
    high = np.where(high == 0, TINY / part.delta.clip(max=0.1), high)
    par = np.minimum(np.maximum(part.par, low), high)
    par = np.where(par == 0, norm / length, par)
    done, step = inside, gauss
    par = np.where(inside, 0.0, par)
    for iteration in range(1, PAR_ITERATIONS + 1):
        if done.all():
            break
        par = np.where(done | (par != 0), par, np.maximum(0.001 * high, TINY))
        damped = values + par[:, None]
        step = np.where(done[:, None], step, along / damped)
        length, before = _norm(step), excess
        excess = np.where(done, excess, length - part.delta)
        done = done | (np.abs(excess) <= 0.1 * part.delta) | ((low == 0) & (excess <= before) & (before < 0))
        if iteration == PAR_ITERATIONS:
            break
        newton = excess / part.delta / ((step**2 / damped).sum(1) / length**2)
        low = np.where(excess > 0, np.maximum(low, par), low)
        high = np.where(excess < 0, np.minimum(high, par), high)
        par = np.where(done, par, np.maximum(low, par + newton))
    move = -(vectors @ step[:, :, None])[:, :, 0] / scale
    return move, par, (values * step**2).sum(1)
