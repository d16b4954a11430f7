r"""
An orthonormal pyramid of images: averages of blocks, and at every finer scale what differs from them.

The finest level transforms each block of ``base`` x ``base`` pixels by a discrete cosine transform, whose first
coefficient is the block's sum over its side; the next level does the same to 2 x 2 of these (Haar's transform), and so
on. White noise stays white in such coefficients, and a flux error that all pixels of a galaxy share, of small amplitude
in each, is a large coefficient of the coarsest level.

Coefficients of several bands at one place are brought to unit variance, and made independent, by what is expected of
them: each band less its regression on the bands before it, divided by the standard deviation of what is left. These are
the rows of a Cholesky factor of the inverse covariance, so that any covariance can be had.
"""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dct
from torch import nn

__all__ = ["Pyramid", "coloured", "whitened"]


class Pyramid(nn.Module):
    """
    Transform images ``[B, C, H, W]`` to coefficients per scale and back.

    The coefficients are a list from fine to coarse, each ``[B, C, K, h, w]``: the details of every level (K is 3, of
    the first ``base**2 - 1``), and last the sums of the largest blocks (K = 1), on the grid of the level before.

    Parameters
    ----------
    base : int
        Side of the smallest blocks (pixels).
    levels : int
        Number of levels; each has blocks of twice the side of the one before. H and W must be multiples of `side`.
    """

    def __init__(self, base, levels):
        super().__init__()
        #: sides of the blocks of each level, in pixels for the first and in blocks of the level before for the others
        self.folds = (base,) + (2,) * (levels - 1)
        for side in set(self.folds):
            rows = dct(np.eye(side), axis=0, norm="ortho")
            self.register_buffer(f"matrix{side}", torch.tensor(np.kron(rows, rows), dtype=torch.float32), False)

    @property
    def side(self):
        """Side of the largest blocks (pixels)."""
        return int(np.prod(self.folds))

    @property
    def details(self):
        """Number of coefficients per band at each place: of the details of each level, and last of the sums."""
        return [fold**2 - 1 for fold in self.folds] + [1]

    def grids(self):
        """Return the side of a block (pixels) of each entry of the list of coefficients."""
        sides = list(itertools.accumulate(self.folds, lambda a, b: a * b))
        return [*sides, sides[-1]]

    def analyse(self, image):
        """Return the coefficients of an image."""
        found, batch, bands = [], *image.shape[:2]
        for fold in self.folds:
            folded = F.pixel_unshuffle(image, fold)
            blocks = folded.reshape(batch, bands, fold**2, *folded.shape[2:])
            blocks = _mixed(getattr(self, f"matrix{fold}"), blocks)
            image = blocks[:, :, 0]
            found.append(blocks[:, :, 1:])
        return [*found, image[:, :, None]]

    def synthesise(self, coefficients):
        """Return the image that has these coefficients: the inverse of `analyse`."""
        *details, image = coefficients
        for fold, detail in zip(reversed(self.folds), reversed(details), strict=True):
            blocks = _mixed(getattr(self, f"matrix{fold}").T, torch.cat([image, detail], dim=2))
            image = F.pixel_shuffle(blocks.flatten(1, 2), fold)[:, :, None]
        return image[:, :, 0]


def whitened(coefficients, log_std, slopes):
    """
    Return coefficients of unit variance, independent between bands.

    Parameters
    ----------
    coefficients : `torch.Tensor`
        ``[B, C, K, h, w]``.
    log_std : `torch.Tensor`
        ``[B, C, 1, h, w]``: logarithm of the standard deviation of a band, given those before it.
    slopes : `torch.Tensor`
        ``[B, C (C - 1) / 2, 1, h, w]``: of the regression on the bands before, first that of the second on the first,
        then those of the third, and so on.
    """
    left = [coefficients[:, k : k + 1] - _expected(coefficients, slopes, k) for k in range(coefficients.shape[1])]
    return torch.cat(left, dim=1) * torch.exp(-log_std)


def coloured(white, log_std, slopes):
    """Return the coefficients of which `whitened` makes ``white``."""
    found = white * log_std.exp()
    for k in range(1, white.shape[1]):
        found[:, k : k + 1] += _expected(found, slopes, k)
    return found


def _expected(coefficients, slopes, k):
    """Band ``k`` as the bands before it let expect, ``[B, 1, K, h, w]``."""
    first = k * (k - 1) // 2
    return (slopes[:, first : first + k] * coefficients[:, :k]).sum(dim=1, keepdim=True)


def _mixed(matrix, blocks):
    # in single precision, also where the networks around it are evaluated in half
    with torch.autocast(blocks.device.type, enabled=False):
        return torch.einsum("kp,bcphw->bckhw", matrix, blocks.float())
