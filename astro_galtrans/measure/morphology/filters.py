"""
Box and Gaussian filters over batches of cutouts, each with its own width and edges, as `scipy.ndimage` has them.

A separable filter is a product with a banded matrix from either side, so galaxies of different widths and sizes are one
batched matrix product.
"""

import torch

from .compiled import kernels
from .kernels import on_arrays

__all__ = ["box_filter", "gaussian_filter", "smooth"]

TRUNCATE = 4.0  # scipy.ndimage.gaussian_filter's


def box_filter(image, size, ny, nx):
    """
    Average over a square box, mirrored at the edges (``scipy.ndimage.uniform_filter(image, size)``).

    Parameters
    ----------
    image : `torch.Tensor`
        ``[N, H, W]``, zero outside each cutout.
    size : `torch.Tensor` or int
        ``[N]``, int64: the box's side in pixels; 0 and 1 leave the image as it is.
    ny, nx : `torch.Tensor`
        ``[N]``, int64: the sizes of the cutouts; what is returned outside of them means nothing.
    """
    size = torch.as_tensor(size, device=image.device).expand(len(image)).clamp(min=1)
    loops = kernels("filters", image)
    if loops is not None and image.dtype == torch.float64:
        return on_arrays(loops.box_filter, image, size, ny, nx)
    return smooth(image, _box(size, ny, image.shape[1], image), _box(size, nx, image.shape[2], image))


def gaussian_filter(image, sigma, ny=None, nx=None):
    """
    Convolve with a Gaussian (``scipy.ndimage.gaussian_filter``).

    Parameters
    ----------
    image : `torch.Tensor`
        ``[N, H, W]``, zero outside each cutout.
    sigma : `torch.Tensor` or float
        ``[N]``, in pixels.
    ny, nx : `torch.Tensor`, optional
        ``[N]``, int64: the sizes of the cutouts, to mirror the image at their edges; without them it is zero beyond
        (``mode="constant"``). What is returned outside of them means nothing.
    """
    sigma = torch.as_tensor(sigma, dtype=image.dtype, device=image.device).expand(len(image))
    loops = kernels("filters", image)
    if loops is not None and image.dtype == torch.float64:
        whole = (torch.full((len(image),), n) for n in image.shape[1:])
        return on_arrays(
            loops.gaussian_filter, image, sigma, TRUNCATE, *(whole if ny is None else (ny, nx)), ny is not None
        )
    sides = ((ny, image.shape[1]), (nx, image.shape[2]))
    return smooth(image, *(_gaussian(sigma, length, size, image) for length, size in sides))


def smooth(image, rows, columns):
    """
    Apply a separable filter given as two matrices.

    Parameters
    ----------
    image : `torch.Tensor`
        ``[N, H, W]``.
    rows, columns : `torch.Tensor`
        ``[N, H, H]`` and ``[N, W, W]``: what each pixel takes of each other along y and x.
    """
    return torch.bmm(torch.bmm(rows, image), columns.mT)


def _box(size, length, n, like):
    """How often the box around pixel i, mirrored at 0 and ``length``, meets pixel j, over its width."""
    size, length = size.to(like.dtype)[:, None], length.to(like.dtype)[:, None]
    low = -torch.floor(size / 2)
    high, period = low + size - 1, 2 * length

    def meets(offset):  # how many of offset, offset + period, offset - period ... are in the box
        return (torch.floor((high - offset) / period) + torch.floor((offset - low) / period) + 1) / size

    difference, total = _steps(n, like)
    return _banded(meets(difference), meets(-1 - total))


def _gaussian(sigma, length, n, like):
    """Weights of a Gaussian cut at four sigma, between pixels i and j and, if mirrored, the nearest images of j."""
    radius, inverse = torch.floor(TRUNCATE * sigma + 0.5)[:, None], 0.5 / sigma[:, None].clamp(min=1e-15) ** 2

    def weight(offset):
        return torch.where(offset.abs() <= radius, torch.exp(-inverse * offset**2), 0.0)

    reach = int(radius.max()) if len(radius) else 0
    norm = weight(torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)).sum(1, keepdim=True)
    difference, total = _steps(n, like)
    if length is None:
        return _banded(weight(difference) / norm)
    mirrored = weight(total + 1) + weight(2 * length.to(like.dtype)[:, None] - total - 1)
    return _banded(weight(difference) / norm, mirrored / norm)


def _steps(n, like):
    """All j - i, and all j + i, of pixels i and j."""
    steps = torch.arange(2 * n - 1, device=like.device, dtype=like.dtype)
    return steps - (n - 1), steps


def _banded(difference, total=None):
    """Matrices ``[N, n, n]`` of which entry i, j is ``difference[:, n - 1 + j - i] + total[:, j + i]``."""
    n = (difference.shape[1] + 1) // 2
    matrix = difference.unfold(1, n, 1).flip(1)
    return matrix if total is None else matrix + total.unfold(1, n, 1)
