"""The simplex method of Nelder and Mead for many functions of two variables, in the steps of `scipy.optimize.fmin`."""

import torch

__all__ = ["minimise"]

STEPS = 200


def minimise(function, start, x_tolerance=1e-6, f_tolerance=1e-4):
    """
    Minimise functions of two variables (Nelder & Mead 1965, The Computer Journal 7, 308).

    Parameters
    ----------
    function : callable
        From points ``[M, 2]`` and the rows ``[M]`` (int64) of the functions to their values ``[M]``.
    start : `torch.Tensor`
        ``[N, 2]``: where to begin. The first simplex goes 5 % further in each coordinate, as SciPy's does.
    x_tolerance, f_tolerance : float, optional
        Of the simplex when it is done: both must be met.

    Returns
    -------
    `torch.Tensor`
        ``[N, 2]``: the minima.
    """
    points = start[:, None].repeat(1, 3, 1)
    for k in (0, 1):
        points[:, k + 1, k] = torch.where(start[:, k] != 0, 1.05 * start[:, k], 0.00025)
    best, rows = start.clone(), torch.arange(len(start), device=start.device)
    values = torch.stack([function(points[:, k], rows) for k in range(3)], 1)
    points, values = _sorted(points, values)
    for _ in range(STEPS):
        spread = (points[:, 1:] - points[:, :1]).abs().amax((1, 2))
        done = (spread <= x_tolerance) & ((values[:, 1:] - values[:, :1]).abs().amax(1) <= f_tolerance)
        if bool(done.any()):
            best[rows[done]] = points[done, 0]
            points, values, rows = (t[~done] for t in (points, values, rows))
        if not len(rows):
            return best
        points, values = _sorted(*_step(function, points, values, rows))
    best[rows] = points[:, 0]
    return best


def _sorted(points, values):
    """Simplices with their best corners first."""
    values, order = values.sort(dim=1, stable=True)
    return points.gather(1, order[:, :, None].expand_as(points)), values


def _step(function, points, values, rows):
    """Reflect the worst corner, then expand, contract, or shrink the simplex."""
    middle, worst = points[:, :2].sum(1) / 2, points[:, 2]
    tried = 2 * middle - worst
    value = function(tried, rows)
    expand, accept = value < values[:, 0], value < values[:, 1]
    outside = ~accept & (value < values[:, 2])
    along = torch.where(expand, 2.0, torch.where(outside, 0.5, -0.5))[:, None]
    second = (1 + along) * middle - along * worst
    limit = torch.where(expand | outside, value, values[:, 2])  # what the second try must be below
    again = torch.nonzero(expand | ~accept).ravel()
    found = torch.full_like(value, torch.inf)
    if len(again):
        found[again] = function(second[again], rows[again])
    better = (found < limit) | (outside & (found <= limit))
    shrink = ~accept & ~better
    points, values = points.clone(), values.clone()
    points[:, 2] = torch.where(better[:, None], second, torch.where(accept[:, None], tried, worst))
    values[:, 2] = torch.where(better, found, torch.where(accept, value, values[:, 2]))
    small = torch.nonzero(shrink).ravel()
    if len(small):
        points[small, 1:] = points[small, :1] + 0.5 * (points[small, 1:] - points[small, :1])
        for k in (1, 2):
            values[small, k] = function(points[small, k], rows[small])
    return points, values
