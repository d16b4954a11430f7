"""The functions of a Sersic fit in compiled loops, with convolutions by torch between them."""

import torch

from .sersic_problem import SMALLEST_N, Convolution, concentration

__all__ = ["CompiledProblem"]

CHUNK = 1 << 16  # pixels of galaxies at a time: what the caches hold


class CompiledProblem:
    """
    Images, weights and PSFs of the galaxies of a batch, as `~.sersic_problem.Problem` has them.

    Parameters
    ----------
    loops : module
        `~astro_galtrans.measure.morphology.kernels.sersic`.
    image, weight, frame, psf : `torch.Tensor`
        As for `~astro_galtrans.measure.morphology.sersic.fit_sersic`.
    """

    def __init__(self, loops, image, weight, frame, psf):
        self.loops, self.shape = loops, image.shape[1:]
        frame = torch.ones_like(image, dtype=torch.bool) if frame is None else frame
        sizes = torch.stack([frame.any(2).sum(1), frame.any(1).sum(1)], 1).numpy()
        self.galaxies = *(t.double().contiguous().numpy() for t in (image, weight)), sizes
        self.psf = None if psf is None else Convolution(psf.double(), self.shape)
        self.space = {}
        self.start = (0, 0) if psf is None else self.psf.start

    def residual(self, parameters, rows):
        """Norm of the residuals, and the residuals, over the pixels' standard deviation."""
        norms, residual = _empty(len(rows)), _empty(len(rows), *self.shape)
        b = concentration(parameters[:, 2].clamp(min=SMALLEST_N), slope=False)
        for part in _chunks(self.shape, parameters, b, rows, norms, residual):
            self._residual(*part)
        return norms, residual

    def _residual(self, parameters, b, rows, norms, residual):
        # Two galaxies with the same PSF are convolved together, as real and imaginary parts.
        pair = 2 if self.psf is not None and self.psf.shared else 1
        canvas = self._canvas((len(rows) + pair - 1) // pair, 1, torch.float64)
        x, b, rows_, norms, residual = (t.numpy() for t in (parameters, b, rows, norms, residual))
        scale = _empty(len(rows_)).numpy()
        self.loops.profiles(x, b, rows_, self.galaxies[2], pair, _floats(canvas), scale)
        canvas = self._convolved(canvas, rows)
        self.loops.residuals(_floats(canvas), scale, pair, *self.start, rows_, *self.galaxies, residual, norms)

    def normal(self, parameters, rows, residual):
        """J^T J and J^T r."""
        free = parameters.shape[1]
        matrix, gradient = _empty(len(rows), free, free), _empty(len(rows), free)
        b, slope = concentration(parameters[:, 2].clamp(min=SMALLEST_N))
        for part in _chunks(self.shape, parameters, b, slope, rows, residual, matrix, gradient):
            self._normal(*part)
        return matrix, gradient

    def _normal(self, parameters, b, slope, rows, residual, matrix, gradient):
        canvas = self._canvas(len(rows), 3, torch.float32)
        x, b, slope, rows_, residual, matrix, gradient = (
            t.numpy() for t in (parameters, b, slope, rows, residual, matrix, gradient)
        )
        self.loops.derivatives(x, b, slope, rows_, self.galaxies[2], _floats(canvas))
        canvas = self._convolved(canvas, rows)
        self.loops.products(_floats(canvas), *self.start, x, rows_, *self.galaxies, residual, matrix, gradient)

    def _canvas(self, number, pairs, dtype):
        """Space to draw on, the same each time: new memory takes as long as a transform."""
        if self.space.get(dtype) is None or len(self.space[dtype]) < number:
            size = self.shape if self.psf is None else self.psf.size
            self.space[dtype] = torch.empty(number, pairs, *size, dtype=torch.promote_types(dtype, torch.complex64))
        return self.space[dtype][:number]

    def _convolved(self, canvas, rows):
        return canvas if self.psf is None else self.psf.convolved(canvas, rows)


def _empty(*shape):
    return torch.empty(*shape, dtype=torch.float64)


def _chunks(shape, *tensors):
    """Parts of few galaxies."""
    few = max(CHUNK // (shape[0] * shape[1]) // 2 * 2, 2)
    return zip(*(t.split(few) for t in tensors), strict=True)


def _floats(canvas):
    """Real and imaginary parts of a canvas, one after the other along the rows, ``[n, K, H, 2 W]``."""
    return torch.view_as_real(canvas).flatten(3).numpy()
