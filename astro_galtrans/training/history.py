"""Score against training time: what a card keeps of it, and whether a training had converged."""

import numpy as np

__all__ = ["convergence", "thinned"]

ROWS = 30
LAST = 0.25  # share of the training that tells whether it still improved
SLOW = 0.01  # improvement over that share below which a training has converged


def thinned(history):
    """
    Return a training's history, short enough for a card.

    Parameters
    ----------
    history : sequence of dict
        One per validation: ``hours`` and ``step`` since the start of the training, and the scores by name, as
        `~astro_galtrans.training.fit` returns them.

    Returns
    -------
    dict or None
        ``columns`` and ``rows`` (at most 30, evenly spaced, first and last among them); None of no history.
    """
    if not history:
        return None
    columns = ["hours", "step", *(name for name in history[0] if name not in {"hours", "step", "seconds"})]
    places = np.unique(np.linspace(0, len(history) - 1, ROWS).round().astype(int))
    return {"columns": columns, "rows": [[_short(history[k].get(name)) for name in columns] for k in places]}


def convergence(history, score):
    """
    Tell by how much a score improved over the last quarter of a training.

    Parameters
    ----------
    history : sequence of dict
        As for `thinned`.
    score : str
        Name of a score: a gain, which is better when larger, if its name ends so; otherwise a loss.

    Returns
    -------
    float or None
        By which share the best of the whole training is better than the best of its first three quarters (of the
        time); of a gain ``g``, what is compared is the error that is left, ``1 - g``. None with too short a history.
    """
    if not history:
        return None
    hours, values = (np.array([row[name] for row in history], float) for name in ("hours", score))
    left = 1 - values if score.endswith("gain") else values
    early = hours <= hours[-1] * (1 - LAST)
    if not np.isfinite(left[early]).any() or early.all():
        return None
    before, best = np.nanmin(left[early]), np.nanmin(left)
    return round(float((before - best) / abs(before)), 4) if before else 0.0


def _short(value):
    if value is None or isinstance(value, int | str):
        return value
    return float(f"{float(value):.4g}") if np.isfinite(value) else None
