"""Warnings that name the image that they are about, where several are worked on in one call."""

import warnings
from contextlib import contextmanager
from contextvars import ContextVar

from .exceptions import GaltransWarning

__all__ = ["about_image", "warn"]

_image = ContextVar("image", default=None)  # each thread has its own: images are read ahead in another


@contextmanager
def about_image(name):
    """Begin the warnings that `warn` gives inside a ``with`` statement with the name of an image."""
    token = _image.set(name)
    try:
        yield
    finally:
        _image.reset(token)


def warn(text, category=GaltransWarning, stacklevel=1):
    """Give a warning; arguments as for `warnings.warn`."""
    name = _image.get()
    warnings.warn(text if name is None else f"{name}: {text}", category, stacklevel + 1)
