"""Checks of the input of morphology: shapes have to agree, and errors name the argument whose shape does not."""

import numpy as np

__all__ = ["per_galaxy", "point_spread", "same_shape", "stack_shape"]


def stack_shape(name, images):
    """
    Return the shape of a stack of stamps of one band.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    images : array-like
        ``[N, H, W]``, or anything with a length that gives arrays for slices.

    Raises
    ------
    ValueError
        If it has not three dimensions, or no pixels.
    """
    shape = (len(images), *np.shape(images[:1])[1:])
    if len(shape) != 3 or 0 in shape[1:]:
        msg = f"{name} must be stamps of one band, [N, H, W], got {shape}; measure one band at a time"
        raise ValueError(msg)
    return shape


def same_shape(name, values, shape):
    """
    Check that what is given per pixel fits the images.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    values : array-like or None
        ``[N, H, W]``.
    shape : tuple of int
        Shape of the images.

    Raises
    ------
    ValueError
        If shapes differ.
    """
    if values is None:
        return
    got = (len(values), *np.shape(values[:1])[1:])
    if got != tuple(shape):
        msg = f"{name} is {got} where the images are {tuple(shape)}; it needs one value per pixel of each"
        raise ValueError(msg)


def per_galaxy(name, values, number):
    """
    Return one positive number per galaxy, of one for all or one each.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    values : float, array-like or None
        A number, or ``[N]``.
    number : int
        Number of galaxies.

    Returns
    -------
    `numpy.ndarray` or None
        ``[N]``, float64.

    Raises
    ------
    ValueError
        If there are not as many as galaxies, or some are not positive.
    """
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
    """
    Return the PSF of each galaxy, as it is given.

    Parameters
    ----------
    psf : array-like or None
        ``[h, w]`` for all, or ``[N, h, w]``.
    number : int
        Number of galaxies.

    Returns
    -------
    `numpy.ndarray` or None
        ``[1, h, w]`` or ``[N, h, w]``.

    Raises
    ------
    ValueError
        If it has other dimensions.
    """
    if psf is None:
        return None
    psf = np.asarray(psf, dtype=np.float64)
    psf = psf[None] if psf.ndim == 2 else psf
    if psf.ndim != 3 or len(psf) not in {1, number} or 0 in psf.shape:
        msg = f"psf must be [h, w] or [N, h, w] with N = {number}, got an array of shape {psf.shape}"
        raise ValueError(msg)
    return psf
