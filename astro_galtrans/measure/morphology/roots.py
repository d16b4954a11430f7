"""Roots of many functions at once."""

import torch

__all__ = ["find_root"]

STEPS = 60  # bisection alone needs 30 from a width of 1e3 pixels to 1e-6


def find_root(function, low, high, f_low, f_high, tolerance=1e-6):
    """
    Find where functions cross zero, by Chandrupatla's method: inverse quadratic interpolation that falls back on
    bisection (Chandrupatla 1997, Advances in Engineering Software 28, 145). It keeps the bracket, as Brent's does.

    Parameters
    ----------
    function : callable
        From abscissae ``[M, ...]`` and the rows ``[M]`` (int64) of the functions they are of, to their values.
    low, high : `torch.Tensor`
        ``[N, ...]``: brackets; the functions' signs differ, or one end is a root.
    f_low, f_high : `torch.Tensor`
        The values there.
    tolerance : float, optional
        Of the abscissa.

    Returns
    -------
    `torch.Tensor`
        The roots.
    """
    found = torch.where(f_low.abs() < f_high.abs(), low, high)
    done = torch.minimum(f_low.abs(), f_high.abs()) == 0
    rows = torch.nonzero(~done.flatten(1).all(1) if done.ndim > 1 else ~done).ravel()
    a, b, f_a, f_b, done = (t[rows] for t in (low, high, f_low, f_high, done))
    t = (f_a / (f_a - f_b)).nan_to_num(0.5).clamp(0.05, 0.95)
    for _ in range(STEPS):
        if not len(rows):
            break
        x = torch.where(done, found[rows], a + t * (b - a))
        f_x = function(x, rows)
        same = torch.sign(f_x) == torch.sign(f_a)
        c, f_c = torch.where(same, a, b), torch.where(same, f_a, f_b)
        b, f_b = torch.where(same, b, a), torch.where(same, f_b, f_a)
        a, f_a = x, f_x
        found[rows] = torch.where(done, found[rows], torch.where(f_a.abs() < f_b.abs(), a, b))
        limit = (tolerance / (b - a).abs()).clamp(max=0.5)
        done = done | (limit == 0.5) | (f_a == 0) | ~torch.isfinite(f_a)
        t = _step(a, b, c, f_a, f_b, f_c).clamp(min=limit, max=1 - limit)
        left = torch.nonzero(~(done.flatten(1).all(1) if done.ndim > 1 else done)).ravel()
        if len(left) < 0.8 * len(rows):
            rows, a, b, f_a, f_b, t, done = (v[left] for v in (rows, a, b, f_a, f_b, t, done))
    return found


def _step(a, b, c, f_a, f_b, f_c):
    """Where between a and b to look next: by inverse quadratic interpolation if that is safe, else the middle."""
    xi, phi = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
    safe = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
    t = f_a / (f_b - f_a) * (f_c / (f_b - f_c)) + (c - a) / (b - a) * (f_a / (f_c - f_a)) * (f_b / (f_c - f_b))
    return torch.where(safe & torch.isfinite(t), t, 0.5)
