"""Checks of the input of morphology: shapes have to agree, and errors name the argument whose shape does not."""

import numpy as np

__all__ = ["per_galaxy", "point_spread", "same_shape", "stack_shape"]


def stack_shape(name, images):
    """Return the shape ``(N, H, W)`` of a stack of stamps of one band; ValueError if it is none, or has no pixels."""
    shape = (len(images), *np.shape(images[:1])[1:])
    if len(shape) != 3 or 0 in shape[1:]:
        msg = f"{name} must be stamps of one band, [N, H, W], got {shape}; measure one band at a time"
        raise ValueError(msg)
    return shape


def same_shape(name, values, shape):
    """Check that what is given per pixel, if it is, has the shape of the images; ValueError if not."""
    if values is None:
        return
    got = (len(values), *np.shape(values[:1])[1:])
    if got != tuple(shape):
        msg = f"{name} is {got} where the images are {tuple(shape)}; it needs one value per pixel of each"
        raise ValueError(msg)


def per_galaxy(name, values, number):
    """Return one positive float64 per galaxy, ``[N]``, of a number for all or one each; ValueError if it is neither."""
    if values is None:
        return None
    values = np.asarray(values, dtype=np.float64)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != number):
        msg = f"{name} must be one number, or one per galaxy ({number}), got an array of shape {values.shape}"
        raise ValueError(msg)
    if not (values > 0).all():
        msg = f"{name} must be positive, got {values[~(values > 0)].flat[0] if values.ndim else values}"
        raise ValueError(msg)
    return np.broadcast_to(values, number).copy()


def point_spread(psf, number):
    """Return PSFs, ``[1, h, w]`` or ``[N, h, w]``, of ``[h, w]`` or ``[N, h, w]``; ValueError for any other shape."""
    if psf is None:
        return None
    psf = np.asarray(psf, dtype=np.float64)
    psf = psf[None] if psf.ndim == 2 else psf
    if psf.ndim != 3 or len(psf) not in {1, number} or 0 in psf.shape:
        msg = f"psf must be [h, w] or [N, h, w] with N = {number}, got an array of shape {psf.shape}"
        raise ValueError(msg)
    return psf
