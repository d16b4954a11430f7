"""Pairs simulated as a recipe says."""

from pathlib import Path

from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs

__all__ = ["simulate_for"]


def simulate_for(recipe, directory, *, workers=None, progress=True):
    """
    Simulate the pairs of a recipe's section ``pairs``, or what is missing of them.

    Parameters
    ----------
    recipe : `~astro_galtrans.training.Recipe`
    directory : path-like
        They go into its folders ``pairs`` and ``held-out``.
    workers : int, optional
        Processes; by default one per core.
    progress : bool, optional
        Show progress bars on a terminal.

    Returns
    -------
    pairs, held_out : `~astro_galtrans.pairs.store.PairStore`
        To train on, and to validate, calibrate and score with.
    """
    wanted, directory = recipe.pairs, Path(directory)
    names = "source", "target", "source_bands", "target_bands", "scale", "size"
    settings = {name: getattr(wanted, name) or None for name in names}
    parts = ("pairs", wanted.number, wanted.seed), ("held-out", wanted.held_out, wanted.seed + 1)
    options = {"workers": workers, "progress": progress}
    return [simulate_pairs(directory / name, n, PairSettings(seed=seed, **settings), **options)
            for name, n, seed in parts]  # fmt: skip
