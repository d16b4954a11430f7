"""The functions of a Sersic fit in compiled loops, for which PSFs are split into separable terms."""

import numpy as np
import torch
from scipy.special import gammaincinv

from .sersic_problem import SMALLEST_N, concentration

__all__ = ["CompiledProblem", "separable"]

# Singular values of a PSF, whose sum is 1: of terms to take at all, to take into J^T J, and to convolve in float64.
SMALL, COARSE, LARGE = 1e-7, 1e-4, 1e-2


class CompiledProblem:
    """
    Images, weights and PSFs of the galaxies of a batch, as `~.sersic_problem.Problem` has them.

    Parameters
    ----------
    loops : module
        `~astro_galtrans.diagnostics.morphology.kernels.sersic`.
    image, weight, frame, psf : `torch.Tensor`
        As for `~astro_galtrans.diagnostics.morphology.sersic.fit_sersic`.
    """

    def __init__(self, loops, image, weight, frame, psf):
        self.loops, self.shape = loops, image.shape[1:]
        self.image, self.weight = (t.double().contiguous().numpy() for t in (image, weight))
        frame = torch.ones_like(image, dtype=torch.bool) if frame is None else frame
        self.sizes = torch.stack([frame.any(2).sum(1), frame.any(1).sum(1)], 1).numpy()
        terms, values = separable(psf, max(self.shape))
        exact, self.coarse = (int((values > limit).any(0).sum()) for limit in (LARGE, COARSE))
        self.exact, self.terms = terms[:, :, :exact].contiguous().numpy(), terms.float().numpy()

    def residual(self, parameters, rows):
        """Norm of the residuals, and the residuals, over the pixels' standard deviation."""
        x, rows = parameters.numpy(), rows.numpy()
        b = gammaincinv(2 * np.maximum(x[:, 2], SMALLEST_N), 0.5)
        residual, norms = np.empty((len(rows), *self.shape)), np.empty(len(rows))
        self.loops.residuals(x, b, self.image, self.weight, rows, self.sizes, self.exact, self.terms, residual, norms)
        return torch.from_numpy(norms), torch.from_numpy(residual)

    def normal(self, parameters, rows, residual):
        """J^T J and J^T r."""
        b, slope = (t.numpy() for t in concentration(parameters[:, 2].clamp(min=SMALLEST_N)))
        x, rows, free = parameters.numpy(), rows.numpy(), parameters.shape[1]
        matrix, gradient = np.empty((len(rows), free, free)), np.empty((len(rows), free))
        images = self.image, self.weight, residual.numpy(), rows, self.sizes
        self.loops.normal_equations(x, b, slope, *images, self.terms, self.coarse, matrix, gradient)
        return torch.from_numpy(matrix), torch.from_numpy(gradient)


def separable(psf, most):
    """
    Split PSFs into separable terms.

    Parameters
    ----------
    psf : `torch.Tensor` or None
        ``[P, h, w]``.
    most : int
        Pixels of the largest side of an image: the PSF further out than that has no effect.

    Returns
    -------
    terms : `torch.Tensor`
        ``[P, 2, R, K]``, float64: factors down and along, with the centre in the middle of K, which is odd.
    values : `torch.Tensor`
        ``[P, R]``: singular values, of PSFs that sum up to 1.
    """
    if psf is None:
        return torch.empty(1, 2, 0, 1, dtype=torch.float64), torch.empty(1, 0)
    psf = psf.double() / psf.double().sum((1, 2), keepdim=True)
    finite = torch.isfinite(psf).all(2).all(1)
    u, values, v = torch.linalg.svd(_square(torch.where(finite[:, None, None], psf, 0.0), most))
    number = max(int((values > SMALL).any(0).sum()), 1)
    terms = torch.stack([u.mT, v], 1)[:, :, :number] * values.sqrt()[:, None, :number, None]
    terms[~finite] = torch.nan  # as their models would be
    return terms.contiguous(), values[:, :number]


def _square(psf, most):
    """PSFs with the same odd number of pixels down and along, their centres in the middle."""
    half = min(max(psf.shape[1:]) // 2, most - 1)
    (top, left), (height, width) = ((n - 1) // 2 for n in psf.shape[1:]), psf.shape[1:]
    pad = half - left, half - (width - 1 - left), half - top, half - (height - 1 - top)
    return torch.nn.functional.pad(psf, pad)  # where negative it cuts
