"""
Compiled loops for CPUs, where numba is installed; on a GPU, and without numba, the same is done in torch.

An operation of torch passes over all pixels of all galaxies, and most of what is measured here takes hundreds of them,
bound by memory. A compiled loop stays with one galaxy, whose cutout the nearest cache holds, until it is done.
"""

import importlib
import importlib.util

__all__ = ["compile_loop", "kernels", "part_of_loop"]

ENABLED = importlib.util.find_spec("numba") is not None
# Sums may be taken in any order, which lets them use vector instructions; infinities and NaN keep their meaning.
RELAXED = {"reassoc", "nsz", "arcp", "contract"}


def kernels(name, tensor):
    """
    Return a module of compiled loops, or None where torch is to be used.

    Parameters
    ----------
    name : str
        Of a module in `astro_galtrans.measure.morphology.kernels`.
    tensor : `torch.Tensor`
        One of those to work on: where it is decides.
    """
    if not ENABLED or tensor.device.type != "cpu" or tensor.requires_grad:
        return None
    return importlib.import_module(f"{__package__}.kernels.{name}")


def compile_loop(function):
    """
    Compile a function for the CPU it runs on, at the first call; the result is kept on disk.

    It is compiled anew where its own file has changed. After changes of loops in other files that it calls, delete
    ``kernels/__pycache__``.

    Parameters
    ----------
    function : callable
        Of numpy arrays and numbers.
    """
    import numba

    settings = {"nogil": True, "fastmath": RELAXED, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **settings)(function)
    except RuntimeError:  # there is no folder to keep it in, as in a container that is only read
        return numba.njit(**settings)(function)


def part_of_loop(function):
    """
    Make a function part of the compiled ones that call it, which takes less time than to compile it on its own as well.

    Parameters
    ----------
    function : callable
        Of numpy arrays and numbers.
    """
    import numba

    return numba.njit(inline="always", error_model="numpy")(function)
