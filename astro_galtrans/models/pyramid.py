r"""
An orthonormal pyramid of images: averages of blocks, and at every finer scale what differs from them.

The finest level transforms each block of ``base`` x ``base`` pixels by a discrete cosine transform, whose first
coefficient is the block's sum over its side; the next level does the same to 2 x 2 of these (Haar's transform), and so
on. White noise stays white in such coefficients, and a flux error that all pixels of a galaxy share, of small amplitude
in each, is a large coefficient of the coarsest level.
"""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dct
from torch import nn

__all__ = ["Pyramid"]


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
            blocks = folded.view(batch, bands, fold**2, *folded.shape[2:])
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


def _mixed(matrix, blocks):
    # in single precision, also where the networks around it are evaluated in half
    with torch.autocast(blocks.device.type, enabled=False):
        return torch.einsum("kp,bcphw->bckhw", matrix, blocks.float())
