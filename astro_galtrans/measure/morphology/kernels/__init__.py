"""Loops over galaxies and pixels that numba compiles; each module is imported only by `..compiled.kernels`."""

import torch

__all__ = ["on_arrays"]


def on_arrays(loop, *given):
    """
    Call a loop with tensors, of which it sees the arrays, and return tensors.

    Parameters
    ----------
    loop : callable
        Of this package.
    *given
        Tensors, contiguous or not, and numbers.

    Returns
    -------
    `torch.Tensor` or tuple of it
        What the loop returns.
    """
    found = loop(*(t.contiguous().numpy() if isinstance(t, torch.Tensor) else t for t in given))
    return tuple(map(torch.from_numpy, found)) if isinstance(found, tuple) else torch.from_numpy(found)
