"""The translators that come with the package, by name, and the devices and threads they run on."""

from contextlib import contextmanager
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from astro_galtrans._config import conf

__all__ = ["find_weights", "list_weights", "one_thread", "pick_device"]

SUFFIX = ".safetensors"


def list_weights():
    """Return the names of the shipped translators, sorted."""
    return sorted(_shipped())


def find_weights(name):
    """
    Return the `~pathlib.Path` of a translator file.

    Parameters
    ----------
    name : str or `~pathlib.Path`
        A name from `list_weights`, or the path of a ``.safetensors`` file.

    Raises
    ------
    ValueError
        If there is no shipped translator of that name; the message gives the nearest, and all.
    FileNotFoundError
        If the path leads nowhere.
    TypeError
        If it is neither.
    """
    if not isinstance(name, str | Path):
        msg = f"a translator is a name (list_translators has them), a path or a Translator, got {type(name).__name__}"
        raise TypeError(msg)
    shipped = _shipped()
    if name in shipped:
        return shipped[name]
    path = Path(name).expanduser()
    if isinstance(name, Path) or path.suffix == SUFFIX or len(path.parts) > 1:
        if not path.is_file():
            msg = f"there is no translator file {path}"
            raise FileNotFoundError(msg)
        return path
    near = [each for each in sorted(shipped) if name in each] or get_close_matches(name, shipped, n=3)
    nearest = f"the nearest are {', '.join(near)}; " if near else ""
    names = ", ".join(sorted(shipped)) or "none"
    msg = f"unknown translator {name!r}; {nearest}shipped are {names}; or give the path of a {SUFFIX} file"
    raise ValueError(msg)


def pick_device(device=None):
    """
    Return a `torch.device` that was checked, or the fastest there is.

    Parameters
    ----------
    device : str or `torch.device`, optional
        For instance ``"cpu"`` or ``"cuda:1"``; by default what the user's configuration says, or else CUDA where it is
        available.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    import torch

    device = device or conf.device or None
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)  # the only way to ask that covers every kind of device
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as err:
        msg = f"device {device!r} is not available here (torch {torch.__version__}); use device='cpu', or leave it out"
        raise ValueError(msg) from err


def _shipped():
    # importlib.resources: a Path here, since a package with compiled dependencies is never run from a zip file
    folder = Path(str(files("astro_galtrans"))) / "data" / "weights"
    return {path.stem: path for path in folder.glob(f"*{SUFFIX}")}


@contextmanager
def one_thread():
    """
    Let networks compute in one thread, as on workers of dask: with more of them the last digits of sums differ.

    It holds for the whole process: for commands, not for functions that others call.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
